"""Redis and the ledger in; out: whether they answer, keep what they are given, and agree on what time it is.

The ledger is opened to be read only: nothing is made, nothing migrated, and no lock is held.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from alembic.config import Config
from alembic.script import ScriptDirectory
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_nodes.errors import Unreachable
from service import schema
from service.config import Site
from service.doctor.seen import Ground, Seen, bad, ok, warning
from service.redis_server import redis_url
from service.versions import MIGRATIONS

CLOCKS_APART_SECONDS = 2.0
FEW_CONNECTIONS = 10
"""Free ones of PostgreSQL; each process of a site may want several."""
FULL = 0.8
"""Part of Redis's memory from which on it is nearly full."""
_STEPS_BETWEEN_LOOKS = 100_000
_UP = "Start the site: `sagittal up`."


# ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────


def redis(ground: Ground) -> Iterator[Seen]:
    """Whether it answers, forgets nothing by itself, has room, and shares our time."""
    try:
        url = redis_url(ground.site)
        with redis_client(ground, url) as client:
            info, (seconds, micros), ours = client.info(), client.time(), time.time()
    except Unreachable:
        yield bad("none runs for this site", "Start it with `sagittal up`, or name a Redis in [storage] redis.")
        return
    except (RedisError, OSError, ValueError) as error:
        advice = _UP if not ground.site.storage.redis else "Start it, or correct [storage] redis."
        yield bad(f"{_without_password(url)} does not answer: {error}", advice)
        return
    yield ok(f"{info['redis_version']} at {_without_password(url)}")
    yield from _memory(int(info.get("maxmemory", 0)), int(info["used_memory"]), str(info["maxmemory_policy"]))
    yield _apart("Redis", seconds + micros / 1e6 - ours)


@contextmanager
def redis_client(ground: Ground, url: str) -> Iterator["Redis[bytes]"]:
    """A client that gives up soon."""
    once, seconds = Retry(NoBackoff(), 0), ground.timeout_seconds
    with Redis.from_url(url, retry=once, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
        yield client


def _memory(most: int, used: int, policy: str) -> Iterator[Seen]:
    if policy != "noeviction":
        advice = "Set maxmemory-policy noeviction in its configuration, or messages to the workers are thrown away."
        saw = f"maxmemory-policy is {policy}"
        yield bad(saw, advice) if most else warning(f"{saw}, though no maxmemory is set", advice)
    if most and used > FULL * most:
        advice = "Raise maxmemory: when it is full, work waits until the sweeper can tell the workers again."
        yield warning(f"{used >> 20} of {most >> 20} MiB are used", advice)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}:{parts.port or 6379}" if parts.hostname else parts.path


def _apart(whose: str, seconds: float) -> Seen:
    if abs(seconds) > CLOCKS_APART_SECONDS:
        advice = "Let one time server keep both clocks: rests between attempts are measured by them."
        return warning(f"the clock of {whose} is {seconds:+.1f} s from ours", advice)
    return ok("clocks agree")


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────


