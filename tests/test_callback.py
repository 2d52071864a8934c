"""The callbacks as users meet them: arguments, lifetime, faults, siblings, the console."""

import io
import os
import pty
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import initwatch
from initwatch import callback
from initwatch import watch as conductor
from initwatch.capture import row as capture_row
from initwatch.diagnosis.rules.vanishing_gradient import VanishingGradient

ROWS, BATCH = 96, 16


def build(std=0.02, depth=12, **compile_options):
    keras.utils.set_random_seed(0)
    initializer = keras.initializers.RandomNormal(stddev=std)
    hidden = [
        keras.layers.Dense(24, activation="relu", kernel_initializer=initializer, name=f"h_{i}")
        for i in range(depth)
    ]
    head = keras.layers.Dense(10, activation="softmax", name="output")
    model = keras.Sequential([keras.Input((16,)), *hidden, head], name="net")
    model.compile("adam", "sparse_categorical_crossentropy", **compile_options)
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 16)).astype("float32"), rng.integers(0, 10, ROWS)


def fit(model, *callbacks, epochs=1, **kwargs):
    x, y = data()
    kwargs.setdefault("verbose", 0)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, callbacks=list(callbacks), **kwargs)
    return [np.array(v) for v in model.variables]


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": 10}, "Schedule"),
        ({"rules": ["IW201"]}, "default_rules"),
        ({"rules": 5}, "default_rules"),
        ({"rules": "IW201"}, "default_rules"),
        ({"console": "no"}, "True or False"),
        ({"log_dir": 3}, "log_dir"),
    ],
)
def test_wrong_arguments_of_initwatch(arguments, words):
    with pytest.raises(initwatch.ArgumentError, match=words):
        initwatch.InitWatch(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"codes": ["IW999"]}, "Received: IW999"),
        ({"codes": 5}, "Received: 5"),
        ({"codes": [5]}, "Received: 5"),
        ({"severity": "fatal"}, "Received: 'fatal'"),
    ],
)
def test_wrong_arguments_of_stop_on_finding(arguments, words):
    with pytest.raises(initwatch.ArgumentError, match=words):
        initwatch.StopOnFinding(**arguments)


def test_thresholds_are_the_users():
    patient = [VanishingGradient(log_limit=1000.0)]
    watch = initwatch.InitWatch(rules=patient, console=False)
    fit(build(), watch)
    assert watch.report.healthy
    strict = initwatch.InitWatch(rules=[VanishingGradient()], console=False)
    fit(build(), strict)
    assert [f.code for f in strict.report.findings] == ["IW201"]


# ---------------------------------------------------------------------- lifetime


