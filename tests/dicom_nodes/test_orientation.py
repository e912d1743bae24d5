"""Turning an array to a model's axes and back: exact, and every voxel stays where it is in the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes

from dicom_nodes.orientation import axis_letters, reorient

ALL_AXES = ["".join(letters) for pairs in permutations(("LR", "AP", "SI")) for letters in product(*pairs)]
VECTORS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
SHAPE = (3, 4, 5)


def affine_of(axes, spacing=(0.7, 0.8, 3.3), origin=(-31.0, 12.5, 80.0), rotation=None):
    """An affine whose x, y, z grow along `axes`, then turned by `rotation`."""
    rotation = np.eye(3) if rotation is None else rotation
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([VECTORS[a] for a in axes], float).T * spacing
    affine[:3, 3] = origin
    return affine


def rotation_about(vector, degrees):
    """Rodrigues' formula."""
    x, y, z = np.asarray(vector, float) / np.linalg.norm(vector)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def numbered(shape=SHAPE):
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def positions(array, affine):
    """Value of each voxel to its patient position."""
    z, y, x = np.indices(array.shape)
    points = np.stack([x, y, z, np.ones_like(x)], axis=-1).reshape(-1, 4) @ affine.T
    return dict(zip(array.ravel().tolist(), points[:, :3], strict=True))


def closeness(affine, axes):
    """Sum of the cosines between an affine's axes and the directions that the letters name."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.sum(directions * np.array([VECTORS[a] for a in axes], float).T))


rotations = st.builds(
    rotation_about,
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.floats(-180, 180),
)


@given(present=st.sampled_from(ALL_AXES), wanted=st.sampled_from(ALL_AXES), rotation=rotations)
@settings(max_examples=300, deadline=None)
def test_the_way_back_is_exact_and_no_voxel_moves_in_the_patient(present, wanted, rotation):
    array, affine = numbered(), affine_of(present, rotation=rotation)

    turned = reorient(array, affine, wanted)

    assert turned.array.flags.c_contiguous
    assert closeness(turned.affine, wanted) == pytest.approx(closeness(turned.affine, axis_letters(turned.affine)))
    back = turned.undo(turned.array)
    assert back.flags.c_contiguous
    assert np.array_equal(back, array)
    before, after = positions(array, affine), positions(turned.array, turned.affine)
    assert all(np.allclose(before[value], after[value], atol=1e-9) for value in before)


@pytest.mark.parametrize("present", ALL_AXES)
def test_every_laying_of_an_array_gets_to_las_with_its_spacing(present):
    turned = reorient(numbered(), affine_of(present), "LAS")

    along = dict(zip(["LR", "AP", "SI"], turned.spacing_mm[::-1], strict=True))
    asked = dict(zip(present, (0.7, 0.8, 3.3), strict=True))
    for pair, spacing in along.items():
        assert spacing == pytest.approx(next(asked[letter] for letter in pair if letter in asked))


CLINICAL = {
    "axial, head first supine": "LPS",
    "axial, feet first supine (slices stacked toward the feet)": "LPI",
    "axial, head first prone (rows toward the front)": "RAS",
    "sagittal, rows toward the feet": "PIL",
    "sagittal, slices from left to right": "PIR",
    "coronal, rows toward the feet": "LIP",
    "coronal, stacked toward the front": "LIA",
}


@pytest.mark.parametrize("degrees", [0, 25, -40])
@pytest.mark.parametrize("name", CLINICAL)
def test_a_mark_on_the_patients_left_lies_at_the_high_x_end_of_las(name, degrees):
    affine = affine_of(CLINICAL[name], spacing=(1, 1, 1), rotation=rotation_about((1, 0.3, 0.2), degrees))
    array = np.zeros((9, 9, 9), np.uint8)
    centre = affine @ [4, 4, 4, 1]
    mark = np.linalg.inv(affine) @ (centre + np.array([3, 0, 0, 0]))  # 3 mm to the patient's left
    x, y, z = np.rint(mark[:3]).astype(int)
    array[z, y, x] = 1

    turned = reorient(array, affine, "LAS")

    (found,) = np.argwhere(turned.array)
    assert found[2] > 5
    assert np.array_equal(turned.undo(turned.array), array)


@given(present=st.sampled_from(ALL_AXES), rotation=rotations)
@settings(max_examples=300, deadline=None)
def test_axes_are_never_named_a_mirror_image_of_the_array(present, rotation):
    affine = affine_of(present, rotation=rotation)
    named = np.linalg.det(np.array([VECTORS[a] for a in axis_letters(affine)], float))

    assert np.sign(named) == np.sign(np.linalg.det(affine[:3, :3]))


@given(present=st.sampled_from(ALL_AXES), axis=rotations, degrees=st.floats(-40, 40))
@settings(max_examples=200, deadline=None)
def test_oblique_axes_are_named_as_nibabel_names_them(present, axis, degrees):
    affine = affine_of(present, rotation=rotation_about(axis[:, 0], degrees))
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])

    assert axis_letters(affine) == "".join(aff2axcodes(to_ras @ affine))


@pytest.mark.parametrize("nudge", [0.0, 1e-9, -1e-9])
def test_forty_five_degrees_is_decided_the_same_whatever_the_rounding(nudge):
    affine = affine_of("LPS", rotation=rotation_about((1, 0, 0), 45 + nudge))

    assert axis_letters(affine) == axis_letters(affine_of("LPS", rotation=rotation_about((1, 0, 0), 45)))
    assert set(axis_letters(affine)) in ({"L", "P", "S"}, {"L", "S", "A"}, {"L", "I", "P"})


def test_a_label_map_of_another_type_comes_back_on_the_source_grid():
    array = np.zeros((2, 3, 4), np.float32)
    turned = reorient(array, affine_of("PIR"), "LAS")
    labels = np.ones(turned.array.shape, np.uint8)

    back = turned.undo(labels)

    assert (back.dtype, back.shape) == (np.dtype(np.uint8), array.shape)


def test_a_label_map_of_another_shape_is_refused():
    turned = reorient(numbered(), affine_of("LPS"), "LAS")

    with pytest.raises(ValueError, match="does not lie on the turned grid"):
        turned.undo(np.zeros((5, 4, 3), np.uint8))


@pytest.mark.parametrize("axes", ["LA", "LLS", "XYZ", "LASS", "las", ""])
def test_impossible_axes_are_refused(axes):
    with pytest.raises(ValueError, match="are not three letters"):
        reorient(numbered(), affine_of("LPS"), axes)


def test_an_affine_that_spans_no_volume_is_refused():
    flat = affine_of("LPS")
    flat[:3, 2] = flat[:3, 1]

    with pytest.raises(ValueError, match="does not span a volume"):
        axis_letters(flat)
