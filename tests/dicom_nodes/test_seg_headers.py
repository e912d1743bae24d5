"""A SEG says what it is: segments, codes, UIDs, series, and of which source."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Code, Laterality
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import encode, written


def test_segments_are_numbered_without_gaps_and_those_without_voxels_left_out(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 250, 7, 30, listed=(30, 9, 250, 7))
    seg = encode(label_map, volume)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in seg.SegmentSequence] == [
        (1, "organ_7"),
        (2, "organ_30"),
        (3, "organ_250"),
    ]
    assert {number for number, _ in made.frames(seg)} == {1, 2, 3}
    assert seg.SegmentsOverlap == "NO"


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
