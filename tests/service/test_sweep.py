"""The sweeper: the queue hears of everything that waits, and nothing stays with a worker that fell silent."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from dicom_nodes.errors import Unreachable
from service.attempts import rest_seconds
from service.config import Site, Workers
from service.jobs import DeliveryState, Job, JobState, SeriesState
from service.ledger import Ledger
from service.queue import Hints
from service.sweep import REPEAT_SECONDS, Sweeper
from tests.clock import Clock
from tests.conftest import free_port
from tests.service.test_ledger import encoded, routed

QUEUE = "infer.mrannotator-spine"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
        "workers": Workers(max_attempts=2),
    }
    return Site.model_validate(values).model_copy(update={"home": tmp_path})


@pytest.fixture
def sweeper(site: Site, ledger: Ledger, empty_redis: str, clock: Clock) -> Iterator[Sweeper]:
    hints = Hints(empty_redis)
    yield Sweeper(site, ledger, hints, now=clock)
    hints.close()


def waiting(redis_url: str, queue: str) -> int:
    hints = Hints(redis_url)
    try:
        return hints.waiting(queue)
    finally:
        hints.close()


def known(ledger: Ledger, job_id: str) -> Job:
    job = ledger.job(job_id)
    assert job is not None
    return job


def test_a_queued_job_is_hinted_once_while_its_hint_waits(
    sweeper: Sweeper, ledger: Ledger, clock: Clock, empty_redis: str
) -> None:
    routed(ledger)
    sweeper.sweep()
    sweeper.sweep()
    clock.time += REPEAT_SECONDS + 1
    sweeper.sweep()
    assert waiting(empty_redis, QUEUE) == 1


def test_after_redis_lost_everything_the_hint_is_repeated(
    sweeper: Sweeper, ledger: Ledger, clock: Clock, empty_redis: str
) -> None:
    routed(ledger)
    sweeper.sweep()
    with Redis.from_url(empty_redis) as client:
        client.flushall()
    clock.time += REPEAT_SECONDS + 1
    sweeper.sweep()
    assert waiting(empty_redis, QUEUE) == 1


def test_after_redis_was_wiped_all_work_is_hinted_in_the_next_round(
    sweeper: Sweeper, ledger: Ledger, empty_redis: str
) -> None:
    encoded(ledger, "pacs")
    sweeper.sweep()
    assert waiting(empty_redis, "deliver") == 1
    with Redis.from_url(empty_redis) as client:
        client.flushall()
    sweeper.sweep()
    assert waiting(empty_redis, "deliver") == 1
    sweeper.sweep()
    assert waiting(empty_redis, "deliver") == 1


def test_what_is_on_its_way_of_a_superseded_job_is_ended_and_not_sent(
    sweeper: Sweeper, ledger: Ledger, empty_redis: str
) -> None:
    job = encoded(ledger, "pacs")
    ledger.supersede_jobs(job.series_uid, 2)
    sweeper.sweep()
    assert [each.state for each in ledger.deliveries(job.id)] == [DeliveryState.DROPPED]
    assert waiting(empty_redis, "deliver") == 0


def test_a_job_of_a_silent_worker_is_queued_again_and_after_its_attempts_it_fails(
    sweeper: Sweeper, ledger: Ledger, clock: Clock
) -> None:
    now = job = routed(ledger)
    for attempt, then in ((1, JobState.QUEUED), (2, JobState.FAILED)):
        claimed = ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, f"w{attempt}", 30)
        assert claimed is not None
        ledger.renew(job.id, f"w{attempt}", "network", 40, 30)
        sweeper.sweep()
        clock.time += 31
        sweeper.sweep()
        now = known(ledger, job.id)
        assert (now.state, now.reason_kind) == (then, "machine")
        clock.time += rest_seconds(attempt)
    assert "given up after 2 attempts" in now.reason
    assert "stage network at 40 %" in now.reason


@pytest.mark.parametrize("wrong_seconds", [-600, 7200])
def test_a_worker_whose_clock_is_wrong_keeps_its_job_while_it_lives_and_loses_it_when_it_dies(
    sweeper: Sweeper, ledger: Ledger, clock: Clock, wrong_seconds: float
) -> None:
    job = routed(ledger)
    clock.time += wrong_seconds
    assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    clock.time -= wrong_seconds
    for percent in range(0, 100, 10):
        clock.time += 20 + wrong_seconds
        assert ledger.renew(job.id, "w1", "network", percent, 30)
        clock.time -= wrong_seconds
        sweeper.sweep()
        assert known(ledger, job.id).owner == "w1"
    clock.time += 31
    sweeper.sweep()
    assert known(ledger, job.id).state is JobState.QUEUED


def test_nothing_is_begun_of_a_series_while_more_of_it_comes(
    sweeper: Sweeper, ledger: Ledger, empty_redis: str
) -> None:
    job = routed(ledger)
    ledger.heard(job.series_uid, job.study_uid, "MODALITY", 21)
    sweeper.sweep()
    assert waiting(empty_redis, QUEUE) == 0
    assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30) is None
    ledger.move_series(job.series_uid, SeriesState.COMPLETE, "quiet again")
    ledger.route_series(job.series_uid, "the same instances came again", "", [])
    sweeper.sweep()
    assert waiting(empty_redis, QUEUE) == 1
    assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)


def test_an_encoder_that_fell_silent_leaves_its_job_for_another(
    sweeper: Sweeper, ledger: Ledger, clock: Clock, empty_redis: str
) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "done", owner="w1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30)
    sweeper.sweep()
    clock.time += 31
    sweeper.sweep()
    assert waiting(empty_redis, "encode") == 0, "it rests"
    clock.time += rest_seconds(1)
    sweeper.sweep()
    assert waiting(empty_redis, "encode") == 1
    assert ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w3", 30)


def test_a_delivery_is_hinted_when_it_is_due_and_not_before(
    sweeper: Sweeper, ledger: Ledger, clock: Clock, empty_redis: str
) -> None:
    encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(ledger.deliveries_due()[0].id, 500)
    assert claimed is not None
    sweeper.sweep()
    assert waiting(empty_redis, "deliver") == 0
    clock.time += 501
    sweeper.sweep()
    assert waiting(empty_redis, "deliver") == 1


def test_without_redis_the_sweep_says_so_and_the_ledger_keeps_the_work(site: Site, ledger: Ledger) -> None:
    job = routed(ledger)
    hints = Hints(f"redis://127.0.0.1:{free_port()}/0")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="Redis does not answer"):
        Sweeper(site, ledger, hints).sweep()
    assert time.monotonic() - began < 2
    hints.close()
    now = ledger.job(job.id)
    assert now is not None
    assert (now.state, now.hinted_at) == (JobState.QUEUED, 0.0)
