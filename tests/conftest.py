"""What several tests need: a real Redis and a real PostgreSQL on loopback."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.ledger import Ledger, open_ledger
from service.modelstore import ModelStore
from service.redis_server import redis_binary
from tests.clock import Clock
from tests.ledgers import drop_since, ledger_in, made_so_far, use_postgresql
from tests.postgresql import PostgreSql, missing, postgresql
from workers.install.phantom import phantom_store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server that this test run has for itself."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        _wait(url)
        yield url
        server.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 20
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except RedisConnectionError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.02)
            else:
                return


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger, by that clock."""
    ledger = open_ledger(ledger_in(tmp_path), actor="test", now=clock)
    yield ledger
    ledger.close()


@pytest.fixture
def empty_redis(redis_url: str) -> str:
    """The same, with nothing in it."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSql]:
    """A real PostgreSQL that this test run has for itself."""
    if lacks := missing():
        pytest.skip(f"not installed: {lacks}")
    with tempfile.TemporaryDirectory() as name, postgresql(Path(name), free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: PostgreSql) -> str:
    """Its first database."""
    return postgresql_server.url()


@pytest.fixture(scope="session", autouse=True)
def _where_ledgers_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """On PostgreSQL where SAGITTAL_TEST_LEDGER says so; else in SQLite files."""
    if not _on_postgresql():
        yield
        return
    assert not missing(), f"SAGITTAL_TEST_LEDGER asks for PostgreSQL, and there is no {missing()}"
    use_postgresql(request.getfixturevalue("postgresql_server"))
    yield
    use_postgresql(None)


@pytest.fixture(autouse=True)
def _ledgers_of_one_test() -> Iterator[None]:
    """Those that a test made on PostgreSQL are dropped after it, when nobody is connected to them any more.

    What its module made before stays.
    """
    before = made_so_far()
    yield
    if made_so_far() > before:
        left_open = drop_since(before)
        assert left_open == [], "connections to its ledger that it did not close"


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """SQLAlchemy URL of a ledger that nobody has used."""
    return ledger_in(tmp_path)


def _on_postgresql() -> bool:
    named = os.environ.get("SAGITTAL_TEST_LEDGER", "sqlite")
    assert named in ("sqlite", "postgresql"), f"SAGITTAL_TEST_LEDGER={named}: it is sqlite or postgresql"
    return named == "postgresql"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose ledger may be on PostgreSQL."""
    for item in items:
        if isinstance(item, pytest.Function) and ("ledger_url" in item.fixturenames or _makes_a_ledger(item)):
            item.add_marker(pytest.mark.ledger)


def _makes_a_ledger(item: pytest.Function) -> bool:
    """Whether a test, or a fixture of it but those of this file, comes to what makes ledgers."""
    fixtures = [each.func for found in item._fixtureinfo.name2fixturedefs.values() for each in found]
    seen: set[FunctionType] = set()
    for each in _functions_of(item.function, *fixtures):
        if each.__module__ != __name__:
            _follow(each, seen)
    return any(each.__module__ == "tests.ledgers" for each in seen)


def _follow(function: FunctionType, seen: set[FunctionType]) -> None:
    """Add a function and every other of the tests' own that it names, and so on."""
    if function in seen:
        return
    seen.add(function)
    for name in _names(function.__code__):
        for each in _functions_of(function.__globals__.get(name)):
            if each.__module__.startswith("tests."):
                _follow(each, seen)


def _names(code: CodeType) -> Iterator[str]:
    """Every name in a function's code, and in that of the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _functions_of(*values: object) -> Iterator[FunctionType]:
    """The functions among some values, with what they wrap, and the methods of classes."""
    for value in values:
        if isinstance(value, FunctionType):
            yield value
            given = getattr(value, "hypothesis", None)  # Hypothesis keeps there what it calls with its examples
            yield from _functions_of(getattr(value, "__wrapped__", None), getattr(given, "inner_test", None))
        elif isinstance(value, type) and value.__module__.startswith("tests."):
            yield from _functions_of(*vars(value).values())


@pytest.fixture(scope="session")
def phantom_models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """The shipped phantom models, installed once for the whole test run."""
    return phantom_store(tmp_path_factory.mktemp("phantom-models"))


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
