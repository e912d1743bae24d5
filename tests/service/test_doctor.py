"""What the doctor sees of a site with one thing planted that is wrong, and what it advises."""

import json
import os
import shutil
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pynetdicom import evt
from redis import Redis

from dicom_nodes.types import Node
from service.cli import main
from service.config import Site, read_site
from service.destination import Destination
from service.doctor import machine, models, nodes, parts, stores, web_nodes
from service.doctor.checks import CHECKS, ask_all, checks_of, examine
from service.doctor.seen import Check, Ground, Level, Seen, ok
from service.doctor_cli import lines
from service.jobs import JobState
from service.ledger import open_ledger
from service.modelstore import PHANTOM_LOCK, ModelStore, site_store
from service.site_template import site_toml
from tests.conftest import free_port
from tests.dicom_nodes.dicomweb import Answer, certificate, dicomweb
from tests.dicom_nodes.pacs import SEG, pacs
from tests.dicom_nodes.peers import answering, receiving
from tests.ledgers import ledger_in
from tests.service.test_ledger import SERIES, routed
from workers.install.place import locked

KOS = "1.2.840.10008.5.1.4.1.1.88.59"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SC = "1.2.840.10008.5.1.4.1.1.7.4"
LEASE_SECONDS = 2.0


def ground(home: Path, target: str = "", port: int = 0, **edits: object) -> Ground:
    """A site with one destination, or the tables in `target`; `edits` replaces lines of its site.toml."""
    pacs_node = Node("PACS", "127.0.0.1", port or free_port())
    text = site_toml("SAGITTAL", "127.0.0.1", port or free_port(), port or free_port(), (pacs_node,))
    for key, value in edits.items():
        changed = [
            f"{key} = {value}" if line.startswith((f"{key} =", f"# {key} =")) else line for line in text.split("\n")
        ]
        assert "\n".join(changed) != text, key
        text = "\n".join(changed)
    path = home / "site.toml"
    path.write_text(text + target)
    return Ground(read_site(path), path, timeout_seconds=2.0)


def to(node: Node, **more: Any) -> Destination:
    return Destination(name="pacs", aet=node.aet, host=node.host, port=node.port, **more)


def wrong(seen: Iterable[Seen]) -> list[Seen]:
    """What is not ok; each has to say what to do."""
    found = [each for each in seen if each.level is not Level.OK]
    assert all(each.advice for each in found)
    return found


def only(seen: Iterable[Seen]) -> Seen:
    """The one thing that is not ok."""
    (found,) = wrong(seen)
    return found


# ── the machine ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_tried_as_instances_are_written_and_nothing_of_the_trial_stays(tmp_path: Path) -> None:
    at = ground(tmp_path)
    for folder in (at.site.incoming, at.site.jobs):
        folder.mkdir(parents=True)
    assert not wrong(machine.folders(at))
    assert not [each for each in at.site.folder.rglob("*") if each.is_file()]


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="no file system here that nobody may write")
def test_a_folder_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    seen = only(machine.folders(ground(tmp_path, folder='"/proc/sys"')))
    assert seen.level is Level.BAD
    assert "cannot be written" in seen.saw and "Let user" in seen.advice


@pytest.mark.parametrize(
    ("kind", "ledger", "level"),
    [
        ("ext4", "", Level.OK),
        ("nfs4", "postgresql+psycopg://sagittal@db/sagittal", Level.WARNING),
        ("nfs4", "", Level.BAD),
        ("tmpfs", "", Level.BAD),
        ("overlay", "", Level.WARNING),
    ],
)
def test_the_kind_of_file_system_is_judged(tmp_path: Path, kind: str, ledger: str, level: Level) -> None:
    at = ground(tmp_path, ledger=f'"{ledger}"')
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:2 / {tmp_path} rw shared:1 - {kind} server:/export rw\n"
        f"3 1 0:3 / {tmp_path}-other rw - xfs /dev/sdb rw\n"
    )
    seen = list(machine.file_system(at, table))
    assert max(each.level for each in seen) is level
    wrong(seen)


