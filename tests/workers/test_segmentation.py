"""The way of a volume through a sub-model: every voxel comes back to where it was, whatever was done between."""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.errors import EmptyResult, ModelUnusable
from dicom_nodes.orientation import reorient
from dicom_nodes.types import Affine
from service.submodel import SubModel
from tests.workers.positions import Ruled, Shelf
from tests.workers.tables import network, submodel
from workers.grid import resampled_shape
from workers.lease import LeaseLostError
from workers.progress import Progress
from workers.segmentation import Found, find

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

SHAPE = (9, 14, 11)
SPACING_MM = (4.5, 2.7, 3.3)


def turned_by(degrees: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = [each for each in range(3) if each != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def acquired(columns: str, tilt: tuple[float, float, float] = (0, 0, 0)) -> Affine:
    """An affine whose x, y and z grow toward three letters, tilted."""
    ways = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    directions = np.array([ways[letter] for letter in columns], float).T
    affine = np.eye(4)
    z, y, x = SPACING_MM
    affine[:3, :3] = turned_by(tilt) @ directions @ np.diag([x, y, z])
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return affine


ORIENTATIONS = {
    "axial": acquired("LPS"),
    "sagittal": acquired("PIL"),
    "coronal": acquired("LIP"),
    "axial oblique": acquired("LPS", (11, -7, 5)),
    "sagittal oblique": acquired("PIL", (9, 6, -12)),
    "coronal oblique": acquired("LIP", (-14, 8, 6)),
    "axial, feet first": acquired("RPI"),
    "axial, prone": acquired("RAS"),
    "axial, feet first and prone": acquired("LAI"),
    "sagittal, feet first": acquired("PSL"),
    "sagittal, prone": acquired("AIL"),
    "coronal, feet first": acquired("RSP"),
    "coronal, prone": acquired("RIA"),
}


def quiet() -> Progress:
    return Progress(lambda *_: None)


def run(array: Image, affine: Affine, table: SubModel, *models: Ruled, more: tuple[SubModel, ...] = ()) -> Found:
    names = [each.name for one in (table, *more) for each in one.network]
    return find(array, affine, table, Shelf(dict(zip(names, models, strict=True)), table, *more), quiet())


def whole(values: Image) -> Labels:
    """The rule of a network that calls a voxel what its value says."""
    return np.floor(values + 0.5).astype(np.uint8)


def index_along(axis: int, shape: tuple[int, int, int] = SHAPE) -> Image:
    """1, 2, 3, ... along one axis of an array."""
    counted = np.arange(1, shape[axis] + 1, dtype=np.float32)
    return np.ascontiguousarray(np.broadcast_to(np.expand_dims(counted, [a for a in range(3) if a != axis]), shape))


NUMBERS = [f"number {value}" for value in range(1, 20)]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "SRP"])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_voxel_comes_back_to_where_it_was(name: str, orientation: str) -> None:
    array = np.random.default_rng(3).integers(0, 200, SHAPE).astype(np.float32)
    model = Ruled(whole, 201)
    table = submodel("whole", [f"value {value}" for value in range(1, 201)], orientation=orientation)
    found = run(array, ORIENTATIONS[name], table, model)
    assert np.array_equal(found.labels, array.astype(np.uint8))
    shown, spacing_mm = model.shown[0]
    turned = reorient(array, ORIENTATIONS[name], orientation)
    assert np.array_equal(shown, turned.array)
    assert spacing_mm == turned.spacing_mm


@pytest.mark.parametrize(("name", "axis"), list(product(ORIENTATIONS, range(3))))
def test_every_voxel_comes_back_to_where_it_was_through_a_finer_grid(name: str, axis: int) -> None:
    model = Ruled(whole, 20)
    table = submodel("fine", NUMBERS, resample_mm=(1.1, 1.3, 1.2))
    found = run(index_along(axis), ORIENTATIONS[name], table, model)
    assert np.array_equal(found.labels, index_along(axis).astype(np.uint8))
    shown, spacing_mm = model.shown[0]
    assert spacing_mm == (1.2, 1.3, 1.1), "along (z, y, x) of what the network sees"
    turned = reorient(index_along(axis), ORIENTATIONS[name], "RAS")
    assert shown.shape == resampled_shape(turned.array.shape, turned.spacing_mm, spacing_mm)  # type: ignore[arg-type]


