"""A worker's hold on a job: renewed from a thread while the step runs; its progress reaches the ledger this way.

The same thread watches the clock: a step that takes too long, or whose process is to stop, hears of it where it
next tells of its progress. One that tells of nothing any more is given up for it, and its process ends.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from dicom_nodes.errors import SagittalError
from service.jobs import Job
from service.ledger import Ledger
from service.observe import event
from workers.stopping import OVERRUN, Stopping

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""How long a step that took too long may take to notice it."""
LAST_STAGES = frozenset({"check", "save"})
"""What is so near its end is not handed back."""


class LeaseLostError(SagittalError):
    """The job is no longer this worker's: superseded, or given to another after too long a silence."""


class HandBackError(SagittalError):
    """The worker is to stop: the job goes back to the queue, and the attempt does not count."""


class StepTooLongError(SagittalError):
    """The step ran longer than the site allows."""


class Lease:
    """Keeps a claimed job from being given to another worker for as long as the block runs.

    `limit_seconds` is how long it may run, and `stopping` says when its process is to end. `give_up` is called with
    a StepTooLongError or HandBackError in place of a step that does not listen, and records it.
    """

    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        seconds: float,
        *,
        limit_seconds: float = math.inf,
        stopping: Stopping | None = None,
        give_up: Callable[[SagittalError], None] = lambda _: None,
    ) -> None:
        self._ledger, self._job, self._seconds = ledger, job, seconds
        self._limit_seconds, self._stopping, self._give_up = limit_seconds, stopping or Stopping(), give_up
        self._started = time.monotonic()
        self._stage, self._percent = "read", 0
        self._lost = self._given_up = False
        self._done = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def progress(self, stage: str, percent: int) -> None:
        """Say what is being done now.

        Raises LeaseLostError when the work is for nobody any more, StepTooLongError when it takes too long, and
        HandBackError when its process is to stop.
        """
        if self._lost:
            raise LeaseLostError(f"job {self._job.id} is no longer held by {self._job.owner}")
        if self._ran() >= self._limit_seconds:
            raise self._too_long()
        if self._stopping.asked and stage not in LAST_STAGES:
            raise self._hand_back()
        if (stage, percent) != (self._stage, self._percent):
            self._stage, self._percent = stage, percent
            self._news.set()

    def _keep(self) -> None:
        # At most one write in each pause, however many tiles are done in it; one in each quarter of the lease when
        # there is nothing new to show.
        pause, renewed = min(0.5, self._seconds / 4), -math.inf
        while not self._done.wait(0.0 if renewed == -math.inf else pause):
            now = time.monotonic()
            if not self._lost and (self._news.is_set() or now - renewed >= self._seconds / 4):
                self._news.clear()
                self._renew()
                renewed = now
            self._watch()

    def _renew(self) -> None:
        try:
            self._lost = not self._ledger.renew(
                self._job.id, self._job.owner, self._stage, self._percent, self._seconds
            )
        except SQLAlchemyError as error:  # it may answer again before the lease is over
            event(log, logging.WARNING, "the lease was not renewed", why=str(error), **self._job.log_context())

    def _watch(self) -> None:
        """End a step that does not notice that its time is over."""
        if self._given_up:
            return
        if self._ran() >= self._limit_seconds + GRACE_SECONDS:
            self._record(self._too_long())
            self._stopping.ask(f"job {self._job.id} hangs in stage {self._stage}", 0.0, OVERRUN)
        elif self._stopping.overdue:
            self._record(self._hand_back())

    def _record(self, error: SagittalError) -> None:
        self._given_up = True
        try:
            self._give_up(error)
        except SQLAlchemyError as silent:  # then the lease runs out, and the sweeper takes the job back
            event(log, logging.ERROR, "not recorded", error=str(error), why=str(silent), **self._job.log_context())

    def _ran(self) -> float:
        return time.monotonic() - self._started

    def _too_long(self) -> StepTooLongError:
        return StepTooLongError(
            f"took longer than {self._limit_seconds:g} s, in stage {self._stage} at {self._percent} %"
        )

    def _hand_back(self) -> HandBackError:
        return HandBackError(f"its worker was told to stop, in stage {self._stage} at {self._percent} %")
