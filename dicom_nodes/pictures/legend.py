"""The segments of a picture → lines of colour, name and volume, in as many columns as they need."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from dicom_nodes.pictures.colours import FAINT, INK, Rgb
from dicom_nodes.pictures.panel import font, shortened
from dicom_nodes.types import Affine, Segment

COLUMN, BETWEEN, LINE = 276, 28, 30
"""The width of a column, what is between two, and the height of a line, in points."""
CLOSEST = 24
"""The least height of a line, where there are many."""


@dataclass(frozen=True, slots=True)
class Legend:
    """How a legend is laid out."""

    columns: int
    lines: int
    line: int
    """The height of a line."""

    @property
    def width(self) -> int:
        """In points; nothing where nothing is shown."""
        return max(0, (COLUMN + BETWEEN) * self.columns - BETWEEN)

    @property
    def height(self) -> int:
        """In points."""
        return self.line * self.lines


def lay_out(count: int, height: int) -> Legend:
    """The legend of `count` structures in as few columns of at most `height` as they fit."""
    if not count:
        return Legend(0, 0, LINE)
    columns = math.ceil(count / max(1, height // CLOSEST))
    lines = math.ceil(count / columns)
    return Legend(columns, lines, min(LINE, max(CLOSEST, height // lines)))


def draw_legend(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    legend: Legend,
    shown: Sequence[Segment],
    colours: Mapping[int, Rgb],
    volumes: Mapping[int, float],
) -> None:
    """Draw it from its upper left corner; volumes are in mL, by label value."""
    points = 17 if legend.line >= 27 else 16
    for number, segment in enumerate(shown):
        x = corner[0] + (COLUMN + BETWEEN) * (number // legend.lines)
        middle = corner[1] + legend.line * (number % legend.lines) + legend.line / 2
        draw.rounded_rectangle((x, middle - 8, x + 16, middle + 8), 4, fill=colours[segment.value])
        amount = f"{millilitres(volumes[segment.value])} mL"
        left = COLUMN - 40 - draw.textlength(amount, font=font(15))
        name = shortened(draw, segment.name.replace("_", " "), points, left)
        draw.text((x + 28, middle), name, anchor="lm", fill=INK, font=font(points))
        draw.text((x + COLUMN, middle), amount, anchor="rm", fill=FAINT, font=font(15))


def volumes_ml(labels: np.ndarray, affine: Affine) -> dict[int, float]:
    """The volume of each label of (z, y, x), in mL."""
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    counts = np.bincount(labels.ravel(), minlength=256)
    return {int(value): int(counts[value]) * voxel for value in np.flatnonzero(counts)}


def millilitres(volume_ml: float) -> str:
    """Without digits after the point where there are enough before it."""
    return f"{volume_ml:.0f}" if volume_ml >= 100 else f"{volume_ml:.1f}" if volume_ml >= 1 else f"{volume_ml:.2f}"
