"""A file of one uncompressed grey image in; its values, rescaled as the header says, straight into an array.

What pydicom does for every kind of image, done without a data set for the kind that most MR series consist of:
Explicit VR Little Endian, one frame, one sample of 8, 16 or 32 bits. Of any other kind, and of whatever is not
whole, nothing is said here, and pydicom reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from dicom_nodes.elements import first_value, numbers, tag_of, text
from dicom_nodes.scan import Scanned, scan_elements

_PIXEL_DATA = 0x7FE00010
_ELSEWHERE = frozenset(map(tag_of, (
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PixelValueTransformationSequence",
)))  # fmt: skip
"""Where there is one of these, the values are rescaled by what stands in it."""
_WANTED = {int(tag): tag for tag in (*_ELSEWHERE, *map(tag_of, (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
)))}  # fmt: skip
_TYPES = {8: "1", 16: "2", 32: "4"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the bytes of an image are to be read."""

    shape: tuple[int, int]
    """Rows, Columns."""
    stored_as: np.dtype[np.integer]
    unused_bits: int
    """Above BitsStored, which are no part of the value (PS3.5 section 8.1.1)."""
    slope: float
    intercept: float


def fill_native(out: npt.NDArray[np.float32], path: Path) -> bool:
    """Write an image's values into `out` (y, x); False where it is of another kind, size or length.

    What `out` then holds means nothing. Raises OSError.
    """
    with path.open("rb", buffering=0) as file:
        scanned = scan_elements(file, _WANTED)
        layout = _layout_of(scanned) if scanned is not None else None
        if scanned is None or layout is None or layout.shape != out.shape:
            return False
        stored = np.empty(layout.shape, layout.stored_as)
        if not 0 <= scanned.length - stored.nbytes <= 1:  # the value has an even length (PS3.5 section 7.1.1)
            return False
        file.seek(scanned.offset)
        if file.readinto(stored.data.cast("B")) != stored.nbytes:
            return False
    _rescale(stored, layout, out)
    return True


def _rescale(stored: npt.NDArray[np.integer], layout: _Layout, out: npt.NDArray[np.float32]) -> None:
    """Apply RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2), in double precision."""
    if layout.unused_bits:
        np.left_shift(stored, layout.unused_bits, out=stored)
        np.right_shift(stored, layout.unused_bits, out=stored)  # keeps the sign, where there is one
    if (layout.slope, layout.intercept) == (1.0, 0.0):
        out[...] = stored
    else:
        out[...] = stored.astype(np.float64) * layout.slope + layout.intercept


def _layout_of(scanned: Scanned) -> _Layout | None:
    if scanned.syntax != ExplicitVRLittleEndian or scanned.pixel_tag != _PIXEL_DATA:
        return None
    return _layout(tuple(scanned.elements.items())) if _ELSEWHERE.isdisjoint(scanned.elements) else None


@lru_cache(maxsize=64)
def _layout(elements: Iterable[tuple[BaseTag, bytes]]) -> _Layout | None:
    """Read the elements, in most series the same in all images; None where they are not of a plain image."""
    dataset = Scanned(dict(elements), str(ExplicitVRLittleEndian), _PIXEL_DATA, 0, 0).dataset()
    rows, columns, samples = (_integer(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    allocated, stored, signed = (
        _integer(dataset, name) for name in ("BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    grey = text(first_value([dataset], "PhotometricInterpretation")) in ("MONOCHROME1", "MONOCHROME2")
    one = samples == 1 and (_integer(dataset, "NumberOfFrames") or 1) == 1
    if not (grey and one and rows and columns and allocated in _TYPES and stored and signed in (0, 1)):
        return None
    if not 0 < stored <= allocated:
        return None
    slope, intercept = (numbers(first_value([dataset], name), 1) for name in ("RescaleSlope", "RescaleIntercept"))
    stored_as = np.dtype(("<i" if signed else "<u") + _TYPES[allocated])
    return _Layout(
        (rows, columns),
        stored_as,
        allocated - stored,
        slope[0] if slope else 1.0,
        intercept[0] if intercept else 0.0,
    )


def _integer(dataset: Dataset, keyword: str) -> int | None:
    found = numbers(first_value([dataset], keyword), 1)
    return None if found is None or found[0] != int(found[0]) else int(found[0])
