"""A trained nnU-Net v2 folder in; its plans, its dataset description and its checkpoints out, read and checked.

Nothing of the folder is executed: JSON is parsed, and the class names that nnU-Net would import on the word of
`plans.json` are held against the places where nnU-Net's own architectures and torch's layers live.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_nodes.errors import ModelUnusable

ARCHITECTURES = ("dynamic_network_architectures.",)
LAYERS = ("torch.nn.",)


@dataclass(frozen=True, slots=True, eq=False)
class ModelFolder:
    """One `TRAINER__PLANS__CONFIGURATION` folder whose files are all there."""

    path: Path
    configuration: str
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    labels: Mapping[str, int]
    """Name to value as `dataset.json` has them, the background with them."""
    checkpoints: tuple[Path, ...]
    digest: str
    """SHA-256 over plans, dataset description and checkpoints: the model's version."""


def read(folder: Path, configuration: str, folds: tuple[int, ...] | None, checkpoint: str) -> ModelFolder:
    """Find and check the model in `folder`, a `DatasetXXX_NAME` or one `TRAINER__PLANS__CONFIGURATION` in it.

    `folds` None takes every fold that has the checkpoint. Raises ModelUnusable, saying which file is missing or
    what in it cannot be used.
    """
    path = _trained(folder, configuration)
    plans, dataset = _json(path / "plans.json"), _json(path / "dataset.json")
    _check_plans(path, plans, configuration)
    checkpoints = _checkpoints(path, folds, checkpoint)
    return ModelFolder(
        path=path,
        configuration=configuration,
        plans=plans,
        dataset=dataset,
        labels=_labels(path, dataset),
        checkpoints=checkpoints,
        digest=_digest(path, (path / "plans.json", path / "dataset.json", *checkpoints)),
    )


def _trained(folder: Path, configuration: str) -> Path:
    if not folder.is_dir():
        raise ModelUnusable(f"{folder}: no such folder")
    if (folder / "plans.json").is_file():
        return folder
    found = sorted(p.parent for p in folder.glob(f"*__{configuration}/plans.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelUnusable(f"{folder}: no plans.json here or in a folder TRAINER__PLANS__{configuration}")
    names = ", ".join(p.name for p in found)
    raise ModelUnusable(f"{folder}: several trained models ({names}); name the folder of one")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelUnusable(f"{path}: missing") from error
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnusable(f"{path}: holds no JSON object")
    return content


def _check_plans(path: Path, plans: Mapping[str, Any], configuration: str) -> None:
    configurations = plans.get("configurations", {})
    if configuration not in configurations:
        known = ", ".join(sorted(configurations)) or "none"
        raise ModelUnusable(f"{path / 'plans.json'}: no configuration {configuration}; it has {known}")
    for name, content in configurations.items():
        _check_architecture(path / "plans.json", name, content.get("architecture"))
    if configurations[configuration].get("previous_stage"):
        raise ModelUnusable(f"{path / 'plans.json'}: {configuration} is the second stage of a cascade")


def _check_architecture(file: Path, configuration: str, architecture: Mapping[str, Any] | None) -> None:
    """Refuse a class from elsewhere: nnU-Net imports and calls whatever `plans.json` names."""
    if architecture is None:
        return  # plans from before nnU-Net 2.3 name one of two known architectures
    kwargs = architecture.get("arch_kwargs", {})
    layers = [kwargs.get(key) for key in architecture.get("_kw_requires_import", ())]
    wanted = [(architecture.get("network_class_name"), ARCHITECTURES), *((name, LAYERS) for name in layers if name)]
    for name, allowed in wanted:
        if not str(name).startswith(allowed):
            raise ModelUnusable(f"{file}: {configuration} asks to import {name!r}, which is no part of nnU-Net")


def _labels(path: Path, dataset: Mapping[str, Any]) -> dict[str, int]:
    file = path / "dataset.json"
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise ModelUnusable(f"{file}: the model wants {len(channels)} images; only models of one image are run")
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ModelUnusable(f"{file}: names no labels")
    if not all(isinstance(value, int) and 0 <= value <= 255 for value in labels.values()):
        raise ModelUnusable(f"{file}: labels must be whole numbers from 0 to 255; overlapping regions are not run")
    return {str(name): int(value) for name, value in labels.items()}


def _checkpoints(path: Path, folds: tuple[int, ...] | None, name: str) -> tuple[Path, ...]:
    if folds is None:
        found = tuple(sorted(path.glob(f"fold_[0-9]*/{name}"))) or tuple(path.glob(f"fold_all/{name}"))
        if not found:
            raise ModelUnusable(f"{path}: no fold has {name}")
        return found
    wanted = tuple(path / f"fold_{fold}" / name for fold in folds)
    missing = [str(file.relative_to(path)) for file in wanted if not file.is_file()]
    if missing or not wanted:
        raise ModelUnusable(f"{path}: missing {', '.join(missing) or 'a fold to use'}")
    return wanted


def _digest(path: Path, files: tuple[Path, ...]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            part = hashlib.file_digest(stream, "sha256")
        whole.update(f"{file.relative_to(path).as_posix()}\0{part.hexdigest()}\n".encode())
    return whole.hexdigest()
