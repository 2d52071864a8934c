"""initwatch: Keras callbacks that find bad weight initialisation, and what to do about it.

Names are loaded when they are first used: importing the package loads neither keras nor
tensorflow, so that a TensorBoard server can import what it needs of it cheaply.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initwatch import initializers
    from initwatch.advice.lsuv import lsuv
    from initwatch.advice.reinitialize import reinitialize
    from initwatch.callback import AutoReinit, InitWatch, StopOnFinding, audit
    from initwatch.comparison import compare
    from initwatch.diagnosis.catalogue import default_rules
    from initwatch.errors import (
        ArgumentError,
        InitwatchError,
        LogDirError,
        NotReadyError,
        UnsupportedError,
    )
    from initwatch.records import Advice, Comparison, Finding, Reinitialized, Report
    from initwatch.schedule import Schedule

__version__ = "0.1.0"

_HOMES = {
    "AutoReinit": "initwatch.callback",
    "InitWatch": "initwatch.callback",
    "StopOnFinding": "initwatch.callback",
    "audit": "initwatch.callback",
    "lsuv": "initwatch.advice.lsuv",
    "compare": "initwatch.comparison",
    "reinitialize": "initwatch.advice.reinitialize",
    "default_rules": "initwatch.diagnosis.catalogue",
    "Schedule": "initwatch.schedule",
    "Advice": "initwatch.records",
    "Comparison": "initwatch.records",
    "Finding": "initwatch.records",
    "Reinitialized": "initwatch.records",
    "Report": "initwatch.records",
    "InitwatchError": "initwatch.errors",
    "ArgumentError": "initwatch.errors",
    "LogDirError": "initwatch.errors",
    "NotReadyError": "initwatch.errors",
    "UnsupportedError": "initwatch.errors",
}

_MODULES = frozenset({"initializers"})

__all__ = [
    "Advice",
    "ArgumentError",
    "AutoReinit",
    "Comparison",
    "Finding",
    "InitWatch",
    "InitwatchError",
    "LogDirError",
    "NotReadyError",
    "Reinitialized",
    "Report",
    "Schedule",
    "StopOnFinding",
    "UnsupportedError",
    "audit",
    "compare",
    "default_rules",
    "initializers",
    "lsuv",
    "reinitialize",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"initwatch.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'initwatch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
