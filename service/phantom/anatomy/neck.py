"""A column in, head and neck out: what a radiologist counts cervical vertebrae by."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.phantom.anatomy.column import Column
from service.phantom.body import Part
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, Triple, Tube, frame


@dataclass(frozen=True, slots=True)
class _Axis:
    """Places given relative to the second cervical vertebra, the head a little nodded."""

    origin: Triple
    nod: float

    def at(self, left: float, posterior: float, superior: float) -> Triple:
        x, y, z = self.origin
        return x + left, y + posterior + self.nod * superior / 100, z + superior


def parts(column: Column, rng: np.random.Generator) -> Iterator[Part]:
    """Face, skull and brain, atlas, then airway, gullet and vessels of the neck."""
    axis = _Axis(column["C2"].centre, float(rng.uniform(-6, 6)))
    yield from _face(axis, rng)
    yield from _skull(axis)
    yield from _brain(axis)
    yield from _atlas(column)
    yield from _throat(column, axis, rng)


def _face(axis: _Axis, rng: np.random.Generator) -> Iterator[Part]:
    at, chin = axis.at, float(rng.uniform(-6, 6))
    yield Part(Ellipsoid(at(0, -58, 28), (64, 58, 78)), Tissue.FAT)
    yield Part(Ellipsoid(at(0, -54, 26), (56, 50, 68)), Tissue.MUSCLE)
    yield Part(Ellipsoid(at(0, -58, 6), (26, 36, 25)), Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=3.0)
    yield Part(Ellipsoid(at(0, -60, 10), (22, 27, 17)), Tissue.HEART)
    yield Part(Ellipsoid(at(0, -58, 33), (16, 36, 3)), Tissue.CORTEX)
    yield Part(Ellipsoid(at(0, -64, 48), (12, 38, 12)), Tissue.AIR)
    yield Part(Ellipsoid(at(0, -38, 66), (13, 11, 9)), Tissue.AIR)
    for s in (-1, 1):
        yield Part(Ellipsoid(at(s * 30, -72, 46), (13, 17, 16)), Tissue.AIR)
        jaw = Tube((at(s * 46, -22, 28), at(s * 42, -42, -14), at(0, -94 + chin, -20 + chin)), (6, 8, 9))
        yield Part(jaw, Tissue.MARROW, rim=Tissue.CORTEX, rim_mm=2.0)
    yield Part(Ellipsoid(at(0, -34, 22), (7, 6, 14), frame(pitch=20)), Tissue.MUSCLE)


def _skull(axis: _Axis) -> Iterator[Part]:
    middle = axis.at(0, -2, 118)
    for tissue, shell in (
        (Tissue.FAT, 13.0),
        (Tissue.CORTEX, 7.5),
        (Tissue.MARROW, 6.0),
        (Tissue.CORTEX, 2.0),
        (Tissue.FLUID, 0.0),
    ):
        yield Part(Ellipsoid(middle, (69 + shell, 86 + shell, 82 + shell)), tissue)
    yield Part(Ellipsoid(middle, (66, 83, 78)), Tissue.BRAIN)


def _brain(axis: _Axis) -> Iterator[Part]:
    at = axis.at
    yield Part(Ellipsoid(at(0, 26, 62), (56, 36, 31)), Tissue.FLUID)
    yield Part(Ellipsoid(at(0, 36, 62), (50, 24, 23)), Tissue.BRAIN)
    clivus = Tube((at(0, -8, 37), at(0, -24, 66)), (5.5, 8))
    yield Part(clivus, Tissue.MARROW, rim=Tissue.CORTEX)
    for s in (-1, 1):
        yield Part(Ellipsoid(at(s * 24, 12, 36), (11, 15, 8)), Tissue.MARROW, rim=Tissue.CORTEX)
    yield Part(Tube((at(0, 36, 33), at(0, 58, 36), at(0, 74, 52)), (3.5, 4, 5)), Tissue.MARROW, rim=Tissue.CORTEX)
    yield Part(Tube((at(0, 15, 0), at(0, 14, 30), at(0, 5, 60)), (9, 10, 14)), Tissue.FLUID)
    yield Part(Tube((at(0, 15, 0), at(0, 14, 32), at(0, 6, 56)), (5, 6.5, 8)), Tissue.BRAIN)
    yield Part(Ellipsoid(at(0, 0, 62), (16, 12, 14)), Tissue.BRAIN)


def _atlas(column: Column) -> Iterator[Part]:
    axis = column["C2"]
    top = axis.height * 0.95
    front = Ellipsoid(axis.at(0, -10.5, top), (10, 3.8, 5.5), axis.axes)
    behind = Ellipsoid(axis.at(0, 26, top - 3), (12, 3.6, 4.4), axis.axes)
    yield Part(front, Tissue.SPONGIOSA, rim=Tissue.CORTEX)
    yield Part(behind, Tissue.SPONGIOSA, rim=Tissue.CORTEX)
    for s in (-1, 1):
        mass = Tube((axis.at(s * 19, 3, top + 3), axis.at(s * 17, 8, top - 5)), (7.5, 7.5))
        yield Part(mass, Tissue.SPONGIOSA, rim=Tissue.CORTEX)
        arch = Tube(
            (axis.at(s * 20, 8, top), axis.at(s * 16, 19, top - 2), axis.at(s * 8, 25, top - 3)), (4, 3.5, 3.5)
        )
        yield Part(arch, Tissue.SPONGIOSA, rim=Tissue.CORTEX)


def _throat(column: Column, axis: _Axis, rng: np.random.Generator) -> Iterator[Part]:
    def before(level: str, left: float, gap: float) -> Triple:
        v = column[level]
        x, y, z = v.centre
        return x + left, y - v.depth / 2 - gap, z

    yield Part(Tube((axis.at(0, -22, 48), axis.at(0, -20, 12), before("C4", 0, 9)), (8, 7, 8)), Tissue.AIR)
    yield Part(Tube((before("C4", 0, 18), before("C4", 0, 30)), (4, 3)), Tissue.MARROW, rim=Tissue.CORTEX)
    yield Part(Tube((before("C5", 0, 16), before("C6", 0, 17)), (12, 12)), Tissue.CARTILAGE)
    carina = float(rng.uniform(14, 18))
    windpipe = (before("C4", 0, 10), before("C6", 0, 16), before("T1", 0, 16), before("T3", 0, carina))
    yield Part(Tube(windpipe, (6, 7, 9, 9)), Tissue.AIR)
    gullet = (before("C6", 2, 4), before("T2", 4, 6), before("T6", 0, 14), before("T10", 2, 36))
    yield Part(Tube(gullet, (4.2, 4.6, 5, 6)), Tissue.BOWEL)
    for s in (-1, 1):
        path = (before("T2", s * 16, 16), before("C6", s * 24, 8), before("C3", s * 27, 6), axis.at(s * 26, -8, 30))
        yield Part(Tube(path, (4.5, 4, 4, 3.5)), Tissue.VESSEL)
        yield Part(Tube(tuple((x + s * 11, y + 3, z) for x, y, z in path), (6, 5.5, 5, 4)), Tissue.VESSEL)
        thyroid = Ellipsoid(before("C7", s * 16, 16), (7, 8, 15))
        yield Part(thyroid, Tissue.GLAND)
