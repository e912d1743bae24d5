"""A trainer's checkpoint in; the stripped model in nnU-Net's standard layout out."""

import json
from pathlib import Path
from typing import Any

import torch

from workers.phantom_models.datasets import Recipe
from workers.phantom_models.plans import CONFIGURATION, PLANS, TRAINER, dataset_json, plans_json


def install(recipe: Recipe, checkpoint: Path, models: Path, cases: int) -> Path:
    """Write plans, data set description and the weights of `checkpoint` under `models`; the model's folder.

    The checkpoint must be one that this recipe's trainer wrote: it is unpickled.
    """
    folder = models / recipe.dataset / f"{TRAINER}__{PLANS}__{CONFIGURATION}"
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    for name, content in (("plans.json", plans_json(recipe)), ("dataset.json", dataset_json(recipe, cases))):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    trained = torch.load(checkpoint, map_location="cpu", weights_only=False)
    target = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(stripped(trained), target.with_suffix(".part"))
    target.with_suffix(".part").replace(target)
    return folder


def stripped(trained: dict[str, Any]) -> dict[str, Any]:
    """Weights in half precision and what nnU-Net needs to load them, without the optimizer's state.

    A U-Net's state names its encoder three times over one memory; the names stay aliases, or the file triples.
    """
    halves: dict[int, torch.Tensor] = {}
    weights = {}
    for name, tensor in trained["network_weights"].items():
        weights[name] = halves.setdefault(tensor.data_ptr(), tensor.detach().to(torch.float16))
    return {
        "network_weights": weights,
        # The class from whose building of the network this trainer does not depart; stock nnU-Net finds it by
        # name where it could not find ours.
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": trained["init_args"]["configuration"]},
        "inference_allowed_mirroring_axes": None,
        "sagittal_phantom": True,
    }
