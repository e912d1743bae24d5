"""Phantoms: anatomy in its right place, on the right side, the same in every grid."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.types import Laterality, Plane
from service.phantom.anatomy.trunk import trunk
from service.phantom.body import Acquisition, Phantom
from service.phantom.compound import Cut, Union
from service.phantom.contrast import Contrast
from service.phantom.grids import DIRECTIONS, grid, turned
from service.phantom.protocols import DATASET_OF, DATASETS, PROTOCOLS, TABLE, make_phantom
from service.phantom.solids import Drum, Ellipsoid, Plate, RoundedBox, Solid, Sweep, Tube, frame

COARSE = 4.0
PLANES = {
    "abdomen": Plane.AXIAL,
    "pelvis": Plane.CORONAL,
    "prostate": Plane.AXIAL,
    "shoulder": Plane.CORONAL,
    "knee": Plane.SAGITTAL,
    "cervical": Plane.SAGITTAL,
    "thoracic": Plane.SAGITTAL,
    "lumbar": Plane.SAGITTAL,
}
MILLILITRES: Mapping[str, tuple[float, float]] = {
    # in an adult, as far as the field shows it; bones with their marrow
    "spleen": (100, 400),
    "kidney_right": (110, 300),
    "kidney_left": (110, 300),
    "gallbladder": (15, 70),
    "liver": (800, 2400),
    "aorta": (50, 200),
    "inferior vena cava": (40, 180),
    "pancreas": (45, 140),
    "femur": (80, 350),
    "patella": (12, 45),
    "fibula": (8, 45),
    "tibia": (70, 330),
    "humerus": (60, 250),
    "clavicle": (10, 50),
    "scapula": (70, 260),
    "upper_femora": (220, 900),
    "pelvis": (400, 1200),
    "sacrum": (90, 300),
    "prostate": (20, 90),
    "Vertebrae C": (7, 32),
    "Vertebrae T": (10, 65),
    "Vertebrae L": (28, 95),
}


def volumes_ml(phantom: Phantom) -> dict[str, float]:
    """The volume of every structure that is there."""
    per_voxel = float(np.prod(phantom.spacing_mm)) / 1000
    counts = {name: int((phantom.truth == value).sum()) for name, value in phantom.labels.items()}
    return {name: n * per_voxel for name, n in counts.items() if n}


def centroid(phantom: Phantom, structure: str) -> npt.NDArray[np.float64]:
    """The middle of a structure in LPS millimetres."""
    z, y, x = np.nonzero(phantom.truth == phantom.labels[structure])
    assert len(z), f"{structure} is not in {phantom.protocol} {phantom.seed}"
    places = phantom.affine @ np.stack([x, y, z, np.ones_like(x)]).astype(float)
    return np.asarray(places.mean(axis=1)[:3])


def expected(phantom: Phantom) -> set[str]:
    """What the protocol shows of this seed."""
    if phantom.protocol == "shoulder":
        side = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}[phantom.laterality or Laterality.LEFT]
        return {name for name in phantom.labels if name.endswith(side)}
    if DATASET_OF[phantom.protocol] == "Dataset004_Spine":
        middles = trunk(phantom.seed).middles
        return {name for name in phantom.labels if phantom.acquisition.holds(middles[name])}
    return set(phantom.labels)


def bounds_of(structure: str) -> tuple[float, float]:
    stem = structure.removesuffix("_right").removesuffix("_left") if structure not in MILLILITRES else structure
    return MILLILITRES[stem[:11] if stem.startswith("Vertebrae") else stem]


def test_protocols_come_in_the_order_of_the_paper_and_structures_are_the_44_of_mrannotator() -> None:
    assert tuple(PLANES) == PROTOCOLS
    assert [len(table) for table in DATASETS.values()] == [8, 10, 4, 22]
    for table in DATASETS.values():
        assert list(table.values()) == list(range(1, len(table) + 1))
    served = {name for protocol in TABLE.values() for name in protocol.structures}
    assert served == {name for table in DATASETS.values() for name in table}


def test_the_same_seed_gives_the_same_phantom_and_another_seed_another_patient() -> None:
    first, again, other = (make_phantom("knee", seed, voxel_scale=COARSE) for seed in (5, 5, 6))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.truth, again.truth)
    assert np.array_equal(first.affine, again.affine)
    assert not np.array_equal(first.truth, other.truth)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_structure_is_there_with_a_plausible_volume_in_five_patients(protocol: str) -> None:
    for seed in range(30, 35):
        phantom = make_phantom(protocol, seed, voxel_scale=COARSE)
        found = volumes_ml(phantom)
        assert set(found) == expected(phantom)
        for structure, volume in found.items():
            low, high = bounds_of(structure)
            assert low < volume < high, f"{structure} of {protocol} {seed} has {volume:.0f} ml"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pixels_are_twelve_bit_on_the_protocols_plane_with_dark_air_and_bright_tissue(protocol: str) -> None:
    phantom = make_phantom(protocol, 3, voxel_scale=COARSE)
    assert phantom.plane is PLANES[protocol]
    assert phantom.pixels.dtype == np.uint16
    assert phantom.truth.dtype == np.uint8
    assert phantom.pixels.shape == phantom.truth.shape == phantom.acquisition.shape
    assert 500 < phantom.pixels.max() < 4096
    assert phantom.gap_mm >= -1e-6
    assert np.percentile(phantom.pixels, 1) < 60
    assert phantom.pixels[phantom.truth > 0].mean() > 60


@pytest.mark.parametrize("contrast", list(Contrast))
def test_each_contrast_shows_the_same_truth_in_other_greys(contrast: Contrast) -> None:
    here = make_phantom("knee", 8, voxel_scale=COARSE, contrast=contrast)
    usual = make_phantom("knee", 8, voxel_scale=COARSE, contrast="T1")
    assert here.contrast is contrast
    assert np.array_equal(here.truth, usual.truth)
    assert np.array_equal(here.pixels, usual.pixels) == (contrast is Contrast.T1)


def test_fluid_is_bright_in_t2_and_fat_dark_when_suppressed() -> None:
    water, fat_free = (make_phantom("abdomen", 8, voxel_scale=COARSE, contrast=c) for c in ("T2", "FS"))
    bile = {c.contrast: np.median(c.pixels[c.truth == c.labels["gallbladder"]]) for c in (water, fat_free)}
    liver = {c.contrast: np.median(c.pixels[c.truth == c.labels["liver"]]) for c in (water, fat_free)}
    assert all(bile[c] > 2 * liver[c] for c in bile)
    assert np.percentile(water.pixels, 90) > 1.5 * np.percentile(fat_free.pixels, 90)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_abdominal_organs_lie_on_their_own_sides(seed: int) -> None:
    phantom = make_phantom("abdomen", seed, voxel_scale=COARSE)
    x = {name: centroid(phantom, name)[0] for name in phantom.labels}
    for right in ("liver", "gallbladder", "inferior vena cava", "kidney_right"):
        for left in ("spleen", "aorta", "kidney_left"):
            assert x[right] < x[left] - 15
    assert x["aorta"] > 0 > x["inferior vena cava"]
    assert centroid(phantom, "kidney_right")[2] < centroid(phantom, "kidney_left")[2]


@pytest.mark.parametrize("laterality", list(Laterality))
def test_lateral_bones_of_knee_and_shoulder_are_away_from_the_midline(laterality: Laterality) -> None:
    outwards = 1 if laterality is Laterality.LEFT else -1
    knee = make_phantom("knee", 4, voxel_scale=COARSE, laterality=laterality)
    assert knee.laterality is laterality
    assert outwards * (centroid(knee, "fibula")[0] - centroid(knee, "tibia")[0]) > 20
    assert centroid(knee, "patella")[1] < centroid(knee, "femur")[1] < centroid(knee, "fibula")[1] + 30
    shoulder = make_phantom("shoulder", 4, voxel_scale=COARSE, laterality=laterality)
    side = "left" if outwards > 0 else "right"
    scapula, humerus, clavicle = (centroid(shoulder, f"{b}_{side}") for b in ("scapula", "humerus", "clavicle"))
    assert outwards * (humerus[0] - scapula[0]) > 25
    assert clavicle[2] > max(humerus[2], scapula[2])
    assert clavicle[1] < scapula[1]


def test_protocols_without_a_side_say_none() -> None:
    assert make_phantom("prostate", 1, voxel_scale=8).laterality is None


@pytest.mark.parametrize("protocol", ["cervical", "thoracic", "lumbar"])
def test_vertebrae_follow_one_another_downwards_and_grow(protocol: str) -> None:
    for seed in (41, 42):
        phantom = make_phantom(protocol, seed, voxel_scale=COARSE)
        found = [name for name in phantom.labels if name in volumes_ml(phantom)]
        heights = [centroid(phantom, name)[2] for name in found]
        assert all(upper - lower > 10 for upper, lower in pairwise(heights))
        values = [phantom.labels[name] for name in found]
        assert values == list(range(values[0], values[0] + len(values)))
        sizes = volumes_ml(phantom)
        assert sizes[found[-1]] > 1.15 * sizes[found[0]]


def test_a_vertebra_whose_body_lies_outside_the_field_is_not_labelled() -> None:
    patient = trunk(41)
    x, y, z = patient.middles["Vertebrae L3"]
    acquisition = grid(
        Plane.AXIAL, (x, y, z), matrix=(64, 64), pixel_mm=2.5, slices=12, thickness_mm=4.0, gap_mm=0.0
    )
    assert set(volumes_ml(make_phantom("lumbar", 41, acquisition=acquisition))) == {"Vertebrae L3"}


def test_the_prostate_is_labelled_by_the_prostate_protocol_alone() -> None:
    assert "prostate" not in make_phantom("pelvis", 2, voxel_scale=8).labels
    assert set(make_phantom("prostate", 2, voxel_scale=8).labels) == {"prostate"}


def _box(plane: Plane, tilt: tuple[float, float, float] = (0, 0, 0)) -> Acquisition:
    centre = make_phantom("abdomen", 9, voxel_scale=8).acquisition.centre_mm
    return grid(plane, centre, matrix=(110, 110), pixel_mm=3.5, slices=110, thickness_mm=3.5, gap_mm=0.0, tilt=tilt)


def test_one_patient_has_the_same_organs_in_axial_sagittal_and_oblique_grids() -> None:
    whole = ("spleen", "kidney_right", "kidney_left", "gallbladder", "pancreas")
    grids = (_box(Plane.AXIAL), _box(Plane.SAGITTAL), _box(Plane.CORONAL, (12, -9, 17)))
    first, *others = (make_phantom("abdomen", 9, acquisition=g) for g in grids)
    for other in others:
        for organ in whole:
            assert volumes_ml(other)[organ] == pytest.approx(volumes_ml(first)[organ], rel=0.04)
            assert np.linalg.norm(centroid(other, organ) - centroid(first, organ)) < 1.0


@pytest.mark.parametrize(
    "signs", [(-1, 1, -1), (-1, -1, 1), (1, -1, -1)], ids=["feet first", "prone", "feet first and prone"]
)
def test_turning_the_grid_leaves_every_bone_where_it_is_in_the_patient(signs: tuple[int, int, int]) -> None:
    usual = make_phantom("knee", 4, voxel_scale=COARSE, laterality=Laterality.RIGHT)
    directions = usual.affine[:3, :3] / np.linalg.norm(usual.affine[:3, :3], axis=0) * np.array(signs)
    other = make_phantom("knee", 4, laterality=Laterality.RIGHT, acquisition=turned(usual.acquisition, directions))
    for bone in usual.labels:
        assert np.linalg.norm(centroid(other, bone) - centroid(usual, bone)) < 0.2
    flipped = usual.truth[tuple(slice(None, None, s) for s in reversed(signs))]
    assert np.mean(flipped == other.truth) > 0.999


def test_grids_are_right_handed_and_keep_their_middle() -> None:
    for plane, directions in DIRECTIONS.items():
        assert np.linalg.det(directions) == pytest.approx(1)
        made = grid(
            plane, (3, -4, 5), matrix=(10, 12), pixel_mm=2, slices=7, thickness_mm=4, gap_mm=1, tilt=(5, 6, 7)
        )
        assert made.centre_mm == pytest.approx((3, -4, 5))
        assert made.spacing_mm == pytest.approx((5, 2, 2))
        assert made.holds((3, -4, 5))
        assert not made.holds((3, -4, 60))


def test_a_larger_voxel_keeps_the_field_of_view() -> None:
    fine, coarse = (make_phantom("thoracic", 2, voxel_scale=s) for s in (2.0, 4.0))
    assert coarse.pixels.shape[1] * 2 == fine.pixels.shape[1]
    assert coarse.acquisition.centre_mm == pytest.approx(fine.acquisition.centre_mm)
    assert coarse.spacing_mm[1] * coarse.pixels.shape[1] == pytest.approx(fine.spacing_mm[1] * fine.pixels.shape[1])


def test_an_unknown_protocol_and_an_unknown_contrast_are_refused() -> None:
    with pytest.raises(KeyError, match="elbow"):
        make_phantom("elbow", 1)
    with pytest.raises(ValueError, match="T9"):
        make_phantom("knee", 1, contrast="T9")


AXES = frame(roll=20, pitch=-35, yaw=50)
SOLIDS: tuple[Solid, ...] = (
    Ellipsoid((1, 2, 3), (20, 10, 15), AXES),
    Ellipsoid((1, 2, 3), (20, 10, 15), AXES, power=4),
    RoundedBox((0, -5, 3), (12, 20, 6), AXES),
    Drum((4, 0, 0), (20, 14), 12, AXES, waist=0.1, hollow=0.1),
    Drum((4, 0, 0), (20, 14), 4, AXES, hollow=-0.3),
    Tube(((-20, 0, 0), (5, 10, 0), (20, -5, 15)), (4, 9, 6)),
    Plate(((-20, 0, 0), (15, 10, 0), (10, -5, 25)), 5),
    Sweep((-20, 0, 25), (0, 5, -5), (2, 0, 3), (8, 12, 6), (10, 7, 9), power=2.3),
    Union((Ellipsoid((0, 0, 0), (9, 9, 9)), Ellipsoid((12, 0, 0), (8, 8, 8))), blend=6),
    Cut(Ellipsoid((0, 0, 0), (9, 19, 9)), (2, 0, 0), (1, 1, 0)),
)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda s: type(s).__name__)
def test_what_is_inside_a_solid_is_inside_its_box_and_both_are_to_be_found(solid: Solid) -> None:
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(-45, 45, size=(3, 60_000)).astype(np.float32)
    distance = solid.distance((x, y, z))
    low, high = solid.bounds()
    inside = np.stack([x, y, z], axis=1)[distance < 0]
    assert distance.dtype == np.float32
    assert len(inside) > 20
    assert np.all(inside >= low - 2.0)
    assert np.all(inside <= high + 2.0)


def test_distance_to_a_sphere_and_a_capsule_is_in_millimetres() -> None:
    x, y, z = (np.array(v, dtype=np.float32) for v in ([0, 13, 30], [0, 0, 0], [0, 0, 0]))
    assert Ellipsoid((0, 0, 0), (10, 10, 10)).distance((x, y, z))[1:] == pytest.approx([3, 20], abs=1e-3)
    capsule = Tube(((0, 0, -50), (0, 0, 50)), (10, 10))
    assert capsule.distance((x, y, z)) == pytest.approx([-10, 3, 20], abs=1e-3)
