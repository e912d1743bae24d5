"""An array in; the same on another grid out, with the exact way back: resampled, cropped, in slabs.

All arrays are (z, y, x). Nothing here knows of patients or networks: a label map comes back voxel by voxel on the
grid that its image came on, whatever was done between.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_nodes.types import Affine

Element = TypeVar("Element", bound=np.generic)
Millimetres = tuple[float, float, float]
Shape = tuple[int, int, int]
Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

SPLIT_MARGIN = 3
"""Slices that each half sees of the other (MRSegmentator's --split_margin)."""


def resampled(array: Image, spacing_mm: Millimetres, wanted_mm: Millimetres) -> Image:
    """Bring an image to a spacing, linearly, on the grid of TotalSegmentator's `change_spacing`.

    The first and the last voxel centre of an axis stay where they are; an axis never loses its last voxel. Where
    their program then cuts the values to whole numbers, this does not: an image of 0 to 1 stays an image.
    """
    z, y, x = array.shape
    return _zoomed(array, resampled_shape((z, y, x), spacing_mm, wanted_mm), order=1)


def resampled_shape(shape: Shape, spacing_mm: Millimetres, wanted_mm: Millimetres) -> Shape:
    """How many voxels each axis has at a spacing: rounded to the nearest, halves to the even number.

    The present spacing counts as a NIfTI header has it, in single precision, because their halves fall with that.
    """
    z, y, x = (
        max(1, round(n * (float(np.float32(mm)) / wanted)))
        for n, mm, wanted in zip(shape, spacing_mm, wanted_mm, strict=True)
    )
    return z, y, x


def laid_back(labels: Labels, shape: Shape) -> Labels:
    """Bring a label map of a resampled image back to the shape that it had: the nearest voxel's label each."""
    return _zoomed(labels, shape, order=0)


def _zoomed(array: npt.NDArray[Element], shape: Shape, order: int) -> npt.NDArray[Element]:
    if array.shape == shape:
        return array
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    zoomed: npt.NDArray[Element] = ndimage.zoom(array, factors, order=order, mode="nearest")
    if zoomed.shape != shape:
        raise ValueError(f"resampling to {shape} gave {zoomed.shape}")
    return zoomed


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an array: from `first` to before `end` along (z, y, x)."""

    first: Shape
    end: Shape

    def cut(self, array: npt.NDArray[Element]) -> npt.NDArray[Element]:
        """What of the array lies in the box."""
        return np.ascontiguousarray(array[self._slices()])

    def moved(self, affine: Affine) -> Affine:
        """The affine of what is cut out: each voxel stays where it was."""
        z, y, x = self.first
        there = affine.copy()
        there[:3, 3] = (affine @ np.array([x, y, z, 1.0]))[:3]
        return there

    def put_back(self, labels: Labels, shape: Shape) -> Labels:
        """The labels of the box in an array of the former shape, which is empty elsewhere."""
        whole = np.zeros(shape, np.uint8)
        whole[self._slices()] = labels
        return whole

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(first, end) for first, end in zip(self.first, self.end, strict=True))


def box_around(mask: npt.NDArray[np.bool_], spacing_mm: Millimetres, margin_mm: float) -> Box | None:
    """The smallest box with all of a mask and a margin of whole voxels, inside the array; None for an empty mask.

    The margin is cut down to whole voxels at the single precision of a NIfTI header, as TotalSegmentator's
    `crop_to_mask` does.
    """
    if not mask.any():
        return None
    first, end = [], []
    for axis, mm in enumerate(spacing_mm):
        others = tuple(each for each in range(3) if each != axis)
        found = np.flatnonzero(mask.any(axis=others))
        margin = int(margin_mm / float(np.float32(mm)))
        first.append(max(0, int(found[0]) - margin))
        end.append(min(mask.shape[axis], int(found[-1]) + 1 + margin))
    return Box((first[0], first[1], first[2]), (end[0], end[1], end[2]))


@dataclass(frozen=True, slots=True)
class Slab:
    """Slices `first` to before `end`, of whose result `keep_first` to before `keep_end` are kept."""

    first: int
    end: int
    keep_first: int
    keep_end: int

    def halves(self) -> "tuple[Slab, ...]":
        """Two slabs that see `SPLIT_MARGIN` slices of each other, as far as there are; one slice stays whole."""
        if self.end - self.first < 2:
            return (self,)
        middle = self.first + (self.end - self.first) // 2
        return (
            Slab(self.first, min(middle + SPLIT_MARGIN, self.end), self.keep_first, min(self.keep_end, middle)),
            Slab(max(middle - SPLIT_MARGIN, self.first), self.end, max(self.keep_first, middle), self.keep_end),
        )


def slabs(depth: int, level: int) -> tuple[Slab, ...]:
    """The slabs of a volume of `depth` slices that is halved `level` times, as MRSegmentator's --split_level.

    What they keep, in their order, is the whole volume. Theirs loses slices where a part has fewer than twice the
    margin; here the margin is then as wide as there are slices.
    """
    parts: tuple[Slab, ...] = (Slab(0, depth, 0, depth),)
    for _ in range(level):
        parts = tuple(half for part in parts for half in part.halves())
    return tuple(part for part in parts if part.keep_first < part.keep_end)
