"""How fast MR instances are received: this project's Storage SCP beside dcmtk's storescp and Orthanc, in one run.

    python -m benchmarks.receive [--instances 300] [--runs 5]

Each receiver is a process of its own on loopback with the settings it comes with; the sender is dcmtk's `storescu`,
one process for each association. Everything made with dcmtk has TCP_NODELAY=1 in its environment: Debian's build
waits 40 ms on each message without. Each run begins with an empty folder, and every receiver must hold every
instance in the end. Nothing is deleted before all have run: ext4 passes one by one over inodes that were freed
within minutes, which slows every receiver down that writes new files. Rates are instances per second of wall time,
starts of the senders included.

What each does before it answers Success differs: this project has flushed the bytes and the name to the disk;
storescp has handed the file to the operating system; Orthanc has flushed the file (SyncStorageArea) and put the
main attributes into SQLite.
"""

import argparse
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from benchmarks.table import Compare, Measured, Missing, Row
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from tests.orthanc.server import free_ports, loopback_only, missing, orthanc

ROOT = Path(__file__).resolve().parent.parent
SIDE = 256
ASSOCIATIONS = (1, 4)
INSTANCES = 300
_SIZE = f"{2 * SIDE * SIDE / 1000:.0f} kB"
OURS, YARDSTICK = "Sagittal", "dcmtk storescp"
UNFLUSHED = "Sagittal, nothing flushed"
"""What the disk's flushes cost; no such receiver is to be had."""
FLUSHED = "storescp, flushed"
"""What a receiver in C takes that keeps the same promise; no such one is to be had either."""
COMPARED = {
    UNFLUSHED: "this receiver with nothing flushed",
    FLUSHED: "storescp made to flush bytes and name of each file (flush_on_close.c)",
}
GOALS = {(YARDSTICK, 1): (1, 0.9), (YARDSTICK, 4): (2, 1.0), ("Orthanc", 1): (3, 2.5), ("Orthanc", 4): (3, 2.5)}
"""Peer and associations to the number of the row and its goal."""

Receiver = Callable[[Path], AbstractContextManager[tuple[int, int]]]
"""A folder in; (port, process id) of a running receiver out."""


@dataclass
class Seen:
    """Of one receiver with so many associations, run by run."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """For each instance."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--unflushed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        if arguments.unflushed:
            os.fsync = os.fdatasync = lambda _descriptor: None  # type: ignore[assignment]
        _serve(arguments.serve, arguments.port)
        return
    if lacks := _lacks():
        sys.exit(lacks)
    if missing():
        print(f"Orthanc is left out: {missing()} not found")
    found = measure(arguments.instances, arguments.runs)
    _print(found, arguments.instances, arguments.runs)


def rows(full: bool) -> list[Measured]:
    """Rows 1 to 3 of the table."""
    if lacks := _lacks():
        return [Missing(number, f"receive {INSTANCES} MR instances", lacks) for number in (1, 2, 3)]
    found = measure(INSTANCES, 11 if full else 5)
    compared = [_compared_row(name, count, found) for name in (UNFLUSHED, FLUSHED) for count in ASSOCIATIONS]
    return [*(_row(peer, count, found) for peer, count in GOALS), *compared]


def measure(instances: int, runs: int) -> dict[tuple[str, int], Seen]:
    """All receivers with every number of associations, in turns: what else the machine does falls on all alike."""
    os.environ["TCP_NODELAY"] = "1"  # for every process that this one starts
    receivers: dict[str, Receiver] = {OURS: _sagittal, YARDSTICK: _storescp, UNFLUSHED: _unflushed}
    if not missing():
        receivers["Orthanc"] = _orthanc
    found: dict[tuple[str, int], Seen] = {}
    with tempfile.TemporaryDirectory(prefix="receive-") as name:
        folder = Path(name)
        if preload := _flush_on_close(folder):
            receivers[FLUSHED] = partial(_storescp, preload=preload)
        senders = {count: _write_series(folder, instances, count) for count in ASSOCIATIONS}
        for run in range(runs):
            for receiver, start in receivers.items():
                for count, folders in senders.items():
                    home = folder / f"{run}-{count}-{receiver.replace(' ', '-')}"
                    rate, cpu_seconds = _one_run(start, home, folders, instances)
                    seen = found.setdefault((receiver, count), Seen())
                    seen.rates.append(rate)
                    seen.cpu_ms.append(1000 * cpu_seconds / instances)
    return found


def _lacks() -> str:
    lacks = [name for name in ("storescu", "storescp") if shutil.which(name) is None]
    return f"Debian's dcmtk is not installed: no {', '.join(lacks)}" if lacks else ""


def _row(peer: str, count: int, found: dict[tuple[str, int], Seen]) -> Measured:
    number, goal = GOALS[peer, count]
    associations = f"{count} association{'s' * (count > 1)}"
    work = f"receive {INSTANCES} MR instances of {_SIZE}, durable, {associations}"
    if (peer, count) not in found:
        return Missing(number, work, f"no {peer}: {missing()} not found")
    ours, theirs = found[OURS, count], found[peer, count]
    cpu = f"ours {statistics.median(ours.cpu_ms):.2f}, {peer} {statistics.median(theirs.cpu_ms):.2f}"
    against = f"{peer} --fork" if peer == YARDSTICK else f"{peer}, as it comes"
    limit = f"{associations}: CPU ms for each instance: {cpu}."
    rates = tuple(ours.rates), tuple(theirs.rates)
    return Row(number, work, "instances/s", rates[0], against, rates[1], Compare.RATE, goal, limit)


