"""A site whose worker is a real process and whose sweeper runs here, for what becomes of steps that end badly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_nodes.headers import read_headers
from dicom_nodes.volumes import find_volumes
from service.config import Site, read_site
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesState, job_id
from service.ledger import Ledger, open_ledger
from service.phantom.dicom import PhantomSeries
from service.queue import Hints
from service.sweep import Sweeper
from tests.ledgers import ledger_in

SUBMODEL, PROTOCOL = "mrannotator-abdomen", "abdomen"


@dataclass
class StepsSite:
    """A site, and the worker processes that a test starts for it."""

    site_file: Path
    site: Site
    ledger: Ledger
    hints: Hints
    sweeper: Sweeper
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, role: str = "inference") -> subprocess.Popen[bytes]:
        """Start a worker; its log is the file `log` beside site.toml."""
        only = ["--submodel", SUBMODEL] if role == "inference" else []
        command = [sys.executable, "-m", "workers", role, "--site", str(self.site_file), "--name", role, *only]
        with (self.site_file.parent / "log").open("ab") as log:
            self.workers.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.workers[-1]

    @property
    def log(self) -> str:
        return (self.site_file.parent / "log").read_text()

    def queue(self, series: PhantomSeries) -> Job:
        """A queued job on a series."""
        (volume,) = find_volumes(read_headers(series.paths)).volumes
        identity = job_id(volume.series_uid, 1, 1, SUBMODEL, PROTOCOL)
        JobFolder(self.site.jobs, identity).save_volume(volume)
        at = time.time()
        job = Job(
            identity, volume.series_uid, volume.study_uid, 1, 1, "", SUBMODEL, PROTOCOL, 0, "", JobState.QUEUED,
            "", 0, 0, "", 0.0, 0.0, "", "", at, at,
        )  # fmt: skip
        self.ledger.heard(volume.series_uid, volume.study_uid, "MR1", len(series.paths))
        self.ledger.move_series(volume.series_uid, SeriesState.COMPLETE, "test")
        self.ledger.route_series(volume.series_uid, "test", "", [job], revision=1)
        return job

    def now(self, job: Job) -> Job:
        found = self.ledger.job(job.id)
        assert found is not None
        return found

    def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Sweep until something is so; asserts that it comes in time."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, f"{self.ledger.list_jobs()} {self.log}"
            self.sweeper.sweep()
            time.sleep(0.1)

    def until_in(self, job: Job, stage: str) -> None:
        """Sweep until a worker is in a stage of a job."""
        self.until(lambda: self.now(job).stage == stage)

    def until_is(self, job: Job, state: JobState, seconds: float = 60.0) -> Job:
        self.until(lambda: self.now(job).state is state, seconds)
        return self.now(job)


@contextmanager
def steps_site(
    folder: Path, redis_url: str, weights: Path, *, port: int = 1, **workers: float
) -> Iterator[StepsSite]:
    """A site without a running process; its workers end with the block."""
    more = "".join(f"{key} = {value}\n" for key, value in workers.items())
    site_file = folder / "site.toml"
    site_file.write_text(
        f"""[receive]
aet = "SAGITTAL"
[[destination]]
name = "pacs"
aet = "PACS"
host = "127.0.0.1"
port = {port}
[models]
weights = "{weights}"
[storage]
redis = "{redis_url}"
ledger = "{ledger_in(site_file.parent / "data")}"
[workers]
threads = 1
device = "cpu"
lease_seconds = 2.0
{more}"""
    )
    site = read_site(site_file)
    ledger, hints = open_ledger(site.ledger_url, actor="test"), Hints(redis_url)
    running = StepsSite(site_file, site, ledger, hints, Sweeper(site, ledger, hints))
    try:
        yield running
    finally:
        for worker in running.workers:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        hints.close()
        ledger.close()
