"""Zhang, Dauphin & Ma 2019, Fixup initialization: residual learning without normalization."""

import keras
import numpy as np

import initwatch

BLOCKS, CHANNELS, CLASSES, BATCH = 8, 16, 10, 32


class Scalar(keras.layers.Layer):
    """A scalar bias or multiplier."""

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, shape):
        self.value = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start))

    def call(self, x):
        return x * self.value if self.start else x + self.value


def conv(name, initializer, units=CHANNELS):
    return keras.layers.Conv2D(
        units, 3, padding="same", use_bias=False, kernel_initializer=initializer, name=name
    )


def fixup():
    """Sec. 3: branches of m = 2 convolutions, the first scaled by L^(-1 / (2m - 2)), the last
    0, as is the classifier; a scalar bias before each convolution and activation, a multiplier
    on each branch.
    """
    branch = keras.initializers.VarianceScaling(2.0 / BLOCKS, "fan_in", "untruncated_normal", 3)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.ReLU()(conv("stem", keras.initializers.HeNormal(seed=1))(inputs))
    for i in range(BLOCKS):
        y = conv(f"branch_{i}_first", branch)(Scalar(0.0)(x))
        y = keras.layers.ReLU()(Scalar(0.0)(y))
        y = Scalar(1.0)(conv(f"branch_{i}_last", "zeros")(Scalar(0.0)(y)))
        x = keras.layers.ReLU()(keras.layers.Add()([x, Scalar(0.0)(y)]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(CLASSES, kernel_initializer="zeros", name="classifier")(x)
    return keras.Model(inputs, keras.layers.Softmax()(x))


def test_a_fixup_network_raises_no_alarm_at_its_first_steps():
    """Zero kernels and zero gradients behind them are meant: no finding at step 0 and 1."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(2 * BATCH, 8, 8, 3)).astype("float32")
    y = random.integers(0, CLASSES, 2 * BATCH)
    model = fixup()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, callbacks=[watch])
    assert watch.report.steps_seen == 2
    assert watch.report.problems == []
    assert [f for f in watch.report.findings if f.severity != "info"] == []
    assert watch.report.healthy
