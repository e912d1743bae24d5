"""Solids in patient millimetres (LPS+): each says its box and, at any points, about how far outside it they lie.

A distance is negative inside, zero on the surface and near to true millimetres close to it; far away it only
keeps its sign. Points are three float32 arrays (x, y, z) of one shape, which is also the shape of the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float32]
Points: TypeAlias = tuple[Array, Array, Array]
Vector: TypeAlias = npt.NDArray[np.float64]
Triple: TypeAlias = tuple[float, float, float]
Box: TypeAlias = tuple[Vector, Vector]

UPRIGHT: Vector = np.eye(3)
"""The frame whose axes are left, posterior and superior. The rows of a frame are its local axes in LPS."""


class Solid(Protocol):
    """What the renderer asks of a shape."""

    def bounds(self) -> Box:
        """The lowest and highest corner of a box around the shape, each (3,) mm."""
        ...

    def distance(self, points: Points) -> Array:
        """How far outside the shape each point lies, in mm; negative inside."""
        ...


def frame(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> Vector:
    """Local axes turned, in degrees, about left (pitch), posterior (roll) and superior (yaw): (3, 3) rows.

    A positive pitch leans the local superior axis backwards; a positive roll leans it to the left.
    """
    a, b, c = np.radians([-pitch, roll, yaw])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned: Vector = (about_z @ about_x @ about_y).T
    return turned


def _local(points: Points, centre: Triple, axes: Vector) -> Points:
    x, y, z = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    if axes is UPRIGHT:
        return x, y, z
    a = axes.astype(np.float32)
    return (
        x * a[0, 0] + y * a[0, 1] + z * a[0, 2],
        x * a[1, 0] + y * a[1, 1] + z * a[1, 2],
        x * a[2, 0] + y * a[2, 1] + z * a[2, 2],
    )


def _turned_box(centre: Triple, half: Sequence[float], axes: Vector) -> Box:
    reach = np.abs(axes.T) @ np.asarray(half, dtype=float)
    middle = np.asarray(centre, dtype=float)
    return middle - reach, middle + reach


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid, or with a power above 2 a superellipsoid, which is nearer to a box."""

    centre: Triple
    radii: Triple
    axes: Vector = field(default_factory=lambda: UPRIGHT)
    power: float = 2.0

    def bounds(self) -> Box:
        """The box around the turned radii."""
        return _turned_box(self.centre, self.radii, self.axes)

    def distance(self, points: Points) -> Array:
        """Distance along the ray to the centre: exact for a sphere."""
        x, y, z = _local(points, self.centre, self.axes)
        a, b, c = (np.float32(r) for r in self.radii)
        if self.power == 2.0:
            level = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
            steep = np.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
            return _f32(level * (level - 1) / np.maximum(steep, np.float32(1e-6)))
        n = np.float32(self.power)
        level = (np.abs(x / a) ** n + np.abs(y / b) ** n + np.abs(z / c) ** n) ** (1 / n)
        ray = np.sqrt(x * x + y * y + z * z)
        return _f32(ray * (1 - 1 / np.maximum(level, np.float32(1e-3))))


@dataclass(frozen=True, eq=False)
class RoundedBox:
    """A box with rounded edges."""

    centre: Triple
    half: Triple
    axes: Vector = field(default_factory=lambda: UPRIGHT)
    rounding: float = 3.0

    def bounds(self) -> Box:
        """The box around the turned box."""
        return _turned_box(self.centre, self.half, self.axes)

    def distance(self, points: Points) -> Array:
        """The exact distance of a box, less the rounding."""
        local = _local(points, self.centre, self.axes)
        q = [np.abs(p) - np.float32(h - self.rounding) for p, h in zip(local, self.half, strict=True)]
        outside = np.sqrt(sum(np.maximum(c, 0) ** 2 for c in q))
        inside = np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0)
        return _f32(outside + inside - np.float32(self.rounding))


@dataclass(frozen=True, eq=False)
class Drum:
    """A vertebral body or disc: an oval cylinder, with a waist and hollow ends where asked."""

    centre: Triple
    radii: tuple[float, float]
    half_height: float
    axes: Vector = field(default_factory=lambda: UPRIGHT)
    waist: float = 0.0
    """Part of the radius that is missing half-way up."""
    hollow: float = 0.0
    """Part of the half height that is missing in the middle of the ends; negative for bulging ends."""
    power: float = 2.6

    def bounds(self) -> Box:
        """The box around the turned cylinder."""
        tall = self.half_height * (1 + max(-self.hollow, 0.0))
        return _turned_box(self.centre, (*self.radii, tall), self.axes)

    def distance(self, points: Points) -> Array:
        """The worse of the distances through the side and through the ends, with rounded rims."""
        x, y, z = _local(points, self.centre, self.axes)
        n, h = np.float32(self.power), np.float32(self.half_height)
        level = (np.abs(x / np.float32(self.radii[0])) ** n + np.abs(y / np.float32(self.radii[1])) ** n) ** (1 / n)
        slim = 1 - np.float32(self.waist) * np.maximum(1 - (z / h) ** 2, 0)
        ray = np.sqrt(x * x + y * y)
        side = ray * (1 - slim / np.maximum(level, np.float32(1e-3)))
        end = np.abs(z) - h * (1 - np.float32(self.hollow) * np.maximum(1 - level**2, 0))
        return _rounded_max(side, end, np.float32(min(2.0, 0.4 * self.half_height)))


