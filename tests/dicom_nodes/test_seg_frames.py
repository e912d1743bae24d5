"""What is encoded without data sets is what pydicom writes of them; what is read without them is what it reads."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.codes import cielab
from dicom_nodes.encode.frames import encode_groups, list_frames, pack
from dicom_nodes.encode.identity import tracking_uid
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.encode.segments import count_voxels
from dicom_nodes.encode.source import read_source
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Volume
from dicom_nodes.walk import elements, items, sequence_value
from tests.dicom_nodes import seg_sources as made

SOURCES: dict[str, Callable[[Path], Volume]] = {
    "classic": lambda folder: made.classic(folder, made.unit(made.OBLIQUE)),
    "enhanced": lambda folder: made.enhanced(folder, made.AXIAL, (14, 2, 5, 11, 3)),
}


def item_of(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def code(value: str, meaning: str) -> list[Dataset]:
    return [item_of(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)]


def group_by_pydicom(volume: Volume, segment: int, z: int, position: int) -> Dataset:
    """The functional groups of one frame as plain data sets."""
    ref = volume.frames[z]
    place = dcmread(ref.path)
    if ref.frame_number is not None:
        place = place.PerFrameFunctionalGroupsSequence[ref.frame_number - 1].PlanePositionSequence[0]
    image = item_of(
        ReferencedSOPClassUID=ref.sop_class_uid,
        ReferencedSOPInstanceUID=ref.sop_instance_uid,
        SpatialLocationsPreserved="YES",
        PurposeOfReferenceCodeSequence=code("121322", "Source image for image processing operation"),
    )
    if ref.frame_number is not None:
        image.ReferencedFrameNumber = ref.frame_number
    derivation = item_of(DerivationCodeSequence=code("113076", "Segmentation"), SourceImageSequence=[image])
    return item_of(
        FrameContentSequence=[item_of(DimensionIndexValues=[segment, position])],
        PlanePositionSequence=[item_of(ImagePositionPatient=place.ImagePositionPatient)],
        SegmentIdentificationSequence=[item_of(ReferencedSegmentNumber=segment)],
        DerivationImageSequence=[derivation],
    )


def saved(seg: Dataset, implicit_vr: bool = False) -> io.BytesIO:
    file = io.BytesIO()
    if implicit_vr:
        seg.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    dcmwrite(file, seg, implicit_vr=implicit_vr, little_endian=True, enforce_file_format=True)
    file.seek(0)
    return file


def encoded(tmp_path: Path, *values: int) -> tuple[Volume, Dataset]:
    volume = made.classic(tmp_path, made.ODD_31_37)
    return volume, encode_seg(made.label_map(volume, *values), volume, made.identity())


@pytest.mark.parametrize("kind", SOURCES)
def test_functional_groups_are_the_bytes_that_pydicom_would_have_written(tmp_path: Path, kind: str) -> None:
    volume = SOURCES[kind](tmp_path)
    numbers = made.labels(volume, (1, 2, 200))
    numbers[1] = 0
    numbers[2][numbers[2] == 2] = 0
    frames = list_frames(count_voxels(numbers)[:, 1:])
    slices = {1: (0, 2, 3, 4), 2: (0, 3, 4), 200: (0, 2, 3, 4)}
    assert frames == [(segment, z) for segment, several in slices.items() for z in several]
    position = {0: 1, 2: 2, 3: 3, 4: 4}
    slow = item_of(
        PerFrameFunctionalGroupsSequence=[group_by_pydicom(volume, s, z, position[z]) for s, z in frames]
    )
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, slow)
    fast = encode_groups(frames, read_source(volume))
    assert file.getvalue()[12:] == fast.value
    (element,) = elements(file.getvalue()).items()
    assert element == (Tag("PerFrameFunctionalGroupsSequence"), fast.value)


@pytest.mark.parametrize("shape", [(3, 8, 8), (5, 31, 37), (20, 3, 3), (17, 5, 1), (1, 1, 1)])
def test_frames_are_packed_as_one_row_of_bits(shape: tuple[int, int, int]) -> None:
    numbers = np.random.default_rng(5).integers(0, 4, shape, dtype=np.uint8)
    numbers[0, 0, 0] = 1
    frames = list_frames(count_voxels(numbers)[:, 1:])
    bits = np.concatenate([(numbers[z] == segment).ravel() for segment, z in frames])
    expected = np.packbits(bits, bitorder="little").tobytes()
    assert pack(numbers, frames) == expected + b"\0" * (len(expected) % 2)


def test_colours_are_those_of_highdicom() -> None:
    steps = (0, 1, 9, 10, 11, 64, 127, 128, 200, 254, 255)
    for rgb in ((r, g, b) for r in steps for g in steps for b in steps):
        assert tuple(cielab(rgb)) == hd.color.CIELabColor.from_rgb(*rgb).value


def test_a_segment_is_tracked_under_a_uid_that_other_objects_can_derive(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 4, 250)
    seg = encode_seg(label_map, volume, made.identity())
    assert [item.TrackingUID for item in seg.SegmentSequence] == [
        tracking_uid(volume, label_map.algorithm, made.identity(), value) for value in (4, 250)
    ]


@pytest.mark.parametrize("implicit_vr", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
def test_a_seg_is_read_however_its_sequences_are_written(
    tmp_path: Path, implicit_vr: bool, undefined: bool
) -> None:
    volume, seg = encoded(tmp_path, 1, 2)
    whole = dcmread(saved(seg))

    def leave_open(dataset: Dataset) -> None:
        for element in dataset:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
                for item in element.value:
                    item.is_undefined_length_sequence_item = undefined
                    leave_open(item)

    leave_open(whole)
    assert (b"\xfe\xff\xdd\xe0" in saved(whole).getvalue()) is undefined
    grid = Grid(volume.affine, volume.shape)
    again, first = read_seg(saved(whole, implicit_vr), grid), read_seg(seg, grid)
    assert np.array_equal(again.labels, first.labels)
    refs = {z: frozenset({(ref.sop_instance_uid, None)}) for z, ref in enumerate(volume.frames)}
    assert again.frames == first.frames
    assert {frame.slice: frame.images for frame in again.frames} == refs
    assert np.array_equal(read_seg(dcmread(saved(whole, implicit_vr)), grid).labels, first.labels)


def test_reading_leaves_a_data_set_as_it_was(tmp_path: Path) -> None:
    volume, seg = encoded(tmp_path, 1, 2)
    before = saved(seg).getvalue()
    read_seg(seg, Grid(volume.affine, volume.shape))
    assert saved(seg).getvalue() == before
    assert seg.get_item("SegmentSequence", keep_deferred=True).is_raw


def overlap(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 3
    seg.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence = seg.PerFrameFunctionalGroupsSequence[
        0
    ].PlanePositionSequence
    seg.PixelData = b"\xff" * len(seg.PixelData)


def claim_twice(seg: Dataset) -> None:
    first, second = seg.PerFrameFunctionalGroupsSequence[:2]
    second.PlanePositionSequence = first.PlanePositionSequence


def cut_pixels(seg: Dataset) -> None:
    seg.PixelData = seg.PixelData[:-4]


def no_place(seg: Dataset) -> None:
    del seg.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def empty_place(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence = Sequence()


def deep(seg: Dataset) -> None:
    seg.BitsAllocated = 8


def fractional(seg: Dataset) -> None:
    seg.SegmentationType = "FRACTIONAL"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (overlap, "overlaps another"),
        (claim_twice, "two frames on slice"),
        (cut_pixels, "pixels end before"),
        (no_place, "does not say its segment and place"),
        (empty_place, "does not say its segment and place"),
        (deep, "one bit each"),
        (fractional, "not a BINARY segmentation"),
    ],
)
def test_a_seg_that_says_nonsense_is_not_read(tmp_path: Path, spoil: Callable[[Dataset], None], why: str) -> None:
    volume, seg = encoded(tmp_path, 1, 2)
    spoil(seg)
    with pytest.raises(ResultUnsound, match=why):
        read_seg(seg, Grid(volume.affine, volume.shape))


def test_a_sequence_that_is_cut_short_is_an_error_at_any_byte(tmp_path: Path) -> None:
    _, seg = encoded(tmp_path, 1)
    (whole, *_) = items(sequence_value(seg, "PerFrameFunctionalGroupsSequence"))
    ends = {0} | {len(b"".join(list_of[:n])) for list_of in [parts(whole)] for n in range(len(list_of) + 1)}
    for length in set(range(len(whole))) - ends:
        with pytest.raises(ValueError, match=r"cut short|ends beyond"):
            elements(whole[:length])


def parts(item: bytes) -> list[bytes]:
    """Cut an item between its elements, all sequences."""
    return [bytes(12) + value for value in elements(item).values()]
