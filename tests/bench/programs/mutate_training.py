"""How it is trained: learning rates, optimizers, penalties, what is frozen or left out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import layers as kl
from keras import optimizers

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_rebuild import (
    Config,
    has_kernel,
    hidden_kernels,
    is_in,
    kernel_layers,
    like,
    parts,
    rebuilt,
    settings,
)
from tests.bench.programs.program import Run

RUNS_AWAY = "update_too_large diverging_loss oscillating_loss non_finite dead_relu"
STANDS_STILL = "update_too_small unchanged_weights stalled_loss"
HELD_BACK = "regularization stalled_loss vanishing_signal"
RATES = ("learning_rate", "initial_learning_rate", "warmup_target", "end_learning_rate")


def with_rate(run: Run, factor: float) -> Run | None:
    """The same optimizer with another learning rate, or its schedule multiplied."""
    if run.optimizer is None:
        return None
    config = run.optimizer.get_config()
    rate = config["learning_rate"]
    if isinstance(rate, dict):
        inner = rate["config"]
        if "values" in inner:
            inner["values"] = [value * factor for value in inner["values"]]
        for key in RATES:
            if inner.get(key) is not None:
                inner[key] *= factor
    else:
        config["learning_rate"] = rate * factor
    return replace(run, optimizer=type(run.optimizer).from_config(config))


def rate(name: str, factor: float, doc: str, symptoms: str, advice="learning_rate") -> None:
    add(name, "rate", doc, symptoms, advice, lambda run: with_rate(run, factor))


rate("rate_x1000", 1000.0, "1000 times the learning rate", RUNS_AWAY)
rate("rate_x100", 100.0, "100 times the learning rate", RUNS_AWAY)
rate("rate_x30", 30.0, "30 times the learning rate", RUNS_AWAY)
rate("rate_by_100", 0.01, "a hundredth of the learning rate", STANDS_STILL)
rate("rate_by_1000", 0.001, "a thousandth of the learning rate", STANDS_STILL)
rate("rate_0", 0.0, "a learning rate of 0", STANDS_STILL)


def single_rows(run: Run) -> Run | None:
    """Batches of one row, and 30 times the rate: an eighth of the epochs do."""
    if run.batch is None or run.optimizer is None:
        return None
    epochs = max(1, run.epochs * 4 // run.batch)
    return replace(with_rate(run, 30.0), batch=1, epochs=epochs)


add("single_rows", "rate", "batches of one row at 30 times the rate", RUNS_AWAY, "learning_rate",
    single_rows)  # fmt: skip


# ------------------------------------------------------------------------------ optimizers


def optimizer(name: str, make: Callable[[], Any], doc: str, symptoms: str, advice: str) -> None:
    """Registers another optimizer."""

    def change(run: Run) -> Run | None:
        return None if run.optimizer is None else replace(run, optimizer=make())

    add(name, "optimizer", doc, symptoms, advice, change)


def setting(name: str, doc: str, symptoms: str, advice: str, **settings: Any) -> None:
    """Registers other arguments of the optimizer there is."""

    def change(run: Run) -> Run | None:
        if run.optimizer is None:
            return None
        config = run.optimizer.get_config()
        if not set(settings) <= set(config) or run.compile.get("auto_scale_loss"):
            return None
        return replace(run, optimizer=type(run.optimizer).from_config(config | settings))

    add(name, "optimizer", doc, symptoms, advice, change)


SLOW, FAST = "learning_rate optimizer", "learning_rate optimizer clipping"
# fmt: off
optimizer("adadelta", lambda: optimizers.Adadelta(), "Adadelta with Keras's rate of 0.001",
    STANDS_STILL, SLOW)
optimizer("adagrad", lambda: optimizers.Adagrad(), "Adagrad with Keras's rate of 0.001",
    STANDS_STILL, SLOW)
optimizer("sgd_1e-5", lambda: optimizers.SGD(1e-5), "SGD with a rate of 0.00001",
    STANDS_STILL, SLOW)
optimizer("sgd_momentum_1", lambda: optimizers.SGD(1.0, momentum=0.99),
    "SGD with a rate of 1 and momentum 0.99", RUNS_AWAY, FAST)
optimizer("rmsprop_0.3", lambda: optimizers.RMSprop(0.3), "RMSprop with a rate of 0.3",
    RUNS_AWAY, FAST)
optimizer("adam_1", lambda: optimizers.Adam(1.0), "Adam with a rate of 1", RUNS_AWAY, FAST)
optimizer("adam_epsilon", lambda: optimizers.Adam(epsilon=100.0), "Adam with epsilon 100",
    STANDS_STILL, SLOW)
optimizer("clipped_sgd", lambda: optimizers.SGD(0.01, clipnorm=1e-6),
    "gradients clipped to 0.000001", STANDS_STILL, "clipping learning_rate optimizer")
optimizer("clipvalue_sgd", lambda: optimizers.SGD(0.01, clipvalue=1e-7),
    "every gradient clipped to 0.0000001", STANDS_STILL, "clipping learning_rate optimizer")
optimizer("decay_sgd", lambda: optimizers.SGD(
    optimizers.schedules.ExponentialDecay(0.01, 1, 0.5)), "a rate that halves each step",
    STANDS_STILL, SLOW)
setting("accumulation", "gradients are added up over 100,000 steps", STANDS_STILL,
    "optimizer learning_rate", gradient_accumulation_steps=100_000)
setting("weight_decay", "a weight decay of 50", "regularization stalled_loss vanishing_signal",
    "regularization optimizer", weight_decay=50.0)
setting("odd_moments", "moments that hardly decay", RUNS_AWAY + " " + STANDS_STILL, FAST,
    beta_1=0.9999, beta_2=0.9)
# fmt: on


# ------------------------------------------------------------------------------ normalization

NORMS = (kl.BatchNormalization, kl.LayerNormalization, kl.GroupNormalization, kl.UnitNormalization)
UNEVEN = (
    "exploding_signal exploding_gradient vanishing_signal vanishing_gradient "
    "initializer_mismatch initial_loss"
)


def without(*kinds: type) -> Callable[[Run], Run | None]:
    def change(run: Run) -> Run | None:
        if not any(isinstance(layer, kinds) for layer in parts(run.model)):
            return None
        left_out = rebuilt(run.model, lambda x, _: [] if isinstance(x, kinds) else None)
        return replace(run, model=left_out)

    return change


add("no_normalization", "normalization", "no BatchNormalization or LayerNormalization", UNEVEN,
    "normalization initializer", without(*NORMS))  # fmt: skip
add("not_adapted", "normalization", "no Normalization or Rescaling of the inputs",
    "unscaled_input exploding_signal exploding_gradient saturated_activation initial_loss",
    "input_scale normalization", without(kl.Normalization, kl.Rescaling))  # fmt: skip


def tiny_epsilon_gamma(run: Run) -> Run | None:
    """Scales of normalizations begin at 100 instead of 1."""
    changed = []

    def exchange(layer: Any, config: Config) -> list[Any] | None:
        if not isinstance(layer, NORMS) or "gamma_initializer" not in config:
            return None
        changed.append(layer)
        return [like(layer, config | {"gamma_initializer": keras.initializers.Constant(100.0)})]

    model = rebuilt(run.model, exchange)
    return replace(run, model=model) if changed else None


add("gamma_100", "normalization", "scales of normalizations begin at 100",
    "exploding_signal exploding_gradient initializer_mismatch initial_loss saturated_activation",
    "initializer normalization", tiny_epsilon_gamma)  # fmt: skip


def slow_averages(run: Run) -> Run | None:
    """Moving averages that hardly leave where they begin: what is trained is not what predicts."""

    def exchange(layer: Any, config: Config) -> list[Any] | None:
        wanted = isinstance(layer, kl.BatchNormalization)
        return [like(layer, config | {"momentum": 0.9999})] if wanted else None

    if not any(isinstance(layer, kl.BatchNormalization) for layer in parts(run.model)):
        return None
    return replace(run, model=rebuilt(run.model, exchange))


# no step shows it: training is sound
add("slow_averages", "normalization", "BatchNormalization(momentum=0.9999)", "", "normalization",
    slow_averages)  # fmt: skip


# ------------------------------------------------------------------------------ held back


def penalized(key: str, make: Callable[[], Any], layers: Callable[[Any], list[Any]]) -> Any:
    """A change that gives layers a regularizer or a constraint."""

    def change(run: Run) -> Run | None:
        wanted, changed = layers(run.model), []

        def exchange(layer: Any, config: Config) -> list[Any] | None:
            if not is_in(layer, wanted):
                return None
            for part in settings(config):
                if key in part:
                    part[key] = keras.saving.serialize_keras_object(make())
                    changed.append(part)
            return [like(layer, config)]

        model = rebuilt(run.model, exchange)
        return replace(run, model=model) if changed else None

    return change


def penalty(name: str, key: str, make: Callable[[], Any], doc: str) -> None:
    change = penalized(key, make, kernel_layers)
    add(name, "regularization", doc, HELD_BACK, "regularization", change)


# fmt: off
penalty("l1_0.1", "kernel_regularizer", lambda: keras.regularizers.L1(0.1), "L1 of 0.1")
penalty("l1_0.01", "kernel_regularizer", lambda: keras.regularizers.L1(0.01), "L1 of 0.01")
penalty("l2_1", "kernel_regularizer", lambda: keras.regularizers.L2(1.0), "L2 of 1")
penalty("l2_0.1", "kernel_regularizer", lambda: keras.regularizers.L2(0.1), "L2 of 0.1")
penalty("activity_l1", "activity_regularizer", lambda: keras.regularizers.L1(1.0),
    "L1 of 1 on activities")
penalty("max_norm", "kernel_constraint", lambda: keras.constraints.MaxNorm(0.01),
    "kernels of norm 0.01 at most")
# fmt: on


def behind_hidden(make: Callable[[], Any]) -> Callable[[Run], Run | None]:
    """A change that puts a layer behind each hidden one with weights."""

    def change(run: Run) -> Run | None:
        hidden = [x for x in hidden_kernels(run.model) if not isinstance(x, kl.Embedding)]

        def exchange(layer: Any, config: Config) -> list[Any] | None:
            if isinstance(layer, kl.Dropout):
                return []
            return [like(layer, config), make()] if is_in(layer, hidden) else None

        return replace(run, model=rebuilt(run.model, exchange)) if hidden else None

    return change


add("dropout_0.95", "regularization", "dropout of 0.95 behind every hidden layer", HELD_BACK,
    "regularization", behind_hidden(lambda: kl.Dropout(0.95)))  # fmt: skip
add("dropout_0.99", "regularization", "dropout of 0.99 behind every hidden layer", HELD_BACK,
    "regularization", behind_hidden(lambda: kl.Dropout(0.99)))  # fmt: skip
add("noise_1", "regularization", "noise of deviation 1 behind every hidden layer", HELD_BACK,
    "regularization", behind_hidden(lambda: kl.GaussianNoise(1.0)))  # fmt: skip


# ------------------------------------------------------------------------------ frozen


def frozen(layers: Callable[[Run], list[Any]], deviation: float | None = None) -> Any:
    """A change that leaves layers as they were drawn, as if they had been trained before."""

    def change(run: Run) -> Run | None:
        chosen = layers(run)
        normal = keras.initializers.RandomNormal(stddev=deviation or 1.0)

        def exchange(layer: Any, config: Config) -> list[Any] | None:
            if not is_in(layer, chosen):
                return None
            if deviation is not None and "kernel_initializer" in config:
                config["kernel_initializer"] = keras.saving.serialize_keras_object(normal)
            return [like(layer, config | {"trainable": False})]

        return replace(run, model=rebuilt(run.model, exchange)) if chosen else None

    return change


STUCK = "unchanged_weights zero_gradient stalled_loss update_too_small"
DRAWN = STUCK + " initializer_mismatch vanishing_signal exploding_signal"


def all_hidden(run: Run) -> list[Any]:
    return hidden_kernels(run.model)


def everything(run: Run) -> list[Any]:
    return [x for x in parts(run.model) if has_kernel(x) or isinstance(x, NORMS)]


add("frozen", "frozen", "hidden layers frozen as drawn", STUCK, "initializer optimizer",
    frozen(all_hidden))  # fmt: skip
add("frozen_tiny", "frozen", "hidden layers frozen, drawn with deviation 0.001", DRAWN,
    "initializer normalization optimizer", frozen(all_hidden, 0.001))  # fmt: skip
add("frozen_large", "frozen", "hidden layers frozen, drawn with deviation 3",
    DRAWN + " exploding_gradient saturated_activation initial_loss",
    "initializer normalization optimizer", frozen(all_hidden, 3.0))  # fmt: skip
add("all_frozen", "frozen", "every layer frozen", STUCK, "initializer optimizer",
    frozen(everything))  # fmt: skip
