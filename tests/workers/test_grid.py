"""Resampling, boxes and slabs: the authors' own grids, and every voxel back where it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from workers.grid import Box, box_around, laid_back, resampled, resampled_shape, slabs

sizes = st.integers(1, 40)
shapes = st.tuples(sizes, sizes, sizes)
lengths = st.floats(0.3, 8.0)
spacings = st.tuples(lengths, lengths, lengths)


def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).normal(300, 90, shape).astype(np.float32)


@pytest.mark.parametrize("wanted", [(1.5, 1.5, 1.5), (3.0, 3.0, 3.0), (3.0, 1.1875, 1.1250001788139343)])
@pytest.mark.parametrize(
    "spacing", [(3.0, 3.0, 3.0), (5.5, 0.7421875, 0.7421875), (0.8, 1.3, 6.6), (1.5, 1.5, 1.5)]
)
def test_an_image_is_resampled_as_totalsegmentator_resamples_it(
    spacing: tuple[float, float, float], wanted: tuple[float, float, float]
) -> None:
    before = image((21, 34, 17))
    # change_spacing of resampling.py: header spacings are float32, the rest is scipy's.
    factors = np.array(spacing, np.float32) / np.array(wanted)
    expected = ndimage.zoom(before.astype(np.float64), factors, mode="nearest", order=1)
    found = resampled(before, spacing, wanted)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("spacing", "count", "expected"), [(0.45, 5, 1), (0.75, 5, 2), (0.75, 7, 4), (0.9, 5, 3)])
def test_a_shape_between_two_whole_numbers_falls_as_in_single_precision(
    spacing: float, count: int, expected: int
) -> None:
    # 5 voxels of 0.45 mm are 1.5 voxels of 1.5 mm, but 0.45 in single precision is a little less.
    assert resampled_shape((count, 1, 1), (spacing, 1.5, 1.5), (1.5, 1.5, 1.5)) == (expected, 1, 1)


def test_an_image_of_0_to_1_stays_an_image() -> None:
    before = np.linspace(0, 1, 24 * 24 * 24, dtype=np.float32).reshape(24, 24, 24)
    found = resampled(before, (1.0, 1.0, 1.0), (1.5, 1.5, 1.5))
    assert len(np.unique(found)) > 1000
    assert np.ptp(found) == pytest.approx(1.0, abs=0.01)


def test_a_single_thin_slice_is_never_resampled_away() -> None:
    assert resampled(image((1, 4, 4)), (0.5, 6.0, 6.0), (6.0, 6.0, 6.0)).shape == (1, 4, 4)
    assert laid_back(np.ones((1, 4, 4), np.uint8), (3, 4, 4)).tolist() == np.ones((3, 4, 4)).tolist()


@given(shapes, spacings, spacings)
def test_a_label_map_comes_back_in_exactly_the_shape_of_its_image(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], wanted: tuple[float, float, float]
) -> None:
    labels = np.zeros(resampled_shape(shape, spacing, wanted), np.uint8)
    if labels.size < 2_000_000:
        assert laid_back(labels, shape).shape == shape


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 33])
def test_on_a_finer_grid_every_voxel_finds_itself_again(count: int) -> None:
    own = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, 2, 3))
    for factor in (2.0, 2.7, 4.4):
        finer = resampled(np.ascontiguousarray(own), (factor, 1.0, 1.0), (1.0, 1.0, 1.0))
        labels = np.floor(finer + 0.5).astype(np.uint8)
        assert np.array_equal(laid_back(labels, (count, 2, 3)), own)


def test_a_label_map_is_laid_back_as_scipy_lays_it_at_order_0() -> None:
    labels = np.random.default_rng(1).integers(0, 50, (14, 23, 11)).astype(np.uint8)
    shape = (21, 34, 17)
    factors = np.array(shape) / np.array(labels.shape)
    expected = ndimage.zoom(labels.astype(np.float64), factors, mode="nearest", order=0).astype(np.uint8)
    assert np.array_equal(laid_back(labels, shape), expected)


def test_a_box_has_the_mask_and_a_margin_of_whole_voxels_and_stays_in_the_image() -> None:
    mask = np.zeros((30, 40, 50), bool)
    mask[10:12, 1:4, 44] = True
    # 20 mm are 24 voxels of 0.8 mm in single precision (20 / 0.800000012), and not 25.
    box = box_around(mask, (5.0, 0.8, 3.0), 20)
    assert box == Box((6, 0, 38), (16, 28, 50))


def test_an_empty_mask_has_no_box() -> None:
    assert box_around(np.zeros((3, 4, 5), bool), (1.0, 1.0, 1.0), 20) is None


@given(st.tuples(*[st.integers(1, 9)] * 3), st.data())
def test_what_is_cut_out_lies_where_it_was_and_goes_back_there(
    shape: tuple[int, int, int], data: st.DataObject
) -> None:
    first = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    end = tuple(data.draw(st.integers(f + 1, n)) for f, n in zip(first, shape, strict=True))
    box = Box(first, end)  # type: ignore[arg-type]
    whole = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    back = box.put_back(box.cut(whole), shape)
    inside = np.zeros(shape, bool)
    inside[tuple(slice(f, e) for f, e in zip(first, end, strict=True))] = True
    assert np.array_equal(back, np.where(inside, whole, 0))
    affine = np.array([[0, 2.0, 0.5, 7], [-3, 0, 0, 8], [0, 0.1, 4, 9], [0, 0, 0, 1]])
    z, y, x = first
    assert np.allclose((box.moved(affine) @ [0, 0, 0, 1])[:3], (affine @ [x, y, z, 1])[:3])


@given(st.integers(1, 80), st.integers(0, 4))
def test_what_slabs_keep_is_every_slice_once_and_in_order(depth: int, level: int) -> None:
    parts = slabs(depth, level)
    assert [z for part in parts for z in range(part.keep_first, part.keep_end)] == list(range(depth))
    assert all(part.first <= part.keep_first < part.keep_end <= part.end for part in parts)
    assert all(part.first >= 0 and part.end <= depth for part in parts)


def theirs(depth: int, level: int) -> list[tuple[int, int]]:
    """`split_image` and `stitch_segmentations` of mrsegmentator 2.0.0, told in slice numbers."""
    parts = [np.arange(depth)]
    for _ in range(level):
        parts = [half for part in parts for half in (part[: len(part) // 2 + 3], part[len(part) // 2 - 3 :])]
    kept = list(parts)
    for _ in range(level):
        kept = [np.concatenate([kept[i][:-3], kept[i + 1][3:]]) for i in range(0, len(kept), 2)]
    assert np.array_equal(kept[0], np.arange(depth)), "theirs is sound for this depth"
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


@pytest.mark.parametrize(("depth", "level"), [(6, 1), (7, 1), (40, 1), (41, 2), (90, 3), (320, 4)])
def test_slabs_are_those_of_mrsegmentator(depth: int, level: int) -> None:
    assert [(part.first, part.end) for part in slabs(depth, level)] == theirs(depth, level)


def test_a_volume_thinner_than_the_margin_loses_no_slice() -> None:
    # mrsegmentator 2.0.0 gives one slice of four back.
    assert [(part.first, part.end, part.keep_first, part.keep_end) for part in slabs(4, 1)] == [
        (0, 4, 0, 2),
        (0, 4, 2, 4),
    ]
    assert [(part.first, part.end) for part in slabs(1, 3)] == [(0, 1)]
