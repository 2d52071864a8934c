"""Sound programs that classify short clips."""

import keras
from keras import layers

from tests.bench.programs.imagery_data import clips
from tests.bench.programs.program import Run, accuracy, program

SPARSE = "sparse_categorical_crossentropy"


@program("video_3d", area="vision", score=accuracy, chance=0.28, learned=0.75, stock=True)
def video_3d():
    """Short clips, convolved along time as well."""
    (x, y), test = clips()
    model = keras.Sequential(
        [
            keras.Input((6, 10, 10, 1)),
            layers.Conv3D(12, 3, padding="same", activation="relu"),
            layers.MaxPooling3D((1, 2, 2)),
            layers.Conv3D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.GlobalAveragePooling3D(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=7,
        test=test,
    )


@program(
    "video_frames_then_gru", area="vision", score=accuracy, chance=0.28, learned=0.75, stock=True
)
def video_frames_then_gru():
    """A small convnet for each frame, a GRU over the frames."""
    (x, y), test = clips()
    inputs = keras.Input((6, 10, 10, 1))
    h = layers.TimeDistributed(layers.Conv2D(8, 3, activation="relu"))(inputs)
    h = layers.TimeDistributed(layers.MaxPooling2D())(h)
    h = layers.TimeDistributed(layers.Flatten())(h)
    h = layers.TimeDistributed(layers.Dense(32, activation="relu"))(h)
    h = layers.Dropout(0.2)(layers.GRU(24)(h))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=SPARSE,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=8,
        test=test,
    )
