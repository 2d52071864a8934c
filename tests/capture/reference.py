"""A training step done outside of fit: differentiated by the backend itself, summed in float64."""

import importlib
from dataclasses import dataclass

import keras
import numpy as np

from initwatch.records import Statistic
from tests.capture.models import BACKEND, values_of


@dataclass(frozen=True, slots=True)
class Step:
    """What a step is at given weights.

    Attributes:
        loss: NaN where the step has none of its own to show.
        weights: path -> value of each trainable variable.
        gradients: path -> dL/dw, None where the backend has none to give.
        outputs: name -> a layer's outputs, those of all its calls in one array.
    """

    loss: float
    weights: dict
    gradients: dict
    outputs: dict


class Recorder(keras.callbacks.Callback):
    """Keeps a model's variables before and after each batch, as a callback of the user's may."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        self.epochs = 0
        self.before = {}  # step -> values of all variables
        self.after = {}  # step that ended last -> values of all variables
        self.trainable = {}  # step -> paths of the trainable variables

    def on_train_batch_begin(self, batch, logs=None):
        step = self.epochs * self.batches + batch
        self.before[step] = values_of(self.model.variables)
        self.trainable[step] = [v.path for v in self.model.trainable_variables]

    def on_train_batch_end(self, batch, logs=None):
        step = self.epochs * self.batches + batch
        self.after[step] = values_of(self.model.variables)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


def set_values(model, values):
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


def step_of(model, loss, x, y, weights, scale=1.0):
    """The step of a model at its present values.

    Args:
        model: not the one in training.
        loss: (y, y_pred, weights) -> loss without what the layers add to it.
        x, y, weights: the batch; None for no weights.
        scale: factor on the loss while it is differentiated, as under loss scaling.
    """

    def whole():
        total = loss(y, model(x, training=True), weights)
        for added in model.losses:
            total = total + added
        return total

    value, gradients = differentiated(whole, model.trainable_variables, scale)
    return Step(value, trainable_values(model), gradients, outputs_of(model, x))


def trainable_values(model):
    variables = model.trainable_variables
    return {v.path: w for v, w in zip(variables, values_of(variables), strict=True)}


def differentiated(function, variables, scale=1.0):
    """``function()`` and path -> its gradient, with nothing of Keras's trainers in between."""
    value, gradients = _DIFFERENTIATED[BACKEND](function, variables, scale)
    dense = [None if g is None else np.asarray(g, "float64") / scale for g in gradients]
    return float(keras.ops.convert_to_numpy(value)), {
        v.path: g for v, g in zip(variables, dense, strict=True)
    }


def _by_tensorflow(function, variables, scale):
    tf = importlib.import_module("tensorflow")
    with tf.GradientTape() as tape:
        value = function()
        scaled = value * scale
    gradients = tape.gradient(scaled, [variable.value for variable in variables])
    return value, [_dense(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]


def _dense(slices):
    dense = np.zeros(slices.dense_shape.numpy(), "float64")
    np.add.at(dense, slices.indices.numpy(), slices.values.numpy())
    return dense


def _by_jax(function, variables, scale):
    jax = importlib.import_module("jax")

    def scaled(values):
        mapping = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            value = function()
        return value * scale, value

    values = [variable.value for variable in variables]
    (_, value), gradients = jax.value_and_grad(scaled, has_aux=True)(values)
    return value, gradients


def _by_torch(function, variables, scale):
    torch = importlib.import_module("torch")
    value = function()
    values = [variable.value for variable in variables]
    gradients = torch.autograd.grad(value * scale, values, allow_unused=True)
    return value, [None if g is None else g.detach().numpy() for g in gradients]


_DIFFERENTIATED = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}


