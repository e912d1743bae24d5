"""The segments of a picture → a colour for each that is seen on grey and told from the others."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import Segment

DARKEST, ALIKE = 100, 34
"""Brightness (0..255) a colour has at least; distance in RGB under which two cannot be told apart."""
PAPER, INK, FAINT, WARNING = (13, 15, 19), (236, 238, 242), (140, 147, 158), (240, 178, 76)

Rgb = tuple[int, int, int]
_LEVELS = (40, 85, 130, 175, 215, 250)
_COLOURFUL = 60
"""Least difference of the strongest and the weakest primary: less of it looks like the image itself."""


def colours_of(segments: Sequence[Segment]) -> dict[int, Rgb]:
    """A colour by label value: the segment's own, as viewers show it, made light enough.

    One that an earlier segment's cannot be told from gives way to the colour farthest from all that are taken.
    """
    own = {segment.value: _lifted(segment.rgb) for segment in segments}
    taken: dict[int, Rgb] = {}
    for value, rgb in own.items():
        if all(math.dist(rgb, other) >= ALIKE for other in taken.values()):
            taken[value] = rgb
    for value in own:
        if value not in taken:
            taken[value] = _farthest(list(taken.values()))
    return {value: taken[value] for value in own}


def table(colours: Mapping[int, Rgb]) -> npt.NDArray[np.float32]:
    """The colours by label value as (256, 3); black where there is none."""
    rows = np.zeros((256, 3), dtype=np.float32)
    for value, rgb in colours.items():
        rows[value] = rgb
    return rows


def _brightness(rgb: Rgb) -> float:
    red, green, blue = rgb
    return 0.30 * red + 0.59 * green + 0.11 * blue


def _lifted(rgb: Rgb) -> Rgb:
    """The same hue, lighter where it is too dark to be seen on an MR image."""
    brightness = _brightness(rgb)
    lift = max(0.0, DARKEST - brightness) / max(1.0, 255 - brightness)
    red, green, blue = (round(primary + lift * (255 - primary)) for primary in rgb)
    return red, green, blue


_CHOICE: tuple[Rgb, ...] = tuple(
    (red, green, blue)
    for red, green, blue in product(_LEVELS, repeat=3)
    if _brightness((red, green, blue)) >= DARKEST and max(red, green, blue) - min(red, green, blue) >= _COLOURFUL
)


def _farthest(taken: Sequence[Rgb]) -> Rgb:
    return max(_CHOICE, key=lambda rgb: min(math.dist(rgb, other) for other in taken))
