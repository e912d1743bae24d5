"""What the ledger knows of what jobs made: the objects, and where each has to go and has gone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, and_, or_, select
from sqlalchemy import insert as insert_into

from service import schema
from service.jobs import Delivery, DeliveryState, Job, JobState, ResultObject
from service.ledger_rests import RestLedger
from service.records import every, one, only, put

_WITH_DELIVERIES = frozenset({JobState.DELIVERING, JobState.DELIVERED, JobState.FAILED})
_STEPS = {
    (JobState.DELIVERING, JobState.COMMITTED): (JobState.DELIVERED, JobState.COMMITTED),
    (JobState.FAILED, JobState.DELIVERED): (JobState.DELIVERING, JobState.DELIVERED),
    (JobState.FAILED, JobState.COMMITTED): (JobState.DELIVERING, JobState.DELIVERED, JobState.COMMITTED),
}
_BAD = frozenset({JobState.FAILED})


class DeliveryLedger(RestLedger):
    """The part of the ledger that is about objects and their deliveries."""

    def encoded(
        self, job_id: str, owner: str, made: Sequence[ResultObject], destinations: Mapping[str, Collection[str]]
    ) -> Job | None:
        """Record a job's objects and where each has to go, and move it on; None if no longer the owner's.

        `destinations` says by name which kinds of object each wants.
        """
        at = self.now()
        with self._write() as c:
            job = one(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
            if job is None or job.owner != owner:
                return None
            for thing in made:
                put(c, schema.objects, "sop_instance_uid", asdict(thing))
                wanting = [name for name, kinds in destinations.items() if thing.kind in kinds]
                self._address(c, job_id, thing.sop_instance_uid, wanting, at)
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
        """Deliveries whose time has come, of jobs that still want them: to be sent, or to be asked about.

        Those whose destination rests are not among them.
        """
        at, d, j, r = self.now(), schema.deliveries, schema.jobs, schema.rests
        to_send = and_(d.c.state == DeliveryState.WAITING, j.c.state.in_([JobState.ENCODED, JobState.DELIVERING]))
        to_ask = and_(d.c.state == DeliveryState.STORED, j.c.state != JobState.SUPERSEDED)
        resting = select(r.c.destination).where(r.c.rests_until > at)
        query = select(d).join(j, j.c.id == d.c.job_id).where(d.c.next_attempt_at <= at, or_(to_send, to_ask))
        query = query.where(d.c.destination.not_in(resting)).order_by(d.c.next_attempt_at, d.c.id).limit(limit)
        with self._engine.connect() as c:
            return every(c, Delivery, query)

    def claim_delivery(self, delivery_id: int, lease_seconds: float) -> Delivery | None:
        """Take a delivery that is due: nobody else may until `lease_seconds` have passed; None if it is not due.

        Nor while its destination rests; after the rest, one delivery goes first and the others wait for it.
        """
        at, d, j = self.now(), schema.deliveries, schema.jobs
        due = select(d).where(d.c.id == delivery_id, d.c.state == DeliveryState.WAITING, d.c.next_attempt_at <= at)
        with self._write() as c:
            delivery = one(c, Delivery, due.with_for_update())
            if delivery is None or not self._probe(c, delivery.destination, lease_seconds):
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
            values: dict[str, object] = {"comment": cause, "status": status, "next_attempt_at": next_attempt_at}
            values["stored_at"] = self.now() if to is DeliveryState.STORED else 0.0
            self._set(c, "delivery", t, delivery.id, delivery.state, to, cause, values)
            self._settle_job(c, delivery.job_id)

    def _settle_job(self, c: Connection, job_id: str) -> None:
        """Bring a job to where its deliveries are, each step a transition of its own."""
        job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
        all_ = every(c, Delivery, select(schema.deliveries).where(schema.deliveries.c.job_id == job_id))
        to, cause = _where(all_)
        if job.state not in _WITH_DELIVERIES or job.state is to:
            return
        state = job.state
        for step in _STEPS.get((state, to), (to,)):
            self._set(c, "job", schema.jobs, job_id, state, step, cause, {"reason": cause if to in _BAD else ""})
            state = step

    def retry_deliveries(self, job_id: str, cause: str) -> int:
        """Set a failed job's failed deliveries to wait again, and the job to delivering; how many there were."""
        t = schema.deliveries
        with self._write() as c:
            failed = every(c, Delivery, select(t).where(t.c.job_id == job_id, t.c.state == DeliveryState.FAILED))
            for delivery in failed:
                values = {"next_attempt_at": self.now(), "first_attempt_at": 0.0, "attempts": 0}
                values |= {"stored_at": 0.0, "resent": 0}
                self._set(c, "delivery", t, delivery.id, delivery.state, DeliveryState.WAITING, cause, values)
            if failed:
                job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))
                self._set(c, "job", schema.jobs, job_id, job.state, JobState.DELIVERING, cause, {"reason": ""})
        return len(failed)


def _where(deliveries: Sequence[Delivery]) -> tuple[JobState, str]:
    """Where a job with these deliveries stands, and why."""
    names = ", ".join(sorted({d.destination for d in deliveries}))
    waiting = [d for d in deliveries if d.state is DeliveryState.WAITING]
    if waiting:
        return JobState.DELIVERING, "; ".join(f"{d.destination}: {d.comment}" for d in waiting)
    if lost := [f"{d.destination}: {d.comment}" for d in deliveries if d.state is DeliveryState.FAILED]:
        return JobState.FAILED, "; ".join(lost)
    if all(d.state is DeliveryState.COMMITTED for d in deliveries):
        return JobState.COMMITTED, f"kept by {names}, who said so"
    return JobState.DELIVERED, f"stored by {names}"
