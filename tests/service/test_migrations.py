"""A ledger that an earlier version left is brought up to date by opening it, and its rows mean what they meant."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from service.jobs import DeliveryState, JobState, SeriesState, Urgency
from service.ledger import Ledger, open_ledger
from service.schema import metadata
from service.versions import MIGRATIONS
from tests.postgresql import PostgreSql

SERIES, STUDY, JOB, OBJECT, NOTE = "1.2.3", "1.2", "abcdefabcdef", "2.25.1", "2.25.9"
RELEASED = ("0001", "0002", "0003", "0004")
"""What a site may have; its rows are written below as the code of that version wrote them."""

FIRST = f"""
INSERT INTO series VALUES ('{SERIES}', '{STUDY}', 'MR1', 'routed', 2, 20, 'released', 'f00', '1 job', 'because',
                           900.5, 950.25, 960.0);
INSERT INTO series VALUES ('1.2.4', '{STUDY}', 'MR2', 'receiving', 0, 7, 'open', '', '', '', 990.0, 991.0, 991.0);
INSERT INTO jobs (id, series_uid, study_uid, revision, volume_index, volume_name, submodel, protocol, laterality,
                  state, stage, percent, attempts, owner, lease_until, hinted_at, reason, model_version, created_at,
                  updated_at)
    VALUES ('{JOB}', '{SERIES}', '{STUDY}', 2, 1, 'T2 größer', 'mrannotator-spine', 'lumbar', '', 'delivering', '',
            100, 1, '', 0, 0, '', 'v1', 960.0, 970.0);
INSERT INTO jobs (id, series_uid, study_uid, revision, volume_index, volume_name, submodel, protocol, laterality,
                  state, stage, percent, attempts, owner, lease_until, hinted_at, reason, model_version, created_at,
                  updated_at)
    VALUES ('bbbbbbbbbbbb', '{SERIES}', '{STUDY}', 2, 2, '', 'mrannotator-shoulder-knee', 'knee', 'L', 'inferring',
            'network', 40, 1, 'inference-1', 999.0, 0, '', '', 961.0, 971.0);
INSERT INTO objects VALUES ('{OBJECT}', '{JOB}', 'seg', '1.2.840.10008.5.1.4.1.1.66.4', '2.25.2', '/x.dcm', 969.0);
INSERT INTO deliveries (job_id, sop_instance_uid, destination, state, attempts, next_attempt_at, first_attempt_at,
                        status, comment, updated_at)
    VALUES ('{JOB}', '{OBJECT}', 'pacs', 'waiting', 3, 980.0, 970.5, 42752, 'out of resources', 971.0);
INSERT INTO deliveries (job_id, sop_instance_uid, destination, state, attempts, next_attempt_at, first_attempt_at,
                        status, comment, updated_at)
    VALUES ('{JOB}', '{OBJECT}', 'research', 'delivered', 1, 0, 970.5, 0, 'stored', 971.0);
INSERT INTO transitions (subject, subject_id, from_state, to_state, at, cause, actor)
    VALUES ('series', '{SERIES}', '', 'receiving', 900.5, 'first instance from MR1', 'receiver');
INSERT INTO refusals (at, calling_aet, sop_instance_uid, status, reason)
    VALUES (905.0, 'CT1', '1.9', 290, 'SOP Class not supported');
"""
SECOND = f"""
UPDATE jobs SET urgency = 1 WHERE id = '{JOB}';
INSERT INTO volumes VALUES ('{SERIES}', 1, '{STUDY}', 'what was seen');
INSERT INTO findings (job_id, name, evidence, holds, at)
    VALUES ('{JOB}', 'out of order', 'L3 above L2', true, 965.0);
