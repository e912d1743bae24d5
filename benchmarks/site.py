"""A whole site for a benchmark, whose processes are started and stopped one by one.

Its sub-model is a real nnU-Net of some hundred weights; everything else is as in a hospital, on loopback, with an
SQLite ledger and a Redis of its own. Nobody answers at its destination.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydicom import dcmread

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import echo
from dicom_nodes.types import Node, Plane
from service.config import Site, read_site
from service.ledger import Ledger, open_ledger
from service.phantom.dicom import write_dicom
from service.phantom.grids import grid
from service.phantom.protocols import make_phantom
from service.redis_server import RedisChild
from tests.conftest import free_port
from tests.faults.model import NAME, install_quick

T = TypeVar("T")
START_SECONDS, STOP_SECONDS = 120.0, 40.0
SITE_TOML = """\
[receive]
aet = "SAGITTAL"
host = "127.0.0.1"
port = {port}

[assembly]
quiet_seconds = 0.5

[[destination]]
name = "archive"
aet = "ARCHIVE"
host = "127.0.0.1"
port = 104

[models]
weights = "{home}/models"
submodels = "{home}/submodels"
run = ["{model}"]
otherwise = []

[checks]
contradiction = "deliver"

[web]
host = "127.0.0.1"
port = {web_port}

[workers]
threads = 1
device = "cpu"
"""


@dataclass
class BenchSite:
    """A site and those of its processes that run."""

    site: Site
    ledger: Ledger
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        """Its receiver."""
        return Node(self.site.receive.aet, "127.0.0.1", self.site.receive.port)

    def start(self, part: str, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start `sagittal PART`; its output goes to PART.log, or NAME.log where a name is among the arguments."""
        name = arguments[arguments.index("--name") + 1] if "--name" in arguments else part
        command = [sys.executable, *python, "-m", "service", part, "--site", str(self.site.home / "site.toml")]
        with (self.site.home / f"{name}.log").open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=environment)
        self.processes[name] = process
        return process

    def start_receiver(self, *python: str) -> subprocess.Popen[bytes]:
        """Start the receiver and wait until it answers to C-ECHO."""
        process = self.start("receiver", python=python)
        wait_until(self._answers, START_SECONDS, "the receiver does not answer")
        return process

    def start_worker(self, name: str) -> None:
        """Start an inference worker of one thread."""
        self.start("worker", "--role", "inference", "--name", name)

    def stop(self, *names: str) -> None:
        """End the processes of these names, all at once; all that run where none is given."""
        ending = [self.processes.pop(name) for name in names or tuple(self.processes)]
        for process in ending:
            process.terminate()
        for process in ending:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool | None:
        try:
            echo(self.node, "BENCH", timeout_seconds=2)
        except (Unreachable, Refused):
            return None
        return True


@contextmanager
def bench_site(home: Path) -> Iterator[BenchSite]:
    """A site in an empty folder; its Redis runs, nothing else does yet, and nothing is left in the end."""
    home.mkdir(parents=True)
    install_quick(home / "submodels", home / "models")
    path = home / "site.toml"
    path.write_text(SITE_TOML.format(home=home, port=free_port(), web_port=free_port(), model=NAME))
    site = read_site(path)
    redis = RedisChild(site)
    process = redis.start()
    running = BenchSite(site, open_ledger(site.ledger_url, actor="bench"))
    try:
        yield running
    finally:
        running.stop()
        running.ledger.close()
        process.terminate()
        process.wait(STOP_SECONDS)


def wait_until(found: Callable[[], T | None], seconds: float, otherwise: str) -> T:
    """What `found` gives first; raises RuntimeError where it gives nothing in time."""
    deadline = time.monotonic() + seconds
    while (value := found()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:g} s: {otherwise}")
        time.sleep(0.1)
    return value


@dataclass(frozen=True)
class Mould:
    """One small series as bytes, of which any number of others are cast, each with UIDs of its own."""

    files: tuple[bytes, ...]
    uids: tuple[bytes, ...]
    """Of the series, of its study, and of every instance."""

    def series_uid_of(self, number: int) -> str:
        """SeriesInstanceUID of one that is cast."""
        return _other(self.uids[0], number).decode()

    def cast(self, folder: Path, number: int) -> list[Path]:
        """Write one more series; the same for the same number."""
        folder.mkdir(parents=True)
        paths = []
        for place, written in enumerate(self.files):
            for uid in self.uids:
                written = written.replace(uid, _other(uid, number))  # noqa: PLW2901  # one after another
            paths.append(folder / f"{place:03}.dcm")
            paths[-1].write_bytes(written)
        return paths


def mould(folder: Path, slices: int) -> Mould:
    """Make an axial series of so many slices of 32 × 32, as a phantom of an abdomen."""
    where = grid(
        Plane.AXIAL, (0.0, 0.0, 0.0), matrix=(32, 32), pixel_mm=12.0, slices=slices, thickness_mm=20.0, gap_mm=0.0
    )
    series = write_dicom(make_phantom("abdomen", 7, acquisition=where, contrast="T2"), folder)
    uids = (series.series_uid, series.study_uid, *(str(dcmread(path).SOPInstanceUID) for path in series.paths))
    made = Mould(tuple(path.read_bytes() for path in series.paths), tuple(uid.encode() for uid in uids))
    shutil.rmtree(folder)
    return made


def _other(uid: bytes, number: int) -> bytes:
    """A UID of the same length that ends otherwise; those of phantoms are 2.25 and a long number."""
    return uid[:-6] + b"%06d" % number
