"""Frames of one orientation in; the volume they make, as order and affine, or the rule that they break out.

All is taken from ImagePositionPatient, ImageOrientationPatient and PixelSpacing (PS3.3 C.7.6.2.1.1, 10.7.1.3);
SliceThickness and SpacingBetweenSlices are never read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_nodes.errors import Rule
from dicom_nodes.headers import Frame
from dicom_nodes.types import Affine, Plane

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still a volume."""

    min_slices: int = 3
    min_slices_per_orientation: int = 10
    """Where a series has several orientations: fewer slices in one of them are a localizer's."""
    spacing_fraction: float = 0.05
    spacing_mm: float = 0.1
    """A gap between slices may differ from the pitch by the larger of these two."""
    shear_degrees: float = 1.0
    """The most that the line through the slices' corners may lean from the slice normal."""
    same_place_mm: float = 0.02
    """Two frames nearer than this along the normal lie at the same position."""
    same_direction: float = 1e-3
    """Two orientations whose cosines differ by less than this are the same (0.06 degrees)."""

    def __post_init__(self) -> None:
        """Refuse a minimum that leaves no distance between slices."""
        if min(self.min_slices, self.min_slices_per_orientation) < 2:
            raise ValueError("a volume has at least 2 slices")


@dataclass(frozen=True, slots=True)
class Fault:
    """The rule that some frames break, and with what."""

    rule: Rule
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames that make a volume, in slice order, and where it lies."""

    frames: tuple[Frame, ...]
    affine: Affine


def normal_of(orientation: Sequence[float]) -> Vector:
    """Unit normal of the image plane: row direction × column direction, so that slices make a right-handed grid."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def missing_geometry(frame: Frame) -> str:
    """Say which geometry a frame lacks; empty where it has all."""
    if frame.position is None or max(map(abs, frame.position)) > 1e5:
        return "no ImagePositionPatient within 100 m"
    if frame.orientation is None:
        return "no ImageOrientationPatient"
    if frame.pixel_spacing is None or not all(1e-3 <= each <= 1e3 for each in frame.pixel_spacing):
        return "no PixelSpacing between 0.001 and 1000 mm"
    if min(frame.matrix) < 1:
        return "no Rows or Columns"
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm([row, column], axis=1)
    if abs(lengths - 1).max() > 1e-2 or abs(row @ column) > 1e-2:
        return "an ImageOrientationPatient that is not two perpendicular unit vectors"
    return ""


def places(frames: Sequence[Frame], same_place_mm: float) -> list[list[Frame]]:
    """Gather frames of one orientation by their position along the normal, in the order of growing position."""
    heights = np.array([frame.position for frame in frames]) @ normal_of(frames[0].orientation or ())
    gathered: list[list[Frame]] = []
    begins = -np.inf
    for height, _, number in sorted((heights[k], frame.instance_number, k) for k, frame in enumerate(frames)):
        if height - begins < same_place_mm:
            gathered[-1].append(frames[number])
        else:
            gathered.append([frames[number]])
            begins = height
    return gathered


def stack(frames: Sequence[Frame], min_slices: int, limits: Limits) -> Stack | Fault:
    """Stack frames of one orientation to a volume, or say why they are none."""
    gathered = places(frames, limits.same_place_mm)
    if len({(frame.matrix, _rounded(frame.pixel_spacing)) for frame in frames}) > 1:
        sizes = sorted({f"{frame.matrix[0]}×{frame.matrix[1]}" for frame in frames})
        return Fault(Rule.MATRIX, f"images of {' and '.join(sizes)} pixels or of different PixelSpacing")
    crowded = [place for place in gathered if len(place) > 1]
    if crowded:
        where = float(np.dot(crowded[0][0].position or (), normal_of(frames[0].orientation or ())))
        return Fault(
            Rule.DUPLICATE,
            f"{len(frames)} images at {len(gathered)} positions, {len(crowded[0])} of them at {where:.2f} mm along"
            " the slice normal, and nothing in their headers sorts them into volumes",
        )
    if len(gathered) < min_slices:
        return Fault(Rule.TOO_FEW, f"{_counted(len(gathered))}, and a volume needs {min_slices}")
    ordered = tuple(place[0] for place in gathered)
    return _uneven(ordered, limits) or Stack(ordered, affine_of(ordered))


