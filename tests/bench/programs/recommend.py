"""Programs that recommend, and autoencoders of tables."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, predicted, program, r2
from .row_data import ratings, split, standardised


class DotProduct(keras.Model):
    """An embedding and a bias for each user and each item; the rating is their dot product."""

    def __init__(self, users, items, width):
        super().__init__()
        penalty = keras.regularizers.L2(1e-6)
        self.users = layers.Embedding(users, width, embeddings_regularizer=penalty)
        self.items = layers.Embedding(items, width, embeddings_regularizer=penalty)
        self.user_bias, self.item_bias = layers.Embedding(users, 1), layers.Embedding(items, 1)

    def call(self, pairs):
        user, item = pairs[:, 0], pairs[:, 1]
        dot = ops.sum(self.users(user) * self.items(item), axis=1, keepdims=True)
        return dot + self.user_bias(user) + self.item_bias(item)


@program("ratings", area="structured", score=r2, chance=0.0, learned=0.6)
def dot_product_ratings():
    """Collaborative filtering: a subclassed model of embeddings and their dot products."""
    (x, y), test = split(*ratings())
    return Run(
        model=DotProduct(60, 50, 8),
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(5e-3),
        batch=64,
        epochs=12,
        test=test,
    )


@program("ratings_dense", area="structured", score=r2, chance=0.0, learned=0.55, stock=True)
def ratings_dense():
    """Neural collaborative filtering: embeddings of user and item side by side, Dense layers."""
    (x, y), test = split(*ratings())
    user, item = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    h = layers.Concatenate()(
        [
            layers.Flatten()(layers.Embedding(60, 16)(user)),
            layers.Flatten()(layers.Embedding(50, 16)(item)),
        ]
    )
    h = layers.Dense(64, activation="relu")(h)
    h = layers.Dense(32, activation="relu")(h)
    return Run(
        model=keras.Model([user, item], layers.Dense(1)(h)),
        x=[x[:, :1], x[:, 1:]],
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        batch=64,
        epochs=15,
        test=([test[0][:, :1], test[0][:, 1:]], test[1]),
    )


class TwoTowers(keras.Model):
    """A tower for queries, one for items; a batch's other items are the wrong ones."""

    def __init__(self, width=16):
        super().__init__()
        self.query = keras.Sequential([layers.Dense(64, activation="relu"), layers.Dense(width)])
        self.item = keras.Sequential([layers.Dense(64, activation="relu"), layers.Dense(width)])

    def call(self, inputs):
        query, item = self.query(inputs[0]), self.item(inputs[1])
        return ops.matmul(
            ops.normalize(query, axis=-1), ops.transpose(ops.normalize(item, axis=-1))
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        own = ops.arange(ops.shape(y_pred)[0])
        return ops.mean(
            keras.losses.sparse_categorical_crossentropy(own, 10 * y_pred, from_logits=True)
        )


def found(run):
    """Share of 64 queries whose item is ranked first among the 64."""
    p = np.asarray(run.model.predict_on_batch(run.test))
    return float(np.mean(p.argmax(1) == np.arange(len(p))))


@program("two_towers", area="structured", score=found, chance=1 / 64, learned=0.6)
def two_towers():
    """Retrieval: two subclassed towers, compute_loss overridden, no labels at all."""
    rng = np.random.default_rng(71)
    hidden = rng.standard_normal((1600, 6))
    query = standardised(hidden @ rng.standard_normal((6, 12)))
    item = standardised(np.tanh(hidden @ rng.standard_normal((6, 16)) / 2))
    model = TwoTowers()
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    return Run(
        model=model,
        x=[query[:1280], item[:1280]],
        batch=64,
        epochs=15,
        test=[query[1280:1344], item[1280:1344]],
    )


def low_rank(rows=1600):
    """Sixteen columns that four hidden values make."""
    rng = np.random.default_rng(72)
    hidden = rng.standard_normal((rows, 4))
    x = hidden @ rng.standard_normal((4, 16)) + 0.1 * rng.standard_normal((rows, 16))
    return split(standardised(x), standardised(x))


@program("table_autoencoder", area="structured", score=r2, chance=0.0, learned=0.7, stock=True)
def table_autoencoder():
    """Sixteen columns through four units and back."""
    (x, y), test = low_rank()
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(4),
            layers.Dense(32, activation="relu"),
            layers.Dense(16),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=15,
        test=test,
    )


@program("denoising_table", area="structured", score=r2, chance=0.0, learned=0.65, stock=True)
def denoising_table():
    """GaussianNoise and Dropout before an autoencoder with PReLU, AdamW and a falling rate."""
    (x, y), test = low_rank()
    model = keras.Sequential([keras.Input((16,)), layers.GaussianNoise(0.1), layers.Dropout(0.05)])
    for width in (32, 8, 32):
        model.add(layers.Dense(width))
        model.add(layers.PReLU())
    model.add(layers.Dense(16))
    rate = keras.optimizers.schedules.CosineDecay(5e-3, 570)
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.AdamW(rate),
        epochs=15,
        test=test,
    )


def next_item_rank(run):
    """Share of held-out histories whose next item is among the three likeliest."""
    x, y = run.test
    best = np.argsort(-predicted(run.model, x), axis=-1)[:, :3]
    return float(np.mean((best == y[:, None]).any(1)))


@program("next_item", area="structured", score=next_item_rank, chance=0.15, learned=0.7, stock=True)
def next_item():
    """A shop's sequential recommender: a GRU over the items seen, softmax over all items."""
    rng = np.random.default_rng(73)
    follower = rng.permutation(30)
    x = np.zeros((1600, 8), "int32")
    x[:, 0] = rng.integers(0, 30, 1600)
    for at in range(1, 8):
        stray = rng.random(1600) < 0.15
        x[:, at] = np.where(stray, rng.integers(0, 30, 1600), follower[x[:, at - 1]])
    (x, y), test = split(x[:, :-1], x[:, -1])
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(30, 24),
            layers.GRU(32),
            layers.Dense(30, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(5e-3),
        compile={"metrics": [keras.metrics.SparseTopKCategoricalAccuracy(k=3)]},
        epochs=12,
        test=test,
    )
