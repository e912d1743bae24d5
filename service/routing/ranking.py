"""Volumes that one rule matches and an order of preference in; out: the best of them, and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from dicom_nodes.types import Volume
from service.routing.kinds import KIND_NAMES, Kind

BEST = (
    "not fat fraction", "not fat", "not opposed phase", "water", "in phase", "most slices", "thinnest slices",
    "finest pixels", "shortest echo", "first",
)  # fmt: skip
"""What makes one volume of a series better than another at the same place, where no rule says otherwise."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A volume that may be the best one."""

    volume: Volume
    kind: Kind

    @property
    def identity(self) -> tuple[str, int]:
        """Which volume of which series; breaks the last tie, the same way whatever came first."""
        return self.volume.series_uid, self.volume.index


def _number(candidate: Candidate, keyword: str) -> float:
    try:
        return float(candidate.volume.facts.get(keyword, "").split("\\")[0])
    except ValueError:
        return float("inf")


ORDERS: Mapping[str, Callable[[Candidate], float]] = {
    "most slices": lambda c: -c.volume.shape[0],
    "thinnest slices": lambda c: round(c.volume.spacing_mm[0], 2),
    "finest pixels": lambda c: round(max(c.volume.spacing_mm[1:]), 3),
    "widest coverage": lambda c: -round(c.volume.extent_mm[0] * c.volume.extent_mm[1] * c.volume.extent_mm[2]),
    "least oblique": lambda c: round(c.volume.oblique_degrees),
    "shortest echo": lambda c: _number(c, "EchoTime"),
    "longest echo": lambda c: -_number(c, "EchoTime"),
    "first": lambda c: c.volume.index,
    "last": lambda c: -c.volume.index,
}
"""Name of an order to what is smallest in the best candidate."""


def known_order(name: str) -> str | None:
    """What is wrong with an entry of `best`; None where it is an order or a kind."""
    if name in ORDERS or name.removeprefix("not ") in KIND_NAMES:
        return None
    kinds = ", ".join(sorted(KIND_NAMES))
    return f"{name!r} is no order; allowed are {', '.join(ORDERS)}, and these kinds, also after 'not': {kinds}"


def rank(candidates: Sequence[Candidate], best: Sequence[str]) -> list[Candidate]:
    """The candidates, the best first; the same order whatever the order they come in."""
    return sorted(candidates, key=lambda c: (tuple(_measure(c, order) for order in best), c.identity))


def advantage(winner: Candidate, other: Candidate, best: Sequence[str]) -> str:
    """The first order in which the winner is better, in words."""
    for order, mine, theirs in zip_longest(
        best, (_measure(winner, each) for each in best), (_measure(other, each) for each in best)
    ):
        if mine != theirs:
            return str(order)
    return "nothing tells them apart, and its UID comes first"


def _measure(candidate: Candidate, order: str) -> float:
    if order in ORDERS:
        return ORDERS[order](candidate)
    return float((order.removeprefix("not ") in candidate.kind.names) is order.startswith("not "))
