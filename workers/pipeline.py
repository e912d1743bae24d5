"""The steps of a job: infer, encode. Each claims its work in the ledger, and may be asked for twice."""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain

from dicom_nodes.errors import EmptyResult, Unreachable
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import LabelMap, Volume, Voxels
from service.findings import Finding, holding, reason_to_hold
from service.jobs import Job, JobState, ResultObject
from service.observe import event
from service.queue import DELIVER, ENCODE
from workers.checks import check
from workers.failing import ended
from workers.failures import FORESEEN
from workers.fitting import Fitting
from workers.lease import Lease, LeaseLostError
from workers.limits import ENCODE_SECONDS
from workers.making import finished_of, make, side_of
from workers.measurements import measure_segments
from workers.picture import keep_sheet
from workers.products import products_of
from workers.segmentation import segment_voxels
from workers.workshop import Workshop

log = logging.getLogger(__name__)


def infer(shop: Workshop, job_id: str) -> None:
    """Run the sub-model of a queued job; what it finds is kept for `encode`."""
    if shop.stopping.asked:
        return  # the sweeper tells another worker
    if shop.disk is not None and (full := shop.disk.stopped("jobs")):
        event(log, logging.WARNING, "inference does not begin", job=job_id, why=full)
        return  # it stays queued, and the sweeper tells of it again
    job = shop.ledger.claim_job(job_id, JobState.QUEUED, JobState.INFERRING, _me(), shop.site.workers.lease_seconds)
    if job is None:
        return  # another worker has it, or it is done: the hint was late or doubled
    event(log, logging.INFO, "inference starts", **job.log_context())
    started, notes = time.monotonic(), list[str]()
    try:
        with _lease(shop, job, shop.site.workers.step_seconds) as lease:
            voxels = read_voxels(_volume(shop, job, lease))
            found = _find(shop, job, voxels, lease, notes)
            lease.progress("check", 100)
            findings = _check(shop, job, found)
            lease.progress("save", 100)
            shop.folder(job.id).save_label_map(found)
            shop.folder(job.id).save_measurements(measure_segments(found, voxels))
            keep_sheet(shop, job, voxels)
    except LeaseLostError as lost:
        event(log, logging.WARNING, str(lost), **job.log_context())
    except FORESEEN as error:
        ended(shop, job, error)
    except Exception as error:  # one series must not take the worker with it
        log.exception("inference broke", extra={"fields": job.log_context()})
        ended(shop, job, error)
    else:
        _inferred(shop, job, found, findings, [f"inference took {time.monotonic() - started:.1f} s", *notes])


def _inferred(
    shop: Workshop, job: Job, found: LabelMap, findings: tuple[Finding, ...], notes: Sequence[str]
) -> None:
    """Record a result and what contradicts it; it is encoded unless this site holds what is contradicted."""
    held = holding(findings, shop.site.checks.becomes)
    hold = reason_to_hold(job.id, held) if held else ""
    cause = "; ".join(notes)
    model = found.algorithm.version
    now = shop.ledger.inferred(job.id, cause, findings, hold, held, owner=job.owner, model_version=model)
    if now is None:
        return
    event(log, logging.INFO, "inference done", how=cause, **job.log_context())
    for finding in findings:
        event(log, logging.WARNING, "finding", why=str(finding), held=finding in held, **job.log_context())
    if now.state is JobState.INFERRED:
        _hint(shop, ENCODE, [job.id], ENCODE, job.urgency)


def _volume(shop: Workshop, job: Job, lease: Lease) -> Volume:
    """The volume of a job, once its sub-model is known to be fit to run."""
    shop.models.check(shop.models.submodel(job.submodel))
    lease.progress("read", 0)
    return shop.folder(job.id).load_volume()


def _find(shop: Workshop, job: Job, voxels: Voxels, lease: Lease, notes: list[str]) -> LabelMap:
    submodel = shop.models.submodel(job.submodel)
    models = Fitting(shop.models, frugal=job.setbacks > 0, tell=notes.append)
    return segment_voxels(voxels, submodel, job.protocol, side_of(job), models, lease.progress)


def _check(shop: Workshop, job: Job, found: LabelMap) -> tuple[Finding, ...]:
    """What in a result contradicts how its volume was routed."""
    submodel = shop.models.submodel(job.submodel)
    volume = shop.folder(job.id).load_volume()
    return check(found, volume, submodel.serves(job.protocol), submodel, side_of(job))


def encode(shop: Workshop, job_id: str) -> None:
    """Make the objects of an inferred job, and note where each has to go."""
    lease_seconds = shop.site.workers.lease_seconds
    job = shop.ledger.claim_job(job_id, JobState.INFERRED, JobState.INFERRED, _me(), lease_seconds)
    if job is None:
        return
    try:
        with _lease(shop, job, ENCODE_SECONDS):
            made, addressed = _encode(shop, job)
    except EmptyResult:
        ended(shop, job, EmptyResult(f"{job.submodel} found none of the structures of protocol {job.protocol}"))
    except FORESEEN as error:
        ended(shop, job, error)
    except Exception as error:  # recorded as the job's reason; the worker goes on
        log.exception("encoding broke", extra={"fields": job.log_context()})
        ended(shop, job, error)
    else:
        if shop.ledger.encoded(job.id, job.owner, made, addressed):
            event(log, logging.INFO, "encoded", objects=len(made), **job.log_context())
            _hint(shop, DELIVER, [each.id for each in shop.ledger.deliveries(job.id)], DELIVER, job.urgency)


def _encode(shop: Workshop, job: Job) -> tuple[list[ResultObject], dict[str, list[str]]]:
    """Make what every destination wants; the objects, and by destination the SOP Instance UIDs of its own."""
    finished = finished_of(shop, job)
    wanted = {target.name: products_of(target, finished) for target in shop.site.destination}
    made = make(shop, job, finished, chain.from_iterable(wanted.values()))
    uids = {name: [made[each].sop_instance_uid for each in products] for name, products in wanted.items()}
    return list(made.values()), uids


def _lease(shop: Workshop, job: Job, limit_seconds: float) -> Lease:
    """The hold on a claimed job, which ends with the step, with its time or with the process."""
    return Lease(
        shop.ledger,
        job,
        shop.site.workers.lease_seconds,
        limit_seconds=limit_seconds,
        stopping=shop.stopping,
        give_up=partial(ended, shop, job),
    )


def _hint(shop: Workshop, task: str, subject_ids: Sequence[str | int], queue: str, urgency: int) -> None:
    try:
        for subject_id in subject_ids:
            shop.hints.send(task, subject_id, queue, urgency)
    except Unreachable as error:
        event(log, logging.WARNING, "the queue could not be told; the sweeper will", task=task, why=str(error))


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}:{time.monotonic_ns()}"
