"""A label map comes out of the encoder where it went in, with the source's patient, and says what it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import SegmentationStorage

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import EmptyResult, ResultUnsound
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Code, LabelMap, Laterality
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import encode, raw, written

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


def frames(seg: Dataset) -> Iterator[tuple[int, Dataset]]:
    for item in seg.PerFrameFunctionalGroupsSequence:
        yield item.SegmentIdentificationSequence[0].ReferencedSegmentNumber, item


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
    for _, item in frames(seg):
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
    for _, item in frames(seg):
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
    heights = {str(item.PlanePositionSequence[0].ImagePositionPatient[2]) for _, item in frames(seg)}
    assert "109.03" in heights
    with pytest.raises(ResultUnsound, match="beside the nearest slice"):
        read_seg(seg, Grid(volume.affine, volume.shape))


def test_decimal_strings_beyond_sixteen_characters_are_cut_to_fit(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    for z, frame in enumerate(volume.frames):
        text = f"-31.2500000000000012\\12.50000000000000001\\{made.AXIAL.position(z)[2]}"
        made.graft(frame.path, [made.plain_element(0x00200032, "DS", text.encode())])
    seg = encode(made.label_map(volume, 1), volume)
    for _, item in frames(seg):
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


def test_segments_are_numbered_without_gaps_and_those_without_voxels_left_out(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 250, 7, 30, listed=(30, 9, 250, 7))
    seg = encode(label_map, volume)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in seg.SegmentSequence] == [
        (1, "organ_7"),
        (2, "organ_30"),
        (3, "organ_250"),
    ]
    assert {number for number, _ in frames(seg)} == {1, 2, 3}
    assert seg.SegmentsOverlap == "NO"


def test_only_frames_with_voxels_are_written_and_each_says_its_segment_even_if_there_is_one(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.ODD_31_37)
    label_map = made.label_map(volume, 5)
    label_map.array[2] = 0
    seg = encode(label_map, volume)
    assert seg.NumberOfFrames == len(seg.PerFrameFunctionalGroupsSequence) == volume.shape[0] - 1
    assert [number for number, _ in frames(seg)] == [1] * (volume.shape[0] - 1)
    assert "SegmentIdentificationSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_pixels_are_packed_across_frames_to_an_even_length(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.ODD_31_37)
    seg = encode(made.label_map(volume, 1, 2), volume)
    bits = seg.NumberOfFrames * seg.Rows * seg.Columns
    assert len(seg.PixelData) == (bits + 7) // 8 + (bits + 7) // 8 % 2
    assert np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[bits:].sum() == 0


def test_each_segment_carries_codes_colour_algorithm_and_tracking(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 2, 3)
    seg = encode(label_map, volume)
    for item, segment in zip(seg.SegmentSequence, label_map.segments, strict=True):
        (category,), (kind,) = item.SegmentedPropertyCategoryCodeSequence, item.SegmentedPropertyTypeCodeSequence
        assert (category.CodeValue, category.CodingSchemeDesignator) == ("123037004", "SCT")
        assert (kind.CodeValue, kind.CodeMeaning) == ("64033007", "Kidney")
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.SegmentAlgorithmName == "Organ net"
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Organ net", "0123abcd")
        assert algorithm.AlgorithmSource == "https://example.org/organ-net"
        shown = hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        assert np.abs(np.subtract(shown, segment.rgb)).max() <= 1
        assert item.TrackingID == f"Organs {segment.name}"
        assert item.TrackingUID.is_valid
    assert len({item.TrackingUID for item in seg.SegmentSequence}) == 2


@pytest.mark.parametrize(("side", "code"), [(Laterality.LEFT, "7771000"), (Laterality.RIGHT, "24028007")])
def test_the_side_of_the_study_goes_to_segments_that_have_none_of_their_own(
    tmp_path: Path, side: Laterality, code: str
) -> None:
    volume = made.classic(tmp_path, made.SAGITTAL)
    label_map = made.label_map(volume, 2, 3)
    seg = encode_seg(label_map, volume, made.identity(side, protocol="knee"))
    without, left = (s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence)
    assert without.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == code
    assert left.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert seg.Laterality == side
    assert seg.SeriesDescription.startswith(f"AI knee {side}: t2_tse")


def test_a_segment_without_a_side_has_no_modifier(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode(made.label_map(volume, 2), volume)
    kind = seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind
    assert "Laterality" not in seg


def test_an_empty_label_map_has_an_error_of_its_own(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    label_map.array[:] = 0
    with pytest.raises(EmptyResult):
        encode(label_map, volume)


def test_a_value_that_no_segment_explains_is_refused(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    with pytest.raises(ResultUnsound, match=r"\[2\]"):
        encode(made.label_map(volume, 1, 2, listed=(1,)), volume)


@pytest.mark.parametrize("name", ["Niere rechts ä", "a\\b", "x" * 65, ""])
def test_a_label_that_some_viewer_would_garble_is_refused(tmp_path: Path, name: str) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    with pytest.raises(ResultUnsound, match="printable ASCII"):
        encode(replace(label_map, segments=(replace(label_map.segments[0], name=name),)), volume)


def test_two_segments_of_one_name_are_refused(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    twins = tuple(replace(segment, name="liver") for segment in label_map.segments)
    with pytest.raises(ResultUnsound, match="share"):
        encode(replace(label_map, segments=twins), volume)


def test_codes_are_in_plain_ascii(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    odd = replace(label_map.segments[0], type=Code("64033007", "SCT", "Rein côté gauche"))
    with pytest.raises(ResultUnsound, match="code meaning"):
        encode(replace(label_map, segments=(odd,)), volume)


# Identity


def test_the_same_result_twice_has_the_same_bytes(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    assert written(encode(label_map, volume)) == written(encode(label_map, volume))


def test_another_volume_model_side_or_revision_has_other_uids(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    newer = replace(label_map, algorithm=replace(label_map.algorithm, version="4567"))
    results = [
        encode_seg(label_map, volume, made.identity()),
        encode_seg(label_map, volume, made.identity(revision=2)),
        encode_seg(label_map, volume, made.identity(Laterality.LEFT)),
        encode_seg(label_map, volume, replace(made.identity(), submodel="Bones")),
        encode_seg(label_map, replace(volume, index=2, name="echo 2"), made.identity()),
        encode_seg(newer, volume, made.identity()),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({seg[keyword].value for seg in results}) == len(results)
        assert all(seg[keyword].value.startswith("2.25.") and seg[keyword].value.is_valid for seg in results)
    assert len({seg.SegmentSequence[0].TrackingUID for seg in results}) == len(results)


def test_one_instance_in_a_series_of_its_own_says_what_and_of_which_source_it_is(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode(made.label_map(volume, 1), volume)
    assert seg.SOPClassUID == SegmentationStorage == seg.file_meta.MediaStorageSOPClassUID
    assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (seg.SegmentationType, list(seg.ImageType)) == ("BINARY", ["DERIVED", "PRIMARY"])
    assert seg.SeriesInstanceUID != volume.series_uid
    assert seg.SeriesDescription == "AI abdomen: t2_tse_tra"
    assert (seg.SeriesNumber, seg.InstanceNumber) == (1501, 1)
    assert (seg.ContentLabel, seg.ContentDescription) == ("AI_ABDOMEN", "Organs on t2_tse_tra")
    assert seg.ContentCreatorName == "Sagittal^Sagittal"
    assert (seg.ContentDate, seg.ContentTime, seg.SeriesDate) == ("20261120", "093015", "20261120")
    assert (seg.Manufacturer, seg.ManufacturerModelName) == ("Sagittal", "Sagittal")
    assert (seg.SoftwareVersions, seg.DeviceSerialNumber) == ("0.1.0", "test-1")
    scanner, model = seg.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("SIEMENS", "Skyra")
    assert list(scanner.SoftwareVersions) == ["syngo MR E11", "N4"]
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (model.ManufacturerModelName, model.SoftwareVersions) == ("Organ net", "0123abcd")
    assert model.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


@pytest.mark.parametrize(
    ("description", "shown"),
    [("T2 膝 TRA", "T2 TRA"), ("膝", "series 5"), ("a\\b\n c", "a b c"), ("x" * 80, "x" * 52)],
)
def test_the_source_is_named_in_ascii_whatever_it_is_called(tmp_path: Path, description: str, shown: str) -> None:
    def hide(image: Dataset) -> None:
        del image.SeriesDescription

    volume = replace(made.classic(tmp_path, made.AXIAL, hide), facts={"SeriesDescription": description})
    seg = encode(made.label_map(volume, 1), volume)
    assert seg.SeriesDescription == f"AI abdomen: {shown}"


def test_the_result_of_a_phantom_model_says_so_wherever_a_person_looks(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode(made.label_map(volume, 1, phantom=True), volume)
    assert seg.SeriesDescription.startswith("AI PHANTOM not clinical")
    assert seg.ContentLabel == "AI_PHANTOM_MODEL"
    assert seg.ContentDescription.startswith("PHANTOM MODEL, NOT CLINICAL")
    (item,) = seg.SegmentSequence
    assert item.SegmentAlgorithmName == "PHANTOM MODEL, NOT CLINICAL: Organ net"
    (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "PHANTOM MODEL, NOT CLINICAL: Organ net"
    assert seg.ContributingEquipmentSequence[1].ManufacturerModelName.startswith("PHANTOM MODEL, NOT CLINICAL")


def test_only_the_instances_of_this_volume_are_referred_to(tmp_path: Path) -> None:
    first, second = tmp_path / "echo1", tmp_path / "echo2"
    first.mkdir(), second.mkdir()
    one = made.classic(first, made.AXIAL)

    def of_the_same_series(image: Dataset) -> None:
        image.SeriesInstanceUID, image.StudyInstanceUID = one.series_uid, one.study_uid

    two = replace(made.classic(second, made.AXIAL, of_the_same_series), index=2, name="echo 2")
    segs = [encode(made.label_map(volume, 1), volume) for volume in (one, two)]
    for seg, volume in zip(segs, (one, two), strict=True):
        (series,) = seg.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == one.series_uid
        named = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
        assert named == [frame.sop_instance_uid for frame in volume.frames]
        assert named == [item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence]
    assert segs[0].SeriesNumber != segs[1].SeriesNumber
    assert segs[1].SeriesDescription == "AI abdomen: echo 2 t2_tse_tra"


def test_loss_in_the_source_is_inherited(tmp_path: Path) -> None:
    def lose(image: Dataset) -> None:
        if image.InstanceNumber == 2:
            image.LossyImageCompression, image.LossyImageCompressionRatio = "01", "12.5"
            image.LossyImageCompressionMethod = "ISO_15444_1"

    volume = made.classic(tmp_path, made.AXIAL, lose)
    seg = encode(made.label_map(volume, 1), volume)
    assert (seg.LossyImageCompression, str(seg.LossyImageCompressionRatio)) == ("01", "12.5")
    assert seg.LossyImageCompressionMethod == "ISO_15444_1"


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
    for _, item in frames(seg):
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
