"""Own training steps with a mistake in them; on TensorFlow."""

from dataclasses import replace
from typing import Any

import keras

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_rebuild import Config, like, rebuilt
from tests.bench.programs.program import Run


class OwnStep(keras.Model):
    """A model whose training step is written out; ``apply`` is where the mistake is."""

    def train_step(self, data):
        import tensorflow as tf

        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)
            loss = self.compute_loss(x, y, prediction, weight)
        variables = self.trainable_variables
        self.apply(tape.gradient(loss, variables), variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, prediction)
        return {metric.name: metric.result() for metric in self.metrics}

    def apply(self, gradients, variables):
        self.optimizer.apply(gradients, variables)


class Uphill(OwnStep):
    """Goes the wrong way."""

    def apply(self, gradients, variables):
        self.optimizer.apply([-1.0 * g for g in gradients], variables)


class Forgetful(OwnStep):
    """Computes the gradients and leaves it at that."""

    def apply(self, gradients, variables):
        pass


class Squared(OwnStep):
    """Steps by the square of the gradient: always to the same side."""

    def apply(self, gradients, variables):
        self.optimizer.apply([g * g for g in gradients], variables)


def stepping(run: Run, kind: type[OwnStep], policy: str = "") -> Run | None:
    """The model with a step of its own."""
    if keras.backend.backend() != "tensorflow":
        return None

    def exchange(layer: Any, config: Config) -> list[Any]:
        return [like(layer, config | ({"dtype": policy} if policy else {}))]

    model = rebuilt(run.model, exchange)
    sequential = isinstance(model, keras.Sequential)
    ends = (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    return replace(run, model=kind(*ends, name=model.name))


NONE = "unchanged_weights zero_gradient stalled_loss update_too_small"
add("step_uphill", "step", "an own step that goes the wrong way",
    "uphill diverging_loss non_finite", "loss optimizer learning_rate",
    lambda run: stepping(run, Uphill))  # fmt: skip
add("step_forgotten", "step", "an own step that changes no weight", NONE,
    "optimizer loss learning_rate", lambda run: stepping(run, Forgetful))  # fmt: skip
add("step_squared", "step", "an own step by squared gradients", "uphill diverging_loss",
    "optimizer loss", lambda run: stepping(run, Squared))  # fmt: skip
add("step_half", "step", "mixed_float16 in an own step that scales no loss",
    NONE + " vanishing_gradient non_finite", "loss optimizer",
    lambda run: stepping(run, OwnStep, "mixed_float16"))  # fmt: skip


def halves(run: Run) -> Run | None:
    """Everything in float16, the optimizer's slots as well."""
    model = rebuilt(run.model, lambda x, c: [like(x, c | {"dtype": "float16"})])
    return replace(run, model=model)


add("all_half", "step", "weights, gradients and optimizer in float16", NONE + " non_finite",
    "optimizer loss learning_rate", halves)  # fmt: skip
