"""One view and the colours of its labels → its panel: outlined, faintly filled, with letters and a scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dicom_nodes.pictures.colours import INK, Rgb, table
from dicom_nodes.pictures.views import Bytes, View

FINE = 2
"""Panels are drawn this many times larger and then reduced, which makes their lines smooth."""
FILL = 0.26
"""How much of a structure's colour covers the image inside its outline."""
EDGE: dict[str, Any] = {"stroke_width": 2, "stroke_fill": (0, 0, 0)}
BARS_MM = ((50, "5 cm"), (20, "2 cm"), (10, "1 cm"))

Box = tuple[int, int, int, int]
"""(x, y, width, height) in points."""


def font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The face that Pillow brings along, so that every machine draws the same."""
    return ImageFont.load_default(points)


def panel(view: View, size: tuple[int, int], colours: Mapping[int, Rgb], line: int = FINE + 1) -> Image.Image:
    """Draw a view at a size (width, height); `line` is the width of an outline, in points of the finer grid."""
    fine = (size[0] * FINE, size[1] * FINE)
    grey = np.asarray(Image.fromarray(view.grey).resize(fine, Image.Resampling.BICUBIC), dtype=np.float32)
    coarsest_mm = max(view.size_mm[0] / view.labels.shape[1], view.size_mm[1] / view.labels.shape[0])
    labels = smooth(view.labels, fine, 0.6 * coarsest_mm * fine[0] / view.size_mm[0])
    return mix(grey, labels, colours, line).resize(size, Image.Resampling.BOX)


def mix(grey: npt.NDArray[np.float32], labels: Bytes, colours: Mapping[int, Rgb], line: int) -> Image.Image:
    """Lay labels over a grey picture, both (row, column): outlines whole, what is inside them faintly."""
    weight = np.where(outline(labels, line), np.float32(1), np.float32(FILL)) * (labels > 0)
    mixed = grey[..., None] * (1 - weight[..., None]) + table(colours)[labels] * weight[..., None]
    return Image.fromarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def smooth(labels: Bytes, size: tuple[int, int], blur: float) -> Bytes:
    """A label picture at another size: each label's mask is blurred by `blur` points, the strongest wins."""
    best = np.full((size[1], size[0]), 127, dtype=np.uint8)
    result = np.zeros_like(best)
    for value in np.unique(labels[labels > 0]):
        mask = np.asarray((labels == value) * 255, dtype=np.uint8)
        x, y, width, height = _around(mask, size, blur)
        per_point = (labels.shape[1] / size[0], labels.shape[0] / size[1])
        box = (x * per_point[0], y * per_point[1], (x + width) * per_point[0], (y + height) * per_point[1])
        drawn = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR, box)
        strength = np.asarray(drawn.filter(ImageFilter.GaussianBlur(blur)))
        here = np.s_[y : y + height, x : x + width]
        wins = strength > best[here]
        result[here][wins], best[here][wins] = value, strength[wins]
    return result


def _around(mask: Bytes, size: tuple[int, int], blur: float) -> Box:
    """The part of the larger picture that a mask can reach."""
    found = []
    for axis, points in ((1, size[0]), (0, size[1])):
        cells = np.flatnonzero(mask.any(axis=1 - axis))
        each, reach = points / mask.shape[axis], 4 * blur + 2
        low = max(0, int((cells[0] - 1) * each - reach))
        high = min(points, int((cells[-1] + 2) * each + reach) + 1)
        found.append((low, high - low))
    (x, width), (y, height) = found
    return x, y, width, height


def outline(labels: Bytes, reach: int) -> npt.NDArray[np.bool_]:
    """Where another label, or none, is within `reach` points."""
    padded = np.pad(labels, reach, mode="edge")
    rows, columns = labels.shape
    edge = np.zeros(labels.shape, dtype=bool)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if 0 < dx * dx + dy * dy <= reach * reach:
                edge |= padded[reach + dy : reach + dy + rows, reach + dx : reach + dx + columns] != labels
    return edge


def letters(draw: ImageDraw.ImageDraw, sides: str, box: Box, points: int) -> None:
    """Say what is at the left, right, top and bottom of a panel."""
    x, y, width, height = box
    left, right, top, bottom = tuple(sides)
    style: dict[str, Any] = {"fill": INK, "font": font(points), **EDGE}
    draw.text((x + 8, y + height / 2), left, anchor="lm", **style)
    draw.text((x + width - 8, y + height / 2), right, anchor="rm", **style)
    draw.text((x + width / 2, y + 8), top, anchor="mt", **style)
    draw.text((x + width / 2, y + height - 8), bottom, anchor="mb", **style)


def caption(draw: ImageDraw.ImageDraw, text: str, box: Box, points: int) -> None:
    """Write what a panel shows into its upper left corner."""
    draw.text((box[0] + 9, box[1] + 9), text, anchor="lt", fill=(200, 204, 212), font=font(points), **EDGE)


def scale_bar(draw: ImageDraw.ImageDraw, view: View, box: Box, points: int = 15) -> None:
    """A length in the lower right corner that takes less than a third of the width; none where 1 cm does not."""
    fitting = [(mm, text) for mm, text in BARS_MM if mm < view.size_mm[0] / 2.8]
    if not fitting:
        return
    mm, text = fitting[0]
    x, y = box[0] + box[2] - 14, box[1] + box[3] - 14
    length = mm * box[2] / view.size_mm[0]
    draw.rectangle((x - length - 1, y - 2, x + 1, y + 2), fill=(0, 0, 0))
    draw.rectangle((x - length, y - 1, x, y + 1), fill=INK)
    draw.text((x - length / 2, y - 7), text, anchor="mb", fill=INK, font=font(points), **EDGE)


def shortened(draw: ImageDraw.ImageDraw, text: str, points: int, width: float) -> str:
    """A text that fits a width: where it does not, its middle is left out, since sides and numbers stand last."""
    face, kept = font(points), len(text)
    shown = text
    while kept > 2 and draw.textlength(shown, font=face) > width:
        kept -= 1
        tail = kept // 2
        shown = f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"
    return shown
