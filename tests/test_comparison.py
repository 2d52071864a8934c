"""``compare`` as users call it: real trainings, tiny ones."""

import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)

import initwatch
from tests.capture.models import BACKEND

FEATURES, CLASSES, STEPS, BATCH = 8, 3, 40, 16


def examples(count=96):
    x = np.random.default_rng(0).standard_normal((count, FEATURES)).astype("float32")
    return x, labels(x)


def labels(x):
    return (x[:, 0] > 0.0).astype("int32")


class Recording(keras.Sequential):
    """Keeps the batches it is trained on; may raise at one of them."""

    batches = []  # noqa: RUF012 of the class: models are built by compare
    fails_at = None

    def train_on_batch(self, x, *args, **kwargs):
        mine = self.__dict__.setdefault("mine", [])
        if not mine:
            type(self).batches.append(mine)
        mine.append(np.array(x))
        if self.fails_at is not None and len(mine) > self.fails_at:
            raise RuntimeError("out of\n  luck")
        return super().train_on_batch(x, *args, **kwargs)


@pytest.fixture(autouse=True)
def _no_batches_yet():
    Recording.batches = []


def build(initializer, depth=8, kind=Recording):
    hidden = [
        keras.layers.Dense(32, "relu", kernel_initializer=initializer, name=f"hidden_{i}")
        for i in range(depth)
    ]
    head = keras.layers.Dense(CLASSES, "softmax", name="output")
    model = kind([keras.Input((FEATURES,)), *hidden, head], name="net")
    model.compile(keras.optimizers.Adam(6e-3), "sparse_categorical_crossentropy")
    return model


def shallow(initializer):
    return build(initializer, depth=1)


def compare(build, initializers, **arguments):
    settings = {"steps": 4, "batch_size": BATCH, "seeds": 2, "console": False} | arguments
    return initwatch.compare(build, *examples(), initializers=initializers, **settings)


def global_state():
    """Copies of all global generators, by what they would draw next."""
    state = [random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]]
    keras_state = keras.src.backend.common.global_state
    generator = keras_state.get_global_attribute("global_seed_generator")
    state += [keras_state.get_global_attribute("global_random_seed"), id(generator)]
    if generator is not None:
        state.append(keras.ops.convert_to_numpy(generator.state).tolist())
    if BACKEND == "torch":
        import torch

        state.append(torch.get_rng_state().tolist())
    if BACKEND == "tensorflow":
        import tensorflow as tf
        from tensorflow.python.eager import context

        state.append(tf.random.get_global_generator().state.numpy().tolist())
        eager = vars(context.context())
        state += [eager["_seed"], eager["_rng"].getstate() if "_rng" in eager else None]
    return state


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """He against a tiny normal in a deep ReLU net, logged."""
    log_dir = tmp_path_factory.mktemp("logs")
    Recording.batches = []
    keras.utils.set_random_seed(7)
    keras.random.normal((1,))  # now there is a global seed generator
    tiny = keras.initializers.RandomNormal(stddev=0.02)
    before = global_state()
    comparison = compare(build, [tiny, "he_normal"], steps=STEPS, seeds=3, log_dir=log_dir)
    return comparison, log_dir, Recording.batches, (before, global_state())


# ---------------------------------------------------------------------------- the verdict


def test_he_is_surely_better_than_a_tiny_normal(deep):
    comparison, *_ = deep
    assert comparison.ranking == ["he_normal", "RandomNormal(stddev=0.02)"]
    assert comparison.sure
    he, tiny = comparison.candidates
    assert (he.verdict, tiny.verdict) == ("lowest", "worse")
    assert he.final_loss < 0.8 * tiny.final_loss
    assert tiny.p_value < 0.05
    assert "he_normal is best" in str(comparison)


