"""Changes that a sound program should bear: an alarm at one of them is a false alarm."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import initializers, optimizers
from keras import layers as kl

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_data import Change, each, logits, numbers, of_itself, task
from tests.bench.programs.mutate_losses import function_of, with_settings
from tests.bench.programs.mutate_rebuild import (
    Config,
    activation_name,
    hidden_activations,
    hidden_kernels,
    is_in,
    kernel_layers,
    like,
    rebuilt,
    with_activation,
)
from tests.bench.programs.mutate_training import NORMS, behind_hidden, penalized, with_rate
from tests.bench.programs.mutate_weights import BIAS, Make, always, drawn, head, hidden, scaled
from tests.bench.programs.program import Run


def sound(name: str, doc: str, change: Callable[[Run], Run | None]) -> None:
    """Registers a change that is meant to do no harm."""
    add(name, "sound_change", doc, "", "", change)


def weights(name: str, make: Make, doc: str, where=hidden, keys: tuple[str, ...] = ()) -> None:
    keys = keys or ("kernel_initializer", "depthwise_initializer")

    def change(run: Run) -> Run | None:
        layers = where(run)
        model = drawn(run.model, layers, make, keys) if layers else None
        return None if model is None else replace(run, model=model)

    sound(name, doc, change)


# fmt: off
weights("sound_weights_x1.5", scaled(1.5), "hidden weights 1.5 times as large")
weights("sound_weights_by_1.5", scaled(1 / 1.5), "hidden weights 1.5 times smaller")
weights("sound_he_uniform", always(initializers.HeUniform()), "He uniform in hidden layers")
weights("sound_glorot_normal", always(initializers.GlorotNormal()), "Glorot normal")
weights("sound_orthogonal", always(initializers.Orthogonal()), "orthogonal hidden weights")
weights("sound_head_zeros", always(initializers.Zeros()), "an output layer that begins at 0", head)
weights("sound_head_by_10", scaled(0.1), "an output layer a tenth as large", head)
weights("sound_bias_0.01", always(initializers.Constant(0.01)), "hidden biases begin at 0.01",
    keys=BIAS)
weights("sound_bias_normal", always(initializers.RandomNormal(stddev=0.05)),
    "hidden biases of deviation 0.05", keys=BIAS)
# fmt: on


def exchanged(old: str, new: str) -> Callable[[Run], Run | None]:
    """Another activation of the same family."""

    def change(run: Run) -> Run | None:
        layers = [x for x in hidden_activations(run.model) if activation_name(x) in old.split()]
        return replace(run, model=with_activation(run.model, layers, new)) if layers else None

    return change


for new in ("leaky_relu", "elu", "gelu", "silu", "relu6"):
    sound(f"sound_{new}", f"{new} in place of relu", exchanged("relu", new))
sound(
    "sound_relu", "relu in place of its smooth kin", exchanged("gelu silu elu leaky_relu", "relu")
)
sound("sound_softsign", "softsign in place of tanh", exchanged("tanh", "softsign"))
sound("sound_rate_x2", "twice the learning rate", lambda run: with_rate(run, 2.0))
sound("sound_rate_by_2", "half the learning rate", lambda run: with_rate(run, 0.5))


def optimized(kind: Any, factor: float = 1.0, **settings: Any) -> Callable[[Run], Run | None]:
    """Another optimizer with the rate of the present one times ``factor``."""

    def change(run: Run) -> Run | None:
        if type(run.optimizer) not in (optimizers.Adam, optimizers.RMSprop, optimizers.AdamW):
            return None
        rate = run.optimizer.get_config()["learning_rate"]
        if isinstance(rate, dict) or type(run.optimizer) is kind:
            return None
        return replace(run, optimizer=kind(factor * rate, **settings))

    return change


sound("sound_adamw", "AdamW", optimized(optimizers.AdamW, weight_decay=1e-3))
sound("sound_nadam", "Nadam", optimized(optimizers.Nadam))
sound("sound_rmsprop", "RMSprop", optimized(optimizers.RMSprop))
sound("sound_adamax", "Adamax at twice the rate", optimized(optimizers.Adamax, 2.0))
sound("sound_lion", "Lion at a third of the rate", optimized(optimizers.Lion, 0.3))


def setting(**settings: Any) -> Callable[[Run], Run | None]:
    def change(run: Run) -> Run | None:
        if run.optimizer is None:
            return None
        config = run.optimizer.get_config() | settings
        return replace(run, optimizer=type(run.optimizer).from_config(config))

    return change


clipped = {"clipnorm": None, "clipvalue": None, "global_clipnorm": 5.0}
sound("sound_clipped", "global_clipnorm=5", setting(**clipped))
sound("sound_ema", "averaged weights beside the trained ones", setting(use_ema=True))
sound("sound_accumulated", "gradients of two steps", setting(gradient_accumulation_steps=2))


def batches(factor: float) -> Callable[[Run], Run | None]:
    def change(run: Run) -> Run | None:
        return None if run.batch is None else replace(run, batch=int(run.batch * factor))

    return change


sound("sound_batch_x2", "batches twice as large", batches(2))
sound("sound_batch_by_2", "batches half as large", batches(0.5))
sound("sound_in_order", "no shuffling", lambda run: replace(run, fit=run.fit | {"shuffle": False}))
sound("sound_longer", "twice the epochs", lambda run: replace(run, epochs=2 * run.epochs))
sound("sound_steps", "four steps an execution",
    lambda run: replace(run, compile=run.compile | {"steps_per_execution": 4}))  # fmt: skip


def widened(factor: float) -> Callable[[Run], Run | None]:
    """Hidden layers of a sequential model of another width."""

    def change(run: Run) -> Run | None:
        if not isinstance(run.model, keras.Sequential):
            return None
        hidden, changed = hidden_kernels(run.model), []

        def exchange(layer: Any, config: Config) -> list[Any] | None:
            key = {kl.Dense: "units", kl.Conv2D: "filters", kl.Conv1D: "filters"}.get(type(layer))
            if key is None or not is_in(layer, hidden) or config.get("groups", 1) > 1:
                return None
            changed.append(layer)
            return [like(layer, config | {key: max(2, int(config[key] * factor))})]

        model = rebuilt(run.model, exchange)
        return replace(run, model=model) if changed else None

    return change


sound("sound_narrow", "hidden layers half as wide", widened(0.5))
sound("sound_wide", "hidden layers twice as wide", widened(2.0))
sound("sound_dropout", "dropout of 0.1 behind every hidden layer",
    behind_hidden(lambda: kl.Dropout(0.1)))  # fmt: skip


def normalized(run: Run) -> Run | None:
    """Batch normalization behind every hidden layer, where there is none."""
    if any(isinstance(layer, NORMS) for layer in run.model._flatten_layers()):
        return None
    return behind_hidden(lambda: kl.BatchNormalization(momentum=0.9))(run)


sound("sound_normalized", "BatchNormalization behind every hidden layer", normalized)
sound("sound_l2", "L2 of 0.00001",
    penalized("kernel_regularizer", lambda: keras.regularizers.L2(1e-5), kernel_layers)
)  # fmt: skip


def noisy(run: Run) -> Run | None:
    """One label of twenty is that of another row."""
    if task(run) not in ("sparse", "categorical", "binary"):
        return None
    y = run.y.copy()
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(y))[: len(y) // 20]
    y[rows] = run.y[rng.permutation(len(y))[: len(rows)]]
    return replace(run, y=y)


sound("sound_label_noise", "one label of twenty is another row's", noisy)


def inputs(change: Change) -> Callable[[Run], Run | None]:
    def changed(run: Run) -> Run | None:
        if not numbers(run.x) or of_itself(run) or not isinstance(run.test, tuple):
            return None
        return replace(run, x=each(run.x, change), test=(each(run.test[0], change), run.test[1]))

    return changed


def jittered(a):
    return a + 0.05 * a.std() * np.random.default_rng(1).standard_normal(a.shape)


sound("sound_inputs_x1.5", "inputs 1.5 times as large", inputs(lambda a: 1.5 * a))
sound("sound_inputs_noise", "a little noise on the inputs", inputs(jittered))


def rewritten(run: Run) -> Run | None:
    """The same loss as a function of the user's own."""
    if not task(run):
        return None
    right = function_of(run.loss)

    def own_loss(y_true, y_pred):
        return right(y_true, y_pred)

    return replace(run, loss=own_loss)


def smoothed(run: Run) -> Run | None:
    if task(run) not in ("categorical", "binary"):
        return None
    loss = with_settings(run.loss, from_logits=logits(run.loss), label_smoothing=0.05)
    return None if loss is None else replace(run, loss=loss)


sound("sound_own_loss", "the same loss, as an own function", rewritten)
sound("sound_label_smoothing", "label_smoothing=0.05", smoothed)
