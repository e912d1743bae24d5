"""Pixels, a label map and its meaning → one PNG: the best slice and two reformats, outlined, with a legend.

Radiological convention: the patient's right is on the left of axial and coronal pictures, the front on the left of
sagittal ones. Proportions are those of the body, whatever the spacing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from dicom_nodes.orientation import reorient
from dicom_nodes.types import Affine, Plane, Segment

WIDEST, HIGHEST, WIDEST_BESIDE = 800, 760, 580
"""What one panel may measure, in points of the picture; and how wide a reformat may be."""
MARGIN, GUTTER, HEAD = 28, 12, 74
COLUMN, LINES = 250, 24
"""The width of a column of the legend, and how many names it holds."""
FINE = 2
"""Panels are drawn this many times larger and then reduced, which makes their lines smooth."""
OPACITY = 0.34
DARKEST, ALIKE = 100, 34
"""Brightness (0..255) a colour has at least; distance in RGB under which two cannot be told apart."""
PAPER, INK, FAINT = (13, 15, 19), (236, 238, 242), (140, 147, 158)
EDGE: dict[str, Any] = {"stroke_width": 2, "stroke_fill": (0, 0, 0)}
SIDES = {Plane.AXIAL: "RLAP", Plane.CORONAL: "RLHF", Plane.SAGITTAL: "APHF"}
"""What is at the left, right, top and bottom of a picture of this plane, in the letters of (0020,0020)."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One plane through the volume, as it is looked at: row 0 at the top."""

    plane: Plane
    grey: Bytes
    """(row, column), windowed."""
    labels: Bytes
    """(row, column)."""
    size_mm: tuple[float, float]
    """(width, height)."""


def overlay(
    pixels: npt.NDArray[Any],
    labels: Bytes,
    affine: Affine,
    segments: tuple[Segment, ...],
    title: str,
    path: Path,
) -> None:
    """Write the picture of a label map over its source, both (z, y, x) on one affine.

    Labels without a segment are not drawn; a segment that is nowhere is not in the legend.
    """
    shown = [s for s in segments if (labels == s.value).any()]
    views = _views(pixels, np.where(np.isin(labels, [s.value for s in shown]), labels, 0), affine)
    boxes = _layout([view.size_mm for view in views])
    extent = max(x + width for x, _, width, _ in boxes), max(y + height for _, y, _, height in boxes)
    legend_width = COLUMN * math.ceil(len(shown) / LINES)
    sheet = Image.new("RGB", (extent[0] + 2 * MARGIN + legend_width, extent[1] + HEAD + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 24), title, fill=INK, font=_font(26))
    colours = colours_of(shown)
    for view, (x, y, width, height) in zip(views, boxes, strict=True):
        place = (MARGIN + x, HEAD + y)
        sheet.paste(_panel(view, (width, height), colours), place)
        _letters(draw, view.plane, (*place, width, height))
        _scale_bar(draw, view, (*place, width, height))
    _legend(draw, (MARGIN + extent[0] + 26, HEAD), shown, colours, _millilitres(labels, affine))
    sheet.save(path)


def colours_of(segments: Sequence[Segment]) -> dict[int, tuple[int, int, int]]:
    """A colour by label value: the segments' own, made light enough; all over the hues if two are too alike."""
    own = [_lifted(segment.rgb) for segment in segments]
    alike = any(math.dist(one, other) < ALIKE for one, other in combinations(own, 2))
    if alike:
        steps = range(len(segments))
        own = [
            _lifted(ImageColor.getrgb(f"hsl({320 * n / len(own):.0f}, 85%, {58 + 10 * (n % 2)}%)")) for n in steps
        ]
    return {segment.value: rgb for segment, rgb in zip(segments, own, strict=True)}


def _lifted(rgb: Sequence[int]) -> tuple[int, int, int]:
    """The same hue, lighter where it is too dark to be seen on an MR image."""
    red, green, blue = rgb
    brightness = 0.30 * red + 0.59 * green + 0.11 * blue
    lift = max(0.0, DARKEST - brightness) / max(1.0, 255 - brightness)
    return round(red + lift * (255 - red)), round(green + lift * (255 - green)), round(blue + lift * (255 - blue))


def _views(pixels: npt.NDArray[Any], labels: Bytes, affine: Affine) -> list[View]:
    """The plane of the slices first, then the two reformats; each where most is to be seen."""
    grey, turned = reorient(_windowed(pixels), affine, "LPS"), reorient(labels, affine, "LPS")
    sz, sy, sx = grey.spacing_mm
    nz, ny, nx = grey.array.shape
    planes = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
    sizes = ((nx * sx, ny * sy), (nx * sx, nz * sz), (ny * sy, nz * sz))
    views = []
    for axis, (plane, size) in enumerate(zip(planes, sizes, strict=True)):
        index = _richest(turned.array, axis)
        both = (np.take(array, index, axis) for array in (grey.array, turned.array))
        picture, mask = (layer if plane is Plane.AXIAL else layer[::-1] for layer in both)
        views.append(View(plane, picture, mask, size))
    first = int(grey.transposition.index(0))
    return [views[first], *(view for axis, view in enumerate(views) if axis != first)]


def _windowed(pixels: npt.NDArray[Any]) -> Bytes:
    low, high = np.percentile(pixels, (1, 99))
    return np.asarray(np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255, dtype=np.uint8)


