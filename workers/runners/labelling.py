"""Logits in; the label map on the grid that the image came on out, one class in memory at a time.

The same label map, voxel by voxel, as nnU-Net's `convert_predicted_logits_to_segmentation_with_correct_shape`: its
resampling treats every class for itself, and the greatest logit of a voxel can be kept while they pass. nnU-Net
holds all of them at once, and a copy in double precision beside.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.runners.logits import Logits


def label_map(
    logits: Logits, predictor: Any, properties: dict[str, Any], class_done: Callable[[int], None]
) -> npt.NDArray[np.uint8]:
    """The label map (z, y, x) of an image whose preprocessing left `properties`.

    `class_done` hears how many classes are done; what it raises ends the work.
    """
    best: npt.NDArray[np.floating[Any]] | None = None
    found = np.zeros(properties["shape_after_cropping_and_before_resampling"], np.uint8)
    for number in range(logits.classes):
        seen = _resampled(logits.one(number), predictor, properties)
        best = seen if best is None else _greater(best, seen, found, number)
        class_done(number + 1)
    return _uncropped(found, predictor, properties)


def _resampled(one: torch.Tensor, predictor: Any, properties: dict[str, Any]) -> npt.NDArray[np.floating[Any]]:
    """The logits of a class on the voxels of the image, in the plans' order of axes: an array of its own."""
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    shape = properties["shape_after_cropping_and_before_resampling"]
    current = configuration.spacing
    if len(current) != len(shape):
        current = [spacing[0], *current]
    seen = np.asarray(configuration.resampling_fn_probabilities(one, shape, current, spacing))[0]
    return seen if seen.flags.owndata and seen.flags.writeable else np.array(seen)


def _greater(
    best: npt.NDArray[np.floating[Any]],
    seen: npt.NDArray[np.floating[Any]],
    found: npt.NDArray[np.uint8],
    number: int,
) -> npt.NDArray[np.floating[Any]]:
    """Note `number` wherever its logit is the greatest until now; as numpy's argmax, a NaN is greater than all."""
    greater = ~(seen <= best) & ~np.isnan(best)
    found[greater] = number
    np.copyto(best, seen, where=greater)
    return best


def _uncropped(found: npt.NDArray[np.uint8], predictor: Any, properties: dict[str, Any]) -> npt.NDArray[np.uint8]:
    whole = np.zeros(properties["shape_before_cropping"], np.uint8)
    whole[tuple(slice(first, end) for first, end in properties["bbox_used_for_cropping"])] = found
    return np.ascontiguousarray(whole.transpose(predictor.plans_manager.transpose_backward))
