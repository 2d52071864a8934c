"""TFRecord, the framing of event files: length, its checksum, data, its checksum."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

Crc = Callable[[bytes], int]


def crc_function() -> Crc:
    """CRC32C: google-crc32c if it is installed, else TensorBoard's, which is pure Python."""
    try:
        import google_crc32c
    except ImportError:
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c

        def slow(data: bytes) -> int:
            return int(crc32c(data))

        return slow

    def fast(data: bytes) -> int:
        return int(google_crc32c.value(data))

    return fast


def masked(crc: int) -> int:
    """TFRecord's mask, so that a CRC of data that holds CRCs stays one."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data: bytes, crc: Crc) -> bytes:
    """``data`` as one record."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", masked(crc(length))),
            data,
            struct.pack("<I", masked(crc(data))),
        )
    )


def records(path: Path) -> Iterator[bytes]:
    """The data of each record of a file, up to the first one that is not whole.

    A file that is still being written, or whose writer was killed or ran out of disk, may end in
    the middle of a record.
    """
    crc = crc_function()
    with open(path, "rb") as file:
        while True:
            head = file.read(12)
            if len(head) < 12:
                return
            length, length_crc = struct.unpack("<QI", head)
            if masked(crc(head[:8])) != length_crc:
                return
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            data = body[:length]
            if masked(crc(data)) != struct.unpack("<I", body[length:])[0]:
                return
            yield data
