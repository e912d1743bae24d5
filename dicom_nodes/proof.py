"""What will be sent, decoded as any viewer decodes it → proven to say what its label map says, or stopped.

Every voxel is compared where it lies in the patient: the object's by the object's own attributes, the label map's
by those of the source. Some viewers go by position and some by reference, so both are compared, and so are the
names, the codes and the sides of the segments. Nothing here takes a step of the encoder's.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dicom_nodes.decode import DecodedSegmentation, Grid, read_seg
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Laterality, Segment, Volume

_SIDES = MappingProxyType({Laterality.RIGHT: "SCT 24028007", Laterality.LEFT: "SCT 7771000"})  # PS3.16 CID 244
_NAMED = 5  # so many segments at most, of those that are wrong


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What an object has to say."""

    numbers: npt.NDArray[np.uint8]
    """(z, y, x) on the volume's grid: the n-th segment is n, and 0 is none."""
    segments: tuple[Segment, ...]
    laterality: Laterality | None
    """Of the segments that have no side of their own."""
    volume: Volume
    positions: npt.NDArray[np.float64]
    """(z, 3): the first voxel of each slice in LPS mm, as the header of its source says."""

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.volume.affine, self.volume.shape, self.positions)

    @property
    def names(self) -> Mapping[int, str]:
        """Of each segment by its number."""
        return {number: segment.name for number, segment in enumerate(self.segments, start=1)}


def prove(encoded: bytes, truth: Truth) -> None:
    """Decode a Segmentation that will be sent; raise ResultUnsound unless it says the truth.

    What stops it: a frame 0.01 mm beside its slice, in any of its pixels; one voxel more or less; a reference to
    another image than the one the voxels were found in; a segment with the name, the code or the side of another.
    """
    decoded = read_seg(io.BytesIO(encoded), truth.grid)
    _prove_context(decoded, truth.volume)
    _prove_segments(decoded, truth)
    prove_masks(decoded.labels, truth.numbers, truth.names, truth.grid)
    _prove_references(decoded, truth)


def prove_masks(
    found: npt.NDArray[np.uint8], expected: npt.NDArray[np.uint8], names: Mapping[int, str], grid: Grid
) -> None:
    """Raise ResultUnsound where two arrays (z, y, x) of segment numbers on one grid differ in a voxel.

    The message names the segments, and slice, row, column and LPS position of the first voxel that is wrong.
    """
    if found.shape != expected.shape:
        raise ResultUnsound(f"the encoded object is of {found.shape} voxels and the label map of {expected.shape}")
    wrong = found != expected
    if not wrong.any():
        return
    z, y, x = (int(axis) for axis in np.unravel_index(int(wrong.argmax()), wrong.shape))
    counts = np.bincount(found[wrong], minlength=256) + np.bincount(expected[wrong], minlength=256)
    numbers = [int(number) for number in np.flatnonzero(counts) if number != 0]
    told = [f"segment {number} ({names.get(number, 'unknown')}) in {counts[number]}" for number in numbers[:_NAMED]]
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    position = grid.slice_positions()[z] + grid.affine[:3, 0] * x + grid.affine[:3, 1] * y
    where = ", ".join(f"{millimetres:.2f}" for millimetres in position)
    raise ResultUnsound(
        f"the encoded object differs from the label map in {np.count_nonzero(wrong)} voxels, "
        f"first on slice {z}, row {y}, column {x} at ({where}) mm: {', '.join(told)}{more}"
    )


def _prove_context(decoded: DecodedSegmentation, volume: Volume) -> None:
    """Compare study, frame of reference and the one series that viewers look for."""
    if decoded.study_uid != volume.study_uid:
        raise ResultUnsound("the encoded object lies in another study than its source")
    if volume.frame_of_reference_uid and decoded.frame_of_reference_uid != volume.frame_of_reference_uid:
        raise ResultUnsound("the encoded object lies in another frame of reference than its source")
    if decoded.series != {volume.series_uid: {frame.sop_instance_uid for frame in volume.frames}}:
        raise ResultUnsound("the encoded object refers to other series or images than its volume is made of")


def _prove_segments(decoded: DecodedSegmentation, truth: Truth) -> None:
    """Compare what each segment is called, what it is and on which side, with what the sub-model says."""
    if set(decoded.names) != set(truth.names):
        raise ResultUnsound(
            f"the encoded object lists the segments {sorted(decoded.names)}, not 1 to {len(truth.names)}"
        )
    for number, segment in enumerate(truth.segments, start=1):
        if decoded.names[number] != segment.name:
            raise ResultUnsound(f"segment {number} is called {decoded.names[number]!r} and not {segment.name!r}")
        side = segment.laterality
        sided = f"{side.scheme} {side.value}" if side else _SIDES[truth.laterality] if truth.laterality else ""
        expected = (f"{segment.type.scheme} {segment.type.value}", *([sided] if sided else []))
        if decoded.codes[number] != expected:
            raise ResultUnsound(
                f"segment {number} ({segment.name}) is coded {decoded.codes[number]} and not {expected}"
            )


def _prove_references(decoded: DecodedSegmentation, truth: Truth) -> None:
    """Compare the image that each frame names with the one that its slice is."""
    for frame in decoded.frames:
        ref = truth.volume.frames[frame.slice]
        if frame.images != {(ref.sop_instance_uid, ref.frame_number)}:
            of = (
                f"segment {frame.segment} ({truth.names[frame.segment]})" if frame.segment else "the encoded object"
            )
            raise ResultUnsound(f"{of} refers slice {frame.slice} to another image than it was made of")
