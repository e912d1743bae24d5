"""An open file in; the wanted elements before its pixel data out, where it is written as nearly all files are.

That is: with preamble and file meta information, in Explicit VR Little Endian (PS3.5 section 7.1.2, A.2, A.4),
with every element whole. Of any other file nothing is said, and pydicom reads it. The file is read in windows: what
lies between, as the large private elements of some vendors, is never read.
"""

import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
_TRANSFER_SYNTAX, _LAST_OF_META, _CHARSET = 0x00020010, 0x0002FFFF, 0x00080005
_HEAD = struct.Struct("<HH2sH")
_ITEM_HEAD = struct.Struct("<HHL")
_LENGTH = struct.Struct("<L")
_WINDOW = 8192
_LONGEST_HEAD = 12


class _OtherwiseWrittenError(Exception):
    """A file that is not written as this room reads them."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What was found of the wanted elements, and where the pixel data are."""

    elements: Mapping[BaseTag, bytes]
    """Tag to the whole element as it is written, in the order of the file; empty ones are not there."""
    syntax: str
    """TransferSyntaxUID."""
    pixel_tag: int
    offset: int
    """Of the first byte of the pixel data's value in the file."""
    length: int
    """That the pixel data are said to have."""

    def dataset(self, without: Collection[int] = ()) -> Dataset:
        """The elements as a data set that decodes them when it is asked."""
        found: dict[BaseTag, DataElement | RawDataElement] = {
            tag: _raw(tag, written) for tag, written in self.elements.items() if tag not in without
        }
        return _dataset(found, self.syntax)


def scan(file: BinaryIO, wanted: Mapping[int, BaseTag]) -> tuple[Dataset, int] | None:
    """Read the wanted elements before the pixel data, and the length that these are said to have.

    The file then stands at the first byte of the pixel data's value. None for a file that is written otherwise.
    """
    scanned = scan_elements(file, wanted)
    if scanned is None:
        return None
    file.seek(scanned.offset)
    return scanned.dataset(), scanned.length


def scan_elements(file: BinaryIO, wanted: Mapping[int, BaseTag]) -> Scanned | None:
    """Find the wanted elements before the pixel data. None for a file that is written otherwise."""
    try:
        return _scan(_Windows(file.fileno()), wanted)
    except (_OtherwiseWrittenError, struct.error):
        return None


class _Windows:
    """A file by its descriptor, of which a window is in memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.begins = 0
        self.window = os.pread(descriptor, _WINDOW, 0)

    def at(self, place: int, size: int) -> int:
        """Give the index in `window` of a place in the file that has `size` bytes behind it."""
        index = place - self.begins
        if index < 0 or index + size > len(self.window):
            self.window = os.pread(self._descriptor, max(size, _WINDOW), place)
            self.begins, index = place, 0
            if size > len(self.window):
                raise _OtherwiseWrittenError
        return index

    def head(self, place: int) -> tuple[bytes, int, int]:
        """Read VR and length of an element, and where its value begins."""
        index = self.at(place, _LONGEST_HEAD)
        _, _, vr, length = _HEAD.unpack_from(self.window, index)
        if vr in _SHORT:
            return vr, length, place + 8
        if vr not in _LONG:
            raise _OtherwiseWrittenError
        return vr, *_LENGTH.unpack_from(self.window, index + 8), place + 12

    def item_head(self, place: int) -> tuple[int, int]:
        """Read tag and length of an item or of a delimiter (PS3.5 section 7.5)."""
        group, element, length = _ITEM_HEAD.unpack_from(self.window, self.at(place, 8))
        return group << 16 | element, length

    def bytes_at(self, place: int, end: int) -> bytes:
        """Read all bytes between two places."""
        index = self.at(place, end - place)
        return self.window[index : index + end - place]


def _scan(file: _Windows, wanted: Mapping[int, BaseTag]) -> Scanned:  # noqa: PLR0912  # one loop, as it says
    """Go over the elements: a hundred or more, so that what is passed over costs no call."""
    if file.window[128:132] != b"DICM":
        raise _OtherwiseWrittenError
    found: dict[BaseTag, bytes] = {}
    syntax, place = "", 132
    while True:
        index = file.at(place, _LONGEST_HEAD)
        window, begins = file.window, file.begins
        last = len(window) - _LONGEST_HEAD
        while index <= last:
            group, element, vr, length = _HEAD.unpack_from(window, index)
            tag, value = group << 16 | element, index + 8
            if vr not in _SHORT:
                if vr not in _LONG:
                    raise _OtherwiseWrittenError
                (length,) = _LENGTH.unpack_from(window, value)
                value = index + 12
            end = value + length
            if tag in wanted:
                name = wanted[tag]
                if length == _UNDEFINED or name in found:
                    raise _OtherwiseWrittenError
                if length:
                    found[name] = window[index:end]
                    if end > len(window):
                        found[name] = file.bytes_at(begins + index, begins + end)
            elif tag <= _LAST_OF_META:
                if tag == _TRANSFER_SYNTAX and not found:
                    syntax = _explicit_little(file.bytes_at(begins + value, begins + end))
            elif not syntax:
                raise _OtherwiseWrittenError
            elif tag in PIXEL_TAGS:
                return Scanned(found, syntax, tag, begins + value, length)
            elif length == _UNDEFINED:
                if vr != b"SQ":
                    raise _OtherwiseWrittenError
                end = _behind_sequence(file, begins + value) - begins
            index = end
        place = begins + index


def _explicit_little(value: bytes) -> str:
    syntax = value.decode("ascii", "replace").strip("\0 ")
    if syntax not in _EXPLICIT_LITTLE and not syntax.startswith(_ENCAPSULATED):
        raise _OtherwiseWrittenError
    return syntax


def _behind_sequence(file: _Windows, place: int) -> int:
    """Pass over the items of a sequence of undefined length, to behind its delimiter."""
    while True:
        tag, length = file.item_head(place)
        place += 8
        if tag == _SEQUENCE_END:
            return place
        if tag != _ITEM:
            raise _OtherwiseWrittenError
        place = _behind_item(file, place) if length == _UNDEFINED else place + length


def _behind_item(file: _Windows, place: int) -> int:
    """Pass over the elements of an item of undefined length, to behind its delimiter."""
    while True:
        tag, length = file.item_head(place)
        if tag == _ITEM_END:
            return place + 8
        vr, length, place = file.head(place)
        if length != _UNDEFINED:
            place += length
        elif vr == b"SQ":
            place = _behind_sequence(file, place)
        else:
            raise _OtherwiseWrittenError


def value_of(written: bytes) -> bytes:
    """The value of an element as it is written."""
    return written[8:] if written[4:6] in _SHORT else written[12:]


def _raw(tag: BaseTag, written: bytes) -> RawDataElement:
    value = value_of(written)
    return RawDataElement(tag, written[4:6].decode("ascii"), len(value), value, 0, False, True)


def _dataset(found: dict[BaseTag, DataElement | RawDataElement], syntax: str) -> Dataset:
    dataset = Dataset(found)
    stated = dataset.get(_CHARSET)
    charset = convert_encodings(stated.value if stated else None)
    dataset.set_original_encoding(False, True, charset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset
