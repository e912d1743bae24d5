"""What a probe asks of a server, and how long it has to wait for an answer."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.probes.pacs import Pacs
from benchmarks.probes.series import Series
from dicom_nodes.types import Node


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a run: the same for every server."""

    quiet: float = 3.0
    """Without news a series counts as whole: `quiet_seconds` here, `StableAge` of Orthanc."""
    abandoned: float = 15.0
    """A sender that broke off is waited for so long; only of this project."""
    away: float = 8.0
    """A sender comes back after so long."""
    down: float = 20.0
    """The archive is down for so long after the series was sent."""
    patience: float = 30.0
    """For everything to come to rest."""
    still: float = 2.0
    """Nothing moves for so long: at rest."""


class Server(Protocol):
    """One that receives series, and sends on to an archive what is made of them."""

    name: str
    pacs: Pacs
    pace: Pace

    @property
    def node(self) -> Node:
        """Where it listens now."""

    @property
    def storage(self) -> Path:
        """Where what it received lies."""

    def kill(self) -> None:
        """SIGKILL to the process that receives."""

    def back(self) -> None:
        """Wait until it answers again, started by whoever starts it in a hospital."""

    def at_rest(self, series: Series) -> bool:
        """Whether nothing more will happen to a series by itself."""

    def forwarded(self, series: Series) -> list[frozenset[str]]:
        """For each time that it sent something on: the instances that it was, or was made of."""

    def images(self, series: Series) -> list[Path]:
        """Files whose pixels what was sent on rests on."""

    def results(self, series: Series) -> list[Path]:
        """Files that were sent on."""

    def says(self, series: Series) -> str:
        """What a person can read about it."""

    def set_aside(self, series: Series) -> bool:
        """Whether that is a reason for which nothing was sent on."""


def rest(server: Server, series: Series, seconds: float | None = None) -> float:
    """Wait until nothing more happens to a series, for so many seconds (the patience of the run); how long."""
    began, still = time.monotonic(), 0.0
    limit = began + (server.pace.patience if seconds is None else seconds)
    while time.monotonic() < limit:
        now = time.monotonic()
        still = (still or now) if server.at_rest(series) else 0.0
        if still and now - still >= server.pace.still:
            break
        time.sleep(0.2)
    return time.monotonic() - began


def answered(server: Server, series: Series, seconds: float) -> None:
    """Wait until something of a series was sent on, at most so long."""
    limit = time.monotonic() + seconds
    while not server.forwarded(series) and time.monotonic() < limit:
        time.sleep(0.2)
