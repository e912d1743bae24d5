"""A job whose result is taken back → rejection notes for whatever destinations have stored of it (IHE IOCM).

A note lists what its destination has stored and nothing else, as archives refuse one that names what they do not
know. What was on its way when the job was withdrawn, and is stored after, gets a note of its own.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from dicom_nodes.errors import SagittalError
from dicom_nodes.rejection import Title
from dicom_nodes.types import Reference
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import IllegalTransitionError, JobState, ResultObject
from service.ledger import Ledger
from service.ledger_withdrawals import NOTE, Withdrawal
from service.observe import event

log = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why a person takes a result back."""

    QUALITY = "quality"
    SAFETY = "safety"
    WORKLIST = "worklist"
    RETENTION = "retention"

    @property
    def document_title(self) -> Title:
        """The title of the rejection note."""
        return Title[self.name]


class NotWithdrawnError(SagittalError):
    """There is nothing to take back, or the job is at work; the message says which."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What came of a withdrawal."""

    again: bool
    """The job had been withdrawn before, and nothing new was decided."""
    destinations: tuple[str, ...]
    """Where rejection notes go, or went; empty where nothing had been stored."""


def withdraw(site: Site, ledger: Ledger, job_id: str, reason: Reason, because: str) -> Withdrawn:
    """Take back what a job made, by the word of a person; asking twice is asking once.

    Raises NotWithdrawnError where there is no such job, where it made nothing, or while it is at work.
    """
    job = ledger.job(job_id)
    if job is None:
        raise NotWithdrawnError(f"no job {job_id}; see `sagittal jobs list`")
    if not ledger.objects(job_id):
        raise NotWithdrawnError(f"job {job_id} is {job.state.value} and made no objects: nothing to withdraw")
    cause = f"withdrawn, {reason.document_title.meaning}" + (f": {because}" if because else "")
    try:
        first = ledger.withdraw(job_id, JobState.WITHDRAWN, cause, reason.document_title, because)
    except IllegalTransitionError as error:
        said = f"job {job_id} is {job.state.value}: its result can be withdrawn when it stands still"
        raise NotWithdrawnError(said) from error
    settle(site, ledger, job_id)
    return Withdrawn(first is None, noted_at(ledger, job_id))


def supersede_partial(ledger: Ledger, series_uid: str, why: str) -> None:
    """Take back what was made of a series that turned out to be a part of it, and of which the rest never came."""
    cause = f"made of a part of the series: {why}"
    for job in ledger.list_jobs(series_uid=series_uid):
        at_rest = job.state is JobState.FAILED and not ledger.objects(job.id)
        if job.state not in (JobState.SUPERSEDED, JobState.WITHDRAWN) and not at_rest:
            ledger.withdraw(job.id, JobState.SUPERSEDED, cause, Title.QUALITY, "made of a part of the series")


def noted_at(ledger: Ledger, job_id: str) -> tuple[str, ...]:
    """The destinations that rejection notes of a job go to."""
    notes = {made.sop_instance_uid for made in ledger.objects(job_id) if made.kind == NOTE}
    to = {each.destination for each in ledger.deliveries(job_id) if each.sop_instance_uid in notes}
    return tuple(sorted(to))


def settle_withdrawals(site: Site, ledger: Ledger) -> None:
    """Do what is still to be done of every withdrawal; one that fails is told of and does not stop the others."""
    for withdrawal in ledger.open_withdrawals():
        try:
            settle(site, ledger, withdrawal.job_id)
        except SagittalError as error:
            event(log, logging.ERROR, "no rejection note could be made", job=withdrawal.job_id, why=str(error))
        except Exception:  # the sweeper goes on with the others, and tries this one again
            log.exception("no rejection note could be made", extra={"fields": {"job": withdrawal.job_id}})


def settle(site: Site, ledger: Ledger, job_id: str) -> None:
    """Make the notes that are missing, and close the withdrawal where nothing of it is on its way any more."""
    withdrawal = ledger.withdrawal(job_id)
    if withdrawal is None:
        return
    for uids, destinations in ledger.to_be_noted(job_id).items():
        made = [each for each in ledger.objects(job_id) if each.kind != NOTE]
        note = _note(site, withdrawal, uids, made)
        ledger.add_note(note, uids, destinations)
        event(log, logging.INFO, "rejection note", job=job_id, objects=len(uids), to=", ".join(destinations))
    ledger.settle_withdrawal(job_id)


def _note(site: Site, withdrawal: Withdrawal, uids: frozenset[str], made: list[ResultObject]) -> ResultObject:
    """Encode a note and keep it in the job's folder; the same withdrawal and objects give the same bytes."""
    from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection  # noqa: PLC0415  heavy, and rare

    rejected = [each for each in made if each.sop_instance_uid in uids]
    files = (*(Path(each.path) for each in (*rejected, *made)), site.kept / f"{withdrawal.job_id}.dcm")
    like = next((path for path in files if path.is_file()), None)
    if like is None:
        raise NotWithdrawnError(f"job {withdrawal.job_id}: none of its files is left to name the patient by")
    objects = tuple(Rejected(Reference(o.sop_class_uid, o.sop_instance_uid), o.series_uid) for o in rejected)
    at = datetime.fromtimestamp(withdrawal.at).astimezone()
    title = Title(withdrawal.title)
    note = encode_rejection(Rejection(withdrawal.job_id, title, withdrawal.because, at, objects, like))
    digest = sha256(note.SOPInstanceUID.encode()).hexdigest()[:8]
    path = JobFolder(site.jobs, withdrawal.job_id).save_object(f"{NOTE}~{digest}", note)
    uid, class_uid, series_uid = str(note.SOPInstanceUID), str(note.SOPClassUID), str(note.SeriesInstanceUID)
    return ResultObject(uid, withdrawal.job_id, NOTE, class_uid, series_uid, str(path), withdrawal.at)
