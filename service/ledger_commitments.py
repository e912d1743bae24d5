"""What the ledger knows of storage commitment: what destinations were asked to keep, and what they said."""

from collections.abc import Sequence

from sqlalchemy import Connection, select
from sqlalchemy import insert as insert_into

from dicom_nodes.types import CommitmentReport
from service import schema
from service.jobs import Commitment, Delivery, DeliveryState, Job
from service.ledger_deliveries import TAKEN_BACK, DeliveryLedger
from service.records import every, one, only

MOST_RESENT = 3
"""How often an object is sent again because its destination no longer has it."""
RESEND_SECONDS = 60.0
"""The pause before it is sent again."""
NEVER_KEPT = frozenset({0x0119, 0x0122})
"""FailureReasons that sending again does not mend: class-instance conflict, SOP Class not supported."""
_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "referenced SOP Class not supported",
    0x0119: "class-instance conflict",
    0x0131: "duplicate transaction UID",
}  # PS3.3 C.14.1.1


class CommitmentLedger(DeliveryLedger):
    """The part of the ledger that is about storage commitment."""

    def commitments(self, delivery_id: int) -> list[Commitment]:
        """Every request about a delivery, the oldest first."""
        t = schema.commitments
        query = select(t).where(t.c.delivery_id == delivery_id).order_by(t.c.asked_at, t.c.transaction_uid)
        with self._engine.connect() as c:
            return every(c, Commitment, query)

    def commitment_awaited(self, transaction_uid: str) -> bool:
        """Whether a request has objects of which nothing was reported yet."""
        t = schema.commitments
        query = select(t).where(t.c.transaction_uid == transaction_uid, t.c.answered_at.is_(None))
        with self._engine.connect() as c:
            return one(c, Commitment, query) is not None

    def claim_commitment(self, delivery_id: int, transaction_uid: str, lease_seconds: float) -> list[Delivery]:
        """Begin a request about a stored delivery that is due, and about all that its job stored in the same place.

        The request is on record before it is sent, as its report may be faster than its answer. Empty if there is
        nothing to ask, or the destination rests.
        """
        at, t = self.now(), schema.deliveries
        with self._write() as c:
            due = (t.c.id == delivery_id, t.c.state == DeliveryState.STORED, t.c.next_attempt_at <= at)
            self._job_of(c, delivery_id)
            first = one(c, Delivery, select(t).where(*due))
            if first is None or self._superseded(c, first) or not self._probe(c, first.destination, lease_seconds):
                return []
            same = (t.c.job_id == first.job_id, t.c.destination == first.destination)
            query = select(t).where(*same, t.c.state == DeliveryState.STORED)
            asked = [each for each in every(c, Delivery, query) if each.id == first.id or not self._open(c, each)]
            for each in asked:
                row = {"transaction_uid": transaction_uid, "delivery_id": each.id, "asked_at": at, "outcome": ""}
                c.execute(insert_into(schema.commitments).values(**row))
                c.execute(t.update().where(t.c.id == each.id).values(next_attempt_at=at + lease_seconds))
        return asked

    def _superseded(self, c: Connection, delivery: Delivery) -> bool:
        j = schema.jobs
        return only(c, Job, select(j).where(j.c.id == delivery.job_id)).state in TAKEN_BACK

    def _open(self, c: Connection, delivery: Delivery) -> bool:
        """Whether something is being asked about a delivery, or will be at a time that is set."""
        t = schema.commitments
        asked = select(t).where(t.c.delivery_id == delivery.id, t.c.asked_at >= delivery.stored_at)
        return bool(every(c, Commitment, asked)) and delivery.next_attempt_at > self.now()

    def others_to_store(self, delivery: Delivery) -> bool:
        """Whether other objects of the same job are still to be stored in the same place."""
        t = schema.deliveries
        same = (t.c.job_id == delivery.job_id, t.c.destination == delivery.destination)
        with self._engine.connect() as c:
            others = (t.c.id != delivery.id, t.c.state == DeliveryState.WAITING)
            return bool(every(c, Delivery, select(t).where(*same, *others)))

    def commitment_waits(self, transaction_uid: str, outcome: str, next_attempt_at: dict[int, float]) -> None:
        """Note what came of a request, and when to ask again about each delivery that is still only stored."""
        t, d = schema.commitments, schema.deliveries
        with self._write() as c:
            unanswered = (t.c.transaction_uid == transaction_uid, t.c.answered_at.is_(None))
            c.execute(t.update().where(*unanswered).values(outcome=outcome))
            if next_attempt_at:
                self._job_of(c, next(iter(next_attempt_at)))
            for delivery_id, at in next_attempt_at.items():
                stored = (d.c.id == delivery_id, d.c.state == DeliveryState.STORED)
                c.execute(d.update().where(*stored).values(next_attempt_at=at))

    def commitment_over(self, deliveries: Sequence[Delivery], to: DeliveryState, cause: str) -> None:
        """End the wait for a confirmation of those deliveries that are still only stored."""
        t = schema.deliveries
        with self._write() as c:
            for given in deliveries:
                self._job_of(c, given.id)
                now = only(c, Delivery, select(t).where(t.c.id == given.id))
                if now.state is DeliveryState.STORED:
                    self._set(c, "delivery", t, now.id, now.state, to, cause, {"comment": cause})
                    self._settle_job(c, now.job_id)

    def commitment_reported(self, report: CommitmentReport) -> bool:
        """Write down what a destination says of one transaction; False if nobody here asked for it.

        Each answer counts once. An object that is not named stays as it is, and is asked for again. What was stored
        again meanwhile is not touched by what is said of the time before.
        """
        t, d = schema.commitments, schema.deliveries
        with self._write() as c:
            query = select(t).where(t.c.transaction_uid == report.transaction_uid).with_for_update()
            rows = every(c, Commitment, query)
            for row in rows:
                self._job_of(c, row.delivery_id)
                delivery = only(c, Delivery, select(d).where(d.c.id == row.delivery_id))
                uid = delivery.sop_instance_uid
                if row.answered_at is not None or uid not in report.committed | set(report.failed):
                    continue
                outcome = _said(report.failed[uid]) if uid in report.failed else "committed"
                key = (t.c.transaction_uid == row.transaction_uid, t.c.delivery_id == row.delivery_id)
                c.execute(t.update().where(*key).values(answered_at=self.now(), outcome=outcome))
                if 0 < delivery.stored_at <= row.asked_at:
                    self._answered(c, delivery, report, outcome)
        return bool(rows)

    def _answered(self, c: Connection, delivery: Delivery, report: CommitmentReport, outcome: str) -> None:
        reason = report.failed.get(delivery.sop_instance_uid)
        if reason is None and delivery.state in (DeliveryState.STORED, DeliveryState.FAILED):
            to, cause, more = DeliveryState.COMMITTED, f"{report.said_by} keeps it", dict[str, object]()
        elif delivery.state is DeliveryState.STORED:
            to, cause, more = self._not_kept(c, delivery, reason, f"stored, but {report.said_by} says: {outcome}")
        else:
            return
        values = {"comment": cause, **more}
        self._set(c, "delivery", schema.deliveries, delivery.id, delivery.state, to, cause, values)
        self._settle_job(c, delivery.job_id)

    def _not_kept(
        self, c: Connection, delivery: Delivery, reason: int | None, said: str
    ) -> tuple[DeliveryState, str, dict[str, object]]:
        """What becomes of an object that its destination stored and does not keep."""
        if reason in NEVER_KEPT or self._superseded(c, delivery):
            return DeliveryState.FAILED, said, {}
        if delivery.resent >= MOST_RESENT:
            return DeliveryState.FAILED, f"given up after it was sent {delivery.resent + 1} times: {said}", {}
        again = {"stored_at": 0.0, "first_attempt_at": 0.0, "attempts": 0, "resent": delivery.resent + 1}
        pause = {"next_attempt_at": self.now() + RESEND_SECONDS * 2**delivery.resent}
        return DeliveryState.WAITING, f"sent again: {said}", {**again, **pause}


def _said(reason: int) -> str:
    return f"not committed, 0x{reason:04X} {_REASONS.get(reason, 'unknown reason')}"
