"""Logits in; the label map on the grid that the image came on out, one row or one class in memory at a time.

The same label map as nnU-Net's `convert_predicted_logits_to_segmentation_with_correct_shape`. Where its default
resampling is linear, all classes of one row are interpolated and the greatest is noted at once, in double
precision where it is close; with any other resampling each class is treated for itself, and the greatest logit of a
voxel is kept while they pass. nnU-Net holds all classes on the whole image, and a copy in double precision beside.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.runners.logits import Logits
from workers.runners.resampling import Grids, grids, linear, nearest

Heard = Callable[[float], None]
_CACHED_BYTES = 2 * 2**20
"""Of a class at a time: several arrays of that stay in a processor's cache."""
_HALF_PRECISION, _LEAST_HALF = 2.0**-9.9, 2.0**-24
"""The next number is no further away than this part of it, with what single precision errs, or than that."""

Places = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


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
    planes: dict[int, torch.Tensor] = {}
    for row in range(len(before)):
        wanted = int(before[row]), int(after[row])
        planes = {each: planes[each] if each in planes else logits.plane(axis, each) for each in wanted}
        between = planes[wanted[0]], planes[wanted[1]], float(part[row])
        rows[row], close = _greatest(_plane(_between(*between), to, axis))
        rows[row][close] = _decided(between, close, to, axis)
        heard((row + 1) / len(before))
    return found


def _places(to: Grids, axis: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """As `linear`, along an axis where the nearest may have to be taken."""
    old, new = to.old[axis], to.new[axis]
    if to.apart != axis:
        return linear(old, new)
    chosen = nearest(old, new)
    return chosen, chosen, np.zeros(new)


def _between(before: torch.Tensor, after: torch.Tensor, part: float) -> torch.Tensor:
    """Between two planes of half precision, as float."""
    return before.float() if part == 0.0 or before is after else torch.lerp(before.float(), after.float(), part)


def _plane(one: torch.Tensor, to: Grids, axis: int) -> torch.Tensor:
    """One plane (b, c, class) on the new grid."""
    others = [other for other in range(3) if other != axis]
    for place, other in enumerate(others):
        if to.apart == other and to.old[other] != to.new[other]:
            one = one.index_select(place, torch.from_numpy(nearest(to.old[other], to.new[other])))
    size = [to.new[other] for other in others]
    if list(one.shape[:2]) != size:
        lying = one[None].permute(0, 3, 1, 2)
        found = torch.nn.functional.interpolate(lying, size=size, mode="bilinear", align_corners=False)
        one = found.permute(0, 2, 3, 1)[0]
    return one


def _greatest(plane: torch.Tensor) -> tuple[npt.NDArray[np.uint8], Places]:
    """The class with the greatest logit, of equal ones the first, in a plane (b, c, class), which is written over.

    And where the second is so near that rounding may decide between them.
    """
    best, chosen = plane.max(-1)
    second = plane.scatter_(-1, chosen[..., None], -torch.inf).amax(-1)
    close = second >= best - (best.abs() * _HALF_PRECISION + _LEAST_HALF)
    first, other = close.numpy().nonzero()
    return chosen.to(torch.uint8).numpy(), (first, other)


def _decided(
    between: tuple[torch.Tensor, torch.Tensor, float], close: Places, to: Grids, axis: int
) -> npt.NDArray[np.uint8]:
    """The class of each such place: in double precision, summed up in the order of the axes, and rounded to half.

    So does nnU-Net (`scipy.ndimage.zoom`), and there are values which any other way rounds to another half.
    """
    before, after, part = between
    first, second = (_places(to, other) for other in range(3) if other != axis)
    sides: list[Sequence[tuple[Any, Any]]] = [
        [(each[0][at], 1 - each[2][at]), (each[1][at], each[2][at])]
        for each, at in zip((first, second), close, strict=True)
    ]
    sides.insert(axis, [(before, 1 - part), (after, part)])
    found = np.zeros((len(close[0]), before.shape[-1]))
    for corner in itertools.product(*sides):
        plane, *at = (place for place, _ in (corner[axis], *corner[:axis], *corner[axis + 1 :]))
        value = plane[at[0], at[1]].double().numpy()
        for _, weight in corner:
            value = value * np.reshape(weight, (-1, 1))
        found += value
    chosen: npt.NDArray[np.uint8] = found.astype(np.float16).astype(np.float32).argmax(-1).astype(np.uint8)
    return chosen


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
