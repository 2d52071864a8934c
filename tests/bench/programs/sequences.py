"""Programs that write sequences: language models, and models from sequence to sequence."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, accuracy, predicted, program
from .row_data import sentences, split
from .text import TokensAndPlaces


def word_accuracy(run):
    """Share of right words among those of ``run.test = (x, y)`` that are no pad (0 or -1)."""
    x, y = run.test
    return float(np.mean((predicted(run.model, x).argmax(-1) == y)[y > 0]))


def next_words():
    """Each sentence, and each word's follower."""
    x, size = sentences()
    return *split(x[:, :-1], x[:, 1:]), size


@program(
    "lm_mask_zero", area="sequences", score=word_accuracy, chance=0.05, learned=0.7, stock=True
)
def lm_mask_zero():
    """A language model whose pads are masked by Embedding(mask_zero=True), the loss's too."""
    (x, y), test, size = next_words()
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(size, 32, mask_zero=True),
            layers.LSTM(48, return_sequences=True),
            layers.Dense(size, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=8,
        test=test,
    )


@program(
    "lm_ignore_class", area="sequences", score=word_accuracy, chance=0.05, learned=0.7, stock=True
)
def lm_ignore_class():
    """A GRU language model; ignore_class=0 keeps the pads out of the loss."""
    (x, y), test, size = next_words()
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(size, 32),
            layers.GRU(48, return_sequences=True),
            layers.Dense(size),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=8,
        test=test,
    )


@program(
    "lm_ignore_minus_1", area="sequences", score=word_accuracy, chance=0.05, learned=0.7, stock=True
)
def lm_ignore_minus_1():
    """Labels of pads are -1 and ignored: a causal Conv1D language model."""
    (x, y), test, size = next_words()
    inputs = keras.Input((15,), dtype="int32")
    h = layers.Embedding(size, 32)(inputs)
    h = layers.Conv1D(64, 3, padding="causal", activation="relu")(h)
    h = layers.Conv1D(64, 3, padding="causal", activation="relu")(h)
    return Run(
        model=keras.Model(inputs, layers.Dense(size)(h)),
        x=x,
        y=np.where(y == 0, -1, y),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=10,
        test=test,
    )


