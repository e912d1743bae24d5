"""The two machines of a run: the site's, with a network and a small file system of its own, and everybody else's.

Where a namespace cannot be made (it needs root), all is on loopback and nothing can be cut or filled.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INCOMING_BYTES = 96 << 20


@dataclass(frozen=True)
class Machines:
    """Addresses of the two, and how a command comes to run on the site's."""

    outside: str
    """Address of the senders and the archive, as the site sees them."""
    inside: str
    """Address of the site."""
    link: str = ""
    """The outer end of the cable; empty where there is none to cut."""
    holder: int = 0
    """The process whose namespaces are the site's machine."""

    def on_site(self, command: Sequence[str]) -> list[str]:
        """The command, run on the site's machine."""
        enter = ["nsenter", "--target", str(self.holder), "--net", "--mount", "--"] if self.holder else []
        return [*enter, *command]

    def seen(self, path: Path) -> Path:
        """A path of the site's machine as it is reached from here."""
        return Path(f"/proc/{self.holder}/root{path}") if self.holder else path

    def plug(self, state: str) -> None:
        """Cut the network ("down") or mend it ("up"): packets vanish, nobody is told."""
        _run("ip", "link", "set", self.link, state)


def why_not() -> str:
    """Why this machine cannot have another in it; empty where it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if lacking := [program for program in ("unshare", "nsenter", "ip", "mount") if not shutil.which(program)]:
        return f"not installed: {', '.join(lacking)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "link", "add", "type", "veth"], capture_output=True, text=True
    )
    return "" if tried.returncode == 0 else f"no network namespace: {tried.stderr.strip()}"


@contextmanager
def machines(incoming: Path) -> Iterator[Machines]:
    """Make the site's machine, with a file system of `INCOMING_BYTES` at `incoming`; loopback where that fails."""
    if why_not():
        yield Machines("127.0.0.1", "127.0.0.1")
        return
    incoming.mkdir(parents=True)
    command = ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity"]
    with subprocess.Popen(command, start_new_session=True) as holder:
        try:
            yield _furnished(holder.pid, incoming)
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            subprocess.run(["ip", "link", "del", f"sgt{holder.pid}a"], capture_output=True)
            subprocess.run(["ip", "route", "del", "unreachable", f"{_third(holder.pid)}.0/30"], capture_output=True)


def _furnished(holder: int, incoming: Path) -> Machines:
    while (Path(f"/proc/{holder}/ns/net").stat().st_ino) == Path("/proc/self/ns/net").stat().st_ino:
        time.sleep(0.01)
    while (Path(f"/proc/{holder}/ns/mnt").stat().st_ino) == Path("/proc/self/ns/mnt").stat().st_ino:
        time.sleep(0.01)
    time.sleep(0.1)  # until its mounts are its own alone
    third = _third(holder)
    outer, inner = f"sgt{holder}a", f"sgt{holder}b"
    _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(holder))
    _run("ip", "addr", "add", f"{third}.1/30", "dev", outer)
    _run("ip", "link", "set", outer, "up")
    # Where the cable is out nothing may find another way, as by the default route.
    _run("ip", "route", "add", "unreachable", f"{third}.0/30", "metric", "4000")
    made = Machines(f"{third}.1", f"{third}.2", outer, holder)
    for command in (f"link set lo up|addr add {third}.2/30 dev {inner}|link set {inner} up").split("|"):
        _run(*made.on_site(["ip", *command.split()]))
    _run(*made.on_site(["mount", "-t", "tmpfs", "-o", f"size={INCOMING_BYTES}", "sagittal-faults", str(incoming)]))
    return made


def _third(holder: int) -> str:
    """The first three bytes of the addresses between the two."""
    return f"10.{231 + (holder >> 8) % 8}.{holder % 256}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