def test_a_volume_with_less_free_than_the_marks_is_bad_and_says_what_senders_are_told(tmp_path: Path) -> None:
    disk = (
        "\n[disk]\nstop_free_percent = 99.7\nresume_free_percent = 99.8\nwarn_free_percent = 99.9\n"
        "stop_free_gb = 9e8\nresume_free_gb = 9.1e8\nwarn_free_gb = 9.2e8\n"
    )
    found = wrong(machine.space(ground(tmp_path, disk)))
    assert found and found[0].level is Level.BAD
    assert "A700" in found[0].saw and "sagittal storage" in found[0].advice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_the_doctor_says_when_it_asks_as_another_user_than_the_folders(tmp_path: Path) -> None:
    at = ground(tmp_path)
    at.site.folder.mkdir()
    assert "runs as root" in only(machine.user(at)).saw
    os.chown(at.site.folder, 1234, 1234)
    assert "user 1234" in only(machine.user(at)).saw


def test_too_few_open_files_for_the_associations_are_a_warning(tmp_path: Path) -> None:
    at = ground(tmp_path)
    receive = at.site.receive.model_copy(update={"max_associations": 10**9})
    many = replace(at, site=at.site.model_copy(update={"receive": receive}))
    assert "LimitNOFILE" in only(machine.open_files(many)).advice
    assert not wrong(machine.open_files(at))


# ── Redis and the ledger ────────────────────────────────────────────────────────────────────────────────────


def test_a_redis_that_answers_is_well_and_its_password_is_never_shown(tmp_path: Path, empty_redis: str) -> None:
    seen = list(stores.redis(ground(tmp_path, redis=f'"{empty_redis}"')))
    assert not wrong(seen)
    silent = ground(tmp_path, redis=f'"redis://:secret@127.0.0.1:{free_port()}/0"')
    told = only(stores.redis(silent))
    assert told.level is Level.BAD
    assert "secret" not in told.saw + told.advice


def test_a_redis_that_throws_messages_away_is_bad(tmp_path: Path, empty_redis: str) -> None:
    at = ground(tmp_path, redis=f'"{empty_redis}"')
    with Redis.from_url(empty_redis) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 1 << 30)
        try:
            seen = only(stores.redis(at))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 0)
    assert seen.level is Level.BAD
    assert "allkeys-lru" in seen.saw and "noeviction" in seen.advice


def test_a_ledger_is_only_read_and_a_missing_one_is_not_made(tmp_path: Path) -> None:
    at = ground(tmp_path)
    assert not wrong(stores.ledger(at))
    assert not at.site.folder.exists()
    open_ledger(at.site.ledger_url, actor="test").close()
    before = sorted(at.site.folder.iterdir())
    assert not wrong(stores.ledger(at))
    assert sorted(at.site.folder.iterdir()) == before, "no -wal of the doctor's own user stays"
    with stores.read_only(at.site, 2.0) as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM series")


def test_a_ledger_that_is_open_is_read_as_it_stands_and_without_wal_it_is_a_warning(tmp_path: Path) -> None:
    at = ground(tmp_path)
    ledger = open_ledger(at.site.ledger_url, actor="test")
    routed(ledger)
    with stores.read_only(at.site, 2.0) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 1
    assert not wrong(stores.ledger(at))
    ledger.close()
    _execute(at.site.folder / "ledger.sqlite", "PRAGMA journal_mode=DELETE")
    assert "WAL" in only(stores.ledger(at)).saw


def test_a_ledger_of_another_schema_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    at = ground(tmp_path)
    open_ledger(at.site.ledger_url, actor="test").close()
    file = at.site.folder / "ledger.sqlite"
    _execute(file, "UPDATE alembic_version SET version_num = '0001'")
    assert only(stores.ledger(at)).level is Level.WARNING
    _execute(file, "UPDATE alembic_version SET version_num = '9998'", "UPDATE readers SET oldest_revision = '9998'")
    seen = only(stores.ledger(at))
    assert seen.level is Level.BAD and "9998" in seen.saw and "Install the version" in seen.advice
    _execute(file, "UPDATE readers SET oldest_revision = '0001'")
    assert only(stores.ledger(at)).level is Level.WARNING


