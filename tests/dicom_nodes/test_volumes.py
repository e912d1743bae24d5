"""Headers of a series: the volumes in it with their geometry, and the rule for all that is left out."""

import numpy as np
import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRColorImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from dicom_nodes.errors import Rule
from dicom_nodes.geometry import Limits
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Plane
from dicom_nodes.volumes import find_volumes
from tests.dicom_nodes.series import broken, content_of, rules_of
from tests.factories import AXIAL, GRIDS, Grid, classic_series, classic_slice, enhanced, frame_at, item, save_all


@pytest.mark.parametrize("make", [classic_series, lambda grid: [enhanced(grid)]], ids=["classic", "enhanced"])
@pytest.mark.parametrize("name", GRIDS)
def test_a_series_becomes_a_volume_on_the_grid_it_was_made_on(name, make, tmp_path):
    grid = GRIDS[name]
    datasets = make(grid)[::-1]

    content = content_of(datasets, tmp_path)

    assert content.left_out == ()
    (volume,) = content.volumes
    assert volume.shape == grid.shape
    assert volume.spacing_mm == pytest.approx(grid.spacing_mm, abs=1e-5)
    assert np.allclose(volume.affine, grid.affine, atol=1e-5)
    assert (volume.index, volume.name) == (1, "")
    assert volume.series_uid == datasets[0].SeriesInstanceUID
    assert volume.study_uid == datasets[0].StudyInstanceUID
    assert volume.frame_of_reference_uid == datasets[0].FrameOfReferenceUID


def test_slices_are_ordered_by_position_and_frames_numbered_from_one(tmp_path):
    classic = classic_series()
    for number, dataset in enumerate(classic):
        dataset.InstanceNumber = [3, 1, 5, 2, 4][number]
    multi_frame = enhanced()
    multi_frame.PerFrameFunctionalGroupsSequence = multi_frame.PerFrameFunctionalGroupsSequence[::-1]

    (single,) = content_of(classic, tmp_path).volumes
    (multi,) = content_of([multi_frame], tmp_path).volumes

    assert [ref.sop_instance_uid for ref in single.frames] == [dataset.SOPInstanceUID for dataset in classic]
    assert [ref.frame_number for ref in single.frames] == [None] * 5
    assert [ref.frame_number for ref in multi.frames] == [5, 4, 3, 2, 1]
    assert {ref.sop_instance_uid for ref in multi.frames} == {multi_frame.SOPInstanceUID}


@pytest.mark.parametrize(
    ("name", "plane", "degrees"),
    [("axial, prone", Plane.AXIAL, 0), ("sagittal", Plane.SAGITTAL, 0), ("coronal", Plane.CORONAL, 0),
     ("oblique axial", Plane.AXIAL, 36.87), ("decubitus right, sagittal", Plane.SAGITTAL, 0)],
)  # fmt: skip
def test_the_plane_is_the_one_nearest_to_the_slices(name, plane, degrees, tmp_path):
    (volume,) = content_of(classic_series(GRIDS[name]), tmp_path).volumes

    assert volume.plane is plane
    assert volume.oblique_degrees == pytest.approx(degrees, abs=0.01)


def test_frames_of_several_enhanced_objects_make_one_volume(tmp_path):
    upper, lower = enhanced(), enhanced(Grid(origin=tuple(AXIAL.position(5))))
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(upper, keyword, getattr(lower, keyword))

    (volume,) = content_of([lower, upper], tmp_path).volumes

    assert volume.shape == (10, 6, 8)
    assert [ref.sop_instance_uid for ref in volume.frames] == [upper.SOPInstanceUID] * 5 + [
        lower.SOPInstanceUID
    ] * 5


def test_a_legacy_converted_object_is_read_from_its_unassigned_groups(tmp_path):
    grid = Grid(shape=(6, 6, 8))
    dataset = enhanced(grid, legacy=True)
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(
            grid.position(number // 2),
            UnassignedPerFrameConvertedAttributesSequence=[item(EchoNumbers=1 + number % 2)],
        )
        for number in range(6)
    ]

    volumes = content_of([dataset], tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("echo 1", 3), ("echo 2", 3)]


def test_uneven_gaps_within_the_tolerance_are_averaged(tmp_path):
    datasets = [classic_slice(AXIAL, z) for z in (0, 1.02, 2, 3)]

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.spacing_mm[0] == pytest.approx(3.5, abs=1e-4)


