"""nnU-Net's own trainer without mirroring, set for small networks and two CPU cores."""

import time
from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.helpers.scalar_type import RandomScalar
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
    nnUNetTrainerNoMirroring,
)

from workers.phantom_models.loss import FOREGROUND_AT_START, PresentDiceAndCrossEntropy

ITERATIONS_PER_EPOCH = 50


class PhantomTrainer(nnUNetTrainerNoMirroring):  # type: ignore[misc]  # nnU-Net ships no types
    """AdamW, no deep supervision, light augmentation, and an end by iterations or by the clock."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cpu"),  # noqa: B008  (nnU-Net asks for exactly these arguments)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch = ITERATIONS_PER_EPOCH
        self.num_val_iterations_per_epoch = 6
        self.initial_lr = 4e-3
        self.weight_decay = 1e-4
        self.enable_deep_supervision = False
        self.oversample_foreground_percent = 0.0  # patches as prediction cuts them, nearly the whole image
        self.save_every = 4
        self.budget_seconds = float("inf")
        self.behind = 0.0
        self.started = time.monotonic()

    def done(self) -> float:
        """The part of the training that lies behind, by epochs or by the clock, whichever is further."""
        elapsed = (time.monotonic() - self.started) / self.budget_seconds
        return float(self.behind + (1.0 - self.behind) * max(self.current_epoch / self.num_epochs, elapsed))

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, "PolynomialDecay"]:
        """AdamW converges in a tenth of the iterations that nnU-Net's SGD wants, which is what a CPU has."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolynomialDecay(optimizer, self)

    def _build_loss(self) -> PresentDiceAndCrossEntropy:
        return PresentDiceAndCrossEntropy(self.label_manager.num_segmentation_heads)

    def on_train_epoch_start(self) -> None:
        """Let foreground weigh less as the training goes on, and no more than background in its second half."""
        super().on_train_epoch_start()
        self.loss.foreground = FOREGROUND_AT_START ** max(0.0, 1.0 - 2.0 * self.done())

    def start_from(self, checkpoint: Path, behind: float) -> None:
        """Go on with the weights of an earlier training of the same recipe, `behind` of it done.

        The file is unpickled: it must be this trainer's own.
        """
        self.initialize()
        self.behind = behind
        self.network.load_state_dict(torch.load(checkpoint, weights_only=False)["network_weights"])

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802
        self,
    ) -> tuple[tuple[float, float], bool, list[int], None]:
        """Small rotations in 3-D, no larger patch to cut them from, and no mirroring: left is not right."""
        self.inference_allowed_mirroring_axes = None
        return (-0.1, 0.1), False, list(self.configuration_manager.patch_size), None

    @staticmethod
    def get_training_transforms(
        patch_size: list[int],
        rotation_for_DA: RandomScalar,  # noqa: N803  (nnU-Net names it so)
        *_: Any,
        **__: Any,
    ) -> BasicTransform:
        """Intensities as scanners vary them; geometry only a little, since every phantom differs in it anyway."""
        moved = SpatialTransform(
            patch_size,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_elastic_deform=0,
            p_rotation=0.15,
            rotation=rotation_for_DA,
            p_scaling=0.2,
            scaling=(0.88, 1.14),
            p_synchronize_scaling_across_axes=0.5,
            bg_style_seg_sampling=False,
            mode_seg="nearest",
            border_mode_seg="constant",
            padding_value_seg=-1,
        )
        noise = GaussianNoiseTransform(noise_variance=(0, 0.04), p_per_channel=1, synchronize_channels=True)
        blur = GaussianBlurTransform(
            blur_sigma=(0.4, 0.9), synchronize_channels=False, synchronize_axes=False, p_per_channel=1
        )
        brightness = MultiplicativeBrightnessTransform(
            multiplier_range=BGContrast((0.75, 1.3)), synchronize_channels=False, p_per_channel=1
        )
        contrast = ContrastTransform(
            contrast_range=BGContrast((0.75, 1.3)), preserve_range=True, synchronize_channels=False, p_per_channel=1
        )
        gamma = GammaTransform(
            gamma=BGContrast((0.7, 1.5)),
            p_invert_image=0,
            synchronize_channels=False,
            p_per_channel=1,
            p_retain_stats=1,
        )
        return ComposeTransforms(
            [
                moved,
                RandomTransform(noise, apply_probability=0.2),
                RandomTransform(blur, apply_probability=0.15),
                RandomTransform(brightness, apply_probability=0.2),
                RandomTransform(contrast, apply_probability=0.2),
                RandomTransform(gamma, apply_probability=0.3),
                RemoveLabelTansform(-1, 0),
            ]
        )

    def plot_network_architecture(self) -> None:
        """No drawing."""

    def run_training(self) -> None:
        """Train until `done` says so, then write `checkpoint_final.pth`."""
        self.on_train_start()
        self.started = time.monotonic()
        while self.done() < 1.0:
            self._epoch()
        self.on_train_end()

    def _epoch(self) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        trained = [self.train_step(next(self.dataloader_train)) for _ in range(self.num_iterations_per_epoch)]
        self.on_train_epoch_end(trained)
        with torch.no_grad():
            self.on_validation_epoch_start()
            steps = range(self.num_val_iterations_per_epoch)
            self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val)) for _ in steps])
        self.on_epoch_end()


class PolynomialDecay:
    """nnU-Net's learning rate, by the part of the training that is done instead of by epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, trainer: PhantomTrainer) -> None:
        self.optimizer = optimizer
        self.trainer = trainer

    def step(self, epoch: int | None = None) -> None:
        """Set the rate for the epoch that begins; it warms up over the first one."""
        done = min(self.trainer.done(), 1.0)
        rate = self.trainer.initial_lr * max(1.0 - done, 0.004) ** 0.9
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.25 if epoch == 0 else 1.0)
