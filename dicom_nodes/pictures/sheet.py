"""Pixels and a label map → the contact sheet of a result: three planes, further slices, and who is who.

No attribute of the patient is in it. Every sheet says that it is not for diagnosis; one of a phantom model says
that too, because its weights say so.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicom_nodes.pictures.colours import FAINT, INK, PAPER, WARNING, Rgb, colours_of
from dicom_nodes.pictures.legend import LINE, Legend, draw_legend, lay_out, volumes_ml
from dicom_nodes.pictures.panel import FINE, Box, caption, font, letters, panel, scale_bar, shortened
from dicom_nodes.pictures.views import View, labelled, lay, planes, strip
from dicom_nodes.types import Finished, LabelMap, Laterality, Voxels

WIDEST, HIGHEST, WIDEST_BESIDE = 800, 760, 580
"""What one panel may measure, in points of the picture; and how wide a reformat may be."""
MARGIN, GUTTER, HEAD, ASIDE = 32, 10, 104, 34
"""Around everything; between panels; above the panels; between panels and legend."""
LEAST_WIDTH, ROOMY = 1120, 180
"""Of the whole; of a panel with room for more than its letters."""
TILES = 12
STRIP_HEIGHT, TALLEST_TILE = 440, 320
"""What the further slices should take together, and one of them at most."""
NOT_FOR_DIAGNOSIS = "AI result, not for diagnosis"
PHANTOM = "PHANTOM MODEL, NOT CLINICAL"
"""As in the names of an object (dicom_nodes/encode/identity.py), which this room does not know."""
_SIDE = {Laterality.RIGHT: " right", Laterality.LEFT: " left"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes: boxes in points of the whole picture."""

    size: tuple[int, int]
    panels: tuple[Box, ...]
    tiles: tuple[Box, ...]
    legend_at: tuple[int, int]
    legend: Legend


def draw_sheet(finished: Finished, voxels: Voxels) -> bytes:
    """Draw the sheet of a finished job as PNG. The same bytes at every attempt."""
    file = io.BytesIO()
    sheet_of(finished, voxels).save(file, "PNG", optimize=False)
    return file.getvalue()


def sheet_of(finished: Finished, voxels: Voxels) -> Image.Image:
    """Draw the sheet of a finished job."""
    return sheet(voxels.array, finished.label_map, headline(finished))


def headline(finished: Finished) -> str:
    """What was looked at, as `Knee right: echo 2`; nothing of the patient."""
    identity = finished.identity
    side = _SIDE[identity.laterality] if identity.laterality else ""
    part = f" {identity.part}" if identity.part else ""
    volume = f": {finished.volume.name}" if finished.volume.name else ""
    protocol = identity.protocol.replace("_", " ")
    return f"{protocol[:1].upper()}{protocol[1:]}{part}{side}{volume}"


def sheet(pixels: npt.NDArray[Any], label_map: LabelMap, title: str) -> Image.Image:
    """Draw a label map over its source, both (z, y, x) on the label map's affine, as RGB.

    Labels without a segment are not drawn; a segment that is nowhere is not in the legend.
    """
    labels, affine = label_map.array, label_map.affine
    volumes = volumes_ml(labels, affine)
    shown = [segment for segment in label_map.segments if segment.value in volumes and segment.value != 0]
    body = lay(pixels, np.where(np.isin(labels, [s.value for s in shown]), labels, np.uint8(0)), affine)
    views, (found, tile_mm) = planes(body), labelled(body)
    plan = _plan([view.size_mm for view in views], found, tile_mm, len(shown))
    tiles = strip(body, len(plan.tiles))
    picture = Image.new("RGB", plan.size, PAPER)
    draw, colours = ImageDraw.Draw(picture), colours_of(shown)
    _head(draw, label_map, title, len(shown), plan.size[0])
    for view, box in zip(views, plan.panels, strict=True):
        _paste(picture, draw, view, box, colours, (20, 15))
    for view, box in zip(tiles, plan.tiles, strict=True):
        _paste(picture, draw, view, box, colours, (0, 13))
    if tiles:
        scale_bar(draw, tiles[-1], plan.tiles[-1], 13)
    draw_legend(draw, plan.legend_at, plan.legend, shown, colours, volumes)
    return picture


def _paste(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    view: View,
    box: Box,
    colours: Mapping[int, Rgb],
    points: tuple[int, int],
) -> None:
    """Draw one view; `points` are the sizes of its letters, 0 for none, and of its caption."""
    lettered, captioned = points
    picture.paste(panel(view, box[2:], colours, FINE + 1 if lettered else FINE), box[:2])
    if lettered:
        letters(draw, view.sides, box, lettered)
    if lettered and box[2] >= ROOMY:
        scale_bar(draw, view, box)
    if not lettered or box[2] >= ROOMY:
        caption(draw, view.caption, box, captioned)


