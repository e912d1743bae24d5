"""A network's name and a number of classes in; a series, the network as nnU-Net keeps it and installed, out.

The weights are random, always the same, and softened, so that labels are regions and no noise: what a decoder layer
sees of its neighbourhood is averaged, the fine skips count little, and the background is given a start. What a
network costs does not depend on its weights. "full" is what nnU-Net's planner makes of such volumes on 8 GB,
"small" a network for CPUs, "phantom" the one that is shipped.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.seg_input import SPACING_MM, draw, write_series
from service.label import Concept, Label, Range
from service.modelstore import ModelStore
from service.phantom.dicom import write_dicom
from service.phantom.protocols import DATASET_OF, make_phantom
from service.protocol import Protocol
from service.running import submodels_to_run
from service.submodel import Network, SubModel, load_submodels
from workers.install.installing import Wish, install
from workers.install.phantom import SHIPPED, phantom_store

SHAPE = (80, 320, 320)
TRAINED = "Dataset998_Benchmark/nnUNetTrainer__nnUNetPlans__3d_fullres"
PROTOCOL = "abdomen"
_FULL: dict[str, Any] = {
    "patch": [56, 192, 192],
    "features": [32, 64, 128, 256, 320, 320],
    "kernels": [[1, 3, 3]] + [[3, 3, 3]] * 5,
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
}
_SMALL: dict[str, Any] = {
    "patch": [32, 128, 128],
    "features": [8, 16, 32, 64],
    "kernels": [[1, 3, 3]] + [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
}
SIZES = {"full": _FULL, "small": _SMALL}
_RESAMPLING = {"order_z": 0, "force_separate_z": None}


@dataclass(frozen=True)
class Setup:
    """What both sides are given."""

    series: Path
    trained: Path
    """The network as nnU-Net's command takes it."""
    store: Path
    """The same, installed."""


def prepare(folder: Path, network: str, classes: int, shape: tuple[int, int, int]) -> Setup:
    """Write series and network; the phantom network has classes and a series of its own."""
    setup = where(folder)
    if network == "phantom":
        write_dicom(make_phantom(PROTOCOL, 2027), setup.series)
        phantom_store(setup.store)
        _copy_phantom(setup.trained)
        return setup
    write_series(setup.series, shape, pixels(shape))
    _write_trained(setup.trained, SIZES[network], classes)
    install(setup.trained.parent, ModelStore(setup.store), (submodel(network, classes),), Wish(name="benchmark"))
    return setup


def where(folder: Path) -> Setup:
    """The places in a folder."""
    return Setup(folder / "series", folder / TRAINED, folder / "store")


def submodel(network: str, classes: int) -> SubModel:
    """The sub-model that both sides run."""
    if network == "phantom":
        return next(
            each for each in submodels_to_run(load_submodels()) if PROTOCOL in {one.name for one in each.protocol}
        )
    names = tuple(f"organ_{number}" for number in range(1, classes + 1))
    concept = Concept(value="64033007", scheme="SCT", meaning="Kidney")
    labels = (
        Label(value=n, name=name, type=concept, rgb=(37 * n % 256, 80, 160)) for n, name in enumerate(names, 1)
    )
    anything = Range(least=0, most=10_000)
    serves = Protocol(name=PROTOCOL, planes=("axial",), minimum_slices=1, across_mm=anything, in_plane_mm=anything)
    run = Network(name="benchmark", dataset="Dataset998_*", labels=names, trainers=("nnUNetTrainer",))
    return SubModel(
        name="benchmark", system="benchmark", orientation="LAS", licence="MIT", citation="none", source="benchmark",
        network=(run,), label=tuple(labels), protocol=(serves,),
    )  # fmt: skip


def pixels(shape: tuple[int, int, int]) -> npt.NDArray[np.uint16]:
    """A body with organs, and air with noise around it; (z, y, x)."""
    random = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    body = (y / 0.8) ** 2 + (x / 0.95) ** 2 < 1
    image = np.where(body, 400.0, 0.0) + 6.0 * draw(shape, 44)
    noise = random.normal(0, 12, (2, *shape))
    return np.asarray(np.hypot(image + noise[0], noise[1]), np.uint16)


def _write_trained(folder: Path, size: dict[str, Any], classes: int) -> None:
    import torch  # noqa: PLC0415  # a minute of a process that only times others
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415

    (folder / "fold_0").mkdir(parents=True)
    labels = {"background": 0, **{f"organ_{number}": number for number in range(1, classes + 1)}}
    plans = _plans(size)
    dataset = {"name": "Dataset998_Benchmark", "channel_names": {"0": "MR"}, "labels": labels, "numTraining": 1,
               "file_ending": ".nii.gz"}  # fmt: skip
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    built = plans["configurations"]["3d_fullres"]["architecture"]
    torch.manual_seed(0)
    network = get_network_from_plans(
        built["network_class_name"], built["arch_kwargs"], built["_kw_requires_import"], 1, len(labels), False
    )
    weights = network.state_dict()
    _soften(weights)
    checkpoint = {
        "network_weights": weights, "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres", "fold": 0}, "inference_allowed_mirroring_axes": None,
    }  # fmt: skip
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _copy_phantom(folder: Path) -> None:
    """The shipped network under the name of nnU-Net's first trainer.

    For any other, nnU-Net imports all its trainers, and one of them does not come up beside every torch.
    """
    import torch  # noqa: PLC0415

    (trained,) = (SHIPPED / DATASET_OF[PROTOCOL]).iterdir()
    shutil.copytree(trained, folder)
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    torch.save({**checkpoint, "trainer_name": "nnUNetTrainer"}, file)


def _soften(weights: dict[str, Any]) -> None:
    """In place; tensors have several names."""
    for name, tensor in weights.items():
        if name.startswith("decoder.transpconvs.") and name.endswith("weight"):
            tensor[:] = tensor.mean((2, 3, 4), keepdim=True)
        if name.startswith("decoder.stages.") and name.endswith("conv.weight"):
            tensor[:] = tensor.mean((2, 3, 4), keepdim=True)
            if ".convs.0." in name:
                tensor[:, tensor.shape[1] // 2 :] *= 0.05
        if name.startswith("decoder.seg_layers."):
            if name.endswith("weight"):
                tensor.normal_().div_(tensor.shape[1] ** 0.5)
            else:
                tensor.zero_()[0] = _BACKGROUND


_BACKGROUND = 1.2
"""What the background's logit has more than the others."""


def _plans(size: dict[str, Any]) -> dict[str, Any]:
    stages = len(size["features"])
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": size["features"], "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": size["kernels"], "strides": size["strides"], "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": size["patch"], "median_image_size_in_voxels": [80, 267, 267], "spacing": [3.0, 1.5, 1.5],
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": resampling, "resampling_fn_seg": resampling,
        "resampling_fn_probabilities": resampling,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **_RESAMPLING},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **_RESAMPLING},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **_RESAMPLING},
        "batch_dice": True, "architecture": architecture,
    }  # fmt: skip
    return {
        "dataset_name": "Dataset998_Benchmark", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": list(SPACING_MM), "original_median_shape_after_transp": list(SHAPE),
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration}, "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": {}},
    }  # fmt: skip