def _compared_row(name: str, count: int, found: dict[tuple[str, int], Seen]) -> Measured:
    """For information, beside row 1 or 2."""
    number, _ = GOALS[YARDSTICK, count]
    work = f"for comparison, {count} association{'s' * (count > 1)}: {COMPARED[name]}"
    if (name, count) not in found:
        return Missing(number, work, "no C compiler (cc) found")
    theirs = tuple(found[YARDSTICK, count].rates)
    rates = tuple(found[name, count].rates)
    return Row(number, work, "instances/s", rates, f"{YARDSTICK} --fork", theirs, Compare.RATE)


def _flush_on_close(folder: Path) -> Path | None:
    """A library that makes storescp flush what it wrote; None where there is no C compiler."""
    if shutil.which("cc") is None:
        return None
    source, library = Path(__file__).with_name("flush_on_close.c"), folder / "flush_on_close.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


def _one_run(receiver: Receiver, home: Path, folders: list[Path], instances: int) -> tuple[float, float]:
    """(instances per second, CPU seconds of the receiver); RuntimeError if any instance is lost."""
    home.mkdir()
    with receiver(home) as (port, process_id):
        before, began = _cpu_seconds(process_id), time.perf_counter()
        senders = [_storescu(port, folder) for folder in folders]
        failed = [sender.args for sender in senders if sender.wait() != 0]
        seconds = time.perf_counter() - began
        cpu_seconds = _cpu_seconds(process_id) - before
    held = sum(path.stat().st_size > 2 * SIDE * SIDE for path in home.rglob("*") if path.is_file())
    if failed or held < instances:
        raise RuntimeError(f"{held} of {instances} instances received; failed: {failed}")
    return instances / seconds, cpu_seconds


def _storescu(port: int, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["storescu", "-aec", "RECEIVER", "+sd", "127.0.0.1", str(port), str(folder)],
        stdout=subprocess.DEVNULL,
    )


def _cpu_seconds(process_id: int) -> float:
    """Of a process, its children, and those of them that ended and were waited for."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # another process that ends just now
            fields = stat.read_text().rpartition(")")[2].split()
            if process_id in (int(stat.parent.name), int(fields[1])):
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _serve(folder: Path, port: int) -> None:
    settings = ScpSettings("RECEIVER", "127.0.0.1", port)
    scp = StorageScp(settings, folder, lambda _: None, lambda _: None, lambda _: None)
    scp.start()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    scp.stop()


def _sagittal(folder: Path, *options: str) -> AbstractContextManager[tuple[int, int]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.receive", "--serve", str(folder), "--port", str(port), *options]
    return _process(command, port, os.environ | {"PYTHONPATH": str(ROOT)})


def _unflushed(folder: Path) -> AbstractContextManager[tuple[int, int]]:
    return _sagittal(folder, "--unflushed")


def _storescp(folder: Path, preload: Path | None = None) -> AbstractContextManager[tuple[int, int]]:
    (port,) = free_ports(1)
    environment = loopback_only(folder) | ({"LD_PRELOAD": str(preload)} if preload else {})
    # --fork: alone it would take one association after the other
    return _process(["storescp", "--fork", "-od", str(folder), str(port)], port, environment)


@contextmanager
def _orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    with orthanc(folder) as server:
        yield server.dicom_port, server.process_id


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield port, process.pid
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _write_series(folder: Path, instances: int, parts: int) -> list[Path]:
    """One MR series of 256 × 256 noise in `parts` folders, one for each association."""
    series_uid, study_uid = generate_uid(), generate_uid()
    noise = np.random.default_rng(0)
    folders = [folder / f"series-{parts}-{part}" for part in range(parts)]
    for one in folders:
        one.mkdir()
    for number in range(instances):
        data_set = _instance(number, series_uid, study_uid)
        data_set.PixelData = noise.integers(0, 4096, (SIDE, SIDE), np.uint16).tobytes()
        data_set.save_as(folders[number % parts] / f"{number:04}.dcm", enforce_file_format=True)
    return folders


def _instance(number: int, series_uid: str, study_uid: str) -> Dataset:
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID = MRImageStorage
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = study_uid, series_uid
    data_set.PatientID, data_set.PatientName, data_set.Modality = "BENCHMARK", "Benchmark^Receive", "MR"
    data_set.InstanceNumber = number + 1
    data_set.ImagePositionPatient, data_set.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
    data_set.PixelSpacing, data_set.SliceThickness = [1, 1], 3
    data_set.Rows = data_set.Columns = SIDE
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    data_set.PixelRepresentation = 0
    return data_set


def _print(found: dict[tuple[str, int], Seen], instances: int, runs: int) -> None:
    print(f"{instances} MR instances of {_SIZE} over loopback, {runs} runs in turns")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.platform()}")
    print(f"\n{'':26}{'associations':>13}{'min':>8}{'median':>8}{'max':>8}{'of storescp':>13}{'CPU ms each':>13}")
    for (name, associations), seen in sorted(found.items(), key=lambda one: one[0][1]):
        median = statistics.median(seen.rates)
        ratio = median / statistics.median(found[YARDSTICK, associations].rates)
        print(
            f"{name:26}{associations:13}{min(seen.rates):8.0f}{median:8.0f}{max(seen.rates):8.0f}"
            f"{ratio:12.2f}×{statistics.median(seen.cpu_ms):13.2f}"
        )


if __name__ == "__main__":
    main()
