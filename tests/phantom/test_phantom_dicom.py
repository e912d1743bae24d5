"""Phantoms written as DICOM say with plain header arithmetic exactly what the phantom is, whoever 'wrote' them."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_nodes.types import Laterality, Plane
from service.phantom.body import Acquisition, Phantom
from service.phantom.contrast import Contrast
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom

VENDORS = ("siemens", "ge", "philips")
SHAPE = (5, 31, 37)


def affine_of(row, column, slices, spacing=(0.7, 0.9, 4.4), origin=(-61.25, 48.5, 103.125)):
    """(4, 4) from directions of growing column, row and slice index; spacing (x, y, z)."""
    affine = np.eye(4)
    for axis, (direction, step) in enumerate(zip((row, column, slices), spacing, strict=True)):
        affine[:3, axis] = np.asarray(direction, dtype=float) * step
    affine[:3, 3] = origin
    return affine


def turned(affine, degrees, axis):
    angle = np.deg2rad(degrees)
    i, j = [a for a in range(3) if a != axis]
    turn = np.eye(4)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn @ affine


AXIAL = affine_of((1, 0, 0), (0, 1, 0), (0, 0, 1))
SAGITTAL = affine_of((0, 1, 0), (0, 0, -1), (1, 0, 0))
CORONAL = affine_of((1, 0, 0), (0, 0, -1), (0, 1, 0))
GRIDS = {
    "axial": (AXIAL, "HFS", Plane.AXIAL),
    "sagittal": (SAGITTAL, "HFS", Plane.SAGITTAL),
    "sagittal from the left": (affine_of((0, 1, 0), (0, 0, -1), (-1, 0, 0)), "HFS", Plane.SAGITTAL),
    "coronal": (CORONAL, "HFS", Plane.CORONAL),
    "oblique": (turned(turned(SAGITTAL, 11, 2), -7, 1), "HFS", Plane.SAGITTAL),
    "feet first": (affine_of((-1, 0, 0), (0, 1, 0), (0, 0, -1)), "FFS", Plane.AXIAL),
    "prone": (affine_of((-1, 0, 0), (0, -1, 0), (0, 0, 1)), "HFP", Plane.AXIAL),
}


def phantom(
    affine, plane=Plane.AXIAL, protocol="knee", contrast=Contrast.PD, laterality=Laterality.RIGHT, shape=SHAPE
):
    pixels = np.random.default_rng(3).integers(0, 1500, shape).astype(np.uint16)
    truth = np.zeros(shape, dtype=np.uint8)
    return Phantom(protocol, 7, pixels, truth, {}, Acquisition(affine, shape, 4.0), plane, contrast, laterality)


def read_back(paths, affine):
    """Pixels in the phantom's slice order and the affine, by the arithmetic of PS3.3 C.7.6.2.1.1 alone."""
    frames = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            shared = dataset.SharedFunctionalGroupsSequence[0]
            cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
            places = [
                group.PlanePositionSequence[0].ImagePositionPatient
                for group in dataset.PerFrameFunctionalGroupsSequence
            ]
            frames += [
                (p, cosines, between_rows, between_columns, a)
                for p, a in zip(places, dataset.pixel_array, strict=True)
            ]
        else:
            rows, columns = dataset.PixelSpacing
            frames.append(
                (dataset.ImagePositionPatient, dataset.ImageOrientationPatient, rows, columns, dataset.pixel_array)
            )
    frames.sort(key=lambda frame: np.dot(np.array(frame[0], dtype=float), affine[:3, 2]))
    first, cosines, between_rows, between_columns, _ = frames[0]
    found = np.eye(4)
    found[:3, 0] = np.array(cosines[:3], dtype=float) * between_columns
    found[:3, 1] = np.array(cosines[3:], dtype=float) * between_rows
    found[:3, 2] = (np.array(frames[-1][0], dtype=float) - np.array(first, dtype=float)) / (len(frames) - 1)
    found[:3, 3] = first
    return np.stack([frame[4] for frame in frames]), found


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("grid", GRIDS)
def test_reading_back_gives_the_affine_and_the_pixels(grid, vendor, enhanced, tmp_path):
    affine, lying, plane = GRIDS[grid]
    drawn = phantom(affine, plane)
    series = write_dicom(drawn, tmp_path, vendor=vendor, enhanced=enhanced, patient_position=lying)
    pixels, found = read_back(series.paths, affine)
    corners = np.array([[x, y, z, 1] for x in (0, 36) for y in (0, 30) for z in (0, 4)], dtype=float).T
    assert np.abs(found @ corners - affine @ corners).max() < 1e-4
    assert np.array_equal(pixels, drawn.pixels)
    assert len(series.paths) == (1 if enhanced else 5)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("protocol", "contrast"),
    [("abdomen", Contrast.T1), ("knee", Contrast.FAT_SUPPRESSED), ("lumbar", Contrast.FAT_SUPPRESSED)],
)
def test_dciodvfy_finds_no_error(protocol, contrast, vendor, enhanced, tmp_path):
    side = Laterality.LEFT if protocol == "knee" else None
    drawn = phantom(GRIDS["oblique"][0], Plane.SAGITTAL, protocol, contrast, side)
    series = write_dicom(drawn, tmp_path, vendor=vendor, enhanced=enhanced)
    said = subprocess.run(["dciodvfy", "-new", series.paths[0]], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert [line for line in lines if line.startswith("Error")] == []
    assert lines  # it names the IOD that it checked


def test_the_same_phantom_is_written_as_the_same_bytes(tmp_path):
    drawn = phantom(AXIAL)
    for vendor in VENDORS:
        one = write_dicom(drawn, tmp_path / "one", vendor=vendor)
        again = write_dicom(drawn, tmp_path / "again", vendor=vendor)
        assert [p.read_bytes() for p in one.paths] == [p.read_bytes() for p in again.paths]


def test_no_two_objects_share_a_uid_and_all_of_a_series_share_study_series_and_frame_of_reference(tmp_path):
    drawn = phantom(AXIAL)
    instances, series = set(), set()
    for seed in (1, 2):
        for vendor in VENDORS:
            for enhanced in (False, True):
                folder = tmp_path / f"{vendor}{enhanced}{seed}"
                written = write_dicom(drawn, folder, vendor=vendor, enhanced=enhanced, seed=seed)
                headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in written.paths]
                instances |= {header.SOPInstanceUID for header in headers}
                assert {header.SeriesInstanceUID for header in headers} == {written.series_uid}
                assert {header.StudyInstanceUID for header in headers} == {written.study_uid}
                assert len({header.FrameOfReferenceUID for header in headers}) == 1
                assert all(header.SOPInstanceUID.is_valid for header in headers)
                series.add(written.series_uid)
    assert len(series) == 12
    assert len(instances) == 2 * 3 * (5 + 1)