def outputs_of(model, x):
    """name -> outputs of each layer of a graph of layers; nothing where there is no graph."""
    graph = getattr(model, "_functional", None) or model
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_nodes_by_depth"):
        return {}
    inputs = graph.inputs if len(graph.inputs) > 1 else graph.inputs[0]
    tensors = {}
    found = {}
    for node in (node for nodes in graph._nodes_by_depth.values() for node in nodes):
        layer = node.operation
        if isinstance(layer, keras.Model):
            given = keras.Model(inputs, node.arguments.keras_tensors[0])
            found |= outputs_of(layer, given(x))
        elif isinstance(layer, keras.Layer) and not isinstance(layer, keras.layers.InputLayer):
            tensors.setdefault(layer.name, []).append(node.outputs[0])
    values = keras.Model(inputs, tensors)(x, training=True)
    for name, outputs in values.items():
        found[name] = np.concatenate([_flat(output) for output in outputs])
    return found


def _flat(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64").ravel()


# Below this share of the largest gradient, all is rounding: the bias of the keys of an attention
# has a gradient of zero, and float32 shows it as 1e-9.
NOTHING = 1e-7


def rms(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, "float64")))))


def compare(update, step, tolerance, loss_seen=True):
    """Asserts that the numbers of an update are those of the step done here.

    Returns:
        names of the layers whose outputs were compared.
    """
    expected = [step.loss if loss_seen else np.nan]
    loss = update.values[Statistic.LOSS]
    np.testing.assert_allclose(loss, expected, rtol=tolerance, err_msg="loss")
    paths = [variable.path for variable in update.variables]
    gradients = [step.gradients[path] for path in paths]
    least = NOTHING * max(np.linalg.norm(g) for g in gradients if g is not None)
    for i, gradient in enumerate(gradients):
        for statistic, expected in figures_of(gradient).items():
            limit = tolerance * expected + least
            if statistic is Statistic.GRADIENT_ZERO_FRACTION and gradient is not None:
                limit = zeros_limit(gradient, least, tolerance)
            measured = update.values[statistic][i]
            close = np.isnan(measured) if np.isnan(expected) else abs(measured - expected) <= limit
            assert close, f"{statistic} of {paths[i]}: {measured}, not {expected}"
    expected = [rms(step.weights[path]) for path in paths]
    np.testing.assert_allclose(update.values[Statistic.WEIGHT_RMS], expected, rtol=1e-5)
    return _compare_outputs(update, step, tolerance)


def figures_of(gradient):
    """What is known of a gradient; NaN if there is none."""
    given = np.full(1, np.nan) if gradient is None else gradient
    return {
        Statistic.GRADIENT_NORM: np.linalg.norm(given),
        Statistic.GRADIENT_RMS: rms(given),
        Statistic.GRADIENT_ZERO_FRACTION: np.nan if gradient is None else np.mean(given == 0.0),
    }


def zeros_limit(gradient, least, tolerance):
    """How far a share of zeros may be off."""
    if 0.0 < np.linalg.norm(gradient) < least:
        return 1.0  # nothing but rounding, and that is each compiler's own
    if tolerance >= 1e-2:
        return 1.0 / gradient.size  # in half precision a ReLU's input may round to zero
    return 1e-6


def _compare_outputs(update, step, tolerance):
    compared = []
    for i, layer in enumerate(update.layers):
        name = layer.path.rpartition("/")[2]
        mean = update.values.get(Statistic.ACTIVATION_MEAN, np.full(i + 1, np.nan))[i]
        if name not in step.outputs or np.isnan(mean):
            continue
        outputs = step.outputs[name]
        limit = tolerance * rms(outputs)
        assert abs(mean - outputs.mean()) <= limit, name
        assert abs(update.values[Statistic.ACTIVATION_STD][i] - outputs.std()) <= limit, name
        compared.append(name)
    return compared


def compare_updates(updates, recorder, model):
    """Asserts UPDATE_RMS of every step.

    Args:
        updates: of each step one.
        recorder: what stood before and after each step.
        model: built like the one in training.
    """
    places = {variable.path: i for i, variable in enumerate(model.variables)}
    for step, update in enumerate(updates):
        before, after = recorder.before[step], recorder.after[step]
        if not before:
            continue  # the step itself built the model
        indices = [places[variable.path] for variable in update.variables]
        expected = [rms(after[i].astype("float64") - before[i]) for i in indices]
        measured = update.values[Statistic.UPDATE_RMS]
        # below 1e-12 it is rounding of a weight that was not to move
        np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-12)
