"""Where results go: files in, what the destination answered out. One class for each kind of destination."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_nodes.scu import store
from dicom_nodes.types import Node, StoreOutcome


class Destination(Protocol):
    """Something that takes DICOM files."""

    def send(self, paths: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """Send files and say, for each path in order, what was answered; raises Unreachable or Refused."""
        ...


@dataclass(frozen=True, slots=True)
class DicomDestination:
    """A Storage SCP, reached by C-STORE."""

    node: Node
    calling_aet: str
    timeout_seconds: float = 60

    def send(self, paths: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """All files over one association; see `scu.store`."""
        return store(self.node, self.calling_aet, paths, self.timeout_seconds)


DESTINATIONS = {"dicom": DicomDestination}

_TRY_AGAIN = frozenset(
    {
        0x0110,  # Processing failure
        0x0213,  # Resource limitation
    }
)


def retryable(status: int) -> bool:
    """True for a failure status that the same object may not meet again later.

    PS3.4 B.2.3: A7xx is out of resources, so wait and try again. A9xx (data set does not match SOP Class), Cxxx
    (cannot understand) and 0122 (SOP Class not supported) are said of the object itself: refused for good, as is
    every other failure but the two general ones of PS3.7 C that speak of the receiver's own trouble.
    """
    return status & 0xFF00 == 0xA700 or status in _TRY_AGAIN


def backoff_seconds(attempt: int, first: float = 5, longest: float = 900) -> float:
    """The pause after failed attempt 1, 2, 3, ...: `first`, then twice the pause before, never over `longest`."""
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    doublings = min(attempt - 1, 64)  # 2**64 pauses of any length are over any limit
    return float(min(first * 2**doublings, longest))
