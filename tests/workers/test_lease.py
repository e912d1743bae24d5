"""The lease: kept while the step runs, lost when the job is another's, and progress reaches the ledger."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs import Job, JobState
from service.ledger import Ledger, open_ledger
from service.silence import Silence
from tests.ledgers import ledger_in
from tests.service.test_ledger import routed
from workers.lease import Lease, LeaseLostError

LEASE_SECONDS = 1.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_in(tmp_path), actor="test")
    yield ledger
    ledger.close()


@pytest.fixture
def job(ledger: Ledger) -> Job:
    job = ledger.claim_job(routed(ledger).id, JobState.QUEUED, JobState.INFERRING, "w1", LEASE_SECONDS)
    assert job is not None
    return job


def wait_for(ledger: Ledger, job: Job, stage: str, percent: int) -> None:
    deadline = time.monotonic() + 10
    while (now := ledger.job(job.id)) and (now.stage, now.percent) != (stage, percent):
        assert time.monotonic() < deadline, f"the ledger still shows {now.stage} {now.percent}"
        time.sleep(0.02)


def test_a_step_that_takes_longer_than_its_lease_keeps_it(ledger: Ledger, job: Job) -> None:
    silence = Silence(LEASE_SECONDS)
    with Lease(ledger, job, LEASE_SECONDS):
        for _ in range(8):
            assert silence.of(ledger.held_jobs()) == []
            time.sleep(LEASE_SECONDS / 4)
    silence.of(ledger.held_jobs())
    time.sleep(1.2 * LEASE_SECONDS)
    assert [j.id for j in silence.of(ledger.held_jobs())] == [job.id]


def test_progress_is_seen_in_the_ledger_while_the_step_runs(ledger: Ledger, job: Job) -> None:
    with Lease(ledger, job, LEASE_SECONDS) as lease:
        lease.progress("network", 42)
        wait_for(ledger, job, "network", 42)
        lease.progress("resample", 90)
        wait_for(ledger, job, "resample", 90)


def test_a_superseded_job_stops_its_worker(ledger: Ledger, job: Job) -> None:
    with Lease(ledger, job, LEASE_SECONDS) as lease:
        lease.progress("network", 1)
        ledger.supersede_jobs(job.series_uid, 2)
        deadline = time.monotonic() + 10
        with pytest.raises(LeaseLostError):
            while time.monotonic() < deadline:
                lease.progress("network", 2)
                time.sleep(0.02)
