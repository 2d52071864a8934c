"""Sound programs that classify images with published convolutional blocks, made small."""

import keras
from keras import layers

from tests.bench.programs.imagery_data import digits, flat_digits, textures
from tests.bench.programs.program import Run, accuracy, program

TEN = {"area": "vision", "score": accuracy, "chance": 0.12, "stock": True}  # ten digits
FIVE = {"area": "vision", "score": accuracy, "chance": 0.22, "stock": True}  # five textures
SPARSE = "sparse_categorical_crossentropy"


def norm(h):
    """Moving averages of ten batches: those of a hundred would not be there when judged."""
    return layers.BatchNormalization(momentum=0.9)(h)


def of(data, inputs, outputs, rate=1e-3, epochs=6, batch=32):
    (x, y), test = data
    return Run(
        model=keras.Model(inputs, outputs),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(rate),
        batch=batch,
        epochs=epochs,
        test=test,
    )


@program("resnet_small", learned=0.75, **FIVE)
def resnet_small():
    """Residual blocks, a projection where the width changes, batches normalized."""
    inputs = keras.Input((16, 16, 3))
    h = layers.ReLU()(norm(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    for filters, strides in ((16, 1), (24, 2), (32, 2)):
        before = h
        h = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(h)
        h = layers.ReLU()(norm(h))
        h = norm(layers.Conv2D(filters, 3, padding="same", use_bias=False)(h))
        if strides > 1:
            before = norm(layers.Conv2D(filters, 1, strides=strides, use_bias=False)(before))
        h = layers.ReLU()(layers.Add()([h, before]))
    h = layers.GlobalAveragePooling2D()(h)
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 2e-3, epochs=4)


@program("resnet_without_norm", learned=0.65, **TEN)
def resnet_without_norm():
    """The residual toy of the functional guide: convolutions added, nothing normalized."""
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(16, 3, activation="relu")(inputs)
    h = block = layers.MaxPooling2D(2)(layers.Conv2D(32, 3, activation="relu")(h))
    for _ in range(2):
        h = layers.Conv2D(32, 3, activation="relu", padding="same")(h)
        h = layers.Conv2D(32, 3, activation="relu", padding="same")(h)
        h = block = layers.add([h, block])
    h = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(h))
    h = layers.Dropout(0.2)(layers.Dense(64, activation="relu")(h))
    return of(digits(16), inputs, layers.Dense(10, activation="softmax")(h), 2e-3, epochs=5)


@program("xception_small", learned=0.7, **FIVE)
def xception_small():
    """Separable convolutions behind rectifiers, residuals by 1 x 1, after Xception."""
    inputs = keras.Input((16, 16, 3))
    h = layers.Rescaling(2.0, offset=-1.0)(inputs)
    h = before = layers.ReLU()(norm(layers.Conv2D(16, 3, padding="same")(h)))
    for filters in (24, 32):
        h = norm(layers.SeparableConv2D(filters, 3, padding="same")(layers.ReLU()(h)))
        h = norm(layers.SeparableConv2D(filters, 3, padding="same")(layers.ReLU()(h)))
        h = layers.MaxPooling2D(3, strides=2, padding="same")(h)
        h = before = layers.add([h, layers.Conv2D(filters, 1, strides=2, padding="same")(before)])
    h = layers.ReLU()(norm(layers.SeparableConv2D(48, 3, padding="same")(h)))
    h = layers.Dropout(0.25)(layers.GlobalAveragePooling2D()(h))
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 3e-3, epochs=6)


@program("mobilenet_small", learned=0.7, **FIVE)
def mobilenet_small():
    """Inverted residuals: widen by 1 x 1, depthwise, narrow by a linear 1 x 1; relu6."""
    inputs = keras.Input((16, 16, 3))
    h = layers.ReLU(6.0)(norm(layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)))
    for filters, strides in ((12, 1), (16, 2), (16, 1), (24, 2)):
        before = h
        h = layers.Conv2D(4 * h.shape[-1], 1, use_bias=False)(h)
        h = layers.ReLU(6.0)(norm(h))
        h = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(h)
        h = layers.ReLU(6.0)(norm(h))
        h = norm(layers.Conv2D(filters, 1, use_bias=False)(h))
        if h.shape == before.shape:
            h = layers.Add()([h, before])
    h = layers.ReLU(6.0)(norm(layers.Conv2D(64, 1, use_bias=False)(h)))
    h = layers.GlobalAveragePooling2D()(h)
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 3e-3, epochs=3)


@program("squeeze_and_excitation", learned=0.75, **TEN)
def squeeze_and_excitation():
    """Channels weighted by sigmoids of their means, in residual blocks."""
    inputs = keras.Input((16, 16, 1))
    h = layers.ReLU()(norm(layers.Conv2D(16, 3, strides=2, padding="same")(inputs)))
    for _ in range(2):
        before = h
        h = layers.ReLU()(norm(layers.Conv2D(16, 3, padding="same")(h)))
        h = norm(layers.Conv2D(16, 3, padding="same")(h))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(h)
        gate = layers.Conv2D(4, 1, activation="relu")(gate)
        gate = layers.Conv2D(16, 1, activation="sigmoid")(gate)
        h = layers.ReLU()(layers.Add()([layers.Multiply()([h, gate]), before]))
    h = layers.Dense(32, activation="relu")(layers.Flatten()(h))
    return of(digits(16), inputs, layers.Dense(10, activation="softmax")(h), epochs=4)


