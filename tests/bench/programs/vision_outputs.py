"""Sound programs that make numbers or images of images: positions, heat maps, better images."""

import keras
import numpy as np
from keras import layers, ops

from tests.bench.programs.imagery_data import digits, discs, heat, split, spots
from tests.bench.programs.program import Run, predicted, program, r2

STOCK = {"area": "vision", "score": r2, "chance": 0.0, "stock": True}
OWN = {**STOCK, "stock": False}
SAME = {"padding": "same", "activation": "relu"}


@program("position_of_a_spot", learned=0.75, **STOCK)
def position_of_a_spot():
    """A convnet finds where something is: two numbers, mse."""
    (x, y), test = spots()
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(16, 3, strides=2, **SAME),
            layers.Conv2D(32, 3, strides=2, **SAME),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(2),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=8,
        test=test,
    )


@program("keypoint_heat_map", learned=0.6, **STOCK)
def keypoint_heat_map():
    """A map of where the keypoint is, down and up again, sigmoid and binary crossentropy."""
    (x, y), (x_test, y_test) = spots()
    inputs = keras.Input((16, 16, 1))
    h = fine = layers.Conv2D(16, 3, **SAME)(inputs)
    h = layers.Conv2D(24, 3, strides=2, **SAME)(h)
    h = layers.Conv2D(24, 3, **SAME)(h)
    h = layers.Conv2DTranspose(16, 3, strides=2, **SAME)(h)
    h = layers.Conv2D(16, 3, **SAME)(layers.Concatenate()([h, fine]))
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(h))
    return Run(
        model=model,
        x=x,
        y=heat(y),
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=5,
        test=(x_test, heat(y_test)),
    )


@program(
    "class_and_position",
    area="vision",
    score=lambda run: both(run),
    chance=0.12,
    learned=0.6,
    stock=True,
)
def class_and_position():
    """Two outputs by name, two losses: which digit it is, and where its frame begins."""
    (x, y), (x_test, y_test) = digits(8)
    rng = np.random.default_rng(0)

    def placed(images):
        at = rng.integers(0, 9, (len(images), 2))
        whole = 0.1 * rng.random((len(images), 16, 16, 1)).astype("float32")
        for image, (a, b), canvas in zip(images, at, whole, strict=True):
            canvas[a : a + 8, b : b + 8] += image
        return whole, (at / 8).astype("float32")

    x, at = placed(x)
    x_test, at_test = placed(x_test)
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(24, 3, **SAME)(inputs)
    h = layers.MaxPooling2D()(layers.Conv2D(24, 3, **SAME)(h))
    h = layers.MaxPooling2D()(layers.Conv2D(32, 3, **SAME)(h))
    h = layers.Dense(96, activation="relu")(layers.Flatten()(h))
    outputs = {
        "digit": layers.Dense(10, activation="softmax", name="digit")(h),
        "place": layers.Dense(2, activation="sigmoid", name="place")(h),
    }
    return Run(
        model=keras.Model(inputs, outputs),
        x=x,
        y={"digit": y, "place": at},
        loss={"digit": "sparse_categorical_crossentropy", "place": "mse"},
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"loss_weights": {"digit": 1.0, "place": 5.0}},
        epochs=9,
        test=(x_test, y_test, at_test),
    )


def both(run):
    """The share of right classes."""
    x, y, _ = run.test
    return float(np.mean(predicted(run.model, x).argmax(-1) == y))


