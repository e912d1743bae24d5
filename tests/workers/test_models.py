"""Networks kept warm within a budget: loaded once, dropped when room is needed, loaded anew when they changed."""

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dicom_nodes.errors import ModelUnusable
from service.modelstore import ModelStore
from service.submodel import Crop, SubModel
from tests.workers.trained import TINY, TRAINED, dataset_folder, submodel
from workers.install.installing import Wish, install
from workers.memory import MIB, group_limits, host_memory, host_share
from workers.models import WarmModels
from workers.runners import device

BIG = replace(TINY, features=(64, 96, 128))
"""Some megabytes of weights, and still quick."""
NAMES = ("first", "second", "third")


def put(store: ModelStore, name: str, folder: Path, folds: tuple[int, ...] = (0,), **changes: object) -> SubModel:
    """Install a network with random weights under a name; the sub-model that runs it."""
    table = submodel(name, BIG, folds=folds)
    source = dataset_folder(folder / name, BIG, folds=folds, **changes) / TRAINED
    install(source, store, (table,), Wish(name=name))
    return table


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelStore, dict[str, SubModel]]:
    folder = tmp_path_factory.mktemp("three")
    store = ModelStore(folder / "models")
    tables = {name: put(store, name, folder / "plain") for name in NAMES}
    folds = put(store, "folds", folder / "plain", (0, 1, 2))
    (network,) = folds.network
    fast = folds.model_copy(
        update={"name": "fast", "network": (network.model_copy(update={"folds": (0,)}),), "tile_step": 0.8}
    )
    return store, {**tables, "folds": folds, "fast": fast}


