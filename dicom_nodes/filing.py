"""Received data sets on disk: encoded bytes in, a durable Part 10 file and its `Instance` out; and back at start.

The place of an instance is `folder/<SeriesInstanceUID>/<SOPInstanceUID>.dcm`. It appears there whole or not at all:
written under another name, flushed, renamed, and the directory flushed too. What has no `.dcm` name is unfinished.
"""

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_nodes.part10 import (
    HEAD_BYTES,
    Head,
    HeadUnreadable,
    file_header,
    is_uid,
    read_file_header,
    read_head,
)
from dicom_nodes.types import Instance

RECOVERED = "recovered"
"""The association of an instance that was found on disk at start."""

_UNFINISHED = ".part"
_RELEASED = "released"
_CHUNK_BYTES = 1 << 20
_making_folders = threading.Lock()
_log = logging.getLogger(__name__)


def make_folder(folder: Path) -> None:
    """Make the folder for instances, and its entries durable: a stop may have cut off the flush of one."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        _flush_folder(each)


def file_instance(
    folder: Path,
    head: Head,
    transfer_syntax_uid: str,
    calling_aet: str,
    association_id: str,
    data_set: bytes | memoryview,
) -> Instance:
    """Lay an encoded data set durably under `folder`, byte for byte as it came.

    The same bytes again leave the file alone; other bytes under the same UID take its place in one step. Raises
    OSError where the file system refuses; then nothing of this instance is left behind.
    """
    series = _series_folder(folder, head.series_uid)
    path = series / f"{head.sop_instance_uid}.dcm"
    header = file_header(head.sop_class_uid, head.sop_instance_uid, transfer_syntax_uid, calling_aet)
    size_bytes = len(header) + len(data_set)
    if not (_holds(path, header, data_set) and _is_kept(path)):
        _write(path, header, data_set)
    _flush_folder(series)
    return _instance(path, head, transfer_syntax_uid, size_bytes, calling_aet, association_id)


def stored_instances(folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Instance]:
    """Every instance under `folder` of the series whose UID is `wanted`, from the heads of their files.

    Takes nothing away and may run while instances are being received. An unreadable file, which
    only a damaged disk can leave, is logged and passed over.
    """
    if not folder.is_dir():
        return
    for series in sorted(entry for entry in folder.iterdir() if entry.is_dir() and is_uid(entry.name)):
        if wanted(series.name):
            yield from series_instances(series)


def series_instances(series: Path) -> Iterator[Instance]:
    """Every instance in the folder of one series, as `stored_instances`."""
    for path in sorted(series.glob("*.dcm")):
        try:
            yield _read_back(path)
        except (HeadUnreadable, OSError) as error:
            _log.error("stored instance is unreadable", extra={"path": str(path), "reason": str(error)})


def note_release(series: Path) -> None:
    """Write down durably, beside the files of a series, that the association which brought the last was released.

    What counts is what lies there now: one file more, or written again, and the note says nothing any more.
    """
    with (series / _RELEASED).open("w", encoding="ascii") as file:
        file.write(_lying(series))
        file.flush()
        os.fsync(file.fileno())


def was_released(series: Path) -> bool:
    """Whether all that lies in the folder of a series lay there when `note_release` was called last."""
    try:
        return (series / _RELEASED).read_text(encoding="ascii") == _lying(series)
    except (OSError, UnicodeDecodeError):
        return False


def _lying(series: Path) -> str:
    """How many instances lie there, and when the last of them was written; compared for equality only."""
    written = [path.stat().st_mtime_ns for path in series.glob("*.dcm")]
    return f"{len(written)} {max(written, default=0)}"


def remove_unfinished(folder: Path) -> int:
    """Remove what a stop in the middle of a write left under `folder`, and count it; nobody may be receiving."""
    unfinished = list(folder.glob(f"*/*{_UNFINISHED}"))
    for path in unfinished:
        path.unlink()
    return len(unfinished)


def _read_back(path: Path) -> Instance:
    with path.open("rb") as file:
        content = memoryview(file.read(HEAD_BYTES))
        size_bytes = os.fstat(file.fileno()).st_size
    meta, offset = read_file_header(content)
    transfer_syntax_uid = meta.get(0x00020010, "")
    head = read_head(content[offset:], transfer_syntax_uid)
    return _instance(path, head, transfer_syntax_uid, size_bytes, meta.get(0x00020016, ""), RECOVERED)


def _instance(
    path: Path, head: Head, transfer_syntax_uid: str, size_bytes: int, calling_aet: str, association_id: str
) -> Instance:
    return Instance(
        sop_instance_uid=head.sop_instance_uid,
        sop_class_uid=head.sop_class_uid,
        series_uid=head.series_uid,
        study_uid=head.study_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        path=path,
        size_bytes=size_bytes,
        calling_aet=calling_aet,
        association_id=association_id,
        declared_count=head.declared_count,
    )


def _series_folder(folder: Path, series_uid: str) -> Path:
    """The folder of a series; its own entry is durable before anyone relies on it."""
    series = folder / series_uid
    with _making_folders:
        try:
            series.mkdir()
        except FileExistsError:
            return series
        try:
            _flush_folder(folder)
        except OSError:
            series.rmdir()  # else whoever comes next would take its entry for durable
            raise
    return series


def _write(path: Path, header: bytes, data_set: bytes | memoryview) -> None:
    unfinished = path.with_name(f"{secrets.token_hex(8)}{_UNFINISHED}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, header, data_set)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _write_all(descriptor: int, header: bytes, data_set: bytes | memoryview) -> None:
    written = os.writev(descriptor, (header, data_set))
    for part in (header, data_set):  # the system takes 2 GiB at most at a time, and what is left of a disk
        rest = memoryview(part)[written:]
        written = max(0, written - len(part))
        while len(rest):
            rest = rest[os.write(descriptor, rest) :]


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_kept(path: Path) -> bool:
    """Mark the folder of a file that came again, for whoever deletes what is old; False if it is gone."""
    try:
        os.utime(path.parent)
    except FileNotFoundError:
        return False
    return path.exists()  # after the mark: a folder that is taken away now has it


def _holds(path: Path, header: bytes, data_set: bytes | memoryview) -> bool:
    """True if the file is there with exactly these bytes."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != len(header) + len(data_set) or file.read(len(header)) != header:
                return False
            view = memoryview(data_set)
            return all(
                file.read(_CHUNK_BYTES) == view[at : at + _CHUNK_BYTES] for at in range(0, len(view), _CHUNK_BYTES)
            )
    except FileNotFoundError:
        return False
