"""Programs on tables of numbers and categories, with Keras's own losses."""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.metrics import roc_auc_score

from .program import Run, accuracy, predicted, program, r2
from .row_data import customers, houses, split, standardised, table


def auc(run):
    """Area under the ROC curve of ``run.test = (x, y)``: for classes of unlike size."""
    x, y = run.test
    return roc_auc_score(y.reshape(-1), np.nan_to_num(predicted(run.model, x)).reshape(-1))


@program("houses", area="structured", score=r2, chance=0.0, learned=0.7, stock=True)
def houses_regression():
    """Columns in their own units, a Normalization layer adapted to them, a scaled target."""
    (x, y), (x_test, y_test) = split(*houses())
    mean, deviation = y.mean(), y.std()
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            normalization,
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=(y - mean) / deviation,
        loss="mse",
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"metrics": ["mae"]},
        epochs=15,
        test=(x_test, (y_test - mean) / deviation),
    )


@program("price_in_logs", area="structured", score=r2, chance=0.0, learned=0.7, stock=True)
def price_in_logs():
    """A skewed target is predicted as log(1 + y), with dropout between the layers."""
    x, value = table(20, columns=8)
    y = np.log1p(np.exp(1 + 0.8 * value))
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.1),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="softplus"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.MeanSquaredError(),
        optimizer=keras.optimizers.RMSprop(2e-3),
        epochs=15,
        test=test,
    )


