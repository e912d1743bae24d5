"""A command as processes of its own: what it says, how long it takes, and the most memory that it has.

Peak memory is the proportional set size of a process with its children, sampled while it works.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import psutil

_SAMPLED_SECONDS = 0.25
"""To ask takes a tenth of that where a process has GB."""


class Peak:
    """The largest proportional set size that a process tree had."""

    def __init__(self) -> None:
        self.mib = 0.0

    @contextmanager
    def watched(self, pid: int) -> Iterator[None]:
        """Sample within."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(_SAMPLED_SECONDS):
                self.mib = max(self.mib, _tree_mib(pid))

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def measure(command: Sequence[str]) -> tuple[str, float, float]:
    """Run a command; gives its standard output, its seconds and its peak memory in MiB."""
    peak, began = Peak(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, peak.watched(process.pid):
        out, err = process.communicate()
        seconds = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{err[-2000:]}")
    return out, seconds, peak.mib


class Warm:
    """A process that wrote a line when it was ready, and does its work once for each line that it is sent."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process, self._errors, self._peak = process, errors, Peak()
        self.ready = self._line()
        """What it said when it was ready."""

    @property
    def mib(self) -> float:
        """The peak of its memory while it worked."""
        return self._peak.mib

    def ask(self) -> str:
        """Have the work done once; its answer, a line. Raises RuntimeError where the process ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        with self._peak.watched(self._process.pid):
            return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self._process.args}\n{self._errors.read()[-2000:]}")
        return line


@contextmanager
def warm(command: Sequence[str]) -> Iterator[Warm]:
    """A command that stays, until it is let go: its input ends then."""
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process,
    ):
        yield Warm(process, errors)


def _tree_mib(pid: int) -> float:
    total = 0
    try:
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0.0
    return total / 2**20
