"""What the ledger knows of files that were deleted: of which series and jobs, when, why, and what they were."""

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import Connection, Table, select
from sqlalchemy import insert as insert_into

from service import schema
from service.jobs import DeliveryState, IllegalTransitionError, Job, JobState, SeriesRecord, SeriesState
from service.records import Records, every, one
from service.times import clock_time

_DIGEST_BYTES = 4
_AT_ONCE = 500
S, J, D = SeriesState, JobState, DeliveryState

_NEEDS_FILES: dict[str, frozenset[tuple[StrEnum, StrEnum]]] = {
    "series": frozenset(
        (old, new) for old in (S.ROUTED, S.UNROUTED, S.HELD, S.FAILED) for new in (S.COMPLETE, S.ROUTED)
    ),
    "job": frozenset({(J.HELD, J.INFERRED), (J.FAILED, J.DELIVERING)}),
    "delivery": frozenset({(D.FAILED, D.WAITING)}),
}
"""Moves by the word of a person that would work with the files; a series that comes again goes its own way."""


class FilesDeletedError(IllegalTransitionError):
    """What is asked for needs files that were deleted; the message says when and why."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """The files of one series or job, which were deleted."""

    subject: str
    """"series" or "job"."""
    subject_id: str
    at: float
    cause: str
    files: int
    bytes: int
    instances: str
    """Of a series: four bytes of a digest for each of its instances, in base64; empty for a job."""
    finished: bool
    """False until the last file is gone: what was cut off is done again."""

    def missing(self, sop_instance_uids: Iterable[str]) -> int:
        """How many of the instances that it had are not among these."""
        had, have = _parted(base64.b64decode(self.instances)), _parted(_digests(sop_instance_uids))
        return len(had - have)


def listed(sop_instance_uids: Iterable[str]) -> str:
    """Instances as `Deletion.instances` keeps them."""
    return base64.b64encode(_digests(sop_instance_uids)).decode()


def _joined(one_: str, other: str) -> str:
    both = _parted(base64.b64decode(one_)) | _parted(base64.b64decode(other))
    return base64.b64encode(b"".join(sorted(both))).decode()


def _digests(uids: Iterable[str]) -> bytes:
    return b"".join(sorted({sha256(uid.encode()).digest()[:_DIGEST_BYTES] for uid in uids}))


def _parted(digests: bytes) -> set[bytes]:
    return {digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)}


@dataclass(frozen=True, slots=True)
class Stand:
    """All that decides whether the files of a series and its jobs may go."""

    series: SeriesRecord
    jobs: tuple[Job, ...]
    open_deliveries: frozenset[str]
    """Jobs of which an object waits to be stored, or to be confirmed."""
    open_withdrawals: frozenset[str]
    """Jobs whose withdrawal is not settled."""


class DeletionLedger(Records):
    """The part of the ledger that is about deleted files; it keeps people from asking for them."""

    def _set(
        self, c: Connection, subject: str, table: Table, key: str | int, old: StrEnum, new: StrEnum, cause: str,
        values: Mapping[str, object],
    ) -> None:  # fmt: skip
        if (old, new) in _NEEDS_FILES.get(subject, ()):
            self._require_files(c, subject, key)
        elif subject == "job" and new is J.QUEUED:  # it begins anew, from the files of its series
            j = schema.jobs
            series_uid = c.execute(select(j.c.series_uid).where(j.c.id == key)).scalar_one()
            self._require_files(c, "series", series_uid)
            t = schema.deletions
            c.execute(t.delete().where(t.c.subject == "job", t.c.subject_id == key))
        super()._set(c, subject, table, key, old, new, cause, values)

    def _require_files(self, c: Connection, subject: str, key: str | int) -> None:
        if subject == "delivery":
            d = schema.deliveries
            subject, key = "job", c.execute(select(d.c.job_id).where(d.c.id == key)).scalar_one()
        if gone := self._deletion(c, subject, str(key)):
            said = f"the files of {subject} {key} were deleted at {clock_time(gone.at)}: {gone.cause}"
            raise FilesDeletedError(f"{said}. Send all images of the series again first")

    def _deletion(self, c: Connection, subject: str, key: str) -> Deletion | None:
        t = schema.deletions
        return one(c, Deletion, select(t).where(t.c.subject == subject, t.c.subject_id == key))

    def deletion(self, subject: str, subject_id: str) -> Deletion | None:
        """How the files of one series or job were deleted; None where they were not."""
        with self._engine.connect() as c:
            return self._deletion(c, subject, subject_id)

    def unfinished_deletions(self) -> list[Deletion]:
        """Those that were decided and are not known to be carried out, the oldest first."""
        t = schema.deletions
        with self._engine.connect() as c:
            return every(c, Deletion, select(t).where(t.c.finished.is_(False)).order_by(t.c.at, t.c.subject_id))

    def stands(self, series_uids: Collection[str]) -> list[Stand]:
        """What decides on the files of these series, the longest unheard first; unknown ones are left out."""
        with self._engine.connect() as c:
            return [stand for some in _some(sorted(series_uids)) for stand in self._stands(c, some)]

    def _stands(self, c: Connection, series_uids: Sequence[str], lock: bool = False) -> list[Stand]:
        s, j, d, w = schema.series, schema.jobs, schema.deliveries, schema.withdrawals
        of_series, of_jobs = select(s).where(s.c.series_uid.in_(series_uids)), select(j)
        of_jobs = of_jobs.where(j.c.series_uid.in_(series_uids)).order_by(j.c.created_at, j.c.id)
        if lock:
            of_series, of_jobs = of_series.with_for_update(), of_jobs.with_for_update()
        series = every(c, SeriesRecord, of_series.order_by(s.c.last_heard_at, s.c.series_uid))
        jobs: dict[str, list[Job]] = {}
        for job in every(c, Job, of_jobs):
            jobs.setdefault(job.series_uid, []).append(job)
        ours = select(j.c.id).where(j.c.series_uid.in_(series_uids))
        waits = d.c.state.in_([D.WAITING, D.STORED])
        waiting = set(c.execute(select(d.c.job_id).where(d.c.job_id.in_(ours), waits)).scalars())
        unsettled = select(w.c.job_id).where(w.c.job_id.in_(ours), w.c.settled.is_(False))
        withdrawn = set(c.execute(unsettled).scalars())
        return [
            Stand(
                each,
                tuple(its := jobs.get(each.series_uid, [])),
                frozenset(job.id for job in its if job.id in waiting),
                frozenset(job.id for job in its if job.id in withdrawn),
            )
            for each in series
        ]

    def series_of_jobs(self, job_ids: Collection[str]) -> set[str]:
        """The series that these jobs are of."""
        t, found = schema.jobs, set[str]()
        with self._engine.connect() as c:
            for some in _some(sorted(job_ids)):
                found.update(c.execute(select(t.c.series_uid).where(t.c.id.in_(some)).distinct()).scalars())
        return found

    def delete_files(self, stand: Stand, deletions: Sequence[Deletion]) -> bool:
        """Write down that files are going to be deleted; False, and nothing done, if anything moved."""
        t = schema.deletions
        with self._write() as c:
            if self._stands(c, [stand.series.series_uid], lock=True) != [stand]:
                return False
            before = self._deletion(c, "series", stand.series.series_uid)
            if before and not before.finished:
                return False  # another process is at it
            for each in deletions:
                if before and each.subject == "series":  # what came again since was not all of it
                    each = replace(each, instances=_joined(before.instances, each.instances))  # noqa: PLW2901
                c.execute(t.delete().where(t.c.subject == each.subject, t.c.subject_id == each.subject_id))
                c.execute(insert_into(t).values(**asdict(each)))
                state = next(
                    (job.state for job in stand.jobs if job.id == each.subject_id), stand.series.state
                )  # fmt: skip
                self._log(c, each.subject, each.subject_id, state, state, f"files deleted: {each.cause}")
        return True

    def deletion_finished(self, deletion: Deletion) -> None:
        """The files are gone."""
        t = schema.deletions
        this = (t.c.subject == deletion.subject, t.c.subject_id == deletion.subject_id, t.c.at == deletion.at)
        with self._write() as c:
            c.execute(t.update().where(*this).values(finished=True))

    def files_are_back(self, subject: str, subject_id: str, why: str) -> None:
        """Forget that files were deleted: they are there again."""
        t = schema.deletions
        with self._write() as c:
            gone = c.execute(t.delete().where(t.c.subject == subject, t.c.subject_id == subject_id)).rowcount
            series = one(c, SeriesRecord, select(schema.series).where(schema.series.c.series_uid == subject_id))
            if gone and series is not None:
                self._log(c, subject, subject_id, series.state, series.state, why)


def _some(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE))
