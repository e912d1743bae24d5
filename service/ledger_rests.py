"""Which destinations do not answer, and until when their deliveries wait together: a circuit breaker for each."""

from sqlalchemy import Connection, select

from service import schema
from service.jobs import Delivery, DeliveryState, Rest
from service.records import Records, every, one, put

FAILURES_BEFORE_REST = 3
"""Attempts in a row that find a destination unreachable before all that go there wait."""
_SAME_SECONDS = 5.0
"""A claim and its probe are written in one transaction."""


class RestLedger(Records):
    """The part of the ledger that is about how destinations answer."""

    def rest_of(self, destination: str) -> Rest | None:
        """How a destination answered lately; None where it did, or was never asked."""
        with self._engine.connect() as c:
            return self._rest(c, destination)

    def _rest(self, c: Connection, destination: str) -> Rest | None:
        t = schema.rests
        return one(c, Rest, select(t).where(t.c.destination == destination).with_for_update())

    def _probe(self, c: Connection, destination: str, lease_seconds: float) -> bool:
        """Whether something may be sent there now; after a rest only one at a time, until it is answered."""
        rest = self._rest(c, destination)
        if rest is None or rest.failures < FAILURES_BEFORE_REST:
            return True
        if rest.rests_until > self.now():
            return False
        t = schema.rests
        until = {"rests_until": self.now() + lease_seconds}
        c.execute(t.update().where(t.c.destination == destination).values(**until))
        return True

    def _probe_over(self, c: Connection, destination: str, lease_until: float, until: float) -> None:
        """Let another go first in place of a delivery whose lease began with the probe; a rest of others stays."""
        t = schema.rests
        probe = (t.c.rests_until >= lease_until, t.c.rests_until < lease_until + _SAME_SECONDS)
        c.execute(t.update().where(t.c.destination == destination, *probe).values(rests_until=until))

    def answered(self, destination: str) -> None:
        """A destination answered, whatever it said: nothing waits for it any more."""
        t = schema.rests
        with self._engine.connect() as c:
            if self._rest(c, destination) is None:
                return
        with self._write() as c:
            c.execute(t.delete().where(t.c.destination == destination))

    def unreachable(self, destination: str, why: str, rest_seconds: float) -> Rest:
        """A destination could not be reached once more: after several times in a row it rests.

        Then the clocks of the deliveries that wait with it begin to run, as if each had been tried.
        """
        at, t = self.now(), schema.deliveries
        with self._write() as c:
            failures = 1 + (old.failures if (old := self._rest(c, destination)) else 0)
            until = at + rest_seconds if failures >= FAILURES_BEFORE_REST else 0.0
            rest = Rest(destination, failures, until, why)
            put(c, schema.rests, "destination", {"destination": destination, "failures": failures,
                                                 "rests_until": until, "why": why})  # fmt: skip
            if until:
                waits = (t.c.destination == destination, t.c.state == DeliveryState.WAITING)
                values = {"first_attempt_at": at, "comment": f"waits with the others: {why}"}
                c.execute(t.update().where(*waits, t.c.first_attempt_at == 0.0).values(**values))
        return rest

    def overdue_with(self, destination: str, retry_seconds: float) -> list[Delivery]:
        """Deliveries that wait for a destination that rests, and have waited longer than the site allows."""
        at, t = self.now(), schema.deliveries
        late = (t.c.first_attempt_at > 0.0, t.c.first_attempt_at <= at - retry_seconds, t.c.next_attempt_at <= at)
        with self._engine.connect() as c:
            waits = (t.c.destination == destination, t.c.state == DeliveryState.WAITING)
            return every(c, Delivery, select(t).where(*waits, *late))
