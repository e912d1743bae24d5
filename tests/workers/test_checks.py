"""The second witness: what is right passes without a word, and what contradicts its route is named with numbers."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.types import Affine, Algorithm, LabelMap, Laterality, Plane, Volume
from service.findings import CONTRADICTIONS, Finding, FindingName
from service.phantom.body import Phantom
from service.phantom.protocols import PROTOCOLS, make_phantom
from service.submodel import SubModel, load_submodels
from workers.checks import check

Labels = npt.NDArray[np.uint8]

SUBMODELS = {submodel.name: submodel for submodel in load_submodels()}
SERVES = {
    protocol.name: submodel
    for submodel in SUBMODELS.values()
    if submodel.system == "MRAnnotator"
    for protocol in submodel.protocol
}
RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def imaged(protocol: str, seed: int = 3, side: Laterality | None = None) -> Phantom:
    return make_phantom(protocol, seed, voxel_scale=4.0, laterality=side)


def found(
    phantom: Phantom,
    labels: Labels,
    *,
    routed: str | None = None,
    side: Laterality | None = None,
    affine: Affine | None = None,
) -> tuple[Finding, ...]:
    """What the checks say if a sub-model finds these labels in the phantom."""
    protocol, where = routed or phantom.protocol, phantom.affine if affine is None else affine
    submodel = SERVES[protocol]
    return asked(submodel, protocol, labels, where, side)


def asked(
    submodel: SubModel, protocol: str, labels: Labels, affine: Affine, side: Laterality | None = None
) -> tuple[Finding, ...]:
    z, y, x = labels.shape
    volume = Volume("1.2", "1", "1.1", 1, "", (), affine, (z, y, x), Plane.SAGITTAL, 0.0)
    segments = submodel.segments(protocol, side)
    label_map = LabelMap(labels, affine, segments, Algorithm(submodel.name, "1", "test", True))
    return contradictory(check(label_map, volume, submodel.serves(protocol), submodel, side))


def contradictory(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those that contradict the route; what is not plausible is asked in test_checks_plausible.py."""
    return tuple(finding for finding in findings if finding.name in CONTRADICTIONS)


def names(findings: tuple[Finding, ...]) -> list[FindingName]:
    return [finding.name for finding in findings]


def painted(phantom: Phantom, **to: str) -> Labels:
    """The truth with some structures labelled as others; spaces in names are written `_`."""
    labels, values = phantom.truth.copy(), {name.replace(" ", "_"): n for name, n in phantom.labels.items()}
    for name, other in to.items():
        labels[phantom.truth == values[name]] = values[other] if other else 0
    return labels


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_truth_of_a_phantom_contradicts_nothing(protocol: str, seed: int) -> None:
    phantom = imaged(protocol, seed)
    assert found(phantom, phantom.truth, side=phantom.laterality) == ()
    assert found(phantom, phantom.truth) == (), "nor where the side is not stated"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_empty_result_is_little_of_every_protocol(protocol: str) -> None:
    phantom = imaged(protocol)
    findings = found(phantom, np.zeros_like(phantom.truth), side=phantom.laterality)
    assert set(names(findings)) == {FindingName.LITTLE}
    assert all(finding.evidence.endswith("found none") for finding in findings)


@pytest.mark.parametrize(
    ("shown", "routed", "says"),
    [
        ("cervical", "lumbar", "expected 3 of Vertebrae L* with 4 mL each at least, found none; beside them Vert"),
        ("cervical", "thoracic", "expected 5 of Vertebrae T* with 2 mL each at least, found Vertebrae T"),
        ("lumbar", "cervical", "expected 3 of Vertebrae C* with 1 mL each at least, found none"),
        ("prostate", "pelvis", "expected upper_femora and pelvis with 20 mL each at least, found none"),
    ],
)
def test_a_level_or_region_that_is_not_the_routed_one_is_said_with_what_was_found_instead(
    shown: str, routed: str, says: str
) -> None:
    phantom = imaged(shown)
    labels = phantom.truth * np.isin(phantom.truth, SERVES[routed].serves(routed).keep).astype(np.uint8)
    (finding,) = found(phantom, labels, routed=routed)
    assert finding.name is FindingName.LITTLE
    assert finding.evidence.startswith(says)


def test_almost_nothing_is_said_with_the_volume_found_and_the_volume_expected() -> None:
    phantom = imaged("knee")
    labels = np.zeros_like(phantom.truth)
    labels[tuple(np.argwhere(phantom.truth == phantom.labels["femur"])[0])] = phantom.labels["femur"]
    (finding,) = found(phantom, labels, side=RIGHT)
    assert finding.name is FindingName.LITTLE
    assert finding.evidence.startswith("expected femur and tibia with 15 mL each at least, found femur 0.")


def test_a_liver_that_is_not_there_is_missed() -> None:
    phantom = imaged("abdomen")
    assert names(found(phantom, painted(phantom, liver=""))) == [FindingName.LITTLE]
    assert names(found(phantom, painted(phantom, gallbladder="", spleen=""))) == []


