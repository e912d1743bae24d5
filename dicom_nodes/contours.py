"""A mask of one slice → closed polygons along the edges of its pixels; and polygons → the mask that they enclose.

Both ways are exact: no pixel centre lies on a polygon, so what is filled by the even-odd rule at their centres is
the mask again, pixel for pixel. Coordinates are (row, column) in pixels, (0, 0) the centre of the first pixel as in
PS3.3 C.7.6.2.1.1; corners of pixels thus lie at halves.

A hole is joined to what is around it by a keyhole (PS3.3 C.8.8.6.3): the polygon goes to the hole and back along a
channel of no width, which runs between pixels. The other way that the standard knows, CLOSEDPLANAR_XOR, is young: a
reader that does not know it drops the contour or fills the hole, while a polygon with a keyhole is filled rightly
whether contours are united or XORed, by the even-odd rule and by the winding number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
"""(row, column)."""
Polygon = npt.NDArray[np.float64]
"""(points, 2): row and column of each corner in pixels; the last is joined to the first, which is not repeated."""

_Corners = list[tuple[int, int]]
"""Of a closed line, row and column in pixels counted from the corner of the first pixel and not from its centre."""

_EAST, _SOUTH, _WEST, _NORTH = range(4)  # the next in this order is a turn to the right


@dataclass(frozen=True, slots=True, eq=False)
class _Border:
    """The edges between what is set and what is not; corners are counted row by row."""

    starts: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]
    ways: npt.NDArray[np.intp]
    following: npt.NDArray[np.intp]
    """Which edge goes on where each ends."""
    corners: _Corners
    """Where each starts."""


def trace(mask: Mask, most_points: int | None = None) -> list[Polygon]:
    """Find the polygons around what is set, which go clockwise as an image is shown, without collinear points.

    Pixels that touch at a corner only are apart, each island one polygon. One that would have more than
    `most_points` is cut in two along a line between pixels, and so on until none has: they then share an edge.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    inside = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    found: list[Polygon] = []
    for line in _lines(inside):
        polygon: Polygon = np.array(line, dtype=np.float64) + np.array([top - 0.5, left - 0.5])
        if most_points is None or len(line) <= most_points:
            found.append(polygon)
        else:
            found += [part for half in _halves(fill([polygon], mask.shape)) for part in trace(half, most_points)]
    return found


def fill(polygons: Sequence[Polygon], shape: tuple[int, ...]) -> Mask:
    """Set the pixels whose centre lies inside an odd number of windings of the polygons; `shape` (row, column).

    Corners may lie anywhere, also between the corners of pixels and outside the image.
    """
    inside: Mask = np.zeros(shape, dtype=np.bool_)
    if not polygons:
        return inside
    start = np.concatenate(polygons)
    end = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    row, column = _crossings(start, end, shape[0])
    if len(row):
        crossed = np.clip(np.ceil(column), 0, shape[1]).astype(np.intp)  # the first pixel to the right
        top, left = row.min(), crossed.min()
        height, width = row.max() + 1 - top, crossed.max() + 1 - left
        flips = np.bincount((row - top) * width + crossed - left, minlength=height * width).astype(np.uint8)
        odd = np.bitwise_and(np.cumsum(flips.reshape(height, width), axis=1, dtype=np.uint8), 1)
        inside[top : top + height, left : left + width - 1] = odd[:, :-1]
    return inside


def signed_area(polygons: Sequence[Polygon]) -> float:
    """Sum the areas of the polygons in pixels, positive where they go clockwise as an image is shown.

    Equal to the number of pixels that `fill` sets where no two polygons overlap and holes are gone around the
    other way, so that every rule of filling sets the same.
    """
    area = 0.0
    for polygon in polygons:
        row, column = (polygon - polygon[0]).T
        area += float(column @ np.roll(row, -1) - row @ np.roll(column, -1)) / 2
    return area


