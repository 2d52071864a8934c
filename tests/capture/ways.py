"""Every way of training that capture must follow, one entry each."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.capture import reference
from tests.capture.models import BACKEND, values_of

BATCH, BATCHES, CLASSES = 8, 8, 4
ROWS = BATCH * BATCHES

# -------------------------------------------------------------------- networks


def dense():
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(16, activation="relu", name="first")(x)
    x = layers.Dense(16, activation="tanh", name="second")(x)
    return keras.Model(inputs, head(x), name="net")


def head(x):
    return layers.Dense(CLASSES, activation="softmax", name="out")(x)


def normalized():
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(16, use_bias=False, name="first")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="normal")(x))
    return keras.Model(inputs, head(x), name="net")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.first = layers.Dense(16, activation="relu", name="first")
        self.second = layers.Dense(16, name="second")
        self.out = layers.Dense(CLASSES, activation="softmax", name="out")

    def call(self, x, training=False):
        x = self.first(x)
        return self.out(keras.ops.relu(self.second(x)) + x)


def nested():
    inner = keras.Sequential(
        [
            keras.Input((16,), name="inner_x"),
            layers.Dense(16, activation="relu", name="second"),
            layers.Dense(16, activation="tanh", name="third"),
        ],
        name="inner",
    )
    x = inputs = keras.Input((12,), name="x")
    x = inner(layers.Dense(16, activation="elu", name="first")(x))
    return keras.Model(inputs, head(x), name="net")


def shared():
    """Two branches through one layer."""
    left, right = keras.Input((12,), name="left"), keras.Input((12,), name="right")
    tower = layers.Dense(16, activation="relu", name="tower")
    x = layers.Concatenate(name="both")([tower(left), tower(right)])
    return keras.Model([left, right], head(x), name="net")


def called_often():
    x = inputs = keras.Input((12,), name="x")
    again = layers.Dense(12, activation="tanh", name="again")
    for _ in range(4):
        x = again(x)
    return keras.Model(inputs, head(x), name="net")


def recurrent(make):
    def build():
        inputs = keras.Input((6, 5), name="x")
        return keras.Model(inputs, head(make()(inputs)), name="net")

    return build


def attention():
    x = inputs = keras.Input((6, 5), name="x")
    x = layers.Dense(8, name="first")(x)
    y = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="normal")(layers.Add(name="sum")([x, y]))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, head(x), name="net")


def embedding():
    inputs = keras.Input((6,), dtype="int32", name="x")
    x = layers.Embedding(30, 8, name="words")(inputs)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, head(x), name="net")


def masked_words():
    inputs = keras.Input((6,), dtype="int32", name="x")
    x = layers.Embedding(30, 8, mask_zero=True, name="words")(inputs)
    return keras.Model(inputs, head(layers.LSTM(8, name="lstm")(x)), name="net")


def masked_numbers():
    inputs = keras.Input((6, 5), name="x")
    x = layers.Masking(name="mask")(inputs)
    x = layers.LSTM(8, return_sequences=True, name="lstm")(x)
    return keras.Model(inputs, head(layers.GRU(8, name="gru")(x)), name="net")


def frozen():
    model = dense()
    model.get_layer("first").trainable = False
    return model


class Idle(layers.Layer):
    """Has a weight that takes no part in the loss."""

    def build(self, shape):
        self.idle = self.add_weight(shape=(3, 2), name="idle")
        self.used = self.add_weight(shape=(shape[-1],), initializer="ones", name="used")

    def call(self, x):
        return x * self.used


def with_an_idle_weight():
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(16, activation="relu", name="first")(x)
    return keras.Model(inputs, head(Idle(name="partly")(x)), name="net")


def two_outputs():
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(16, activation="relu", name="first")(x)
    outputs = {"kind": layers.Dense(CLASSES, activation="softmax", name="kind")(x)}
    outputs["size"] = layers.Dense(1, name="size")(x)
    return keras.Model(inputs, outputs, name="net")


def regularized():
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(
        16,
        activation="relu",
        activity_regularizer=keras.regularizers.L1(1e-2),
        kernel_regularizer=keras.regularizers.L2(1e-2),
        name="first",
    )(x)
    return keras.Model(inputs, head(x), name="net")


class OwnStep(Subclassed):
    """Trains by a step of its own, as the guides of Keras write it."""

    if BACKEND == "tensorflow":

        def train_step(self, data):
            tf = importlib.import_module("tensorflow")
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return self.told(loss, y, y_pred)

    elif BACKEND == "torch":

        def train_step(self, data):
            torch = importlib.import_module("torch")
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            loss.backward()
            gradients = [variable.value.grad for variable in self.trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, self.trainable_weights)
            return self.told(loss, y, y_pred)

    else:

        def train_step(self, state, data):
            jax = importlib.import_module("jax")
            weights, others, slots, metrics = state
            x, y = data

            def loss(weights, others):
                y_pred, others = self.stateless_call(weights, others, x, training=True)
                return self.compute_loss(x=x, y=y, y_pred=y_pred), (y_pred, others)

            (value, (y_pred, others)), gradients = jax.value_and_grad(loss, has_aux=True)(
                weights, others
            )
            weights, slots = self.optimizer.stateless_apply(slots, gradients, weights)
            with keras.StatelessScope(zip(self.metrics_variables, metrics, strict=True)) as scope:
                logs = self.told(value, y, y_pred)
            metrics = [scope.get_current_value(v) for v in self.metrics_variables]
            return logs, (weights, others, slots, metrics)

    def told(self, loss, y, y_pred):
        for metric in self.metrics:
            metric.update_state(*((loss,) if metric.name == "loss" else (y, y_pred)))
        return {metric.name: metric.result() for metric in self.metrics}


class Gan(keras.Model):
    """Two networks that train against each other, each by an optimizer of its own."""

    def __init__(self):
        super().__init__(name="gan")
        self.judge = keras.Sequential(
            [
                keras.Input((12,), name="judge_x"),
                layers.Dense(16, activation="leaky_relu", name="judge_first"),
                layers.Dense(1, name="judge_out"),
            ],
            name="judge",
        )
        self.maker = keras.Sequential(
            [
                keras.Input((3,), name="maker_x"),
                layers.Dense(16, activation="relu", name="maker_first"),
                layers.Dense(12, name="maker_out"),
            ],
            name="maker",
        )
        self.judge_optimizer = keras.optimizers.Adam(0.01, name="judge_adam")
        self.maker_optimizer = keras.optimizers.SGD(0.1, name="maker_sgd")
        self.judge_optimizer.build(self.judge.trainable_variables)
        self.maker_optimizer.build(self.maker.trainable_variables)
        # a list of variables is part of the model's state, which JAX hands through the step
        self.slots = [*self.judge_optimizer.variables, *self.maker_optimizer.variables]
        self.built = True

    def call(self, noise):
        return self.judge(self.maker(noise))

    def losses_of(self, real, noise):
        """What the judge and what the maker are to lower."""

        def judged():
            doubt = keras.ops.softplus(-self.judge(real, training=True))
            belief = keras.ops.softplus(self.judge(self.maker(noise), training=True))
            return keras.ops.mean(doubt) + keras.ops.mean(belief)

        def made():
            return keras.ops.mean(keras.ops.softplus(-self.judge(self.maker(noise))))

        return judged, made

    def turns(self, real, noise):
        judged, made = self.losses_of(real, noise)
        yield judged, self.judge.trainable_variables, self.judge_optimizer
        yield made, self.maker.trainable_variables, self.maker_optimizer

    if BACKEND == "tensorflow":

        def train_step(self, data):
            tf = importlib.import_module("tensorflow")
            logs = {}
            for loss, variables, optimizer in self.turns(*data):
                with tf.GradientTape() as tape:
                    value = loss()
                optimizer.apply(tape.gradient(value, variables), variables)
                logs[loss.__name__] = value
            return logs

    elif BACKEND == "torch":

        def train_step(self, data):
            torch = importlib.import_module("torch")
            logs = {}
            for loss, variables, optimizer in self.turns(*data):
                self.zero_grad()
                value = loss()
                value.backward()
                with torch.no_grad():
                    optimizer.apply([v.value.grad for v in variables], variables)
                logs[loss.__name__] = value
            return logs

    else:

        def train_step(self, state, data):
            jax = importlib.import_module("jax")
            weights, others, unused, metrics = state
            known = dict(zip(map(id, self.trainable_variables), weights, strict=True))
            known |= dict(zip(map(id, self.non_trainable_variables), others, strict=True))
            every = [*self.trainable_variables, *self.non_trainable_variables]
            logs = {}
            for loss, variables, optimizer in self.turns(*data):

                def value(values, loss=loss, variables=variables, known=known):
                    now = known | dict(zip(map(id, variables), values, strict=True))
                    with keras.StatelessScope([(v, now[id(v)]) for v in every]):
                        return loss()

                before = [known[id(v)] for v in variables]
                logs[loss.__name__], gradients = jax.value_and_grad(value)(before)
                slots = [known[id(v)] for v in optimizer.variables]
                after, slots = optimizer.stateless_apply(slots, gradients, before)
                known |= dict(zip(map(id, variables), after, strict=True))
                known |= dict(zip(map(id, optimizer.variables), slots, strict=True))
            weights = [known[id(v)] for v in self.trainable_variables]
            others = [known[id(v)] for v in self.non_trainable_variables]
            return logs, (weights, others, unused, metrics)


def step_of_gan(model, batch, before, after, scale):
    """The judge's gradient before the step, the maker's behind the judge's turn."""
    real, noise = batch[:2]
    reference.set_values(model, before)
    weights = reference.trainable_values(model)
    judged, made = model.losses_of(real, noise)
    _, first = reference.differentiated(judged, model.judge.trainable_variables)
    moved = {id(v) for v in model.judge.variables}
    for variable, value in zip(model.variables, after, strict=True):
        if id(variable) in moved:
            variable.assign(value)
    _, second = reference.differentiated(made, model.maker.trainable_variables)
    return reference.Step(float("nan"), weights, first | second, {})


