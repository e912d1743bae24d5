"""An image and two grids in; the image on the other grid out, as nnU-Net's default resampling has it.

That resampling is separable: what it does along one axis is one matrix, whatever the other axes hold. The matrix
is asked of the function that nnU-Net calls (`skimage.transform.resize`), by giving it unit vectors, and is then
applied by matrix products in double precision: equal once it is rounded, and many times faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.preprocessing.resampling.default_resampling import (
    determine_do_sep_z_and_axis,
    resample_data_or_seg_to_shape,
)
from skimage.transform import resize

Matrix = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
_PLANES = 8
"""Taken up at a time: enough that a product of matrices is worth its threads."""


@dataclass(frozen=True, slots=True)
class Grids:
    """From one grid to another, in the plans' order of axes."""

    old: Shape
    new: Shape
    order: int
    """Of the spline: 1 is linear, 3 cubic."""
    apart: int | None
    """The axis along which the nearest slice is taken, each being resampled for itself; None: no such axis."""


def grids(
    function: Callable[..., Any], old: Sequence[int], new: Sequence[int], old_mm: Any, new_mm: Any
) -> Grids | None:
    """What a resampling function of the plans will do; None where it is not nnU-Net's default for images."""
    if not isinstance(function, partial) or function.func is not resample_data_or_seg_to_shape:
        return None
    said = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": False} | function.keywords
    if function.args or said.pop("is_seg") or said["order"] not in (1, 3):
        return None
    order, order_z, forced = said.pop("order"), said.pop("order_z"), said.pop("force_separate_z")
    _, apart = determine_do_sep_z_and_axis(forced, old_mm, new_mm, *said.values())
    if (apart is not None and order_z != 0) or set(said) - {"separate_z_anisotropy_threshold"}:
        return None
    return Grids(_shape(old), _shape(new), int(order), None if apart is None else int(apart))


def image_resampled(image: npt.NDArray[np.float32], to: Grids) -> npt.NDArray[np.float32]:
    """An image (a, b, c) on the new grid; no value leaves the range of the image, or of its slice where `apart`."""
    if to.old == to.new:
        return image
    if to.apart is None:
        whole = _along_first(_planes(image, to), to)
        return np.clip(whole, image.min(), image.max(), out=whole)
    axis = to.apart
    lying = Grids(_first(to.old, axis), _first(to.new, axis), to.order, 0)
    slices = np.moveaxis(image, axis, 0)
    found = _planes(slices, lying).astype(np.float32)
    low, high = (edge(slices, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    chosen = np.clip(found, low, high, out=found)[nearest(lying.old[0], lying.new[0])]
    return np.ascontiguousarray(np.moveaxis(chosen, 0, axis))


def linear(old: int, new: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """For each of `new` places along an axis: the places before and after it, and how near it is to the latter.

    Beyond the first or the last both are that one.
    """
    place = (np.arange(new) + 0.5) * (old / new) - 0.5
    before = np.floor(place).astype(np.intp)
    return np.clip(before, 0, old - 1), np.clip(before + 1, 0, old - 1), place - before


def nearest(old: int, new: int) -> npt.NDArray[np.intp]:
    """For each of `new` places along an axis: the place that is nearest; of two, the latter."""
    place = (old / new) * (np.arange(new) + 0.5) - 0.5
    found: npt.NDArray[np.intp] = np.clip(np.floor(place + 0.5), 0, old - 1).astype(np.intp)
    return found


@cache
def _matrix(old: int, new: int, order: int) -> Matrix:
    """(new, old): what nnU-Net's resampling does along one axis."""
    found: Matrix = resize(np.eye(old), (new, old), order, mode="edge", anti_aliasing=False, clip=False)  # type: ignore[no-untyped-call]
    return found


def _planes(image: npt.NDArray[np.float32], to: Grids) -> npt.NDArray[np.float64]:
    """Resampled along the second and the third axis, a few planes at a time, and not rounded yet."""
    _, b, c = to.new
    rows = torch.from_numpy(_matrix(to.old[1], b, to.order)) if to.old[1] != b else None
    columns = torch.from_numpy(_matrix(to.old[2], c, to.order).T.copy()) if to.old[2] != c else None
    found = np.empty((image.shape[0], b, c), np.float64)
    for first in range(0, len(image), _PLANES):
        seen = torch.from_numpy(image[first : first + _PLANES].astype(np.float64))
        seen = seen if rows is None else rows @ seen
        found[first : first + _PLANES] = (seen if columns is None else seen @ columns).numpy()
    return found


def _along_first(image: npt.NDArray[np.float64], to: Grids) -> npt.NDArray[np.float32]:
    """Resampled along the first axis, a few rows at a time, and rounded."""
    a, b, c = to.new
    if to.old[0] == a:
        return image.astype(np.float32)
    matrix = torch.from_numpy(_matrix(to.old[0], a, to.order))
    found = np.empty((a, b, c), np.float32)
    for first in range(0, b, _PLANES):
        seen = torch.from_numpy(image[:, first : first + _PLANES].reshape(to.old[0], -1))
        found[:, first : first + _PLANES] = (matrix @ seen).numpy().reshape(a, -1, c)
    return found


def _first(shape: Shape, axis: int) -> Shape:
    """The shape with one axis moved to the front."""
    return _shape([shape[axis], *(n for other, n in enumerate(shape) if other != axis)])


def _shape(sizes: Sequence[int]) -> Shape:
    a, b, c = (int(n) for n in sizes)
    return a, b, c
