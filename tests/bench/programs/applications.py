"""Sound programs that train networks of keras.applications from scratch, for a few steps.

The moving averages of their BatchNormalization layers reach over a hundred batches and more; so
that they are there when judged, the momentum is set to 0.8.
"""

import keras

from tests.bench.programs.imagery_data import textures
from tests.bench.programs.program import Run, accuracy, program

SLOW = {"area": "applications", "score": accuracy, "chance": 0.25, "learned": 0.6, "stock": True}


def of(network, optimizer, rows=320, epochs=4, scale=1.0, offset=0.0, seen=False, **options):
    """Where ``seen``, the score is that of the rows that it trains on."""
    (x, y), (x_test, y_test) = textures(side=32)
    size = (32, 32, 3)
    model = network(weights=None, input_shape=size, classes=5, **options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    return Run(
        model=model,
        x=scale * x[:rows] + offset,
        y=y[:rows],
        loss="sparse_categorical_crossentropy",
        optimizer=optimizer,
        batch=16,
        epochs=epochs,
        test=(scale * x[:rows] + offset, y[:rows]) if seen else (scale * x_test + offset, y_test),
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
    """A narrow MobileNetV2 without weights, pixels from -1 to 1."""
    scaled = {"scale": 2.0, "offset": -1.0}
    adam = keras.optimizers.Adam(2e-3)
    network = keras.applications.MobileNetV2
    return of(network, adam, rows=160, epochs=24, alpha=0.35, seen=True, **scaled)


@program("applications_efficientnetb0", **SLOW)
def efficientnetb0():
    """EfficientNetB0 without weights: swish, squeeze and excitation; pixels from 0 to 255."""
    adam = keras.optimizers.Adam(1e-3)
    network = keras.applications.EfficientNetB0
    return of(network, adam, rows=96, epochs=22, scale=255.0, seen=True)


@program("applications_densenet121", **SLOW)
def densenet121():
    """DenseNet121 without weights."""
    return of(keras.applications.DenseNet121, keras.optimizers.Adam(1e-3), rows=256)
