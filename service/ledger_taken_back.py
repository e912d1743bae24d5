"""Deliveries that are open though their job was taken back, in; ended, they are.

What a newer revision of a series replaces may be on its way at that moment. It is neither sent nor asked about any
more. Left open, each sweep would look at it for ever, and the files of its series would never be deleted.
"""

from sqlalchemy import Select, select

from service import schema
from service.jobs import Delivery, DeliveryState
from service.ledger_deliveries import TAKEN_BACK, DeliveryLedger
from service.ledger_withdrawals import NOTE
from service.records import every, one

_ENDS = {
    DeliveryState.WAITING: (DeliveryState.DROPPED, "not sent"),
    DeliveryState.STORED: (DeliveryState.DELIVERED, "stored, and not asked about any more"),
}
"""Where a delivery ends, and in which words."""


class TakenBackLedger(DeliveryLedger):
    """The part of the ledger that ends what nobody waits for any more."""

    def end_taken_back(self, limit: int = 500) -> int:
        """End every delivery of a job that was taken back whose time has come, the longest due first; how many.

        What a sender has in hand is due when its lease is over, and a report of what was asked is awaited until it
        would be asked again. Rejection notes go their way.
        """
        t = schema.deliveries
        with self._engine.connect() as c:
            if one(c, Delivery, self._open_in_vain().limit(1)) is None:
                return 0
        with self._write() as c:
            found = every(c, Delivery, self._open_in_vain().order_by(t.c.next_attempt_at, t.c.id).limit(limit))
            for each in found:
                job = self._job_of(c, each.id)
                to, said = _ENDS[each.state]
                cause = f"{said}: its job is {job.state.value}"
                self._set(c, "delivery", t, each.id, each.state, to, cause, {"comment": cause})
        return len(found)

    def _open_in_vain(self) -> Select[tuple[object, ...]]:
        d, j, o = schema.deliveries, schema.jobs, schema.objects
        due = (d.c.state.in_(list(_ENDS)), d.c.next_attempt_at <= self.now())
        query = select(d).join(j, j.c.id == d.c.job_id).join(o, o.c.sop_instance_uid == d.c.sop_instance_uid)
        return query.where(*due, j.c.state.in_(TAKEN_BACK), o.c.kind != NOTE)
