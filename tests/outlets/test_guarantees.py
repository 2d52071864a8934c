"""What the log promises, held against real processes: killed, out of disk, without TensorFlow.

Each script trains in a process of its own and prints or keeps what the log is held against.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from initwatch.plugin.answers import run_answer, values_answer
from initwatch.plugin.log import read_logs

pytestmark = pytest.mark.slow

TRAINING = """
    import os, sys
    import keras
    import numpy as np
    import initwatch

    def network():
        hidden = [keras.layers.Dense(16, activation="relu", name=f"hidden_{i}") for i in range(4)]
        head = keras.layers.Dense(10, activation="softmax", name="output")
        model = keras.Sequential([keras.Input((8,)), *hidden, head], name="net")
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    def fit(model, *callbacks, epochs=4):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((160, 8)), rng.integers(0, 10, 160)
        return model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=[*callbacks])

    class At(keras.callbacks.Callback):
        def __init__(self, batch, do):
            super().__init__()
            self.batches, self.batch, self.do = 0, batch, do

        def on_train_batch_begin(self, batch, logs=None):
            self.batches += 1
            if self.batches == self.batch:
                self.do()
"""


def run(script, *arguments, before="", **environment):
    """A script behind ``TRAINING``, in a process of its own."""
    program = before + textwrap.dedent(TRAINING) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def only_log(log_dir):
    (log,) = read_logs(log_dir)
    return log


def test_a_kill_in_the_middle_of_fit_loses_no_logged_step(tmp_path):
    done = run(
        """
        import signal
        watch = initwatch.InitWatch(sys.argv[1], console=False)

        def kill():
            os.write(1, f"{watch.report.last_step} {watch.report.steps_seen}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

        fit(network(), watch, At(37, kill))
        """,
        str(tmp_path),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    last, seen = map(int, done.stdout.split())
    assert last == 35  # the batch before the one that begins
    log = only_log(tmp_path)
    answer = run_answer(log)
    assert (len(answer["steps"]), answer["steps"][-1]) == (seen, last)
    assert answer["ended"] is False
    rows = values_answer(log, "gradient_rms")["values"]
    assert all(value is not None and value > 0.0 for row in rows for value in row)
    assert None not in answer["per_step"]["loss"]


@pytest.mark.parametrize("how", ["exception", "exit"])
def test_nothing_is_lost_without_close(tmp_path, how):
    """Neither by an exception that ends the process, nor by an exit in the middle of fit."""
    done = run(
        """
        watch = initwatch.InitWatch(sys.argv[1], console=False)

        def stop():
            print(watch.report.last_step, watch.report.steps_seen, flush=True)
            if sys.argv[2] == "exit":
                sys.exit(7)
            raise RuntimeError("the user's own")

        fit(network(), watch, At(29, stop))
        """,
        str(tmp_path),
        how,
    )
    assert done.returncode == (7 if how == "exit" else 1), done.stderr[-3000:]
    last, seen = map(int, done.stdout.split())
    answer = run_answer(only_log(tmp_path))
    assert (len(answer["steps"]), answer["steps"][-1]) == (seen, last)
    assert answer["ended"] is False


def limited(tmp_path):
    """A folder, and what the script does to let writes fail: no file may grow beyond 16 kB."""
    return tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"


@pytest.fixture(params=["file size limit", "full disk"])
def disk(request, tmp_path):
    if request.param == "file size limit":
        yield limited(tmp_path)
        return
    if not Path("/bin/mount").exists():
        pytest.skip("no mount command here")
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=16k", "initwatch", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield tmp_path, "pass"
    finally:
        subprocess.run(["/bin/umount", str(tmp_path)], check=True)


def test_a_full_disk_ends_the_log_and_not_the_training(disk):
    log_dir, fill = disk
    done = run(
        f"""
        import resource
        keras.utils.set_random_seed(0)
        plain = network()
        losses = fit(plain).history["loss"]
        keras.utils.set_random_seed(0)
        watched = network()
        watch = initwatch.InitWatch(sys.argv[1], console=False)
        {fill}
        assert fit(watched, watch).history["loss"] == losses
        for a, b in zip(plain.weights, watched.weights, strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
        print(len(watch.report.problems), watch.report.last_step)
        """,
        str(log_dir),
        KERAS_BACKEND="tensorflow",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    problems, last = map(int, done.stdout.split())
    assert problems == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("initwatch:")]
    assert len(told) == 1
    assert "the TensorBoard log cannot be written any more (OSError: " in told[0]
    assert "Training goes on; what was written is kept." in told[0]
    assert last > 70  # it went on measuring to the end
    answer = run_answer(only_log(log_dir))
    assert 3 <= len(answer["steps"]) < 40
    assert answer["steps"] == list(range(len(answer["steps"])))
    assert answer["ended"] is False


def test_it_is_written_and_read_without_tensorflow(tmp_path):
    pytest.importorskip("torch")
    done = run(
        """
        from pathlib import Path
        from initwatch.plugin.log import read_logs

        watch = initwatch.InitWatch(sys.argv[1], console=False)
        fit(network(), watch, epochs=1)
        assert watch.report.problems == []
        (log,) = read_logs(Path(sys.argv[1]))
        print(watch.report.steps_seen, len(log.step_numbers))
        """,
        str(tmp_path),
        before="import sys\nsys.modules['tensorflow'] = None  # as if it were not installed\n",
        KERAS_BACKEND="torch",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["20", "20"]
    assert len(run_answer(only_log(tmp_path))["steps"]) == 20


def starts_in(path):
    return [
        event.step
        for event in EventFileLoader(str(path)).Load()
        if event.session_log.status == SessionLog.START
    ]


def test_each_file_of_ours_begins_with_a_start_and_keras_has_its_own_run(tmp_path):
    done = run(
        """
        model = network()
        for _ in range(2):
            tensorboard = keras.callbacks.TensorBoard(sys.argv[1], update_freq=1)
            fit(model, initwatch.InitWatch(sys.argv[1], console=False), tensorboard, epochs=1)
        """,
        str(tmp_path),
        KERAS_BACKEND="tensorflow",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours = sorted((tmp_path / "initwatch").iterdir())
    assert [starts_in(path) for path in ours] == [[0], [20]]
    theirs = list((tmp_path / "train").iterdir())
    assert all(path.name.endswith(".v2") for path in theirs)
    assert [starts_in(path) for path in theirs] == [[]] * len(theirs)
    assert run_answer(only_log(tmp_path))["ended"] is True
