"""A SEG belongs to the patient and the study of its source, as the source has them, byte for byte."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_nodes.encode.source import PATIENT_AND_STUDY
from dicom_nodes.errors import ResultUnsound
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import encode, raw

TEXT = {"AE", "AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


@pytest.mark.parametrize(
    "how",
    [{}, {"implicit_vr": True}, {"little_endian": False}],
    ids=["explicit", "implicit", "big endian"],
)
def test_patient_and_study_are_copied_byte_for_byte_from_every_encoding(
    tmp_path: Path, how: dict[str, bool]
) -> None:
    def fill(image: Dataset) -> None:
        other = Dataset()
        other.PatientID, other.TypeOfPatientID, other.IssuerOfPatientID = "X-9", "TEXT", "Haus 2"
        image.OtherPatientIDsSequence = [other]
        image.PregnancyStatus = 4
        image.PatientAge, image.PatientWeight, image.PatientComments = "056Y", "71.50", " two  spaces "

    volume = made.classic(tmp_path, made.AXIAL, fill, **how)
    path = tmp_path / "seg.dcm"
    dcmwrite(path, encode(made.label_map(volume, 1), volume))
    source, seg = dcmread(volume.frames[0].path), dcmread(path)
    for keyword in PATIENT_AND_STUDY:
        element = source.get_item(keyword)
        if element is not None and (element.VR or source[keyword].VR) in TEXT:
            assert raw(seg, keyword) == raw(dcmread(volume.frames[0].path), keyword), keyword
    assert seg.PregnancyStatus == 4
    assert seg.OtherPatientIDsSequence[0].IssuerOfPatientID == "Haus 2"
    assert seg.StudyInstanceUID == volume.study_uid


def test_what_the_source_lacks_is_there_and_empty_where_the_standard_wants_it(tmp_path: Path) -> None:
    def strip(image: Dataset) -> None:
        for keyword in (
            "PatientName",
            "PatientBirthDate",
            "AccessionNumber",
            "StudyTime",
            "ReferringPhysicianName",
        ):
            del image[keyword]
        del image.FrameOfReferenceUID, image.SliceThickness, image.Manufacturer, image.SeriesNumber
        del image.PositionReferenceIndicator, image.SeriesDescription

    volume = made.classic(tmp_path, made.AXIAL, strip)
    seg = encode(made.label_map(volume, 1), volume)
    for keyword in (
        "PatientName",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyTime",
        "PositionReferenceIndicator",
    ):
        assert seg[keyword].is_empty
    assert seg.FrameOfReferenceUID.is_valid
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3.6
    assert (seg.SeriesNumber, seg.SeriesDescription) == (1001, "AI abdomen: series 0")
    assert len(seg.ContributingEquipmentSequence) == 1


def test_frames_of_two_patients_are_refused(tmp_path: Path) -> None:
    def swap(image: Dataset) -> None:
        image.PatientID = f"P-{image.InstanceNumber // 4}"

    volume = made.classic(tmp_path, made.AXIAL, swap)
    with pytest.raises(ResultUnsound, match="PatientID"):
        encode(made.label_map(volume, 1), volume)


def test_optional_attributes_that_break_their_own_rules_are_not_passed_on(tmp_path: Path) -> None:
    def spoil(image: Dataset) -> None:
        image.PregnancyStatus, image.PatientWeight = 0, "70"

    volume = made.classic(tmp_path, made.AXIAL, spoil)
    for frame in volume.frames:
        made.graft(
            frame.path, [made.plain_element(0x00101010, "AS", b"0Y"), made.plain_element(0x00100030, "DA", b"***")]
        )
    seg = encode(made.label_map(volume, 1), volume)
    assert "PatientAge" not in seg
    assert "PregnancyStatus" not in seg
    assert seg.PatientWeight == 70
    assert raw(seg, "PatientBirthDate") == b"*** "
