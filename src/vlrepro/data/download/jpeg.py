"""A JPEG file without what is not needed to decode it (ITU-T T.81, annex B: segments and their markers)."""

from __future__ import annotations

from collections.abc import Iterator

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})  # in entropy-coded data: a stuffed 255, TEM, restarts


def stripped(data: bytes) -> bytes | None:
    """`data` up to its end marker without comments and application segments, pixels untouched.

    JFIF's header and Adobe's colour transform stay, for they change how colours are decoded. None where the segments
    are not laid out as the standard has it.
    """
    try:
        return b"".join(_kept(data))
    except (IndexError, ValueError):
        return None


def _kept(data: bytes) -> Iterator[bytes]:
    if data[:2] != bytes((0xFF, _SOI)):
        raise ValueError("no start of image")
    yield data[:2]
    place = 2
    while True:
        if data[place] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[place + 1]
        if marker == 0xFF:  # fill
            place += 1
            continue
        if marker == _EOI:
            yield data[place : place + 2]
            return
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker == _SOS:
            end = _scan_end(data, end)
        if end > len(data) or end < place + 4:
            raise ValueError("a segment leads out of the file")
        if _needed(marker, data[place + 4 : place + 9]):
            yield data[place:end]
        place = end


def _needed(marker: int, begins: bytes) -> bool:
    if marker == _APP0:
        return begins == b"JFIF\0"
    if marker == _APP14:
        return begins == b"Adobe"
    return marker != _COM and not _APP0 <= marker <= _APP15


def _scan_end(data: bytes, place: int) -> int:
    """Where the entropy-coded data that starts at `place` ends: at the next marker. Raises `ValueError` for none."""
    while True:
        place = data.index(b"\xff", place)
        if data[place + 1] not in _BARE:
            return place
        place += 2
