"""A result and its route in; out: what contradicts, and what is not plausible.

Pure, and by position in LPS: sides and amounts are asked here, the rest in the rooms beside this one.

What a protocol shows and how labels follow each other is data (service/expectation.py, service/submodels/).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from dicom_nodes.types import LabelMap, Laterality, Volume
from service.expectation import Expectation, named
from service.findings import Finding, FindingName
from service.protocol import Protocol, SideRule
from service.submodel import SIDES, SubModel
from workers.islands import island_findings
from workers.junction import junction_findings
from workers.ladder import order_findings
from workers.measure import Measured, measure, together
from workers.plausible import implausible

SEEN_ML = 2.0
"""A structure of a side that is smaller says nothing about the side."""
PARTNER = 0.1
"""The part of the larger one of a pair that the smaller must have: less is a stray, or just in the image."""
ALONE_ML = 10.0
"""What is found on one side only must be so large to say something about the side."""
MARGIN_MM = 5.0
"""How far the right one of a pair may lie to the left of the left one: partly imaged, they may lie alike."""
BILATERAL_MM = 300.0
"""A field of view that is so wide from left to right shows both sides of the body."""
BEYOND_MM = 30.0
"""So far beyond the middle a structure of the other side cannot lie."""
MIXED = 0.2
"""The part of all that has a side which has to lie on the lesser side for both to count as found."""

_RIGHT, _LEFT = SIDES["right"].value, SIDES["left"].value
_TOLD = 6
"""How many structures one finding names."""

Structures = Mapping[str, Measured]


def check(
    label_map: LabelMap, volume: Volume, protocol: Protocol, submodel: SubModel, laterality: Laterality | None
) -> tuple[Finding, ...]:
    """Every contradiction between result and route, and all in the result that is not plausible in a patient."""
    values = measure(label_map)
    found = {each.name: values[each.value] for each in label_map.segments if each.value in values}
    return (
        *contradictions(label_map, volume, protocol, submodel, laterality, found),
        *implausible(label_map, submodel, found),
        *island_findings(label_map, submodel, found),
    )


def contradictions(
    label_map: LabelMap,
    volume: Volume,
    protocol: Protocol,
    submodel: SubModel,
    laterality: Laterality | None,
    found: Structures,
) -> tuple[Finding, ...]:
    """Every contradiction between what was found, by name, and what the volume was routed as."""
    expected = (_little(wanted, label_map, found) for wanted in protocol.expect)
    return tuple(
        chain(
            (finding for finding in expected if finding is not None),
            _sides(label_map, volume, protocol, found, laterality),
            chain.from_iterable(order_findings(order, label_map, found) for order in submodel.order),
            chain.from_iterable(junction_findings(each, label_map, found) for each in submodel.junction),
        )
    )


def _little(wanted: Expectation, label_map: LabelMap, found: Structures) -> Finding | None:
    names = named(wanted.labels, [segment.name for segment in label_map.segments])
    least = min(wanted.structures, len(names))  # the labels of the other side are not delivered
    enough = [name for name in names if name in found and found[name].ml >= wanted.least_ml]
    if len(enough) >= least:
        return None
    said = _listed({name: found[name] for name in names if name in found})
    others = {name: each for name, each in found.items() if name not in names}
    beside = f"; beside them {_listed(others)}" if others else ""
    which = f"{least} of {', '.join(wanted.labels)}" if len(names) > least else " and ".join(names)
    each = "each " if least > 1 else ""
    return Finding(
        FindingName.LITTLE, f"expected {which} with {wanted.least_ml:g} mL {each}at least, found {said}{beside}"
    )


def _listed(structures: Structures) -> str:
    """The largest structures with their volumes; "none" where there are none."""
    largest = sorted(structures, key=lambda name: (-structures[name].ml, name))
    told = ", ".join(f"{name} {structures[name].ml:.1f} mL" for name in largest[:_TOLD])
    return f"{told} and {len(largest) - _TOLD} more" if len(largest) > _TOLD else told or "none"


def _sides(
    label_map: LabelMap, volume: Volume, protocol: Protocol, found: Structures, laterality: Laterality | None
) -> Iterator[Finding]:
    right, left = (_of_side(label_map, found, code) for code in (_RIGHT, _LEFT))
    if protocol.side is SideRule.LABELS:
        yield from _of_one_side(right, left, volume, laterality)
    else:
        yield from _pairs(right, left)
    yield from _beyond(right, left, volume)


Paired = Mapping[str, tuple[str, Measured]]
"""By what the structure is: its names and measures, on one side."""


def _of_side(label_map: LabelMap, found: Structures, side: str) -> Paired:
    """What was found of one side, by the code of the structure."""
    names: dict[str, list[str]] = {}
    for segment in label_map.segments:
        if segment.laterality is not None and segment.laterality.value == side and segment.name in found:
            names.setdefault(f"{segment.category.value} {segment.type.value}", []).append(segment.name)
    whole = {kind: (", ".join(each), together(found[name] for name in each)) for kind, each in names.items()}
    return {kind: (name, part) for kind, (name, part) in whole.items() if part is not None and part.ml >= SEEN_ML}


def _of_one_side(right: Paired, left: Paired, volume: Volume, laterality: Laterality | None) -> Iterator[Finding]:
    """What contradicts that a volume shows one side, the stated one."""
    of_right, of_left = (together(part for _, part in side.values()) for side in (right, left))
    if laterality is not None:
        other = left if laterality is Laterality.RIGHT else right
        if other:
            said = _listed(dict(other.values()))
            stated = "right" if laterality is Laterality.RIGHT else "left"
            yield Finding(FindingName.SIDE, f"routed as the {stated} side, found {said}")
    elif of_right and of_left and _width_mm(volume) < BILATERAL_MM:
        lesser, all_ml = min(of_right.ml, of_left.ml), of_right.ml + of_left.ml
        if lesser >= MIXED * all_ml:
            said = f"{of_right.ml:.1f} mL of the right side and {of_left.ml:.1f} mL of the left"
            yield Finding(FindingName.BOTH_SIDES, f"found {said} in {_width_mm(volume):.0f} mm from left to right")
    elif of_right and of_left:
        yield from _pairs(right, left)


def _pairs(right: Paired, left: Paired) -> Iterator[Finding]:
    """Pairs of which the right one lies to the left of the left one; x grows toward the patient's left."""
    for kind in (kind for kind in right if kind in left):
        (right_name, right_part), (left_name, left_part) = right[kind], left[kind]
        across = right_part.centre_mm[0] - left_part.centre_mm[0]
        alike = min(right_part.ml, left_part.ml) >= PARTNER * max(right_part.ml, left_part.ml)
        if alike and across > MARGIN_MM:
            yield Finding(FindingName.SIDE, f"{right_name} lies {across:.0f} mm to the left of {left_name}")


def _beyond(right: Paired, left: Paired, volume: Volume) -> Iterator[Finding]:
    """What has no partner and lies beyond the middle of a volume that shows both sides, and of the scanner."""
    if _width_mm(volume) < BILATERAL_MM:
        return
    z, y, x = volume.shape
    middle = float(volume.affine[0] @ [(x - 1) / 2, (y - 1) / 2, (z - 1) / 2, 1.0])
    for side, other, toward, name in ((right, left, 1, "left"), (left, right, -1, "right")):
        for kind, (structure, part) in side.items():
            beyond = min(toward * (part.centre_mm[0] - line) for line in (middle, 0.0))
            if kind not in other and part.ml >= ALONE_ML and beyond > BEYOND_MM:
                evidence = f"{structure} lies {beyond:.0f} mm to the {name} of the middle of the image"
                yield Finding(FindingName.SIDE, evidence)


def _width_mm(volume: Volume) -> float:
    """How far the volume reaches from left to right."""
    sizes: Sequence[int] = volume.shape[::-1]
    return float(sum(abs(volume.affine[0, axis]) * size for axis, size in enumerate(sizes)))
