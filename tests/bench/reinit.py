"""Whether ``AutoReinit`` mends badly initialised networks, and leaves sound ones alone.

    python -m tests.bench.reinit [--cases 120] [--seed 1] [--jobs 2] [--out tests/bench/reinit.json]

Draws cases from a generator: architecture x activation x depth x fault of the weights or biases.
Each is trained on digits three times and more from the same start: as it is, with ``AutoReinit``,
and, where that does not learn, with textbook initializers until one does. A case counts if some
initializer makes it learn at all. Then the same networks without the fault are trained with and
without ``AutoReinit``: their losses must be the same.

A network learns if its accuracy on held-out digits, 0 for a guess and 1 for no mistake, reaches
``LEARNS``. ``slope`` is ln(RMS delta) per layer in the first step after a change, by least squares
over the hidden layers (the head has a scale of its own and is left out). That of one draw is mostly
chance: over six layers of 64 it scatters by 0.06. ``slopes`` are those of ``DRAWS`` draws of the
same initializers; their mean is what the initializers are worth. ``--slopes`` measures these alone,
for the cases of an earlier run.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
from keras import layers

import initwatch
from initwatch.diagnosis import depth as over_depth
from initwatch.records import Statistic
from tests.bench.zoo.data import digits, images
from tests.bench.zoo.runner import on_each
from tests.bench.zoo.training import skill

RESULTS = Path(__file__).with_name("reinit.json")
LEARNS = 0.5
EPOCHS = 8  # of 42 batches
DRAWS = 16
SLACK = 0.03  # by so much and more the skills of two seeds differ
WIDTH = 64
DEPTHS = {"mlp": (6, 10, 16, 24), "cnn": (6, 10), "depthwise": (6, 8), "residual": (6, 12)}
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "tanh", "gelu", "silu", "softsign")
TEXTBOOK = {"tanh": "glorot_uniform", "softsign": "glorot_uniform", "selu": "lecun_normal"}
REFERENCES = ("he_normal", "glorot_uniform", "lecun_normal", "orthogonal")


def faults():
    """Name -> arguments of the hidden layers that plant it."""
    normal, uniform = keras.initializers.RandomNormal, keras.initializers.RandomUniform
    kernels = {
        "normal_0.001": normal(stddev=1e-3),
        "normal_0.01": normal(stddev=0.01),
        "normal_0.02": normal(stddev=0.02),
        "normal_0.5": normal(stddev=0.5),
        "normal_1": normal(stddev=1.0),
        "uniform_1": uniform(-1.0, 1.0),
        "uniform_0.01": uniform(-0.01, 0.01),
        "orthogonal_4": keras.initializers.Orthogonal(gain=4.0),
        "tenth_of_he": keras.initializers.VarianceScaling(0.02, "fan_in"),
        "constant_0.1": keras.initializers.Constant(0.1),
        "ones": keras.initializers.Ones(),
        "zeros": keras.initializers.Zeros(),
    }
    return {name: {"kernel": kernel} for name, kernel in kernels.items()} | {
        "bias_-3": {"bias": keras.initializers.Constant(-3.0)},
        "bias_normal_5": {"bias": normal(stddev=5.0)},
    }


FAULTS = tuple(faults())


def names_of(cases, seed):
    """So many different cases, drawn by a generator."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < cases:
        kind = str(rng.choice(list(DEPTHS), p=[0.55, 0.2, 0.1, 0.15]))
        parts = kind, rng.choice(ACTIVATIONS), rng.choice(DEPTHS[kind]), rng.choice(FAULTS)
        name = "-".join(map(str, parts)).replace("bias_-3", "bias_neg")
        if name not in found:
            found.append(name)
    return sorted(found)


