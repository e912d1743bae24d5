"""The wall clock beside one that only goes forward, looked at again and again, in; whether it can be believed, out.

What retention deletes is due by the wall clock alone. Where that went ahead of the other, or of what a receiver saw
last by more than a week, nothing is deleted until it went on evenly for a day, was set back, or a person says so.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from service.config import Site
from service.observe import event

log = logging.getLogger(__name__)

DAY = 86400.0
LEAP_SECONDS = 600.0
"""A time server that slews a clock stays far below; while the machine runs, or sleeps, both clocks go on."""
AWAY_SECONDS = 7 * DAY
"""What a receiver comes to after longer than that, its machine being started anew, may be a wrong time."""
EVEN_SECONDS = DAY
"""So long a person has to set a clock right that is seen to be wrong."""
_WRITE_SECONDS = 60.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of the clocks."""

    wall: float
    """Seconds of the epoch."""
    steady: float
    """Seconds since the machine was started, its sleep among them."""
    boot: str
    """Which start of the machine that was."""
    ahead: float = 0.0
    """Seconds that the wall clock leapt ahead and was not set back; 0 where it can be believed."""
    even: float = 0.0
    """Seconds that it went on evenly since."""

    @property
    def believed(self) -> bool:
        """Whether something may be deleted because its days are over."""
        return self.ahead == 0.0


def next_look(before: Looked | None, wall: float, steady: float, boot: str) -> Looked:
    """What is to be held of the clocks now; pure."""
    now = Looked(wall, steady, boot)
    if before is None:
        return now
    same = boot == before.boot
    passed, limit = (steady - before.steady, LEAP_SECONDS) if same else (0.0, AWAY_SECONDS)
    shift = wall - before.wall - passed
    if abs(shift) > limit:
        ahead = before.ahead + shift
        return replace(now, ahead=ahead) if ahead > LEAP_SECONDS else now
    even = before.even + passed
    return now if even >= EVEN_SECONDS else replace(now, ahead=before.ahead, even=even if before.ahead else 0.0)


def boot_seconds() -> float:
    """A clock that only goes forward, and through the sleep of the machine where the system has such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Which start of the machine this is; where it does not say, one process."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()}"


def looked_before(file: Path) -> Looked | None:
    """What was seen last; None where nobody looked, or the file says nothing."""
    try:
        return Looked(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def clock_file(site: Site) -> Path:
    """Where a site keeps what it saw of its clocks."""
    return site.folder / "clock.json"


@dataclass
class Leaps:
    """Looks at the clocks of a machine and keeps what it saw in a file, for whoever looks next."""

    file: Path
    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = boot_seconds
    boot: str = field(default_factory=boot_id)
    _last: Looked | None = None
    _written: Looked | None = None

    def believed(self) -> bool:
        """Look; whether the wall clock can be believed."""
        before = self._before()
        now = next_look(before, self.wall(), self.steady(), self.boot)
        if now.ahead > (before.ahead if before else 0.0):
            event(log, logging.WARNING, "the clock leapt ahead: nothing is deleted", seconds=round(now.ahead))
        elif now.believed and before is not None and not before.believed:
            event(log, logging.INFO, "the clock is believed again; retention goes on")
        self._keep(now)
        return now.believed

    def believe(self) -> None:
        """A person says that the wall clock is right."""
        self._written = None
        self._keep(Looked(self.wall(), self.steady(), self.boot))

    def _before(self) -> Looked | None:
        """What is in the file where another process wrote there, else what we saw ourselves."""
        found = looked_before(self.file)
        return self._last if found is None or found == self._written else found

    def _keep(self, now: Looked) -> None:
        last, self._last = self._written, now
        same = last is not None and (last.boot, last.ahead) == (now.boot, now.ahead)
        if same and last is not None and 0 <= now.steady - last.steady < _WRITE_SECONDS:
            return
        with suppress(OSError):  # where a disk is full, deleting is what helps; this process knows it all the same
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(asdict(now)), encoding="utf-8")
            new.replace(self.file)
            self._written = now