"""
THIRD = """
UPDATE deliveries SET state = 'stored', stored_at = 971.0, resent = 1 WHERE destination = 'research';
INSERT INTO commitments SELECT '2.25.7', id, 972.0, NULL, '' FROM deliveries WHERE destination = 'research';
INSERT INTO rests VALUES ('pacs', 3, 1100.0, 'connection refused');
"""
FOURTH = f"""
INSERT INTO objects VALUES ('{NOTE}', '{JOB}', 'note', '1.2.840.10008.5.1.4.1.1.88.59', '2.25.8', '/n.dcm', 973.0);
INSERT INTO withdrawals VALUES ('{JOB}', '113039', 'withdrawn', 'wrong side', true, false, 974.0);
INSERT INTO noted VALUES ('{NOTE}', '{OBJECT}');
INSERT INTO rejections VALUES ('1.7', '1.8', '{SERIES}', '113001', 975.0);
"""
WRITTEN = dict(zip(RELEASED, (FIRST, SECOND, THIRD, FOURTH), strict=True))


def alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


HEAD = ScriptDirectory.from_config(alembic()).get_current_head()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database in which there is nothing."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite"
        return
    server: PostgreSql = request.getfixturevalue("postgresql_server")
    server.execute(sql.SQL("CREATE DATABASE earlier"))
    yield server.url("earlier")
    server.execute(sql.SQL("DROP DATABASE earlier WITH (FORCE)"))


def left_by(url: str, revision: str) -> dict[str, list[dict[str, object]]]:
    """Make the tables of a revision, with rows in each; all that is in them, by table."""
    engine, config, tables = sa.create_engine(url), alembic(), sa.MetaData()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in "".join(WRITTEN[each] for each in RELEASED if each <= revision).split(";\n"):
            if statement.strip():
                connection.execute(sa.text(statement))
        tables.reflect(connection)
        kept = {name: rows(connection, table) for name, table in tables.tables.items() if name != "alembic_version"}
    engine.dispose()
    assert all(kept.values()), "a row in every table"
    return kept


def rows(connection: sa.Connection, table: sa.Table) -> list[dict[str, object]]:
    return [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]


def standing(url: str) -> tuple[str, dict[str, list[dict[str, object]]]]:
    """The revision that a database stands at, and all that is in it."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        found = {name: rows(connection, table) for name, table in metadata.tables.items()}
    engine.dispose()
    return str(revision), found


def opened(url: str) -> Ledger:
    return open_ledger(url, actor="test", now=lambda: 1000.0)


@pytest.mark.parametrize("revision", RELEASED)
def test_every_row_of_an_earlier_version_is_there_after_it_and_says_the_same(url: str, revision: str) -> None:
    before = left_by(url, revision)
    opened(url).close()
    now, after = standing(url)
    assert now == HEAD
    for table, old in before.items():
        kept = [{key: row[key] for key in was} for was, row in zip(old, after[table], strict=True)]
        assert kept == old, table


@pytest.mark.parametrize("revision", RELEASED)
def test_the_ledger_works_on_with_what_an_earlier_version_left(url: str, revision: str) -> None:
    left_by(url, revision)
    ledger = opened(url)
    series, job, other = ledger.series(SERIES), ledger.job(JOB), ledger.job("bbbbbbbbbbbb")
    assert series is not None and job is not None and other is not None
    assert (series.state, series.instance_count, series.last_heard_at) == (SeriesState.ROUTED, 20, 950.25)
    assert (job.volume_name, job.state, other.laterality) == ("T2 größer", JobState.DELIVERING, "L")
    assert job.urgency == (Urgency.ROUTINE if revision < "0002" else 1)
    assert [each.id for each in ledger.held_jobs()] == ["bbbbbbbbbbbb"]
    ledger.move_job("bbbbbbbbbbbb", JobState.QUEUED, "its worker is gone")
    assert ledger.claim_job("bbbbbbbbbbbb", JobState.QUEUED, JobState.INFERRING, "w2", 30) is not None
    assert ledger.count_series() == {SeriesState.ROUTED: 1, SeriesState.RECEIVING: 1}
    assert ledger.count_jobs() == {JobState.DELIVERING: 1, JobState.INFERRING: 1}
    ledger.heard("1.2.4", STUDY, "MR2", 8)
    ledger.move_series("1.2.4", SeriesState.COMPLETE, "quiet for 5 s")
    assert [each.series_uid for each in ledger.series_to_route()] == ["1.2.4"]
    assert [step.to_state for step in ledger.history("series", "1.2.4")] == ["complete"]
    ledger.close()


