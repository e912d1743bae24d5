"""A column in, the outline of the trunk and neck out: skin, fat, muscle wall and the fat-filled belly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.phantom.anatomy.column import Column
from service.phantom.body import Part
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, Sweep, Tube

OUTLINE: dict[str, tuple[float, float, float, float, float, float]] = {
    # level: half width, behind and before the column's middle; then how much a mm of fat adds to each
    "C2": (60, 62, 70, 0.3, 0.4, 0.2),
    "C4": (57, 60, 58, 0.4, 0.5, 0.3),
    "C6": (62, 60, 60, 0.6, 0.6, 0.4),
    "C7": (85, 62, 68, 0.8, 0.7, 0.4),
    "T1": (118, 64, 78, 0.8, 0.8, 0.5),
    "T3": (150, 66, 112, 0.8, 0.8, 0.7),
    "T6": (152, 66, 152, 0.9, 0.8, 0.8),
    "T9": (148, 66, 152, 1.0, 0.7, 1.0),
    "T12": (142, 68, 128, 1.2, 0.7, 1.3),
    "L2": (134, 74, 110, 1.4, 0.8, 1.6),
    "L4": (138, 78, 100, 1.4, 0.9, 1.6),
    "S1": (158, 72, 122, 1.3, 1.3, 1.4),
    "S3": (168, 62, 148, 1.2, 1.5, 1.2),
}


_BACK: tuple[tuple[tuple[str, ...], *tuple[tuple[float, ...], ...]], ...] = (
    # levels upwards; outward, posterior, half width, half depth at each of them
    (
        ("S3", "L5", "L3", "T12", "T8", "T3"),
        (14, 20, 19, 17, 15, 14),
        (40, 47, 45, 42, 40, 40),
        (11, 18, 17, 14, 12, 12),
        (12, 21, 20, 18, 16, 14),
    ),
    (
        ("S1", "L4", "L2", "T12", "T8", "T3"),
        (34, 48, 52, 48, 40, 36),
        (36, 46, 46, 42, 40, 42),
        (9, 22, 24, 22, 18, 14),
        (10, 22, 23, 20, 16, 12),
    ),
    (
        ("T3", "C7", "C5", "C3", "C2"),
        (12, 14, 14, 15, 15),
        (40, 40, 36, 34, 32),
        (9, 12, 12, 12, 12),
        (10, 11, 11, 10, 9),
    ),
    (
        ("T3", "C7", "C5", "C3", "C2"),
        (26, 24, 22, 20, 19),
        (48, 50, 48, 46, 44),
        (14, 16, 17, 17, 16),
        (7, 7, 8, 8, 8),
    ),
)


@dataclass(frozen=True, slots=True)
class Habit:
    """How heavy a patient is, and the trunk's half width and front and back at any height, without fat."""

    column: Column
    fat_mm: float
    heights: tuple[float, ...]
    half_width: tuple[float, ...]
    back: tuple[float, ...]
    front: tuple[float, ...]

    def wide(self, z: float) -> float:
        """Half the width within the fat."""
        return float(np.interp(z, self.heights, self.half_width))

    def front_y(self, z: float) -> float:
        """Where the muscle wall ends anteriorly."""
        return float(np.interp(z, self.heights, self.front))

    def back_y(self, z: float) -> float:
        """Where the muscle ends posteriorly."""
        return float(np.interp(z, self.heights, self.back))


def build(column: Column, rng: np.random.Generator) -> Habit:
    """A habit between slim and obese."""
    stout, fat = float(rng.uniform(0.94, 1.06)) * column.size, float(rng.uniform(7, 26))
    rows = []
    for level, (wide, behind, before, *_) in OUTLINE.items():
        _, y, z = column[level].centre
        rows.append((z, wide * stout, y + behind * column.size, y - before * stout))
    x, y, z = column["C2"].centre
    rows.append((z + 42 * column.size, 58 * stout, y + 60 * column.size, y - 40 * stout))
    rows.append((-125.0 * column.size, 166 * stout, 86 * column.size, -88 * stout))
    rows.append((-185.0 * column.size, 160 * stout, 80 * column.size, -72 * stout))
    rows.sort()
    heights, wide, back, front = zip(*rows, strict=True)
    return Habit(column, fat, heights, wide, back, front)


def parts(habit: Habit) -> Iterator[Part]:
    """Skin and fat, the muscle wall within, the fat between the muscles behind the column, the belly."""
    grow = _fat_growth(habit)
    yield Part(_oval(habit, grow + 2.0), Tissue.TENDON)
    yield Part(_oval(habit, grow), Tissue.FAT)
    yield Part(_oval(habit, np.zeros_like(grow)), Tissue.MUSCLE)
    yield from _back_muscles(habit)
    yield from _midline_fat(habit)
    yield from _belly(habit)


