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
from pathlib import Path

from pydicom.uid import SegmentationStorage
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dicom_nodes.errors import ConfigurationError, SagittalError, Unreachable
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.scu import echo, store
from dicom_nodes.types import Instance, Node
from service.config import Site, read_site
from service.demo_report import Study, draw, table_of_progress, table_of_structures
from service.jobs import Job, JobState
from service.ledger import Ledger, open_ledger, terminal
from service.phantom.dicom import write_dicom
from service.phantom.protocols import PROTOCOLS, make_phantom
from service.site_template import site_toml
from service.verify import compare, geometry_differences

SCANNERS = (
    ("siemens", False), ("ge", False), ("philips", False), ("siemens", True),
    ("ge", False), ("philips", True), ("siemens", False), ("ge", False),
)  # fmt: skip
"""Vendor and whether the series is one Enhanced object, for each protocol in turn."""

START_SECONDS, GIVE_UP_SECONDS = 90.0, 900.0
_MARKER = ".sagittal-demo"


def run(folder: Path, seed: int, keep_running: bool) -> int:
    """Run the demo in `folder`; 0 only if every protocol came back right."""
    console = Console()
    _prepare(folder)
    studies = [Study(protocol) for protocol in PROTOCOLS]
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
            console.print(table_of_structures(studies))
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
    text = site_toml("SAGITTAL", "127.0.0.1", _free_port(), _free_port(), (node,))
    path.write_text(text.replace("# outputs =", "outputs ="))
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
    console: Console, site: Site, studies: list[Study], arrived: list[Instance], seed: int, service: object
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
            live.update(Group(Text("\nfrom the scanner to the archive"), table_of_progress(studies, jobs, ledger)))
            if all(_settled(study, jobs, ledger) for study in studies):
                break
            time.sleep(0.25)
    ledger.close()
    for problem in problems:
        raise problem
    for study in studies:
        _verify(site, study)


def _send_all(site: Site, studies: list[Study], seed: int, problems: list[BaseException]) -> None:
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


def _match(studies: list[Study], arrived: list[Instance]) -> None:
    """Give what came to the archive to the study that it is in: the SEG, and the reports beside it."""
    sent = {study.series.study_uid: study for study in studies if study.series}
    for instance in arrived[:]:
        study = sent.get(instance.study_uid)
        if study is None:
            continue
        if instance.sop_class_uid == SegmentationStorage:
            study.seg, study.back_at = instance.path, time.monotonic()
        else:
            study.reports += (instance.path,)
        arrived.remove(instance)


def _settled(study: Study, jobs: dict[str, Job], ledger: Ledger) -> bool:
    if study.series is None or not study.sent_at:
        return False
    job = jobs.get(study.series.series_uid)
    if job is not None:
        return terminal(job) and (job.state not in (JobState.DELIVERED, JobState.COMMITTED) or study.complete)
    series = ledger.series(study.series.series_uid)
    return series is not None and series.state in ("unrouted", "failed")


def _verify(site: Site, study: Study) -> None:
    """Compare what came back with the truth by position, and draw it."""
    if study.seg is None or study.phantom is None or study.series is None:
        return
    phantom = study.phantom
    names = {value: name for name, value in phantom.labels.items()}
    try:
        agreement = compare(study.seg, phantom.truth, phantom.affine, names)
        study.dice, study.claimed_ml = dict(agreement.dice), dict(agreement.claimed_ml)
        missing = () if study.complete else ("its measurements did not come back",)
        study.faults = missing + geometry_differences(study.seg, study.series.paths)
        draw(study, phantom, study.seg, site.home / "pictures" / f"{study.protocol}.png")
    except SagittalError as error:
        study.faults = (str(error),)


def _tell(console: Console, folder: Path, site: Site, studies: list[Study], seconds: float) -> None:
    right = sum(study.right for study in studies)
    colour = "green" if right == len(studies) else "red"
    console.print(f"\n[{colour}]{right} of {len(studies)} came back right[/], {seconds:.0f} s after the start")
    console.print(
        f"results     {folder}/pacs (as the archive holds them: of each study a DICOM-SEG, and its measurements "
        "as a Structured Report and as text)\n"
        f"pictures    {folder}/pictures\n"
        f"what was sent {folder}/scanner\n"
        f"log         {folder}/sagittal.log\n"
        f"every step  sagittal jobs list --site {folder}/site.toml",
        highlight=False,
        soft_wrap=True,
    )
    warning = "These are synthetic phantoms and models trained on phantoms: nothing here is for clinical use."
    console.print(warning, soft_wrap=True)


def _keep(console: Console, site: Site) -> None:
    console.print(f"status page http://{site.web.host}:{site.web.port}/   (Ctrl-C ends)")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")
