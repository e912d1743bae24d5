"""Deletions that the ledger has on record in; their folders removed, or put back with what came meanwhile, out.

A folder is set aside by a rename, looked at, and given up by a second one; only then the ledger says that it is
gone, and it is removed. Whatever cuts that off, its name tells how far it came, and a folder that stands in its
place again holds what was received since.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from service.config import Site
from service.ledger import Ledger
from service.ledger_deletions import Deletion
from service.observe import event

log = logging.getLogger(__name__)

RECENT_SECONDS = 3600.0
"""What came so shortly before a series was to go keeps it, whether or not the ledger has heard of it."""
ASIDE = ".deleted-"
"""Set aside, and perhaps put back."""
GIVEN_UP = f"{ASIDE}now-"
"""Never put back; what is left of it is removed."""


def finish_deletions(site: Site, ledger: Ledger) -> None:
    """Carry out what was decided and cut off; to be called before the receiver looks at what lies on disk."""
    open_: dict[str, list[Deletion]] = {}
    for each in ledger.unfinished_deletions():
        job = ledger.job(each.subject_id) if each.subject == "job" else None
        open_.setdefault(job.series_uid if job else each.subject_id, []).append(each)
    for some in open_.values():
        carry_out(site, ledger, some)
    left = [path for folder in (site.incoming, site.jobs) for path in folder.glob(f"{GIVEN_UP}*")]
    begun = {f"{GIVEN_UP}{each.subject_id}" for each in ledger.unfinished_deletions()} if left else set()
    for path in left:
        if path.name not in begun:  # else another process is at it
            _remove(path)


def carry_out(site: Site, ledger: Ledger, gone: list[Deletion]) -> bool:
    """Remove the folders of one series and its jobs; False where something came meanwhile and all is put back."""
    aside = [(each, _set_aside(site, each)) for each in gone]
    series = [(each, path) for each, path in aside if each.subject == "series"]
    if any(is_recent(path, each.at) for each, path in series):
        for each, path in sorted(aside, key=lambda pair: pair[0].subject == "series"):  # its row goes last
            _put_back(path, _folder(site, each))
            said = "files kept: instances came while they were deleted"
            ledger.files_are_back(each.subject, each.subject_id, said)
        return False
    for each, path in aside:
        given_up = path.with_name(f"{GIVEN_UP}{each.subject_id}")
        with suppress(FileNotFoundError):  # by a process that was cut off here
            path.rename(given_up)
            _flush(path.parent)
        ledger.deletion_finished(each)
        _remove(given_up)
    return True


def _folder(site: Site, gone: Deletion) -> Path:
    return (site.incoming if gone.subject == "series" else site.jobs) / gone.subject_id


def _set_aside(site: Site, gone: Deletion) -> Path:
    """The folder under its other name; what stands in its place since it was given up is another, and stays."""
    folder = _folder(site, gone)
    aside = folder.with_name(f"{ASIDE}{gone.subject_id}")
    given_up = folder.with_name(f"{GIVEN_UP}{gone.subject_id}")
    if not aside.exists() and not given_up.exists():
        with suppress(FileNotFoundError):
            folder.rename(aside)
    return aside


def _remove(given_up: Path) -> None:
    shutil.rmtree(given_up, ignore_errors=True)
    if given_up.exists():
        event(log, logging.ERROR, "files cannot be deleted", folder=given_up.name)


def is_recent(folder: Path, at: float) -> bool:
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


def _flush(folder: Path) -> None:
    """Make the names in a folder durable: what the ledger says next is true after a power failure too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