def _fat_growth(habit: Habit) -> np.ndarray:
    shares = [np.mean(row[3:]) for row in OUTLINE.values()]
    z = [habit.column[level].centre[2] for level in OUTLINE]
    order = np.argsort(z)
    share = np.interp(habit.heights, np.array(z)[order], np.array(shares)[order])
    return np.asarray(share * habit.fat_mm)


def _oval(habit: Habit, grow: np.ndarray) -> Sweep:
    back, front = np.array(habit.back) + grow, np.array(habit.front) - grow
    x = tuple(habit.column.x(z) for z in habit.heights)
    wide = np.array(habit.half_width) + grow
    low, high = habit.heights[0] - 5, habit.heights[-1] + 6
    return Sweep(
        (low, *habit.heights[1:-1], high),
        x,
        tuple((back + front) / 2),
        tuple(wide),
        tuple((back - front) / 2),
        power=2.3,
    )


def _back_muscles(habit: Habit) -> Iterator[Part]:
    """The long muscles on both sides of the spinous processes, each in its fat."""
    column = habit.column
    for s in (-1, 1):
        for levels, out, behind, rx, ry in _BACK:
            z = tuple(column[k].centre[2] for k in levels)
            x = tuple(column.x(h) + s * o for h, o in zip(z, out, strict=True))
            y = tuple(column.y(h) + b * column.size for h, b in zip(z, behind, strict=True))
            z, x, y = _beyond(z), _beyond(x), _beyond(y)
            wide, deep = (2.0, *rx, 2.0), (2.0, *ry, 2.0)
            yield Part(Sweep(z, x, y, wide, deep, 2.3), Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.4)


def _beyond(knots: tuple[float, ...]) -> tuple[float, ...]:
    """A muscle's knots with one more at each end, where it tapers out."""
    return (knots[0] - 0.3 * (knots[1] - knots[0]), *knots, knots[-1] + 0.6 * (knots[-1] - knots[-2]))


def _midline_fat(habit: Habit) -> Iterator[Part]:
    column = habit.column
    for region, levels in (("C", ("C7", "C5", "C3")), ("L", ("S1", "L3", "L1", "T10", "T6", "T2"))):
        reach = 42 if region == "C" else 52
        path = [column[k].at(0, reach, 0) for k in levels]
        path.sort(key=lambda p: p[2])
        z, x, y = (tuple(p[i] for p in path) for i in (2, 0, 1))
        yield Part(Sweep(z, x, y, (2.2,) * len(z), (16,) * len(z)), Tissue.FAT)
    for level in ("S1", "L4", "L2", "T12", "T9"):
        v = column[level]
        yield Part(Ellipsoid(v.at(0, v.depth / 2 + 15, -v.height / 2), (5, 6, 9), v.axes), Tissue.FAT)


def _belly(habit: Habit) -> Iterator[Part]:
    column = habit.column
    levels = ("S3", "S1", "L4", "L2", "T12", "T11")
    z = tuple(column[k].centre[2] for k in levels)
    back = np.array([column[k].centre[1] + 26 for k in levels])
    back[0] = back[1] = column["S1"].centre[1] - 14
    front = np.array([habit.front_y(h) + 13 for h in z])
    walls = {"S3": 92, "S1": 62, "T11": 40}
    wide = tuple(habit.wide(h) - walls.get(k, 24) for h, k in zip(z, levels, strict=True))
    x = tuple(column.x(h) for h in z)
    deep, middle = (back - front) / 2, (back + front) / 2
    wide, deep[-1] = (*wide[:-1], 0.4 * wide[-1]), 0.4 * deep[-1]
    z, x, y = (z[0] - 70, z[0] - 40, *z), (x[0], x[0], *x), (middle[0], middle[0], *middle)
    ends = (0.15, 0.6)
    wide, below = (*(e * wide[0] for e in ends), *wide), tuple(e * deep[0] for e in ends)
    yield Part(Sweep(z, x, y, wide, (*below, *deep), 2.3), Tissue.FAT)
    for s in (-1, 1):
        path = tuple(
            (column.x(column[k].centre[2]) + s * out, column[k].centre[1] - ahead, column[k].centre[2])
            for k, out, ahead in (("T12", 24, -4), ("L2", 33, -2), ("L4", 44, 4), ("S1", 56, 28))
        )
        yield Part(Tube(path, (6, 13, 19, 21)), Tissue.MUSCLE)
