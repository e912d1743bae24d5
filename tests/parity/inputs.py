"""The name of a plane in; the same phantom patient imaged so, as a DICOM series and as NIfTI, out.

Both are of the same voxels: the NIfTI is written from what our reader finds in the DICOM files.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk

from dicom_nodes.headers import read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Affine, Plane, Volume
from dicom_nodes.volumes import find_volumes
from service.phantom.anatomy.trunk import trunk
from service.phantom.body import Acquisition
from service.phantom.dicom import write_dicom
from service.phantom.grids import grid
from service.phantom.protocols import make_phantom

SEED = 5
SLOPE = 1_048_576
"""RescaleSlope of the series: TotalSegmentator cuts resampled values to whole numbers, of which nothing is lost in
single precision where they are so large."""
PIXEL_MM, SLICE_MM, GAP_MM = 2.0, 4.4, 0.6
GRIDS: dict[str, tuple[Plane, tuple[int, int], int, tuple[float, float, float]]] = {
    # plane, (rows, columns), slices, tilt in degrees about (left, posterior, superior)
    "axial": (Plane.AXIAL, (108, 162), 36, (0.0, 0.0, 0.0)),
    "sagittal": (Plane.SAGITTAL, (90, 108), 64, (0.0, 0.0, 0.0)),
    "coronal": (Plane.CORONAL, (90, 162), 44, (0.0, 0.0, 0.0)),
    "oblique": (Plane.AXIAL, (108, 162), 36, (13.0, -9.0, 17.0)),
}
PLANES = tuple(GRIDS)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A label map and where it lies: array (z, y, x), affine (x, y, z, 1) to LPS millimetres."""

    array: npt.NDArray[np.uint8]
    affine: Affine


def acquisition(plane: str) -> Acquisition:
    """About the organs of the upper abdomen."""
    nearest, matrix, slices, tilt = GRIDS[plane]
    x, y, z = trunk(SEED).landmarks["T12"]
    return grid(
        nearest,
        (x, y - 34, z - 12),
        matrix=matrix,
        pixel_mm=PIXEL_MM,
        slices=slices,
        thickness_mm=SLICE_MM,
        gap_mm=GAP_MM,
        tilt=tilt,
    )


def write_series(plane: str, folder: Path, slope: int = SLOPE) -> Volume:
    """The phantom as a DICOM series in `folder`, and the one volume that our reader finds there."""
    series = write_dicom(make_phantom("abdomen", SEED, contrast="T2", acquisition=acquisition(plane)), folder)
    for path in series.paths:
        dataset = pydicom.dcmread(path)
        dataset.RescaleSlope = str(slope)
        dataset.save_as(path)
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    return volume


def write_nifti(volume: Volume, path: Path, *, axes: str | None = None, scale: float = 1.0) -> Path:
    """The volume's voxels, multiplied by `scale`, as float32 NIfTI; turned so that indices grow as `axes` say."""
    image = sitk.GetImageFromArray(read_voxels(volume).array * np.float32(scale))
    columns = volume.affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((columns / spacing).flatten().tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    sitk.WriteImage(sitk.DICOMOrient(image, axes) if axes else image, str(path))
    return path


def read_nifti(path: Path) -> Labels:
    """A label map that another program wrote."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Labels(sitk.GetArrayFromImage(image).astype(np.uint8), affine)


def moved(labels: Labels, shape: tuple[int, int, int], affine: Affine) -> npt.NDArray[np.uint8]:
    """A label map at the voxels (z, y, x) of another grid, by their places in the patient.

    Raises ValueError where a voxel of the grid is not, to a hundredth of a voxel, a voxel of the label map.
    """
    z, y, x = np.indices(shape).reshape(3, -1)
    places = np.linalg.inv(labels.affine) @ affine @ np.stack([x, y, z, np.ones_like(x)])
    found = np.rint(places[:3]).astype(int)
    size = np.array(labels.array.shape[::-1])[:, None]
    if np.abs(places[:3] - found).max() > 0.01 or (found < 0).any() or (found >= size).any():
        raise ValueError("the two grids are not of the same voxels")
    return np.asarray(labels.array[found[2], found[1], found[0]].reshape(shape))


def dice(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> dict[int, float]:
    """For every label that either has."""
    counts = {}
    for label in np.union1d(ours, theirs):
        mine, other = ours == label, theirs == label
        counts[int(label)] = 2 * float((mine & other).sum() / (mine.sum() + other.sum()))
    counts.pop(0, None)
    return counts
