"""A DICOM-SEG → its labels as an array on the source's grid, every frame placed by its position in the patient.

BINARY or LABELMAP. Shares no step with the encoder: it knows of a SEG what any reader knows, and nothing of how it
was made.
"""

from collections.abc import Iterator, Mapping, Set
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.tag import Tag

from dicom_nodes.errors import ResultUnsound
from dicom_nodes.planes import KINDS, paint
from dicom_nodes.types import Affine
from dicom_nodes.walk import Elements, elements, items, sequence_value

TOLERANCE_MM = 0.01
"""How far a pixel may lie from where the grid has it: half of what the strictest reader forgives."""

Image = tuple[str, int | None]
"""A source image: its SOPInstanceUID, and the frame of it where it has several."""

_PLACE = [Tag(f"{what}Sequence") for what in ("PlanePosition", "PlaneOrientation", "PixelMeasures")]
_SEGMENT, _DERIVATION = Tag("SegmentIdentificationSequence"), Tag("DerivationImageSequence")
_SEVERAL = 0  # stands for the segment of a frame that holds all of its slice


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the voxels of an array lie."""

    affine: Affine
    shape: tuple[int, int, int]
    """(z, y, x)."""
    positions: npt.NDArray[np.float64] | None = None
    """(z, 3): the first voxel of each slice in LPS mm, where it is known better than by an even spacing."""

    def slice_positions(self) -> npt.NDArray[np.float64]:
        """(z, 3): the first voxel of each slice in LPS mm."""
        if self.positions is not None:
            return self.positions
        steps: npt.NDArray[np.float64] = np.arange(self.shape[0])[:, None] * self.affine[:3, 2]
        return self.affine[:3, 3] + steps


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """Where a frame lies and what it says it was made of."""

    segment: int
    """0 where the frame holds all segments of its slice."""
    slice: int
    images: frozenset[Image]


@dataclass(frozen=True, slots=True, eq=False)
class DecodedSegmentation:
    """What a SEG says: segment numbers uint8 (z, y, x), 0 where none, on an affine; and each number's label."""

    labels: npt.NDArray[np.uint8]
    affine: Affine
    names: Mapping[int, str]
    codes: Mapping[int, tuple[str, ...]]
    """Of each number, the code of its type and those that modify it, as "SCT 64033007"."""
    frames: tuple[DecodedFrame, ...]
    series: Mapping[str, Set[str]]
    """The instances that it refers to, by series."""
    study_uid: str
    frame_of_reference_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a frame lies; frames of the same bytes share it."""

    position: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    """LPS mm from one column to the next."""
    down: npt.NDArray[np.float64]
    """LPS mm from one row to the next."""
    step: float
    """SpacingBetweenSlices, or SliceThickness where there is none; mm."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    index: int
    segment: int
    place: _Place
    images: frozenset[Image]


def read_seg(source: Path | BinaryIO | Dataset, like: Grid | None = None) -> DecodedSegmentation:
    """Decode a SEG onto the grid `like`, or onto the smallest grid of its own frames.

    Raises ResultUnsound where a frame does not lie on the grid within 0.01 mm in every pixel, where two segments
    claim one voxel, where one segment claims a slice twice, where pixels are of no segment, or where the object is
    no BINARY or LABELMAP segmentation whose pixels are uncompressed.
    """
    seg = deepcopy(source) if isinstance(source, Dataset) else dcmread(source)  # reading a data set changes it
    if seg.get("SegmentationType") not in KINDS or len(seg.SegmentSequence) > 255:
        raise ResultUnsound("not a BINARY segmentation of at most 255 segments, nor a LABELMAP one")
    try:
        frames = list(_frames(seg))
    except (KeyError, ValueError) as error:
        raise ResultUnsound(f"a frame does not say its segment and place: {error!r}") from error
    grid = like or _own_grid(frames, seg)
    slices = _slices(frames, grid)
    placed = tuple(DecodedFrame(frame.segment, slices[frame.place], frame.images) for frame in frames)
    segments = {int(item.SegmentNumber): item for item in seg.SegmentSequence}
    segments.pop(0, None)  # some writers describe the background
    return DecodedSegmentation(
        labels=paint(seg, [(frame.segment, frame.slice) for frame in placed], grid.shape, segments.keys()),
        affine=grid.affine,
        names={number: str(item.SegmentLabel) for number, item in segments.items()},
        codes={number: _codes(item) for number, item in segments.items()},
        frames=placed,
        series=_series(seg),
        study_uid=str(seg.get("StudyInstanceUID", "")),
        frame_of_reference_uid=str(seg.get("FrameOfReferenceUID", "")),
    )


