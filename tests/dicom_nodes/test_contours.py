"""Polygons around a mask enclose it pixel for pixel, for every rule by which a reader may fill them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.contours import Mask, Polygon, fill, signed_area, trace

PIXEL = [(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)]


def mask(*rows: str) -> Mask:
    return np.array([[c == "#" for c in row] for row in rows])


def corners(polygon: Polygon) -> list[tuple[float, float]]:
    return [(row, column) for row, column in polygon.tolist()]


def random_mask(random: np.random.Generator) -> Mask:
    shape = tuple(random.integers(1, 15, 2))
    made: Mask = random.random(shape) < random.choice([0.1, 0.4, 0.7, 0.9, 1.0])
    return made


def winding_numbers(polygons: Sequence[Polygon], shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """How often the polygons go around each pixel's centre, one edge and one pixel after another."""
    found = np.zeros(shape, dtype=np.intp)
    for polygon in polygons:
        for (row, column), (next_row, next_column) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            for r, c in np.ndindex(*shape):
                if column == next_column and column < c and min(row, next_row) < r < max(row, next_row):
                    found[r, c] += 1 if next_row < row else -1
    return found


def assert_encloses(polygons: Sequence[Polygon], expected: Mask) -> None:
    assert np.array_equal(fill(polygons, expected.shape), expected)  # by XOR
    united = np.zeros(expected.shape, dtype=bool)
    for polygon in polygons:
        united |= fill([polygon], expected.shape)
    assert np.array_equal(united, expected)
    assert signed_area(polygons) == np.count_nonzero(expected)


def test_one_pixel_is_the_square_around_its_centre() -> None:
    (polygon,) = trace(mask("#"))
    assert corners(polygon) == PIXEL


def test_nothing_has_no_polygon() -> None:
    assert trace(mask("...", "...")) == []
    assert not fill([], (2, 3)).any()


def test_points_on_a_straight_way_are_left_out() -> None:
    (polygon,) = trace(mask("......", ".####.", ".####."))
    assert corners(polygon) == [(0.5, 0.5), (0.5, 4.5), (2.5, 4.5), (2.5, 0.5)]


def test_islands_are_polygons_of_their_own_from_the_top_down() -> None:
    polygons = trace(mask("#..#", "#...", "..##"))
    assert [len(polygon) for polygon in polygons] == [4, 4, 4]
    assert [corners(polygon)[0] for polygon in polygons] == [(-0.5, -0.5), (-0.5, 2.5), (1.5, 1.5)]


@pytest.mark.parametrize("rows", [("#.", ".#"), (".#", "#.")])
def test_pixels_that_touch_at_a_corner_are_apart(rows: tuple[str, str]) -> None:
    polygons = trace(mask(*rows))
    assert [len(polygon) for polygon in polygons] == [4, 4]
    assert_encloses(polygons, mask(*rows))


def test_a_hole_is_reached_by_a_channel_between_pixels() -> None:
    ring = mask("###", "#.#", "###")
    (polygon,) = trace(ring)
    around = [(-0.5, -0.5), (-0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (0.5, 1.5), (0.5, 0.5), (-0.5, 0.5)]
    assert corners(polygon) == [*around, (-0.5, 2.5), (2.5, 2.5), (2.5, -0.5)]
    assert_encloses([polygon], ring)


@pytest.mark.parametrize(
    "rows",
    [
        ("#####", "#.#.#", "#####", "#.#.#", "#####"),  # holes beside and below each other
        ("#####", "#...#", "#.#.#", "#...#", "#####"),  # an island in a hole
        ("#####", "#.###", "##.##", "###.#", "#####"),  # holes that touch at corners
        ("####", "#..#", "#.##", "##.."),  # a hole that touches the outside at a corner
        ("#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"),  # a ring in a ring
        ("..#..", ".###.", "#####", ".###.", "..#.."),
    ],
)
def test_holes_and_what_is_in_them_come_back(rows: tuple[str, ...]) -> None:
    expected = mask(*rows)
    polygons = trace(expected)
    assert_encloses(polygons, expected)
    assert np.array_equal(winding_numbers(polygons, expected.shape), expected)


def test_whatever_is_set_comes_back_pixel_for_pixel_and_without_needless_points() -> None:
    random = np.random.default_rng(5)
    for _ in range(600):
        expected = random_mask(random)
        polygons = trace(expected)
        assert_encloses(polygons, expected)
        for polygon in polygons:
            steps = np.roll(polygon, -1, axis=0) - polygon
            assert (np.count_nonzero(steps, axis=1) == 1).all()  # along rows or columns, and never on the spot
            assert ((steps * np.roll(steps, -1, axis=0)).sum(axis=1) <= 0).all()  # never straight on


def test_the_winding_number_of_what_is_set_is_one() -> None:
    random = np.random.default_rng(6)
    for _ in range(15):
        expected = random_mask(random)
        assert np.array_equal(winding_numbers(trace(expected), expected.shape), expected)


def test_a_polygon_of_too_many_points_is_cut_into_parts_that_do_not_overlap() -> None:
    random = np.random.default_rng(7)
    for _ in range(100):
        expected = random_mask(random)
        polygons = trace(expected, most_points=12)
        assert max(map(len, polygons), default=0) <= 12
        assert_encloses(polygons, expected)


def test_corners_between_pixels_and_outside_the_image_are_filled_at_pixel_centres() -> None:
    triangle = np.array([(-0.9, -2.0), (3.4, -2.0), (3.4, 2.3)])
    assert np.array_equal(fill([triangle], (4, 3)), mask("...", "...", "#..", "##."))
    beyond = np.array([(-7.0, -7.0), (-7.0, 70.0), (70.0, 70.0), (70.0, -7.0)])
    assert fill([beyond], (4, 3)).all()
    assert not fill([beyond + 100], (4, 3)).any()


def test_many_holes_are_joined_in_a_moment() -> None:
    expected = np.random.default_rng(8).random((200, 200)) < 0.85
    assert_encloses(trace(expected), expected)
