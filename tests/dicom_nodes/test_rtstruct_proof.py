"""An RT Structure Set is read again before it is let out: what differs from the label map is stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset

from dicom_nodes.decode_contours import Plane, prove_contours, read_contours
from dicom_nodes.encode.rtstruct import encode_rtstruct
from dicom_nodes.encode.source import read_source
from dicom_nodes.errors import EmptyResult, ResultUnsound
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.seg_sources import finish, written

NAMES = ["organ_1", "organ_2"]


def proof(folder: Path) -> tuple[Dataset, npt.NDArray[np.uint8], list[Plane]]:
    """Encode two structures on a single-frame source; what is proven can then be changed."""
    volume = made.classic(folder, made.unit(made.OBLIQUE))
    label_map = made.label_map(volume, 1, 2)
    planes = [
        Plane(
            (frame.ref.sop_instance_uid, frame.ref.frame_number),
            np.array(frame.position, float),
            np.array(frame.orientation, float),
            np.array(frame.spacing, float),
        )
        for frame in read_source(volume).frames
    ]
    return encode_rtstruct(finish(label_map, volume)), label_map.array, planes


def move(contour: Dataset, by: npt.NDArray[np.float64]) -> None:
    points = np.array(contour.ContourData, float).reshape(-1, 3) + by
    contour.ContourData = [f"{value:.6f}" for value in points.ravel()]


def test_what_is_sound_is_let_out(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    prove_contours(written(rtstruct), numbers, NAMES, planes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_label_map_mirrored_against_its_contours_is_stopped(tmp_path: Path, axis: int) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    with pytest.raises(ResultUnsound, match=r"differ from the label map|has contours or voxels"):
        prove_contours(written(rtstruct), np.flip(numbers, axis), NAMES, planes)


def test_contours_mirrored_in_the_patient_are_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    for structure in rtstruct.ROIContourSequence:
        for contour in structure.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3) * (-1, 1, 1)
            contour.ContourData = [f"{value:.6f}" for value in points.ravel()]
    with pytest.raises(ResultUnsound, match="off the plane of its image"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_one_contour_two_hundredths_of_a_millimetre_off_its_plane_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    normal = np.cross(*planes[0].orientation.reshape(2, 3))
    move(rtstruct.ROIContourSequence[1].ContourSequence[4], normal * 0.02)
    with pytest.raises(ResultUnsound, match=r"0\.02 mm off the plane"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_one_contour_two_hundredths_of_a_millimetre_aside_in_its_plane_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    move(rtstruct.ROIContourSequence[1].ContourSequence[4], planes[0].orientation[:3] * 0.02)
    with pytest.raises(ResultUnsound, match=r"0\.02 mm beside the edges"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_one_contour_a_voxel_aside_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    move(rtstruct.ROIContourSequence[0].ContourSequence[0], planes[0].orientation[:3] * 0.78125)
    with pytest.raises(ResultUnsound, match="differ from the label map"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_a_contour_that_names_the_image_of_another_slice_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    contours = rtstruct.ROIContourSequence[0].ContourSequence
    contours[0].ContourImageSequence[0].ReferencedSOPInstanceUID = planes[3].image[0]
    with pytest.raises(ResultUnsound, match=r"3\.6e?.* mm off the plane|1\d\.\d mm off the plane"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_a_contour_that_names_an_image_of_another_volume_at_the_same_place_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    rtstruct.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    with pytest.raises(ResultUnsound, match="names an image of another volume"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_a_contour_that_is_missing_or_doubled_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    contours = rtstruct.ROIContourSequence[0].ContourSequence
    contours.append(contours[0])
    with pytest.raises(ResultUnsound, match="differ from the label map"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)
    del contours[-1], contours[0]
    with pytest.raises(ResultUnsound, match="differ from the label map"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_structures_that_changed_names_are_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    first, second = rtstruct.ROIContourSequence
    first.ReferencedROINumber, second.ReferencedROINumber = 2, 1
    with pytest.raises(ResultUnsound, match="differ from the label map"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)
    first.ReferencedROINumber, second.ReferencedROINumber = 1, 2
    first, second = rtstruct.StructureSetROISequence
    first.ROIName, second.ROIName = second.ROIName, first.ROIName
    with pytest.raises(ResultUnsound, match="not named as the label map has them"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


def test_a_contour_that_some_readers_would_fill_otherwise_is_stopped(tmp_path: Path) -> None:
    rtstruct, numbers, planes = proof(tmp_path)
    contours = rtstruct.ROIContourSequence[0].ContourSequence
    contours += [contours[0], contours[0]]  # nothing to a reader that XORs, thrice to one that counts
    with pytest.raises(ResultUnsound, match="overlap"):
        prove_contours(written(rtstruct), numbers, NAMES, planes)


@pytest.mark.parametrize("change", ["ContourImageSequence", "NumberOfContourPoints", "ContourGeometricType"])
def test_a_contour_that_does_not_say_what_it_is_cannot_be_read(tmp_path: Path, change: str) -> None:
    rtstruct, _, _ = proof(tmp_path)
    contour = rtstruct.ROIContourSequence[0].ContourSequence[2]
    if change == "ContourGeometricType":
        contour.ContourGeometricType = "POINT"
    elif change == "NumberOfContourPoints":
        contour.NumberOfContourPoints += 1
    else:
        del contour.ContourImageSequence
    with pytest.raises(ResultUnsound, match="does not say its image and points"):
        read_contours(rtstruct)


def test_frames_in_another_order_than_the_affine_says_are_refused(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1)
    with pytest.raises(ResultUnsound, match="does not lie on slice"):
        encode_rtstruct(finish(label_map, replace(volume, frames=volume.frames[::-1])))


def test_nothing_found_makes_no_structure_set(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = replace(made.label_map(volume, 1), array=np.zeros(volume.shape, np.uint8))
    with pytest.raises(EmptyResult):
        encode_rtstruct(finish(label_map, volume))
