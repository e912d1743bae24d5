"""`plans.json` and `dataset.json` in; both as checked data out, or why a model of theirs is not run.

nnU-Net imports and calls classes and functions by the names that its plans give. Every such name is held against
the tables below, whole; a name that is in none is refused before nnU-Net sees it.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_nodes.errors import ModelUnusable

ARCHITECTURES = re.compile(
    r"dynamic_network_architectures\.architectures\.(residual_)?unet\.(PlainConvUNet|ResidualEncoderUNet|ResidualUNet)"
)
LAYERS = re.compile(r"torch\.nn\.(modules\.[a-z]+\.)?[A-Z]\w*")
OLD_ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet")
"""`UNet_class_name` in plans from before nnU-Net 2.3."""
_ORDERS = [list(order) for order in itertools.permutations(range(3))]
_RESAMPLING = re.compile(
    r"resample_data_or_seg_to_shape|resample_torch_fornnunet|resample_torch_simple|no_resampling_hack"
)
_NORMALISATION = re.compile(r"(ZScore|CT|No|RescaleTo01|RGBTo01)Normalization")
NAMES = {
    "preprocessor_name": re.compile(r"DefaultPreprocessor"),
    "resampling_fn_data": _RESAMPLING,
    "resampling_fn_seg": _RESAMPLING,
    "resampling_fn_probabilities": _RESAMPLING,
    "normalization_schemes": _NORMALISATION,
}
"""Keys of a configuration whose values nnU-Net looks up, and what may stand there: nnU-Net's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """Plans and data set description, checked for one configuration."""

    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    configuration: str
    labels: Mapping[str, int]
    """Name to value as `dataset.json` has them, the background with them; values are 0, 1, 2, ..."""
    spacing_mm: tuple[float, ...]
    """Of the configuration, in the plans' own order of axes."""


def check(plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration: str, folder: Path) -> Plans:
    """Check both for what we run: one image, labels 0 to n, no cascade, nnU-Net's own classes.

    `folder` is where they lie, for messages. Raises ModelUnusable, naming file and fault.
    """
    chosen = _configuration(folder / "plans.json", plans, configuration)
    spacing = _grid(folder / "plans.json", plans, chosen)
    _check_channels(folder / "dataset.json", dataset)
    labels = _labels(folder / "dataset.json", dataset)
    return Plans(plans, dataset, configuration, labels, tuple(float(mm) for mm in spacing))


def parse_json(content: bytes, file: Path) -> dict[str, Any]:
    """One JSON object; raises ModelUnusable for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelUnusable(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelUnusable(f"{file}: holds no JSON object")
    return value


def compact(value: Mapping[str, Any]) -> bytes:
    """JSON text of a table, as `parse_json` reads it."""
    return (json.dumps(value, indent=1) + "\n").encode()


def channel_names(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """What the images that the model wants are called, in order, as `("MR",)`."""
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    return tuple(str(name) for name in channels.values()) if isinstance(channels, dict) else ()


def _configuration(file: Path, plans: Mapping[str, Any], configuration: str) -> Mapping[str, Any]:
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict) or not all(isinstance(each, dict) for each in configurations.values()):
        raise ModelUnusable(f"{file}: are no plans of nnU-Net v2: they have no configurations")
    if configuration not in configurations:
        known = ", ".join(sorted(configurations)) or "none"
        raise ModelUnusable(f"{file}: no configuration {configuration}; it has {known}")
    if plans.get("label_manager", "LabelManager") != "LabelManager":
        raise ModelUnusable(f"{file}: asks for {plans['label_manager']!r}, which is no part of nnU-Net")
    for name, content in configurations.items():
        for wanted in _foreign(content):
            raise ModelUnusable(f"{file}: {name} asks to import {wanted!r}, which is no part of nnU-Net")
    chosen = _inherited(file, configurations, configuration)
    if chosen.get("previous_stage"):
        raise ModelUnusable(f"{file}: {configuration} is the second stage of a cascade")
    if "architecture" not in chosen and chosen.get("UNet_class_name") not in OLD_ARCHITECTURES:
        raise ModelUnusable(f"{file}: {configuration} names no architecture")
    return chosen


def _inherited(file: Path, configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it has from those that it inherits from."""
    chain: list[str] = []
    current: Any = name
    while current is not None:
        if not isinstance(current, str) or current in chain or current not in configurations:
            raise ModelUnusable(f"{file}: {name} inherits from {current!r}, which is not there or a circle")
        chain.append(current)
        current = configurations[current].get("inherits_from")
    merged: dict[str, Any] = {}
    for each in reversed(chain):
        merged |= configurations[each]
    return merged


