"""A seed and a side in, a shoulder out: humerus, scapula, clavicle, their muscles, and the chest beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dicom_nodes.types import Laterality
from service.phantom.body import Anatomy, Part
from service.phantom.compound import Union
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, Plate, Sweep, Triple, Tube

MIDLINE_MM = 172.0
"""From the middle of the humeral head to the middle of the body."""


@dataclass(frozen=True, slots=True)
class _Joint:
    """Places relative to the middle of the humeral head: `out` points away from the midline."""

    side: int
    size: float
    lift: float
    """How far the arm is drawn away from the body, in degrees."""
    fat_mm: float

    def at(self, out: float, posterior: float, superior: float) -> Triple:
        k = self.size
        return self.side * (MIDLINE_MM + out * k), posterior * k, superior * k

    def arm(self, out: float, posterior: float, superior: float) -> Triple:
        """The same for what moves with the arm."""
        a = np.radians(self.lift)
        return self.at(
            float(out * np.cos(a) - superior * np.sin(a)),
            posterior,
            float(out * np.sin(a) + superior * np.cos(a)),
        )


def shoulder(seed: int, laterality: Laterality) -> Anatomy:
    """One shoulder; its structures carry their side in their names."""
    rng = np.random.default_rng((seed, 202))
    joint = _Joint(
        side=1 if laterality is Laterality.LEFT else -1,
        size=float(rng.uniform(0.93, 1.08)),
        lift=float(rng.uniform(-2, 10)),
        fat_mm=float(rng.uniform(5, 17)),
    )
    name = "left" if laterality is Laterality.LEFT else "right"
    shift = rng.uniform(-3, 3, size=8)
    parts = (*_outline(joint), *_chest(joint), *_muscles(joint), *_bones(joint, name, shift))
    return Anatomy(parts, {"joint": joint.at(0, 0, 0)})


def _outline(joint: _Joint) -> Iterator[Part]:
    for tissue, extra in ((Tissue.TENDON, joint.fat_mm + 2), (Tissue.FAT, joint.fat_mm), (Tissue.MUSCLE, 0.0)):
        yield Part(_torso(joint, extra), tissue)
        if tissue is not Tissue.MUSCLE:  # the fat of the armpit
            yield Part(Tube((joint.at(-70, 8, -18), joint.arm(2, 0, -84)), (40 + extra, 26 + extra)), tissue)
        yield Part(Tube((joint.at(-72, 18, 12), joint.at(-24, 8, 8)), (46 + extra, 46 + extra)), tissue)
        breast = ((joint.at(-120, -44, -40), joint.at(-54, -46, -24), joint.at(10, -22, -54)), (16, 16, 9))
        yield Part(Tube(breast[0], tuple(r + extra for r in breast[1])), tissue)
        limb = Tube(
            (joint.arm(-2, 2, 6), joint.arm(12, 0, -40), joint.arm(14, 2, -190)),
            tuple(r + extra for r in (46, 47, 40)),
        )
        yield Part(limb, tissue)
    deltoid = Tube((joint.arm(0, 2, 4), joint.arm(12, 0, -40), joint.arm(14, 2, -190)), (44, 45, 38))
    yield Part(deltoid, Tissue.FAT)
    yield Part(deltoid, Tissue.MUSCLE, rim=Tissue.TENDON, rim_mm=0.6)


def _torso(joint: _Joint, extra: float) -> Sweep:
    z = tuple(h * joint.size for h in (-220, -100, -40, 0, 28, 50, 75, 130))
    rx = tuple(w * joint.size + extra for w in (130, 124, 120, 124, 116, 92, 66, 58))
    ry = tuple(d * joint.size + extra for d in (112, 104, 92, 82, 70, 62, 58, 60))
    return Sweep(z, (0.0,) * 8, tuple(10 + v for v in (-6, -4, 0, 6, 12, 14, 10, 4)), rx, ry, 2.2)


def _chest(joint: _Joint) -> Iterator[Part]:
    z = tuple(h * joint.size for h in (-220, -120, -60, -10, 18))
    x = tuple(joint.side * v for v in (72, 70, 62, 50, 44))
    yield Part(Sweep(z, x, (2, 2, 4, 8, 10), (44, 40, 36, 24, 6), (84, 76, 62, 38, 8)), Tissue.LUNG)
    for n in range(7):
        high = (20 - 30 * n) * joint.size
        wide = min(58 + 11 * n, 100) + 14
        path = [
            (joint.side * wide * u, 10 + v * (40 + 5 * min(n, 5)), high - w * (8 + 4 * n))
            for u, v, w in (
                (0.2, 1.2, -1.5),
                (0.72, 1.1, -0.6),
                (1.0, 0.3, 0.2),
                (0.92, -0.6, 1.0),
                (0.5, -1.4, 1.7),
            )
        ]
        for a, b in pairwise(path):
            yield Part(Tube((a, b), (5.5, 5.5)), Tissue.SPONGIOSA, rim=Tissue.CORTEX)


def _muscles(joint: _Joint) -> Iterator[Part]:
    at, arm = joint.at, joint.arm
    yield Part(Ellipsoid(at(-44, 10, 34), (52, 26, 9)), Tissue.FAT)
    yield Part(Tube((at(-36, 8, -32), at(-20, 6, -72)), (15, 14)), Tissue.FAT)
    for path, radii in (
        ((at(-104, 26, 24), at(-52, 14, 26), at(-14, 0, 29)), (10, 13, 6)),
        ((at(-96, 56, -18), at(-46, 38, 0), at(-4, 24, 10)), (15, 17, 7)),
        ((at(-94, 52, -60), at(-44, 32, -26), at(2, 22, -4)), (13, 13, 7)),
        ((at(-94, 10, -20), at(-46, -8, -4), at(-12, -24, 0)), (17, 17, 7)),
        ((at(-90, 44, -104), at(-30, 16, -52), at(8, -8, -60)), (14, 13, 7)),
        ((at(-120, -44, -40), at(-54, -46, -24), at(10, -22, -54)), (15, 15, 8)),
        ((at(-120, 34, 58), at(-40, 26, 50), at(-14, 24, 46)), (10, 9, 6)),
    ):
        yield Part(Tube(path, radii), Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.5)
    yield Part(Tube((at(-16, 1, 29), arm(14, -2, 24)), (4.5, 3.5)), Tissue.TENDON)
    yield Part(Tube((arm(8, -24, 12), arm(12, -20, -60)), (3.2, 3.2)), Tissue.TENDON)
    yield Part(Tube((at(-64, -16, 12), at(-36, -14, -30), at(-14, -4, -110)), (5.5, 5, 5)), Tissue.VESSEL)


def _bones(joint: _Joint, name: str, j: np.ndarray) -> Iterator[Part]:
    yield from _scapula(joint, f"scapula_{name}", j)
    at = joint.at
    clavicle = Tube(
        (at(-13, -1, 42), at(-42, -13 + j[0], 45), at(-86, -27 + j[1], 46 + j[2]), at(-150, -50, 34)),
        (8.2, 7.6, 7.8, 10),
    )
    yield Part(clavicle, Tissue.MARROW, f"clavicle_{name}", rim=Tissue.CORTEX, rim_mm=1.5)
    arm = joint.arm
    k = joint.size
    yield Part(Ellipsoid(arm(-2, 0, 1), (25.5 * k, 25.5 * k, 25.5 * k)), Tissue.CARTILAGE)
    humerus = Union(
        (
            Ellipsoid(arm(0, 0, 0), (23.5 * k, 23.5 * k, 23.5 * k)),
            Ellipsoid(arm(15, -2, 4), (11 * k, 14 * k, 16 * k)),
            Ellipsoid(arm(8, -17, -2), (8 * k, 8 * k, 11 * k)),
            Tube((arm(5, -1, -12), arm(11, 0, -46), arm(13, 2, -210)), (20 * k, 13.5 * k, 12 * k)),
        ),
        blend=6,
    )
    yield Part(humerus, Tissue.MARROW, f"humerus_{name}", rim=Tissue.CORTEX, rim_mm=1.8)
    red = Tube((arm(6, -1, -18), arm(11, 0, -50)), (12 * k, 8 * k))
    yield Part(red, Tissue.SPONGIOSA, f"humerus_{name}", keeps_truth=True)


def _scapula(joint: _Joint, name: str, j: np.ndarray) -> Iterator[Part]:
    at, k = joint.at, joint.size
    top, low = at(-104, 30, 34 + j[3]), at(-92 + j[4], 52, -112)
    medial = at(-108 + j[5], 46, 6)
    neck = at(-46, 12, 0)
    yield Part(Ellipsoid(at(-29, 2, -2), (6 * k, 15 * k, 20 * k)), Tissue.CARTILAGE)
    bone = Union(
        (
            Ellipsoid(at(-34, 3, -2), (7.5 * k, 13 * k, 18 * k)),
            Tube((at(-36, 4, -1), neck), (12 * k, 10 * k)),
            Plate((neck, top, medial), 5.5 * k),
            Plate((neck, medial, low), 5.5 * k),
            Tube((at(-40, 8, -14), low), (8 * k, 7.5 * k)),
            Tube(
                (medial, at(-52, 40, 22), at(-14, 38 + j[6], 35), at(10, 20, 41), at(12, -3, 40)), (6, 7, 8, 9, 8)
            ),
            Plate((neck, medial, at(-46, 40, 22)), 4.5 * k),
            Tube((at(-38, -2, 12), at(-36, -22, 22), at(-22, -38, 12 + j[7])), (9, 8, 7.5)),
        ),
        blend=5,
    )
    yield Part(bone, Tissue.MARROW, name, rim=Tissue.CORTEX, rim_mm=1.4)
