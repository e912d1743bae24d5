"""One TOML file per sub-model in; out: its networks, its labels with their codes, the protocols that it serves."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Code, Laterality, Segment
from service.expectation import Expectation, Junction, Order, Presence, fault
from service.label import Label, Table, Text
from service.protocol import Protocol, SideRule
from service.tomlfile import read_toml

SHIPPED = Path(__file__).parent / "submodels"

PHANTOM_SOURCE = "Sagittal, trained on synthetic phantoms"
"""Where a phantom model comes from, whichever published sub-model it stands for."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
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
    """What its checkpoints may name as their trainer; `*` stands for any letters."""
    plans: Text = "nnUNetPlans"
    configuration: Text = "3d_fullres"
    folds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Averaged before the label is chosen."""
    spacing_mm: Spacing | None = None
    """Of the plans, in their own order, where it is known."""
    weights_version: tuple[float, ...] = ()
    """What the version.json of the published archives says, where there is one: a witness."""
    also_ct: bool = False
    """Its authors trained it on CT and MR together: its channel may be called CT."""
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
    """What one job runs: one network or several, merged into one label map; what its labels mean."""

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
    label: tuple[Label, ...] = ()
    """None only where every network is obsolete."""
    protocol: tuple[Protocol, ...] = ()
    """None where a sub-model only helps another, or is obsolete."""
    order: tuple[Order, ...] = ()
    """How labels follow each other in a patient; a result in which they do not contradicts its route."""
    junction: tuple[Junction, ...] = ()
    """Rows of labels that stand on another, as the vertebrae on the sacrum; likewise."""
    presence: tuple[Presence, ...] = ()
    """What is expected wherever others were found."""
    variant: tuple[Variant, ...] = ()
    variant_of: str = ""
    """The sub-model that this one varies; `variants` sets it, no file does."""

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
        if not self.label and not self.obsolete:
            raise ValueError("label is missing: a sub-model without labels finds nothing")
        values = {label.value for label in self.label}
        for protocol in self.protocol:
            if unknown := sorted(set(protocol.keep) - values):
                allowed = ", ".join(map(str, sorted(values)))
                raise ValueError(f"protocol {protocol.name}: keep has {unknown}; allowed are the labels {allowed}")
            _refuse_impossible(f"protocol {protocol.name}: expect", protocol.expect, self._names(protocol.keep))
        for what, wanted in (("order", self.order), ("junction", self.junction), ("presence", self.presence)):
            _refuse_impossible(what, wanted, self._names(()))
        if unfound := values - {value for network in self.network for value in self.values_of(network)}:
            raise ValueError(f"labels {sorted(unfound)} are found by no network")
        return self

    def _names(self, keep: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(label.name for label in self.label if not keep or label.value in keep)

    @property
    def obsolete(self) -> bool:
        """Whether every network of it is recognised and refused, so that it never runs."""
        return all(network.obsolete for network in self.network)

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
        kept = (
            label
            for label in sorted(self.label, key=lambda each: each.value)
            if not served.keep or label.value in served.keep
        )
        side = None if laterality is None or served.side is SideRule.NONE else SIDE_NAMES[laterality]
        return tuple(_segment(label, served, side) for label in kept if _on_side(label, served, side))


def _varied(base: SubModel, variant: Variant) -> SubModel:
    said = {name: value for name in type(variant).model_fields if (value := getattr(variant, name)) is not None}
    folds = said.pop("folds", None)
    varied = base.model_copy(update=said | {"variant_of": base.name})
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


def _refuse_impossible(
    where: str, wanted: Iterable[Expectation | Order | Junction | Presence], names: tuple[str, ...]
) -> None:
    for number, each in enumerate(wanted, start=1):
        if said := fault(each, names):
            raise ValueError(f"{where} {number}: {said}")


def _refuse_repeats(what: str, values: Iterable[int | str]) -> None:
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value} stands twice; each may stand once")
        seen.add(value)


def load_submodels(folders: Iterable[Path] = (SHIPPED,)) -> tuple[SubModel, ...]:
    """Every sub-model of the folders' TOML files, in order of name; one in a later folder replaces its namesake.

    Raises:
        ConfigurationError: a folder is missing, a file is wrong, two files of one folder have the same name, or a
            crop names what is not there.
    """
    known: dict[str, SubModel] = {}
    for folder in folders:
        known |= _load_folder(folder)
    for submodel in known.values():
        if submodel.crop is not None:
            _check_crop(submodel.name, submodel.crop, known)
    return tuple(known[name] for name in sorted(known))


def _check_crop(name: str, crop: Crop, known: Mapping[str, SubModel]) -> None:
    rough = known.get(crop.submodel)
    if rough is None or rough.crop is not None:
        others = ", ".join(sorted(each for each in known if known[each].crop is None))
        raise ConfigurationError(f"sub-model {name}: crop.submodel: {crop.submodel!r}; allowed are {others}")
    if unknown := sorted(set(crop.labels) - {label.name for label in rough.label}):
        raise ConfigurationError(f"sub-model {name}: crop.labels: {crop.submodel} has no {', '.join(unknown)}")


def with_rough(submodel: SubModel, known: Sequence[SubModel]) -> list[SubModel]:
    """A sub-model, the one that is run before it to find where to look, and so on."""
    chain = [submodel]
    while (crop := chain[-1].crop) is not None:
        rough = next((each for each in known if each.name == crop.submodel), None)
        if rough is None or rough in chain:
            break
        chain.append(rough)
    return chain


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
