"""A recipe in; preprocessed training cases on disk out: phantoms turned to the model's axes, through nnU-Net.

The arrays go straight to nnU-Net's preprocessor, without NIfTI files between.
"""

import json
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_nodes.orientation import reorient
from dicom_nodes.types import Laterality
from service.phantom.protocols import make_phantom
from workers.phantom_models.datasets import MODEL_AXES, Recipe
from workers.phantom_models.plans import CONFIGURATION, PLANS, dataset_json, plans_json

FIRST_TRAINING_SEED = 100_000
"""Far from the seeds of the demo, the tests and the evaluation, which are small numbers."""
HELD_OUT = 3
"""Cases per protocol that watch the training and are not learnt from."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One phantom on the model's axes."""

    image: npt.NDArray[np.float32]
    """(z, y, x)."""
    labels: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def case(protocol: str, seed: int, voxel_scale: float, laterality: Laterality | None = None) -> Case:
    """The phantom of `seed`, with in-plane pixels `voxel_scale` times as large, turned to the model's axes."""
    phantom = make_phantom(protocol, seed, voxel_scale=voxel_scale, laterality=laterality)
    image = reorient(phantom.pixels.astype(np.float32), phantom.affine, MODEL_AXES)
    labels = reorient(phantom.truth, phantom.affine, MODEL_AXES)
    return Case(image.array.astype(np.float32), labels.array.astype(np.uint8), image.spacing_mm)


def write(recipe: Recipe, folder: Path, cases: int, pool: Executor) -> Path:
    """Preprocess `cases` phantoms of each protocol into `folder`/DATASET, as nnU-Net's trainer reads them."""
    base = folder / recipe.dataset
    stack = base / f"{PLANS}_{CONFIGURATION}"
    stack.mkdir(parents=True, exist_ok=True)
    wanted = [(protocol, n) for protocol in recipe.protocols for n in range(cases)]
    for _ in pool.map(_write_one, *zip(*((recipe, stack, protocol, n) for protocol, n in wanted), strict=True)):
        pass
    names = {n: [_name(protocol, n) for protocol in recipe.protocols] for n in range(cases)}
    held_out = [name for n in range(HELD_OUT) for name in names[n]]
    learnt = [name for n in range(HELD_OUT, cases) for name in names[n]]
    _json(base / f"{PLANS}.json", plans_json(recipe))
    _json(base / "dataset.json", dataset_json(recipe, len(wanted)))
    _json(base / "dataset_fingerprint.json", {})
    _json(base / "splits_final.json", [{"train": learnt, "val": held_out}])
    return base


def _name(protocol: str, n: int) -> str:
    return f"{protocol}_{n:03d}"


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_one(recipe: Recipe, stack: Path, protocol: str, n: int) -> None:
    # Torch and nnU-Net are for the processes of the pool, not for the one that starts them.
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor  # noqa: PLC0415
    from nnunetv2.training.dataloading.nnunet_dataset import (  # noqa: PLC0415
        comp_blosc2_params,
        nnUNetDatasetBlosc2,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    target = stack / _name(protocol, n)
    if target.with_suffix(".pkl").exists():
        return
    one = case(protocol, FIRST_TRAINING_SEED + n, voxel_scale=(1.0, 1.5, 2.0, 2.5)[n % 4])
    plans = PlansManager(plans_json(recipe))
    image, labels, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        one.image[None],
        one.labels[None].astype(np.int16),
        {"spacing": list(one.spacing_mm)},
        plans,
        plans.get_configuration(CONFIGURATION),
        dataset_json(recipe, 0),
    )
    image, labels = image.astype(np.float32), labels.astype(np.int16)
    blocks, chunks = comp_blosc2_params(image.shape, recipe.patch, image.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(labels.shape, recipe.patch, labels.itemsize)
    nnUNetDatasetBlosc2.save_case(
        image,
        labels,
        properties,
        str(target),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
    )
