"""Logits in; the label map on the grid that the image came on out, a few rows or one class in memory at a time.

The same label map as nnU-Net's `convert_predicted_logits_to_segmentation_with_correct_shape`. Where its default
resampling is linear, all classes of a few rows are interpolated and the greatest is noted at once, in double
precision where it is close; with any other resampling each class is treated for itself, and the greatest logit of a
voxel is kept while they pass. nnU-Net holds all classes on the whole image, and a copy in double precision beside.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.runners.logits import Logits
from workers.runners.resampling import Grids, grids, linear, nearest

Heard = Callable[[float], None]
_ROWS_BYTES = 64 * 2**20
"""Logits that are taken up at a time, as float."""
_CACHED_BYTES = 2 * 2**20
"""Of a class at a time: several arrays of that stay in a processor's cache."""
_HALF_PRECISION = 2.0**-10
"""At least the distance of a number from the next."""


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
        found = _by_rows(logits, to, axis, heard)
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


def _by_rows(logits: Logits, to: Grids, axis: int, heard: Heard) -> npt.NDArray[np.uint8]:
    """(a, b, c): the class with the greatest linearly interpolated logit; of equal ones, the first."""
    found = np.zeros(to.new, np.uint8)
    rows = np.moveaxis(found, axis, 0)
    before, after, part = _places(to, axis)
    plane = logits.classes * max(int(np.prod(to.old)) // to.old[axis], int(np.prod(to.new)) // to.new[axis])
    step = max(1, _ROWS_BYTES // (4 * plane))
    for first in range(0, len(before), step):
        end = min(first + step, len(before))
        low, high = int(before[first]), int(after[end - 1]) + 1
        band = torch.stack([
            logits.band(number, axis, low, high).movedim(axis, 0) for number in range(logits.classes)
        ], 1)  # fmt: skip
        for row in range(first, end):
            between = band[before[row] - low], band[after[row] - low], float(part[row])
            values = _plane(_between(*between), to, axis)
            rows[row] = _greatest(values)
            close = _close(values)
            rows[row][close] = _decided(between, close, to, axis)
        heard(end / len(before))
    return found


def _places(to: Grids, axis: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """As `linear`, along an axis where the nearest may have to be taken."""
    old, new = to.old[axis], to.new[axis]
    if to.apart != axis:
        return linear(old, new)
    chosen = nearest(old, new)
    return chosen, chosen, np.zeros(new)


def _close(plane: torch.Tensor) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the two greatest of a plane (class, ...) are so near that rounding to single precision may decide."""
    best = plane.amax(0)
    near = plane >= best - best.abs() * _HALF_PRECISION
    first, second = (near.sum(0, dtype=torch.int32) > 1).numpy().nonzero()
    return first, second


def _decided(
    between: tuple[torch.Tensor, torch.Tensor, float],
    close: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    to: Grids,
    axis: int,
) -> npt.NDArray[np.uint8]:
    """The class of each such place, in double precision until it is rounded to half, as nnU-Net has it."""
    before, after, part = between
    first, second = (_places(to, other) for other in range(3) if other != axis)
    found = torch.zeros((before.shape[0], len(close[0])), dtype=torch.float64)
    for plane, share in ((before, 1 - part), (after, part)):
        for i, near_i in ((first[0], 1 - first[2]), (first[1], first[2])):
            for j, near_j in ((second[0], 1 - second[2]), (second[1], second[2])):
                weight = share * near_i[close[0]] * near_j[close[1]]
                found += plane[:, i[close[0]], j[close[1]]] * torch.from_numpy(weight)
    return _greatest(found.half().float()[..., None])[:, 0]


def _between(before: torch.Tensor, after: torch.Tensor, part: float) -> torch.Tensor:
    """Between two planes (class, ...) of half precision, as float."""
    return before.float() if part == 0.0 else torch.lerp(before.float(), after.float(), part)


def _plane(one: torch.Tensor, to: Grids, axis: int) -> torch.Tensor:
    """One plane (class, ...) on the new grid, rounded to half precision as nnU-Net keeps it."""
    one = one[None].contiguous(memory_format=torch.channels_last)
    others = [other for other in range(3) if other != axis]
    for place, other in enumerate(others, 1):
        if to.apart == other and to.old[other] != to.new[other]:
            one = one.index_select(1 + place, torch.from_numpy(nearest(to.old[other], to.new[other])))
    size = [to.new[other] for other in others]
    if list(one.shape[2:]) != size:
        one = torch.nn.functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
    return one[0].half().float()


def _greatest(plane: torch.Tensor) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = plane.permute(1, 2, 0).argmax(-1).to(torch.uint8).numpy()
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
    """Note `number` wherever its logit is the greatest until now; as numpy's argmax, a NaN is greater than all."""
    greater = ~(seen <= best) & ~np.isnan(best)
    found[greater] = number
    np.copyto(best, seen, where=greater)
    return best


def _uncropped(found: npt.NDArray[np.uint8], predictor: Any, properties: dict[str, Any]) -> npt.NDArray[np.uint8]:
    whole = np.zeros(properties["shape_before_cropping"], np.uint8)
    whole[tuple(slice(first, end) for first, end in properties["bbox_used_for_cropping"])] = found
    return np.ascontiguousarray(whole.transpose(predictor.plans_manager.transpose_backward))
