"""What the ledger knows of what jobs made: the objects, and where each has to go and has gone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import ColumnElement, Connection, and_, or_, select
from sqlalchemy import insert as insert_into

from service import schema
from service.fairness import deliveries_in_turn
from service.jobs import Delivery, DeliveryState, FailureKind, Job, JobState, ResultObject
from service.ledger_rests import RestLedger
from service.records import every, one, only, put

_WITH_DELIVERIES = frozenset({JobState.DELIVERING, JobState.DELIVERED, JobState.FAILED})
_STEPS = {
    (JobState.DELIVERING, JobState.COMMITTED): (JobState.DELIVERED, JobState.COMMITTED),
    (JobState.FAILED, JobState.DELIVERED): (JobState.DELIVERING, JobState.DELIVERED),
    (JobState.FAILED, JobState.COMMITTED): (JobState.DELIVERING, JobState.DELIVERED, JobState.COMMITTED),
}
_BAD = frozenset({JobState.FAILED})
TAKEN_BACK = frozenset({JobState.SUPERSEDED, JobState.WITHDRAWN})
"""Nothing more is sent of such a job but its rejection notes, and nothing is asked about."""
_ARRIVED = frozenset({DeliveryState.STORED, DeliveryState.DELIVERED})
_NOT_ARRIVED = frozenset({DeliveryState.WAITING, DeliveryState.FAILED, DeliveryState.DROPPED})
_WITH_SEGMENTS = ("seg", "labelmap")
"""Kinds of object whose segments a report refers to."""
_SAME_WORK = ("series_uid", "volume_index", "submodel", "protocol")


class DeliveryLedger(RestLedger):
    """The part of the ledger that is about objects and their deliveries."""

    def encoded(
        self, job_id: str, owner: str, made: Sequence[ResultObject], addressed: Mapping[str, Collection[str]]
    ) -> Job | None:
        """Record a job's objects and where each has to go, and move it on; None if no longer the owner's.

        `addressed` are by destination the SOP Instance UIDs of those that it gets.
        """
        at = self.now()
        with self._write() as c:
            job = one(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
            if job is None or job.owner != owner:
                return None
            self._address(c, job_id, made, addressed, at)
            ended = {"owner": "", "lease_until": 0.0, "stage": "", "percent": 100, "setbacks": 0}
            cause = f"{len(made)} object(s) for {len(addressed)} destination(s)"
            self._set(c, "job", schema.jobs, job_id, job.state, JobState.ENCODED, cause, ended)
            d = schema.deliveries
            rows = every(c, Delivery, select(d).where(d.c.job_id == job_id))
            if all(row.state is not DeliveryState.WAITING for row in rows):  # run again, with the same result
                cause = "every object went out before"
                self._set(c, "job", schema.jobs, job_id, JobState.ENCODED, JobState.DELIVERING, cause, {})
                self._settle_job(c, job_id)
            return only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))

    def _address(
        self,
        c: Connection,
        job_id: str,
        made: Sequence[ResultObject],
        addressed: Mapping[str, Collection[str]],
        at: float,
    ) -> None:
        """Record objects, and each where it goes; what is on its way already stays as it is."""
        t = schema.deliveries
        for thing in made:
            put(c, schema.objects, "sop_instance_uid", asdict(thing))
        rows = every(c, Delivery, select(t).where(t.c.job_id == job_id))
        known = {(row.destination, row.sop_instance_uid) for row in rows}
        waiting = {"state": DeliveryState.WAITING, "attempts": 0, "next_attempt_at": at, "updated_at": at}
        for destination, uids in addressed.items():
            for uid in uids:
                if (destination, uid) not in known:
                    row = {"job_id": job_id, "sop_instance_uid": uid, "destination": destination, "comment": ""}
                    c.execute(insert_into(t).values(first_attempt_at=0.0, **row, **waiting))

    def reformed(self, delivery: Delivery, made: Sequence[ResultObject], uids: Collection[str], cause: str) -> bool:
        """Send another form of a result in place of one that its destination does not take.

        What waits of the old form, and the reports on its segments, are dropped. False, and nothing done, where the
        delivery waits no longer.
        """
        d, o = schema.deliveries, schema.objects
        with self._write() as c:
            self._job_of(c, delivery.id)
            now = only(c, Delivery, select(d).where(d.c.id == delivery.id))
            if now.state is not DeliveryState.WAITING:
                return False
            kind = c.execute(select(o.c.kind).where(o.c.sop_instance_uid == now.sop_instance_uid)).scalar_one()
            old = and_(d.c.job_id == now.job_id, d.c.destination == now.destination, o.c.kind.in_([kind, "sr"]))
            query = select(d).join(o, o.c.sop_instance_uid == d.c.sop_instance_uid).where(old)
            for each in every(c, Delivery, query.where(d.c.state == DeliveryState.WAITING)):
                values = {"comment": cause}
                self._set(c, "delivery", d, each.id, each.state, DeliveryState.DROPPED, cause, values)
            self._address(c, now.job_id, made, {now.destination: uids}, self.now())
        return True

    def object(self, sop_instance_uid: str) -> ResultObject | None:
        """One object, or None."""
        t = schema.objects
        with self._engine.connect() as c:
            return one(c, ResultObject, select(t).where(t.c.sop_instance_uid == sop_instance_uid))

    def predecessor(self, job: Job, name: str) -> ResultObject | None:
        """The object whose place a new one of this name takes: by an earlier model, or of an earlier revision.

        None where there is none, or where it was withdrawn.
        """
        j, o = schema.jobs, schema.objects
        same = [getattr(j.c, key) == getattr(job, key) for key in _SAME_WORK]
        query = select(o).join(j, j.c.id == o.c.job_id).where(*same, j.c.state != JobState.WITHDRAWN)
        query = query.where(j.c.revision <= job.revision).order_by(j.c.revision.desc(), o.c.made_at.desc())
        with self._engine.connect() as c:
            return next((each for each in every(c, ResultObject, query) if each.name == name), None)

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

        The one that is due longest of every destination in turn; those whose destination rests are not among them.
        """
        at, d, j, r = self.now(), schema.deliveries, schema.jobs, schema.rests
        wanted = or_(j.c.state.in_([JobState.ENCODED, JobState.DELIVERING]), _is_note())
        to_send = and_(d.c.state == DeliveryState.WAITING, wanted)
        to_ask = and_(d.c.state == DeliveryState.STORED, j.c.state.not_in(TAKEN_BACK))
        resting = select(r.c.destination).where(r.c.rests_until > at)
        open_ = d.c.state.in_([DeliveryState.WAITING, DeliveryState.STORED])  # by its index
        query = (
            select(d).join(j, j.c.id == d.c.job_id).where(open_, d.c.next_attempt_at <= at, or_(to_send, to_ask))
        )
        query = query.where(d.c.destination.not_in(resting), ~_refers_to_waiting())
        due = deliveries_in_turn(query)
        with self._engine.connect() as c:
            order = (due.c.turn, due.c.next_attempt_at, due.c.id)
            return every(c, Delivery, select(due).order_by(*order).limit(limit))

    def claim_delivery(self, delivery_id: int, lease_seconds: float) -> Delivery | None:
        """Take a delivery that is due: nobody else may until `lease_seconds` have passed; None if it is not due.

        Nor while its destination rests; after the rest, one delivery goes first and the others wait for it. A
        report on segments goes after the objects that have them.
        """
        at, d, j = self.now(), schema.deliveries, schema.jobs
        due = select(d).where(d.c.id == delivery_id, d.c.state == DeliveryState.WAITING, d.c.next_attempt_at <= at)
        due = due.where(~_refers_to_waiting())
        with self._write() as c:
            job = self._job_of(c, delivery_id)
            delivery = one(c, Delivery, due)
            if delivery is None or not self._probe(c, delivery.destination, lease_seconds):
                return None
            if job.state is JobState.ENCODED:
                cause = f"sending to {delivery.destination}"
                self._set(c, "job", j, job.id, job.state, JobState.DELIVERING, cause, {})
            elif job.state is not JobState.DELIVERING and one(c, Delivery, due.where(_is_note())) is None:
                return None
            values: dict[str, object] = {"attempts": delivery.attempts + 1, "next_attempt_at": at + lease_seconds}
            values["first_attempt_at"] = delivery.first_attempt_at or at
            c.execute(d.update().where(d.c.id == delivery_id).values(updated_at=at, **values))
            return only(c, Delivery, select(d).where(d.c.id == delivery_id))

    def settle_delivery(
        self, delivery: Delivery, to: DeliveryState, cause: str, status: int | None, next_attempt_at: float = 0.0
    ) -> bool:
        """Write down how an attempt ended; the job is delivered when its last delivery is, or failed with it.

        False, and nothing done, where another attempt began or ended since, as after a lease that ran out; except
        that what was stored after all is written down as stored.
        """
        t = schema.deliveries
        with self._write() as c:
            values: dict[str, object] = {"comment": cause, "status": status, "next_attempt_at": next_attempt_at}
            values["stored_at"] = self.now() if to is DeliveryState.STORED else 0.0
            self._job_of(c, delivery.id)
            now = only(c, Delivery, select(t).where(t.c.id == delivery.id))
            if not (_same_attempt(now, delivery) or (to in _ARRIVED and now.state in _NOT_ARRIVED)):
                return False
            self._set(c, "delivery", t, delivery.id, now.state, to, cause, values)
            if to is DeliveryState.FAILED:
                self._fail_reports(c, delivery)
            self._settle_job(c, delivery.job_id)
        return True

    def hand_back(self, delivery: Delivery, pause_seconds: float, cause: str) -> bool:
        """Undo `claim_delivery`: no attempt is counted, and others may take it after a pause; False if it ended."""
        t, due = schema.deliveries, self.now() + pause_seconds
        lease = and_(t.c.attempts == delivery.attempts, t.c.next_attempt_at == delivery.next_attempt_at)
        claim = (t.c.id == delivery.id, t.c.state == DeliveryState.WAITING, lease)
        values = {"attempts": delivery.attempts - 1, "next_attempt_at": due, "updated_at": self.now()}
        with self._write() as c:
            self._job_of(c, delivery.id)
            self._probe_over(c, delivery.destination, delivery.next_attempt_at, due)
            if not c.execute(t.update().where(*claim).values(**values)).rowcount:
                return False
            self._log(c, "delivery", str(delivery.id), delivery.state, delivery.state, cause)
        return True

    def _fail_reports(self, c: Connection, delivery: Delivery) -> None:
        """What refers to segments is not sent where the object that has them was refused."""
        d, o = schema.deliveries, schema.objects
        kind = c.execute(select(o.c.kind).where(o.c.sop_instance_uid == delivery.sop_instance_uid)).scalar_one()
        if kind not in _WITH_SEGMENTS:
            return
        same = and_(d.c.job_id == delivery.job_id, d.c.destination == delivery.destination, o.c.kind == "sr")
        query = select(d).join(o, o.c.sop_instance_uid == d.c.sop_instance_uid).where(same)
        for each in every(c, Delivery, query.where(d.c.state == DeliveryState.WAITING)):
            cause = "not sent: it refers to segments that were refused"
            self._set(c, "delivery", d, each.id, each.state, DeliveryState.FAILED, cause, {"comment": cause})

    def _job_of(self, c: Connection, delivery_id: int) -> Job:
        """Lock the job of a delivery, and with it what may become of all its deliveries.

        Every transaction takes the job first, then the rest of a destination, then deliveries: two that took them
        in other orders would wait for each other.
        """
        d, j = schema.deliveries, schema.jobs
        query = select(j).where(j.c.id == select(d.c.job_id).where(d.c.id == delivery_id).scalar_subquery())
        return only(c, Job, query.with_for_update())

    def _settle_job(self, c: Connection, job_id: str) -> None:
        """Bring a job to where its deliveries are, each step a transition of its own."""
        job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id).with_for_update())
        all_ = every(c, Delivery, select(schema.deliveries).where(schema.deliveries.c.job_id == job_id))
        to, cause = _where(all_)
        if job.state not in _WITH_DELIVERIES or job.state is to:
            return
        state = job.state
        kind = FailureKind.DESTINATION if to in _BAD else ""
        for step in _STEPS.get((state, to), (to,)):
            values = {"reason": cause if to in _BAD else "", "reason_kind": kind}
            self._set(c, "job", schema.jobs, job_id, state, step, cause, values)
            state = step

    def retry_deliveries(self, job_id: str, cause: str) -> int:
        """Set a failed job's failed deliveries to wait again, and the job to delivering; how many there were."""
        t = schema.deliveries
        with self._write() as c:
            c.execute(select(schema.jobs.c.id).where(schema.jobs.c.id == job_id).with_for_update())
            failed = every(c, Delivery, select(t).where(t.c.job_id == job_id, t.c.state == DeliveryState.FAILED))
            for delivery in failed:
                values = {"next_attempt_at": self.now(), "first_attempt_at": 0.0, "attempts": 0}
                values |= {"stored_at": 0.0, "resent": 0}
                self._set(c, "delivery", t, delivery.id, delivery.state, DeliveryState.WAITING, cause, values)
            if failed:
                job = only(c, Job, select(schema.jobs).where(schema.jobs.c.id == job_id))
                free = {"reason": "", "reason_kind": ""}
                self._set(c, "job", schema.jobs, job_id, job.state, JobState.DELIVERING, cause, free)
        return len(failed)


