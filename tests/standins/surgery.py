"""A network in; the same network for other axes, for finer voxels, or as another fold of an ensemble out.

Nothing is trained here: it is arithmetic on the weights. `turned` changes nothing in the result, `finer` little.
"""

import math
import re
from dataclasses import replace

import torch

from tests.standins.network import BASE_AXES, Net, Triple
from tests.standins.sight import seen

LEAK = 0.01
"""Slope of torch.nn.LeakyReLU below zero, as nnU-Net leaves it."""


def turned(net: Net, axes: str) -> Net:
    """The base network for arrays whose (x, y, z) indices grow as `axes` say, in the order LR, AP, SI, as `RAS`.

    Its result is that of `net` on the array mirrored back, exactly where the patch is a multiple of all strides.
    """
    for axis, (mine, wanted) in enumerate(zip(reversed(BASE_AXES), reversed(axes), strict=True)):
        if mine != wanted:
            net = _mirrored(net, axis)
    return net


def shaken(net: Net, seed: int, by: float = 0.02) -> Net:
    """The network with every kernel's weights changed by a small part of themselves: another fold."""
    drawn = torch.Generator().manual_seed(seed)
    return replace(
        net,
        weights={
            name: tensor * (1 + by * torch.randn(tensor.shape, generator=drawn)) if tensor.ndim == 5 else tensor
            for name, tensor in net.weights.items()
        },
    )


def finer(net: Net, block: Triple) -> Net:
    """The network for voxels that are `block` times smaller: it sees blocks of them as one and labels them as one.

    The level on top has kernels of one voxel. A signal passes its rectifiers f whole, as
    x = (f(x) - f(-x)) / (1 + LEAK), and the features pass its last normalisation with the mean and the deviation
    that they have on a phantom.
    """
    wide, top = net.features[0], len(net.features) - 1
    z, y, x = (max(k, 2 * s - 1) for k, s in zip(net.kernels[0], block, strict=True))
    kernel = (z, y, x)
    weights = {_one_level_down(name): tensor for name, tensor in net.weights.items()}
    first = "encoder.stages.1.0.convs.1.conv.weight"
    weights[first] = _pair(weights[first], wide) / (1 + LEAK)
    for name, tensor in weights.items():
        if name.startswith(("encoder.stages.1.", f"decoder.stages.{top - 1}.")) and tensor.ndim == 5:
            weights[name] = _placed(tensor, kernel)
    mean = torch.full((1, 1, *block), 1 / math.prod(block))
    averaged = _pair(mean, wide) / (1 + LEAK)
    both = torch.cat([averaged, -averaged, torch.zeros(wide - 2, wide, *block)])
    weights |= _convolution(
        "encoder.stages.0.0.convs.0", _identity(wide, 1, (1, 1, 1), ((0, 0, 1.0), (1, 0, -1.0)))
    )
    weights |= _convolution("encoder.stages.1.0.convs.0", _placed(both, kernel, first=(0, 0, 0)))
    kept = tuple((i, i, 1.0) for i in range(wide))
    weights |= _convolution(f"decoder.stages.{top}.convs.0", _identity(wide, 2 * wide, (1, 1, 1), kept))
    features = seen().everywhere
    weights[f"decoder.stages.{top}.convs.0.norm.weight"] = features.deviation
    weights[f"decoder.stages.{top}.convs.0.norm.bias"] = features.mean
    weights[f"decoder.transpconvs.{top}.weight"] = _identity(wide, wide, block, kept)
    weights[f"decoder.transpconvs.{top}.bias"] = torch.zeros(wide)
    for part in ("weight", "bias"):
        weights[f"decoder.seg_layers.{top}.{part}"] = weights[f"decoder.seg_layers.{top - 1}.{part}"]
    return Net(
        weights=weights,
        features=(wide, *net.features),
        kernels=((1, 1, 1), kernel, *net.kernels[1:]),
        strides=((1, 1, 1), block, *net.strides[1:]),
        convolutions=(1, net.convolutions[0] + 1, *net.convolutions[1:]),
        decoder=(*net.decoder, 1),
        patch=_product(net.patch, block),
    )


def _mirrored(net: Net, axis: int) -> Net:
    """A tap at t of a kernel with stride s, of half width h, must be at s - 1 - t where the array is mirrored."""
    sizes = tuple(
        _with(kernel, axis, kernel[axis] + 2 * (stride[axis] - 1))
        for kernel, stride in zip(net.kernels, net.strides, strict=True)
    )
    changed = {}
    for name, tensor in net.weights.items():
        level = _level(net, name)
        if tensor.ndim != 5:
            changed[name] = tensor
        elif level is None:
            changed[name] = tensor.flip(2 + axis)
        else:
            stride = net.strides[level][axis] if re.match(r"encoder\.stages\.\d+\.0\.convs\.0\.", name) else 1
            middle = _with((0, 0, 0), axis, stride - 1)
            first = tuple(m - (n - 1) // 2 for m, n in zip(middle, tensor.shape[2:], strict=True))
            changed[name] = _placed(tensor.flip(2 + axis), sizes[level], first)
    return replace(net, weights=changed, kernels=sizes)


def _level(net: Net, name: str) -> int | None:
    """The encoder's stage whose kernel size a convolution has; None for the others."""
    if found := re.match(r"encoder\.stages\.(\d+)\.", name):
        return int(found[1])
    if found := re.match(r"decoder\.stages\.(\d+)\.", name):
        return len(net.features) - 2 - int(found[1])
    return None


def _one_level_down(name: str) -> str:
    """The finest stage becomes the second, with one convolution before its own; the decoder counts from below."""
    if found := re.match(r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(.*)", name):
        stage, convolution = int(found[1]), int(found[2])
        return f"encoder.stages.{stage + 1}.0.convs.{convolution + (stage == 0)}.{found[3]}"
    return name


def _placed(taps: torch.Tensor, kernel: Triple, first: tuple[int, ...] | None = None) -> torch.Tensor:
    """A kernel of the size `kernel`, zero but for `taps`, the first of which lies at `first` from its middle."""
    start = first or tuple(-((n - 1) // 2) for n in taps.shape[2:])
    whole = torch.zeros(*taps.shape[:2], *kernel)
    where = [
        slice((k - 1) // 2 + s, (k - 1) // 2 + s + n) for k, s, n in zip(kernel, start, taps.shape[2:], strict=True)
    ]
    whole[(slice(None), slice(None), *where)] = taps
    return whole


def _pair(taps: torch.Tensor, wide: int) -> torch.Tensor:
    """Taps on one channel as taps on f(x), f(-x) and further channels that are not looked at."""
    return torch.cat([taps, -taps, torch.zeros(taps.shape[0], wide - 2, *taps.shape[2:])], dim=1)


def _identity(outputs: int, inputs: int, size: Triple, taps: tuple[tuple[int, int, float], ...]) -> torch.Tensor:
    weight = torch.zeros(outputs, inputs, *size)
    for output, channel, value in taps:
        weight[output, channel] = value
    return weight


def _convolution(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    wide = weight.shape[0]
    return {
        f"{name}.conv.weight": weight,
        f"{name}.conv.bias": torch.zeros(wide),
        f"{name}.norm.weight": torch.ones(wide),
        f"{name}.norm.bias": torch.zeros(wide),
    }


def _with(triple: Triple, axis: int, value: int) -> Triple:
    z, y, x = (value if k == axis else old for k, old in enumerate(triple))
    return z, y, x


def _product(a: Triple, b: Triple) -> Triple:
    z, y, x = (i * k for i, k in zip(a, b, strict=True))
    return z, y, x
