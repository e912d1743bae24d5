"""A file system of its own for what a server stores, so that it can be full; and what of it is whole."""

import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

DISK_BYTES = 64 << 20
_BALLAST = "ballast"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a tmpfs on the folder where that may be done; else leave it the folder that it is."""
    folder.mkdir(parents=True)
    if why_not():
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "sagittal-probes", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def why_not() -> str:
    """Why no disk can be filled here; empty where one can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "probe", "/mnt"]
    tried = subprocess.run(command, capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no tmpfs can be mounted"


def fill(folder: Path, leave_bytes: int) -> None:
    """Leave so little room where the folder lies."""
    found = os.statvfs(folder)
    with (folder / _BALLAST).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - leave_bytes)


def drain(folder: Path) -> None:
    """Give the room back."""
    (folder / _BALLAST).unlink()


def files_of(folder: Path) -> list[Path]:
    """What a server has stored, whatever its name."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != _BALLAST]


def partial(folder: Path) -> frozenset[Path]:
    """Files that begin as objects do, and end before: what a server that was cut short has left behind."""
    return frozenset(path for path in files_of(folder) if _begins(path) and not whole(path))


def _begins(path: Path) -> bool:
    """Whether a file begins with the empty preamble of PS3.10 7.1, or with as much of it as there is."""
    with path.open("rb") as file:
        return not any(file.read(128))


def whole(path: Path) -> str:
    """The SOP Instance UID of a file with all of its pixel data; empty where it is broken off."""
    try:
        with warnings.catch_warnings(action="ignore"):
            image: Any = dcmread(path)
            length = len(image.PixelData)
    except (InvalidDicomError, EOFError, OSError, AttributeError, ValueError):
        return ""
    native = not image.file_meta.TransferSyntaxUID.is_encapsulated
    expected = image.Rows * image.Columns * image.BitsAllocated // 8 if native else 1
    return str(image.SOPInstanceUID) if length >= expected else ""
