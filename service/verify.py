"""A DICOM-SEG that came back and what is known of its source → Dice per structure, and whether it lies in place.

Reads objects by plain header arithmetic (PS3.3 C.7.6.2.1.1) and shares nothing with what wrote them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.types import Affine

TOLERANCE_MM = 0.01
"""How far a frame may lie from the slice that it was made from (rounding of decimal strings)."""
SAME = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a SEG compares with the truth, by segment label."""

    dice: Mapping[str, float]
    """Of every structure that the truth has; 0 for one that the SEG lacks."""
    claimed_ml: Mapping[str, float]
    """Volume of every structure that the SEG has and the truth has not."""


def compare(seg_path: Path, truth: npt.NDArray[np.uint8], affine: Affine, names: Mapping[int, str]) -> Agreement:
    """Compare a SEG with the truth, voxels matched by their position in the patient.

    `truth` is (z, y, x) on `affine`, its values named by `names`. Raises ResultUnsound (dicom_nodes.errors) where
    the SEG does not lie on the grid of the truth.
    """
    z, y, x = truth.shape
    found = read_seg(seg_path, Grid(affine, (z, y, x)))
    wanted = {name: truth == value for value, name in names.items() if (truth == value).any()}
    given: dict[str, npt.NDArray[np.bool_]] = {}
    for number, name in found.names.items():
        mask = found.labels == number
        given[name] = given[name] | mask if name in given else mask
    nothing = np.zeros(truth.shape, dtype=bool)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return Agreement(
        {name: _dice(mask, given.get(name, nothing)) for name, mask in wanted.items()},
        {name: float(mask.sum()) * voxel_ml for name, mask in given.items() if name not in wanted},
    )


def dice_by_structure(
    seg_path: Path, truth: npt.NDArray[np.uint8], affine: Affine, names: Mapping[int, str]
) -> dict[str, float]:
    """Dice of every structure that the truth or the SEG has; see `compare`. One that only one of them has is 0."""
    agreement = compare(seg_path, truth, affine, names)
    return {**agreement.dice, **dict.fromkeys(agreement.claimed_ml, 0.0)}


def same_geometry(seg_path: Path, source_paths: Sequence[Path]) -> bool:
    """True where every frame of the SEG lies exactly on the slice of the source that it names."""
    return not geometry_differences(seg_path, source_paths)


def geometry_differences(seg_path: Path, source_paths: Sequence[Path]) -> tuple[str, ...]:
    """How a SEG differs in place from its source (classic or Enhanced), one sentence each; empty if nowhere."""
    seg = pydicom.dcmread(seg_path, stop_before_pixels=True)
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in source_paths]
    differing = tuple(
        f"{keyword} is {seg.get(keyword)}, the source says {sources[0].get(keyword)}"
        for keyword in SAME
        if seg.get(keyword) != sources[0].get(keyword)
    )
    slices = {(s.instance, s.number): s for source in sources for s in _slices(source)}
    misplaced = (_misplaced(frame, slices) for frame in _slices(seg))
    return differing + tuple(sentence for sentence in misplaced if sentence)


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """Where a frame lies, and who it is: of a source itself, of a SEG the frame that it names as its source."""

    instance: str
    number: int
    """1-based frame number; 1 in a single-frame object."""
    frame: int
    place: npt.NDArray[np.float64]
    """(9,): ImagePositionPatient, and the LPS mm from one column and from one row to the next, × 100."""


def _misplaced(frame: _Slice, slices: Mapping[tuple[str, int], _Slice]) -> str:
    source = slices.get((frame.instance, frame.number))
    if source is None:
        return f"frame {frame.frame} names a source that is not in the series: {frame.instance or 'none'}"
    worst = float(np.abs(frame.place - source.place).max())
    return (
        "" if worst <= TOLERANCE_MM else f"frame {frame.frame} lies {worst:.3g} mm beside the slice that it names"
    )


def _slices(dataset: Dataset) -> Iterator[_Slice]:
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        yield _Slice(str(dataset.SOPInstanceUID), 1, 1, _place(dataset, dataset, dataset))
        return
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for number, own in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        place = _place(
            _group(own, shared, "PlanePositionSequence"),
            _group(own, shared, "PlaneOrientationSequence"),
            _group(own, shared, "PixelMeasuresSequence"),
        )
        instance, source_frame = (
            _named_source(own, shared) if dataset.Modality == "SEG" else (str(dataset.SOPInstanceUID), number)
        )
        yield _Slice(instance, source_frame, number, place)


def _named_source(own: Dataset, shared: Dataset) -> tuple[str, int]:
    """The one instance and frame that a SEG frame was derived from; an empty UID where it names not just one."""
    named = _group(own, shared, "DerivationImageSequence").get("SourceImageSequence", [])
    if len(named) != 1:
        return "", 1
    return str(named[0].ReferencedSOPInstanceUID), int(named[0].get("ReferencedFrameNumber", 1))


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    item: Dataset = (own if keyword in own else shared)[keyword].value[0]
    return item


def _place(position: Dataset, orientation: Dataset, measures: Dataset) -> npt.NDArray[np.float64]:
    cosines = np.array(orientation.ImageOrientationPatient, dtype=np.float64)
    between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
    steps = np.concatenate([cosines[:3] * between_columns, cosines[3:] * between_rows])
    return np.concatenate([np.array(position.ImagePositionPatient, dtype=np.float64), steps * 100])


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0
