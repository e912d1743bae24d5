"""Logits and labels in, one number out: cross entropy and Dice for many small structures in few iterations.

nnU-Net's own sum of both stays for hundreds of iterations where everything is background, when two dozen vertebrae
share three per cent of the voxels and half of them are absent from any batch. Here foreground voxels weigh more in
the cross entropy, the more the earlier it is, and Dice is taken over the structures that the batch shows.
"""

import torch
from torch.nn import functional

FOREGROUND_AT_START = 12.0


class PresentDiceAndCrossEntropy(torch.nn.Module):
    """`foreground` is the weight of a labelled voxel against one of background; the trainer lowers it to 1."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.foreground = FOREGROUND_AT_START

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits (batch, class, z, y, x) and labels (batch, 1, z, y, x) of whole numbers; a scalar."""
        labels = target[:, 0].long()
        weight = torch.full((self.classes,), self.foreground, dtype=logits.dtype, device=logits.device)
        weight[0] = 1.0
        log_likelihood = functional.log_softmax(logits, dim=1)
        return functional.nll_loss(log_likelihood, labels, weight) - self._dice(log_likelihood.exp(), labels)

    def _dice(self, likelihood: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean soft Dice over the structures of the batch, background left out."""
        size = torch.bincount(labels.flatten(), minlength=self.classes).to(likelihood.dtype)
        claimed = likelihood.sum(dim=(0, 2, 3, 4))
        right = likelihood.gather(1, labels[:, None]).flatten()
        both = torch.zeros_like(size).index_add(0, labels.flatten(), right)
        present = size[1:] > 0
        dice = 2 * both[1:] / (claimed[1:] + size[1:] + 1e-5)
        return dice[present].mean() if bool(present.any()) else dice.sum() * 0.0