def network(kind, activation, depth, given):
    """A network of ``depth`` hidden layers; ``given``: initializers of kernel and bias."""
    drawn = {
        f"{role}_initializer": fresh(given[role]) if role in given else default
        for role, default in (
            ("kernel", TEXTBOOK.get(activation, "he_normal")),
            ("bias", "zeros"),
        )
    }

    def dense():
        return layers.Dense(WIDTH, activation, **{k: fresh(v) for k, v in drawn.items()})

    shape = (64,) if kind in ("mlp", "residual") else (8, 8, 1)
    x = inputs = keras.Input(shape)
    if kind == "residual":
        x = layers.Dense(WIDTH)(x)
    for i in range(depth):
        if kind == "mlp":
            x = dense()(x)
        elif kind == "residual":
            x = layers.Add()(
                [x, layers.Dense(WIDTH, **{k: fresh(v) for k, v in drawn.items()})(dense()(x))]
            )
        elif kind == "cnn" or i % 2 == 0:
            convolution = {k: fresh(v) for k, v in drawn.items()}
            x = layers.Conv2D(16, 3, padding="same", activation=activation, **convolution)(x)
        else:
            x = layers.DepthwiseConv2D(
                3,
                padding="same",
                activation=activation,
                depthwise_initializer=fresh(drawn["kernel_initializer"]),
                bias_initializer=fresh(drawn["bias_initializer"]),
            )(x)
    if len(shape) == 3:
        x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(10, "softmax", name="head")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model


def fresh(initializer):
    """Each layer its own: one that has drawn once draws the same again."""
    return (
        initializer.clone()
        if isinstance(initializer, keras.initializers.Initializer)
        else (initializer)
    )


