"""How a case of the zoo is trained, and how well it did."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from math import ceil
from typing import Any

import keras
import numpy as np

from tests.bench.zoo.data import Data
from tests.bench.zoo.networks import Parts

LOSSES = {
    "classes": "sparse_categorical_crossentropy",
    "labels": "binary_crossentropy",
    "values": "mse",
    "points": "mse",  # not used: a critic judges
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """One way to train one network.

    Attributes:
        data: gives the rows.
        network: makes the network from ``Parts``, the rows and ``options``.
        changes: of single layers, by name (see ``Parts``).
        loss: name or function; by default the one that fits the target.
        optimizer: its Keras name; ``rate`` its learning rate or a function that gives a schedule,
            ``settings`` its other arguments.
        inputs: what is done to every row's x, held out ones too.
        targets: what is done to the y that is trained on; held out rows keep the true ones.
        earlier: epochs trained before the training proper.
        freeze: pattern of the names of layers frozen after that.
        threshold: above which an output of a ``labels`` target means yes.
        loop: one of ``LOOPS``.
    """

    data: Callable[[], Data]
    network: Callable[..., keras.Model]
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loss: Any = None
    optimizer: str = "Adam"
    rate: float | Callable[[], Any] = 1e-3
    settings: Mapping[str, Any] = field(default_factory=dict)
    compile: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[Any], Any] | None = None
    targets: Callable[[Any], Any] | None = None
    batch: int = 32
    epochs: int = 4
    earlier: int = 0
    freeze: str = ""
    policy: str = "float32"
    threshold: float = 0.5
    loop: str = "fit"

    def but(self, **planted):
        """The same with something changed; ``options`` and ``changes`` are added to."""
        for name in ("options", "changes", "settings", "compile"):
            if name in planted:
                planted[name] = getattr(self, name) | planted[name]
        return replace(self, **planted)


def compiled(training, model, data):
    rate = training.rate() if callable(training.rate) else training.rate
    optimizer = getattr(keras.optimizers, training.optimizer)(rate, **training.settings)
    losses = [LOSSES[kind] for kind in data.kind]
    loss = training.loss or (losses if len(losses) > 1 else losses[0])
    model.compile(optimizer, loss, **training.compile)


def trained(training, seed, watch=None):
    """Trains from scratch; gives how well the trained network does on the rows held out."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(training.policy)
    try:
        data = training.data()
        change = training.inputs or (lambda x: x)
        x, x_test = change(data.x), change(data.x_test)
        y = tuple((training.targets or (lambda y: y))(y) for y in data.y)
        y = y if len(y) > 1 else y[0]
        model = training.network(Parts(training.changes), data, **training.options)
        compiled(training, model, data)
        if training.earlier:
            run(training, model, x, y, training.earlier)
            for layer in model.layers:
                layer.trainable = not fnmatch(layer.name, training.freeze)
            compiled(training, model, data)
        run(training, model, x, y, training.epochs, watch)
        predicted = model.predict(x_test, batch_size=512, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    predicted = predicted if isinstance(predicted, (list, tuple)) else [predicted]
    return min(
        skill(kind, y, p, training.threshold)
        for kind, y, p in zip(data.kind, data.y_test, predicted, strict=True)
    )


def run(training, model, x, y, epochs, watch=None):
    LOOPS[training.loop](training, model, x, y, epochs, watch)


def fit(training, model, x, y, epochs, watch):
    callbacks = [watch] if watch else []
    model.fit(x, y, training.batch, epochs, verbose=0, callbacks=callbacks)


def batches(training, x, y, epochs):
    rng = np.random.default_rng(0)
    for _ in range(epochs * ceil(len(x) / training.batch)):
        rows = rng.integers(0, len(x), training.batch)
        yield x[rows], y[rows]


def watched(model, watch):
    return watch.watching(model) if watch else nullcontext()


def train_on_batch(training, model, x, y, epochs, watch):
    with watched(model, watch):
        for batch in batches(training, x, y, epochs):
            model.train_on_batch(*batch)


def adversarial(training, generator, noise, points, epochs, watch):
    """A critic learns to tell the points from the generator's; the generator is watched."""
    rate = training.rate
    critic = keras.Sequential(
        [
            keras.Input(points.shape[1:]),
            *(keras.layers.Dense(32, "leaky_relu", name=f"critic_{i}") for i in (1, 2)),
            keras.layers.Dense(1, "sigmoid", name="verdict"),
        ]
    )
    critic.compile(keras.optimizers.Adam(rate, beta_1=0.5), "binary_crossentropy")
    both = keras.Sequential([generator, critic])
    both.compile(keras.optimizers.Adam(rate, beta_1=0.5), "binary_crossentropy")
    half = np.ones((training.batch, 1), "float32")
    with watched(both, watch):
        for drawn, true in batches(training, noise, points, epochs):
            made = keras.ops.convert_to_numpy(generator(drawn))
            critic.trainable = True
            critic.train_on_batch(np.concatenate([true, made]), np.concatenate([half, 0 * half]))
            critic.trainable = False
            both.train_on_batch(drawn, half)


LOOPS = {"fit": fit, "train_on_batch": train_on_batch, "adversarial": adversarial}


def skill(kind, truth, predicted, threshold=0.5):
    """0 for a constant guess, 1 for no mistake.

    Accuracy averaged over classes, so that a rare one counts as much; for values the share of the
    variance that is explained; for points how near their mean and spread are. Outputs that are not
    finite are worth nothing.
    """
    predicted = np.asarray(predicted, "float64")
    if not np.isfinite(predicted).all():
        return 0.0
    if kind == "values":
        return max(-1.0, 1 - float(np.mean((predicted - truth) ** 2) / np.mean(truth.var(axis=0))))
    if kind == "points":
        own, true = (np.concatenate([p.mean(axis=0), p.std(axis=0)]) for p in (predicted, truth))
        return 1 - float(np.linalg.norm(own - true) / np.linalg.norm(true))
    guess = predicted.argmax(axis=-1) if kind == "classes" else predicted > threshold
    classes = np.unique(truth)
    right = np.mean([np.mean(guess[truth == c] == c) for c in classes])
    return float((right - 1 / len(classes)) / (1 - 1 / len(classes)))