def decoder_block(x, heads=2, inner=64, memory=None):
    """Causal attention, attention to ``memory`` if there is one, and two layers; norms behind."""
    width = x.shape[-1]
    attention = layers.MultiHeadAttention(heads, width // heads)
    h = layers.LayerNormalization()(x + attention(x, x, use_causal_mask=True))
    if memory is not None:
        h = layers.LayerNormalization()(
            h + layers.MultiHeadAttention(heads, width // heads)(h, memory)
        )
    inner = layers.Dense(width)(layers.Dense(inner, activation="relu")(h))
    return layers.LayerNormalization()(h + layers.Dropout(0.1)(inner))


def embedded(x, size, width):
    return TokensAndPlaces(x.shape[1], size, width, mask_zero=False)(x)


@program(
    "miniature_gpt", area="sequences", score=word_accuracy, chance=0.05, learned=0.7, stock=True
)
def miniature_gpt():
    """A causal transformer; a sample_weight for each word is 0 at the pads."""
    (x, y), test, size = next_words()
    inputs = keras.Input((15,), dtype="int32")
    h = decoder_block(embedded(inputs, size, 32))
    return Run(
        model=keras.Model(inputs, layers.Dense(size)(h)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        sample_weight=(y > 0).astype("float32"),
        epochs=8,
        test=test,
    )


def hidden_word_accuracy(run):
    x, y, hidden = run.test
    return float(np.mean((predicted(run.model, x).argmax(-1) == y)[hidden]))


@program(
    "masked_lm", area="sequences", score=hidden_word_accuracy, chance=0.05, learned=0.6, stock=True
)
def masked_language_model():
    """BERT's pretraining: words are hidden, a sample_weight of 0 leaves out all others."""
    y, size = sentences(rows=1600)
    rng = np.random.default_rng(41)
    hidden = (rng.random(y.shape) < 0.2) & (y > 0)
    x = np.where(hidden, size, y)  # one more token: hidden
    (x, (y, hidden)), (x_test, (y_test, hidden_test)) = split(x, (y, hidden))
    inputs = keras.Input((16,), dtype="int32")
    h = embedded(inputs, size + 1, 48)
    pads = ops.expand_dims(ops.not_equal(inputs, 0), 1)
    for _ in range(2):
        attention = layers.MultiHeadAttention(2, 24)(h, h, attention_mask=pads)
        h = layers.LayerNormalization()(h + attention)
        inner = layers.Dense(48)(layers.Dense(96, activation="relu")(h))
        h = layers.LayerNormalization()(h + inner)
    return Run(
        model=keras.Model(inputs, layers.Dense(size, activation="softmax")(h)),
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(3e-3),
        sample_weight=hidden.astype("float32"),
        epochs=12,
        test=(x_test, y_test, hidden_test),
    )


@program("addition", area="sequences", score=accuracy, chance=0.2, learned=0.7, stock=True)
def addition():
    """'12+7' to '19': an LSTM encodes, RepeatVector, an LSTM decodes; one-hot characters."""
    rng = np.random.default_rng(42)
    pairs = np.array([(a, b) for a in range(45) for b in range(45)])
    rng.shuffle(pairs)
    signs = {c: i for i, c in enumerate("0123456789+ ")}

    def coded(texts, longest):
        return np.eye(12, dtype="float32")[[[signs[c] for c in t.ljust(longest)] for t in texts]]

    x = coded([f"{a}+{b}"[::-1] for a, b in pairs], 5)
    y = coded([f"{a + b}"[::-1] for a, b in pairs], 2)
    (x, y), test = split(x, y, 0.1)
    model = keras.Sequential(
        [
            keras.Input((5, 12)),
            layers.LSTM(64),
            layers.RepeatVector(2),
            layers.LSTM(64, return_sequences=True),
            layers.TimeDistributed(layers.Dense(12, activation="softmax")),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=15,
        test=test,
    )


def translation(rows=1600, longest=8, words=12):
    """Token sequences, and the same from behind with every word replaced; 0 pads, 1 starts."""
    rng = np.random.default_rng(43)
    word = rng.permutation(words) + 2
    x, y = np.zeros((2, rows, longest), "int32")
    for i, length in enumerate(rng.integers(longest // 2, longest + 1, rows)):
        source = rng.integers(0, words, length)
        x[i, :length], y[i, :length] = source + 2, word[source[::-1]]
    start = np.concatenate([np.ones((rows, 1), "int32"), y[:, :-1]], axis=1)
    return [x, start], y, words + 2


@program(
    "attention_gru", area="sequences", score=word_accuracy, chance=0.1, learned=0.7, stock=True
)
def attention_gru():
    """A GRU encodes, another decodes from its last state and attends to its outputs."""
    x, y, size = translation()
    (x, y), test = split(x, y)
    source, target = keras.Input((8,), dtype="int32"), keras.Input((8,), dtype="int32")
    encoder = layers.Bidirectional(layers.GRU(24, return_sequences=True, return_state=True))
    memory, *states = encoder(layers.Embedding(size, 24, mask_zero=True)(source))
    decoder = layers.GRU(48, return_sequences=True)
    h = decoder(
        layers.Embedding(size, 24, mask_zero=True)(target),
        initial_state=layers.Concatenate()(states),
    )
    context = layers.Attention()([h, memory])
    h = layers.Dense(48, activation="tanh")(layers.Concatenate()([h, context]))
    return Run(
        model=keras.Model([source, target], layers.Dense(size)(h)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-2),
        epochs=6,
        test=test,
    )


@program("translation", area="sequences", score=word_accuracy, chance=0.1, learned=0.7)
def translation_transformer():
    """An encoder and a decoder with attention to it, and a loss of one's own without pads."""
    x, y, size = translation()
    (x, y), test = split(x, y)
    source, target = keras.Input((8,), dtype="int32"), keras.Input((8,), dtype="int32")
    h = embedded(source, size, 32)
    h = layers.LayerNormalization()(h + layers.MultiHeadAttention(2, 16)(h, h))
    memory = layers.LayerNormalization()(
        h + layers.Dense(32)(layers.Dense(64, activation="relu")(h))
    )
    h = decoder_block(embedded(target, size, 32), memory=memory)

    def loss(y, p):
        each = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
        kept = ops.cast(ops.not_equal(y, 0), each.dtype)
        return ops.sum(each * kept, axis=-1) / ops.sum(kept, axis=-1)

    return Run(
        model=keras.Model([source, target], layers.Dense(size)(h)),
        x=x,
        y=y,
        loss=loss,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=10,
        test=test,
    )


@program("skip_gram", area="sequences", score=accuracy, chance=0.52, learned=0.78, stock=True)
def skip_gram():
    """Word2vec: the dot product of two embeddings tells true neighbours from drawn ones."""
    x, size = sentences(rows=500)
    rng = np.random.default_rng(44)
    words, behind = x[:, :-1].reshape(-1), x[:, 1:].reshape(-1)
    words, behind = words[behind > 0], behind[behind > 0]
    drawn = rng.integers(1, size, len(words))
    order = rng.permutation(2 * len(words))
    x = [np.concatenate([words, words])[order], np.concatenate([behind, drawn])[order]]
    y = np.repeat([1.0, 0.0], len(words))[order].astype("float32")[:, None]
    (x, y), test = split(x, y)
    word, neighbour = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    output = layers.Dot(axes=1)(
        [layers.Embedding(size, 16)(word), layers.Embedding(size, 16)(neighbour)]
    )
    return Run(
        model=keras.Model([word, neighbour], output),
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-2),
        batch=64,
        epochs=8,
        test=test,
    )
