"""A whole site for a test: `sagittal up` as a user starts it, an archive to deliver to, and the ledger."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dicom_nodes.errors import Unreachable
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.scu import echo
from dicom_nodes.types import Instance, Node
from service.config import Site, read_site
from service.jobs import Job, SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger, terminal
from service.site_template import site_toml
from tests.conftest import free_port
from tests.ledgers import naming_ledger

T = TypeVar("T")
START_SECONDS = 120.0


@dataclass(frozen=True)
class RunningSite:
    """A site whose processes run."""

    site: Site
    ledger: Ledger
    process: subprocess.Popen[bytes]

    @property
    def node(self) -> Node:
        return Node(self.site.receive.aet, "127.0.0.1", self.site.receive.port)

    def settled(self, series_uid: str, seconds: float = 240.0) -> tuple[SeriesRecord, list[Job]]:
        """Wait until nothing more happens to a series by itself; fails with the ledger's words if it never does."""

        def outcome() -> tuple[SeriesRecord, list[Job]] | None:
            series, jobs = self.ledger.series(series_uid), self.ledger.list_jobs(series_uid=series_uid)
            if series is None or series.state in (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.WAITING):
                return None
            return (series, jobs) if all(terminal(job) for job in jobs) else None

        return wait_until(outcome, seconds, lambda: f"{self.ledger.series(series_uid)} {self.ledger.list_jobs()}")

    def worker_pid(self, name: str) -> int:
        """The process of one worker, as `inference-1`."""
        found = subprocess.run(
            ["pgrep", "-f", "--", f"--site {self.site_file} --name {name}"], capture_output=True, text=True
        )
        return int(found.stdout.split()[0])

    @property
    def site_file(self) -> Path:
        return self.site.home / "site.toml"


def wait_until(
    found: Callable[[], T | None], seconds: float, otherwise: Callable[[], str] = lambda: "it never came"
) -> T:
    """What `found` gives first; asserts that it does so in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value is not None:
            return value
        assert time.monotonic() < deadline, f"after {seconds:g} s: {otherwise()}"
        time.sleep(0.1)


@contextmanager
def running_site(
    folder: Path, send_to: Sequence[Node], more: str = "", port: int | None = None, **edits: str
) -> Iterator[RunningSite]:
    """Start a site that delivers to these nodes.

    `edits` replaces lines of its site.toml, by their key; `more` is put at its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = site_toml("SAGITTAL", "127.0.0.1", port or free_port(), free_port(), tuple(send_to))
    for key, value in edits.items():
        lines = [
            f"{key} = {value}" if line.startswith((f"{key} =", f"# {key} =")) else line for line in text.split("\n")
        ]
        assert "\n".join(lines) != text, f"site.toml has no {key}"
        text = "\n".join(lines)
    text = text if "ledger" in edits else naming_ledger(text, folder / "data")
    path = folder / "site.toml"
    path.write_text(text + more)
    site = read_site(path)
    command = [sys.executable, "-m", "service", "up", "--site", str(path)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        running = RunningSite(site, open_ledger(site.ledger_url, actor="test"), process)
        wait_until(lambda: _answers(running.node), START_SECONDS, (folder / "log").read_text)
        yield running
    finally:
        running.ledger.close()
        _stop(process)


def _answers(node: Node) -> bool | None:
    try:
        echo(node, "TEST", timeout_seconds=2)
    except Unreachable:
        return None
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Archive:
    """A PACS stand-in that keeps what it is sent."""

    node: Node
    arrived: list[Instance]

    def results_of(self, study_uid: str) -> list[Path]:
        """What came for a study, in order of arrival; an object that came twice is there twice."""
        return [instance.path for instance in self.arrived if instance.study_uid == study_uid]


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """Run an archive on a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    arrived: list[Instance] = []
    settings = ScpSettings(aet="PACS", host="127.0.0.1", port=0)
    scp = StorageScp(settings, folder, arrived.append, lambda _: None, lambda _: None)
    scp.start()
    yield Archive(Node("PACS", "127.0.0.1", scp.port), arrived)
    scp.stop()
