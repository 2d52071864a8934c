"""How the numbers of a logged step are packed: two bytes each, compressed.

A number is kept as the logarithm of its magnitude, so that 1e-45 and 1e38 are told as exactly as
1: within ``MAX_RELATIVE_ERROR``. 0, NaN, both infinities and "not measured" are kept as they are;
magnitudes beyond 2^-163 and 2^163 come back as these. Neighbouring layers differ little, which is
what makes the rest small: differences are stored, high bytes apart from low ones, then deflated.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

PER_OCTAVE = 100  # levels between x and 2x
MAX_RELATIVE_ERROR = 2.0 ** (0.5 / PER_OCTAVE) - 1.0  # 0.35 %: half a level
# Codes of magnitudes; the highest bit is the sign.
_ZERO, _LOWEST, _ONE, _HIGHEST, _INFINITE, _NAN = 0, 1, 16384, 32765, 32766, 32767
_NEGATIVE = 32768
UNKNOWN = _NEGATIVE + _NAN  # was not measured
_LEVEL = 1  # of zlib: higher ones take several times as long and save 3 %


def pack(exact: Float, values: Float, known: NDArray[np.bool_]) -> bytes:
    """One logged step as bytes.

    Args:
        exact: float64[m], kept bit for bit.
        values: float64[n], kept as described above.
        known: bool[n], False where a value was not measured.
    """
    codes = _codes(values[known])
    differences = np.diff(codes, prepend=0).astype("<i2").astype("<i4")
    # small of either sign become small numbers: the high bytes are zeros then
    folded = ((differences << 1) ^ (differences >> 15)).astype("<u2")
    planes = folded.view(np.uint8).reshape(-1, 2).T.tobytes()
    head = exact.astype("<f8").tobytes() + np.packbits(known).tobytes()
    return zlib.compress(head + planes, _LEVEL)


def unpack(data: bytes, m: int, n: int) -> tuple[Float, NDArray[np.uint16]]:
    """What ``pack`` was given: exact float64[m], and uint16[n] for ``numbers`` to turn into values.

    Raises:
        ValueError: if ``data`` holds other numbers of values.
    """
    raw = zlib.decompress(data)
    at = 8 * m + -(-n // 8)
    known = np.unpackbits(np.frombuffer(raw[8 * m : at], np.uint8), count=n).astype(bool)
    count = int(known.sum())
    if len(raw) - at != 2 * count:
        raise ValueError(f"a step of {count} values was expected, {(len(raw) - at) / 2:g} came")
    folded = np.frombuffer(raw[at:], np.uint8).reshape(2, count).T.copy().view("<u2").ravel()
    differences = (folded >> 1) ^ -(folded & 1)
    codes = np.full(n, UNKNOWN, np.uint16)
    codes[known] = np.cumsum(differences, dtype=np.uint16)
    return np.frombuffer(raw[: 8 * m], "<f8").astype(np.float64), codes


def _codes(values: Float) -> NDArray[np.int32]:
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.rint(np.log2(np.abs(values)) * PER_OCTAVE) + _ONE
    codes: Float = np.clip(levels, _LOWEST, _HIGHEST)
    codes[values == 0.0] = _ZERO
    codes[np.isinf(values)] = _INFINITE
    codes[np.isnan(values)] = _NAN
    codes[values < 0.0] += _NEGATIVE
    return codes.astype(np.int32)


def numbers(codes: NDArray[np.uint16]) -> Float:
    """The values of codes, of any shape; NaN also where nothing was measured."""
    return _table()[codes]


@cache
def _table() -> Float:
    magnitudes = np.exp2((np.arange(_NEGATIVE) - _ONE) / PER_OCTAVE)
    magnitudes[[_ZERO, _INFINITE, _NAN]] = 0.0, np.inf, np.nan
    return np.concatenate([magnitudes, -magnitudes])


def pack_json(thing: Any) -> bytes:
    """Dictionaries, lists, texts and numbers as bytes."""
    return zlib.compress(json.dumps(portable(thing), separators=(",", ":")).encode())


def unpack_json(data: bytes) -> Any:
    """What ``pack_json`` was given; numbers that are not finite as text."""
    return json.loads(zlib.decompress(data))


def portable(thing: Any) -> Any:
    """As strict JSON has it: NaN and infinities become "NaN", "Infinity", "-Infinity"."""
    if isinstance(thing, dict):
        return {str(key): portable(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [portable(value) for value in thing]
    if isinstance(thing, (bool, np.bool_)):
        return bool(thing)
    if isinstance(thing, (int, np.integer)):
        return int(thing)
    if isinstance(thing, (float, np.floating)):
        return number(float(thing))
    return thing if thing is None or isinstance(thing, str) else str(thing)


def number(value: float) -> float | str:
    """A number as JSON can carry it."""
    if value != value:
        return "NaN"
    if value in (np.inf, -np.inf):
        return "Infinity" if value > 0.0 else "-Infinity"
    return value
