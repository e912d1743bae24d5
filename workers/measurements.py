"""A label map and the voxels it lies on in; what is measured of every segment out: pure, one pass over slices."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import Edge, LabelMap, Measurement, Voxels

_VALUES = 256


def measure_segments(label_map: LabelMap, voxels: Voxels) -> tuple[Measurement, ...]:
    """Measure every label value that has voxels, but the background, by rising value.

    Raises ValueError where label map and voxels differ in shape.
    """
    labels, array = label_map.array, voxels.array
    if labels.shape != array.shape:
        raise ValueError(f"the label map {labels.shape} does not lie on the voxels {array.shape}")
    sums = _Sums.empty(labels.shape[0])
    for z, (plane, values) in enumerate(zip(labels, array, strict=True)):
        sums.add(z, plane, values)
    voxel_ml = float(abs(np.linalg.det(label_map.affine[:3, :3]))) / 1000
    found = np.flatnonzero(sums.by_slice.sum(axis=1))
    return tuple(sums.measurement(int(value), voxel_ml) for value in found if value != 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What is counted, by label value: arrays that grow slice by slice."""

    by_slice: npt.NDArray[np.int64]
    """(256, z): voxels."""
    mean: npt.NDArray[np.float64]
    """(256,), as `squares`: of all voxels so far."""
    squares: npt.NDArray[np.float64]
    """Of the differences from the mean (T. F. Chan et al., 1979: exact where plain sums of squares cancel out)."""
    on_border: npt.NDArray[np.int64]
    """(256,): voxels in the first or last row or column."""

    @classmethod
    def empty(cls, slices: int) -> "_Sums":
        return cls(
            np.zeros((_VALUES, slices), np.int64),
            np.zeros(_VALUES),
            np.zeros(_VALUES),
            np.zeros(_VALUES, np.int64),
        )

    def add(self, z: int, plane: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> None:
        """Count one slice (row, column); one without labels costs next to nothing."""
        labelled = np.flatnonzero(plane)
        if labelled.size == 0:
            return
        label = plane.ravel()[labelled]
        value = values.ravel()[labelled].astype(np.float64)
        counts = np.bincount(label, minlength=_VALUES)
        with np.errstate(invalid="ignore"):  # values that are not finite make a mean that is not
            here = _tally(label, value) / np.maximum(counts, 1)
            squares = _tally(label, (value - here[label]) ** 2)
            self._merge(counts, here, squares)
        self.by_slice[:, z] = counts
        for line in (plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]):
            self.on_border[:] += np.bincount(line, minlength=_VALUES)

    def _merge(
        self, counts: npt.NDArray[np.int64], mean: npt.NDArray[np.float64], squares: npt.NDArray[np.float64]
    ) -> None:
        before = self.by_slice.sum(axis=1)
        part = counts / np.maximum(before + counts, 1)
        apart = np.where(counts > 0, mean - self.mean, 0.0)
        self.mean[:] += part * apart
        self.squares[:] += squares + part * before * apart**2

    def measurement(self, value: int, voxel_ml: float) -> Measurement:
        """What the counts say of one label value that has voxels."""
        slices = np.flatnonzero(self.by_slice[value])
        count = int(self.by_slice[value].sum())
        mean, sd = float(self.mean[value]), float(np.sqrt(self.squares[value] / count))
        finite = bool(np.isfinite(mean) and np.isfinite(sd))
        reached = {
            Edge.IN_PLANE: self.on_border[value] > 0,
            Edge.FIRST_SLICE: self.by_slice[value, 0] > 0,
            Edge.LAST_SLICE: self.by_slice[value, -1] > 0,
        }
        return Measurement(
            value=value,
            volume_ml=count * voxel_ml,
            mean=mean if finite else None,
            sd=sd if finite else None,
            slices=slices.size,
            first_slice=int(slices[0]),
            last_slice=int(slices[-1]),
            edges=tuple(edge for edge, touched in reached.items() if touched),
        )


def _tally(label: npt.NDArray[np.uint8], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums: npt.NDArray[np.float64] = np.bincount(label, weights, minlength=_VALUES).astype(np.float64, copy=False)
    return sums