class DepthToSpace(layers.Layer):
    """Channels become pixels, ``factor`` times as many down and across."""

    def __init__(self, factor=2, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, h):
        _, rows, columns, channels = h.shape
        f = self.factor
        h = ops.reshape(h, (-1, rows, columns, f, f, channels // f**2))
        h = ops.transpose(h, (0, 1, 3, 2, 4, 5))
        return ops.reshape(h, (-1, rows * f, columns * f, channels // f**2))


def shrunk(images):
    """Half the size, by means of four."""
    n, rows, columns, channels = images.shape
    return images.reshape(n, rows // 2, 2, columns // 2, 2, channels).mean((2, 4))


@program("super_resolution_sub_pixel", learned=0.85, **STOCK)
def super_resolution_sub_pixel():
    """The efficient sub-pixel network: Orthogonal kernels, channels become pixels."""
    (x, _), (x_test, _) = digits(16)
    how = {**SAME, "kernel_initializer": "orthogonal"}
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(32, 5, **how)(inputs)
    h = layers.Conv2D(32, 3, **how)(h)
    h = layers.Conv2D(4, 3, padding="same", kernel_initializer="orthogonal")(h)
    return Run(
        model=keras.Model(inputs, DepthToSpace()(h)),
        x=shrunk(x),
        y=x,
        loss="mse",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=6,
        test=(shrunk(x_test), x_test),
    )


@program("super_resolution_residual", learned=0.85, **STOCK)
def super_resolution_residual():
    """Residual blocks without norm after EDSR, bilinear sizes added, mean absolute error."""
    (x, _), (x_test, _) = digits(16)
    inputs = keras.Input((8, 8, 1))
    h = first = layers.Conv2D(24, 3, padding="same")(inputs)
    for _ in range(3):
        a = layers.Conv2D(24, 3, **SAME)(h)
        h = layers.Add()([layers.Conv2D(24, 3, padding="same")(a), h])
    h = layers.Add()([layers.Conv2D(24, 3, padding="same")(h), first])
    h = layers.UpSampling2D(2)(h)
    h = layers.Conv2D(1, 3, padding="same")(h)
    h = layers.Add()([h, layers.UpSampling2D(2, interpolation="bilinear")(inputs)])
    return Run(
        model=keras.Model(inputs, h),
        x=shrunk(x),
        y=x,
        loss="mae",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=6,
        test=(shrunk(x_test), x_test),
    )


@program("denoising_autoencoder", learned=0.4, **STOCK)
def denoising_autoencoder():
    """The denoising autoencoder of the examples: pooling, transposed convolutions, sigmoid."""
    (x, _), (x_test, _) = digits(8)
    rng = np.random.default_rng(0)

    def noisy(images):
        noise = 0.25 * rng.standard_normal(images.shape)
        return np.clip(images + noise, 0, 1).astype("float32")

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, **SAME),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2D(32, 3, **SAME),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2DTranspose(32, 3, strides=2, **SAME),
            layers.Conv2DTranspose(32, 3, strides=2, **SAME),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
        ]
    )
    return Run(
        model=model,
        x=noisy(x),
        y=x,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=10,
        test=(noisy(x_test), x_test),
    )


class Curves(layers.Layer):
    """Brightens an image four times over by x + a (x^2 - x), a curve for each pixel."""

    def call(self, image, curves):
        for a in ops.split(curves, 4, axis=-1):
            image = image + a * (ops.square(image) - image)
        return image


def charbonnier(y_true, y_pred):
    """A smooth mean absolute error."""
    return ops.mean(ops.sqrt(ops.square(y_true - y_pred) + 1e-6), axis=(1, 2, 3))


@program("low_light", learned=0.6, **OWN)
def low_light():
    """Images taken in the dark, brightened by curves that a convnet finds (tanh), own loss."""
    (x, _), (x_test, _) = digits(8)
    rng = np.random.default_rng(0)

    def bright(images):
        return 0.15 + 0.8 * images

    def dark(images):
        gamma = rng.uniform(2.0, 3.5, (len(images), 1, 1, 1))
        return (bright(images) ** gamma).astype("float32")

    inputs = keras.Input((8, 8, 1))
    h = a = layers.Conv2D(24, 3, **SAME)(inputs)
    h = b = layers.Conv2D(24, 3, **SAME)(h)
    h = layers.Conv2D(24, 3, **SAME)(h)
    h = layers.Conv2D(24, 3, **SAME)(layers.Concatenate()([h, b]))
    h = layers.Conv2D(4, 3, padding="same", activation="tanh")(layers.Concatenate()([h, a]))
    return Run(
        model=keras.Model(inputs, Curves()(inputs, h)),
        x=dark(x),
        y=bright(x),
        loss=charbonnier,
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=8,
        test=(dark(x_test), bright(x_test)),
    )


@program("depth_estimation", learned=0.5, **OWN)
def depth_estimation():
    """How far is each pixel? Errors and differences of neighbours in a loss of the user's own."""
    images, y = (np.concatenate(pair) for pair in zip(*discs(side=16), strict=True))
    far = (0.8 - 0.3 * y[..., None]).astype("float32")
    (x, y), test = split(images, far)

    def loss(true, made):
        error = ops.mean(ops.abs(true - made))
        down = true[:, 1:] - true[:, :-1] - made[:, 1:] + made[:, :-1]
        right = true[:, :, 1:] - true[:, :, :-1] - made[:, :, 1:] + made[:, :, :-1]
        return error + 0.3 * (ops.mean(ops.abs(down)) + ops.mean(ops.abs(right)))

    inputs = keras.Input((16, 16, 3))
    h = fine = layers.LeakyReLU(0.2)(layers.Conv2D(16, 3, padding="same")(inputs))
    h = layers.MaxPooling2D()(h)
    h = layers.LeakyReLU(0.2)(layers.Conv2D(32, 3, padding="same")(h))
    h = layers.LeakyReLU(0.2)(layers.Conv2D(32, 3, padding="same")(h))
    h = layers.Concatenate()([layers.UpSampling2D()(h), fine])
    h = layers.LeakyReLU(0.2)(layers.Conv2D(16, 3, padding="same")(h))
    return Run(
        model=keras.Model(inputs, layers.Conv2D(1, 1, activation="tanh")(h)),
        x=x,
        y=y,
        loss=loss,
        optimizer=keras.optimizers.Adam(2e-3),
        batch=8,
        epochs=8,
        test=test,
    )
