"""Resampling axis by axis, rows at a time, against nnU-Net's own: images equal but for rounding, labels alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

from workers.runners import between
from workers.runners.between import greatest_between
from workers.runners.labelling import _as_they_lie
from workers.runners.logits import InMemory, Logits, kept
from workers.runners.resampling import Grids, grids, image_resampled

Shape = tuple[int, int, int]
Millimetres = tuple[float, float, float]

WAYS: tuple[tuple[str, Shape, Shape, Millimetres, Millimetres], ...] = (
    ("finer in the planes", (12, 30, 26), (12, 37, 33), (3, 1.5, 1.5), (3, 1.25, 1.2)),
    ("finer and coarser on all axes", (12, 30, 26), (17, 24, 31), (2, 1, 1), (1.4, 1.25, 0.85)),
    ("slices apart, fewer", (20, 31, 27), (11, 40, 20), (6, 1, 1), (11, 0.8, 1.3)),
    ("slices apart, more", (9, 31, 27), (23, 20, 40), (8, 1, 1), (3, 1.5, 0.7)),
    ("the second axis apart", (31, 9, 27), (20, 15, 40), (1, 8, 1), (1.5, 5, 0.7)),
    ("the third axis apart", (31, 27, 9), (40, 20, 4), (1, 1, 8), (0.8, 1.3, 18)),
    ("one slice", (1, 30, 26), (1, 37, 33), (5, 1.5, 1.5), (5, 1.25, 1.2)),
    ("to one slice", (3, 30, 26), (1, 37, 33), (2, 1.5, 1.5), (6, 1.25, 1.2)),
    ("no change", (5, 6, 7), (5, 6, 7), (1, 1, 1), (1, 1, 1)),
)
ways = pytest.mark.parametrize(
    ("old", "new", "old_mm", "new_mm"), [way[1:] for way in WAYS], ids=[w[0] for w in WAYS]
)


def by_nnunet(order: int) -> partial[np.ndarray]:
    return partial(resample_data_or_seg_to_shape, is_seg=False, order=order, order_z=0, force_separate_z=None)


def smooth(shape: Shape, channels: int, seed: int = 3) -> torch.Tensor:
    coarse = torch.randn(1, channels, 4, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0] * 4


def planned(order: int, old: Shape, new: Shape, old_mm: Millimetres, new_mm: Millimetres) -> Grids:
    found = grids(by_nnunet(order), old, new, old_mm, new_mm)
    assert found is not None
    return found


@contextmanager
def stored(logits: torch.Tensor, axis: int, on_disk: bool) -> Iterator[Logits]:
    _, a, b, c = logits.shape
    with kept(len(logits), (a, b, c), axis, on_disk, None) as room:
        for number, one in enumerate(logits):
            room.put(number, axis, 0, one)
        yield room


@ways
def test_an_image_is_resampled_as_nnunet_does(
    old: Shape, new: Shape, old_mm: Millimetres, new_mm: Millimetres
) -> None:
    image = smooth(old, 1).numpy() + np.random.default_rng(0).normal(size=(1, *old)).astype(np.float32)
    wanted = by_nnunet(3)(image, new, old_mm, new_mm)
    found = image_resampled(image[0], planned(3, old, new, old_mm, new_mm))
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted[0])


@ways
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("on_disk", [False, True])
def test_logits_become_the_labels_that_nnunet_finds(
    old: Shape, new: Shape, old_mm: Millimetres, new_mm: Millimetres, axis: int, on_disk: bool
) -> None:
    logits = smooth(old, 6).half()
    wanted = by_nnunet(1)(logits, new, old_mm, new_mm).argmax(0)
    heard: list[float] = []
    with stored(logits, axis, on_disk) as kept_logits:
        found = greatest_between(kept_logits, planned(1, old, new, old_mm, new_mm), axis, heard.append)
    assert found.shape == new
    np.testing.assert_array_equal(found, wanted)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


@ways
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("centre", [1.0, -2.0, -40000.0, 5e-5])
@pytest.mark.parametrize("on_disk", [False, True])
def test_logits_between_which_rounding_decides_are_rounded_as_nnunet_does(
    old: Shape, new: Shape, old_mm: Millimetres, new_mm: Millimetres, axis: int, centre: float, on_disk: bool
) -> None:
    logits = (centre * (1 + smooth(old, 6) * 2.0**-11)).half()
    wanted = by_nnunet(1)(logits, new, old_mm, new_mm).argmax(0)
    assert len(np.unique(wanted)) > 2
    with stored(logits, axis, on_disk) as kept_logits:
        found = greatest_between(kept_logits, planned(1, old, new, old_mm, new_mm), axis, lambda _: None)
    np.testing.assert_array_equal(found, wanted)


@ways
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [8.0, 60.0, 1000.0])
def test_large_logits_that_cancel_each_other_are_told_apart_as_nnunet_does(
    old: Shape, new: Shape, old_mm: Millimetres, new_mm: Millimetres, axis: int, size: float
) -> None:
    signs = torch.from_numpy(np.where(np.indices(old).sum(0) % 2, 1.0, -1.0))
    steps = torch.randint(-2, 3, (6, *old), generator=torch.Generator().manual_seed(5))
    logits = (size * (signs + steps * 2.0**-10)).half()
    wanted = by_nnunet(1)(logits, new, old_mm, new_mm).argmax(0)
    found = greatest_between(InMemory(logits), planned(1, old, new, old_mm, new_mm), axis, lambda _: None)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("size", [1, 5_000, 2**40])
def test_how_much_is_looked_at_at_a_time_changes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, old_mm, new_mm = WAYS[1][1:]
    logits = (1 + smooth(old, 6) * 2.0**-9).half()
    monkeypatch.setattr(between, "_CACHED_BYTES", size)
    found = greatest_between(InMemory(logits), planned(1, old, new, old_mm, new_mm), 1, lambda _: None)
    np.testing.assert_array_equal(found, by_nnunet(1)(logits, new, old_mm, new_mm).argmax(0))


def test_256_classes_are_told_apart() -> None:
    logits = smooth((4, 9, 8), 256, seed=4).half()
    wanted = by_nnunet(1)(logits, (5, 12, 11), (3, 1, 1), (2.4, 0.75, 0.73)).argmax(0)
    assert wanted.max() > 250
    to = planned(1, (4, 9, 8), (5, 12, 11), (3, 1, 1), (2.4, 0.75, 0.73))
    np.testing.assert_array_equal(greatest_between(InMemory(logits), to, 0, lambda _: None), wanted)


def test_of_equal_logits_the_first_class_is_taken() -> None:
    logits = InMemory(torch.zeros(3, 4, 5, 6, dtype=torch.half))
    found = greatest_between(logits, planned(1, (4, 5, 6), (4, 9, 9), (1, 1, 1), (1, 0.6, 0.7)), 0, lambda _: None)
    assert not found.any()


def test_another_resampling_than_the_default_is_left_to_its_own_function() -> None:
    for function in (
        partial(resample_torch_fornnunet, is_seg=False, force_separate_z=False),
        partial(resample_data_or_seg_to_shape, is_seg=True, order=1, order_z=0, force_separate_z=None),
        partial(resample_data_or_seg_to_shape, is_seg=False, order=2, order_z=0, force_separate_z=None),
        by_nnunet(3).func,
    ):
        assert grids(function, (4, 5, 6), (5, 6, 7), (1, 1, 1), (0.8, 0.8, 0.8)) is None


def test_slices_apart_are_left_to_nnunet_where_they_are_not_taken_from_the_nearest() -> None:
    blended = partial(resample_data_or_seg_to_shape, is_seg=False, order=3, order_z=1, force_separate_z=None)
    assert grids(blended, (4, 50, 60), (9, 60, 70), (9, 1, 1), (4, 0.8, 0.8)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_where_image_and_network_have_one_grid_each_voxel_has_its_greatest_logit(axis: int) -> None:
    logits = smooth((9, 14, 11), 6).half()
    logits[:, 2:4] = 1.5
    found = _as_they_lie(InMemory(logits), axis, lambda _: None)
    np.testing.assert_array_equal(found, logits.float().argmax(0))
    assert not found[2:4].any(), "of equal logits the first class is taken"
