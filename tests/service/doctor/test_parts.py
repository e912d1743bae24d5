"""What the doctor sees of the running parts with one thing planted that is wrong, and what it advises."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.config import Site
from service.doctor import parts
from service.doctor.seen import Ground, Level
from service.jobs import JobState
from service.ledger import open_ledger
from tests.dicom_nodes.dicomweb import Answer, dicomweb
from tests.dicom_nodes.peers import receiving
from tests.ledgers import ledger_in
from tests.service.doctor.ground import ground, only, wrong
from tests.service.test_ledger import SERIES, routed

LEASE_SECONDS = 2.0


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
