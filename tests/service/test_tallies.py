"""How many series and jobs stand in each state: as many as there are, whoever moved them, and however often."""

from sqlalchemy import create_engine, text

from service.jobs import JobState, SeriesState
from service.ledger import Ledger
from service.ledger_tallies import FOLDED_ABOVE
from tests.service import test_ledger
from tests.service.test_fairness import sent
from tests.service.test_ledger import STUDY, execute

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""


def counted(ledger: Ledger, table: str) -> dict[str, int]:
    """The truth, by looking at every row."""
    engine = create_engine(ledger.url)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT state, count(*) FROM {table} GROUP BY state")).all()
    engine.dispose()
    return {str(state): int(number) for state, number in rows}


def agrees(ledger: Ledger) -> None:
    assert {state.value: number for state, number in ledger.count_series().items()} == counted(ledger, "series")
    assert {state.value: number for state, number in ledger.count_jobs().items()} == counted(ledger, "jobs")


def rows(ledger: Ledger) -> int:
    engine = create_engine(ledger.url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM tallies")).scalar_one()
    engine.dispose()
    return int(found)


def test_every_change_of_state_is_counted(ledger: Ledger) -> None:
    assert (ledger.count_series(), ledger.count_jobs()) == ({}, {})
    jobs = [sent(ledger, "MR1", number) for number in range(3)]
    ledger.heard("1.9", STUDY, "MR1", 1)
    agrees(ledger)
    assert ledger.count_series() == {SeriesState.ROUTED: 3, SeriesState.RECEIVING: 1}
    ledger.claim_job(jobs[0].id, JobState.QUEUED, JobState.INFERRING, "w", 30)
    ledger.renew(jobs[0].id, "w", "network", 50, 30)
    ledger.move_job(jobs[1].id, JobState.FAILED, "no")
    agrees(ledger)
    assert ledger.count_jobs() == {JobState.QUEUED: 1, JobState.INFERRING: 1, JobState.FAILED: 1}


def test_what_another_program_changes_is_counted_too(ledger: Ledger) -> None:
    jobs = [sent(ledger, "MR1", number) for number in range(3)]
    execute(ledger.url, f"UPDATE jobs SET state = 'failed' WHERE id = '{jobs[0].id}'")
    execute(ledger.url, f"UPDATE jobs SET state = state, stage = 'x' WHERE id = '{jobs[1].id}'")
    execute(ledger.url, f"DELETE FROM jobs WHERE id = '{jobs[2].id}'")
    agrees(ledger)
    assert ledger.count_jobs() == {JobState.FAILED: 1, JobState.QUEUED: 1}


def test_many_changes_are_folded_into_few_rows_that_say_the_same(ledger: Ledger) -> None:
    sent(ledger, "MR1", 1)
    assert not ledger.fold()
    execute(ledger.url, "UPDATE series SET state = 'failed'")
    for _ in range(FOLDED_ABOVE // 4 + 1):
        for state in ("held", "unrouted"):
            execute(ledger.url, f"UPDATE series SET state = '{state}'")
    before = rows(ledger)
    assert before > FOLDED_ABOVE
    assert ledger.fold()
    assert rows(ledger) < 10
    agrees(ledger)
    assert ledger.count_series() == {SeriesState.UNROUTED: 1}