@program("inception_small", learned=0.75, **FIVE)
def inception_small():
    """Branches of 1 x 1, 3 x 3, 5 x 5 and pooling, put side by side."""
    inputs = keras.Input((16, 16, 3))
    h = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        how = {"padding": "same", "activation": "relu"}
        a = layers.Conv2D(8, 1, **how)(h)
        b = layers.Conv2D(12, 3, **how)(layers.Conv2D(8, 1, **how)(h))
        c = layers.Conv2D(8, 5, **how)(layers.Conv2D(6, 1, **how)(h))
        d = layers.Conv2D(6, 1, **how)(layers.MaxPooling2D(3, strides=1, padding="same")(h))
        h = layers.MaxPooling2D()(layers.Concatenate()([a, b, c, d]))
    h = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(h))
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 3e-3, epochs=9)


@program("densenet_small", learned=0.75, **TEN)
def densenet_small():
    """Every convolution reads all before it; normalized ahead of the rectifier, as published."""
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
    for block in range(2):
        for _ in range(3):
            new = layers.ReLU()(norm(h))
            new = layers.Conv2D(8, 3, padding="same", use_bias=False)(new)
            h = layers.Concatenate()([h, new])
        if block == 0:
            h = layers.Conv2D(16, 1, use_bias=False)(layers.ReLU()(norm(h)))
            h = layers.AveragePooling2D(2)(h)
    h = layers.GlobalAveragePooling2D()(layers.ReLU()(norm(h)))
    return of(digits(16), inputs, layers.Dense(10, activation="softmax")(h), 2e-3, epochs=6)


class LayerScale(layers.Layer):
    """A factor for each channel, next to nothing at first."""

    def __init__(self, start=1e-6, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        constant = keras.initializers.Constant(self.start)
        self.factor = self.add_weight(shape=(shape[-1],), initializer=constant, name="factor")

    def call(self, h):
        return h * self.factor


@program("convnext_small", learned=0.75, **TEN)
def convnext_small():
    """A wide depthwise kernel, LayerNormalization, gelu, and a LayerScale that starts at 1e-6."""
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(24, 2, strides=2)(inputs)
    h = layers.LayerNormalization(epsilon=1e-6)(h)
    for _ in range(3):
        before = h
        h = layers.DepthwiseConv2D(5, padding="same")(h)
        h = layers.LayerNormalization(epsilon=1e-6)(h)
        h = layers.Dense(72, activation="gelu")(h)
        h = LayerScale()(layers.Dense(24)(h))
        h = layers.Add()([before, h])
    h = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(h))
    return of(digits(16), inputs, layers.Dense(10, activation="softmax")(h), 4e-3, epochs=6)


@program("convmixer", learned=0.75, **FIVE)
def convmixer():
    """Patches, then depthwise convolutions with residuals and 1 x 1, gelu and normalized."""

    def active(h):
        return norm(layers.Activation("gelu")(h))

    inputs = keras.Input((16, 16, 3))
    h = active(layers.Conv2D(32, 2, strides=2)(inputs))
    for _ in range(3):
        h = layers.Add()([active(layers.DepthwiseConv2D(5, padding="same")(h)), h])
        h = active(layers.Conv2D(32, 1)(h))
    h = layers.GlobalAveragePooling2D()(h)
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 2e-3, epochs=5)


class Carry(layers.Layer):
    """gate * new + (1 - gate) * old: what a highway layer does."""

    def call(self, gate, new, old):
        return gate * new + (1 - gate) * old


def highway(bias):
    inputs = keras.Input((64,))
    h = layers.Dense(50, activation="relu")(inputs)
    for _ in range(10):
        new = layers.Dense(50, activation="relu")(h)
        start = keras.initializers.Constant(bias)
        gate = layers.Dense(50, activation="sigmoid", bias_initializer=start)(h)
        h = Carry()(gate, new, h)
    return of(flat_digits(), inputs, layers.Dense(10, activation="softmax")(h), 3e-3, epochs=8)


@program("highway_gates_at_minus_1", learned=0.75, **TEN)
def highway_gates_at_minus_1():
    """A highway network of ten layers, its gates biased to -1 to carry at first, as published."""
    return highway(-1.0)


@program("highway_gates_at_minus_3", learned=0.75, **TEN)
def highway_gates_at_minus_3():
    """A highway network of ten layers, its gates biased to -3 to carry at first, as published."""
    return highway(-3.0)


@program("multi_scale_towers", learned=0.7, **FIVE)
def multi_scale_towers():
    """Two towers see the image at two sizes; what they find is put side by side."""
    inputs = keras.Input((16, 16, 3))
    found = []
    for size in (1, 2):
        h = inputs if size == 1 else layers.AveragePooling2D(size)(inputs)
        for filters in (16, 24):
            h = layers.Conv2D(filters, 3, padding="same", activation="relu")(h)
            h = layers.MaxPooling2D()(h)
        found.append(layers.GlobalAveragePooling2D()(h))
    h = layers.Dense(48, activation="relu")(layers.Concatenate()(found))
    return of(textures(), inputs, layers.Dense(5, activation="softmax")(h), 3e-3, epochs=12)
