"""What is in a folder of weights, and the known sub-models, in; out: which published network it is, and why.

Content decides: the label table, the width of the head, the channels and the grid of the plans. Where that fits
more than one network, the witnesses are asked: trainer, name of the data set, version file. Names of folders prove
nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.content import (
    CT_REFUSED,
    Content,
    contradiction,
    is_ct,
    labels_agree,
    plain,
    short,
    spacing_agrees,
    unfit,
    witnesses_for,
)
from service.submodel import Network, SubModel

__all__ = ["Content", "Recognition", "contradiction", "recognise"]


@dataclass(frozen=True, slots=True)
class Recognition:
    """Which published network a content is."""

    network: Network | None
    """None: unknown, or in doubt. One that is obsolete is recognised like any other."""
    submodel: SubModel | None
    """The sub-model in whose table the network stands."""
    candidates: tuple[Network, ...]
    """Where in doubt: those that it may be, of which a person names one."""
    reasons: tuple[str, ...]
    """What decided, in words, in order of weight; of an unknown content, what differs from the nearest."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """How well a content fits one network."""

    network: Network
    submodel: SubModel
    named: bool
    """Its labels carry the network's names; False: they are only numbered."""
    spacing: bool | None
    """None: not known of one of the two."""
    speaking_for: frozenset[str]
    """The witnesses that agree."""


def recognise(content: Content, submodels: Sequence[SubModel]) -> Recognition:
    """Recognise a content among the networks of the sub-models."""
    known = _networks(submodels)
    if fault := unfit(content):
        return Recognition(None, None, (), (fault,))
    labelled = [
        _fit(content, network, submodel)
        for network, submodel in known
        if contradiction(content, network) is None and labels_agree(content, network, submodel) is not None
    ]
    agreeing = [fit for fit in labelled if fit.spacing is not False]
    if not labelled:
        return Recognition(None, None, (), _nearest(content, known))
    if not agreeing:
        return _in_doubt(content, labelled)
    foremost = _foremost(agreeing)
    if len(foremost) != 1 or not _is_sure(foremost[0]):
        return _in_doubt(content, foremost or agreeing)
    (best,) = foremost
    return Recognition(best.network, best.submodel, (), _reasons(content, best, agreeing))


def _networks(submodels: Sequence[SubModel]) -> list[tuple[Network, SubModel]]:
    """Each network once, with the sub-model in whose own file it stands."""
    found: dict[str, tuple[Network, SubModel]] = {}
    for submodel in sorted(submodels, key=lambda each: (each.variant_of != "", each.name)):
        for network in submodel.network:
            found.setdefault(network.name, (network, submodel))
    return list(found.values())


def _fit(content: Content, network: Network, submodel: SubModel) -> _Fit:
    return _Fit(
        network,
        submodel,
        labels_agree(content, network, submodel) is True,
        spacing_agrees(content, network),
        witnesses_for(content, network),
    )


def _foremost(fits: Sequence[_Fit]) -> list[_Fit]:
    """Those whose labels are named, if any are; of them those that have every witness which any of them has."""
    named = [fit for fit in fits if fit.named] or list(fits)
    heard = frozenset[str]().union(*(fit.speaking_for for fit in named))
    return [fit for fit in named if fit.speaking_for == heard]


def _is_sure(fit: _Fit) -> bool:
    """Named labels need the trainer or the version, where not anybody may have trained it; numbered ones two.

    A network of the same labels by another trainer may have been trained with mirroring, and mix left and right.
    """
    if fit.named:
        return bool(fit.speaking_for & {"trainer", "version"}) or "*" in fit.network.trainers
    return len(fit.speaking_for) + (fit.spacing is True) >= 2


def _in_doubt(content: Content, fits: Sequence[_Fit]) -> Recognition:
    reasons = tuple(line for fit in fits for line in (_label_reason(content, fit), *_other_reasons(content, fit)))
    names = " or ".join(fit.network.name for fit in fits)
    which = f"it may be {names}: its content does not tell for sure"
    return Recognition(None, None, tuple(fit.network for fit in fits), (which, *dict.fromkeys(reasons)))


def _reasons(content: Content, fit: _Fit, fits: Sequence[_Fit]) -> tuple[str, ...]:
    lines = [_label_reason(content, fit), *_other_reasons(content, fit)]
    if others := [each.network.name for each in fits if each is not fit]:
        deciding = " and ".join(sorted(fit.speaking_for)) or "names of its labels"
        lines.append(f"{' and '.join(others)} would fit as well, but for the {deciding}")
    if fit.network.obsolete:
        lines.append(f"{fit.network.name} is obsolete: {fit.network.obsolete}")
    return tuple(lines)


def _label_reason(content: Content, fit: _Fit) -> str:
    count = len(content.label_values)
    labels = f"its {count} labels are" if count > 1 else "its one label is"
    if fit.named:
        return f"{labels} exactly {'those' if count > 1 else 'that'} of {fit.network.name}"
    return f"{labels} only numbered, and {fit.network.name} has as many"


def _other_reasons(content: Content, fit: _Fit) -> list[str]:
    """What the grid and the witnesses say, those that disagree too."""
    network, lines = fit.network, []
    if fit.spacing is not None and content.spacing_mm and network.spacing_mm:
        differs = f"is not the {_millimetres(network.spacing_mm)} of {network.name}"
        lines.append(f"spacing {_millimetres(content.spacing_mm)} {'agrees' if fit.spacing else differs}")
    if "*" not in network.trainers:
        agrees = "trainer" in fit.speaking_for
        theirs = "agrees" if agrees else f"is not the {' or '.join(network.trainers)} of {network.name}"
        lines.append(f"trainer {content.trainer} {theirs}")
    if "data set" in fit.speaking_for:
        lines.append(f"data set {content.dataset_name} agrees")
    elif network.dataset != "*":
        lines.append(f'data set "{content.dataset_name}" is not {network.dataset}')
    if content.version_file is not None and network.weights_version:
        known = " or ".join(f"{each:g}" for each in network.weights_version)
        agrees = "version" in fit.speaking_for
        lines.append(f"weights version {content.version_file:g} {'agrees' if agrees else f'is not {known}'}")
    return lines


def _nearest(content: Content, known: Sequence[tuple[Network, SubModel]]) -> tuple[str, ...]:
    """What a content that fits none has in common with the nearest, and what differs."""
    if is_ct(content):
        return (f"{CT_REFUSED}, and the models here are for MR",)
    own = {plain(name) for name in content.label_names}

    def likeness(network: Network) -> float:
        theirs = {plain(name) for name in network.labels}
        return len(own & theirs) / len(own | theirs)

    count = len(content.label_values)
    first = f"its {count} labels are those of no known network"
    nearest, _ = max(known, key=lambda each: (likeness(each[0]), -abs(len(each[0].labels) - count)))
    if not likeness(nearest):
        return (first, f"not one has a name that is known here: {short(content.label_names)}")
    theirs = {plain(name) for name in nearest.labels}
    lines = [first, f"nearest is {nearest.name}: {len(own & theirs)} of its {len(theirs)} names are the same"]
    if missing := [name for name in nearest.labels if plain(name) not in own]:
        lines.append(f"missing: {short(missing)}")
    if more := [name for name in content.label_names if plain(name) not in theirs]:
        lines.append(f"besides: {short(more)}")
    if not missing and not more:
        lines.append("the names are the same, but they stand at other values")
    return tuple(lines)


def _millimetres(spacing: Iterable[float]) -> str:
    each = [f"{value:.4g}" for value in spacing]
    return f"{each[0]} mm" if len(set(each)) == 1 else f"{' x '.join(each)} mm"
