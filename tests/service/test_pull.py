"""`sagittal pull` against a real Orthanc: what lacks here comes, however often it is begun, and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom.uid import generate_uid

from dicom_nodes.types import Node
from service.cli import main
from service.config import Site, read_site
from service.fetch import ByMove
from service.jobs import SeriesState, Urgency
from service.ledger import Ledger, open_ledger
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.pull import Pace, Pull
from service.queue import Hints
from service.receiver import Receiver
from service.site_template import site_toml
from service.submodel import load_submodels
from tests.conftest import free_port
from tests.dicom_nodes.peers import Object, element, encoded, wait_until
from tests.ledgers import naming_ledger
from tests.orthanc.server import Orthanc, missing, orthanc
from tests.service.routed_site import dispatched, receive

needs_orthanc = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


@dataclass
class Ward:
    """A site whose receiver runs in this process, beside an archive that knows it as SAGITTAL."""

    site: Site
    ledger: Ledger
    archive: Orthanc
    kept: dict[str, bytes] = field(default_factory=dict)
    """The data sets that the archive was given, by SOP Instance UID."""

    @property
    def site_file(self) -> Path:
        return self.site.home / "site.toml"

    def keep(self, series: int = 3, instances: int = 4, study_uid: str = "", between: bytes = b"") -> list[Object]:
        """Let the archive hold a study of so many series."""
        study_uid = study_uid or generate_uid()
        objects = [
            Object(study_uid=study_uid, series_uid=uid, pixel_bytes=2048, between=between)
            for uid in [generate_uid() for _ in range(series)]
            for _ in range(instances)
        ]
        for one in objects:
            path = one.write(self.site.home)
            self.kept[one.sop_instance_uid] = encoded(path)
            self.archive.post("instances", path.read_bytes())
            path.unlink()
        return objects

    def files(self) -> dict[str, Path]:
        """What the receiver has, by SOP Instance UID."""
        return {path.stem: path for path in self.site.incoming.glob("*/*.dcm")}

    def count(self, series_uid: str) -> int:
        record = self.ledger.series(series_uid)
        return 0 if record is None else record.instance_count


@pytest.fixture(scope="module")
def archive_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, archive_port: int) -> Iterator[Orthanc]:
    us = {"sagittal": Node("SAGITTAL", "127.0.0.1", archive_port)}
    with orthanc(tmp_path_factory.mktemp("orthanc"), us) as server:
        yield server


@contextmanager
def receiving(folder: Path, archive: Orthanc, port: int, aet: str = "SAGITTAL", more: str = "") -> Iterator[Ward]:
    """Run a receiver on a port, with a queue that nobody serves; [query] names the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    query = f'\n[query]\naet = "{archive.aet}"\nhost = "127.0.0.1"\nport = {archive.dicom_port}\n{more}'
    text = site_toml(aet, "127.0.0.1", port, free_port(), (archive.node,))
    (folder / "site.toml").write_text(naming_ledger(text, folder / "data") + query)
    site = read_site(folder / "site.toml")
    ledger, hints = open_ledger(site.ledger_url, actor="test"), Hints("redis://127.0.0.1:1/0")
    receiver = Receiver(site, ledger, load_submodels(), hints)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    try:
        wait_until(lambda: receiver._scp._server is not None)
        yield Ward(site, ledger, archive)
    finally:
        receiver.stop.set()
        thread.join(20)
        hints.close()
        ledger.close()


@pytest.fixture
def ward(tmp_path: Path, archive: Orthanc, archive_port: int) -> Iterator[Ward]:
    with receiving(tmp_path / "site", archive, archive_port) as ward:
        yield ward


