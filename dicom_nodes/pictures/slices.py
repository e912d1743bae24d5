"""Pixels and a label map → every slice with labels, as it was acquired, with outlines and who is who below it.

Nothing is turned: rows and columns of a picture run as those of the source, and the letters say where to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicom_nodes.orientation import axis_letters
from dicom_nodes.pictures.colours import FAINT, INK, PAPER, WARNING, Rgb, colours_of
from dicom_nodes.pictures.panel import FINE, caption, font, letters, mix, shortened, smooth
from dicom_nodes.pictures.sheet import NOT_FOR_DIAGNOSIS, PHANTOM
from dicom_nodes.pictures.views import Bytes, windowed
from dicom_nodes.types import Affine, LabelMap, Segment

ABOUT, MOST = 512, 1024
"""What the longer side of a slice should measure, in points, and at most."""
COLUMN, LINE, SIDE = 158, 18, 10
"""The least width of a column of the legend, the height of its lines, what is left free at either side."""
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_NAMES = {"S": "H", "I": "F"}
"""Head and foot in the letters of PatientOrientation (0020,0020)."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The pictures of a result, one for each slice with labels, in the order of the volume."""

    frames: Bytes
    """(picture, row, column, RGB)."""
    numbers: tuple[int, ...]
    """The slice of each, counted from 0."""
    points: tuple[int, int]
    """How large a slice is drawn: (width, height) from the upper left corner; below it stands the legend."""
    towards: tuple[str, str]
    """Where rows and columns run to in the patient, as PatientOrientation says it."""


def draw_slices(pixels: npt.NDArray[Any], label_map: LabelMap) -> Slices:
    """Draw every slice of (z, y, x) that has labels. Raises ValueError where none has."""
    numbers = tuple(int(z) for z in np.flatnonzero(label_map.array.any(axis=(1, 2))))
    if not numbers:
        raise ValueError("no slice has labels")
    grey, points = windowed(pixels), enlarged(*label_map.array.shape[1:])
    present = [_present(label_map, z) for z in numbers]
    colours = colours_of([s for s in label_map.segments if any(s in each for each in present)])
    footer = _Footer(points[0], max(map(len, present)), label_map.algorithm.phantom)
    towards = directions(label_map.affine)
    frames = np.empty((len(numbers), points[1] + footer.height, points[0], 3), dtype=np.uint8)
    for picture, z, shown in zip(frames, numbers, present, strict=True):
        text = f"{z + 1} / {len(grey)}"
        drawn = _slice(grey[z], label_map.array[z], points, colours)
        _write(drawn, towards, text)
        picture[: points[1]] = np.asarray(drawn)
        picture[points[1] :] = np.asarray(footer.draw(shown, colours))
    return Slices(frames, numbers, points, towards)


def enlarged(rows: int, columns: int) -> tuple[int, int]:
    """(width, height) of a slice at the whole multiple, or the whole part, that is nearest to what is wanted."""
    longer = max(rows, columns)
    if longer > MOST:
        part = math.ceil(longer / MOST)
        return max(1, columns // part), max(1, rows // part)
    times = max(1, min(round(ABOUT / longer), MOST // longer))
    return columns * times, rows * times


def directions(affine: Affine) -> tuple[str, str]:
    """Where the rows and the columns of a slice run to, one letter each, the nearest."""
    along_row, along_column, _ = (_NAMES.get(letter, letter) for letter in axis_letters(affine))
    return along_row, along_column


def _present(label_map: LabelMap, z: int) -> list[Segment]:
    values = set(np.unique(label_map.array[z]).tolist())
    return [segment for segment in label_map.segments if segment.value in values]


def _slice(grey: Bytes, labels: Bytes, points: tuple[int, int], colours: dict[int, Rgb]) -> Image.Image:
    fine = points[0] * FINE, points[1] * FINE
    shown = np.where(np.isin(labels, list(colours)), labels, np.uint8(0))
    large = np.asarray(Image.fromarray(grey).resize(fine, Image.Resampling.BICUBIC), dtype=np.float32)
    drawn = mix(large, smooth(shown, fine, 0.6 * fine[0] / grey.shape[1]), colours, FINE)
    return drawn.resize(points, Image.Resampling.BOX)


def _write(picture: Image.Image, towards: tuple[str, str], text: str) -> None:
    """Write the letters of the sides and the number of the slice."""
    draw, (right, bottom) = ImageDraw.Draw(picture), towards
    box = (0, 0, *picture.size)
    letters(draw, _OPPOSITE[right] + right + _OPPOSITE[bottom] + bottom, box, 17)
    caption(draw, text, box, 13)


class _Footer:
    """What stands below every slice: that it is not for diagnosis, and the structures in it."""

    def __init__(self, width: int, most: int, phantom: bool) -> None:
        self.columns = max(1, (width - 2 * SIDE) // COLUMN)
        self.width, self.lines = width, math.ceil(most / self.columns)
        self.words: Sequence[tuple[str, Rgb]] = [(NOT_FOR_DIAGNOSIS, FAINT)]
        if phantom:
            self.words = [(PHANTOM, WARNING), *self.words]
        self.height = LINE * (len(self.words) + self.lines) + 2 * SIDE

    def draw(self, shown: Sequence[Segment], colours: dict[int, Rgb]) -> Image.Image:
        """Draw it for one slice."""
        picture = Image.new("RGB", (self.width, self.height), PAPER)
        draw = ImageDraw.Draw(picture)
        wide = (self.width - 2 * SIDE) / self.columns
        for number, segment in enumerate(shown):
            x = SIDE + wide * (number % self.columns)
            middle = SIDE + LINE * (number // self.columns + 0.5)
            draw.rounded_rectangle((x, middle - 5, x + 10, middle + 5), 2, fill=colours[segment.value])
            name = shortened(draw, segment.name.replace("_", " "), 13, wide - 26)
            draw.text((x + 17, middle), name, anchor="lm", fill=INK, font=font(13))
        for number, (words, rgb) in enumerate(self.words):
            middle = SIDE + LINE * (self.lines + number + 0.5)
            draw.text((SIDE, middle), words, anchor="lm", fill=rgb, font=font(12))
        return picture