def test_kidneys_and_liver_on_the_wrong_sides_are_found_whatever_the_grid(turned: "Turn") -> None:
    phantom = imaged("abdomen")
    swapped = painted(phantom, kidney_right="kidney_left", kidney_left="kidney_right")
    labels, affine = turned(swapped, phantom.affine)
    (finding,) = found(phantom, labels, affine=affine)
    assert finding.name is FindingName.SIDE
    assert finding.evidence.startswith("kidney_right lies ") and "to the left of kidney_left" in finding.evidence
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ phantom.affine
    labels, affine = turned(phantom.truth, mirrored)
    assert names(found(phantom, labels, affine=affine)) == [FindingName.SIDE, FindingName.ORDER]


Turn = Callable[[Labels, Affine], tuple[Labels, Affine]]


@pytest.fixture(params=["as it is", "slices the other way", "columns the other way", "axes exchanged", "oblique"])
def turned(request: pytest.FixtureRequest) -> Turn:
    """The same result on another grid of the same patient."""

    def flip(labels: Labels, affine: Affine, axis: int) -> tuple[Labels, Affine]:
        other = np.eye(4)
        other[2 - axis, 2 - axis], other[2 - axis, 3] = -1, labels.shape[axis] - 1
        return np.flip(labels, axis), affine @ other

    def turn(labels: Labels, affine: Affine) -> tuple[Labels, Affine]:
        if request.param == "slices the other way":
            return flip(labels, affine, 0)
        if request.param == "columns the other way":
            return flip(labels, affine, 2)
        if request.param == "axes exchanged":
            return labels.transpose(2, 0, 1), affine[:, [1, 2, 0, 3]]
        if request.param == "oblique":
            cosine, sine = np.cos(0.3), np.sin(0.3)
            tilt = np.array([[cosine, -sine, 0, 9], [sine, cosine, 0, 4], [0, 0, 1, -7], [0, 0, 0, 1.0]])
            return labels, tilt @ affine
        return labels, affine

    return turn


@pytest.mark.parametrize("level", ["Vertebrae L2", "Vertebrae L4"])
def test_a_vertebra_that_was_not_found_is_named_with_its_neighbours(level: str, turned: Turn) -> None:
    phantom = imaged("lumbar")
    labels, affine = turned(painted(phantom, **{level.replace(" ", "_"): ""}), phantom.affine)
    (finding,) = found(phantom, labels, affine=affine)
    assert finding.name is FindingName.MISSING
    above, below = f"{level[:-1]}{int(level[-1]) - 1}", f"{level[:-1]}{int(level[-1]) + 1}"
    assert f"{level} was not found between {above} and {below}, which lie " in finding.evidence


def test_two_vertebrae_that_changed_places_are_named(turned: Turn) -> None:
    phantom = imaged("lumbar")
    swapped = painted(phantom, Vertebrae_L2="Vertebrae_L3", Vertebrae_L3="Vertebrae_L2")
    labels, affine = turned(swapped, phantom.affine)
    (finding,) = found(phantom, labels, affine=affine)
    assert finding.name is FindingName.ORDER
    assert "Vertebrae L3 lies " in finding.evidence
    assert finding.evidence.endswith(" mm nearer to the head than Vertebrae L2")


def test_a_level_that_was_given_twice_is_named_with_the_distance(turned: Turn) -> None:
    phantom = imaged("lumbar")
    labels, affine = turned(painted(phantom, Vertebrae_L5="Vertebrae_L2"), phantom.affine)
    assert FindingName.TWICE in names(found(phantom, labels, affine=affine))
    twice = next(each for each in found(phantom, labels, affine=affine) if each.name is FindingName.TWICE)
    assert twice.evidence.startswith("Vertebrae L2 was found at two places, ")


def test_an_image_upside_down_has_every_level_out_of_order_and_tells_three() -> None:
    phantom = imaged("thoracic")
    upside_down = np.diag([1.0, 1.0, -1.0, 1.0]) @ phantom.affine
    (finding,) = found(phantom, phantom.truth, affine=upside_down)
    assert finding.name is FindingName.ORDER
    assert finding.evidence.count("nearer to the head") == 3
    assert "; and " in finding.evidence and finding.evidence.endswith(" more")


