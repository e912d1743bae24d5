"""What the tests of installing weights share: install one, be refused one, spoil one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dicom_nodes.errors import ModelUnusable
from service.modelstore import STAGING, Installed, ModelStore
from service.submodel import SubModel
from tests.workers.trained import (
    checkpoint,
    submodel,
)
from workers.install.installing import Wish, install
from workers.phantom_models.plans import CONFIGURATION

KNOWN = (submodel(),)


def install_one(source: Path, store: ModelStore, known: tuple[SubModel, ...] = KNOWN, **wish: Any) -> Installed:
    (model,) = install(source, store, known, Wish(**wish)).installed
    return model


def refused(
    source: Path, store: ModelStore, because: str, known: tuple[SubModel, ...] = KNOWN, **wish: Any
) -> None:
    """The install ends in this reason, and leaves everything as it was."""
    before = written(store)
    with pytest.raises(ModelUnusable, match=because):
        install(source, store, known, Wish(**wish))
    assert written(store) == before
    assert not list(store.folder.glob(f"{STAGING}*"))


def written(store: ModelStore) -> dict[Path, int]:
    """Every file of the models, and when it was written."""
    files = (path for path in store.folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_plans(folder: Path, **changes: object) -> None:
    """Change the one configuration in a model's plans."""
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"][CONFIGURATION].update(changes)
    (folder / "plans.json").write_text(json.dumps(plans))


def save(folder: Path, fold: int = 0, **changes: object) -> None:
    torch.save(checkpoint(**changes), folder / f"fold_{fold}" / "checkpoint_final.pth")


class Trap:
    """Makes the folder that it is told of when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.target),)
