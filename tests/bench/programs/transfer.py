"""Sound programs that start from a trained network: heads, fine-tuning, adapters.

The first training happens in ``make``; only the second is watched.
"""

import keras
import numpy as np
from keras import layers

from tests.bench.programs.imagery_data import digits, digits_of, flat_digits
from tests.bench.programs.program import Run, accuracy, program

STOCK = {"area": "transfer", "score": accuracy, "stock": True}
LOGITS = {"from_logits": True}


def sparse():
    return keras.losses.SparseCategoricalCrossentropy(**LOGITS)


def backbone(normalized=True):
    model = keras.Sequential([keras.Input((16, 16, 1))], name="backbone")
    for filters in (16, 32):
        model.add(layers.Conv2D(filters, 3, padding="same"))
        if normalized:
            model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.Conv2D(64, 3, padding="same", activation="relu"))
    model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    return model


def pretrained(base, x, y, classes, epochs=6):
    """Trains the base below a head that is thrown away."""
    model = keras.Sequential([keras.Input(base.input_shape[1:]), base, layers.Dense(classes)])
    model.compile(keras.optimizers.Adam(2e-3), sparse())
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    return base


def headed(base, classes, dropout=0.2):
    """The customary model: base(x, training=False), Dropout, a new head."""
    inputs = keras.Input(base.input_shape[1:])
    h = layers.Dropout(dropout)(base(inputs, training=False))
    return keras.Model(inputs, layers.Dense(classes)(h))


@program("frozen_base_new_head", chance=0.22, learned=0.7, **STOCK)
def frozen_base_new_head():
    """Trained on the digits 0 to 4, frozen; a new head for 5 to 9."""
    (x, y), _ = digits_of(range(5))
    base = pretrained(backbone(), x, y, 5)
    base.trainable = False
    (x, y), test = digits_of(range(5, 10))
    return Run(
        model=headed(base, 5),
        x=x,
        y=y,
        loss=sparse(),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=12,
        test=test,
    )


@program("fine_tuned_at_a_small_rate", chance=0.22, learned=0.75, **STOCK)
def fine_tuned_at_a_small_rate():
    """The second half of the recipe: all is unfrozen and trained on, at a small rate."""
    (x, y), _ = digits_of(range(5))
    base = pretrained(backbone(), x, y, 5)
    base.trainable = False
    (x, y), test = digits_of(range(5, 10))
    model = headed(base, 5)
    model.compile(keras.optimizers.Adam(1e-3), sparse())
    model.fit(x, y, batch_size=32, epochs=4, verbose=0)
    base.trainable = True
    return Run(
        model=model,
        x=x,
        y=y,
        loss=sparse(),
        optimizer=keras.optimizers.Adam(2e-4),
        epochs=8,
        test=test,
    )


@program("last_layers_unfrozen", chance=0.22, learned=0.75, **STOCK)
def last_layers_unfrozen():
    """Only the last convolution and a new head of two layers are trained, the rest is frozen."""
    (x, y), _ = digits_of(range(5))
    base = pretrained(backbone(normalized=False), x, y, 5)
    for layer in base.layers[:-3]:
        layer.trainable = False
    (x, y), test = digits_of(range(5, 10))
    inputs = keras.Input((16, 16, 1))
    h = layers.Dense(64, activation="relu")(base(inputs))
    h = layers.Dropout(0.3)(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(5, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=7,
        test=test,
    )


@program("features_first", chance=0.22, learned=0.75, **STOCK)
def features_first():
    """The base predicts features once; a small network is trained on them."""
    (x, y), _ = digits_of(range(5))
    base = pretrained(backbone(), x, y, 5)
    (x, y), (x_test, y_test) = digits_of(range(5, 10))
    model = keras.Sequential(
        [
            keras.Input((256,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(5, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=base.predict(x, verbose=0),
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.RMSprop(2e-3),
        epochs=12,
        test=(base.predict(x_test, verbose=0), y_test),
    )


@program("autoencoder_then_classes", chance=0.12, learned=0.7, **STOCK)
def autoencoder_then_classes():
    """An encoder trained without labels goes below a head, trained with 200 labels."""
    (x, y), test = flat_digits()
    encoder = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(48, activation="relu"),
            layers.Dense(24, activation="relu"),
        ],
        name="encoder",
    )
    decoder = [layers.Dense(48, activation="relu"), layers.Dense(64, activation="sigmoid")]
    autoencoder = keras.Sequential([keras.Input((64,)), encoder, *decoder])
    autoencoder.compile(keras.optimizers.Adam(2e-3), "mse")
    autoencoder.fit(x, x, batch_size=32, epochs=8, verbose=0)
    return Run(
        model=keras.Sequential([keras.Input((64,)), encoder, layers.Dense(10)]),
        x=x[:200],
        y=y[:200],
        loss=sparse(),
        optimizer=keras.optimizers.Adam(2e-3),
        batch=16,
        epochs=20,
        test=test,
    )


@program("another_domain", chance=0.12, learned=0.75, **STOCK)
def another_domain():
    """Trained on white on black, trained on for grey on bright: the same head, a smaller rate."""
    (x, y), (x_test, y_test) = digits(16)
    model = keras.Sequential([keras.Input((16, 16, 1)), backbone(), layers.Dense(10)])
    model.compile(keras.optimizers.Adam(2e-3), sparse())
    model.fit(x, y, batch_size=32, epochs=3, verbose=0)
    return Run(
        model=model,
        x=0.9 - 0.6 * x,
        y=y,
        loss=sparse(),
        optimizer=keras.optimizers.Adam(5e-4),
        epochs=4,
        test=(0.9 - 0.6 * x_test, y_test),
    )


@program("low_rank_adapters", chance=0.12, learned=0.7, **STOCK)
def low_rank_adapters():
    """LoRA: the kernels are frozen, what is added to them begins at zero."""
    (x, y), (x_test, y_test) = flat_digits()
    dense = [layers.Dense(128, activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((64,)), *dense, layers.Dense(10)])
    model.compile(keras.optimizers.Adam(1e-3), sparse())
    model.fit(x, y, batch_size=32, epochs=6, verbose=0)
    order = np.arange(64)  # half of the pixels in another order
    order[32:] = 32 + np.random.default_rng(0).permutation(32)
    for layer in dense:
        layer.enable_lora(8)
    return Run(
        model=model,
        x=x[:, order],
        y=y,
        loss=sparse(),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=6,
        test=(x_test[:, order], y_test),
    )


@program("adapters_that_begin_at_zero", chance=0.22, learned=0.75, **STOCK)
def adapters_that_begin_at_zero():
    """Bottlenecks beside a frozen network, their last kernels zeros: it begins as it was."""
    (x, y), _ = digits_of(range(5), side=8)
    flat = [keras.Input((8, 8, 1)), layers.Flatten()]
    dense = [layers.Dense(64, activation="relu") for _ in range(3)]
    pretrained(keras.Sequential([*flat, *dense]), x, y, 5, epochs=10)
    (x, y), test = digits_of(range(5, 10), side=8)
    inputs = keras.Input((8, 8, 1))
    h = layers.Flatten()(inputs)
    for layer in dense:
        layer.trainable = False
        h = layer(h)
        a = layers.Dense(16, activation="gelu")(h)
        h = layers.Add()([h, layers.Dense(64, kernel_initializer="zeros")(a)])
    return Run(
        model=keras.Model(inputs, layers.Dense(5, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=7,
        test=test,
    )
