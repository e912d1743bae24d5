"""A protocol and an anatomy's landmarks in, the grid out that a technologist would have set; and grids at will."""

import numpy as np

from dicom_nodes.types import Plane
from service.phantom.body import Acquisition
from service.phantom.solids import Triple, Vector, frame

DIRECTIONS: dict[Plane, Vector] = {
    # columns: LPS directions in which column index, row index and slice index grow; right-handed
    Plane.AXIAL: np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]]).T,
    Plane.SAGITTAL: np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0.0]]).T,
    Plane.CORONAL: np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]]).T,
}


def grid(
    plane: Plane,
    centre: Triple,
    *,
    matrix: tuple[int, int],
    pixel_mm: float,
    slices: int,
    thickness_mm: float,
    gap_mm: float,
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Acquisition:
    """A grid about a centre; matrix is (rows, columns), tilt is in degrees about (left, posterior, superior)."""
    pitch, roll, yaw = tilt
    turned = frame(roll=roll, pitch=pitch, yaw=yaw).T @ DIRECTIONS[plane]
    return _about(centre, turned, (slices, *matrix), (pixel_mm, pixel_mm, thickness_mm + gap_mm), thickness_mm)


def coarser(acquisition: Acquisition, scale: float) -> Acquisition:
    """The same field of view in pixels that are `scale` times as large."""
    slices, rows, columns = acquisition.shape
    new = (max(1, round(rows / scale)), max(1, round(columns / scale)))
    z, y, x = acquisition.spacing_mm
    spacing = (x * columns / new[1], y * rows / new[0], z)
    directions = acquisition.affine[:3, :3] / np.array([x, y, z])
    return _about(acquisition.centre_mm, directions, (slices, *new), spacing, acquisition.thickness_mm)


def turned(acquisition: Acquisition, directions: Vector) -> Acquisition:
    """The same voxels with other axes: columns are the LPS directions of column, row and slice index.

    The middle stays where it is. This is how a phantom is imaged in another plane, or as a patient who lies
    feet first or prone comes out: the anatomy keeps its place, the indices run elsewhere.
    """
    z, y, x = acquisition.spacing_mm
    return _about(acquisition.centre_mm, directions, acquisition.shape, (x, y, z), acquisition.thickness_mm)


def _about(
    centre: Triple,
    directions: Vector,
    shape: tuple[int, int, int],
    spacing_xyz: tuple[float, float, float],
    thickness_mm: float,
) -> Acquisition:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing_xyz)
    middle = affine[:3, :3] @ ((np.asarray(shape[::-1]) - 1) / 2)
    affine[:3, 3] = np.asarray(centre) - middle
    return Acquisition(affine, shape, thickness_mm)