def affine_of(ordered: Sequence[Frame]) -> Affine:
    """(4, 4) from (column, row, slice, 1) to LPS mm of frames in slice order; the step is the mean over all slices.

    PixelSpacing names the distance between rows first, that between columns second (PS3.3 10.7.1.3).
    """
    first, last = ordered[0], ordered[-1]
    between_rows, between_columns = first.pixel_spacing or (0.0, 0.0)
    orientation = np.array(first.orientation, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * between_columns
    affine[:3, 1] = orientation[3:] * between_rows
    affine[:3, 2] = (np.array(last.position) - np.array(first.position)) / max(1, len(ordered) - 1)
    affine[:3, 3] = first.position
    return affine


def plane_of(affine: Affine) -> tuple[Plane, float]:
    """Name the anatomical plane nearest to the slices, and the angle in degrees between normal and its axis."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    cosines = np.abs(normal / np.linalg.norm(normal))
    nearest = int(np.argmax(np.round(cosines, 6)))
    angle = float(np.degrees(np.arccos(min(1.0, cosines[nearest]))))
    return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[nearest], angle


def _uneven(ordered: Sequence[Frame], limits: Limits) -> Fault | None:
    """Say between which positions slices are missing or displaced; None where the pitch is even."""
    positions = np.array([frame.position for frame in ordered])
    normal = normal_of(ordered[0].orientation or ())
    heights = positions @ normal
    gaps = np.diff(heights)
    pitch = float(np.median(gaps))
    tolerance = max(limits.spacing_fraction * pitch, limits.spacing_mm)
    worst = int(np.argmax(np.abs(gaps - pitch)))
    if abs(gaps[worst] - pitch) > tolerance:
        return Fault(
            Rule.SPACING,
            f"{gaps[worst]:.2f} mm between the slices at {heights[worst]:.2f} and {heights[worst + 1]:.2f} mm along"
            f" the slice normal, where the pitch is {pitch:.2f} mm (tolerance {tolerance:.2f} mm)"
            f"{_missing(gaps, pitch, tolerance)}",
        )
    line = positions[0] + np.outer(np.linspace(0, 1, len(ordered)), positions[-1] - positions[0])
    sideways = positions - line - np.outer((positions - line) @ normal, normal)
    lean = np.degrees(np.arccos(np.clip((heights[-1] - heights[0]) / np.linalg.norm(line[-1] - line[0]), -1, 1)))
    if lean > limits.shear_degrees or np.linalg.norm(sideways, axis=1).max() > limits.spacing_mm + tolerance:
        return Fault(Rule.SHEARED, f"the slices slide sideways, leaning {lean:.1f} degrees from the slice normal")
    drift = float(np.abs((positions - line) @ normal).max())
    if drift > tolerance:
        return Fault(Rule.SPACING, f"slices lie up to {drift:.2f} mm from where an even pitch would put them")
    return None


def _missing(gaps: Vector, pitch: float, tolerance: float) -> str:
    """Say how many slices are missing, where every gap is a multiple of the pitch; else that there is none."""
    steps = np.maximum(np.round(gaps / pitch), 1)
    if np.abs(gaps - steps * pitch).max() > tolerance:
        return ": the slices have no one pitch"
    missing, where = int((steps - 1).sum()), int((steps > 1).sum())
    said = "1 slice is missing" if missing == 1 else f"{missing} slices are missing"
    return f": {said}{f', in {where} places' if where > 1 else ''}"


def _counted(slices: int) -> str:
    return "1 slice" if slices == 1 else f"{slices} slices"


def _rounded(spacing: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(round(each, 4) for each in spacing or ())
