"""One training on several devices or by several processes, in a process of its own.

    python -m tests.capture.devices ENGINE [RANK PROCESSES PORT] [--alone]

Prints a line of JSON: what was measured, in how many steps, what was said, the weights after
training. ``--alone``: only the first process has the callback.
"""

import argparse
import importlib
import json
import os
import sys

ENGINES = ("one", "mirrored", "data_parallel", "model_parallel", "distributed")
STEPS, BATCH = 4, 16


def _two_host_devices():
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"


def _two_logical_devices():
    config = importlib.import_module("tensorflow").config
    halves = [config.LogicalDeviceConfiguration()] * 2
    config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], halves)


def build(engine):
    """The compiled model under its engine."""
    import keras

    from tests.capture import models

    def plain_dense():
        return models.compiled(models.plain_dense, optimizer=keras.optimizers.SGD(0.1))

    if engine == "mirrored":
        distribute = importlib.import_module("tensorflow").distribute
        with distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            return plain_dense()
    if engine in ("data_parallel", "model_parallel"):
        devices = keras.distribution.list_devices()
        assert len(devices) == 2
        if engine == "data_parallel":
            distribution = keras.distribution.DataParallel(devices=devices)
        else:
            mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
            layout = keras.distribution.LayoutMap(mesh)
            layout[".*hidden.*kernel"] = (None, "model")
            layout[".*hidden.*bias"] = ("model",)
            distribution = keras.distribution.ModelParallel(
                layout_map=layout, batch_dim_name="batch"
            )
        keras.distribution.set_distribution(distribution)
    if engine == "distributed":
        return _data_parallel_in_torch(keras, models)
    return plain_dense()


def _data_parallel_in_torch(keras, models):
    """As the users of DistributedDataParallel train with Keras: by a train_step of their own."""
    torch = importlib.import_module("torch")
    parallel = importlib.import_module("torch.nn.parallel")

    class Parallel(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            # past Keras's attribute tracking: the same layers are not to be counted twice
            self.__dict__["wrapped"] = parallel.DistributedDataParallel(inner)

        def call(self, x):
            return self.inner(x)

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            loss = self.compute_loss(x, y, self.wrapped(x))
            loss.backward()
            weights = self.trainable_weights
            gradients = [weight.value.grad for weight in weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, weights)
            return {"loss": loss}

    keras.utils.set_random_seed(1)
    model = Parallel(models.plain_dense())
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def shares(values, rank, processes):
    """What process ``rank`` gets of each batch."""
    part = BATCH // processes
    rows = [values[b * BATCH + rank * part :][:part] for b in range(STEPS)]
    return [row for batch in rows for row in batch]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("ranks", nargs="*", type=int)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    if given.engine.endswith("_parallel"):
        _two_host_devices()
    if given.engine == "mirrored":
        _two_logical_devices()
    rank, processes, port = given.ranks or (0, 1, 0)
    if processes > 1:
        importlib.import_module("torch.distributed").init_process_group(
            "gloo", f"tcp://localhost:{port}", rank=rank, world_size=processes
        )
    import numpy as np

    from tests.capture import models
    from tests.capture.watching import Watching

    model = build(given.engine)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS * BATCH, 12)).astype("float32")
    y = rng.integers(0, 10, STEPS * BATCH)
    x, y = (np.array(shares(values, rank, processes)) for values in (x, y))
    watch = Watching()
    takes_part = not given.plain and not (given.alone and rank > 0)
    model.fit(
        x,
        y,
        batch_size=BATCH // processes,
        shuffle=False,
        verbose=0,
        callbacks=[watch] if takes_part else [],
    )
    found = {
        "steps": [update.step for update in watch.updates],
        "problems": watch.report.problems,
        "values": [
            {name: values.tolist() for name, values in update.values.items()}
            for update in watch.updates
        ],
        "weights": [value.tolist() for value in models.values_of(model.trainable_variables)],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