def _foreign(configuration: Mapping[str, Any]) -> Iterator[object]:
    """Names that nnU-Net would look up and that are not nnU-Net's own."""
    for key, allowed in NAMES.items():
        value = configuration.get(key)
        for name in value if isinstance(value, list) else () if value is None else (value,):
            if not isinstance(name, str) or not allowed.fullmatch(name):
                yield name
    if "architecture" in configuration:
        yield from _foreign_layers(configuration["architecture"])


def _foreign_layers(architecture: object) -> Iterator[object]:
    kwargs = architecture.get("arch_kwargs") if isinstance(architecture, dict) else None
    keys = architecture.get("_kw_requires_import") if isinstance(architecture, dict) else None
    if not isinstance(architecture, dict) or not isinstance(kwargs, dict) or not isinstance(keys, list | tuple):
        yield architecture
        return
    name = architecture.get("network_class_name")
    if not isinstance(name, str) or not ARCHITECTURES.fullmatch(name):
        yield name
    for layer in (kwargs.get(key) for key in keys):
        if layer is not None and not (isinstance(layer, str) and LAYERS.fullmatch(layer)):
            yield layer


def _grid(file: Path, plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> list[float]:
    """The spacing; wrong axes or sizes would lay a result where it does not belong."""
    spacing, patch = configuration.get("spacing"), configuration.get("patch_size")
    if not isinstance(spacing, list) or len(spacing) not in (2, 3) or not all(map(_is_length, spacing)):
        raise ModelUnusable(f"{file}: spacing is {spacing!r}, and should be two or three lengths in millimetres")
    if (
        not isinstance(patch, list)
        or len(patch) != len(spacing)
        or not all(type(n) is int and n > 0 for n in patch)
    ):
        raise ModelUnusable(f"{file}: patch_size is {patch!r}, and should be {len(spacing)} numbers of voxels")
    forward, backward = plans.get("transpose_forward"), plans.get("transpose_backward")
    if forward not in _ORDERS or backward not in _ORDERS or [forward[axis] for axis in backward] != [0, 1, 2]:
        raise ModelUnusable(f"{file}: transpose_backward {backward!r} does not undo transpose_forward {forward!r}")
    return spacing


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")


def _check_channels(file: Path, dataset: Mapping[str, Any]) -> None:
    if (count := len(channel_names(dataset))) != 1:
        raise ModelUnusable(f"{file}: the model wants {count} images; only models of one image are run")


def _labels(file: Path, dataset: Mapping[str, Any]) -> dict[str, int]:
    """Without `ignore`, which no network tells apart."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ModelUnusable(f"{file}: names no labels")
    labels = {str(name): value for name, value in labels.items() if name != "ignore"}
    if not all(type(value) is int and 0 <= value <= 255 for value in labels.values()):
        raise ModelUnusable(f"{file}: labels must be whole numbers from 0 to 255; overlapping regions are not run")
    if labels.get("background") != 0 or sorted(labels.values()) != list(range(len(labels))):
        raise ModelUnusable(f"{file}: label values must be 0 for background, then 1, 2, ... without a gap")
    return labels
