"""Rejection notes of other systems (IHE IOCM) → what becomes of the series, jobs and results that they are about.

A note may come before, during or after the work on a series, and more than once. What it lists is kept in the
ledger; what follows from it is worked out again from there, so that each function may be called at any time.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from dicom_nodes.filing import series_instances
from dicom_nodes.rejection import KEY_OBJECT_SELECTION, NoteUnreadableError, RejectionNote, Title, read_note
from dicom_nodes.types import Instance
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import IllegalTransitionError, Job, JobState, SeriesState, Transition
from service.ledger import Ledger
from service.ledger_withdrawals import SourceRejection
from service.observe import event

log = logging.getLogger(__name__)


class Notes:
    """The Key Object Selections that came, each acted on until that succeeds; safe to use from several threads."""

    def __init__(self, site: Site, ledger: Ledger) -> None:
        self._site, self._ledger = site, ledger
        self._new: deque[Path] = deque()
        self._again: deque[Path] = deque()

    def put(self, instance: Instance) -> None:
        """Take an instance if it is a Key Object Selection."""
        if instance.sop_class_uid == KEY_OBJECT_SELECTION:
            self._new.append(instance.path)

    def hear(self) -> None:
        """Act on what came; what fails is kept for `once_more`."""
        while self._new:
            path = self._new.popleft()
            try:
                hear_note(self._site, self._ledger, path)
            except Exception:  # one note must not stop the receiver; it is tried again
                log.exception("a rejection note was not acted on")
                self._again.append(path)

    def once_more(self) -> None:
        """Let `hear` try again what failed."""
        while self._again:
            self._new.append(self._again.popleft())


_MANY = 10_000
_REJECTED = "rejected:"


def hear_note(site: Site, ledger: Ledger, path: Path) -> bool:
    """Act on a Key Object Selection that was received; False where it is no rejection note of another system."""
    try:
        note = read_note(path)
    except NoteUnreadableError as error:
        event(log, logging.WARNING, "a rejection note cannot be read", why=str(error))
        return False
    if note is None or ledger.object(note.sop_instance_uid) is not None:  # one of ours may come back
        return False
    event(log, logging.WARNING, "rejection note", title=note.title.meaning, instances=len(note.rejected))
    ledger.source_rejected(note)
    for job_id, uids in ledger.makers(note.rejected).items():
        _withdrawn_by(ledger, note, job_id, uids)
    for series_uid in note.references:
        hold_to_rejections(site, ledger, series_uid)
    return True


def note_series(site: Site, ledger: Ledger, series_uid: str) -> str:
    """Act once more on the rejection notes that a complete series is; what it is, for a person, or empty.

    So no note is forgotten that could not be acted on when it came.
    """
    folder = site.incoming / series_uid
    first = next(series_instances(folder), None)
    if first is None or first.sop_class_uid != KEY_OBJECT_SELECTION:
        return ""
    heard = [hear_note(site, ledger, instance.path) for instance in series_instances(folder)]
    return f"{sum(heard)} rejection note(s) that were acted on; there is nothing to segment" if any(heard) else ""


def _withdrawn_by(ledger: Ledger, note: RejectionNote, job_id: str, uids: Collection[str]) -> None:
    """Results of ours are rejected: the archive knows, and need not be told."""
    cause = f"{len(uids)} of its objects rejected by note {note.sop_instance_uid}: {note.title.meaning}"
    try:
        ledger.withdraw(job_id, JobState.WITHDRAWN, cause, note.title, "", sends=False)
    except IllegalTransitionError as error:  # a person has it run again
        event(log, logging.INFO, "rejected objects of a job that is at work", job=job_id, why=str(error))


def hold_to_rejections(site: Site, ledger: Ledger, series_uid: str) -> None:
    """Supersede the jobs that work, or worked, on rejected instances; the sweeper takes back what was stored."""
    rejected = standing_rejections(ledger, series_uid)
    if not rejected:
        return
    by_uid = {each.sop_instance_uid: each for each in rejected}
    for job in ledger.list_jobs(series_uid=series_uid, limit=_MANY):
        why = next((by_uid[uid] for uid in _instances(site, job, by_uid) if uid in by_uid), None)
        if why is None or job.state is JobState.WITHDRAWN:
            continue
        because = f"the source images were rejected: {Title(why.title).meaning}"
        cause = f"{because}, by note {why.note_uid}"
        if ledger.withdraw(job.id, JobState.SUPERSEDED, cause, why.title, because):
            event(log, logging.WARNING, "superseded", why=cause, **job.log_context())
    series = ledger.series(series_uid)
    if series is not None and series.state is SeriesState.HELD:  # so that nobody decides without knowing
        with suppress(IllegalTransitionError):  # a person was faster
            ledger.move_series(series_uid, SeriesState.COMPLETE, "instances of it were rejected")


def _instances(site: Site, job: Job, otherwise: Iterable[str]) -> Iterable[str]:
    """SOP Instance UIDs that a job's volume is made of; where that is not known, it may be of any."""
    try:
        return [frame.sop_instance_uid for frame in JobFolder(site.jobs, job.id).load_volume().frames]
    except FileNotFoundError:
        return list(otherwise)


def refusal(ledger: Ledger, series_uid: str, paths: Sequence[Path]) -> str:
    """Why a series that is to be routed is not, for a person; empty where nothing of it is rejected."""
    there = {path.stem for path in paths}
    rejected = [each for each in standing_rejections(ledger, series_uid) if each.sop_instance_uid in there]
    if not rejected:
        return ""
    last = rejected[-1]
    count = len({each.sop_instance_uid for each in rejected})
    return (
        f"{_REJECTED} {count} of its {len(there)} instances, {Title(last.title).meaning}, by note {last.note_uid}. "
        f"If it is to be used all the same: sagittal jobs retry {series_uid}"
    )


def standing_rejections(ledger: Ledger, series_uid: str) -> list[SourceRejection]:
    """The rejections of a series' instances that no person has overruled since, by trying the series again."""
    rejected = ledger.rejections(series_uid)
    if not rejected:
        return []
    overruled_at = _overruled_at(ledger.history("series", series_uid))
    return [each for each in rejected if each.at > overruled_at]


def _overruled_at(steps: Sequence[Transition]) -> float:
    """When the series last failed for a rejection and a person sent it on; all that was known then is overruled."""
    at = 0.0
    for failed, then in pairwise(steps):
        for_rejection = failed.to_state == SeriesState.FAILED and failed.cause.startswith(_REJECTED)
        if for_rejection and then.to_state == SeriesState.COMPLETE:
            at = failed.at
    return at
