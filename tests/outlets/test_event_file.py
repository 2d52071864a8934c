"""Event files: readable by TensorBoard's own reader, whole up to the last record."""

import signal
import subprocess
import sys
import textwrap

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.summary_pb2 import Summary

from initwatch.outlets.event_file import EventFile


def steps_in(path):
    return [e.step for e in EventFileLoader(str(path)).Load() if e.HasField("summary")]


@pytest.mark.parametrize("fast", [True, False])
def test_records_are_read_back(tmp_path, monkeypatch, fast):
    if not fast:
        monkeypatch.setitem(sys.modules, "google_crc32c", None)
    else:
        pytest.importorskip("google_crc32c")
    file = EventFile(tmp_path / "run", first_step=5)
    for step in range(5, 25):
        file.add(step, [Summary.Value(tag="a", simple_value=step / 2)])
    assert steps_in(file.path) == list(range(5, 25))  # before it is closed
    file.close()
    events = list(EventFileLoader(str(file.path)).Load())
    assert events[1].session_log.status == 1  # START, at the first step to come
    assert events[1].step == 5
    assert events[2].summary.value[0].tensor.float_val[0] == 2.5


def test_two_files_of_one_second_are_two(tmp_path):
    first, second = EventFile(tmp_path, 0), EventFile(tmp_path, 0)
    assert first.path != second.path


def test_a_killed_process_loses_nothing(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from tensorboard.compat.proto.summary_pb2 import Summary
        from initwatch.outlets.event_file import EventFile
        file = EventFile(Path({str(tmp_path)!r}), 0)
        for step in range(300):
            file.add(step, [Summary.Value(tag="a", simple_value=1.0)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = tmp_path.iterdir()
    assert steps_in(path) == list(range(300))


def test_a_full_disk_raises_and_keeps_what_was_written(tmp_path, monkeypatch):
    """A limit on the file's size stands for the full disk: the write itself fails."""
    script = f"""
        import resource
        from pathlib import Path
        from tensorboard.compat.proto.summary_pb2 import Summary
        from initwatch.outlets.event_file import EventFile
        file = EventFile(Path({str(tmp_path)!r}), 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        for step in range(300):
            file.add(step, [Summary.Value(tag="a", simple_value=1.0)])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True
    )
    assert b"OSError" in done.stderr
    (path,) = tmp_path.iterdir()
    steps = steps_in(path)
    assert len(steps) > 20
    assert steps == list(range(len(steps)))
