"""Plain nnU-Net v2 folders as authors publish them: nnU-Net's own architecture, small, with random weights."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from service.label import Concept, Label
from service.modelstore import ModelStore
from service.submodel import Network, SubModel
from workers.install.installing import Wish, install
from workers.phantom_models.datasets import Recipe
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json

TINY = Recipe(
    dataset="Dataset999_Tiny",
    labels=("spleen", "kidney_right"),
    protocols=("abdomen",),
    transpose=(2, 0, 1),
    spacing_mm=(3.0, 2.0, 2.0),
    patch=(8, 16, 16),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    flat_stages=1,
    features=(4, 8, 8),
    cases=1,
    iterations=1,
)
SPACING_MM = (1.7, 1.9, 3.3)
TRAINED = f"nnUNetTrainerNoMirroring__nnUNetPlans__{CONFIGURATION}"


def submodel(name: str = "tiny", recipe: Recipe = TINY, **network: Any) -> SubModel:
    """A sub-model of one network of its own name, with the labels of a recipe."""
    concept = Concept(value="1", scheme="99TEST", meaning="test")
    said: dict[str, Any] = {"dataset": f"{recipe.dataset}*", "trainers": ("nnUNetTrainerNoMirroring",), **network}
    return SubModel(
        name=name,
        system="Test",
        orientation="LAS",
        licence="MIT",
        citation="nobody",
        source="nowhere",
        network=(Network(name=name, labels=recipe.labels, **said),),
        label=tuple(
            Label(value=value, name=label, category=concept, type=concept, rgb=(1, 2, 3))
            for value, label in enumerate(recipe.labels, 1)
        ),
    )


def network(seed: int = 7, recipe: Recipe = TINY, deep_supervision: bool = False) -> torch.nn.Module:
    """The recipe's network, with random weights."""
    architecture = plans_json(recipe)["configurations"][CONFIGURATION]["architecture"]
    torch.manual_seed(seed)
    built: torch.nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        len(recipe.labels) + 1,
        deep_supervision=deep_supervision,
    )
    return built


def checkpoint(recipe: Recipe = TINY, seed: int = 7, **changes: object) -> dict[str, object]:
    """What the trainer saves, with all its keys; `network_weights` and others may be given otherwise."""
    return {
        "network_weights": network(seed, recipe).state_dict(),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "grad_scaler_state": {"scale": 65536.0, "_growth_tracker": 0},
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.25)]]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": CONFIGURATION, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainerNoMirroring",
        "inference_allowed_mirroring_axes": None,
        **changes,
    }


def write_model(
    folder: Path,
    recipe: Recipe = TINY,
    folds: Sequence[int | str] = (0,),
    plans: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    **changes: object,
) -> Path:
    """Write `plans.json`, `dataset.json` and `fold_n/checkpoint_final.pth` into `folder`; gives it back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans_json(recipe) if plans is None else plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json(recipe, 1) if dataset is None else dataset))
    for number, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint(recipe, 7 + number, **changes), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def dataset_folder(folder: Path, recipe: Recipe = TINY, **parts: Any) -> Path:
    """`DatasetXXX_NAME` with one trained model in it."""
    write_model(folder / recipe.dataset / TRAINED, recipe, **parts)
    return folder / recipe.dataset


def zipped(folder: Path, file: Path, within: str = "") -> Path:
    """The content of a folder as a zip, under the name `within`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(path, Path(within) / path.relative_to(folder))
    return file


def installed(source: Path, store: Path, **network: Any) -> Path:
    """Install a tiny model; the folder that workers load."""
    found = sorted(int(path.name[5:]) for path in source.rglob("fold_[0-9]*"))
    install(source, ModelStore(store), (submodel(folds=tuple(found), **network),), Wish(name="tiny"))
    return store / "tiny"


def renamed(recipe: Recipe, dataset: str, labels: Sequence[str]) -> Recipe:
    """The same for other labels."""
    return replace(recipe, dataset=dataset, labels=tuple(labels))
