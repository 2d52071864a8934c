"""Short runs side by side that differ by their initializer only, ranked."""

from __future__ import annotations

import inspect
import math
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.advice.initializers import given_arguments
from initwatch.callback import InitWatch
from initwatch.capture.randomness import seeded
from initwatch.capture.session import writes_logs
from initwatch.errors import ArgumentError, Faults
from initwatch.measurement.ranking import area_under, final_loss, ranked
from initwatch.outlets.hparams import HParamsLog, run_folder
from initwatch.outlets.progress import ProgressBar
from initwatch.outlets.tensorboard import checked_log_dir
from initwatch.records import Comparison, Run
from initwatch.records.comparison import verdict_line

# keeps the stream that orders are drawn from apart from any the user draws of the same seed
ORDER_STREAM = 0x1217


def compare(
    build: Callable[[Any], keras.Model],
    x: Any,
    y: Any = None,
    *,
    initializers: Iterable[Any] | Mapping[str, Any],
    steps: int = 200,
    batch_size: int = 32,
    seeds: int = 3,
    log_dir: str | os.PathLike[str] | None = None,
    console: bool = True,
) -> Comparison:
    """Trains short runs that differ by their initializer only, and ranks the initializers.

    ::

        def build(initializer):
            hidden = keras.layers.Dense(64, "relu", kernel_initializer=initializer)
            model = keras.Sequential([hidden, keras.layers.Dense(10, "softmax")])
            model.compile("adam", "sparse_categorical_crossentropy")
            return model

        print(initwatch.compare(build, x, y, initializers=["he_normal", "glorot_uniform"]))

    Each candidate is trained from scratch under seeds 0 to ``seeds`` - 1, watched by
    ``InitWatch``. Under one seed all candidates get the same batches in the same order, and all
    that Python, NumPy, Keras and its backend draw begins at that seed, so that a pair of runs
    differs by the initializer alone. Keras's own random initializers draw from a generator of
    that seed in place of theirs: a new draw a seed and layer, the same numbers for every
    candidate. The global generators stand afterwards where they stood, but for TensorFlow's eager
    operations with a seed of their own, which start over.

    What is ranked is the final loss, the median over the last tenth of a run's steps of the
    training loss (with penalties), averaged over seeds. Its interval is Student's t interval
    (Student 1908); whether two candidates differ is asked by Student's paired t-test over seeds
    with Holm's correction (Holm 1979) at the level 0.05. Both take seeds for normal draws, which
    nobody can check with three. A candidate of which a run does not end with a finite loss ranks
    behind all others: that is a fact and no test.

    Args:
        build: called with an initializer; returns a new, compiled ``keras.Model`` that uses it.
        x: an array, or a dict, list or tuple of arrays, [examples, ...].
        y: the same for the labels; left out for a model that needs none.
        initializers: two or more: initializers of Keras, their names (``build`` gets the
            initializer), or whatever ``build`` takes; each may be a pair (label, initializer),
            all together a dict of label to initializer. Labels are folders of the log.
        steps: optimizer steps of each run.
        batch_size: examples of a batch, at most all there are.
        seeds: runs of each candidate. With one nothing can be told apart.
        log_dir: folder for TensorBoard: the ranking under *Text*, the runs under *HParams* with
            their figures, and in ``<label>/seed_<n>`` each run's losses and initwatch's own log.
        console: False keeps the terminal silent.

    Returns:
        the ranking, with losses float64[seeds, steps] and the Report of each run. A run that
        raises is recorded with what it raised, and the others go on.

    Raises:
        ArgumentError: if an argument is wrong, ``build`` raises for a candidate under the first
            seed or returns anything but a new, compiled model, or no run at all can be trained.
        LogDirError: if ``log_dir`` cannot be written (also an OSError).
    """
    for name, value in (("steps", steps), ("batch_size", batch_size), ("seeds", seeds)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} must be a whole number, 1 or more. Received: {value!r}")
    if not isinstance(console, bool):
        raise ArgumentError(f"console must be True or False. Received: {console!r}")
    candidates = _checked_candidates(initializers)
    data, examples = _checked_data(x, y)
    folder = checked_log_dir(log_dir) if log_dir is not None and writes_logs() else None
    builder = _Builder(build)
    for label, initializer in candidates.items():
        # what cannot be built is told before the first run, not an hour later
        with seeded(0):
            builder.model(label, _drawing(initializer, 0))

    runs: dict[str, list[Run]] = {label: [] for label in candidates}
    bar = ProgressBar(seeds * len(candidates) * steps, console)
    faults = Faults(bar.note if console else _to_stderr)
    with bar, HParamsLog(folder) if folder else nullcontext() as log:
        for seed in range(seeds):
            order = _order(examples, steps, batch_size, seed)
            for label, initializer in candidates.items():
                bar.begin(f"{label}, seed {seed}", sum(map(len, runs.values())) * steps)
                trainer = _Trainer(builder, data, order, bar.step)
                started = time.time()
                at = run_folder(folder, label, seed) if folder else None
                run = trainer.run(label, initializer, seed, at)
                runs[label].append(run)
                if run.failure:
                    bar.note(f"{label}, seed {seed} failed, the others go on. {run.failure}")
                if log is not None:
                    with faults.contained("HParams log", "runs are missing in the dashboard."):
                        log.add(run, started)
        _check_some_ran(runs)
        comparison = ranked(candidates, runs)
        if log is not None:
            with faults.contained("HParams log", "the ranking is not in it."):
                log.rank(comparison)
        bar.note(verdict_line(comparison), "green" if comparison.sure else "yellow")
    return comparison


