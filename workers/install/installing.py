"""A zip or a folder of published weights in; installed models, whole, out. The one way into the store."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from dicom_nodes.errors import ModelUnusable
from service.modelstore import Installed, ModelStore, sha256
from service.submodel import SubModel
from workers.install import archive, layout
from workers.install.candidate import Chosen, NotRun, choose, examine
from workers.install.convert import Circumstances, convert
from workers.install.place import place, staging


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person says of an install."""

    name: str | None = None
    """The network that it is, where content cannot tell (--as)."""
    accept_licence: bool = False
    best: bool = False
    """Take checkpoint_best.pth of a fold that has no checkpoint_final.pth."""
    only: str = ""
    """Pattern, or part, of the folder to take, where the archive holds several models."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an install."""

    installed: tuple[Installed, ...]
    left: tuple[str, ...]
    """Models of the archive that were not installed, and why."""


def install(source: Path, store: ModelStore, submodels: Sequence[SubModel], wish: Wish = Wish()) -> Outcome:
    """Install every known model in `source`; an older one of the same network is replaced.

    Raises ModelUnusable, with what is wrong and what to do; then nothing of `source` is installed.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(archive.opened(source))
        models = _wanted(layout.find(opened.entries, opened.name), wish)
        folder = stack.enter_context(staging(store))
        files = opened.fetch((path for model in models for path in model.files(wish.best)), folder / "unpacked")
        chosen, left = _choose(models, files, submodels, wish)
        for each in chosen:
            _check_licence(each, wish)
        built = [_build(each, files, source, wish, folder) for each in chosen]
        for model in built:
            place(folder / model.network, store.path(model.network))
    return Outcome(tuple(built), tuple(left))


def _wanted(models: tuple[layout.Found, ...], wish: Wish) -> tuple[layout.Found, ...]:
    titles = ", ".join(model.title for model in models)
    if wish.only:
        pattern = wish.only if "*" in wish.only else f"*{wish.only}*"
        models = tuple(model for model in models if fnmatchcase(model.title, pattern))
        if not models:
            raise ModelUnusable(f"--only {wish.only} is in no model's folder; there are {titles}")
    if wish.name and len(models) > 1:
        raise ModelUnusable(f"--as {wish.name} names one model, and there are several; choose by --only: {titles}")
    return models


def _choose(
    models: Sequence[layout.Found], files: Mapping[PurePosixPath, Path], submodels: Sequence[SubModel], wish: Wish
) -> tuple[list[Chosen], list[str]]:
    """The known ones, one for each network; and why the others are left. Raises where there is none."""
    known: list[Chosen] = []
    left: list[str] = []
    for model in models:
        try:
            known.append(choose(examine(model, files, wish.best), submodels, wish.name))
        except NotRun as error:
            if len(models) == 1:
                raise
            left.append(str(error))
    if not known:
        raise ModelUnusable("; ".join(left))
    chosen: dict[str, Chosen] = {}
    for each in known:
        same = [other for other in known if other.network.name == each.network.name]
        chosen[each.network.name] = _foremost(same)
    left += [f"{each.candidate.found.title}: {_instead(chosen[each.network.name])}"
             for each in known if each not in chosen.values()]  # fmt: skip
    return list(chosen.values()), left


def _foremost(same: Sequence[Chosen]) -> Chosen:
    """Of several trainings of one network, as nnU-Net exports them: that of the network's own configuration."""
    fitting = [each for each in same if each.candidate.configuration == each.network.configuration]
    if len(same) == 1:
        return same[0]
    if len(fitting) == 1:
        return fitting[0]
    titles = ", ".join(each.candidate.found.title for each in same)
    raise ModelUnusable(f"several models are {same[0].network.name}; choose one by --only: {titles}")


def _instead(taken: Chosen) -> str:
    return f"{taken.candidate.found.title} is taken as {taken.network.name} instead"


def _check_licence(chosen: Chosen, wish: Wish) -> None:
    submodel = chosen.submodel
    if submodel.accept_licence and not wish.accept_licence and not chosen.candidate.phantom:
        raise ModelUnusable(
            f"{chosen.network.name}: its licence restricts what it may be used for: {submodel.licence} "
            f"({submodel.source}). Read it; who may use it so installs it with --accept-licence"
        )


def _build(
    chosen: Chosen, files: Mapping[PurePosixPath, Path], source: Path, wish: Wish, folder: Path
) -> Installed:
    accepted = wish.accept_licence and chosen.submodel.accept_licence
    agreed, remarks = _published(chosen, source)
    said = replace(chosen, why=(*chosen.why, *agreed))
    circumstances = Circumstances(source.resolve().name, accepted, tuple(remarks))
    return convert(said, files, wish.best, circumstances, folder / chosen.network.name)


def _published(chosen: Chosen, source: Path) -> tuple[list[str], list[str]]:
    """What the checksums of the published archives say, as a reason or as a remark."""
    if not chosen.network.sha256 or not source.is_file():
        return [], []
    found = sha256(source)
    if found in chosen.network.sha256:
        return ["the archive has the SHA-256 that its authors publish"], []
    return [], [f"the archive's SHA-256 {found} is not one of the published ones: another release, or changed"]


def lines(outcome: Outcome) -> Iterator[str]:
    """What was decided and why, for people."""
    for model in outcome.installed:
        yield f"{model.network}, of {model.submodel} ({model.system}), from {model.origin}"
        yield from (f"  because {reason}" for reason in model.why)
        yield from (f"  note: {remark}" for remark in model.remarks)
        folds = f"fold{'s' if len(model.folds) > 1 else ''} {', '.join(map(str, model.folds))}"
        yield f"  installed: {folds}, {model.bytes / 2**20:,.0f} MiB in memory, version {model.version[:16]}"
        yield f"  licence: {model.licence}{' (accepted)' if model.licence_accepted else ''}"
    yield from (f"left: {reason}" for reason in outcome.left)
