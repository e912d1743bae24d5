"""A label map and what its labels are in; out: pieces that lie far from their structure, and where.

Components are labelled inside each label's own box alone, in steps of several voxels where that is large.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_nodes.types import LabelMap
from service.findings import Finding, FindingName, joined
from service.submodel import SubModel
from workers.apart import Points, apart_mm, in_patient
from workers.measure import Measured

FAR_MM = 25.0
"""So far from the structure a piece must lie: less is a process or a fold that the slices cut off from it."""
PART = 0.05
"""The part of a label that a piece must have,"""
LEAST_ML = 0.5
"""but at least so much,"""
MOST_ML = 5.0
"""and so much is enough of any label."""
MOST_PIECES = 16
"""So many of the largest are looked at; the rest is told by them."""
MANY_SAMPLES = 200_000
"""A box with more voxels is looked at in steps, such that about so many are left."""

_EVERYWHERE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One connected part of a label."""

    ml: float
    points: Points
    """Its voxels that were looked at."""


def island_findings(label_map: LabelMap, submodel: SubModel, found: Mapping[str, Measured]) -> Iterator[Finding]:
    """Labels with pieces far away from as many as the structure has; `found` is by name of label."""
    known = {label.name: label.pieces for label in submodel.label}
    said = []
    for segment in label_map.segments:
        pieces = known.get(segment.name)
        if segment.name not in found or pieces is None or not _may_be_far(found[segment.name], label_map):
            continue
        large = _pieces(label_map, segment.value, found[segment.name])
        said += [f"{segment.name} has {far}" for far in _far(large[:pieces], large[pieces:])]
    if said:
        yield Finding(FindingName.ISLANDS, joined(said))


def _far(structure: list[Piece], others: list[Piece]) -> Iterator[str]:
    """Which of the other pieces lie far from all pieces of the structure: how large, how far, where."""
    for piece in others:
        gap = min(apart_mm(main.points, piece.points) for main in structure)
        if gap >= FAR_MM:
            left, posterior, head = piece.points.mean(axis=0)
            where = f"about ({left:.0f}, {posterior:.0f}, {head:.0f}) mm LPS"
            yield f"{piece.ml:.1f} mL {gap:.0f} mm away from it, {where}"


def _may_be_far(whole: Measured, label_map: LabelMap) -> bool:
    """Whether a label reaches so far that a piece of it can lie far away from another, and is so large."""
    lengths = _spacing_mm(label_map) * [part.stop - part.start for part in whole.reach]
    return whole.ml >= 2 * LEAST_ML and float(np.linalg.norm(lengths)) >= FAR_MM


def _pieces(label_map: LabelMap, value: int, whole: Measured) -> list[Piece]:
    """The pieces of a label that are large enough to count, the largest first."""
    step = _steps(label_map, whole)
    inside = label_map.array[whole.reach][:: step[0], :: step[1], :: step[2]] == value
    numbers, count = ndimage.label(inside, structure=_EVERYWHERE)
    if count < 2:
        return []
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    mls = sizes * (whole.ml / float(sizes.sum()))
    least = min(MOST_ML, max(LEAST_ML, PART * whole.ml))
    kept = [int(each) + 1 for each in np.argsort(-sizes, kind="stable")[:MOST_PIECES] if mls[each] >= least]
    if len(kept) < 2:
        return []
    return [Piece(float(mls[each - 1]), _points(label_map, whole, step, numbers == each)) for each in kept]


def _points(
    label_map: LabelMap, whole: Measured, step: tuple[int, int, int], inside: npt.NDArray[np.bool_]
) -> Points:
    corner = [part.start for part in whole.reach]
    return in_patient(np.argwhere(inside) * step + corner, label_map.affine)


def _steps(label_map: LabelMap, whole: Measured) -> tuple[int, int, int]:
    """Of how many voxels one is looked at along (z, y, x): the finest axes are thinned first."""
    spacing = _spacing_mm(label_map)
    sizes = np.array([part.stop - part.start for part in whole.reach])
    step = np.ones(3, np.int64)
    while np.prod(-(-sizes // step)) > MANY_SAMPLES:
        step[np.argmin(np.where(step < sizes, spacing * step, np.inf))] += 1
    z, y, x = (int(each) for each in step)
    return z, y, x


def _spacing_mm(label_map: LabelMap) -> npt.NDArray[np.float64]:
    """Along (z, y, x)."""
    lengths: npt.NDArray[np.float64] = np.linalg.norm(label_map.affine[:3, :3], axis=0)[::-1]
    return lengths