# ---------------------------------------------------------------------------- one run


class _Builder:
    """Calls the user's ``build`` and looks at what comes of it."""

    def __init__(self, build: Callable[[Any], keras.Model]) -> None:
        if not callable(build):
            raise ArgumentError(
                "build must be a function that takes an initializer and returns a compiled "
                f"keras.Model. Received: {build!r}"
            )
        self._build = build
        self._made: weakref.WeakSet[keras.Model] = weakref.WeakSet()

    def model(self, label: str, initializer: Any) -> keras.Model:
        """A new model.

        Raises:
            ArgumentError: if ``build`` raises, or returns something else.
        """
        try:
            model = self._build(initializer)
        except Exception as error:
            raise ArgumentError(
                f"build raised {_told(error)} for the candidate {label!r} ({initializer!r}). It "
                "must return a compiled keras.Model for every initializer in the list."
            ) from error
        if not isinstance(model, keras.Model) or not model.compiled:
            raise ArgumentError(
                "build must return a compiled keras.Model; call model.compile(optimizer=..., "
                f"loss=...) in it and return the model. Received for {label!r}: {model!r}"
            )
        if model.steps_per_execution > 1:
            raise ArgumentError(
                "compare trains batch by batch: leave steps_per_execution out of model.compile. "
                f"Received for {label!r}: steps_per_execution={model.steps_per_execution}"
            )
        if model in self._made:
            raise ArgumentError(
                "build must make a new model each time it is called, or runs would go on from "
                f"where others ended. For {label!r} it returned one that it returned before."
            )
        self._made.add(model)
        return model


class _Trainer:
    """Trains one model on batches in a given order.

    Args:
        builder: makes the model.
        data: (x, y), or (x,), arrays [examples, ...] or trees of them.
        order: int64[steps, batch], the examples of each batch.
        advance: called after each step.
    """

    def __init__(
        self,
        builder: _Builder,
        data: tuple[Any, ...],
        order: NDArray[np.int64],
        advance: Callable[[], None],
    ) -> None:
        self._builder = builder
        self._data = data
        self._order = order
        self._advance = advance

    def run(self, label: str, initializer: Any, seed: int, folder: Path | None) -> Run:
        """Trains; what is raised ends this run only."""
        losses = np.full(len(self._order), np.nan)
        watch = InitWatch(folder, console=False)
        failure = ""
        try:
            with seeded(seed):
                model = self._builder.model(label, _drawing(initializer, seed))
                with watch.watching(model):
                    for step, rows in enumerate(self._order):
                        losses[step] = self._step(model, rows)
                        self._advance()
        except Exception as error:
            failure = _told(error)
        return Run(
            label=label,
            seed=seed,
            losses=losses,
            first_loss=float(losses[0]),
            final_loss=final_loss(losses),
            area=area_under(losses),
            report=watch.report,
            failure=failure,
        )

    def _step(self, model: keras.Model, rows: NDArray[np.int64]) -> float:
        """One batch's own loss."""
        model.reset_metrics()  # Keras up to 3.13 goes on with its running mean
        batch = keras.tree.map_structure(lambda array: array[rows], self._data)
        logs = model.train_on_batch(*batch, return_dict=True)
        if "loss" not in logs:
            raise ArgumentError(
                "the model's train_step must return a dict with the key 'loss', which is what is "
                f"compared. Received: {', '.join(logs) or 'an empty dict'}"
            )
        return float(logs["loss"])


def _drawing(initializer: Any, seed: int) -> Any:
    """The same initializer, drawing from a generator of ``seed``, if it is one of Keras's own.

    One of Keras's with an integer seed, or with none, gives every layer of a shape, and every
    run, the same weights. Others are handed over as they are.
    """
    kind = type(initializer)
    if getattr(keras.initializers, kind.__name__, None) is not kind:
        return initializer
    config = initializer.get_config()
    if "seed" not in config:
        return initializer
    return kind.from_config(config | {"seed": keras.random.SeedGenerator(seed)})


