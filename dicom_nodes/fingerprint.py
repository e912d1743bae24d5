"""The files of one series in; a digest of what they say out: equal for equal content, however it was encoded.

A sender may lay the same data set down in many ways, and the next node on its way in another. What counts as the
same, instance by instance and in whatever order they came:

* the file header (group 0002) and the name of the file do not count;
* Implicit or Explicit VR, either byte order, deflated or not: values are compared as little-endian bytes, without
  their VR, which Implicit VR and VR UN do not tell;
* lengths of groups, sequences and items, the order of the elements and Data Set Trailing Padding (FFFC,FFFC) do not
  count, nor does padding at the end of a value: blanks and NULs of what is text by the data dictionary, blanks of
  what the dictionary does not know, as private elements;
* native pixel data as little-endian words; encapsulated ones as their fragments joined, without the Basic Offset
  Table, under the transfer syntax they are compressed by. Nothing is decompressed, so the same image in another
  compression is another content.

Any other difference in an element, public or private, at any depth, is another content; so is text in another
character set. A data set that cannot be walked is compared by its bytes as they lie.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_VR

from dicom_nodes.part10 import (
    DEEPEST,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    HeadUnreadable,
    element_header,
    inside,
    read_file_header,
)

_TEXT = frozenset(
    {b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UC", b"UI", b"UR"}
    | {b"UT"}
)
_UNSAID = frozenset({b"", b"UN"})
_WORD_BYTES = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4),
    **dict.fromkeys((b"UV", b"SV", b"FD", b"OD", b"OV"), 8),
}
"""By VR, what Big Endian turns round (PS3.5 7.3)."""
_NO_CONTENT = frozenset({0x00080001, 0xFFFCFFFC})
"""Length to End and Data Set Trailing Padding: they tell of the encoding."""
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_LONG = 4096  # bytes; a longer value is held as its digest

_Element = tuple[bytes, bytes]
"""(kind, content): "V" and a value, "D" and a long one's digest, "S" and items, "F" and the digest of fragments."""


@dataclass(frozen=True, slots=True)
class _Coding:
    """How the bytes at hand are encoded, and how deep in sequences they lie."""

    encoding: Encoding
    transfer_syntax_uid: str
    depth: int = 0

    def within(self, vr: bytes) -> "_Coding":
        """The same for the items of a sequence of this VR; raises HeadUnreadable where it is nested too deep."""
        if self.depth == DEEPEST:
            raise HeadUnreadable(f"sequences nested more than {DEEPEST} deep")
        return replace(self, encoding=inside(vr, self.encoding), depth=self.depth + 1)


def series_fingerprint(paths: Iterable[Path]) -> str:
    """Digest of the content of a series' Part 10 files, in hexadecimal; raises OSError alone."""
    return sha256(b"".join(sorted(_instance(path.read_bytes()) for path in paths))).hexdigest()


def _instance(file: bytes) -> bytes:
    """Digest of the data set of one file."""
    try:
        meta, offset = read_file_header(file)
    except HeadUnreadable:
        return sha256(file).digest()
    data_set = memoryview(file)[offset:]
    try:
        return sha256(b"walked" + _data_set(data_set, meta.get(0x00020010, ""))).digest()
    except (HeadUnreadable, zlib.error):
        return sha256(data_set).digest()


def _data_set(view: memoryview, transfer_syntax_uid: str) -> bytes:
    """What stands for the content of a data set, and for no other's.

    Raises HeadUnreadable or zlib.error where the data set does not hold together.
    """
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        view = memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(view))
    order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
    encoding = Encoding(order, transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN)
    return _elements(view, 0, _Coding(encoding, transfer_syntax_uid), None)[0]


def _elements(view: memoryview, at: int, coding: _Coding, end_tag: int | None) -> tuple[bytes, int]:
    """(content, offset behind it) of a row of elements: up to `end_tag`, or to the end of the view."""
    found: list[tuple[int, bytes]] = []
    while end_tag is not None or at < len(view):
        tag, vr, length, at = element_header(view, at, coding.encoding)
        if tag == end_tag:
            break
        if length == UNDEFINED:
            (kind, content), at = _open(view, at, vr, coding)
        else:
            value, at = _cut(view, at, length)
            kind, content = _closed(value, tag, vr, coding)
        if tag & 0xFFFF and tag not in _NO_CONTENT:  # element 0000 is the length of its group
            found.append((tag, struct.pack("<IcQ", tag, kind, len(content)) + content))
    found.sort(key=itemgetter(0))
    return b"".join(content for _, content in found), at


