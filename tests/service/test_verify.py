"""What came back is compared with the truth by place in the patient and by name, never by the order of anything."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Laterality, Plane
from service.phantom.body import Acquisition, Phantom
from service.phantom.contrast import Contrast
from service.phantom.dicom import write_dicom
from service.verify import dice_by_structure, geometry_differences, same_geometry

SHAPE = (6, 23, 19)
NAMES = {1: "femur", 2: "tibia", 5: "fibula"}
AFFINE = np.array([[0, 0, 4.5, -20.5], [0.8, 0, 0, 31.25], [0, -0.9, 0, 77.5], [0, 0, 0, 1.0]])


@pytest.fixture
def knee():
    """A right knee in six sagittal slices: three boxes, each on slices of its own."""
    pixels = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.uint16)
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[1:5, 2:9, 4:12] = 1
    truth[2:5, 11:20, 4:12] = 2
    truth[0:2, 11:20, 13:16] = 5
    grid = Acquisition(AFFINE, SHAPE, 4.0)
    return Phantom("knee", 5, pixels, truth, {}, grid, Plane.SAGITTAL, Contrast.PD, Laterality.RIGHT)


def in_slice_order(paths):
    """The source images from the patient's right to left, which is the slice order of AFFINE."""
    images = [pydicom.dcmread(path) for path in paths]
    return sorted(images, key=lambda image: float(image.ImagePositionPatient[0])) if len(images) > 1 else images


def make_seg(labels, paths, path, names=NAMES):
    """A SEG by highdicom alone, the segments numbered from 1 in the order of `names`."""
    images = in_slice_order(paths)
    if "NumberOfFrames" in images[0]:
        groups = images[0].PerFrameFunctionalGroupsSequence
        left = [float(group.PlanePositionSequence[0].ImagePositionPatient[0]) for group in groups]
        labels = labels[np.argsort(np.argsort(left))]
    present = [value for value in names if (labels == value).any()]
    numbered = np.zeros(labels.shape, dtype=np.uint8)
    for number, value in enumerate(present, start=1):
        numbered[labels == value] = number
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=names[value],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Femur,
            algorithm_type="MANUAL",
        )
        for number, value in enumerate(present, start=1)
    ]
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=numbered,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(path)
    return path


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("vendor", ["siemens", "ge", "philips"])
def test_the_truth_itself_has_dice_one_and_its_sources_geometry_in_whatever_order_slices_are_numbered(
    vendor, enhanced, knee, tmp_path
):
    series = write_dicom(knee, tmp_path / "in", vendor=vendor, enhanced=enhanced)
    seg = make_seg(knee.truth, series.paths, tmp_path / "seg.dcm")
    assert dice_by_structure(seg, knee.truth, AFFINE, NAMES) == {"femur": 1.0, "tibia": 1.0, "fibula": 1.0}
    assert geometry_differences(seg, series.paths) == ()
    assert same_geometry(seg, series.paths[::-1])


def test_a_mask_on_the_mirrored_slices_is_found_out(knee, tmp_path):
    series = write_dicom(knee, tmp_path / "in")
    seg = make_seg(knee.truth[::-1], series.paths, tmp_path / "seg.dcm")
    found = dice_by_structure(seg, knee.truth, AFFINE, NAMES)
    assert found["fibula"] == 0.0
    assert found["tibia"] == pytest.approx(2 / 3)


def test_structures_are_matched_by_name_and_what_only_one_side_has_counts_zero(knee, tmp_path):
    series = write_dicom(knee, tmp_path / "in")
    given = np.where(knee.truth == 2, 0, knee.truth)
    seg = make_seg(given, series.paths, tmp_path / "seg.dcm", {1: "femur", 5: "patella"})
    assert dice_by_structure(seg, knee.truth, AFFINE, NAMES) == {
        "femur": 1.0,
        "tibia": 0.0,
        "fibula": 0.0,
        "patella": 0.0,
    }


def test_dice_counts_voxels_that_both_have(knee, tmp_path):
    series = write_dicom(knee, tmp_path / "in")
    half = knee.truth.copy()
    half[1:3][half[1:3] == 1] = 0
    seg = make_seg(half, series.paths, tmp_path / "seg.dcm")
    assert dice_by_structure(seg, knee.truth, AFFINE, NAMES)["femur"] == pytest.approx(2 / 3)


def test_a_seg_beside_the_grid_of_the_truth_is_refused(knee, tmp_path):
    series = write_dicom(knee, tmp_path / "in")
    seg = make_seg(knee.truth, series.paths, tmp_path / "seg.dcm")
    beside = AFFINE.copy()
    beside[0, 3] += 1.0
    with pytest.raises(ResultUnsound):
        dice_by_structure(seg, knee.truth, beside, NAMES)


def test_a_frame_on_the_neighbouring_slice_is_named(knee, tmp_path):
    series = write_dicom(knee, tmp_path / "in")
    seg = make_seg(knee.truth, series.paths, tmp_path / "seg.dcm")
    dataset = pydicom.dcmread(seg)
    frame = dataset.PerFrameFunctionalGroupsSequence[2]
    frame.PlanePositionSequence[0].ImagePositionPatient[0] += 4.5
    dataset.save_as(seg)
    assert geometry_differences(seg, series.paths) == ("frame 3 lies 4.5 mm beside the slice that it names",)
    assert not same_geometry(seg, series.paths)


def test_a_seg_of_another_series_is_not_of_this_one(knee, tmp_path):
    mine = write_dicom(knee, tmp_path / "mine", seed=1)
    other = write_dicom(knee, tmp_path / "other", seed=2)
    seg = make_seg(knee.truth, other.paths, tmp_path / "seg.dcm")
    said = " ".join(geometry_differences(seg, mine.paths))
    assert "StudyInstanceUID" in said
    assert "FrameOfReferenceUID" in said
    assert "names a source that is not in the series" in said
