"""Initial weights that a user might have chosen, and should not have."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keras import initializers, saving

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_rebuild import (
    KERNELS,
    Config,
    activation_name,
    at_the_end,
    hidden_activations,
    hidden_kernels,
    is_in,
    kernel_layers,
    like,
    rebuilt,
    settings,
)
from tests.bench.programs.program import Run

LARGE = (
    "initializer_mismatch exploding_signal exploding_gradient saturated_activation initial_loss "
    "non_finite"
)
SMALL = "initializer_mismatch vanishing_signal vanishing_gradient zero_gradient"
EQUAL = "symmetric_units initializer_mismatch"
Make = Callable[[Config], Config | None]


def drawn(model: Any, layers: list[Any], make: Make, keys: tuple[str, ...] = KERNELS) -> Any | None:
    """The model with other initializers in these layers; None if there is nothing to change.

    Args:
        model: to be built again.
        layers: whose initializers are others.
        make: gives the new initializer's configuration for the present one's; None: it stays.
        keys: which arguments.
    """
    changed = []

    def exchange(layer: Any, config: Config) -> list[Any] | None:
        if not is_in(layer, layers):
            return None
        for part in settings(config):
            for key in keys:
                new = make(part[key]) if isinstance(part.get(key), dict) else None
                if new is not None:
                    part[key] = new
                    changed.append(key)
        return [like(layer, config)]

    model = rebuilt(model, exchange)
    return model if changed else None


def always(initializer: Any) -> Make:
    """The same for all; each layer is given an object of its own."""
    return lambda _: saving.serialize_keras_object(initializer)


def scaled(factor: float) -> Make:
    """What there is, drawn ``factor`` times as large."""

    def make(config: Config) -> Config | None:
        present = saving.deserialize_keras_object(config)
        values = present.get_config() | {"seed": None}
        if isinstance(present, initializers.VarianceScaling):
            names = ("scale", "mode", "distribution")
            scale = present.scale * factor**2
            values = {k: getattr(present, k) for k in names} | {"scale": scale}
            return saving.serialize_keras_object(initializers.VarianceScaling(**values))
        found = [k for k in ("stddev", "minval", "maxval", "gain") if k in values]
        if not found:
            return None
        values |= {k: values[k] * factor for k in found}
        return saving.serialize_keras_object(type(present)(**values))

    return make


def everywhere(run: Run) -> list[Any]:
    return kernel_layers(run.model)


def hidden(run: Run) -> list[Any]:
    return hidden_kernels(run.model)


def middle(run: Run) -> list[Any]:
    """One hidden layer in the middle."""
    layers = hidden_kernels(run.model)
    return layers[len(layers) // 2 :][:1] if len(layers) >= 2 else []


def head(run: Run) -> list[Any]:
    return at_the_end(run.model)[0]


def embeddings(run: Run) -> list[Any]:
    return [x for x in kernel_layers(run.model) if "embeddings_initializer" in x.get_config()]


def under(*names: str, least: int) -> Callable[[Run], list[Any]]:
    """Hidden layers of a network whose activations are of these names, at least so many."""

    def layers(run: Run) -> list[Any]:
        found = [activation_name(layer) for layer in hidden_activations(run.model)]
        deep = len(found) >= least and set(found) <= set(names)
        return hidden_kernels(run.model) if deep else []

    return layers


def weights(
    name: str,
    where: Callable[[Run], list[Any]],
    make: Make,
    doc: str,
    symptoms: str,
    advice: str = "initializer",
    keys: tuple[str, ...] = KERNELS,
) -> None:
    """Registers an operator on initializers."""

    def change(run: Run) -> Run | None:
        layers = where(run)
        model = drawn(run.model, layers, make, keys) if layers else None
        return None if model is None else replace(run, model=model)

    add(name, "initial_weights", doc, symptoms, advice, change)


def normal(deviation: float) -> Make:
    return always(initializers.RandomNormal(stddev=deviation))


def constant(value: float) -> Make:
    return always(initializers.Constant(value))


UNIFORM_0_1 = always(initializers.RandomUniform(0.0, 1.0))
BOTH = "initializer normalization"
BIAS = ("bias_initializer",)
OFF = "dead_relu zero_gradient saturated_activation vanishing_signal initializer_mismatch"

# A row each; the formatter would make towers of them.
# fmt: off
weights("weights_x100", everywhere, scaled(100.0), "all weights 100 times as large", LARGE)
weights("weights_x10", everywhere, scaled(10.0), "all weights 10 times as large", LARGE)
weights("weights_x5", hidden, scaled(5.0), "all hidden weights 5 times as large", LARGE, BOTH)
weights("weights_by_10", everywhere, scaled(0.1), "all weights a tenth as large", SMALL)
weights("weights_by_100", everywhere, scaled(0.01), "all weights a hundredth as large", SMALL)
weights("uniform_0_1", everywhere, UNIFORM_0_1, "all weights between 0 and 1",
    LARGE + " symmetric_units dead_relu")
weights("uniform_0_1_hidden", hidden, UNIFORM_0_1, "hidden weights between 0 and 1",
    LARGE + " symmetric_units dead_relu")
weights("uniform_1", everywhere, always(initializers.RandomUniform(-1.0, 1.0)),
    "all weights between -1 and 1", LARGE)
weights("normal_1", everywhere, normal(1.0), "all weights normal of deviation 1", LARGE)
weights("normal_1_hidden", hidden, normal(1.0), "hidden weights normal of deviation 1", LARGE)
weights("normal_0.01", hidden, normal(0.01), "hidden weights normal of deviation 0.01", SMALL, BOTH)
weights("normal_0.001", everywhere, normal(0.001), "all weights normal of deviation 0.001", SMALL)
weights("normal_1e-4_hidden", hidden, normal(1e-4), "hidden weights of deviation 0.0001", SMALL)
weights("mean_1", hidden, always(initializers.RandomNormal(mean=1.0, stddev=0.05)),
    "hidden weights normal around 1", LARGE + " symmetric_units")
weights("negative", hidden, always(initializers.RandomUniform(-0.3, 0.0)),
    "no hidden weight is positive", OFF)
weights("zeros", everywhere, constant(0.0), "all weights are 0",
    EQUAL + " zero_gradient vanishing_signal dead_relu")
weights("zeros_hidden", hidden, constant(0.0), "hidden weights are 0",
    EQUAL + " zero_gradient vanishing_signal dead_relu")
weights("ones", everywhere, constant(1.0), "all weights are 1", EQUAL + " " + LARGE)
weights("constant_0.5", everywhere, constant(0.5), "all weights are 0.5", EQUAL + " " + LARGE)
weights("constant_0.1", everywhere, constant(0.1), "all weights are 0.1", EQUAL + " " + LARGE)
weights("constant_0.05_hidden", hidden, constant(0.05), "hidden weights are 0.05", EQUAL)
weights("orthogonal_3", hidden, always(initializers.Orthogonal(gain=3.0)),
    "hidden weights orthogonal with gain 3", LARGE, BOTH)
weights("orthogonal_0.1", hidden, always(initializers.Orthogonal(gain=0.1)),
    "hidden weights orthogonal with gain 0.1", SMALL, BOTH)
weights("glorot_under_relu", under("relu", "leaky_relu", "elu", "gelu", "silu", least=6),
    always(initializers.GlorotUniform()), "Glorot under six and more rectifiers", SMALL, BOTH)
weights("lecun_under_relu", under("relu", "leaky_relu", least=4),
    always(initializers.LecunNormal()), "LeCun under four and more rectifiers", SMALL, BOTH)
weights("he_under_selu", under("selu", least=3), always(initializers.HeNormal()),
    "He under selu", LARGE, BOTH)
weights("fan_out_tiny", hidden, always(initializers.VarianceScaling(0.05, "fan_out")),
    "variance 0.05 / fan_out in hidden layers", SMALL, BOTH)
weights("middle_zero", middle, constant(0.0), "one hidden layer is 0",
    EQUAL + " zero_gradient vanishing_signal dead_relu")
weights("middle_constant", middle, constant(0.1), "one hidden layer is constant", EQUAL)
weights("middle_x100", middle, scaled(100.0), "one hidden layer is 100 times as large", LARGE)
weights("middle_by_1000", middle, scaled(0.001), "one hidden layer is a thousandth as large", SMALL)
weights("embeddings_x100", embeddings, scaled(100.0), "embeddings 100 times as large", LARGE)
weights("embeddings_normal_10", embeddings, normal(10.0), "embeddings of deviation 10", LARGE)
weights("embeddings_ones", embeddings, constant(1.0), "embeddings are all 1", EQUAL + " " + LARGE)
weights("head_x100", head, scaled(100.0), "the output layer is 100 times as large", LARGE)
weights("head_normal_10", head, normal(10.0), "the output layer has deviation 10", LARGE)
weights("head_zeros", head, constant(0.0), "the output layer is 0",
    EQUAL + " zero_gradient vanishing_signal")
weights("recurrent_x5", everywhere, scaled(5.0), "recurrent kernels 5 times as large", LARGE,
    keys=("recurrent_initializer",))
weights("bias_-10", hidden, constant(-10.0), "hidden biases start at -10", OFF, keys=BIAS)
weights("bias_-3", hidden, constant(-3.0), "hidden biases start at -3", OFF, keys=BIAS)
weights("bias_10", hidden, constant(10.0), "hidden biases start at 10", LARGE, keys=BIAS)
weights("bias_normal_5", hidden, normal(5.0), "hidden biases of deviation 5",
    OFF + " " + LARGE, keys=BIAS)
# fmt: on
