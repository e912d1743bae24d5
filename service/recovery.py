"""What lies on disk and what the ledger knows of it in; what a receiver that starts has to know again out."""

from pathlib import Path

from dicom_nodes.filing import stored_instances, was_released
from dicom_nodes.fingerprint import series_fingerprint
from dicom_nodes.types import Ending, Instance
from service.jobs import SeriesRecord, SeriesState
from service.ledger import Ledger

REFUSED = "refused"
"""How an association stands that ended with instances refused for want of room: no evidence of a whole series."""


def found_on_disk(incoming: Path, ledger: Ledger) -> dict[str, list[Instance]]:
    """The instances of every series that the ledger does not hold as complete, by SeriesInstanceUID."""
    found: dict[str, list[Instance]] = {}
    for instance in stored_instances(incoming, wanted=lambda uid: _is_open(incoming / uid, ledger)):
        found.setdefault(instance.series_uid, []).append(instance)
    return found


def _is_open(folder: Path, ledger: Ledger) -> bool:
    known = ledger.series(folder.name)
    return known is None or known.state is SeriesState.RECEIVING or not _tells_all(folder, known)


def was_told_all(folder: Path, ledger: Ledger) -> bool:
    """Whether the association that brought the last of a series was released, and nothing was refused on it.

    The ledger may have been too late to know; the SCP wrote it down beside the files.
    """
    known = ledger.series(folder.name)
    if known is not None and known.association == REFUSED:
        return False
    in_ledger = known is not None and _tells_all(folder, known) and known.association == Ending.RELEASED
    return in_ledger or was_released(folder)


def _tells_all(folder: Path, known: SeriesRecord) -> bool:
    """Whether the ledger knows of all that lies on disk of a series: of each file, and of the last change.

    An instance that took the place of another with the same UID is no file more; but its folder is younger, and the
    content another. A folder that was only copied or restored has the same content.
    """
    paths = sorted(folder.glob("*.dcm"))
    if known.instance_count != len(paths):
        return False
    return folder.stat().st_mtime <= known.last_heard_at or series_fingerprint(paths) == known.fingerprint


def is_unchanged(folder: Path, ledger: Ledger) -> bool:
    """Whether a series is what it was when it was routed last."""
    known = ledger.series(folder.name)
    if known is None or not known.fingerprint:
        return False
    return series_fingerprint(sorted(folder.glob("*.dcm"))) == known.fingerprint
