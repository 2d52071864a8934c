"""Small networks of every shape that capture must follow, each with data to train on."""

import importlib

import keras
import numpy as np
from keras import layers, ops


def plain_dense():
    """Four activations whose slope is known from their output."""
    x = inputs = keras.Input((12,))
    for i, activation in enumerate(["relu", "tanh", "sigmoid", "elu"]):
        x = layers.Dense(20, activation=activation, name=f"hidden_{i}")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


def plain_conv():
    """A convolution whose ReLU is a layer of its own."""
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


def dense_net():
    """Ten layers, batch normalisation and dropout at the end."""
    x = inputs = keras.Input((32,))
    for i in range(10):
        x = layers.Dense(64, activation="relu", name=f"hidden_{i}")(x)
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


def conv_net():
    """Convolutions, pooling, a ReLU behind batch normalisation, GELU."""
    x = inputs = keras.Input((16, 16, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(16, 3, activation="relu")(x))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(32, 3)(x)))
    x = layers.Dense(64, activation="gelu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def resnet_20(size=16):
    """He et al. 2016, sec. 4.2, on images of size x size."""
    x = inputs = keras.Input((size, size, 3))
    x = layers.ReLU()(layers.BatchNormalization()(_conv(16)(x)))
    for filters, first_stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(3):
            stride = first_stride if block == 0 else 1
            y = layers.ReLU()(layers.BatchNormalization()(_conv(filters, 3, stride)(x)))
            y = layers.BatchNormalization()(_conv(filters)(y))
            if stride != 1:
                x = layers.BatchNormalization()(_conv(filters, 1, stride)(x))
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def residual_net(gamma="ones", blocks=3):
    """Blocks with biases whose last batch normalisation begins with ``gamma``."""
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same")(x)
    for _ in range(blocks):
        y = layers.Conv2D(16, 3, padding="same")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(16, 3, padding="same")(y)
        y = layers.BatchNormalization(gamma_initializer=gamma)(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def zero_gamma():
    return residual_net("zeros")


def gated_net():
    """Products and sums of many shapes, which the graph optimizer likes to regroup."""
    x = inputs = keras.Input((10,))
    x = layers.Dense(8)(x)
    for _ in range(2):
        y = layers.Rescaling(0.7, 0.1)(layers.Dense(8)(x))
        y = layers.UnitNormalization()(layers.LayerNormalization()(y))
        y = layers.Multiply()([y, layers.Activation("sigmoid")(y)])
        x = layers.Average()([x, layers.Dense(8)(y)])
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def not_built():
    """Makes its weights in its first step."""
    hidden = [layers.Dense(32, activation="relu") for _ in range(3)]
    normal = [layers.Dropout(0.3), layers.BatchNormalization()]
    return keras.Sequential([*hidden, *normal, layers.Dense(10, activation="softmax")])


def _conv(filters, size=3, strides=1):
    return layers.Conv2D(filters, size, strides, padding="same", use_bias=False)


def transformer():
    """Three pre-norm blocks with dropout."""
    inputs = keras.Input((16,), dtype="int32")
    x = layers.Embedding(100, 32)(inputs)
    for _ in range(3):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8, dropout=0.1)(y, y)])
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(32)(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def recurrent_net():
    """An LSTM and a bidirectional GRU."""
    inputs = keras.Input((12, 8))
    x = layers.LSTM(16, return_sequences=True)(inputs)
    x = layers.Bidirectional(layers.GRU(8))(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


class Subclassed(keras.Model):
    """Plain operations between layers: a ReLU and a shortcut that no layer shows."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(32, name="first")
        self.inside = layers.Dense(32, name="inside")
        self.second = layers.Dense(32, name="second")
        self.head = layers.Dense(10, activation="softmax", name="head")

    def call(self, x):
        x = ops.relu(self.first(x))
        x = x + ops.relu(self.inside(x))
        return self.head(ops.tanh(self.second(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 32), "float32"))
    return model


NETWORKS = (
    dense_net,
    conv_net,
    resnet_20,
    residual_net,
    zero_gamma,
    gated_net,
    transformer,
    recurrent_net,
    subclassed,
    not_built,
)


BACKEND = keras.backend.backend()


def native_draw():
    """The next number of the backend's own generator; 0 where it has none."""
    if BACKEND == "tensorflow":
        return float(importlib.import_module("tensorflow").random.uniform(()))
    if BACKEND == "torch":
        return float(importlib.import_module("torch").rand(()))
    return 0.0


def values_of(variables):
    """The values of Keras variables, as arrays of their own."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def data_for(model, rows, seed=0):
    """Inputs and integer labels from 0 to 9."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, rows)
    if not model.built or not hasattr(model, "input_shape"):
        return rng.standard_normal((rows, 32)).astype("float32"), labels
    shape = model.input_shape[1:]
    if model.inputs[0].dtype == "int32":
        return rng.integers(0, 100, (rows, *shape)), labels
    return rng.standard_normal((rows, *shape)).astype("float32"), labels


def compiled(build, seed=1, optimizer="adam", **kwargs):
    """A model of ``build``, compiled with cross-entropy; equal seeds, equal weights."""
    keras.utils.set_random_seed(seed)
    model = build()
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **kwargs,
    )
    return model
