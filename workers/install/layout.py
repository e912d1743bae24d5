"""The names of the files in an archive in; which nnU-Net v2 models lie in it, and where, out.

Three shapes are in the field: `DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION/fold_n`, the same without its first
folder, and bare `plans.json` beside `fold_n`. All three are a folder with `plans.json`, `dataset.json` and folds;
it may lie at any depth, and an archive may hold several.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dicom_nodes.errors import ModelUnusable
from workers.install.archive import Entry

FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
MOST_JSON_BYTES = 64 << 20
_FOLD = re.compile(r"fold_(\d+|all)")
_V1 = ("plans.pkl", "model_final_checkpoint.model", "model_best.model")


@dataclass(frozen=True, slots=True)
class Found:
    """One trained model in an archive."""

    root: PurePosixPath
    """The folder of its plans, from the root of the archive."""
    names: tuple[str, ...]
    """Of the archive and the folders around the model, from the outside in."""
    plans: PurePosixPath
    dataset: PurePosixPath
    version: PurePosixPath | None
    """MRSegmentator's version.json."""
    folds: Mapping[str, Mapping[str, PurePosixPath]]
    """Checkpoints by name of fold (0, 1, ..., all) and by file name."""

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return str(self.root) if self.root.parts else self.names[0]

    def files(self, best: bool) -> tuple[PurePosixPath, ...]:
        """Everything of it that is read."""
        version = () if self.version is None else (self.version,)
        chosen = (checkpoint(each, best) for each in self.folds.values())
        return self.plans, self.dataset, *version, *(path for path in chosen if path)


def checkpoint(fold: Mapping[str, PurePosixPath], best: bool) -> PurePosixPath | None:
    """The checkpoint of a fold that is taken: the final one; the best one where that is missing and `best` said."""
    return fold.get(FINAL) or (fold.get(BEST) if best else None)


def find(entries: Sequence[Entry], name: str) -> tuple[Found, ...]:
    """The models in an archive called `name`, in order of their folders.

    Raises ModelUnusable where there is none, naming what is there instead, and where one lacks a file.
    """
    # What macOS adds beside every file has the names of the files.
    files = {entry.path: entry.size for entry in entries if "__MACOSX" not in entry.path.parts}
    roots = sorted({path.parent for path in files if path.name == "plans.json"})
    found = [_found(root, files, name) for root in roots]
    if models := tuple(each for each in found if each.folds):
        for each in models:
            _check(each, files)
        return models
    raise ModelUnusable(f"{name}: {_instead(files, roots)}")


def _found(root: PurePosixPath, files: Mapping[PurePosixPath, int], name: str) -> Found:
    folds: dict[str, dict[str, PurePosixPath]] = {}
    for path in sorted(files):
        fold = _FOLD.fullmatch(path.parent.name)
        if fold and path.parent.parent == root and path.parent != root and path.name in (FINAL, BEST):
            folds.setdefault(fold[1], {})[path.name] = path
    version = root / "version.json"
    return Found(
        root=root,
        names=(name, *root.parts),
        plans=root / "plans.json",
        dataset=root / "dataset.json",
        version=version if version in files else None,
        folds=folds,
    )


def _check(model: Found, files: Mapping[PurePosixPath, int]) -> None:
    if model.dataset not in files:
        raise ModelUnusable(f"{model.title}: dataset.json is missing beside plans.json")
    for path in (model.plans, model.dataset, *((model.version,) if model.version else ())):
        if files[path] > MOST_JSON_BYTES:
            raise ModelUnusable(f"{path}: has {files[path]:,} bytes; that is no description of a model")


def _instead(files: Iterable[PurePosixPath], roots: Sequence[PurePosixPath]) -> str:
    """Why there is no model of nnU-Net v2."""
    names = {path.name for path in files}
    if v1 := sorted(names & set(_V1)):
        return f"is a model of nnU-Net v1 ({', '.join(v1)}); only nnU-Net v2 is run, and v2 cannot load it"
    if roots:
        return f"{roots[0] / 'plans.json'} has no fold_0/{FINAL} beside it; the folds are missing"
    if inner := sorted(name for name in names if name.endswith((".zip", ".7z", ".tar", ".tar.gz", ".tgz", ".rar"))):
        return f"holds an archive ({inner[0]}), which is not opened; unpack it and install what is in it"
    if names & {FINAL, BEST}:
        return "has checkpoints, but no plans.json in the folder around fold_0"
    return "holds no model of nnU-Net v2: there is no plans.json with folds beside it"


def choose_folds(model: Found, wanted: Sequence[int], best: bool) -> dict[int, PurePosixPath]:
    """The checkpoint of every wanted fold; where only fold 0 is wanted, `fold_all` may stand for it.

    Raises ModelUnusable, naming what is missing and what to do.
    """
    folds = model.folds
    if tuple(wanted) == (0,) and "0" not in folds and "all" in folds:
        folds = {"0": folds["all"]}
    chosen: dict[int, PurePosixPath] = {}
    for fold in wanted:
        there = folds.get(str(fold), {})
        path = checkpoint(there, best)
        if path is None and BEST in there:
            raise ModelUnusable(f"{model.title}: fold_{fold} has no {FINAL}; --best takes its {BEST} instead")
        if path is None:
            has = ", ".join(f"fold_{each}" for each in model.folds)
            raise ModelUnusable(
                f"{model.title}: fold_{fold}/{FINAL} is missing; this model needs it, there are {has}"
            )
        chosen[fold] = path
    return chosen
