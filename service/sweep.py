"""The ledger in; hints on the queue out, for all work that is ready, the most urgent first."""

import logging
from dataclasses import dataclass, field

from service.config import Site
from service.jobs import Job, JobState
from service.ledger import Ledger
from service.observe import event
from service.queue import DELIVER, ENCODE, INFER, Hints, inference_queue
from service.withdrawal import settle_withdrawals

log = logging.getLogger(__name__)

REPEAT_SECONDS = 30.0
"""A hint that nobody followed is repeated after so long, if its queue is empty: then it was lost."""


@dataclass
class Sweeper:
    """Takes jobs from workers that fell silent, and tells the queue of everything that waits."""

    site: Site
    ledger: Ledger
    hints: Hints
    _hinted: dict[int, float] = field(default_factory=dict)
    """Delivery id to the time of its last hint."""

    def sweep(self) -> None:
        """One round; raises Unreachable when Redis does not answer, with the ledger as it should be."""
        for job in self.ledger.expired_jobs():
            self._take_back(job)
        settle_withdrawals(self.site, self.ledger)
        self._hint_jobs(JobState.QUEUED)
        self._hint_jobs(JobState.INFERRED)
        self._hint_deliveries()

    def _take_back(self, job: Job) -> None:
        where = f"the worker that held it fell silent in stage {job.stage or 'start'} at {job.percent} %"
        event(log, logging.WARNING, "lease ran out", why=where, **job.log_context())
        if job.state is not JobState.INFERRING:
            self.ledger.release_job(job.id, job.owner)
        elif job.attempts >= self.site.workers.max_attempts:
            reason = f"given up after {job.attempts} attempts: {where}"
            self.ledger.move_job(job.id, JobState.FAILED, reason, owner=job.owner, reason=reason)
        else:
            self.ledger.move_job(job.id, JobState.QUEUED, where, owner=job.owner, reason=where)

    def _hint_jobs(self, state: JobState) -> None:
        by_queue: dict[str, list[Job]] = {}
        for job in self.ledger.ready_jobs(state, self.ledger.now() - REPEAT_SECONDS):
            queue = inference_queue(job.submodel) if state is JobState.QUEUED else ENCODE
            by_queue.setdefault(queue, []).append(job)
        for queue, jobs in by_queue.items():
            empty = self.hints.waiting(queue) == 0
            ready = [job for job in jobs if job.hinted_at == 0.0 or empty]
            for job in ready:
                self.hints.send(INFER if state is JobState.QUEUED else ENCODE, job.id, queue, job.urgency)
            self.ledger.hinted(job.id for job in ready)

    def _hint_deliveries(self) -> None:
        now = self.ledger.now()
        due = self.ledger.deliveries_due()
        self._hinted = {d.id: self._hinted[d.id] for d in due if d.id in self._hinted}
        ripe = [d for d in due if now - self._hinted.get(d.id, 0.0) >= REPEAT_SECONDS]
        urgency = self.ledger.urgency_of({delivery.job_id for delivery in ripe})
        for delivery in ripe:
            self.hints.send(DELIVER, delivery.id, DELIVER, urgency[delivery.job_id])
            self._hinted[delivery.id] = now