@pytest.mark.parametrize("revision", RELEASED)
def test_what_an_earlier_version_had_under_way_is_delivered_once(url: str, revision: str) -> None:
    left_by(url, revision)
    ledger = opened(url)
    ledger.answered("pacs")
    (pacs, research) = sorted(ledger.deliveries(JOB), key=lambda each: each.destination)
    assert (pacs.attempts, pacs.status, pacs.first_attempt_at) == (3, 0xA700, 970.5)
    assert research.state is (DeliveryState.DELIVERED if revision < "0003" else DeliveryState.STORED)
    claimed = ledger.claim_delivery(pacs.id, 60)
    assert claimed is not None and claimed.attempts == 4
    assert ledger.claim_delivery(pacs.id, 60) is None
    ledger.settle_delivery(claimed, DeliveryState.DELIVERED, "stored", 0)
    job = ledger.job(JOB)
    assert job is not None and job.state is JobState.DELIVERED
    ledger.close()


def test_many_processes_may_open_an_old_ledger_at_once(url: str) -> None:
    before = left_by(url, "0001")
    code = f"from service.ledger import open_ledger; open_ledger({url!r}, actor='x').close()"
    openers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [opener.wait(120) for opener in openers] == [0, 0, 0]
    now, after = standing(url)
    assert now == HEAD
    assert [len(rows) for rows in before.values()] == [len(after[table]) for table in before]


def test_a_migration_that_is_cut_off_leaves_the_old_tables_whole(url: str) -> None:
    before = left_by(url, "0001")
    engine = sa.create_engine(url)
    with engine.begin() as connection:  # stands in the way of a later migration, after earlier ones have run
        connection.execute(sa.text("CREATE TABLE tallies (id INTEGER)"))
    with pytest.raises((sa.exc.OperationalError, sa.exc.ProgrammingError), match="already exists"):
        opened(url)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one() == "0001"
        assert set(sa.inspect(connection).get_table_names()) == {*before, "alembic_version", "tallies"}
        connection.execute(sa.text("DROP TABLE tallies"))
    engine.dispose()
    opened(url).close()
    assert standing(url)[0] == HEAD


def test_migrations_lead_to_the_tables_that_the_code_describes(url: str) -> None:
    opened(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = sa.inspect(connection)
        for name, table in metadata.tables.items():
            assert {each["name"] for each in found.get_columns(name)} == set(table.columns.keys()), name
            unique = {each["name"] for each in found.get_unique_constraints(name)}
            indexes = {each["name"] for each in found.get_indexes(name)} - unique
            assert indexes == {index.name for index in table.indexes}, name
            nullable = {each["name"] for each in found.get_columns(name) if each["nullable"]}
            assert nullable == {column.name for column in table.columns if column.nullable}, name
    engine.dispose()


def read_and_write(url: str, stop: threading.Event, broken: list[Exception], number: int) -> None:
    """What parts of the version before go on doing, whose transactions know no turns."""
    engine = sa.create_engine(url)
    changes = [
        "UPDATE jobs SET percent = percent + 1 WHERE id = 'bbbbbbbbbbbb'",
        f"UPDATE series SET instance_count = {number} WHERE series_uid = '{('1.2.4', SERIES)[number % 2]}'",
        "SELECT * FROM deliveries JOIN objects USING (sop_instance_uid)",
    ]
    order = changes if number % 2 else changes[::-1]
    while not stop.is_set():
        try:
            with engine.begin() as connection:
                for statement in order:
                    connection.execute(sa.text(statement))
        except sa.exc.DBAPIError as error:
            broken.append(error)
        stop.wait(0.02)
    engine.dispose()


def test_a_ledger_is_brought_up_to_date_while_the_version_before_works_on_it(postgresql_server: PostgreSql) -> None:
    for attempt in range(3):
        postgresql_server.execute(sql.SQL("CREATE DATABASE under_load"))
        url = postgresql_server.url("under_load")
        left_by(url, "0004")
        stop, broken = threading.Event(), list[Exception]()
        others = [threading.Thread(target=read_and_write, args=(url, stop, broken, n)) for n in range(4)]
        for other in others:
            other.start()
        try:
            opened(url).close()
        finally:
            stop.set()
            for other in others:
                other.join()
        assert standing(url)[0] == HEAD, attempt
        assert broken == []
        postgresql_server.execute(sql.SQL("DROP DATABASE under_load WITH (FORCE)"))
