"""The steps of a job: infer, encode. Each claims its work in the ledger, and may be asked for twice."""

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import chain

from pydicom import Dataset

from dicom_nodes.encode import ENCODERS
from dicom_nodes.errors import EmptyResult, ModelUnusable, SeriesUnreadable, Unreachable
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Finished, LabelMap, Laterality, ResultIdentity, Volume, Voxels
from service.config import Site
from service.findings import Action, Finding, holding, reason_to_hold
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, ResultObject
from service.ledger import Ledger
from service.observe import event
from service.queue import DELIVER, ENCODE, Hints
from service.submodel import SubModel
from workers.checks import check
from workers.lease import Lease, LeaseLostError
from workers.measurements import measure_segments
from workers.models import WarmModels
from workers.segmentation import segment_voxels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the steps of one worker process work with."""

    site: Site
    ledger: Ledger
    hints: Hints
    submodels: dict[str, SubModel]
    models: WarmModels

    def folder(self, job_id: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(self.site.jobs, job_id)


def infer(shop: Workshop, job_id: str) -> None:
    """Run the sub-model of a queued job; what it finds is kept for `encode`."""
    job = shop.ledger.claim_job(job_id, JobState.QUEUED, JobState.INFERRING, _me(), shop.site.workers.lease_seconds)
    if job is None:
        return  # another worker has it, or it is done: the hint was late or doubled
    event(log, logging.INFO, "inference starts", **job.log_context())
    started = time.monotonic()
    try:
        with Lease(shop.ledger, job, shop.site.workers.lease_seconds) as lease:
            voxels = read_voxels(_volume(shop, job, lease))
            found = _find(shop, job, voxels, lease)
            lease.progress("check", 100)
            findings = _check(shop, job, found)
            lease.progress("save", 100)
            shop.folder(job.id).save_label_map(found)
            shop.folder(job.id).save_measurements(measure_segments(found, voxels))
    except LeaseLostError as lost:
        event(log, logging.WARNING, str(lost), **job.log_context())
    except (SeriesUnreadable, ModelUnusable) as error:
        _fail(shop, job, str(error))
    except EmptyResult as error:
        _fail(shop, job, _nothing_sent(job, str(error)))
    except Exception as error:  # one series must not take the worker with it
        log.exception("inference broke", extra={"fields": job.log_context()})
        _try_again(shop, job, f"{type(error).__name__}: {error}")
    else:
        _inferred(shop, job, found, findings, time.monotonic() - started)


def _inferred(shop: Workshop, job: Job, found: LabelMap, findings: tuple[Finding, ...], seconds: float) -> None:
    """Record a result and what contradicts it; it is encoded unless this site holds what is contradicted."""
    held = holding(findings, shop.site.checks.becomes)
    hold = reason_to_hold(job.id, held) if held else ""
    cause = f"inference took {seconds:.1f} s"
    model = found.algorithm.version
    now = shop.ledger.inferred(job.id, cause, findings, hold, held, owner=job.owner, model_version=model)
    if now is None:
        return
    event(log, logging.INFO, "inference done", seconds=round(seconds, 1), **job.log_context())
    for finding in findings:
        event(log, logging.WARNING, "finding", why=str(finding), held=finding in held, **job.log_context())
    if now.state is JobState.INFERRED:
        _hint(shop, ENCODE, job.id, ENCODE, job.urgency)


def _volume(shop: Workshop, job: Job, lease: Lease) -> Volume:
    """The volume of a job, once its sub-model is known to be fit to run."""
    shop.models.check(shop.models.submodel(job.submodel))
    lease.progress("read", 0)
    return shop.folder(job.id).load_volume()


def _find(shop: Workshop, job: Job, voxels: Voxels, lease: Lease) -> LabelMap:
    submodel = shop.models.submodel(job.submodel)
    return segment_voxels(voxels, submodel, job.protocol, _side(job), shop.models, lease.progress)


def _check(shop: Workshop, job: Job, found: LabelMap) -> tuple[Finding, ...]:
    """What in a result contradicts how its volume was routed."""
    submodel = shop.models.submodel(job.submodel)
    volume = shop.folder(job.id).load_volume()
    return check(found, volume, submodel.serves(job.protocol), submodel, _side(job))


def _side(job: Job) -> Laterality | None:
    return Laterality(job.laterality) if job.laterality else None


def encode(shop: Workshop, job_id: str) -> None:
    """Make the objects of an inferred job, and note where each has to go."""
    lease_seconds = max(shop.site.workers.lease_seconds, 120.0)
    job = shop.ledger.claim_job(job_id, JobState.INFERRED, JobState.INFERRED, _me(), lease_seconds)
    if job is None:
        return
    try:
        made = _encode(shop, job)
    except EmptyResult:
        _fail(
            shop, job, _nothing_sent(job, f"{job.submodel} found none of the structures of protocol {job.protocol}")
        )
    except SeriesUnreadable as error:
        _fail(shop, job, str(error))
    except Exception as error:  # recorded as the job's reason; the worker goes on
        log.exception("encoding broke", extra={"fields": job.log_context()})
        _fail(shop, job, f"encoding failed: {type(error).__name__}: {error}")
    else:
        destinations = {destination.name: destination.outputs for destination in shop.site.destination}
        if shop.ledger.encoded(job.id, job.owner, made, destinations):
            event(log, logging.INFO, "encoded", objects=len(made), **job.log_context())
            for delivery in shop.ledger.deliveries(job.id):
                _hint(shop, DELIVER, delivery.id, DELIVER, job.urgency)


def _finished(shop: Workshop, job: Job) -> Finished:
    """What the objects of a job are made of; measured now where the label map was found by a version without."""
    folder = shop.folder(job.id)
    volume, label_map, measurements = folder.load_volume(), folder.load_label_map(), folder.load_measurements()
    if measurements is None:
        measurements = measure_segments(label_map, read_voxels(volume))
        folder.save_measurements(measurements)
    silent = {name for name, action in shop.site.checks.becomes.items() if action is Action.DELIVER}
    told = [each for each in shop.ledger.findings(job.id) if each.name not in silent]
    notes = tuple(f"{each.name}: {each.evidence}" for each in told)
    return Finished(label_map, volume, _identity(shop, job), measurements, notes)


def _encode(shop: Workshop, job: Job) -> list[ResultObject]:
    """Make what any destination wants, and the SEG in any case, which the reports refer to."""
    folder, finished = shop.folder(job.id), _finished(shop, job)
    wanted = {"seg", *chain.from_iterable(destination.outputs for destination in shop.site.destination)}
    made, datasets = [], dict[str, Dataset]()
    for kind in (kind for kind in ENCODERS if kind in wanted):
        dataset = datasets[kind] = ENCODERS[kind](finished, datasets)
        path = folder.save_object(kind, dataset)
        uids = (str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), str(dataset.SeriesInstanceUID))
        made.append(ResultObject(uids[0], job.id, kind, uids[1], uids[2], str(path), shop.ledger.now()))
    return made


def _identity(shop: Workshop, job: Job) -> ResultIdentity:
    """What names the objects of a job: the same job and model version always give the same."""
    return ResultIdentity(
        submodel=job.submodel,
        protocol=job.protocol,
        revision=job.revision,
        laterality=_side(job),
        made_at=datetime.fromtimestamp(job.created_at).astimezone(),
        software_version=version("sagittal"),
        device_serial=shop.site.receive.aet,
    )


def _fail(shop: Workshop, job: Job, reason: str) -> None:
    event(log, logging.ERROR, "job failed", reason=reason, **job.log_context())
    shop.ledger.move_job(job.id, JobState.FAILED, reason, owner=job.owner, reason=reason)


def _nothing_sent(job: Job, what: str) -> str:
    return (
        f"series {job.series_uid}: {what}, so nothing was sent. See how it was routed: sagittal jobs show {job.id}"
    )


def _try_again(shop: Workshop, job: Job, reason: str) -> None:
    if job.attempts >= shop.site.workers.max_attempts:
        _fail(shop, job, f"failed {job.attempts} times, the last with {reason}")
    else:
        shop.ledger.move_job(job.id, JobState.QUEUED, reason, owner=job.owner, reason=reason)


def _hint(shop: Workshop, task: str, subject_id: str | int, queue: str, urgency: int) -> None:
    try:
        shop.hints.send(task, subject_id, queue, urgency)
    except Unreachable as error:
        event(log, logging.WARNING, "the queue could not be told; the sweeper will", task=task, why=str(error))


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}:{time.monotonic_ns()}"
