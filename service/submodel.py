"""One TOML file per sub-model in; out: its networks, its labels with their codes, the protocols that it serves."""

import itertools
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Code, Laterality, Plane, Segment
from service.tomlfile import read_toml

SHIPPED = Path(__file__).parent / "submodels"

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Channel = Annotated[int, Field(ge=0, le=255)]
Millimetres = Annotated[float, Field(gt=0)]
TileStep = Annotated[float, Field(gt=0, le=1)]
SplitLevel = Annotated[int, Field(ge=0, le=4)]

SIDES = {
    "right": Code("24028007", "SCT", "Right"),
    "left": Code("7771000", "SCT", "Left"),
    "bilateral": Code("51440002", "SCT", "Bilateral"),
}
"""CID 244 Laterality."""

SIDE_NAMES = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}

AXES = tuple(
    "".join(letters)
    for pairs in itertools.permutations(("LR", "AP", "SI"))
    for letters in itertools.product(*pairs)
)
"""The 48 orientations that an array can have."""


class Table(BaseModel):
    """A table of a TOML file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Concept(Table):
    """A coded concept (PS3.3 section 8)."""

    value: Text
    scheme: Text
    meaning: Text

    @property
    def code(self) -> Code:
        """The same as the noun."""
        return Code(self.value, self.scheme, self.meaning)


class Label(Table):
    """One value of the label map: its name, codes (CID 7150, CID 7151 and CID 244) and colour."""

    value: Channel
    name: Text
    category: Concept
    type: Concept
    laterality: Literal["right", "left", "bilateral"] | None = None
    rgb: tuple[Channel, Channel, Channel]
    also: tuple[Text, ...] = ()
    """Other names that dataset.json files of its networks may give it."""
    volume_ml: "Range | None" = None
    """What is plausible in an adult that is seen whole."""

    @field_validator("value")
    @classmethod
    def _is_no_background(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0 is the background; a label's value is 1 to 255")
        return value


class SideRule(StrEnum):
    """What the side of the body that DICOM states does to the labels of a protocol."""

    NONE = "none"
    MODIFIER = "modifier"
    """The labels have no side; the stated one is added to each as a modifier code."""
    LABELS = "labels"
    """The labels have sides; those of the other side are not delivered."""


class Range(Table):
    """Smallest and largest length in millimetres (or volume in millilitres), both allowed."""

    least: Annotated[float, Field(ge=0)]
    most: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.least > self.most:
            raise ValueError(f"least ({self.least:g}) is greater than most ({self.most:g})")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value lies in the range."""
        return self.least <= value <= self.most


class Protocol(Table):
    """A study protocol that a sub-model serves, what it delivers there, and how such a volume is recognised.

    Words are patterns of service/vocabulary.py: whole words or phrases, `*` at either end of a word.
    """

    name: Text
    planes: Annotated[tuple[Plane, ...], Field(min_length=1)]
    keep: tuple[int, ...] = ()
    """The labels that are delivered; empty: all."""
    side: SideRule = SideRule.NONE
    minimum_slices: Annotated[int, Field(ge=1)]
    across_mm: Range
    """Covered length along the slice normal."""
    in_plane_mm: Range
    """Longer side of the field of view."""
    body_parts: tuple[Text, ...] = ()
    """Values of BodyPartExamined that name it (PS3.16 Annex L), beside those in service/vocabulary.toml."""
    words: tuple[Text, ...] = ()
    """Words of protocol names and descriptions that name it, beside those in service/vocabulary.toml."""
    not_words: tuple[Text, ...] = ()
    """Words that show that it is not meant, although it is named."""
    includes: tuple[Text, ...] = ()
    """Protocols or regions that lie inside: naming this one does not contradict them."""


Spacing = tuple[Millimetres, Millimetres, Millimetres]


class Network(Table):
    """One nnU-Net v2 model as its authors publish it: what is in it, by which it is recognised, and its folds."""

    name: Name
    """The installed model's folder, as totalsegmentator-850."""
    dataset: Text
    """Pattern of the data set's name, as Dataset850_*: a witness, no proof."""
    labels: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of the values 1, 2, ... of its output; one that no label of the sub-model has is dropped."""
    trainers: Annotated[tuple[Text, ...], Field(min_length=1)]
    """What its checkpoints may name as their trainer."""
    plans: Text = "nnUNetPlans"
    configuration: Text = "3d_fullres"
    folds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Averaged before the label is chosen."""
    spacing_mm: Spacing | None = None
    """Of the plans, in their own order, where it is known."""
    sha256: tuple[Text, ...] = ()
    """Of the published archives, where known."""
    obsolete: str = ""
    """Why it is recognised and refused; empty where it is not."""


class Crop(Table):
    """A rough run first: the finer one sees only a box around what was found."""

    submodel: Name
    labels: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of the rough sub-model's labels whose union is kept."""
    margin_mm: Annotated[float, Field(ge=0)]


class Variant(Table):
    """The same sub-model run in another way, under a name of its own; what is not said is as in the first."""

    name: Name
    network: tuple[Network, ...] | None = None
    folds: tuple[int, ...] | None = None
    """Of every network, instead of its own."""
    resample_mm: Spacing | None = None
    tile_step: TileStep | None = None
    mirroring: bool | None = None
    split_level: SplitLevel | None = None
    crop: Crop | None = None


