"""Who asks for an association, and whose stand, in; whether there is a place for it out. Pure.

One calling AE title has at most its share of the places, so that a node that floods us leaves room for the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Shares:
    """How many associations may stand at a time, of one calling AE title."""

    per_aet: int | None = None
    """None: no AE title has less than all."""
    by_aet: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By calling AE title, in place of `per_aet`."""

    def of(self, calling_aet: str) -> int | None:
        """The share of one AE title; None: all places."""
        return self.by_aet.get(calling_aet, self.per_aet)


def admits(shares: Shares, calling_aet: str, standing: int) -> bool:
    """Whether an AE title may have one association more than those of it that stand."""
    share = shares.of(calling_aet)
    return share is None or standing < share
