"""A zip or a folder in; the names and sizes of what is in it, and chosen files of it on disk, out.

An archive comes from anywhere. Nothing is written outside the folder that is given, nothing but plain files is
taken, and no more bytes than the archive says and the disk has. Archives inside an archive are not opened.
"""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol

from dicom_nodes.errors import ModelUnusable

MOST_ENTRIES = 100_000
MOST_TIMES_LARGER = 50
"""How many times its packed size an entry may have, beyond a MiB: weights hardly shrink, JSON does 20 times."""
SPARE_BYTES = 64 << 20
"""What has to stay free on the disk."""
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A plain file of an archive: its path in it and its size in bytes."""

    path: PurePosixPath
    size: int


class Archive(Protocol):
    """A zip or a folder whose entries were all looked at."""

    name: str
    entries: tuple[Entry, ...]

    def fetch(self, wanted: Iterable[PurePosixPath], target: Path) -> Mapping[PurePosixPath, Path]:
        """The chosen entries as files on disk, under `target` where they had to be unpacked."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive at `path`; raises ModelUnusable where it is none, is damaged, or holds what no model needs."""
    if path.is_dir():
        yield _Folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise ModelUnusable(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelUnusable(
            f"{path}: is no zip, or was cut off ({error}); download it again, or unpack it and name the folder"
        ) from error
    with archive:
        yield _Zip(path, archive)


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name, self._root = path.resolve().name, path
        found: list[Entry] = []
        for entry in _walk(path):
            if len(found) >= MOST_ENTRIES:
                raise ModelUnusable(f"{path}: holds more than {MOST_ENTRIES} files; name the folder of the model")
            found.append(
                Entry(PurePosixPath(Path(entry).relative_to(path)), entry.stat(follow_symlinks=False).st_size)
            )
        self.entries = tuple(found)

    def fetch(self, wanted: Iterable[PurePosixPath], target: Path) -> Mapping[PurePosixPath, Path]:
        """Where they lie; nothing is copied."""
        return {path: self._root / path for path in wanted}


def _walk(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise ModelUnusable(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink():
            raise ModelUnusable(f"{entry.path}: is a link; a model has plain files only")
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield entry
        else:
            raise ModelUnusable(f"{entry.path}: is no plain file; a model has plain files only")


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.name, self._path, self._archive = path.name, path, archive
        members = archive.infolist()
        if len(members) > MOST_ENTRIES:
            raise ModelUnusable(f"{path}: holds more than {MOST_ENTRIES} entries; that is no model")
        self._members: dict[PurePosixPath, zipfile.ZipInfo] = {}
        for member in members:
            entry = self._checked(member)
            if entry in self._members:
                raise ModelUnusable(f"{path}: holds {entry} twice")
            if not member.is_dir():
                self._members[entry] = member
        self.entries = tuple(Entry(entry, member.file_size) for entry, member in self._members.items())

    def _checked(self, member: zipfile.ZipInfo) -> PurePosixPath:
        # What stands in the file itself: zipfile has already cut `filename` at a NUL.
        name = member.orig_filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
            raise ModelUnusable(f"{self._path}: the entry {name!r} would leave the folder; the archive is not used")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelUnusable(
                f"{self._path}: the entry {name!r} is a link or a device; a model has plain files only"
            )
        if member.flag_bits & 0x1:
            raise ModelUnusable(f"{self._path}: the entry {name!r} is encrypted; unpack it and name the folder")
        if member.file_size > MOST_TIMES_LARGER * member.compress_size + PIECE:
            raise ModelUnusable(
                f"{self._path}: the entry {name!r} claims {member.file_size:,} bytes packed into "
                f"{member.compress_size:,}; that is no model"
            )
        return path

    def fetch(self, wanted: Iterable[PurePosixPath], target: Path) -> Mapping[PurePosixPath, Path]:
        """Unpack them under `target`, piece by piece."""
        members = [(path, self._members[path]) for path in wanted]
        _check_room(target, sum(member.file_size for _, member in members))
        return {path: self._unpack(member, target / path) for path, member in members}

    def _unpack(self, member: zipfile.ZipInfo, file: Path) -> Path:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with self._archive.open(member) as packed, file.open("xb") as plain:
                self._copy(packed, plain, member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise ModelUnusable(
                f"{self._path}: {member.filename} cannot be unpacked ({error}); download the archive again"
            ) from error
        return file

    def _copy(self, packed: IO[bytes], plain: IO[bytes], member: zipfile.ZipInfo) -> None:
        written = 0
        while piece := packed.read(PIECE):
            written += len(piece)
            if written > member.file_size:
                raise ModelUnusable(
                    f"{self._path}: {member.filename} is larger than it says; the archive is not used"
                )
            plain.write(piece)
        if written != member.file_size:
            raise EOFError(f"{written:,} bytes of {member.file_size:,}")


def _check_room(target: Path, wanted: int) -> None:
    """Unpacked, and once more as it will be installed."""
    free = shutil.disk_usage(target.parent).free
    if 2 * wanted + SPARE_BYTES > free:
        raise ModelUnusable(
            f"{target.parent}: {2 * wanted / 2**20:,.0f} MiB are needed to install this, "
            f"{free / 2**20:,.0f} MiB are free"
        )
