"""However much has been done, no question that is asked all day goes through all of it: the plans say so."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from psycopg import sql
from sqlalchemy import Connection, create_engine, event, text

from benchmarks.ledger import Case, cases
from benchmarks.ledger_filling import filled
from service.config import Site
from service.ledger import Ledger

SERIES = 400
GROWING = ("series", "volumes", "jobs", "findings", "objects", "deliveries", "commitments", "withdrawals", "noted",
           "rejections", "deletions", "backfill", "transitions", "refusals")  # fmt: skip
"""Tables that nothing is ever taken from."""
BY_INDEX = {
    "the jobs that failed within a day": "ix_jobs_failed",
    "the series that failed within a day": "ix_series_failed",
    "withdrawals that are open": "ix_withdrawals_settled",
    "deletions that are not finished": "ix_deletions_finished",
    "jobs that workers hold": "ix_jobs_lease_until",
    "deliveries that are due": "ix_deliveries_state_next",
    "deliveries that nobody wants any more": "ix_deliveries_state_next",
    "series that wait for their study": "ix_series_state_heard",
}
"""Where another index would find the rows as well, with many that have long been done among them."""


@dataclass
class Plans:
    """What a database says of how it would answer what a ledger asks."""

    ledger: Ledger
    explain: str
    asked: list[tuple[str, object]] = field(default_factory=list)

    def of(self, case: Case) -> list[tuple[str, str]]:
        """Every statement of a case, and its plan."""
        self.asked.clear()
        case.run()
        engine = create_engine(self.ledger.url)
        with engine.connect() as connection:
            self._prefer_indexes(connection)
            plans = [(statement, self._plan(connection, statement, values)) for statement, values in self.asked]
        engine.dispose()
        return plans

    def _prefer_indexes(self, connection: Connection) -> None:
        """A small table is read from end to end on PostgreSQL, as if it had no index."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))

    def _plan(self, connection: Connection, statement: str, values: object) -> str:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or "advisory" in statement:
            return ""
        found = connection.exec_driver_sql(f"{self.explain} {statement}", values)  # type: ignore[arg-type]
        return "\n".join(str(row[-1]) for row in found)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def plans(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plans]:
    url, explain = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.sqlite", "EXPLAIN QUERY PLAN"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        server.execute(sql.SQL("CREATE DATABASE plans"))
        url, explain = server.url("plans"), "EXPLAIN"
    with closing(filled(url, SERIES)) as ledger:
        found = Plans(ledger, explain)
        event.listen(ledger._engine, "before_cursor_execute", lambda *a: found.asked.append((a[2], a[3])))
        yield found


def whole(plan: str, statement: str) -> list[str]:
    """The growing tables that a plan reads from end to end."""
    found = re.findall(r"\bSCAN (\w+)(?! USING COVERING)|Seq Scan on (\w+)", plan)
    ends = "LIMIT" in statement and "USE TEMP B-TREE FOR ORDER BY" not in plan and "Sort" not in plan
    return [] if ends else [name for pair in found for name in pair if name in GROWING]


SITE = Site.model_validate(
    {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
)


def test_no_table_that_grows_is_read_from_end_to_end(plans: Plans) -> None:
    for case in cases(plans.ledger, SITE, SERIES):
        for statement, plan in plans.of(case):
            assert not whole(plan, statement), f"{case.name}:\n{statement}\n{plan}"


def test_what_is_open_is_found_by_the_index_that_has_nothing_else(plans: Plans) -> None:
    if plans.ledger.url.startswith("postgresql"):
        pytest.skip("which of its indexes PostgreSQL takes goes by how much is in the tables")
    named = {case.name: case for case in cases(plans.ledger, SITE, SERIES)}
    for name, index in BY_INDEX.items():
        assert any(index in plan for _, plan in plans.of(named[name])), name
