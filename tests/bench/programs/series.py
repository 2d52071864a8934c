"""Programs on series: forecasts, classes of series, and what is unlike the others."""

import keras
import numpy as np
from keras import layers

from .program import Run, accuracy, predicted, program, r2
from .row_data import season, split, standardised, waves, windows


def forecast(past=24, future=1, length=2000):
    """Windows of a season, and what comes behind them; the test lies behind the training."""
    return split(*windows(season(length), past, future))


@program("lstm_forecast", area="series", score=r2, chance=0.0, learned=0.7, stock=True)
def lstm_forecast():
    """The next value of a series from the last 24, by an LSTM."""
    (x, y), test = forecast()
    model = keras.Sequential([keras.Input((24, 1)), layers.LSTM(24), layers.Dense(1)])
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=6,
        test=test,
    )


@program("gru_dropout", area="series", score=r2, chance=0.0, learned=0.65, stock=True)
def gru_dropout():
    """Stacked GRUs with recurrent_dropout, RMSprop, the mean absolute error: the jena example."""
    (x, y), test = forecast(past=16)
    model = keras.Sequential(
        [
            keras.Input((16, 1)),
            layers.GRU(24, recurrent_dropout=0.1, return_sequences=True),
            layers.GRU(24, recurrent_dropout=0.1),
            layers.Dropout(0.1),
            layers.Dense(1),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mae",
        optimizer=keras.optimizers.RMSprop(3e-3),
        epochs=4,
        test=test,
    )


@program("causal_dilated", area="series", score=r2, chance=0.0, learned=0.7, stock=True)
def causal_dilated():
    """WaveNet: causal convolutions with gates, sums and dilations 1, 2, 4, 8; Huber's loss."""
    x, y = windows(season(1200), 32, 32)
    x, y = x, np.concatenate([x[:, 1:, 0], y[:, :1]], axis=1)[..., None]  # the next of each
    (x, y), test = split(x, y)
    inputs = keras.Input((32, 1))
    h, skipped = layers.Conv1D(16, 1)(inputs), []
    for rate in (1, 2, 4, 8):
        filters = layers.Conv1D(16, 2, padding="causal", dilation_rate=rate, activation="tanh")(h)
        gates = layers.Conv1D(16, 2, padding="causal", dilation_rate=rate, activation="sigmoid")(h)
        gated = layers.Multiply()([filters, gates])
        skipped.append(layers.Conv1D(16, 1)(gated))
        h = layers.Add()([h, layers.Conv1D(16, 1)(gated)])
    h = layers.Activation("relu")(layers.Add()(skipped))
    h = layers.Conv1D(16, 1, activation="relu")(h)
    return Run(
        model=keras.Model(inputs, layers.Conv1D(1, 1)(h)),
        x=x,
        y=y,
        loss=keras.losses.Huber(),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=5,
        test=test,
    )


@program("many_steps_ahead", area="series", score=r2, chance=0.0, learned=0.65, stock=True)
def many_steps_ahead():
    """Twelve values at once from 48, by Conv1D, pooling and Dense, with the absolute error."""
    (x, y), test = forecast(past=48, future=12)
    model = keras.Sequential(
        [
            keras.Input((48, 1)),
            layers.Conv1D(24, 5, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(24, 5, activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(12),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.MeanAbsoluteError(),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=8,
        test=test,
    )


@program("scaled_by_hand", area="series", score=r2, chance=0.0, learned=0.7, stock=True)
def scaled_by_hand():
    """A series scaled to between 0 and 1, two recurrent layers, Nadam: the airline passengers."""
    series = np.exp(0.4 * season(1500)) * 200
    low, high = series[:1000].min(), series[:1000].max()
    (x, y), test = split(*windows((series - low) / (high - low), 12, 1), 1 / 3)
    model = keras.Sequential(
        [
            keras.Input((12, 1)),
            layers.SimpleRNN(24, return_sequences=True),
            layers.LSTM(16),
            layers.Dense(1),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mean_squared_error",
        optimizer=keras.optimizers.Nadam(3e-3),
        batch=16,
        epochs=8,
        test=test,
    )


@program("series_fcn", area="series", score=accuracy, chance=0.28, learned=0.8, stock=True)
def series_fcn():
    """Three times Conv1D, BatchNormalization, ReLU; a mean over time; a softmax."""
    (x, y), test = split(*waves(noise=0.5))
    inputs = h = keras.Input((32, 1))
    for _ in range(3):
        h = layers.Conv1D(24, 3, padding="same")(h)
        h = layers.BatchNormalization()(h)
        h = layers.ReLU()(h)
    model = keras.Model(
        inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling1D()(h))
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        compile={"metrics": ["sparse_categorical_accuracy"]},
        epochs=20,
        test=test,
    )


@program("series_transformer", area="series", score=accuracy, chance=0.28, learned=0.75, stock=True)
def series_transformer():
    """Normalization before each branch, and Conv1D for the inner layers."""
    (x, y), test = split(*waves(rows=800, noise=0.4, channels=2))
    inputs = keras.Input((32, 2))
    h = layers.Conv1D(16, 3, padding="same")(inputs)
    for _ in range(2):
        n = layers.LayerNormalization(epsilon=1e-6)(h)
        h = h + layers.MultiHeadAttention(key_dim=16, num_heads=2, dropout=0.1)(n, n)
        n = layers.LayerNormalization(epsilon=1e-6)(h)
        n = layers.Conv1D(16, 1, activation="relu")(n)
        h = h + layers.Conv1D(16, 1)(layers.Dropout(0.1)(n))
    h = layers.GlobalAveragePooling1D()(h)
    h = layers.Dense(32, activation="relu")(h)
    h = layers.Dropout(0.1)(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(4, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=12,
        test=test,
    )


def told_apart(run):
    """How often a strange window is reconstructed worse than a usual one."""
    usual, strange = (np.mean((predicted(run.model, x) - x) ** 2, axis=(1, 2)) for x in run.test)
    return float(np.mean(strange[:, None] > usual))


@program("anomalies", area="series", score=told_apart, chance=0.5, learned=0.85, stock=True)
def anomalies():
    """A convolutional autoencoder of usual windows; strange ones are reconstructed badly."""
    x, _ = windows(season(1800), 32, 1)
    x, test = x[:1300], x[1300:]
    bump = np.zeros((len(test), 32, 1), "float32")
    bump[:, 12:18] = 1.5
    model = keras.Sequential(
        [
            keras.Input((32, 1)),
            layers.Conv1D(16, 7, strides=2, padding="same", activation="relu"),
            layers.Dropout(0.1),
            layers.Conv1D(8, 7, strides=2, padding="same", activation="relu"),
            layers.Conv1DTranspose(8, 7, strides=2, padding="same", activation="relu"),
            layers.Dropout(0.1),
            layers.Conv1DTranspose(16, 7, strides=2, padding="same", activation="relu"),
            layers.Conv1DTranspose(1, 7, padding="same"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=x,
        loss="mse",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=15,
        test=(test, test + bump),
    )


@program(
    "sliding_windows", area="series", score=r2, chance=0.0, learned=0.7, backends=("tensorflow",)
)
def sliding_windows():
    """timeseries_dataset_from_array feeds fit: three columns, one of them to be forecast."""
    series = season(2400)
    rng = np.random.default_rng(51)
    columns = np.stack([series, np.roll(series, 6), rng.standard_normal(2400)], axis=1)
    columns = standardised(columns)
    x, y = columns[:-1], columns[24:, 0]
    data = keras.utils.timeseries_dataset_from_array(
        x[: 1800 + 23], y[:1800], sequence_length=24, batch_size=32, shuffle=True, seed=1
    )
    test = np.stack([x[i : i + 24] for i in range(1900, 2300)]), y[1900:2300, None]
    model = keras.Sequential(
        [
            keras.Input((24, 3)),
            layers.LSTM(16, return_sequences=True),
            layers.LSTM(16),
            layers.Dense(1),
        ]
    )
    return Run(
        model=model,
        x=data,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        batch=None,
        epochs=5,
        fit={"shuffle": False},  # the dataset does
        test=test,
    )
