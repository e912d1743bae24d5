"""The ledger in; hints on the queue out, for all work that is ready, the most urgent first."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.attempts import goes_last, rest_seconds, urgency_now
from service.config import Site
from service.disk import DiskWatch
from service.jobs import FailureKind, Job, JobState
from service.ledger import Ledger
from service.observe import event
from service.queue import DELIVER, ENCODE, INFER, Hints, inference_queue
from service.silence import Silence
from service.withdrawal import settle_withdrawals

log = logging.getLogger(__name__)

REPEAT_SECONDS = 30.0
"""A hint that nobody followed is repeated after so long, if its queue is empty: then it was lost."""
LEAST_AHEAD = 8
"""The queue of a sub-model is told of so many jobs of one urgency ahead: what waits there is in an order already,
and who sends next would wait behind all of it. Twice the inference processes, if that is more."""


_DEATHS = (
    "{} worker(s) in a row died or hung on it. Their logs say of what, as the machine's does where it killed them "
    "for want of memory"
)


@dataclass
class Sweeper:
    """Takes jobs from workers that fell silent, and tells the queue of everything that waits."""

    site: Site
    ledger: Ledger
    hints: Hints
    disk: DiskWatch | None = None
    """None where nobody watches how full the disks are."""
    _hinted: dict[int, float] = field(default_factory=dict)
    """Delivery id to the time of its last hint."""
    now: Callable[[], float] = time.monotonic
    """Only goes forward, whatever is done to the host's clock."""
    _silence: Silence = field(init=False)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    """The sweep and the routing of a series tell of jobs, one at a time."""
    _all_again: bool = False
    """Redis lost what it was told, and has not been told all of it again."""

    def __post_init__(self) -> None:
        self._silence = Silence(self.site.workers.lease_seconds, self.now)

    def sweep(self) -> None:
        """One round; raises Unreachable when Redis does not answer, with the ledger as it should be."""
        for job in self._silence.of(self.ledger.held_jobs()):
            self._take_back(job)
        settle_withdrawals(self.site, self.ledger)
        self.ledger.end_taken_back()
        self.ledger.fold()
        self._all_again |= self.hints.was_emptied()
        with self._telling:
            self._hint_queued()
            self._hint_jobs(JobState.INFERRED)
        self._hint_deliveries()
        self._all_again = False

    def tell_of_jobs(self) -> None:
        """Tell the queue at once of jobs that have just been made; raises Unreachable, and the next sweep tells."""
        with self._telling:
            self._hint_queued()

    def _hint_queued(self) -> None:
        if self.disk is None or not self.disk.stopped("jobs"):
            self._hint_jobs(JobState.QUEUED)

    def _take_back(self, job: Job) -> None:
        """Let another worker have a job; each silence is a setback, and of too many the job ends."""
        where = f"the worker that held it fell silent in stage {job.stage or 'start'} at {job.percent} %"
        event(log, logging.WARNING, "lease ran out", why=where, **job.log_context())
        inferring, most = job.state is JobState.INFERRING, self.site.workers.max_attempts
        tried = job.attempts if inferring else job.setbacks + 1
        values = {"reason": where, "reason_kind": FailureKind.MACHINE, "setbacks": job.setbacks + 1}
        values["not_before"] = self.ledger.now() + rest_seconds(tried)
        if tried >= most:
            reason = f"given up after {tried} attempts: {where}; {_DEATHS.format(job.setbacks + 1)}"
            kind = FailureKind.MACHINE
            self.ledger.move_job(job.id, JobState.FAILED, reason, owner=job.owner, reason=reason, reason_kind=kind)
        elif inferring:
            self.ledger.move_job(job.id, JobState.QUEUED, where, owner=job.owner, **values)
        else:
            self.ledger.release_job(job.id, job.owner, **values)

    def _hint_jobs(self, state: JobState) -> None:
        by_queue: dict[str, list[Job]] = {}
        before = self.ledger.now() - (0.0 if self._all_again else REPEAT_SECONDS)
        for job in sorted(self.ledger.ready_jobs(state, before), key=goes_last):
            queue = inference_queue(job.submodel) if state is JobState.QUEUED else ENCODE
            by_queue.setdefault(queue, []).append(job)
        for queue, jobs in by_queue.items():
            empty = self._all_again or self.hints.waiting(queue) == 0
            ready = self._few(queue, [job for job in jobs if job.hinted_at == 0.0 or empty])
            for job in ready:
                self.hints.send(INFER if state is JobState.QUEUED else ENCODE, job.id, queue, urgency_now(job))
            self.ledger.hinted(job.id for job in ready)

    def _few(self, queue: str, ready: Sequence[Job]) -> list[Job]:
        """The first of these jobs, as many as a queue is told of ahead."""
        ahead = max(LEAST_AHEAD, 2 * self.site.workers.inference_processes)
        room = {urgency: ahead - self.hints.waiting(queue, urgency) for urgency in set(map(urgency_now, ready))}
        few = []
        for job in ready:
            room[urgency_now(job)] -= 1
            if room[urgency_now(job)] >= 0:
                few.append(job)
        return few

    def _hint_deliveries(self) -> None:
        now = self.ledger.now()
        due = self.ledger.deliveries_due()
        if self._all_again:
            self._hinted.clear()
        self._hinted = {d.id: self._hinted[d.id] for d in due if d.id in self._hinted}
        ripe = [d for d in due if now - self._hinted.get(d.id, 0.0) >= REPEAT_SECONDS]
        urgency = self.ledger.urgency_of({delivery.job_id for delivery in ripe})
        for delivery in ripe:
            self.hints.send(DELIVER, delivery.id, DELIVER, urgency[delivery.job_id])
            self._hinted[delivery.id] = now
