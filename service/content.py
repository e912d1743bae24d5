"""What one nnU-Net v2 model says of itself, and one published network, in; out: where the two agree or cannot."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from service.submodel import Network, SubModel

SPACING_TOLERANCE = 0.02
"""Plans hold the median spacing of what was trained on, which rounding moves a little."""


@dataclass(frozen=True, slots=True)
class Content:
    """What dataset.json, plans.json, version.json and the checkpoints of one nnU-Net v2 model say of it."""

    dataset_name: str
    label_names: tuple[str, ...]
    """Of the values in `label_values`, without the background."""
    label_values: tuple[int, ...]
    """In rising order, without the background."""
    channels: tuple[str, ...]
    """Names of the input channels, in order."""
    heads: int
    """Output channels of the checkpoint's last layer, the background's included."""
    spacing_mm: tuple[float, float, float] | None
    """Of the configuration in the plans, in their own order."""
    configuration: str
    plans_name: str
    trainer: str
    version_file: float | None = None
    """`weights_version` of version.json; None where there is none."""
    folder_names: tuple[str, ...] = ()
    """Of the folders around the files, from the outside in."""


def contradiction(content: Content, network: Network) -> str | None:
    """Why the content cannot be that network, whatever anybody says; None where nothing forbids it."""
    if fault := unfit(content):
        return fault
    if content.heads != len(network.labels) + 1:
        return (
            f"it has {len(content.label_values)} labels (a head of {content.heads} channels) "
            f"and {network.name} has {len(network.labels)}"
        )
    if is_ct(content) and not _may_be_called_ct(content, network):
        return f"{CT_REFUSED}, and {network.name} is a model for MR"
    places = {plain(name): value for value, name in enumerate(network.labels, 1)}
    for value, name, theirs in zip(content.label_values, content.label_names, network.labels, strict=True):
        if places.get(plain(name), value) != value or _sides(name) | _sides(theirs) == {"left", "right"}:
            return f"its label {value} is {name}, and that of {network.name} is {theirs}"
    return None


def unfit(content: Content) -> str | None:
    """Why the content can be none of the networks that are run here."""
    if len(content.channels) != 1:
        names = ", ".join(content.channels)
        return f"it wants {len(content.channels)} input channels ({names}); the models here want one"
    wanted = tuple(range(1, len(content.label_values) + 1))
    if not wanted or content.label_values != wanted:
        return f"its label values are {short(map(str, content.label_values))} and not 1, 2, 3 and so on"
    if content.heads != len(wanted) + 1:
        return (
            f"it contradicts itself: dataset.json has {len(wanted)} labels and the background, "
            f"its checkpoints have a head of {content.heads} channels"
        )
    return None


CT_REFUSED = 'it is a model for CT: its channel is called "CT"'


def is_ct(content: Content) -> bool:
    """Whether its one channel is called CT, so that nnU-Net normalises as for CT."""
    return plain(content.channels[0]) == "ct"


def _may_be_called_ct(content: Content, network: Network) -> bool:
    """Whether it was trained on both, and a witness says that this is it and not its namesake for CT."""
    heard = witnesses_for(content, network)
    return network.also_ct and ("data set" in heard or (network.dataset == "*" and bool(heard)))


def _sides(name: str) -> set[str]:
    sides = {"left": "left", "l": "left", "right": "right", "r": "right"}
    return {sides[word] for word in plain(name).split("_") if word in sides}


def witnesses_for(content: Content, network: Network) -> frozenset[str]:
    """The witnesses that agree with a network."""
    witnesses = {
        "trainer": any(fnmatchcase(content.trainer, pattern) for pattern in network.trainers if pattern != "*"),
        "data set": network.dataset != "*" and fnmatchcase(content.dataset_name, network.dataset),
        "version": content.version_file in network.weights_version,
    }
    return frozenset(name for name, agrees in witnesses.items() if agrees)


def labels_agree(content: Content, network: Network, submodel: SubModel) -> bool | None:
    """True: by name and value; False: by their number, since they have no names; None: not."""
    if len(content.label_names) != len(network.labels):
        return None
    if all(_is_number(name) for name in content.label_names):
        return False
    values = submodel.values_of(network)[1:]
    aliases = {label.value: {plain(each) for each in (label.name, *label.also)} for label in submodel.label}
    for own, value, theirs in zip(network.labels, values, content.label_names, strict=True):
        if plain(theirs) not in {plain(own)} | aliases.get(value, set()):
            return None
    return True


def spacing_agrees(content: Content, network: Network) -> bool | None:
    """Compared axis by axis in order of size: the plans' order of axes is their own."""
    if content.spacing_mm is None or network.spacing_mm is None:
        return None
    pairs = zip(sorted(content.spacing_mm), sorted(network.spacing_mm), strict=True)
    return all(abs(a - b) <= SPACING_TOLERANCE * b for a, b in pairs)


def plain(name: str) -> str:
    """A label's name in small letters, with one underscore for whatever stands between its words."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _is_number(name: str) -> bool:
    return re.fullmatch(r"(label|class)?_?\d+", plain(name)) is not None


def short(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    each = list(names)
    rest = f" and {len(each) - most} more" if len(each) > most else ""
    return f"{', '.join(each[:most]) or 'none'}{rest}"
