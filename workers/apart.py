"""Two sets of voxels in; how far apart they lie in the patient out, from the nearest of the one to the other's."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dicom_nodes.types import Affine

Points = npt.NDArray[np.float64]
"""(n, 3): L, P, S in mm."""

MANY_POINTS = 20_000
"""Of more points so many are drawn, always the same: the distance comes out longer by a few voxels at the most."""


def apart_mm(ones: Points, others: Points) -> float:
    """The least distance between two sets of points; neither is empty."""
    tree = cKDTree(_thinned(ones))
    distances, _ = tree.query(_thinned(others))
    return float(np.min(distances))


def in_patient(voxels: npt.NDArray[np.intp], affine: Affine) -> Points:
    """(n, 3) indices (z, y, x) as points."""
    points: Points = voxels[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    return points


def _thinned(points: Points) -> Points:
    if len(points) <= MANY_POINTS:
        return points
    return points[np.random.default_rng(0).choice(len(points), MANY_POINTS, replace=False)]
