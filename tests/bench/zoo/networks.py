"""The zoo's networks. A healthy one and its sick twins come from the same function.

A network makes its layers through ``part(kind, name, **options)``. There a fault is planted:
whatever ``changes`` say of layers of that name replaces the options that the network gives.
"""

from fnmatch import fnmatch

import keras
from keras import layers, ops

OUTPUTS = {"classes": "softmax", "labels": "sigmoid", "values": "linear", "points": "linear"}


class Parts:
    """Makes layers by name, with what a fault changes of them.

    Args:
        changes: name, or pattern of names -> options of the layer. ``then`` among them is a
            function that the layer's output goes through.
    """

    def __init__(self, changes):
        self.changes = changes

    def __call__(self, kind, name, **options):
        for pattern, change in self.changes.items():
            if fnmatch(name, pattern):
                options |= change
        then = options.pop("then", None)
        layer = kind(name=name, **{key: fresh(option) for key, option in options.items()})
        return layer if then is None else lambda *inputs: then(layer(*inputs))

    def output(self, data, number=0, **options):
        """The layer that fits the data's target."""
        name = "output" if number == 0 else f"output_{number + 1}"
        activation = OUTPUTS[data.kind[number]]
        # computed in float32 under mixed precision, as Keras's guide has it
        options = {"activation": activation, "dtype": "float32"} | options
        return self(options.pop("kind", layers.Dense), name, units=data.units[number], **options)


def fresh(option):
    """An initializer that has drawn once draws the same again: each layer needs its own."""
    return option.clone() if isinstance(option, keras.initializers.Initializer) else option


def norm(part, name, **options):
    """Moving averages of ten batches: those of a hundred would not be there when judged."""
    return part(layers.BatchNormalization, name, momentum=0.9, **options)


