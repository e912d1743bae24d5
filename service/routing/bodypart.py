"""One volume and the body parts that other series of its study name in; out: the one it shows, or the doubt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_nodes.types import Volume
from service.routing.settings import Routing
from service.routing.witnesses import Region, Testimony, body_part_testimonies, innermost, study_testimony


@dataclass(frozen=True, slots=True)
class BodyPart:
    """What the witnesses agree on."""

    agreed: tuple[str, ...]
    """The body part and the named regions around it, from the innermost out; empty where it is in doubt."""
    confidence: float
    """The part of the speaking witnesses, by weight, that do not contradict the body part; 0 where none speaks."""
    doubt: str
    """Why nothing is agreed; empty where something is."""
    contradicted: bool
    """Whether the doubt is a disagreement, rather than a silence."""
    heard: tuple[Testimony, ...]


def body_part_of(volume: Volume, routing: Routing, study: Sequence[frozenset[str]] = ()) -> BodyPart:
    """What the witnesses agree on; the study is heard only where the series itself says nothing near enough."""
    heard = list(body_part_testimonies(volume, routing.regions))
    field_mm = max(volume.extent_mm[1:])
    own = agreement(heard, routing.regions, field_mm, routing.least_confidence)
    if study and lacks(own, routing):
        told = study_testimony(study, routing.regions)
        nearer = own.agreed and told is not None and inside_of(own.agreed[0], routing) & told.names.keys()
        if told is not None and (nearer or not own.agreed):
            own = agreement([*heard, told], routing.regions, field_mm, routing.least_confidence)
    return if_it_fits(own, routing.regions, field_mm)


def lacks(body_part: BodyPart, routing: Routing) -> str:
    """What a nearer body part would be good for: none is named, or one with served ones inside."""
    if body_part.contradicted:
        return ""
    if not body_part.agreed:
        return "no body part is named"
    served = {p.name for system in routing.systems for each in system for p in each.protocol}
    if body_part.agreed[0] in served or not (inside := sorted(inside_of(body_part.agreed[0], routing) & served)):
        return ""
    return f"only {body_part.agreed[0]} is named, not {' or '.join(inside)}"


def inside_of(region: str, routing: Routing) -> frozenset[str]:
    """The body parts that lie in one."""
    return next(each.includes for each in routing.regions if each.name == region)


def agreement(
    heard: Sequence[Testimony], known: Sequence[Region], field_mm: float, least_confidence: float
) -> BodyPart:
    """What the witnesses agree on, or why it is in doubt.

    Those that name a region allow what lies in it as well. Where they disagree, what most of them (by weight) allow
    is taken if these are the `least_confidence` of all that speak; 1 lets nobody be contradicted.
    """
    naming = [each for each in heard if each.names]
    told = "; ".join(str(each) for each in heard)
    if not naming:
        return BodyPart((), 0.0, f"no body part is named: {told}", False, tuple(heard))
    whole = sum(each.weight for each in naming)
    named = sorted({region for each in naming for region in each.names})
    support = {
        name: sum(each.weight for each in naming if name in each.allows or each.names.keys() & {name})
        for name in named
    }
    most = max(support.values())
    confidence = most / whole
    disagreement = "; but ".join(str(each) for each in naming)
    if confidence < min(1.0, least_confidence):
        asked = f" (confidence {confidence:.2f}, {least_confidence:g} is asked for)" if least_confidence < 1 else ""
        doubt = f"the header contradicts itself{asked}: {disagreement}"
        return BodyPart((), confidence, doubt, True, tuple(heard))
    agreed = frozenset(name for name in named if support[name] == most)
    chain = _chain(agreed, named, known, field_mm)
    if not chain:
        alike = f"{' and '.join(sorted(innermost(agreed, known)))} are named alike: "
        return BodyPart((), confidence, alike + "; ".join(str(each) for each in naming), True, tuple(heard))
    return BodyPart(chain, confidence, "", False, tuple(heard))


def if_it_fits(part: BodyPart, known: Sequence[Region], field_mm: float) -> BodyPart:
    """The size of the field of view as a witness: a body part that cannot fill it, or lie in it, is in doubt."""
    region = next((each for each in known if each.name == part.agreed[0]), None) if part.agreed else None
    if region is None or region.field_mm is None or region.may_fill(field_mm):
        return part
    told = "; ".join(str(each) for each in part.heard if each.names)
    size = f"{region.field_mm.least:g} to {region.field_mm.most:g} mm"
    against = f"but geometry, a field of view of {field_mm:.0f} mm, is against {region.name} ({size})"
    return BodyPart((), part.confidence, f"the header contradicts itself: {told}; {against}", True, part.heard)


def _chain(
    agreed: frozenset[str], named: Iterable[str], known: Sequence[Region], field_mm: float
) -> tuple[str, ...]:
    """From the innermost region out through all that are named around it.

    Where several are innermost, it begins with the smallest region that has them all in it and may fill the field
    of view; empty where there is none.
    """
    by_name = {region.name: region for region in known}
    inner = innermost(agreed, known)
    if len(inner) > 1:
        around = [
            each
            for each in known
            if each.includes | {each.name} >= inner and each.may_fill(field_mm) and not each.vague
        ]
        if not around:
            return ()
        inner = frozenset({min(around, key=lambda region: (len(region.includes), region.name)).name})
    (first,) = inner
    outer = [name for name in named if first in by_name[name].includes]
    return (first, *sorted(outer, key=lambda name: (len(by_name[name].includes), name)))
