"""Series whose days are over → their files and those of their jobs deleted, in small bites, and on record.

First the ledger says so; then the folders are removed (removal.py), which may be cut off anywhere. An instance that
is received while that goes on is found by the time of its folder, and everything is put back: none is lost.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.config import Site
from service.disk import DiskState, DiskWatch, shown_bytes
from service.jobfolder import JobFolder
from service.jobs import Job
from service.leaps import Leaps
from service.ledger import Ledger
from service.ledger_deletions import Deletion, listed
from service.observe import event
from service.removal import carry_out, finish_deletions, is_recent
from service.retention import Due, deletable, due

log = logging.getLogger(__name__)

ROUND_SECONDS = 300.0
"""Between two rounds through all that lies on disk."""
BITE_SECONDS = 0.2
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
    leaps: Leaps | None = None
    """None where a person asked for it, and answers for the clock."""
    _round: Iterator[None] | None = None
    _next_round_at: float = float("-inf")
    deleted: int = field(default=0, init=False)
    """How many series since this began."""

    def bite(self, seconds: float = BITE_SECONDS) -> None:
        """Go on with the round for so long, or begin one when it is time and the clock can be believed."""
        if self.leaps is not None and not self.leaps.believed():
            self._round = None
            return
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
    if is_recent(site.incoming / series_uid, at):
        return False
    because = found.because if found.at <= at else "its results are stored, and the disk is low"
    gone = [_deletion(site.incoming / series_uid, "series", series_uid, at, because)]
    for job in stand.jobs:
        keep_header(site, ledger, job)
        gone.append(_deletion(site.jobs / job.id, "job", job.id, at, because))
    if not ledger.delete_files(stand, gone) or not carry_out(site, ledger, gone):
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