@pytest.mark.parametrize("resample_mm", [None, (1.1, 1.3, 1.2)])
@pytest.mark.parametrize(("name", "axis"), list(product(ORIENTATIONS, range(3))))
def test_every_voxel_of_a_crop_comes_back_to_where_it_was(
    name: str, axis: int, resample_mm: tuple[float, float, float] | None
) -> None:
    rough = submodel("rough", ["organ", "other"], orientation="LPS")
    table = submodel(
        "fine", NUMBERS, resample_mm=resample_mm, crop={"submodel": "rough", "labels": ["organ"], "margin_mm": 7}
    )
    array = index_along(axis)

    def organ(values: Image) -> Labels:
        """Where the index is 4 or 5; and another structure that is not asked for."""
        return np.select([(values == 4) | (values == 5), values == 9], [1, 2], 0).astype(np.uint8)

    found = run(array, ORIENTATIONS[name], table, Ruled(whole, 20), Ruled(organ, 3), more=(rough,))
    margin = int(7 / SPACING_MM[axis])
    inside = (array >= 4 - margin) & (array <= 5 + margin)
    assert np.array_equal(found.labels, np.where(inside, array, 0).astype(np.uint8))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_left_is_left_on_a_coarser_grid_too(name: str) -> None:
    affine = ORIENTATIONS[name]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)[..., ::-1]
    at = index @ affine[:3, :3].T
    left = (at - at.reshape(-1, 3).mean(axis=0))[..., 0]  # LPS: left is +x
    table = submodel("sides", ["left"], resample_mm=(6.0, 6.0, 6.0))
    found = run(left.astype(np.float32), affine, table, Ruled(lambda mm: (mm > 0).astype(np.uint8), 2))
    far = np.abs(left) > 7.0
    assert np.array_equal(found.labels[far] == 1, left[far] > 0)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 7, 13, 40])
def test_a_volume_in_slabs_loses_no_slice_and_doubles_none(depth: int, level: int) -> None:
    array = np.random.default_rng(depth).integers(0, 200, (depth, 5, 4)).astype(np.float32)
    model = Ruled(whole, 201)
    table = submodel("slabs", [f"value {value}" for value in range(1, 201)], orientation="LPS", split_level=level)
    found = run(array, acquired("LPS"), table, model)
    assert np.array_equal(found.labels, array.astype(np.uint8))
    assert len(model.shown) > 1 or depth == 1


def test_slabs_are_cut_along_the_models_own_slices_whatever_the_plane() -> None:
    model = Ruled(whole, 201)
    array = np.random.default_rng(2).integers(0, 200, (8, 30, 20)).astype(np.float32)
    table = submodel("slabs", [f"value {value}" for value in range(1, 201)], orientation="LPS", split_level=1)
    found = run(array, acquired("PIL"), table, model)
    assert np.array_equal(found.labels, array.astype(np.uint8))
    assert [shown.shape for shown, _ in model.shown] == [(18, 20, 8), (18, 20, 8)]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (2, 1, 5), (3, 3, 3)])
def test_a_tiny_volume_is_no_exception(shape: tuple[int, int, int]) -> None:
    array = np.full(shape, 3.0, np.float32)
    table = submodel("tiny", NUMBERS, resample_mm=(40.0, 40.0, 40.0), split_level=2)
    found = run(array, acquired("LPS"), table, Ruled(whole, 20))
    assert np.array_equal(found.labels, np.full(shape, 3, np.uint8))


def test_what_a_later_network_finds_overwrites_what_an_earlier_one_did_and_nothing_else() -> None:
    table = submodel(
        "merged",
        ["organ", "muscle", "bone"],
        [network("organs", ["organ", "auxiliary"]), network("muscles", ["bone", "muscle"])],
    )
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    organs = Ruled(lambda _: np.array([[[1, 1, 1, 2, 2, 0]]], np.uint8), 3)
    muscles = Ruled(lambda _: np.array([[[0, 1, 2, 0, 1, 0]]], np.uint8), 3)
    found = run(array, acquired("RAS"), table, organs, muscles)
    # values of the sub-model: 1 organ, 2 muscle, 3 bone; "auxiliary" is dropped and overwrites nothing
    assert found.labels.tolist() == [[[1, 3, 2, 0, 3, 0]]]


def test_an_auxiliary_label_of_a_later_network_takes_nothing_away() -> None:
    table = submodel("merged", ["one", "two"], [network("first", ["one"]), network("second", ["auxiliary", "two"])])
    first = Ruled(lambda _: np.array([[[1, 1]]], np.uint8), 2)
    second = Ruled(lambda _: np.array([[[1, 2]]], np.uint8), 3)
    found = run(np.zeros((1, 1, 2), np.float32), acquired("RAS"), table, first, second)
    assert found.labels.tolist() == [[[1, 2]]]


