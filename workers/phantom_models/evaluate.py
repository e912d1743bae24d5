"""`python -m workers.phantom_models.evaluate`: Dice of the phantom models on phantoms that they have not seen.

At full resolution, on the model's axes, through the same runner as the service. Prints one table per protocol.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.install.phantom import network_of, phantom_store
from workers.phantom_models.cases import FIRST_TRAINING_SEED, case
from workers.phantom_models.datasets import RECIPES, Recipe
from workers.runners import nnunet

MODELS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Score:
    """How well one structure of one phantom was found."""

    protocol: str
    seed: int
    structure: str
    dice: float
    millilitres: float
    """Of the truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One phantom through one model."""

    protocol: str
    seed: int
    scores: tuple[Score, ...]
    stray_millilitres: float
    """Marked as structures that are not in the phantom."""
    seconds: float


def run(model: nnunet.LoadedModel, recipe: Recipe, protocol: str, seed: int, voxel_scale: float = 1.0) -> Run:
    """Predict one phantom, at full resolution by default, and compare it with its truth."""
    one = case(protocol, seed, voxel_scale)
    started = time.perf_counter()
    found = model.predict(one.image, one.spacing_mm, _silent)
    seconds = time.perf_counter() - started
    millilitre = float(np.prod(one.spacing_mm)) / 1000
    present = set(np.unique(one.labels).tolist()) - {0}
    scores = tuple(
        Score(
            protocol,
            seed,
            recipe.labels[value - 1],
            dice(found == value, one.labels == value),
            float(np.count_nonzero(one.labels == value)) * millilitre,
        )
        for value in sorted(present)
    )
    stray = np.count_nonzero(~np.isin(found, [0, *present])) * millilitre
    return Run(protocol, seed, scores, float(stray), seconds)


def dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """2 |found and truth| / (|found| + |truth|); 1 where both are empty."""
    size = np.count_nonzero(found) + np.count_nonzero(truth)
    return 1.0 if size == 0 else float(2 * np.count_nonzero(found & truth) / size)


def table(runs: list[Run]) -> Iterator[str]:
    """One line per protocol and one per structure: mean and lowest Dice, and the seed of the lowest."""
    by_protocol: dict[str, list[Run]] = defaultdict(list)
    for one in runs:
        by_protocol[one.protocol].append(one)
    for protocol, its_runs in by_protocol.items():
        scores = [score for one in its_runs for score in one.scores]
        mean, lowest = np.mean([s.dice for s in scores]), min(s.dice for s in scores)
        seconds, stray = np.mean([r.seconds for r in its_runs]), max(r.stray_millilitres for r in its_runs)
        cost = f"{seconds:.1f} s, at most {stray:.1f} ml stray"
        yield f"| **{protocol}** | **{mean:.3f}** | **{lowest:.3f}** | {cost} |"
        for structure in dict.fromkeys(s.structure for s in scores):
            its = [s for s in scores if s.structure == structure]
            worst = min(its, key=lambda s: s.dice)
            volume = f"seed {worst.seed}, {worst.millilitres:.1f} ml"
            yield f"| {structure} | {np.mean([s.dice for s in its]):.3f} | {worst.dice:.3f} | {volume} |"


def main() -> None:
    """Read the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="phantoms per protocol")
    parser.add_argument("--first-seed", type=int, default=1, help=f"below {FIRST_TRAINING_SEED}")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help="all that are installed, if none is named")
    arguments = parser.parse_args()
    print("| structure | mean Dice | lowest | of the lowest |\n| --- | --- | --- | --- |")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        store = phantom_store(Path(folder), arguments.models)
        for recipe in RECIPES.values():
            if recipe.dataset in (arguments.datasets or RECIPES) and (arguments.models / recipe.dataset).is_dir():
                model = nnunet.load(store.path(network_of(recipe.dataset)), threads=arguments.threads)
                seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
                runs = [run(model, recipe, protocol, seed) for protocol in recipe.protocols for seed in seeds]
                print("\n".join(table(runs)), flush=True)  # noqa: T201


def _silent(_stage: str, _fraction: float) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    main()
