"""What a ledger keeps for ever is bounded by what a site does, and not by what anybody sends."""

from pathlib import Path

from sqlalchemy import create_engine, text

from service.ledger import Ledger
from service.ledger_series import REFUSALS_KEPT
from tests.service import test_ledger
from tests.service.test_ledger import execute

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""


def kept(ledger: Ledger) -> tuple[int, str]:
    """How many refusals there are, and of which object the oldest is."""
    engine = create_engine(ledger.url)
    with engine.connect() as connection:
        number = connection.execute(text("SELECT count(*) FROM refusals")).scalar_one()
        oldest = connection.execute(text("SELECT sop_instance_uid FROM refusals ORDER BY id LIMIT 1")).scalar_one()
    engine.dispose()
    return int(number), str(oldest)


def test_of_very_many_refusals_the_latest_are_kept(ledger: Ledger) -> None:
    rows = "SELECT 1.0, 'MR1', '1.2.' || i, 290, 'no' FROM n"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {REFUSALS_KEPT - 1})"
    columns = "at, calling_aet, sop_instance_uid, status, reason"
    execute(ledger.url, f"INSERT INTO refusals ({columns}) {numbers} {rows}")
    ledger.refused("MR1", "1.3.1", 0xC000, "no")
    assert kept(ledger) == (REFUSALS_KEPT, "1.2.1")
    ledger.refused("MR1", "1.3.2", 0xC000, "no")
    ledger.refused("MR1", "1.3.3", 0xC000, "no")
    assert kept(ledger) == (REFUSALS_KEPT, "1.2.3")
    assert [each["sop_instance_uid"] for each in ledger.refusals(3)] == ["1.3.3", "1.3.2", "1.3.1"]


def test_the_administrator_is_told_how_many_refusals_are_kept(repository: Path) -> None:
    said = " ".join((repository / "docs" / "operation.md").read_text(encoding="utf-8").split())
    assert f"Of refused objects, which anybody may send, the last {REFUSALS_KEPT:,} are kept." in said
