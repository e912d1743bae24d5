"""`python -m benchmarks.probes`: what was seen to break other receivers, done to Sagittal and to Orthanc.

Both run beside each other as a hospital runs them, forward to an archive of their own and are sent the same by the
same sender. `--only` takes names of probes: abort, kill, down, full, compressed, names.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.probes import disk
from benchmarks.probes.orthanc import orthanc_server
from benchmarks.probes.pacs import Pacs
from benchmarks.probes.probes import PROBES, Outcome
from benchmarks.probes.sagittal import sagittal
from benchmarks.probes.server import Pace, Server
from tests.orthanc.server import missing

COLUMNS = ("probe", "server", "told", "acknowledged", "on disk", "sent on", "lost", "half as whole", "can be read")


def row(server: str, one: Outcome) -> str:
    """An outcome as a line of the table."""
    sizes = [f"{one.forwarded.count(size)} × {size}" for size in dict.fromkeys(one.forwarded)]
    says = "; ".join((one.says, *one.wrong, *(["sent on twice"] if one.doubled else [])))
    cells = (
        one.probe, server, one.told, one.acknowledged, one.kept, ", ".join(sizes) or "nothing", one.lost,
        "**yes**" if one.half else "no", says,
    )  # fmt: skip
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def main() -> None:
    """Run the probes one after the other, each on both at once, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probes", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PROBES, default=list(PROBES), help="these probes")
    parser.add_argument("--down-seconds", type=float, default=Pace().down, help="how long the archive is down")
    told = parser.parse_args()
    pace = Pace(down=told.down_seconds)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z, {platform.platform()}, {_versions()}")
    print(f"a series without a count is whole after {pace.quiet:g} s without news on both", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="probes-")))
        servers = _started(stack, folder, pace)
        print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for name in told.only:
            _run(name, servers, folder)


def _started(stack: ExitStack, folder: Path, pace: Pace) -> list[Server]:
    """The servers that this machine can run, each with an archive of its own."""
    makers: dict[str, Callable[[Path, Pacs, Pace], AbstractContextManager[Server]]]
    makers = {"sagittal": sagittal, "orthanc": orthanc_server}
    if missing():
        print(f"Orthanc is left out: {missing()} not found")
        del makers["orthanc"]
    servers: list[Server] = []
    for name, maker in makers.items():
        pacs = Pacs(folder / f"pacs-{name}")
        pacs.up()
        stack.callback(pacs.down)
        servers.append(stack.enter_context(maker(folder / name, pacs, pace)))
    return servers


def _run(name: str, servers: list[Server], folder: Path) -> None:
    if name == "full" and disk.why_not():
        print(f"(disk full is left out: {disk.why_not()})", flush=True)
        return
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(PROBES[name], server, folder / name / server.name) for server in servers]
        outcomes = [each.result() for each in running]
    for both in zip(*outcomes, strict=True):
        for server, one in zip(servers, both, strict=True):
            print(row(server.name, one), flush=True)
    print(f"    {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("sagittal", "pydicom", "pynetdicom"))
    if missing():
        return packages
    said = subprocess.run(["Orthanc", "--version"], capture_output=True, text=True, check=False).stdout.split()
    return f"{packages}, Orthanc {said[1]}"


if __name__ == "__main__":
    main()
