"""Sound programs that classify images as sequences of patches: transformers and mixers."""

import keras
from keras import layers, ops

from tests.bench.programs.imagery_data import digits, textures
from tests.bench.programs.program import Run, accuracy, program

TEN = {"area": "vision", "score": accuracy, "chance": 0.12, "stock": True}  # ten digits
FIVE = {"area": "vision", "score": accuracy, "chance": 0.22, "stock": True}  # five textures
LOGITS = {"from_logits": True}


class Patches(layers.Layer):
    """The image's patches as a sequence of rows of pixels."""

    def __init__(self, size=4, **options):
        super().__init__(**options)
        self.size = size

    def call(self, images):
        _, rows, columns, channels = images.shape
        s = self.size
        h = ops.reshape(images, (-1, rows // s, s, columns // s, s, channels))
        h = ops.transpose(h, (0, 1, 3, 2, 4, 5))
        return ops.reshape(h, (-1, (rows // s) * (columns // s), s * s * channels))


class AddPositions(layers.Layer):
    """Adds an embedding of the place, as it is learned for each of the patches."""

    def build(self, shape):
        self.positions = layers.Embedding(shape[1], shape[2])
        self.positions.build(None)

    def call(self, h):
        return h + self.positions(ops.arange(h.shape[1]))


class ClassToken(layers.Layer):
    """A token of its own ahead of the patches; at its place the class is read."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="token")

    def call(self, h):
        token = ops.repeat(self.token, ops.shape(h)[0], axis=0)
        return ops.concatenate([token, h], axis=1)


class DropPath(layers.Layer):
    """Stochastic depth: leaves a branch out for whole rows while it trains."""

    def __init__(self, rate, **options):
        super().__init__(**options)
        self.rate = rate
        self.seeds = keras.random.SeedGenerator()

    def call(self, h, training=None):
        if not training or self.rate == 0:
            return h
        shape = (ops.shape(h)[0],) + (1,) * (len(h.shape) - 1)
        keep = 1 - self.rate
        kept = ops.floor(keep + keras.random.uniform(shape, seed=self.seeds))
        return h * ops.cast(kept, h.dtype) / keep


class Pool(layers.Layer):
    """Means of the patches, weighted by what a layer makes of them."""

    def build(self, shape):
        self.weigh = layers.Dense(1)
        self.weigh.build(shape)

    def call(self, h):
        weights = ops.softmax(self.weigh(h), axis=1)
        return ops.sum(weights * h, axis=1)


class Gate(layers.Layer):
    """A half of the channels, mixed along the patches, gates the other; begins at 1."""

    def build(self, shape):
        self.norm = layers.LayerNormalization()
        self.norm.build((*shape[:-1], shape[-1] // 2))
        self.mix = layers.Dense(shape[1], bias_initializer="ones")
        self.mix.build((None, shape[-1] // 2, shape[1]))

    def call(self, h):
        kept, gate = ops.split(h, 2, axis=-1)
        gate = ops.transpose(self.mix(ops.transpose(self.norm(gate), (0, 2, 1))), (0, 2, 1))
        return kept * gate


def encoder(h, width, heads=4, dropout=0.1, drop_path=0.0):
    """A block of attention and a block of two dense layers, normalized ahead."""
    a = layers.LayerNormalization(epsilon=1e-6)(h)
    a = layers.MultiHeadAttention(heads, width // heads, dropout=dropout)(a, a)
    if drop_path:
        a = DropPath(drop_path)(a)
    h = layers.Add()([a, h])
    a = layers.LayerNormalization(epsilon=1e-6)(h)
    a = layers.Dense(2 * width, activation="gelu")(a)
    a = layers.Dropout(dropout)(a)
    a = layers.Dense(width)(a)
    if drop_path:
        a = DropPath(drop_path)(a)
    return layers.Add()([a, h])


def of(data, inputs, outputs, optimizer, epochs, loss=None):
    (x, y), test = data
    return Run(
        model=keras.Model(inputs, outputs),
        x=x,
        y=y,
        loss=loss or keras.losses.SparseCategoricalCrossentropy(**LOGITS),
        optimizer=optimizer,
        epochs=epochs,
        test=test,
    )


@program("vit_small", learned=0.75, **TEN)
def vit_small():
    """The vision transformer of the examples: patches, positions, all patches read at the end."""
    inputs = keras.Input((8, 8, 1))
    h = AddPositions()(layers.Dense(32)(Patches(2)(inputs)))
    for _ in range(2):
        h = encoder(h, 32)
    h = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h))
    h = layers.Dropout(0.2)(h)
    h = layers.Dropout(0.2)(layers.Dense(64, activation="gelu")(h))
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    return of(digits(8), inputs, layers.Dense(10)(h), optimizer, 5)


@program("vit_class_token", learned=0.75, **TEN)
def vit_class_token():
    """A vision transformer read at a token of its own that starts at zero, clipped gradients."""
    inputs = keras.Input((8, 8, 1))
    h = ClassToken()(layers.Dense(32)(Patches(2)(inputs)))
    h = AddPositions()(h)
    for _ in range(2):
        h = encoder(h, 32, dropout=0.0)
    h = layers.LayerNormalization(epsilon=1e-6)(h)[:, 0]
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=1e-4, clipnorm=1.0)
    return of(digits(8), inputs, layers.Dense(10)(h), optimizer, 7)


@program("cct_stochastic_depth", learned=0.7, **TEN)
def cct_stochastic_depth():
    """A compact convolutional transformer: convolutions make the tokens, stochastic depth."""
    inputs = h = keras.Input((16, 16, 1))
    for filters in (16, 32):
        h = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            activation="relu",
            kernel_initializer="he_normal",
        )(h)
        h = layers.MaxPooling2D(3, 2, padding="same")(h)
    h = AddPositions()(layers.Reshape((16, 32))(h))
    for rate in (0.0, 0.1):
        h = encoder(h, 32, heads=2, drop_path=rate)
    h = Pool()(layers.LayerNormalization(epsilon=1e-5)(h))
    loss = keras.losses.SparseCategoricalCrossentropy(**LOGITS)
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=1e-4)
    return of(digits(16), inputs, layers.Dense(10)(h), optimizer, 6, loss)


@program("mlp_mixer", learned=0.75, **TEN)
def mlp_mixer():
    """Dense layers along the patches, then along the channels, with residuals."""
    inputs = keras.Input((8, 8, 1))
    h = layers.Dense(32)(Patches(2)(inputs))
    for _ in range(3):
        a = layers.Permute((2, 1))(layers.LayerNormalization()(h))
        a = layers.Dense(16)(layers.Dense(32, activation="gelu")(a))
        h = layers.Add()([h, layers.Permute((2, 1))(a)])
        a = layers.LayerNormalization()(h)
        a = layers.Dense(32)(layers.Dense(64, activation="gelu")(a))
        h = layers.Add()([h, a])
    h = layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(h))
    return of(digits(8), inputs, layers.Dense(10)(h), keras.optimizers.Adam(2e-3), 5)


@program("gmlp", learned=0.75, **TEN)
def gmlp():
    """A gated MLP: a half of the channels gates the other, with gates that begin open."""
    inputs = keras.Input((8, 8, 1))
    h = AddPositions()(layers.Dense(32)(Patches(2)(inputs)))
    for _ in range(3):
        a = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(h))
        h = layers.Add()([h, layers.Dense(32)(Gate()(a))])
    h = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(h))
    return of(digits(8), inputs, layers.Dense(10)(h), keras.optimizers.Adam(2e-3), 6)


@program("vit_after_convolutions", learned=0.7, **FIVE)
def vit_after_convolutions():
    """A hybrid: two strided convolutions, normalized, then attention over what they made."""
    inputs = h = keras.Input((16, 16, 3))
    for filters in (16, 32):
        h = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(h)
        h = layers.Activation("swish")(layers.BatchNormalization(momentum=0.9)(h))
    h = AddPositions()(layers.Reshape((16, 32))(h))
    for _ in range(2):
        h = encoder(h, 32)
    h = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(h))
    return of(textures(), inputs, layers.Dense(5)(h), keras.optimizers.Adam(1e-3), 5)
