"""Files to a volume in memory with its geometry checked: ours against SimpleITK's GDCM series reader, in one run.

    python -m benchmarks.series_reading [--files 300 2000] [--runs 5]

Ours is `read_headers`, `find_volumes` and `read_voxels`: every header read and judged, slices ordered and their
spacing proven, values rescaled to float32. Theirs is `GetGDCMSeriesFileNames` and `ImageSeriesReader`: ordered by
position, values as they are stored, spacing from the first two files. Both read the same files in turns, from the
page cache, and each of ours begins as for a series that was never seen. The arrays of every run are held equal.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.headers import SIDE, write_classic
from benchmarks.table import Compare, Measured, Row, show
from dicom_nodes.elements import forget_values
from dicom_nodes.headers import forget_headers, read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Voxels
from dicom_nodes.volumes import find_volumes

FILES = (300, 2000)
PEER = "SimpleITK, ImageSeriesReader (GDCM)"
LIMIT = "One thread; half of it is the elements of each header, passed over one by one in Python."


def rows(full: bool) -> list[Measured]:
    """Row 4 at both sizes."""
    return measure(FILES, runs=9 if full else 5)


def measure(files: Sequence[int], runs: int) -> list[Measured]:
    """One row for each number of files; RuntimeError where the two do not read the same."""
    found: list[Measured] = []
    for count in files:
        with tempfile.TemporaryDirectory(prefix="series-") as name:
            series = write_classic(Path(name) / "series", count, SIDE, times=1)
            found.append(_row(series, count, runs))
    return found


def read_ours(series: Path) -> Voxels:
    """The one volume of a series, as a worker reads it that never saw one like it."""
    forget_values()
    forget_headers()
    (volume,) = find_volumes(read_headers(sorted(series.iterdir()))).volumes
    return read_voxels(volume)


def read_theirs(series: Path) -> sitk.Image:
    """The same by SimpleITK."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    return reader.Execute()


def _row(series: Path, count: int, runs: int) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(runs + 1):  # the first fills the page cache and is not counted
        began = time.perf_counter()
        voxels = read_ours(series)
        between = time.perf_counter()
        image = read_theirs(series)
        theirs.append(time.perf_counter() - between)
        ours.append(between - began)
        _hold_equal(voxels, image)
        del voxels, image  # so that each run asks for its memory anew
    work = f"{count} files of {SIDE} × {SIDE} to a volume, geometry checked"
    return Row(4, work, "s", tuple(ours[1:]), PEER, tuple(theirs[1:]), Compare.TIME, 3.0, LIMIT)


def _hold_equal(voxels: Voxels, image: sitk.Image) -> None:
    """Raise RuntimeError where values or places differ."""
    theirs = sitk.GetArrayViewFromImage(image)
    same = voxels.array.shape == theirs.shape and all(map(np.array_equal, voxels.array, theirs))
    corner = (voxels.affine @ (*np.subtract(voxels.array.shape[::-1], 1), 1))[:3]
    there = image.TransformIndexToPhysicalPoint([size - 1 for size in image.GetSize()])
    if not same or not np.allclose(corner, there, atol=0.01):
        raise RuntimeError("SimpleITK reads another volume")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=FILES)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    show(measure(chosen.files, chosen.runs))


if __name__ == "__main__":
    main()
