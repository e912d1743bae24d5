"""The parts of `make bench`: which benchmark gives which rows, and how long it may take.

Each part is a module with `rows(full) -> list[Measured]`, and is run in a process of its own, so that what one of
them imports or leaves behind changes nothing for the next.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.machine import has_gpu
from benchmarks.table import Measured, Missing, plain, read

ROOT = Path(__file__).parents[1]
WORK: Mapping[int, str] = MappingProxyType({
    1: "receive 300 MR instances, durable, 1 association", 2: "the same, 4 associations", 3: "the same",
    4: "300 and 2,000 files to a volume in memory, geometry checked", 5: "warm series to SEG on disk",
    6: "everything beside the network in 5", 7: "peak memory of 5", 8: "SEG BINARY of 44 segments, written",
    9: "queue of small series, 1 and 2 workers", 10: "TotalSegmentator, MRSegmentator on one volume",
    11: "receiver process at rest", 12: "5 and 10 on a GPU",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark."""

    name: str
    rows: tuple[int, ...]
    """The numbers of the rows that it gives."""
    minutes: float
    """It takes about so long on two quiet cores, and is ended after `PATIENCE` times that."""
    full_minutes: float
    """The same with all sizes."""

    @property
    def module(self) -> str:
        """Where `rows` is."""
        return f"benchmarks.{self.name}"

    def command(self, full: bool) -> str:
        """What runs this part alone."""
        return f"python -m benchmarks --only {self.name}" + (" --full" if full else "")


PARTS = (
    Part("receive", (1, 2, 3), 2, 4),
    Part("series_reading", (4,), 2, 3),
    Part("series", (5, 6, 7), 9, 55),
    Part("seg", (8,), 1, 8),
    Part("backlog", (9,), 4, 10),
    Part("authors", (10,), 5, 8),
    Part("rest", (11,), 2, 3),
)
PATIENCE = 4


@dataclass(frozen=True, slots=True)
class Done:
    """A part that has been run."""

    part: Part
    seconds: float
    measured: tuple[Measured, ...]
    failure: str
    """What went wrong; empty where nothing did."""


def run(part: Part, full: bool) -> Done:
    """Run a part in a process of its own; what it cannot give is told as missing."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks", "--part", part.name, "--out", str(out)]
        began = time.monotonic()
        minutes = part.full_minutes if full else part.minutes
        failure = _failure(command + ["--full"] * full, PATIENCE * 60 * minutes)
        seconds = time.monotonic() - began
        measured = [read(values) for values in json.loads(out.read_text())] if out.exists() else []
    told = {one.number for one in measured}
    lacking = [Missing(number, WORK[number], failure) for number in part.rows if number not in told]
    return Done(part, seconds, (*measured, *lacking), failure)


def write_rows(name: str, out: Path, full: bool) -> None:
    """Measure one part in this process and leave its rows in a file."""
    (part,) = [one for one in PARTS if one.name == name]
    found: Sequence[Measured] = importlib.import_module(part.module).rows(full)
    out.write_text(json.dumps([plain(one) for one in found]))


def of_no_part() -> list[Measured]:
    """The rows that no part gives."""
    gpu = "there is a GPU, and no benchmark that runs on it" if has_gpu() else "no GPU on this machine"
    return [Missing(12, WORK[12], gpu)]


def _failure(command: Sequence[str], seconds: float) -> str:
    """Run a command and all that it starts, for so long at most; why it failed, in one line, or nothing."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"it took longer than {seconds / 60:.0f} minutes"
    if process.returncode == 0:
        return ""
    print(said, file=sys.stderr)
    lines = [line for line in said.splitlines() if line.strip()]
    return f"it failed: {lines[-1].strip()[:200]}" if lines else f"it ended with {process.returncode}"
