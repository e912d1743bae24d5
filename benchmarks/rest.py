"""What the processes that import nothing heavy cost: the receiver at rest, the status page, the command's start.

    python -m benchmarks.rest [--series 30] [--runs 5]

A receiver as `sagittal receiver` runs it takes 30 series of 6 images, routes them and is then left alone for three
seconds; what counts is its resident set (VmRSS). Which modules it imported it says itself (`python -X importtime`).
The status page is asked for once before it is measured. `sagittal --help` is timed as a whole process.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.site import START_SECONDS, BenchSite, Mould, bench_site, mould, wait_until
from benchmarks.table import Compare, Measured, Row, show
from dicom_nodes.scu import store
from service.jobs import JobState

MB = 10**6
GOAL_MB = 150.0
HEAVY = ("torch", "nnunetv2", "SimpleITK")
REST_SECONDS = 3.0
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)


def rows(full: bool) -> list[Measured]:
    """Row 11, and the status page and the command beside it."""
    return measure(series=30, runs=9 if full else 5)


def measure(series: int, runs: int) -> list[Measured]:
    """RuntimeError where the receiver imported what it must not."""
    with tempfile.TemporaryDirectory(prefix="rest-") as name:
        made = mould(Path(name) / "mould", 6)
        receivers, pages = zip(*(_one_run(Path(name) / str(run), made, series) for run in range(runs)), strict=True)
    said = f"It never imports {', '.join(HEAVY[:-1])} or {HEAVY[-1]}: looked up among its modules after every run."
    alone = Compare.ALONE
    return [
        Row(11, f"receiver at rest after {series} series", "MB resident", receivers, compare=alone, goal=GOAL_MB,
            limit=said),
        Row(11, "status page, asked once", "MB resident", pages, compare=alone),
        Row(11, "`sagittal --help`", "s", tuple(_help_seconds() for _ in range(runs)), compare=alone),
    ]  # fmt: skip


def _one_run(home: Path, made: Mould, series: int) -> tuple[float, float]:
    """Resident memory of receiver and status page, MB."""
    with bench_site(home) as site:
        receiver = site.start_receiver("-X", "importtime")
        web = site.start("web")
        paths = [path for number in range(series) for path in made.cast(home / f"cast-{number}", number)]
        store(site.node, "BENCH", paths)
        wait_until(lambda: _all_queued(site, series), START_SECONDS, "not every series became a job")
        wait_until(lambda: _page_answers(site), START_SECONDS, "the status page does not answer")
        time.sleep(REST_SECONDS)
        found = resident_mb(receiver.pid), resident_mb(web.pid)
        _hold_light(home / "receiver.log")
    return found


def _all_queued(site: BenchSite, series: int) -> bool | None:
    return len(site.ledger.list_jobs(JobState.QUEUED)) == series or None


def _page_answers(site: BenchSite) -> bool | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.site.web.port}/", timeout=5) as answer:
            return bool(answer.read())
    except (urllib.error.URLError, OSError):
        return None


def resident_mb(pid: int) -> float:
    """VmRSS of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024 / MB


def _hold_light(log: Path) -> None:
    imported = set(_IMPORTED.findall(log.read_text()))
    if heavy := imported & set(HEAVY):
        raise RuntimeError(f"the receiver imported {', '.join(sorted(heavy))}")
    if "service" not in imported:
        raise RuntimeError("the receiver did not say what it imports")


def _help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "service", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args(arguments)
    show(measure(chosen.series, chosen.runs))


if __name__ == "__main__":
    main()