def _richest(labels: npt.NDArray[Any], axis: int) -> int:
    """The index along an axis where most is to be seen: the most structures in the largest sections.

    Sections count by their diameter rather than their area, so that one large organ does not hide several small
    ones. The middle where nothing is labelled.
    """
    others = tuple(a for a in range(3) if a != axis)
    areas = [np.count_nonzero(labels == value, axis=others) for value in np.unique(labels[labels > 0])]
    return int(np.argmax(np.sqrt(areas).sum(axis=0))) if areas else labels.shape[axis] // 2


def _layout(sizes: Sequence[tuple[float, float]]) -> list[tuple[int, int, int, int]]:
    """Boxes (x, y, width, height) of the panels: reformats beside the first, stacked unless they are narrow."""
    (w0, h0), (w1, h1), (w2, h2) = sizes
    narrow = max(w1, w2) <= w0 / 2
    if narrow:
        scale = min(HIGHEST / max(h0, h1, h2), WIDEST / w0)
        beside = scale
    else:
        scale = min(HIGHEST / h0, WIDEST / w0)
        beside = min((scale * h0 - GUTTER) / (h1 + h2), WIDEST_BESIDE / max(w1, w2))
    a = round(w0 * scale), round(h0 * scale)
    b, c = ((round(w * beside), round(h * beside)) for w, h in sizes[1:])
    second = (a[0] + GUTTER, 0)
    third = (second[0] + b[0] + GUTTER, 0) if narrow else (second[0], b[1] + GUTTER)
    return [(0, 0, *a), (*second, *b), (*third, *c)]


def _panel(view: View, size: tuple[int, int], colours: Mapping[int, tuple[int, int, int]]) -> Image.Image:
    fine = (size[0] * FINE, size[1] * FINE)
    grey = np.asarray(Image.fromarray(view.grey).resize(fine, Image.Resampling.BICUBIC), dtype=np.float32)
    coarsest_mm = max(view.size_mm[0] / view.labels.shape[1], view.size_mm[1] / view.labels.shape[0])
    labels = _smooth(view.labels, fine, 0.45 * coarsest_mm * fine[0] / view.size_mm[0])
    table = np.zeros((256, 3), dtype=np.float32)
    for value, rgb in colours.items():
        table[value] = rgb
    weight = np.where(_outline(labels), np.float32(1), np.float32(OPACITY)) * (labels > 0)
    mixed = grey[..., None] * (1 - weight[..., None]) + table[labels] * weight[..., None]
    return Image.fromarray(np.rint(mixed).astype(np.uint8)).resize(size, Image.Resampling.BOX)


def _smooth(labels: Bytes, size: tuple[int, int], blur: float) -> Bytes:
    """A label picture at another size: each label's mask is blurred by `blur` points, the strongest wins."""
    best = np.full((size[1], size[0]), 127, dtype=np.uint8)
    result = np.zeros_like(best)
    for value in np.unique(labels[labels > 0]):
        mask = Image.fromarray(np.asarray((labels == value) * 255, dtype=np.uint8))
        strength = np.asarray(mask.resize(size, Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(blur)))
        wins = strength > best
        result[wins], best[wins] = value, strength[wins]
    return result


def _outline(labels: Bytes, reach: int = FINE + 1) -> npt.NDArray[np.bool_]:
    """Where another label, or none, is within `reach` points."""
    padded = np.pad(labels, reach, mode="edge")
    rows, columns = labels.shape
    edge = np.zeros(labels.shape, dtype=bool)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if 0 < dx * dx + dy * dy <= reach * reach:
                edge |= padded[reach + dy : reach + dy + rows, reach + dx : reach + dx + columns] != labels
    return edge


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _letters(draw: ImageDraw.ImageDraw, plane: Plane, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    left, right, top, bottom = tuple(SIDES[plane])
    style: dict[str, Any] = {"fill": INK, "font": _font(20), **EDGE}
    draw.text((x + 8, y + height / 2), left, anchor="lm", **style)
    draw.text((x + width - 8, y + height / 2), right, anchor="rm", **style)
    draw.text((x + width / 2, y + 8), top, anchor="mt", **style)
    draw.text((x + width / 2, y + height - 8), bottom, anchor="mb", **style)


def _scale_bar(draw: ImageDraw.ImageDraw, view: View, box: tuple[int, int, int, int]) -> None:
    """Five centimetres in the lower right corner, where there is room for them."""
    if view.size_mm[0] < 140:
        return
    x, y = box[0] + box[2] - 14, box[1] + box[3] - 14
    length = 50 * box[2] / view.size_mm[0]
    draw.rectangle((x - length - 1, y - 2, x + 1, y + 2), fill=(0, 0, 0))
    draw.rectangle((x - length, y - 1, x, y + 1), fill=INK)
    draw.text((x - length / 2, y - 7), "5 cm", anchor="mb", fill=INK, font=_font(15), **EDGE)


def _millilitres(labels: Bytes, affine: Affine) -> dict[int, float]:
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return {int(v): int(n) * voxel for v, n in zip(*np.unique(labels, return_counts=True), strict=True)}


def _legend(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    shown: Sequence[Segment],
    colours: Mapping[int, tuple[int, int, int]],
    volumes: Mapping[int, float],
) -> None:
    for number, segment in enumerate(shown):
        x, y = corner[0] + COLUMN * (number // LINES), corner[1] + 31 * (number % LINES)
        volume = volumes[segment.value]
        draw.rounded_rectangle((x, y, x + 18, y + 18), 4, fill=colours[segment.value])
        draw.text((x + 30, y + 9), segment.name.replace("_", " "), anchor="lm", fill=INK, font=_font(17))
        draw.text((x + 218, y + 9), f"{volume:.{int(volume < 10)}f} ml", anchor="rm", fill=FAINT, font=_font(15))