def _open(view: memoryview, at: int, vr: bytes, coding: _Coding) -> tuple[_Element, int]:
    """An element of undefined length, which is a sequence or fragments of pixel data; and the offset behind it."""
    if vr in (b"OB", b"OW"):
        digest, at = _fragments(view, at, coding)
        return (b"F", digest), at
    items, at = _items(view, at, coding.within(vr), True)
    return _sequence(items), at


def _closed(value: memoryview, tag: int, vr: bytes, coding: _Coding) -> _Element:
    """An element of defined length."""
    known = _dictionary_vr(tag)
    if vr == b"SQ":
        return _sequence(_items(value, 0, coding.within(vr), False)[0])
    if vr in _UNSAID and (known == b"SQ" or value[:4] == _ITEM_BYTES):
        try:
            return _sequence(_items(value, 0, coding.within(vr), False)[0])
        except HeadUnreadable:  # something else that begins like an item
            return _value(value)
    if known in _TEXT and (vr in _TEXT or vr in _UNSAID):
        return _value(bytes(value).rstrip(b" \0"))
    value = _little_endian(value, vr, coding.encoding)
    # Private text without its VR cannot be told from numbers, which no cut of blanks makes equal at equal length.
    return _value(value if known else bytes(value).rstrip(b" "))


def _little_endian(value: memoryview, vr: bytes, encoding: Encoding) -> memoryview:
    word = _WORD_BYTES.get(vr, 1) if encoding.order == ">" else 1
    if word == 1 or len(value) % word:
        return value
    return memoryview(np.frombuffer(value, f"u{word}").byteswap().tobytes())


def _items(view: memoryview, at: int, coding: _Coding, undefined_length: bool) -> tuple[bytes, int]:
    """(content, offset behind it) of the items of a sequence: up to its delimiter, or to the end of the view."""
    found: list[bytes] = []
    while undefined_length or at < len(view):
        tag, _, length, at = element_header(view, at, coding.encoding)
        if tag == SEQUENCE_END and undefined_length:
            break
        if tag != ITEM:
            raise HeadUnreadable(f"{tag:08X} where an item of a sequence belongs")
        if length == UNDEFINED:
            item, at = _elements(view, at, coding, ITEM_END)
        else:
            inner, at = _cut(view, at, length)
            item, _ = _elements(inner, 0, coding, None)
        found.append(struct.pack("<Q", len(item)) + item)
    return b"".join(found), at


def _fragments(view: memoryview, at: int, coding: _Coding) -> tuple[bytes, int]:
    """(digest, offset behind them) of the fragments of encapsulated pixel data (PS3.5 A.4), whatever their cut."""
    joined, offset_table = sha256(coding.transfer_syntax_uid.encode()), True
    while True:
        tag, _, length, at = element_header(view, at, coding.encoding)
        if tag == SEQUENCE_END:
            return joined.digest(), at
        if tag != ITEM:
            raise HeadUnreadable(f"{tag:08X} where a fragment of pixel data belongs")
        fragment, at = _cut(view, at, length)
        if not offset_table:
            joined.update(fragment)
        offset_table = False


def _sequence(items: bytes) -> _Element:
    """A sequence; one without items is an empty value, for without its VR nothing tells the two apart."""
    return (b"S", items) if items else (b"V", b"")


def _value(value: bytes | memoryview) -> _Element:
    return (b"D", sha256(value).digest()) if len(value) > _LONG else (b"V", bytes(value))


def _cut(view: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    """(the next bytes, offset behind them)."""
    if at + length > len(view):
        raise HeadUnreadable("an element runs past the end")
    return view[at : at + length], at + length


@lru_cache(maxsize=8192)
def _dictionary_vr(tag: int) -> bytes:
    """The VR that the data dictionary gives a tag; of private ones, it knows the creators (PS3.5 7.8.1)."""
    if tag >> 16 & 1:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b""
    try:
        return dictionary_VR(tag).encode()
    except KeyError:
        return b""