def test_each_run_has_its_report_and_its_losses(deep):
    comparison, *_ = deep
    for candidate in comparison.candidates:
        losses = comparison.losses[candidate.label]
        assert losses.shape == (3, STEPS)
        assert losses.dtype == np.float64
        assert np.isfinite(losses).all()
        for run, row in zip(candidate.runs, losses, strict=True):
            assert run.first_loss == row[0]
            assert run.final_loss == np.median(row[-4:])
            assert run.report.problems == []
            assert run.report.steps_seen > 20
    he, tiny = comparison.candidates
    assert (he.healthy, tiny.healthy) == (3, 0)
    symptoms = {f.symptom for run in tiny.runs for f in run.report.findings}
    assert "initializer_mismatch" in symptoms


def test_a_loss_is_that_of_its_own_batch():
    """Not a running mean: a model that does not move is asked again afterwards."""
    models = []

    def still(initializer):
        models.append(shallow(initializer))
        models[-1].compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        return models[-1]

    comparison = compare(still, ["he_normal", "glorot_uniform"], seeds=1)
    first = models[2]  # each was built once before
    expected = [first.evaluate(x, labels(x), verbose=0) for x in Recording.batches[0]]
    assert comparison["he_normal"].losses[0] == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------------- only the initializer


def test_one_initializer_under_two_names_cannot_be_told_apart():
    he = keras.initializers.HeNormal()
    comparison = compare(shallow, {"one": he, "two": "he_normal"}, seeds=3)
    np.testing.assert_array_equal(comparison["one"].losses, comparison["two"].losses)
    assert not comparison.sure
    assert comparison["two"].verdict == "not told apart"
    assert comparison["two"].p_value == 1.0
    assert "No difference can be told between one and two with 3 seeds" in str(comparison)


def test_all_candidates_of_a_seed_see_the_same_batches(deep):
    *_, batches, _ = deep
    assert [len(run) for run in batches] == [STEPS] * 6
    for seed in range(3):
        tiny, he = batches[2 * seed], batches[2 * seed + 1]
        np.testing.assert_array_equal(tiny, he)
    assert not np.array_equal(batches[0], batches[2])
    # every example once before one comes again
    seen = np.concatenate(batches[0])[: len(examples()[0])]
    assert len(np.unique(seen, axis=0)) == len(seen)


def test_a_seed_is_a_new_draw_and_each_layer_has_its_own():
    """One object with one seed, which Keras would let draw the same everywhere."""
    models = []

    def kept(initializer):
        models.append(build(initializer, depth=3))
        return models[-1]

    fixed = keras.initializers.HeNormal(seed=1)
    comparison = compare(kept, [fixed, "glorot_uniform"], steps=1)
    assert comparison["HeNormal"].runs[0].first_loss != comparison["HeNormal"].runs[1].first_loss
    kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in models[0].layers[1:3]]
    assert kernels[0].shape == kernels[1].shape
    assert not np.array_equal(*kernels)


def test_what_is_not_compared_is_drawn_alike():
    """A constant draws nothing; the output layer behind it must not notice."""
    models = []

    def kept(initializer):
        models.append(shallow(initializer))
        return models[-1]

    compare(kept, [keras.initializers.Constant(0.1), "he_normal", "zeros"], seeds=1)
    heads = [keras.ops.convert_to_numpy(m.layers[-1].kernel) for m in models[:3]]
    np.testing.assert_array_equal(heads[0], heads[1])
    np.testing.assert_array_equal(heads[0], heads[2])


def test_the_global_random_state_is_untouched(deep):
    *_, (before, after) = deep
    assert before == after


def test_it_is_put_back_after_an_exception_too():
    def broken(initializer):
        random.random()
        np.random.rand()
        keras.random.normal((1,))
        raise KeyError("nothing")

    before = global_state()
    with pytest.raises(initwatch.ArgumentError):
        compare(broken, ["he_normal", "glorot_uniform"])
    assert global_state() == before


# ---------------------------------------------------------------------------- what fails


def at_rate(rate):
    model = shallow("he_normal")
    model.compile(keras.optimizers.SGD(rate), "mean_squared_error")
    return model


