"""Programs on graphs: classes of nodes, and values of whole molecules."""

import keras
import numpy as np
from keras import layers, ops

from .program import Run, predicted, program, r2
from .row_data import split, standardised


def citations(nodes=240, classes=3):
    """A graph in which like cites like, words a node has, its class, and who is held out."""
    rng = np.random.default_rng(81)
    y = rng.integers(0, classes, nodes)
    likely = np.where(y[:, None] == y[None], 0.06, 0.006)
    edges = np.triu(rng.random((nodes, nodes)) < likely, 1)
    words = rng.random((classes, 40)) < 0.15
    x = (rng.random((nodes, 40)) < 0.05 + 0.12 * words[y]).astype("float32")
    return x, (edges | edges.T).astype("float32"), y.astype("int32"), rng.random(nodes) < 0.6


def normal_adjacency(edges):
    """D^-1/2 (A + I) D^-1/2."""
    a = edges + np.eye(len(edges))
    root = 1 / np.sqrt(a.sum(1))
    return (a * root[:, None] * root).astype("float32")


def held_out_nodes(run):
    x, y, kept = run.test
    p = np.asarray(run.model.predict(x, batch_size=len(y), verbose=0))
    return float(np.mean((p.argmax(-1) == y)[kept]))


class GraphConvolution(layers.Layer):
    """A' X W, for an adjacency matrix that is known when the layer is made."""

    def __init__(self, adjacency, units, activation=None):
        super().__init__()
        self.adjacency = ops.convert_to_tensor(adjacency)
        self.dense = layers.Dense(units, activation=activation)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(ops.matmul(self.adjacency, x))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.dense.units)


@program("citations_gcn", area="graphs", score=held_out_nodes, chance=0.37, learned=0.75)
def citations_gcn():
    """A graph convolution network: the batch is the whole graph, weights leave nodes out."""
    x, edges, y, known = citations()
    adjacency = normal_adjacency(edges)
    inputs = keras.Input((40,))
    h = layers.Dropout(0.3)(inputs)
    h = GraphConvolution(adjacency, 16, "relu")(h)
    h = layers.Dropout(0.3)(h)
    return Run(
        model=keras.Model(inputs, GraphConvolution(adjacency, 3)(h)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-2, weight_decay=5e-4),
        sample_weight=known.astype("float32"),
        batch=len(x),
        epochs=80,
        fit={"shuffle": False},
        test=(x, y, ~known),
    )


class GraphAttention(layers.Layer):
    """Each node attends to its neighbours, in several heads; others are masked by -1e9."""

    def __init__(self, edges, units, heads):
        super().__init__()
        self.mask = ops.convert_to_tensor(
            np.where(edges + np.eye(len(edges)) > 0, 0.0, -1e9).astype("float32")
        )
        self.units, self.heads = units, heads

    def build(self, shape):
        self.kernel = self.add_weight(shape=(self.heads, shape[-1], self.units))
        self.sender = self.add_weight(shape=(self.heads, self.units, 1))
        self.receiver = self.add_weight(shape=(self.heads, self.units, 1))

    def call(self, x):
        h = ops.matmul(ops.expand_dims(x, 0), self.kernel)
        scores = ops.matmul(h, self.receiver) + ops.swapaxes(ops.matmul(h, self.sender), 1, 2)
        attention = ops.softmax(ops.leaky_relu(scores, 0.2) + self.mask, axis=-1)
        h = ops.transpose(ops.matmul(attention, h), (1, 0, 2))
        return ops.reshape(h, (-1, self.heads * self.units))


class CitationsGat(keras.Model):
    """Two graph attention layers on all nodes; rows of a batch are numbers of nodes."""

    def __init__(self, words, edges):
        super().__init__()
        self.words = ops.convert_to_tensor(words)
        self.before = layers.Dense(32, activation="relu")
        self.attentions = [GraphAttention(edges, 8, 4) for _ in range(2)]
        self.output_layer = layers.Dense(3)

    def call(self, rows):
        h = self.before(self.words)
        for attention in self.attentions:
            h = ops.elu(attention(h)) + h
        return ops.take(self.output_layer(h), rows, axis=0)


@program("citations_gat", area="graphs", score=held_out_nodes, chance=0.37, learned=0.75)
def citations_gat():
    """Graph attention in a subclassed model that is fed numbers of nodes, not their features."""
    words, edges, y, known = citations()
    rows = np.arange(len(y)).astype("int32")
    return Run(
        model=CitationsGat(words, edges),
        x=rows[known],
        y=y[known],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        batch=48,
        epochs=40,
        test=(rows, y, ~known),
    )


