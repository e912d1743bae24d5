"""The error that ended a step in; its job in the ledger failed, resting until it is tried again, or handed back."""

import logging
import os

from dicom_nodes.errors import EmptyResult
from service.attempts import rest_seconds
from service.jobs import FailureKind, Job, JobState
from service.observe import event
from workers.failures import Failure, failure_of, reason_for
from workers.lease import HandBackError
from workers.workshop import Workshop

log = logging.getLogger(__name__)

FULL_REST_SECONDS = 60.0
"""How long a job rests whose attempt does not count: nothing of its own makes the rests longer."""


def ended(shop: Workshop, job: Job, error: BaseException) -> None:
    """Record that inferring or encoding a job ended with an error; nothing where another holds the job by now."""
    if isinstance(error, HandBackError):
        _hand_back(shop, job, str(error))
        return
    failure, reason = failure_of(error), reason_for(error)
    if isinstance(error, EmptyResult):
        reason = _nothing_sent(job, reason)
    if job.state is JobState.INFERRED and failure.kind is FailureKind.PROGRAM:
        _fail(shop, job, f"encoding failed: {reason}", failure.kind)
    elif not failure.again:
        _fail(shop, job, reason, failure.kind)
    else:
        _try_again(shop, job, reason, failure)
    if failure.ends_worker:
        shop.stopping.ask(reason, shop.site.workers.stop_seconds, os.EX_OSERR)


def _hand_back(shop: Workshop, job: Job, why: str) -> None:
    """The next worker begins it again at once; what stopped this one is not the job's fault."""
    event(log, logging.INFO, "handed back", why=why, **job.log_context())
    if job.state is JobState.INFERRING:
        before = {"attempts": job.attempts - 1, "setbacks": job.setbacks}
        shop.ledger.move_job(job.id, JobState.QUEUED, f"handed back: {why}", owner=job.owner, **before)
    else:
        shop.ledger.release_job(job.id, job.owner)


def _try_again(shop: Workshop, job: Job, reason: str, failure: Failure) -> None:
    inferring = job.state is JobState.INFERRING
    tried = job.attempts if inferring else job.setbacks + failure.counts
    if failure.counts and tried >= shop.site.workers.max_attempts:
        _fail(shop, job, f"failed {tried} times, the last with {reason}", failure.kind)
        return
    rest = rest_seconds(tried) if failure.counts else FULL_REST_SECONDS
    setback = failure.setback if inferring else failure.counts
    values: dict[str, object] = {"reason": reason, "reason_kind": failure.kind, "setbacks": job.setbacks + setback}
    values["not_before"] = shop.ledger.now() + rest
    event(log, logging.WARNING, "tried again later", seconds=rest, reason=reason, **job.log_context())
    if inferring:
        attempts = job.attempts - (not failure.counts)
        shop.ledger.move_job(job.id, JobState.QUEUED, reason, owner=job.owner, attempts=attempts, **values)
    else:
        shop.ledger.release_job(job.id, job.owner, **values)


def _fail(shop: Workshop, job: Job, reason: str, kind: FailureKind) -> None:
    event(log, logging.ERROR, "job failed", reason=reason, kind=kind.value, **job.log_context())
    shop.ledger.move_job(job.id, JobState.FAILED, reason, owner=job.owner, reason=reason, reason_kind=kind)


def _nothing_sent(job: Job, what: str) -> str:
    return (
        f"series {job.series_uid}: {what}, so nothing was sent. See how it was routed: sagittal jobs show {job.id}"
    )