class LayerScale(layers.Layer):
    """A factor for each channel, next to nothing at first (Touvron et al. 2021)."""

    def __init__(self, start=1e-4, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        self.gamma = self.add_weight(
            shape=shape[-1:], initializer=keras.initializers.Constant(self.start)
        )

    def call(self, x):
        return x * self.gamma


class Sampling(layers.Layer):
    """Draws from the posterior of a VAE; its distance from the prior joins the loss."""

    def __init__(self, weight=0.01, **options):
        super().__init__(**options)
        self.weight = weight
        self.draws = keras.random.SeedGenerator()

    def call(self, mean, log_variance):
        distance = ops.square(mean) + ops.exp(log_variance) - log_variance - 1
        self.add_loss(self.weight * ops.mean(distance))
        noise = keras.random.normal(ops.shape(mean), seed=self.draws)
        return mean + ops.exp(0.5 * log_variance) * noise


def mlp(part, data, depth=3, width=64, activation="relu", init="he_normal", dropout=0.0, **options):
    """``options``: of each hidden layer."""
    start = x = keras.Input(data.shape)
    if len(data.shape) > 1:
        x = layers.Flatten()(x)
    for i in range(1, depth + 1):
        x = part(
            layers.Dense,
            f"hidden_{i}",
            units=width,
            activation=activation,
            kernel_initializer=init,
            **options,
        )(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(start, part.output(data)(x))


def two_heads(part, data, width=64):
    start = keras.Input(data.shape)
    x = part(layers.Dense, "hidden_1", units=width, activation="relu")(start)
    x = part(layers.Dense, "hidden_2", units=width, activation="relu")(x)
    outputs = []
    for i in range(2):
        head = part(layers.Dense, f"head_{i + 1}", units=32, activation="relu")(x)
        outputs.append(part.output(data, i)(head))
    return keras.Model(start, outputs)


def shared(part, data, times=4, width=64):
    """The same layer over and over, as in a recurrent or a weight-tied network."""
    start = keras.Input(data.shape)
    x = part(layers.Dense, "hidden_1", units=width, activation="tanh")(start)
    tied = part(layers.Dense, "tied", units=width, activation="tanh")
    for _ in range(times):
        x = tied(x)
    return keras.Model(start, part.output(data)(x))


def residual_mlp(part, data, blocks=6, width=64, scale=1e-4):
    start = keras.Input(data.shape)
    x = part(layers.Dense, "hidden_0", units=width)(start)
    for i in range(1, blocks + 1):
        y = part(layers.LayerNormalization, f"norm_{i}")(x)
        y = part(layers.Dense, f"hidden_{i}", units=width, activation="gelu")(y)
        y = part(layers.Dense, f"last_{i}", units=width)(y)
        x = layers.Add()([x, part(LayerScale, f"scale_{i}", start=scale)(y)])
    x = part(layers.LayerNormalization, "norm")(x)
    return keras.Model(start, part.output(data)(x))


def low_rank(part, data, width=64, rank=8):
    """Frozen layers, each with an adapter of two kernels, the second zero at first (LoRA)."""
    start = x = keras.Input(data.shape)
    for i in range(1, 4):
        base = part(layers.Dense, f"base_{i}", units=width, trainable=False)(x)
        y = part(layers.Dense, f"down_{i}", units=rank, use_bias=False)(x)
        y = part(layers.Dense, f"up_{i}", units=width, use_bias=False, kernel_initializer="zeros")(
            y
        )
        x = layers.ReLU()(layers.Add()([base, y]))
    return keras.Model(start, part.output(data)(x))


def cnn(part, data, depth=4, filters=16, normalised=False, activation="relu", init="he_normal"):
    start = x = keras.Input(data.shape)
    for i in range(1, depth + 1):
        x = part(
            layers.Conv2D,
            f"conv_{i}",
            filters=filters,
            kernel_size=3,
            padding="same",
            activation=None if normalised else activation,
            use_bias=not normalised,
            kernel_initializer=init,
        )(x)
        if normalised:
            x = norm(part, f"norm_{i}")(x)
            x = part(layers.Activation, f"act_{i}", activation=activation)(x)
        if i == depth // 2:
            x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = part(layers.Dense, "hidden", units=32, activation="relu", kernel_initializer=init)(x)
    return keras.Model(start, part.output(data)(x))


def resnet(part, data, blocks=4, filters=16, gamma="ones"):
    """``gamma``: the initializer of the last normalisation of each branch."""

    def conv(name, x):
        x = part(
            layers.Conv2D,
            f"conv_{name}",
            filters=filters,
            kernel_size=3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )(x)
        last = {"gamma_initializer": gamma} if name.endswith("b") else {}
        return norm(part, f"norm_{name}", **last)(x)

    start = keras.Input(data.shape)
    x = layers.ReLU()(conv("0", start))
    for i in range(1, blocks + 1):
        y = layers.ReLU()(conv(f"{i}a", x))
        x = layers.ReLU()(layers.Add()([x, conv(f"{i}b", y)]))
    return keras.Model(start, part.output(data)(layers.GlobalAveragePooling2D()(x)))


def unet(part, data, filters=8):
    def conv(name, x, filters):
        return part(
            layers.Conv2D,
            name,
            filters=filters,
            kernel_size=3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
        )(x)

    start = keras.Input(data.shape)
    wide = conv("down_1", start, filters)
    half = conv("down_2", layers.MaxPooling2D()(wide), 2 * filters)
    x = conv("bottom", layers.MaxPooling2D()(half), 4 * filters)
    x = layers.Concatenate()([layers.UpSampling2D()(x), half])
    x = conv("up_2", x, 2 * filters)
    x = layers.Concatenate()([layers.UpSampling2D()(x), wide])
    x = conv("up_1", x, filters)
    return keras.Model(start, part.output(data)(x))


def depthwise(part, data, blocks=4, filters=16, normalised=True, init="he_normal"):
    """``init``: of the pointwise kernels; a depthwise one sums over nine inputs."""
    start = keras.Input(data.shape)
    x = part(layers.Conv2D, "stem", filters=filters, kernel_size=3, padding="same")(start)
    for i in range(1, blocks + 1):
        x = part(
            layers.DepthwiseConv2D,
            f"deep_{i}",
            kernel_size=3,
            padding="same",
            depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / 3),
        )(x)
        if normalised:
            x = layers.ReLU()(norm(part, f"norm_{i}a")(x))
        x = part(
            layers.Conv2D, f"point_{i}", filters=filters, kernel_size=1, kernel_initializer=init
        )(x)
        if normalised:
            x = norm(part, f"norm_{i}b")(x)
        x = layers.ReLU()(x)
    return keras.Model(start, part.output(data)(layers.GlobalAveragePooling2D()(x)))


def recurrent(part, data, kind=layers.LSTM, width=32):
    start = keras.Input(data.shape)
    x = part(kind, "cell_1", units=width, return_sequences=True)(start)
    x = part(kind, "cell_2", units=width)(x)
    return keras.Model(start, part.output(data)(x))


def transformer(part, data, blocks=2, width=32):
    start = keras.Input(data.shape)
    x = part(layers.Embedding, "tokens", input_dim=data.size, output_dim=width)(start)
    for i in range(1, blocks + 1):
        y = part(layers.LayerNormalization, f"norm_{i}a")(x)
        y = part(layers.MultiHeadAttention, f"attention_{i}", num_heads=2, key_dim=width // 2)(y, y)
        x = layers.Add()([x, y])
        y = part(layers.LayerNormalization, f"norm_{i}b")(x)
        y = part(layers.Dense, f"wide_{i}", units=2 * width, activation="gelu")(y)
        x = layers.Add()([x, part(layers.Dense, f"narrow_{i}", units=width)(y)])
    x = part(layers.LayerNormalization, "norm")(x)
    return keras.Model(start, part.output(data)(layers.GlobalAveragePooling1D()(x)))


def text(part, data, width=32):
    """Padding is masked on the way to the mean over tokens."""
    start = keras.Input(data.shape)
    x = part(layers.Embedding, "tokens", input_dim=data.size, output_dim=width, mask_zero=True)(
        start
    )
    x = layers.GlobalAveragePooling1D()(x)
    x = part(layers.Dense, "hidden", units=width, activation="relu")(x)
    return keras.Model(start, part.output(data)(x))


def autoencoder(part, data, code=16, width=64, activation="relu"):
    start = keras.Input(data.shape)
    x = part(layers.Dense, "encoder", units=width, activation=activation)(start)
    x = part(layers.Dense, "code", units=code, activation=activation)(x)
    x = part(layers.Dense, "decoder", units=width, activation=activation)(x)
    return keras.Model(start, part.output(data)(x))


def vae(part, data, code=8, width=64):
    start = keras.Input(data.shape)
    x = part(layers.Dense, "encoder", units=width, activation="relu")(start)
    mean = part(layers.Dense, "mean", units=code)(x)
    log_variance = part(layers.Dense, "log_variance", units=code)(x)
    x = part(Sampling, "sampling")(mean, log_variance)
    x = part(layers.Dense, "decoder", units=width, activation="relu")(x)
    return keras.Model(start, part.output(data)(x))
