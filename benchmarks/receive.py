"""How fast MR instances are received: this project's Storage SCP beside dcmtk's storescp and Orthanc, in one run.

    python benchmarks/receive.py [--instances 300] [--runs 5]

Each receiver is a process of its own on loopback with the settings it comes with; the sender is dcmtk's `storescu`,
one process for each association. Everything made with dcmtk has TCP_NODELAY=1 in its environment: Debian's build
waits 40 ms on each message without. Each run begins with an empty folder, and every receiver must hold every
instance in the end. Rates are instances per second of wall time, starts of the senders included.

What each does before it answers Success differs: this project has flushed the file and its folder to the disk;
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
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from tests.orthanc.server import free_ports, loopback_only, missing, orthanc

SIDE = 256
ASSOCIATIONS = (1, 4)
YARDSTICK = "dcmtk storescp"

Receiver = Callable[[Path], AbstractContextManager[tuple[int, int]]]
"""A folder in; (port, process id) of a running receiver out."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(arguments.serve, arguments.port)
        return
    if lacks := [name for name in ("storescu", "storescp") if shutil.which(name) is None]:
        sys.exit(f"needs dcmtk: {', '.join(lacks)} not found")
    os.environ["TCP_NODELAY"] = "1"  # for every process that this one starts
    with tempfile.TemporaryDirectory(prefix="receive-") as folder:
        _measure(Path(folder), arguments.instances, arguments.runs)


def _measure(folder: Path, instances: int, runs: int) -> None:
    receivers: dict[str, Receiver] = {"Sagittal": _sagittal, YARDSTICK: _storescp}
    if missing():
        print(f"Orthanc is left out: {missing()} not found")
    else:
        receivers["Orthanc"] = _orthanc
    senders = {count: _write_series(folder, instances, count) for count in ASSOCIATIONS}
    rates: dict[tuple[str, int], list[float]] = {}
    busy: dict[tuple[str, int], list[float]] = {}
    for run in range(runs):  # in turns, so that what else the machine does falls on all alike
        for name, receiver in receivers.items():
            for associations, folders in senders.items():
                home = folder / f"{run}-{associations}-{name.replace(' ', '-')}"
                rate, cpu_seconds = _one_run(receiver, home, folders, instances)
                rates.setdefault((name, associations), []).append(rate)
                busy.setdefault((name, associations), []).append(1000 * cpu_seconds / instances)
    _print(receivers, rates, busy, instances, runs)


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
    shutil.rmtree(home)
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


def _sagittal(folder: Path) -> AbstractContextManager[tuple[int, int]]:
    (port,) = free_ports(1)
    command = [sys.executable, __file__, "--serve", str(folder), "--port", str(port)]
    return _process(command, port, dict(os.environ))


def _storescp(folder: Path) -> AbstractContextManager[tuple[int, int]]:
    (port,) = free_ports(1)
    # --fork: alone it would take one association after the other
    return _process(["storescp", "--fork", "-od", str(folder), str(port)], port, loopback_only(folder))


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


def _print(
    receivers: dict[str, Receiver],
    rates: dict[tuple[str, int], list[float]],
    busy: dict[tuple[str, int], list[float]],
    instances: int,
    runs: int,
) -> None:
    print(f"{instances} MR instances of {2 * SIDE * SIDE / 1000:.0f} kB over loopback, {runs} runs in turns")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.platform()}")
    print(f"\n{'':16}{'associations':>13}{'min':>8}{'median':>8}{'max':>8}{'of storescp':>13}{'CPU ms each':>13}")
    for associations in ASSOCIATIONS:
        yardstick = statistics.median(rates[YARDSTICK, associations])
        for name in receivers:
            seen = sorted(rates[name, associations])
            median = statistics.median(seen)
            print(
                f"{name:16}{associations:13}{seen[0]:8.0f}{median:8.0f}{seen[-1]:8.0f}"
                f"{median / yardstick:12.2f}×{statistics.median(busy[name, associations]):13.2f}"
            )


if __name__ == "__main__":
    main()
