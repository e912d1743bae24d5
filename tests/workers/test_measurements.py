"""What is measured of each segment: against plain masks, at the edges, and where squares would cancel."""

import numpy as np
import pytest

from dicom_nodes.types import Algorithm, Code, Edge, LabelMap, Measurement, Segment, Voxels
from workers.measurements import measure_segments

AFFINE = np.diag([0.8, 1.25, 3.0, 1.0])
BODY = Code("123037004", "SCT", "Anatomical Structure")


def measured(labels: np.ndarray, values: np.ndarray) -> dict[int, Measurement]:
    segments = tuple(Segment(int(v), f"s{v}", BODY, BODY, None, (1, 2, 3)) for v in np.unique(labels) if v)
    label_map = LabelMap(labels.astype(np.uint8), AFFINE, segments, Algorithm("a", "1", "here", False))
    found = measure_segments(label_map, Voxels(values.astype(np.float32), AFFINE))
    return {each.value: each for each in found}


def test_every_number_is_the_one_that_a_plain_mask_gives() -> None:
    random = np.random.default_rng(3)
    labels = random.choice([0, 1, 2, 7, 255], p=[0.6, 0.1, 0.1, 0.1, 0.1], size=(6, 21, 17)).astype(np.uint8)
    labels[2] = 0
    values = random.normal(400, 90, labels.shape).astype(np.float32)
    found = measured(labels, values)
    assert list(found) == [1, 2, 7, 255]
    for value, each in found.items():
        mask = labels == value
        assert each.volume_ml == pytest.approx(mask.sum() * 0.8 * 1.25 * 3.0 / 1000)
        assert each.mean == pytest.approx(float(values[mask].mean(dtype=np.float64)))
        assert each.sd == pytest.approx(float(values[mask].std(dtype=np.float64)))
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        assert (each.slices, each.first_slice, each.last_slice) == (slices.size, slices[0], slices[-1])


@pytest.mark.parametrize(
    ("place", "edges"),
    [
        (np.s_[1:3, 2:4, 2:4], ()),
        (np.s_[0:2, 2:4, 2:4], (Edge.FIRST_SLICE,)),
        (np.s_[3:5, 2:4, 2:4], (Edge.LAST_SLICE,)),
        (np.s_[1:3, 0:2, 2:4], (Edge.IN_PLANE,)),
        (np.s_[1:3, 4:6, 2:4], (Edge.IN_PLANE,)),
        (np.s_[1:3, 2:4, 0:2], (Edge.IN_PLANE,)),
        (np.s_[1:3, 2:4, 5:7], (Edge.IN_PLANE,)),
        (np.s_[:, :, :], (Edge.IN_PLANE, Edge.FIRST_SLICE, Edge.LAST_SLICE)),
    ],
)
def test_an_edge_is_named_where_the_structure_reaches_it(
    place: tuple[slice, slice, slice], edges: tuple[Edge, ...]
) -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[place] = 4
    assert measured(labels, np.zeros(labels.shape))[4].edges == edges


def test_a_small_spread_of_large_values_is_not_lost_in_rounding() -> None:
    labels = np.ones((40, 32, 32), np.uint8)
    values = np.full(labels.shape, 16_000_000, np.float32)
    values[::2] += 2
    (each,) = measured(labels, values).values()
    assert each.sd == pytest.approx(1.0, rel=1e-9)
    assert each.mean == pytest.approx(16_000_001, rel=1e-12)


def test_values_that_are_not_finite_spoil_the_intensities_of_their_segment_alone() -> None:
    labels = np.array([[[1, 2]], [[1, 2]]], np.uint8)
    found = measured(labels, np.array([[[np.nan, 3.0]], [[5.0, 5.0]]]))
    assert (found[1].mean, found[1].sd) == (None, None)
    assert found[1].volume_ml > 0
    assert (found[2].mean, found[2].sd) == (4.0, 1.0)


def test_an_empty_label_map_has_no_measurements() -> None:
    assert measured(np.zeros((2, 3, 4)), np.ones((2, 3, 4))) == {}


def test_voxels_of_another_shape_are_refused() -> None:
    labels = LabelMap(np.zeros((2, 3, 4), np.uint8), AFFINE, (), Algorithm("a", "1", "here", False))
    with pytest.raises(ValueError, match="does not lie on"):
        measure_segments(labels, Voxels(np.zeros((2, 3, 5), np.float32), AFFINE))