def cropped(labels: tuple[str, ...] = ("organ",)) -> tuple[SubModel, SubModel]:
    rough = submodel("rough", ["organ", "other"])
    return submodel("fine", NUMBERS, crop={"submodel": "rough", "labels": labels, "margin_mm": 20}), rough


def test_where_the_rough_model_finds_nothing_the_result_is_empty_and_says_why() -> None:
    fine, rough = cropped()
    model = Ruled(whole, 20)
    with pytest.raises(EmptyResult, match="fine looks around organ only, and rough found none of it"):
        run(index_along(0), acquired("LPS"), fine, model, Ruled(lambda v: np.full(v.shape, 2, np.uint8), 3),
            more=(rough,))  # fmt: skip
    assert model.shown == []


def test_a_rough_model_that_is_not_known_is_named() -> None:
    fine, _ = cropped()
    with pytest.raises(ModelUnusable, match="sub-model rough is not known"):
        run(index_along(0), acquired("LPS"), fine, Ruled(whole, 20))


def test_a_crop_of_one_slice_is_run_and_comes_back() -> None:
    rough = submodel("rough", ["organ"])
    fine = submodel("fine", NUMBERS, resample_mm=(9.0, 9.0, 9.0),
                    crop={"submodel": "rough", "labels": ["organ"], "margin_mm": 0})  # fmt: skip
    array = np.zeros(SHAPE, np.float32)
    array[4, 2:6, 3:8] = 7
    organ = Ruled(lambda values: (values > 0).astype(np.uint8), 2)
    found = run(array, acquired("LPS"), fine, Ruled(whole, 20), organ, more=(rough,))
    assert np.array_equal(found.labels, array.astype(np.uint8))


def test_the_version_is_the_networks_own_or_one_over_those_of_all_that_ran() -> None:
    def version(*digests: str) -> str:
        names = [f"network-{number}" for number in range(len(digests))]
        labels = [f"label {number}" for number in range(len(digests))]
        table = submodel("any", labels, [network(name, [label]) for name, label in zip(names, labels, strict=True)])
        models = [Ruled(lambda v: np.zeros(v.shape, np.uint8), 2, digest) for digest in digests]
        return run(index_along(0), acquired("LPS"), table, *models).version

    assert version("aaa") == "aaa"
    assert len({version("aaa", "bbb"), version("bbb", "aaa"), version("aaa", "ccc"), version("aaa")}) == 4
    assert version("aaa", "bbb") == version("aaa", "bbb")


def test_the_rough_model_counts_in_the_version_and_in_whether_it_is_a_phantom() -> None:
    fine, rough = cropped()

    def found(rough_digest: str, rough_phantom: bool) -> Found:
        main, first = Ruled(whole, 20, "main"), Ruled(lambda v: np.ones(v.shape, np.uint8), 3, rough_digest)
        main.phantom, first.phantom = False, rough_phantom
        return run(index_along(0), acquired("LPS"), fine, main, first, more=(rough,))

    assert found("a", False).version != found("b", False).version
    assert (found("a", False).phantom, found("a", True).phantom) == (False, True)


def test_a_network_that_tells_other_classes_apart_is_refused() -> None:
    table = submodel("three", ["one", "two", "three"])
    with pytest.raises(ModelUnusable, match="three: the installed network tells 3 classes apart, three expects 4"):
        run(index_along(0), acquired("LPS"), table, Ruled(whole, 3))


def listened(report: Callable[[str, int], None]) -> None:
    rough = submodel("rough", ["organ", "other"], split_level=1)
    fine = submodel(
        "fine",
        [*NUMBERS, "last"],
        [network("one", NUMBERS), network("two", ["last"])],
        split_level=2,
        crop={"submodel": "rough", "labels": ["organ"], "margin_mm": 60},
    )
    models = {"rough": Ruled(lambda v: np.ones(v.shape, np.uint8), 3), "one": Ruled(whole, 20)}
    models["two"] = Ruled(lambda v: np.ones(v.shape, np.uint8), 2)
    find(index_along(0), acquired("LPS"), fine, Shelf(models, fine, rough), Progress(report))


def test_progress_over_rough_run_networks_and_slabs_never_falls_and_ends_at_100() -> None:
    heard: list[tuple[str, int]] = []
    listened(lambda *said: heard.append(said))
    percents = [percent for _, percent in heard]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert len(set(percents)) > 15
    assert {stage for stage, _ in heard} == {"load model", "preprocess", "network", "resample"}


def test_a_listener_that_raises_ends_the_run() -> None:
    def lost(_: str, percent: int) -> None:
        if percent > 40:
            raise LeaseLostError("taken away")

    with pytest.raises(LeaseLostError, match="taken away"):
        listened(lost)