def test_a_damaged_ledger_is_bad(tmp_path: Path) -> None:
    at = ground(tmp_path)
    ledger = open_ledger(at.site.ledger_url, actor="test")
    routed(ledger)
    ledger.close()
    file = at.site.folder / "ledger.sqlite"
    _execute(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[4096 * 3 :: 7] = os.urandom(len(content[4096 * 3 :: 7]))
    file.write_bytes(content)
    found = wrong(stores.ledger(at))
    assert found[-1].level is Level.BAD
    assert "keep a copy" in found[-1].advice


def test_a_postgresql_that_flushes_nothing_is_bad(tmp_path: Path, postgresql_url: str) -> None:
    at = ground(tmp_path, ledger=f'"{postgresql_url}"')
    open_ledger(at.site.ledger_url, actor="test").close()
    seen = list(stores.ledger(at))
    assert only(seen).level is Level.BAD  # the test's own server runs with -F
    assert "fsync = on" in only(seen).advice
    assert any("clocks agree" in each.saw for each in seen)
    away = ground(tmp_path, ledger=f'"postgresql+psycopg://sagittal@127.0.0.1:{free_port()}/sagittal"')
    assert "does not answer" in only(stores.ledger(away)).saw


def _execute(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# ── the running parts ───────────────────────────────────────────────────────────────────────────────────────


def test_a_receiver_that_answers_is_well_and_one_that_is_down_or_another_is_bad(tmp_path: Path) -> None:
    at = ground(tmp_path)
    assert "sagittal up" in only(parts.receiver(at)).advice
    with receiving(tmp_path / "incoming", require_called_aet=True) as ours:
        there = _with_port(at, ours.scp.port)
        assert not wrong(parts.receiver(there))
        other = there.site.receive.model_copy(update={"aet": "OTHER"})
        seen = only(parts.receiver(replace(at, site=there.site.model_copy(update={"receive": other}))))
    assert "ss -ltnp" in seen.advice


def test_a_receiver_that_only_listens_to_others_is_well(tmp_path: Path) -> None:
    at = ground(tmp_path, accepted_calling_aets='["MR1"]')
    with receiving(tmp_path / "incoming", accepted_calling_aets=frozenset({"MR1"})) as ours:
        seen = list(parts.receiver(_with_port(at, ours.scp.port)))
    assert not wrong(seen)
    assert "accepted_calling_aets" in seen[0].saw


def test_a_web_page_that_is_down_or_another_program_is_bad(tmp_path: Path) -> None:
    at = ground(tmp_path)
    assert "sagittal up" in only(parts.web(at)).advice
    with dicomweb(Answer(200)) as other:
        web = at.site.web.model_copy(update={"port": int(other.url.split(":")[2].split("/")[0])})
        assert "ss -ltnp" in only(parts.web(replace(at, site=at.site.model_copy(update={"web": web})))).advice


def test_queues_that_nobody_serves_are_bad(tmp_path: Path, empty_redis: str) -> None:
    found = wrong(parts.workers(ground(tmp_path, redis=f'"{empty_redis}"')))
    assert [each.level for each in found] == [Level.BAD, Level.BAD]
    assert "deliver" in found[0].saw and "--role results" in found[0].advice
    assert "mrannotator" in found[1].saw and "--role inference" in found[1].advice


@contextmanager
def inferring(at: Ground, behind_seconds: float, renews: bool = True) -> Iterator[None]:
    """A worker whose clock is behind ours holds a job, and renews its lease or is gone."""
    ledger = open_ledger(at.site.ledger_url, actor="test", now=lambda: time.time() - behind_seconds)
    job = ledger.claim_job(routed(ledger).id, JobState.QUEUED, JobState.INFERRING, "inference-1", LEASE_SECONDS)
    assert job is not None
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS / 4):
            ledger.renew(job.id, "inference-1", "network", 50, LEASE_SECONDS)

    thread = threading.Thread(target=renew)
    if renews:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if renews:
            thread.join()
        ledger.close()


def with_short_leases(at: Ground) -> Ground:
    workers = at.site.workers.model_copy(update={"lease_seconds": LEASE_SECONDS})
    return replace(at, site=at.site.model_copy(update={"workers": workers}))


@pytest.mark.parametrize("behind_seconds", [-120.0, 0.0, 600.0])
def test_a_worker_in_the_midst_of_a_volume_does_not_answer_and_is_known_by_its_lease(
    tmp_path: Path, empty_redis: str, behind_seconds: float
) -> None:
    """Whatever its clock says."""
    at = with_short_leases(ground(tmp_path, redis=f'"{empty_redis}"', ledger=f'"{ledger_in(tmp_path)}"'))
    with inferring(at, behind_seconds):
        seen = list(parts.workers(at))
        how = wrong(parts.jobs(at))
    assert "encode" in only(seen).saw, "of inference it is known that somebody works"
    assert any("in the midst of a volume" in each.saw for each in seen)
    assert [each.level for each in how] == [Level.WARNING] * (behind_seconds > 120)
    assert all("clock of a worker" in each.saw for each in how)


@pytest.mark.parametrize("behind_seconds", [-120.0, 600.0])
def test_a_worker_that_died_is_not_taken_for_one_that_works_though_its_clock_was_ahead(
    tmp_path: Path, empty_redis: str, behind_seconds: float
) -> None:
    at = with_short_leases(ground(tmp_path, redis=f'"{empty_redis}"', ledger=f'"{ledger_in(tmp_path)}"'))
    with inferring(at, behind_seconds, renews=False):
        assert "nobody serves mrannotator" in wrong(parts.workers(at))[1].saw
        assert [each.saw for each in wrong(parts.jobs(at))] == (
            ["1 job held by a worker that is gone"] if behind_seconds > 120 else []
        )


def test_failed_jobs_an_old_one_that_waits_and_a_destination_that_rests_are_told(tmp_path: Path) -> None:
    at, now = with_short_leases(ground(tmp_path, ledger=f'"{ledger_in(tmp_path)}"')), time.time() - 7200
    ledger = open_ledger(at.site.ledger_url, actor="test", now=lambda: now)
    assert not wrong(parts.jobs(at))
    job = routed(ledger)
    assert "1 job to be begun, the oldest for" in only(parts.jobs(at)).saw
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "gone", 1.0)
    assert "receiver" in only(parts.jobs(at)).advice
    ledger.move_job(job.id, JobState.FAILED, "out of memory", reason="out of memory")
    for _ in range(3):
        ledger.unreachable("pacs", "no connection", 900)
    failed, rests = wrong(parts.jobs(at))
    assert "1 job failed" in failed.saw and "jobs retry" in failed.advice
    assert "pacs rests" in rests.saw
    assert SERIES not in failed.saw + rests.saw
    ledger.close()