def test_the_report_stands_before_during_and_after_fit():
    watch = initwatch.InitWatch(console=False)
    assert not watch.report.healthy  # nothing was measured yet
    assert watch.report.steps_seen == 0
    during = []
    peek = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: during.append(watch.report.last_step)
    )
    fit(build(), watch, peek)
    assert during == list(range(ROWS // BATCH))
    assert not watch.report.healthy
    assert "IW101 initializer_mismatch [error] at step 0" in str(watch.report)


def test_a_second_fit_begins_a_second_report_and_traces_nothing_anew(monkeypatch):
    built = []
    backend_build = conductor.Session._watched_step
    monkeypatch.setattr(
        conductor.Session, "_watched_step", lambda self: built.append(1) or backend_build(self)
    )
    watch, model = initwatch.InitWatch(console=False), build()
    fit(model, watch)
    first = watch.report
    fit(model, watch)
    assert watch.report is not first
    assert watch.report.last_step == 2 * ROWS // BATCH - 1
    assert len(built) == 1
    model.compile("sgd", "sparse_categorical_crossentropy")  # another step to watch
    fit(model, watch)
    assert len(built) == 2
    assert watch.report.last_step == ROWS // BATCH - 1


def test_a_model_without_trainable_weights_is_said_and_trains_on(capsys):
    model = build()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch()
    with pytest.warns(UserWarning, match="trainable"):
        fit(model, watch)
    assert "has no trainable weights" in " ".join(capsys.readouterr().out.split())
    assert "layer.trainable = True" in watch.report.problems[0]
    assert watch.report.steps_seen == 0
    (finding,) = watch.report.findings
    assert (finding.code, finding.severity) == ("IW403", "error")
    assert finding.evidence == {"trainable_variables": 0, "of_variables": len(model.weights)}
    assert not watch.report.healthy
    (item,) = watch.report.advice
    assert (item.kind, item.codes) == ("optimizer", ("IW403",))
    # of somebody who asked for other rules only nothing is found
    other = initwatch.InitWatch(rules=[VanishingGradient()], console=False)
    fit(model, other)
    assert other.report.findings == []


def test_a_model_that_is_not_compiled_is_told_by_name():
    bare = keras.Sequential([keras.layers.Dense(3)], name="bare")
    bare.build((None, 4))
    with pytest.raises(initwatch.NotReadyError, match="'bare' is not compiled"):
        conductor.Session(bare)


def test_frozen_layers_are_no_fault():
    model = build(std=0.3)
    for layer in model.layers[:6]:
        layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    fit(model, watch, epochs=3)
    assert "zero_gradient" not in {f.symptom for f in watch.report.findings}


# ---------------------------------------------------------------------- siblings


def test_stop_on_finding_stops_and_says_why(capsys):
    stop = initwatch.StopOnFinding()
    model = build()
    fit(model, initwatch.InitWatch(), stop, epochs=5)
    assert int(model.optimizer.iterations) == 1
    assert stop.stopped_by.code == "IW101"
    assert "training is stopped at step 0 by IW101" in " ".join(capsys.readouterr().out.split())


def test_stop_on_finding_alone_and_by_code():
    stop = initwatch.StopOnFinding(codes="vanishing_gradient")
    model = build()
    fit(model, stop, epochs=5)
    assert stop.stopped_by.code == "IW201"
    assert int(model.optimizer.iterations) == 3
    assert stop.report.findings[0].code == "IW101"


def test_a_healthy_run_is_not_stopped():
    stop = initwatch.StopOnFinding(severity="info")
    model = build(std=(2 / 24) ** 0.5, depth=4)
    fit(model, stop)
    assert stop.stopped_by is None
    assert int(model.optimizer.iterations) == ROWS // BATCH


def test_two_callbacks_share_one_capture(tmp_path):
    first = initwatch.InitWatch(tmp_path / "a", console=False)
    second = initwatch.InitWatch(tmp_path / "b", console=False)
    plain = fit(build())
    watched = fit(build(), first, second)
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert first.report.steps_seen == second.report.steps_seen == ROWS // BATCH
    files = [next((tmp_path / name / "initwatch").iterdir()) for name in "ab"]
    assert files[0].stat().st_size == files[1].stat().st_size


def test_rules_of_a_second_callback_are_said_to_be_unused(capsys):
    first = initwatch.InitWatch()
    second = initwatch.StopOnFinding(schedule=initwatch.Schedule(first=1))
    fit(build(depth=2), first, second)
    (problem,) = first.report.problems
    assert "schedule given to this StopOnFinding are not used" in problem
    assert "are not used" in " ".join(capsys.readouterr().out.split())
    assert first.report.steps_seen == ROWS // BATCH


def test_a_list_of_the_users_own():
    model, watch = build(), initwatch.InitWatch(console=False)
    callbacks = keras.callbacks.CallbackList(
        [watch], add_history=True, model=model, epochs=1, verbose=0
    )
    x, y = data()
    for _ in range(2):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)
        assert watch.report.steps_seen == ROWS // BATCH


# ---------------------------------------------------------------------- faults of our own


def plant(monkeypatch, stage):
    """Makes one stage raise."""

    def broken(*args, **kwargs):
        raise RuntimeError(f"planted in {stage}")

    targets = {
        "capture": (capture_row, "_header"),
        "trace": (conductor.Session, "_watched_step"),
        "measurement": (conductor, "measure"),
        "rules": (conductor.Engine, "judge"),
        "one rule": (VanishingGradient, "check"),
        "advice": (conductor, "advise"),
        "optimizer": (conductor, "training_of"),
        "console": (conductor.ConsoleOutlet, "emit"),
        "console's open": (conductor.ConsoleOutlet, "open"),
        "console's close": (conductor.ConsoleOutlet, "close"),
        "TensorBoard": (callback.TensorBoardOutlet, "emit"),
        "TensorBoard's open": (callback.TensorBoardOutlet, "open"),
        "TensorBoard's close": (callback.TensorBoardOutlet, "close"),
        "listener": (initwatch.StopOnFinding, "_heard"),
        "start": (conductor.Session, "_learn"),
    }
    monkeypatch.setattr(*targets[stage], broken)


@pytest.mark.parametrize(
    "stage",
    [
        "one rule",
        *"start trace capture measurement rules advice optimizer console TensorBoard".split(),
        *[
            f"{outlet}'s {call}"
            for outlet in ("console", "TensorBoard")
            for call in ("open", "close")
        ],
        "listener",
    ],
)
def test_a_fault_of_ours_is_said_once_and_training_goes_on(stage, monkeypatch, tmp_path, capsys):
    plain = fit(build())
    plant(monkeypatch, stage)
    watch = initwatch.InitWatch(tmp_path)
    watched = fit(build(), watch, *[initwatch.StopOnFinding()] * (stage == "listener"))
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert len(watch.report.problems) == 1
    assert f"planted in {stage}" in watch.report.problems[0]
    captured = capsys.readouterr()
    said = " ".join((captured.out + captured.err).split())
    assert said.count(f"planted in {stage}") == 1
    assert "raining goes on" in said
    if stage not in ("start", "trace", "capture", "measurement", "rules"):
        assert "IW101" in {f.code for f in watch.report.findings}


def test_a_full_disk_ends_the_log_not_the_training(monkeypatch, tmp_path, capsys):
    plain = fit(build())
    written = []

    def full(self, event):
        written.append(event)
        if len(written) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("initwatch.outlets.event_file.EventFile._write", full)
    watch = initwatch.InitWatch(tmp_path)
    watched = fit(build(), watch)
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert len(written) == 6  # tried no more after the first failure
    assert watch.report.steps_seen == ROWS // BATCH
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("No space left on device") == 1


def test_a_log_dir_that_vanishes_before_fit(tmp_path, capsys):
    watch = initwatch.InitWatch(tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    (tmp_path / "logs").write_text("in the way")
    fit(build(), watch)
    assert not watch.report.healthy
    assert "TensorBoard log cannot be written" in " ".join(capsys.readouterr().out.split())


# ---------------------------------------------------------------------- the console


def test_a_healthy_run_says_one_line(capsys):
    fit(build(std=(2 / 24) ** 0.5, depth=4), initwatch.InitWatch())
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines == ["initwatch: healthy, nothing to report (6 steps measured up to step 5)."]


def test_a_sick_run_says_layer_step_evidence_and_advice(capsys):
    watch = initwatch.InitWatch()
    fit(build(), watch)
    said = capsys.readouterr().out
    flat = " ".join(said.replace("│", " ").split())
    assert said.count("IW101 initializer_mismatch") == 1
    assert "error, step 0" in said
    assert "net/h_0, net/h_1 ... net/h_11 (12 layers)" in flat
    assert "(limit 3)" in flat
    (code,) = {advice.code for advice in watch.report.advice}
    assert code.startswith("kernel_initializer=keras.initializers.VarianceScaling(scale=2.")
    assert flat.count(code) == said.count("kernel_initializer=") == 1
    assert "advice as above" in flat
    assert flat.endswith("(6 steps measured up to step 5).")


def test_what_is_only_worth_knowing_is_not_said_on_the_way(capsys):
    watch = initwatch.InitWatch()
    x, y = data()
    build().fit(20.0 * x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    known = [f for f in watch.report.findings if f.code == "IW601"]
    assert [f.severity for f in known] == ["info"]
    assert "IW601" not in capsys.readouterr().out
    assert "IW601" in str(watch.report)


def test_console_false_is_silent(capsys):
    fit(build(), initwatch.InitWatch(console=False))
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_progress_bar_stays_whole():
    """In a terminal: no line of a block holds a piece of the bar, and each epoch's bar ends."""
    script = """
        import sys
        sys.path.insert(0, ".")
        from tests.test_callback import build, fit
        import initwatch
        fit(build(), initwatch.InitWatch(), epochs=2, verbose=1)
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"},
    )
    os.close(slave)
    output = io.BytesIO()
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed: Linux says EIO
            break
        if not piece:
            break
        output.write(piece)
    assert process.wait() == 0
    # what the terminal shows: a carriage return writes over the line
    shown = []
    for line in output.getvalue().decode().replace("\b", "").split("\n"):
        shown.append([part for part in line.split("\r") if part])
    blocks = [part for line in shown for part in line if part.startswith(("╭", "│", "╰"))]
    bars = [part for line in shown for part in line if "/6" in part]
    assert len(blocks) >= 8
    assert all("━━" not in part for part in blocks)
    assert all(part.rstrip().endswith(("╮", "│", "╯")) for part in blocks)
    assert sum("6/6" in bar for bar in bars) >= 2
