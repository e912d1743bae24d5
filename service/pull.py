"""Studies of an archive in; what each still lacks here fetched, until the ledger has heard of all of it.

What is done is what the ledger counts: a pull that was killed is simply begun again, and asks only for series of
which fewer instances came than the archive lists. Every series that was not known here before is noted as backfill,
so that its jobs go behind all others. Nothing is deleted or changed anywhere.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.retrieve import DESTINATION_UNKNOWN, FoundSeries, Keys, find_series, find_studies
from dicom_nodes.types import Node
from service.fetch import Fetch, Sent
from service.ledger import Ledger

REFUSED_FOR_ALL = frozenset({0x0122, 0x0124, DESTINATION_UNKNOWN})
"""Statuses that speak of us and not of one study: no other is asked for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to fetch, and when to give up."""

    at_most: int = 1
    """Studies at a time."""
    pause_above: int = 20
    """Jobs and series that wait; with more nothing more is asked for."""
    attempts: int = 3
    """For each study, before it is left short."""
    rest_seconds: float = 10.0
    """Between two attempts, and longer each time."""
    settle_seconds: float = 30.0
    """For the receiver to have heard of what the archive says it sent."""


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """How one study came out."""

    study_uid: str
    series: int
    instances: int
    fetched: int
    """Series that were asked for and came whole."""
    short: tuple[str, ...]
    """Why each series that is not whole is not; or why the study could not be asked for."""


@dataclass
class Pull:
    """One run: an archive, a way to fetch, and whom to tell; `stop` ends it after what is in hand."""

    archive: Node
    our_aet: str
    ledger: Ledger
    fetch: Fetch
    tell: Callable[[str], None]
    series_keys: Keys
    pace: Pace = Pace()
    stop: threading.Event = field(default_factory=threading.Event)

    def find(self, queries: Iterable[Keys]) -> list[str]:
        """The studies that match any of the queries, each once; raises Unreachable or Refused."""
        found: dict[str, None] = {}
        for keys in queries:
            uids = find_studies(self.archive, self.our_aet, keys)
            if not uids:
                wanted = " ".join(f"{key}={value}" for key, value in keys.items())
                self.tell(f"the archive has no study with {wanted}")
            found.update(dict.fromkeys(uids))
        return list(found)

    def run(self, study_uids: Sequence[str]) -> list[StudyOutcome]:
        """Fetch the studies, in this order, as many at a time as the pace allows; those left by `stop` are out."""
        total = len(study_uids)
        with ThreadPoolExecutor(self.pace.at_most, thread_name_prefix="pull") as threads:
            outcomes = threads.map(self._one, (f"[{n}/{total}]" for n in range(1, total + 1)), study_uids)
            return [outcome for outcome in outcomes if outcome is not None]

    def preview(self, study_uids: Sequence[str]) -> list[StudyOutcome]:
        """What would be fetched, told study by study, with everything that lacks as short."""
        outcomes = []
        for study_uid in study_uids:
            series = find_series(self.archive, self.our_aet, study_uid, self.series_keys)
            lacks = self.lacking(series)
            instances = sum(each.instances for each in series)
            self.tell(f"study {study_uid}: {len(series)} series, {instances} instances, {len(lacks)} series lack")
            short = tuple(f"series {each.series_uid}" for each in lacks)
            outcomes.append(StudyOutcome(study_uid, len(series), instances, 0, short))
        return outcomes

    def lacking(self, series: Iterable[FoundSeries]) -> list[FoundSeries]:
        """Those of which the ledger has not heard as many instances as the archive lists."""
        return [each for each in series if self._heard(each) < each.instances]

    def _heard(self, series: FoundSeries) -> int:
        record = self.ledger.series(series.series_uid)
        return 0 if record is None else record.instance_count

    def _one(self, place: str, study_uid: str) -> StudyOutcome | None:
        if self.stop.is_set():
            return None

        def tell(text: str) -> None:
            self.tell(f"{place} {text}")

        started = time.monotonic()
        try:
            outcome = self._study(study_uid, tell)
        except (Unreachable, Refused) as error:
            outcome = StudyOutcome(study_uid, 0, 0, 0, (str(error),))
            if isinstance(error, Refused) and error.status in REFUSED_FOR_ALL:
                self.stop.set()
        if outcome is None:
            return None
        for why in outcome.short:
            tell(f"  short: {why}")
        state = "not whole" if outcome.short else "whole"
        seconds = time.monotonic() - started
        tell(f"study {study_uid}: {state}, {outcome.fetched} series fetched in {seconds:.1f} s")
        return outcome

    def _study(self, study_uid: str, tell: Callable[[str], None]) -> StudyOutcome | None:
        series = find_series(self.archive, self.our_aet, study_uid, self.series_keys)
        lacks = first = self.lacking(series)
        instances = sum(each.instances for each in series)
        here = len(series) - len(lacks)
        tell(f"study {study_uid}: {len(series)} series, {instances} instances; {here} series are here already")
        reasons: dict[str, str] = {}
        for attempt in range(self.pace.attempts):
            if not lacks or (attempt and self.stop.wait(self.pace.rest_seconds * attempt)):
                break
            for each in lacks:
                if not self._room(tell):
                    return None
                reasons[each.series_uid] = self._series(each, tell)
            lacks = self.lacking(series)
        if lacks and self.stop.is_set():
            return None
        short = tuple(f"series {each.series_uid}: {reasons[each.series_uid]}" for each in lacks)
        return StudyOutcome(study_uid, len(series), instances, len(first) - len(lacks), short)

    def _series(self, series: FoundSeries, tell: Callable[[str], None]) -> str:
        """Ask for one series and wait until it is here; how it went."""
        self.ledger.note_backfill(series.series_uid, series.instances)
        try:
            said = self._fetched(series)
        finally:
            if self._heard(series) == 0:  # whoever sends it later does so of their own accord
                self.ledger.forget_backfill(series.series_uid)
        tell(f"  series {series.series_uid}: {said}")
        return said

    def _fetched(self, series: FoundSeries) -> str:
        try:
            sent = self.fetch(series, self.stop.is_set)
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status in REFUSED_FOR_ALL:
                raise
            sent = Sent(0, str(error))
        until = time.monotonic() + self.pace.settle_seconds
        while self._heard(series) < min(sent.instances, series.instances) and time.monotonic() < until:
            if self.stop.wait(0.1):
                break
        return f"{sent.said}, {self._heard(series)} of {series.instances} received"

    def _room(self, tell: Callable[[str], None]) -> bool:
        """Wait while too much work stands already; False once the pull is to stop."""
        told = False
        while not self.stop.is_set():
            backlog = self.ledger.backlog()
            if backlog <= self.pace.pause_above:
                return True
            if not told:
                tell(f"  paused: {backlog} jobs and series wait here; goes on at {self.pace.pause_above}")
                told = True
            self.stop.wait(2.0)
        return False