def test_a_given_study_uid_is_used(tmp_path):
    written = write_dicom(phantom(AXIAL), tmp_path, study_uid="2.25.31415")
    assert pydicom.dcmread(written.paths[0]).StudyInstanceUID == written.study_uid == "2.25.31415"


@pytest.mark.parametrize(
    ("vendor", "study", "series", "protocol_name", "body_part", "side"),
    [
        ("siemens", "MR Knie rechts", "pd_tse_sag_37", "pd_tse_sag_37", "KNEE", "R"),
        ("ge", "MRI KNEE RIGHT W/O CONTRAST", "Sag PD FSE", "KNEE", None, ""),
        ("philips", "IRM genou droit", "PDW_TSE_SAG", "PDW_TSE_SAG", "KNEE", "R"),
    ],
)
def test_each_vendor_names_a_knee_in_its_own_way(vendor, study, series, protocol_name, body_part, side, tmp_path):
    written = write_dicom(phantom(SAGITTAL, Plane.SAGITTAL), tmp_path, vendor=vendor)
    header = pydicom.dcmread(written.paths[0], stop_before_pixels=True)
    assert header.StudyDescription == study
    assert header.SeriesDescription == series
    assert header.ProtocolName == protocol_name
    assert header.get("BodyPartExamined") == body_part
    assert header.Laterality == side
    assert header.PatientName == "Sagittal^Demo Knee"
    assert header.PatientID == "SAGITTAL-DEMO-KNEE-7"


