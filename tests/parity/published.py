"""The stand-ins as their authors publish them, and the same installed by our own command."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.modelstore import ModelStore
from service.submodel import SubModel
from tests.standins.folders import write_bare, write_dataset
from workers.models import WarmModels

TOTAL = "totalsegmentator-total-mr"
DATASETS = (TOTAL, f"{TOTAL}-fast", "totalsegmentator-liver-segments-mr")
FIVE_FOLDS, ABDOMEN = "mrsegmentator", "mrannotator-abdomen"


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Folders of weights as the programs look for them."""

    totalsegmentator: Path
    mrsegmentator: Path
    mrannotator: Path


def publish(submodels: Mapping[str, SubModel], folder: Path) -> Published:
    """The stand-ins in their authors' layouts, of those among these sub-models that have one."""
    found = Published(folder / "totalsegmentator", folder / "mrsegmentator", folder / "mrannotator")
    for name in DATASETS:
        for network in submodels[name].network if name in submodels else ():
            write_dataset(submodels[name], network, found.totalsegmentator)
    if FIVE_FOLDS in submodels:
        write_bare(submodels[FIVE_FOLDS], submodels[FIVE_FOLDS].network[0], found.mrsegmentator)
    if ABDOMEN in submodels:
        write_dataset(submodels[ABDOMEN], submodels[ABDOMEN].network[0], found.mrannotator)
    return found


def installed(published: Published, submodels: Mapping[str, SubModel], folder: Path) -> WarmModels:
    """The same weights through `sagittal models install`, ready to run as a worker has them."""
    sources = [*sorted(published.totalsegmentator.glob("*")), published.mrsegmentator, published.mrannotator]
    for source in filter(Path.exists, sources):
        command = [sys.executable, "-m", "service", "models", "install", str(source), "--folder", str(folder)]
        done = subprocess.run([*command, "--accept-licence"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return WarmModels(ModelStore(folder), submodels, device="cpu")
