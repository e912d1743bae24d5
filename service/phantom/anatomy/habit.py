"""A column in, the outline of the trunk and neck out: skin, fat, muscle wall and the fat-filled belly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.phantom.anatomy import back
from service.phantom.anatomy.column import Column
from service.phantom.body import Part
from service.phantom.contrast import Tissue
from service.phantom.solids import Sweep, Tube, Vector

OUTLINE: dict[str, tuple[float, float, float, float]] = {
    # level: half width, behind and before the column's middle, all without fat; how thick fat is here, as a
    # share of the patient's fat
    "C2": (60, 62, 70, 0.3),
    "C4": (57, 60, 58, 0.4),
    "C6": (62, 60, 60, 0.533),
    "C7": (85, 62, 68, 0.633),
    "T1": (118, 64, 78, 0.7),
    "T3": (150, 66, 112, 0.767),
    "T6": (152, 66, 152, 0.833),
    "T9": (148, 66, 152, 0.9),
    "T12": (142, 68, 128, 1.067),
    "L2": (134, 74, 110, 1.267),
    "L4": (138, 78, 100, 1.3),
    "S1": (158, 72, 122, 1.333),
    "S3": (168, 62, 148, 1.3),
}


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
    rows: list[tuple[float, float, float, float]] = []
    for level, (broad, behind, before, _) in OUTLINE.items():
        _, y, z = column[level].centre
        rows.append((z, broad * stout, y + behind * column.size, y - before * stout))
    _, y, z = column["C2"].centre
    rows.append((z + 42 * column.size, 58 * stout, y + 60 * column.size, y - 40 * stout))
    rows.append((-125.0 * column.size, 166 * stout, 86 * column.size, -88 * stout))
    rows.append((-185.0 * column.size, 160 * stout, 80 * column.size, -72 * stout))
    rows.sort()
    heights, wide, rear, front = zip(*rows, strict=True)
    return Habit(column, fat, heights, wide, rear, front)


def parts(habit: Habit) -> Iterator[Part]:
    """Skin and fat, the muscle wall within, the back, the belly."""
    grow = _fat_growth(habit)
    yield Part(_oval(habit, grow + 2.0), Tissue.TENDON)
    yield Part(_oval(habit, grow), Tissue.FAT)
    yield Part(_oval(habit, np.zeros_like(grow)), Tissue.MUSCLE)
    yield from back.parts(habit.column)
    yield from _belly(habit)


def _fat_growth(habit: Habit) -> Vector:
    shares = [share for *_, share in OUTLINE.values()]
    z = [habit.column[level].centre[2] for level in OUTLINE]
    order = np.argsort(z)
    share = np.interp(habit.heights, np.array(z)[order], np.array(shares)[order])
    return np.asarray(share * habit.fat_mm)


def _oval(habit: Habit, grow: Vector) -> Sweep:
    rear, front = np.array(habit.back) + grow, np.array(habit.front) - grow
    x = tuple(habit.column.x(z) for z in habit.heights)
    wide = np.array(habit.half_width) + grow
    low, high = habit.heights[0] - 5, habit.heights[-1] + 6
    return Sweep(
        (low, *habit.heights[1:-1], high),
        x,
        tuple((rear + front) / 2),
        tuple(wide),
        tuple((rear - front) / 2),
        power=2.3,
    )


def _belly(habit: Habit) -> Iterator[Part]:
    column = habit.column
    levels = ("S3", "S1", "L4", "L2", "T12", "T11")
    z = tuple(column[k].centre[2] for k in levels)
    rear = np.array([column[k].centre[1] + 26 for k in levels])
    rear[0] = rear[1] = column["S1"].centre[1] - 14
    front = np.array([habit.front_y(h) + 13 for h in z])
    walls = {"S3": 92, "S1": 62, "T11": 40}
    wide = tuple(habit.wide(h) - walls.get(k, 24) for h, k in zip(z, levels, strict=True))
    x = tuple(column.x(h) for h in z)
    deep, middle = (rear - front) / 2, (rear + front) / 2
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
