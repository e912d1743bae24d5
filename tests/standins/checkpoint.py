"""A network's weights in; a whole checkpoint as nnU-Net v2's trainer saves it out, with what only training needs.

The keys and their kinds of values are those of `nnUNetTrainer.save_checkpoint` (nnunetv2 2.0 to 2.8): state dict
with its aliases, the optimizer's and the scaler's state, logs of numpy scalars, and how the trainer was called.
"""

from typing import Any

import numpy as np
import torch

from tests.standins.network import Net

EPOCHS = 3
SCALER = {
    "scale": 65536.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "_growth_tracker": 17,
}


def checkpoint(
    net: Net,
    *,
    trainer: str,
    mirroring_axes: tuple[int, ...] | None,
    configuration: str,
    fold: int,
    plans: dict[str, Any],
    dataset: dict[str, Any],
) -> dict[str, Any]:
    """What `torch.save` gets; `sagittal_phantom` is ours, so that nobody takes a stand-in for the real thing."""
    module = net.module()
    optimizer = torch.optim.SGD(module.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    return {
        "network_weights": module.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": SCALER,
        "logging": _logging(net.heads - 1),
        "_best_ema": np.float64(0.81),
        "current_epoch": EPOCHS,
        "init_args": {
            "plans": plans,
            "configuration": configuration,
            "fold": fold,
            "dataset_json": dataset,
            "unpack_dataset": True,
            "device": torch.device("cuda"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": mirroring_axes,
        "sagittal_phantom": True,
    }


def _logging(labels: int) -> dict[str, list[Any]]:
    epochs = [np.float64(0.5 + 0.1 * epoch) for epoch in range(EPOCHS)]
    return {
        "mean_fg_dice": epochs,
        "ema_fg_dice": epochs,
        "dice_per_class_or_region": [[np.float32(value)] * labels for value in epochs],
        "train_losses": [np.float32(-value) for value in epochs],
        "val_losses": [np.float32(-value) for value in epochs],
        "lrs": [0.01, 0.0099, 0.0098],
        "epoch_start_timestamps": [1.7e9 + 200 * epoch for epoch in range(EPOCHS)],
        "epoch_end_timestamps": [1.7e9 + 200 * epoch + 190 for epoch in range(EPOCHS)],
    }
