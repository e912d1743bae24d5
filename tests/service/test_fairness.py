"""Who goes first: of one urgency the senders take turns, and so do destinations; who is urgent goes ahead."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from redis import Redis

from service.config import Site
from service.jobs import Job, JobState, ResultObject, SeriesState, Urgency, job_id
from service.ledger import Ledger
from service.queue import Hints, inference_queue
from service.sweep import LEAST_AHEAD, Sweeper
from tests.clock import Clock
from tests.service import test_ledger, test_sweep
from tests.service.test_ledger import STUDY, new_job

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""
site = test_sweep.site

SPINE, KNEE = "mrannotator-spine", "mrannotator-shoulder-knee"


def sent(
    ledger: Ledger, calling_aet: str, number: int, submodel: str = SPINE, urgency: Urgency = Urgency.ROUTINE
) -> Job:
    """A series of a sender with one queued job; `number` is when it came."""
    uid = f"1.2.{sum(calling_aet.encode())}.{number}"
    ledger.heard(uid, STUDY, calling_aet, 20)
    ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    name = job_id(uid, 1, 1, submodel, "lumbar")
    job = replace(
        new_job(), id=name, series_uid=uid, submodel=submodel, urgency=int(urgency), created_at=float(number)
    )
    ledger.route_series(uid, "1 job", "because", [job])
    return job


def senders(ledger: Ledger, jobs: Sequence[Job]) -> list[str]:
    found = [ledger.series(job.series_uid) for job in jobs]
    return [series.calling_aet for series in found if series is not None]


def test_of_one_urgency_the_senders_take_turns_however_many_one_has_sent(ledger: Ledger) -> None:
    for number in range(6):
        sent(ledger, "FLOOD", number)
    for number in range(2):
        sent(ledger, "MR1", 100 + number)
    sent(ledger, "MR2", 200)
    order = senders(ledger, ledger.ready_jobs(JobState.QUEUED, 1e9))
    assert order == ["FLOOD", "MR1", "MR2", "FLOOD", "MR1", "FLOOD", "FLOOD", "FLOOD", "FLOOD"]


def test_what_is_urgent_goes_ahead_of_every_turn_and_backfill_behind(ledger: Ledger) -> None:
    sent(ledger, "PACS", 1, urgency=Urgency.BACKFILL)
    sent(ledger, "MR1", 2)
    sent(ledger, "MR1", 3, urgency=Urgency.STAT)
    order = [Urgency(job.urgency) for job in ledger.ready_jobs(JobState.QUEUED, 1e9)]
    assert order == [Urgency.STAT, Urgency.ROUTINE, Urgency.BACKFILL]


def test_what_the_queue_knows_already_counts_as_a_turn_that_was_had(ledger: Ledger) -> None:
    flood = [sent(ledger, "FLOOD", number) for number in range(8)]
    ledger.hinted(job.id for job in flood[:4])
    sent(ledger, "MR1", 100)
    assert senders(ledger, ledger.ready_jobs(JobState.QUEUED, 1.0))[:2] == ["MR1", "FLOOD"]


def test_a_flood_for_one_sub_model_does_not_hide_the_jobs_of_another(ledger: Ledger) -> None:
    for number in range(6):
        sent(ledger, "FLOOD", number)
    knee = sent(ledger, "FLOOD", 100, KNEE)
    assert knee.id in [job.id for job in ledger.ready_jobs(JobState.QUEUED, 1e9, limit=2)]


@pytest.fixture
def hints(empty_redis: str) -> Iterator[Hints]:
    hints = Hints(empty_redis)
    yield hints
    hints.close()


def test_the_queue_is_told_of_few_jobs_ahead_so_that_who_comes_next_need_not_wait_for_all(
    site: Site, ledger: Ledger, hints: Hints, empty_redis: str
) -> None:
    for number in range(3 * LEAST_AHEAD):
        sent(ledger, "FLOOD", number)
    queue, sweeper = inference_queue(SPINE), Sweeper(site, ledger, hints)
    sweeper.sweep()
    sweeper.sweep()
    assert hints.waiting(queue) == LEAST_AHEAD
    other = sent(ledger, "MR1", 100)
    stat = sent(ledger, "MR2", 101, urgency=Urgency.STAT)
    sweeper.tell_of_jobs()
    assert (hints.waiting(queue), hints.waiting(queue, Urgency.STAT)) == (LEAST_AHEAD + 1, 1)
    with Redis.from_url(empty_redis) as client:  # a worker takes one
        client.rpop(f"{queue}\x06\x162")
    sweeper.sweep()
    told = {job.id for job in ledger.list_jobs() if job.hinted_at}
    assert {other.id, stat.id} <= told
    assert len(told) == LEAST_AHEAD + 2


def test_a_destination_that_has_many_objects_due_does_not_hide_those_of_another(
    ledger: Ledger, clock: Clock
) -> None:
    for number, destinations in enumerate([["slow"]] * 5 + [["quick"]]):
        job = sent(ledger, "MR1", number)
        ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 30)
        ledger.move_job(job.id, JobState.INFERRED, "done", owner="w")
        ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w", 30)
        made = ResultObject(f"2.25.{number}", job.id, "seg", "1.2.840", "2.25", "/dev/null", 1.0)
        clock.time += 1
        assert ledger.encoded(job.id, "w", [made], {name: [made.sop_instance_uid] for name in destinations})
    due = [delivery.destination for delivery in ledger.deliveries_due(limit=2)]
    assert due == ["slow", "quick"]
