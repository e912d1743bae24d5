"""The ways in which a result can contradict its route; a check names one, with what it saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

NAMED = 3
"""How many findings the reason of a held job tells in full; all of them are in the ledger."""


class FindingName(StrEnum):
    """What contradicts the route."""

    LITTLE = "little of what the protocol shows"
    SIDE = "on the wrong side of the body"
    BOTH_SIDES = "both sides where one is shown"
    ORDER = "out of order"
    MISSING = "a level is missing"
    TWICE = "found at two places"


MEANINGS: Mapping[FindingName, str] = MappingProxyType(
    {
        FindingName.LITTLE: "Less was found than an image of this protocol shows: it may be of another body part.",
        FindingName.SIDE: "A structure of one side lies where the other side's belongs: image or labels may be "
        "mirrored, or the stated side wrong.",
        FindingName.BOTH_SIDES: "Structures of both sides were found in a field of view that holds one.",
        FindingName.ORDER: "Structures do not follow each other as they do in a patient.",
        FindingName.MISSING: "Between two levels that were found, one was not: the levels may be misnumbered.",
        FindingName.TWICE: "One level was found at two places that are far apart: the levels may be misnumbered.",
    }
)
"""One sentence on each, for whoever has to decide."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction between a result and its route."""

    name: FindingName
    evidence: str
    """What was seen, for a person, with numbers."""

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}"


def reason_to_hold(job_id: str, found: Sequence[Finding]) -> str:
    """Why a result is held and what can be done, in a few sentences."""
    told = "; ".join(str(finding) for finding in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{told}{more}. {what_to_do(job_id)}"


def what_to_do(job_id: str) -> str:
    """What a person can do with a held job."""
    sends, ends = f"sagittal jobs release {job_id}", f"sagittal jobs reject {job_id}"
    return f"Nothing was sent: {sends} sends the result nevertheless, {ends} ends the job"
