"""The ways in which a result can contradict its route or be implausible; a check names one, with what it saw."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

NAMED = 3
"""How many findings the reason of a held job tells in full; all of them are in the ledger."""


class Action(StrEnum):
    """What becomes of a result in which something was found."""

    DELIVER = "deliver"
    """It is sent like any other; the finding is on record."""
    MARK = "mark"
    """It is sent, and the reports beside it name the finding."""
    HOLD = "hold"
    """Nothing is sent until a person has released it; the reports name the finding then."""


class FindingName(StrEnum):
    """What contradicts the route, and what is not plausible."""

    LITTLE = "little of what the protocol shows"
    SIDE = "on the wrong side of the body"
    BOTH_SIDES = "both sides where one is shown"
    ORDER = "out of order"
    MISSING = "a level is missing"
    TWICE = "found at two places"
    JUNCTION = "counting from below contradicts"
    VOLUME = "volume is not plausible"
    ABSENT = "not found where it is expected"
    ISLANDS = "pieces far away"
    LEAK = "reaches the edge of the image"
    FEW = "almost empty"

    @property
    def key(self) -> str:
        """Its name in site.toml, as both_sides."""
        return self.name.lower()


CONTRADICTIONS = frozenset(FindingName) - {
    FindingName.VOLUME,
    FindingName.ABSENT,
    FindingName.ISLANDS,
    FindingName.LEAK,
    FindingName.FEW,
}
"""What says that the route or the labels are wrong; the others say that a label is to be looked at."""


MEANINGS: Mapping[FindingName, str] = MappingProxyType(
    {
        FindingName.LITTLE: "Less was found than an image of this protocol shows: it may be of another body part.",
        FindingName.SIDE: "A structure of one side lies where the other side's belongs: image or labels may be "
        "mirrored, or the stated side wrong.",
        FindingName.BOTH_SIDES: "Structures of both sides were found in a field of view that holds one.",
        FindingName.ORDER: "Structures do not follow each other as they do in a patient.",
        FindingName.MISSING: "Between two levels that were found, one was not: the levels may be misnumbered.",
        FindingName.TWICE: "One level was found at two places that are far apart: the levels may be misnumbered.",
        FindingName.JUNCTION: "The lowest vertebra does not lie on the sacrum as its name says: the levels may be "
        "misnumbered, or the junction a transitional one.",
        FindingName.VOLUME: "A structure is smaller or larger than it can be expected in an adult.",
        FindingName.ABSENT: "What lies around a structure was found whole, and the structure was not.",
        FindingName.ISLANDS: "Parts of a label lie far from the structure: they may be something else.",
        FindingName.LEAK: "A structure inside the body was found up to the edge of the image: the label may "
        "have leaked.",
        FindingName.FEW: "A label has hardly a voxel: what was found may be noise.",
    }
)
"""One sentence on each, for whoever has to decide."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction between a result and its route, or one thing in it that is not plausible."""

    name: FindingName
    evidence: str
    """What was seen, for a person, with numbers."""

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}"


def holding(found: Collection[Finding], becomes: Mapping[FindingName, Action]) -> tuple[Finding, ...]:
    """Those of the findings that hold a result at this site."""
    return tuple(finding for finding in found if becomes[finding.name] is Action.HOLD)


def joined(faults: Sequence[str], most: int = 6) -> str:
    """Faults of one sort as the evidence of one finding; so many are told in full."""
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more


def reason_to_hold(job_id: str, found: Sequence[Finding]) -> str:
    """Why a result is held and what can be done, in a few sentences."""
    told = "; ".join(str(finding) for finding in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{told}{more}. {what_to_do(job_id)}"


def what_to_do(job_id: str) -> str:
    """What a person can do with a held job."""
    sends, ends = f"sagittal jobs release {job_id}", f"sagittal jobs reject {job_id}"
    return f"Nothing was sent: {sends} sends the result nevertheless, {ends} ends the job"
