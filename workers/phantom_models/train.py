"""`python -m workers.phantom_models.train DATASET`: draw phantoms, train one phantom model, install it.

DATASET is a name in `datasets.RECIPES`, as Dataset004_Spine. Everything but the finished model is written under
`--work`; a second run takes up the cases that lie there.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from workers.phantom_models.datasets import RECIPES, Recipe
from workers.phantom_models.plans import CONFIGURATION, PLANS

MODELS = Path(__file__).parent


def main() -> None:
    """Read the command line and make the model it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(RECIPES))
    parser.add_argument("--cases", type=int, help="phantoms per protocol")
    parser.add_argument("--iterations", type=int, help="training steps")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end the training after so long")
    parser.add_argument("--start-from", type=Path, help="checkpoint of an earlier training of the same recipe")
    parser.add_argument("--behind", type=float, default=0.0, help="the part of the training that it has done")
    parser.add_argument("--processes", type=int, default=2, help="for drawing phantoms")
    parser.add_argument("--threads", type=int, default=2, help="for training")
    parser.add_argument("--work", type=Path, default=Path("phantom_training"), help="folder for cases and logs")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder to install the model in")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.dataset]
    cases = arguments.cases or recipe.cases
    _nnunet_environment(arguments.work.resolve(), arguments.threads)
    _draw(recipe, arguments.work, cases, arguments.processes)
    _train(recipe, arguments)
    _install(recipe, arguments.work, cases, arguments.models)


def _nnunet_environment(work: Path, threads: int) -> None:
    """nnU-Net's trainer takes its folders and its processes from the environment, when it is imported."""
    os.environ.update(
        nnUNet_raw=str(work / "raw"),
        nnUNet_preprocessed=str(work / "preprocessed"),
        nnUNet_results=str(work / "results"),
        nnUNet_n_proc_DA="0",
        nnUNet_def_n_proc=str(threads),
    )


def _draw(recipe: Recipe, work: Path, cases: int, processes: int) -> None:
    from workers.phantom_models import cases as training_cases  # noqa: PLC0415  (after the environment)

    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        training_cases.write(recipe, work / "preprocessed", cases, pool)


def _train(recipe: Recipe, arguments: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415  (after the environment)

    from workers.phantom_models.trainer import ITERATIONS_PER_EPOCH, PhantomTrainer  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    base = arguments.work / "preprocessed" / recipe.dataset
    plans = json.loads((base / f"{PLANS}.json").read_text())
    trainer = PhantomTrainer(
        {**plans, "continue_training": False}, CONFIGURATION, 0, json.loads((base / "dataset.json").read_text())
    )
    trainer.num_epochs = max(1, (arguments.iterations or recipe.iterations) // ITERATIONS_PER_EPOCH)
    trainer.budget_seconds = arguments.minutes * 60
    if arguments.start_from:
        trainer.start_from(arguments.start_from, arguments.behind)
    trainer.run_training()


def _install(recipe: Recipe, work: Path, cases: int, models: Path) -> None:
    from workers.phantom_models.install import install  # noqa: PLC0415  (after the environment)

    trained = work / "results" / recipe.dataset / f"PhantomTrainer__{PLANS}__{CONFIGURATION}" / "fold_0"
    install(recipe, trained / "checkpoint_final.pth", models, cases * len(recipe.protocols))


if __name__ == "__main__":
    main()
