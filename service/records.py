"""The ledger's database: opening it, and the one way to change a state, in one transaction with its transition.

Whoever writes waits for its turn, on SQLite by the database's one write lock and on PostgreSQL by a lock that does
the same: what a transaction has read is still so when it writes, and no two wait for each other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, Table, create_engine, event, func, select
from sqlalchemy import insert as insert_into
from sqlalchemy.engine import make_url

from service import schema
from service.jobs import (
    Delivery,
    DeliveryState,
    IllegalTransitionError,
    Job,
    JobState,
    SeriesRecord,
    SeriesState,
    Transition,
    require_legal,
)
from service.versions import bring_up_to_date

R = TypeVar("R")
_MIGRATION_LOCK, _WRITE_LOCK = 7345227301, 7345227302
_TURN_SECONDS = 60
"""So long does a writer wait for its turn before its work fails, to be done again."""
_STOPPED_SECONDS = 30
"""A writer that does nothing for so long in its turn, as its process or its machine stopped, loses it."""
_TAKE_TURN = f"""SELECT set_config('lock_timeout', '{_TURN_SECONDS}s', true),
    set_config('idle_in_transaction_session_timeout', '{_STOPPED_SECONDS}s', true),
    pg_advisory_xact_lock({_WRITE_LOCK})"""
_WHERE_SILENT = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
                 "tcp_user_timeout": 30_000}  # fmt: skip
"""What libpq does where the server's machine is silent, unless the URL says otherwise: give up within a minute."""
_ENUMS: dict[type, type[StrEnum]] = {SeriesRecord: SeriesState, Job: JobState, Delivery: DeliveryState}


def open_database(url: str) -> Engine:
    """Open the database at an SQLAlchemy URL and bring its tables up to date.

    Raises ConfigurationError where they are too new for this program.
    """
    if make_url(url).get_backend_name() == "sqlite" and (file := make_url(url).database):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = _sqlite(url) if make_url(url).get_backend_name() == "sqlite" else _postgresql(url)
    with ExitStack() as undo:
        undo.callback(engine.dispose)
        with engine.connect().execution_options(migrate=True) as connection, connection.begin():
            bring_up_to_date(connection)
        undo.pop_all()
    return engine


def _postgresql(url: str) -> Engine:
    silent = {key: value for key, value in _WHERE_SILENT.items() if key not in make_url(url).query}
    engine = create_engine(url, pool_pre_ping=True, connect_args=silent)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("migrate", False):  # as long as it takes; processes that start together wait for one
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            connection.execute(select(func.pg_advisory_xact_lock(_WRITE_LOCK)))
        elif options.get("write", False):
            connection.exec_driver_sql(_TAKE_TURN)

    return engine


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _TURN_SECONDS})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN below, so that a writer waits instead of failing
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        write = options.get("write", False) or options.get("migrate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


class Records:
    """A database whose states move only as the tables of `jobs.py` say; every change is signed with `actor`."""

    def __init__(self, engine: Engine, actor: str, now: Callable[[], float]) -> None:
        self._engine = engine
        self._actor = actor
        self.now = now

    @property
    def url(self) -> str:
        """Where it lies, as an SQLAlchemy URL."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def history(self, subject: str, subject_id: str | int) -> list[Transition]:
        """Every transition of one subject ("series", "job" or "delivery"), the oldest first."""
        t = schema.transitions
        query = select(t).where(t.c.subject == subject, t.c.subject_id == str(subject_id)).order_by(t.c.id)
        with self._engine.connect() as c:
            return every(c, Transition, query)

    def _set(
        self,
        c: Connection,
        subject: str,
        table: Table,
        key: str | int,
        old: StrEnum,
        new: StrEnum,
        cause: str,
        values: Mapping[str, object],
    ) -> None:
        require_legal(subject, str(key), old, new)
        primary = next(iter(table.primary_key.columns))
        is_so = (primary == key, table.c.state == old)
        if not c.execute(table.update().where(*is_so).values(state=new, updated_at=self.now(), **values)).rowcount:
            raise IllegalTransitionError(
                f"{subject} {key}: is no longer {old.value}, and may not become {new.value}"
            )
        self._log(c, subject, str(key), old, new, cause)

    def _log(self, c: Connection, subject: str, key: str, old: str, new: str, cause: str) -> None:
        row = Transition(subject, key, str(old), str(new), self.now(), cause, self._actor)
        c.execute(insert_into(schema.transitions).values(**asdict(row)))

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection


def put(c: Connection, table: Table, key: str, row: Mapping[str, object]) -> None:
    """Write a row over the one with the same key, or as a new one."""
    found = c.execute(table.update().where(table.c[key] == row[key]).values(**row)).rowcount
    if not found:
        c.execute(insert_into(table).values(**row))


def one(c: Connection, kind: type[R], query: Any) -> R | None:
    """The first row that a query finds, as its dataclass; None where it finds none."""
    row = c.execute(query).mappings().first()
    return None if row is None else _read(kind, row)


def only(c: Connection, kind: type[R], query: Any) -> R:
    """The one row that a query has to find, as its dataclass."""
    return _read(kind, c.execute(query).mappings().one())


def every(c: Connection, kind: type[R], query: Any) -> list[R]:
    """All rows that a query finds, as their dataclass."""
    return [_read(kind, row) for row in c.execute(query).mappings()]


def _read(kind: type[R], row: RowMapping) -> R:
    values = {f.name: row[f.name] for f in fields(kind)}  # type: ignore[arg-type]  # R is always a dataclass
    if kind in _ENUMS:
        values["state"] = _ENUMS[kind](values["state"])
    return kind(**values)
