"""The decisions on all volumes of a study in; those that stand out, where only the best of several is wanted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicom_nodes.types import Volume
from service.routing.ranking import Candidate, advantage, rank
from service.routing.route import Route, RouteDecision

SAME_PLACE_MM = 10.0
"""Volumes of one plane whose corners lie no farther apart are at one place."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A volume and where it goes."""

    volume: Volume
    decision: RouteDecision
    passed_over: tuple[str, ...] = ()
    """Routes that it had and that a better volume got, with what is better there."""

    @property
    def candidate(self) -> Candidate:
        """The same as one of several to choose from."""
        return Candidate(self.volume, self.decision.kind)


def choose(decided: Sequence[Decided]) -> tuple[Decided, ...]:
    """Leave to each sub-model the best of the volumes that it was to run on, as its rule asks; the order is kept.

    `decided` are volumes of one study. The outcome does not depend on their order.
    """
    return tuple(_with_routes_that_stand(each, decided) for each in decided)


def _with_routes_that_stand(mine: Decided, decided: Sequence[Decided]) -> Decided:
    standing: list[Route] = []
    passed_over: list[str] = []
    for route in mine.decision.routes:
        rivals = [each.candidate for each in decided if _rivals(mine, each, route)]
        best = rank([mine.candidate, *rivals], route.rule.best)[0]
        if best.identity == mine.candidate.identity:
            standing.append(route)
        else:
            better = advantage(best, mine.candidate, route.rule.best)
            passed_over.append(f"{route.protocol}, by {route.submodel}: {_named(best, mine)} is better: {better}")
    if len(standing) == len(mine.decision.routes):
        return mine
    summary = "; ".join(map(str, standing)) or "; ".join(passed_over)
    decision = replace(mine.decision, routes=tuple(standing), summary=summary)
    return replace(mine, decision=decision, passed_over=tuple(passed_over))


def _rivals(mine: Decided, other: Decided, route: Route) -> bool:
    """Whether only one of the two is wanted for the route."""
    if other.candidate.identity == mine.candidate.identity or route.rule.one_per == "volume":
        return False
    if not any(_same_work(route, each) for each in other.decision.routes):
        return False
    if route.rule.one_per == "study":
        return True
    return other.volume.series_uid == mine.volume.series_uid and _at_one_place(mine.volume, other.volume)


def _same_work(one: Route, other: Route) -> bool:
    """Two knees of a study are two works: a stated side tells them apart."""
    return (one.submodel, one.protocol, one.laterality) == (other.submodel, other.protocol, other.laterality)


def _at_one_place(one: Volume, other: Volume) -> bool:
    return one.plane is other.plane and float(np.abs(_corners(one) - _corners(other)).max()) <= SAME_PLACE_MM


def _corners(volume: Volume) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(2, 3): LPS mm of the first and the last voxel."""
    z, y, x = volume.shape
    ends = np.array([[0, 0, 0, 1], [x - 1, y - 1, z - 1, 1]], dtype=np.float64)
    return (ends @ volume.affine.T)[:, :3]


def _named(best: Candidate, mine: Decided) -> str:
    name = f" ({best.volume.name})" if best.volume.name else ""
    if best.volume.series_uid == mine.volume.series_uid:
        return f"volume {best.volume.index}{name}"
    return f"volume {best.volume.index}{name} of series {best.volume.series_uid}"


def study_wide(decided: Iterable[Decided]) -> bool:
    """Whether some route is for the one best volume of the study."""
    return any(route.rule.one_per == "study" for each in decided for route in each.decision.routes)
