"""A label map comes out of the encoder where it went in, with the source's patient, and says what it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import EmptyResult, ResultUnsound
from dicom_nodes.headers import read_headers
from dicom_nodes.types import LabelMap
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import encode, raw

GEOMETRIES = {
    "axial": made.AXIAL,
    "sagittal": made.SAGITTAL,
    "coronal": made.CORONAL,
    "oblique": made.unit(made.OBLIQUE),
    "feet first, prone": made.FEET_FIRST_PRONE,
    "upside down": made.UPSIDE_DOWN,
    "odd matrix": made.ODD_31_37,
    "odd matrix, oblique": made.unit(made.ODD_OBLIQUE),
}


# Place


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_label_map_comes_back_where_it_was(tmp_path: Path, name: str) -> None:
    volume = made.classic(tmp_path, GEOMETRIES[name])
    label_map = made.label_map(volume, 1, 2, 3)
    seg = encode(label_map, volume)
    decoded = read_seg(seg, Grid(volume.affine, volume.shape))
    assert np.array_equal(decoded.labels, label_map.array)
    assert decoded.names == {1: "organ_1", 2: "organ_2", 3: "organ_3"}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_place_is_written_in_the_decimal_strings_of_the_source(tmp_path: Path, name: str) -> None:
    geometry = GEOMETRIES[name]
    volume = made.classic(tmp_path, geometry)
    seg = encode(made.label_map(volume, 1, 2), volume)
    slices = {frame.sop_instance_uid: z for z, frame in enumerate(volume.frames)}
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert "\\".join(map(str, shared.PlaneOrientationSequence[0].ImageOrientationPatient)) == "\\".join(
        geometry.orientation
    )
    assert tuple(map(str, shared.PixelMeasuresSequence[0].PixelSpacing)) == geometry.spacing
    assert (seg.Rows, seg.Columns) == volume.shape[1:]
    assert seg.FrameOfReferenceUID == volume.frame_of_reference_uid
    for _, item in made.frames(seg):
        z = slices[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert tuple(map(str, item.PlanePositionSequence[0].ImagePositionPatient)) == geometry.position(z)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("orientation_per_frame", [False, True])
def test_frames_of_a_multiframe_source_are_told_by_their_number(
    tmp_path: Path, legacy: bool, orientation_per_frame: bool
) -> None:
    order = (6, 2, 5, 1, 3)  # frame 4 belongs to no slice of this volume
    volume = made.enhanced(tmp_path, made.unit(made.OBLIQUE), order, legacy, orientation_per_frame)
    label_map = made.label_map(volume, 1, 2)
    seg = encode(label_map, volume)
    decoded = read_seg(seg, Grid(volume.affine, volume.shape))
    assert np.array_equal(decoded.labels, label_map.array)
    assert list(seg.SourceImageSequence[0].ReferencedFrameNumber) == list(order)
    (series,) = seg.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [
        volume.frames[0].sop_instance_uid
    ]
    for _, item in made.frames(seg):
        (image,) = item.DerivationImageSequence[0].SourceImageSequence
        z = order.index(image.ReferencedFrameNumber)
        position = [float(v) for v in item.PlanePositionSequence[0].ImagePositionPatient]
        assert position == [float(v) for v in made.unit(made.OBLIQUE).position(z)]
        assert image.ReferencedSOPClassUID == volume.frames[0].sop_class_uid


def test_a_slice_that_lies_a_little_off_the_even_grid_is_written_where_it_lies(tmp_path: Path) -> None:
    def shift(image: Dataset) -> None:
        if image.InstanceNumber == 3:
            image.ImagePositionPatient[2] = "109.03"

    volume = made.classic(tmp_path, made.AXIAL, shift)
    seg = encode(made.label_map(volume, 1), volume)
    heights = {str(item.PlanePositionSequence[0].ImagePositionPatient[2]) for _, item in made.frames(seg)}
    assert "109.03" in heights
    with pytest.raises(ResultUnsound, match="beside the nearest slice"):
        read_seg(seg, Grid(volume.affine, volume.shape))


def test_decimal_strings_beyond_sixteen_characters_are_cut_to_fit(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    for z, frame in enumerate(volume.frames):
        text = f"-31.2500000000000012\\12.50000000000000001\\{made.AXIAL.position(z)[2]}"
        made.graft(frame.path, [made.plain_element(0x00200032, "DS", text.encode())])
    seg = encode(made.label_map(volume, 1), volume)
    for _, item in made.frames(seg):
        position = item.PlanePositionSequence[0].ImagePositionPatient
        assert [float(v) for v in position[:2]] == [-31.25, 12.5]
        assert all(len(str(v)) <= 16 for v in position)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_label_map_that_lies_elsewhere_than_its_volume_is_refused(tmp_path: Path, axis: int) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    mirrored = volume.affine.copy()
    mirrored[axis] *= -1
    with pytest.raises(ResultUnsound, match="does not lie where its volume lies"):
        encode(replace(made.label_map(volume, 1), affine=mirrored), volume)


def test_frames_in_another_order_than_the_affine_says_are_refused(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    with pytest.raises(ResultUnsound, match="does not lie on slice"):
        encode(label_map, replace(volume, frames=volume.frames[::-1]))


def test_a_volume_whose_affine_is_mirrored_against_its_headers_is_refused(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    mirrored = volume.affine.copy()
    mirrored[:3, 3] += mirrored[:3, 0] * (volume.shape[2] - 1)
    mirrored[:3, 0] *= -1
    volume = replace(volume, affine=mirrored)
    with pytest.raises(ResultUnsound, match="does not lie on slice"):
        encode(made.label_map(volume, 1), volume)


def test_a_seg_is_not_read_onto_a_grid_it_does_not_lie_on(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode(made.label_map(volume, 1), volume)
    for column, by in ((3, 0.02), (0, 0.002), (1, -0.002)):
        elsewhere = volume.affine.copy()
        elsewhere[:3, column] += by
        with pytest.raises(ResultUnsound, match="beside the nearest slice"):
            read_seg(seg, Grid(elsewhere, volume.shape))


def test_a_seg_read_without_a_grid_spans_its_own_slices(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.unit(made.OBLIQUE))
    label_map = made.label_map(volume, 1, 2)
    label_map.array[[0, 4]] = 0
    path = tmp_path / "seg.dcm"
    dcmwrite(path, encode(label_map, volume))
    decoded = read_seg(path)
    assert decoded.labels.shape == (3, *volume.shape[1:])
    assert np.array_equal(made.onto_grid(volume, decoded.labels, decoded.affine), label_map.array)


# Segments


def test_only_frames_with_voxels_are_written_and_each_says_its_segment_even_if_there_is_one(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.ODD_31_37)
    label_map = made.label_map(volume, 5)
    label_map.array[2] = 0
    seg = encode(label_map, volume)
    assert seg.NumberOfFrames == len(seg.PerFrameFunctionalGroupsSequence) == volume.shape[0] - 1
    assert [number for number, _ in made.frames(seg)] == [1] * (volume.shape[0] - 1)
    assert "SegmentIdentificationSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_pixels_are_packed_across_frames_to_an_even_length(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.ODD_31_37)
    seg = encode(made.label_map(volume, 1, 2), volume)
    bits = seg.NumberOfFrames * seg.Rows * seg.Columns
    assert len(seg.PixelData) == (bits + 7) // 8 + (bits + 7) // 8 % 2
    assert np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[bits:].sum() == 0


def test_an_empty_label_map_has_an_error_of_its_own(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    label_map.array[:] = 0
    with pytest.raises(EmptyResult):
        encode(label_map, volume)


# Real data


@real_data.needed
def test_a_real_prostate_series_gets_a_seg_of_exactly_its_geometry(tmp_path: Path) -> None:
    (volume,) = find_volumes(read_headers(real_data.files("prostate/px0001_t2_tra"))).volumes
    array = np.zeros(volume.shape, np.uint8)
    array[3:9, 100:180, 140:150] = 1
    array[5:15, 200:203, 20:300] = 4
    label_map = LabelMap(array, volume.affine, made.segments(1, 4), made.label_map(volume, 1).algorithm)
    seg = encode_seg(label_map, volume, made.identity(protocol="prostate"))
    assert seg.SeriesDescription == "AI prostate: t2_tse_tra"
    shared = seg.SharedFunctionalGroupsSequence[0]
    sources = {
        str(ds.SOPInstanceUID): ds for ds in (dcmread(f.path, stop_before_pixels=True) for f in volume.frames)
    }
    for _, item in made.frames(seg):
        source = sources[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        for ours, theirs in (
            (item.PlanePositionSequence[0].ImagePositionPatient, source.ImagePositionPatient),
            (shared.PlaneOrientationSequence[0].ImageOrientationPatient, source.ImageOrientationPatient),
            (shared.PixelMeasuresSequence[0].PixelSpacing, source.PixelSpacing),
        ):
            assert [str(v) for v in ours] == [str(v) for v in theirs]
        for keyword in ("PatientName", "PatientID", "StudyDate", "FrameOfReferenceUID", "SpecificCharacterSet"):
            assert seg.get(keyword) == source.get(keyword)
    decoded = read_seg(seg, Grid(volume.affine, volume.shape))
    assert np.array_equal(decoded.labels, np.searchsorted([0, 1, 4], array))


@pytest.mark.parametrize(
    "name",
    [
        "vendors/philips_elition_enhanced_tse",
        "vendors/siemens_xa30_dwi_pa",
        "vendors/d2n_hitachi_echelon_oblique",
        "vendors/ge_premier_fmri_hfs_5t",
        "vendors/uih_umr770_t1_sag",
        "tricky/siemens_hfdr_t1_sag",
    ],
)
def test_volumes_of_every_vendor_get_a_seg_where_they_lie(name: str) -> None:
    for volume in find_volumes(read_headers(real_data.files(name))).volumes[:2]:
        label_map = made.label_map(volume, 1)
        label_map.array[:, 5:] = 0
        seg = encode(label_map, volume)
        decoded = read_seg(seg)
        assert np.array_equal(made.onto_grid(volume, decoded.labels, decoded.affine), label_map.array)
        source = dcmread(volume.frames[0].path, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID"):
            assert raw(seg, keyword) == raw(source, keyword)
