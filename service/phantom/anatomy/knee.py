"""A seed and a side in, a knee out: femur, tibia, fibula and patella with ligaments, cartilage and muscles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dicom_nodes.types import Laterality
from service.phantom.body import Anatomy, Part
from service.phantom.compound import Union
from service.phantom.contrast import Tissue
from service.phantom.solids import Drum, Ellipsoid, Sweep, Triple, Tube

MIDLINE_MM = 95.0
"""From the middle of the joint to the middle of the body."""


@dataclass(frozen=True, slots=True)
class _Joint:
    """Places relative to the middle of the joint line: `out` points away from the other knee."""

    side: int
    size: float
    flexion: float
    """Degrees by which the thigh leans back from the lower leg's line."""
    fat_mm: float

    def at(self, out: float, posterior: float, superior: float) -> Triple:
        """A point that keeps to the lower leg."""
        k = self.size
        return self.side * (MIDLINE_MM + out * k), posterior * k, superior * k

    def thigh(self, out: float, posterior: float, superior: float) -> Triple:
        """A point that keeps to the femur, which turns about an axis in its condyles."""
        a, up = np.radians(self.flexion), superior - 16
        return self.at(
            out,
            float(posterior * np.cos(a) + up * np.sin(a)),
            float(16 - posterior * np.sin(a) + up * np.cos(a)),
        )


def knee(seed: int, laterality: Laterality) -> Anatomy:
    """One knee; the structures' names say nothing of the side."""
    rng = np.random.default_rng((seed, 303))
    joint = _Joint(
        side=1 if laterality is Laterality.LEFT else -1,
        size=float(rng.uniform(0.92, 1.08)),
        flexion=float(rng.uniform(-2, 10)),
        fat_mm=float(rng.uniform(4, 16)),
    )
    shift = rng.uniform(-2.5, 2.5, size=8)
    parts = (*_outline(joint), *_muscles(joint), *_soft(joint, rng), *_bones(joint, shift), *_inside(joint))
    return Anatomy(parts, {"joint": joint.at(0, 0, 0)})


def _outline(joint: _Joint) -> Iterator[Part]:
    z = tuple(h * joint.size for h in (-240, -120, -70, -25, 20, 60, 120, 240))
    lean = np.array([joint.thigh(0, 0, h)[1] if h > 20 else 0.0 for h in (-240, -120, -70, -25, 20, 60, 120, 240)])
    rx, ry = np.array([56, 57, 55, 53, 57, 58, 64, 78.0]), np.array([56, 58, 56, 51, 53, 55, 63, 78.0])
    y = lean + np.array([16, 14, 12, 6, 2, 4, 4, 4])
    for tissue, extra in ((Tissue.TENDON, joint.fat_mm + 1.5), (Tissue.FAT, joint.fat_mm)):
        wide, deep = (tuple(v * joint.size + extra) for v in (rx, ry))
        yield Part(Sweep(z, (joint.side * MIDLINE_MM,) * 8, tuple(y), wide, deep, 2.2), tissue)


def _muscles(joint: _Joint) -> Iterator[Part]:
    at, thigh = joint.at, joint.thigh
    for path, radii in (
        ((at(-22, 32, 22), at(-23, 44, -50), at(-22, 44, -240)), (9, 20, 26)),
        ((at(22, 30, 22), at(22, 42, -50), at(22, 42, -240)), (9, 18, 25)),
        ((at(-2, 28, -16), at(-8, 32, -60), at(0, 24, -240)), (9, 14, 22)),
        ((at(30, -12, -50), at(30, -10, -240)), (9, 15)),
        ((thigh(-30, -14, 22), thigh(-32, -12, 80), thigh(-36, -16, 240)), (8, 20, 30)),
        ((thigh(30, -16, 30), thigh(32, -14, 90), thigh(36, -12, 240)), (6, 18, 30)),
        ((thigh(0, -28, 80), thigh(0, -34, 240)), (9, 22)),
        ((at(-38, 26, 0), thigh(-34, 34, 50), thigh(-28, 44, 240)), (6, 14, 26)),
        ((at(38, 22, -14), thigh(34, 34, 50), thigh(26, 44, 240)), (6, 13, 24)),
    ):
        yield Part(Tube(path, radii), Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.4)


