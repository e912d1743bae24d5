"""A picture shows the patient as a radiologist expects: right on the left, and in the proportions of the body."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dicom_nodes.encode.identity import PHANTOM as SAID_IN_NAMES
from dicom_nodes.pictures import draw_sheet, headline, sheet
from dicom_nodes.pictures.colours import colours_of
from dicom_nodes.pictures.legend import lay_out
from dicom_nodes.pictures.sheet import HEAD, MARGIN, PHANTOM
from dicom_nodes.pictures.views import labelled, lay, planes, strip, windowed
from dicom_nodes.types import Algorithm, Code, Finished, LabelMap, Laterality, ResultIdentity, Segment, Voxels
from tests.dicom_nodes import seg_sources as made

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
PANEL = 760
"""What a square panel measures."""


def of(
    labels: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    segments: tuple[Segment, ...] = SEGMENTS,
    phantom: bool = False,
) -> LabelMap:
    return LabelMap(labels, affine, segments, Algorithm("model", "1", "somebody", phantom=phantom))


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


def has(picture, rgb):
    return bool((np.abs(np.asarray(picture, dtype=int) - rgb).max(axis=2) < 12).sum() > 50)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_patients_right_is_on_the_left_and_the_front_or_the_head_is_up(grid):
    labels, affine = two_boxes(GRIDS[grid])
    picture = sheet(np.full(labels.shape, 100), of(labels, affine), "boxes")
    main = picture.crop((MARGIN, HEAD, MARGIN + PANEL, HEAD + PANEL))  # a slice is 60 x 60 mm
    right, left = where(main, RED), where(main, GREEN)
    assert right[1] < main.width / 2 < left[1]
    assert max(right[0], left[0]) < main.height / 2


@pytest.mark.parametrize("grid", GRIDS)
def test_the_strip_shows_each_slice_under_its_number_in_the_volume(grid):
    """Every slice has another grey value: the number on a tile leads to the pixels of that slice."""
    labels, affine = two_boxes(GRIDS[grid])
    pixels = np.arange(40.0)[:, None, None] * np.ones(labels.shape)
    body = lay(pixels, labels, affine)
    count, _ = labelled(body)
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    assert count == shown.size
    tiles = strip(body, 5)
    numbers = [int(tile.caption.split(" / ")[0]) for tile in tiles]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (shown[0] + 1, shown[-1] + 1)
    grey = windowed(pixels)[:, 0, 0]
    for tile, number in zip(tiles, numbers, strict=True):
        assert tile.caption == f"{number} / 40"
        assert (tile.grey == grey[number - 1]).all()
        assert (np.unique(tile.labels) == np.unique(labels[number - 1])).all()


def test_the_tiles_are_cut_to_what_is_labelled_and_show_all_of_it():
    labels, affine = two_boxes(GRIDS["axial"], shape=(40, 160, 160))
    body = lay(np.zeros(labels.shape), labels, affine)
    tiles = strip(body, labelled(body)[0])
    assert tiles[0].labels.shape < labels.shape[1:]
    assert sum(np.count_nonzero(tile.labels) for tile in tiles) == np.count_nonzero(labels)
    assert planes(body)[0].labels.shape == labels.shape[1:]


def test_a_square_in_the_body_is_a_square_in_the_picture_whatever_the_spacing():
    labels, affine = two_boxes(GRIDS["axial"], spacing=(0.5, 1.5, 4.0), shape=(20, 80, 180))
    square = np.zeros_like(labels)
    square[8:12, 20:40, 40:100] = 1  # 30 x 30 mm
    picture = sheet(np.zeros(labels.shape), of(square, affine), "")
    main = np.asarray(picture.crop((MARGIN, HEAD, MARGIN + PANEL * 90 // 120, HEAD + PANEL)))
    rows, columns = np.nonzero(main[..., 0] > 50 + main[..., 1].astype(int))
    assert np.ptp(rows) == pytest.approx(PANEL * 30 / 120, abs=4)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=4)


def test_nothing_labelled_still_makes_a_picture_and_unknown_labels_are_not_drawn():
    labels, affine = two_boxes(GRIDS["axial"])
    grey = np.random.default_rng(0).normal(size=labels.shape)
    empty = sheet(grey, of(np.zeros_like(labels), affine), "empty")
    one = sheet(grey, of(labels, affine, SEGMENTS[:1]), "one")
    assert one.height > empty.height
    assert not has(one, GREEN)
    assert has(one, RED)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 9, 7), (200, 16, 300), (2, 640, 31)])
def test_volumes_of_odd_shapes_are_drawn(shape):
    labels = np.zeros(shape, np.uint8)
    labels[0, 3, 4] = 1
    picture = sheet(np.full(shape, np.nan), of(labels, np.diag([0.4, 0.4, 8.0, 1.0])), "odd")
    assert max(picture.size) < 4000


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (25, 1), (44, 2), (80, 4), (255, 11)])
def test_the_names_of_all_structures_fit_in_the_height_that_is_there(count, columns):
    legend = lay_out(count, 600)
    assert legend.columns == columns
    assert legend.columns * legend.lines >= count
    assert legend.height <= 600


def test_every_one_of_eighty_structures_has_its_line_and_a_colour_of_its_own():
    labels = np.zeros((8, 90, 90), np.uint8)
    segments = tuple(Segment(n, f"structure_{n}", CODE, CODE, None, (n, 2 * n % 256, 9)) for n in range(1, 81))
    for n in range(80):
        labels[n % 8, 10 * (n // 10) + 1 : 10 * (n // 10) + 9, 9 * (n % 10) : 9 * (n % 10) + 8] = n + 1
    colours = colours_of(segments)
    picture = np.asarray(sheet(np.zeros(labels.shape), of(labels, np.eye(4), segments), "many"))
    legend = picture[:, -700:].reshape(-1, 3)
    seen = {tuple(int(v) for v in rgb) for rgb in np.unique(legend, axis=0)}
    assert len(set(colours.values())) == 80
    assert set(colours.values()) <= seen


def test_structures_keep_their_own_colours_unless_two_cannot_be_told_apart_or_seen():
    assert colours_of(SEGMENTS) == {1: RED, 2: GREEN}
    browns = [Segment(n, f"C{n}", CODE, CODE, None, (60 + n, 35, n)) for n in range(1, 6)]
    found = colours_of([*SEGMENTS, *(Segment(s.value + 2, s.name, CODE, CODE, None, s.rgb) for s in browns)])
    assert (found[1], found[2]) == (RED, GREEN)
    assert len(set(found.values())) == 7
    assert min(0.3 * r + 0.59 * g + 0.11 * b for r, g, b in found.values()) >= 99


def test_a_sheet_of_a_phantom_model_says_so_as_its_names_do():
    labels, affine = two_boxes(GRIDS["axial"])
    plain, phantom = (
        np.asarray(sheet(np.zeros(labels.shape), of(labels, affine, phantom=each), "boxes"))[:HEAD]
        for each in (False, True)
    )
    assert PHANTOM == SAID_IN_NAMES
    changed = np.nonzero((plain != phantom).any(axis=(0, 2)))[0]
    assert changed.size > 100
    assert changed.min() > plain.shape[1] / 2


def test_the_same_job_gives_the_same_png_with_its_protocol_and_side(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    label_map = made.label_map(volume, 1, 2)
    identity = ResultIdentity("sub", "knee_joint", 1, Laterality.LEFT, datetime(2026, 1, 1, tzinfo=UTC), "0", "S")
    finished = Finished(label_map, volume, identity, ())
    voxels = Voxels(np.random.default_rng(0).normal(size=volume.shape).astype(np.float32), volume.affine)
    first = draw_sheet(finished, voxels)
    assert first == draw_sheet(finished, voxels)
    with Image.open(io.BytesIO(first)) as png:
        assert (png.format, png.mode, png.info) == ("PNG", "RGB", {})
    assert headline(finished) == "Knee joint left"
