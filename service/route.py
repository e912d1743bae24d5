"""One volume and the sub-models in; out: which sub-model runs on it and why, or why none does.

Every witness has a veto: a protocol is chosen only if some part of the header names it and no part contradicts it,
and if plane and geometry are those its model was trained on. What is in doubt is unrouted with the doubt named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicom_nodes.types import Laterality, Volume
from service.submodel import Protocol, SideRule, SubModel
from service.vocabulary import Vocabulary, first_word, plain_words, shipped_vocabulary
from service.witnesses import (
    Region,
    SideTestimony,
    Testimony,
    body_part_testimonies,
    far_side,
    regions,
    side_testimonies,
    texts,
    unsuited,
)


@dataclass(frozen=True, slots=True)
class Route:
    """One sub-model to run on the volume, for one of its protocols."""

    submodel: str
    protocol: str
    laterality: Laterality | None
    """The side that the header states; None where it states none, or the protocol has no sides."""


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """Where a volume goes, with every reason."""

    routes: tuple[Route, ...]
    """At most one; none: the volume is unrouted."""
    reasons: tuple[str, ...]
    """One line per witness, per protocol ("matched" or the first condition that failed), and on the side."""
    summary: str
    """The decision in one line that a PACS administrator understands."""


class _UnroutedError(Exception):
    """Carries the reason out of the steps of a decision; it never leaves this module."""


def decide(volume: Volume, submodels: Sequence[SubModel], *, vocabulary: Vocabulary | None = None) -> RouteDecision:
    """Decide which sub-model serves the volume; of two that do, the first in the sequence.

    `vocabulary` None means the shipped one. Neither the order of the facts nor those that are no witness change it.
    """
    words = vocabulary or shipped_vocabulary()
    known = regions(words, submodels)
    heard = body_part_testimonies(volume, known)
    reasons = [str(testimony) for testimony in heard]
    try:
        if fault := unsuited(volume, words):
            raise _UnroutedError(fault)
        candidates = _candidates(heard, known)
        submodel, protocol = _matching(volume, submodels, candidates, reasons)
        side = _side(volume, words, protocol, reasons)
    except _UnroutedError as doubt:
        return RouteDecision((), (*reasons, f"unrouted: {doubt}"), str(doubt))
    route = Route(submodel.name, protocol.name, side)
    stated = f", {'right' if side is Laterality.RIGHT else 'left'}" if side else ""
    summary = f"{protocol.name}{stated}, by {submodel.name}"
    return RouteDecision((route,), (*reasons, f"routed: {summary}"), summary)


def _candidates(heard: Sequence[Testimony], known: Sequence[Region]) -> tuple[str, ...]:
    """The named regions that no witness contradicts, from the innermost out; one of them, or nested ones."""
    speaking = [testimony for testimony in heard if testimony.names]
    if not speaking:
        raise _UnroutedError(f"no body part is named: {'; '.join(str(each) for each in heard)}")
    named = {region for testimony in speaking for region in testimony.names}
    agreed = named.intersection(*(testimony.allows for testimony in speaking))
    if not agreed:
        raise _UnroutedError(f"the header contradicts itself: {'; but '.join(str(each) for each in speaking)}")
    by_name = {region.name: region for region in known}
    served = [name for name in agreed if by_name[name].served]
    if others := [each for each in agreed if not by_name[each].served and not by_name[each].includes & agreed]:
        raise _UnroutedError(_not_served(others, served, by_name, speaking))
    inner_first = sorted(served, key=lambda name: (len(by_name[name].includes & agreed), name))
    for inner, outer in pairwise(inner_first):
        if inner not in by_name[outer].includes:
            raise _UnroutedError(f"{' and '.join(sorted(served))} are named alike: {_said_by(speaking)}")
    return tuple(inner_first)


def _not_served(
    others: list[str], served: list[str], by_name: Mapping[str, Region], speaking: Sequence[Testimony]
) -> str:
    inside = sorted(name for each in others for name in by_name[each].includes if name in by_name)
    parts = [name for name in inside if by_name[name].served]
    if parts and not served:
        return f"only {', '.join(sorted(others))} is named, not {' or '.join(parts)}: {_said_by(speaking)}"
    also = f" beside {', '.join(sorted(served))}" if served else ""
    return f"no sub-model serves {', '.join(sorted(others))}{also}: {_said_by(speaking)}"


def _said_by(speaking: Sequence[Testimony]) -> str:
    return "; ".join(str(each) for each in speaking)


def _matching(
    volume: Volume, submodels: Sequence[SubModel], candidates: tuple[str, ...], reasons: list[str]
) -> tuple[SubModel, Protocol]:
    """The first sub-model, by the innermost candidate, whose conditions the volume meets; all are written down."""
    matched: list[tuple[int, SubModel, Protocol]] = []
    failed: list[tuple[int, str]] = []
    for submodel in submodels:
        for protocol in submodel.protocol:
            title = f"{submodel.name} {protocol.name}"
            if protocol.name not in candidates:
                reasons.append(f"{title}: not named, or contradicted")
                continue
            rank = candidates.index(protocol.name)
            if fault := _fault(volume, protocol):
                reasons.append(f"{title}: {fault}")
                failed.append((rank, f"{protocol.name} is named, but {fault}"))
            else:
                reasons.append(f"{title}: matched")
                matched.append((rank, submodel, protocol))
    if not matched:
        raise _UnroutedError(min(failed, key=lambda each: each[0])[1])
    _, submodel, protocol = min(matched, key=lambda each: each[0])
    return submodel, protocol


def _fault(volume: Volume, protocol: Protocol) -> str | None:
    """The first condition of the protocol that the volume does not fulfil."""
    for keyword, said in texts(volume):
        if word := first_word(plain_words(said), protocol.not_words):
            return f'{keyword} "{said}" has "{word}", which is something else'
    if volume.plane not in protocol.planes:
        planes = " or ".join(plane.value for plane in protocol.planes)
        return f"the slices are {volume.plane.value} and the model was trained on {planes} ones"
    slices, (across, *in_plane) = volume.shape[0], volume.extent_mm
    if slices < protocol.minimum_slices:
        return f"it has {slices} slices and needs at least {protocol.minimum_slices}"
    for what, length, allowed in (
        ("field of view", max(in_plane), protocol.in_plane_mm),
        ("stack of slices", across, protocol.across_mm),
    ):
        if not allowed.holds(length):
            return f"its {what} of {length:.0f} mm is not within {allowed.least:g} to {allowed.most:g} mm"
    return None


def _side(volume: Volume, words: Vocabulary, protocol: Protocol, reasons: list[str]) -> Laterality | None:
    """The side that all witnesses agree on; None where none is stated or both are."""
    if protocol.side is SideRule.NONE:
        return None
    heard = side_testimonies(volume, words)
    reasons.extend(str(each) for each in heard)
    sides = frozenset(Laterality).intersection(*(each.sides for each in heard))
    position = far_side(volume)
    if not sides or (position is not None and heard and not sides & position.sides):
        raise _UnroutedError(f"the header contradicts itself on the side: {_both(heard, position)}")
    if len(sides) == 1:
        return next(iter(sides))
    meaning = "the segments carry no side" if protocol.side is SideRule.MODIFIER else "both sides' labels are kept"
    reasons.append(f"side not stated: {meaning}")
    return None


def _both(heard: Sequence[SideTestimony], position: SideTestimony | None) -> str:
    return "; but ".join(str(each) for each in (*heard, position) if each is not None)
