"""The folder of one installed network in; its record, its plans and the weights files to load, out.

Nothing of the folder is executed, and everything that is used has the SHA-256 that it had when it was installed.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dicom_nodes.errors import ModelUnusable
from service.modelstore import Installed, check_digest, read_record
from workers.runners import plans
from workers.runners.plans import Plans


@dataclass(frozen=True, slots=True, eq=False)
class ModelFolder:
    """One installed network, whose JSON files were checked; the weights are checked as they are read."""

    path: Path
    installed: Installed
    plans: Plans
    folds: tuple[int, ...]

    def weights(self, fold: int) -> tuple[Path, str]:
        """The file with the weights of a fold, and the SHA-256 that it must have."""
        name = self.installed.fold_file(fold)
        return self.path / name, self.installed.files[name]


def read(folder: Path, folds: tuple[int, ...] | None = None) -> ModelFolder:
    """Read and check the installed network in `folder`; `folds` None takes all that are installed.

    Raises ModelUnusable, saying which file is missing, changed, or cannot be used.
    """
    if not folder.is_dir():
        raise ModelUnusable(f"{folder}: no such folder")
    installed = read_record(folder)
    texts = {name: _checked(folder, installed, name) for name in ("plans.json", "dataset.json")}
    parsed = {name: plans.parse_json(text, folder / name) for name, text in texts.items()}
    checked = plans.check(parsed["plans.json"], parsed["dataset.json"], installed.configuration, folder)
    return ModelFolder(folder, installed, checked, _folds(folder, installed, folds))


def _checked(folder: Path, installed: Installed, name: str) -> bytes:
    file = folder / name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelUnusable(f"{file}: cannot be read: {error.strerror}") from error
    check_digest(file, hashlib.sha256(content).hexdigest(), installed.files.get(name, ""))
    return content


def _folds(folder: Path, installed: Installed, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    chosen = installed.folds if wanted is None else wanted
    missing = [fold for fold in chosen if installed.fold_file(fold) not in installed.files]
    if missing or not chosen:
        there = ", ".join(map(str, installed.folds))
        named = ", ".join(map(str, missing)) or "none"
        raise ModelUnusable(f"{folder}: fold {named} is asked for; installed are {there}")
    return chosen
