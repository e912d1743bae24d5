"""Logits in; the label map on the grid that the image came on out, one class or a part of it in memory at a time.

The same label map as nnU-Net's `convert_predicted_logits_to_segmentation_with_correct_shape`: the greatest logit of
a voxel is kept while the classes pass. Where its default resampling is linear they do so a few rows at a time
(`between.py`); with any other each class is resampled by the function of the plans. nnU-Net holds all classes on
the whole image, and a copy in double precision beside.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.runners.between import greatest_between
from workers.runners.logits import Logits
from workers.runners.resampling import grids

Heard = Callable[[float], None]
_CACHED_BYTES = 2 * 2**20
"""Of a class at a time: several arrays of that stay in a processor's cache."""


def label_map(
    logits: Logits, predictor: Any, properties: dict[str, Any], axis: int, heard: Heard
) -> npt.NDArray[np.uint8]:
    """The label map (z, y, x) of an image whose preprocessing left `properties`.

    `axis` is the one that bands of the logits lie along. `heard` hears which part of the work is done, 0 to 1; what
    it raises ends the work.
    """
    shape = tuple(properties["shape_after_cropping_and_before_resampling"])
    current, spacing = _spacings(predictor, properties)
    to = grids(predictor.configuration_manager.resampling_fn_probabilities, logits.shape, shape, current, spacing)
    if to is not None and to.old == to.new:
        found = _as_they_lie(logits, axis, heard)
    elif to is not None and to.order == 1:
        found = greatest_between(logits, to, axis, heard)
    else:
        found = _by_class(logits, predictor, properties, heard)
    return _uncropped(found, predictor, properties)


def _as_they_lie(logits: Logits, axis: int, heard: Heard) -> npt.NDArray[np.uint8]:
    """(a, b, c): the class with the greatest logit, of equal ones the first; the image has the network's grid."""
    found = np.zeros(logits.shape, np.uint8)
    rows = np.moveaxis(found, axis, 0)
    step = max(1, _CACHED_BYTES // (4 * (found.size // len(rows))))
    for first in range(0, len(rows), step):
        end = min(first + step, len(rows))
        best = logits.band(0, axis, first, end).movedim(axis, 0).float()
        labels = torch.zeros(best.shape, dtype=torch.uint8)
        for number in range(1, logits.classes):
            seen = logits.band(number, axis, first, end).movedim(axis, 0).float()
            labels.masked_fill_(seen > best, number)
            torch.maximum(best, seen, out=best)
        rows[first:end] = labels.numpy()
        heard(end / len(rows))
    return found


def _by_class(logits: Logits, predictor: Any, properties: dict[str, Any], heard: Heard) -> npt.NDArray[np.uint8]:
    """(a, b, c): the class with the greatest logit, each resampled by the function of the plans."""
    best: npt.NDArray[np.floating[Any]] | None = None
    found = np.zeros(properties["shape_after_cropping_and_before_resampling"], np.uint8)
    for number in range(logits.classes):
        seen = _resampled(logits.one(number), predictor, properties)
        best = seen if best is None else _greater(best, seen, found, number)
        heard((number + 1) / logits.classes)
    return found


def _resampled(one: torch.Tensor, predictor: Any, properties: dict[str, Any]) -> npt.NDArray[np.floating[Any]]:
    """The logits of a class on the voxels of the image, in the plans' order of axes: an array of its own."""
    shape = properties["shape_after_cropping_and_before_resampling"]
    current, spacing = _spacings(predictor, properties)
    configuration = predictor.configuration_manager
    seen = np.asarray(configuration.resampling_fn_probabilities(one, shape, current, spacing))[0]
    return seen if seen.flags.owndata and seen.flags.writeable else np.array(seen)


def _spacings(predictor: Any, properties: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Of the logits and of the image, in the plans' order of axes; a 2-D network keeps the distance of slices."""
    spacing = [properties["spacing"][axis] for axis in predictor.plans_manager.transpose_forward]
    current = list(predictor.configuration_manager.spacing)
    return (current if len(current) == len(spacing) else [spacing[0], *current]), spacing


def _greater(
    best: npt.NDArray[np.floating[Any]],
    seen: npt.NDArray[np.floating[Any]],
    found: npt.NDArray[np.uint8],
    number: int,
) -> npt.NDArray[np.floating[Any]]:
    """Note `number` wherever its logit is the greatest until now."""
    greater = seen > best
    found[greater] = number
    np.copyto(best, seen, where=greater)
    return best


def _uncropped(found: npt.NDArray[np.uint8], predictor: Any, properties: dict[str, Any]) -> npt.NDArray[np.uint8]:
    whole = np.zeros(properties["shape_before_cropping"], np.uint8)
    whole[tuple(slice(first, end) for first, end in properties["bbox_used_for_cropping"])] = found
    return np.ascontiguousarray(whole.transpose(predictor.plans_manager.transpose_backward))
