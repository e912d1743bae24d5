"""Series whose days are over → their files and those of their jobs deleted, in small bites, and on record.

First the ledger says so; then each folder is renamed, then removed: what is cut off is finished later. An instance
that was received while that went on is found by the time of its folder, and everything is put back: none is lost.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.config import Site
from service.disk import DiskState, DiskWatch, shown_bytes
from service.jobfolder import JobFolder
from service.jobs import Job
from service.ledger import Ledger
from service.ledger_deletions import Deletion, listed
from service.observe import event
from service.retention import Due, deletable, due

log = logging.getLogger(__name__)

ROUND_SECONDS = 300.0
"""Between two rounds through all that lies on disk."""
BITE_SECONDS = 0.2
RECENT_SECONDS = 3600.0
"""What came so shortly before a series was to go keeps it, whether or not the ledger has heard of it."""
ASIDE = ".deleted-"
_AT_ONCE = 200


def find_due(site: Site, ledger: Ledger) -> Iterator[list[Due]]:
    """Every series with files on disk that may ever go, some hundred at a time."""
    uids = sorted(_on_disk(site, ledger))
    for first in range(0, len(uids), _AT_ONCE):
        stands = ledger.stands(uids[first : first + _AT_ONCE])
        yield [found for stand in stands if (found := due(stand, site.retention))]


def _on_disk(site: Site, ledger: Ledger) -> set[str]:
    series = {name for name in _names(site.incoming) if not name.startswith(".")}
    jobs = [name for name in _names(site.jobs) if not name.startswith(".")]
    return series | ledger.series_of_jobs(jobs)


def _names(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir()]
    except FileNotFoundError:
        return []


@dataclass
class Retainer:
    """Deletes what may go, a bite at a time; one round after the other, with a pause between them."""

    site: Site
    ledger: Ledger
    disk: DiskWatch
    now: Callable[[], float] = time.monotonic
    _round: Iterator[None] | None = None
    _next_round_at: float = float("-inf")
    deleted: int = field(default=0, init=False)
    """How many series since this began."""

    def bite(self, seconds: float = BITE_SECONDS) -> None:
        """Go on with the round for so long, or begin one when it is time."""
        if self._round is None:
            if self.now() < self._next_round_at:
                return
            self._round, self._next_round_at = self.round(), self.now() + ROUND_SECONDS
        until = self.now() + seconds
        for _ in self._round:
            if self.now() >= until:
                return
        self._round = None

    def round(self) -> Iterator[None]:
        """All that may go now, the longest due first; a step for each look and each series."""
        finish_deletions(self.site, self.ledger)
        found: list[Due] = []
        for some in find_due(self.site, self.ledger):
            found += some
            yield
        for each in deletable(found, self.ledger.now(), early=self._early):
            if each.at > self.ledger.now() and not self._early:
                return  # the disk is no longer low, and these are the last
            self.deleted += delete_series(self.site, self.ledger, each.series_uid, self._early)
            yield

    @property
    def _early(self) -> bool:
        volumes = self.disk.volumes() if self.site.retention.early else ()
        return any({"incoming", "jobs"} & set(v.holds) and v.state is not DiskState.ENOUGH for v in volumes)


def delete_series(site: Site, ledger: Ledger, series_uid: str, early: bool = False) -> bool:
    """Delete the files of a series and its jobs if they may go; False where they may not, or something came."""
    at = ledger.now()
    stand = next(iter(ledger.stands([series_uid])), None)
    found = None if stand is None else due(stand, site.retention)
    if stand is None or found is None or not deletable([found], at, early):
        return False
    if _is_recent(site.incoming / series_uid, at):
        return False
    because = found.because if found.at <= at else "its results are stored, and the disk is low"
    gone = [_deletion(site.incoming / series_uid, "series", series_uid, at, because)]
    for job in stand.jobs:
        keep_header(site, ledger, job)
        gone.append(_deletion(site.jobs / job.id, "job", job.id, at, because))
    if not ledger.delete_files(stand, gone) or not _carry_out(site, ledger, gone):
        return False
    told = {"files": sum(each.files for each in gone), "bytes": sum(each.bytes for each in gone)}
    event(log, logging.INFO, "files deleted", series_uid=series_uid, because=because, **told)
    return True


def _deletion(folder: Path, subject: str, subject_id: str, at: float, because: str) -> Deletion:
    sizes = sizes_of(folder)
    instances = [path.stem for path in sizes if path.suffix == ".dcm"] if subject == "series" else []
    size = sum(sizes.values())
    cause = f"{because} ({len(sizes)} files, {shown_bytes(size)})"
    return Deletion(subject, subject_id, at, cause, len(sizes), size, listed(instances), finished=False)


def sizes_of(folder: Path) -> dict[Path, int]:
    """Bytes of every file under a folder; one that goes away meanwhile is left out."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.stat().st_size
    return found


