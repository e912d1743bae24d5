"""One volume and the sub-models in; out: which of them run on it and why, or why none does.

Every witness has a veto: a protocol is chosen only if some part of the header names it and no part contradicts it,
and if plane and geometry are those its model was trained on. What is in doubt is unrouted with the doubt named.
All known sub-models give their words; those that the site runs give the protocols. Each system decides for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from dicom_nodes.types import Laterality, Volume
from service.protocol import Protocol, SideRule
from service.running import RUN_BY_DEFAULT, submodels_to_run
from service.submodel import SubModel
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
    """In the order in which the sub-models are known; none: the volume is unrouted."""
    reasons: tuple[str, ...]
    """One line per witness, per protocol ("matched" or the first condition that failed), and on the side."""
    summary: str
    """The decision in one line that a PACS administrator understands."""


class _UnroutedError(Exception):
    """Carries the reason out of the steps of a decision; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What every system is given to decide with."""

    volume: Volume
    words: Vocabulary
    heard: tuple[Testimony, ...]
    not_words: Mapping[str, tuple[str, ...]]
    """Protocol to the words of all known sub-models that show that it is not meant."""


def decide(
    volume: Volume,
    known: Sequence[SubModel],
    *,
    running: Sequence[str] = RUN_BY_DEFAULT,
    vocabulary: Vocabulary | None = None,
) -> RouteDecision:
    """Decide which sub-models serve the volume: of each system all that run and serve its innermost protocol.

    `running` are entries as in `[models] run`; `vocabulary` None means the shipped one. Neither the order of the
    facts nor those that are no witness change the decision.
    """
    words = vocabulary or shipped_vocabulary()
    chosen = submodels_to_run(known, running)
    heard = body_part_testimonies(volume, regions(words, known))
    reasons = [str(testimony) for testimony in heard]
    if fault := unsuited(volume, words) or ("" if chosen else "this site runs no sub-model"):
        return RouteDecision((), (*reasons, f"unrouted: {fault}"), fault)
    evidence = _Evidence(volume, words, heard, _not_words(known))
    systems = dict.fromkeys(each.system for each in chosen)
    routes: list[Route] = []
    doubts: list[str] = []
    for system in systems:
        submodels = [each for each in chosen if each.system == system]
        try:
            routes += _routes(evidence, submodels, regions(words, known, submodels), reasons)
        except _UnroutedError as doubt:
            doubts.append(str(doubt))
            reasons.append(f"unrouted{f' by {system}' if len(systems) > 1 else ''}: {doubt}")
    routes.sort(key=lambda route: [each.name for each in known].index(route.submodel))
    reasons.extend(f"routed: {_summary(route)}" for route in routes)
    summary = "; ".join(_summary(route) for route in routes) or "; ".join(dict.fromkeys(doubts))
    return RouteDecision(tuple(routes), tuple(reasons), summary)


def _not_words(known: Sequence[SubModel]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for submodel in known:
        for protocol in submodel.protocol:
            found[protocol.name] = (*found.get(protocol.name, ()), *protocol.not_words)
    return found


def _routes(
    evidence: _Evidence, submodels: Sequence[SubModel], known: Sequence[Region], reasons: list[str]
) -> list[Route]:
    """The routes of one system; raises _UnroutedError."""
    candidates = _candidates(evidence.heard, known)
    matching = _matching(evidence, submodels, candidates, reasons)
    return [
        Route(submodel.name, protocol.name, _side(evidence, protocol, reasons)) for submodel, protocol in matching
    ]


def _summary(route: Route) -> str:
    stated = f", {'right' if route.laterality is Laterality.RIGHT else 'left'}" if route.laterality else ""
    return f"{route.protocol}{stated}, by {route.submodel}"


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
            return (_around(served, known) or _alike(served, speaking),)
    return tuple(inner_first)


def _around(alike: Sequence[str], known: Sequence[Region]) -> str | None:
    """The smallest served region that has all of those in it, as "abdomen and pelvis" has those two."""
    wide = [region for region in known if region.served and region.includes | {region.name} >= set(alike)]
    return min(wide, key=lambda region: (len(region.includes), region.name)).name if wide else None


def _alike(served: Sequence[str], speaking: Sequence[Testimony]) -> NoReturn:
    raise _UnroutedError(f"{' and '.join(sorted(served))} are named alike: {_said_by(speaking)}")


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
    evidence: _Evidence, submodels: Sequence[SubModel], candidates: tuple[str, ...], reasons: list[str]
) -> list[tuple[SubModel, Protocol]]:
    """Those sub-models whose conditions the volume meets for the innermost such candidate; all are written down."""
    matched: list[tuple[int, SubModel, Protocol]] = []
    failed: list[tuple[int, str]] = []
    for submodel in submodels:
        for protocol in submodel.protocol:
            title = f"{submodel.name} {protocol.name}"
            if protocol.name not in candidates:
                reasons.append(f"{title}: not named, or contradicted")
                continue
            rank = candidates.index(protocol.name)
            if fault := _fault(evidence.volume, protocol, evidence.not_words[protocol.name]):
                reasons.append(f"{title}: {fault}")
                failed.append((rank, f"{protocol.name} is named, but {fault}"))
            else:
                reasons.append(f"{title}: matched")
                matched.append((rank, submodel, protocol))
    if not matched:
        raise _UnroutedError(min(failed, key=lambda each: each[0])[1])
    innermost = min(rank for rank, _, _ in matched)
    return [(submodel, protocol) for rank, submodel, protocol in matched if rank == innermost]


def _fault(volume: Volume, protocol: Protocol, not_words: tuple[str, ...]) -> str | None:
    """The first condition of the protocol that the volume does not fulfil."""
    for keyword, said in texts(volume):
        if word := first_word(plain_words(said), not_words):
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


def _side(evidence: _Evidence, protocol: Protocol, reasons: list[str]) -> Laterality | None:
    """The side that all witnesses agree on; None where none is stated or both are."""
    if protocol.side is SideRule.NONE:
        return None
    heard = side_testimonies(evidence.volume, evidence.words)
    reasons.extend(said for each in heard if (said := str(each)) not in reasons)
    sides = frozenset(Laterality).intersection(*(each.sides for each in heard))
    position = far_side(evidence.volume)
    if not sides or (position is not None and heard and not sides & position.sides):
        raise _UnroutedError(f"the header contradicts itself on the side: {_both(heard, position)}")
    if len(sides) == 1:
        return next(iter(sides))
    meaning = "the segments carry no side" if protocol.side is SideRule.MODIFIER else "both sides' labels are kept"
    if (not_stated := f"side not stated: {meaning}") not in reasons:
        reasons.append(not_stated)
    return None


def _both(heard: Sequence[SideTestimony], position: SideTestimony | None) -> str:
    return "; but ".join(str(each) for each in (*heard, position) if each is not None)
