"""One file a Keras backend; ``current`` picks the one Keras runs on."""

from __future__ import annotations

import importlib

import keras

from initwatch.capture.backends.protocol import Backend
from initwatch.errors import UnsupportedError

_MODULES = {name: f"initwatch.capture.backends.{name}" for name in ("tensorflow", "jax", "torch")}


def current() -> Backend:
    """The capture backend of the running Keras.

    Raises:
        UnsupportedError: if there is none for it.
    """
    name = keras.backend.backend()
    if name not in _MODULES:
        raise UnsupportedError(
            f"the training step cannot be observed on the Keras backend {name!r}; "
            f"supported: {', '.join(_MODULES)}. Set KERAS_BACKEND to one of them before "
            "importing keras."
        )
    backend: Backend = importlib.import_module(_MODULES[name]).BACKEND
    return backend
