"""Sound programs that give each pixel a class."""

import keras
import numpy as np
from keras import layers, ops

from tests.bench.programs.imagery_data import discs
from tests.bench.programs.program import Run, predicted, program

SPARSE = "sparse_categorical_crossentropy"
SAME = {"padding": "same", "activation": "relu"}


def overlap(run):
    """The mean over the classes of intersection over union; pixels outside them count nowhere."""
    x, y = run.test
    found = predicted(run.model, x)
    found = found.argmax(-1) if found.shape[-1] > 1 else (found[..., 0] > 0.5).astype(int)
    y = y.reshape(found.shape)
    known = (y >= 0) & (y < 255)
    shares = []
    for c in range(y[known].max() + 1):
        a, b = (found == c) & known, (y == c) & known
        shares.append((a & b).sum() / max(1, (a | b).sum()))
    return float(np.mean(shares))


THREE = {"area": "segmentation", "score": overlap, "chance": 0.27, "learned": 0.6}
TWO = {"area": "segmentation", "score": overlap, "chance": 0.41, "learned": 0.7}


def norm(h):
    return layers.BatchNormalization(momentum=0.9)(h)


@program("unet_xception", stock=True, **THREE)
def unet_xception():
    """The U-Net of the pets example: separable convolutions, normalized, residuals by 1 x 1."""
    (x, y), test = discs()
    inputs = keras.Input((32, 32, 3))
    h = layers.Activation("relu")(norm(layers.Conv2D(16, 3, strides=2, padding="same")(inputs)))
    before = h
    for filters in (24, 32):
        for _ in range(2):
            h = layers.Activation("relu")(h)
            h = norm(layers.SeparableConv2D(filters, 3, padding="same")(h))
        h = layers.MaxPooling2D(3, strides=2, padding="same")(h)
        h = before = layers.add([h, layers.Conv2D(filters, 1, strides=2, padding="same")(before)])
    for filters in (32, 24, 16):
        for _ in range(2):
            h = layers.Activation("relu")(h)
            h = norm(layers.Conv2DTranspose(filters, 3, padding="same")(h))
        h = layers.UpSampling2D(2)(h)
        by = layers.Conv2D(filters, 1, padding="same")(layers.UpSampling2D(2)(before))
        h = before = layers.add([h, by])
    outputs = layers.Conv2D(3, 3, activation="softmax", padding="same")(h)
    return Run(
        model=keras.Model(inputs, outputs),
        x=x,
        y=y[..., None],
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(2e-3),
        batch=8,
        epochs=3,
        test=test,
    )


def unet(side, outputs, activation, dropout=0.1, width=12):
    """Convolutions in pairs, down and up again, what was there on the way down put beside."""
    inputs = h = keras.Input((side, side, 3))
    beside = []
    for filters in (width, 2 * width):
        h = layers.Conv2D(filters, 3, kernel_initializer="he_normal", **SAME)(h)
        h = layers.Dropout(dropout)(h)
        h = layers.Conv2D(filters, 3, kernel_initializer="he_normal", **SAME)(h)
        beside.append(h)
        h = layers.MaxPooling2D()(h)
    h = layers.Conv2D(3 * width, 3, kernel_initializer="he_normal", **SAME)(h)
    for filters, other in zip((2 * width, width), reversed(beside), strict=True):
        h = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(h)
        h = layers.Concatenate()([h, other])
        h = layers.Conv2D(filters, 3, kernel_initializer="he_normal", **SAME)(h)
        h = layers.Dropout(dropout)(h)
    return keras.Model(inputs, layers.Conv2D(outputs, 1, activation=activation)(h))


@program("unet_plain", stock=True, **THREE)
def unet_plain():
    """The plain U-Net: HeNormal, Dropout, concatenations, no norm."""
    (x, y), test = discs(side=16)
    return Run(
        model=unet(16, 3, "softmax"),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(2e-3),
        batch=8,
        epochs=6,
        test=test,
    )


@program("unet_binary", stock=True, **TWO)
def unet_binary():
    """One sigmoid for each pixel, binary crossentropy."""
    (x, y), (x_test, y_test) = discs(side=16)
    return Run(
        model=unet(16, 1, "sigmoid"),
        x=x,
        y=(y[..., None] > 0).astype("float32"),
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        batch=8,
        epochs=5,
        test=(x_test, (y_test > 0).astype("int32")),
    )


def fully_convolutional(classes):
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(24, 3, **SAME),
            layers.Conv2D(24, 3, dilation_rate=2, **SAME),
            layers.Conv2D(24, 3, **SAME),
            layers.Conv2D(classes, 1),
        ]
    )


