"""A picture shows the patient as a radiologist expects: right on the left, and in the proportions of the body."""

import numpy as np
import pytest
from PIL import Image

from dicom_nodes.types import Code, Segment
from service.pictures import HEAD, MARGIN, colours_of, overlay

CODE = Code("1", "99TEST", "thing")
RED, GREEN = (240, 60, 60), (60, 220, 90)
SEGMENTS = (
    Segment(1, "on_the_right", CODE, CODE, None, RED),
    Segment(2, "on_the_left", CODE, CODE, None, GREEN),
)
GRIDS = {
    "axial": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "feet first": [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
    "prone": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    "coronal": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
}


def two_boxes(directions, spacing=(1.0, 1.0, 3.0), shape=(40, 60, 60)):
    """Labels 1 at the patient's right and 2 at the left, as mirror images, both toward the front and the head."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions).T * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    z, y, x = np.indices(shape).reshape(3, -1)
    left, posterior, superior = (affine @ np.stack([x, y, z, np.ones_like(x)]))[:3].reshape(3, *shape)
    labels = np.zeros(shape, dtype=np.uint8)
    inside = (posterior < -2) & (posterior > -25) & (superior > 2) & (superior < 25)
    labels[(left < -5) & (left > -25) & inside] = 1
    labels[(left > 5) & (left < 25) & inside] = 2
    return labels, affine


def where(picture, rgb):
    """Mean (row, column) of the points that have a colour's hue."""
    image = np.asarray(picture, dtype=float)
    likeness = image @ (np.array(rgb) - np.mean(rgb))
    rows, columns = np.nonzero(likeness > 0.5 * likeness.max())
    return rows.mean(), columns.mean()


@pytest.mark.parametrize("grid", GRIDS)
def test_the_patients_right_is_on_the_left_and_the_front_or_the_head_is_up(grid, tmp_path):
    labels, affine = two_boxes(GRIDS[grid])
    overlay(np.full(labels.shape, 100), labels, affine, SEGMENTS, "boxes", tmp_path / "boxes.png")
    with Image.open(tmp_path / "boxes.png") as sheet:
        side = sheet.height - HEAD - MARGIN  # a slice is 60 × 60 mm
        main = sheet.crop((MARGIN, HEAD, MARGIN + side, HEAD + side))
    right, left = where(main, RED), where(main, GREEN)
    assert right[1] < main.width / 2 < left[1]
    assert max(right[0], left[0]) < main.height / 2


def test_a_square_in_the_body_is_a_square_in_the_picture_whatever_the_spacing(tmp_path):
    labels, affine = two_boxes(GRIDS["axial"], spacing=(0.5, 1.5, 4.0), shape=(20, 80, 180))
    square = np.zeros_like(labels)
    square[8:12, 20:40, 40:100] = 1  # 30 × 30 mm
    overlay(np.zeros(labels.shape), square, affine, SEGMENTS, "", tmp_path / "square.png")
    with Image.open(tmp_path / "square.png") as sheet:
        height = sheet.height - HEAD - MARGIN
        main = np.asarray(sheet.crop((MARGIN, HEAD, MARGIN + height * 90 // 120, HEAD + height)))
    rows, columns = np.nonzero(main[..., 0] > 50 + main[..., 1].astype(int))
    assert np.ptp(rows) == pytest.approx(height * 30 / 120, abs=4)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=4)


def test_nothing_labelled_still_makes_a_picture_and_unknown_labels_are_not_drawn(tmp_path):
    labels, affine = two_boxes(GRIDS["axial"])
    grey = np.random.default_rng(0).normal(size=labels.shape)
    overlay(grey, np.zeros_like(labels), affine, SEGMENTS, "empty", tmp_path / "empty.png")
    overlay(grey, labels, affine, SEGMENTS[:1], "one", tmp_path / "one.png")
    with Image.open(tmp_path / "empty.png") as empty, Image.open(tmp_path / "one.png") as one:
        assert one.width > empty.width
        assert not _has(one, GREEN)
        assert _has(one, RED)


def _has(picture, rgb):
    return bool((np.abs(np.asarray(picture, dtype=int) - rgb).max(axis=2) < 12).sum() > 50)


def test_structures_keep_their_own_colours_unless_two_cannot_be_told_apart_or_seen():
    assert colours_of(SEGMENTS) == {1: RED, 2: GREEN}
    browns = [Segment(n, f"C{n}", CODE, CODE, None, (60 + n, 35, n)) for n in range(1, 6)]
    found = list(colours_of(browns).values())
    assert len(set(found)) == 5
    assert min(0.3 * r + 0.59 * g + 0.11 * b for r, g, b in found) >= 99
