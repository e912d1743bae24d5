"""A series on disk to a DICOM-SEG on disk, warm, against `nnUNetv2_predict` as a whole process on the same volume.

    python -m benchmarks.series [--protocol abdomen] [--runs 3]

Ours is what a worker does between claim and encoded object: headers, voxels, the network, SEG, with the model
already loaded. Theirs is the command a person types: start, imports, model, NIfTI in, NIfTI out; the NIfTI is made
beforehand, outside the time. Peak memory is the proportional set size of each process with its children, sampled.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import SimpleITK as sitk
from rich.console import Console
from rich.table import Table

from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import find_volumes
from service.phantom.dicom import write_dicom
from service.phantom.protocols import DATASET_OF, make_phantom
from service.running import submodels_to_run
from service.submodel import load_submodels
from workers.install.phantom import SHIPPED


@dataclass
class Peak:
    """The largest proportional set size that a process tree had."""

    mib: float = 0.0

    def watch(self, process: subprocess.Popen[str]) -> None:
        """Sample until the process ends."""
        while process.poll() is None:
            self.mib = max(self.mib, _tree_mib(process.pid))
            time.sleep(0.05)


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


def measure(command: list[str]) -> tuple[str, float, float]:
    """Run a command; gives its standard output, its seconds and its peak memory in MiB."""
    peak, started = Peak(), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watcher = threading.Thread(target=peak.watch, args=(process,))
        watcher.start()
        out, err = process.communicate()
        seconds = time.monotonic() - started
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{err[-2000:]}")
    return out, seconds, peak.mib


def write_nifti(folder: Path, out: Path) -> None:
    """The same volume as nnU-Net's command wants it: NIfTI whose array has the axes of the model (LAS)."""
    (volume,) = find_volumes(read_headers(sorted(folder.iterdir()))).volumes
    voxels = read_voxels(volume)
    turned = reorient(voxels.array, voxels.affine, "LAS")
    image = sitk.GetImageFromArray(turned.array)
    image.SetSpacing(turned.spacing_mm[::-1])
    sitk.WriteImage(image, out)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--protocol", default="abdomen")
    arguments.add_argument("--runs", type=int, default=3)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        _compare(Path(name), chosen.protocol, chosen.runs)


def _compare(folder: Path, protocol: str, runs: int) -> None:
    phantom = make_phantom(protocol, 2027)
    series = folder / "series"
    write_dicom(phantom, series)
    (folder / "in").mkdir()
    write_nifti(series, folder / "in" / "case_0000.nii.gz")
    submodel = next(s.name for s in submodels_to_run(load_submodels()) if protocol in {p.name for p in s.protocol})
    ours = [sys.executable, "-m", "benchmarks.warm_series", str(series), submodel, protocol, str(folder), str(runs)]
    (model,) = (SHIPPED / DATASET_OF[protocol]).iterdir()
    theirs = [shutil.which("nnUNetv2_predict_from_modelfolder", path=str(Path(sys.executable).parent)) or "", "-i",
              str(folder / "in"), "-o", str(folder / "out"), "-m", str(model), "-f", "0", "--disable_tta",
              "-device", "cpu"]  # fmt: skip
    out, _, our_mib = measure(ours)
    our_seconds = [float(line) for line in out.split()]
    their_runs = [measure(theirs) for _ in range(runs)]
    their_seconds = [seconds for _, seconds, _ in their_runs]
    their_mib = max(mib for _, _, mib in their_runs)
    z, y, x = phantom.pixels.shape
    table = Table(title=f"{protocol}, {x} x {y} x {z}, phantom model, CPU; seconds: min / median / max of {runs}")
    for column in ("", "seconds", "ratio", "peak memory"):
        table.add_column(column)
    table.add_row("nnUNetv2_predict, whole process", _three(their_seconds), "1", f"{their_mib:.0f} MiB")
    ratio = statistics.median(their_seconds) / statistics.median(our_seconds)
    table.add_row("sagittal, warm: series to SEG", _three(our_seconds), f"{ratio:.1f}", f"{our_mib:.0f} MiB")
    console = Console(width=110)
    console.print(table)
    dice = _agreement(folder)
    console.print(f"agreement of the two label maps, lowest Dice of any label: {min(dice.values()):.4f}")


def _three(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} / {statistics.median(seconds):.1f} / {max(seconds):.1f}"


def _agreement(folder: Path) -> dict[int, float]:
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(folder / "out" / "case.nii.gz"))
    ours = np.load(folder / "labels.npy")
    values = [int(value) for value in np.unique(theirs) if value]
    return {value: _dice(ours == value, theirs == value) for value in values}


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


if __name__ == "__main__":
    main()
