"""Four initializers for one network, trained side by side and ranked.

The network is that of ``quickstart.py``: 20 ReLU layers on the 1,797 handwritten digits that ship
with scikit-learn. Each initializer gets 200 steps under each of three seeds, on the same batches.

    python examples/compare_initializers.py [LOG_DIR]
    tensorboard --logdir LOG_DIR          # logs/compare_initializers by default; tab HParams

The last line is one JSON object with the figures.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter

import keras
from sklearn.datasets import load_digits

import initwatch

DEPTH, WIDTH = 20, 64
INITIALIZERS = [
    "he_normal",
    "he_uniform",
    "glorot_uniform",
    ("random_normal_0.05", keras.initializers.RandomNormal(stddev=0.05)),
]


def build(initializer):
    hidden = [
        keras.layers.Dense(
            WIDTH, activation="relu", kernel_initializer=initializer, name=f"hidden_{i + 1}"
        )
        for i in range(DEPTH)
    ]
    output = keras.layers.Dense(10, activation="softmax", name="output")
    model = keras.Sequential([keras.Input((64,)), *hidden, output], name="digits")
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model


def main(log_dir="logs/compare_initializers"):
    images, labels = load_digits(return_X_y=True)
    x = (images / 16.0).astype("float32")
    comparison = initwatch.compare(build, x, labels, initializers=INITIALIZERS, log_dir=log_dir)
    print(f"\n{comparison}\n")
    print(f"All runs: tensorboard --logdir {log_dir}\n")
    candidates = {
        candidate.label: {
            "final_loss": round(candidate.final_loss, 4),
            "verdict": candidate.verdict,
            "healthy_runs": candidate.healthy,
        }
        for candidate in comparison.candidates
    }
    figures = {
        "ranking": comparison.ranking,
        "sure": comparison.sure,
        "candidates": candidates,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:2])
