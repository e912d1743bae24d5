"""What the ledger knows of jobs: which there are, who holds each, how far it is, and what checks found in it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, and_, select
from sqlalchemy import insert as insert_into

from service import schema
from service.fairness import jobs_in_turn
from service.findings import Finding
from service.jobs import FindingRecord, Job, JobState, SeriesRecord, SeriesState
from service.records import Records, every, one, only


class JobLedger(Records):
    """The part of the ledger that is about jobs."""

    def route_series(
        self, series_uid: str, cause: str, explanation: str, jobs: Sequence[Job], **values: object
    ) -> None:
        """Move a complete series to routed and add the jobs that the ledger does not know yet."""
        t = schema.jobs
        with self._write() as c:
            old = only(c, SeriesRecord, select(schema.series).where(schema.series.c.series_uid == series_uid))
            fields_ = {"reason": cause, "explanation": explanation, **values}
            self._set(c, "series", schema.series, series_uid, old.state, SeriesState.ROUTED, cause, fields_)
            known = {row.id for row in every(c, Job, select(t).where(t.c.series_uid == series_uid))}
            for job in jobs:
                if job.id not in known:
                    c.execute(insert_into(t).values(**asdict(job)))
                    self._log(c, "job", job.id, "", job.state, f"routed to {job.submodel}, protocol {job.protocol}")

    def supersede_jobs(self, series_uid: str, revision: int) -> None:
        """Mark every job of an earlier revision of the series as superseded by this one."""
        t = schema.jobs
        query = select(t).where(t.c.series_uid == series_uid, t.c.revision < revision).with_for_update()
        with self._write() as c:
            for job in every(c, Job, query):
                if job.state not in (JobState.SUPERSEDED, JobState.WITHDRAWN):
                    cause = f"revision {revision} of the series replaces revision {job.revision}"
                    values = {"reason": cause, "owner": "", "lease_until": 0.0}
                    self._set(c, "job", t, job.id, job.state, JobState.SUPERSEDED, cause, values)

    def job(self, job_id: str) -> Job | None:
        """One job, or None."""
        with self._engine.connect() as c:
            return one(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))

    def list_jobs(self, *states: JobState, series_uid: str | None = None, limit: int = 200) -> list[Job]:
        """Jobs in these states (all if none is named), the newest first."""
        t = schema.jobs
        query = select(t).order_by(t.c.created_at.desc(), t.c.id).limit(limit)
        if series_uid is not None:
            query = select(t).where(t.c.series_uid == series_uid)
        one_by_one = dict.fromkeys(states) if series_uid is None else ()  # a series has few, found by its index
        asked = [query.where(t.c.state == state) for state in one_by_one] or [query]
        with self._engine.connect() as c:  # one query for each state: an index has each in this order already
            found = [job for one_ in asked for job in every(c, Job, one_) if not states or job.state in states]
        return sorted(found, key=lambda job: (-job.created_at, job.id))[:limit]

    def claim_job(self, job_id: str, ready: JobState, to: JobState, owner: str, lease_seconds: float) -> Job | None:
        """Take a job that is ready, rested, and that nobody holds; None if there is nothing to take.

        What a worker held that fell silent is taken from it by the sweeper alone. While more of its series comes,
        nothing is begun: it may be half of it. `to` may equal `ready` for a step that is too short to have a state
        of its own.
        """
        at, t, s = self.now(), schema.jobs, schema.series
        reopened = (s.c.series_uid == t.c.series_uid, s.c.state == SeriesState.RECEIVING)
        free = and_(t.c.owner == "", t.c.not_before <= at, ~select(s.c.series_uid).where(*reopened).exists())
        with self._write() as c:
            job = one(c, Job, select(t).where(t.c.id == job_id, t.c.state == ready, free).with_for_update())
            if job is None:
                return None
            # The reason of an earlier attempt is kept in the transitions; a running job has none.
            values = {"owner": owner, "lease_until": at + lease_seconds, "percent": 0}
            values |= {"reason": "", "reason_kind": ""}
            values["attempts"] = job.attempts + (1 if to is not ready else 0)
            if to is ready:
                c.execute(t.update().where(t.c.id == job_id).values(updated_at=at, **values))
            else:
                self._set(c, "job", t, job_id, job.state, to, f"claimed by {owner}", values)
            return only(c, Job, select(t).where(t.c.id == job_id))

    def renew(self, job_id: str, owner: str, stage: str, percent: int, lease_seconds: float) -> bool:
        """Keep the lease and show progress; False when the job is no longer this owner's."""
        at, t = self.now(), schema.jobs
        values = {"stage": stage, "percent": percent, "lease_until": at + lease_seconds, "updated_at": at}
        with self._write() as c:
            return c.execute(t.update().where(t.c.id == job_id, t.c.owner == owner).values(**values)).rowcount == 1

    def move_job(
        self, job_id: str, to: JobState, cause: str, *, owner: str | None = None, **values: object
    ) -> Job | None:
        """Move a job on and end its lease; None, and nothing done, when `owner` holds it no longer.

        It need not rest, has no setbacks and no kind of failure, unless `values` say so.
        """
        t = schema.jobs
        with self._write() as c:
            job = one(c, Job, select(t).where(t.c.id == job_id).with_for_update())
            if job is None:
                raise KeyError(job_id)
            if owner is not None and job.owner != owner:
                return None
            return self._move(c, job, to, cause, **values)

    def _move(self, c: Connection, job: Job, to: JobState, cause: str, **values: object) -> Job:
        ended = {"owner": "", "lease_until": 0.0, "stage": "", "hinted_at": 0.0}
        unharmed = {"not_before": 0.0, "setbacks": 0, "reason_kind": ""}
        self._set(c, "job", schema.jobs, job.id, job.state, to, cause, {**ended, **unharmed, **values})
        return only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job.id))

    def inferred(
        self,
        job_id: str,
        cause: str,
        found: Sequence[Finding],
        hold: str,
        held: Sequence[Finding] | None = None,
        *,
        owner: str,
        **values: object,
    ) -> Job | None:
        """Move a job to inferred, with what checks found in its result, and on to held if `hold` is a reason to.

        `held` are those of the findings that hold it; None: each. All of it or nothing: no encoder sees a result
        that is to be held. None, and nothing done, when `owner` holds the job no longer. What was found in an
        earlier result of the job is forgotten.
        """
        t = schema.findings
        with self._write() as c:
            query = select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update()
            job = only(c, Job, query)
            if job.owner != owner:
                return None
            c.execute(t.delete().where(t.c.job_id == job_id))
            for each in found:
                holds = bool(hold) and (held is None or each in held)
                row = FindingRecord(job_id, each.name.value, each.evidence, holds, self.now())
                c.execute(insert_into(t).values(**asdict(row)))
            job = self._move(c, job, JobState.INFERRED, cause, **values)
            return self._move(c, job, JobState.HELD, hold, reason=hold) if hold else job

    def findings(self, job_id: str) -> list[FindingRecord]:
        """What checks found in the result of a job, in the order in which they asked."""
        t = schema.findings
        with self._engine.connect() as c:
            return every(c, FindingRecord, select(t).where(t.c.job_id == job_id).order_by(t.c.id))

    def release_job(self, job_id: str, owner: str, **values: object) -> bool:
        """End a lease without moving the job, so that the step can be claimed again; False if not this owner's."""
        t = schema.jobs
        free = {"owner": "", "lease_until": 0.0, "stage": "", "hinted_at": 0.0, "updated_at": self.now()}
        held = and_(t.c.id == job_id, t.c.owner == owner)
        with self._write() as c:
            return c.execute(t.update().where(held).values(**{**free, **values})).rowcount == 1

    def held_jobs(self) -> list[Job]:
        """Jobs that workers hold."""
        t = schema.jobs
        with self._engine.connect() as c:
            return every(c, Job, select(t).where(t.c.lease_until > 0.0, t.c.owner != ""))  # by the index of leases

    def ready_jobs(self, state: JobState, hinted_before: float, limit: int = 500) -> list[Job]:
        """Jobs that wait in this state, that nobody holds, and that the queue was last told of before a time.

        The most urgent first, and of those the oldest of every sender in turn. Those that rest are not among them.
        """
        t = jobs_in_turn(state)
        waiting = and_(t.c.owner == "", t.c.hinted_at < hinted_before, t.c.not_before <= self.now())
        order = (t.c.urgency.desc(), t.c.turn, t.c.created_at, t.c.id)
        with self._engine.connect() as c:
            return every(c, Job, select(t).where(waiting).order_by(*order).limit(limit))

    def urgency_of(self, job_ids: Iterable[str]) -> dict[str, int]:
        """How urgent these jobs are."""
        t = schema.jobs
        with self._engine.connect() as c:
            query = select(t.c.id, t.c.urgency).where(t.c.id.in_(list(job_ids)))
            return {str(name): int(urgency) for name, urgency in c.execute(query).all()}

    def hinted(self, job_ids: Iterable[str]) -> None:
        """Note that the queue has just been told of these jobs."""
        t = schema.jobs
        with self._write() as c:
            c.execute(t.update().where(t.c.id.in_(list(job_ids))).values(hinted_at=self.now()))
