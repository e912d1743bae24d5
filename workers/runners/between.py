"""Logits on the network's grid in; the class that is the greatest at each voxel of the image out.

The same as nnU-Net's default resampling of the logits followed by argmax, where it is linear. A few rows at a time,
one class after another is interpolated in single precision, and the two greatest are kept while they pass: what is
made of them stays in a processor's cache. Where the second is so near that rounding may decide, all classes are
summed up once more in double precision, in the order of nnU-Net's (`scipy.ndimage.zoom`), and rounded to half:
there are values which any other way rounds to another half.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from workers.runners.logits import Logits
from workers.runners.resampling import Grids, linear, nearest

_CACHED_BYTES = 2**20
"""Of a class, or of the voxels that are looked at once more: several arrays of that stay in a processor's cache."""
_NUMBER = 0xFF
"""The bits of a logit, in single precision, that give way to the number of its class; the last has 0."""
_ROUNDED, _CANCELLED = 2.0**-9.8, 2.0**-12
"""What rounding may change: this part of a logit, for half precision and the number of the class; and so much of
any, since single precision errs by a part of the corners (of logits up to 1000), which may cancel each other."""

Places = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Axis:
    """For some places along an axis of the image: the two of the network's grid beside it."""

    before: Places
    after: Places
    part: Doubles
    """How near it is to the latter; 0 is at the former."""

    def at(self, some: slice | Places) -> "_Axis":
        """Of some of them."""
        return _Axis(self.before[some], self.after[some], self.part[some])


def greatest_between(logits: Logits, to: Grids, axis: int, heard: Callable[[float], None]) -> npt.NDArray[np.uint8]:
    """(a, b, c): the class with the greatest linearly interpolated logit; of equal ones, the first.

    `axis` is the one that bands of the logits lie along. `heard` hears which part is done.
    """
    found = np.zeros(to.new, np.uint8)
    rows = np.moveaxis(found, axis, 0)
    axes = [_axis(to, each) for each in range(3)]
    step = max(1, _CACHED_BYTES // (4 * rows[0].size))
    for first in range(0, len(rows), step):
        end = min(first + step, len(rows))
        beside = [each.at(slice(first, end)) if place == axis else each for place, each in enumerate(axes)]
        rows[first:end], close = _greatest(logits, beside, axis)
        for some in _few(close, logits.classes):
            row, *others = some
            places = (*others[:axis], row, *others[axis:])
            voxels = [each.at(at) for each, at in zip(beside, places, strict=True)]
            rows[first:end][some] = _decided(logits, voxels, axis)
        heard(end / len(rows))
    return found


def _axis(to: Grids, axis: int) -> _Axis:
    old, new = to.old[axis], to.new[axis]
    if to.apart != axis:
        return _Axis(*linear(old, new))
    chosen = nearest(old, new)
    return _Axis(chosen, chosen, np.zeros(new))


def _greatest(
    logits: Logits, beside: Sequence[_Axis], axis: int
) -> tuple[npt.NDArray[np.uint8], tuple[Places, ...]]:
    """(row, b, c): the class with the greatest logit; and where the second is too near to tell."""
    along, *others = (beside[axis], *(each for place, each in enumerate(beside) if place != axis))
    best = _numbered(_interpolated(logits, 0, axis, along, others), 0)
    second, lesser = torch.full_like(best, -torch.inf), torch.empty_like(best)
    for number in range(1, logits.classes):
        seen = _numbered(_interpolated(logits, number, axis, along, others), number)
        torch.minimum(best, seen, out=lesser)
        torch.maximum(second, lesser, out=second)
        torch.maximum(best, seen, out=best)
    close = second >= best - (best.abs() * _ROUNDED + _CANCELLED)
    found = _NUMBER - (best.view(torch.int32) & _NUMBER)
    return found.to(torch.uint8).numpy(), close.numpy().nonzero()


def _numbered(values: torch.Tensor, number: int) -> torch.Tensor:
    """In place: with the number of their class in their last bits."""
    values.view(torch.int32).bitwise_and_(~_NUMBER).bitwise_or_(_NUMBER - number)
    return values


def _interpolated(logits: Logits, number: int, axis: int, along: _Axis, others: Sequence[_Axis]) -> torch.Tensor:
    """(row, b, c) of a class, in single precision."""
    first, end = int(along.before.min()), int(along.after.max()) + 1
    band = logits.band(number, axis, first, end).movedim(axis, 0)
    seen = _at(band, along.before - first).float()
    if along.part.any():
        part = torch.from_numpy(along.part.astype(np.float32))[:, None, None]
        seen = torch.lerp(seen, _at(band, along.after - first).float(), part)
    for place, other in enumerate(others, 1):
        if not other.part.any():
            seen = seen.index_select(place, torch.from_numpy(other.before))
    size = [len(other.before) for other in others]
    if list(seen.shape[1:]) == size:
        return seen
    return torch.nn.functional.interpolate(seen[None], size=size, mode="bilinear", align_corners=False)[0]


def _at(band: torch.Tensor, places: Places) -> torch.Tensor:
    return band.index_select(0, torch.from_numpy(places))


def _few(places: tuple[Places, ...], classes: int) -> Iterator[tuple[Places, ...]]:
    """So many at a time that all classes at their corners, in double precision, are of `_CACHED_BYTES`."""
    step = max(1, _CACHED_BYTES // (8 * 8 * classes))
    for start in range(0, len(places[0]), step):
        yield tuple(each[start : start + step] for each in places)


def _decided(logits: Logits, voxels: Sequence[_Axis], axis: int) -> npt.NDArray[np.uint8]:
    """(n): the class with the greatest logit at n voxels, which have n places along each axis."""
    sides = [((each.before, 1 - each.part), (each.after, each.part)) for each in voxels]
    corners = list(itertools.product(*sides))
    a, b, c = (np.stack([corner[place][0] for corner in corners]) for place in range(3))
    values = logits.at(axis, a, b, c).double().numpy()
    for place in range(3):
        values *= np.stack([corner[place][1] for corner in corners])
    found = values[:, 0]
    for number in range(1, len(corners)):
        found += values[:, number]
    chosen: npt.NDArray[np.uint8] = found.astype(np.float16).astype(np.float32).argmax(0).astype(np.uint8)
    return chosen
