"""`sagittal jobs retry --failed`: everything that failed in a time goes again, and nothing that must not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from service.cli import main
from service.config import read_site
from service.jobs import Job, JobState, SeriesState, job_id
from service.ledger import Ledger, open_ledger
from tests.clock import Clock
from tests.ledgers import naming_ledger
from tests.service.test_ledger import new_job

NOVEMBER = 1793491200.0  # 2026-11-01 00:00 UTC
DAY = 86400.0


def routed(ledger: Ledger, series_uid: str) -> Job:
    """A series with one job that waits."""
    name = job_id(series_uid, 1, 1, "mrannotator-spine", "lumbar")
    job = replace(new_job(), id=name, series_uid=series_uid, created_at=ledger.now(), updated_at=ledger.now())
    ledger.heard(series_uid, job.study_uid, "MODALITY", 20)
    ledger.move_series(series_uid, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    ledger.route_series(series_uid, "1 job", "because", [job])
    return job


def retry(site_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["jobs", "retry", "--site", str(site_file), *arguments])


@pytest.fixture
def clock() -> Clock:
    return Clock(NOVEMBER)


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    done = CliRunner().invoke(main, ["init", str(tmp_path), "--send-to", "PACS@192.0.2.10:104"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "site.toml"
    path.write_text(naming_ledger(path.read_text(), tmp_path / "data"))
    return path


@pytest.fixture
def ledger(site_file: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = open_ledger(read_site(site_file).ledger_url, actor="test", now=clock)
    yield ledger
    ledger.close()


def failed(ledger: Ledger, series_uid: str, reason: str) -> Job:
    job = routed(ledger, series_uid)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.FAILED, reason, owner="w1", reason=reason, setbacks=2)
    return job


def state(ledger: Ledger, job: Job) -> JobState:
    found = ledger.job(job.id)
    assert found is not None
    return found.state


def test_all_jobs_that_failed_in_the_time_go_again_once(site_file: Path, ledger: Ledger, clock: Clock) -> None:
    early = failed(ledger, "1.2.1", "CUDA out of memory")
    clock.time = NOVEMBER + DAY
    inside = [failed(ledger, f"1.2.{n}", "CUDA out of memory") for n in (2, 3)]
    clock.time = NOVEMBER + 3 * DAY
    late = failed(ledger, "1.2.4", "CUDA out of memory")
    span = ("--failed", "--since", "2026-11-02", "--until", "2026-11-03T12:00")
    done = retry(site_file, *span)
    assert done.exit_code == 0, done.output
    assert sorted(done.output.splitlines()) == sorted(
        [*(f"job {job.id} is queued again" for job in inside), "2 tried again, 0 left as they are"]
    )
    assert [state(ledger, job) for job in (early, *inside, late)] == ["failed", "queued", "queued", "failed"]
    again = ledger.job(inside[0].id)
    assert again is not None and (again.attempts, again.setbacks, again.reason) == (0, 0, "")
    assert retry(site_file, *span).output == "0 tried again, 0 left as they are\n"


def test_only_what_has_the_text_in_its_reason_goes_again(site_file: Path, ledger: Ledger) -> None:
    memory, network = failed(ledger, "1.2.1", "CUDA out of memory"), failed(ledger, "1.2.2", "100_% broken")
    assert retry(site_file, "--failed", "--since", "2026-11-01", "--reason", "Out Of MEMORY").exit_code == 0
    assert [state(ledger, job) for job in (memory, network)] == ["queued", "failed"]
    assert "0 tried again" in retry(site_file, "--failed", "--since", "2026-11-01", "--reason", "1000%").output
    assert "1 tried again" in retry(site_file, "--failed", "--since", "2026-11-01", "--reason", "100_%").output


def test_a_dry_run_says_what_would_be_done_and_does_nothing(site_file: Path, ledger: Ledger) -> None:
    job = failed(ledger, "1.2.1", "CUDA out of memory")
    done = retry(site_file, "--failed", "--since", "2026-11-01", "--dry-run")
    assert f"job {job.id} would be tried again: CUDA out of memory" in done.output
    assert "1 would be tried again" in done.output
    assert state(ledger, job) is JobState.FAILED


def test_what_a_person_rejected_stays_rejected(site_file: Path, ledger: Ledger) -> None:
    job = routed(ledger, "1.2.1")
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.inferred(job.id, "done", [], "labels contradict", owner="w1")
    rejected = CliRunner().invoke(main, ["jobs", "reject", job.id, "--site", str(site_file)])
    assert rejected.exit_code == 0, rejected.output
    done = retry(site_file, "--failed", "--since", "2026-01-01", "--until", "2027-01-01")
    assert f"job {job.id} is left as it is: a person rejected its result" in done.output
    assert state(ledger, job) is JobState.FAILED


def test_a_series_that_could_not_be_routed_goes_again_and_one_that_never_came_whole_does_not(
    site_file: Path, ledger: Ledger
) -> None:
    for uid in ("1.2.1", "1.2.2"):
        ledger.heard(uid, "1.2", "MR1", 3)
    ledger.move_series("1.2.1", SeriesState.COMPLETE, "quiet for 5 s")
    ledger.move_series("1.2.1", SeriesState.FAILED, "routing failed: OSError: disk")
    ledger.move_series("1.2.2", SeriesState.FAILED, "association aborted after 3 instances")
    done = retry(site_file, "--failed", "--since", "2026-11-01")
    assert "series 1.2.1 will be routed again" in done.output
    assert "series 1.2.2 is left as it is: it never came whole" in done.output
    states = {each.series_uid: each.state for each in ledger.list_series()}
    assert states == {"1.2.1": SeriesState.COMPLETE, "1.2.2": SeriesState.FAILED}


@pytest.mark.parametrize(
    "arguments", [(), ("--failed",), ("1.2", "--failed", "--since", "2026-11-01"), ("1.2", "--reason", "x")]
)
def test_what_is_meant_has_to_be_said(site_file: Path, arguments: tuple[str, ...]) -> None:
    done = retry(site_file, *arguments)
    assert done.exit_code == 2
    assert "give an ID; or --failed with --since" in done.output


def test_postgresql_finds_the_same(postgresql_url: str, clock: Clock) -> None:
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()
    ledger = open_ledger(postgresql_url, actor="test", now=clock)
    job = failed(ledger, "1.2.1", "CUDA out of memory")
    ledger.note_backfill("1.2.9", 3)
    ledger.note_backfill("1.2.9", 4)
    ledger.note_backfill("1.2.1", 5)
    assert [each.id for each in ledger.failed_jobs(NOVEMBER, NOVEMBER + 1, "OUT of")] == [job.id]
    assert not ledger.failed_jobs(NOVEMBER - 1, NOVEMBER) and not ledger.failed_series(NOVEMBER, NOVEMBER + 1)
    assert (ledger.is_backfill("1.2.9"), ledger.is_backfill("1.2.1"), ledger.backlog()) == (True, False, 0)
    assert (ledger.listed_instances("1.2.9"), ledger.listed_instances("1.2.1")) == (4, 5)
    ledger.forget_backfill("1.2.9")
    assert (ledger.is_backfill("1.2.9"), ledger.listed_instances("1.2.9")) == (False, 0)
    ledger.close()
