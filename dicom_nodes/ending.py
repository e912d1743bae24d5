"""Associations that stand in; every one aborted and over, within a stated time for all of them together, out.

pynetdicom's own abort has no end where a connection takes no more bytes, and may close one before it sends the
A-ABORT.
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

GRACE_SECONDS = 5.0
"""For associations in the middle of a series to be released by their senders, before they are aborted."""
ABORT_SECONDS = 2.0
"""For the A-ABORT of each to be sent, and for what its thread has in hand."""
CLOSE_SECONDS = 1.0
"""For what goes on then, its connection being closed; a thread that is still writing a file is left after that."""
_POLL_SECONDS = 0.02


def wait_for_release(under_way: Callable[[], bool], seconds: float) -> None:
    """Return when nothing is under way any more, or after so long."""
    until = time.monotonic() + seconds
    while under_way() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)


def abort_all(associations: Collection[Any], close: Callable[[Any], None]) -> list[Any]:
    """Abort all of them at once, and close the connections of those that do not end; those that go on even then.

    Takes `ABORT_SECONDS` and `CLOSE_SECONDS` at the most, however many there are.
    """
    aborts = [threading.Thread(target=_abort, args=(one,), name="abort", daemon=True) for one in associations]
    for abort in aborts:
        abort.start()
    _join([*aborts, *associations], ABORT_SECONDS)
    for association in associations:
        close(association)
    return _join(associations, CLOSE_SECONDS)


def _abort(association: Any) -> None:
    """Send an A-ABORT, and end the association once its connection is closed (PS3.8 9.2.3: Sta1)."""
    association.abort(block=False)
    while association.dul.is_alive() and association.dul.state_machine.current_state != "Sta1":
        time.sleep(_POLL_SECONDS)
    association.kill()


def _join(threads: Collection[Any], seconds: float) -> list[Any]:
    """Wait for them, so long for all together; those that have not ended."""
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]