def keep_header(site: Site, ledger: Ledger, job: Job) -> None:
    """Keep whose result a job's was: rejection notes name the patient, however late they are asked for."""
    made = next((each for each in ledger.objects(job.id) if Path(each.path).is_file()), None)
    if made is None or (site.kept / f"{job.id}.dcm").is_file():
        return
    from dicom_nodes.encode.rejection import header_for_notes  # noqa: PLC0415  heavy, and rare

    JobFolder(site.folder, site.kept.name).save_object(job.id, header_for_notes(Path(made.path)))


def finish_deletions(site: Site, ledger: Ledger) -> None:
    """Carry out what was decided and cut off; to be called before the receiver looks at what lies on disk."""
    open_: dict[str, list[Deletion]] = {}
    for each in ledger.unfinished_deletions():
        job = ledger.job(each.subject_id) if each.subject == "job" else None
        open_.setdefault(job.series_uid if job else each.subject_id, []).append(each)
    for some in open_.values():
        _carry_out(site, ledger, some)


def _carry_out(site: Site, ledger: Ledger, gone: list[Deletion]) -> bool:
    """Rename, look whether anything came meanwhile, remove; False where it did and all is put back."""
    aside = [(each, _set_aside(site, each)) for each in gone]
    came = any(_is_recent(path, each.at) for each, path in aside if each.subject == "series")
    for each, path in aside:
        if came:
            _put_back(path, _folder(site, each))
            said = "files kept: instances came while they were deleted"
            ledger.files_are_back(each.subject, each.subject_id, said)
            continue
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            event(log, logging.ERROR, "files cannot be deleted", subject=each.subject, id=each.subject_id)
        else:
            ledger.deletion_finished(each)
    return not came


def _folder(site: Site, gone: Deletion) -> Path:
    return (site.incoming if gone.subject == "series" else site.jobs) / gone.subject_id


def _set_aside(site: Site, gone: Deletion) -> Path:
    folder = _folder(site, gone)
    aside = folder.with_name(f"{ASIDE}{gone.subject_id}")
    if not aside.exists() and folder.exists():
        folder.rename(aside)
    return aside


def _is_recent(folder: Path, at: float) -> bool:
    """Whether anything was received in it about when it was to go, be it again: the SCP sets the folder's time."""
    try:
        return folder.stat().st_mtime > at - RECENT_SECONDS
    except FileNotFoundError:
        return False


def _put_back(aside: Path, folder: Path) -> None:
    """Undo `_set_aside`; the folder's time, which tells of the last instance, stays what it was."""
    if not aside.exists():
        return
    if not folder.exists():
        aside.rename(folder)
        return
    last = max(folder.stat().st_mtime_ns, aside.stat().st_mtime_ns)
    for path in list(aside.iterdir()):
        if (folder / path.name).exists():  # it came once more since
            path.unlink()
        else:
            path.rename(folder / path.name)
    os.utime(folder, ns=(last, last))
    aside.rmdir()
