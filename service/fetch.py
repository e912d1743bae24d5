"""The ways in which a series comes from an archive: a series in, sent to the receiver and counted out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.retrieve import DESTINATION_UNKNOWN, FoundSeries, MoveNotAnswered, MoveOutcome, move, moving
from dicom_nodes.scu import named, store
from dicom_nodes.types import Node
from dicom_nodes.wado import retrieve_series


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent to the receiver."""

    instances: int
    said: str
    """How it went, for a person."""


class Fetch(Protocol):
    """A way to have a series sent to the receiver."""

    def __call__(self, series: FoundSeries, stop: Callable[[], bool]) -> Sent:
        """Have it sent; raises Unreachable or Refused."""


@dataclass(frozen=True, slots=True)
class ByMove:
    """The archive sends it by C-MOVE to our AE title."""

    archive: Node
    receiver: Node

    def __call__(self, series: FoundSeries, stop: Callable[[], bool]) -> Sent:
        """Wait until the archive has ended; Refused tells how to register us where it does not know us."""
        try:
            with moving(self.archive, self.receiver.aet) as association:
                outcome = move(association, self.archive, self.receiver.aet, series, stop=stop)
        except MoveNotAnswered as error:
            raise Unreachable(f"{error}; {self._unknown(None)}") from error
        except Refused as error:
            if error.status is None or (error.status != DESTINATION_UNKNOWN and error.status >> 12 != 0xC):
                raise
            said = f"{error.comment}; {self._unknown(error.status)}"
            raise Refused(named(self.archive), error.status, said) from error
        return Sent(outcome.completed + outcome.warning, moved(outcome))

    def _unknown(self, status: int | None) -> str:
        sure = "it does not know us" if status == DESTINATION_UNKNOWN else "perhaps it does not know us"
        register = f"register {self.receiver.aet}, with this machine's address and port {self.receiver.port}"
        return f"{sure}: {register}, at the archive as a node that it may send to"


@dataclass(frozen=True, slots=True)
class ByWado:
    """It is fetched by WADO-RS and handed to the receiver by C-STORE, as if the archive had sent it."""

    archive: Node
    receiver: Node
    """As it is reached from here."""
    url: str
    folder: Path
    """For files on their way; what is in it may be deleted."""
    authorization: Path | None = None
    ca: Path | None = None

    def __call__(self, series: FoundSeries, stop: Callable[[], bool]) -> Sent:
        """Fetch it whole, then store it whole: a sender that breaks off would leave half a series."""
        folder = self.folder / series.series_uid
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            paths = retrieve_series(
                self.url, series.study_uid, series.series_uid, folder, authorization=self.authorization, ca=self.ca
            )
            if stop():
                return Sent(0, "stopped")
            outcomes = store(self.receiver, self.archive.aet, paths)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        refused = [outcome for outcome in outcomes if not outcome.stored]
        why = f"; {len(refused)} refused here: {refused[0].comment}" if refused else ""
        return Sent(len(outcomes) - len(refused), f"{len(outcomes)} retrieved{why}")


def moved(outcome: MoveOutcome) -> str:
    """The sub-operations of a C-MOVE, for a person."""
    stopped = "stopped: " if outcome.status not in (0x0000, 0xB000) else ""
    failed = f", {outcome.failed} failed" if outcome.failed else ""
    first = f", the first of them {outcome.failed_uids[0]}" if outcome.failed_uids else ""
    return f"{stopped}{outcome.completed + outcome.warning} moved{failed}{first}"