def test_what_does_not_end_finite_ranks_last():
    """Candidates may be anything that build takes."""
    x, _ = examples()
    comparison = initwatch.compare(
        at_rate,
        x,
        x[:, :CLASSES],
        initializers=[("wild", 1e30), ("sound", 0.01)],
        steps=12,
        seeds=2,
        console=False,
    )
    assert comparison.ranking == ["sound", "wild"]
    wild = comparison["wild"]
    assert wild.verdict == "failed"
    assert np.isnan(wild.final_loss)
    assert np.isfinite(wild.first_loss)
    assert comparison.sure
    assert "not finite in 2 of 2 runs" in str(comparison)


def test_a_run_that_raises_is_told_and_the_others_go_on(capsys):
    class Unlucky(Recording):
        fails_at = 2

    def sometimes(initializer):
        kind = Unlucky if type(initializer).__name__ == "HeNormal" else Recording
        return build(initializer, depth=1, kind=kind)

    comparison = compare(sometimes, ["he_normal", "glorot_uniform"], console=True)
    assert comparison.ranking == ["glorot_uniform", "he_normal"]
    runs = comparison["he_normal"].runs
    assert [run.failure for run in runs] == ["RuntimeError: out of luck"] * 2
    assert np.isfinite(runs[0].losses).tolist() == [True, True, False, False]
    assert runs[0].report.steps_seen == 2
    assert np.isfinite(comparison["glorot_uniform"].losses).all()
    printed = " ".join(capsys.readouterr().out.split())
    assert "he_normal, seed 0 failed, the others go on. RuntimeError: out of luck" in printed
    assert "2 of 2 runs failed" in str(comparison)


def test_if_no_run_can_be_trained_it_says_why():
    class Unlucky(Recording):
        fails_at = 0

    with pytest.raises(initwatch.ArgumentError, match=r"none of the 4 runs .*out of luck"):
        compare(
            lambda initializer: build(initializer, depth=1, kind=Unlucky), ["zeros", "he_normal"]
        )


def test_an_interrupt_ends_it_and_leaves_nothing_behind():
    class Interrupted(Recording):
        def train_on_batch(self, *args, **kwargs):
            raise KeyboardInterrupt

    before = global_state()
    with pytest.raises(KeyboardInterrupt):
        compare(
            lambda initializer: build(initializer, depth=1, kind=Interrupted),
            ["zeros", "he_normal"],
        )
    assert global_state() == before


# ---------------------------------------------------------------------------- the log


