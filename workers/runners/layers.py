"""nnU-Net's plain U-Net on a CPU, layer by layer: the same logits, but for rounding, in half of the memory.

As it comes the network keeps every skip until its end, lays skips and features side by side in memory of their own,
and each convolution lays out both its sides anew. Here memory that is no longer needed is that of the next layer,
skips end where they are used, and a large layer is computed a few planes, or channels, at a time.
"""

import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, cast

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from torch import Tensor, nn
from torch.nn import functional

_WORTH_BYTES = 64 << 20
"""Of the finest features of a patch: a smaller network gains nothing, and is two fifths slower so."""
_PART_BYTES = 24 << 20
"""Of what goes into a layer and comes out of it, at a time."""
_FEWEST_PLANES = 4
"""At a time; what a convolution needs of the next part is read twice."""


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
        encoder, decoder = self._network.encoder, self._network.decoder
        if not is_worth(image[0, 0].numel(), encoder.output_channels[0]):
            return cast(Tensor, self._network(image))
        x, skips = image, list[Tensor]()
        for stage in encoder.stages:
            for block in itertools.chain.from_iterable(stacked.convs for stacked in stage):
                x = self._block(block, [x], keep=skips[-1:])
            skips.append(x)
        skips.pop()
        for stage, transposed in zip(decoder.stages, decoder.transpconvs, strict=True):
            finer = self._upwards(transposed, x)
            self._memory.give(x)
            parts = [finer, skips.pop()]
            for block in stage.convs:
                x = self._block(block, parts)
                parts = [x]
        self._memory.clear()  # what is put out is larger than all that is free
        return self._convolved(decoder.seg_layers[-1], [x], torch.empty)

    def _block(self, block: Any, parts: list[Tensor], keep: Sequence[Tensor] = ()) -> Tensor:
        """Convolution, normalisation and LeakyReLU of what `parts` are, joined; their memory is free then."""
        found = self._convolved(block.conv, parts, self._memory.take)
        for part in parts:
            if not any(part is each for each in keep):
                self._memory.give(part)
        return _normalised(block, found)

    def _convolved(self, layer: nn.Conv3d, parts: Sequence[Tensor], empty: Callable[..., Tensor]) -> Tensor:
        shape = _shape_after(layer, parts[0].shape)
        spans = _spans(shape[2], sum(part.nbytes for part in parts) + 4 * prod(shape))
        if len(spans) == 1:
            return cast(Tensor, layer(_joined(parts)))
        found = empty(shape)
        stride, (pad, *flat) = layer.stride, cast(tuple[int, ...], layer.padding)
        deep, reach = parts[0].shape[2], layer.kernel_size[0] - pad
        for first, end in spans:
            low, high = first * stride[0] - pad, (end - 1) * stride[0] + reach
            seen = _joined([part[:, :, max(0, low) : min(high, deep)] for part in parts])
            if low < 0 or high > deep:
                seen = functional.pad(seen, (0, 0, 0, 0, max(0, -low), max(0, high - deep)))
            found[:, :, first:end] = functional.conv3d(
                seen.contiguous(), layer.weight, layer.bias, stride, (0, *flat)
            )
        return found

    def _upwards(self, layer: nn.ConvTranspose3d, x: Tensor) -> Tensor:
        """A transposed convolution whose kernel is its stride: each plane makes planes of its own."""
        deep, *flat = (n * s for n, s in zip(x.shape[2:], layer.stride, strict=True))
        found = self._memory.take((1, layer.out_channels, deep, *flat))
        scale = layer.stride[0]
        for first, end in _spans(x.shape[2], x.nbytes + found.nbytes):
            found[:, :, first * scale : end * scale] = layer(x[:, :, first:end].contiguous())
        return found


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(tuple(parts), 1) if len(parts) > 1 else parts[0]


def _shape_after(layer: nn.Conv3d, shape: Sequence[int]) -> tuple[int, ...]:
    pads = cast(tuple[int, ...], layer.padding)
    sizes = zip(shape[2:], pads, layer.kernel_size, layer.stride, strict=True)
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
        if not fitting:
            self._free.clear()  # the largest come last
        whole = min(fitting, key=Tensor.numel) if fitting else torch.empty(size)
        self._free = [each for each in self._free if each is not whole]
        self._taken[whole.data_ptr()] = whole
        return whole[:size].view(*shape)

    def clear(self) -> None:
        """Keep nothing; what is taken goes with whoever has it."""
        self._free.clear()
        self._taken.clear()

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
    parts = max(1, min(-(-size // _PART_BYTES), planes // _FEWEST_PLANES))
    edges = [planes * each // parts for each in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _is_plain(block: Any) -> bool:
    """Convolution, instance normalisation with weights, LeakyReLU, and nothing else."""
    if [type(each) for each in block.all_modules] != [nn.Conv3d, nn.InstanceNorm3d, nn.LeakyReLU]:
        return False
    plain = block.conv.padding_mode == "zeros" and set(block.conv.dilation) == {1} and block.conv.groups == 1
    return bool(plain and block.norm.affine and not block.norm.track_running_stats)


def _is_multiplying(layer: nn.Module) -> bool:
    """Whether each voxel becomes voxels of its own."""
    return isinstance(layer, nn.ConvTranspose3d) and (
        layer.kernel_size == layer.stride and set(layer.padding) == {0} and set(layer.output_padding) == {0}
    )