def pull(ward: Ward, *arguments: str) -> Result:
    """Run the command as a process of its own does, but for the handlers of signals."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(main, ["pull", "--site", str(ward.site_file), *arguments])
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@needs_orthanc
def test_a_study_of_three_series_comes_in_whole_and_byte_for_byte(ward: Ward) -> None:
    objects = ward.keep(series=3, instances=5)
    done = pull(ward, "--study", objects[0].study_uid)
    assert done.exit_code == 0, done.output
    assert "3 series, 15 instances; 0 series are here already" in done.output
    assert done.output.count("5 moved, 5 of 5 received") == 3
    assert "1 of 1 studies are whole here" in done.output
    assert {uid: encoded(path) for uid, path in ward.files().items()} == ward.kept


@needs_orthanc
def test_what_is_here_already_is_not_asked_for_again(ward: Ward) -> None:
    objects = ward.keep(series=2, instances=2)
    first = pull(ward, "--study", objects[0].study_uid)
    assert first.exit_code == 0, first.output
    times = {uid: path.stat().st_mtime_ns for uid, path in ward.files().items()}
    more = ward.keep(series=1, instances=3, study_uid=objects[0].study_uid)
    listed = pull(ward, "--study", objects[0].study_uid, "--dry-run")
    assert listed.exit_code == 1 and "3 series, 7 instances, 1 series lack" in listed.output
    second = pull(ward, "--study", objects[0].study_uid)
    assert second.exit_code == 0, second.output
    assert "2 series are here already" in second.output
    assert second.output.count(" moved") == 1
    assert {uid: path.stat().st_mtime_ns for uid, path in ward.files().items() if uid in times} == times
    assert ward.count(more[0].series_uid) == 3


@needs_orthanc
def test_a_pull_that_was_killed_in_the_middle_goes_on_where_it_was(ward: Ward) -> None:
    objects = ward.keep(series=6, instances=25)
    study = objects[0].study_uid
    command = [sys.executable, "-m", "service", "pull", "--site", str(ward.site_file), "--study", study]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "25 of 25 received" in line:
                os.kill(process.pid, signal.SIGKILL)
                break
    series = list(dict.fromkeys(one.series_uid for one in objects))
    whole = [uid for uid in series if ward.count(uid) == 25]
    assert 1 <= len(whole) < 6
    again = pull(ward, "--study", study)
    assert again.exit_code == 0, again.output
    assert "0 series are here already" not in again.output
    assert all(f"series {uid}:" not in again.output for uid in whole)
    assert [ward.count(uid) for uid in series] == [25] * 6
    assert set(ward.files()) == {one.sop_instance_uid for one in objects}


@needs_orthanc
def test_a_pull_that_is_told_to_stop_says_how_far_it_came(ward: Ward) -> None:
    objects = ward.keep(series=6, instances=25)
    command = [sys.executable, "-m", "service", "pull", "--site", str(ward.site_file)]
    command += ["--study", objects[0].study_uid]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "25 of 25 received" in line and process.poll() is None:
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 1, lines
    assert lines[-1].startswith("0 of 0 studies are whole here")
    assert 1 <= len({path.parent for path in ward.files().values()}) < 6


@needs_orthanc
def test_a_study_that_the_archive_does_not_hold_is_named_and_the_others_come(ward: Ward) -> None:
    objects = ward.keep(series=1, instances=2)
    done = pull(ward, "--study", "1.2.3.4.5", "--study", objects[0].study_uid)
    assert done.exit_code == 1
    assert "the archive has no study with StudyInstanceUID=1.2.3.4.5" in done.output
    assert ward.count(objects[0].series_uid) == 2


@needs_orthanc
def test_a_query_brings_the_studies_that_match_all_its_keys_and_the_series_that_pass_the_filter(
    ward: Ward,
) -> None:
    number = generate_uid()[-16:]
    accession = element(0x00080050, "SH", number)
    kept = ward.keep(series=1, instances=2, between=element(0x00080020, "DA", "20260115") + accession)
    ward.keep(series=1, instances=2, between=element(0x00080020, "DA", "20260301") + accession)
    keys = ["--query", "StudyDate=20260101-20260131", "--query", f"AccessionNumber={number}"]
    done = pull(ward, *keys, "--series-filter", "Modality=CT")
    assert done.exit_code == 0 and "0 series, 0 instances" in done.output, done.output
    done = pull(ward, *keys, "--query", "ModalitiesInStudy=MR")
    assert done.exit_code == 0, done.output
    assert set(ward.files()) == {one.sop_instance_uid for one in kept}


@needs_orthanc
def test_an_archive_that_does_not_know_us_is_told_of_with_what_to_register(
    tmp_path: Path, archive: Orthanc
) -> None:
    with receiving(tmp_path / "site", archive, free_port(), aet="STRANGER") as ward:
        objects = ward.keep(series=1, instances=1)
        told: list[str] = []
        fetch = ByMove(archive.node, Node("STRANGER", "127.0.0.1", ward.site.receive.port))
        run = Pull(
            archive.node, "STRANGER", ward.ledger, fetch, told.append, {}, Pace(attempts=2, rest_seconds=0.1)
        )
        (outcome,) = run.run([objects[0].study_uid])
        assert not ward.files()
        assert not ward.ledger.is_backfill(objects[0].series_uid)
    (why,) = outcome.short
    port = ward.site.receive.port
    assert "does not know us" in why
    assert f"register STRANGER, with this machine's address and port {port}, at the archive" in why


@needs_orthanc
def test_over_dicomweb_a_study_comes_in_although_the_archive_does_not_know_us(
    tmp_path: Path, archive: Orthanc
) -> None:
    url = f'url = "{archive.url("dicom-web")}"\n'
    with receiving(tmp_path / "site", archive, free_port(), aet="STRANGER", more=url) as ward:
        objects = ward.keep(series=2, instances=3)
        done = pull(ward, "--study", objects[0].study_uid, "--at-most", "2")
        assert done.exit_code == 0, done.output
        assert done.output.count("3 retrieved, 3 of 3 received") == 2
        assert {uid: encoded(path) for uid, path in ward.files().items()} == ward.kept
        record = ward.ledger.series(objects[0].series_uid)
        assert record is not None and record.calling_aet == archive.aet
        assert not list((ward.site.folder / "pulling").iterdir())


@needs_orthanc
def test_two_pulls_of_one_site_do_not_run_at_a_time(ward: Ward) -> None:
    (one,) = ward.keep(series=1, instances=1)
    with (ward.site.folder / "pull.lock").open("w") as lock:
        code = "import fcntl, sys, time; fcntl.flock(0, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code], stdin=lock, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        refused = pull(ward, "--study", one.study_uid)
        holder.kill()
    assert refused.exit_code == 1
    assert "another `sagittal pull` of this site is running" in refused.output
    assert pull(ward, "--study", one.study_uid).exit_code == 0


@needs_orthanc
def test_nothing_is_asked_for_while_more_waits_here_than_the_pace_allows(ward: Ward) -> None:
    objects = ward.keep(series=1, instances=2)
    ward.ledger.heard("2.25.1", "2.25.2", "MR1", 1)
    told: list[str] = []
    fetch = ByMove(ward.archive.node, Node("SAGITTAL", "127.0.0.1", ward.site.receive.port))
    run = Pull(ward.archive.node, "SAGITTAL", ward.ledger, fetch, told.append, {}, Pace(pause_above=-1))
    thread = threading.Thread(target=run.run, args=([objects[0].study_uid],))
    thread.start()
    wait_until(lambda: any("paused: 0 jobs and series wait here" in line for line in told))
    time.sleep(0.3)
    assert not ward.files()
    run.stop.set()
    thread.join(20)
    assert not ward.files()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name studies by --study UID or --query KEYWORD=VALUE"),
        (("--study", "../etc"), "is no UID"),
        (("--query", "Patient=Doe"), "write it as KEYWORD=VALUE"),
        (("--study", "1.2", "--from", "PACS"), "write it as AET@HOST:PORT"),
        (("--study", "1.2"), "no archive to pull from"),
    ],
)
def test_what_cannot_be_asked_is_explained(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    init = CliRunner().invoke(main, ["init", str(tmp_path), "--send-to", "PACS@192.0.2.10:104"])
    assert init.exit_code == 0, init.output
    done = CliRunner().invoke(main, ["pull", "--site", str(tmp_path / "site.toml"), *arguments])
    assert done.exit_code != 0
    assert said in done.output.replace("\n", " ")


# ── what becomes of it ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def site(tmp_path: Path) -> Site:
    text = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "127.0.0.1", 104),))
    (tmp_path / "site.toml").write_text(naming_ledger(text, tmp_path / "data"))
    return read_site(tmp_path / "site.toml")


def test_jobs_of_a_series_that_was_fetched_go_behind_all_others_and_those_of_a_known_one_do_not(site: Site) -> None:
    ledger = open_ledger(site.ledger_url, actor="test")
    phantom = make_phantom("knee", 5, voxel_scale=8.0)
    fetched = write_dicom(phantom, site.home / "1")
    known = write_dicom(phantom, site.home / "2", vendor="ge")
    ledger.heard(known.series_uid, known.study_uid, "MR1", 1)
    for series in (fetched, known):
        ledger.note_backfill(series.series_uid, len(series.paths))
        receive(site, ledger, series)
        _, jobs = dispatched(site, ledger, series)
        assert {job.urgency for job in jobs} == {Urgency.BACKFILL if series is fetched else Urgency.ROUTINE}
    ledger.close()


def test_no_job_is_made_of_half_a_series_that_was_asked_for_until_the_rest_has_come(site: Site) -> None:
    ledger = open_ledger(site.ledger_url, actor="test")
    series = write_dicom(make_phantom("knee", 6, voxel_scale=8.0), site.home / "1")
    count = len(series.paths)
    ledger.note_backfill(series.series_uid, count)
    receive(site, ledger, series, tuple(series.paths[: count // 2]))
    record, jobs = dispatched(site, ledger, series)
    assert (record.state, jobs) == (SeriesState.FAILED, [])
    assert (
        record.reason == f"the archive lists {count} instances, {count // 2} came; `sagittal pull` its study again"
    )
    receive(site, ledger, series)
    record, jobs = dispatched(site, ledger, series)
    assert record.state is SeriesState.ROUTED and jobs
    ledger.close()
