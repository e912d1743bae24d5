"""A habit in, the chest out: lungs, heart, great vessels, sternum and ribs."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from service.phantom.anatomy.column import Column, Vertebra
from service.phantom.anatomy.habit import Habit
from service.phantom.body import Part
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, RoundedBox, Sweep, Triple, Tube, frame


def parts(habit: Habit, rng: np.random.Generator) -> Iterator[Part]:
    """The mediastinum, which lies between the lungs and on the diaphragm, then the cage around it."""
    yield from _heart(habit.column, rng)
    yield from _sternum(habit)
    yield from _ribs(habit)


def before(v: Vertebra, left: float, gap: float) -> Triple:
    """A point left of the middle and so far before the front of a vertebral body, at its height."""
    x, y, z = v.centre
    return x + left, y - v.depth / 2 - gap, z


def lungs(habit: Habit) -> Iterator[Part]:
    """Both lungs, reaching down behind where the diaphragm's domes will be."""
    column = habit.column
    for s in (-1, 1):
        levels = ("T12", "T10", "T8", "T6", "T4", "T2", "T1")
        z = tuple(column[k].centre[2] for k in levels)
        x = tuple(column.x(h) + s * out for h, out in zip(z, (80, 80, 79, 76, 70, 52, 44), strict=True))
        rx = (46, 54, 58, 58, 52, 34, 14)
        y = tuple(column.y(h) - ahead for h, ahead in zip(z, (4, 28, 42, 42, 32, 14, 6), strict=True))
        yield Part(Sweep(z, x, y, rx, (22, 58, 80, 80, 64, 38, 14)), Tissue.LUNG)


def _heart(column: Column, rng: np.random.Generator) -> Iterator[Part]:
    t = {f"T{n}": column[f"T{n}"] for n in range(1, 11)}
    levels = ("T10", "T9", "T7", "T5", "T3", "T2", "T1")
    heights = tuple(t[k].centre[2] for k in levels)
    fat = Sweep(
        heights,
        tuple(column.x(h) for h in heights),
        tuple(column.y(h) - ahead for h, ahead in zip(heights, (64, 62, 60, 54, 42, 30, 22), strict=True)),
        (8, 26, 28, 26, 24, 20, 8),
        (12, 52, 62, 58, 40, 26, 8),
    )
    yield Part(fat, Tissue.FAT)
    big = float(rng.uniform(0.9, 1.12))
    x, y, z = before(t["T8"], 20, 62)
    turn = frame(yaw=35, roll=25)
    yield Part(Ellipsoid((x, y, z), (50 * big, 38 * big, 46 * big), turn), Tissue.HEART)
    for left, ahead, up, radii in ((14, 4, -4, (26, 17, 22)), (-24, 2, 8, (17, 17, 22)), (4, 22, 16, (24, 12, 14))):
        yield Part(Ellipsoid((x + left, y + ahead, z + up), radii, turn), Tissue.VESSEL)
    arch = (before(t["T7"], -8, 54), before(t["T4"], -10, 48), before(t["T3"], 4, 34), before(t["T4"], 18, 12))
    yield Part(Tube(arch, (14, 14, 12.5, 12)), Tissue.VESSEL, "aorta")
    yield Part(Tube((before(t["T3"], -24, 40), before(t["T7"], -30, 44)), (9, 10)), Tissue.VESSEL)
    yield Part(Tube((before(t["T5"], 10, 44), before(t["T5"], -24, 34)), (12, 9)), Tissue.VESSEL)
    carina = before(t["T4"], 0, 16)
    yield Part(Tube((carina, before(t["T6"], 34, 16)), (6.5, 6)), Tissue.AIR)
    yield Part(Tube((carina, before(t["T6"], -30, 16)), (7.5, 7)), Tissue.AIR)
    lower = ("T5", "T7", "T8", "T9", "T10")
    path = (
        before(t["T4"], 18, 12),
        *(before(t[k], x, 12) for k, x in zip(lower, (21, 21, 20, 18, 16), strict=True)),
    )
    yield Part(Tube(path, (12,) * 6), Tissue.VESSEL, "aorta")


def _sternum(habit: Habit) -> Iterator[Part]:
    column = habit.column
    for top, bottom, wide in (("T2", "T4", 24), ("T5", "T8", 17)):
        a, b = column[top].centre[2] - 4, column[bottom].centre[2]
        first, last = (habit.front_y(h) + 12 for h in (a, b))
        middle = (column.x((a + b) / 2), (first + last) / 2, (a + b) / 2)
        pitch = float(np.degrees(np.arctan2(first - last, a - b)))
        box = RoundedBox(middle, (wide, 6, (a - b) / 2), frame(pitch=pitch), 4)
        yield Part(box, Tissue.SPONGIOSA, rim=Tissue.CORTEX)


def _ribs(habit: Habit) -> Iterator[Part]:
    """Twelve pairs, each in pieces so that a grid evaluates only those it meets."""
    column = habit.column
    for n in range(1, 13):
        v = column[f"T{n}"]
        top = v.height / 2
        wide = habit.wide(v.centre[2] - 20) - 9
        drop = 14 + 3.2 * n if n < 11 else 30
        front = habit.front_y(v.centre[2] - drop) + 12
        for s in (-1, 1):
            x, y, z = v.at(s * (v.width / 2 + 3), v.depth / 2 - 2, top - 2)
            neck = v.at(s * (v.width / 2 + 22), v.depth / 2 + 18, top - 1)
            angle = (x + s * min(wide * 0.48, 64), y + 38, z - 6 - n)
            side = (column.x(z) + s * wide, y - 28, z - drop)
            path = [(x, y, z), neck, angle, (column.x(z) + s * wide * 0.95, y + 8, z - drop * 0.6), side]
            if n < 11:
                path.append((column.x(z) + s * wide * 0.72, (side[1] + front) / 2 - 18, z - drop * 1.35))
            for a, b in pairwise(path):
                yield Part(Tube((a, b), (5, 5)), Tissue.SPONGIOSA, rim=Tissue.CORTEX)
