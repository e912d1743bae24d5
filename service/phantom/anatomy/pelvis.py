"""A habit in, the pelvis out: sacrum, hip bones, femora, and the male pelvic organs before the rectum."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.phantom.anatomy.column import SACRUM, Column
from service.phantom.anatomy.habit import Habit
from service.phantom.body import Part
from service.phantom.compound import Cut, Union
from service.phantom.contrast import Tissue
from service.phantom.solids import Drum, Ellipsoid, Plate, Solid, Sweep, Triple, Tube


@dataclass(frozen=True, slots=True)
class Hips:
    """Where the hip joints are, and the factor by which the pelvis is larger than the average."""

    half_distance: float
    y: float
    z: float
    size: float

    def at(self, side: int, out: float, posterior: float, superior: float) -> Triple:
        """A point relative to the hip joint of a side (1 left, -1 right); `out` points away from the midline."""
        k = self.size
        return side * (self.half_distance + out * k), self.y + posterior * k, self.z + superior * k

    def mid(self, left: float, posterior: float, superior: float) -> Triple:
        """A point in or near the midline, relative to the height and depth of the hip joints."""
        return left * self.size, self.y + posterior * self.size, self.z + superior * self.size


def hips(column: Column, rng: np.random.Generator) -> Hips:
    """Both hip joints of a patient."""
    size = column.size * float(rng.uniform(0.96, 1.04))
    promontory = column["S1"].at(0, 0, column["S1"].height / 2)
    return Hips(88 * size, promontory[1] - float(rng.uniform(22, 32)), -106 * size, size)


def parts(habit: Habit, joints: Hips, rng: np.random.Generator) -> Iterator[Part]:
    """Muscles and fat, then the organs, then the bones."""
    yield from _buttocks(habit, joints)
    yield from _thighs(habit, joints)
    yield from _muscles(habit.column, joints)
    yield from _organs(joints, rng)
    for side in (-1, 1):
        yield from _hip_bone(side, joints)
        yield from _femur(side, joints)
    yield from sacrum(habit.column)


def sacrum(column: Column) -> Iterator[Part]:
    """Five fused bodies, wings and crest as one structure, with the remains of the discs; then the coccyx."""
    s = {k: column[k] for k in SACRUM}
    pieces: list[Solid] = [
        Drum(v.centre, (v.width / 2, v.depth / 2), v.height / 2 + 1.5, v.axes, waist=0.05) for v in s.values()
    ]
    for side in (-1, 1):
        pieces.append(Tube((s["S1"].at(side * 18, 4, 2), s["S1"].at(side * 42, 8, -6)), (13, 13)))
        pieces.append(Tube((s["S1"].at(side * 40, 10, -4), s["S3"].at(side * 26, 4, 0)), (13, 9)))
        pieces.append(Tube((s["S2"].at(side * 16, 4, 0), s["S2"].at(side * 38, 8, 2)), (11, 11)))
        pieces.append(Tube((s["S3"].at(side * 24, 4, 0), s["S5"].at(side * 10, 2, 0)), (8, 6)))
    crest = [s[k].at(0, s[k].depth / 2 + 13, 0) for k in ("S1", "S2", "S3")]
    pieces.append(Tube(tuple(crest), (6, 6, 5)))
    pieces.extend(
        Tube((s[k].at(x, 14, 0), s[k].at(0, s[k].depth / 2 + 13, 0)), (6, 5))
        for k in ("S1", "S2")
        for x in (-24, 24)
    )
    yield Part(Union(tuple(pieces), blend=5), Tissue.SPONGIOSA, "sacrum", rim=Tissue.CORTEX, rim_mm=1.3)
    for k in ("S1", "S2"):
        v = s[k]
        middle = v.at(0, 0, -v.height / 2)
        yield Part(
            Drum(middle, (v.width * 0.34, v.depth * 0.36), 1.6, v.axes), Tissue.ANNULUS, "sacrum", keeps_truth=True
        )
    tail, axes = s["S5"].at(0, 0, -s["S5"].height / 2), s["S5"]
    path = (tail, axes.at(0, -2, -18), axes.at(0, -8, -30))
    yield Part(Tube(path, (6, 5, 3.5)), Tissue.SPONGIOSA, rim=Tissue.CORTEX)


def _thighs(habit: Habit, joints: Hips) -> Iterator[Part]:
    grow = habit.fat_mm * 1.1
    for tissue, extra in ((Tissue.TENDON, grow + 2), (Tissue.FAT, grow), (Tissue.MUSCLE, 0.0)):
        for side in (-1, 1):
            z = tuple(joints.z + h for h in (-330, -180, -70, -20, 25, 50))
            x = tuple(joints.at(side, out, 0, 0)[0] for out in (-4, 2, 6, -2, -18, -24))
            y = tuple(joints.y + p for p in (4, 2, 0, 0, 0, 0))
            r = tuple(v * joints.size + extra * 0.8 for v in (66, 76, 80, 72, 46, 10))
            yield Part(Sweep(z, x, y, r, r), tissue)


def _buttocks(habit: Habit, joints: Hips) -> Iterator[Part]:
    grow = habit.fat_mm * 1.4
    for tissue, extra in ((Tissue.TENDON, grow + 2), (Tissue.FAT, grow)):
        for side in (-1, 1):
            radii = (72 + extra * 0.5, 34 + extra, 88 + extra * 0.5)
            yield Part(Ellipsoid(joints.at(side, -10, 66, 0), radii, power=2.3), tissue)


def _muscles(column: Column, joints: Hips) -> Iterator[Part]:
    """Pelvic fat with the muscles that line it: gluteal, iliopsoas, obturator, and the great vessels' fat."""
    basin = Ellipsoid(joints.mid(0, 18, 10), (70, 62, 88), power=2.6)
    yield Part(basin, Tissue.FAT)
    for side in (-1, 1):
        at = joints.at
        gluteus = Ellipsoid(at(side, 4, 66, 8), (58, 30, 74))
        yield Part(gluteus, Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=2.0)
        medius = Tube((at(side, 40, 0, 90), at(side, 44, 4, 24)), (20, 15))
        yield Part(medius, Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.6)
        ahead = Tube((at(side, -14, -20, 90), at(side, -4, -44, 10), at(side, 10, -28, -55)), (22, 19, 14))
        yield Part(ahead, Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.5)
        inside = Plate((at(side, -38, -24, 10), at(side, -38, 26, 6), at(side, -32, 0, -52)), 7)
        yield Part(inside, Tissue.MUSCLE)
        yield Part(Tube((at(side, -34, -50, 10), at(side, -10, -66, -60)), (6.5, 6)), Tissue.VESSEL)
        yield Part(Tube((at(side, -44, -44, 10), at(side, -22, -62, -60)), (7, 6.5)), Tissue.VESSEL)
        for h, p in ((-70, -54), (-70, 40)):
            limb = Tube((at(side, 6, p, h), at(side, 2, p * 0.9, -330)), (24, 26))
            yield Part(limb, Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.6)
        adductors = Tube((at(side, -56, -20, -52), at(side, -30, 0, -300)), (22, 26))
        yield Part(adductors, Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.6)


