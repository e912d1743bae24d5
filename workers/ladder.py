"""Labels that follow each other in a patient, as the vertebrae do: in order, none missing, none at two places."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from dicom_nodes.types import LabelMap
from service.expectation import Order, named
from service.findings import Finding, FindingName, joined
from workers.measure import Measured

SMALL = 0.05
"""The part of the largest level that another must have to count: less is a stray, or at the edge of the image."""
SECOND = 0.4
"""The part of a level's largest piece that another piece must have to count as a second finding of it."""
APART = 0.6
"""How far apart two pieces of one level must lie, as a part of the distance from level to level."""
LEVEL_MM = 15.0
"""Distance from level to level where it cannot be seen, as in the neck, where it is least."""
MANY_VOXELS = 500_000
"""A box of much more is looked at in steps of several voxels: it is no vertebra's, and two places stay two."""

_TOLD = 3
"""How many faults of one sort are told in full."""


def order_findings(order: Order, label_map: LabelMap, found: Mapping[str, Measured]) -> Iterator[Finding]:
    """What contradicts an order; `found` is by name of label."""
    ladder = named(order.labels, [segment.name for segment in label_map.segments])
    seen = _seen(order, ladder, found)
    place = {name: order.toward.sign * found[name].centre_mm[order.toward.axis] for name in seen}
    if wrong := [pair for pair in pairwise(seen) if place[pair[1]] <= place[pair[0]]]:
        back = order.toward.opposite.value
        said = (
            f"{after} lies {place[before] - place[after]:.0f} mm nearer to the {back} than {before}"
            for before, after in wrong
        )
        yield Finding(FindingName.ORDER, joined(list(said), _TOLD))
    if order.unbroken:
        yield from _missing(ladder, seen, place, found)
        yield from _twice(order, label_map, seen, place, found)


def _seen(order: Order, ladder: Sequence[str], found: Mapping[str, Measured]) -> tuple[str, ...]:
    """The labels of the ladder that count as found."""
    largest = max((found[name].ml for name in ladder if name in found), default=0.0)
    least = max(order.least_ml, SMALL * largest if order.unbroken else 0.0)
    return tuple(name for name in ladder if name in found and found[name].ml >= least)


def _missing(
    ladder: Sequence[str], seen: Sequence[str], place: Mapping[str, float], found: Mapping[str, Measured]
) -> Iterator[Finding]:
    said = []
    for before, after in pairwise(seen):
        between = ladder[ladder.index(before) + 1 : ladder.index(after)]
        if not between:
            continue
        which = between[0] if len(between) == 1 else f"{between[0]} to {between[-1]}"
        rest = sum(found[name].ml for name in between if name in found)
        little = f" but for {rest:.1f} mL" if rest >= 0.05 else ""
        apart = abs(place[after] - place[before])
        said.append(f"{which} was not found{little} between {before} and {after}, which lie {apart:.0f} mm apart")
    if said:
        yield Finding(FindingName.MISSING, joined(said, _TOLD))


def _twice(
    order: Order,
    label_map: LabelMap,
    seen: Sequence[str],
    place: Mapping[str, float],
    found: Mapping[str, Measured],
) -> Iterator[Finding]:
    steps = [abs(place[after] - place[before]) for before, after in pairwise(seen)]
    least = APART * float(np.median(steps)) if steps else APART * LEVEL_MM
    values = {segment.name: segment.value for segment in label_map.segments}
    said = []
    for name in seen:
        pieces = _pieces(order, label_map, values[name], found[name])
        if len(pieces) == 2 and (apart := abs(pieces[0] - pieces[1])) >= least:
            said.append(f"{name} was found at two places, {apart:.0f} mm apart")
    if said:
        yield Finding(FindingName.TWICE, joined(said, _TOLD))


def _pieces(order: Order, label_map: LabelMap, value: int, whole: Measured) -> list[float]:
    """Where the largest piece of a label lies along the order, and the second one where it counts, in mm."""
    box = label_map.array[whole.box]
    step = max(1, round(float(np.cbrt(box.size / MANY_VOXELS))))
    inside = box[::step, ::step, ::step] == value
    pieces, count = ndimage.label(inside, structure=np.ones((3, 3, 3), bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    if not count:
        return []
    first, *second = np.argsort(sizes)[::-1][:2] + 1
    kept = [first, *(each for each in second if sizes[each - 1] >= SECOND * sizes[first - 1])]
    corner = np.array([part.start for part in whole.box])
    along = label_map.affine[order.toward.axis]
    centres = ndimage.center_of_mass(inside, pieces, kept)
    return [float(along @ [*(np.array(centre) * step + corner)[::-1], 1.0]) for centre in centres]