def _with_port(at: Ground, port: int) -> Ground:
    return replace(at, site=_receiving_on(at.site, port))


def _receiving_on(site: Site, port: int) -> Site:
    return site.model_copy(update={"receive": site.receive.model_copy(update={"port": port})})


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_models_that_are_missing_changed_or_phantom_are_told(tmp_path: Path, phantom_models: ModelStore) -> None:
    at = ground(tmp_path, weights='"models"')
    missing = wrong(models.models(at))
    assert missing and all("sagittal models install" in each.advice for each in missing)
    folder = tmp_path / "models"
    folder.mkdir()
    for each in phantom_models.installed():
        (folder / each.network).mkdir()
        for file in phantom_models.path(each.network).iterdir():
            (folder / each.network / file.name).write_bytes(file.read_bytes())
    assert not wrong(models.models(at))
    weights = next(folder.glob("*/*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights.parent.name in only(models.models(at)).saw
    phantom = only(models.models(ground(tmp_path)))
    assert phantom.level is Level.WARNING and "NOT for clinical use" in phantom.saw


def test_phantom_models_that_a_worker_is_installing_are_not_told_to_be_missing(
    tmp_path: Path, phantom_models: ModelStore
) -> None:
    at = ground(tmp_path)
    folder = site_store(at.site).folder
    folder.mkdir(parents=True)
    assert "NOT for clinical use" in only(models.models(at)).saw
    network = phantom_models.installed()[0].network
    shutil.copytree(phantom_models.path(network), folder / network)
    with locked(folder / PHANTOM_LOCK):
        assert "NOT for clinical use" in only(models.models(at)).saw
    assert "not installed" in wrong(models.models(at))[1].saw


def test_a_great_file_of_weights_is_known_to_be_cut_off_by_its_own_header(
    tmp_path: Path, phantom_models: ModelStore
) -> None:
    source = next(phantom_models.folder.glob("*/*.safetensors"))
    assert models.length_of(source) == source.stat().st_size
    cut = tmp_path / source.name
    cut.write_bytes(source.read_bytes()[:-4096])
    assert models.length_of(cut) == cut.stat().st_size + 4096


def test_a_gpu_that_is_wanted_and_not_there_is_bad() -> None:
    told = {"gpus": [], "cuda": "", "driver": "", "needs": {}, "unable": {"a": "too large"}, "host_bytes": 0}
    gpu = {"name": "NVIDIA H100", "memory_bytes": 80 << 30}
    assert "nvidia-smi" in only(models.told_of("cuda", {**told, "unable": {}})).advice
    assert not wrong(models.told_of("auto", {**told, "unable": {}}))
    assert "torch does not see it" in only(models.told_of("auto", {**told, "driver": "550", "unable": {}})).saw
    assert not wrong(models.told_of("cuda", {**told, "gpus": [gpu], "driver": "550", "cuda": "12", "unable": {}}))
    assert "too large" in only(models.told_of("cpu", told)).saw


def test_too_little_memory_for_a_network_of_full_size_is_a_warning() -> None:
    assert "fewer inference processes" in only(models.room_for_volumes(1 << 30)).advice
    assert not wrong(models.room_for_volumes(16 << 30))


# ── nodes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_archive_that_answers_a_query_is_well_and_one_that_answers_with_others_is_not(tmp_path: Path) -> None:
    def nothing(_: Any) -> Iterator[tuple[int, None]]:
        yield 0x0000, None

    def refusing(_: Any) -> Iterator[tuple[int, None]]:
        yield 0xA900, None

    for handler, level in ((nothing, Level.OK), (refusing, Level.BAD)):
        with answering([(evt.EVT_C_FIND, handler)]) as node:
            query = f'\n[query]\naet = "{node.aet}"\nhost = "{node.host}"\nport = {node.port}\n'
            seen = list(nodes.query(ground(tmp_path, query)))
        assert max(each.level for each in seen) is level
        wrong(seen)


def test_a_destination_is_asked_in_one_association_for_all_that_it_is_to_get(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SEG, KOS)) as archive:
        assert not wrong(nodes.dicom_destination(at, to(archive.node)))
        report = only(nodes.dicom_destination(at, to(archive.node, outputs=("seg", "text"))))
        assert not archive.stored
    assert report.level is Level.BAD
    assert "does not take text" in report.saw and "outputs" in report.advice


def test_a_destination_with_auto_is_told_the_form_that_it_would_get(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SC, RTSTRUCT, KOS)) as archive:
        seen = list(nodes.dicom_destination(at, to(archive.node, outputs=("auto",))))
        refused = only(nodes.dicom_destination(at, to(archive.node, outputs=("labelmap",))))
    assert any("would send rtstruct" in each.saw for each in seen)
    assert "it takes rtstruct, capture" in refused.advice
    with pacs(takes=(KOS,)) as archive:
        none = only(nodes.dicom_destination(at, to(archive.node, outputs=("auto",))))
    assert none.level is Level.BAD and "takes none of seg, labelmap" in none.saw