# -------------------------------------------------------------------- data


def numbers(rng):
    return rng.standard_normal((ROWS, 12)).astype("float32"), rng.integers(0, CLASSES, ROWS)


def two_inputs(rng):
    (left, y), (right, _) = numbers(rng), numbers(rng)
    return (left, right), y


def sequences(rng):
    x = rng.standard_normal((ROWS, 6, 5)).astype("float32")
    x[::3, 4:] = 0.0  # what Masking takes for missing
    return x, rng.integers(0, CLASSES, ROWS)


def words(rng):
    x = rng.integers(1, 20, (ROWS, 6))  # of 30: ten rows of the embedding are never touched
    x[::3, 4:] = 0
    return x, rng.integers(0, CLASSES, ROWS)


def two_labels(rng):
    x, y = numbers(rng)
    return x, {"kind": y, "size": rng.standard_normal((ROWS, 1)).astype("float32")}


def real_and_noise(rng):
    return numbers(rng)[0], rng.standard_normal((ROWS, 3)).astype("float32")


def rows_of(tensors, batch):
    rows = slice(batch * BATCH, (batch + 1) * BATCH)
    return keras.tree.map_structure(lambda values: values[rows], tensors)


def as_arrays(x, y):
    return {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}


def as_generator(x, y):
    def batches():
        while True:
            for batch in range(BATCHES):
                yield rows_of(x, batch), rows_of(y, batch)

    return {"x": batches(), "steps_per_epoch": BATCHES}