def molecules(rows=1500, atoms=9, kinds=5, bonds=2):
    """Padded molecules: kinds of atoms (0 is none), bonds by kind, and a value made of both."""
    rng = np.random.default_rng(82)
    kind = rng.integers(1, kinds, (rows, atoms))
    kind[np.arange(atoms) >= rng.integers(4, atoms + 1, rows)[:, None]] = 0
    there = (kind > 0)[:, None, :, None] & (kind > 0)[:, None, None, :]
    bond = np.triu(rng.random((rows, bonds, atoms, atoms)) < 0.2, 1)
    bond = (bond | bond.swapaxes(2, 3)) & there
    charge = np.array([0, 1.0, -1.0, 0.5, -0.5])[kind]
    pull = (bond * np.array([1.0, -1.5])[None, :, None, None]).sum(1)
    value = charge.sum(1) + (charge[:, :, None] * pull * charge[:, None]).sum((1, 2))
    x = {"atoms": kind.astype("int32"), "bonds": bond.astype("float32")}
    return x, standardised(value)[:, None]


class Messages(layers.Layer):
    """Neighbours send, by kind of bond, what a Dense layer makes of them; a GRU cell updates."""

    def __init__(self, units, bonds, rounds):
        super().__init__()
        self.senders = [layers.Dense(units, use_bias=False) for _ in range(bonds)]
        self.cell, self.rounds, self.units = layers.GRUCell(units), rounds, units

    def build(self, h_shape, bonds_shape):
        for sender in self.senders:
            sender.build(h_shape)
        self.cell.build((None, self.units))

    def call(self, h, bonds):
        shape = ops.shape(h)
        for _ in range(self.rounds):
            message = sum(
                ops.matmul(bonds[:, i], sender(h)) for i, sender in enumerate(self.senders)
            )
            rows, states = (ops.reshape(a, (-1, self.units)) for a in (message, h))
            h = ops.reshape(self.cell(rows, [states])[0], shape)
        return h


@program("molecules", area="graphs", score=r2, chance=0.0, learned=0.6, stock=True)
def message_passing():
    """Message passing over padded molecules with a GRU cell, then a sum over their atoms."""
    (x, y), test = split(*molecules())
    atoms = keras.Input((9,), name="atoms", dtype="int32")
    bonds = keras.Input((2, 9, 9), name="bonds")
    h = Messages(24, 2, 2)(layers.Embedding(5, 24)(atoms), bonds)
    h = layers.Dense(32, activation="relu")(h)
    h = ops.sum(h * ops.cast(ops.expand_dims(atoms > 0, -1), "float32"), axis=1)
    h = layers.Dense(32, activation="relu")(h)
    return Run(
        model=keras.Model({"atoms": atoms, "bonds": bonds}, layers.Dense(1)(h)),
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=15,
        test=test,
    )


def set_accuracy(run):
    x, y = run.test
    return float(np.mean((predicted(run.model, x) > 0.5) == (y > 0.5)))


@program("deep_sets", area="graphs", score=set_accuracy, chance=0.5, learned=0.8, stock=True)
def point_clouds():
    """Sets of points, layers shared by all points, a maximum over them: a ring or a cloud."""
    rng = np.random.default_rng(83)
    y = rng.integers(0, 2, 1200)
    angle = rng.uniform(0, 2 * np.pi, (1200, 32))
    radius = 1 + 0.15 * rng.standard_normal((1200, 32))
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    cloud = 0.75 * rng.standard_normal((1200, 32, 2))
    x = np.where(y[:, None, None] == 1, ring, cloud) + 0.1 * rng.standard_normal((1200, 1, 2))
    (x, y), test = split(x.astype("float32"), y.astype("float32")[:, None])
    inputs = keras.Input((32, 2))
    h = inputs
    for width in (32, 64):
        h = layers.Conv1D(width, 1)(h)
        h = layers.BatchNormalization(momentum=0.9)(h)
        h = layers.Activation("relu")(h)
    h = layers.GlobalMaxPooling1D()(h)
    h = layers.Dropout(0.2)(layers.Dense(32, activation="relu")(h))
    return Run(
        model=keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h)),
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=8,
        test=test,
    )
