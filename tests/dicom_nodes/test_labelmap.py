"""A label map sent as one: a byte a voxel, a frame a slice; segments and places are those of a BINARY SEG."""

import ast
import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import SegmentationStorage

import dicom_nodes
from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.labelmap import LABEL_MAP_SEGMENTATION_STORAGE, encode_labelmap
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import EmptyResult, ResultUnsound
from dicom_nodes.types import Finished, LabelMap, Laterality, Predecessor, Volume
from tests.dicom_nodes import seg_sources as made

DCIODVFY = shutil.which("dciodvfy")
ENCODE = {"seg": encode_seg, "labelmap": encode_labelmap}
OLDER = Predecessor(str(SegmentationStorage), "2.25.71", "2.25.72")

SOURCES: dict[str, tuple[Callable[[Path], Volume], tuple[int, ...]]] = {
    "axial": (lambda folder: made.classic(folder, made.AXIAL), (1, 2, 3)),
    "sagittal": (lambda folder: made.classic(folder, made.SAGITTAL), (1, 2, 3)),
    "coronal": (lambda folder: made.classic(folder, made.CORONAL), (1, 2, 3)),
    "oblique": (lambda folder: made.classic(folder, made.unit(made.OBLIQUE)), (2, 7, 250)),
    "feet first, prone": (lambda folder: made.classic(folder, made.FEET_FIRST_PRONE), (1, 2)),
    "upside down": (lambda folder: made.classic(folder, made.UPSIDE_DOWN), (1, 2)),
    "odd matrix, an odd number of bytes": (lambda folder: made.classic(folder, odd(3, 31, 37)), (1, 2)),
    "odd matrix, oblique": (lambda folder: made.classic(folder, made.unit(made.ODD_OBLIQUE)), (1, 2)),
    "one segment": (lambda folder: made.classic(folder, made.ODD), (4,)),
    "100 segments": (lambda folder: made.classic(folder, made.ODD), tuple(range(1, 101))),
    "255 segments": (lambda folder: made.classic(folder, made.ODD), tuple(range(1, 256))),
    "enhanced, frames shuffled": (
        lambda folder: made.enhanced(folder, made.unit(made.OBLIQUE), (6, 2, 5, 1, 3)),
        (1, 2, 3),
    ),
    "legacy converted": (lambda folder: made.enhanced(folder, made.SAGITTAL, legacy=True), (1, 2)),
}


def odd(*shape: int) -> made.Geometry:
    z, y, x = shape
    return replace(made.AXIAL, shape=(z, y, x))


def saved(seg: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, seg)
    return file.getvalue()


def hide_slice(label_map: LabelMap, z: int) -> LabelMap:
    label_map.array[z] = 0
    return label_map


@pytest.mark.parametrize("name", SOURCES)
def test_a_label_map_comes_back_where_it_was_with_the_frames_that_have_voxels(tmp_path: Path, name: str) -> None:
    make, values = SOURCES[name]
    volume = make(tmp_path)
    label_map = hide_slice(made.label_map(volume, *values), 1)
    seg = dcmread(io.BytesIO(saved(encode_labelmap(label_map, volume, made.identity()))))
    numbers = np.searchsorted([0, *values], label_map.array).astype(np.uint8)
    decoded = read_seg(seg, Grid(volume.affine, volume.shape))
    assert np.array_equal(decoded.labels, numbers)
    assert decoded.names == {number: f"organ_{value}" for number, value in enumerate(values, start=1)}
    assert [frame.slice for frame in decoded.frames] == [z for z in range(volume.shape[0]) if z != 1]
    assert np.array_equal(
        seg.pixel_array.reshape(-1, *volume.shape[1:]), numbers[[f.slice for f in decoded.frames]]
    )
    assert len(seg.PixelData) % 2 == 0


@pytest.mark.parametrize("name", SOURCES)
def test_highdicom_sees_every_voxel_of_every_segment_where_the_label_map_has_it(tmp_path: Path, name: str) -> None:
    make, values = SOURCES[name]
    volume = make(tmp_path)
    label_map = made.label_map(volume, *values)
    dcmwrite(tmp_path / "labelmap.dcm", encode_labelmap(label_map, volume, made.identity()))
    seg = hd.seg.segread(tmp_path / "labelmap.dcm")
    read = seg.get_volume(combine_segments=True)
    affine = read.affine.copy()
    affine[:, [0, 2]] = affine[:, [2, 0]]
    numbers = np.searchsorted([0, *values], label_map.array).astype(np.uint8)
    assert np.array_equal(made.onto_grid(volume, read.array, affine), numbers)
    assert [seg.get_segment_description(n).segment_label for n in range(1, len(values) + 1)] == [
        f"organ_{value}" for value in values
    ]