def trained(kind, activation, depth, given, watch=None):
    """(skill on held-out digits, loss of each epoch)."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    data = digits() if kind in ("mlp", "residual") else images()
    model = network(kind, activation, depth, given)
    callbacks = [watch] if watch is not None else []
    done = model.fit(data.x, data.y[0], 32, EPOCHS, verbose=0, callbacks=callbacks)
    predicted = model.predict(data.x_test, batch_size=512, verbose=0)
    return skill("classes", data.y_test[0], predicted), done.history["loss"]


def parts(name):
    """Kind, activation, depth and the arguments that plant the fault."""
    kind, activation, depth, fault = name.replace("bias_neg", "bias_~3").split("-")
    return kind, activation, int(depth), faults()[fault.replace("~", "-")]


def mended(name, _):
    """What became of one case."""
    kind, activation, depth, given = parts(name)
    plain, _ = trained(kind, activation, depth, given)
    watch = initwatch.AutoReinit(console=False)
    with_advice, _ = trained(kind, activation, depth, given, watch)
    best, reference = with_advice, "advice"
    for initializer in REFERENCES:
        if best >= LEARNS:
            break
        other, _ = trained(kind, activation, depth, {"kernel": initializer})
        if other > best:
            best, reference = other, initializer
    changes = watch.changes
    return {
        "skills": [round(plain, 3), round(with_advice, 3), round(best, 3)],
        "reference": reference,
        "changes": len(changes),
        "initializers": sorted({type(change.initializer).__name__ for change in changes}),
        "advice": sorted({advice.kind for advice in watch.report.advice}),
        "slope": slope(watch) if changes else None,
        "problems": watch.report.problems,
    }


def slope(watch):
    """Ln(RMS delta) per layer in the first step measured after the change."""
    recorder = watch._watch._recorder
    if recorder is None:
        return None
    first = recorder.history().until(int(recorder.history().steps[0]))
    profile = over_depth.profile(first, Statistic.DELTA_NORM, 1)
    return None if profile is None else round(profile.fit.log_slope, 4)


class Redraws(initwatch.AutoReinit):
    """Draws what it draws anew some more times, and notes the slope of delta each time."""

    slopes = ()

    def mend(self, report, step):
        changes = super().mend(report, step)
        if changes and not self.slopes:
            drawn = {v.path: v for v in self.model.trainable_variables}
            self.slopes = [self.slope_of(changes, drawn, seed) for seed in range(DRAWS)]
        return changes

    def slope_of(self, changes, drawn, seed):
        for i, change in enumerate(changes):
            config = change.initializer.get_config()
            if "seed" in config:
                config["seed"] = 1000 * seed + i
            variable = drawn[change.variable]
            variable.assign(type(change.initializer).from_config(config)(variable.shape))
        found = over_depth.profile(self._watch._measured_again(), Statistic.DELTA_NORM, 1)
        return None if found is None else round(found.fit.log_slope, 4)


def redrawn(name, _):
    """The slopes of some draws of what is advised; trained for five batches only."""
    kind, activation, depth, given = parts(name)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    data = digits() if kind in ("mlp", "residual") else images()
    model = network(kind, activation, depth, given)
    watch = Redraws(console=False)
    # some faults show at the third step only
    model.fit(data.x[:160], data.y[0][:160], 32, 1, verbose=0, callbacks=[watch])
    return {"slopes": watch.slopes}


def untouched(name, _):
    """Whether a sound network is left as it is."""
    kind, activation, depth = name.split("-")
    plain, losses = trained(kind, activation, int(depth), {})
    watch = initwatch.AutoReinit(console=False)
    watched, watched_losses = trained(kind, activation, int(depth), {}, watch)
    return {
        "skills": [round(plain, 3), round(watched, 3)],
        "changes": len(watch.changes),
        "same": losses == watched_losses,
    }


def summary(results):
    """The shares that count."""
    cases = {n: r for n, r in results["faulty"].items() if "crash" not in r}
    hurt = {n: r for n, r in cases.items() if r["skills"][0] < LEARNS}
    able = {n: r for n, r in cases.items() if r["skills"][2] >= LEARNS}
    learn = {n for n, r in able.items() if r["skills"][1] >= LEARNS}
    slopes = {
        n: r["slope"]
        for n, r in cases.items()
        if r["slope"] is not None and not n.startswith("residual")
    }
    steep = sorted(n for n, s in slopes.items() if abs(s) > 0.05)
    means = {n: float(np.mean(r["slopes"])) for n, r in cases.items() if any(r.get("slopes", ()))}
    worse = sorted(
        n
        for n, r in able.items()
        if r["changes"] and r["skills"][0] >= LEARNS and r["skills"][1] < r["skills"][0] - SLACK
    )
    sound = results["sound"]
    return {
        "cases": len(results["faulty"]),
        "crashes": len(results["faulty"]) - len(cases),
        "do not learn as they are": len(hurt),
        "learn with some initializer": len(able),
        "of those learn with AutoReinit": len(learn),
        "do not": sorted(set(able) - learn),
        "learn as they are, were changed": sum(
            bool(r["changes"]) and r["skills"][0] >= LEARNS for r in able.values()
        ),
        f"of those worse by more than {SLACK}": worse,
        "slopes of one draw": len(slopes),
        "steeper than 0.05, one draw": len(steep),
        f"slopes of {DRAWS} draws": len(means),
        "steeper than 0.05, mean": sorted(n for n, s in means.items() if abs(s) > 0.05),
        "sound networks": len(sound),
        "trained to the same losses": sum(bool(r.get("same")) for r in sound.values()),
        "changed": sorted(n for n, r in sound.items() if r.get("changes")),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--slopes", action="store_true")
    options = parser.parse_args()
    if options.slopes:
        results = json.loads(options.out.read_text(encoding="utf-8"))
        with_slopes(results, options.jobs)
        written(results, options.out)
        return
    names = names_of(options.cases, options.seed)
    results = {"faulty": dict(sorted(on_each(mended, names, lambda _: 0, options.jobs).items()))}
    sound = sorted({name.rpartition("-")[0] for name in names})
    results["sound"] = dict(sorted(on_each(untouched, sound, lambda _: 0, options.jobs).items()))
    with_slopes(results, options.jobs)
    written(results, options.out)


def with_slopes(results, jobs):
    """Adds the slopes of several draws, where a plain stack was changed."""
    faulty = results["faulty"]
    names = [n for n in faulty if faulty[n].get("changes") and not n.startswith("residual")]
    for name, found in on_each(redrawn, names, lambda _: 0, jobs).items():
        faulty[name] |= {"slopes": found.get("slopes", [])}


def written(results, path):
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(summary(results), indent=1))


if __name__ == "__main__":
    main()
