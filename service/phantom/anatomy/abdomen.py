"""A habit in, the organs of the upper abdomen out, the liver on the right and the spleen on the left."""

from collections.abc import Iterator

import numpy as np

from service.phantom.anatomy.chest import before
from service.phantom.anatomy.column import Column
from service.phantom.anatomy.habit import Habit
from service.phantom.body import Part
from service.phantom.compound import Cut, Union
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, Solid, Sweep, Triple, Tube, frame

_FRONT = 200.0
"""As far forwards as the wall allows."""


def parts(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    """Bowel and stomach first, then the great organs, then the vessels before the column."""
    yield from _domes(habit)
    yield from _bowel(habit, rng)
    yield from _stomach(habit, rng)
    yield from _liver(habit, rng)
    yield from _spleen(habit, rng)
    yield from _kidneys(habit, rng)
    yield from _pancreas(habit.column, rng)
    yield from _vessels(habit.column)


def _z(column: Column, level: float) -> float:
    """The height of a level given as a number: 12.0 is the middle of T12, 13.5 half-way from L1 to L2."""
    names = [f"T{n}" for n in range(8, 13)] + [f"L{n}" for n in range(1, 6)]
    return float(np.interp(level, np.arange(8, 18), [column[k].centre[2] for k in names]))


def _place(column: Column, left: float, before_mm: float, level: float) -> Triple:
    z = _z(column, level)
    return column.x(z) + left, column.y(z) - before_mm, z


def _belly(habit: Habit, left: float, before_mm: float, level: float) -> Triple:
    """A place that keeps the width of a gut from the anterior wall."""
    x, y, z = _place(habit.column, left, before_mm, level)
    wide = habit.wide(z) - 12
    wall = 16 + 20 + 40 * (left / wide) ** 2
    return x, max(y, habit.front_y(z) + wall), z


def _domes(habit: Habit) -> Iterator[Part]:
    """The belly's fat and diaphragm under the lungs."""
    for s, level, tall in ((-1, 11.0, 52), (1, 11.1, 57)):
        centre = _place(habit.column, s * 64, 50, level)
        yield Part(Ellipsoid(centre, (63 + 3, 71 + 3, tall + 3)), Tissue.MUSCLE)
        yield Part(Ellipsoid(centre, (63, 71, tall)), Tissue.FAT)


def _bowel(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    column = habit.column
    colon = (
        [(-96, 34, 17.4), (-94, 26, 15.6), (-84, 52, 14.6)],
        [(-78, 70, 14.9), (0, _FRONT, 15.5), (62, _FRONT, 14.7), (92, 46, 13.6)],
        [(96, 22, 13.8), (98, 22, 15.6), (92, 30, 17.4)],
    )
    for pieces in colon:
        path = tuple(_belly(habit, x, y, level) for x, y, level in pieces)
        yield Part(Tube(path, tuple(rng.uniform(15, 21, size=len(path)))), Tissue.BOWEL)
    for _ in range(26):
        x, level = float(rng.uniform(-68, 68)), float(rng.uniform(14.9, 18.2))
        z = _z(column, level)
        y = float(rng.uniform(habit.front_y(z) + 32, column.y(z) - 46))
        radii = tuple(rng.uniform(10, 19, size=3))
        axes = frame(*rng.uniform(-60, 60, size=3))
        yield Part(Ellipsoid((x, y, z), (radii[0] * 1.5, radii[1], radii[2]), axes), Tissue.BOWEL)
        if rng.uniform() < 0.35:
            yield Part(Ellipsoid((x, y - 4, z), (8, 5, 6), axes), Tissue.AIR if y < -30 else Tissue.FLUID)


def _stomach(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    column = habit.column
    j = rng.uniform(-6, 6, size=3)
    path = (
        _place(column, 62 + j[0], 46, 10.9),
        _belly(habit, 64 + j[1], 78, 12.0),
        _belly(habit, 42 + j[2], 98, 13.2),
        _belly(habit, 4, 98, 13.7),
        _belly(habit, -26, 78, 13.6),
    )
    yield Part(Tube(path, (31, 27, 22, 16, 11)), Tissue.BOWEL)
    yield Part(Tube(path[:4], (26, 22, 17, 11)), Tissue.FLUID if rng.uniform() < 0.5 else Tissue.BOWEL)
    x, y, z = path[1]
    yield Part(Ellipsoid((x - 4, y - 14, z), (15, 7, 20)), Tissue.AIR)


def _liver(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    column, big = habit.column, float(rng.uniform(0.93, 1.07)) * habit.column.size
    wide = habit.wide(_z(column, 11.5))
    right = Ellipsoid(_place(column, -wide + 88 * big, 46, 11.6), (64 * big, 72 * big, 78 * big), power=2.3)
    front = habit.front_y(_z(column, 11.5))
    low = column.y(_z(column, 11.5)) - front
    left = Ellipsoid(_place(column, -8, low - 52, 11.2), (70 * big, 32 * big, 40 * big), frame(roll=-14), power=2.2)
    lobes: Solid = Union((right, left), blend=26)
    hilum = _place(column, -28, 40, 13.1)
    cut = Cut(lobes, hilum, (0.75, 0.25, -0.8))
    yield Part(cut, Tissue.LIVER, "liver")
    for branch in ((-70, 52, 11.0), (-86, 40, 11.8), (-64, 78, 11.4)):
        trunk = Tube((_place(column, -32, 40, 11.0), _place(column, *branch)), (3.2, 1.6))
        yield Part(trunk, Tissue.VESSEL, "liver", keeps_truth=True)
    neck, fundus = _place(column, -36, 66, 13.0), _belly(habit, -54 + rng.uniform(-5, 5), low - 36, 14.0)
    size = float(rng.uniform(13.5, 16.5))
    yield Part(Tube((neck, fundus), (size * 0.75, size)), Tissue.FLUID, "gallbladder", rim=Tissue.BOWEL, rim_mm=1.3)


def _spleen(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    column, big = habit.column, float(rng.uniform(0.9, 1.12)) * habit.column.size
    wide = habit.wide(_z(column, 11.8))
    centre = _place(column, wide - 56 * big, 4, 11.7)
    whole = Ellipsoid(centre, (27 * big, 42 * big, 54 * big), frame(roll=-12, pitch=-14, yaw=28), power=2.2)
    yield Part(whole, Tissue.SPLEEN, "spleen")


def _kidneys(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    column = habit.column
    for s, name, level in ((1, "kidney_left", 13.3), (-1, "kidney_right", 13.9)):
        x, y, z = _place(column, s * rng.uniform(60, 68), -4, level + rng.uniform(-0.15, 0.15))
        tall, thick = rng.uniform(50, 57) * column.size, rng.uniform(25, 29)
        axes = frame(roll=-s * 12, pitch=12, yaw=-s * 30)
        yield Part(Ellipsoid((x, y, z), (thick + 9, thick + 11, tall + 12), axes), Tissue.FAT)
        yield Part(Ellipsoid((x, y, z), (thick, thick * 1.08, tall), axes, power=2.2), Tissue.RENAL_CORTEX, name)
        for k in range(-2, 3):
            at = np.array([x, y, z]) + np.array([s * thick * 0.3, 0.0, k * tall * 0.34]) @ axes
            pyramid = Ellipsoid(
                (float(at[0]), float(at[1]), float(at[2])), (thick * 0.34, thick * 0.5, tall * 0.13)
            )
            yield Part(pyramid, Tissue.RENAL_MEDULLA, name, keeps_truth=True)
        sinus = np.array([x, y, z]) + np.array([-s * thick * 0.45, 0.0, 0.0]) @ axes
        middle = (float(sinus[0]), float(sinus[1]), float(sinus[2]))
        yield Part(
            Ellipsoid(middle, (thick * 0.42, thick * 0.36, tall * 0.44), axes), Tissue.FAT, name, keeps_truth=True
        )
        yield Part(Ellipsoid((x, y + 2, z + tall + 8), (9, 7, 6)), Tissue.GLAND)


def _pancreas(column: Column, rng: np.random.Generator) -> Iterator[Part]:
    d = rng.uniform(-4, 4, size=4)
    loop = ((-38, 44, 13.6), (-50, 48, 14.3), (-44, 46, 15.1), (-14, 42, 15.2))
    yield Part(Tube(tuple(_place(column, *p) for p in loop), (11, 12, 12, 11)), Tissue.BOWEL)
    path = (
        _place(column, -30 + d[0], 48, 14.5),
        _place(column, -24 + d[0], 54, 14.0),
        _place(column, 2, 62 + d[1], 13.55),
        _place(column, 30, 58 + d[2], 13.15),
        _place(column, 58, 38, 12.75),
        _place(column, 76, 26 + d[3], 12.45),
    )
    r = float(rng.uniform(0.96, 1.1))
    yield Part(Tube(path, (13 * r, 15 * r, 11.5 * r, 11.5 * r, 11 * r, 9.5 * r)), Tissue.PANCREAS, "pancreas")


def _vessels(column: Column) -> Iterator[Part]:
    for s in (-1, 1):
        limb = (
            before(column["L4"], 6 + s * 7, 9),
            before(column["S1"], s * 36, 10),
            before(column["S3"], s * 52, 60),
        )
        yield Part(Tube(limb, (8, 7, 6)), Tissue.VESSEL)
        vein = (before(column["L5"], -18 + s * 8, 8), before(column["S2"], s * 44, 18))
        yield Part(Tube(vein, (8, 7.5)), Tissue.VESSEL)
    aorta = ("L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8")
    left = (6, 9, 10, 11, 12, 14, 16, 18, 20)
    yield Part(_vessel(column, aorta, left, 12.0, (12,) * 9), Tissue.VESSEL, "aorta")
    cava = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9")
    right = (-18, -20, -22, -23, -24, -25, -25, -25, -24)
    ahead = (11, 12, 13, 14, 17, 22, 28, 34, 40)
    yield Part(_vessel(column, cava, right, ahead, (12.5,) * 9, 11.5), Tissue.VESSEL, "inferior vena cava")
    yield Part(Tube((before(column["L1"], 11, 29), before(column["L4"], 6, 46)), (4.5, 4)), Tissue.VESSEL)


def _vessel(
    column: Column,
    levels: tuple[str, ...],
    left: tuple[float, ...],
    gap: float | tuple[float, ...],
    rx: tuple[float, ...],
    ry: float | None = None,
) -> Sweep:
    gaps = gap if isinstance(gap, tuple) else (gap,) * len(levels)
    at = [before(column[k], x, g) for k, x, g in zip(levels, left, gaps, strict=True)]
    deep = rx if ry is None else (ry,) * len(rx)
    x, y, z = (tuple(p[i] for p in at) for i in range(3))
    return Sweep(z, x, y, rx, deep)
