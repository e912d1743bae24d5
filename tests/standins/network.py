"""The shipped abdominal phantom network in; its weights and its architecture as plain data out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from workers.phantom_models.datasets import RECIPES

SHIPPED = Path(__file__).parents[2] / "workers" / "phantom_models"
BASE = RECIPES["Dataset001_Abdomen"]
"""Eight organs, on voxels of 6.6 x 3.5 x 3.5 mm (z, y, x)."""
BASE_AXES = "LAS"
"""Directions in which the (x, y, z) indices of its input grow."""

Triple = tuple[int, int, int]
TILE: Triple = (16, 48, 64)
"""Patch of the stand-ins in the base network's voxels: so small that a phantom needs several."""
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A U-Net of nnU-Net's as data; triples are (z, y, x)."""

    weights: Weights
    """Each tensor once, float32: without the further names that a state dict has for the encoder's."""
    features: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    convolutions: tuple[int, ...]
    """Per stage of the encoder, the finest first."""
    decoder: tuple[int, ...]
    """Per stage of the decoder, the coarsest first."""
    patch: Triple

    @property
    def heads(self) -> int:
        """Classes told apart, the background with them."""
        return int(self.weights["decoder.seg_layers.0.bias"].shape[0])

    def architecture(self) -> dict[str, Any]:
        """As plans.json has it."""
        return {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": len(self.features),
                "features_per_stage": list(self.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [list(kernel) for kernel in self.kernels],
                "strides": [list(stride) for stride in self.strides],
                "n_conv_per_stage": list(self.convolutions),
                "n_conv_per_stage_decoder": list(self.decoder),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def module(self) -> torch.nn.Module:
        """The network that nnU-Net would build, with these weights."""
        plan = self.architecture()
        built: torch.nn.Module = get_network_from_plans(
            plan["network_class_name"],
            plan["arch_kwargs"],
            plan["_kw_requires_import"],
            1,
            self.heads,
            deep_supervision=False,
        )
        left = built.load_state_dict(dict(self.weights), strict=False)
        wrong = [name for name in left.missing_keys if not _is_alias(name)] + left.unexpected_keys
        if wrong:
            raise ValueError(f"the weights do not fit the architecture: {wrong}")
        return built.eval()


@cache
def base() -> Net:
    """The network as it is shipped."""
    (folder,) = (SHIPPED / BASE.dataset).glob("*__3d_fullres")
    plans = json.loads((folder / "plans.json").read_text())
    plan = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    saved = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    return Net(
        weights={name: tensor.float() for name, tensor in saved.items() if not _is_alias(name)},
        features=tuple(plan["features_per_stage"]),
        kernels=tuple((z, y, x) for z, y, x in plan["kernel_sizes"]),
        strides=tuple((z, y, x) for z, y, x in plan["strides"]),
        convolutions=tuple(plan["n_conv_per_stage"]),
        decoder=tuple(plan["n_conv_per_stage_decoder"]),
        patch=BASE.patch,
    )


def _is_alias(name: str) -> bool:
    return name.startswith("decoder.encoder.") or ".all_modules." in name
