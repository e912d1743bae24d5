"""A DICOM-SEG → its labels as an array on the source's grid, every frame placed by its position in the patient.

Shares no step with the encoder: it knows of a SEG what any reader knows, and nothing of how it was made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread

from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Affine

TOLERANCE_MM = 0.01
"""How far a pixel may lie from where the grid has it: half of what the strictest reader forgives."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the voxels of an array lie."""

    affine: Affine
    shape: tuple[int, int, int]
    """(z, y, x)."""
    positions: npt.NDArray[np.float64] | None = None
    """(z, 3): the first voxel of each slice in LPS mm, where it is known better than by an even spacing."""

    def slice_positions(self) -> npt.NDArray[np.float64]:
        """(z, 3): the first voxel of each slice in LPS mm."""
        if self.positions is not None:
            return self.positions
        steps: npt.NDArray[np.float64] = np.arange(self.shape[0])[:, None] * self.affine[:3, 2]
        return self.affine[:3, 3] + steps


@dataclass(frozen=True, slots=True, eq=False)
class DecodedSegmentation:
    """What a SEG says: segment numbers uint8 (z, y, x), 0 where none, on an affine; and each number's label."""

    labels: npt.NDArray[np.uint8]
    affine: Affine
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    index: int
    segment: int
    position: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    """LPS mm from one column to the next."""
    down: npt.NDArray[np.float64]
    """LPS mm from one row to the next."""


def read_seg(source: Path | BinaryIO | Dataset, like: Grid | None = None) -> DecodedSegmentation:
    """Decode a BINARY SEG onto the grid `like`, or onto the smallest grid of its own frames.

    Raises ResultUnsound where a frame does not lie on the grid within 0.01 mm in every pixel, where two segments
    claim one voxel, where one segment claims a slice twice, or where the object is no BINARY segmentation.
    """
    dataset = source if isinstance(source, Dataset) else dcmread(source)
    if dataset.get("SegmentationType") != "BINARY" or len(dataset.SegmentSequence) > 255:
        raise ResultUnsound("not a BINARY segmentation of at most 255 segments")
    seg = hd.seg.Segmentation.from_dataset(dataset, copy=dataset is source)
    frames = list(_frames(seg))
    grid = like or _own_grid(frames, seg)
    names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    return DecodedSegmentation(_paint(seg, frames, grid), grid.affine, names)


def _frames(seg: Any) -> Iterator[_Frame]:
    shared = seg.SharedFunctionalGroupsSequence[0]
    for index, own in enumerate(seg.PerFrameFunctionalGroupsSequence):
        orientation = _macro(own, shared, "PlaneOrientationSequence").ImageOrientationPatient
        spacing = _macro(own, shared, "PixelMeasuresSequence").PixelSpacing
        position = _macro(own, shared, "PlanePositionSequence").ImagePositionPatient
        yield _Frame(
            index,
            int(_macro(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber),
            np.array(position, dtype=np.float64),
            np.array(orientation[:3], dtype=np.float64) * float(spacing[1]),
            np.array(orientation[3:], dtype=np.float64) * float(spacing[0]),
        )


def _macro(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    item: Dataset = (own if keyword in own else shared)[keyword].value[0]
    return item


def _own_grid(frames: list[_Frame], seg: Any) -> Grid:
    """Span the slices from the first frame along the normal to the last, as far apart as the SEG says."""
    first = frames[0]
    normal = np.cross(first.across, first.down)
    normal /= np.linalg.norm(normal)
    heights = np.array([frame.position @ normal for frame in frames])
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    step = float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)
    affine = np.eye(4)
    affine[:3] = np.stack([first.across, first.down, normal * step, frames[int(heights.argmin())].position], axis=1)
    return Grid(affine, (round(float(np.ptp(heights)) / step) + 1, int(seg.Rows), int(seg.Columns)))


def _paint(seg: Any, frames: list[_Frame], grid: Grid) -> npt.NDArray[np.uint8]:
    if (seg.Rows, seg.Columns) != grid.shape[1:]:
        raise ResultUnsound(f"frames of {seg.Rows} × {seg.Columns} on a grid of {grid.shape[1]} × {grid.shape[2]}")
    positions = grid.slice_positions()
    labels = np.zeros(grid.shape, dtype=np.uint8)
    painted: set[tuple[int, int]] = set()
    for frame in frames:
        z = _slice_of(frame, positions, grid)
        if (frame.segment, z) in painted:
            raise ResultUnsound(f"segment {frame.segment} has two frames on slice {z}")
        painted.add((frame.segment, z))
        mask = seg.get_stored_frame(frame.index + 1) != 0
        if labels[z][mask].any():
            raise ResultUnsound(f"segment {frame.segment} overlaps another on slice {z}")
        labels[z][mask] = frame.segment
    return labels


def _slice_of(frame: _Frame, positions: npt.NDArray[np.float64], grid: Grid) -> int:
    """Find the slice that a frame lies on with all four corners; raise ResultUnsound where there is none."""
    offsets = np.linalg.norm(positions - frame.position, axis=1)
    z = int(offsets.argmin())
    rows, columns = grid.shape[1:]
    far = np.linalg.norm(
        [(frame.across - grid.affine[:3, 0]) * (columns - 1), (frame.down - grid.affine[:3, 1]) * (rows - 1)],
        axis=1,
    )
    worst = float(offsets[z] + far.sum())
    if not worst <= TOLERANCE_MM:
        raise ResultUnsound(f"frame {frame.index + 1} lies {worst:.3g} mm beside the nearest slice, {z}")
    return z