def test_a_destination_without_commitment_is_bad_where_the_site_requires_it(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SEG, KOS), commits=False) as archive:
        assert not wrong(nodes.dicom_destination(at, to(archive.node)))
        assert only(nodes.dicom_destination(at, to(archive.node, commitment="require"))).level is Level.BAD


def test_a_destination_that_takes_no_rejection_note_is_a_warning(tmp_path: Path) -> None:
    with pacs() as archive:
        seen = only(nodes.dicom_destination(ground(tmp_path), to(archive.node)))
    assert seen.level is Level.WARNING and "Key Object Selection" in seen.advice


def test_a_node_that_is_down_and_one_that_does_not_know_us_are_told_apart(tmp_path: Path) -> None:
    at = ground(tmp_path)
    away = only(nodes.dicom_destination(at, to(Node("PACS", "127.0.0.1", free_port()))))
    assert "firewall" in away.advice
    with answering([], require_calling_aet=["SOMEBODY"]) as node:
        stranger = only(nodes.dicom_destination(at, to(node)))
    assert "add our AE title, SAGITTAL" in stranger.advice
    with answering([], require_called_aet=True) as node:
        misnamed = only(nodes.dicom_destination(at, to(replace(node, aet="OTHER"))))
    assert "Correct its `aet`" in misnamed.advice


