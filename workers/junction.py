"""The row of labels that stands on a base, as the vertebrae on the sacrum; out: where the lowest is not the first.

Levels that were counted from above can all follow each other and still be one off: the base tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from dicom_nodes.types import LabelMap
from service.expectation import Junction, named
from service.findings import Finding, FindingName
from workers.apart import Points, apart_mm, in_patient
from workers.measure import Measured

LEVEL_MM = 34.0
"""From lumbar level to level (disc and body), where it cannot be seen."""
NEAR = 5
"""Of so many levels next to the base the distances are taken."""
BETWEEN = 0.5
"""So much of that between the base and the first, from surface to surface, is more than a disc."""


def junction_findings(junction: Junction, label_map: LabelMap, found: Mapping[str, Measured]) -> Iterator[Finding]:
    """What contradicts that the first of a row lies on its base; `found` is by name of label."""
    row = named(junction.labels, [segment.name for segment in label_map.segments])
    seen = [name for name in row if name in found and found[name].ml >= junction.least_ml]
    base = found.get(junction.base)
    if base is None or base.ml < junction.least_ml or not seen:
        return
    gap = apart_mm(_points(label_map, junction.base, base), _points(label_map, seen[0], found[seen[0]]))
    level = _level(junction, seen, found)
    if said := _said(junction.base, row[0], seen[0], gap, level):
        yield Finding(FindingName.JUNCTION, said)


def _said(base: str, first: str, lowest: str, gap: float, level: float) -> str:
    """What is wrong with the lowest of the row so far from the base; empty where nothing is."""
    if lowest != first:
        return f"{lowest} is the level next to the {base}, {gap:.0f} mm from it, and no {first} was found"
    if gap > BETWEEN * level:
        return f"{gap:.0f} mm without a label lie between the {base} and {first}; a level takes {level:.0f} mm"
    return ""


def _points(label_map: LabelMap, name: str, part: Measured) -> Points:
    value = next(segment.value for segment in label_map.segments if segment.name == name)
    corner = [each.start for each in part.box]
    return in_patient(np.argwhere(label_map.array[part.box] == value) + corner, label_map.affine)


def _level(junction: Junction, seen: Sequence[str], found: Mapping[str, Measured]) -> float:
    """The usual distance from one level to the next."""
    along = [found[name].centre_mm[junction.toward.axis] for name in seen[:NEAR]]
    steps = [abs(after - before) for before, after in pairwise(along)]
    return float(np.median(steps)) if steps else LEVEL_MM
