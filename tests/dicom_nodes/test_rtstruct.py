"""Structures come out of an RT Structure Set where the label map has them, and nothing else is let out."""

import io
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.multival import MultiValue
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.identity import tracking_uid
from dicom_nodes.encode.rtstruct import MOST_POINTS, encode_rtstruct
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Code, Laterality, Measurement, Predecessor, Volume
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import finish, written

DCIODVFY = shutil.which("dciodvfy")
DCENTVFY = shutil.which("dcentvfy")
PLASTIMATCH = shutil.which("plastimatch")

Make = Callable[[Path], Volume]
SOURCES: dict[str, Make] = {
    "axial": partial(made.classic, geometry=made.AXIAL),
    "sagittal": partial(made.classic, geometry=made.SAGITTAL),
    "coronal": partial(made.classic, geometry=made.CORONAL),
    "oblique": partial(made.classic, geometry=made.unit(made.OBLIQUE)),
    "feet first, prone": partial(made.classic, geometry=made.FEET_FIRST_PRONE),
    "upside down": partial(made.classic, geometry=made.UPSIDE_DOWN),
    "odd matrix": partial(made.classic, geometry=made.ODD_31_37),
    "odd matrix, oblique": partial(made.classic, geometry=made.unit(made.ODD_OBLIQUE)),
    "enhanced, frames shuffled": partial(made.enhanced, geometry=made.unit(made.OBLIQUE), order=(4, 2, 5, 1, 3)),
    "legacy converted": partial(made.enhanced, geometry=made.SAGITTAL, legacy=True),
}
# plastimatch 1.9.4 fills every second column of a rectangle of four points on sagittal and coronal slices.
FOR_PLASTIMATCH = ("axial", "oblique", "feet first, prone", "upside down", "odd matrix", "odd matrix, oblique")
REAL = (
    "vendors/philips_elition_enhanced_tse",
    "vendors/siemens_xa30_dwi_pa",
    "vendors/d2n_hitachi_echelon_oblique",
    "vendors/ge_premier_fmri_hfs_5t",
    "vendors/uih_umr770_t1_sag",
    "tricky/siemens_hfdr_t1_sag",
)


def by_position(rtstruct: Dataset, volume: Volume) -> dict[str, npt.NDArray[np.bool_]]:
    """Read as a simple reader does: each contour by its points in the patient alone, every pixel by itself."""
    to_index = np.linalg.inv(volume.affine)
    names = {item.ROINumber: str(item.ROIName) for item in rtstruct.StructureSetROISequence}
    masks = {name: np.zeros(volume.shape, dtype=bool) for name in names.values()}
    for structure in rtstruct.ROIContourSequence:
        for contour in structure.ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            column, row, z = (to_index @ np.c_[points, np.ones(len(points))].T)[:3]
            assert np.ptp(z) < 0.01
            around = tuple(slice(math.floor(each.min() + 0.75), math.ceil(each.max())) for each in (row, column))
            rows, columns = np.mgrid[around]
            inside = np.zeros(rows.shape, dtype=bool)
            for r, c, r2, c2 in zip(row, column, np.roll(row, -1), np.roll(column, -1), strict=True):
                if r != r2:
                    inside ^= ((r > rows) != (r2 > rows)) & (columns < c + (rows - r) / (r2 - r) * (c2 - c))
            masks[names[structure.ReferencedROINumber]][round(float(z.mean()))][around] ^= inside
    return masks


# Place