@program("wine", area="structured", score=accuracy, chance=0.43, learned=0.85, stock=True)
def wine():
    """The first tutorial's classifier: a hundred rows, standardised, one-hot labels, softmax."""
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(21).permutation(len(x))
    (x, y), test = split(standardised(x)[order], keras.utils.to_categorical(y[order], 3))
    model = keras.Sequential(
        [
            keras.Input((13,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adam(3e-3),
        compile={"metrics": ["accuracy"]},
        batch=8,
        epochs=20,
        test=test,
    )


@program("tumours_selu", area="structured", score=accuracy, chance=0.63, learned=0.9, stock=True)
def tumours():
    """A self-normalizing network: selu, lecun_normal and AlphaDropout, logits for yes or no."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(25).permutation(len(x))
    (x, y), test = split(standardised(x)[order], y[order].astype("float32")[:, None])
    model = keras.Sequential([keras.Input((30,))])
    for _ in range(4):
        model.add(layers.Dense(32, activation="selu", kernel_initializer="lecun_normal"))
        model.add(layers.AlphaDropout(0.05))
    model.add(layers.Dense(1))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(1e-2, momentum=0.9),
        batch=16,
        epochs=12,
        test=test,
    )


@program("fraud", area="structured", score=auc, chance=0.5, learned=0.85, stock=True)
def fraud():
    """Three rows in a hundred are looked for: class_weight, an output bias at their share."""
    x, value = table(22, rows=3000, columns=12)
    (x, y), test = split(x, (value > np.quantile(value, 0.97)).astype("float32"))
    share = y.mean()
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(
                1,
                activation="sigmoid",
                bias_initializer=keras.initializers.Constant(np.log(share / (1 - share))),
            ),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        batch=64,
        epochs=12,
        fit={"class_weight": {0: 0.5 / (1 - share), 1: 0.5 / share}},
        test=test,
    )


def encoded(categories):
    """Inputs by name, and what the Embedding or Normalization of each makes of it."""
    inputs = {
        name: keras.Input((1,), name=name, dtype="int32" if name in categories else "float32")
        for name in ("age", "balance", "job", "city", "plan")
    }
    parts = {
        name: layers.Flatten()(layers.Embedding(size, 8, name=f"{name}_embedding")(inputs[name]))
        for name, size in categories.items()
    }
    return inputs, parts


def normalized(inputs, x, names):
    parts = []
    for name in names:
        layer = layers.Normalization(name=f"{name}_normalization")
        layer.adapt(x[name])
        parts.append(layer(inputs[name]))
    return parts


CATEGORIES = {"job": 8, "city": 30, "plan": 3}
NUMBERS = ("age", "balance")


@program("customers", area="structured", score=accuracy, chance=0.5, learned=0.8, stock=True)
def customers_dict():
    """Named inputs in a dict: categories are embedded, numbers normalized, all concatenated."""
    (x, y), test = split(*customers())
    inputs, parts = encoded(CATEGORIES)
    h = layers.Concatenate()([*parts.values(), *normalized(inputs, x, NUMBERS)])
    h = layers.Dense(32, activation="relu")(h)
    h = layers.Dropout(0.2)(h)
    h = layers.Dense(32, activation="relu")(h)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"metrics": ["accuracy"]},
        epochs=10,
        test=test,
    )


@program("wide_and_deep", area="structured", score=accuracy, chance=0.5, learned=0.8, stock=True)
def wide_and_deep():
    """One-hot categories go straight to the output, all else through layers with normalization."""
    (x, y), test = split(*customers())
    inputs, parts = encoded(CATEGORIES)
    wide = layers.Concatenate()(
        [
            layers.CategoryEncoding(size, output_mode="one_hot")(inputs[name])
            for name, size in CATEGORIES.items()
        ]
    )
    wide = layers.BatchNormalization()(wide)
    deep = layers.Concatenate()([*parts.values(), *normalized(inputs, x, NUMBERS)])
    for _ in range(2):
        deep = layers.Dense(32)(deep)
        deep = layers.BatchNormalization()(deep)
        deep = layers.ReLU()(deep)
        deep = layers.Dropout(0.2)(deep)
    output = layers.Dense(2, activation="softmax")(layers.Concatenate()([wide, deep]))
    return Run(
        model=keras.Model(inputs, output),
        x=x,
        y=y.astype("int32"),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=8,
        test=(test[0], test[1].astype("int32")),
    )


@program("deep_and_cross", area="structured", score=accuracy, chance=0.5, learned=0.8, stock=True)
def deep_and_cross():
    """A cross network, x0 * Dense(x) + x, beside a deep one, trained by Adagrad."""
    (x, y), test = split(*customers())
    inputs, parts = encoded(CATEGORIES)
    start = layers.Concatenate()([*parts.values(), *normalized(inputs, x, NUMBERS)])
    cross = start
    for _ in range(2):
        cross = layers.Add()(
            [layers.Multiply()([start, layers.Dense(start.shape[-1])(cross)]), cross]
        )
    deep = start
    for _ in range(2):
        deep = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(deep))
    output = layers.Dense(1)(layers.Concatenate()([cross, deep]))
    return Run(
        model=keras.Model(inputs, output),
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adagrad(0.05),
        epochs=10,
        test=test,
    )


def gated_residual(x, units):
    """A gated residual network, as in the temporal fusion transformer."""
    h = layers.Dense(units)(layers.Dense(units, activation="elu")(x))
    h = layers.Dropout(0.1)(h)
    gate = layers.Multiply()([layers.Dense(units)(h), layers.Dense(units, activation="sigmoid")(h)])
    if x.shape[-1] != units:
        x = layers.Dense(units)(x)
    return layers.LayerNormalization()(layers.Add()([x, gate]))


@program("variable_selection", area="structured", score=r2, chance=0.0, learned=0.65, stock=True)
def variable_selection():
    """Gated residual networks, one a column, weighted by a softmax over the columns."""
    (x, y), test = split(*table(23, columns=3))
    inputs = keras.Input((3,))
    columns = [layers.Dense(16)(inputs[:, i : i + 1]) for i in range(3)]
    weights = gated_residual(layers.Concatenate()(columns), 16)
    weights = layers.Reshape((3, 1))(layers.Dense(3, activation="softmax")(weights))
    stacked = ops.stack([gated_residual(c, 16) for c in columns], axis=1)
    h = ops.sum(stacked * weights, axis=1)
    model = keras.Model(inputs, layers.Dense(1)(gated_residual(h, 32)))
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(5e-3),
        epochs=8,
        test=test,
    )


@program("experts", area="structured", score=accuracy, chance=0.37, learned=0.75, stock=True)
def mixture_of_experts():
    """A softmax gate mixes the outputs of four small networks."""
    x, values = table(24, columns=8, outputs=3)
    (x, y), test = split(x, values.argmax(1).astype("int32"))
    inputs = keras.Input((8,))
    gate = layers.Dense(4, activation="softmax")(layers.Dense(16, activation="relu")(inputs))
    experts = [
        layers.Dense(32, activation="relu")(layers.Dense(32, activation="relu")(inputs))
        for _ in range(4)
    ]
    h = layers.Dot(axes=1)([ops.stack(experts, axis=1), gate])
    model = keras.Model(inputs, layers.Dense(3)(h))
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=10,
        test=test,
    )