def test_enhanced_objects_state_the_side_in_frame_anatomy(tmp_path):
    written = write_dicom(phantom(SAGITTAL), tmp_path, vendor="philips", enhanced=True)
    header = pydicom.dcmread(written.paths[0], stop_before_pixels=True)
    assert "Laterality" not in header
    assert header.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0].FrameLaterality == "R"


@pytest.mark.parametrize(("vendor", "sign"), [("siemens", 1), ("ge", -1), ("philips", 1)])
def test_axial_instances_are_numbered_from_the_feet_or_from_the_head_as_the_vendor_does(vendor, sign, tmp_path):
    for grid in ("axial", "feet first"):
        written = write_dicom(phantom(GRIDS[grid][0]), tmp_path / grid, vendor=vendor)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in written.paths]
        assert [header.InstanceNumber for header in headers] == [1, 2, 3, 4, 5]
        heights = [sign * float(header.ImagePositionPatient[2]) for header in headers]
        assert heights == sorted(heights)


def test_slice_thickness_is_not_the_spacing_between_slices(tmp_path):
    header = pydicom.dcmread(write_dicom(phantom(AXIAL), tmp_path).paths[0])
    assert (header.SliceThickness, header.SpacingBetweenSlices) == (4.0, 4.4)


@pytest.mark.parametrize("grid", ["axial", "sagittal", "coronal", "oblique", "feet first", "prone"])
def test_left_structures_lie_further_left_by_the_positions_in_the_files(grid, tmp_path):
    directions = GRIDS[grid][0][:3, :3] / np.linalg.norm(GRIDS[grid][0][:3, :3], axis=0)
    whole = make_phantom("abdomen", 3, voxel_scale=8).acquisition
    shape, step = (30, 30, 30), 13.0
    affine = np.eye(4)
    affine[:3, :3] = directions * step
    affine[:3, 3] = np.array(whole.centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    drawn = make_phantom("abdomen", 3, acquisition=Acquisition(affine, shape, step))
    series = write_dicom(drawn, tmp_path, vendor="ge", patient_position=GRIDS[grid][1])
    pixels, found = read_back(series.paths, affine)
    assert np.array_equal(pixels, drawn.pixels)

    def left(structure):
        z, y, x = np.nonzero(drawn.truth == drawn.labels[structure])
        return (found @ np.stack([x, y, z, np.ones_like(x)]))[0].mean()

    assert left("kidney_left") > left("aorta") > left("inferior vena cava") > left("kidney_right")
    assert left("spleen") > left("pancreas") > left("liver")


def test_values_beyond_twelve_bits_and_sheared_stacks_are_refused(tmp_path):
    bright = phantom(AXIAL)
    bright.pixels[0, 0, 0] = 4096
    with pytest.raises(ValueError, match="12 bits"):
        write_dicom(bright, tmp_path)
    sheared = AXIAL.copy()
    sheared[0, 2] = 1.0
    with pytest.raises(ValueError, match="normal"):
        write_dicom(phantom(sheared), tmp_path)
    with pytest.raises(ValueError, match="toshiba"):
        write_dicom(phantom(AXIAL), tmp_path, vendor="toshiba")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("vendor", "enhanced"), [("siemens", False), ("ge", False), ("philips", True)])
@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless],
    ids=lambda uid: uid.keyword,
)
def test_other_transfer_syntaxes_hold_the_same_pixels(transfer_syntax, vendor, enhanced, tmp_path):
    drawn = phantom(AXIAL, shape=(5, 63, 65))  # OpenJPEG needs 32 rows and columns
    series = write_dicom(drawn, tmp_path, vendor=vendor, enhanced=enhanced, transfer_syntax=transfer_syntax)
    pixels, _ = read_back(series.paths, AXIAL)
    assert np.array_equal(pixels, drawn.pixels)
    assert pydicom.dcmread(series.paths[0]).file_meta.TransferSyntaxUID == transfer_syntax