def test_it_is_what_the_standard_asks_of_a_labelmap(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode_labelmap(made.label_map(volume, 2, 9), volume, made.identity())
    assert seg.SOPClassUID == seg.file_meta.MediaStorageSOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (seg.SegmentationType, seg.SegmentsOverlap, seg.PhotometricInterpretation) == (
        "LABELMAP",
        "NO",
        "MONOCHROME2",
    )
    assert (seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation) == (8, 8, 7, 0)
    assert (seg.get_item("PixelPaddingValue").VR, seg.PixelPaddingValue) == ("US", 0)
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2]
    (dimension,) = seg.DimensionIndexSequence
    assert (dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer) == (0x00200032, 0x00209113)
    for z, groups in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
        assert "SegmentIdentificationSequence" not in groups
        assert groups.FrameContentSequence[0].DimensionIndexValues == z
    assert "SegmentIdentificationSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_segments_places_and_references_are_those_of_the_seg_and_no_uid_is(tmp_path: Path) -> None:
    volume = made.enhanced(tmp_path, made.unit(made.OBLIQUE), (4, 2, 5, 1, 3))
    label_map = made.label_map(volume, 1, 3)
    identity = made.identity(Laterality.RIGHT)
    one, other = (dcmread(io.BytesIO(saved(e(label_map, volume, identity)))) for e in ENCODE.values())
    for keyword in ("SegmentSequence", "SharedFunctionalGroupsSequence", "ReferencedSeriesSequence", "PatientName"):
        assert one[keyword] == other[keyword], keyword
    for frame, same in zip(
        one.PerFrameFunctionalGroupsSequence[:5], other.PerFrameFunctionalGroupsSequence, strict=True
    ):
        assert frame.PlanePositionSequence == same.PlanePositionSequence
        assert frame.DerivationImageSequence == same.DerivationImageSequence
    uids = [
        uid
        for seg in (one, other)
        for uid in (
            seg.SOPInstanceUID,
            seg.SeriesInstanceUID,
            seg.DimensionOrganizationSequence[0].DimensionOrganizationUID,
        )
    ]
    assert len(set(uids)) == 6


@pytest.mark.parametrize("encode", ENCODE.values(), ids=ENCODE)
def test_a_part_has_its_own_object_and_its_segments_are_tracked_as_in_the_whole(
    tmp_path: Path, encode: Callable[..., Dataset]
) -> None:
    volume = made.classic(tmp_path, made.ODD)
    whole = made.label_map(volume, 1, 2, 3, 4)
    half = replace(whole, array=np.where(whole.array > 2, whole.array, 0).astype(np.uint8))
    rest = replace(whole, array=np.where(whole.array <= 2, whole.array, 0).astype(np.uint8))
    vertebrae, organs = replace(made.identity(), part="vertebrae"), replace(made.identity(), part="organs")
    one, two, three = (
        encode(whole, volume, made.identity()),
        encode(half, volume, vertebrae),
        encode(rest, volume, organs),
    )
    assert len({seg.SOPInstanceUID for seg in (one, two, three)}) == 3
    assert len({seg.SeriesInstanceUID for seg in (one, two, three)}) == 3
    assert [(s.SegmentNumber, s.SegmentLabel) for s in two.SegmentSequence] == [(1, "organ_3"), (2, "organ_4")]
    tracked = [s.TrackingUID for s in one.SegmentSequence]
    assert [s.TrackingUID for s in [*three.SegmentSequence, *two.SegmentSequence]] == tracked
    grid = Grid(volume.affine, volume.shape)
    first, second = read_seg(two, grid).labels, read_seg(three, grid).labels
    assert np.array_equal(np.where(first, first + 2, second), whole.array)