# Rules


def test_two_slices_are_no_volume_unless_the_limits_say_so(tmp_path):
    datasets = [classic_slice(AXIAL, z) for z in (0, 1)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.TOO_FEW
    assert "2 images at 2 positions, and a volume needs 3 slices" in str(error)
    assert len(content_of(datasets, tmp_path, min_slices=2).volumes) == 1


@pytest.mark.parametrize(
    ("attributes", "rule", "said"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, Rule.MODALITY, "Modality is CT"),
        ({"Modality": None}, Rule.MODALITY, "Modality is absent"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Rule.SOP_CLASS, "Secondary Capture Image Storage"),
        ({"PixelData": None}, Rule.PIXEL_DATA, "no pixel data element"),
        ({"PixelData": b""}, Rule.PIXEL_DATA, "empty"),
        ({"ImagePositionPatient": None}, Rule.GEOMETRY, "no ImagePositionPatient"),
        ({"ImagePositionPatient": [1, 2]}, Rule.GEOMETRY, "no ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, Rule.GEOMETRY, "no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, Rule.GEOMETRY, "not two perpendicular unit vectors"),
        ({"PixelSpacing": None}, Rule.GEOMETRY, "no PixelSpacing"),
        ({"PixelSpacing": [0, 1]}, Rule.GEOMETRY, "no PixelSpacing"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Rule.COLOUR, "RGB with 3 samples"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, Rule.MOSAIC, "tiles of one image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, Rule.DERIVED, "MIP"),
        ({"PixelData": b"\0" * 94}, Rule.TRUNCATED, "94 of 96 bytes of pixel data"),
    ],
)
def test_a_series_is_left_out_that_breaks_the_rule_of(attributes, rule, said, tmp_path):
    error = broken(content_of(classic_series(**attributes), tmp_path))

    assert error.rule is rule
    assert said in error.detail
    assert error.remedy in str(error)


def test_an_enhanced_colour_object_is_named_so(tmp_path):
    error = broken(
        content_of([enhanced(SOPClassUID=EnhancedMRColorImageStorage, PhotometricInterpretation="RGB")], tmp_path)
    )

    assert error.rule is Rule.COLOUR


def test_an_enhanced_projection_is_no_volume(tmp_path):
    dataset = enhanced()
    dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence = [
        item(FrameType=["DERIVED", "PRIMARY", "ANGIO", "MAXIMUM"], VolumeBasedCalculationTechnique="MAX_IP")
    ]

    assert broken(content_of([dataset], tmp_path)).rule is Rule.DERIVED


def test_functional_groups_that_do_not_tell_of_every_frame_are_missing_geometry(tmp_path):
    dataset = enhanced()
    del dataset.PerFrameFunctionalGroupsSequence[-1]

    error = broken(content_of([dataset], tmp_path))

    assert (error.rule, error.detail.split(" (")[0]) == (
        Rule.GEOMETRY,
        "functional groups of 4 frames for 5 frames",
    )


def test_a_missing_slice_is_named_with_the_positions_beside_the_gap(tmp_path):
    datasets = classic_series(Grid(shape=(9, 6, 8)))
    del datasets[4]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.SPACING
    assert "7.00 mm between the slices at 50.50 and 57.50 mm" in error.detail
    assert "the pitch is 3.50 mm (tolerance 0.18 mm): 1 slice is missing" in error.detail


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([0, 1, 2, 5, 6, 7], ": 2 slices are missing"),
        ([0, 1, 2, 4, 5, 6, 8, 9], ": 2 slices are missing, in 2 places"),
        ([0, 1, 2, 3, 4.5, 5.5, 6.5], ": the slices have no one pitch"),
        ([0, 1, 2, 2.3, 3.3, 4.3], ": the slices have no one pitch"),
        ([0, 1, 2.2, 3.7, 5.9], ": the slices have no one pitch"),
    ],
)
def test_a_gap_says_how_many_slices_are_missing_or_that_there_is_no_pitch(kept, said, tmp_path):
    datasets = [classic_slice(AXIAL, z, InstanceNumber=number) for number, z in enumerate(kept)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.SPACING
    assert error.detail.endswith(said)


def test_slices_thicker_than_their_pitch_are_a_volume_of_that_pitch(tmp_path):
    datasets = classic_series(SliceThickness=7, SpacingBetweenSlices=9)

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.spacing_mm[0] == pytest.approx(3.5)


def test_one_slice_that_is_there_twice_is_a_duplicate_position(tmp_path):
    datasets = [*classic_series(series_uid="1.2.3.4", FrameOfReferenceUID="1.2.3.5"), classic_slice(AXIAL, 2)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.DUPLICATE
    assert "6 images at 5 positions, 2 of them at 47.00 mm" in error.detail


def test_the_same_instance_twice_counts_once_and_the_whole_copy_is_taken(tmp_path):
    datasets = classic_series()
    (tmp_path / "copy").mkdir()
    paths = save_all(datasets, tmp_path)
    cut = tmp_path / "copy" / "cut.dcm"
    cut.write_bytes(paths[2].read_bytes()[:-10])

    content = find_volumes(read_headers([cut, *paths]))

    (volume,) = content.volumes
    assert content.left_out == ()
    assert volume.frames[2].path == paths[2]


def test_images_of_two_matrices_are_no_volume(tmp_path):
    datasets = [classic_slice(Grid(shape=(3, 6 + z // 2, 8)), z) for z in range(4)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.MATRIX
    assert "6×8 and 7×8 pixels" in error.detail


def test_images_of_two_pixel_spacings_are_no_volume(tmp_path):
    datasets = classic_series()
    datasets[3].PixelSpacing = [0.8, 0.5]

    assert broken(content_of(datasets, tmp_path)).rule is Rule.MATRIX


def test_slices_that_slide_sideways_are_no_volume(tmp_path):
    datasets = classic_series()
    for z, dataset in enumerate(datasets):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, float(y) + z, height]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.SHEARED
    assert "leaning 15.9 degrees" in error.detail


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName"])
def test_a_series_of_two_patients_is_refused_whole_without_naming_them(keyword, tmp_path):
    datasets = classic_series()
    setattr(datasets[2], keyword, "Someone^Else")

    content = content_of(datasets, tmp_path)

    error = broken(content)
    assert error.rule is Rule.MIXED_PATIENTS
    assert "2 patients" in error.detail
    assert "Someone" not in str(error)


def test_positions_in_two_frames_of_reference_are_not_compared(tmp_path):
    datasets = classic_series()
    datasets[4].FrameOfReferenceUID = generate_uid()

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.GEOMETRY
    assert "2 frames of reference" in error.detail


def test_the_same_name_written_otherwise_is_the_same_patient(tmp_path):
    datasets = classic_series(PatientName="Doe^Jane^^^")
    datasets[2].PatientName = "DOE^JANE"

    assert len(content_of(datasets, tmp_path).volumes) == 1


def test_a_bad_part_does_not_disturb_the_good_volumes_beside_it(tmp_path):
    uid = generate_uid()
    good = classic_series(series_uid=uid, FrameOfReferenceUID="1.2.9", EchoNumbers=1)
    bad = classic_series(series_uid=uid, FrameOfReferenceUID="1.2.9", EchoNumbers=2)
    del bad[2]
    capture = classic_slice(AXIAL, 0, SeriesInstanceUID=uid, SOPClassUID=SecondaryCaptureImageStorage)

    content = content_of([*good, *bad, capture], tmp_path)

    (volume,) = content.volumes
    assert volume.name == "echo 1"
    assert rules_of(content) == [Rule.SOP_CLASS, Rule.SPACING]
    assert content.left_out[1].detail.startswith("echo 2: ")
    lines = content.explain()
    assert lines[0].endswith("volume 1 (echo 1): axial, 5 slices of 6×8, 3.50×0.75×0.50 mm")
    assert len(lines) == 3


def test_a_truncated_image_spoils_the_volume_it_is_in_and_is_named(tmp_path):
    datasets = classic_series()
    paths = save_all(datasets, tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-10])

    error = broken(find_volumes(read_headers(paths)))

    assert error.rule is Rule.TRUNCATED
    assert datasets[4].SOPInstanceUID in error.detail


def test_fewer_than_two_slices_cannot_be_asked_for():
    with pytest.raises(ValueError, match="at least 2 slices"):
        Limits(min_slices=1)


def test_nothing_at_all_is_an_empty_content():
    content = find_volumes(read_headers([]))

    assert (content.volumes, content.left_out, content.explain()) == ((), (), ())
