"""How long each step may take, in seconds, and the end of a process in which one takes longer."""

import faulthandler
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dicom_nodes.errors import ConfigurationError
from service.config import Site
from service.observe import event
from service.queue import DELIVER, ENCODE, INFER, VISIBILITY_SECONDS
from workers.lease import GRACE_SECONDS
from workers.stopping import LEAVE_SECONDS, OVERRUN, Stopping

log = logging.getLogger(__name__)

ENCODE_SECONDS = 900.0
"""Objects of a large volume take seconds; what takes this long hangs."""


def step_limits(site: Site) -> Mapping[str, float]:
    """The longest that each step may take. Sending and asking wait for a destination several times at the most.

    Raises ConfigurationError where a queued hint would come again while its step still runs.
    """
    waited = max((each.timeout_seconds for each in site.destination), default=60.0)
    limits = {INFER: site.workers.step_seconds, ENCODE: ENCODE_SECONDS, DELIVER: 900.0 + 8 * waited}
    for step, seconds in limits.items():
        if seconds + GRACE_SECONDS + LEAVE_SECONDS >= VISIBILITY_SECONDS:
            key = "workers.step_seconds" if step == INFER else "destination.timeout_seconds"
            raise ConfigurationError(
                f"{key} lets the step {step} take {seconds:g} s; the queue repeats a hint after "
                f"{VISIBILITY_SECONDS:g} s, and a step has to be shorter"
            )
    return limits


@contextmanager
def last_resort(seconds: float) -> Iterator[None]:
    """End this process, with the place of every thread on stderr, if the block runs longer than a step may.

    For a step that does not even let other threads run, as compiled code can that holds Python's lock: the lease's
    thread cannot end that one. One block of a process at a time.
    """
    faulthandler.dump_traceback_later(seconds + 2 * GRACE_SECONDS, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def ended_after(seconds: float, what: str, stopping: Stopping) -> Iterator[None]:
    """End this process if the block runs longer; a thread that hangs cannot be ended alone."""

    def end() -> None:
        event(log, logging.ERROR, "a step hangs", step=what, seconds=seconds)
        stopping.ask(f"{what} hangs", 0.0, OVERRUN)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
