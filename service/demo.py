"""A whole site on this machine for a few minutes: phantoms in as a modality sends them, SEG back, the truth beside.

An embedded archive stands for the PACS, and everything listens on loopback.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.errors import ConfigurationError, SagittalError, Unreachable
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.scu import echo, store
from dicom_nodes.types import Instance, Node
from service.config import Site, read_site, site_toml
from service.jobs import Job, JobState
from service.ledger import Ledger, open_ledger, terminal
from service.phantom.body import Phantom
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import PROTOCOLS, make_phantom
from service.pictures import overlay
from service.submodel import load_submodels
from service.verify import compare, geometry_differences

LEAST_MEAN, LEAST_DICE = 0.90, 0.70
"""What a protocol has to reach on average, and each structure by itself, to count as right."""

MOST_CLAIMED_ML = 1.0
"""Specks of a structure that is not there are shown; more than this of one is wrong."""

SCANNERS = (
    ("siemens", False), ("ge", False), ("philips", False), ("siemens", True),
    ("ge", False), ("philips", True), ("siemens", False), ("ge", False),
)  # fmt: skip
"""Vendor and whether the series is one Enhanced object, for each protocol in turn."""

START_SECONDS, GIVE_UP_SECONDS = 90.0, 900.0
_MARKER = ".sagittal-demo"


@dataclass
class _Study:
    """One protocol's phantom on its way through the service."""

    protocol: str
    phantom: Phantom | None = None
    series: PhantomSeries | None = None
    sent_at: float = 0.0
    back_at: float = 0.0
    seg: Path | None = None
    dice: dict[str, float] = field(default_factory=dict)
    claimed_ml: dict[str, float] = field(default_factory=dict)
    """Structures that came back although the phantom does not show them."""
    faults: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """True when the result came back, lies in place and agrees with the truth."""
        values = list(self.dice.values())
        sound = not self.faults and max(self.claimed_ml.values(), default=0.0) <= MOST_CLAIMED_ML
        return bool(values) and sound and min(values) >= LEAST_DICE and _mean(values) >= LEAST_MEAN


