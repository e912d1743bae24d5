"""A sub-model with a tiny network that labels every voxel: a job takes a moment, and every slice has labels."""

import json
from pathlib import Path

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from service.modelstore import ModelStore
from service.submodel import Network, SubModel, load_submodels
from service.tomlfile import read_toml
from tests.standins.checkpoint import checkpoint
from tests.standins.folders import dataset_json, plans_json
from tests.standins.network import Net
from workers.install.installing import Wish, install

NAME = "quick"
SUBMODEL = """\
# Two classes by brightness, and no background: for tests only.
name = "quick"
system = "Quick"
orientation = "LPS"
source = "Sagittal, random weights for tests"
licence = "Apache-2.0"
citation = "none"
label = [
  { value = 1, name = "darker", type = { value = "22943007", scheme = "SCT", meaning = "Trunk" }, rgb = [215, 85, 175] },
  { value = 2, name = "brighter", type = { value = "66019005", scheme = "SCT", meaning = "Extremity" }, rgb = [215, 205, 55] },
]
protocol = [
  { name = "abdomen", planes = ["axial"], minimum_slices = 3, across_mm = { least = 20, most = 2200 }, in_plane_mm = { least = 100, most = 2200 } },
]

[[network]]
name = "quick"
dataset = "Dataset998_Quick"
trainers = ["nnUNetTrainer"]
spacing_mm = [20.0, 12.0, 12.0]
labels = ["darker", "brighter"]
"""  # noqa: E501  a table of TOML stands on one line
NO_BACKGROUND = -50.0
"""Bias of the background's logit."""


def install_quick(submodels: Path, models: Path) -> SubModel:
    """Write the sub-model's file into one folder and install its weights into another."""
    return _install(SUBMODEL, submodels, models)


def install_classes(folder: Path, classes: int) -> Path:
    """The same network with so many labels, installed below a folder; gives where its weights are."""
    line = '  {{ value = {n}, name = "c{n}", type = {{ value = "22943007", scheme = "SCT", meaning = "Trunk" }}, '
    line += "rgb = [{n}, 85, 175] }},"
    before, _, rest = SUBMODEL.partition("label = [\n")
    many = "\n".join(line.format(n=n) for n in range(1, classes + 1))
    text = f"{before}label = [\n{many}\n{rest[rest.index(']' + chr(10) + 'protocol') :]}"
    names = json.dumps([f"c{n}" for n in range(1, classes + 1)])
    text = text.replace('labels = ["darker", "brighter"]', f"labels = {names}")
    submodel = _install(text, folder / "submodels", folder / "models")
    return ModelStore(folder / "models").path(submodel.network[0].name)


def _install(text: str, submodels: Path, models: Path) -> SubModel:
    submodels.mkdir(parents=True)
    path = submodels / f"{NAME}.toml"
    path.write_text(text)
    submodel = read_toml(path, SubModel)
    (network,) = submodel.network
    published = write_quick(network, models.parent / "published")
    install(published, ModelStore(models), load_submodels((submodels,)), Wish(accept_licence=True))
    return submodel


def write_quick(network: Network, folder: Path) -> Path:
    """The weights as nnU-Net v2 leaves them."""
    net = _net(network)
    trained = folder / network.dataset / f"{network.trainers[0]}__{network.plans}__{network.configuration}"
    (trained / "fold_0").mkdir(parents=True)
    plans, dataset = plans_json(net, network), dataset_json(network)
    dataset["name"] = plans["dataset_name"] = network.dataset
    for name, content in (("plans.json", plans), ("dataset.json", dataset)):
        _write(trained / name, content)
    saved = checkpoint(
        net, trainer=network.trainers[0], mirroring_axes=None, configuration=network.configuration, fold=0,
        plans=plans, dataset=dataset,
    )  # fmt: skip
    torch.save(saved, trained / "fold_0" / "checkpoint_final.pth")
    return trained.parent


def _net(network: Network) -> Net:
    """A U-Net of two stages with random weights, the same each time."""
    empty = Net({}, (4, 4), ((1, 3, 3),) * 2, ((1, 1, 1), (1, 2, 2)), (1, 1), (1,), (8, 16, 16))
    plan = empty.architecture()
    torch.manual_seed(998)
    module = get_network_from_plans(
        plan["network_class_name"], plan["arch_kwargs"], plan["_kw_requires_import"], 1, len(network.labels) + 1,
        deep_supervision=False,
    )  # fmt: skip
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items() if not _is_alias(name)}
    weights["decoder.seg_layers.0.bias"][0] = NO_BACKGROUND
    return Net(
        weights, empty.features, empty.kernels, empty.strides, empty.convolutions, empty.decoder, empty.patch
    )


def _is_alias(name: str) -> bool:
    return name.startswith("decoder.encoder.") or ".all_modules." in name


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
