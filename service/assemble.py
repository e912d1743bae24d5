"""Instances and ends of associations in; out: which series are complete, by what evidence, or given up, and why.

Pure: no thread, no file, no socket; the clock is passed in. One caller at a time.

A series is complete, fastest first,
1. when every association that brought it was released and the instances are as many as the PACS lists, or as the
   objects themselves declare;
2. when nothing more came for the quiet time, counted from the last instance or end of association. While an
   association is still open the quiet time is doubled: some modalities keep one open for a whole session, but its
   sender has not yet said that it is done.
Nothing is complete by rule 2 that the PACS lists more instances of, or of which instances were refused for want of
room and did not come again; it is abandoned after `incomplete_seconds`.
An association that was aborted or lost is no evidence. A series that it broke off waits for an association that
begins after the broken one's last instance of it and is released; until then only a count that agrees and the quiet
time together complete it, and after `abandoned_seconds` it is abandoned.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_nodes.types import AssociationEnded, Ending, Instance
from service.arrivals import Arrivals, Association

OPEN_ASSOCIATION_FACTOR = 2.0
REMEMBERED_ENDINGS = 256
"""An end may be told before the last instance that the association brought: so many are kept in mind."""


REMEMBERED_REFUSALS = 4096
"""Series of which an instance was refused: of so many it is kept in mind."""


@dataclass(frozen=True, slots=True)
class AssemblyPolicy:
    """How long to wait for what."""

    quiet_seconds: float = 5.0
    quiet_seconds_by_aet: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By calling AE title, in place of `quiet_seconds`; of several senders of one series the longest counts."""
    abandoned_seconds: float = 300.0
    """For a sender to come back after an association that was aborted or lost."""
    incomplete_seconds: float = 600.0
    """For instances that the PACS lists and that did not come."""
    query_node: bool = False
    """Whether there is a PACS to ask for counts."""
    query_pause_seconds: float = 0.5
    """Stillness after which the PACS is asked: a sender may use one association per instance."""


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """A series to ask the PACS about."""

    series_uid: str
    study_uid: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A series that is complete, and by what evidence."""

    series_uid: str
    study_uid: str
    instances: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A series that did not become complete in time, and why."""

    series_uid: str
    study_uid: str
    instances: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A series that is still being received, for display."""

    series_uid: str
    study_uid: str
    instances: int
    expected: int | None
    """By the PACS, else by the objects; None where neither says."""
    still_seconds: float
    """Since the last instance or end of association."""
    waits_for: str


class Assembler:
    """Knows every series that is being received, and forgets it once it is told as completed or abandoned."""

    def __init__(self, policy: AssemblyPolicy, now: Callable[[], float]) -> None:
        """`now` gives seconds from any start that never go back, as time.monotonic."""
        self._policy = policy
        self._now = now
        self._series: dict[str, Arrivals] = {}
        self._endings: OrderedDict[str, Ending] = OrderedDict()
        self._refused: OrderedDict[str, set[str]] = OrderedDict()
        """By series, what its senders were told to send again and have not."""

    def heard(self, instance: Instance) -> None:
        """Count an instance; one that came before counts once, but shows that the sender is at work."""
        series = self._known(instance)
        self._came(instance)
        series.touched_at = self._now()
        series.heard += 1
        number = series.heard
        association = series.associations.setdefault(
            instance.association_id, Association(number, number, self._endings.get(instance.association_id))
        )
        association.last = number

    def refused(self, series_uid: str, sop_instance_uid: str) -> bool:
        """Take note of an instance that its sender has to send again; whether it is the first of its series."""
        first = series_uid not in self._refused
        self._refused.setdefault(series_uid, set()).add(sop_instance_uid)
        while len(self._refused) > REMEMBERED_REFUSALS:
            self._refused.popitem(last=False)
        if series_uid in self._series:
            self._series[series_uid].touched_at = self._now()
        return first

    def lacks_refused(self, series_uid: str) -> bool:
        """Whether instances of a series were refused and have not come since."""
        return series_uid in self._refused

    def _came(self, instance: Instance) -> None:
        missing = self._refused.get(instance.series_uid, set())
        missing.discard(instance.sop_instance_uid)
        if not missing:
            self._refused.pop(instance.series_uid, None)

    def recall(self, instances: Iterable[Instance], *, interrupted: bool = False) -> None:
        """Count instances that an earlier process received, or an earlier revision; they are no sign of a sender.

        `interrupted`: no release of their association is on record, so that only a new one or a count completes
        the series.
        """
        for instance in instances:
            series = self._known(instance)
            if interrupted:
                series.associations[""] = Association(0, 0, Ending.LOST)

    def association_ended(self, ended: AssociationEnded) -> None:
        """Take note of how an association ended, for every series that it brought."""
        self._endings[ended.association_id] = ended.ending
        while len(self._endings) > REMEMBERED_ENDINGS:
            self._endings.popitem(last=False)
        for series in self._series.values():
            association = series.associations.get(ended.association_id)
            if association is not None and association.ending is None:
                association.ending = ended.ending
                series.touched_at = self._now()

    def expected(self, series_uid: str, count: int | None) -> None:
        """Take the PACS's answer; None or 0 where it gave none or does not know the series."""
        if series_uid in self._series:
            self._series[series_uid].pacs_count = count or None

    def queries(self) -> tuple[SeriesRef, ...]:
        """Series to ask the PACS about now; each is named once after the last change of its instances."""
        if not self._policy.query_node:
            return ()
        wanted = [(uid, each) for uid, each in self._series.items() if self._wants_query(each)]
        for _, series in wanted:
            series.asked_at_heard = series.heard
        return tuple(SeriesRef(uid, series.study_uid) for uid, series in wanted)

    def due(self) -> tuple[Completed | Abandoned, ...]:
        """What is decided by now; each series is told once and forgotten, and begins anew with a late instance."""
        outcomes = [found for uid, each in self._series.items() if (found := self._outcome(uid, each))]
        for outcome in outcomes:
            self.forget(outcome.series_uid)
        return tuple(outcomes)

    def forget(self, series_uid: str) -> None:
        """Drop a series, as one that was refused or removed."""
        self._series.pop(series_uid, None)
        self._refused.pop(series_uid, None)

    def waiting(self) -> tuple[Waiting, ...]:
        """Every series that is still being received, in order of arrival."""
        return tuple(self._waiting(uid, series) for uid, series in self._series.items())

    def _known(self, instance: Instance) -> Arrivals:
        fresh = Arrivals(instance.study_uid, self._now())
        series = self._series.setdefault(instance.series_uid, fresh)
        series.add(instance)
        return series

    def _wants_query(self, series: Arrivals) -> bool:
        still = self._now() - series.touched_at >= self._policy.query_pause_seconds
        return still and not series.is_open and series.agreed is None and series.asked_at_heard != series.heard

    def _quiet_seconds(self, series: Arrivals) -> float:
        policy = self._policy
        longest = max(policy.quiet_seconds_by_aet.get(aet, policy.quiet_seconds) for aet in series.aets)
        return longest * OPEN_ASSOCIATION_FACTOR if series.is_open else longest

    def _outcome(self, uid: str, series: Arrivals) -> Completed | Abandoned | None:
        still, quiet, arrived = self._now() - series.touched_at, self._quiet_seconds(series), len(series.uids)
        evidence, reason = None, None
        if series.broken is not None:
            if series.agreed and still >= quiet:
                evidence = f"{series.agreed}, although: {_ended(series.broken)}"
            elif still >= self._policy.abandoned_seconds:
                reason = f"{_ended(series.broken)} after {_counted(series)}; the sender did not return"
        elif series.agreed and not series.is_open:
            evidence = ("association released and " if series.associations else "") + series.agreed
        elif missing := self._refused.get(uid):
            if still >= self._policy.incomplete_seconds:
                reason = f"{len(missing)} instances were refused for want of room and did not come again"
        elif series.lacks:
            if still >= self._policy.incomplete_seconds:
                reason = f"the PACS lists {series.pacs_count} instances, {arrived} arrived"
        elif still >= quiet:
            evidence = f"quiet for {quiet:g} s" + (", the association still open" if series.is_open else "")
        if evidence is not None:
            return Completed(uid, series.study_uid, arrived, evidence)
        return None if reason is None else Abandoned(uid, series.study_uid, arrived, reason)

    def _waiting(self, uid: str, series: Arrivals) -> Waiting:
        if series.broken is not None:
            waits_for = f"the sender to return: {_ended(series.broken)}"
        elif uid in self._refused:
            waits_for = "the instances that were refused for want of room"
        elif series.lacks:
            waits_for = "the instances that the PACS lists"
        else:
            waits_for = "the end of the association" if series.is_open else "the quiet time"
        still = self._now() - series.touched_at
        return Waiting(uid, series.study_uid, len(series.uids), series.expected, still, waits_for)


def _ended(ending: Ending) -> str:
    return "connection lost" if ending is Ending.LOST else f"association {ending.value}"


def _counted(series: Arrivals) -> str:
    listed = f" of {series.pacs_count} that the PACS lists" if series.lacks else ""
    return f"{len(series.uids)} instances{listed}"