class SubModel(Table):
    """What one job runs: one network or several, merged into one label map; what its labels mean, whom it serves."""

    name: Name
    system: Text
    orientation: Text
    """Directions in which the (x, y, z) indices of the array grow that the networks expect."""
    resample_mm: Spacing | None = None
    """Grid along the array's (x, y, z) to which the volume is brought before nnU-Net sees it; None: its own."""
    tile_step: TileStep = 0.5
    """Step of the sliding window as a part of the patch."""
    mirroring: bool = False
    """Average over mirrored input too, along the axes that the checkpoint allows."""
    split_level: SplitLevel = 0
    """Halve the volume so many times, to need less memory (MRSegmentator)."""
    crop: Crop | None = None
    licence: Text
    accept_licence: bool = False
    """The licence restricts use (non-commercial, or by contract): installing asks for --accept-licence."""
    citation: Text
    source: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Where the model comes from, as AlgorithmSource (0024,0202) says it."""
    network: Annotated[tuple[Network, ...], Field(min_length=1)]
    """In the order of merging: what a later one finds overwrites what an earlier one did."""
    label: Annotated[tuple[Label, ...], Field(min_length=1)]
    protocol: tuple[Protocol, ...] = ()
    """None where a sub-model only helps another, or is obsolete."""
    variant: tuple[Variant, ...] = ()

    @field_validator("orientation")
    @classmethod
    def _is_an_orientation(cls, letters: str) -> str:
        if letters not in AXES:
            raise ValueError("allowed are three letters, one each of L or R, A or P, S or I, in any order")
        return letters

    @model_validator(mode="after")
    def _is_consistent(self) -> "SubModel":
        _refuse_repeats("label value", (label.value for label in self.label))
        _refuse_repeats("label name", (name for label in self.label for name in (label.name, *label.also)))
        _refuse_repeats("protocol", (protocol.name for protocol in self.protocol))
        _refuse_repeats("network", (network.name for network in self.network))
        values = {label.value for label in self.label}
        for protocol in self.protocol:
            if unknown := sorted(set(protocol.keep) - values):
                allowed = ", ".join(map(str, sorted(values)))
                raise ValueError(f"protocol {protocol.name}: keep has {unknown}; allowed are the labels {allowed}")
        if unfound := values - {value for network in self.network for value in self.values_of(network)}:
            raise ValueError(f"labels {sorted(unfound)} are found by no network")
        return self

    def values_of(self, network: Network) -> tuple[int, ...]:
        """For a network's output 0, 1, 2, ...: the label value here; 0 for background and what is dropped."""
        by_name = {name: label.value for label in self.label for name in (label.name, *label.also)}
        return (0, *(by_name.get(name, 0) for name in network.labels))

    def variants(self) -> tuple["SubModel", ...]:
        """Itself, without its variants, and each of them as a sub-model."""
        plain = self.model_copy(update={"variant": ()})
        return (plain, *(_varied(plain, each) for each in self.variant))

    def serves(self, protocol: str) -> Protocol:
        """The protocol of that name.

        Raises:
            KeyError: this sub-model does not serve it.
        """
        for each in self.protocol:
            if each.name == protocol:
                return each
        raise KeyError(f"{self.name} does not serve {protocol}")

    def segments(self, protocol: str, laterality: Laterality | None) -> tuple[Segment, ...]:
        """What this sub-model delivers for a protocol, in order of label value; `laterality` None: not stated.

        Raises:
            KeyError: this sub-model does not serve the protocol.
        """
        served = self.serves(protocol)
        kept = (label for label in sorted(self.label, key=lambda each: each.value) if not served.keep or label.value in served.keep)
        side = None if laterality is None or served.side is SideRule.NONE else SIDE_NAMES[laterality]
        return tuple(_segment(label, served, side) for label in kept if _on_side(label, served, side))


def _varied(base: SubModel, variant: Variant) -> SubModel:
    said = {name: value for name in type(variant).model_fields if (value := getattr(variant, name)) is not None}
    folds = said.pop("folds", None)
    varied = base.model_copy(update=said)
    if folds is None:
        return varied
    return varied.model_copy(
        update={"network": tuple(each.model_copy(update={"folds": folds}) for each in varied.network)}
    )


def _on_side(label: Label, protocol: Protocol, side: str | None) -> bool:
    if side is None or protocol.side is not SideRule.LABELS:
        return True
    return label.laterality in (None, "bilateral", side)


def _segment(label: Label, protocol: Protocol, side: str | None) -> Segment:
    name = label.laterality or (side if protocol.side is SideRule.MODIFIER else None)
    return Segment(
        label.value, label.name, label.category.code, label.type.code, SIDES[name] if name else None, label.rgb
    )


def _refuse_repeats(what: str, values: Iterable[int | str]) -> None:
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value} stands twice; each may stand once")
        seen.add(value)


def load_submodels(folders: Iterable[Path] = (SHIPPED,)) -> tuple[SubModel, ...]:
    """Every sub-model of the folders' TOML files, in order of name; one in a later folder replaces its namesake.

    Raises:
        ConfigurationError: a folder is missing, a file is wrong, or two files of one folder have the same name.
    """
    known: dict[str, SubModel] = {}
    for folder in folders:
        known |= _load_folder(folder)
    return tuple(known[name] for name in sorted(known))


def site_submodels(folder: str, home: Path) -> tuple[SubModel, ...]:
    """The shipped sub-models and those of the site's own folder (relative to `home`; empty: none).

    Raises ConfigurationError as `load_submodels` does.
    """
    return load_submodels((SHIPPED, home / folder) if folder else (SHIPPED,))


def _load_folder(folder: Path) -> dict[str, SubModel]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder of sub-models")
    found: dict[str, SubModel] = {}
    for path in sorted(folder.glob("*.toml")):
        for submodel in read_toml(path, SubModel).variants():
            if submodel.name in found:
                raise ConfigurationError(f"{path}: name: {submodel.name!r} is taken by another of this folder")
            found[submodel.name] = submodel
    return found
