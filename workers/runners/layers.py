"""nnU-Net's plain U-Net on a CPU, layer by layer: the same logits, but for rounding, in half of the memory.

As it comes the network keeps every skip until its end, lays skips and features side by side in memory of their own,
and each convolution lays out both its sides anew. Here a large layer is computed a few planes, or channels, at a
time, on top of what it was made of: each stage has one array, that of its skip. What goes upwards or is put out is
never there as a whole.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, cast

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from torch import Tensor, nn
from torch.nn import functional

from workers.needs import FEWEST_PLANES, PART_BYTES

_WORTH_BYTES = 64 << 20
"""Of the finest features of a patch: a smaller network gains nothing, and is two fifths slower so."""
_PART_BYTES = PART_BYTES

_Planes = Callable[[int, int], Tensor]
"""From which plane and to before which in, (1, channel, planes, b, c) out."""


def layered(network: nn.Module) -> nn.Module:
    """The network, run layer by layer where it is one of those that this room knows; else as it is."""
    return LayeredUNet(network) if runs_layered(network) else network


def runs_layered(network: Any) -> bool:
    """Whether it is nnU-Net's plain 3-D U-Net, made of what its planner makes one of."""
    if type(network) is not PlainConvUNet or network.decoder.deep_supervision:
        return False
    stages = [*itertools.chain.from_iterable(network.encoder.stages), *network.decoder.stages]
    if not all(isinstance(stage, StackedConvBlocks) for stage in stages):  # as where pooling stands between
        return False
    blocks = [block for stage in stages for block in stage.convs]
    return all(map(_is_plain, blocks)) and all(map(_is_multiplying, network.decoder.transpconvs))


def is_worth(voxels: int, features: int) -> bool:
    """Whether a patch of so many voxels and features is run so."""
    return 4 * voxels * features >= _WORTH_BYTES


