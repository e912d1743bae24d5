"""The durable record: every series, job, object, delivery and transition; the only writer of states.

SQLite by default, PostgreSQL by URL. Every change of state and its row in `transitions` are one transaction.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy import insert as insert_into

from service import schema
from service.jobs import TERMINAL, Delivery, DeliveryState, Job, JobState, ResultObject, SeriesRecord, SeriesState
from service.records import Records, every, one, only, open_database, put

OPEN = "open"
"""An association that has not ended."""


def open_ledger(url: str, *, actor: str, now: Callable[[], float] = time.time) -> "Ledger":
    """Open the ledger at an SQLAlchemy URL, bring its tables up to date, and sign every change with `actor`."""
    return Ledger(open_database(url), actor, now)


class Ledger(Records):
    """The record of one site; safe to use from several threads and processes."""

    # ── series ──────────────────────────────────────────────────────────────────────────────────────────────

    def heard(
        self, series_uid: str, study_uid: str, calling_aet: str, instance_count: int, association: str = OPEN
    ) -> None:
        """Record that a series now has so many instances; a settled series is reopened by a late one.

        `association` is how the one that brought the last of them stands.
        """
        at, t = self.now(), schema.series
        with self._write() as c:
            old = one(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid).with_for_update())
            if old is None:
                record = SeriesRecord(
                    series_uid=series_uid,
                    study_uid=study_uid,
                    calling_aet=calling_aet,
                    state=SeriesState.RECEIVING,
                    revision=0,
                    instance_count=instance_count,
                    association=association,
                    fingerprint="",
                    reason="",
                    explanation="",
                    first_heard_at=at,
                    last_heard_at=at,
                    updated_at=at,
                )
                c.execute(insert_into(t).values(**asdict(record)))
                self._log(c, "series", series_uid, "", SeriesState.RECEIVING, f"first instance from {calling_aet}")
                return
            values = {"instance_count": instance_count, "association": association}
            values |= {"last_heard_at": at, "updated_at": at}
            if old.state is not SeriesState.RECEIVING:
                cause = f"late instance from {calling_aet}"
                self._set(c, "series", t, series_uid, old.state, SeriesState.RECEIVING, cause, {"reason": cause})
            c.execute(t.update().where(t.c.series_uid == series_uid).values(**values))

    def move_series(self, series_uid: str, to: SeriesState, cause: str, **values: object) -> SeriesRecord:
        """Move a series to a state that may follow its present one, with the cause as its reason."""
        t = schema.series
        with self._write() as c:
            old = one(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid).with_for_update())
            if old is None:
                raise KeyError(series_uid)
            self._set(c, "series", t, series_uid, old.state, to, cause, {"reason": cause, **values})
            return only(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid))

    def series(self, series_uid: str) -> SeriesRecord | None:
        """One series, or None if the ledger never heard of it."""
        with self._engine.connect() as c:
            return one(c, SeriesRecord, select(schema.series).where(schema.series.c.series_uid == series_uid))

    def list_series(self, *states: SeriesState, limit: int = 200) -> list[SeriesRecord]:
        """The series in these states (all states if none is named), the latest heard first."""
        t = schema.series
        query = select(t).order_by(t.c.last_heard_at.desc()).limit(limit)
        with self._engine.connect() as c:
            return every(c, SeriesRecord, query.where(t.c.state.in_(states)) if states else query)

    def count_series(self) -> dict[SeriesState, int]:
        """How many series stand in each state."""
        t = schema.series
        with self._engine.connect() as c:
            rows = c.execute(select(t.c.state, func.count()).group_by(t.c.state)).all()
        return {SeriesState(state): int(count) for state, count in rows}

    def refused(self, calling_aet: str, sop_instance_uid: str, status: int, reason: str) -> None:
        """Record an object that was not accepted."""
        row = {"at": self.now(), "calling_aet": calling_aet, "sop_instance_uid": sop_instance_uid[:128]}
        with self._write() as c:
            c.execute(insert_into(schema.refusals).values(status=status, reason=reason, **row))

    def refusals(self, limit: int = 200) -> list[dict[str, object]]:
        """The objects that were not accepted, the latest first."""
        with self._engine.connect() as c:
            query = select(schema.refusals).order_by(schema.refusals.c.id.desc()).limit(limit)
            return [dict(row) for row in c.execute(query).mappings()]

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────

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
                if job.state is not JobState.SUPERSEDED:
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
        if states:
            query = query.where(t.c.state.in_(states))
        if series_uid is not None:
            query = query.where(t.c.series_uid == series_uid)
        with self._engine.connect() as c:
            return every(c, Job, query)

    def claim_job(self, job_id: str, ready: JobState, to: JobState, owner: str, lease_seconds: float) -> Job | None:
        """Take a job that is ready and that nobody living holds; None if there is nothing to take.

        `to` may equal `ready` for a step that is too short to have a state of its own.
        """
        at, t = self.now(), schema.jobs
        free = or_(t.c.owner == "", t.c.lease_until < at)
        with self._write() as c:
            job = one(c, Job, select(t).where(t.c.id == job_id, t.c.state == ready, free).with_for_update())
            if job is None:
                return None
            # The reason of an earlier attempt is kept in the transitions; a running job has none.
            values = {"owner": owner, "lease_until": at + lease_seconds, "percent": 0, "reason": ""}
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
        """Move a job on and end its lease; None, and nothing done, when `owner` holds it no longer."""
        t = schema.jobs
        with self._write() as c:
            job = one(c, Job, select(t).where(t.c.id == job_id).with_for_update())
            if job is None:
                raise KeyError(job_id)
            if owner is not None and job.owner != owner:
                return None
            ended = {"owner": "", "lease_until": 0.0, "stage": "", "hinted_at": 0.0}
            self._set(c, "job", t, job_id, job.state, to, cause, {**ended, **values})
            return only(c, Job, select(t).where(t.c.id == job_id))

    def release_job(self, job_id: str, owner: str) -> None:
        """End a lease without moving the job, so that the step can be claimed again."""
        t = schema.jobs
        free = {"owner": "", "lease_until": 0.0, "stage": "", "hinted_at": 0.0, "updated_at": self.now()}
        with self._write() as c:
            c.execute(t.update().where(t.c.id == job_id, t.c.owner == owner).values(**free))

    def expired_jobs(self) -> list[Job]:
        """Jobs whose worker stopped renewing its lease."""
        t = schema.jobs
        with self._engine.connect() as c:
            return every(c, Job, select(t).where(t.c.owner != "", t.c.lease_until < self.now()))

    def ready_jobs(self, state: JobState, hinted_before: float, limit: int = 500) -> list[Job]:
        """Jobs that wait in this state, that nobody holds, and that the queue was last told of before a time."""
        t = schema.jobs
        waiting = and_(t.c.state == state, t.c.owner == "", t.c.hinted_at < hinted_before)
        with self._engine.connect() as c:
            return every(c, Job, select(t).where(waiting).order_by(t.c.created_at).limit(limit))

    def hinted(self, job_ids: Iterable[str]) -> None:
        """Note that the queue has just been told of these jobs."""
        t = schema.jobs
        with self._write() as c:
            c.execute(t.update().where(t.c.id.in_(list(job_ids))).values(hinted_at=self.now()))

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs stand in each state."""
        t = schema.jobs
        with self._engine.connect() as c:
            rows = c.execute(select(t.c.state, func.count()).group_by(t.c.state)).all()
        return {JobState(state): int(count) for state, count in rows}

    # ── objects and deliveries ──────────────────────────────────────────────────────────────────────────────

    def encoded(
        self, job_id: str, owner: str, made: Sequence[ResultObject], destinations: Sequence[str]
    ) -> Job | None:
        """Record a job's objects and where each has to go, and move it on; None if no longer the owner's."""
        at = self.now()
        with self._write() as c:
            job = one(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
            if job is None or job.owner != owner:
                return None
            for thing in made:
                put(c, schema.objects, "sop_instance_uid", asdict(thing))
                self._address(c, job_id, thing.sop_instance_uid, destinations, at)
            ended = {"owner": "", "lease_until": 0.0, "stage": "", "percent": 100}
            cause = f"{len(made)} object(s) for {len(destinations)} destination(s)"
            self._set(c, "job", schema.jobs, job_id, job.state, JobState.ENCODED, cause, ended)
            return only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))

    def _address(self, c: Connection, job_id: str, uid: str, destinations: Sequence[str], at: float) -> None:
        t = schema.deliveries
        known = {row.destination for row in every(c, Delivery, select(t).where(t.c.sop_instance_uid == uid))}
        for destination in destinations:
            if destination not in known:
                row = {"job_id": job_id, "sop_instance_uid": uid, "destination": destination, "comment": ""}
                waiting = {"state": DeliveryState.WAITING, "attempts": 0, "next_attempt_at": at, "updated_at": at}
                c.execute(insert_into(t).values(first_attempt_at=0.0, **row, **waiting))

    def objects(self, job_id: str) -> list[ResultObject]:
        """What a job made."""
        t = schema.objects
        with self._engine.connect() as c:
            return every(c, ResultObject, select(t).where(t.c.job_id == job_id))

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Where a job's objects go, and how far each has come."""
        t = schema.deliveries
        with self._engine.connect() as c:
            return every(c, Delivery, select(t).where(t.c.job_id == job_id).order_by(t.c.id))

    def delivery(self, delivery_id: int) -> Delivery | None:
        """One delivery, or None."""
        t = schema.deliveries
        with self._engine.connect() as c:
            return one(c, Delivery, select(t).where(t.c.id == delivery_id))

    def deliveries_due(self, limit: int = 500) -> list[Delivery]:
        """Deliveries whose time has come, of jobs that still want them."""
        d, j = schema.deliveries, schema.jobs
        query = select(d).join(j, j.c.id == d.c.job_id).where(d.c.state == DeliveryState.WAITING)
        query = query.where(
            d.c.next_attempt_at <= self.now(), j.c.state.in_([JobState.ENCODED, JobState.DELIVERING])
        )
        with self._engine.connect() as c:
            return every(c, Delivery, query.order_by(d.c.next_attempt_at).limit(limit))

    def claim_delivery(self, delivery_id: int, lease_seconds: float) -> Delivery | None:
        """Take a delivery that is due: nobody else may until `lease_seconds` have passed; None if it is not due."""
        at, d, j = self.now(), schema.deliveries, schema.jobs
        due = select(d).where(d.c.id == delivery_id, d.c.state == DeliveryState.WAITING, d.c.next_attempt_at <= at)
        with self._write() as c:
            delivery = one(c, Delivery, due.with_for_update())
            if delivery is None:
                return None
            job = only(c, Job, select(j).where(j.c.id == delivery.job_id).with_for_update())
            if job.state is JobState.ENCODED:
                cause = f"sending to {delivery.destination}"
                self._set(c, "job", j, job.id, job.state, JobState.DELIVERING, cause, {})
            elif job.state is not JobState.DELIVERING:
                return None
            values: dict[str, object] = {"attempts": delivery.attempts + 1, "next_attempt_at": at + lease_seconds}
            values["first_attempt_at"] = delivery.first_attempt_at or at
            c.execute(d.update().where(d.c.id == delivery_id).values(updated_at=at, **values))
            return only(c, Delivery, select(d).where(d.c.id == delivery_id))

    def settle_delivery(
        self, delivery: Delivery, to: DeliveryState, cause: str, status: int | None, next_attempt_at: float = 0.0
    ) -> None:
        """Write down how an attempt ended; the job is delivered when its last delivery is, or failed with it."""
        t = schema.deliveries
        with self._write() as c:
            values = {"comment": cause, "status": status, "next_attempt_at": next_attempt_at}
            self._set(c, "delivery", t, delivery.id, delivery.state, to, cause, values)
            self._settle_job(c, delivery.job_id)

    def _settle_job(self, c: Connection, job_id: str) -> None:
        job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
        all_ = every(c, Delivery, select(schema.deliveries).where(schema.deliveries.c.job_id == job_id))
        if job.state is not JobState.DELIVERING or any(d.state is DeliveryState.WAITING for d in all_):
            return
        lost = [f"{d.destination}: {d.comment}" for d in all_ if d.state is DeliveryState.FAILED]
        to = JobState.FAILED if lost else JobState.DELIVERED
        cause = "; ".join(lost) or "stored by " + ", ".join(sorted({d.destination for d in all_}))
        self._set(c, "job", schema.jobs, job_id, job.state, to, cause, {"reason": cause if lost else ""})

    def retry_deliveries(self, job_id: str, cause: str) -> int:
        """Set a failed job's failed deliveries to wait again, and the job to delivering; how many there were."""
        t = schema.deliveries
        with self._write() as c:
            failed = every(c, Delivery, select(t).where(t.c.job_id == job_id, t.c.state == DeliveryState.FAILED))
            for delivery in failed:
                values = {"next_attempt_at": self.now(), "first_attempt_at": 0.0, "attempts": 0}
                self._set(c, "delivery", t, delivery.id, delivery.state, DeliveryState.WAITING, cause, values)
            if failed:
                job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))
                self._set(c, "job", schema.jobs, job_id, job.state, JobState.DELIVERING, cause, {"reason": ""})
        return len(failed)


def terminal(job: Job) -> bool:
    """True when nothing more happens to the job by itself."""
    return job.state in TERMINAL
