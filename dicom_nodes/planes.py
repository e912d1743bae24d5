"""The stored pixels of a Segmentation → SegmentNumbers (z, y, x), for whoever knows where each frame lies.

BINARY with one bit a pixel and LABELMAP with one byte a pixel, both uncompressed (PS3.3 C.8.20.2.3).
"""

from collections.abc import Callable, Sequence, Set
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_nodes.errors import ResultUnsound

Shape = tuple[int, int, int]
"""(z, y, x)."""
_Pixels = npt.NDArray[np.uint8]

_TOGETHER = 8  # so many frames begin and end on a whole byte, whatever their matrix


def paint(seg: Dataset, frames: Sequence[tuple[int, int]], shape: Shape, known: Set[int]) -> _Pixels:
    """Put each frame, told by its segment and its slice, into an array of this shape; 0 where no segment is.

    Raises ResultUnsound where rows or columns differ, where two segments claim one voxel, where pixels are missing,
    compressed or not of the size that their kind has, or where they speak of a segment that is not `known`.
    """
    if (seg.Rows, seg.Columns) != shape[1:]:
        raise ResultUnsound(f"frames of {seg.Rows} × {seg.Columns} on a grid of {shape[1]} × {shape[2]}")
    labels = _PAINTERS[seg.SegmentationType](seg, frames, shape)
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    if unknown := set(found) - known - {0}:
        raise ResultUnsound(f"pixels of segments that are not described: {sorted(unknown)}")
    return labels.reshape(shape)


def _paint_bits(seg: Dataset, frames: Sequence[tuple[int, int]], shape: Shape) -> _Pixels:
    """Unpack the frames, eight at a time, each into its slice."""
    packed = _stored(seg, 1, len(frames))
    voxels = shape[1] * shape[2]
    labels = np.zeros((shape[0], voxels), dtype=np.uint8)
    for start in range(0, len(frames), _TOGETHER):
        several = frames[start : start + _TOGETHER]
        part = packed[start * voxels // 8 :][:voxels]
        masks = np.unpackbits(part, count=len(several) * voxels, bitorder="little").reshape(-1, voxels)
        for (segment, z), mask in zip(several, masks, strict=True):
            if np.logical_and(labels[z], mask).any():
                raise ResultUnsound(f"segment {segment} overlaps another on slice {z}")
            labels[z] |= mask * np.uint8(segment)
    return labels


def _paint_numbers(seg: Dataset, frames: Sequence[tuple[int, int]], shape: Shape) -> _Pixels:
    """Copy the frames, each into its slice."""
    if seg.get("PixelPaddingValue", 0) != 0:
        raise ResultUnsound(f"a background of {seg.PixelPaddingValue} and not of 0")
    voxels = shape[1] * shape[2]
    stored = _stored(seg, 8, len(frames))[: len(frames) * voxels]
    labels = np.zeros((shape[0], voxels), dtype=np.uint8)
    labels[[z for _, z in frames]] = stored.reshape(-1, voxels)
    return labels


def _stored(seg: Dataset, bits: int, frames: int) -> _Pixels:
    """Give the pixels as they are stored; raise ResultUnsound unless they have so many bits, and are all there."""
    if seg.BitsAllocated != bits or seg.file_meta.TransferSyntaxUID.is_encapsulated:
        size = "one bit" if bits == 1 else "one byte"
        raise ResultUnsound(f"pixels that are not stored as {size} each, uncompressed")
    stored = np.frombuffer(seg.PixelData, dtype=np.uint8)
    if len(stored) * 8 < frames * seg.Rows * seg.Columns * bits:
        raise ResultUnsound(f"pixels end before the last of {frames} frames")
    return stored


_PAINTERS: MappingProxyType[str, Callable[[Dataset, Sequence[tuple[int, int]], Shape], _Pixels]] = MappingProxyType(
    {"BINARY": _paint_bits, "LABELMAP": _paint_numbers}
)
KINDS: Set[str] = frozenset(_PAINTERS)
"""SegmentationTypes that can be painted."""
