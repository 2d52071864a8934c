"""The two models of the classic tutorial, each with three initializers, side by side.

A binary classifier with 20 inputs: He with ReLU and Glorot with tanh, as tutorials teach it,
beside RandomNormal(stddev=0.05) and Constant(0.1). The data are the first 20 measurements of
the breast-cancer cells that ship with scikit-learn. Where initwatch advises an initializer, it
is applied to the same network and the run is repeated.

    python examples/tutorial.py [LOG_DIR]

The last line is one JSON object with the figures.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter

import keras
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import initwatch

INITIALIZERS = {
    "relu": {"he": "he_normal", "random_normal": None, "constant": None},
    "tanh": {"glorot": "glorot_uniform", "random_normal": None, "constant": None},
}


def initializer(name, keras_name):
    if name == "random_normal":
        return keras.initializers.RandomNormal(stddev=0.05)
    if name == "constant":
        return keras.initializers.Constant(0.1)
    return keras.initializers.get(keras_name)


def cells():
    x, y = load_breast_cancer(return_X_y=True)
    x, x_held_out, y, y_held_out = train_test_split(
        x[:, :20], y, test_size=0.25, random_state=0, stratify=y
    )
    scaler = StandardScaler().fit(x)
    return (
        scaler.transform(x).astype("float32"),
        scaler.transform(x_held_out).astype("float32"),
        y.astype("float32"),
        y_held_out.astype("float32"),
    )


def build(activation, name):
    keras.utils.set_random_seed(0)
    chosen = INITIALIZERS[activation][name]
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(
                64,
                activation=activation,
                kernel_initializer=initializer(name, chosen),
                name="hidden_1",
            ),
            keras.layers.Dense(
                32,
                activation=activation,
                kernel_initializer=initializer(name, chosen),
                name="hidden_2",
            ),
            keras.layers.Dense(
                1, activation="sigmoid", kernel_initializer=initializer(name, chosen), name="output"
            ),
        ],
        name="cells",
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def train(model, data, log_dir):
    x, x_held_out, y, y_held_out = data
    watch = initwatch.InitWatch(log_dir, console=False)
    model.fit(x, y, batch_size=32, epochs=15, verbose=0, callbacks=[watch])
    _, accuracy = model.evaluate(x_held_out, y_held_out, verbose=0)
    found = [f for f in watch.report.findings if f.severity != "info"]
    return watch.report, {
        "accuracy": round(float(accuracy), 4),
        "healthy": watch.report.healthy,
        "first_finding_step": min((f.step for f in found), default=None),
        "symptoms": [f.symptom for f in found],
    }


def main(log_dir="logs/tutorial"):
    data = cells()
    results = {}
    for activation, names in INITIALIZERS.items():
        for name in names:
            case = f"{activation}_{name}"
            report, before = train(
                build(activation, name), data, os.path.join(log_dir, case, "before")
            )
            results[case] = {"before": before}
            model = build(activation, name)
            if initwatch.reinitialize(model, report):
                print(f"{case}:\n{report}\n")
                _, after = train(model, data, os.path.join(log_dir, case, "after"))
                results[case]["after"] = after
    show(results)
    print(f"All runs: tensorboard --logdir {log_dir}\n")
    print(json.dumps(results))


def show(results):
    table = Table("activation and initializer", "held-out accuracy", "initwatch", "after advice")
    for case, runs in results.items():
        before, after = runs["before"], runs.get("after")
        verdict = "healthy" if before["healthy"] else ", ".join(before["symptoms"])
        cured = (
            ""
            if after is None
            else f"{after['accuracy']:.3f}, "
            + ("healthy" if after["healthy"] else ", ".join(after["symptoms"]))
        )
        table.add_row(case, f"{before['accuracy']:.3f}", verdict, cured)
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:2])
