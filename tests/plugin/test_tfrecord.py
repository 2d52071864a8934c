"""Records: whole ones are read, up to the first that is not."""

import sys

import pytest

from initwatch.plugin.tfrecord import crc_function, framed, masked, records

DATA = [b"first", b"", b"x" * 5000, b"last"]


@pytest.fixture(params=["C", "Python"])
def crc(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.setitem(sys.modules, "google_crc32c", None)
    else:
        pytest.importorskip("google_crc32c")
    return crc_function()


def test_the_mask_is_that_of_tfrecord(crc):
    """RFC 3720, B.4 gives the CRC32C of 32 zero bytes; the mask turns it by 15 bits."""
    value = 0x8A9136AA
    assert crc(bytes(32)) == value
    rotated = ((value >> 15) | (value << 17)) & 0xFFFFFFFF
    assert masked(value) == (rotated + 0xA282EAD8) % 2**32


def test_records_are_read_back(tmp_path, crc):
    path = tmp_path / "file"
    path.write_bytes(b"".join(framed(data, crc) for data in DATA))
    assert list(records(path)) == DATA


@pytest.mark.parametrize("missing", [1, 4, 7, 10, 19])
def test_a_file_that_ends_in_the_middle_of_a_record(tmp_path, crc, missing):
    path = tmp_path / "file"
    path.write_bytes(b"".join(framed(data, crc) for data in DATA)[:-missing])
    assert list(records(path)) == DATA[:-1]


@pytest.mark.parametrize("where", [0, 9, 14, 17])
def test_what_stands_behind_a_damaged_record_is_not_read(tmp_path, crc, where):
    path = tmp_path / "file"
    content = bytearray(b"".join(framed(data, crc) for data in DATA))
    begin = len(framed(DATA[0], crc)) + len(framed(DATA[1], crc))
    content[begin + where] ^= 1
    path.write_bytes(bytes(content))
    assert list(records(path)) == DATA[:2]
