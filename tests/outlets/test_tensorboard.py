"""The log of a real fit, read back by TensorBoard's own readers."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import initwatch
from initwatch.outlets import tensorboard
from initwatch.outlets.tensorboard import (
    ALL_HISTOGRAMS,
    ALL_SCALARS,
    MAX_LAYERS,
    Thinned,
    checked_log_dir,
    escaped,
)
from initwatch.plugin.answers import run_answer
from initwatch.plugin.log import read_logs
from initwatch.records import Statistic
from tests.outlets.feed import feed, updates

EVERYTHING = {"scalars": 0, "tensors": 0, "histograms": 0}


def fit(log_dir, depth=12, epochs=2, callbacks=(), watch=None):
    keras.utils.set_random_seed(0)
    small = keras.initializers.RandomNormal(stddev=0.02)
    hidden = [
        keras.layers.Dense(24, activation="relu", kernel_initializer=small, name=f"hidden_{i}")
        for i in range(depth)
    ]
    head = keras.layers.Dense(10, activation="softmax", name="output")
    model = keras.Sequential([keras.Input((16,)), *hidden, head], name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    watch = watch or initwatch.InitWatch(log_dir, console=False)
    x, y = rng.standard_normal((96, 16)), rng.integers(0, 10, 96)
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[watch, *callbacks])
    assert watch.report.problems == []
    return watch, model


def read(folder):
    accumulator = EventAccumulator(str(folder), EVERYTHING)
    accumulator.Reload()
    return accumulator


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    log_dir = tmp_path_factory.mktemp("logs")
    tensorboard = keras.callbacks.TensorBoard(log_dir, update_freq=1)
    watch, _ = fit(log_dir, epochs=5, callbacks=[tensorboard])
    return log_dir, watch.report, read(log_dir / "initwatch")


def test_the_tab_reads_what_the_fit_reported(logged):
    log_dir, report, _ = logged
    (log,) = read_logs(log_dir)
    answer = run_answer(log)
    assert answer["text"] == str(report)
    assert answer["ended"] is True
    assert len(answer["steps"]) == report.steps_seen
    assert {entry["code"] for entry in answer["findings"]} == {f.code for f in report.findings}
    (advice,) = [entry for entry in answer["advice"] if entry["kind"] == "initializer"]
    assert advice["current"] == "keras.initializers.RandomNormal(stddev=0.02)"
    assert advice["suggested"] == "keras.initializers.HeNormal()"
    assert advice["measured"] == report.advice[0].measured
    assert [entry["name"] for entry in answer["trials"]][:2] == ["signal ratio", "gradient ratio"]
    assert answer["layers"][0]["initializer"] == advice["current"]
    assert answer["layers"][0]["argument"] == "kernel_initializer"
    assert answer["theory"] is not None


def texts(accumulator, tag):
    return {e.step: e.tensor_proto.string_val[0].decode() for e in accumulator.Tensors(tag)}


def scalar(accumulator, tag):
    return (
        {e.step: e.tensor_proto.float_val[0] for e in accumulator.Tensors(tag)}
        if tag in accumulator.Tags()["tensors"]
        else {e.step: e.value for e in accumulator.Scalars(tag)}
    )


def test_every_sampled_step_has_its_scalars(logged):
    _, report, log = logged
    for tag in ("initwatch/loss", "initwatch/delta_rms/net/hidden_0"):
        assert sorted(scalar(log, tag)) == list(range(15))
    assert report.steps_seen == 15


def test_evidence_can_be_checked_in_the_log(logged):
    _, report, log = logged
    finding = next(f for f in report.findings if f.symptom == "vanishing_gradient")
    seen = scalar(log, "initwatch/delta_norm/net/hidden_0")
    expected = np.median([seen[step] for step in range(finding.step - 2, finding.step + 1)])
    assert finding.evidence["delta_norm_first"] == pytest.approx(expected, rel=1e-4)


def test_histograms_hold_every_weight(logged):
    _, _, log = logged
    events = log.Tensors("initwatch/weight/net/hidden_3/kernel")
    assert [event.step for event in events] == [0, 12]  # the first of an epoch, ten samples apart
    shape = [d.size for d in events[0].tensor_proto.tensor_shape.dim]
    buckets = np.frombuffer(events[0].tensor_proto.tensor_content, "<f4").reshape(shape)
    assert buckets.shape[1] == 3
    assert buckets[:, 2].sum() == 24 * 24
    assert np.all(buckets[:, 0] < buckets[:, 1])
    tags = set(log.Tags()["tensors"])
    assert "initwatch/gradient/net/hidden_3/kernel" in tags
    assert "initwatch/activation/net/hidden_3" in tags


def test_findings_and_advice_stand_at_their_step(logged):
    _, report, log = logged
    found = texts(log, "initwatch/findings")
    assert set(found) == {finding.step for finding in report.findings}
    first = min(found)
    assert "initializer\\_mismatch" in found[first]
    advice = texts(log, "initwatch/advice")
    assert "kernel_initializer=keras.initializers.HeNormal()" in advice[first]
    assert len(advice) == 1  # given once, not again with every symptom
    assert "IW101" in texts(log, "initwatch/report")[report.last_step]


def test_charts_are_laid_out(logged):
    _, _, log = logged
    (event,) = log.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    titles = [chart.title for chart in layout.category[0].chart]
    assert Statistic.DELTA_RMS.value in titles


def test_kerass_own_run_beside_ours_is_whole(logged):
    log_dir, _, _ = logged
    assert sorted(path.name for path in log_dir.iterdir()) == ["initwatch", "train"]
    theirs = read(log_dir / "train")
    assert len(theirs.Tensors("batch_loss")) == 15


def test_resuming_continues_the_run(tmp_path):
    watch, model = fit(tmp_path)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((96, 16)), rng.integers(0, 10, 96)
    model.fit(x, y, verbose=0, callbacks=[initwatch.InitWatch(tmp_path, console=False)])
    log = read(tmp_path / "initwatch")
    assert sorted(scalar(log, "initwatch/loss")) == list(range(9))
    assert watch.report.last_step == 5


@pytest.mark.slow
def test_a_deep_model_has_few_tags(tmp_path):
    fit(tmp_path, depth=3 * MAX_LAYERS, epochs=1)
    tags = read(tmp_path / "initwatch").Tags()
    tags = [*tags["scalars"], *tags["tensors"]]
    names = {tag.split("/", 2)[-1] for tag in tags if "/delta_rms/" in tag}
    assert MAX_LAYERS <= len(names) <= MAX_LAYERS + 40


def test_ever_fewer_are_written_and_each_twofold_has_as_many_again():
    thinned = Thinned(4)
    written = [i for i in range(33) if thinned.due()]
    assert written == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


def test_scalars_and_histograms_thin_out_and_the_step_does_not(tmp_path):
    steps = 2 * ALL_SCALARS + 10
    feed(tmp_path, updates(steps, 2, histograms_every=4))
    log = read(tmp_path / "initwatch")
    assert sorted(scalar(log, "initwatch/loss")) == list(range(steps))
    thinned = Thinned(ALL_SCALARS)
    expected = [step for step in range(steps) if thinned.due()]
    assert sorted(scalar(log, "initwatch/delta_rms/net/dense_1")) == expected
    assert expected[:ALL_SCALARS] == list(range(ALL_SCALARS))
    assert len(expected) < ALL_SCALARS * 1.6
    drawn = [event.step for event in log.Tensors("initwatch/weight/net/dense_1/kernel")]
    assert drawn[:ALL_HISTOGRAMS] == [4 * i for i in range(ALL_HISTOGRAMS)]
    assert len(drawn) < ALL_HISTOGRAMS * 3


def test_a_run_of_many_logged_steps_keeps_the_log_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "ALL_STEPS", 8)
    feed(tmp_path, updates(100, 2))
    (run,) = read_logs(tmp_path)
    assert run.step_numbers[:8] == list(range(8))
    assert run.step_numbers[-1] == 96
    assert len(run.step_numbers) == 8 + 4 * 3 + 3  # 3 more of each 16th from 64 on


def test_a_log_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(initwatch.LogDirError, match="cannot be written"):
        initwatch.InitWatch(tmp_path / "file" / "logs")
    with pytest.raises(OSError, match="leave log_dir out"):
        initwatch.InitWatch(tmp_path / "file")


@pytest.mark.parametrize("log_dir", [7, "", "gs://bucket/logs"])
def test_a_log_dir_that_is_none(log_dir):
    with pytest.raises(initwatch.ArgumentError, match="log_dir"):
        checked_log_dir(log_dir)


def test_names_are_safe_in_markdown():
    assert escaped("a_b|c`d<e>") == "a\\_b\\|c\\`d\\<e\\>"
