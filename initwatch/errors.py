"""What initwatch raises, and how it keeps its own faults out of the user's training.

InitwatchError
├── ArgumentError      a wrong argument (also a ValueError)
├── LogDirError        a log_dir that cannot be written (also an OSError)
├── NotReadyError      a model that is not built or not compiled
└── UnsupportedError   a backend or strategy that cannot be observed
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InitwatchError(Exception):
    """Base of all errors that initwatch raises on purpose."""


class ArgumentError(InitwatchError, ValueError):
    """An argument is wrong: the message says which, what was expected and what came."""


class LogDirError(InitwatchError, OSError):
    """``log_dir`` cannot be written."""


class NotReadyError(InitwatchError, RuntimeError):
    """The model is not built, or not compiled."""


class NothingToTrainError(NotReadyError):
    """All weights of the model are frozen."""


class UnsupportedError(InitwatchError, NotImplementedError):
    """The model's training cannot be observed here."""


class Faults:
    """Collects initwatch's own faults: each stage is reported once, training goes on.

    Args:
        tell: called with one line of text for each fault that is new.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._by_stage: dict[str, str] = {}

    @property
    def problems(self) -> list[str]:
        """One line a fault."""
        return list(self._by_stage.values())

    def add(self, stage: str, message: str) -> None:
        """Reports ``message`` unless ``stage`` has been reported before."""
        if stage in self._by_stage:
            return
        self._by_stage[stage] = message
        try:
            self._tell(message)
        except Exception:
            # the console itself may be what is broken: the fault stays in `problems`,
            # and a plain write to stderr is the last thing to try
            sys.__stderr__.write(f"initwatch: {message}\n") if sys.__stderr__ else None

    def failed(self, stage: str) -> bool:
        """True if ``stage`` has reported a fault."""
        return stage in self._by_stage

    @contextmanager
    def contained(self, stage: str, consequence: str) -> Iterator[None]:
        """Runs a block of initwatch's own; its exception is reported once and not raised.

        Args:
            stage: name of the stage, such as ``rules``.
            consequence: what the user loses by it.
        """
        try:
            yield
        except Exception as error:
            # the innermost frame is enough for a bug report and does not flood the console
            frames = traceback.extract_tb(error.__traceback__)
            place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})"
            text = " ".join(str(error).split())[:300]
            self.add(
                stage,
                f"a fault in initwatch's own {stage}{place}: {type(error).__name__}: {text} "
                f"Training goes on; {consequence}",
            )
