"""Programs with several models, or a loss that is no comparison with a label."""

import keras
import numpy as np
from keras import layers, ops

from .loops import classifier, digits
from .program import Run, program, r2, watching
from .row_data import split, table


class Siamese(keras.Model):
    """Two networks in a dict, called in compute_loss; ``call`` gives the embedding."""

    def __init__(self, networks):
        super().__init__()
        self.networks = networks

    def call(self, x):
        return self.networks["head"](self.networks["encoder"](x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        e = ops.normalize(y_pred, axis=-1)
        like = ops.matmul(e, ops.transpose(e)) / 0.2 - 1e9 * ops.eye(ops.shape(e)[0])
        same = ops.cast(ops.equal(y[:, None], y[None]), like.dtype)
        same = same * (1 - ops.eye(ops.shape(e)[0]))
        likely = ops.log_softmax(like, axis=-1)
        return -ops.mean(ops.sum(same * likely, -1) / ops.maximum(ops.sum(same, -1), 1.0))


def nearest_neighbour(run):
    """Accuracy of the nearest training row's class, by the angle between embeddings."""
    x, y = run.test
    known, e = (np.asarray(run.model.predict(a, verbose=0), "float64") for a in (run.x, x))
    known, e = (a / (np.linalg.norm(a, axis=1, keepdims=True) + 1e-9) for a in (known, e))
    # what no seed of an untrained network reaches: the class of the nearest of 20 rows
    return float(np.mean(np.asarray(run.y)[(e @ known[:20].T).argmax(1)] == y))


@program("supervised_contrast", area="loops", score=nearest_neighbour, chance=0.11, learned=0.75)
def supervised_contrast():
    """Supervised contrastive learning: no loss in compile, networks in a dict."""
    (x, y), test = digits()
    encoder = keras.Sequential(
        [layers.Dense(64, activation="relu"), layers.Dense(32, activation="relu")]
    )
    model = Siamese({"encoder": encoder, "head": layers.Dense(16)})
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    return Run(model=model, x=x, y=y, batch=64, epochs=15, test=test)


def distil(run, watch=None):
    """A teacher is trained, then a student, batch by batch, by what the teacher says."""
    teacher, student = run.test[2], run.model
    rng = np.random.default_rng(112)
    teacher.compile(keras.optimizers.Adam(2e-3), run.loss)
    teacher.fit(run.x, run.y, epochs=8, verbose=0)
    soft = ops.convert_to_numpy(ops.softmax(teacher.predict(run.x, verbose=0) / 2))
    student.compile(run.optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    with watching(watch, student):
        for _ in range(run.epochs):
            rows = rng.permutation(len(run.x))
            for i in range(0, len(rows) - 31, 32):
                student.train_on_batch(run.x[rows[i : i + 32]], soft[rows[i : i + 32]])


def student_accuracy(run):
    x, y, _ = run.test
    return float(np.mean(np.asarray(run.model.predict(x, verbose=0)).argmax(1) == y))


@program("distilled", area="loops", score=student_accuracy, chance=0.11, learned=0.8, train=distil)
def distilled():
    """Distillation in a loop of train_on_batch; only the student is watched."""
    (x, y), test = digits()
    return Run(
        model=keras.Model(*classifier(24)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=12,
        test=(*test, keras.Model(*classifier(96, 48))),
    )


def pair(run, watch=None):
    """Two models, a batch each in turn, under one ``watching``."""
    rng = np.random.default_rng(121)
    other = run.test[2]
    for model, optimizer in zip((run.model, other), run.optimizer, strict=True):
        model.compile(optimizer=optimizer, loss=run.loss)
    with watching(watch, run.model):
        for _ in range(run.epochs):
            rows = rng.integers(0, len(run.x), 32)
            run.model.train_on_batch(run.x[rows], run.y[rows])
            rows = rng.integers(0, len(run.x), 32)
            other.train_on_batch(run.x[rows], run.y[rows])


def mean_of_two(run):
    x, y, other = run.test
    p = sum(np.asarray(m.predict(x, verbose=0)) for m in (run.model, other))
    return float(np.mean(p.argmax(1) == y))


@program("two_in_turn", area="loops", score=mean_of_two, chance=0.11, learned=0.8, train=pair)
def two_in_turn():
    """train_on_batch of two models in one loop; one of them is watched."""
    (x, y), test = digits()
    return Run(
        model=keras.Model(*classifier(64, 32)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=[keras.optimizers.Adam(2e-3) for _ in range(2)],
        epochs=300,
        test=(*test, keras.Model(*classifier(32))),
    )


@program("loss_closure", area="loops", score=r2, chance=0.0, learned=0.7)
def loss_closure():
    """A lambda that closes over weights of the columns as loss; the model is a subclass."""
    (x, y), test = split(*table(122, columns=8, outputs=2))
    importance = np.array([1.0, 0.5], "float32")

    class Regression(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = [layers.Dense(48, activation="relu") for _ in range(2)]
            self.out = layers.Dense(2)

        def call(self, x):
            for layer in self.hidden:
                x = layer(x)
            return self.out(x)

    return Run(
        model=Regression(),
        x=x,
        y=y,
        loss=lambda y, p: ops.mean(ops.convert_to_tensor(importance) * ops.square(y - p), axis=-1),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=12,
        test=test,
    )
