"""A chosen model and its files in; the folder that workers load, finished but not yet in its place, out.

Every checkpoint is read as data, must fit the plans' network exactly, and is written again as safetensors. What was
a pickle stays behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from dicom_nodes.errors import ModelUnusable
from service.modelstore import RECORD, Installed, record_text, sha256, version_of
from workers.install import layout
from workers.install.candidate import Candidate, Chosen
from workers.runners import architecture, checkpoint, weights
from workers.runners.plans import compact

PHANTOM_LICENCE = "Apache-2.0 (phantom model, not for clinical use)"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Of one install: what the record says beside the model."""

    origin: str
    licence_accepted: bool
    remarks: tuple[str, ...]


def convert(
    chosen: Chosen, files: Mapping[PurePosixPath, Path], best: bool, circumstances: Circumstances, target: Path
) -> Installed:
    """Write the model into the new folder `target`; raises ModelUnusable where a fold is missing or unfit."""
    candidate = chosen.candidate
    found, network = candidate.found, chosen.network
    folds = layout.choose_folds(found, network.folds, best)
    target.mkdir()
    _write_descriptions(candidate, files, target)
    parameters = {fold: _convert_fold(candidate, files[path], fold, target) for fold, path in folds.items()}
    originals = {
        str(path.relative_to(found.root)): sha256(files[path])
        for path in (found.plans, found.dataset, *folds.values())
    }
    one = next(iter(parameters.values()))
    installed = Installed(
        network=network.name,
        submodel=chosen.submodel.name,
        system=chosen.submodel.system,
        why=chosen.why,
        remarks=(*circumstances.remarks, *_remarks(found, folds)),
        origin=circumstances.origin,
        installed_at=datetime.now(UTC).replace(microsecond=0),
        software=version("sagittal"),
        licence=PHANTOM_LICENCE if candidate.phantom else chosen.submodel.licence,
        licence_accepted=circumstances.licence_accepted,
        configuration=candidate.configuration,
        trainer=candidate.trainer,
        mirroring_axes=candidate.mirroring_axes,
        phantom=candidate.phantom,
        folds=tuple(folds),
        originals=originals,
        files={file.name: sha256(file) for file in sorted(target.iterdir())},
        version=version_of(originals),
        parameters=one,
        bytes=4 * one * len(folds),
    )
    (target / RECORD).write_text(record_text(installed), encoding="utf-8")
    return installed


def _write_descriptions(candidate: Candidate, files: Mapping[PurePosixPath, Path], target: Path) -> None:
    """As they were; plans from before nnU-Net 2.3 in the form of today."""
    found = candidate.found
    plans = architecture.current(candidate.plans)
    content = files[found.plans].read_bytes() if plans is None else compact(plans)
    (target / "plans.json").write_bytes(content)
    (target / "dataset.json").write_bytes(files[found.dataset].read_bytes())


def _convert_fold(candidate: Candidate, file: Path, fold: int, target: Path) -> int:
    """Write one fold; gives how many weights it has."""
    where = Path(candidate.found.title, f"fold_{fold}")
    saved = checkpoint.read(file)
    _check_same(candidate, saved, where)
    architecture.check_fit(candidate.plans, saved.weights, where)
    path = target / f"fold_{fold}.safetensors"
    count = weights.write(saved.weights, path)
    _check_kept(saved, path)
    return count


def _check_same(candidate: Candidate, saved: checkpoint.Checkpoint, where: Path) -> None:
    """All folds are one model."""
    for what in ("trainer", "configuration", "mirroring_axes", "phantom"):
        first, this = getattr(candidate, what), getattr(saved, what)
        if first != this:
            raise ModelUnusable(
                f"{where}: says {what} {this}, another fold says {first}: they are not of one model"
            )


def _check_kept(saved: checkpoint.Checkpoint, path: Path) -> None:
    """What was written is what was read, bit for bit."""
    kept = weights.read(path)
    if kept.keys() != saved.weights.keys() or not all(
        weights.identical(kept[name], tensor) for name, tensor in saved.weights.items()
    ):
        raise ModelUnusable(f"{path}: the disk did not keep what was written")


def _remarks(found: layout.Found, folds: Mapping[int, PurePosixPath]) -> tuple[str, ...]:
    remarks = [
        f"fold {fold} is {path.relative_to(found.root)}"
        for fold, path in folds.items()
        if path.relative_to(found.root) != PurePosixPath(f"fold_{fold}", layout.FINAL)
    ]
    return tuple(remarks)
