"""The four phantom models as they are shipped, and the parts of the recipe that made them."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from dicom_nodes.types import Laterality
from service.modelstore import ModelStore
from service.phantom.protocols import DATASETS, PROTOCOLS
from workers.install.phantom import network_of, phantom_store
from workers.phantom_models.cases import case, write
from workers.phantom_models.datasets import RECIPES, Recipe
from workers.phantom_models.evaluate import MODELS, Run, Score, dice, run, table
from workers.phantom_models.install import install, stripped
from workers.phantom_models.plans import dataset_json, plans_json
from workers.runners import nnunet

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

every_recipe = pytest.mark.parametrize("recipe", [pytest.param(r, id=r.dataset) for r in RECIPES.values()])


def trained_in(recipe: Recipe) -> Path:
    return next((MODELS / recipe.dataset).glob("*__3d_fullres"))


def quiet(_stage: str, _fraction: float) -> None:
    pass


def test_the_four_models_take_less_than_15_megabytes_together() -> None:
    files = [file for dataset in RECIPES for file in (MODELS / dataset).rglob("*") if file.is_file()]
    assert len(files) == 4 * 3
    assert sum(file.stat().st_size for file in files) < 15_000_000


def test_every_protocol_has_a_model() -> None:
    assert sorted(PROTOCOLS) == sorted(p for recipe in RECIPES.values() for p in recipe.protocols)


@every_recipe
def test_a_shipped_model_has_mrannotators_labels_and_says_that_it_is_a_phantom_model(
    recipe: Recipe, phantom_models: ModelStore
) -> None:
    model = nnunet.load(phantom_models.path(network_of(recipe.dataset)), threads=1)

    assert {k: v for k, v in model.labels.items() if v} == dict(DATASETS[recipe.dataset])
    assert model.phantom
    description = json.loads((trained_in(recipe) / "dataset.json").read_text())["description"]
    assert "PHANTOM MODEL, NOT FOR CLINICAL USE" in description


@every_recipe
def test_a_shipped_model_was_made_by_the_recipe_that_stands_here(recipe: Recipe) -> None:
    assert json.loads((trained_in(recipe) / "plans.json").read_text()) == plans_json(recipe)


@every_recipe
def test_nnunets_own_loader_takes_a_shipped_model(recipe: Recipe) -> None:
    stock = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(trained_in(recipe)), None)
    assert stock.label_manager.num_segmentation_heads == len(recipe.labels) + 1
    assert stock.allowed_mirroring_axes is None


@pytest.mark.parametrize(
    ("recipe", "protocol"),
    [pytest.param(r, p, id=p) for r in RECIPES.values() for p in r.protocols if p not in ("pelvis", "thoracic")],
)
def test_a_shipped_model_finds_every_structure_of_a_phantom_it_has_not_seen(
    recipe: Recipe, protocol: str, phantom_models: ModelStore
) -> None:
    model = nnunet.load(phantom_models.path(network_of(recipe.dataset)), threads=1)

    one = run(model, recipe, protocol, seed=11, voxel_scale=2.0)

    assert np.mean([score.dice for score in one.scores]) >= 0.9
    assert min(score.dice for score in one.scores) >= 0.7


@pytest.mark.parametrize("side", Laterality)
def test_a_right_shoulder_is_right_and_a_left_one_left(side: Laterality, phantom_models: ModelStore) -> None:
    recipe = RECIPES["Dataset002_ShoulderKnee"]
    one = case("shoulder", 12, voxel_scale=2.5, laterality=side)

    model = nnunet.load(phantom_models.path(network_of(recipe.dataset)), threads=1)
    found = model.predict(one.image, one.spacing_mm, quiet)

    volume = {name: np.count_nonzero(found == value) for value, name in enumerate(recipe.labels, 1)}
    this, other = ("right", "left") if side is Laterality.RIGHT else ("left", "right")
    for bone in ("humerus", "clavicle", "scapula"):
        assert volume[f"{bone}_{this}"] > 1000
        assert volume[f"{bone}_{other}"] < 0.02 * volume[f"{bone}_{this}"]


def test_training_cases_are_written_as_nnunet_reads_them(tmp_path: Path) -> None:
    recipe = replace(RECIPES["Dataset002_ShoulderKnee"], protocols=("knee",))
    with ThreadPoolExecutor(1) as pool:
        base = write(recipe, tmp_path, 4, pool)

    image, labels, _, properties = nnUNetDatasetBlosc2(str(base / "nnUNetPlans_3d_fullres")).load_case("knee_000")
    split = json.loads((base / "splits_final.json").read_text())
    assert image.shape == labels.shape
    assert set(np.unique(labels[:]).tolist()) - {-1} == {0, 1, 2, 3, 4}, "-1 is what nnU-Net crops"
    assert abs(float(np.mean(image[:]))) < 0.2
    assert len(properties["class_locations"][4]) > 0
    assert split == [{"train": ["knee_003"], "val": ["knee_000", "knee_001", "knee_002"]}]


def test_stripping_keeps_the_aliases_of_the_encoder_and_drops_the_optimizer() -> None:
    shared = torch.ones(2, 2)
    trained = {
        "network_weights": {"encoder.w": shared, "decoder.encoder.w": shared, "head.w": torch.zeros(2)},
        "optimizer_state": {"state": torch.ones(100)},
        "init_args": {"configuration": "3d_fullres", "device": torch.device("cpu")},
    }

    slim = stripped(trained)

    weights = slim["network_weights"]
    assert weights["encoder.w"].data_ptr() == weights["decoder.encoder.w"].data_ptr()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert "optimizer_state" not in slim
    assert slim["sagittal_phantom"] is True


def test_an_installed_model_lies_in_nnunets_standard_layout(tmp_path: Path) -> None:
    recipe = RECIPES["Dataset001_Abdomen"]
    shipped = torch.load(trained_in(recipe) / "fold_0" / "checkpoint_final.pth", weights_only=True)
    torch.save(shipped, tmp_path / "trained.pth")

    folder = install(recipe, tmp_path / "trained.pth", tmp_path / "models", cases=7)

    assert folder.relative_to(tmp_path / "models") == Path(
        "Dataset001_Abdomen", "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
    )
    assert json.loads((folder / "dataset.json").read_text()) == dataset_json(recipe, 7)
    store = phantom_store(tmp_path / "installed", tmp_path / "models")
    assert nnunet.load(store.path("mrannotator-abdomen"), threads=1).phantom


def test_dice_counts_twice_the_overlap_over_both_sizes() -> None:
    found, truth = np.array([True, True, False, False]), np.array([True, False, True, True])
    assert dice(found, truth) == pytest.approx(2 / 5)
    assert dice(found & False, truth & False) == 1.0


def test_the_table_of_an_evaluation_shows_the_worst_case_of_each_structure() -> None:
    runs = [
        Run("prostate", seed, (Score("prostate", seed, "prostate", value, 40.0),), 0.5 * seed, 1.0)
        for seed, value in ((1, 0.9), (2, 0.8))
    ]
    assert list(table(runs)) == [
        "| **prostate** | **0.850** | **0.800** | 1.0 s, at most 1.0 ml stray |",
        "| prostate | 0.850 | 0.800 | seed 2, 40.0 ml |",
    ]
