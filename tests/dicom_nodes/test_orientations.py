"""Slices that do not lie parallel: localizers, several stacks, rows that turn, radial acquisitions, movies."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_nodes.errors import Rule
from tests.dicom_nodes.series import broken, content_of, names_of, rules_of
from tests.factories import AXIAL, GRIDS, Grid, classic_series, classic_slice, enhanced, frame_at


def test_orientations_with_slices_enough_are_volumes_of_one_series(tmp_path):
    uid = generate_uid()
    axial = classic_series(Grid(shape=(10, 4, 4)), uid, FrameOfReferenceUID="1.2.9")
    sagittal = classic_series(
        Grid(shape=(12, 4, 4), orientation=(0, 1, 0, 0, 0, -1)), uid, FrameOfReferenceUID="1.2.9"
    )

    volumes = content_of(axial + sagittal, tmp_path).volumes

    assert {(volume.name, volume.shape[0]) for volume in volumes} == {("axial", 10), ("sagittal", 12)}


def test_a_localizer_is_named_with_its_orientations(tmp_path):
    uid = generate_uid()
    planes = [GRIDS[name] for name in ("axial", "sagittal", "coronal")]
    datasets = [each for grid in planes for each in classic_series(grid, uid, FrameOfReferenceUID="1.2.9")]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.ORIENTATION
    assert error.series_uid == uid
    for plane in ("axial", "sagittal", "coronal"):
        assert f"{plane} with 5 images at 5 positions" in error.detail


def turned(degrees, axis, base=AXIAL):
    """The grid turned about an axis of the patient."""
    radians = np.radians(degrees)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross
    row, column = np.array(base.orientation[:3], float), np.array(base.orientation[3:], float)
    return replace(base, orientation=(*(rotation @ row), *(rotation @ column)))


@pytest.mark.parametrize("name", ["axial", "sagittal", "doubly oblique"])
def test_slices_whose_rows_turn_in_their_plane_are_refused_with_that_reason(name, tmp_path):
    normal = np.cross(GRIDS[name].orientation[:3], GRIDS[name].orientation[3:])
    datasets = [classic_slice(turned(15 * z, normal, GRIDS[name]), z) for z in range(12)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.ROTATED
    assert "12 orientations about one normal, up to 165.0 degrees apart" in error.detail
    assert "localizer" not in str(error)


def test_one_slice_that_is_turned_in_its_plane_is_refused_with_its_stack(tmp_path):
    datasets = classic_series(replace(AXIAL, shape=(14, 6, 8)), "1.2.3.4", FrameOfReferenceUID="1.2.3.5")
    datasets[5].ImageOrientationPatient = list(GRIDS["axial, prone"].orientation)

    error = broken(content_of(datasets, tmp_path))

    assert (error.rule, "14 axial images" in error.detail) == (Rule.ROTATED, True)


def test_two_stacks_of_one_normal_with_slices_enough_are_two_volumes(tmp_path):
    grid = replace(AXIAL, shape=(10, 6, 8))
    datasets = [
        classic_slice(each, z, InstanceNumber=number * 100 + z)
        for number, each in enumerate((grid, turned(90, (0, 0, 1), grid)))
        for z in range(10)
    ]

    assert names_of(content_of(datasets, tmp_path)) == ["axial 1", "axial 2"]


def test_slabs_that_turn_about_one_axis_are_a_radial_acquisition(tmp_path):
    datasets = [
        classic_slice(turned(15 * number, (0, 0, 1), GRIDS["coronal"]), 0, InstanceNumber=number)
        for number in range(12)
    ]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.ROTATED
    assert "a radial acquisition, 12 images in 12 planes that turn about one axis" in error.detail


def test_a_localizer_beside_a_turned_plane_keeps_its_name(tmp_path):
    planes = [GRIDS["axial"], GRIDS["sagittal"], GRIDS["coronal"], turned(90, (0, 0, 1))]
    datasets = [classic_slice(grid, z, InstanceNumber=z) for grid in planes for z in range(3)]

    content = content_of(datasets, tmp_path)

    assert content.volumes == ()
    assert sorted(rules_of(content)) == [Rule.ORIENTATION, Rule.ROTATED]


# Movies


@pytest.mark.parametrize("position", [0, 3])
def test_many_frames_at_one_position_are_a_movie_and_not_too_few(position, tmp_path):
    grid = Grid(shape=(19, 6, 8))
    dataset = enhanced(grid, ImageType=["DERIVED", "PRIMARY", "MOTION", "NONE"])
    dataset.PerFrameFunctionalGroupsSequence = [frame_at(grid.position(position)) for _ in range(19)]

    error = broken(content_of([dataset], tmp_path))

    assert (error.rule, error.detail) == (Rule.MOVIE, "19 images at 1 position")
    assert "one position only" in str(error)


def test_a_cine_of_classic_objects_is_a_movie(tmp_path):
    datasets = [classic_slice(AXIAL, 0, InstanceNumber=phase, TriggerTime=30 * phase) for phase in range(25)]

    assert broken(content_of(datasets, tmp_path)).rule is Rule.MOVIE


def test_few_positions_that_are_each_seen_over_time_are_movies(tmp_path):
    datasets = [
        classic_slice(AXIAL, z, InstanceNumber=25 * z + phase, TriggerTime=30 * phase)
        for z in range(2)
        for phase in range(25)
    ]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.MOVIE
    assert error.detail == "50 images at 2 positions, a movie of 25 images at each"


def test_few_positions_with_many_echoes_are_too_few_slices_and_no_movie(tmp_path):
    datasets = [classic_slice(AXIAL, z, EchoNumbers=echo) for z in range(2) for echo in range(12)]

    assert broken(content_of(datasets, tmp_path)).rule is Rule.TOO_FEW


def test_two_images_at_one_position_are_no_movie(tmp_path):
    datasets = [classic_slice(AXIAL, 0, InstanceNumber=number) for number in range(2)]

    assert broken(content_of(datasets, tmp_path)).rule is Rule.TOO_FEW


def test_a_cine_of_many_positions_is_a_volume_for_each_phase(tmp_path):
    datasets = [
        classic_slice(AXIAL, z, InstanceNumber=20 * z + phase, TriggerTime=30 * phase)
        for z in range(5)
        for phase in range(20)
    ]

    assert names_of(content_of(datasets, tmp_path)) == [f"trigger {30 * phase} ms" for phase in range(20)]
