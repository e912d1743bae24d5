"""One model as it was found in an archive, and the known sub-models, in; which network it is, and why, out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dicom_nodes.errors import ModelUnusable
from service.recognise import Content, Recognition, contradiction, recognise
from service.submodel import Network, SubModel
from workers.install import layout, trainers
from workers.install.layout import Found
from workers.runners import checkpoint, plans
from workers.runners.plans import Plans


class NotRun(ModelUnusable):
    """A sound model of nnU-Net, but none that is known or can be run here; others beside it may be installed."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model whose description was read, with one of its checkpoints."""

    found: Found
    plans: Plans
    content: Content
    trainer: str
    configuration: str
    mirroring_axes: tuple[int, ...] | None
    phantom: bool


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What a candidate is installed as."""

    candidate: Candidate
    network: Network
    submodel: SubModel
    why: tuple[str, ...]


def examine(found: Found, files: Mapping[PurePosixPath, Path], best: bool) -> Candidate:
    """Read the description of a model and one checkpoint of it.

    Raises ModelUnusable, naming file and fault, and NotRun where they are sound but of a kind that is not run.
    """
    first = next((path for each in found.folds.values() if (path := layout.checkpoint(each, best))), None)
    if first is None:
        raise ModelUnusable(
            f"{found.title}: no fold has a {layout.FINAL}; --best takes the {layout.BEST} that is there instead"
        )
    described = {path: plans.parse_json(_bytes(files[path]), Path(path)) for path in (found.plans, found.dataset)}
    saved = checkpoint.read(files[first])
    try:
        checked = plans.check(
            described[found.plans], described[found.dataset], saved.configuration, Path(found.root)
        )
        content = _content(found, checked, saved, files)
    except ModelUnusable as error:
        raise NotRun(str(error)) from error
    return Candidate(
        found=found,
        plans=checked,
        content=content,
        trainer=saved.trainer,
        configuration=saved.configuration,
        mirroring_axes=saved.mirroring_axes,
        phantom=saved.phantom,
    )


def _content(
    found: Found, checked: Plans, saved: checkpoint.Checkpoint, files: Mapping[PurePosixPath, Path]
) -> Content:
    labels = sorted((value, name) for name, value in checked.labels.items() if value)
    if saved.heads is None or saved.channels is None:
        raise ModelUnusable(f"{found.title}: its checkpoints are of no network that nnU-Net's own trainers make")
    if saved.channels != 1:
        raise ModelUnusable(f"{found.title}: its network takes {saved.channels} images, dataset.json names one")
    spacing = checked.spacing_mm
    return Content(
        dataset_name=str(checked.plans.get("dataset_name", "")),
        label_names=tuple(name for _, name in labels),
        label_values=tuple(value for value, _ in labels),
        channels=plans.channel_names(checked.dataset),
        heads=saved.heads,
        spacing_mm=(spacing[0], spacing[1], spacing[2]) if len(spacing) == 3 else None,
        configuration=saved.configuration,
        plans_name=str(checked.plans.get("plans_name", "")),
        trainer=saved.trainer,
        version_file=_version(found, files),
        folder_names=found.names,
    )


def _version(found: Found, files: Mapping[PurePosixPath, Path]) -> float | None:
    if found.version is None:
        return None
    value = plans.parse_json(_bytes(files[found.version]), Path(found.version)).get("weights_version")
    return float(value) if isinstance(value, int | float) else None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelUnusable(f"{file}: cannot be read: {error.strerror}") from error


def choose(candidate: Candidate, submodels: Sequence[SubModel], name: str | None) -> Chosen:
    """What a candidate is: by its content, or as a person says by `name`, which its content must not contradict.

    Raises NotRun where it is nothing known, where it is in doubt and no name is given, where the name cannot
    be right, and where it is recognised as obsolete or as trained by a trainer that nothing is known of.
    """
    recognised = recognise(candidate.content, submodels)
    chosen = _named(candidate, submodels, name, recognised) if name else _recognised(candidate, recognised)
    if chosen.network.obsolete:
        raise NotRun(
            f"{candidate.found.title}: is {chosen.network.name}, which is obsolete: {chosen.network.obsolete}"
        )
    try:
        trainers.check(candidate.trainer, chosen.network)
    except ModelUnusable as error:
        raise NotRun(f"{candidate.found.title}: {error}") from error
    return chosen


def _recognised(candidate: Candidate, recognised: Recognition) -> Chosen:
    title, reasons = candidate.found.title, "; ".join(recognised.reasons)
    if recognised.network is not None and recognised.submodel is not None:
        return Chosen(candidate, recognised.network, recognised.submodel, recognised.reasons)
    if recognised.candidates:
        names = " or ".join(f"--as {network.name}" for network in recognised.candidates)
        raise NotRun(f"{title}: {reasons}. Say which it is, with {names}")
    raise NotRun(f"{title}: is no known model: {reasons}")


def _named(candidate: Candidate, submodels: Sequence[SubModel], name: str, recognised: Recognition) -> Chosen:
    network, submodel = _by_name(submodels, name)
    if fault := contradiction(candidate.content, network):
        raise NotRun(f"{candidate.found.title}: cannot be {network.name}: {fault}")
    if recognised.network is not None and recognised.network.name == network.name:
        return Chosen(candidate, network, submodel, recognised.reasons)
    said = f"named {network.name} by --as"
    return Chosen(candidate, network, submodel, (said, *recognised.reasons))


def _by_name(submodels: Sequence[SubModel], name: str) -> tuple[Network, SubModel]:
    """A network by its name, or by that of a sub-model that has just one."""
    # A network stands in its sub-model and in variants of that, where it may have other folds: the first counts.
    ordered = sorted(submodels, key=lambda each: (each.variant_of != "", each.name), reverse=True)
    networks = {network.name: (network, each) for each in ordered for network in each.network}
    if name in networks:
        return networks[name]
    whole = next((each for each in submodels if each.name == name), None)
    if whole is None:
        raise NotRun(f"--as {name}: there is no such network; known are {', '.join(sorted(networks))}")
    if len(whole.network) > 1:
        parts = ", ".join(network.name for network in whole.network)
        raise NotRun(f"--as {name}: it is made of several networks; name one of {parts}")
    return whole.network[0], whole
