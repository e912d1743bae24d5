"""A delivery that a stopping worker hands back: as if it had not been claimed, unless it ended meanwhile."""

from dataclasses import replace
from pathlib import Path

from service.jobs import Delivery, DeliveryState
from service.ledger import Ledger
from service.ledger_rests import FAILURES_BEFORE_REST
from tests.clock import Clock
from tests.service import test_ledger
from tests.service.withdrawn_site import Ward

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""
LEASE_SECONDS, PAUSE_SECONDS = 60.0, 4.0


def waiting(ledger: Ledger, folder: Path) -> Delivery:
    """A delivery that is due."""
    Ward(folder / "site", ledger, ("pacs",)).encoded()
    return ledger.deliveries_due()[0]


def test_it_is_due_after_the_pause_and_its_attempt_is_not_counted(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    claimed = ledger.claim_delivery(waiting(ledger, tmp_path).id, LEASE_SECONDS)
    assert claimed is not None and claimed.attempts == 1
    assert ledger.hand_back(claimed, PAUSE_SECONDS, "handed back")
    assert ledger.claim_delivery(claimed.id, LEASE_SECONDS) is None
    clock.time += PAUSE_SECONDS
    again = ledger.claim_delivery(claimed.id, LEASE_SECONDS)
    assert again is not None and again.attempts == 1
    assert not ledger.hand_back(claimed, PAUSE_SECONDS, "handed back"), "it is another worker's now"
    assert ledger.delivery(claimed.id) == again


def test_what_ended_in_the_last_moment_stays_as_it_ended(ledger: Ledger, clock: Clock, tmp_path: Path) -> None:
    first = waiting(ledger, tmp_path)
    for to in (DeliveryState.WAITING, DeliveryState.DELIVERED):
        claimed = ledger.claim_delivery(first.id, LEASE_SECONDS)
        assert claimed is not None
        ledger.settle_delivery(claimed, to, "said so", 0, next_attempt_at=clock.time + 7)
        before = ledger.delivery(first.id)
        assert not ledger.hand_back(claimed, PAUSE_SECONDS, "handed back")
        assert ledger.delivery(first.id) == before
        clock.time += 7


def test_one_that_went_first_after_a_rest_lets_another_go_first(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    due = waiting(ledger, tmp_path)
    for _ in range(FAILURES_BEFORE_REST):
        ledger.unreachable("pacs", "no connection", 30.0)
    clock.time += 30
    claimed = ledger.claim_delivery(due.id, LEASE_SECONDS)
    assert claimed is not None
    rest = ledger.rest_of("pacs")
    assert rest is not None and rest.rests_until >= clock.time + LEASE_SECONDS
    assert ledger.hand_back(claimed, PAUSE_SECONDS, "handed back")
    assert ledger.rest_of("pacs") == replace(rest, rests_until=clock.time + PAUSE_SECONDS)


def test_a_rest_that_began_meanwhile_stays(ledger: Ledger, clock: Clock, tmp_path: Path) -> None:
    claimed = ledger.claim_delivery(waiting(ledger, tmp_path).id, LEASE_SECONDS)
    assert claimed is not None
    for _ in range(FAILURES_BEFORE_REST):
        ledger.unreachable("pacs", "no connection", 900.0)
    ledger.hand_back(claimed, PAUSE_SECONDS, "handed back")
    rest = ledger.rest_of("pacs")
    assert rest is not None and rest.rests_until == clock.time + 900
