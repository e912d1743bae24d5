"""Planted faults are caught and named with numbers and places, and what is sound says nothing."""

import time

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.types import Affine, Algorithm, LabelMap, Laterality, Plane, Volume
from service.findings import CONTRADICTIONS, Finding, FindingName
from service.phantom.body import Phantom
from service.phantom.protocols import PROTOCOLS
from service.submodel import SubModel
from tests.workers.lumbosacral import VERTEBRAE, lumbosacral
from tests.workers.test_checks import SERVES, SUBMODELS, imaged, painted
from workers.apart import apart_mm
from workers.checks import check

Labels = npt.NDArray[np.uint8]

SOUND = [(protocol, seed) for seed in range(21, 28) for protocol in PROTOCOLS]
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


def asked(
    submodel: SubModel, protocol: str, labels: Labels, affine: Affine, side: Laterality | None = None
) -> tuple[Finding, ...]:
    """All that the checks say of these labels."""
    z, y, x = labels.shape
    volume = Volume("1.2", "1", "1.1", 1, "", (), affine, (z, y, x), Plane.AXIAL, 0.0)
    label_map = LabelMap(
        labels, affine, submodel.segments(protocol, side), Algorithm(submodel.name, "1", "test", True)
    )
    return check(label_map, volume, submodel.serves(protocol), submodel, side)


def found(phantom: Phantom, labels: Labels, affine: Affine | None = None) -> dict[FindingName, str]:
    """Finding to evidence, if the sub-model of a phantom's protocol finds these labels in it."""
    where = phantom.affine if affine is None else affine
    findings = asked(SERVES[phantom.protocol], phantom.protocol, labels, where, phantom.laterality)
    return {each.name: each.evidence for each in findings}


def value(phantom: Phantom, name: str) -> int:
    return phantom.labels[name]


def middle_of(labels: Labels, of: int) -> tuple[int, int, int]:
    z, y, x = (int(each) for each in np.median(np.argwhere(labels == of), axis=0))
    return z, y, x


def block(labels: Labels, corner: tuple[int, int, int], size: tuple[int, int, int], of: int) -> Labels:
    """The labels with a block of one value in them."""
    changed = labels.copy()
    changed[tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))] = of
    return changed


def test_there_are_more_than_fifty_sound_phantoms_of_all_eight_protocols() -> None:
    assert len(SOUND) >= 50 and {protocol for protocol, _ in SOUND} == set(PROTOCOLS)
    assert len(PROTOCOLS) == 8


@pytest.mark.parametrize(("protocol", "seed"), SOUND)
def test_a_sound_phantom_says_nothing(protocol: str, seed: int) -> None:
    phantom = imaged(protocol, seed)
    assert found(phantom, phantom.truth) == {}


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_sound_lumbar_spine_with_its_sacrum_says_nothing(seed: int) -> None:
    phantom = lumbosacral(seed)
    assert asked(VERTEBRAE, "lumbar", phantom.truth, phantom.affine) == ()


def test_swapped_kidneys_are_on_the_wrong_side_and_nothing_else() -> None:
    phantom = imaged("abdomen")
    swapped = painted(phantom, kidney_right="kidney_left", kidney_left="kidney_right")
    assert set(found(phantom, swapped)) == {FindingName.SIDE}


def test_a_mirrored_volume_contradicts_sides_and_order() -> None:
    phantom = imaged("abdomen")
    assert set(found(phantom, phantom.truth, MIRROR @ phantom.affine)) == {FindingName.SIDE, FindingName.ORDER}


@pytest.mark.parametrize("left_of_it", [0, 1], ids=["none", "a voxel"])
def test_a_gallbladder_that_is_missing_beside_a_whole_liver_is_said(
    left_of_it: int,
) -> None:
    phantom = imaged("abdomen")
    gallbladder = value(phantom, "gallbladder")
    labels = painted(phantom, gallbladder="")
    labels[tuple(np.argwhere(phantom.truth == gallbladder)[:left_of_it].T)] = gallbladder
    (told,) = found(phantom, labels).items()
    assert told[0] is FindingName.ABSENT and told[0] not in CONTRADICTIONS
    assert told[1].startswith("gallbladder was not found" + (" but for 0." if left_of_it else ", with liver of "))
    assert "seen whole; it may have been removed, or be empty" in told[1]


