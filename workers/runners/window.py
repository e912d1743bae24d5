"""A preprocessed image in; its logits out, band by band: nnU-Net's sliding window one patch deep.

The tiles are those of nnU-Net's `predict_sliding_window_return_logits`, in its order and with its arithmetic, so
that each logit is bit by bit the one that it computes (but see `layers.py` for a large network on a CPU). Rows that
no later tile touches are divided by their weights and given away at once; what waits is as deep as one patch along
the first axis that has more than one step, or lies where the logits are to lie.
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from dicom_nodes.errors import ResultUnsound
from workers.runners.layers import LayeredUNet, layered
from workers.runners.logits import InMemory, Logits

Place = tuple[slice, ...]
"""Where a tile lies: (channel, a, b, c)."""
_NOT_FINITE = (
    "the network's output is not finite: its weights, or this image, leave the range of half precision. "
    "Try another series; where that fails alike, install the model anew"
)


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """The tiles of one image."""

    image: torch.Tensor
    """(channel, a, b, c), padded to at least one patch."""
    inside: tuple[slice, ...]
    """What of it is no padding: (a, b, c)."""
    places: tuple[Place, ...]
    """In the order of nnU-Net."""
    axis: int
    """The first along which there are several places, 0 to 2; 0 where there is but one."""

    @property
    def rows(self) -> int:
        """How far the image reaches along `axis`."""
        return int(self.image.shape[1 + self.axis])


def tiles_of(predictor: Any, data: torch.Tensor) -> Tiles:
    """The tiles of preprocessed data (channel, a, b, c), as the predictor's plans and tile step have them."""
    patch = tuple(predictor.configuration_manager.patch_size)
    image, inside = pad_nd_image(data, patch, "constant", {"value": 0}, True, None)
    found = predictor._internal_get_sliding_window_slicers(image.shape[1:])
    places = tuple(tuple(_spread(part) for part in place) for place in found)
    varied = (axis for axis in range(3) if len({place[1 + axis].start for place in places}) > 1)
    return Tiles(image, tuple(inside[1:]), places, next(varied, 0))