def _head(draw: ImageDraw.ImageDraw, label_map: LabelMap, title: str, count: int, width: int) -> None:
    """What it is at the left, what it is not at the right."""
    algorithm, right = label_map.algorithm, width - MARGIN
    warning = PHANTOM if algorithm.phantom else ""
    beside = max(draw.textlength(NOT_FOR_DIAGNOSIS, font=font(17)), draw.textlength(warning, font=font(19)))
    room = width - 2 * MARGIN - beside - ASIDE
    structures = f"{count} structure{'' if count == 1 else 's'}" if count else "nothing found"
    model = f"{structures}, by {algorithm.name}, version {algorithm.version[:16]}"
    draw.text((MARGIN, 50), shortened(draw, title, 28, room), anchor="ls", fill=INK, font=font(28))
    draw.text((MARGIN, 79), shortened(draw, model, 17, room), anchor="ls", fill=FAINT, font=font(17))
    draw.text((right, 79), NOT_FOR_DIAGNOSIS, anchor="rs", fill=INK, font=font(17))
    draw.text((right, 50), warning, anchor="rs", fill=WARNING, font=font(19))


def _plan(sizes: Sequence[tuple[float, float]], found: int, tile_mm: tuple[float, float], count: int) -> Plan:
    """Place panels of these sizes, at most `found` tiles, and a legend of `count` lines.

    A legend that is no higher than the large panels stands beside them, above the strip; a longer one beside both.
    """
    boxes = _panels(sizes)
    wide = max(x + width for x, _, width, _ in boxes)
    high = max(y + height for _, y, _, height in boxes)
    short = lay_out(count, high) if count <= high // LINE else None
    across = max(LEAST_WIDTH - 2 * MARGIN, wide + (ASIDE + short.width if short and short.columns else 0))
    placed = _tiles(min(found, TILES), tile_mm, across if short else wide)
    body = high + max((GUTTER + y + height for _, y, _, height in placed), default=0)
    legend = short or lay_out(count, body)
    across = max(across, wide + ASIDE + legend.width) if legend.columns else across
    tiles = tuple((MARGIN + x, HEAD + high + GUTTER + y, w, h) for x, y, w, h in placed)
    panels = tuple((MARGIN + x, HEAD + y, w, h) for x, y, w, h in boxes)
    size = across + 2 * MARGIN, HEAD + max(body, legend.height) + MARGIN
    return Plan(size, panels, tiles, (size[0] - MARGIN - legend.width, HEAD), legend)


def _panels(sizes: Sequence[tuple[float, float]]) -> list[Box]:
    """Boxes of the large panels: reformats beside the first, stacked unless they are narrow."""
    (w0, h0), (w1, h1), (w2, h2) = sizes
    narrow = max(w1, w2) <= w0 / 2
    if narrow:
        scale = min(HIGHEST / max(h0, h1, h2), WIDEST / w0)
        beside = scale
    else:
        scale = min(HIGHEST / h0, WIDEST / w0)
        beside = min((scale * h0 - GUTTER) / (h1 + h2), WIDEST_BESIDE / max(w1, w2))
    a = round(w0 * scale), round(h0 * scale)
    b, c = ((max(1, round(w * beside)), max(1, round(h * beside))) for w, h in sizes[1:])
    second = (a[0] + GUTTER, 0)
    third = (second[0] + b[0] + GUTTER, 0) if narrow else (second[0], b[1] + GUTTER)
    return [(0, 0, *a), (*second, *b), (*third, *c)]


def _tiles(count: int, size_mm: tuple[float, float], across: int) -> list[Box]:
    """Boxes of at most `count` further slices, all of one size, in rows of equal length.

    Of the ways to lay them, the one that leaves the least of the width empty at about the height of a strip.
    """
    if not count:
        return []
    ways = [(c, r) for c, r in product(range(1, count + 1), (1, 2)) if count * 2 / 3 <= c * r <= count]
    ratio = size_mm[0] / size_mm[1]

    def waste(way: tuple[int, int]) -> float:
        width = _tile_width(across, way[0], ratio)
        return abs(way[1] * width / ratio - STRIP_HEIGHT) + across - way[0] * (width + GUTTER)

    columns, rows = min(ways, key=waste)
    width = _tile_width(across, columns, ratio)
    height = max(1, round(width / ratio))
    lefts = [round(n * (width + GUTTER)) for n in range(columns)]
    return [(left, r * (height + GUTTER), max(1, round(width)), height) for r in range(rows) for left in lefts]


def _tile_width(across: int, columns: int, ratio: float) -> float:
    return min((across - GUTTER * (columns - 1)) / columns, TALLEST_TILE * ratio)
