"""A finished folder in; the same in its place among the installed models, whole or not at all, out."""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.modelstore import STAGING, ModelStore

LOCK = ".lock"
OLDER = ".older"
"""How the name ends of a model that was set aside, and goes back where its successor did not come."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2)."""
_AT_FDCWD = -100


@contextmanager
def staging(store: ModelStore) -> Iterator[Path]:
    """A folder to work in, beside the installed models; gone afterwards.

    One install at a time: a second one waits. What an install that was killed has left is cleared away first.
    """
    store.folder.mkdir(parents=True, exist_ok=True)
    with locked(store.folder / LOCK):
        for leftover in store.folder.glob(f"{STAGING}*"):
            _clear(leftover, store)
        folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=store.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _clear(leftover: Path, store: ModelStore) -> None:
    for aside in leftover.glob(f"*{OLDER}"):
        if not (mine := store.folder / aside.name.removesuffix(OLDER)).exists():
            aside.rename(mine)
    shutil.rmtree(leftover)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that the system lets go when the process ends, however it ends."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def place(built: Path, target: Path) -> None:
    """Make `built` appear as `target` by one rename; an older one there is replaced at the same moment.

    Afterwards the older one lies at `built`. Both are on one file system.
    """
    for file in built.iterdir():
        sync(file)
    sync(built)
    if target.exists():
        _exchange(built, target)
    else:
        built.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(built: Path, target: Path) -> None:
    """Both names change hands in one step, where the file system can; else the older one goes first."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(built), _AT_FDCWD, os.fsencode(target), _EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), str(target))
    aside = built.with_name(built.name + OLDER)
    target.rename(aside)
    built.rename(target)
    aside.rename(built)
