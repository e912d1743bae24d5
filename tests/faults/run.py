"""A seed in; one run of a site under load and faults, audited, out."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import free_port
from tests.faults.auditor import Verdict, audit
from tests.faults.evidence import Told, evidence, told, unsettled
from tests.faults.inflict import Undo, inflict
from tests.faults.load import Load, write_load
from tests.faults.model import install_quick
from tests.faults.phantoms import make_series
from tests.faults.schedule import KINDS, Fault, schedule
from tests.faults.site import ROOT, BrokenSite, broken_site, unable
from tests.postgresql import PostgreSql, postgresql

LEDGERS = ("sqlite", "postgresql")
SENDERS = ("MR1", "MR2", "MR3", "MR4")
GIVES_UP_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed did."""

    seed: int
    faults: tuple[Fault, ...]
    left_out: dict[str, str]
    """Kinds of fault that could not be inflicted, and why."""
    series: int
    told: Told
    verdict: Verdict
    unsettled: tuple[str, ...]
    """What was still on its way when patience ended."""
    seconds: float
    """From the first association to the last result."""
    web_answers: bool


@dataclass(frozen=True, slots=True)
class Weights:
    """The installed sub-model of all runs."""

    models: Path
    submodels: Path


def install(folder: Path) -> Weights:
    """Install the sub-model that the runs use."""
    weights = Weights(folder / "models", folder / "submodels")
    install_quick(weights.submodels, weights.models)
    return weights


def run(
    folder: Path,
    weights: Weights,
    seed: int,
    series: int,
    seconds: float,
    settle_seconds: float = 600.0,
    ledger: str = "sqlite",
) -> Run:
    """Send so many series over so many seconds while the faults of this seed strike; wait for the end; audit.

    `ledger` is one of `LEDGERS`.
    """
    with _database(ledger) as database:
        return _run(folder, weights, database, seed, series, seconds, settle_seconds)


@contextmanager
def _database(ledger: str) -> Iterator[PostgreSql | None]:
    """A server that the run has for itself, in a folder that the server's own user can reach; None for a file."""
    if ledger == "sqlite":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name, postgresql(Path(name), free_port()) as server:
        yield server


def _run(
    folder: Path,
    weights: Weights,
    database: PostgreSql | None,
    seed: int,
    series: int,
    seconds: float,
    settle_seconds: float,
) -> Run:
    journals = folder / "senders"
    journals.mkdir(parents=True)
    made = make_series(folder / "series", seed, series, SENDERS)
    with broken_site(folder, weights.models, weights.submodels, database) as site:
        left_out = unable(site)
        faults = schedule(seed, seconds, [kind for kind in KINDS if kind not in left_out])
        write_load(Load(site.node, made, journals, seed, seconds, GIVES_UP_SECONDS), folder / "load.json")
        began = time.monotonic()
        with senders(folder) as sending:
            strike(faults, site)
            sending.wait(GIVES_UP_SECONDS * 2)
        left = _wait_for_the_end(site, settle_seconds)
        lasted = time.monotonic() - began
        answers = _answers(site.web_url)
    found = evidence(journals, site.archive_folder, site.ledger)
    return Run(seed, faults, left_out, series, told(journals), audit(found), left, lasted, answers)


def strike(faults: tuple[Fault, ...], site: BrokenSite) -> None:
    """Let every fault strike at its time, and end at its time."""
    began, to_undo = time.monotonic(), list[tuple[float, Undo]]()
    waiting = list(faults)
    while waiting or to_undo:
        now = time.monotonic() - began
        while waiting and waiting[0].at_seconds <= now:
            fault = waiting.pop(0)
            to_undo.append((now + fault.seconds, inflict(fault, site)))
        for over in [each for each in to_undo if each[0] <= now]:
            over[1]()
            to_undo.remove(over)
        time.sleep(0.05)


@contextmanager
def senders(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of all senders of a run."""
    command = [sys.executable, "-m", "tests.faults.load", str(folder / "load.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (folder / "senders.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _wait_for_the_end(site: BrokenSite, settle_seconds: float) -> tuple[str, ...]:
    """Wait until nothing is on its way; what is when patience ends."""
    until = time.monotonic() + settle_seconds
    quiet = 0
    while (left := unsettled(site.ledger)) or quiet < 3:
        quiet = 0 if left else quiet + 1
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    return tuple(left)


def _answers(url: str) -> bool:
    """Whether the status page is there."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.5)
    return False
