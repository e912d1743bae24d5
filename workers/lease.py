"""A worker's hold on a job: renewed from a thread while the step runs; its progress reaches the ledger this way."""

import threading
from types import TracebackType
from typing import Self

from dicom_nodes.errors import SagittalError
from service.jobs import Job
from service.ledger import Ledger


class LeaseLostError(SagittalError):
    """The job is no longer this worker's: superseded, or given to another after too long a silence."""


class Lease:
    """Keeps a claimed job from being given to another worker for as long as the block runs."""

    def __init__(self, ledger: Ledger, job: Job, seconds: float) -> None:
        self._ledger, self._job, self._seconds = ledger, job, seconds
        self._stage, self._percent = "read", 0
        self._lost = False
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
        self._news.set()
        self._thread.join()

    def progress(self, stage: str, percent: int) -> None:
        """Say what is being done now; raises LeaseLostError when the work is for nobody any more."""
        if self._lost:
            raise LeaseLostError(f"job {self._job.id} is no longer held by {self._job.owner}")
        if (stage, percent) != (self._stage, self._percent):
            self._stage, self._percent = stage, percent
            self._news.set()

    def _keep(self) -> None:
        pause = min(0.5, self._seconds / 4)
        while not self._done.is_set():
            self._lost = not self._ledger.renew(
                self._job.id, self._job.owner, self._stage, self._percent, self._seconds
            )
            if self._lost:
                return
            # At most one write in each pause, however many tiles are done in it; one in each quarter of the lease
            # when there is nothing new to show.
            self._done.wait(pause)
            self._news.wait(self._seconds / 4 - pause)
            self._news.clear()