def filled(predictor: Any, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The predictor's own network with the weights of a fold, on its device; on a CPU layer by layer."""
    network: torch.nn.Module = predictor.network
    network.load_state_dict(weights, assign=True)
    network.to(predictor.device).eval()
    return layered(network) if predictor.device.type == "cpu" else network


def slide(
    predictor: Any,
    networks: Iterable[torch.nn.Module],
    tiles: Tiles,
    kept: Logits,
    tile_done: Callable[[], None],
) -> None:
    """Run the network of every fold on every tile and keep the mean; what `tile_done` raises ends it at once.

    `kept` has the shape of the data without padding. Raises torch's OutOfMemoryError or a RuntimeError where the
    memory does not suffice, and ResultUnsound for logits that are not finite.
    """
    folds = len(predictor.list_of_parameters)
    running = copy.copy(predictor)
    for number, network in enumerate(networks):
        running.network = network
        hook = network.register_forward_hook(lambda *_: tile_done())
        try:
            with torch.inference_mode():
                divided_by = folds if number == folds - 1 else 1
                whole = _place_for_sums(kept, tiles, predictor.device) if folds == 1 else None
                give = partial(_keep, kept, tiles, number > 0, divided_by)
                _one_fold(running, tiles, give, whole, tile_done)
        finally:
            hook.remove()


def _place_for_sums(kept: Logits, tiles: Tiles, device: torch.device) -> torch.Tensor | None:
    """The memory of the logits themselves, where they lie there as the tiles do."""
    if not isinstance(kept, InMemory) or device.type != "cpu" or kept.whole.shape[1:] != tiles.image.shape[1:]:
        return None
    return kept.whole.zero_()


def _one_fold(
    predictor: Any,
    tiles: Tiles,
    give: Callable[[int, torch.Tensor, torch.Tensor], None],
    whole: torch.Tensor | None,
    tile_done: Callable[[], None],
) -> None:
    """Slide one network over the tiles; `give` gets (first row, sums, weights) of rows that are complete.

    Sums are gathered in `whole` (class, a, b, c), or in a window that moves along.
    """
    device, axis = predictor.device, tiles.axis
    shape = [*tiles.image.shape[1:]]
    if whole is None:
        shape[axis] = max(place[1 + axis].stop - place[1 + axis].start for place in tiles.places)
    heads = predictor.label_manager.num_segmentation_heads
    sums = torch.zeros((heads, *shape), dtype=torch.half, device=device) if whole is None else whole
    weights = torch.zeros(shape, dtype=torch.half, device=device)
    gaussian = _gaussian(predictor)
    first = lies_at = 0
    for start, places in groupby(tiles.places, lambda place: place[1 + axis].start):
        rows = first - lies_at, start - first
        give(first, sums.narrow(1 + axis, *rows), weights.narrow(axis, *rows))
        if whole is None:
            _move_up(sums, 1 + axis, start - first)
            _move_up(weights[None], 1 + axis, start - first)
            lies_at = start
        first = start
        for place in places:
            _add(predictor, tiles, place, gaussian, sums, weights, start - lies_at, tile_done)
    rows = first - lies_at, tiles.rows - first
    give(first, sums.narrow(1 + axis, *rows), weights.narrow(axis, *rows))


def _add(
    predictor: Any,
    tiles: Tiles,
    place: Place,
    gaussian: torch.Tensor,
    sums: torch.Tensor,
    weights: torch.Tensor,
    row: int,
    tile_done: Callable[[], None],
) -> None:
    """One tile, weighted, on top of what its neighbours found; it begins at `row` of the sums."""
    seen = tiles.image[_narrowed(predictor, place)][None].contiguous().to(predictor.device)
    here = list(_narrowed(predictor, place))
    if not isinstance(here[1 + tiles.axis], int):
        here[1 + tiles.axis] = slice(row, row + gaussian.shape[gaussian.ndim - 3 + tiles.axis])
    else:
        here[1 + tiles.axis] = row
    for planes, found in _found(predictor, seen, tile_done):
        _add_weighted(sums[tuple(here)][:, planes], found, gaussian[planes])
    weights[tuple(here[1:])] += gaussian


def _found(
    predictor: Any, seen: torch.Tensor, tile_done: Callable[[], None]
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(1, channel, ...) to some planes at a time, and their (class, ...); all of them where they are mirrored."""
    network, mirrored = predictor.network, predictor.use_mirroring and predictor.allowed_mirroring_axes
    if isinstance(network, LayeredUNet) and not mirrored:
        yield from network.in_parts(seen)
        tile_done()
        return
    with _autocast(predictor.device):
        yield slice(None), predictor._internal_maybe_mirror_and_predict(seen)[0]


def _add_weighted(sums: torch.Tensor, found: torch.Tensor, gaussian: torch.Tensor) -> None:
    """Add what was found (class, ...), weighted; on a CPU class by class, which stays in its cache."""
    if found.device.type != "cpu":
        sums += found.mul_(gaussian)
        return
    weight = gaussian.to(found.dtype)
    for here, one in zip(sums, found, strict=True):
        here.add_(one * weight)


def _keep(
    kept: Logits,
    tiles: Tiles,
    added: bool,
    divided_by: int,
    first: int,
    sums: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    """Keep the logits of complete rows, less the padding: `added` to those of earlier folds, and then divided."""
    axis, inside = tiles.axis, list(tiles.inside)
    begin = max(first, inside[axis].start)
    end = min(first + sums.shape[1 + axis], inside[axis].stop)
    if begin >= end:
        return
    at = begin - inside[axis].start
    inside[axis] = slice(begin - first, end - first)
    for each in range(kept.classes):
        found = (sums[each] / weights)[tuple(inside)].cpu()
        if added:
            found = kept.band(each, axis, at, at + end - begin).clone().add_(found)
        if divided_by > 1:
            found /= divided_by
        if torch.any(found - found):  # zero, but for what is infinite or no number
            raise ResultUnsound(_NOT_FINITE)
        kept.put(each, axis, at, found)


def _gaussian(predictor: Any) -> torch.Tensor:
    patch = tuple(predictor.configuration_manager.patch_size)
    found: torch.Tensor = compute_gaussian(
        patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=predictor.device
    )
    return found


def _move_up(buffer: torch.Tensor, axis: int, rows: int) -> None:
    """Drop the first rows along an axis, move the others to the front and leave zeros behind them."""
    if rows == 0:
        return
    left = buffer.shape[axis] - rows
    for each in buffer:
        each.narrow(axis - 1, 0, left).copy_(each.narrow(axis - 1, rows, left).clone())
        each.narrow(axis - 1, left, rows).zero_()


def _spread(part: slice | int) -> slice:
    """The slice of a 2-D network's tile as a slice of one."""
    return part if isinstance(part, slice) else slice(part, part + 1)


def _narrowed(predictor: Any, place: Place) -> tuple[slice | int, ...]:
    """The place as the network sees it: a 2-D one sees no first axis."""
    if len(predictor.configuration_manager.patch_size) == 3:
        return place
    return (place[0], place[1].start, *place[2:])


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Half precision on a GPU, as nnU-Net runs it."""
    return torch.autocast("cuda", enabled=True) if device.type == "cuda" else contextlib.nullcontext()