def _soft(joint: _Joint, rng: np.random.Generator) -> Iterator[Part]:
    at, thigh = joint.at, joint.thigh
    yield Part(
        Tube((at(2, 40, -160), at(2, 36, -20), thigh(0, 36, 50), thigh(-6, 26, 240)), (4, 4.5, 4.5, 5)),
        Tissue.VESSEL,
    )
    yield Part(
        Tube((at(8, 44, -160), at(8, 40, -20), thigh(6, 42, 50), thigh(2, 34, 240)), (4, 4, 4, 4)), Tissue.VESSEL
    )
    yield Part(Tube((thigh(0, -42, 200), thigh(0, -44, 64), at(0, -45, 44)), (6, 5, 5)), Tissue.TENDON)
    yield Part(Tube((at(1, -47, 14), at(2, -34, -34)), (4, 4.2)), Tissue.TENDON)
    effusion = float(rng.uniform(1.5, 6))
    yield Part(Ellipsoid(at(0, -34, 62), (24, effusion, 22)), Tissue.FLUID)
    for s in (-1, 1):
        yield Part(Tube((at(s * 26, 2, 0), at(s * 24, -14, 0)), (10, 8)), Tissue.FLUID)
        yield Part(Tube((at(s * 44, -2, 30), at(s * 40, -2, -32)), (2.6, 2.6)), Tissue.TENDON)


def _bones(joint: _Joint, j: np.ndarray) -> Iterator[Part]:
    at, thigh, k = joint.at, joint.thigh, joint.size
    for s, deep, high in ((-1, 31, 19.5), (1, 29.5, 19)):
        middle = thigh(s * 22, 6, 21)
        yield Part(Ellipsoid(middle, (16 * k, (deep + 2) * k, (high + 2.2) * k)), Tissue.CARTILAGE)
    femur = Union(
        (
            Tube((thigh(0, -4, 240), thigh(0, -3, 70), thigh(0, -2, 34)), (14 * k, 15.5 * k, 23 * k)),
            Ellipsoid(thigh(-22, 6, 21), (16 * k, 31 * k, 19.5 * k), power=2.2),
            Ellipsoid(thigh(22, 6, 21), (15.5 * k, 29.5 * k, 19 * k), power=2.2),
            Ellipsoid(thigh(1, -10, 27), (29 * k, 17 * k, 17 * k)),
        ),
        blend=8,
    )
    yield Part(femur, Tissue.MARROW, "femur", rim=Tissue.CORTEX, rim_mm=1.7)
    yield Part(Ellipsoid(thigh(j[0], 22, 8), (8 * k, 18 * k, 16 * k)), Tissue.FAT)
    for s in (-1, 1):
        yield Part(Drum(at(s * 19, 6, -3), (18 * k, 22 * k), 3.0, hollow=0.2), Tissue.CARTILAGE)
    tibia = Union(
        (
            Ellipsoid(at(0, 6, -15.5), (39 * k, 26 * k, 12.5 * k), power=3.4),
            Tube((at(0, 5, -24), at(0, 2, -66), at(0, 0, -240)), (25 * k, 17 * k, 14 * k)),
            Ellipsoid(at(2 + j[1], -19, -36), (9 * k, 9 * k, 16 * k)),
            Ellipsoid(at(0, 8, -5), (7 * k, 7 * k, 6 * k)),
        ),
        blend=8,
    )
    yield Part(tibia, Tissue.MARROW, "tibia", rim=Tissue.CORTEX, rim_mm=1.7)
    fibula = Tube((at(37, 21, -24), at(39 + j[2], 20, -44), at(38, 17, -240)), (11.5 * k, 8.4 * k, 8.2 * k))
    yield Part(fibula, Tissue.MARROW, "fibula", rim=Tissue.CORTEX, rim_mm=1.5)
    cap = (j[3], -42.0, 30 + j[4])
    yield Part(Ellipsoid(at(cap[0], cap[1] + 4, cap[2]), (20 * k, 9 * k, 17 * k)), Tissue.CARTILAGE)
    patella = Ellipsoid(at(*cap), (22.5 * k, 10.5 * k, 21 * k), power=2.4)
    yield Part(patella, Tissue.MARROW, "patella", rim=Tissue.CORTEX, rim_mm=1.6)


def _inside(joint: _Joint) -> Iterator[Part]:
    """Cruciate ligaments and menisci between the bones."""
    at, thigh = joint.at, joint.thigh
    yield Part(Tube((thigh(8, 20, 18), at(-1, -6, -1)), (4, 4)), Tissue.TENDON)
    yield Part(Tube((thigh(-7, 8, 10), at(2, 30, -10)), (4.6, 4.6)), Tissue.TENDON)
    for s in (-1, 1):
        for y in (-12, 24):
            yield Part(Ellipsoid(at(s * 22, y, 0), (9, 7, 2.6)), Tissue.TENDON)
