"""A real PostgreSQL server on loopback that one test run, or one test, has for itself.

It does not wait for its disk, unless it is told to: what was committed survives the process, and not a power cut,
which no test makes.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

START_SECONDS = 60.0


def missing() -> str:
    """What is not installed; PostgreSQL refuses to run as root, so that root needs a way to be another."""
    if not _programs():
        return "PostgreSQL's server"
    return "runuser" if _as_root() and not shutil.which("runuser") else ""


def _as_root() -> bool:
    return os.geteuid() == 0


def _programs() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass
class PostgreSql:
    """A server with its data in a folder; it may be stopped and started again."""

    folder: Path
    port: int
    flushes: bool = False
    """Whether what it commits is on disk before it says so, as in a hospital."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://sagittal@127.0.0.1:{self.port}/{database}"

    @property
    def socket_url(self) -> str:
        """SQLAlchemy URL of its first database for whoever has its files, as another network namespace of here."""
        return f"postgresql+psycopg://sagittal@/postgres?host={self.folder}&port={self.port}"

    def initialise(self) -> None:
        """Make the data folder."""
        if _as_root():
            shutil.chown(self.folder, "postgres")
        command = ["initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "sagittal", "--no-sync"]
        subprocess.run(self._command(*command), check=True, capture_output=True, cwd=self.folder)

    def start(self) -> None:
        """Start the server, unless it runs; returns when it answers."""
        if self._process is not None:
            return
        settings = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        settings += [] if self.flushes else ["-F"]
        command = self._command("postgres", "-D", f"{self.folder}/data", *settings)
        self._process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends every connection at once, SIGQUIT lets it crash."""
        if self._process is None:
            return
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), number)  # the server itself, and not the program that changes the user
        self._process.wait(START_SECONDS)
        self._process = None

    def connected(self, database: str) -> list[str]:
        """What each connection to a database did last."""
        query = "SELECT query FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        with psycopg.connect(self._dsn) as connection:
            return [str(last) for (last,) in connection.execute(query, (database,))]

    def execute(self, statement: sql.SQL | sql.Composed) -> None:
        """Run one statement outside of a transaction."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            psycopg.connect(self._dsn).close()
        except psycopg.OperationalError:  # it listens, and is still starting up
            return False
        return True

    @property
    def _dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=sagittal dbname=postgres"

    def _command(self, program: str, *arguments: str) -> list[str]:
        as_user = ["runuser", "-u", "postgres", "--"] if _as_root() else []
        return [*as_user, str(_programs()[-1] / program), *arguments]


@contextmanager
def postgresql(folder: Path, port: int, *, flushes: bool = False) -> Iterator[PostgreSql]:
    """Run a server with its data in a new folder, that every user may reach."""
    server = PostgreSql(folder, port, flushes)
    server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop()