def with_void(y, void):
    """A frame of two pixels whose class nobody knows."""
    y = np.pad(y[:, 2:-2, 2:-2], ((0, 0), (2, 2), (2, 2)), constant_values=void)
    return y.astype("int32")


@program("void_is_255", stock=True, **THREE)
def void_is_255():
    """ignore_class=255: pixels that nobody labelled are left out of the loss."""
    (x, y), (x_test, y_test) = discs(side=16)
    return Run(
        model=fully_convolutional(3),
        x=x,
        y=with_void(y, 255),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
        optimizer=keras.optimizers.Adam(3e-3),
        batch=8,
        epochs=8,
        test=(x_test, with_void(y_test, 255)),
    )


@program("void_is_minus_1", stock=True, **THREE)
def void_is_minus_1():
    """ignore_class=-1, with BatchNormalization and labels of shape (rows, down, right, 1)."""
    (x, y), (x_test, y_test) = discs(side=16)
    inputs = h = keras.Input((16, 16, 3))
    for rate in (1, 2, 4):
        h = layers.Conv2D(20, 3, padding="same", dilation_rate=rate, use_bias=False)(h)
        h = layers.ReLU()(norm(h))
    return Run(
        model=keras.Model(inputs, layers.Conv2D(3, 1)(h)),
        x=x,
        y=with_void(y, -1)[..., None],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
        optimizer=keras.optimizers.Adam(3e-3),
        batch=8,
        epochs=6,
        test=(x_test, with_void(y_test, -1)),
    )


def soft_dice(y_true, y_pred):
    """1 less the overlap, over the pixels of each image."""
    axes = (1, 2)
    both = ops.sum(y_true * y_pred, axis=axes)
    all_ = ops.sum(y_true, axis=axes) + ops.sum(y_pred, axis=axes)
    return 1 - ops.mean((2 * both + 1.0) / (all_ + 1.0), axis=-1)


@program("dice_of_ones_own", **TWO)
def dice_of_ones_own():
    """A Dice loss of the user's own, a sigmoid for each pixel."""
    (x, y), (x_test, y_test) = discs(side=16)
    return Run(
        model=unet(16, 1, "sigmoid", dropout=0.0),
        x=x,
        y=(y[..., None] > 0).astype("float32"),
        loss=soft_dice,
        optimizer=keras.optimizers.Adam(1e-3),
        batch=8,
        epochs=5,
        test=(x_test, (y_test > 0).astype("int32")),
    )


@program("dice_and_crossentropy", **THREE)
def dice_and_crossentropy():
    """Dice and crossentropy added, one-hot labels, classes from a softmax."""
    (x, y), test = discs(side=16)

    def loss(y_true, y_pred):
        crossentropy = keras.losses.categorical_crossentropy(y_true, y_pred)
        return ops.mean(crossentropy, axis=(1, 2)) + soft_dice(y_true, y_pred)

    return Run(
        model=unet(16, 3, "softmax", dropout=0.0),
        x=x,
        y=np.eye(3, dtype="float32")[y],
        loss=loss,
        optimizer=keras.optimizers.Adam(2e-3),
        batch=8,
        epochs=5,
        test=test,
    )


@program("deeplab_small", stock=True, **THREE)
def deeplab_small():
    """Dilated convolutions of several rates side by side, and the mean of the whole image."""
    (x, y), test = discs(side=16)

    def block(h, filters=24, size=3, rate=1):
        h = layers.Conv2D(filters, size, dilation_rate=rate, padding="same", use_bias=False,
                          kernel_initializer="he_normal")(h)  # fmt: skip
        return layers.ReLU()(norm(h))

    inputs = keras.Input((16, 16, 3))
    fine = block(inputs, 16)
    h = block(layers.MaxPooling2D()(fine))
    whole = layers.AveragePooling2D(8)(h)
    whole = layers.UpSampling2D(8, interpolation="bilinear")(block(whole, 12, 1))
    rates = [block(h, 12, 3, rate) for rate in (1, 2, 3)]
    h = block(layers.Concatenate()([whole, block(h, 12, 1), *rates]), 24, 1)
    h = layers.UpSampling2D(2, interpolation="bilinear")(h)
    h = block(layers.Concatenate()([h, block(fine, 12, 1)]))
    return Run(
        model=keras.Model(inputs, layers.Conv2D(3, 1)(h)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        batch=16,
        epochs=6,
        test=test,
    )
