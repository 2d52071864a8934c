"""What a program of the corpus is: data, model, how it is trained, and how well it then does."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np


@dataclass(kw_only=True)
class Run:
    """One program, built and about to be trained. Mutation operators change its fields.

    Attributes:
        model: not compiled yet, unless the program compiles it itself (``loss`` is None).
        x: inputs as ``fit`` takes them: an array, or a list, tuple or dict of arrays, or a dataset.
        y: labels likewise; None where there are none, or where they come with ``x``.
        loss: as ``compile`` takes it; None if the program compiles for itself.
        optimizer: a ``keras.optimizers.Optimizer``; None if the program makes its own.
        compile: other arguments of ``compile``.
        sample_weight: as ``fit`` takes it.
        batch: rows in a batch; None where ``x`` is a dataset.
        epochs: of the training that is watched.
        fit: other arguments of ``fit``.
        test: what ``score`` judges by: held-out rows, in a form of the program's own.
    """

    model: keras.Model
    x: Any
    y: Any = None
    loss: Any = None
    optimizer: Any = None
    compile: dict[str, Any] = field(default_factory=dict)
    sample_weight: Any = None
    batch: int | None = 32
    epochs: int = 4
    fit: dict[str, Any] = field(default_factory=dict)
    test: Any = None


def fit(run: Run, watch: Any = None) -> None:
    """Trains by ``model.fit``."""
    if run.loss is not None:
        run.model.compile(optimizer=run.optimizer, loss=run.loss, **run.compile)
    run.model.fit(
        run.x,
        run.y,
        batch_size=run.batch,
        epochs=run.epochs,
        sample_weight=run.sample_weight,
        verbose=0,
        callbacks=[watch] if watch is not None else [],
        **run.fit,
    )


def watching(watch: Any, model: keras.Model) -> Any:
    """``watch.watching(model)``, or nothing where nobody watches: for custom training loops."""
    return nullcontext() if watch is None else watch.watching(model)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that learns.

    Attributes:
        name: unique.
        area: such as ``vision``.
        make: builds it; called behind ``keras.utils.set_random_seed``.
        score: how well the trained model does on held-out rows; larger is better, ``chance`` is
            what a model that has learned nothing reaches.
        chance: the score of the best constant prediction.
        learned: the score from which the program counts as having learned.
        train: trains it; ``fit`` unless the program has a loop of its own.
        backends: on which it runs.
        stock: True for a Sequential or functional model trained by ``fit`` with a loss of
            Keras's: mutation operators can be applied to it.
    """

    name: str
    area: str
    make: Callable[[], Run]
    score: Callable[[Run], float]
    chance: float
    learned: float
    train: Callable[..., None] = fit
    backends: tuple[str, ...] = ("tensorflow", "jax", "torch")
    stock: bool = False


PROGRAMS: dict[str, Program] = {}


def program(name: str, **facts: Any) -> Callable[[Callable[[], Run]], Callable[[], Run]]:
    """Registers the function below as the ``make`` of a program; ``facts`` are its other fields."""

    def keep(make: Callable[[], Run]) -> Callable[[], Run]:
        assert name not in PROGRAMS, name
        PROGRAMS[name] = Program(name=name, make=make, **facts)
        return make

    return keep


def trained(
    program: Program,
    seed: int,
    watch: Any = None,
    change: Callable[[Run], Run | None] | None = None,
) -> float:
    """Trains from scratch and gives the score; ``change`` is a mutation of the run.

    A score that is not finite counts as ``chance``.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    try:
        run = program.make()
        if change is not None:
            run = change(run) or run
        program.train(run, watch)
        score = float(program.score(run))
    finally:
        keras.config.set_dtype_policy(before)
    return score if np.isfinite(score) else program.chance


# ------------------------------------------------------------------ scores that many programs use


def accuracy(run: Run) -> float:
    """Share of right classes of ``run.test = (x, y)``: class numbers, one-hot rows, or 0 and 1."""
    x, y = run.test
    p = predicted(run.model, x)
    y = np.asarray(y)
    if p.shape[-1] == 1:
        chosen = p.reshape(-1) > _bar(run)
        return float(np.mean(chosen == (y.reshape(-1) > 0.5)))
    if y.ndim == p.ndim and y.shape[-1] == p.shape[-1]:
        y = y.argmax(-1)
    return float(np.mean(p.argmax(-1).reshape(-1) == y.reshape(-1)))


def r2(run: Run) -> float:
    """Share of the variance of ``run.test = (x, y)`` that is explained, -1 at least."""
    x, y = run.test
    p = predicted(run.model, x)
    y = np.asarray(y, "float64").reshape(p.shape)
    if not np.isfinite(p).all():
        return -1.0
    return max(-1.0, 1.0 - float(np.mean((p - y) ** 2) / np.mean(y.var(axis=0))))


def predicted(model: keras.Model, x: Any) -> np.ndarray[Any, Any]:
    """The model's (first) prediction as float64."""
    p = model.predict(x, batch_size=256, verbose=0)
    if isinstance(p, Mapping):
        p = next(iter(p.values()))
    if isinstance(p, (list, tuple)):
        p = p[0]
    return np.asarray(p, "float64")


def _bar(run: Run) -> float:
    logits = getattr(run.loss, "from_logits", None)
    if logits is None:
        logits = getattr(run.loss, "_fn_kwargs", {}).get("from_logits", False)
    return 0.0 if logits else 0.5