@pytest.mark.parametrize("name", SOURCES)
def test_every_voxel_lies_where_the_label_map_has_it_by_position_alone(tmp_path: Path, name: str) -> None:
    volume = SOURCES[name](tmp_path)
    label_map = made.label_map(volume, 1, 2, 3)
    masks = by_position(encode_rtstruct(finish(label_map, volume)), volume)
    assert sorted(masks) == ["organ_1", "organ_2", "organ_3"]
    for value in (1, 2, 3):
        assert np.array_equal(masks[f"organ_{value}"], label_map.array == value)


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique", "enhanced, frames shuffled", "legacy converted"])
def test_each_contour_names_the_one_image_that_it_lies_on(tmp_path: Path, name: str) -> None:
    volume = SOURCES[name](tmp_path)
    rtstruct = encode_rtstruct(finish(made.label_map(volume, 1, 2), volume))
    slices = {(frame.sop_instance_uid, frame.frame_number): z for z, frame in enumerate(volume.frames)}
    for structure in rtstruct.ROIContourSequence:
        for contour in structure.ContourSequence:
            (image,) = contour.ContourImageSequence
            z = slices[str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber")]
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            away = (points - (volume.affine @ [0, 0, z, 1])[:3]) @ np.cross(*volume.affine[:3, :2].T)
            assert np.abs(away / np.linalg.norm(np.cross(*volume.affine[:3, :2].T))).max() < 0.001
            assert image.ReferencedSOPClassUID == volume.frames[z].sop_class_uid
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(points)
        assert [c.ContourNumber for c in structure.ContourSequence] == list(
            range(1, len(structure.ContourSequence) + 1)
        )


def test_the_patients_left_is_left_and_his_head_is_up(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    array = np.zeros(volume.shape, np.uint8)
    array[0, 2, 3], array[4, 20, 17] = (
        1,
        2,
    )  # rows go to posterior, columns to the patient's left, slices to the head
    rtstruct = encode_rtstruct(finish(replace(made.label_map(volume, 1, 2), array=array), volume))
    right, left = (
        np.array(s.ContourSequence[0].ContourData, float).reshape(-1, 3) for s in rtstruct.ROIContourSequence
    )
    step = np.array([0.78125, 1.25, 3.6])
    assert np.allclose(right.mean(axis=0), np.array([-31.25, 12.5, 101.75]) + step * (3, 2, 0), atol=1e-4)
    assert np.allclose(left.mean(axis=0), np.array([-31.25, 12.5, 101.75]) + step * (17, 20, 4), atol=1e-4)
    assert np.allclose(np.ptp(left, axis=0), [0.78125, 1.25, 0], atol=2e-4)


def test_holes_islands_corners_and_borders_come_back(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.unit(made.OBLIQUE))
    array = np.zeros(volume.shape, np.uint8)
    array[0, 2:12, 2:12], array[0, 4:8, 4:7], array[0, 9:11, 7:10], array[0, 5, 5] = 1, 0, 0, 1  # holes, an island
    array[1, 3, 3] = array[1, 4, 4] = array[1, 3, 5] = 1  # touching at corners
    array[2] = 1  # all of the image
    array[3, 0, :], array[3, :, 0], array[3, -1, -1] = 1, 1, 2  # along its border, and its last pixel
    label_map = replace(made.label_map(volume, 1, 2), array=array)
    rtstruct = encode_rtstruct(finish(label_map, volume))
    masks = by_position(rtstruct, volume)
    assert np.array_equal(masks["organ_1"], array == 1)
    assert np.array_equal(masks["organ_2"], array == 2)
    images = [
        str(c.ContourImageSequence[0].ReferencedSOPInstanceUID)
        for c in rtstruct.ROIContourSequence[0].ContourSequence
    ]
    assert [images.count(frame.sop_instance_uid) for frame in volume.frames] == [2, 3, 1, 1, 0]


def test_a_contour_too_long_for_its_element_is_cut_without_losing_a_voxel(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, replace(made.unit(made.OBLIQUE), shape=(2, 90, 80)))
    array = np.ones(volume.shape, np.uint8)
    array[0, 1:-1:2, 1:-1:2] = 0
    rtstruct = encode_rtstruct(finish(replace(made.label_map(volume, 1), array=array), volume))
    contours = rtstruct.ROIContourSequence[0].ContourSequence
    assert len(contours) > 1
    assert max(contour.NumberOfContourPoints for contour in contours) <= MOST_POINTS
    assert np.array_equal(by_position(rtstruct, volume)["organ_1"], array == 1)


def test_a_slice_a_little_off_the_even_grid_is_outlined_where_it_lies(tmp_path: Path) -> None:
    def shift(image: Dataset) -> None:
        if image.InstanceNumber == 3:
            image.ImagePositionPatient[2] = "109.03"

    volume = made.classic(tmp_path, made.AXIAL, shift)
    rtstruct = encode_rtstruct(finish(made.label_map(volume, 1), volume))
    heights = {float(c.ContourData[2]) for c in rtstruct.ROIContourSequence[0].ContourSequence}
    assert 109.03 in heights
    assert 108.95 not in heights


def test_coordinates_are_decimal_strings_of_at_most_sixteen_characters(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.unit(made.OBLIQUE))
    rtstruct = encode_rtstruct(finish(made.label_map(volume, 1), volume))
    for contour in rtstruct.ROIContourSequence[0].ContourSequence:
        texts = [value.original_string for value in contour.ContourData]
        assert max(map(len, texts)) <= 16
        assert not {"-0.0", "-0"} & set(texts)
        assert not any("e" in text for text in texts)


# What it says


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    finished = finish(made.label_map(volume, 1, 2), volume)
    assert written(encode_rtstruct(finished)) == written(ENCODERS["rtstruct"](finished, []))


def test_it_is_an_object_and_a_series_of_its_own_beside_the_seg(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    finished = finish(made.label_map(volume, 1), volume)
    rtstruct, seg = encode_rtstruct(finished), encode_seg(finished.label_map, volume, finished.identity)
    vertebrae = encode_rtstruct(replace(finished, identity=replace(finished.identity, part="vertebrae")))
    assert len({each.SOPInstanceUID for each in (rtstruct, seg, vertebrae)}) == 3
    assert len({each.SeriesInstanceUID for each in (rtstruct, seg, vertebrae)}) == 3
    assert rtstruct.SOPClassUID == RTStructureSetStorage
    assert rtstruct.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (rtstruct.Modality, rtstruct.ApprovalStatus) == ("RTSTRUCT", "UNAPPROVED")
    assert rtstruct.SeriesNumber == seg.SeriesNumber + 10
    assert rtstruct.SeriesDescription == "AI contours abdomen: t2_tse_tra"
    assert rtstruct.StructureSetLabel == "AI_ABDOMEN"
    assert (rtstruct.PatientName, rtstruct.PatientID) == ("Proband^Anna", "P-0001")
    assert rtstruct.StudyInstanceUID == volume.study_uid
    assert rtstruct.FrameOfReferenceUID == volume.frame_of_reference_uid
    assert "ContentDate" not in rtstruct


def test_structures_are_named_coded_and_coloured_as_the_segments_of_the_seg(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 3, 7, listed=(1, 3, 7))  # 1 has no voxels
    finished = finish(label_map, volume, measurements=(Measurement(7, 12.3456789, None, None, 2, 1, 2, ()),))
    rtstruct = encode_rtstruct(finished)
    seg = encode_seg(label_map, volume, finished.identity)
    structures = rtstruct.StructureSetROISequence
    assert [item.ROINumber for item in structures] == [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2]
    assert [item.ROIName for item in structures] == ["organ_3", "organ_7"]
    assert {item.ROIGenerationAlgorithm for item in structures} == {"AUTOMATIC"}
    assert {item.ROIGenerationDescription for item in structures} == {"Organ net"}
    assert {item.ReferencedFrameOfReferenceUID for item in structures} == {volume.frame_of_reference_uid}
    assert [item.get("ROIVolume") for item in structures] == [None, 12.3457]
    (algorithm,) = structures[0].ROIDerivationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Organ net", "0123abcd")
    assert [list(item.ROIDisplayColor) for item in rtstruct.ROIContourSequence] == [[15, 80, 160], [35, 80, 160]]
    observed = rtstruct.RTROIObservationsSequence
    assert [item.ReferencedROINumber for item in observed] == [1, 2]
    assert {item.RTROIInterpretedType for item in observed} == {"ORGAN"}
    assert [item.TrackingUID for item in observed] == [item.TrackingUID for item in seg.SegmentSequence]
    assert observed[1].TrackingUID == tracking_uid(volume, label_map.algorithm, finished.identity, 7)
    code = observed[0].RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in observed[1].RTROIIdentificationCodeSequence[0]


def test_the_side_of_the_volume_goes_to_structures_without_one_of_their_own(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    finished = finish(made.label_map(volume, 1, 3), volume, identity=made.identity(Laterality.RIGHT))
    observed = encode_rtstruct(finished).RTROIObservationsSequence
    sides = [
        item.RTROIIdentificationCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning
        for item in observed
    ]
    assert sides == ["Right", "Left"]


def test_what_is_no_place_in_the_body_is_not_called_an_organ(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    lesion = replace(
        label_map.segments[0],
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        type=Code("52988006", "SCT", "Lesion"),
    )
    (observed,) = encode_rtstruct(finish(replace(label_map, segments=(lesion,)), volume)).RTROIObservationsSequence
    assert not observed.RTROIInterpretedType


@pytest.mark.parametrize(
    ("name", "sop_class"), [("axial", MRImageStorage), ("enhanced, frames shuffled", EnhancedMRImageStorage)]
)
def test_every_image_of_the_volume_is_referred_to_in_its_study_and_series(
    tmp_path: Path, name: str, sop_class: str
) -> None:
    volume = SOURCES[name](tmp_path)
    rtstruct = encode_rtstruct(finish(made.label_map(volume, 1), volume))
    (frame_of_reference,) = rtstruct.ReferencedFrameOfReferenceSequence
    (study,) = frame_of_reference.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame_of_reference.FrameOfReferenceUID == volume.frame_of_reference_uid
    assert study.ReferencedSOPInstanceUID == volume.study_uid
    assert series.SeriesInstanceUID == volume.series_uid
    named = []
    for image in series.ContourImageSequence:
        assert image.ReferencedSOPClassUID == sop_class
        numbers = image.get("ReferencedFrameNumber")
        for number in numbers if isinstance(numbers, MultiValue) else [numbers]:
            named.append((str(image.ReferencedSOPInstanceUID), number))
    assert named == [(frame.sop_instance_uid, frame.frame_number) for frame in volume.frames]


def test_it_names_the_structure_set_that_it_takes_the_place_of(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    finished = finish(made.label_map(volume, 1), volume)
    assert "PredecessorStructureSetSequence" not in encode_rtstruct(finished)
    seg = Predecessor(str(SegmentationStorage), "2.25.1", "2.25.2")
    assert "PredecessorStructureSetSequence" not in encode_rtstruct(replace(finished, predecessor=seg))
    before = Predecessor(str(RTStructureSetStorage), "2.25.1", "2.25.2")
    (item,) = encode_rtstruct(replace(finished, predecessor=before)).PredecessorStructureSetSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (RTStructureSetStorage, "2.25.1")


def test_a_phantom_model_is_named_wherever_a_person_reads(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    rtstruct = encode_rtstruct(finish(made.label_map(volume, 1, phantom=True), volume))
    assert rtstruct.SeriesDescription.startswith("AI contours PHANTOM not clinical")
    assert rtstruct.StructureSetName.startswith("AI contours PHANTOM not clinical")
    assert rtstruct.StructureSetLabel == "AI_PHANTOM_MODEL"
    assert rtstruct.StructureSetDescription.startswith("PHANTOM MODEL, NOT CLINICAL")
    assert rtstruct.StructureSetROISequence[0].ROIGenerationDescription.startswith("PHANTOM MODEL, NOT CLINICAL")


def test_the_patients_name_keeps_its_bytes_and_character_set(tmp_path: Path) -> None:
    name = "Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B".encode("ascii")

    def japanese(image: Dataset) -> None:
        image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        image.PatientName = name.decode("iso2022_jp")

    volume = made.classic(tmp_path, made.AXIAL, japanese)
    source = dcmread(volume.frames[0].path)
    sent = dcmread(io.BytesIO(written(encode_rtstruct(finish(made.label_map(volume, 1), volume)))))
    for keyword in ("PatientName", "SpecificCharacterSet"):
        raw = [
            bytes(each.get_item(keyword, keep_deferred=True).value)
            if keyword == "PatientName"
            else each[keyword].value
            for each in (source, sent)
        ]
        assert raw[0] == raw[1]


# Real data


@real_data.needed
@pytest.mark.parametrize("name", REAL)
def test_volumes_of_every_vendor_are_outlined_where_they_lie(name: str) -> None:
    volume = find_volumes(read_headers(real_data.files(name))).volumes[0]
    array = np.zeros(volume.shape, np.uint8)
    array[1:4, 10:40, 20:60], array[2, 15:25, 30:50], array[2, 18:20, 35:45] = 1, 0, 2
    array[-1, -3:, -1] = 2
    label_map = replace(made.label_map(volume, 1, 2), array=array)
    rtstruct = encode_rtstruct(finish(label_map, volume))
    masks = by_position(rtstruct, volume)
    assert np.array_equal(masks["organ_1"], array == 1)
    assert np.array_equal(masks["organ_2"], array == 2)
    source = dcmread(volume.frames[0].path, stop_before_pixels=True)
    for keyword in ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID"):
        assert rtstruct.get(keyword) == source.get(keyword)


# What others say of it


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("name", SOURCES)
def test_dciodvfy_finds_no_error(tmp_path: Path, name: str) -> None:
    volume = SOURCES[name](tmp_path)
    before = Predecessor(str(RTStructureSetStorage), "2.25.1", "2.25.2")
    path = tmp_path / "rtstruct"
    dcmwrite(path, encode_rtstruct(finish(made.label_map(volume, 1, 2, 3), volume, predecessor=before)))
    report = run(str(DCIODVFY), "-new", str(path)).splitlines()
    assert "RTStructureSet" in report
    assert [line for line in report if line.startswith("Error")] == []


@pytest.mark.skipif(DCENTVFY is None, reason="dcentvfy (Debian package dicom3tools) is not installed")
def test_patient_study_and_frame_of_reference_agree_with_the_source_for_dcentvfy(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    path = tmp_path / "rtstruct"
    dcmwrite(path, encode_rtstruct(finish(made.label_map(volume, 1), volume)))
    assert run(str(DCENTVFY), str(path), *(str(frame.path) for frame in volume.frames)) == ""


def with_pixels(image: Dataset) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = bytes(2 * image.Rows * image.Columns)


@pytest.mark.skipif(PLASTIMATCH is None, reason="plastimatch (Debian package plastimatch) is not installed")
@pytest.mark.parametrize("name", FOR_PLASTIMATCH)
def test_plastimatch_fills_every_voxel_where_the_label_map_has_it(tmp_path: Path, name: str) -> None:
    source, path, out = tmp_path / "source", tmp_path / "rtstruct", tmp_path / "out"
    source.mkdir()
    make = SOURCES[name]
    volume = make(source, change=with_pixels)  # type: ignore[call-arg]
    label_map = made.label_map(volume, 1, 2, 3)
    dcmwrite(path, encode_rtstruct(finish(label_map, volume)))
    convert = (str(PLASTIMATCH), "convert", "--input", str(path), "--referenced-ct", str(source))
    report = run(*convert, "--output-prefix", str(out), "--prefix-format", "nrrd")
    for value in (1, 2, 3):
        image = sitk.ReadImage(str(out / f"organ_{value}.nrrd"))
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        found = made.onto_grid(volume, sitk.GetArrayFromImage(image), affine)
        assert np.array_equal(found, label_map.array == value), report
