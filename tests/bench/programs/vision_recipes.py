"""Sound programs that classify images by recipes of training: weights, labels, rates, precision."""

import keras
import numpy as np
from keras import layers

from tests.bench.programs.imagery_data import digits, one_hot, textures
from tests.bench.programs.program import Run, accuracy, predicted, program

TEN = {"area": "vision", "score": accuracy, "chance": 0.12, "stock": True}  # ten digits
FIVE = {"area": "vision", "score": accuracy, "chance": 0.22, "stock": True}  # five textures
SPARSE = "sparse_categorical_crossentropy"


def convnet(shape, classes, activation="softmax", inner="relu", **options):
    """Two convolutions and two dense layers; ``options`` are of all but the last."""
    options["activation"] = inner
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(16, 3, padding="same", **options),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, padding="same", **options),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(48, **options),
            layers.Dense(classes, activation=activation, dtype="float32"),
        ]
    )


def balanced(run):
    """The mean over the classes of the share that is found."""
    x, y = run.test
    found = predicted(run.model, x).argmax(-1)
    return float(np.mean([np.mean(found[y == c] == c) for c in np.unique(y)]))


@program("class_weight", area="vision", score=balanced, chance=0.5, learned=0.8, stock=True)
def class_weight():
    """Is it a nine? One image of ten is; class_weight makes up for that."""
    (x, y), (x_test, y_test) = digits(8)
    nine = (y == 9).astype("int32")
    share = nine.mean()
    return Run(
        model=convnet((8, 8, 1), 2),
        x=x,
        y=nine,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=6,
        fit={"class_weight": {0: 0.5 / (1 - share), 1: 0.5 / share}},
        test=(x_test, (y_test == 9).astype("int32")),
    )


@program(
    "focal_loss_rare_class", area="vision", score=accuracy, chance=0.9, learned=0.95, stock=True
)
def focal_loss_rare_class():
    """Is it a two? One sigmoid, a focal loss, a bias that begins at the log odds."""
    (x, y), (x_test, y_test) = digits(8)
    two = (y == 2).astype("float32")
    odds = float(np.log(two.mean() / (1 - two.mean())))
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(
                1, activation="sigmoid", bias_initializer=keras.initializers.Constant(odds)
            ),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=two,
        loss=keras.losses.BinaryFocalCrossentropy(gamma=2.0),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=6,
        test=(x_test, (y_test == 2).astype("float32")),
    )


@program("label_smoothing", learned=0.8, **TEN)
def label_smoothing():
    """Labels smoothed by a tenth: the loss ends far from zero and is content."""
    (x, y), test = digits(8)
    return Run(
        model=convnet((8, 8, 1), 10, activation=None),
        x=x,
        y=one_hot(y),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=6,
        test=test,
    )


@program("mixed_float16", learned=0.75, **TEN)
def mixed_float16():
    """A convnet in mixed precision, the softmax in float32, the loss scaled by the optimizer."""
    keras.config.set_dtype_policy("mixed_float16")
    (x, y), test = digits(8)
    return Run(
        model=convnet((8, 8, 1), 10),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=5,
        test=test,
    )


@program("l2_regularised", learned=0.8, **TEN)
def l2_regularised():
    """A small L2 on every kernel, momentum after Nesterov."""
    (x, y), test = digits(8)
    return Run(
        model=convnet((8, 8, 1), 10, kernel_regularizer=keras.regularizers.L2(1e-4)),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9, nesterov=True),
        epochs=7,
        test=test,
    )


@program("cosine_with_warmup", learned=0.75, **FIVE)
def cosine_with_warmup():
    """A rate that rises for 40 steps and then falls along a cosine."""
    (x, y), test = textures()
    epochs = 9
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=23 * epochs - 40, warmup_target=4e-3, warmup_steps=40
    )
    return Run(
        model=convnet((16, 16, 3), 5),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-3),
        epochs=epochs,
        test=test,
    )


@program("gradients_clipped", learned=0.75, **TEN)
def gradients_clipped():
    """Gradients clipped to a norm, momentum, elu."""
    (x, y), test = digits(8)
    return Run(
        model=convnet((8, 8, 1), 10, inner="elu"),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0),
        epochs=6,
        test=test,
    )


class Mixed(keras.utils.PyDataset):
    """MixUp: each row is a mixture of two, and so is its label."""

    def __init__(self, x, y, batch=32, alpha=0.2):
        super().__init__()
        self.x, self.y, self.batch, self.alpha = x, y, batch, alpha
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return len(self.x) // self.batch

    def __getitem__(self, number):
        a, b = self.rng.integers(0, len(self.x), (2, self.batch))
        share = self.rng.beta(self.alpha, self.alpha, self.batch).astype("float32")
        mix = share[:, None, None, None]
        x = mix * self.x[a] + (1 - mix) * self.x[b]
        return x, share[:, None] * self.y[a] + (1 - share[:, None]) * self.y[b]


@program("mixup", learned=0.75, **TEN)
def mixup():
    """MixUp from a PyDataset, labels in between."""
    (x, y), test = digits(8)
    return Run(
        model=convnet((8, 8, 1), 10),
        x=Mixed(x, one_hot(y)),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        batch=None,
        epochs=7,
        test=test,
    )


@program("cutmix", learned=0.7, **TEN)
def cutmix():
    """CutMix: a patch of another image, the label by the areas."""
    (x, y), test = digits(8)
    rng = np.random.default_rng(0)
    mixed, labels = x.copy(), one_hot(y)
    for row, other in enumerate(rng.permutation(len(x))):
        if rng.random() < 0.5:
            size = rng.integers(2, 6)
            a, b = rng.integers(0, 9 - size, 2)
            mixed[row, a : a + size, b : b + size] = x[other, a : a + size, b : b + size]
            share = size**2 / 64
            labels[row] = (1 - share) * one_hot(y[row]) + share * one_hot(y[other])
    return Run(
        model=convnet((8, 8, 1), 10),
        x=mixed,
        y=labels.astype("float32"),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=7,
        test=test,
    )


@program("augmented_in_the_model", learned=0.7, **TEN)
def augmented_in_the_model():
    """Layers in front of the convnet shift and turn the images while it trains."""
    (x, y), test = digits(16)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
            layers.RandomRotation(0.03, fill_mode="constant"),
            *convnet((16, 16, 1), 10).layers,
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=5,
        test=test,
    )


@program("which_way_up", area="vision", score=accuracy, chance=0.27, learned=0.7, stock=True)
def which_way_up():
    """A pretext: by how many right angles was the image turned?"""
    (x, _), (x_test, _) = digits(8)
    rng = np.random.default_rng(0)

    def turned(images):
        by = rng.integers(0, 4, len(images)).astype("int32")
        return np.stack([np.rot90(i, k) for i, k in zip(images, by, strict=True)]), by

    x, y = turned(x)
    return Run(
        model=convnet((8, 8, 1), 4),
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=7,
        test=turned(x_test),
    )