def size_mib(store: ModelStore, name: str, folds: int) -> int:
    """Room that a network takes on the host: its folds, and the network that is filled with one of them."""
    model = store.get(name)
    return -(-(model.bytes // len(model.folds)) * (folds + 1) // MIB)


def warm(three: tuple[ModelStore, dict[str, SubModel]], room_mib: int | None = None, **more: object) -> WarmModels:
    store, tables = three
    return WarmModels(store, tables, model_memory_mb=room_mib, threads=1, device="cpu", **more)  # type: ignore[arg-type]


def get(models: WarmModels, table: SubModel):  # type: ignore[no-untyped-def]
    return models.get(table, table.network[0])


def test_the_longest_unused_network_makes_room(three: tuple[ModelStore, dict[str, SubModel]]) -> None:
    store, tables = three
    models = warm(three, 2 * size_mib(store, "first", 1))
    for name in ("first", "second", "first", "third"):
        get(models, tables[name])
    assert models.held == ("first", "third")
    get(models, tables["second"])
    assert models.held == ("third", "second")


def test_a_network_that_makes_room_is_really_gone(three: tuple[ModelStore, dict[str, SubModel]]) -> None:
    store, tables = three
    models = warm(three, size_mib(store, "first", 1))
    predictor = get(models, tables["first"]).prediction.predictor
    gone = [weakref.ref(predictor.network), *map(weakref.ref, predictor.list_of_parameters[0].values())]
    assert all(each() is not None for each in gone)
    del predictor
    get(models, tables["second"])
    assert {each() for each in gone} == {None}


def test_where_a_volume_finds_too_little_all_networks_go_but_the_one_that_runs(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    _, tables = three
    models = warm(three)
    running, other = (get(models, tables[name]).prediction.predictor.network for name in ("first", "second"))
    gone, kept = weakref.ref(other), weakref.ref(running)
    del other
    models.give_back()
    assert (models.held, gone()) == ((), None)
    assert kept() is running


def test_the_most_that_there_could_be_is_never_less_than_the_room_there_is(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    for models in (warm(three), warm(three, memory_mb=10**7), warm(three, memory_mb=3000)):
        room, most = models.room(), models.most()
        assert room.host_bytes < most.host_bytes <= host_memory()
        assert room.disk_bytes <= most.disk_bytes
    assert most.host_bytes == 3000 * MIB


def test_a_network_stays_while_there_is_room(three: tuple[ModelStore, dict[str, SubModel]]) -> None:
    _, tables = three
    models = warm(three)
    before = get(models, tables["first"]).prediction.predictor.network
    get(models, tables["second"])
    assert get(models, tables["first"]).prediction.predictor.network is before


def test_sub_models_that_share_a_network_share_its_memory(three: tuple[ModelStore, dict[str, SubModel]]) -> None:
    _, tables = three
    models = warm(three)
    fast, whole = get(models, tables["fast"]), get(models, tables["folds"])
    assert models.held == ("folds",)
    assert fast.prediction.predictor.network is whole.prediction.predictor.network
    assert (fast.prediction.folds, whole.prediction.folds) == ((0,), (0, 1, 2))
    assert (fast.prediction.predictor.tile_step_size, whole.prediction.predictor.tile_step_size) == (0.8, 0.5)
    first, other = fast.prediction.predictor.list_of_parameters[0], whole.prediction.predictor.list_of_parameters[0]
    assert all(tensor.data_ptr() == other[name].data_ptr() for name, tensor in first.items())


def test_folds_that_no_running_sub_model_takes_are_not_loaded(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    _, tables = three
    models = warm(three, running=["fast"])
    assert get(models, tables["fast"]).prediction.predictor.list_of_parameters[1:] == []
    assert get(models, tables["folds"]).prediction.folds == (0, 1, 2), "and are when they are wanted after all"


def test_a_sub_model_that_does_not_fit_is_refused_with_the_numbers(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    store, tables = three
    needed, room = size_mib(store, "folds", 3), size_mib(store, "folds", 1)
    models = warm(three, room)
    message = rf"folds needs {needed} MiB .* may hold {room} MiB \(\[workers\] model_memory_mb\)"
    with pytest.raises(ModelUnusable, match=message):
        models.check(tables["folds"])
    with pytest.raises(ModelUnusable, match=message):
        get(models, tables["folds"])
    assert models.check(tables["fast"]) <= room * MIB
    assert get(models, tables["fast"]).prediction.folds == (0,), "the variant that fits runs"


def test_a_sub_model_of_several_networks_must_fit_with_all_of_them(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    store, tables = three
    both = tables["first"].model_copy(
        update={"name": "both", "network": (*tables["first"].network, *tables["second"].network)}
    )
    one = size_mib(store, "first", 1)
    with pytest.raises(ModelUnusable, match="both needs"):
        warm(three, one).check(both)
    models = warm(three, 2 * one)
    for network in both.network * 2:
        models.get(both, network)
    assert models.held == ("first", "second")


def test_a_rough_sub_model_that_cannot_run_stops_the_one_that_needs_it(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    store, tables = three

    def around(rough: str) -> SubModel:
        return tables["first"].model_copy(update={"crop": Crop(submodel=rough, labels=("spleen",), margin_mm=20)})

    models = warm(three, size_mib(store, "folds", 1))
    with pytest.raises(ModelUnusable, match="folds needs"):
        models.check(around("folds"))
    with pytest.raises(ModelUnusable, match="sub-model absent is not among those of this worker"):
        models.check(around("absent"))
    assert models.check(around("second")) == models.check(tables["first"])


def test_sub_models_that_need_each_other_first_are_refused() -> None:
    crop = Crop(submodel="second", labels=("spleen",), margin_mm=1)
    first = submodel("first").model_copy(update={"crop": crop})
    second = submodel("second").model_copy(update={"crop": crop.model_copy(update={"submodel": "first"})})
    models = WarmModels(ModelStore(Path("none")), {"first": first, "second": second}, device="cpu")
    with pytest.raises(ModelUnusable, match="first → second → first need each other first"):
        models.check(first)


def test_what_is_not_installed_or_obsolete_or_lacks_a_fold_is_named(
    three: tuple[ModelStore, dict[str, SubModel]],
) -> None:
    _, tables = three
    models = warm(three)
    with pytest.raises(ModelUnusable, match=r"absent is not installed .* sagittal models install"):
        models.check(submodel("absent"))
    with pytest.raises(ModelUnusable, match="first is not run: ask for the new one"):
        models.check(submodel("first", obsolete="ask for the new one"))
    with pytest.raises(ModelUnusable, match=r"first averages folds 0, 3, 4 of first; 3, 4 is not installed"):
        models.check(submodel("first", BIG, folds=(0, 3, 4)))
    assert models.held == ()
    assert models.check(tables["first"]) > 0


def test_a_model_that_is_installed_anew_is_loaded_anew(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    table = put(store, "first", tmp_path / "old")
    models = WarmModels(store, {"first": table}, threads=1, device="cpu")
    before = get(models, table)
    put(store, "first", tmp_path / "new", sagittal_phantom=True)
    after = get(models, table)
    assert (before.phantom, after.phantom) == (False, True)
    assert before.digest != after.digest
    assert after.prediction.predictor.network is not before.prediction.predictor.network
    assert get(models, table).prediction.predictor.network is after.prediction.predictor.network


def test_a_model_that_was_removed_runs_no_more(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    table = put(store, "first", tmp_path / "plain")
    models = WarmModels(store, {"first": table}, threads=1, device="cpu")
    get(models, table)
    store.remove("first")
    with pytest.raises(ModelUnusable, match="first is not installed"):
        get(models, table)


def test_without_a_number_a_worker_takes_its_share_of_half_the_memory() -> None:
    machine = host_memory()
    assert MIB < machine < 2**50
    assert host_share(1) == pytest.approx(machine / 2, abs=1)
    assert host_share(4) == pytest.approx(machine / 8, abs=1)


def test_the_memory_of_a_control_group_and_of_those_around_it_counts(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "sagittal.service"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("4294967296\n")
    (inner.parent / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text("8589934592\n")
    membership = tmp_path / "cgroup"
    membership.write_text("12:cpu:/old\n0::/system.slice/sagittal.service\n")
    assert group_limits(membership, tmp_path) == [4 * 2**30, 8 * 2**30]
    assert group_limits(tmp_path / "absent", tmp_path) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_its_own_budget_and_gets_its_memory_back(three: tuple[ModelStore, dict[str, SubModel]]) -> None:
    store, tables = three
    one = -(-store.get("first").bytes // MIB)
    models = WarmModels(store, tables, gpu_memory_mb=one, threads=1, device="cuda")
    assert device.gpu_memory() > models.budget.gpu_bytes  # type: ignore[operator]
    get(models, tables["first"]).prediction.predictor.network.to("cuda")
    before = torch.cuda.memory_reserved()
    get(models, tables["second"])
    assert models.held == ("second",)
    assert torch.cuda.memory_reserved() < before
    with pytest.raises(ModelUnusable, match=r"\[workers\] gpu_memory_mb"):
        both = tables["first"].model_copy(
            update={"name": "both", "network": (*tables["first"].network, *tables["second"].network)}
        )
        models.check(both)
