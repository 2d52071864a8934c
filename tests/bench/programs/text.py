"""Programs that class texts, or the words in them."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, accuracy, predicted, program
from .row_data import split, topics


@program("bag_of_words", area="text", score=accuracy, chance=0.29, learned=0.75, stock=True)
def bag_of_words():
    """Embedding, GlobalAveragePooling1D, Dense: the first text classifier of every tutorial."""
    x, y, size = topics()
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],), dtype="int32"),
            layers.Embedding(size, 16),
            layers.Dropout(0.2),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.2),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-2),
        compile={"metrics": ["accuracy"]},
        epochs=12,
        test=test,
    )


@program("masked_lstm", area="text", score=accuracy, chance=0.28, learned=0.75, stock=True)
def masked_lstm():
    """Embedding(mask_zero=True) and an LSTM that skips the pads."""
    x, y, size = topics(rows=1200)
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],), dtype="int32"),
            layers.Embedding(size, 16, mask_zero=True),
            layers.LSTM(24),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=keras.utils.to_categorical(y, 4),
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=6,
        test=test,
    )


@program("sentiment_bilstm", area="text", score=accuracy, chance=0.54, learned=0.85, stock=True)
def sentiment_bilstm():
    """Two bidirectional LSTMs on texts padded before, yes or no: the IMDB example."""
    x, y, size = topics(rows=1000, longest=16, classes=2, share=0.5)
    x = keras.utils.pad_sequences([row[row > 0] for row in x], 16)
    (x, y), test = split(x, y.astype("float32")[:, None])
    inputs = keras.Input((None,), dtype="int32")
    h = layers.Embedding(size, 16)(inputs)
    h = layers.Bidirectional(layers.LSTM(12, return_sequences=True))(h)
    h = layers.Bidirectional(layers.LSTM(12))(h)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=5,
        test=test,
    )


@program("text_conv1d", area="text", score=accuracy, chance=0.29, learned=0.75, stock=True)
def text_conv1d():
    """Conv1D, GlobalMaxPooling1D and Dropout on embedded words."""
    x, y, size = topics(share=0.5)
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],), dtype="int32"),
            layers.Embedding(size, 24),
            layers.Dropout(0.3),
            layers.Conv1D(48, 3, padding="valid", activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(4),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=8,
        test=test,
    )


class TokensAndPlaces(layers.Layer):
    """The sum of an embedding of the word and one of its place; pads are masked if so wanted."""

    def __init__(self, longest, size, width, mask_zero=True):
        super().__init__()
        self.words = layers.Embedding(size, width, mask_zero=mask_zero)
        self.places = layers.Embedding(longest, width)
        self.supports_masking = True

    def call(self, x):
        return self.words(x) + self.places(ops.arange(ops.shape(x)[-1]))

    def compute_mask(self, x, mask=None):
        return self.words.compute_mask(x)


class Block(layers.Layer):
    """A block of a transformer, normalized behind each sum."""

    def __init__(self, width, heads, inner, dropout=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.inner = keras.Sequential([layers.Dense(inner, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(dropout) for _ in range(2)]
        self.supports_masking = True

    def build(self, shape):
        self.attention.build(shape, shape)
        for layer in (self.inner, *self.norms):
            layer.build(shape)

    def call(self, x, training=None):
        h = self.dropouts[0](self.attention(x, x), training=training)
        h = self.norms[0](x + h)
        return self.norms[1](h + self.dropouts[1](self.inner(h), training=training))


@program("text_transformer", area="text", score=accuracy, chance=0.29, learned=0.75, stock=True)
def text_transformer():
    """One transformer block of layers of one's own, the pads masked, a mean over the words."""
    x, y, size = topics(share=0.5)
    (x, y), test = split(x, y)
    inputs = keras.Input((x.shape[1],), dtype="int32")
    h = TokensAndPlaces(x.shape[1], size, 32)(inputs)
    h = Block(32, 2, 32)(h)
    h = layers.GlobalAveragePooling1D()(h)
    h = layers.Dropout(0.1)(h)
    h = layers.Dense(20, activation="relu")(h)
    h = layers.Dropout(0.1)(h)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        compile={"metrics": ["accuracy"]},
        epochs=6,
        test=test,
    )


