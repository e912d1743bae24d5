"""A queue of small series: what a second worker brings, and what the receiver keeps of its rate beside two.

    python -m benchmarks.backlog [--series 300] [--runs 5]

A whole site with a real, tiny nnU-Net (`tests/faults/model.py`). The receiver takes so many series of 6 images and
routes them while no worker runs. Then one worker of one thread works off the queue, and in turns a second one is
started beside it and stopped again. Rates are from the ledger: jobs that were inferred in a turn after every worker
had finished its first, before which it loads libraries and weights, over the time from then to the last. The
results worker is not started: on two cores a third busy process would take its time from the two that are compared.

Then `storescu` sends 300 images of 256 × 256 to the same receiver, while two workers wait for work and while both
are busy.
Nothing is deleted before the end: `benchmarks/receive.py` says why.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.headers import SIDE, write_classic
from benchmarks.site import START_SECONDS, BenchSite, Mould, bench_site, mould, wait_until
from benchmarks.table import Compare, Measured, Missing, Row, show
from dicom_nodes.scu import store
from service.jobs import JobState, Transition

SLICES, IMAGES = 6, 300
FIRST, SECOND = "inference-1", "inference-2"
MOST_SECONDS = 600.0
BUSY_WITH = 16
"""So many series are queued for the workers beside which the receiver is measured."""
SPARE = 100
"""Jobs of other series that may wait as well."""
NICE = "Sender, receiver and two workers want two cores; workers have a nice value of 10, the receiver has none."


def rows(full: bool) -> list[Measured]:
    """Row 9."""
    return measure(series=1000 if full else 300, runs=5)


def measure(series: int, runs: int) -> list[Measured]:
    """Both halves of the row; RuntimeError where a series is inferred twice or never."""
    with tempfile.TemporaryDirectory(prefix="queue-") as name, bench_site(Path(name) / "site") as site:
        bench = _Bench(site, Path(name), mould(Path(name) / "mould", SLICES))
        site.start_receiver()
        rates = bench.worked_off(series, runs)
        twice = tuple(2 * rate for rate in rates[1])
        work = f"queue of {series} series, 2 workers"
        queue = Row(9, work, "series/s", tuple(rates[2]), "twice 1 worker", twice, Compare.RATE, 0.9)
        return [queue, _receiving(bench, runs)]


@dataclass
class _Bench:
    """The site that is measured, and the series that it has not seen yet."""

    site: BenchSite
    folder: Path
    mould: Mould
    numbers: "count[int]" = field(default_factory=count)

    def queued(self, series: int, *states: JobState) -> set[str]:
        """Send new series and give the ids of their jobs, when all of them are there, in these states if any."""
        numbers = [next(self.numbers) for _ in range(series)]
        batch = self.folder / "queued"
        paths = [path for number in numbers for path in self.mould.cast(batch / str(number), number)]
        store(self.site.node, "BENCH", paths)
        wanted = {self.mould.series_uid_of(number) for number in numbers}
        return wait_until(lambda: self._jobs_of(wanted, states), MOST_SECONDS, "not every series became a job")

    def worked_off(self, series: int, runs: int) -> dict[int, list[float]]:
        """Series per second of one warm worker and of two, each as often as there are runs."""
        jobs = self.queued(series, JobState.QUEUED)
        turns = []
        self.site.start_worker(FIRST)
        for run in range(runs):
            left = series - series * run // runs
            turns.append(self._turn(1, left - series // runs // 3))
            self.site.start_worker(SECOND)
            turns.append(self._turn(2, series - series * (run + 1) // runs))
            self.site.stop(SECOND)
        inferred = self._inferred(jobs)
        rates: dict[int, list[float]] = {1: [], 2: []}
        for workers, began, ended in turns:
            rates[workers].append(_rate(workers, [step for step in inferred if began < step.at < ended]))
        return rates

    def _turn(self, workers: int, until: int) -> tuple[int, float, float]:
        """Wait until so few jobs are left; from when to when that was, in seconds of Unix time."""
        began = time.time()
        wait_until(lambda: self._no_more_than(until), MOST_SECONDS, "the queue was not worked off")
        return workers, began, time.time()

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
        return self._no_more_than(0)

    def _jobs_of(self, series_uids: set[str], states: Sequence[JobState]) -> set[str] | None:
        """The ids of the jobs of these series, when each has one in these states."""
        jobs = self.site.ledger.list_jobs(*states, limit=len(series_uids) + SPARE)
        found = {job.id for job in jobs if job.series_uid in series_uids}
        return found if len(found) == len(series_uids) else None

    def _no_more_than(self, left: int) -> bool | None:
        """True when so many jobs or fewer wait or are worked on."""
        counted = self.site.ledger.count_jobs()
        return True if counted.get(JobState.QUEUED, 0) + counted.get(JobState.INFERRING, 0) <= left else None

    def _inferred(self, jobs: set[str]) -> list[Transition]:
        """When each of these jobs was inferred, and by whom."""
        found = []
        for job in jobs:
            steps = [each for each in self.site.ledger.history("job", job) if each.to_state == JobState.INFERRED]
            if len(steps) != 1:
                raise RuntimeError(f"inferred {len(steps)} times: {self.site.ledger.job(job)}")
            found += steps
        return found


def _rate(workers: int, inferred: Sequence[Transition]) -> float:
    """Jobs after every worker had finished its first, over the time that they took; RuntimeError for too few."""
    first: dict[str, float] = {}
    for step in inferred:
        first[step.actor] = min(step.at, first.get(step.actor, step.at))
    warm = max(first.values(), default=0.0)
    after = [step.at for step in inferred if step.at > warm]
    if len(first) != workers or not after:
        raise RuntimeError(
            f"too few series: {len(first)} of {workers} workers had finished one before the turn ended"
        )
    return len(after) / (max(after) - warm)


def _receiving(bench: _Bench, runs: int) -> Measured:
    work = f"receiving {IMAGES} images, beside 2 busy workers"
    if shutil.which("storescu") is None:
        return Missing(9, work, "no storescu on this machine (Debian's dcmtk)")
    alone: list[float] = []
    beside: list[float] = []
    bench.site.start_worker(SECOND)
    bench.queued(BUSY_WITH)
    wait_until(bench.both_busy, START_SECONDS, "the workers did not begin")
    for run in range(runs):
        wait_until(bench.idle, MOST_SECONDS, "the queue was not worked off")
        alone.append(bench.sent(f"alone-{run}"))
        bench.queued(BUSY_WITH)
        wait_until(bench.both_busy, START_SECONDS, "the workers did not begin")
        beside.append(bench.sent(f"beside-{run}"))
        if bench.both_busy() is None:
            raise RuntimeError(f"{BUSY_WITH} series did not last as long as the sending")
    against = "the same receiver, idle workers"
    return Row(9, work, "images/s", tuple(beside), against, tuple(alone), Compare.RATE, 0.8, NICE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    show(measure(chosen.series, chosen.runs))


if __name__ == "__main__":
    main()
