"""A queue of small series: what a second worker brings, and what the receiver keeps of its rate beside two.

    python -m benchmarks.backlog [--series 60] [--runs 5]

A whole site with a real, tiny nnU-Net (`tests/faults/model.py`). For one worker and for two, in turns: the
receiver takes so many series of 6 images and routes them while no worker runs; then the workers, one thread each,
are started and work off the queue. Rates are from the ledger: jobs that were inferred after every worker had
finished its first, which loads libraries and weights, over the time from then to the last. The results worker is
not started: on two cores a third busy process would take its time from the two that are compared.

Then `storescu` sends 300 images of 256 × 256 to the same receiver, with no worker and with two that are busy.
Nothing is deleted before the end: `benchmarks/receive.py` says why.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.headers import SIDE, write_classic
from benchmarks.site import START_SECONDS, BenchSite, Mould, bench_site, mould, wait_until
from benchmarks.table import Compare, Measured, Missing, Row, show
from dicom_nodes.scu import store
from service.jobs import JobState

SLICES, IMAGES = 6, 300
MOST_SECONDS = 600.0
BUSY_WITH = 24
"""So many series at the most are queued for the workers beside which the receiver is measured."""
SPARE = 100
"""Jobs of other series that may wait as well."""
NICE = "Sender, receiver and two workers want two cores; workers have a nice value of 10, the receiver has none."


def rows(full: bool) -> list[Measured]:
    """Row 9."""
    return measure(series=1000 if full else 48, runs=5)


def measure(series: int, runs: int) -> list[Measured]:
    """Both halves of the row; RuntimeError where a series is inferred twice or never."""
    with tempfile.TemporaryDirectory(prefix="queue-") as name, bench_site(Path(name) / "site") as site:
        bench = _Bench(site, Path(name), mould(Path(name) / "mould", SLICES))
        site.start_receiver()
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(runs):
            for workers, seen in rates.items():
                seen.append(bench.worked_off(series, workers))
        work = f"queue of {series} series, 2 workers"
        twice = tuple(2 * rate for rate in rates[1])
        queue = Row(9, work, "series/s", tuple(rates[2]), "twice 1 worker", twice, Compare.RATE, 0.9)
        return [queue, _receiving(bench, runs, min(series, BUSY_WITH))]


@dataclass
class _Bench:
    """The site that is measured, and the series that it has not seen yet."""

    site: BenchSite
    folder: Path
    mould: Mould
    numbers: "count[int]" = field(default_factory=count)

    def queued(self, series: int) -> set[str]:
        """Send new series and give the ids of their jobs, when all of them wait."""
        numbers = [next(self.numbers) for _ in range(series)]
        batch = self.folder / "queued"
        paths = [path for number in numbers for path in self.mould.cast(batch / str(number), number)]
        store(self.site.node, "BENCH", paths)
        wanted = {self.mould.series_uid_of(number) for number in numbers}
        return wait_until(lambda: self._jobs_of(wanted), MOST_SECONDS, "not every series became a job")

    def worked_off(self, series: int, workers: int) -> float:
        """Series per second of warm workers."""
        jobs = self.queued(series)
        self.site.start_workers(workers)
        wait_until(self.idle, MOST_SECONDS, "the queue was not worked off")
        self.site.stop(*self.site.workers())
        return self._rate(jobs)

    def sent(self, name: str) -> float:
        """Images per second of `storescu` with a series that was never seen, its start included."""
        series = write_classic(self.folder / name, IMAGES, SIDE, times=1)
        node = self.site.node
        command = ["storescu", "-aet", "BENCH", "-aec", node.aet, "+sd", node.host, str(node.port), str(series)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"})
        seconds = time.perf_counter() - began
        return IMAGES / seconds

    def both_busy(self) -> bool | None:
        """True while two jobs are worked on and more wait."""
        waiting = self.site.ledger.list_jobs(JobState.QUEUED, limit=1)
        return True if waiting and len(self.site.ledger.list_jobs(JobState.INFERRING)) == 2 else None

    def idle(self) -> bool | None:
        """True when nothing waits and nothing is worked on."""
        return None if self.site.ledger.list_jobs(JobState.QUEUED, JobState.INFERRING, limit=1) else True

    def _jobs_of(self, series_uids: set[str]) -> set[str] | None:
        """The ids of the jobs of these series, when each has one that waits."""
        jobs = self.site.ledger.list_jobs(JobState.QUEUED, limit=len(series_uids) + SPARE)
        found = {job.id for job in jobs if job.series_uid in series_uids}
        return found if len(found) == len(series_uids) else None

    def _rate(self, jobs: set[str]) -> float:
        """Jobs after every worker had finished its first, over the time that they took."""
        ended: dict[str, list[float]] = {}
        for job in jobs:
            steps = [each for each in self.site.ledger.history("job", job) if each.to_state == JobState.INFERRED]
            if len(steps) != 1:
                raise RuntimeError(f"inferred {len(steps)} times: {self.site.ledger.job(job)}")
            ended.setdefault(steps[0].actor, []).append(steps[0].at)
        warm = max(min(times) for times in ended.values())
        after = [at for times in ended.values() for at in times if at > warm]
        return len(after) / (max(after) - warm)


def _receiving(bench: _Bench, runs: int, busy_with: int) -> Measured:
    work = f"receiving {IMAGES} images, beside 2 busy workers"
    if shutil.which("storescu") is None:
        return Missing(9, work, "no storescu on this machine (Debian's dcmtk)")
    alone: list[float] = []
    beside: list[float] = []
    for run in range(runs):
        alone.append(bench.sent(f"alone-{run}"))
        bench.queued(busy_with)
        bench.site.start_workers(2)
        wait_until(bench.both_busy, START_SECONDS, "the workers did not begin")
        beside.append(bench.sent(f"beside-{run}"))
        if bench.both_busy() is None:
            raise RuntimeError(f"{busy_with} series did not last as long as the sending")
        wait_until(bench.idle, MOST_SECONDS, "the queue was not worked off")
        bench.site.stop(*bench.site.workers())
    against = "the same receiver, no worker"
    return Row(9, work, "images/s", tuple(beside), against, tuple(alone), Compare.RATE, 0.8, NICE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=48)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    show(measure(chosen.series, chosen.runs))


if __name__ == "__main__":
    main()
