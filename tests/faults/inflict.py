"""A fault in; the deed done to a running site, and how it is undone, out."""

import errno
import signal
from collections.abc import Callable, Mapping
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from tests.faults.archive import Behaviour, Mood, tell
from tests.faults.clocks import set_clock
from tests.faults.schedule import Fault
from tests.faults.site import BrokenSite

Undo = Callable[[], None]
LEFT_BYTES = 20_000
"""What a full disk still has: a file or two fit, and one is broken off in the middle."""


def inflict(fault: Fault, site: BrokenSite) -> Undo:
    """Do it; what is given back undoes it when its time is over."""
    return DEEDS[fault.kind](fault, site)


def _nothing() -> None:
    """There is nothing to undo."""


def _kill(fault: Fault, site: BrokenSite) -> Undo:
    site.keeper.kill(fault.target, fault.seconds)
    return _nothing


def _stop(fault: Fault, site: BrokenSite) -> Undo:
    pid = site.keeper.freeze(fault.target)
    return partial(site.keeper.thaw, fault.target, pid)


def _flush(_fault: Fault, site: BrokenSite) -> Undo:
    try:
        with Redis(unix_socket_path=str(site.redis_socket)) as client:
            client.flushall()
    except (RedisError, OSError):
        pass  # it is down just now, and comes back empty
    return _nothing


def _fill(_fault: Fault, site: BrokenSite) -> Undo:
    """Write until no byte goes in, and take a little away again."""
    ballast = site.incoming / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for chunk in (1 << 20, 4096):
            try:
                while file.write(bytes(chunk)) == chunk:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        file.truncate(max(0, file.tell() - LEFT_BYTES))
    return ballast.unlink


def _mood(behaviour: Behaviour, fault: Fault, site: BrokenSite) -> Undo:
    tell(site.archive_folder, Mood(behaviour, int(fault.amount)))
    return partial(tell, site.archive_folder, Mood())


def _cut(_fault: Fault, site: BrokenSite) -> Undo:
    site.machines.plug("down")
    return partial(site.machines.plug, "up")


def _set_clock(fault: Fault, site: BrokenSite) -> Undo:
    set_clock(site.clock(fault.target), fault.amount)
    return partial(set_clock, site.clock(fault.target), 0.0)


def _crash(_fault: Fault, site: BrokenSite) -> Undo:
    """Break off every transaction and every connection; what was committed is there when it is up again."""
    assert site.database is not None
    site.database.stop(signal.SIGQUIT)
    return site.database.start


DEEDS: Mapping[str, Callable[[Fault, BrokenSite], Undo]] = {
    "kill receiver": _kill,
    "kill inference": _kill,
    "kill results": _kill,
    "kill web": _kill,
    "kill redis": _kill,
    "stop": _stop,
    "flush redis": _flush,
    "disk full": _fill,
    "archive down": _kill,
    "archive slow": partial(_mood, "slow"),
    "archive refuses": partial(_mood, "refuses"),
    "archive aborts": partial(_mood, "aborts"),
    "archive mute": partial(_mood, "mute"),
    "cut network": _cut,
    "set clock": _set_clock,
    "crash postgresql": _crash,
}
"""By the kind of fault, every key of `schedule.KINDS`."""
