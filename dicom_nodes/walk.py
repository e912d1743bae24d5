"""The encoded value of a sequence → its items, and an item → its elements, without a data set for each of them.

Explicit VR Little Endian (PS3.5 7.1.2, 7.5), lengths defined or not. What is not wanted is passed over unread.
"""

import struct
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

Elements = dict[int, bytes]
"""Value of each element by its tag; that of a sequence is its items as they are encoded."""

_HEAD = struct.Struct("<HH2sH")
_ITEM = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")
_LONG_LENGTH = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_UNDEFINED = 0xFFFFFFFF
_SEQUENCE_END = 0xE0DD
_ITEM_DELIMITER = b"\xfe\xff\x0d\xe0"


def sequence_value(dataset: Dataset, keyword: str) -> bytes:
    """Give the encoded items of a sequence of a data set; it is left as it was where it is as the file has it."""
    element: Any = dataset.get_item(keyword, keep_deferred=True)
    if isinstance(element, RawDataElement) and element.VR == "SQ" and element.is_little_endian:
        return bytes(element.value or b"")
    alone, file = Dataset(), DicomBytesIO()
    alone[keyword] = dataset[keyword]
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, alone)
    return elements(file.getvalue())[Tag(keyword)]


def items(sequence: bytes) -> Iterator[bytes]:
    """Yield the encoded items of a sequence; raise ValueError where it is broken."""
    at = 0
    while at < len(sequence):
        _, kind, length = _unpack(_ITEM, sequence, at)
        at += _ITEM.size
        if kind == _SEQUENCE_END:
            return
        if length == _UNDEFINED:
            end = _item_end(sequence, at)
            yield sequence[at : end - _ITEM.size]
        else:
            end = at + length
            yield sequence[at:end]
        at = end
    if at > len(sequence):
        raise ValueError("an item ends beyond its sequence")


def elements(item: bytes) -> Elements:
    """Read the elements of an item; raise ValueError where it is broken."""
    found: Elements = {}
    at = 0
    while at < len(item):
        tag, start, end, after = _element(item, at)
        found[tag] = item[start:end]
        at = after
    return found


def _element(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Tag of the element at a place, where its value begins and ends, and where the next element begins."""
    group, number, vr, length = _unpack(_HEAD, data, at)
    at += _HEAD.size
    if vr in _LONG_LENGTH:
        (length,) = _unpack(_LENGTH, data, at)
        at += _LENGTH.size
    if length == _UNDEFINED:
        after = _sequence_end(data, at)
        return group << 16 | number, at, after - _ITEM.size, after
    if at + length > len(data):
        raise ValueError(f"element ({group:04X},{number:04X}) ends beyond its item")
    return group << 16 | number, at, at + length, at + length


def _sequence_end(data: bytes, at: int) -> int:
    """Find where a sequence of undefined length ends, its delimiter included."""
    while True:
        _, kind, length = _unpack(_ITEM, data, at)
        at += _ITEM.size
        if kind == _SEQUENCE_END:
            return at
        at = _item_end(data, at) if length == _UNDEFINED else at + length


def _item_end(data: bytes, at: int) -> int:
    """Find where an item of undefined length ends, its delimiter included."""
    while data[at : at + 4] != _ITEM_DELIMITER:
        at = _element(data, at)[3]
    return at + _ITEM.size


def _unpack(form: struct.Struct, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return form.unpack_from(data, at)
    except struct.error as error:
        raise ValueError("an item or element is cut short") from error
