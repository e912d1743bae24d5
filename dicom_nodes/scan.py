"""An open file in; the wanted elements before its pixel data out, where it is written as nearly all files are.

That is: with preamble and file meta information, in Explicit VR Little Endian (PS3.5 section 7.1.2, A.2, A.4),
with every element whole. Of any other file nothing is said, and pydicom reads it.
"""

import struct
from collections.abc import Mapping
from typing import BinaryIO

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and plain Pixel Data."""

_SHORT = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
})  # fmt: skip
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""VRs whose length has four bytes, after two that mean nothing (PS3.5 table 7.1-1)."""
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_EXPLICIT_LITTLE = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5")
_ENCAPSULATED = "1.2.840.10008.1.2.4."
_TRANSFER_SYNTAX, _CHARSET = 0x00020010, 0x00080005
_HEAD = struct.Struct("<HH2sH")
_ITEM_HEAD = struct.Struct("<HHL")
_LENGTH = struct.Struct("<L")


class _OtherwiseWrittenError(Exception):
    """A file that is not written as this room reads them."""


def scan(file: BinaryIO, wanted: Mapping[int, BaseTag]) -> tuple[Dataset, int] | None:
    """Read the wanted elements before the pixel data, and the length that these are said to have.

    The file then stands at the first byte of the pixel data's value. None for a file that is written otherwise.
    """
    try:
        return _scan(file, wanted)
    except (_OtherwiseWrittenError, struct.error):
        return None


def _scan(file: BinaryIO, wanted: Mapping[int, BaseTag]) -> tuple[Dataset, int]:
    if file.read(132)[128:] != b"DICM":
        raise _OtherwiseWrittenError
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    syntax = ""
    while True:
        tag, vr, length = _head(file)
        if tag > 0x0002FFFF and not syntax:
            raise _OtherwiseWrittenError
        if tag in PIXEL_TAGS:
            return _dataset(found, syntax), length
        if length == _UNDEFINED:
            if vr != b"SQ" or tag in wanted:
                raise _OtherwiseWrittenError
            _pass_sequence(file)
        elif tag == _TRANSFER_SYNTAX:
            syntax = _explicit_little(file.read(length))
        elif tag in wanted:
            value, name = file.read(length), wanted[tag]
            if len(value) < length or name in found:
                raise _OtherwiseWrittenError
            if value:
                found[name] = RawDataElement(name, vr.decode("ascii"), length, value, 0, False, True)
        else:
            file.seek(length, 1)


def _head(file: BinaryIO) -> tuple[int, bytes, int]:
    """Read tag, VR and length of an element."""
    group, element, vr, length = _HEAD.unpack(file.read(8))
    if vr not in _SHORT:
        if vr not in _LONG:
            raise _OtherwiseWrittenError
        (length,) = _LENGTH.unpack(file.read(4))
    return group << 16 | element, vr, length


def _explicit_little(value: bytes) -> str:
    syntax = value.decode("ascii", "replace").strip("\0 ")
    if syntax not in _EXPLICIT_LITTLE and not syntax.startswith(_ENCAPSULATED):
        raise _OtherwiseWrittenError
    return syntax


def _pass_sequence(file: BinaryIO) -> None:
    """Pass over the items of a sequence of undefined length, to behind its delimiter."""
    while True:
        group, element, length = _ITEM_HEAD.unpack(file.read(8))
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise _OtherwiseWrittenError
        if length == _UNDEFINED:
            _pass_item(file)
        else:
            file.seek(length, 1)


def _pass_item(file: BinaryIO) -> None:
    """Pass over the elements of an item of undefined length, to behind its delimiter."""
    while True:
        head = file.read(8)
        group, element, _ = _ITEM_HEAD.unpack(head)
        if group << 16 | element == _ITEM_END:
            return
        file.seek(-8, 1)
        _, vr, length = _head(file)
        if length != _UNDEFINED:
            file.seek(length, 1)
        elif vr == b"SQ":
            _pass_sequence(file)
        else:
            raise _OtherwiseWrittenError


def _dataset(found: dict[BaseTag, DataElement | RawDataElement], syntax: str) -> Dataset:
    dataset = Dataset(found)
    stated = dataset.get(_CHARSET)
    charset = convert_encodings(stated.value if stated else None)
    dataset.set_original_encoding(False, True, charset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset
