"""Sound programs that train networks of keras.applications from scratch, for a few steps.

The moving averages of their BatchNormalization layers reach over a hundred batches and more, so
the score is that of the network as it trains: each batch is normalized by itself.
"""

import keras
import numpy as np
from keras import ops

from tests.bench.programs.imagery_data import textures
from tests.bench.programs.program import Run, program


def batchwise(run):
    """The share of right classes, in batches of 40 that are normalized by themselves."""
    x, y = run.test
    right = []
    for at in range(0, len(x) // 40 * 40, 40):
        p = ops.convert_to_numpy(run.model(x[at : at + 40], training=True))
        right.append(np.mean(np.asarray(p).argmax(-1) == y[at : at + 40]))
    return float(np.mean(right))


SLOW = {"area": "applications", "score": batchwise, "chance": 0.25, "learned": 0.65, "stock": True}


def of(network, optimizer, rows=320, epochs=4, scale=1.0, batch=16, **options):
    (x, y), (x_test, y_test) = textures(side=32)
    size = (32, 32, 3)
    model = network(weights=None, input_shape=size, classes=5, **options)
    return Run(
        model=model,
        x=scale * x[:rows],
        y=y[:rows],
        loss="sparse_categorical_crossentropy",
        optimizer=optimizer,
        batch=batch,
        epochs=epochs,
        test=(scale * x_test, y_test),
    )


@program("applications_resnet50", **SLOW)
def resnet50():
    """ResNet50 without weights, on small images."""
    return of(keras.applications.ResNet50, keras.optimizers.Adam(1e-3))


@program("applications_resnet50v2", **SLOW)
def resnet50v2():
    """ResNet50V2 without weights: normalized ahead of the convolutions."""
    return of(keras.applications.ResNet50V2, keras.optimizers.Adam(1e-3))


@program("applications_mobilenetv2", **SLOW)
def mobilenetv2():
    """A narrow MobileNetV2 without weights, RMSprop as its authors."""
    network = keras.applications.MobileNetV2
    return of(network, keras.optimizers.RMSprop(1e-3), rows=640, alpha=0.35)


@program("applications_efficientnetb0", **SLOW)
def efficientnetb0():
    """EfficientNetB0 without weights: swish, squeeze and excitation; pixels from 0 to 255."""
    return of(keras.applications.EfficientNetB0, keras.optimizers.Adam(2e-3), scale=255.0)


@program("applications_densenet121", **SLOW)
def densenet121():
    """DenseNet121 without weights."""
    return of(keras.applications.DenseNet121, keras.optimizers.Adam(1e-3), rows=256)