def _order(examples: int, steps: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """int64[steps, batch]: every example once before one comes again, whole batches only."""
    generator = np.random.default_rng((ORDER_STREAM, seed))
    size = min(batch_size, examples)
    epochs = math.ceil(steps * size / examples)
    drawn = np.concatenate([generator.permutation(examples) for _ in range(epochs)])
    return drawn[: steps * size].reshape(steps, size)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"initwatch: {line}\n")


def _told(error: Exception) -> str:
    """An exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _check_some_ran(runs: Mapping[str, list[Run]]) -> None:
    every = [run for group in runs.values() for run in group]
    if all(run.failure for run in every):
        raise ArgumentError(
            f"none of the {len(every)} runs could be trained. The first, {every[0].label!r}, ended "
            f"with {every[0].failure} Check that build(...).train_on_batch(x[:32], y[:32]) works."
        )


# ---------------------------------------------------------------------------- arguments


def _checked_candidates(initializers: Any) -> dict[str, Any]:
    """Label to initializer; names and classes of Keras's have become initializers."""
    expected = (
        "initializers must be a list of two or more, such as ['he_normal', "
        "keras.initializers.RandomNormal(stddev=0.05)], of pairs (label, initializer), or a dict "
        "of label to initializer."
    )
    if isinstance(initializers, str) or not isinstance(initializers, Iterable):
        raise ArgumentError(f"{expected} Received: {initializers!r}")
    if isinstance(initializers, Mapping):
        entries = list(initializers.items())
    else:
        entries = [_labelled(entry) for entry in initializers]
    if len(entries) < 2:
        raise ArgumentError(f"{expected} Received {len(entries)}: {entries!r}")
    candidates: dict[str, Any] = {}
    with seeded(0):  # a new initializer draws its seed from Python's generator
        for label, initializer in entries:
            _check_label(label)
            if label in candidates:
                raise ArgumentError(
                    f"two candidates are called {label!r}. Give them labels of their own: "
                    "[('first', ...), ('second', ...)]."
                )
            candidates[label] = _resolved(initializer)
    return candidates


def _labelled(entry: Any) -> tuple[str, Any]:
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        return entry
    return _label_of(entry), entry


def _check_label(label: Any) -> None:
    if not isinstance(label, str) or label.strip(" .") == "" or set(label) & set('/\\:*?"<>|\n'):
        raise ArgumentError(
            "a candidate's label names a folder of the log: text without / \\ : * ? \" < > | . "
            f"Received: {label!r}. Give it one: ('label', initializer)."
        )


def _label_of(initializer: Any) -> str:
    """A name: the given one, or class and arguments that are not the default."""
    if isinstance(initializer, keras.initializers.Initializer):
        shown = [f"{name}={value}" for name, value in given_arguments(initializer).items()]
        return type(initializer).__name__ + (f"({', '.join(shown)})" if shown else "")
    return getattr(initializer, "__name__", None) or str(initializer)


def _resolved(initializer: Any) -> Any:
    known = inspect.isclass(initializer) and issubclass(initializer, keras.initializers.Initializer)
    if not known and not isinstance(initializer, str):
        return initializer
    try:
        return keras.initializers.get(initializer)
    except (TypeError, ValueError):
        return initializer  # a word of the user's own, that build knows


def _checked_data(x: Any, y: Any) -> tuple[tuple[Any, ...], int]:
    """(x, y) or (x,) as NumPy arrays, and the number of examples."""
    data = (_arrays("x", x),) if y is None else (_arrays("x", x), _arrays("y", y))
    lengths = {len(array) for array in keras.tree.flatten(data)}
    if len(lengths) != 1 or 0 in lengths:
        raise ArgumentError(
            "x and y must hold the same number of examples along their first axis, 1 or more. "
            f"Received: {', '.join(str(length) for length in sorted(lengths))}"
        )
    return data, lengths.pop()


def _arrays(name: str, tree: Any) -> Any:
    leaves = keras.tree.flatten(tree)
    if not leaves or not all(getattr(leaf, "shape", None) for leaf in leaves):
        raise ArgumentError(
            f"{name} must be an array, or a dict, list or tuple of arrays, [examples, ...]. A "
            "dataset or generator has an order of its own, and runs are only comparable on the "
            "same batches: draw arrays from it first. "
            f"Received: {type(tree).__name__}"
        )
    return keras.tree.map_structure(_array, tree)


def _array(leaf: Any) -> NDArray[Any]:
    tensor = keras.ops.is_tensor(leaf)
    array = keras.ops.convert_to_numpy(leaf) if tensor else np.asarray(leaf)
    # as fit does
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array
