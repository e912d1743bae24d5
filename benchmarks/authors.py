"""One volume by the authors' own programs and by a warm worker of ours, on the same weights: row 10.

    python -m benchmarks.authors [--runs 5]

The programs are TotalSegmentator, task total_mr (networks 850 and 851), and MRSegmentator with its five folds,
each in an environment of its own that `make parity` and `make bench` set up. Weights are the stand-ins of
`docs/parity.md`: small networks in the authors' layouts, so that what stands beside the network counts for more
than with the published ones. Theirs is the command that a person types, from a NIfTI that was made beforehand to a
NIfTI; ours from the DICOM series on disk to a SEG on disk, the network loaded. In every run the two label maps are
compared.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.table import Measured, Missing, Row, show
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.types import ResultIdentity, Volume
from dicom_nodes.volumes import find_volumes
from service.submodel import SubModel, load_submodels
from tests.parity import inputs, peers
from tests.parity.published import TOTAL, Published, installed, publish
from workers.models import WarmModels
from workers.segmentation import segment

PLANE, GOAL = "axial", 2.0
_LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Program:
    """One of theirs, and the sub-model of ours that is the same."""

    environment: str
    package: str
    what: str
    submodel: str
    run: Callable[[Path, Published, Path], inputs.Labels]
    """(NIfTI, weights, an empty folder to work in) → its label map."""


PROGRAMS = (
    Program(
        "totalsegmentator", "TotalSegmentator", "total_mr, 2 networks", TOTAL,
        lambda image, published, work: peers.totalsegmentator(image, published.totalsegmentator, work, "total_mr"),
    ),
    Program(
        "mrsegmentator", "mrsegmentator", "5 folds", "mrsegmentator",
        lambda image, published, work: peers.mrsegmentator(image, published.mrsegmentator, work),
    ),
)  # fmt: skip


def rows(full: bool) -> list[Measured]:
    """Row 10, one for each program."""
    return measure(runs=9 if full else 5)


def measure(runs: int) -> list[Measured]:
    """Theirs and ours in turns; what has no environment is missing."""
    logging.disable(logging.WARNING)
    there = [each for each in PROGRAMS if (peers.ENVIRONMENTS / each.environment / "bin" / "python").exists()]
    lacking: list[Measured] = [
        Missing(10, f"{each.package}, {each.what}", "it is not in .parity: `make parity` installs it")
        for each in PROGRAMS
        if each not in there
    ]
    if not there:
        return lacking
    with tempfile.TemporaryDirectory(prefix="authors-") as name:
        folder = Path(name)
        wanted = {each.submodel for each in there}
        submodels = {submodel.name: submodel for submodel in load_submodels() if submodel.name in wanted}
        published = publish(submodels, folder / "published")
        models = installed(published, submodels, folder / "installed")
        volume = inputs.write_series(PLANE, folder / "series")
        image = inputs.write_nifti(volume, folder / "image.nii.gz")
        home, series = folder / "ours", folder / "series"
        home.mkdir()
        cases = [Case(each, submodels[each.submodel], models, series, home) for each in there]
        return lacking + [case.row(published, volume, image, runs) for case in cases]


@dataclass(frozen=True, slots=True)
class Case:
    """One program, and ours."""

    program: Program
    submodel: SubModel
    models: WarmModels
    series: Path
    home: Path
    """Where files are written."""

    def row(self, published: Published, volume: Volume, image: Path, runs: int) -> Row:
        """RuntimeError where the two do not find the same."""
        self.ours()  # loads the network
        ours, theirs, lowest = [], [], 1.0
        for run in range(runs):
            began = time.perf_counter()
            found = self.ours()
            ours.append(time.perf_counter() - began)
            work = self.home / f"{self.program.environment}-{run}"
            work.mkdir()
            began = time.perf_counter()
            labels = self.program.run(image, published, work)
            theirs.append(time.perf_counter() - began)
            lowest = min(lowest, *inputs.dice(found, inputs.moved(labels, volume.shape, volume.affine)).values())
        if lowest < 0.999:
            raise RuntimeError(f"{self.program.package} and ours differ: lowest Dice of any label {lowest:.5f}")
        z, y, x = volume.shape
        package = f"{self.program.package} {peers.version(self.program.environment, self.program.package)}"
        return Row(
            10, f"{self.program.package} {self.program.what}, stand-ins, {x} × {y} × {z}", "s", tuple(ours),
            f"{package}, whole process", tuple(theirs), goal=GOAL,
            limit=f"{package}: lowest Dice of any label between the two {lowest:.5f}.",
        )  # fmt: skip

    def ours(self) -> _LabelMap:
        """Series on disk to SEG on disk; its label map (z, y, x)."""
        (volume,) = find_volumes(read_headers(sorted(self.series.iterdir()))).volumes
        found = segment(volume, self.submodel, "abdomen", None, self.models, lambda _stage, _percent: None)
        name = self.submodel.name
        identity = ResultIdentity(name, "abdomen", 1, None, datetime.now(UTC), "benchmark", "benchmark")
        encode_seg(found, volume, identity).save_as(self.home / "seg.dcm", enforce_file_format=True)
        return found.array


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    show(measure(parser.parse_args().runs))


if __name__ == "__main__":
    main()