def test_a_test_object_is_stored_where_it_is_asked_for_and_its_commitment_is_asked(tmp_path: Path) -> None:
    at = replace(ground(tmp_path), store_test_object=True)
    with pacs(takes=(SEG, KOS)) as archive:
        seen = list(nodes.dicom_destination(at, to(archive.node)))
        again = list(nodes.dicom_destination(at, to(archive.node)))
    assert not wrong([*seen, *again])
    assert len(set(archive.stored)) == 1, "the same object each time"
    assert any("committed to it" in each.saw for each in seen)
    assert any("stays there" in each.saw and "SAGITTAL^DOCTOR" in each.saw for each in seen)
    with pacs(takes=(SEG, KOS), store=lambda _: 0xA900) as archive:
        refused = only(nodes.dicom_destination(at, to(archive.node)))
    assert refused.level is Level.BAD and "A900" in refused.saw


@pytest.mark.parametrize("kind", ["seg", "labelmap", "rtstruct", "capture", "text", "sheet"])
def test_a_test_object_can_be_made_of_every_kind(tmp_path: Path, kind: str) -> None:
    made = nodes.specimen(tmp_path, kind, "SAGITTAL")
    assert made.sop_class_uid == nodes.CLASS_OF[kind]


# ── DICOMweb ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "level", "advice"),
    [
        (200, Level.OK, ""),
        (204, Level.OK, ""),
        (401, Level.BAD, "authorization"),
        (302, Level.BAD, "url"),
        (404, Level.WARNING, "url"),
        (503, Level.BAD, "log"),
    ],
)
def test_a_dicomweb_service_is_judged_by_its_answer_to_a_search(
    tmp_path: Path, status: int, level: Level, advice: str
) -> None:
    with searched(status) as (url, asked):
        target = Destination(name="web", kind="stow", url=url)
        (seen,) = web_nodes.web_destination(ground(tmp_path), target)
    assert seen.level is level and advice in seen.advice
    assert "limit=1" in asked[0] and "StudyInstanceUID=" in asked[0]