def ledger(ground: Ground) -> Iterator[Seen]:
    """Whether it answers, has the shape that this version knows, and is whole."""
    site = ground.site
    url = make_url(site.ledger_url)
    shown = url.render_as_string(hide_password=True)
    kind = url.get_backend_name()
    if kind == "sqlite" and not Path(url.database or "").is_file():
        yield ok(f"{url.database} is not there yet: the first start makes it")
        return
    try:
        with read_only(site, ground.timeout_seconds) as connection:
            yield _shape(connection)
            yield from (_sqlite if kind == "sqlite" else _postgresql)(connection, ground.timeout_seconds)
    except (SQLAlchemyError, ImportError, OSError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        advice = "See that it runs, that the user may read it, and what [storage] ledger names."
        if kind == "sqlite":
            advice = f"Stop the site, keep a copy of {url.database}, and restore the last good one."
        yield bad(f"{shown} does not answer: {said}", advice)


@contextmanager
def read_only(site: Site, timeout_seconds: float) -> Iterator[Connection]:
    """The ledger to be read, each question bounded; raises SQLAlchemyError, or ImportError without its driver."""
    engine = _reader(site.ledger_url, timeout_seconds)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _reader(url: str, timeout_seconds: float) -> Engine:
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        file = Path(parts.database or "").absolute()
        # Where nobody has it open, reading would leave -wal and -shm of our user, which others cannot write.
        how = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "mode=ro&immutable=1"
        url = f"sqlite:///file:{quote(str(file))}?{how}&uri=true"
        return create_engine(url, connect_args={"timeout": timeout_seconds})
    options = f"-c statement_timeout={int(timeout_seconds * 1000)} -c default_transaction_read_only=on"
    return create_engine(url, connect_args={"connect_timeout": max(2, int(timeout_seconds)), "options": options})


def shape_of(connection: Connection) -> tuple[str, ...]:
    """The revisions that a database stands at; raises SQLAlchemyError where it is no ledger."""
    rows = connection.execute(text("SELECT version_num FROM alembic_version")).all()
    return tuple(str(row[0]) for row in rows)


def known_shapes() -> tuple[str, tuple[str, ...]]:
    """The revision that this version works with, and every one that it can come from."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    return str(scripts.get_current_head()), tuple(each.revision for each in scripts.walk_revisions())


def _shape(connection: Connection) -> Seen:
    stands, (head, known) = shape_of(connection), known_shapes()
    if stands == (head,):
        return ok(f"schema {head}, as this version writes it")
    said = ", ".join(stands) or "none"
    if all(each in known for each in stands):
        advice = "Keep a copy of the ledger and start the site: the first process brings it forward."
        return warning(f"schema {said}, and this version writes {head}", advice)
    if head >= _oldest_reader(connection):
        advice = "Go on with the upgrade: the site runs with two versions meanwhile."
        return warning(f"schema {said} is newer than this version ({head}), which may still work on it", advice)
    return bad(f"schema {said} is too new for this version ({head})", "Install the version that wrote it.")


def _oldest_reader(connection: Connection) -> str:
    """The oldest revision whose code may work on the tables; later than any where the ledger does not say."""
    try:
        return str(connection.execute(select(schema.readers.c.oldest_revision)).scalar_one())
    except SQLAlchemyError:
        return "~"


def _sqlite(connection: Connection, timeout_seconds: float) -> Iterator[Seen]:
    if not writes_ahead(Path(str(connection.execute(text("PRAGMA database_list")).one()[2]))):
        advice = "Restart the site, which sets it; if it stays, the folder's file system cannot do it."
        yield warning("the journal mode is not WAL", advice)
    yield _whole(connection, timeout_seconds)


def writes_ahead(file: Path) -> bool:
    """Whether a database's header says WAL (file format write and read version 2)."""
    with file.open("rb") as stream:
        return stream.read(20)[18:] == b"\x02\x02"


def _whole(connection: Connection, timeout_seconds: float) -> Seen:
    """PRAGMA quick_check, which reads the whole file, for as long as there is time."""
    until = time.monotonic() + timeout_seconds
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        said = [str(row[0]) for row in driver.execute("PRAGMA quick_check(1)")]
    except sqlite3.OperationalError:
        return ok(f"too large to be read whole in {timeout_seconds:g} s")
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    finally:
        driver.set_progress_handler(None, 0)
    if said == ["ok"]:
        return ok("SQLite, whole")
    advice = "Stop the site, keep a copy of the file, and restore the last good one or recover it (`.recover`)."
    return bad(f"the database is damaged: {' '.join(said[0].split())}", advice)


def _postgresql(connection: Connection, _: float) -> Iterator[Seen]:
    def asked(what: str) -> str:
        return str(connection.execute(text(what)).scalar())

    yield ok(f"PostgreSQL {asked('SHOW server_version').split()[0]}")
    yield _apart("PostgreSQL", float(asked("SELECT extract(epoch FROM clock_timestamp())")) - time.time())
    if asked("SHOW fsync") != "on":
        advice = "Set fsync = on in postgresql.conf: a power cut can destroy the ledger."
        yield bad("PostgreSQL flushes nothing (fsync is off)", advice)
    if (commit := asked("SHOW synchronous_commit")) == "off":
        advice = "Set synchronous_commit = on for this database: the last states are lost with the power."
        yield warning(f"synchronous_commit is {commit}", advice)
    most, used = int(asked("SHOW max_connections")), int(asked("SELECT count(*) FROM pg_stat_activity"))
    if most - used < FEW_CONNECTIONS:
        advice = "Raise max_connections, or end what holds them: each process of the site wants several."
        yield warning(f"{used} of {most} connections are in use", advice)
    else:
        yield ok(f"{used} of {most} connections in use")
