"""A model store of its own, and a small model in a bare folder."""

from pathlib import Path

import pytest

from service.modelstore import ModelStore
from tests.workers.trained import write_model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model's folder, bare: plans.json, dataset.json, fold_0."""
    return write_model(tmp_path / "plain")
