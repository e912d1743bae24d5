"""The leases of a ledger, looked at several times, in; those that are not renewed, whatever the clocks say, out.

A worker renews its lease whenever it has progress to show, and every quarter of the lease at the least
(service/silence.py takes a job away by the same rule).
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select

from service import schema
from service.doctor.seen import Ground
from service.doctor.stores import read_only

MOST_SECONDS = 12.0
"""No longer are leases watched: a doctor has to answer. Of longer ones our own clock decides with it."""
_LEEWAY_SECONDS = 1.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Held:
    """A job that somebody holds, by what the ledger says of it."""

    job_id: str
    owner: str
    lease_until: float


def held(ground: Ground, *where: ColumnElement[bool]) -> frozenset[Held]:
    """The leases that stand now; raises as `read_only` does."""
    t = schema.jobs
    query = select(t.c.id, t.c.owner, t.c.lease_until).where(t.c.owner != "", t.c.lease_until > 0.0, *where)
    with read_only(ground.site, ground.timeout_seconds) as c:
        return frozenset(Held(*row) for row in c.execute(query))


def not_renewed(look: Callable[[], Collection[Held]], lease_seconds: float) -> frozenset[Held]:
    """Of the leases that stand now, those that stay as they are for longer than a worker leaves its own."""
    enough = lease_seconds / 4 + _LEEWAY_SECONDS
    until = time.monotonic() + min(enough, MOST_SECONDS)
    same = frozenset(look())
    while same and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        same &= frozenset(look())
    return same if enough <= MOST_SECONDS else frozenset(each for each in same if each.lease_until < time.time())