def run(folder: Path, seed: int, keep_running: bool) -> int:
    """Run the demo in `folder`; 0 only if every protocol came back right."""
    console = Console()
    _prepare(folder)
    studies = [_Study(protocol) for protocol in PROTOCOLS]
    arrived: list[Instance] = []
    archive = _archive(folder / "pacs", arrived)
    archive.start()
    try:
        site_file = _write_site(folder, archive.port)
        site = read_site(site_file)
        with _service(site_file, folder / "sagittal.log") as service:
            started = time.monotonic()
            _wait_for(site, service)
            console.print(f"archive PACS on port {archive.port}, SAGITTAL on port {site.receive.port}, both up")
            _circle(console, site, studies, arrived, seed, service)
            console.print(_table_of_structures(studies))
            _tell(console, folder, site, studies, time.monotonic() - started)
            if keep_running:
                _keep(console, site)
    finally:
        archive.stop()
    return 0 if all(study.right for study in studies) else 1


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigurationError(f"{folder} exists and is no demo's folder: name another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    (folder / _MARKER).touch()


def _archive(folder: Path, arrived: list[Instance]) -> StorageScp:
    folder.mkdir()
    settings = ScpSettings(aet="PACS", host="127.0.0.1", port=0, other_storage="accept")
    return StorageScp(settings, folder, arrived.append, lambda _: None, lambda _: None)


def _write_site(folder: Path, archive_port: int) -> Path:
    path = folder / "site.toml"
    node = Node("PACS", "127.0.0.1", archive_port)
    path.write_text(site_toml("SAGITTAL", "127.0.0.1", _free_port(), _free_port(), (node,)))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _service(site_file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`sagittal up` as a user would start it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "up", "--site", str(site_file)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(site: Site, service: subprocess.Popen[bytes]) -> None:
    node = Node(site.receive.aet, "127.0.0.1", site.receive.port)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            echo(node, "MR1", timeout_seconds=2)
        except Unreachable:
            if service.poll() is not None or time.monotonic() > deadline:
                raise Unreachable(f"the service did not start: see {site.home / 'sagittal.log'}") from None
            time.sleep(0.3)
        else:
            return


def _circle(
    console: Console, site: Site, studies: list[_Study], arrived: list[Instance], seed: int, service: object
) -> None:
    """Send every study, show how each proceeds, and check what comes back, until the last is settled."""
    ledger = open_ledger(site.ledger_url, actor="demo")
    problems: list[BaseException] = []
    sender = threading.Thread(target=_send_all, args=(site, studies, seed, problems), daemon=True)
    sender.start()
    deadline = time.monotonic() + GIVE_UP_SECONDS
    with Live(console=console, refresh_per_second=4) as live:
        while time.monotonic() < deadline and not problems:
            _match(studies, arrived)
            jobs = {job.series_uid: job for job in ledger.list_jobs()}
            live.update(Group(Text("\nfrom the scanner to the archive"), _table_of_progress(studies, jobs, ledger)))
            if all(_settled(study, jobs, ledger) for study in studies):
                break
            time.sleep(0.25)
    ledger.close()
    for problem in problems:
        raise problem
    for study in studies:
        _verify(site, study)


def _send_all(site: Site, studies: list[_Study], seed: int, problems: list[BaseException]) -> None:
    node = Node(site.receive.aet, "127.0.0.1", site.receive.port)
    try:
        for study, (vendor, enhanced) in zip(studies, SCANNERS, strict=True):
            study.phantom = make_phantom(study.protocol, seed)
            folder = site.home / "scanner" / study.protocol
            study.series = write_dicom(study.phantom, folder, vendor=vendor, enhanced=enhanced)
            store(node, "MR1", study.series.paths)
            study.sent_at = time.monotonic()
    except Exception as error:  # noqa: BLE001  # a thread's error is raised by the one that waits for it
        problems.append(error)


def _match(studies: list[_Study], arrived: list[Instance]) -> None:
    """Give every SEG that came to the archive to the study whose series it names."""
    waiting = {study.series.series_uid: study for study in studies if study.series and not study.seg}
    for instance in arrived[:]:
        seg = pydicom.dcmread(instance.path, stop_before_pixels=True)
        source = str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)
        if source in waiting:
            waiting[source].seg = instance.path
            waiting[source].back_at = time.monotonic()
            arrived.remove(instance)


def _settled(study: _Study, jobs: dict[str, Job], ledger: Ledger) -> bool:
    if study.series is None or not study.sent_at:
        return False
    job = jobs.get(study.series.series_uid)
    if job is not None:
        return terminal(job) and (job.state is not JobState.DELIVERED or study.seg is not None)
    series = ledger.series(study.series.series_uid)
    return series is not None and series.state in ("unrouted", "failed")


def _verify(site: Site, study: _Study) -> None:
    """Compare what came back with the truth by position, and draw it."""
    if study.seg is None or study.phantom is None or study.series is None:
        return
    phantom = study.phantom
    names = {value: name for name, value in phantom.labels.items()}
    try:
        agreement = compare(study.seg, phantom.truth, phantom.affine, names)
        study.dice, study.claimed_ml = dict(agreement.dice), dict(agreement.claimed_ml)
        study.faults = geometry_differences(study.seg, study.series.paths)
        _draw(study, phantom, study.seg, site.home / "pictures" / f"{study.protocol}.png")
    except SagittalError as error:
        study.faults = (str(error),)


def _draw(study: _Study, phantom: Phantom, seg: Path, path: Path) -> None:
    """The picture shows what came back from the archive, not what the worker had."""
    z, y, x = phantom.truth.shape
    found = read_seg(seg, Grid(phantom.affine, (z, y, x)))
    submodel = next(s for s in load_submodels() if study.protocol in {protocol.name for protocol in s.protocol})
    segments = {segment.name: segment for segment in submodel.segments(study.protocol, None)}
    values = np.zeros(256, np.uint8)
    for number, name in found.names.items():
        values[number] = segments[name].value
    mean = _mean(list(study.dice.values()))
    title = f"{study.protocol}: phantom, segmented by a phantom model (mean Dice {mean:.3f})"
    overlay(phantom.pixels, values[found.labels], phantom.affine, tuple(segments.values()), title, path)


def _table_of_progress(studies: list[_Study], jobs: dict[str, Job], ledger: Ledger) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("protocol", "instances", "state", "", "reason"):
        table.add_column(column)
    for study in studies:
        table.add_row(*_row(study, jobs, ledger))
    return table


def _row(study: _Study, jobs: dict[str, Job], ledger: Ledger) -> tuple[str | ProgressBar, ...]:
    if study.series is None:
        return study.protocol, "", "waits", "", ""
    job = jobs.get(study.series.series_uid)
    series = ledger.series(study.series.series_uid)
    count = f"{series.instance_count if series else 0} of {len(study.series.paths)}"
    if job is None:
        return (
            study.protocol,
            count,
            series.state.value if series else "sending",
            "",
            series.reason if series else "",
        )
    if job.state is JobState.INFERRING:
        return study.protocol, count, job.stage or "starting", ProgressBar(100, job.percent, width=24), job.reason
    if study.back_at:
        return study.protocol, count, f"[green]back after {study.back_at - study.sent_at:.0f} s", "", ""
    return study.protocol, count, job.state.value, "", job.reason


def _table_of_structures(studies: list[_Study]) -> Table:
    table = Table(title="What came back, against the truth", header_style="bold", title_justify="left")
    for column in ("protocol", "mean Dice", "structure by structure"):
        table.add_column(column, vertical="top")
    for study in studies:
        values = list(study.dice.values())
        parts = [f"[{'green' if d >= LEAST_DICE else 'red'}]{name} {d:.3f}[/]" for name, d in study.dice.items()]
        colour = "green" if study.right else "red"
        mean = f"[{colour}]{_mean(values):.3f}[/]" if values else "[red]nothing came back[/]"
        specks = [f"{name} {ml:.2f} mL" for name, ml in study.claimed_ml.items()]
        lines = [", ".join(parts)] + ([f"not there, but claimed: {', '.join(specks)}"] if specks else [])
        table.add_row(study.protocol, mean, "\n".join(study.faults) or "\n".join(lines))
    return table


def _tell(console: Console, folder: Path, site: Site, studies: list[_Study], seconds: float) -> None:
    right = sum(study.right for study in studies)
    colour = "green" if right == len(studies) else "red"
    console.print(f"\n[{colour}]{right} of {len(studies)} came back right[/], {seconds:.0f} s after the start")
    console.print(
        f"results     {folder}/pacs (DICOM-SEG as the archive holds them)\n"
        f"pictures    {folder}/pictures\n"
        f"what was sent {folder}/scanner\n"
        f"log         {folder}/sagittal.log\n"
        f"every step  sagittal jobs list --site {folder}/site.toml",
        highlight=False,
        soft_wrap=True,
    )
    console.print("These are synthetic phantoms and models trained on phantoms: nothing here is for clinical use.")


def _keep(console: Console, site: Site) -> None:
    console.print(f"status page http://{site.web.host}:{site.web.port}/   (Ctrl-C ends)")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
