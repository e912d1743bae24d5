"""A series on disk to a DICOM-SEG on disk, warm, against `nnUNetv2_predict` as a whole process and highdicom's SEG.

    python -m benchmarks.series [--network full|small|phantom] [--classes 44] [--runs 3]

Ours is what a worker does between claim and encoded object: headers, voxels, the network, SEG, with the model
already loaded. Theirs is the command a person types: start, imports, model, NIfTI in, NIfTI out; the NIfTI is made
beforehand, outside the time; and highdicom's constructor and `save_as` on what it found, with headers read before.
Neither mirrors. They take turns; peak memory is that of each while it works (`benchmarks/processes.py`).
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from benchmarks.processes import Warm, measure, warm
from benchmarks.series_network import SHAPE, Setup, prepare
from benchmarks.table import Compare, Measured, Row, show, three
from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import find_volumes


def write_nifti(folder: Path, out: Path) -> None:
    """The same volume as nnU-Net's command wants it: NIfTI whose array has the axes of the model (LAS)."""
    (volume,) = find_volumes(read_headers(sorted(folder.iterdir()))).volumes
    voxels = read_voxels(volume)
    turned = reorient(voxels.array, voxels.affine, "LAS")
    image = sitk.GetImageFromArray(turned.array)
    image.SetSpacing(turned.spacing_mm[::-1])
    sitk.WriteImage(image, out)


@dataclass(frozen=True, slots=True)
class Compared:
    """A network on a volume, by both."""

    network: str
    classes: int
    shape: tuple[int, int, int]
    ours: tuple[dict[str, float], ...]
    """Seconds of each run by part: read, preprocess, network, resample, encode, whole."""
    theirs: tuple[float, ...]
    """Seconds of each run of the command, with highdicom's SEG."""
    our_mib: float
    their_mib: float
    dice: float
    """The lowest of any label."""

    @property
    def beside(self) -> tuple[float, ...]:
        """Seconds of each run of ours beside the network."""
        return tuple(run["whole"] - run["network"] for run in self.ours)


def main() -> None:
    """Print the seconds of each part, and the table."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--network", choices=["full", "small", "phantom"], default="phantom")
    arguments.add_argument("--classes", type=int, default=44)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--shape", type=_shape, default=SHAPE, help="z,y,x")
    chosen = arguments.parse_args()
    found = compare(chosen.network, chosen.classes, chosen.runs, chosen.shape)
    for part in found.ours[0]:
        print(f"{part:12}{three([run[part] for run in found.ours])} s")
    show(as_rows(found))
    print(f"agreement of the two label maps, lowest Dice of any label: {found.dice:.5f}")


def rows(full: bool) -> list[Measured]:
    """Rows 5, 6 and 7; with all networks and numbers of classes where `full`."""
    wanted = (
        (("full", 44), ("full", 10), ("small", 44), ("small", 10), ("phantom", 0)) if full else (("small", 44),)
    )
    return [row for network, classes in wanted for row in as_rows(compare(network, classes, 5))]


def as_rows(found: Compared) -> list[Measured]:
    """Those of one comparison."""
    z, y, x = found.shape
    size = f"{x} × {y} × {z}, {found.network} network" + (f", {found.classes} classes" if found.classes else "")
    whole, network = (tuple(run[part] for run in found.ours) for part in ("whole", "network"))
    same = f"{size}: lowest Dice of any label between the two {found.dice:.5f}."
    peer = "nnUNetv2_predict, whole process, and highdicom"
    goal = {"full": 2.0, "small": 3.0}.get(found.network)
    beside = Row(
        6, f"beside the network, {size}", "s", found.beside, "our network's time", network, Compare.SHARE, 0.1,
        f"{size}: {_parts(found)}.",
    )  # fmt: skip
    memory = Row(
        7, f"peak memory, {size}", "MiB", (found.our_mib,), "nnUNetv2_predict", (found.their_mib,), Compare.SHARE,
        0.4 if found.classes == 44 else None,
    )  # fmt: skip
    return [
        Row(5, f"series to SEG, {size}", "s", whole, peer, found.theirs, Compare.TIME, goal, same),
        beside,
        memory,
    ]


def _parts(found: Compared) -> str:
    """What is beside the network, the largest first."""
    median = {part: statistics.median(run[part] for run in found.ours) for part in found.ours[0]}
    beside = sorted((part for part in median if part not in ("whole", "network")), key=lambda part: -median[part])
    return ", ".join(f"{part} {median[part]:.2f} s" for part in beside)


def compare(network: str, classes: int, runs: int, shape: tuple[int, int, int] = SHAPE) -> Compared:
    """Run both on the same volume; RuntimeError where a process of theirs or ours fails."""
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        folder = Path(name)
        setup = prepare(folder, network, classes, shape)
        (folder / "in").mkdir()
        write_nifti(setup.series, folder / "in" / "case_0000.nii.gz")
        python = [sys.executable, "-m"]
        with (
            warm([*python, "benchmarks.warm_series", name, network, str(classes)]) as ours,
            warm([*python, "benchmarks.series_highdicom", name]) as highdicom,
        ):
            turns = [(json.loads(ours.ask()), _theirs(setup, folder, highdicom)) for _ in range(runs)]
        by_theirs = [theirs for _, theirs in turns]
        depth = len(list(setup.series.iterdir()))
        labels = np.load(folder / "labels.npy")
        return Compared(
            network,
            classes if network != "phantom" else 0,
            (depth, *labels.shape[1:]),
            tuple(seconds for seconds, _ in turns),
            tuple(seconds for seconds, _ in by_theirs),
            ours.mib,
            max(mib for _, mib in by_theirs),
            min(_agreement(folder).values()),
        )


def _theirs(setup: Setup, folder: Path, highdicom: Warm) -> tuple[float, float]:
    """Seconds of their command and of highdicom's SEG, and the peak memory of the former in MiB."""
    program = shutil.which("nnUNetv2_predict_from_modelfolder", path=str(Path(sys.executable).parent)) or ""
    _, seconds, mib = measure([
        program, "-i", str(folder / "in"), "-o", str(folder / "out"), "-m", str(setup.trained), "-f", "0",
        "--disable_tta", "-device", "cpu",
    ])  # fmt: skip
    return seconds + float(highdicom.ask()), mib


def _shape(text: str) -> tuple[int, int, int]:
    z, y, x = (int(n) for n in text.split(","))
    return z, y, x


def _agreement(folder: Path) -> dict[int, float]:
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(folder / "out" / "case.nii.gz"))
    ours = np.load(folder / "labels.npy")
    values = sorted({int(value) for each in (ours, theirs) for value in np.unique(each)} - {0})
    if not values:
        raise RuntimeError("neither found any label")
    return {value: _dice(ours == value, theirs == value) for value in values}


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


if __name__ == "__main__":
    main()