@dataclass(frozen=True, eq=False)
class Tube:
    """A capsule along a polyline, its radius running evenly from point to point."""

    path: tuple[Triple, ...]
    radii: tuple[float, ...]

    def bounds(self) -> Box:
        """The box around the spheres at the points."""
        at, r = np.asarray(self.path, dtype=float), np.asarray(self.radii, dtype=float)[:, None]
        return (at - r).min(axis=0), (at + r).max(axis=0)

    def distance(self, points: Points) -> Array:
        """The least of the distances to the pieces."""
        ends = zip(self.path[:-1], self.path[1:], self.radii[:-1], self.radii[1:], strict=True)
        pieces = [_capsule(points, a, b, r, s) for a, b, r, s in ends]
        return pieces[0] if len(pieces) == 1 else np.minimum.reduce(pieces)


@dataclass(frozen=True, eq=False)
class Plate:
    """A triangle with a thickness of twice its radius and rounded edges: flat bones."""

    corners: tuple[Triple, Triple, Triple]
    radius: float

    def bounds(self) -> Box:
        """The box around the corners, grown by the radius."""
        at = np.asarray(self.corners, dtype=float)
        return at.min(axis=0) - self.radius, at.max(axis=0) + self.radius

    def distance(self, points: Points) -> Array:
        """The exact distance to the triangle, less the radius."""
        a, b, c = (np.asarray(p, dtype=float) for p in self.corners)
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal)
        over = np.ones(points[0].shape, dtype=bool)
        edge: Array = np.full(points[0].shape, np.inf, dtype=np.float32)
        for start, stop in ((a, b), (b, c), (c, a)):
            inward = np.cross(normal, stop - start)
            over &= dot(points, inward) >= np.float32(inward @ start)
            edge = np.minimum(edge, _capsule(points, tuple(start), tuple(stop), 0.0, 0.0))
        flat = np.abs(dot(points, normal) - np.float32(normal @ a))
        return np.where(over, flat, edge) - np.float32(self.radius)


@dataclass(frozen=True, eq=False)
class Sweep:
    """An upright column whose oval cross-section moves and changes with height: trunk, neck, limb, vessel."""

    heights: tuple[float, ...]
    """Ascending z of the knots."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    rx: tuple[float, ...]
    ry: tuple[float, ...]
    power: float = 2.0

    def bounds(self) -> Box:
        """The box around all cross-sections; the ends are flat."""
        x, y, rx, ry = (np.asarray(v) for v in (self.x, self.y, self.rx, self.ry))
        low = np.array([(x - rx).min(), (y - ry).min(), self.heights[0]])
        return low, np.array([(x + rx).max(), (y + ry).max(), self.heights[-1]])

    def distance(self, points: Points) -> Array:
        """The distance within the cross-section at each point's height; the table is one row per half mm."""
        low, high = self.heights[0], self.heights[-1]
        fine = np.arange(low, high + 0.5, 0.5)
        table = [np.interp(fine, self.heights, v).astype(np.float32) for v in (self.x, self.y, self.rx, self.ry)]
        row = np.clip((points[2] - np.float32(low)) * 2, 0, len(fine) - 1).astype(np.int32)
        x = points[0] - table[0].take(row)
        y = points[1] - table[1].take(row)
        u, v = x / table[2].take(row), y / table[3].take(row)
        if self.power == 2.0:
            level = np.sqrt(u * u + v * v)
        else:
            n = np.float32(self.power)
            level = (np.abs(u) ** n + np.abs(v) ** n) ** (1 / n)
        side = np.sqrt(x * x + y * y) * (1 - 1 / np.maximum(level, np.float32(1e-3)))
        ends = np.maximum(np.float32(low) - points[2], points[2] - np.float32(high))
        return _f32(np.maximum(side, ends))


def _f32(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float32)


def dot(points: Points, vector: Vector) -> Array:
    """The length of each point along a direction."""
    a, b, c = (np.float32(v) for v in vector)
    return _f32(points[0] * a + points[1] * b + points[2] * c)


def _capsule(points: Points, a: Sequence[float], b: Sequence[float], r: float, s: float) -> Array:
    x, y, z = (p - np.float32(c) for p, c in zip(points, a, strict=True))
    along = np.asarray(b, dtype=np.float32) - np.asarray(a, dtype=np.float32)
    length = np.maximum(along @ along, np.float32(1e-6))
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / length, 0, 1)
    x, y, z = x - t * along[0], y - t * along[1], z - t * along[2]
    return _f32(np.sqrt(x * x + y * y + z * z) - (np.float32(r) + t * np.float32(s - r)))


def _rounded_max(a: Array, b: Array, radius: np.float32) -> Array:
    corner = np.sqrt(np.maximum(a + radius, 0) ** 2 + np.maximum(b + radius, 0) ** 2) - radius
    return np.where((a > -radius) & (b > -radius), corner, np.maximum(a, b))