def test_a_certificate_that_ends_soon_is_a_warning_and_an_untrusted_one_bad(tmp_path: Path) -> None:
    both = certificate(tmp_path)
    at = ground(tmp_path)
    with searched(200, both) as (url, _):
        target = Destination(name="web", kind="stow", url=url, ca="certificate.pem")
        found = wrong(web_nodes.web_destination(at, target))
        assert [each.level for each in found] == [Level.WARNING, Level.WARNING]
        assert "ends in 2 days" in found[0].saw and "Renew it" in found[0].advice
        untrusted = only(web_nodes.web_destination(at, target.model_copy(update={"ca": ""})))
    assert untrusted.level is Level.BAD and "`ca` in site.toml" in untrusted.saw


@contextmanager
def searched(status: int, both: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """A service that answers every search so, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust us is part of the play."""

    server = Server(("127.0.0.1", 0), Handler)
    if both is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if both else ''}://127.0.0.1:{server.server_address[1]}/dicom-web", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ── the whole ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_site_of_which_nothing_answers_is_told_in_time(tmp_path: Path) -> None:
    """Every node is a socket that takes connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        port = silent.getsockname()[1]
        target = f'\n[query]\naet = "Q"\nhost = "127.0.0.1"\nport = {port}\n'
        target += f'\n[[destination]]\nname = "web"\nkind = "stow"\nurl = "https://127.0.0.1:{port}/dicom-web"\n'
        at = ground(tmp_path, target, port, redis=f'"redis://127.0.0.1:{port}/0"')
        began = time.monotonic()
        examined = examine(at.site_file, skip=["models"])
    assert time.monotonic() - began < 17
    levels = {each.name: each.level for each in examined}
    names = ("redis", "receiver", "web", "workers", "query node", "destination pacs", "destination web")
    assert {name: levels[name] for name in names} == dict.fromkeys(names, Level.BAD)


def test_a_check_that_hangs_or_breaks_stops_no_other(tmp_path: Path) -> None:
    over = threading.Event()

    def hangs(_: Ground) -> list[Seen]:
        over.wait(10)
        return []

    def breaks(_: Ground) -> list[Seen]:
        raise ValueError("a fault")

    checks = [Check("a", "parts", hangs), Check("b", "parts", breaks), Check("c", "parts", lambda _: [ok("well")])]
    hung, broken, well = ask_all(checks, ground(tmp_path), seconds=0.2)
    over.set()
    assert hung.level is Level.WARNING and "no answer" in hung.seen[0].saw
    assert broken.level is Level.BAD and "a fault" in broken.seen[0].saw
    assert well.seen == (ok("well"),)


def test_a_wrong_site_file_is_the_one_thing_that_is_told(tmp_path: Path) -> None:
    at = ground(tmp_path)
    at.site_file.write_text(at.site_file.read_text().replace("quiet_seconds", "quit_seconds"))
    done = CliRunner().invoke(main, ["doctor", "--site", str(at.site_file)])
    assert done.exit_code == 1
    assert "quit_seconds" in done.output and "1 bad" in done.output


def test_groups_are_skipped_and_every_destination_has_a_check(tmp_path: Path) -> None:
    site = ground(tmp_path).site
    assert [each.name for each in checks_of(site)][len(CHECKS) :] == ["destination pacs"]
    assert not [each for each in checks_of(site, ["nodes"]) if each.group == "nodes"]
    skip = [word for group in ("stores", "parts", "models", "nodes") for word in ("--skip", group)]
    said = CliRunner().invoke(main, ["doctor", "--json", "--site", str(site.home / "site.toml"), *skip])
    assert [each["check"] for each in json.loads(said.output)["checks"]][:2] == ["site", "folder"]


def test_a_well_site_is_a_line_a_check_and_verbose_a_line_for_all_that_was_seen(tmp_path: Path) -> None:
    skip = ["stores", "parts", "models", "nodes"]
    examined = examine(ground(tmp_path).site_file, skip)
    plain = list(lines(examined, verbose=False))
    assert sum(not line.startswith(" ") for line in plain) == sum(
        max(1, len(wrong(each.seen))) for each in examined
    )
    assert len(list(lines(examined, verbose=True))) >= len(plain)
    assert all(len(line) < 130 for line in plain)
