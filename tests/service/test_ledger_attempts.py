"""Two attempts at one delivery, as where a lease ran out: what the later word of each may change."""

from pathlib import Path

import pytest

from service.jobs import Delivery, DeliveryState, JobState
from service.ledger import Ledger
from tests.clock import Clock
from tests.service import test_ledger
from tests.service.withdrawn_site import Ward

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""
D = DeliveryState
LEASE_SECONDS = 60.0


@pytest.fixture
def ward(ledger: Ledger, tmp_path: Path) -> Ward:
    """A job of one object for one destination."""
    return Ward(tmp_path / "site", ledger, ("pacs",)).encoded()


@pytest.fixture
def attempts(ward: Ward, clock: Clock) -> tuple[Delivery, Delivery]:
    """One whose lease ran out while it went on, and the one that another worker began then."""
    due = ward.ledger.deliveries_due()[0]
    first = ward.ledger.claim_delivery(due.id, LEASE_SECONDS)
    clock.time += LEASE_SECONDS
    second = ward.ledger.claim_delivery(due.id, LEASE_SECONDS)
    assert first is not None and second is not None
    return first, second


def settled(ward: Ward, delivery: Delivery, to: DeliveryState) -> bool:
    return ward.ledger.settle_delivery(delivery, to, f"said {to.value}", 0, next_attempt_at=ward.ledger.now())


def now(ward: Ward, delivery: Delivery) -> Delivery:
    found = ward.ledger.delivery(delivery.id)
    assert found is not None
    return found


@pytest.mark.parametrize("late", [D.WAITING, D.FAILED, D.STORED, D.DELIVERED])
@pytest.mark.parametrize("ended", [D.STORED, D.DELIVERED])
def test_what_one_stored_is_not_changed_by_the_other(
    ward: Ward, attempts: tuple[Delivery, Delivery], ended: DeliveryState, late: DeliveryState
) -> None:
    first, second = attempts
    assert settled(ward, second, ended)
    before = now(ward, second), ward.ledger.history("delivery", second.id), ward.now
    assert not settled(ward, first, late)
    assert (now(ward, second), ward.ledger.history("delivery", second.id), ward.now) == before


@pytest.mark.parametrize("late", [D.WAITING, D.FAILED])
def test_one_that_goes_on_is_not_ended_by_the_failure_of_the_one_before(
    ward: Ward, attempts: tuple[Delivery, Delivery], late: DeliveryState
) -> None:
    first, second = attempts
    assert not settled(ward, first, late)
    assert now(ward, second) == second
    assert settled(ward, second, D.DELIVERED)


@pytest.mark.parametrize("stored", [D.STORED, D.DELIVERED])
@pytest.mark.parametrize("other", [D.WAITING, D.FAILED])
def test_what_was_stored_after_all_is_stored_whatever_the_other_attempt_says(
    ward: Ward, attempts: tuple[Delivery, Delivery], other: DeliveryState, stored: DeliveryState
) -> None:
    first, second = attempts
    assert settled(ward, second, other)
    assert settled(ward, first, stored)
    assert now(ward, first).state is stored
    states = [step.to_state for step in ward.ledger.history("delivery", first.id)]
    assert states[-2:] == [other, stored]


def test_a_job_that_failed_is_delivered_when_its_last_object_was_stored_after_all(
    ward: Ward, attempts: tuple[Delivery, Delivery]
) -> None:
    first, second = attempts
    for each in ward.ledger.deliveries(ward.job.id):
        if each.id != first.id:
            claimed = ward.ledger.claim_delivery(each.id, LEASE_SECONDS)
            assert claimed is not None and settled(ward, claimed, D.DELIVERED)
    assert settled(ward, second, D.FAILED)
    assert ward.now.state is JobState.FAILED
    assert settled(ward, first, D.DELIVERED)
    assert (ward.now.state, ward.now.reason) == (JobState.DELIVERED, "")
