"""What senders were told, what the archive holds and what the ledger says, in; what was lost, doubled, halved out.

Pure. Three demands:
1. Every acknowledged instance is accounted for: its series ends in one delivered result at the archive that was
   made of all of them and has every slice, or in a visible reason.
2. No result is doubled: of one revision of a series the archive holds one SEG, under one UID, with the same bytes
   however often it came; and none that the ledger does not know.
3. No half series passes for a whole one: a SEG was made of everything that was acknowledged before it was begun,
   and what came later stands in a newer one that supersedes it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

DELIVERED = frozenset({"delivered", "committed"})
ASIDE_SERIES = frozenset({"failed", "held", "unrouted"})
ASIDE_JOB = frozenset({"failed", "held"})
GRACE_SECONDS = 1.0
"""An answer is noted by its sender a moment after the instance was on disk; a job begins a moment after that."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An instance that was answered with Success, and when for the first time."""

    series_uid: str
    sop_instance_uid: str
    at: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A SEG that the archive holds; one that came twice is there twice."""

    sop_instance_uid: str
    digest: str
    series_uid: str
    """The source's."""
    referenced: frozenset[str]
    """Instances that it says it was made of."""
    drawn: frozenset[str]
    """Instances for which it has a frame."""


@dataclass(frozen=True, slots=True)
class SeriesSeen:
    """A series as the ledger has it at the end."""

    series_uid: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job as the ledger has it at the end."""

    id: str
    series_uid: str
    revision: int
    state: str
    reason: str
    begun_at: float
    """When it was made, by the receiver's clock: its volume is fixed then."""
    made: tuple[str, ...] = ()
    """SOP Instance UIDs of its objects."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is compared."""

    acknowledged: Sequence[Acknowledged]
    stored: Sequence[Stored]
    series: Sequence[SeriesSeen]
    jobs: Sequence[JobSeen]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; the three tuples hold a sentence for each offence, and are empty where all is well."""

    results: int
    """Series that ended in a delivered result."""
    reasons: Mapping[str, str]
    """Series that ended in a visible reason."""
    resent: int
    """Objects that came to the archive once more, with the same bytes."""
    superseded: int
    """Stored results whose place a newer revision took."""
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    half: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.half)


@dataclass(slots=True)
class _Tally:
    results: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def audit(evidence: Evidence) -> Verdict:
    """Hold the archive and the ledger against what senders were told."""
    told: dict[str, dict[str, float]] = {}
    for each in evidence.acknowledged:
        at = told.setdefault(each.series_uid, {})
        at[each.sop_instance_uid] = min(each.at, at.get(each.sop_instance_uid, each.at))
    held = {each.sop_instance_uid: each for each in evidence.stored}
    tally = _Tally()
    for series_uid, instances in told.items():
        _account(tally, series_uid, frozenset(instances), evidence, held)
    current = {uid for job in evidence.jobs if job.state != "superseded" for uid in job.made}
    return Verdict(
        tally.results,
        tally.reasons,
        len(evidence.stored) - len({(each.sop_instance_uid, each.digest) for each in evidence.stored}),
        len(held.keys() - current),
        tuple(tally.lost),
        tuple(_doubled(evidence)),
        tuple(_half(evidence.jobs, held, told)),
    )


def _account(
    tally: _Tally, series_uid: str, told: frozenset[str], evidence: Evidence, held: Mapping[str, Stored]
) -> None:
    """Find where the acknowledged instances of one series ended."""
    series = next((each for each in evidence.series if each.series_uid == series_uid), None)
    if series is None:
        tally.lost.append(f"series {series_uid}: {len(told)} acknowledged, the ledger never heard of it")
        return
    jobs = [job for job in evidence.jobs if job.series_uid == series_uid and job.state != "superseded"]
    if series.state in ASIDE_SERIES and series.reason:
        tally.reasons[series_uid] = f"{series.state}: {series.reason}"
    elif series.state != "routed" or len(jobs) != 1:
        states = ", ".join(f"{job.id} {job.state}" for job in jobs) or "no job"
        tally.lost.append(f"series {series_uid}: stands in {series.state} with {states}: {series.reason}")
    elif jobs[0].state in ASIDE_JOB and jobs[0].reason:
        tally.reasons[series_uid] = f"job {jobs[0].id} {jobs[0].state}: {jobs[0].reason}"
    elif jobs[0].state not in DELIVERED:
        tally.lost.append(f"series {series_uid}: its job {jobs[0].id} ended nowhere, in {jobs[0].state}")
    elif fault := _not_shown(jobs[0], told, held):
        tally.lost.append(f"series {series_uid}: {fault}")
    else:
        tally.results += 1


def _not_shown(job: JobSeen, told: frozenset[str], held: Mapping[str, Stored]) -> str:
    """What of the acknowledged instances is not in the result of a delivered job; empty if nothing is."""
    there = [held[uid] for uid in job.made if uid in held]
    if not there:
        return f"job {job.id} is {job.state}, and the archive has no object of it"
    shown = frozenset().union(*(seg.referenced & seg.drawn for seg in there if seg.series_uid == job.series_uid))
    missing = sorted(told - shown)
    return f"job {job.id}: its result lacks {len(missing)} acknowledged, as {missing[0]}" if missing else ""


def _doubled(evidence: Evidence) -> Iterable[str]:
    maker = {uid: job for job in evidence.jobs for uid in job.made}
    digests: dict[str, set[str]] = {}
    for seg in evidence.stored:
        digests.setdefault(seg.sop_instance_uid, set()).add(seg.digest)
    for uid, different in digests.items():
        if len(different) > 1:
            yield f"SEG {uid} was stored with {len(different)} contents"
        if uid not in maker:
            yield f"SEG {uid} is at the archive and not in the ledger"
    by_work = Counter((maker[uid].series_uid, maker[uid].revision) for uid in digests if uid in maker)
    for (series_uid, revision), count in by_work.items():
        if count > 1:
            yield f"series {series_uid}, revision {revision}: {count} results at the archive"
    sources = {seg.sop_instance_uid: (seg.series_uid, seg.referenced) for seg in evidence.stored}
    for (series_uid, referenced), count in Counter(sources.values()).items():
        if count > 1:
            yield f"series {series_uid}: {count} results of the same {len(referenced)} instances"


def _half(
    jobs: Sequence[JobSeen], held: Mapping[str, Stored], told: Mapping[str, Mapping[str, float]]
) -> Iterable[str]:
    newest = {job.series_uid: max(j.revision for j in jobs if j.series_uid == job.series_uid) for job in jobs}
    for job in jobs:
        for seg in (held[uid] for uid in job.made if uid in held):
            acknowledged = told.get(job.series_uid, {})
            missing = sorted(acknowledged.keys() - (seg.referenced & seg.drawn))
            before = [uid for uid in missing if acknowledged[uid] < job.begun_at - GRACE_SECONDS]
            if before:
                yield (
                    f"SEG {seg.sop_instance_uid} of job {job.id} lacks {len(before)} instances that were "
                    f"acknowledged before it was begun, as {before[0]}"
                )
            elif missing and (job.revision == newest[job.series_uid] or job.state != "superseded"):
                yield (
                    f"SEG {seg.sop_instance_uid} of job {job.id} lacks {len(missing)} instances, and no newer "
                    f"revision takes its place"
                )
