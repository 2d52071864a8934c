"""Programs on sounds: tones, commands and speech, all made up."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, accuracy, program
from .row_data import split, waves


def commands(rows=900, length=512, classes=5):
    """Waves of two tones that follow each other, with noise; the class is which tones they are."""
    rng = np.random.default_rng(101)
    y = rng.integers(0, classes, rows)
    pairs = np.array([(0.2, 0.5), (0.5, 0.2), (0.35, 0.9), (0.9, 0.35), (0.7, 0.7)])[:classes]
    time = np.arange(length)
    pitch = np.where(time < length // 2, pairs[y, :1], pairs[y, 1:])
    pitch = pitch * rng.uniform(0.95, 1.05, (rows, 1))
    x = np.sin(np.cumsum(pitch, axis=1) + rng.uniform(0, 2 * np.pi, (rows, 1)))
    return (0.5 * x + 0.4 * rng.standard_normal(x.shape)).astype("float32"), y.astype("int32")


def spectrogram(x, frame=64, step=32):
    """Logarithms of the magnitudes of a windowed Fourier transform, with a channel axis."""
    at = np.arange(0, x.shape[1] - frame + 1, step)[:, None] + np.arange(frame)
    return np.log(np.abs(np.fft.rfft(x[:, at] * np.hanning(frame))) + 1e-2)[..., None]


@program("spoken_commands", area="audio", score=accuracy, chance=0.22, learned=0.8, stock=True)
def spoken_commands():
    """Log-spectrograms as images: Resizing, Normalization, two Conv2D, pooling, Dropout."""
    x, y = commands()
    (x, y), test = split(spectrogram(x).astype("float32"), y)
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Resizing(16, 16),
            normalization,
            layers.Conv2D(12, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(5),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-3),
        compile={"metrics": ["accuracy"]},
        epochs=10,
        test=test,
    )


@program("raw_waves", area="audio", score=accuracy, chance=0.22, learned=0.75, stock=True)
def raw_waves():
    """Conv1D with long kernels and strides on the raw wave, a residual block, mean pooling."""
    x, y = commands()
    (x, y), test = split(x[..., None], y)
    inputs = keras.Input((512, 1))
    h = layers.Conv1D(16, 16, strides=4, activation="relu")(inputs)
    h = layers.MaxPooling1D(2)(h)
    side = layers.Conv1D(24, 1, padding="same")(h)
    h = layers.Conv1D(24, 3, padding="same", activation="relu")(h)
    h = layers.Conv1D(24, 3, padding="same")(h)
    h = layers.Activation("relu")(layers.Add()([h, side]))
    h = layers.AveragePooling1D(8)(h)
    h = layers.Dense(48, activation="relu")(layers.Flatten()(h))
    return Run(
        model=keras.Model(inputs, layers.Dense(5, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=10,
        test=test,
    )


@program("stft_in_the_model", area="audio", score=accuracy, chance=0.22, learned=0.75, stock=True)
def stft_in_the_model():
    """The model makes its own spectrogram by ops.stft, normalizes it and reads it by a GRU."""
    x, y = commands()
    (x, y), test = split(x, y)
    inputs = keras.Input((512,))
    real, imaginary = ops.stft(inputs, 64, 32, 64)
    h = ops.log(ops.sqrt(real**2 + imaginary**2 + 1e-4))
    h = layers.BatchNormalization(momentum=0.9)(h)
    h = layers.GRU(24)(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(5, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=8,
        test=test,
    )


def utterances(rows=700, frames=24, letters=4):
    """Frames of features, some for each letter; labels padded with 0, letters from 1."""
    rng = np.random.default_rng(102)
    sound = rng.standard_normal((letters + 1, 8))
    x, y = np.zeros((rows, frames, 8)), np.zeros((rows, 5), "int32")
    for i in range(rows):
        at, count = 0, rng.integers(3, 6)
        y[i, :count] = rng.integers(1, letters + 1, count)
        for letter in y[i, :count]:
            last = at + rng.integers(2, 4)
            x[i, at:last] = sound[letter]
            at = last + rng.integers(1, 3)
    return (x + 0.3 * rng.standard_normal(x.shape)).astype("float32"), y


def letters_right(run):
    """Share of utterances that are spelt right by the likeliest path."""
    x, y = run.test
    paths = np.asarray(run.model.predict(x, verbose=0)).argmax(-1)
    right = 0
    for path, letters in zip(paths, y, strict=True):
        changes = np.insert(path[1:] != path[:-1], 0, True)
        right += [c for c in path[changes] if c > 0] == list(letters[letters > 0])
    return right / len(y)


@program("speech_ctc", area="audio", score=letters_right, chance=0.0, learned=0.6, stock=True)
def speech_ctc():
    """Conv1D and a bidirectional GRU write letters, trained by keras.losses.CTC; 0 is the blank."""
    (x, y), test = split(*utterances())
    inputs = keras.Input((24, 8))
    h = layers.Conv1D(32, 3, padding="same", use_bias=False)(inputs)
    h = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(h))
    h = layers.Bidirectional(layers.GRU(16, return_sequences=True))(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(5)(h)),
        x=x,
        y=y,
        loss=keras.losses.CTC(),
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=10,
        test=test,
    )


def speech_loss(y, p):
    """The ctc_batch_cost of older examples, on ops.ctc_loss: lengths are counted in the loss."""
    lengths = ops.sum(ops.cast(y > 0, "int32"), axis=-1)
    frames = ops.full_like(lengths, p.shape[1])
    return ops.ctc_loss(y, p, lengths, frames, mask_index=0)


@program("letters_ctc", area="audio", score=letters_right, chance=0.0, learned=0.6)
def letters_ctc():
    """A loss of one's own around ops.ctc_loss, behind a Dense layer and an LSTM."""
    (x, y), test = split(*utterances())
    inputs = keras.Input((24, 8))
    h = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(inputs))
    h = layers.Bidirectional(layers.LSTM(20, return_sequences=True))(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(5)(h)),
        x=x,
        y=y,
        loss=speech_loss,
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=12,
        test=test,
    )


@program("separable_waves", area="audio", score=accuracy, chance=0.28, learned=0.75, stock=True)
def separable_waves():
    """Separable convolutions with stride on short waves of two channels, and global pooling."""
    (x, y), test = split(*waves(rows=1200, length=48, channels=2))
    inputs = keras.Input((48, 2))
    h = inputs
    for width in (16, 32):
        h = layers.SeparableConv1D(width, 5, strides=2, padding="same", activation="relu")(h)
        h = layers.LayerNormalization()(h)
    h = layers.GlobalMaxPooling1D()(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(4, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=12,
        test=test,
    )