def _organs(joints: Hips, rng: np.random.Generator) -> Iterator[Part]:
    mid = joints.mid
    full = float(rng.uniform(0.75, 1.2))
    rectum = (mid(0, 56, -50), mid(0, 38, -34), mid(2, 44, 0), mid(6, 52, 36), mid(22, 36, 72))
    yield Part(Tube(rectum, (9, 14, 16, 16, 15)), Tissue.BOWEL, rim=Tissue.MUSCLE, rim_mm=2.5)
    yield Part(Ellipsoid(mid(2, 40, -4), (8, 8, 16)), Tissue.AIR)
    bladder = Ellipsoid(mid(0, -22, 34), (42 * full, 34 * full, 30 * full), power=2.3)
    yield Part(bladder, Tissue.FLUID, rim=Tissue.MUSCLE, rim_mm=3.5)
    for side in (-1, 1):
        vesicle = Tube((mid(side * 5, 10, 6), mid(side * 30, 14, 16)), (5.5, 6.5))
        yield Part(vesicle, Tissue.PERIPHERAL_ZONE)
        levator = Plate((mid(side * 28, 0, -8), mid(side * 24, 44, -10), mid(side * 14, 22, -46)), 3.5)
        yield Part(levator, Tissue.MUSCLE)
    yield Part(Tube((mid(0, -8, -42), mid(0, -16, -70)), (12, 13)), Tissue.MUSCLE)
    yield from _prostate(joints, rng)
    for side in (-1, 1):
        corpus = Tube((mid(side * 24, -16, -72), mid(side * 8, -62, -62), mid(side * 8, -108, -92)), (8, 9, 10))
        yield Part(corpus, Tissue.GLAND, rim=Tissue.TENDON)