def tags_f1(run):
    """F1 of all tags together."""
    x, y = run.test
    chosen = predicted(run.model, x) > 0.5
    return 2 * float((chosen & (y > 0.5)).sum()) / float(chosen.sum() + y.sum())


@program("abstract_tags", area="text", score=tags_f1, chance=0.46, learned=0.8, stock=True)
def abstract_tags():
    """Several labels a text: multi-hot words, a Dense network, six sigmoids."""
    rng = np.random.default_rng(31)
    y = (rng.random((2000, 6)) < 0.3).astype("float32")
    likely = 0.01 + 0.3 * (rng.random((6, 150)) < 0.1)
    x = (rng.random((2000, 150)) < 1 - np.exp(y @ np.log(1 - likely))).astype("float32")
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((150,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(32, activation="relu"),
            layers.Dense(6, activation="sigmoid"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"metrics": ["binary_accuracy"]},
        epochs=10,
        test=test,
    )


@program("entailment", area="text", score=accuracy, chance=0.54, learned=0.8, stock=True)
def entailment():
    """Two texts, one encoder for both; [u, v, |u - v|, u * v] tells whether the topic is one."""
    x, y, size = topics(rows=3200, share=0.4)
    rng = np.random.default_rng(32)
    rows = np.arange(1600)
    same = rng.random(1600) < 0.5
    partner = np.array(
        [rng.choice(1600 + np.flatnonzero((y[1600:] == y[i]) == same[i])) for i in rows]
    )
    (x, y), test = split([x[rows], x[partner]], same.astype("float32")[:, None])
    encoder = keras.Sequential(
        [
            keras.Input((20,), dtype="int32"),
            layers.Embedding(size, 24, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(32, activation="relu"),
        ],
        name="encoder",
    )
    first, second = keras.Input((20,), dtype="int32"), keras.Input((20,), dtype="int32")
    u, v = encoder(first), encoder(second)
    h = layers.Concatenate()([u, v, ops.abs(u - v), u * v])
    h = layers.Dense(32, activation="relu")(h)
    model = keras.Model([first, second], layers.Dense(1, activation="sigmoid")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(),
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=8,
        test=test,
    )


def masked_loss(y, p):
    """Cross-entropy of the words that are no pad: the loss of the NER example."""
    losses = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
    mask = ops.cast(y > 0, losses.dtype)
    return ops.sum(losses * mask) / ops.maximum(ops.sum(mask), 1.0)


def tag_accuracy(run):
    """Share of right tags among those of words that are no pad."""
    x, y = run.test
    return float(np.mean((predicted(run.model, x).argmax(-1) == y)[y > 0]))


@program("named_entities", area="text", score=tag_accuracy, chance=0.75, learned=0.9)
def named_entities():
    """A tag for each word, 0 for pads, which a loss of one's own leaves out."""
    rng = np.random.default_rng(33)
    x = rng.integers(1, 60, (2000, 18))
    x[np.arange(18) >= rng.integers(8, 19, 2000)[:, None]] = 0
    before = np.roll(x, 1, axis=1)
    before[:, 0] = 0
    # who follows a title (words 1 to 6) is a person, words above 48 are places, all else is no name
    y = np.where((before > 0) & (before < 7), 2, np.where(x > 48, 3, 1)) * (x > 0)
    (x, y), test = split(x.astype("int32"), y.astype("int32"))
    inputs = keras.Input((18,), dtype="int32")
    h = TokensAndPlaces(18, 60, 32)(inputs)
    h = Block(32, 4, 64)(h)
    h = layers.Dropout(0.1)(h)
    h = layers.Dense(32, activation="relu")(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(4)(h)),
        x=x,
        y=y,
        loss=masked_loss,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=15,
        test=test,
    )
