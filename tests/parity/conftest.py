"""What is published and installed once for all comparisons, and what was seen."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from service.submodel import SubModel, load_submodels
from tests.parity import peers
from tests.parity.published import Published, installed, publish
from workers.models import WarmModels


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
    """As `publish`."""
    return publish(submodels, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def models(
    published: Published, submodels: dict[str, SubModel], tmp_path_factory: pytest.TempPathFactory
) -> WarmModels:
    """As `installed`."""
    return installed(published, submodels, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """What the tests saw, written beside the environments as rows of docs/parity.md."""
    kept = Table()
    yield kept
    if kept.rows and peers.ENVIRONMENTS.is_dir():
        (peers.ENVIRONMENTS / "table.md").write_text("\n".join(kept.rows) + "\n", encoding="utf-8")
