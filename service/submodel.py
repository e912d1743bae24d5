"""One TOML file per sub-model in; out: its labels with their codes, and the protocols that it serves."""

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
Channel = Annotated[int, Field(ge=0, le=255)]

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
    """Smallest and largest length in millimetres, both allowed."""

    least: Annotated[float, Field(ge=0)]
    most: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.least > self.most:
            raise ValueError(f"least ({self.least:g}) is greater than most ({self.most:g})")
        return self

    def holds(self, length_mm: float) -> bool:
        """Whether the length lies in the range."""
        return self.least <= length_mm <= self.most


class Protocol(Table):
    """A study protocol that a sub-model serves, what it delivers there, and how such a volume is recognised.

    Words are patterns of service/vocabulary.py: whole words or phrases, `*` at either end of a word.
    """

    name: Text
    planes: Annotated[tuple[Plane, ...], Field(min_length=1)]
    keep: Annotated[tuple[int, ...], Field(min_length=1)]
    side: SideRule = SideRule.NONE
    minimum_slices: Annotated[int, Field(ge=1)]
    across_mm: Range
    """Covered length along the slice normal."""
    in_plane_mm: Range
    """Longer side of the field of view."""
    body_parts: tuple[Text, ...]
    """Values of BodyPartExamined that name it (PS3.16 Annex L)."""
    words: tuple[Text, ...]
    """Words of protocol names and descriptions that name it."""
    not_words: tuple[Text, ...] = ()
    """Words that show that it is not meant, although it is named."""
    includes: tuple[Text, ...] = ()
    """Protocols or regions that lie inside: naming this one does not contradict them."""


class SubModel(Table):
    """One nnU-Net v2 model: how its folder is found, what its labels mean and which protocols it serves."""

    name: Text
    system: Text
    dataset: Text
    """Pattern of the dataset folder's name, as Dataset001_*."""
    trainer: Text
    plans: Text = "nnUNetPlans"
    configuration: Text
    folds: Annotated[tuple[int, ...], Field(min_length=1)]
    orientation: Text
    """Directions in which the (x, y, z) indices of the array grow that the model expects."""
    licence: Text
    citation: Text
    source: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Where the model comes from, as AlgorithmSource (0024,0202) says it."""
    label: Annotated[tuple[Label, ...], Field(min_length=1)]
    protocol: Annotated[tuple[Protocol, ...], Field(min_length=1)]

    @field_validator("orientation")
    @classmethod
    def _is_an_orientation(cls, letters: str) -> str:
        if letters not in AXES:
            raise ValueError("allowed are three letters, one each of L or R, A or P, S or I, in any order")
        return letters

    @model_validator(mode="after")
    def _is_consistent(self) -> "SubModel":
        _refuse_repeats("label value", (label.value for label in self.label))
        _refuse_repeats("label name", (label.name for label in self.label))
        _refuse_repeats("protocol", (protocol.name for protocol in self.protocol))
        values = {label.value for label in self.label}
        for protocol in self.protocol:
            if unknown := sorted(set(protocol.keep) - values):
                allowed = ", ".join(map(str, sorted(values)))
                raise ValueError(f"protocol {protocol.name}: keep has {unknown}; allowed are the labels {allowed}")
        return self

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
        kept = (label for label in sorted(self.label, key=lambda each: each.value) if label.value in served.keep)
        side = None if laterality is None or served.side is SideRule.NONE else SIDE_NAMES[laterality]
        return tuple(_segment(label, served, side) for label in kept if _on_side(label, served, side))


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
        submodel = read_toml(path, SubModel)
        if submodel.name in found:
            raise ConfigurationError(f"{path}: name: {submodel.name!r} is taken by another file of this folder")
        found[submodel.name] = submodel
    return found
