"""What was found, and what patients have, in; out: volumes, absences and contacts with the edge that do not fit.

What is plausible is data (`volume_ml`, `inside_mm` and `presence` in service/submodels/); of a label that has none
nothing is asked. The least of a volume is asked only of what is seen whole.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from dicom_nodes.types import LabelMap
from service.expectation import Presence, Toward, named
from service.findings import Finding, FindingName, joined
from service.label import Label
from service.submodel import SubModel
from workers.measure import Measured

FEW_VOXELS = 10
"""A label with so few is almost empty,"""
FEW_PART = 0.2
"""if they are less than this part of the least that is plausible."""
CONTACT_MM2 = 1000.0
"""So much contact with the edge is no graze,"""
CONTACT_PART = 0.25
"""nor is this part of one side of a cube of the structure's volume, be it less than that."""
GRAZE_MM2 = 50.0
"""Less contact is no leak of anything."""
DEEP = 2 / 3
"""How deep a trunk is from front to back, as a part of how wide."""

Structures = Mapping[str, Measured]


def implausible(label_map: LabelMap, submodel: SubModel, found: Structures) -> Iterator[Finding]:
    """What does not fit what patients have; `found` is by name of label."""
    labels = {label.name: label for label in submodel.label}
    delivered = {segment.name: labels[segment.name] for segment in label_map.segments if segment.name in labels}
    absent = dict(_absent(submodel.presence, tuple(delivered), found))
    seen = {name: label for name, label in delivered.items() if name in found and name not in absent}
    few = {name: said for name, label in seen.items() if (said := _few(label, found[name]))}
    sized = {name: label for name, label in seen.items() if name not in few}
    volumes = [said for name, label in sized.items() if (said := _volume(label, found[name]))]
    leaks = [said for name, label in sized.items() if (said := _leak(label, found[name], label_map))]
    for kind, faults in (
        (FindingName.ABSENT, list(absent.values())),
        (FindingName.FEW, list(few.values())),
        (FindingName.VOLUME, volumes),
        (FindingName.LEAK, leaks),
    ):
        if faults:
            yield Finding(kind, joined(faults))


def _absent(
    presence: tuple[Presence, ...], delivered: tuple[str, ...], found: Structures
) -> Iterator[tuple[str, str]]:
    """What was not found where it is expected: its name, and what was seen."""
    for each in presence:
        others = named(each.where, delivered)
        around = {name: found[name] for name in others if name in found}
        if not around or len(around) < len(others):
            continue
        if any(part.ml < each.where_ml or (each.whole and not part.whole) for part in around.values()):
            continue
        for name in named(each.labels, delivered):
            part = found.get(name)
            if part is None or (part.whole and part.ml < each.least_ml):
                yield name, _not_found(each, name, part, around)


def _not_found(wanted: Presence, name: str, part: Measured | None, around: Structures) -> str:
    but = f" but for {part.ml:.2f} mL" if part is not None else ""
    where = " and ".join(f"{other} of {each.ml:.0f} mL {_at(each)}" for other, each in around.items())
    seen = "seen whole" if wanted.whole else "seen"
    why = f"; {wanted.may_be_because}" if wanted.may_be_because else ""
    return f"{name} was not found{but}, with {where} {seen}{why}"


def _few(label: Label, part: Measured) -> str:
    """What is said of a label with hardly a voxel; empty of any other."""
    if label.volume_ml is None or not part.whole or part.voxels > FEW_VOXELS:
        return ""
    if part.ml >= FEW_PART * label.volume_ml.least:
        return ""
    voxels = "1 voxel" if part.voxels == 1 else f"{part.voxels} voxels"
    return f"{label.name} has {voxels} ({part.ml:.3f} mL) {_at(part)}"


def _volume(label: Label, part: Measured) -> str:
    plausible = label.volume_ml
    if plausible is None or plausible.holds(part.ml) or (part.ml < plausible.least and not part.whole):
        return ""
    expected = f"{plausible.least:g} to {plausible.most:g} mL are plausible"
    whole = ", seen whole" if part.ml < plausible.least else ""
    return f"{label.name} has {part.ml:.1f} mL{whole}; {expected}"


def _leak(label: Label, part: Measured, label_map: LabelMap) -> str:
    """What is said of a structure inside the body that reaches an edge of its slices; empty where none does."""
    if label.inside_mm is None:
        return ""
    least = max(GRAZE_MM2, min(CONTACT_MM2, CONTACT_PART * float(np.cbrt(part.ml * 1000)) ** 2))
    contacts = _contacts_mm2(label.inside_mm, part, label_map)
    said = [f"the {side.value} edge over {mm2 / 100:.1f} cm2" for side, mm2 in contacts.items() if mm2 >= least]
    return f"{label.name} ({part.ml:.1f} mL) reaches {' and '.join(said)}" if said else ""


def _contacts_mm2(inside_mm: float, part: Measured, label_map: LabelMap) -> Mapping[Toward, float]:
    """By side of the patient: contact with the edge of the rows and columns, where the image is wide enough."""
    voxel_mm3 = float(abs(np.linalg.det(label_map.affine[:3, :3])))
    contacts: dict[Toward, float] = {}
    for axis in (1, 2):
        step = label_map.affine[:3, 2 - axis]
        length = float(np.linalg.norm(step))
        along = int(np.argmax(np.abs(step)))
        needed = (inside_mm, DEEP * inside_mm, np.inf)[along]  # any structure may be cut off above and below
        if label_map.array.shape[axis] * length < needed:
            continue
        end = next(side for side in Toward if side.axis == along and side.sign == np.sign(step[along]))
        first, last = part.edges[axis]
        contacts |= {end.opposite: first * voxel_mm3 / length, end: last * voxel_mm3 / length}
    return contacts


def _at(part: Measured) -> str:
    left, posterior, head = part.centre_mm
    return f"at ({left:.0f}, {posterior:.0f}, {head:.0f}) mm LPS"