@pytest.mark.parametrize("encode", ENCODE.values(), ids=ENCODE)
def test_the_one_that_it_takes_the_place_of_is_named_where_no_viewer_takes_it_for_a_source(
    tmp_path: Path, encode: Callable[..., Dataset]
) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    plain, seg = encode(label_map, volume, made.identity()), encode(label_map, volume, made.identity(), OLDER)
    (image,) = seg.ReferencedImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (SegmentationStorage, "2.25.71")
    (purpose,) = image.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121348", "DCM")
    assert saved(seg).count(b"2.25.71\0") == 1
    del seg.ReferencedImageSequence
    assert saved(seg) == saved(plain)


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_dciodvfy_finds_no_error_in_a_seg_that_names_its_predecessor(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    dcmwrite(tmp_path / "seg.dcm", encode_seg(made.label_map(volume, 1, 2), volume, made.identity(), OLDER))
    command = [str(DCIODVFY), "-new", str(tmp_path / "seg.dcm")]
    report = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace").stderr
    assert "Segmentation" in report
    assert "Error" not in report


@pytest.mark.parametrize("kind", ENCODE)
def test_a_finished_job_gives_the_predecessor_to_its_objects(tmp_path: Path, kind: str) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    finished = Finished(label_map, volume, made.identity(), (), predecessor=OLDER)
    assert saved(ENCODERS[kind](finished, ())) == saved(ENCODE[kind](label_map, volume, made.identity(), OLDER))


def test_the_same_result_twice_has_the_same_bytes_and_a_later_attempt_changes_dates_alone(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    first = saved(encode_labelmap(label_map, volume, made.identity()))
    assert first == saved(encode_labelmap(label_map, volume, made.identity()))
    later = replace(made.identity(), made_at=datetime(2026, 11, 21, 7, 0))  # noqa: DTZ001 -- site time
    assert encode_labelmap(label_map, volume, later).SOPInstanceUID == dcmread(io.BytesIO(first)).SOPInstanceUID


def test_nothing_and_the_unexplained_are_refused_as_in_a_seg(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    empty = made.label_map(volume, 1)
    empty.array[:] = 0
    with pytest.raises(EmptyResult):
        encode_labelmap(empty, volume, made.identity())
    with pytest.raises(ResultUnsound, match=r"\[2\]"):
        encode_labelmap(made.label_map(volume, 1, 2, listed=(1,)), volume, made.identity())


# Reading


def test_the_labelmap_of_another_writer_is_read_and_its_background_is_no_segment(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.unit(made.OBLIQUE))
    labels = made.labels(volume, (1, 2))
    kinds = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"organ_{number}",
            segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=hd.sr.CodedConcept("64033007", "SCT", "Kidney"),
            algorithm_type="MANUAL",
        )
        for number in (1, 2)
    ]
    other = hd.seg.Segmentation(
        [dcmread(ref.path) for ref in volume.frames], labels, "LABELMAP", kinds, hd.UID(), 9, hd.UID(), 1,
        "maker", "model", "1", "1",
    )  # fmt: skip
    assert [item.SegmentNumber for item in other.SegmentSequence] == [0, 1, 2]
    decoded = read_seg(other, Grid(volume.affine, volume.shape))
    assert np.array_equal(decoded.labels, labels)
    assert decoded.names == {1: "organ_1", 2: "organ_2"}


def test_a_labelmap_that_says_nonsense_is_not_read(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode_labelmap(made.label_map(volume, 1, 2), volume, made.identity())
    spoilt = {
        "a background of 5": {"PixelPaddingValue": 5},
        "one byte each": {"BitsAllocated": 16},
        "pixels end before": {"PixelData": seg.PixelData[:-2]},
        r"segments that are not described: \[7\]": {"PixelData": b"\7\0" + seg.PixelData[2:]},
        "24 × 21 on a grid": {"Columns": 21},
    }
    for why, attributes in spoilt.items():
        wrong = dcmread(io.BytesIO(saved(seg)))
        for keyword, value in attributes.items():
            setattr(wrong, keyword, value)
        with pytest.raises(ResultUnsound, match=why):
            read_seg(wrong, Grid(volume.affine, volume.shape))


def test_a_labelmap_with_two_frames_on_a_slice_is_not_read(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = dcmread(io.BytesIO(saved(encode_labelmap(made.label_map(volume, 1), volume, made.identity()))))
    first, second = seg.PerFrameFunctionalGroupsSequence[:2]
    second.PlanePositionSequence = first.PlanePositionSequence
    with pytest.raises(ResultUnsound, match="frame 2 is one of two frames on slice 0"):
        read_seg(seg, Grid(volume.affine, volume.shape))


# The proof proves because it shares nothing with what it checks.


def imported(module: str) -> set[str]:
    """Name the modules of our own that a module imports."""
    (root,) = dicom_nodes.__path__
    tree = ast.parse(Path(root, f"{module}.py").read_text(encoding="utf-8"))
    return {
        node.module.removeprefix("dicom_nodes.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dicom_nodes.")
    }


def test_decoder_and_proof_share_no_step_with_the_encoder() -> None:
    decoding = {"decode", "planes", "walk", "proof"}
    for module in decoding:
        assert not {name for name in imported(module) if name.startswith("encode")}, module
    encoding = [
        f"encode/{name}" for name in ("seg", "labelmap", "frames", "place", "segments", "identity", "source")
    ]
    for module in encoding:
        assert not imported(module) & decoding, module
    assert imported("encode/segmentation") & decoding == {"proof"}
