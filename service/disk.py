"""How full the file systems of a site are → what may still begin: watermarks, judged at most once a second.

A mark is a part of the volume or a number of GB, whichever is the smaller: of a large disk 5 % is more than anybody
needs. File systems that count their files (inodes) can be full of those, too; there the part alone counts.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from service.config import Disk, Site
from service.modelstore import site_store
from service.observe import event

log = logging.getLogger(__name__)

GB = 10**9
LOOK_SECONDS = 1.0
IN_HAND = 0.5
"""What is being sent already may go on until less than this part of the stop mark is free."""


class DiskState(IntEnum):
    """What the free space of a volume allows."""

    ENOUGH = 0
    LOW = 1
    """Everything goes on, and people are told."""
    STOP = 2
    """Nothing new begins; what is under way goes on."""

    @property
    def word(self) -> str:
        """As it is shown."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Free:
    """What a file system has, as it says itself."""

    total_bytes: int
    free_bytes: int
    """For processes that are not root's."""
    total_files: int = 0
    """0 where files are not counted."""
    free_files: int = 0

    @property
    def percent(self) -> float:
        """What is free of it, of bytes or of files, whichever is less."""
        return 100.0 * min(_part(self.free_bytes, self.total_bytes), _part(self.free_files, self.total_files))

    def under(self, percent: float, gigabytes: float) -> bool:
        """Whether less is free than a mark asks for."""
        bytes_ = self.free_bytes < min(self.total_bytes * percent / 100, gigabytes * GB)
        return bytes_ or 100.0 * _part(self.free_files, self.total_files) < percent


def _part(free: int, total: int) -> float:
    return free / total if total > 0 else 1.0


def judge(free: Free, marks: Disk, before: DiskState) -> DiskState:
    """What is allowed now; a volume that was stopped stays so until it is above the mark to resume."""
    stop = (marks.resume_free_percent, marks.resume_free_gb)
    if before is not DiskState.STOP:
        stop = (marks.stop_free_percent, marks.stop_free_gb)
    if free.under(*stop):
        return DiskState.STOP
    return DiskState.LOW if free.under(marks.warn_free_percent, marks.warn_free_gb) else DiskState.ENOUGH


def no_room_in_hand(free: Free, marks: Disk) -> bool:
    """Whether even what is under way has to end: less than half of the stop mark is free."""
    return free.under(marks.stop_free_percent * IN_HAND, marks.stop_free_gb * IN_HAND)


@dataclass(frozen=True, slots=True)
class Volume:
    """One file system and the folders of the site that lie on it."""

    holds: tuple[str, ...]
    """Of "incoming", "jobs", "models" and "ledger"."""
    path: Path
    free: Free
    state: DiskState

    @property
    def said(self) -> str:
        """How much is free of what, for a person."""
        free = self.free
        bytes_ = f"{shown_bytes(free.free_bytes)} of {shown_bytes(free.total_bytes)} free"
        if free.total_files and _part(free.free_files, free.total_files) < _part(free.free_bytes, free.total_bytes):
            bytes_ += f", {free.free_files} of {free.total_files} files"
        return f"{bytes_} ({free.percent:.1f} %)"


def shown_bytes(count: float) -> str:
    """A number of bytes in the unit that fits, powers of ten."""
    for size, unit in ((10**12, "TB"), (GB, "GB"), (10**6, "MB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def places(site: Site) -> dict[str, Path]:
    """The folders of a site that can fill a disk; a ledger on PostgreSQL has none here."""
    found = {"incoming": site.incoming, "jobs": site.jobs, "models": site_store(site).folder}
    url = make_url(site.ledger_url)
    if url.get_backend_name() == "sqlite" and url.database:
        found["ledger"] = Path(url.database)
    return found


def free_of(path: Path) -> Free:
    """What is free where a path lies; raises OSError."""
    found = os.statvfs(path)
    size = found.f_frsize
    return Free(found.f_blocks * size, found.f_bavail * size, found.f_files, found.f_favail)


def there(path: Path) -> Path:
    """A path, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


@dataclass
class DiskWatch:
    """The volumes of a site, looked at no more than once a second; safe to use from several threads.

    Each change of a volume is logged once. A volume that cannot be asked stands as it stood before.
    """

    places: Mapping[str, Path]
    marks: Disk
    free: Callable[[Path], Free] = free_of
    now: Callable[[], float] = time.monotonic
    _states: dict[int, DiskState] = field(default_factory=dict)
    """By device."""
    _volumes: tuple[Volume, ...] = ()
    _looked_at: float = float("-inf")
    _lock: Any = field(default_factory=threading.Lock)

    def volumes(self) -> tuple[Volume, ...]:
        """Every volume as it stands."""
        with self._lock:
            if self.now() - self._looked_at >= LOOK_SECONDS:
                self._volumes, self._looked_at = self._look(), self.now()
            return self._volumes

    def stopped(self, *names: str) -> str:
        """Why nothing new may begin that needs these folders, for a person; empty where it may."""
        return self._why(names, lambda volume: volume.state is DiskState.STOP)

    def no_room(self, in_hand: bool) -> str:
        """Why an instance is not to be received; `in_hand`: its series was begun before there was too little."""
        need = ("incoming", "ledger")
        if in_hand:
            return self._why(need, lambda volume: no_room_in_hand(volume.free, self.marks))
        return self.stopped(*need)

    def _why(self, names: Iterable[str], wrong: Callable[[Volume], bool]) -> str:
        wanted = set(names)
        bad = next((each for each in self.volumes() if wanted & set(each.holds) and wrong(each)), None)
        return "" if bad is None else f"disk too full: {bad.said}"

    def _look(self) -> tuple[Volume, ...]:
        on: dict[int, dict[str, Path]] = {}
        for name, path in self.places.items():
            place = there(path)
            on.setdefault(place.stat().st_dev, {})[name] = place
        return tuple(self._volume(device, found) for device, found in on.items())

    def _volume(self, device: int, found: Mapping[str, Path]) -> Volume:
        path = next(iter(found.values()))
        before = self._states.get(device, DiskState.ENOUGH)
        free = self.free(path)
        state = self._states[device] = judge(free, self.marks, before)
        volume = Volume(tuple(found), path, free, state)
        if state is not before:
            level = (logging.INFO, logging.WARNING, logging.ERROR)[state]
            event(log, level, "disk", state=state.word, holds=", ".join(volume.holds), free=volume.said)
        return volume


def disk_watch(site: Site) -> DiskWatch:
    """The watch over the volumes of a site."""
    return DiskWatch(places(site), site.disk)


def problem(volume: Volume) -> str:
    """What a volume that is not well means and asks for, for a person; empty where all is well."""
    where = " and ".join(volume.holds)
    match volume.state:
        case DiskState.ENOUGH:
            return ""
        case DiskState.LOW:
            return f"The disk of {where} is filling: {volume.said}. `sagittal storage` shows what holds it."
        case DiskState.STOP:
            stopped = []
            if {"incoming", "ledger"} & set(volume.holds):
                stopped.append("senders are told to try again later (A700)")
            if "jobs" in volume.holds:
                stopped.append("no routing or inference begins")
            so = "; ".join(stopped) or "no model can be installed"
            return f"The disk of {where} is full: {volume.said}. Until there is room, {so}."