def as_dataset(x, y):
    tf = importlib.import_module("tensorflow")
    return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)}


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = x, y

    def __len__(self):
        return BATCHES

    def __getitem__(self, batch):
        return rows_of(self.x, batch), rows_of(self.y, batch)


def as_pydataset(x, y):
    return {"x": Batches(x, y, workers=2, use_multiprocessing=False), "shuffle": False}


# -------------------------------------------------------------------- losses


def cross_entropy(y, y_pred, weights):
    return keras.losses.SparseCategoricalCrossentropy()(y, y_pred, sample_weight=weights)


def two_losses(y, y_pred, weights):
    kind = cross_entropy(y["kind"], y_pred["kind"], weights)
    return 0.5 * kind + 2.0 * keras.losses.MeanSquaredError()(y["size"], y_pred["size"])


# -------------------------------------------------------------------- callbacks


class Busy(keras.callbacks.Callback):
    """Does something with the model whenever it is called."""

    def __init__(self, place, do):
        super().__init__()
        self.place, self.do = place, do

    def on_train_batch_end(self, batch, logs=None):
        if self.place == "batch" and batch % 2 == 0:
            self.do(self.model)

    def on_epoch_end(self, epoch, logs=None):
        if self.place == "epoch":
            self.do(self.model)


def save(folder):
    return lambda model: model.save_weights(folder / "now.weights.h5")


