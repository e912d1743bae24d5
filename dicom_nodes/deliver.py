"""Where results go: files in, what the destination answered out. One class for each kind of destination."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from dicom_nodes import scu, stow
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
        return scu.store(self.node, self.calling_aet, paths, self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class StowDestination:
    """A DICOMweb service, reached by STOW-RS."""

    url: str
    timeout_seconds: float = 60
    authorization: Path | None = None
    """A file with the value of the HTTP header Authorization; None for no such header."""
    ca: Path | None = None
    """A file of certificates to trust, in PEM; None for those of the machine."""

    def send(self, paths: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """Each file in a request of its own; see `stow.store`."""
        return stow.store(self.url, paths, self.timeout_seconds, self.authorization, self.ca)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a destination of any kind is, and how it is spoken to; what its kind does not need is left out."""

    timeout_seconds: float = 60
    node: Node | None = None
    calling_aet: str = ""
    url: str = ""
    authorization: Path | None = None
    ca: Path | None = None


def _by_dicom(at: Address) -> Destination:
    if at.node is None:
        raise ValueError("a destination by C-STORE needs a node")
    return DicomDestination(at.node, at.calling_aet, at.timeout_seconds)


def _by_stow(at: Address) -> Destination:
    return StowDestination(at.url, at.timeout_seconds, at.authorization, at.ca)


DESTINATIONS: Mapping[str, Callable[[Address], Destination]] = MappingProxyType(
    {"dicom": _by_dicom, "stow": _by_stow}
)
"""The way to a destination, by its kind."""

_TRY_AGAIN = frozenset(
    {
        0x0110,  # Processing failure
        0x0213,  # Resource limitation
        0xB00F,  # by the DICOM service of Azure: another request is storing the same object
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
