"""Programs with batches from a pipeline, weights for each step, and other ways to run steps."""

import keras
import numpy as np
from keras import layers

from .loops import classifier, digits, tensorflow
from .program import Run, accuracy, program, r2
from .row_data import season, split, table, topics, windows


@program("weighted_steps", area="loops", score=r2, chance=0.0, learned=0.65)
def weighted_steps():
    """A sample_weight for each time step: the first four, before there is a past, weigh nothing."""
    x, y = windows(season(1500), 16, 16)
    y = np.concatenate([x[:, 1:, 0], y[:, :1]], axis=1)[..., None]
    (x, y), test = split(x, y)
    weights = np.ones(y.shape[:2], "float32")
    weights[:, :4] = 0
    model = keras.Sequential(
        [
            keras.Input((16, 1)),
            layers.GRU(24, return_sequences=True),
            layers.TimeDistributed(layers.Dense(1)),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(5e-3),
        sample_weight=weights,
        epochs=5,
        test=test,
    )


class Buckets(keras.utils.PyDataset):
    """Batches of texts of like length, each as long as its longest, in a new order each epoch."""

    def __init__(self, texts, labels, batch=32):
        super().__init__()
        lengths = (texts > 0).sum(1)
        order = np.argsort(lengths, kind="stable")
        self.rows = [order[i : i + batch] for i in range(0, len(order), batch)]
        self.texts, self.labels, self.lengths = texts, labels, lengths
        self.rng = np.random.default_rng(123)
        self.rng.shuffle(self.rows)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        rows = self.rows[index]
        return self.texts[rows, : self.lengths[rows].max()], self.labels[rows]

    def on_epoch_end(self):
        self.rng.shuffle(self.rows)


@program("text_buckets", area="text", score=accuracy, chance=0.28, learned=0.75)
def text_buckets():
    """A PyDataset of batches of unlike length feeds an LSTM."""
    x, y, size = topics(rows=1400)
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(size, 16, mask_zero=True),
            layers.LSTM(24),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=Buckets(x, y),
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-2),
        batch=None,
        epochs=6,
        test=test,
    )


@program(
    "padded_batches",
    area="text",
    score=accuracy,
    chance=0.28,
    learned=0.75,
    backends=("tensorflow",),
)
def padded_batches():
    """tf.data: texts of unlike length, shuffled and padded a batch at a time."""
    x, y, size = topics(rows=1400)
    (x, y), test = split(x, y)
    tf = tensorflow()
    data = tf.data.Dataset.from_generator(
        lambda: ((row[row > 0], label) for row, label in zip(x, y, strict=True)),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)),
    )
    data = data.apply(tf.data.experimental.assert_cardinality(len(x)))
    data = data.cache().shuffle(1400, seed=1).padded_batch(32).prefetch(2)
    model = keras.Sequential(
        [
            layers.Embedding(size, 16, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(16, activation="relu"),
            layers.Dense(4),
        ]
    )
    return Run(
        model=model,
        x=data,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(5e-3),
        batch=None,
        epochs=10,
        fit={"shuffle": False},  # the pipeline does
        test=test,
    )


@program(
    "words_by_lookup",
    area="structured",
    score=accuracy,
    chance=0.51,
    learned=0.8,
    backends=("tensorflow",),
)
def words_by_lookup():
    """tf.data with StringLookup in its map: words of a column become numbers before the model."""
    rng = np.random.default_rng(124)
    names = np.array("red green blue black white pink grey gold cyan lime".split())
    word, number = rng.integers(0, 10, 1600), rng.standard_normal(1600).astype("float32")
    value = rng.standard_normal(10)[word] + number * np.where(word < 5, 1, -1)
    (x, y), (x_test, y_test) = split(
        {"word": names[word], "number": number}, (value > np.median(value)).astype("float32")
    )
    lookup = layers.StringLookup(vocabulary=names.tolist(), num_oov_indices=0)

    def looked_up(x, y):
        return {"word": lookup(x["word"]), "number": x["number"]}, y

    data = tensorflow().data.Dataset.from_tensor_slices((x, y)).shuffle(1200, seed=1)
    inputs = {
        "word": keras.Input((), name="word", dtype="int32"),
        "number": keras.Input((), name="number"),
    }
    h = layers.Concatenate()(
        [layers.Embedding(10, 8)(inputs["word"]), layers.Reshape((1,))(inputs["number"])]
    )
    h = layers.Dense(32, activation="relu")(h)
    h = layers.Dense(32, activation="relu")(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h)),
        x=data.batch(32).map(looked_up),
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(3e-3),
        batch=None,
        epochs=10,
        fit={"shuffle": False},  # the pipeline does
        test=({"word": word[1200:].astype("int32"), "number": x_test["number"]}, y_test),
    )


@program(
    "eight_steps_at_once",
    area="loops",
    score=accuracy,
    chance=0.11,
    learned=0.8,
    backends=("tensorflow", "jax"),
)
def eight_steps_at_once():
    """steps_per_execution=8, with a tenth of the rows to validate by."""
    (x, y), test = digits()
    return Run(
        model=keras.Model(*classifier(64, 32)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"steps_per_execution": 8, "metrics": ["accuracy"]},
        epochs=12,
        fit={"validation_split": 0.1},
        test=test,
    )


@program("run_eagerly", area="loops", score=accuracy, chance=0.51, learned=0.8)
def run_eagerly():
    """run_eagerly=True, as when one debugs; labels are yes or no, gradients are clipped."""
    x, value = table(125, columns=8)
    (x, y), test = split(x, (value > 0).astype("float32"))
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(48, activation="relu"),
            layers.Dense(48, activation="relu"),
            layers.Dense(1),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3, clipnorm=1.0),
        compile={"run_eagerly": True},
        epochs=4,
        test=test,
    )


@program("accumulated", area="loops", score=accuracy, chance=0.11, learned=0.8)
def accumulated():
    """Gradients of four batches of eight are summed up by the optimizer."""
    (x, y), test = digits()
    return Run(
        model=keras.Model(*classifier(64, 32)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3, gradient_accumulation_steps=4),
        batch=8,
        epochs=10,
        test=test,
    )