def _prostate(joints: Hips, rng: np.random.Generator) -> Iterator[Part]:
    wide, deep, tall = rng.uniform(22, 28), rng.uniform(16, 20), rng.uniform(19, 25)
    centre = joints.mid(float(rng.uniform(-2, 2)), -8, -18)
    x, y, z = centre
    yield Part(Ellipsoid((x, y, z - 2), (wide + 7, deep + 5, tall + 3)), Tissue.FAT)
    whole = Union(
        (Ellipsoid(centre, (wide, deep, tall), power=2.3), Tube((centre, (x, y - 1, z - tall + 8)), (11, 9))), 8
    )
    yield Part(whole, Tissue.PERIPHERAL_ZONE, "prostate", rim=Tissue.TENDON, rim_mm=1.0)
    front = Ellipsoid((x, y - 0.28 * deep, z + 3), (0.76 * wide, 0.66 * deep, 0.74 * tall))
    yield Part(front, Tissue.TRANSITION_ZONE, "prostate", rim=Tissue.TENDON, rim_mm=0.8, keeps_truth=True)
    for side in (-1, 1):
        lump = (x + side * 0.34 * wide, y - 0.2 * deep, z + float(rng.uniform(-4, 6)))
        radii = tuple(float(r) for r in rng.uniform(5, 8.5, size=3))
        tissue = Tissue.GLAND if rng.uniform() < 0.5 else Tissue.TRANSITION_ZONE
        yield Part(Ellipsoid(lump, (radii[0], radii[1], radii[2])), tissue, "prostate", keeps_truth=True)
    stroma = Ellipsoid((x, y - 0.86 * deep, z + 2), (0.5 * wide, 3.5, 0.6 * tall))
    yield Part(stroma, Tissue.TENDON, "prostate", keeps_truth=True)


def _hip_bone(side: int, joints: Hips) -> Iterator[Part]:
    def at(out: float, posterior: float, superior: float) -> Triple:
        return joints.at(side, out, posterior, superior)

    crest, front, back = at(42, 12, 138), at(34, -48, 92), at(-44, 82, 92)
    root, joint = at(4, -6, 34), at(-36, 60, 50)
    wing: tuple[Solid, ...] = (
        Plate((crest, front, root), 6.5),
        Plate((crest, root, at(-14, 52, 96)), 6.5),
        Plate((at(-14, 52, 96), root, joint), 9),
        Plate((at(-14, 52, 96), joint, back), 9),
        Tube((front, at(44, -20, 122), crest, at(14, 50, 128), back), (7, 8, 9, 8.5, 9)),
        Tube((root, joint), (13, 11)),
    )
    socket = Cut(Ellipsoid(at(0, 0, 0), (33, 33, 34)), at(8, -3, -8), (0.78 * side, -0.25, -0.55))
    seat = at(-24, 38, -56)
    lower: tuple[Solid, ...] = (
        Tube((at(-16, 22, -12), seat), (14, 16)),
        Tube((at(-22, -22, -2), at(-70, -52, -22)), (10, 9)),
        Tube((seat, at(-46, -6, -58), at(-74, -48, -36)), (11, 8, 9)),
        Ellipsoid(at(-78, -52, -26), (9, 9, 20)),
    )
    yield Part(Union((*wing, socket, *lower), blend=7), Tissue.SPONGIOSA, "pelvis", rim=Tissue.CORTEX, rim_mm=1.4)


def _femur(side: int, joints: Hips) -> Iterator[Part]:
    def at(out: float, posterior: float, superior: float) -> Triple:
        return joints.at(side, out, posterior, superior)

    k = joints.size
    yield Part(Ellipsoid(at(0, 0, 0), (27.2 * k, 27.2 * k, 27.2 * k)), Tissue.CARTILAGE)
    bone = Union(
        (
            Ellipsoid(at(0, 0, 0), (24.5 * k, 24.5 * k, 24.5 * k)),
            Tube((at(0, 0, 0), at(40, 4, -26)), (17 * k, 16 * k)),
            Ellipsoid(at(48, 10, -14), (14 * k, 19 * k, 20 * k)),
            Tube((at(40, 5, -30), at(34, 6, -62), at(30, 4, -330)), (19 * k, 16.5 * k, 14.5 * k)),
            Ellipsoid(at(24, 16, -58), (10 * k, 10 * k, 12 * k)),
        ),
        blend=8,
    )
    yield Part(bone, Tissue.MARROW, "upper_femora", rim=Tissue.CORTEX, rim_mm=3.2)
    yield Part(Ellipsoid(at(38, 6, -30), (12, 12, 14)), Tissue.SPONGIOSA, "upper_femora", keeps_truth=True)
