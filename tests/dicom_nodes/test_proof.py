"""Faults planted between encoding and proof: each is stopped, and the message says what is wrong and where."""

import io
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_nodes.decode import Grid
from dicom_nodes.encode.labelmap import encode_labelmap
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.proof import Truth, prove, prove_masks
from dicom_nodes.types import Laterality, Volume
from tests.dicom_nodes import seg_sources as made

ENCODE = {"seg": encode_seg, "labelmap": encode_labelmap}
SOURCES: dict[str, Callable[[Path], Volume]] = {
    "classic": lambda folder: made.classic(folder, made.unit(made.OBLIQUE)),
    "enhanced": lambda folder: made.enhanced(folder, made.unit(made.OBLIQUE), (4, 2, 5, 1, 3)),
}
Fault = Callable[[Dataset], None]


def encoded(folder: Path, kind: str, source: str = "classic") -> tuple[Dataset, Truth]:
    """Encode three segments, two of them with a side; tell what the object has to say from the headers alone."""
    volume = SOURCES[source](folder)
    label_map = made.label_map(volume, 1, 2, 3)
    sides = (None, made.LEFT, replace(made.LEFT, value="24028007", meaning="Right"))
    segments = tuple(replace(s, laterality=side) for s, side in zip(label_map.segments, sides, strict=True))
    seg = ENCODE[kind](replace(label_map, segments=segments), volume, made.identity())
    positions = np.array([position(ref.path, ref.frame_number) for ref in volume.frames])
    return seg, Truth(label_map.array, segments, None, volume, positions)


def position(path: Path, frame: int | None) -> list[float]:
    image = dcmread(path)
    if frame is not None:
        image = image.PerFrameFunctionalGroupsSequence[frame - 1].PlanePositionSequence[0]
    return [float(value) for value in image.ImagePositionPatient]


def saved(seg: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, seg)
    return file.getvalue()


def pixels(seg: Dataset) -> npt.NDArray[np.uint8]:
    stored = np.frombuffer(seg.PixelData, np.uint8)
    voxels = np.unpackbits(stored, bitorder="little") if seg.BitsAllocated == 1 else stored
    shape = (seg.NumberOfFrames, seg.Rows, seg.Columns)
    return voxels[: np.prod(shape)].reshape(shape).copy()


def store(seg: Dataset, voxels: npt.NDArray[np.uint8]) -> None:
    data = np.packbits(voxels, bitorder="little") if seg.BitsAllocated == 1 else voxels
    seg.PixelData = data.tobytes() + bytes(data.size % 2)