def dashboard(log_dir):
    """(experiment, session groups by name) as TensorBoard's HParams plugin reads them."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    experiment = get_experiment.Handler(
        RequestContext(), context, "", api_pb2.GetExperimentRequest()
    ).run()
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE], slice_size=100
    )
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run()
    return experiment, {group.name: group for group in groups.session_groups}, multiplexer


def test_the_dashboard_shows_every_run(deep):
    comparison, log_dir, *_ = deep
    experiment, groups, _ = dashboard(log_dir)
    assert {info.name for info in experiment.hparam_infos} == {"initializer", "seed"}
    tags = [info.name.tag.rsplit("/", 1)[-1] for info in experiment.metric_infos]
    assert tags == ["final_loss", "first_loss", "area", "healthy"]
    assert len(groups) == 6
    for candidate in comparison.candidates:
        for run in candidate.runs:
            group = groups[os.path.join(run.label, f"seed_{run.seed}")]
            assert group.hparams["initializer"].string_value == run.label
            assert group.hparams["seed"].number_value == run.seed
            assert group.sessions[0].status == api_pb2.STATUS_SUCCESS
            shown = {v.name.tag.rsplit("/", 1)[-1]: v.value for v in group.metric_values}
            expected = {
                "final_loss": run.final_loss,
                "first_loss": run.first_loss,
                "area": run.area,
                "healthy": float(run.report.healthy),
            }
            assert shown == pytest.approx(expected, rel=1e-6)


def test_curves_reports_and_ranking_are_logged(deep):
    comparison, log_dir, *_ = deep
    *_, multiplexer = dashboard(log_dir)
    run = comparison.best.runs[1]
    name = os.path.join("he_normal", "seed_1")
    curve = [
        float(event.tensor_proto.float_val[0])
        for event in multiplexer.Tensors(name, "initwatch/comparison/loss")
    ]
    assert curve == pytest.approx(run.losses, rel=1e-6)
    (event,) = multiplexer.Tensors(".", "initwatch/ranking")
    text = event.tensor_proto.string_val[0].decode()
    assert str(comparison) in text
    (event,) = multiplexer.Tensors(os.path.join(name, "initwatch"), "initwatch/report")
    assert "healthy" in event.tensor_proto.string_val[0].decode()


def test_a_folder_that_is_used_again_shows_the_newer_figures(tmp_path):
    x, _ = examples()
    for wild in (0.02, 1e30):
        initwatch.compare(
            at_rate,
            x,
            x[:, :CLASSES],
            initializers=[("first", wild), ("second", 0.01)],
            steps=6,
            seeds=1,
            console=False,
            log_dir=tmp_path,
        )
    _, groups, multiplexer = dashboard(tmp_path)
    # the newer comparison's: a loss that is not finite is none to sort by
    shown = {
        name: {v.name.tag.rsplit("/", 1)[-1] for v in group.metric_values}
        for name, group in groups.items()
    }
    first, second = (os.path.join(label, "seed_0") for label in ("first", "second"))
    assert shown[first] == {"first_loss", "healthy"}
    assert shown[second] == {"first_loss", "healthy", "final_loss", "area"}
    losses = multiplexer.Tensors(first, "initwatch/comparison/loss")
    assert [event.step for event in losses] == list(range(6))
    assert not np.isfinite(losses[-1].tensor_proto.float_val[0])


def test_a_failed_run_is_marked(tmp_path):
    x, _ = examples()
    initwatch.compare(
        at_rate,
        x,
        x[:, :CLASSES],
        initializers=[("wild", 1e30), ("sound", 0.01)],
        steps=6,
        seeds=1,
        console=False,
        log_dir=tmp_path,
    )
    _, groups, _ = dashboard(tmp_path)
    status = {name: group.sessions[0].status for name, group in groups.items()}
    assert status == {
        os.path.join("wild", "seed_0"): api_pb2.STATUS_FAILURE,
        os.path.join("sound", "seed_0"): api_pb2.STATUS_SUCCESS,
    }


SCRIPT = """
import sys
sys.modules["tensorflow"] = None
import initwatch
from tests import test_comparison as t
t.compare(t.shallow, ["zeros", "he_normal"], log_dir=sys.argv[1])
print(len(t.dashboard(sys.argv[1])[1]))
"""


@pytest.mark.skipif(BACKEND == "tensorflow", reason="needs a backend that is not TensorFlow")
def test_the_dashboard_is_written_without_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "4"


# ---------------------------------------------------------------------------- arguments


class Pair(keras.Model):
    """Built from its first batch; two inputs by name."""

    def __init__(self, initializer):
        super().__init__()
        self.left = keras.layers.Dense(4, kernel_initializer=initializer)
        self.right = keras.layers.Dense(4, kernel_initializer=initializer)
        self.out = keras.layers.Dense(1)

    def call(self, x):
        return self.out(keras.ops.tanh(self.left(x["a"]) + self.right(x["b"])))


def test_trees_of_arrays_and_models_built_by_their_first_batch():
    def pair(initializer):
        model = Pair(initializer)
        model.compile("sgd", "mean_squared_error")
        return model

    x, _ = examples()
    comparison = initwatch.compare(
        pair,
        {"a": x.astype("float64"), "b": keras.ops.convert_to_tensor(x)},
        x[:, :1],
        initializers=["zeros", "he_normal"],
        steps=3,
        seeds=2,
        batch_size=1000,
        console=False,
    )
    assert np.isfinite(list(comparison.losses.values())).all()
    same = compare(shallow, [("a", "glorot_normal"), ("b", keras.initializers.GlorotNormal)])
    np.testing.assert_array_equal(same["a"].losses, same["b"].losses)


def returns_none(initializer):
    return None


def uncompiled(initializer):
    return keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)])


def by_fours(initializer):
    model = uncompiled(initializer)
    model.compile("sgd", "mse", steps_per_execution=4)
    return model


def raises(initializer):
    raise TypeError("no such thing")


TWO = ["he_normal", "glorot_uniform"]


@pytest.mark.parametrize(
    ("build", "initializers", "arguments", "says"),
    [
        (raises, TWO, {}, "build raised TypeError: no such thing for the candidate 'he_normal'"),
        (returns_none, TWO, {}, "must return a compiled keras.Model.*Received .*None"),
        (uncompiled, TWO, {}, "call model.compile"),
        (by_fours, TWO, {}, "leave steps_per_execution out"),
        ("net", TWO, {}, "build must be a function"),
        (shallow, [], {}, "two or more.* Received 0"),
        (shallow, ["he_normal"], {}, "two or more.* Received 1"),
        (shallow, "he_normal", {}, "must be a list"),
        (shallow, None, {}, "must be a list"),
        (shallow, ["zeros", "zeros"], {}, "two candidates are called 'zeros'"),
        (shallow, [("a/b", "zeros"), "ones"], {}, "label names a folder"),
        (shallow, {"..": "zeros", "a": "ones"}, {}, "label names a folder"),
        (shallow, {1: "zeros", 2: "ones"}, {}, "label names a folder"),
        (shallow, TWO, {"seeds": 0}, "seeds must be a whole number, 1 or more. Received: 0"),
        (shallow, TWO, {"steps": 1.5}, "steps must be a whole number"),
        (shallow, TWO, {"batch_size": True}, "batch_size must be a whole number"),
        (shallow, TWO, {"console": 1}, "console must be True or False"),
        (shallow, TWO, {"log_dir": "gs://bucket"}, "log_dir must be a folder"),
    ],
)
def test_wrong_arguments_are_told_in_words(build, initializers, arguments, says):
    with pytest.raises(initwatch.ArgumentError, match=says):
        compare(build, initializers, **arguments)
    assert Recording.batches == []  # before anything is trained


class Endless(keras.utils.PyDataset):
    def __getitem__(self, index):
        return examples(8)

    def __len__(self):
        return 5


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (Endless(), None, "x must be an array.*an order of its own.*Received: Endless"),
        ((row for row in [1, 2]), None, "x must be an array"),
        ([[1.0, 2.0]], None, "x must be an array"),
        ({}, None, "x must be an array"),
        (np.zeros((4, 2)), np.zeros(5), "same number of examples.*Received: 4, 5"),
        (np.zeros((0, 2)), np.zeros(0), "1 or more"),
    ],
)
def test_data_that_cannot_be_put_in_order_is_refused(x, y, says):
    with pytest.raises(initwatch.ArgumentError, match=says):
        initwatch.compare(shallow, x, y, initializers=TWO, console=False)


def test_a_model_that_is_built_once_is_refused():
    model = shallow("he_normal")
    with pytest.raises(initwatch.ArgumentError, match="must make a new model each time"):
        compare(lambda initializer: model, TWO)


def test_a_log_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(initwatch.LogDirError, match="cannot be written"):
        compare(shallow, TWO, log_dir=tmp_path / "file")


def test_the_terminal_stays_silent_if_told_to(capsys):
    compare(shallow, TWO, steps=1, seeds=1)
    assert capsys.readouterr().out == ""
    compare(shallow, TWO, steps=1, seeds=1, console=True)
    assert "initwatch: No difference can be told" in capsys.readouterr().out
