"""What a newer revision replaced while it was on its way comes to an end, and lets its files go."""

import pytest

from service.jobs import Delivery, DeliveryState, Job, JobState
from service.ledger import Ledger
from tests.clock import Clock
from tests.service import test_ledger
from tests.service.test_ledger import SERIES, encoded

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""
D = DeliveryState


def standing(ledger: Ledger, job: Job) -> Delivery:
    (delivery,) = ledger.deliveries(job.id)
    return delivery


def superseded(ledger: Ledger, job: Job) -> None:
    ledger.supersede_jobs(SERIES, 2)
    again = ledger.job(job.id)
    assert again is not None and again.state is JobState.SUPERSEDED


def nothing_is_open(ledger: Ledger) -> bool:
    (stand,) = ledger.stands([SERIES])
    return not stand.open_deliveries


def test_what_waited_to_be_sent_is_dropped(ledger: Ledger) -> None:
    job = encoded(ledger, "pacs")
    assert ledger.end_taken_back() == 0, "its job still wants it"
    superseded(ledger, job)
    assert not nothing_is_open(ledger)
    assert (ledger.end_taken_back(), ledger.end_taken_back()) == (1, 0)
    assert standing(ledger, job).state is D.DROPPED
    assert standing(ledger, job).comment == "not sent: its job is superseded"
    assert [step.to_state for step in ledger.history("delivery", standing(ledger, job).id)] == ["dropped"]
    assert nothing_is_open(ledger)


def test_what_a_sender_has_in_hand_is_left_to_it_until_its_lease_is_over(ledger: Ledger, clock: Clock) -> None:
    job = encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(standing(ledger, job).id, 60)
    assert claimed is not None
    superseded(ledger, job)
    assert ledger.end_taken_back() == 0
    ledger.settle_delivery(claimed, D.WAITING, "connection refused", None, next_attempt_at=clock.time + 120)
    clock.time += 119
    assert ledger.end_taken_back() == 0
    clock.time += 1
    assert ledger.end_taken_back() == 1
    assert standing(ledger, job).state is D.DROPPED


def test_a_sender_that_was_slower_than_its_lease_still_says_what_it_stored(ledger: Ledger, clock: Clock) -> None:
    job = encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(standing(ledger, job).id, 60)
    assert claimed is not None
    superseded(ledger, job)
    clock.time += 61
    assert ledger.end_taken_back() == 1
    ledger.settle_delivery(claimed, D.DELIVERED, "status 0x0000", 0)
    assert standing(ledger, job).state is D.DELIVERED


def test_what_is_stored_is_asked_about_no_more_once_its_report_is_overdue(ledger: Ledger, clock: Clock) -> None:
    job = encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(standing(ledger, job).id, 60)
    assert claimed is not None
    ledger.settle_delivery(claimed, D.STORED, "status 0x0000", 0, next_attempt_at=clock.time + 3600)
    superseded(ledger, job)
    assert ledger.end_taken_back() == 0
    clock.time += 3600
    assert ledger.end_taken_back() == 1
    stands = standing(ledger, job)
    assert (stands.state, stands.comment[:35]) == (D.DELIVERED, "stored, and not asked about any mor")
    assert nothing_is_open(ledger)


@pytest.mark.parametrize("limit", [1, 2])
def test_many_are_ended_in_bites_and_all_of_them(ledger: Ledger, limit: int) -> None:
    job = encoded(ledger, "pacs", "research", "third")
    superseded(ledger, job)
    ended = []
    while number := ledger.end_taken_back(limit):
        ended.append(number)
    assert (sum(ended), max(ended)) == (3, limit)
    assert {each.state for each in ledger.deliveries(job.id)} == {D.DROPPED}
