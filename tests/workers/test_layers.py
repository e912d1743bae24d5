"""The plain U-Net layer by layer against the same network as it comes."""

from math import prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from workers.runners import layers
from workers.runners.layers import LayeredUNet, layered
from workers.runners.logits import InMemory
from workers.runners.window import slide, tiles_of

KERNELS = ((1, 3, 3), (3, 3, 3), (3, 3, 3))
STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
PLAIN: dict[str, Any] = {
    "input_channels": 1,
    "n_stages": 3,
    "features_per_stage": (8, 12, 20),
    "conv_op": nn.Conv3d,
    "kernel_sizes": KERNELS,
    "strides": STRIDES,
    "n_conv_per_stage": 2,
    "num_classes": 7,
    "n_conv_per_stage_decoder": 2,
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}
IMAGE = (20, 32, 24)


@pytest.fixture(autouse=True)
def _any_size_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_WORTH_BYTES", 0)


def unet(**other: Any) -> nn.Module:
    """nnU-Net's plain network, with weights of every layer at random."""
    torch.manual_seed(5)
    network = PlainConvUNet(**PLAIN | other).eval()
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.3)
    return network


def seen(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(image)
        return found


@pytest.mark.parametrize("part_bytes", [1 << 14, 1 << 17, 1 << 30])
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"n_conv_per_stage": (1, 3, 2), "n_conv_per_stage_decoder": (2, 1)},
        {"kernel_sizes": ((3, 3, 3),) * 3, "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2))},
        {"kernel_sizes": ((3, 1, 3), (1, 3, 5), (5, 3, 3)), "strides": ((1, 1, 1), (2, 1, 2), (1, 2, 2))},
        {"conv_bias": False, "nonlin_kwargs": {"inplace": True, "negative_slope": 0.2}},
    ],
    ids=["as planned", "other numbers of layers", "isotropic", "other kernels", "no bias"],
)
def test_the_logits_are_those_of_the_network_as_it_comes(
    other: dict[str, Any], part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_PART_BYTES", part_bytes)
    network = unet(**other)
    run = layered(network)
    assert isinstance(run, LayeredUNet)
    for seed in (1, 2):  # the second in the memory of the first
        image = torch.randn(1, 1, *IMAGE, generator=torch.Generator().manual_seed(seed))
        before = image.clone()
        wanted = seen(network, image)
        torch.testing.assert_close(seen(run, image), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
        assert torch.equal(image, before)


def test_what_it_gave_stays_when_it_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_PART_BYTES", 1 << 14)
    run = layered(unet())
    first = seen(run, torch.ones(1, 1, *IMAGE))
    kept = first.clone()
    seen(run, torch.zeros(1, 1, *IMAGE))
    assert torch.equal(first, kept)


def test_each_stage_has_one_array_and_it_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_PART_BYTES", 1 << 10)
    made: list[int] = []
    empty = torch.empty

    def counted(*size: Any, **how: Any) -> torch.Tensor:
        found = empty(*size, **how)
        made.append(found.nbytes)
        return found

    run = layered(unet())
    assert isinstance(run, LayeredUNet)
    monkeypatch.setattr(layers.torch, "empty", counted)
    for _ in range(2):
        with torch.inference_mode():
            assert [part.shape[0] for _, part in run.in_parts(torch.ones(1, 1, *IMAGE))] == [7] * (IMAGE[0] // 4)
    finest = 4 * 8 * prod(IMAGE)
    assert made == [finest, finest * 12 // 8 // 4, finest * 20 // 8 // 32], "for seven layers, twice"


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_sliding_window_takes_parts_and_tells_of_each_tile_once(
    mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mirrored tiles are averaged as a whole; each of them is told of."""
    monkeypatch.setattr(layers, "_PART_BYTES", 1 << 14)
    found, told = [], []
    for network in (unet(), layered(unet())):
        done: list[None] = []
        predictor = predictor_of(network, mirrored)
        tiles = tiles_of(predictor, torch.randn(1, 30, 32, 40, generator=torch.Generator().manual_seed(3)))
        kept = InMemory(torch.zeros((7, 30, 32, 40), dtype=torch.half))
        slide(predictor, [network], tiles, kept, lambda done=done: done.append(None))  # type: ignore[misc]
        found.append(kept.whole)
        told.append(len(done))
    torch.testing.assert_close(found[1], found[0], rtol=2e-3, atol=1e-3 * float(found[0].abs().max()))
    assert told == [len(tiles.places) * (4 if mirrored else 1)] * 2


def predictor_of(network: nn.Module, mirrored: bool) -> nnUNetPredictor:
    """nnU-Net's, with what a sliding window asks of it."""
    predictor = nnUNetPredictor(use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False)
    predictor.network = network
    predictor.list_of_parameters = [{}]
    predictor.configuration_manager = SimpleNamespace(patch_size=IMAGE)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=7)
    predictor.allowed_mirroring_axes = (0, 2)
    return predictor


@pytest.mark.parametrize(
    "network",
    [
        unet(dropout_op=nn.Dropout3d, dropout_op_kwargs={"p": 0.1}),
        unet(nonlin_first=True),
        unet(norm_op=nn.BatchNorm3d),
        unet(norm_op_kwargs={"affine": False}),
        unet(nonlin=nn.ReLU),
        unet(deep_supervision=True),
        PlainConvUNet(
            **PLAIN
            | {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "kernel_sizes": (3,) * 3, "strides": (1, 2, 2)}
        ),
        ResidualEncoderUNet(**{k: v for k, v in PLAIN.items() if k != "n_conv_per_stage"}, n_blocks_per_stage=2),
        nn.Identity(),
    ],
    ids=lambda network: type(network).__name__,
)
def test_a_network_of_another_kind_is_run_as_it_comes(network: nn.Module) -> None:
    assert layered(network) is network


def test_a_small_network_is_run_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_WORTH_BYTES", 1 + 4 * 8 * IMAGE[0] * IMAGE[1] * IMAGE[2])
    monkeypatch.setattr(layers, "_PART_BYTES", 1 << 10)
    monkeypatch.setattr(LayeredUNet, "_block", None)
    image = torch.ones(1, 1, *IMAGE)
    assert torch.equal(seen(layered(unet()), image), seen(unet(), image))