def _same_attempt(now: Delivery, then: Delivery) -> bool:
    """Whether a delivery is still in the attempt that it was in."""
    marks = ("state", "attempts", "next_attempt_at")
    return all(getattr(now, each) == getattr(then, each) for each in marks)


def _is_note() -> ColumnElement[bool]:
    """Whether a delivery is of a rejection note, which is sent though its job is taken back."""
    o = schema.objects
    note = select(o.c.kind).where(o.c.sop_instance_uid == schema.deliveries.c.sop_instance_uid, o.c.kind == "note")
    return note.correlate(schema.deliveries).exists()


def _refers_to_waiting() -> ColumnElement[bool]:
    """Whether a delivery is of a report on segments that wait to be stored in the same place."""
    d, mine = schema.deliveries, schema.objects.alias("mine")
    other, its = schema.deliveries.alias("other"), schema.objects.alias("its")
    report = select(mine.c.kind).where(mine.c.sop_instance_uid == d.c.sop_instance_uid, mine.c.kind == "sr")
    segments = (
        select(other.c.id)
        .join(its, its.c.sop_instance_uid == other.c.sop_instance_uid)
        .where(other.c.job_id == d.c.job_id, other.c.destination == d.c.destination)
        # `concat` keeps SQLite from looking through all that wait, where the job has only a few.
        .where(other.c.state.concat("") == DeliveryState.WAITING, its.c.kind.in_(_WITH_SEGMENTS))
    )
    return and_(report.correlate(d).exists(), segments.correlate(d).exists())


def _where(all_: Sequence[Delivery]) -> tuple[JobState, str]:
    """Where a job with these deliveries stands, and why."""
    deliveries = [each for each in all_ if each.state is not DeliveryState.DROPPED]
    names = ", ".join(sorted({d.destination for d in deliveries}))
    waiting = [d for d in deliveries if d.state is DeliveryState.WAITING]
    if waiting:
        return JobState.DELIVERING, "; ".join(f"{d.destination}: {d.comment}" for d in waiting)
    if lost := [f"{d.destination}: {d.comment}" for d in deliveries if d.state is DeliveryState.FAILED]:
        return JobState.FAILED, "; ".join(lost)
    if all(d.state is DeliveryState.COMMITTED for d in deliveries):
        return JobState.COMMITTED, f"kept by {names}, who said so"
    return JobState.DELIVERED, f"stored by {names}"
