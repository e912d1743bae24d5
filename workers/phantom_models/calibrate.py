"""`python -m workers.phantom_models.calibrate DATASET`: set how readily a phantom model calls a voxel background.

A network on a coarse grid is unsure along every edge, and an unsure voxel is background: thin structures come out
too thin. One number, taken from the background's bias in the last layer, balances that; it is chosen on training
phantoms at the resolution of a scanner, and is part of the weights from then on. The checkpoint says what was
taken, and all is counted from the weights as they were trained: a second run finds and writes the same.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from workers.install.phantom import network_of, phantom_store
from workers.phantom_models.cases import FIRST_TRAINING_SEED, case
from workers.phantom_models.datasets import RECIPES, Recipe
from workers.runners import nnunet

MODELS = Path(__file__).parent
STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6)
"""What may be taken from the background's logit, all in all."""
SHIFT = "sagittal_background_shift"
"""Key of the checkpoint: what has been taken. Not there: nothing."""


def main() -> None:
    """Choose the step that gives the best mean Dice, and write it into the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(RECIPES))
    parser.add_argument("--cases", type=int, default=2, help="phantoms per protocol")
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.dataset]
    checkpoint = next((arguments.models / recipe.dataset).rglob("checkpoint_final.pth"))
    with tempfile.TemporaryDirectory() as folder:
        store = phantom_store(Path(folder), arguments.models)
        scores = measure(recipe, store.path(network_of(recipe.dataset)), arguments.cases, shifted_by(checkpoint))
    for step, score in zip(STEPS, scores, strict=True):
        print(f"background - {step:.1f}: mean Dice {score:.4f}")  # noqa: T201
    shift(checkpoint, STEPS[int(np.argmax(scores))])


def measure(recipe: Recipe, folder: Path, cases: int, taken: float) -> list[float]:
    """The mean Dice over structures and phantoms for every one of STEPS.

    `folder` holds the installed model, from whose background `taken` has been taken already.
    """
    prediction = nnunet.load(folder).prediction
    found: list[list[float]] = []
    for protocol in recipe.protocols:
        for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + cases):
            one = case(protocol, seed, 1.0)
            data, properties = prediction.preprocess(one.image, one.spacing_mm)
            logits = prediction.logits(data, lambda *_: None)
            scores = []
            for step in STEPS:
                shifted = logits.clone()
                shifted[0] += taken - step
                scores.append(_mean_dice(one.labels, prediction.export(shifted, dict(properties))))
            found.append(scores)
    return [float(mean) for mean in np.mean(found, axis=0)]


def _mean_dice(truth: np.ndarray, found: np.ndarray) -> float:
    values = [value for value in np.unique(truth) if value]
    dice = [2 * ((truth == v) & (found == v)).sum() / ((truth == v).sum() + (found == v).sum()) for v in values]
    return float(np.mean(dice))


def shifted_by(checkpoint: Path) -> float:
    """What was taken from the background's bias of a stripped checkpoint since it was trained."""
    return float(torch.load(checkpoint, map_location="cpu", weights_only=True).get(SHIFT, 0.0))


def shift(checkpoint: Path, step: float) -> None:
    """Let the background's bias in the last layer of a stripped checkpoint be `step` less than it was trained."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    taken = saved.get(SHIFT, 0.0)
    if step == taken and SHIFT in saved:
        return
    weights = saved["network_weights"]
    last = sorted(key for key in weights if key.startswith("decoder.seg_layers.") and key.endswith(".bias"))[-1]
    weights[last][0] -= step - taken
    torch.save({**saved, SHIFT: step}, checkpoint.with_suffix(".part"))
    checkpoint.with_suffix(".part").replace(checkpoint)


if __name__ == "__main__":
    main()
