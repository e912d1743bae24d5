"""An empty ledger for each test: an SQLite file, or a database of its own in the test run's PostgreSQL.

`SAGITTAL_TEST_LEDGER=postgresql` (read in conftest.py) chooses the second. A database is a copy of one that has all
tables already, which costs some hundredths of a second.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import sql
from sqlalchemy.engine import make_url

from service.config import Site
from service.ledger import open_ledger
from tests.postgresql import PostgreSql

_TEMPLATE = "sagittal_template"
NOTICED_SECONDS = 5.0


@dataclass
class _Databases:
    """Where new ledgers are made: in files, until a server is set."""

    server: PostgreSql | None = None
    made: dict[Path, str] = field(default_factory=dict)
    """Folder to the name of its database, in the order in which they were made."""
    number: int = 0


_databases = _Databases()


def use_postgresql(server: PostgreSql | None) -> None:
    """Make every ledger from now on in this server; None: in files."""
    _databases.server = server
    if server is not None:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        open_ledger(server.url(_TEMPLATE), actor="test").close()


def on_postgresql() -> bool:
    """Whether ledgers are made on PostgreSQL, for a test that starts a server of its own."""
    return _databases.server is not None


def made_so_far() -> int:
    """How many databases there are to be dropped."""
    return len(_databases.made)


def drop_since(number: int) -> list[str]:
    """Drop those that were made after the first so many; what connections did last that nobody had closed."""
    assert _databases.server is not None
    left: list[str] = []
    while len(_databases.made) > number:
        name = _databases.made.popitem()[1]
        left += _left_open(_databases.server, name)
        _drop(_databases.server, name)
    return left


def _left_open(server: PostgreSql, name: str) -> list[str]:
    """What is connected to a database and stays so; the server takes a moment to see that a process has ended."""
    until = time.monotonic() + NOTICED_SECONDS
    while (found := server.connected(name)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _drop(server: PostgreSql, name: str) -> None:
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def ledger_in(folder: Path) -> str:
    """SQLAlchemy URL of the ledger that belongs to a folder, new where nobody asked for it before."""
    if _databases.server is None:
        return f"sqlite:///{folder}/ledger.sqlite"
    if folder not in _databases.made:
        _databases.number += 1
        name = f"ledger_{_databases.number}"
        both = sql.Identifier(name), sql.Identifier(_TEMPLATE)
        _databases.server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*both))
        _databases.made[folder] = name
    return _databases.server.url(_databases.made[folder])


def with_ledger(site: Site) -> Site:
    """A site with the ledger that belongs to its data folder; in a file it is the one that it has by itself."""
    storage = site.storage.model_copy(update={"ledger": ledger_in(site.folder)})
    return site.model_copy(update={"storage": storage})


def naming_ledger(site_toml: str, folder: Path) -> str:
    """The text of a site.toml, as `sagittal init` writes it, with the ledger that belongs to its data folder."""
    before = "# ledger = "
    lines = site_toml.split("\n")
    places = [place for place, line in enumerate(lines) if line.startswith(before)]
    assert len(places) == 1, "this site.toml has no line for the ledger"
    lines[places[0]] = f'ledger = "{ledger_in(folder)}"'
    return "\n".join(lines)


def destroy(url: str) -> None:
    """Leave nothing of a ledger that could be read."""
    name = make_url(url).database or ""
    if _databases.server is not None:
        _drop(_databases.server, name)
        return
    for suffix in ("-wal", "-shm"):
        Path(name + suffix).unlink(missing_ok=True)
    Path(name).write_bytes(b"this is no database" * 100)
