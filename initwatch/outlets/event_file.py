"""A TensorBoard event file: appended record by record, nothing kept in memory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING

from initwatch.plugin.tfrecord import crc_function, framed


def string_tensor(text: bytes) -> TensorProto:
    """A scalar string: one of shape [1] is drawn with a table around it."""
    return TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[text])


class EventFile:
    """One event file of a run.

    Every record is handed to the operating system at once: an exception or a kill of the
    process loses nothing that was written.

    Args:
        folder: the run's folder, made if it does not exist.
        first_step: first step that will be written; with it a resumed run takes back what an
            earlier one wrote beyond it.

    Raises:
        OSError: if the folder or the file cannot be made.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._crc = crc_function()
        host = socket.gethostname() or "localhost"
        # the counter keeps two fits of one second apart
        stem = f"events.out.tfevents.{int(time.time()):010d}.{host}.{os.getpid()}"
        counter = 0
        while (folder / f"{stem}.{counter}.initwatch").exists():
            counter += 1
        self.path = folder / f"{stem}.{counter}.initwatch"
        self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 closed in close()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first_step, session_log=start))

    def add(self, step: int, values: Sequence[Summary.Value]) -> None:
        """Appends one record with all values of a step."""
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._write(event)

    def _write(self, event: Event) -> None:
        record = framed(event.SerializeToString(), self._crc)
        written = 0
        while written < len(record):
            written += self._file.write(record[written:])

    def close(self) -> None:
        """Ends the file; harmless when called again."""
        self._file.close()
