"""Processes that are started, killed and started again, as systemd or a container's restart policy does it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RESTART_SECONDS = 1.0
STOP_SECONDS = 20.0


@dataclass
class Kept:
    """One process that is wanted."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    again_at: float = 0.0
    starts: int = 0
    codes: list[int] = field(default_factory=list)
    """How it ended each time that nobody had asked it to."""

    def keep(self) -> None:
        """Start it if it does not run and its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            self.codes.append(self.process.returncode)
            self.process, self.again_at = None, max(self.again_at, time.monotonic() + RESTART_SECONDS)
        if self.process is None and time.monotonic() >= self.again_at:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, env={**os.environ, **self.environment}, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            self.starts += 1

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Keeper:
    """Keeps processes running until it is closed."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def add(self, name: str, command: Sequence[str], log: Path, **environment: str) -> None:
        """Have one more process."""
        with self._lock:
            self.kept[name] = Kept(name, command, environment, log)
            self.kept[name].keep()

    def start(self) -> None:
        """Restart what dies, from now on."""
        self._thread.start()

    def kill(self, name: str, down_seconds: float = 0.0) -> None:
        """SIGKILL; it stays down for so long."""
        with self._lock:
            self.kept[name].again_at = time.monotonic() + down_seconds
            self.kept[name].signal(signal.SIGKILL)

    def freeze(self, name: str) -> int:
        """SIGSTOP; the process that it was."""
        with self._lock:
            process = self.kept[name].process
            self.kept[name].signal(signal.SIGSTOP)
            return process.pid if process else 0

    def thaw(self, name: str, pid: int) -> None:
        """SIGCONT, if it is still that process."""
        with self._lock:
            process = self.kept[name].process
            if process is not None and process.pid == pid:
                self.kept[name].signal(signal.SIGCONT)

    def close(self) -> None:
        """End them all."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        running = [kept.process for kept in self.kept.values() if kept.process]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            with self._lock:
                for kept in self.kept.values():
                    kept.keep()
