"""Senders that behave as modalities do: what was not answered with Success is sent again, from the first such one.

Each keeps a journal: every C-STORE request and its answer, on disk before the next is sent.

    python -m tests.faults.load FILE        # a process of their own, told by a file
"""

import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import build_context

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import associated
from dicom_nodes.types import Node
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR
from tests.faults.journal import Journal
from tests.faults.phantoms import Made

MANNERS = ("plain", "plain", "plain", "two associations", "two associations, late", "aborted", "twice", "gone")
"""How a series is sent, in turn; `gone` is aborted in the middle, and its sender never comes back."""
ANSWER_SECONDS = 6.0
INSTANCE_SECONDS = 0.1
"""Between two instances, as a modality has that reconstructs: a fault then strikes in the middle of a series."""
PAUSE_SECONDS = 1.0
"""Before a sender that was not answered comes again."""
LATE_SECONDS = 5.0
"""Between the two associations of a series that seems complete after the first."""
Item = tuple[Made, int]
"""A series and the place of one of its instances."""


@dataclass
class Sender:
    """One modality with its list of series, from the start of the load to its end."""

    aet: str
    node: Node
    series: Sequence[Made]
    journal: Journal
    seconds: float
    """Over which its series are spread."""
    gives_up_seconds: float
    interleaves: bool = False
    """Whether it sends its series two at a time, an instance of each in turn."""
    rng: random.Random = field(default_factory=random.Random)
    thread: threading.Thread = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._send_all, name=self.aet, daemon=True)
        self.thread.start()

    def _send_all(self) -> None:
        began = time.monotonic()
        step = 2 if self.interleaves else 1
        for first in range(0, len(self.series), step):
            due = began + self.seconds * first / len(self.series)
            self.stop.wait(max(0.0, due - time.monotonic()))
            if self.interleaves:
                self._push(_in_turn(self.series[first : first + 2]))
            else:
                self._send(self.series[first], MANNERS[first % len(MANNERS)])

    def _send(self, series: Made, manner: str) -> None:
        items = [(series, number) for number in range(len(series.paths))]
        middle = self.rng.randint(1, len(items) - 1)
        if manner in ("aborted", "gone"):
            done = self._push(items[:middle], aborts=True)
            if manner == "gone":
                self.journal.write(gone=series.series_uid)
                return
            self._push(items[done:])
        elif manner.startswith("two associations"):
            self._push(items[:middle])
            self.stop.wait(LATE_SECONDS if manner.endswith("late") else 0.0)
            self._push(items[middle:])
        else:
            self._push(items)
            if manner == "twice":
                self._push(items)

    def _push(self, items: Sequence[Item], aborts: bool = False) -> int:
        """Send until each is answered with Success, or patience ends; how many were.

        `aborts`: the association is broken off with A-ABORT after the last one.
        """
        waiting, until = deque(items), time.monotonic() + self.gives_up_seconds
        while waiting and not self.stop.is_set():
            try:
                self._associate(waiting, aborts)
            except (Unreachable, Refused, RuntimeError, OSError) as error:
                self.journal.write(trouble=str(error)[:120], at=time.time())
            if waiting:
                if time.monotonic() > until:
                    self.journal.write(gave_up=[series.sop_instance_uids[n] for series, n in waiting])
                    break
                self.stop.wait(PAUSE_SECONDS)
        return len(items) - len(waiting)

    def _associate(self, waiting: "deque[Item]", aborts: bool) -> None:
        contexts, begun = [build_context(MR, EXPLICIT_LITTLE)], set[str]()
        released = False
        try:
            with associated(self.node, self.aet, contexts, ANSWER_SECONDS) as association:
                while waiting and not self.stop.is_set():
                    begun.add(waiting[0][0].series_uid)
                    if not self._stored(association, *waiting[0]):
                        break
                    waiting.popleft()
                    self.stop.wait(INSTANCE_SECONDS)
                if aborts:
                    association.abort()
            released = association.is_released
        finally:
            self.journal.write(**{"released" if released else "broken": sorted(begun)})

    def _stored(self, association: Any, series: Made, number: int) -> bool:
        """Send one instance; whether it was answered with Success."""
        answer = association.send_c_store(series.paths[number], priority=0)
        status = int(answer.Status) if "Status" in answer else None
        uid = series.sop_instance_uids[number]
        self.journal.write(uid=uid, series=series.series_uid, status=status, at=time.time())
        return status == 0x0000


def _in_turn(series: Sequence[Made]) -> list[Item]:
    """The instances of several series, one of each in turn."""
    longest = max(len(each.paths) for each in series)
    return [(each, number) for number in range(longest) for each in series if number < len(each.paths)]


@dataclass(frozen=True, slots=True)
class Load:
    """Everything that the senders of a run are told."""

    node: Node
    series: dict[str, list[Made]]
    """By calling AE title."""
    journals: Path
    seed: int
    seconds: float
    gives_up_seconds: float


def senders_of(load: Load) -> list[Sender]:
    """A sender for each AE title; the last one interleaves."""
    last = list(load.series)[-1]
    return [
        Sender(
            aet, load.node, series, Journal(load.journals / f"{aet}.jsonl"), load.seconds, load.gives_up_seconds,
            aet == last, random.Random(f"{load.seed} {aet}"),
        )
        for aet, series in load.series.items()
    ]  # fmt: skip


def write_load(load: Load, path: Path) -> None:
    """Write down what the senders' process reads."""
    path.write_text(json.dumps(asdict(load), default=str))


def read_load(path: Path) -> Load:
    """What `write_load` wrote."""
    said = json.loads(path.read_text())
    series = {aet: [_made(each) for each in many] for aet, many in said["series"].items()}
    return Load(
        **{**said, "node": Node(**said["node"]), "journals": Path(said["journals"]), "series": series}
    )  # fmt: skip


def _made(said: dict[str, Any]) -> Made:
    paths, uids = map(Path, said["paths"]), said["sop_instance_uids"]
    return Made(**{**said, "paths": tuple(paths), "sop_instance_uids": tuple(uids)})


def main(path: Path) -> None:
    """Run all senders to their end."""
    senders = senders_of(read_load(path))
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.thread.join()
        sender.journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
