"""Sound programs that classify images with plain networks: dense layers, simple convnets."""

import keras
from keras import layers

from tests.bench.programs.imagery_data import digits, flat_digits, one_hot, textures
from tests.bench.programs.program import Run, accuracy, program

TEN = {"area": "vision", "score": accuracy, "chance": 0.12, "stock": True}  # ten digits
FIVE = {"area": "vision", "score": accuracy, "chance": 0.22, "stock": True}  # five textures
SPARSE = "sparse_categorical_crossentropy"


@program("mlp_defaults", learned=0.85, **TEN)
def mlp_defaults():
    """The first program of every course: two dense layers with Keras's defaults."""
    (x, y), test = flat_digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(model=model, x=x, y=y, loss=SPARSE, optimizer=keras.optimizers.Adam(), test=test)


@program("mlp_ten_relu_layers", learned=0.75, **TEN)
def mlp_ten_relu_layers():
    """Deeper than it need be: ten dense layers with Keras's defaults, images of 28 x 28."""
    (x, y), test = flat_digits(28)
    model = keras.Sequential([keras.Input((784,))])
    for _ in range(10):
        model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(),
        compile={"metrics": ["accuracy"]},
        epochs=8,
        test=test,
    )


@program("mlp_tanh", learned=0.85, **TEN)
def mlp_tanh():
    """Four layers of tanh and plain gradient descent, as before rectifiers."""
    (x, y), (x_test, y_test) = flat_digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            *[layers.Dense(64, activation="tanh") for _ in range(4)],
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=2 * x - 1,
        y=one_hot(y),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.SGD(0.1),
        epochs=8,
        test=(2 * x_test - 1, y_test),
    )


@program("mlp_selu", learned=0.85, **TEN)
def mlp_selu():
    """A self-normalizing network: selu, LecunNormal, AlphaDropout, inputs standardised."""
    (x, y), test = flat_digits()
    normalize = layers.Normalization(axis=None)
    normalize.adapt(x)
    model = keras.Sequential([keras.Input((64,)), normalize])
    for _ in range(5):
        model.add(layers.Dense(64, activation="selu", kernel_initializer="lecun_normal"))
        model.add(layers.AlphaDropout(0.05))
    model.add(layers.Dense(10, activation="softmax", kernel_initializer="lecun_normal"))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(),
        epochs=8,
        test=test,
    )


@program("mlp_gelu", learned=0.85, **TEN)
def mlp_gelu():
    """gelu, LayerNormalization and AdamW; the last layer gives logits."""
    (x, y), test = flat_digits()
    inputs = keras.Input((64,))
    h = inputs
    for _ in range(3):
        h = layers.Dense(96, activation="gelu")(h)
        h = layers.LayerNormalization()(h)
    model = keras.Model(inputs, layers.Dense(10)(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=1e-3),
        epochs=6,
        test=test,
    )


@program("mlp_one_sigmoid_layer", learned=0.8, **TEN)
def mlp_one_sigmoid_layer():
    """The textbook's network: one hidden layer of sigmoids, gradient descent with momentum."""
    (x, y), test = flat_digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="sigmoid"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=one_hot(y),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        batch=16,
        epochs=8,
        test=test,
    )


@program("mlp_he_dropout", learned=0.8, **TEN)
def mlp_he_dropout():
    """Wide layers, HeNormal, much dropout, RMSprop: the digits example of the early Keras."""
    (x, y), test = flat_digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(256, activation="relu", kernel_initializer="he_normal"),
            layers.Dropout(0.4),
            layers.Dense(256, activation="relu", kernel_initializer="he_normal"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=one_hot(y),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.RMSprop(),
        epochs=6,
        fit={"validation_split": 0.1},
        test=test,
    )


@program("convnet_softmax", learned=0.75, **TEN)
def convnet_softmax():
    """The simple convnet: convolution, pooling, twice, Dropout, softmax, one-hot labels."""
    (x, y), test = digits(16)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=one_hot(y),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(),
        compile={"metrics": ["accuracy"]},
        epochs=7,
        fit={"validation_split": 0.1},
        test=test,
    )


@program("convnet_logits", learned=0.75, **FIVE)
def convnet_logits():
    """Colour images from 0 to 255, scaled in the network; a dense layer, then logits."""
    (x, y), (x_test, y_test) = textures()
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(5),
        ]
    )
    return Run(
        model=model,
        x=255 * x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=9,
        test=(255 * x_test, y_test),
    )


@program("convnet_batchnorm", learned=0.75, **FIVE)
def convnet_batchnorm():
    """BatchNormalization between convolutions without bias and their rectifiers."""
    (x, y), test = textures()
    inputs = h = keras.Input((16, 16, 3))
    for filters in (16, 32, 32):
        h = layers.Conv2D(filters, 3, padding="same", use_bias=False)(h)
        h = layers.BatchNormalization(momentum=0.9)(h)
        h = layers.ReLU()(h)
        h = layers.MaxPooling2D()(h)
    h = layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=8,
        test=test,
    )


@program("convnet_only_convolutions", learned=0.8, **TEN)
def convnet_only_convolutions():
    """No dense layer and no pooling: strides, LeakyReLU, and the mean over places at the end."""
    (x, y), test = digits(16)
    model = keras.Sequential([keras.Input((16, 16, 1))])
    for filters in (16, 32, 48):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same"))
        model.add(layers.LeakyReLU(negative_slope=0.1))
    model.add(layers.Conv2D(10, 1))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Softmax())
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=10,
        test=test,
    )


@program("convnet_vgg", learned=0.8, **TEN)
def convnet_vgg():
    """Pairs of convolutions as in VGG, HeUniform, Nadam."""
    (x, y), test = digits(16)
    how = {"padding": "same", "activation": "relu", "kernel_initializer": "he_uniform"}
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(12, 3, **how),
            layers.Conv2D(12, 3, **how),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, **how),
            layers.Conv2D(24, 3, **how),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", kernel_initializer="he_uniform"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Nadam(1e-3),
        epochs=5,
        test=test,
    )
