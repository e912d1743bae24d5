"""The stand-ins as their authors publish them, the same installed by our own command, and what was seen."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.modelstore import ModelStore
from service.submodel import SubModel, load_submodels
from tests.parity import peers
from tests.standins.folders import write_bare, write_dataset
from workers.models import WarmModels

TOTAL = "totalsegmentator-total-mr"
DATASETS = (TOTAL, f"{TOTAL}-fast", "totalsegmentator-liver-segments-mr")


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Folders of weights as the programs look for them."""

    totalsegmentator: Path
    mrsegmentator: Path
    mrannotator: Path


@dataclass(slots=True)
class Table:
    """One row for each comparison: program, its version, plane, labels, lowest Dice, voxels that differ."""

    rows: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def submodels() -> dict[str, SubModel]:
    """Every shipped sub-model by its name."""
    return {submodel.name: submodel for submodel in load_submodels()}


@pytest.fixture(scope="session")
def published(submodels: dict[str, SubModel], tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The stand-ins in their authors' layouts."""
    folder = tmp_path_factory.mktemp("published")
    found = Published(folder / "totalsegmentator", folder / "mrsegmentator", folder / "mrannotator")
    for name in DATASETS:
        for network in submodels[name].network:
            write_dataset(submodels[name], network, found.totalsegmentator)
    write_bare(submodels["mrsegmentator"], submodels["mrsegmentator"].network[0], found.mrsegmentator)
    abdomen = submodels["mrannotator-abdomen"]
    write_dataset(abdomen, abdomen.network[0], found.mrannotator)
    return found


@pytest.fixture(scope="session")
def models(
    published: Published, submodels: dict[str, SubModel], tmp_path_factory: pytest.TempPathFactory
) -> WarmModels:
    """The same weights through `sagittal models install`, ready to run as a worker has them."""
    folder = tmp_path_factory.mktemp("installed")
    sources = [*sorted(published.totalsegmentator.iterdir()), published.mrsegmentator, published.mrannotator]
    for source in sources:
        command = [sys.executable, "-m", "service", "models", "install", str(source), "--folder", str(folder)]
        done = subprocess.run([*command, "--accept-licence"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return WarmModels(ModelStore(folder), submodels, device="cpu")


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """What the tests saw, written beside the environments as rows of docs/parity.md."""
    kept = Table()
    yield kept
    if kept.rows and peers.ENVIRONMENTS.is_dir():
        (peers.ENVIRONMENTS / "table.md").write_text("\n".join(kept.rows) + "\n", encoding="utf-8")