def _codes(segment: Dataset) -> tuple[str, ...]:
    kinds = list(segment.get("SegmentedPropertyTypeCodeSequence", []))
    modifiers = [item for kind in kinds for item in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
    return tuple(f"{c.get('CodingSchemeDesignator', '')} {c.get('CodeValue', '')}" for c in [*kinds, *modifiers])


def _series(seg: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for series in seg.get("ReferencedSeriesSequence", []):
        uids = {str(i.ReferencedSOPInstanceUID) for i in series.get("ReferencedInstanceSequence", [])}
        found.setdefault(str(series.SeriesInstanceUID), set()).update(uids)
    return found


def _frames(seg: Dataset) -> Iterator[_Frame]:
    shared = elements(next(items(sequence_value(seg, "SharedFunctionalGroupsSequence"))))
    place, segment, images = cache(_place), cache(_segment), cache(_images)  # a few values, in thousands of frames
    several = seg.SegmentationType == "LABELMAP"
    for index, item in enumerate(items(sequence_value(seg, "PerFrameFunctionalGroupsSequence"))):
        groups = shared | elements(item)
        yield _Frame(
            index,
            _SEVERAL if several else segment(groups[_SEGMENT]),
            place(*(groups[tag] for tag in _PLACE)),
            images(groups.get(_DERIVATION, b"")),
        )


def _place(position: bytes, orientation: bytes, measures: bytes) -> _Place:
    cosines = _numbers(_first(orientation), "ImageOrientationPatient")
    sizes = _first(measures)
    spacing = _numbers(sizes, "PixelSpacing")
    between = next((k for k in ("SpacingBetweenSlices", "SliceThickness") if sizes.get(Tag(k), b"").strip()), "")
    return _Place(
        _numbers(_first(position), "ImagePositionPatient"),
        cosines[:3] * spacing[1],
        cosines[3:] * spacing[0],
        float(_numbers(sizes, between)[0]) if between else 0.0,
    )


def _segment(identification: bytes) -> int:
    return int.from_bytes(_first(identification)[Tag("ReferencedSegmentNumber")], "little")


def _images(derivations: bytes) -> frozenset[Image]:
    """Read which images a frame was made of; their frames one by one."""
    found: set[Image] = set()
    for derivation in items(derivations):
        for item in items(elements(derivation).get(Tag("SourceImageSequence"), b"")):
            image = elements(item)
            uid = image[Tag("ReferencedSOPInstanceUID")].decode("ascii").strip("\0 ")
            numbers = image.get(Tag("ReferencedFrameNumber"), b"").decode("ascii").strip("\0 ")
            found |= {(uid, int(number) if number else None) for number in numbers.split("\\")}
    return frozenset(found)


def _first(sequence: bytes) -> Elements:
    item = next(items(sequence), None)
    if item is None:
        raise ValueError("an empty functional group")
    return elements(item)


def _numbers(item: Elements, keyword: str) -> npt.NDArray[np.float64]:
    """Read decimal strings."""
    return np.array(item[Tag(keyword)].decode("ascii").strip("\0 ").split("\\"), dtype=np.float64)


def _own_grid(frames: list[_Frame], seg: Dataset) -> Grid:
    """Span the slices from the first frame along the normal to the last, as far apart as the SEG says."""
    first = frames[0].place
    normal = np.cross(first.across, first.down)
    normal /= np.linalg.norm(normal)
    heights = np.array([frame.place.position @ normal for frame in frames])
    lowest, step = frames[int(heights.argmin())].place.position, first.step
    affine = np.eye(4)
    affine[:3] = np.stack([first.across, first.down, normal * step, lowest], axis=1)
    return Grid(affine, (round(float(np.ptp(heights)) / step) + 1, int(seg.Rows), int(seg.Columns)))


def _slices(frames: list[_Frame], grid: Grid) -> dict[_Place, int]:
    """Find the slice of each place; raise ResultUnsound where a segment has two frames on one."""
    positions = grid.slice_positions()
    slices: dict[_Place, int] = {}
    claimed: set[tuple[int, int]] = set()
    for frame in frames:
        if frame.place not in slices:
            slices[frame.place] = _slice_of(frame, positions, grid)
        claim = (frame.segment, slices[frame.place])
        if claim in claimed:
            raise ResultUnsound(f"{_told(frame)} is one of two frames on slice {claim[1]}")
        claimed.add(claim)
    return slices


def _slice_of(frame: _Frame, positions: npt.NDArray[np.float64], grid: Grid) -> int:
    """Find the slice that a frame lies on with all four corners; raise ResultUnsound where there is none."""
    offsets = np.linalg.norm(positions - frame.place.position, axis=1)
    z = int(offsets.argmin())
    rows, columns = grid.shape[1:]
    far = np.linalg.norm(
        [
            (frame.place.across - grid.affine[:3, 0]) * (columns - 1),
            (frame.place.down - grid.affine[:3, 1]) * (rows - 1),
        ],
        axis=1,
    )
    worst = float(offsets[z] + far.sum())
    if not worst <= TOLERANCE_MM:
        raise ResultUnsound(f"{_told(frame)} lies {worst:.3g} mm beside the nearest slice, {z}")
    return z


def _told(frame: _Frame) -> str:
    of = f" of segment {frame.segment}" if frame.segment != _SEVERAL else ""
    return f"frame {frame.index + 1}{of}"
