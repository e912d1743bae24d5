"""The shipped colours: light enough for grey MR images, apart from each other, and the same wherever they stand."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from service.label import Label
from service.submodel import load_submodels

SUBMODELS = {submodel.name: submodel for submodel in load_submodels()}
VERTEBRAE = [*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]
LIGHTNESS, CHROMA = (49.0, 89.0), 18.0
"""Of CIELAB: neither lost on dark tissue nor on bright, and no grey."""
APART, SIDES_APART, NEIGHBOURS_APART = 9.5, 20.0, 25.0
"""By CIEDE2000: any two of one sub-model, left and right, and what lies side by side."""
NEIGHBOURS = [
    ("liver", "gallbladder"), ("liver", "stomach"), ("liver", "duodenum"), ("liver", "kidney_right"),
    ("liver", "adrenal_gland_right"), ("liver", "inferior_vena_cava"), ("liver", "portal_vein_and_splenic_vein"),
    ("liver", "colon"), ("liver", "lung_right"), ("liver", "heart"), ("liver", "pancreas"), ("spleen", "stomach"),
    ("spleen", "kidney_left"), ("spleen", "pancreas"), ("pancreas", "duodenum"), ("pancreas", "stomach"),
    ("gallbladder", "duodenum"), ("kidney_left", "adrenal_gland_left"), ("kidney_right", "adrenal_gland_right"),
    ("aorta", "inferior_vena_cava"), ("aorta", "esophagus"), ("iliac_artery_left", "iliac_vena_left"),
    ("heart", "lung_left"), ("vertebrae", "intervertebral_discs"), ("vertebrae", "sacrum"), ("sacrum", "hip_left"),
    ("hip_right", "femur_right"), ("gluteus_maximus_left", "gluteus_medius_left"), ("urinary_bladder", "prostate"),
]  # fmt: skip


def lab(label: Label) -> np.ndarray:
    """L*, a*, b* of a label's colour."""
    return np.asarray(rgb2lab(np.array(label.rgb) / 255))


def difference(one: Label, other: Label) -> float:
    return float(deltaE_ciede2000(lab(one), lab(other)))  # type: ignore[no-untyped-call]


def named(submodel: str) -> dict[str, Label]:
    return {label.name: label for label in SUBMODELS[submodel].label}


@pytest.mark.parametrize("name", SUBMODELS)
def test_every_colour_is_light_enough_to_be_seen_and_is_no_grey(name: str) -> None:
    for label in SUBMODELS[name].label:
        lightness, a, b = lab(label)
        assert LIGHTNESS[0] <= lightness <= LIGHTNESS[1], label.name
        assert np.hypot(a, b) >= CHROMA, label.name


@pytest.mark.parametrize("name", SUBMODELS)
def test_no_two_colours_of_a_sub_model_are_alike(name: str) -> None:
    for one, other in combinations(SUBMODELS[name].label, 2):
        assert difference(one, other) >= APART, f"{one.name} and {other.name}"


@pytest.mark.parametrize(
    ("submodel", "prefix"), [("mrannotator-spine", "Vertebrae "), ("totalsegmentator-vertebrae-mr", "vertebrae_")]
)
def test_vertebrae_that_stand_on_each_other_differ_at_a_glance(submodel: str, prefix: str) -> None:
    labels = named(submodel)
    column = [labels[prefix + level] for level in VERTEBRAE if prefix + level in labels]
    assert len(column) >= 22
    for upper, lower in pairwise(column):
        assert difference(upper, lower) >= NEIGHBOURS_APART, f"{upper.name} and {lower.name}"


def test_organs_that_lie_side_by_side_differ_at_a_glance() -> None:
    labels = named("totalsegmentator-total-mr")
    for one, other in NEIGHBOURS:
        assert difference(labels[one], labels[other]) >= NEIGHBOURS_APART, f"{one} and {other}"


def test_left_and_right_of_a_structure_differ_clearly() -> None:
    seen = 0
    for submodel in SUBMODELS.values():
        sided = {label.name: label for label in submodel.label if "left" in label.name}
        for name, left in sided.items():
            right = named(submodel.name)[name.replace("left", "right")]
            assert difference(left, right) >= SIDES_APART, f"{submodel.name}: {name}"
            seen += 1
    assert seen > 30


def test_a_structure_has_the_same_colour_in_every_sub_model() -> None:
    colours: dict[tuple[str, str | None], set[tuple[int, int, int]]] = {}
    for submodel in SUBMODELS.values():
        meanings = [(label.type.value, label.laterality) for label in submodel.label]
        for label, meaning in zip(submodel.label, meanings, strict=True):
            if meanings.count(meaning) == 1:  # else its name says more than its code
                colours.setdefault(meaning, set()).add(label.rgb)
    assert {meaning: found for meaning, found in colours.items() if len(found) > 1} == {}
