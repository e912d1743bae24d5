"""The stand-ins are what they say: the same network on other axes, voxels and labels, in the real layout."""

import json
from pathlib import Path

import pytest
import torch

from service.modelstore import ModelStore
from service.submodel import Network, SubModel, load_submodels
from tests.standins.folders import MIRRORED, spacing_mm, write_bare, write_dataset
from tests.standins.labels import lender, organ, relabelled, side
from tests.standins.network import BASE_AXES, TILE, base
from tests.standins.sight import seen
from tests.standins.surgery import finer, shaken, turned
from workers.install.installing import Wish, install

SUBMODELS = load_submodels()
NETWORKS = {
    network.name: (submodel, network)
    for submodel in SUBMODELS
    for network in submodel.network
    if not network.obsolete
}
SIDES = {
    "liver": "right",
    "kidney_right": "right",
    "inferior vena cava": "right",
    "gallbladder": "right",
    "spleen": "left",
    "kidney_left": "left",
    "aorta": "left",
    "pancreas": "",
}
"""Where the organs of the base network lie."""


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """(1, 1, z, y, x) of one tile, smooth and without any symmetry."""
    noise = torch.randn(1, 1, 4, 6, 8, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(noise, TILE, mode="trilinear")


def logits(net: object, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net.module()(image)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "RPS", "LAI"])
def test_a_turned_network_finds_in_a_mirrored_image_what_the_base_finds_in_the_image(
    axes: str, image: torch.Tensor
) -> None:
    mirrored = [4 - i for i, (mine, wanted) in enumerate(zip(BASE_AXES, axes, strict=True)) if mine != wanted]
    found = logits(turned(base(), axes), image.flip(mirrored)).flip(mirrored)
    assert torch.allclose(found, logits(base(), image), atol=1e-3)


@pytest.mark.parametrize("block", [(4, 2, 2), (2, 1, 1), (2, 3, 3)])
def test_a_finer_network_labels_blocks_of_voxels_as_the_base_labels_voxels(
    block: tuple[int, int, int], image: torch.Tensor
) -> None:
    large, wanted = image, logits(base(), image).argmax(1)
    for axis, times in enumerate(block):
        large = large.repeat_interleave(times, 2 + axis)
        wanted = wanted.repeat_interleave(times, 1 + axis)
    found = logits(finer(base(), block), large).argmax(1)
    assert (found == wanted).float().mean() > 0.98


@pytest.mark.parametrize("table", ["totalsegmentator-850", "totalsegmentator-851", "mrsegmentator"])
def test_every_label_takes_a_part_of_an_organ_of_its_side(table: str) -> None:
    labels = NETWORKS[table][1].labels
    net = relabelled(base(), labels)
    layer = f"decoder.seg_layers.{len(base().decoder) - 1}"
    weight, bias = net.weights[f"{layer}.weight"][:, :, 0, 0, 0], net.weights[f"{layer}.bias"]
    for number, label in enumerate(labels):
        lent = organ(label) or lender(labels, number)
        assert SIDES[lent] in ("", side(label)) or not side(label)
        found = (weight @ seen().organs[lent] + bias[:, None]).argmax(0)
        assert (found == number + 1).float().mean() > 0.02


def test_folds_differ_and_agree_nearly_everywhere() -> None:
    features = seen()
    assert features.features.shape[0] == base().features[0]
    tile = torch.randn(1, 1, *TILE, generator=torch.Generator().manual_seed(1))
    first, other = logits(base(), tile), logits(shaken(base(), 1), tile)
    assert not torch.equal(first, other)
    assert (first.argmax(1) == other.argmax(1)).float().mean() > 0.9


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_stand_in_that_is_installed_as_what_it_stands_for(name: str, tmp_path: Path) -> None:
    submodel, network = NETWORKS[name]
    folder = _written(submodel, network, tmp_path / "published")
    plans = json.loads((folder / "plans.json").read_text())
    dataset = json.loads((folder / "dataset.json").read_text())
    assert plans["configurations"][network.configuration]["spacing"] == list(spacing_mm(network))
    assert dataset["labels"] == {name: value for value, name in enumerate(("background", *network.labels))}
    wish = Wish(name=name if name == "amos" else None, accept_licence=True)
    (installed,) = install(tmp_path / "published", ModelStore(tmp_path / "models"), SUBMODELS, wish).installed
    assert (installed.network, installed.trainer, installed.phantom) == (name, network.trainers[0], True)
    assert installed.folds == network.folds
    assert installed.mirroring_axes == (None if "NoMirroring" in installed.trainer else MIRRORED)


def _written(submodel: SubModel, network: Network, folder: Path) -> Path:
    if submodel.system == "MRSegmentator":
        return write_bare(submodel, network, folder)
    (trained,) = write_dataset(submodel, network, folder).iterdir()
    return trained