def test_no_gallbladder_is_missed_where_the_liver_is_cut_off() -> None:
    phantom = imaged("abdomen")
    labels = painted(phantom, gallbladder="")
    z = middle_of(labels, value(phantom, "liver"))[0]
    assert FindingName.ABSENT not in found(phantom, labels[z:], phantom.affine)


def test_a_leak_to_the_edge_names_the_edge_and_its_area() -> None:
    phantom = imaged("abdomen")
    z, y, _ = middle_of(phantom.truth, value(phantom, "liver"))
    labels = block(phantom.truth, (z - 2, y - 6, 0), (5, 12, 30), value(phantom, "liver"))
    (evidence,) = (text for name, text in found(phantom, labels).items() if name is FindingName.LEAK)
    assert evidence.startswith("liver (") and "reaches the right edge over " in evidence
    assert evidence.endswith(" cm2")
    mirrored = found(phantom, labels, MIRROR @ phantom.affine)[FindingName.LEAK]
    assert "reaches the left edge over " in mirrored, "by the patient, not by the columns"


def test_what_is_cut_off_above_or_below_or_in_a_narrow_image_is_no_leak() -> None:
    phantom = imaged("abdomen")
    z, _, x = middle_of(phantom.truth, value(phantom, "liver"))
    assert FindingName.LEAK not in found(phantom, phantom.truth[z:])
    assert FindingName.LEAK not in found(phantom, np.ascontiguousarray(phantom.truth[:, :, x:]))
    coronal = imaged("pelvis").truth
    assert FindingName.LEAK not in found(imaged("pelvis"), coronal[:, coronal.shape[1] // 2 :])


def test_an_island_is_told_with_its_volume_its_distance_and_its_place() -> None:
    phantom = imaged("abdomen")
    spleen, liver = value(phantom, "spleen"), value(phantom, "liver")
    corner = middle_of(phantom.truth, spleen)
    labels = block(phantom.truth, (corner[0] - 1, corner[1] - 3, corner[2] - 3), (3, 6, 6), liver)
    (told,) = found(phantom, labels).items()
    assert told[0] is FindingName.ISLANDS
    assert told[1].startswith("liver has ") and " mm away from it, about (" in told[1]
    left = float(told[1].split("about (")[1].split(",")[0])
    z, y, x = corner
    assert left == pytest.approx(float((phantom.affine @ [x, y, z, 1.0])[0]), abs=12)


def test_a_few_far_voxels_are_no_island_and_both_femora_are_none_of_each_other() -> None:
    phantom = imaged("abdomen")
    z, y, x = middle_of(phantom.truth, value(phantom, "spleen"))
    assert found(phantom, block(phantom.truth, (z, y, x), (1, 2, 2), value(phantom, "liver"))) == {}
    pelvis = imaged("pelvis")
    assert SUBMODELS["mrannotator-pelvis-prostate"].label[0].pieces == 2
    assert found(pelvis, pelvis.truth) == {}


def test_volumes_beyond_what_is_plausible_are_told_and_a_small_one_only_where_it_is_whole() -> None:
    affine, submodel = np.diag([1.5, 1.5, 5.0, 1.0]), SUBMODELS["mrannotator-abdomen"]
    affine[:3, 3] = (-180.0, -150.0, 0.0)
    empty = np.zeros((60, 200, 240), np.uint8)
    inside = block(empty, (20, 90, 100), (3, 10, 10), 5)
    said = {each.name: each.evidence for each in asked(submodel, "abdomen", inside, affine)}
    assert said[FindingName.VOLUME] == "liver has 3.4 mL, seen whole; 100 to 10000 mL are plausible"
    at_the_end = block(empty, (57, 90, 100), (3, 10, 10), 5)
    assert FindingName.VOLUME not in {each.name for each in asked(submodel, "abdomen", at_the_end, affine)}
    everywhere = block(empty, (0, 10, 10), (60, 180, 100), 8)
    said = {each.name: each.evidence for each in asked(submodel, "abdomen", everywhere, affine)}
    assert said[FindingName.VOLUME].startswith("pancreas has 12150.0 mL; 8 to 400 mL")


def test_a_label_of_a_few_voxels_is_almost_empty_but_not_at_the_edge_of_the_image() -> None:
    phantom = imaged("lumbar")
    z, y, _ = (size // 2 for size in phantom.truth.shape)
    other = value(phantom, "Vertebrae L5") - 15  # T2: not in the image
    labels = block(phantom.truth, (z, y, 4), (1, 1, 3), other)
    evidence = found(phantom, labels)[FindingName.FEW]
    assert evidence.startswith("Vertebrae T2 has 3 voxels (0.") and evidence.endswith(" mm LPS")
    assert FindingName.FEW not in found(phantom, block(phantom.truth, (z, y, 0), (1, 1, 3), other))


def shifted(phantom: Phantom, by: int, *, sacrum: int = 1) -> Labels:
    """The lumbar truth with every vertebra named one level off; 1 is the sacrum, 2 is L5, and so on up."""
    table = np.arange(256)
    table[2:26] = np.clip(table[2:26] + by, 1, 25)
    if by < 0:
        table[2] = sacrum
    return table.astype(np.uint8)[phantom.truth]


def test_levels_that_were_counted_from_above_contradict_the_sacrum() -> None:
    phantom = lumbosacral(2)
    (finding,) = asked(VERTEBRAE, "lumbar", shifted(phantom, +1), phantom.affine)
    assert finding.name is FindingName.JUNCTION and finding.name in CONTRADICTIONS
    assert finding.evidence.startswith("vertebrae_L4 is the level next to the sacrum, ")
    assert finding.evidence.endswith("mm from it, and no vertebrae_L5 was found")


def test_a_level_between_the_lowest_vertebra_and_the_sacrum_that_has_no_label_is_a_junction_in_doubt() -> None:
    phantom = lumbosacral(2)
    (finding,) = asked(VERTEBRAE, "lumbar", shifted(phantom, -1, sacrum=0), phantom.affine)
    assert finding.name is FindingName.JUNCTION
    gap, _, said = finding.evidence.partition(
        " mm without a label lie between the sacrum and vertebrae_L5; a level"
    )
    assert 17 < float(gap) < 50 and said


def test_the_distance_of_two_large_blocks_is_that_of_their_faces() -> None:
    near, far = (np.argwhere(np.ones((90, 90, 90), bool)) * 0.5 + [0, 0, start] for start in (0.0, 65.0))
    assert apart_mm(near, far) == pytest.approx(65 - 44.5, abs=1.5)
    assert apart_mm(near, far) == apart_mm(near, far), "the same at every attempt"


def test_fifty_labels_in_a_large_volume_are_checked_within_seconds() -> None:
    submodel = SUBMODELS["totalsegmentator-total-mr"]
    labels = np.zeros((80, 512, 512), np.uint8)
    for number in range(50):
        y, x = divmod(number, 8)
        labels[4:76, 10 + 70 * y : 70 + 70 * y, 8 + 62 * x : 60 + 62 * x] = number + 1
    labels[2, 2, 2:52] = np.arange(1, 51)  # a stray of each, so that every box is nearly the whole volume
    affine = np.diag([0.7, 0.7, 4.0, 1.0])
    started = time.perf_counter()
    asked(submodel, "whole body", labels, affine)
    assert time.perf_counter() - started < 6, "it takes some 1 s on an idle core"
