"""The ledger in; what the pages show of it out: how many stand where, and the latest series with their jobs."""

from dataclasses import dataclass
from enum import StrEnum

from service.findings import what_to_do
from service.jobs import Delivery, DeliveryState, FindingRecord, Job, JobState, SeriesRecord, SeriesState
from service.ledger import Ledger

ROWS = 60
"""How many series the page shows."""
REFUSALS = 20
"""How many refusals the page shows."""

S, J = SeriesState, JobState


class Group(StrEnum):
    """Where work stands, in the few words that a person looks for first."""

    ARRIVING = "arriving"
    WORKING = "in work"
    DELIVERED = "delivered"
    HELD = "held"
    UNROUTED = "unrouted"
    FAILED = "failed"


SERIES_IN: dict[Group, tuple[SeriesState, ...]] = {
    Group.ARRIVING: (S.RECEIVING, S.COMPLETE, S.WAITING),
    Group.HELD: (S.HELD,),
    Group.UNROUTED: (S.UNROUTED,),
    Group.FAILED: (S.FAILED,),
}
JOBS_IN: dict[Group, tuple[JobState, ...]] = {
    Group.WORKING: (J.QUEUED, J.INFERRING, J.INFERRED, J.ENCODED, J.DELIVERING),
    Group.DELIVERED: (J.DELIVERED, J.COMMITTED),
    Group.HELD: (J.HELD,),
    Group.FAILED: (J.FAILED,),
}
"""Superseded jobs are in no group: what replaced them is."""

_UNCHECKED = frozenset({J.QUEUED, J.INFERRING})
_SENT = frozenset({J.ENCODED, J.DELIVERING, J.DELIVERED, J.COMMITTED, J.FAILED, J.SUPERSEDED, J.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Tile:
    """One group with its number, and what the number is made of."""

    group: Group
    number: int
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job, what checks found in its result, and how far its objects have come."""

    job: Job
    findings: tuple[FindingRecord, ...]
    deliveries: tuple[Delivery, ...]

    @property
    def reason(self) -> str:
        """Why the job stands where it stands, where findings and deliveries do not say it already."""
        if self.job.state is JobState.HELD and self.findings:
            return what_to_do(self.job.id)
        undelivered = any(delivery.state is DeliveryState.FAILED for delivery in self.deliveries)
        return "" if undelivered and self.job.state is JobState.FAILED else self.job.reason

    @property
    def alike(self) -> tuple[tuple[Delivery, int], ...]:
        """The deliveries, those to one destination that stand alike as one of them and their number."""
        found: dict[tuple[object, ...], list[Delivery]] = {}
        for each in self.deliveries:
            stands = (each.destination, each.state, each.status, each.attempts, each.comment)
            found.setdefault(stands, []).append(each)
        return tuple((group[-1], len(group)) for group in found.values())


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series and the jobs of its present revision; superseded ones stand on the page of the series."""

    series: SeriesRecord
    lines: tuple[JobLine, ...]


def tiles(ledger: Ledger) -> tuple[Tile, ...]:
    """The groups in the order of a series' way."""
    of_series, of_jobs = ledger.count_series(), ledger.count_jobs()
    return tuple(_tile(group, of_series, of_jobs) for group in Group)


def _tile(group: Group, of_series: dict[SeriesState, int], of_jobs: dict[JobState, int]) -> Tile:
    series = [(state.value, of_series.get(state, 0)) for state in SERIES_IN.get(group, ())]
    jobs = [(state.value, of_jobs.get(state, 0)) for state in JOBS_IN.get(group, ())]
    if group in (Group.HELD, Group.FAILED):  # one state by name, of two kinds of thing
        series, jobs = [("series", series[0][1])], [("job" if jobs[0][1] == 1 else "jobs", jobs[0][1])]
    counted = [*series, *jobs]
    parts = tuple(f"{number} {name}" for name, number in counted if number) if len(counted) > 1 else ()
    total = sum(number for _, number in counted)
    return Tile(group, total, () if parts == (f"{total} {group.value}",) else parts)


def rows(ledger: Ledger, group: Group | None, limit: int = ROWS) -> tuple[SeriesRow, ...]:
    """The latest series, or the latest that have something in `group`."""
    if group is None:
        return tuple(row(ledger, series) for series in ledger.list_series(limit=limit))
    found = {series.series_uid: series for series in _series_in(ledger, group, limit)}
    latest = sorted(found.values(), key=lambda series: series.last_heard_at, reverse=True)[:limit]
    return tuple(row(ledger, series) for series in latest)


def _series_in(ledger: Ledger, group: Group, limit: int) -> list[SeriesRecord]:
    states = SERIES_IN.get(group)
    series = ledger.list_series(*states, limit=limit) if states else []
    job_states = JOBS_IN.get(group)
    jobs = ledger.list_jobs(*job_states, limit=limit) if job_states else []
    of_jobs = (ledger.series(uid) for uid in dict.fromkeys(job.series_uid for job in jobs))
    return [*series, *(each for each in of_jobs if each is not None)]


def row(ledger: Ledger, series: SeriesRecord) -> SeriesRow:
    """One series with the jobs that count now."""
    jobs = ledger.list_jobs(series_uid=series.series_uid)
    current = [job for job in jobs if job.state is not JobState.SUPERSEDED]
    return SeriesRow(series, tuple(line(ledger, job) for job in sorted(current, key=_place)))


def _place(job: Job) -> tuple[int, str, str]:
    return job.volume_index, job.protocol, job.id


def line(ledger: Ledger, job: Job) -> JobLine:
    """One job with what was found and its deliveries."""
    deliveries = tuple(ledger.deliveries(job.id)) if job.state in _SENT else ()
    findings = () if job.state in _UNCHECKED else tuple(ledger.findings(job.id))
    return JobLine(job, findings, deliveries)
