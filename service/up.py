"""Everything of one site on one machine, kept running: receiver, workers, web, and Redis where none is given."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.config import Site
from service.observe import event
from service.redis_server import RedisChild

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0
LEEWAY_SECONDS = 10.0
"""Beyond what the site gives its workers to stop, until a part that still runs is killed."""


@dataclass
class _Part:
    """One process of the site, started again when it dies."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    pause_seconds: float = 0.5
    started_at: float = 0.0
    start_again_at: float = 0.0

    def keep(self, now: float) -> None:
        """Start it if it does not run and its pause is over."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            ran = now - self.started_at
            self.pause_seconds = 0.5 if ran > 60 else min(self.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            self.start_again_at = now + self.pause_seconds
            event(
                log, logging.ERROR, "process died", part=self.name, code=self.process.returncode,
                again_in_seconds=self.pause_seconds,
            )  # fmt: skip
            self.process = None
        if now >= self.start_again_at:
            self.process = subprocess.Popen(self.command)
            self.started_at = now


@dataclass
class Supervisor:
    """Keeps the parts of a site running until told to stop."""

    site: Site
    site_file: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Start everything, keep it alive, and on `stop` end it in order."""
        redis = None if self.site.storage.redis else RedisChild(self.site)
        redis_process = redis.start() if redis else None
        parts = self._parts()
        try:
            while not self.stop.wait(0.2):
                if redis and redis_process and redis_process.poll() is not None:
                    event(log, logging.ERROR, "Redis died: a new one starts empty, the ledger fills it")
                    redis_process = redis.start()
                for part in parts:
                    part.keep(time.monotonic())
        finally:
            seconds = self.site.workers.stop_seconds + LEEWAY_SECONDS
            _end([part.process for part in parts if part.process], seconds)
            if redis and redis_process:
                _end([redis_process], seconds)
                redis.forget()

    def _parts(self) -> list[_Part]:
        site = ["--site", str(self.site_file)]
        sagittal = [sys.executable, "-m", "service"]
        parts = [_Part("receiver", [*sagittal, "receiver", *site]), _Part("web", [*sagittal, "web", *site])]
        for number in range(1, self.site.workers.inference_processes + 1):
            name = f"inference-{number}"
            parts.append(_Part(name, [*sagittal, "worker", *site, "--role", "inference", "--name", name]))
        parts.append(_Part("results", [*sagittal, "worker", *site, "--role", "results", "--name", "results"]))
        return parts


def run(site: Site, site_file: Path) -> None:
    """Run the site until SIGTERM or SIGINT."""
    supervisor = Supervisor(site, site_file)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop.set())
    supervisor.run()


def _end(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            event(log, logging.WARNING, "killed: it did not stop in time", pid=process.pid)
            process.kill()
            process.wait()
