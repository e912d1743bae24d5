"""Encoded data sets: the header that makes one a Part 10 file, and what its first groups say of where it belongs.

Nothing here decodes a data set. A buffer is walked element by element up to group 0020, values are skipped and
never copied, character sets play no part, and whatever a peer sends ends in a `Head` or in `HeadUnreadable`.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

IMPLEMENTATION_CLASS_UID = "2.25.224461796620453994818994412630113823872"
IMPLEMENTATION_VERSION_NAME = "SAGITTAL"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

HEAD_BYTES = 16 << 20
"""Groups 0008 to 0020 end before this, or the object is no image that anyone makes."""

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)  # a 32-bit length after two reserved bytes (PS3.5 7.1.2)
_LAST_TAG = 0x0020FFFF
DEEPEST = 32
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_IMAGES_IN_ACQUISITION, _IN_CONCATENATION_TOTAL = 0x00201002, 0x00209163
_WANTED = frozenset({_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES, _IMAGES_IN_ACQUISITION, _IN_CONCATENATION_TOTAL})


class HeadUnreadable(ValueError):
    """The bytes are not a data set in the transfer syntax that was said, or a UID in it is absent or ill-formed."""


@dataclass(frozen=True, slots=True)
class Head:
    """The identity of a SOP Instance, by its own data set; every UID here is well-formed."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    declared_count: int | None
    """Instances of the series: InConcatenationTotalNumber (0020,9163), else ImagesInAcquisition (0020,1002)."""


def is_uid(text: str) -> bool:
    """True for a UID by PS3.5 9.1: digits and dots, at most 64 characters, no empty component.

    Leading zeros in a component are let pass: vendors in the field write them, and they do no harm in a file name.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def file_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_aet: str) -> bytes:
    """Preamble, prefix and group 0002 (PS3.10 7.1) that turn an encoded data set into a file."""
    elements = b"".join(
        (
            struct.pack("<HH2sHI2s", 2, 0x0001, b"OB", 0, 2, b"\x00\x01"),
            _meta_element(0x0002, b"UI", sop_class_uid, b"\0"),
            _meta_element(0x0003, b"UI", sop_instance_uid, b"\0"),
            _meta_element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
            _meta_element(0x0016, b"AE", source_aet, b" "),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements)) + elements


def _meta_element(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def read_file_header(file: bytes | memoryview) -> tuple[dict[int, str], int]:
    """The text values of group 0002 by tag, and the offset of the data set, of a file that `file_header` begins.

    Raises HeadUnreadable for anything but a Part 10 file with a group length.
    """
    view = memoryview(file)
    if len(view) < 144 or bytes(view[128:140]) != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise HeadUnreadable("no Part 10 header")
    end = 144 + int.from_bytes(view[140:144], "little")
    meta = view[144:end]
    return {tag: _text(meta[at : at + length]) for tag, at, length in _elements(meta, 0, Encoding("<", True))}, end


def read_head(data_set: bytes | memoryview, transfer_syntax_uid: str) -> Head:
    """The identity of an encoded data set; raises HeadUnreadable where a UID is absent or ill-formed."""
    view = memoryview(data_set)[:HEAD_BYTES]
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        view = memoryview(_inflated_head(view))
    order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
    encoding = Encoding(order, transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN)
    values = {tag: view[at : at + length] for tag, at, length in _elements(view, 0, encoding) if tag in _WANTED}
    return Head(
        sop_class_uid=_uid(values, _SOP_CLASS, "SOPClassUID (0008,0016)"),
        sop_instance_uid=_uid(values, _SOP_INSTANCE, "SOPInstanceUID (0008,0018)"),
        series_uid=_uid(values, _SERIES, "SeriesInstanceUID (0020,000E)"),
        study_uid=_uid(values, _STUDY, "StudyInstanceUID (0020,000D)"),
        declared_count=_declared_count(values, order),
    )


def _text(value: memoryview) -> str:
    return bytes(value).decode("latin-1").strip("\0 ")


def _uid(values: dict[int, memoryview], tag: int, name: str) -> str:
    if tag not in values:
        raise HeadUnreadable(f"no {name}")
    uid = _text(values[tag])
    if not is_uid(uid):
        raise HeadUnreadable(f"ill-formed {name}")
    return uid


def _declared_count(values: dict[int, memoryview], order: str) -> int | None:
    total = values.get(_IN_CONCATENATION_TOTAL)
    if total is not None and len(total) == 2:
        (count,) = struct.unpack(f"{order}H", total)
        return int(count) or None
    images = values.get(_IMAGES_IN_ACQUISITION)
    text = "" if images is None else _text(images)
    return (int(text) or None) if re.fullmatch(r"\+?[0-9]{1,9}", text) else None


def _inflated_head(view: memoryview) -> bytes:
    """The first bytes of a deflated data set (PS3.5 A.5); never more of them than a head needs."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(view, HEAD_BYTES)
    except zlib.error as error:
        raise HeadUnreadable("the deflated data set does not inflate") from error


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is laid down in bytes."""

    order: str
    """Of the bytes, as `struct` writes it."""
    explicit: bool


def _elements(view: memoryview, at: int, encoding: Encoding) -> Iterator[tuple[int, int, int]]:
    """(tag, offset of the value, its length) of each element up to group 0020 that has a defined length."""
    while at + 8 <= len(view):
        tag, vr, length, at = element_header(view, at, encoding)
        if tag > _LAST_TAG:
            return
        if length == UNDEFINED:
            at = _after_items(view, at, inside(vr, encoding), 1)
            continue
        if at + length > len(view):
            raise HeadUnreadable(f"element {tag:08X} runs past the end")
        yield tag, at, length
        at += length


def inside(vr: bytes, encoding: Encoding) -> Encoding:
    """How the items of a sequence are encoded: of VR UN always in Implicit VR Little Endian (PS3.5 6.2.2)."""
    return Encoding("<", False) if vr == b"UN" else encoding


def element_header(view: memoryview, at: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """(tag, VR or nothing, length, offset of the value); items and delimiters have no VR in any encoding."""
    order = encoding.order
    try:
        group, element = struct.unpack_from(f"{order}HH", view, at)
        vr = bytes(view[at + 4 : at + 6])
        if not encoding.explicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return group << 16 | element, b"", struct.unpack_from(f"{order}I", view, at + 4)[0], at + 8
        if vr in _LONG_VRS:
            return group << 16 | element, vr, struct.unpack_from(f"{order}I", view, at + 8)[0], at + 12
        return group << 16 | element, vr, struct.unpack_from(f"{order}H", view, at + 6)[0], at + 8
    except struct.error as error:
        raise HeadUnreadable("the data set breaks off within an element") from error


def _after_items(view: memoryview, at: int, encoding: Encoding, depth: int) -> int:
    """The offset behind a value of undefined length, which is a row of items (PS3.5 7.5)."""
    if depth > DEEPEST:
        raise HeadUnreadable(f"sequences nested more than {DEEPEST} deep")
    while True:
        tag, _, length, at = element_header(view, at, encoding)
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise HeadUnreadable(f"{tag:08X} where an item of a sequence belongs")
        at = _after_item(view, at, encoding, depth) if length == UNDEFINED else at + length


def _after_item(view: memoryview, at: int, encoding: Encoding, depth: int) -> int:
    """The offset behind an item of undefined length."""
    while True:
        tag, vr, length, at = element_header(view, at, encoding)
        if tag == ITEM_END:
            return at
        at = _after_items(view, at, inside(vr, encoding), depth + 1) if length == UNDEFINED else at + length
