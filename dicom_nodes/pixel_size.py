"""A dataset and the place of its pixel data in; whether these are whole out, as far as shows without decoding."""

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset

from dicom_nodes.elements import first_value, numbers
from dicom_nodes.errors import Rule

UNDEFINED_LENGTH = 0xFFFFFFFF
_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_TAIL = 16
_JPEG_FAMILY = (
    "1.2.840.10008.1.2.4.5",
    "1.2.840.10008.1.2.4.6",
    "1.2.840.10008.1.2.4.7",
    "1.2.840.10008.1.2.4.8",
    "1.2.840.10008.1.2.4.9",
    "1.2.840.10008.1.2.4.20",
)
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS, JPEG 2000 and HTJ2K alike


@dataclass(frozen=True, slots=True)
class StatedSize:
    """What a header says of the size of its pixel data."""

    native_bytes: int | None
    """So many bytes if they are not compressed; None where the header does not say."""
    frames: int
    end_marker: bytes
    """What closes a compressed image; empty for RLE and what is not known."""


def stated_size(dataset: Dataset) -> StatedSize:
    """Read from a data set how large its pixel data should be."""
    return StatedSize(native_bytes(dataset), _frame_count(dataset), _end_marker(dataset))


def pixel_fault(size: StatedSize, file: BinaryIO | None, length: int) -> tuple[Rule, str] | None:
    """Say what is wrong with the size of the pixel data: the rule and a sentence; None where nothing is.

    `file` stands at the first byte of the value, or is None where its bytes are known to be all there.
    Native pixel data must be as long as Rows × Columns × frames asks (PS3.5 section 8.1); encapsulated ones must
    have every fragment whole and at least one for each frame (PS3.5 A.4).
    """
    if length == 0:
        return Rule.PIXEL_DATA, "the pixel data element is empty"
    if length == UNDEFINED_LENGTH:
        return _fragments_fault(file, size.frames, size.end_marker) if file else None
    if size.native_bytes is None:
        return Rule.TRUNCATED, "Rows, Columns or BitsAllocated is missing, so the pixel data have no size"
    present = length if file is None else min(length, _bytes_left(file))
    if present >= size.native_bytes:
        return None
    return Rule.TRUNCATED, f"{present} of {size.native_bytes} bytes of pixel data are there"


def native_bytes(dataset: Dataset) -> int | None:
    """Count the bytes that uncompressed pixel data must have; None where the header does not say."""
    found = [numbers(first_value([dataset], keyword), 1) for keyword in ("Rows", "Columns", "BitsAllocated")]
    if any(each is None or each[0] <= 0 for each in found):
        return None
    rows, columns, bits = (int(each[0]) for each in found if each)
    samples = numbers(first_value([dataset], "SamplesPerPixel"), 1)
    count = rows * columns * _frame_count(dataset) * int(samples[0] if samples else 1)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        count = count * 2 // 3
    return math.ceil(count * bits / 8)


def _end_marker(dataset: Dataset) -> bytes:
    """Give the bytes that close a compressed image; nothing for RLE and what is not known."""
    syntax = dataset.file_meta.get("TransferSyntaxUID", "") if hasattr(dataset, "file_meta") else ""
    return _END_OF_IMAGE if str(syntax).startswith(_JPEG_FAMILY) else b""


def _frame_count(dataset: Dataset) -> int:
    stated = numbers(first_value([dataset], "NumberOfFrames"), 1)
    return max(1, int(stated[0])) if stated else 1


def _fragments_fault(file: BinaryIO, frame_count: int, ends: bytes) -> tuple[Rule, str] | None:
    """Walk over the items of encapsulated pixel data, reading the head and the last bytes of each."""
    tails: list[bytes] = []
    while True:
        head = file.read(8)
        if len(head) < 8 and not (head == b"" and len(tails) > frame_count):
            return Rule.TRUNCATED, f"the pixel data break off after {max(0, len(tails) - 1)} fragments"
        group, element, size = struct.unpack("<HHL", head or _DELIMITER)
        if (group, element) == (0xFFFE, 0xE0DD):
            return _frames_fault(tails[1:], frame_count, ends)  # the first item is the Basic Offset Table
        if (group, element) != (0xFFFE, 0xE000) or size > _bytes_left(file):
            return Rule.TRUNCATED, f"the pixel data break off in fragment {len(tails)}"
        file.seek(max(0, size - _TAIL), 1)
        tails.append(file.read(min(size, _TAIL)))


def _frames_fault(tails: list[bytes], frame_count: int, ends: bytes) -> tuple[Rule, str] | None:
    """Judge the fragments by their number and last bytes, where each frame has one, or by the last."""
    if not tails:
        return Rule.PIXEL_DATA, "the pixel data have no fragment"
    if len(tails) < frame_count:
        return Rule.TRUNCATED, f"{len(tails)} fragments of pixel data for {frame_count} frames"
    closing = tails if len(tails) == frame_count else tails[-1:]
    if any(ends not in tail for tail in closing):
        return Rule.TRUNCATED, "a compressed image breaks off before its end marker"
    return None


def _bytes_left(file: BinaryIO) -> int:
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here