def evaluate(folder):
    x, y = numbers(np.random.default_rng(3))
    return lambda model: model.evaluate(x, y, batch_size=BATCH, verbose=0)


def predict(folder):
    x, _ = numbers(np.random.default_rng(3))
    return lambda model: model.predict(x, batch_size=BATCH, verbose=0)


def busy(place, *doings):
    return lambda folder: [Busy(place, do(folder)) for do in doings]


def keras_callbacks(folder):
    return [
        keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=10.0, patience=0),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(
            folder / "batch.weights.h5", save_weights_only=True, save_freq=2
        ),
        keras.callbacks.BackupAndRestore(folder / "backup", save_freq=3),
    ]


def early_stopping(folder):
    """Ends the fit after its second epoch."""
    return [
        keras.callbacks.EarlyStopping(
            monitor="loss", min_delta=10.0, patience=1, restore_best_weights=True
        )
    ]


def tensorboard(folder):
    return [keras.callbacks.TensorBoard(folder / "logs", histogram_freq=1, update_freq=1)]


# -------------------------------------------------------------------- fits


def one_fit(model, fit):
    fit()


def three_fits(model, fit):
    fit()
    fit(epochs=3, initial_epoch=1)
    fit()


def recompiled(model, fit):
    fit()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    fit()


def frozen_between(model, fit):
    fit()
    model.get_layer("first").trainable = False
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    fit()


def counted_anew(step):
    """A new optimizer begins to count at 0."""
    return step % BATCHES


# -------------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of training.

    Attributes:
        build: makes the network, with a name for everything in it.
        optimizer: makes what it is compiled with.
        compile: further arguments of ``compile``.
        policy: dtype policy it is built under.
        data: makes inputs and labels, ``ROWS`` of each.
        feed: makes the data arguments of ``fit``.
        fit: further arguments of ``fit``.
        fits: (model, fit) -> None; calls ``fit`` as often as it likes.
        weights: labels -> weight of each row, as the loss is to use them; None for none.
        loss: the compiled loss as a function of its own.
        step: how the reference takes a step, where it is not one gradient of one loss.
        scale: factor on the loss while it is differentiated.
        callbacks: folder -> what else is in the list of callbacks.
        watchers: so many of our callbacks.
        steps: so many steps are taken in all.
        batch_of: number of a step -> number of its batch in the data.
        counted: number that the optimizer gives to each step.
        unread: a layer with an output of its own that is not read.
        loss_seen: False if the step has no loss that can be seen.
        tolerance: relative, of all that two compilers may round differently.
        slow: the backend on which it takes more than a few seconds.
        impossible: backend -> why Keras cannot do it.
    """

    build: Callable[[], keras.Model] = dense
    optimizer: Callable[[], Any] = lambda: keras.optimizers.SGD(0.1, momentum=0.9)
    compile: dict = field(default_factory=dict)
    policy: str = "float32"
    data: Callable = numbers
    feed: Callable = as_arrays
    fit: dict = field(default_factory=dict)
    fits: Callable = one_fit
    weights: Callable = lambda y: None
    loss: Callable = cross_entropy
    step: Callable | None = None
    scale: float = 1.0
    callbacks: Callable = lambda folder: []
    watchers: int = 1
    steps: int = BATCHES
    batch_of: Callable[[int], int] = lambda step: step % BATCHES
    counted: Callable[[int], int] = lambda step: step
    unread: str = ""
    loss_seen: bool = True
    # float32 sums of a hundred terms in another order
    tolerance: float = 1e-4
    slow: str = ""
    impossible: dict = field(default_factory=dict)


NO_EXECUTIONS = {"torch": "Keras has no steps_per_execution on torch"}
CLASS_WEIGHT = {0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0}
ROW_WEIGHTS = np.linspace(0.1, 2.0, ROWS).astype("float32")

VALIDATION = numbers(np.random.default_rng(5))

WAYS = {
    # how the step is run
    "run eagerly": Way(compile={"run_eagerly": True}, slow="jax"),
    "jit_compile='auto', steps_per_execution=1": Way(
        compile={"jit_compile": "auto", "steps_per_execution": 1}
    ),
    "jit_compile=True": Way(compile={"jit_compile": True}, slow="torch"),
    "jit_compile=False": Way(compile={"jit_compile": False}, slow="jax"),
    "steps_per_execution=7": Way(compile={"steps_per_execution": 7}, impossible=NO_EXECUTIONS),
    "steps_per_execution=32": Way(
        compile={"steps_per_execution": 32},
        fit={"epochs": 2},
        steps=2 * BATCHES,
        impossible=NO_EXECUTIONS,
    ),
    # precision: a float16 has 11 bits, a bfloat16 has 8
    "mixed_float16": Way(
        policy="mixed_float16",
        # or the first scale that Keras tries, 2^15, is too large for this loss
        compile={"loss_weights": 1 / 16},
        loss=lambda *args: cross_entropy(*args) / 16,
        scale=2.0**15,
        tolerance=1e-2,
    ),
    "mixed_float16, scaled by hand": Way(
        policy="mixed_float16",
        optimizer=lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(0.01), initial_scale=256.0
        ),
        scale=256.0,
        slow="jax",
        tolerance=1e-2,
    ),
    "mixed_bfloat16": Way(policy="mixed_bfloat16", tolerance=5e-2, slow="jax"),
    # optimizers
    "adam": Way(optimizer=lambda: keras.optimizers.Adam(0.01)),
    "gradient accumulation": Way(
        optimizer=lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
        counted=lambda step: step // 2,
    ),
    "clipnorm": Way(optimizer=lambda: keras.optimizers.SGD(0.1, clipnorm=1e-2)),
    "global_clipnorm": Way(optimizer=lambda: keras.optimizers.SGD(0.1, global_clipnorm=1e-2)),
    "clipvalue": Way(optimizer=lambda: keras.optimizers.SGD(0.1, clipvalue=1e-3)),
    "moving average": Way(
        optimizer=lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    ),
    "moving average, written back": Way(
        optimizer=lambda: keras.optimizers.SGD(
            0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3
        )
    ),
    "weight decay": Way(optimizer=lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1)),
    "learning rate schedule": Way(
        optimizer=lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))
    ),
    # steps of the user's own
    "own step": Way(build=OwnStep),
    "two optimizers": Way(
        build=Gan,
        data=real_and_noise,
        step=step_of_gan,
        loss_seen=False,
    ),
    # networks
    "batch normalisation": Way(
        build=normalized,
        # TensorFlow fuses it into the ReLU
        unread="normal" if BACKEND == "tensorflow" else "",
    ),
    "subclassed": Way(build=Subclassed),
    "nested": Way(build=nested),
    "shared layer": Way(build=shared, data=two_inputs),
    "layer called often": Way(build=called_often),
    "lstm": Way(build=recurrent(lambda: layers.LSTM(8, name="rnn")), data=sequences, slow="jax"),
    "gru": Way(build=recurrent(lambda: layers.GRU(8, name="rnn")), data=sequences, slow="jax"),
    "bidirectional": Way(
        build=recurrent(
            lambda: layers.Bidirectional(layers.GRU(8, name="gru"), name="rnn"),
        ),
        data=sequences,
        slow="jax",
    ),
    "attention": Way(
        build=attention,
        data=sequences,
        unread="attention",  # it is that of the last layer inside
        slow="jax",
    ),
    "embedding": Way(build=embedding, data=words),
    "frozen layer": Way(build=frozen),
    "idle weight": Way(build=with_an_idle_weight),
    "several outputs": Way(
        build=two_outputs,
        data=two_labels,
        compile={
            "loss": {"kind": "sparse_categorical_crossentropy", "size": "mse"},
            "loss_weights": {"kind": 0.5, "size": 2.0},
            "metrics": {"kind": ["accuracy"]},
        },
        loss=two_losses,
    ),
    "regularizers": Way(build=regularized),
    "masked words": Way(build=masked_words, data=words, slow="jax"),
    "masked numbers": Way(build=masked_numbers, data=sequences, slow="jax"),
    # fits
    "fit again": Way(fits=three_fits, steps=4 * BATCHES),
    "compiled anew between fits": Way(
        fits=recompiled, counted=counted_anew, steps=2 * BATCHES, slow="jax"
    ),
    "frozen between fits": Way(
        fits=frozen_between, counted=counted_anew, steps=2 * BATCHES, slow="jax"
    ),
    "two callbacks of ours": Way(watchers=2),
    # data
    "validation": Way(
        fit={"validation_data": VALIDATION, "validation_batch_size": 16, "epochs": 2},
        steps=2 * BATCHES,
    ),
    "validation now and then": Way(
        fit={"validation_data": VALIDATION, "validation_freq": 2, "epochs": 3},
        steps=3 * BATCHES,
    ),
    "class weights": Way(
        fit={"class_weight": CLASS_WEIGHT},
        weights=lambda y: np.array([CLASS_WEIGHT[label] for label in y], "float32"),
    ),
    "sample weights": Way(fit={"sample_weight": ROW_WEIGHTS}, weights=lambda y: ROW_WEIGHTS),
    "generator": Way(feed=as_generator),
    "tf.data": Way(feed=as_dataset),
    "PyDataset of two workers": Way(
        feed=as_pydataset,
        fit={"epochs": 2},
        steps=2 * BATCHES,
        # where Keras looks at a batch to build the model, workers do not begin again with it
        batch_of=lambda step: (step + (BACKEND != "tensorflow")) % BATCHES,
    ),
    # callbacks of others
    "callbacks of Keras": Way(callbacks=keras_callbacks, fit={"epochs": 2}, steps=2 * BATCHES),
    "early stopping": Way(callbacks=early_stopping, fit={"epochs": 4}, steps=2 * BATCHES),
    "TensorBoard": Way(callbacks=tensorboard, fit={"epochs": 2}, steps=2 * BATCHES),
    "saves at batch end": Way(callbacks=busy("batch", save)),
    "saves, evaluates and predicts at epoch end": Way(
        callbacks=busy("epoch", save, evaluate, predict), fit={"epochs": 2}, steps=2 * BATCHES
    ),
    "evaluates at batch end": Way(callbacks=busy("batch", evaluate)),
    "predicts at batch end": Way(callbacks=busy("batch", predict)),
}


# -------------------------------------------------------------------- runs


def compiled(way):
    """The way's model, ready for fit; equal at every call."""
    if way.compile.get("jit_compile") is True and BACKEND == "torch":
        # it keeps what it compiled for the models before, and runs eagerly after eight of them
        importlib.import_module("torch")._dynamo.reset()
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(way.policy)
    try:
        model = way.build()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **way.compile}
    if way.step is not None:
        options = {}
    model.compile(way.optimizer(), **options)
    return model


def built(way):
    """The same with weights, where fit would have to make them."""
    model = compiled(way)
    if not model.built:
        model(rows_of(way.data(np.random.default_rng(0))[0], 0))
    return model


@dataclass(frozen=True, slots=True)
class Run:
    """What training came to."""

    model: keras.Model
    histories: list
    state: list


def train(way, callbacks, folder, after_fit=lambda model: None):
    """Trains the way's model with ``callbacks`` before those of the way."""
    model = compiled(way)
    feed = way.feed(*way.data(np.random.default_rng(0)))
    histories = []

    def fit(**options):
        options = {"verbose": 0, **feed, **way.fit, **options}
        histories.append(model.fit(callbacks=[*callbacks, *way.callbacks(folder)], **options))
        after_fit(model)

    way.fits(model, fit)
    return Run(model, [history.history for history in histories], state_of(model))


def state_of(model):
    return values_of([*model.variables, *model.optimizer.variables, *model.metrics_variables])


def step_at(way, recorder, step):
    """The reference's step number ``step``."""
    model = built(way)
    x, y = way.data(np.random.default_rng(0))
    weights = way.weights(y)
    batch = [rows_of(tensors, way.batch_of(step)) for tensors in (x, y)]
    batch.append(None if weights is None else rows_of(weights, way.batch_of(step)))
    # a model that its first batch builds has the values it was built with
    before = recorder.before[step] or values_of(model.variables)
    if way.step is not None:
        return way.step(model, batch, before, recorder.after[step], way.scale)
    reference.set_values(model, before)
    return reference.step_of(model, way.loss, *batch, scale=way.scale)
