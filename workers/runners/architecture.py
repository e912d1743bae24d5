"""Plans and weights in; nnU-Net's network, and whether the weights fit it exactly, out.

The network is built from the plans and not from the trainer's class name: nnU-Net's search for that class imports
every trainer it ships, and runs what a trainer's file says. That is right for trainers that build what the plans
say; which ones do, is said in the tables of the sub-models and in `trainers.py`.
"""

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from dicom_nodes.errors import ModelUnusable
from workers.runners.plans import Plans

_MOVED = (".architectures.residual_unet.", ".architectures.unet.")
"""Where older plans name the residual U-Net, and where it is today."""


def manager(plans: Mapping[str, Any]) -> Any:
    """nnU-Net's view on plans that were checked."""
    return PlansManager(dict(plans))


def configured(plans: Plans) -> Any:
    """nnU-Net's view on the configuration; plans from before 2.3 are brought to the form of today."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that they are old
        return manager(plans.plans).get_configuration(plans.configuration)


def current(plans: Plans) -> dict[str, Any] | None:
    """The plans in the form of today with this configuration alone; None where they have it already."""
    content = plans.plans["configurations"][plans.configuration]
    if "architecture" in content or "inherits_from" in content:
        return None
    try:
        converted = configured(plans).configuration
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnusable(f"plans.json: {plans.configuration} is not complete: {error!r}") from error
    return {**plans.plans, "configurations": {plans.configuration: converted}}


def build(plans: Plans, device: str = "cpu") -> torch.nn.Module:
    """The network of the plans, without weights; on the device "meta" it takes no memory."""
    configuration = configured(plans)
    with torch.device(device) if device == "meta" else contextlib.nullcontext():
        network: torch.nn.Module = get_network_from_plans(
            configuration.network_arch_class_name.replace(*_MOVED),
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            len(plans.labels),
            allow_init=False,
            deep_supervision=False,
        )
    return network.eval()


def check_fit(plans: Plans, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    """Raise ModelUnusable where the weights are not exactly those of the plans' network."""
    _check_heads(weights, len(plans.labels), where)
    try:
        network = build(plans, "meta")
    except (KeyError, TypeError, ValueError, AssertionError, IndexError, ImportError, RuntimeError) as error:
        raise ModelUnusable(f"{where}: no network can be built from plans.json: {error!r}") from error
    fill(network, weights, where)


def fill(network: torch.nn.Module, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    """Make weights those of the network, by name and by shape, without a copy; raises ModelUnusable."""
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        faults = " ".join(str(error).split())
        raise ModelUnusable(f"{where}: the weights do not fit the plans: {faults[:500]}") from error


def _check_heads(weights: Mapping[str, torch.Tensor], heads: int, where: Path) -> None:
    outputs = {int(v.shape[0]) for k, v in weights.items() if ".seg_layers." in k and k.endswith(".weight")}
    if outputs and outputs != {heads}:
        found = ", ".join(map(str, sorted(outputs)))
        raise ModelUnusable(f"{where}: the network tells {found} classes apart, dataset.json names {heads}")
