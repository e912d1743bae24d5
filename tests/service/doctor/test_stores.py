"""What the doctor sees of Redis and the ledger with one thing planted that is wrong, and what it advises."""

import os
import sqlite3
from pathlib import Path

import pytest
from redis import Redis

from service.doctor import stores
from service.doctor.seen import Level
from service.ledger import open_ledger
from tests.conftest import free_port
from tests.service.doctor.ground import ground, only, wrong
from tests.service.test_ledger import routed


def test_a_redis_that_answers_is_well_and_its_password_is_never_shown(tmp_path: Path, empty_redis: str) -> None:
    seen = list(stores.redis(ground(tmp_path, redis=f'"{empty_redis}"')))
    assert not wrong(seen)
    silent = ground(tmp_path, redis=f'"redis://:secret@127.0.0.1:{free_port()}/0"')
    told = only(stores.redis(silent))
    assert told.level is Level.BAD
    assert "secret" not in told.saw + told.advice


def test_a_redis_that_throws_messages_away_is_bad(tmp_path: Path, empty_redis: str) -> None:
    at = ground(tmp_path, redis=f'"{empty_redis}"')
    with Redis.from_url(empty_redis) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 1 << 30)
        try:
            seen = only(stores.redis(at))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 0)
    assert seen.level is Level.BAD
    assert "allkeys-lru" in seen.saw and "noeviction" in seen.advice


def test_a_ledger_is_only_read_and_a_missing_one_is_not_made(tmp_path: Path) -> None:
    at = ground(tmp_path)
    assert not wrong(stores.ledger(at))
    assert not at.site.folder.exists()
    open_ledger(at.site.ledger_url, actor="test").close()
    before = sorted(at.site.folder.iterdir())
    assert not wrong(stores.ledger(at))
    assert sorted(at.site.folder.iterdir()) == before, "no -wal of the doctor's own user stays"
    with stores.read_only(at.site, 2.0) as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM series")


def test_a_ledger_that_is_open_is_read_as_it_stands_and_without_wal_it_is_a_warning(tmp_path: Path) -> None:
    at = ground(tmp_path)
    ledger = open_ledger(at.site.ledger_url, actor="test")
    routed(ledger)
    with stores.read_only(at.site, 2.0) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 1
    assert not wrong(stores.ledger(at))
    ledger.close()
    _execute(at.site.folder / "ledger.sqlite", "PRAGMA journal_mode=DELETE")
    assert "WAL" in only(stores.ledger(at)).saw


def test_a_ledger_of_another_schema_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    at = ground(tmp_path)
    open_ledger(at.site.ledger_url, actor="test").close()
    file = at.site.folder / "ledger.sqlite"
    _execute(file, "UPDATE alembic_version SET version_num = '0001'")
    assert only(stores.ledger(at)).level is Level.WARNING
    _execute(file, "UPDATE alembic_version SET version_num = '9998'", "UPDATE readers SET oldest_revision = '9998'")
    seen = only(stores.ledger(at))
    assert seen.level is Level.BAD and "9998" in seen.saw and "Install the version" in seen.advice
    _execute(file, "UPDATE readers SET oldest_revision = '0001'")
    assert only(stores.ledger(at)).level is Level.WARNING


def test_a_damaged_ledger_is_bad(tmp_path: Path) -> None:
    at = ground(tmp_path)
    ledger = open_ledger(at.site.ledger_url, actor="test")
    routed(ledger)
    ledger.close()
    file = at.site.folder / "ledger.sqlite"
    _execute(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[4096 * 3 :: 7] = os.urandom(len(content[4096 * 3 :: 7]))
    file.write_bytes(content)
    found = wrong(stores.ledger(at))
    assert found[-1].level is Level.BAD
    assert "keep a copy" in found[-1].advice


def test_a_postgresql_that_flushes_nothing_is_bad(tmp_path: Path, postgresql_url: str) -> None:
    at = ground(tmp_path, ledger=f'"{postgresql_url}"')
    open_ledger(at.site.ledger_url, actor="test").close()
    seen = list(stores.ledger(at))
    assert only(seen).level is Level.BAD  # the test's own server runs with -F
    assert "fsync = on" in only(seen).advice
    assert any("clocks agree" in each.saw for each in seen)
    away = ground(tmp_path, ledger=f'"postgresql+psycopg://sagittal@127.0.0.1:{free_port()}/sagittal"')
    assert "does not answer" in only(stores.ledger(away)).saw


def _execute(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
