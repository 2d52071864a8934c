"""What watching costs: each step, at the start, and by size of the model.

    python -m tests.bench.overhead [--backends tensorflow jax torch] [--windows 6]
    python -m tests.bench.overhead --draw

The first measures everything and keeps it in ``tests/bench/overhead.json`` (about an hour and a
half on two cores; ``--only steps`` and so on measures a part). The second prints its tables and
draws ``examples/pictures/overhead.png``.

Steps: every variant has a model of its own, compiled once. They train side by side, one step of
each in turn, so that what else the machine does falls on all alike; a window of 50 such rounds
gives the ratio of a variant's time to that of the plain model. Kept are the median ratio and the
range of the middle half of the windows. ``again`` is a second plain model: what it differs from 1
by is noise. The dense start of a fit is left out: it is in the start-up. ``initwatch`` is the
default schedule as it stands after 1,000 batches, about one sampled step a window. ``TensorBoard``
is its step; the histograms that it writes once an epoch are not in it.

Start-up: every run is a process of its own, plain and watched in turn.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

import initwatch
from initwatch.measurement.layout import STEP_BASE
from tests.bench.networks import NETWORKS, built, mlp
from tests.bench.second_pass import SecondPass

RESULTS = Path(__file__).with_name("overhead.json")
BACKENDS = ("tensorflow", "jax", "torch")
DENSE = 20  # batches at the start of a fit that the default schedule samples one by one
SETTLED = 1000  # batches after which the default schedule's gap has come to its end
WINDOW = 50  # steps; the default schedule samples one of so many in the end
EVERY_STEP = initwatch.Schedule(first=10**9, histograms=False)
VARIANTS = ("plain", "again", "initwatch", "every step", "TensorBoard", "second pass")


class Turns:
    """Lets the variants' fits, a thread each, take one step at a time in turn."""

    def __init__(self, names):
        self.names = list(names)
        self.seconds = {name: [] for name in names}
        self._turn = 0
        self._changed = threading.Condition()

    def wait(self, name):
        with self._changed:
            self._changed.wait_for(lambda: self.names[self._turn] == name)

    def pass_on(self):
        with self._changed:
            self._turn = (self._turn + 1) % len(self.names)
            self._changed.notify_all()


class Begins(keras.callbacks.Callback):
    """Stands first in the list: waits for its turn, and starts the clock."""

    def __init__(self, turns, name, watch):
        super().__init__()
        self.turns, self.name, self.watch = turns, name, watch
        self.begin = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.turns.wait(self.name)
        if batch % 10 == 0:
            gc.collect()  # by hand, off the clock: Keras's tree functions leave cycles on torch
        if batch == DENSE and self.watch is not None:
            self.watch._watch.batch = SETTLED
        self.begin = time.perf_counter()


class Ends(keras.callbacks.Callback):
    """Stands last in the list: stops the clock, and passes the turn on."""

    def __init__(self, begins):
        super().__init__()
        self.begins = begins

    def on_train_batch_end(self, batch, logs=None):
        float(keras.ops.convert_to_numpy(logs["loss"]))  # the step is over, wherever it runs
        turns, name = self.begins.turns, self.begins.name
        if batch >= DENSE:
            turns.seconds[name].append(time.perf_counter() - self.begins.begin)
        turns.pass_on()


def callbacks_of(variant, endless):
    folder = tempfile.mkdtemp()
    made = {
        "initwatch": lambda: [initwatch.InitWatch(folder, console=False)],
        "every step": lambda: [initwatch.InitWatch(folder, console=False, schedule=EVERY_STEP)],
        "TensorBoard": lambda: [
            keras.callbacks.TensorBoard(folder, histogram_freq=1, update_freq=1)
        ],
        "second pass": lambda: [SecondPass(endless)],
    }
    return made.get(variant, list)()


def compared(build, jit, windows, variants):
    """Median ratio and middle half of each variant, and the plain step in milliseconds."""
    turns = Turns(variants)
    threads = []
    for variant in variants:
        model, endless = built(build, jit)
        callbacks = callbacks_of(variant, endless)
        watch = next((c for c in callbacks if isinstance(c, initwatch.InitWatch)), None)
        begins = Begins(turns, variant, watch)
        fit = partial(
            model.fit,
            endless(),
            steps_per_epoch=DENSE + windows * WINDOW,
            verbose=0,
            callbacks=[begins, *callbacks, Ends(begins)],
        )
        threads.append(threading.Thread(target=fit))
    gc.disable()  # not in the middle of someone's step
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sums = {v: np.reshape(turns.seconds[v], (windows, WINDOW)).sum(axis=1) for v in variants}
    found = {"plain step, ms": 1e3 * statistics.median(sums["plain"]) / WINDOW}
    for variant in variants:
        ratios = (sums[variant] / sums["plain"]).tolist()
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[variant] = [middle, low, high]
    return found


# -------------------------------------------------------------------------- start-up