def test_a_few_stray_voxels_of_a_level_are_no_finding() -> None:
    phantom = imaged("lumbar")
    labels = phantom.truth.copy()
    far = np.argwhere(phantom.truth == 0)[:: phantom.truth.size // 40]
    for number, (z, y, x) in enumerate(far):
        labels[z, y, x] = 1 + number % 22
    assert found(phantom, labels) == ()


def test_levels_that_count_from_the_sacrum_upwards_are_asked_in_their_own_order() -> None:
    phantom, submodel = imaged("lumbar"), SUBMODELS["totalsegmentator-vertebrae-mr"]
    values = {label.name.split("_")[-1]: label.value for label in submodel.label}
    table = np.zeros(256, np.uint8)
    for name, value in phantom.labels.items():
        table[value] = values[name.split()[-1]]
    assert asked(submodel, "lumbar", table[phantom.truth], phantom.affine) == ()
    table[phantom.labels["Vertebrae L3"]] = 0
    (finding,) = asked(submodel, "lumbar", table[phantom.truth], phantom.affine)
    assert "vertebrae_L3 was not found between vertebrae_L4 and vertebrae_L2" in finding.evidence


def test_a_shoulder_whose_labels_are_of_the_other_side_has_nothing_of_the_stated_one() -> None:
    phantom = imaged("shoulder", side=LEFT)
    delivered = np.zeros_like(phantom.truth)  # the left labels are dropped when the series is routed as a right one
    assert set(names(found(phantom, delivered, side=RIGHT))) == {FindingName.LITTLE}


def test_labels_of_the_side_that_is_not_the_stated_one_are_a_finding() -> None:
    phantom, shoulder = imaged("shoulder", side=LEFT), SERVES["shoulder"]
    z, y, x = phantom.truth.shape
    volume = Volume("1.2", "1", "1.1", 1, "", (), phantom.affine, (z, y, x), Plane.CORONAL, 0.0)
    label_map = LabelMap(
        phantom.truth, phantom.affine, shoulder.segments("shoulder", None), Algorithm("s", "1", "test", True)
    )
    findings = check(label_map, volume, shoulder.serves("shoulder"), shoulder, RIGHT)
    (finding,) = (each for each in findings if each.name is FindingName.SIDE)
    assert finding.evidence.startswith("routed as the right side, found ")
    assert "humerus_left" in finding.evidence


def test_one_shoulder_with_labels_of_both_sides_is_a_finding_where_no_side_is_stated() -> None:
    phantom = imaged("shoulder", side=LEFT)
    labels = phantom.truth.copy()
    values = {label.name: label.value for label in SERVES["shoulder"].label}
    half = phantom.truth == values["humerus_left"]
    half[: half.shape[0] // 2] = False
    labels[half] = values["humerus_right"]
    labels[phantom.truth == values["scapula_left"]] = values["scapula_right"]
    (finding,) = found(phantom, labels)
    assert finding.name is FindingName.BOTH_SIDES
    assert "of the right side and" in finding.evidence


@pytest.mark.parametrize(("left_mm", "contradicts"), [(90, True), (-90, False), (10, False)])
def test_what_is_alone_on_its_side_must_not_lie_far_beyond_the_middle(left_mm: float, contradicts: bool) -> None:
    labels = np.zeros((40, 40, 80), np.uint8)
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = (-200.0, -100.0, -100.0)
    column = round((left_mm + 200) / 5)
    labels[15:25, 15:25, column - 4 : column + 5] = 37  # femur_right
    submodel = SUBMODELS["totalsegmentator-total-mr"]
    findings = asked(submodel, "thigh", labels, affine)
    assert names(findings) == ([FindingName.SIDE] if contradicts else [])
    if contradicts:
        assert findings[0].evidence == "femur_right lies 90 mm to the left of the middle of the image"


def test_a_stray_piece_of_the_other_side_is_no_finding() -> None:
    phantom = imaged("abdomen")
    labels = painted(phantom, kidney_left="")
    inside = np.argwhere(phantom.truth == phantom.labels["spleen"])
    z, y, x = inside[len(inside) // 2]
    labels[z - 1 : z + 2, y, x] = phantom.labels["kidney_right"]
    z, y, x = np.argwhere(phantom.truth == phantom.labels["liver"])[0]
    labels[z : z + 3, y : y + 3, x : x + 3] = phantom.labels["kidney_left"]
    assert found(phantom, labels) == ()


def test_a_small_field_of_view_has_no_middle_to_lie_beyond() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:30, 10:30, 25:35] = 37
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    assert asked(SUBMODELS["totalsegmentator-total-mr"], "thigh", labels, affine) == ()


def test_no_lesion_in_a_liver_is_no_contradiction() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    assert asked(SUBMODELS["totalsegmentator-liver-lesions-mr"], "abdomen", labels, np.eye(4)) == ()


def test_noise_takes_no_longer_than_a_few_seconds() -> None:
    labels = np.random.default_rng(1).integers(0, 26, (60, 256, 256), np.uint8)
    started = time.perf_counter()
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    findings = asked(SUBMODELS["totalsegmentator-vertebrae-mr"], "spine", labels, affine)
    assert FindingName.ORDER in names(findings)
    assert time.perf_counter() - started < 5, "it takes some 0.5 s on an idle core"


def test_a_large_result_of_many_labels_is_checked_in_well_under_a_second() -> None:
    submodel = SUBMODELS["totalsegmentator-vertebrae-mr"]
    labels = np.zeros((80, 512, 512), np.uint8)
    for level in range(1, 26):
        labels[5:75, 495 - 19 * level : 510 - 19 * level, 150:400] = level
    affine = np.array([[0, 0, 4.0, -160], [0.7, 0, 0, -180], [0, -0.7, 0, 180], [0, 0, 0, 1]])
    # Rows grow toward the feet: label 1, the sacrum, lies lowest.
    started = time.perf_counter()
    findings = asked(submodel, "whole spine", labels, affine)
    seconds = time.perf_counter() - started
    assert findings == ()
    assert seconds < 3, "it takes some 0.5 s on an idle core"
