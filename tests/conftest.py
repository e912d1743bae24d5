"""What several tests need: a real Redis and a real PostgreSQL on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.modelstore import ModelStore
from service.redis_server import redis_binary
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
def empty_redis(redis_url: str) -> str:
    """The same, with nothing in it."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL that this test run has for itself; its server refuses to run as root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if not found or (as_user and not shutil.which("runuser")):
        pytest.skip("PostgreSQL's server is not installed")
    with tempfile.TemporaryDirectory() as name:
        if as_user:
            shutil.chown(name, "postgres")
        data, port = f"{name}/data", free_port()
        subprocess.run([*as_user, found[-1] / "initdb", "-D", data, "-A", "trust", "-U", "sagittal"], check=True,
                       capture_output=True, cwd=name)  # fmt: skip
        settings = ["-h", "127.0.0.1", "-p", str(port), "-k", name, "-F"]
        command = [*as_user, found[-1] / "postgres", "-D", data, *settings]
        with subprocess.Popen(command, cwd=name, stderr=subprocess.DEVNULL) as server:
            yield f"postgresql+psycopg://sagittal@127.0.0.1:{_listening(port)}/postgres"
            server.terminate()


def _listening(port: int) -> int:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return port
        assert time.monotonic() < deadline, "nothing listens"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def phantom_models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """The shipped phantom models, installed once for the whole test run."""
    return phantom_store(tmp_path_factory.mktemp("phantom-models"))


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