def on_pixels(change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Fault:
    return lambda seg: store(seg, change(pixels(seg)))


def moved(by: Callable[[Dataset], npt.NDArray[np.float64]], which: slice = slice(None)) -> Fault:
    """Move frames in the patient by so many millimetres."""

    def move(seg: Dataset) -> None:
        step = by(seg)
        for item in seg.PerFrameFunctionalGroupsSequence[which]:
            place = item.PlanePositionSequence[0]
            values = np.array([float(v) for v in place.ImagePositionPatient]) + step
            place.ImagePositionPatient = [f"{v:.9f}"[:16] for v in values]

    return move


def along(axis: int, voxels: float) -> Callable[[Dataset], npt.NDArray[np.float64]]:
    """Give LPS mm of so many voxels along columns (0), rows (1) or slices (2)."""

    def step(seg: Dataset) -> npt.NDArray[np.float64]:
        shared = seg.SharedFunctionalGroupsSequence[0]
        cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
        sizes = shared.PixelMeasuresSequence[0]
        normal = np.cross(cosines[0], cosines[1]) * float(sizes.SpacingBetweenSlices)
        down, across = (float(v) for v in sizes.PixelSpacing)
        by: npt.NDArray[np.float64] = np.stack([cosines[0] * across, cosines[1] * down, normal])[axis] * voxels
        return by

    return step


def millimetres(axis: int, by: float) -> Callable[[Dataset], npt.NDArray[np.float64]]:
    return lambda _: np.eye(3)[axis] * by


def exchange_frames(seg: Dataset) -> None:
    voxels = pixels(seg)
    voxels[[0, 1]] = voxels[[1, 0]]
    store(seg, voxels)


def exchange_places(seg: Dataset) -> None:
    """Positions alone: pixels and references stay."""
    one, two = seg.PerFrameFunctionalGroupsSequence[:2]
    one.PlanePositionSequence, two.PlanePositionSequence = two.PlanePositionSequence, one.PlanePositionSequence


def exchange_references(seg: Dataset) -> None:
    one, two = seg.PerFrameFunctionalGroupsSequence[:2]
    one.DerivationImageSequence, two.DerivationImageSequence = (
        two.DerivationImageSequence,
        one.DerivationImageSequence,
    )


def next_slice(seg: Dataset) -> None:
    """Position and reference of each frame are those of the slice after its own; the last takes the first's."""
    first = seg.PerFrameFunctionalGroupsSequence[: seg.NumberOfFrames // segments_in_frames(seg)]
    keep = [(item.PlanePositionSequence, item.DerivationImageSequence) for item in first]
    for number, item in enumerate(seg.PerFrameFunctionalGroupsSequence):
        item.PlanePositionSequence, item.DerivationImageSequence = keep[(number + 1) % len(keep)]


def segments_in_frames(seg: Dataset) -> int:
    return 1 if seg.SegmentationType == "LABELMAP" else len(seg.SegmentSequence)


def exchange_voxels_of_segments(seg: Dataset) -> None:
    if seg.SegmentationType == "LABELMAP":
        store(seg, np.array([0, 2, 1, 3], np.uint8)[pixels(seg)])
    for item in seg.PerFrameFunctionalGroupsSequence if seg.SegmentationType == "BINARY" else ():
        identification = item.SegmentIdentificationSequence[0]
        identification.ReferencedSegmentNumber = (0, 2, 1, 3)[identification.ReferencedSegmentNumber]


def exchange_names(seg: Dataset) -> None:
    one, two = seg.SegmentSequence[:2]
    one.SegmentLabel, two.SegmentLabel = two.SegmentLabel, one.SegmentLabel


def exchange_sides(seg: Dataset) -> None:
    left, right = (item.SegmentedPropertyTypeCodeSequence[0] for item in seg.SegmentSequence[1:])
    keyword = "SegmentedPropertyTypeModifierCodeSequence"
    one, two = left[keyword].value, right[keyword].value
    setattr(left, keyword, two)
    setattr(right, keyword, one)


def another_kind(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"


def turn(which: slice) -> Fault:
    def flip(seg: Dataset) -> None:
        orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        cosines = [float(v) for v in orientation.ImageOrientationPatient]
        cosines[which] = [-v for v in cosines[which]]
        orientation.ImageOrientationPatient = cosines

    return flip


def stretch(seg: Dataset) -> None:
    """So that the last column lies 0.02 mm beside its place, and the first on it."""
    sizes = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    sizes.PixelSpacing = [sizes.PixelSpacing[0], f"{float(sizes.PixelSpacing[1]) + 0.02 / (seg.Columns - 1):.9f}"]


def one_voxel(voxels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    voxels[tuple(np.argwhere(voxels)[7])] = 0
    return voxels


def leave_out_a_frame(seg: Dataset) -> None:
    store(seg, pixels(seg)[:-1])
    seg.NumberOfFrames -= 1
    del seg.PerFrameFunctionalGroupsSequence[-1]


def list_one_more(seg: Dataset) -> None:
    more = deepcopy(seg.SegmentSequence[0])
    more.SegmentNumber, more.SegmentLabel = 4, "organ_4"
    seg.SegmentSequence.append(more)


def another_series(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.1"


def another_instance(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "2.25.1"


def another_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "2.25.1"


def another_study(seg: Dataset) -> None:
    seg.StudyInstanceUID = "2.25.1"


FAULTS: dict[str, tuple[Fault, str]] = {
    "columns mirrored": (on_pixels(lambda voxels: voxels[:, :, ::-1]), r"differs .* first on slice 0, row 0"),
    "rows mirrored": (on_pixels(lambda voxels: voxels[:, ::-1]), "differs from the label map"),
    "slices mirrored": (on_pixels(lambda voxels: voxels[::-1]), "differs from the label map"),
    "one column further": (on_pixels(lambda voxels: np.roll(voxels, 1, 2)), "differs from the label map"),
    "one row further": (on_pixels(lambda voxels: np.roll(voxels, 1, 1)), "differs from the label map"),
    "one voxel less": (
        on_pixels(one_voxel),
        r"differs from the label map in 1 voxels.* segment \d \(organ_\d\) in 1$",
    ),
    "placed one column further": (moved(along(0, 1)), r"frame 1.* lies 0\.781 mm beside the nearest slice, 0"),
    "placed one row further": (moved(along(1, 1)), r"lies 1\.25 mm beside"),
    "placed one slice further": (moved(along(2, 1)), "differs from the label map|beside the nearest slice"),
    "placed one slice back": (moved(along(2, -1)), r"frame 1.* lies 3\.6 mm beside the nearest slice, 0"),
    "0.02 mm to the left": (moved(millimetres(0, 0.02)), r"lies 0\.02 mm beside"),
    "0.02 mm to the back": (moved(millimetres(1, 0.02)), r"lies 0\.02 mm beside"),
    "0.02 mm to the head": (moved(millimetres(2, 0.02)), r"lies 0\.02 mm beside"),
    "one frame 0.02 mm beside": (moved(millimetres(0, 0.02), slice(3, 4)), r"frame 4.* lies 0\.02 mm .* slice, 3"),
    "0.02 mm wider": (stretch, r"lies 0\.02 mm beside"),
    "two frames exchanged": (exchange_frames, "differs from the label map|segment 2 overlaps another on slice 0"),
    "two places exchanged": (exchange_places, "differs from the label map|segment 2 overlaps another on slice 0"),
    "two references exchanged": (exchange_references, "refers slice 0 to another image"),
    "each frame on the next slice": (next_slice, "differs from the label map"),
    "voxels of two segments exchanged": (exchange_voxels_of_segments, r"segment 1 \(organ_1\) in \d+, segment 2"),
    "names of two segments exchanged": (exchange_names, "segment 1 is called 'organ_2' and not 'organ_1'"),
    "sides of two segments exchanged": (exchange_sides, r"segment 2 \(organ_2\) is coded .*24028007"),
    "another kind of organ": (another_kind, r"segment 1 \(organ_1\) is coded .*10200004"),
    "rows turned": (turn(slice(0, 3)), "beside the nearest slice"),
    "columns turned": (turn(slice(3, 6)), "beside the nearest slice"),
    "turned by half": (turn(slice(0, 6)), "beside the nearest slice"),
    "a frame left out": (leave_out_a_frame, "differs from the label map in .* first on slice 4"),
    "a segment without voxels": (list_one_more, r"lists the segments \[1, 2, 3, 4\], not 1 to 3"),
    "another series": (another_series, "refers to other series or images"),
    "another instance in the series": (another_instance, "refers to other series or images"),
    "another frame of reference": (another_frame_of_reference, "another frame of reference"),
    "another study": (another_study, "another study"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kind", ENCODE)
def test_a_fault_is_stopped(tmp_path: Path, kind: str, name: str) -> None:
    seg, truth = encoded(tmp_path, kind)
    plant, says = FAULTS[name]
    plant(seg)
    with pytest.raises(ResultUnsound, match=says):
        prove(saved(seg), truth)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ENCODE)
def test_a_sound_object_passes_and_so_does_rounding_of_a_micrometre(tmp_path: Path, kind: str, source: str) -> None:
    seg, truth = encoded(tmp_path, kind, source)
    prove(saved(seg), truth)
    moved(lambda _: np.full(3, 0.001))(seg)
    prove(saved(seg), truth)


@pytest.mark.parametrize("kind", ENCODE)
def test_a_frame_that_names_another_frame_of_its_image_is_stopped(tmp_path: Path, kind: str) -> None:
    seg, truth = encoded(tmp_path, kind, "enhanced")
    image = seg.PerFrameFunctionalGroupsSequence[2].DerivationImageSequence[0].SourceImageSequence[0]
    assert image.ReferencedFrameNumber == 5
    image.ReferencedFrameNumber = 1
    with pytest.raises(ResultUnsound, match="refers slice 2 to another image"):
        prove(saved(seg), truth)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_object_of_a_label_map_that_was_mirrored_since_is_stopped(tmp_path: Path, axis: int) -> None:
    seg, truth = encoded(tmp_path, "seg")
    with pytest.raises(ResultUnsound, match="differs from the label map"):
        prove(saved(seg), replace(truth, numbers=np.flip(truth.numbers, axis)))


def test_the_side_of_the_study_has_to_be_the_one_that_is_coded(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.SAGITTAL)
    label_map = made.label_map(volume, 2)
    seg = saved(encode_seg(label_map, volume, made.identity(Laterality.LEFT)))
    positions = np.array([position(ref.path, None) for ref in volume.frames])
    truth = Truth((label_map.array == 2).astype(np.uint8), label_map.segments, Laterality.LEFT, volume, positions)
    prove(seg, truth)
    for other in (Laterality.RIGHT, None):
        with pytest.raises(ResultUnsound, match=r"segment 1 \(organ_2\) is coded"):
            prove(seg, replace(truth, laterality=other))


def test_what_is_wrong_is_told_with_segment_slice_and_place_in_the_patient() -> None:
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-10, 20, 30)
    expected = np.zeros((3, 4, 5), np.uint8)
    expected[1, 2, 3:] = 2
    found = expected.copy()
    found[1, 2, 4] = 7
    grid = Grid(affine, (3, 4, 5))
    prove_masks(expected, expected.copy(), {2: "liver"}, grid)
    with pytest.raises(ResultUnsound) as stopped:
        prove_masks(found, expected, {2: "liver"}, grid)
    assert str(stopped.value) == (
        "the encoded object differs from the label map in 1 voxels, first on slice 1, row 2, column 4 "
        "at (-8.00, 24.00, 33.00) mm: segment 2 (liver) in 1, segment 7 (unknown) in 1"
    )
    with pytest.raises(ResultUnsound, match=r"\(2, 4, 5\)"):
        prove_masks(found[:2], expected, {2: "liver"}, grid)


def test_many_wrong_segments_are_counted_and_not_all_named() -> None:
    expected = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4)
    with pytest.raises(ResultUnsound, match=r"in 12 voxels.* and 7 more$"):
        prove_masks(np.zeros_like(expected), expected, {}, Grid(np.eye(4), (1, 3, 4)))
