"""Values → elements, items and sequences as they stand in a file, where a data set for each would be too slow.

Explicit VR Little Endian, every length defined (PS3.5 7.1.2, 7.5), the same bytes that pydicom writes. Whoever puts
elements into an item keeps them in the order of their tags.
"""

import struct
from functools import cache

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from dicom_nodes.encode.source import element_bytes

_ITEM = struct.Struct("<HHI")


def element(keyword: str, value: str | bytes) -> bytes:
    """Encode an element of the dictionary; text is ASCII, and padded here."""
    return element_bytes(raw_element(keyword, value))


def sequence(keyword: str, *contents: bytes) -> bytes:
    """Encode a sequence of items, each given as its elements."""
    return element(keyword, b"".join(map(item, contents)))


def item(content: bytes) -> bytes:
    """Put elements into an item."""
    return _ITEM.pack(0xFFFE, 0xE000, len(content)) + content


def raw_element(keyword: str, value: str | bytes) -> RawDataElement:
    """Make an element that pydicom writes as it is, if its data set has been told so by `take_bytes`."""
    tag, vr = _entry(keyword)
    encoded = value.encode("ascii") if isinstance(value, str) else value
    encoded += (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)
    return RawDataElement(tag, vr, len(encoded), encoded, 0, False, True)


@cache
def _entry(keyword: str) -> tuple[BaseTag, str]:
    tag = Tag(keyword)
    return tag, dictionary_VR(tag)