class StepEnds(keras.callbacks.Callback):
    """When each step had ended."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


def one_start(name, jit, watched):
    """Seconds to the end of the first step, and of the dense start and one step more, by which
    everything is traced."""
    warm, endless = built(partial(mlp, 1, 4), jit)  # the backend's own first steps
    warm.fit(endless(), steps_per_epoch=1, verbose=0)
    model, endless = built(NETWORKS[name], jit)
    ends = StepEnds()
    watch = [initwatch.InitWatch(tempfile.mkdtemp(), console=False)] if watched else []
    begin = time.perf_counter()
    model.fit(endless(), steps_per_epoch=DENSE + 2, verbose=0, callbacks=[*watch, ends])
    return [ends.times[0] - begin, ends.times[-1] - begin]


def started(name, backend, jit, rounds):
    ratios = {"first step": [], "all traced": []}
    plain = []
    for _ in range(rounds):
        options = ["--part", "start", "--network", name, *["--jit"] * jit]
        pair = [run(backend, *options, *watched) for watched in ([], ["--watched"])]
        for i, key in enumerate(ratios):
            ratios[key].append(pair[1][i] / pair[0][i])
        plain.append(pair[0])
    found = {key: statistics.median(values) for key, values in ratios.items()}
    found["plain, s"] = [statistics.median(p[i] for p in plain) for i in (0, 1)]
    return found


# -------------------------------------------------------------------------- by size, on the host


# hidden layers and their width; Keras takes minutes to trace a thousand of them on TensorFlow
SHAPES = {
    "tensorflow": {
        "10 layers": (10, 32),
        "100 layers": (100, 32),
        "1,000 layers": (1000, 32),
        "1e4 parameters": (2, 64),
        "1e6 parameters": (4, 550),
        "1e8 parameters": (4, 5700),
    },
    "torch": {"10 layers": (10, 32), "100 layers": (100, 32), "1,000 layers": (1000, 32)},
}


def on_the_host():
    """Microseconds that a batch costs which is not sampled: median of 10,000 calls."""
    model, endless = built(partial(mlp, 2, 8), jit=False)
    watch = initwatch.InitWatch(console=False)
    taken = []

    class Between(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0:
                return
            conductor = watch._watch
            conductor._agenda._next = 10**9  # none of these is sampled
            for _ in range(10_000):
                begin = time.perf_counter()
                watch.on_train_batch_begin(batch)
                conductor.arm()
                taken.append(time.perf_counter() - begin)
            conductor._agenda._next = 0

    model.fit(endless(), steps_per_epoch=2, verbose=0, callbacks=[watch, Between()])
    return 1e6 * statistics.median(taken)


SIMULATED = 1_000_000  # sampled steps


def in_memory():
    """MiB that the process holds beyond its start, after 1 %, a tenth and all of a million sampled
    steps. It is what the system holds for it: that Python counts too makes every step slower.
    """
    model, endless = built(partial(mlp, 4, 8), jit=False)
    watch = initwatch.InitWatch(console=False)
    model.fit(endless(), steps_per_epoch=2, verbose=0, callbacks=[watch])
    conductor = watch._watch
    samples = []
    deliver, conductor._receive = conductor._receive, samples.append
    conductor._session.attach(conductor._faults, samples.append)
    conductor._session.arm(histograms=False)
    model.fit(endless(), steps_per_epoch=1, verbose=0)
    (sample,) = samples
    held = {}
    begin = resident()
    for step in range(SIMULATED):
        row = sample.rows.copy()
        row[0, :3] = step // STEP_BASE, step % STEP_BASE, 2.0 / (1.0 + step % 97)
        deliver(replace(sample, rows=row))
        if step + 1 in (SIMULATED // 100, SIMULATED // 10, SIMULATED):
            gc.collect()
            held[step + 1] = round((resident() - begin) / 2**20, 2)
    return held


def resident():
    """Bytes of the process in memory; where Linux tells."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# -------------------------------------------------------------------------- processes, results


def run(backend, *options):
    """What a process of this program prints under a backend."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.overhead", *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(given):
    """Measures what is asked for; what was measured before and is not asked for stays."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def keep(part, key, value):
        results.setdefault(part, {})[key] = value
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(part, key, json.dumps(value), flush=True)

    for backend in given.backends:
        for jit in modes(backend):
            for name in given.networks:
                key = f"{backend}{', jit' * jit}: {name}"
                options = ["--network", name, *["--jit"] * jit]
                if "steps" in given.only:
                    counts = ["--windows", given.windows]
                    keep("steps", key, run(backend, "--part", "steps", *options, *counts))
                if "start" in given.only:
                    keep("start", key, started(name, backend, jit, 3))
        if "size" in given.only:
            for shape in SHAPES.get(backend, ()):
                found = run(backend, "--part", "size", "--shape", shape, "--windows", 5)
                keep("size", f"{backend}: {shape}", found)
        if "host" in given.only:
            keep("host", backend, run(backend, "--part", "host"))
        if "memory" in given.only and backend == "tensorflow":
            keep("memory", "MiB after steps", run(backend, "--part", "memory"))


def modes(backend):
    """With and without a compiler. JAX always has one: operation by operation it is a debugger.
    torch.compile takes minutes for a network here and is left to a run of its own."""
    return {"tensorflow": (False, True), "jax": (True,), "torch": (False,)}[backend]


def one_part(given):
    """In a process of its own: prints one line of JSON."""
    if given.part == "steps":
        build = NETWORKS[given.network]
        found = compared(build, given.jit, given.windows, VARIANTS)
    elif given.part == "start":
        found = one_start(given.network, given.jit, given.watched)
    elif given.part == "size":
        sys.setrecursionlimit(20_000)  # Keras follows a Sequential's layers by recursion
        variants = ("plain", "every step")  # a model each: a thousand layers twice are enough
        layers, width = SHAPES[keras.backend.backend()][given.shape]
        found = compared(partial(mlp, layers, width), False, given.windows, variants)
        extra = found["plain step, ms"] * (found["every step"][0] - 1.0)
        found["extra a layer, ms"] = extra / layers
    else:
        found = on_the_host() if given.part == "host" else in_memory()
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parts = ("steps", "start", "size", "host", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--draw", action="store_true")
    for name in ("--part", "--network", "--shape"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--jit", "--watched"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        one_part(given)
    elif given.draw:
        from tests.bench.picture import draw

        draw(json.loads(RESULTS.read_text()))
    else:
        measure(given)


if __name__ == "__main__":
    main()
