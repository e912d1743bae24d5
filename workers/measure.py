"""A label map in; the volume, place and box of every label out, from one pass over the voxels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import LabelMap

Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Along (z, y, x): (label, index) to how many voxels."""

Box = tuple[slice, slice, slice]
"""(z, y, x)."""
Ends = tuple[int, int]
"""At the first and at the last index of an axis."""

_NEAR_MM = 5.0
"""What ends so near to an edge may be cut off there: models stop a little before it."""
_STRAY = 0.01
"""The part of a label's voxels at either end of an axis that its box may leave out: single voxels far away."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One label of a label map, or several as one."""

    ml: float
    centre_mm: tuple[float, float, float]
    """Centre of mass, LPS."""
    box: Box
    """(z, y, x): all of it but strays."""
    voxels: int
    reach: Box
    """(z, y, x): all of it."""
    edges: tuple[Ends, Ends, Ends]
    """Along (z, y, x): how many of its voxels lie in the first and in the last plane of the volume."""
    whole: bool
    """Whether it ends before every edge of the volume: no voxel lies in the two planes or 5 mm next to one."""


def measure(label_map: LabelMap) -> Mapping[int, Measured]:
    """Every label value that has voxels, but the background."""
    counts = _counts(label_map.array)
    near = [max(2, math.ceil(_NEAR_MM / mm)) for mm in np.linalg.norm(label_map.affine[:3, :3], axis=0)[::-1]]
    voxel_ml = float(abs(np.linalg.det(label_map.affine[:3, :3]))) / 1000
    found: dict[int, Measured] = {}
    for value in np.flatnonzero(counts[0].sum(axis=1)):
        if value == 0:
            continue
        z, y, x = (table[value] for table in counts)
        index = [float(line @ np.arange(line.size)) / float(line.sum()) for line in (x, y, z)]
        left, posterior, head = (float(mm) for mm in (label_map.affine @ [*index, 1.0])[:3])
        found[int(value)] = Measured(
            float(z.sum()) * voxel_ml,
            (left, posterior, head),
            (_extent(z), _extent(y), _extent(x)),
            int(z.sum()),
            (_reach(z), _reach(y), _reach(x)),
            (_ends(z), _ends(y), _ends(x)),
            not any(line[:n].any() or line[-n:].any() for n, line in zip(near, (z, y, x), strict=True)),
        )
    return found


def together(parts: Iterable[Measured]) -> Measured | None:
    """Several labels as one; None where there are none."""
    parts = tuple(parts)
    if not parts:
        return None
    ml = sum(part.ml for part in parts)
    left, posterior, head = (sum(part.ml * part.centre_mm[axis] for part in parts) / ml for axis in range(3))
    box, reach = _around([part.box for part in parts]), _around([part.reach for part in parts])
    z, y, x = (
        (sum(part.edges[axis][0] for part in parts), sum(part.edges[axis][1] for part in parts))
        for axis in range(3)
    )
    voxels = sum(part.voxels for part in parts)
    return Measured(ml, (left, posterior, head), box, voxels, reach, (z, y, x), all(part.whole for part in parts))


def _around(boxes: Sequence[Box]) -> Box:
    z, y, x = (slice(min(box[n].start for box in boxes), max(box[n].stop for box in boxes)) for n in range(3))
    return z, y, x


def _counts(array: npt.NDArray[np.uint8]) -> Counts:
    """How many voxels of each label lie at each index of each axis; empty slices cost next to nothing."""
    z, y, x = array.shape
    labels = int(array.max()) + 1 if array.size else 1
    of_z, of_y, of_x = (np.zeros((labels, n), np.int64) for n in (z, y, x))
    row, column = np.arange(y, dtype=np.int32)[:, None], np.arange(x, dtype=np.int32)[None, :]
    for index, plane in enumerate(array):
        if not plane.any():
            continue
        wide = plane.astype(np.int32)
        by_row = np.bincount((wide * y + row).ravel(), minlength=labels * y).reshape(labels, y)
        of_y += by_row
        of_x += np.bincount((wide * x + column).ravel(), minlength=labels * x).reshape(labels, x)
        of_z[:, index] = by_row.sum(axis=1)
    return of_z, of_y, of_x


def _extent(line: npt.NDArray[np.int64]) -> slice:
    """From the first to the last index that has voxels, strays left out."""
    before = np.cumsum(line)
    few = _STRAY * before[-1]
    first = int(np.searchsorted(before, few, side="right"))
    end = int(np.searchsorted(before, before[-1] - few, side="left")) + 1
    return slice(first, end)


def _reach(line: npt.NDArray[np.int64]) -> slice:
    """From the first to the last index that has voxels."""
    (filled,) = np.nonzero(line)
    return slice(int(filled[0]), int(filled[-1]) + 1)


def _ends(line: npt.NDArray[np.int64]) -> Ends:
    return int(line[0]), int(line[-1])