class LayeredUNet(nn.Module):
    """A PlainConvUNet whose `forward` is written out, for patches where that is worth it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network: Any = network
        self._memory = _Memory()

    def forward(self, image: Tensor) -> Tensor:
        """(1, channel, a, b, c) to (1, class, a, b, c)."""
        if not self._is_worth(image):
            return cast(Tensor, self._network(image))
        found = torch.empty((self._network.decoder.num_classes, *image.shape[2:]))
        for planes, part in self.in_parts(image):
            found[:, planes] = part
        return found[None]

    def in_parts(self, image: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """(1, channel, a, b, c) to some planes of a at a time, and their (class, planes, b, c)."""
        if not self._is_worth(image):
            yield slice(None), self._network(image)[0]
            return
        x, head = self._finest(image), self._network.decoder.seg_layers[-1]
        for first, end in _spans(x.shape[2], x.nbytes // x.shape[1] * (x.shape[1] + head.out_channels)):
            yield slice(first, end), head(x[:, :, first:end].contiguous())[0]
        self._memory.give(x)

    def _is_worth(self, image: Tensor) -> bool:
        return is_worth(image[0, 0].numel(), self._network.encoder.output_channels[0])

    def _finest(self, image: Tensor) -> Tensor:
        """The features before the last layer."""
        encoder, decoder = self._network.encoder, self._network.decoder
        x, skips = image, list[Tensor]()
        for stage in encoder.stages:
            for number, block in enumerate(itertools.chain.from_iterable(stacked.convs for stacked in stage)):
                x = self._block(block, [_planes_of(x)], x, onto=x if number else None)
            skips.append(x)
        skips.pop()
        for stage, transposed in zip(decoder.stages, decoder.transpconvs, strict=True):
            coarse, x = x, skips.pop()
            first, *others = stage.convs
            x = self._block(first, [_upwards(transposed, coarse), _planes_of(x)], x, onto=x)
            self._memory.give(coarse)
            for block in others:
                x = self._block(block, [_planes_of(x)], x, onto=x)
        return x

    def _block(self, block: Any, parts: Sequence[_Planes], like: Tensor, onto: Tensor | None) -> Tensor:
        """Convolution, normalisation and LeakyReLU of what `parts` are, joined; `onto` an array that is read then.

        They are as large as `like`. Where the result is of another size than `onto`, that is given back.
        """
        found = self._convolved(block.conv, parts, like.shape[2:], onto)
        if onto is not None and found.data_ptr() != onto.data_ptr():
            self._memory.give(onto)
        return _normalised(block, found)

    def _convolved(
        self, layer: nn.Conv3d, parts: Sequence[_Planes], size: Sequence[int], onto: Tensor | None
    ) -> Tensor:
        shape, deep = _shape_after(layer, size), size[0]
        spans = _spans(shape[2], 4 * (layer.in_channels * prod(size) + prod(shape)))
        if len(spans) == 1:
            return cast(Tensor, layer(_joined([part(0, deep) for part in parts])))
        found = onto if onto is not None and onto.shape == shape else self._memory.take(shape)
        stride, (pad, *flat) = layer.stride, cast(tuple[int, ...], layer.padding)
        kernel = layer.kernel_size[0]
        windows = [_Window(part, max(0, kernel - stride[0])) for part in parts]
        for first, end in spans:
            low, high = first * stride[0] - pad, (end - 1) * stride[0] - pad + kernel
            seen = _joined([window.read(max(0, low), min(high, deep)) for window in windows])
            if low < 0 or high > deep:
                seen = functional.pad(seen, (0, 0, 0, 0, max(0, -low), max(0, high - deep)))
            found[:, :, first:end] = functional.conv3d(
                seen.contiguous(), layer.weight, layer.bias, stride, (0, *flat)
            )
        return found


class _Window:
    """Planes that are read in order, each once: what is needed again is kept, so that they may be overwritten."""

    def __init__(self, planes: _Planes, overlap: int) -> None:
        self._planes, self._overlap = planes, overlap
        self._kept: Tensor | None = None
        self._end = 0

    def read(self, low: int, high: int) -> Tensor:
        """Those from `low` to before `high`, where all before `low` are never asked for again."""
        found = self._planes(max(low, self._end), high)
        if self._kept is not None:
            found = torch.cat((self._kept, found), 2)
        if self._overlap:
            self._kept = found[:, :, -self._overlap :].clone()
        self._end = high
        return found


def _planes_of(array: Tensor) -> _Planes:
    return lambda low, high: array[:, :, low:high]


def _upwards(layer: nn.ConvTranspose3d, x: Tensor) -> _Planes:
    """Planes of a transposed convolution whose kernel is its stride: each plane makes planes of its own."""
    scale = layer.stride[0]

    def planes(low: int, high: int) -> Tensor:
        first = low // scale
        found = layer(x[:, :, first : -(-high // scale)].contiguous())
        return cast(Tensor, found[:, :, low - first * scale : high - first * scale])

    return planes


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(tuple(parts), 1) if len(parts) > 1 else parts[0]


def _shape_after(layer: nn.Conv3d, size: Sequence[int]) -> tuple[int, ...]:
    pads = cast(tuple[int, ...], layer.padding)
    sizes = zip(size, pads, layer.kernel_size, layer.stride, strict=True)
    return 1, layer.out_channels, *((n + 2 * pad - k) // s + 1 for n, pad, k, s in sizes)


class _Memory:
    """Arrays that are taken and given back; what is given back is taken again before there is more."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._taken: dict[int, Tensor] = {}

    def take(self, shape: Sequence[int]) -> Tensor:
        """An array of single precision; what is in it is anything."""
        size = prod(shape)
        fitting = [each for each in self._free if each.numel() >= size]
        whole = min(fitting, key=Tensor.numel) if fitting else torch.empty(size)
        self._free = [each for each in self._free if each is not whole]
        self._taken[whole.data_ptr()] = whole
        return whole[:size].view(*shape)

    def give(self, array: Tensor) -> None:
        """Take it back, where it is from here."""
        whole = self._taken.pop(array.data_ptr(), None)
        if whole is not None:
            self._free.append(whole)


def _normalised(block: Any, x: Tensor) -> Tensor:
    """Instance normalisation and LeakyReLU, in place, a few channels at a time."""
    norm, slope = block.norm, block.nonlin.negative_slope
    step = max(1, x.shape[1] * _PART_BYTES // (2 * x.nbytes))
    for first in range(0, x.shape[1], step):
        these = slice(first, first + step)
        found = functional.instance_norm(
            x[:, these], weight=norm.weight[these], bias=norm.bias[these], eps=norm.eps
        )
        x[:, these] = functional.leaky_relu_(found, slope)
    return x


def _spans(planes: int, size: int) -> list[tuple[int, int]]:
    """Planes from the first to before the last, a part at a time, all of about one length."""
    parts = max(1, min(-(-size // _PART_BYTES), planes // FEWEST_PLANES))
    edges = [planes * each // parts for each in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _is_plain(block: Any) -> bool:
    """Convolution, instance normalisation with weights, LeakyReLU, and nothing else."""
    if [type(each) for each in block.all_modules] != [nn.Conv3d, nn.InstanceNorm3d, nn.LeakyReLU]:
        return False
    conv = block.conv
    plain = conv.padding_mode == "zeros" and set(conv.dilation) == {1} and conv.groups == 1
    plain = plain and max(conv.padding) < FEWEST_PLANES
    return bool(plain and block.norm.affine and not block.norm.track_running_stats)


def _is_multiplying(layer: nn.Module) -> bool:
    """Whether each voxel becomes voxels of its own."""
    return isinstance(layer, nn.ConvTranspose3d) and (
        layer.kernel_size == layer.stride and set(layer.padding) == {0} and set(layer.output_padding) == {0}
    )