def _crossings(start: Polygon, end: Polygon, rows: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Find where edges cross the rows of pixel centres: the row and, of each crossing, the column."""
    upper, lower = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(np.ceil(upper), 0, rows).astype(np.intp)
    count = np.clip(np.ceil(lower), 0, rows).astype(np.intp) - first  # a corner on a row belongs to the edge below
    edge = np.repeat(np.arange(len(start)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    slope = (end[edge, 1] - start[edge, 1]) / (end[edge, 0] - start[edge, 0])
    return row, start[edge, 1] + (row - start[edge, 0]) * slope


def _lines(inside: Mask) -> list[_Corners]:
    """Find the line around each island of `inside`, whose outermost pixels are not set, its holes joined to it.

    The channel of a hole goes straight up from the left end of its highest edge to the border next above, which
    is the upper border of what is set there and so an edge that goes east. Holes are joined from the lowest to the
    highest: what a hole is joined to begins above it.
    """
    border = _border(inside)
    corner = border.corners.__getitem__
    loops = sorted((min(zip(map(corner, loop), loop, strict=True)), loop) for loop in _loops(border))
    above = _edges_above(inside, border, [first for (first, edge), _ in loops if border.ways[edge] != _EAST])
    joined: dict[int, list[tuple[tuple[int, int], _Corners]]] = {}
    lines = []
    for (first, edge), loop in reversed(loops):
        line: _Corners = []
        for n in loop:
            line.append(corner(n))
            for end, hole in sorted(joined.get(n, [])):
                line += (end, *hole, end)
        if border.ways[edge] == _EAST:
            lines.append(_tidy(line) if len(line) > len(loop) else line)
        else:
            at = line.index(first)
            over, row = above[first]
            joined.setdefault(over, []).append(((row, first[1]), [*line[at:], *line[:at], first]))
    return lines[::-1]


def _loops(border: _Border) -> Iterator[list[int]]:
    """Follow the edges of the border around, with what is set on the right hand."""
    following = border.following.tolist()
    seen = bytearray(len(following))
    for first in range(len(following)):
        loop, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            loop.append(edge)
            edge = following[edge]
        if loop:
            yield loop


def _border(inside: Mask) -> _Border:
    """List the edges of what is set, the straight ones whole, those that go east first and row by row."""
    width = inside.shape[1] - 1
    signed = inside.astype(np.int8)
    across, along = np.diff(signed, axis=0), np.diff(signed, axis=1).T  # 1 where the lower, the right one is set
    edges = []
    for steps, sign, way in ((across, 1, _EAST), (across, -1, _WEST), (along, 1, _NORTH), (along, -1, _SOUTH)):
        border = steps == sign
        line, place = np.nonzero(border[:, 1:] != border[:, :-1])
        corner = line * width + place if way in (_EAST, _WEST) else place * width + line
        low, high = corner[::2], corner[1::2]
        first, last = (low, high) if way in (_EAST, _SOUTH) else (high, low)
        edges.append((first, last, np.full(len(first), way)))
    starts, ends, ways = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    edge_at = np.full(width * (inside.shape[0] - 1) * 4, -1)
    edge_at[starts * 4 + ways] = np.arange(len(starts))
    # Where two pixels touch at their corner, both turns are there; the right one stays with the same pixel.
    right, left = edge_at[ends * 4 + (ways + 1) % 4], edge_at[ends * 4 + (ways + 3) % 4]
    corners = list(zip((starts // width).tolist(), (starts % width).tolist(), strict=True))
    return _Border(starts, ends, ways, np.where(right >= 0, right, left), corners)


def _edges_above(inside: Mask, border: _Border, corners: _Corners) -> dict[tuple[int, int], tuple[int, int]]:
    """Find for each corner the edge that is next above it, and its row."""
    full = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]  # by the corner in their midst
    starts = border.starts[border.ways == _EAST]
    found = {}
    for row, column in corners:
        above = int(np.flatnonzero(~full[:row, column])[-1])
        edge = int(np.searchsorted(starts, above * full.shape[1] + column, side="right")) - 1
        found[row, column] = edge, above
    return found


def _tidy(line: _Corners) -> _Corners:
    """Drop a corner that comes twice in a row, as where a channel begins at one, and those on a straight way."""
    line = [corner for n, corner in enumerate(line) if corner != line[n - 1]]
    around = zip([line[-1], *line[:-1]], line, [*line[1:], line[0]], strict=True)
    return [corner for before, corner, after in around if not _goes_on(before, corner, after)]


def _goes_on(before: tuple[int, int], corner: tuple[int, int], after: tuple[int, int]) -> bool:
    """Tell whether the way from one corner to the next is gone on with; turning back is not."""
    down, further_down = corner[0] - before[0], after[0] - corner[0]
    right, further_right = corner[1] - before[1], after[1] - corner[1]
    return down * further_down + right * further_right > 0


def _halves(mask: Mask) -> tuple[Mask, Mask]:
    """Cut what is set in two across its longer side."""
    extents = [np.flatnonzero(mask.any(axis=other)) for other in (1, 0)]
    axis = int(len(extents[1]) > len(extents[0]))
    middle = (int(extents[axis][0]) + int(extents[axis][-1]) + 1) // 2
    first = mask.copy()
    np.moveaxis(first, axis, 0)[middle:] = False
    return first, mask & ~first
