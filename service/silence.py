"""The jobs that workers hold, seen again and again in; those whose worker fell silent out.

Hosts' clocks differ and are set, so no time that a worker wrote is compared with ours: a lease counts as renewed
when it changed since we looked last, and as silent when it has not for as long as it runs, by a clock of our own
that only goes forward.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.jobs import Job


@dataclass(frozen=True, slots=True)
class _Seen:
    """A lease as it was seen first."""

    lease_until: float
    at: float


@dataclass
class Silence:
    """Watches leases of one length, in seconds."""

    seconds: float
    now: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)
    """By job and owner."""

    def of(self, held: Sequence[Job]) -> list[Job]:
        """Those of the jobs held at this moment that were not renewed while we watched them for a whole lease."""
        at = self.now()
        before, self._seen = self._seen, {}
        silent = []
        for job in held:
            seen = before.get((job.id, job.owner))
            if seen is None or seen.lease_until != job.lease_until:
                seen = _Seen(job.lease_until, at)
            self._seen[job.id, job.owner] = seen
            if at - seen.at >= self.seconds:
                silent.append(job)
        return silent
