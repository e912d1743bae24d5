"""A column in, the parts of the spine out: vertebrae with arches and processes, discs, canal, cord and roots."""

from collections.abc import Iterator

import numpy as np

from service.phantom.anatomy.column import LEVELS, Column, Vertebra
from service.phantom.body import Part
from service.phantom.compound import Union
from service.phantom.contrast import Tissue
from service.phantom.solids import Drum, Ellipsoid, Solid, Sweep, Triple, Tube

LABELLED = (*(f"C{n}" for n in range(3, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
"""The levels that MRAnnotator knows, in the order of its labels."""
CANAL_RADIUS = {"C": 7.6, "T": 7.8, "L": 8.8, "S": 6.0}
CORD_RADIUS = {"C": (6.3, 3.9), "T": (4.4, 3.6), "L": (4.0, 3.2)}
SPINOUS: dict[str, tuple[float, float, float]] = {
    # region or level: length behind the laminae, drop of the tip, radius; all in mm
    "C": (15, 6, 5.4),
    "C6": (20, 7, 5.6),
    "C7": (27, 9, 6.0),
    "T1": (27, 12, 6.0),
    "T": (23, 21, 6.0),
    "T10": (21, 16, 6.2),
    "T11": (20, 12, 6.6),
    "T12": (20, 8, 7.4),
    "L": (22, 5, 6.8),
}


def parts(column: Column) -> tuple[Part, ...]:
    """Discs, then vertebrae from above downwards, then what lies in the canal."""
    return (*_discs(column), *_vertebrae(column), *_canal(column))


def _discs(column: Column) -> Iterator[Part]:
    for level in LEVELS:
        v = column[level]
        middle = v.at(0, 0, -v.height / 2 - v.disc_below / 2)
        solid = Drum(middle, (v.width * 0.49, v.depth * 0.51), v.disc_below / 2 + 1.5, v.axes, hollow=-0.25)
        yield Part(solid, Tissue.NUCLEUS, rim=Tissue.ANNULUS, rim_mm=min(2.0 + v.depth / 10, 4.5))


def _vertebrae(column: Column) -> Iterator[Part]:
    for level in reversed(LEVELS):
        v = column[level]
        name = v.name if level in LABELLED else None
        for solid in (_arch(v), *_body(v)):
            yield Part(solid, Tissue.SPONGIOSA, name, rim=Tissue.CORTEX, rim_mm=1.1)
        vein = Ellipsoid(v.at(0, v.depth * 0.38, 0), (2.5, v.depth * 0.14, 1.6), v.axes)
        yield Part(vein, Tissue.FLUID if level[0] != "C" else Tissue.SPONGIOSA, name, keeps_truth=True)


def _body(v: Vertebra) -> Iterator[Solid]:
    half = (v.width / 2, v.depth / 2)
    if v.level != "C2":
        yield Drum(v.centre, half, v.height / 2, v.axes, waist=0.09, hollow=0.07)
        return
    dens = Tube((v.at(0, -1, 0), v.at(0, 0, v.height * 1.15)), (6.0, 4.6))
    yield Union((Drum(v.centre, half, v.height / 2, v.axes, waist=0.1), dens), blend=3)


def _arch(v: Vertebra) -> Solid:
    """Pedicles, articular pillars, laminae, transverse processes and the spinous process."""
    region = v.level[0]
    length, drop, thick = SPINOUS.get(v.level, SPINOUS[region])
    back, hole = v.depth / 2, CANAL_RADIUS[region]
    behind = back + 2 * hole + 1.5 + thick
    side = {"C": v.width * 0.5 + 6, "T": v.width * 0.5 - 1, "L": v.width * 0.5 - 4}[region]
    side = max(side, hole + 5.5)
    lift = {"C": 0.0, "T": v.height * 0.15, "L": v.height * 0.12}[region]
    low = -v.height * 0.12
    tip = (0.0, behind + length, low - drop)
    pieces: list[Solid] = [Tube((v.at(0, behind - 1, low), v.at(*tip)), (thick, thick * 1.05))]
    if region == "L":  # a hatchet rather than a thorn
        pieces.append(Tube((v.at(0, behind + 2, low - 7), v.at(0, behind + length - 1, low - drop - 8)), (5, 6)))
    for s in (-1, 1):
        root, pillar = v.at(s * side * 0.8, back - 3, lift), v.at(s * side, back + hole * 0.9, lift)
        pieces.append(Tube((root, pillar), (0.16 * v.height + 2.6, 5.6)))
        pieces.append(_pillar(v, s * side, back + hole * 1.1))
        pieces.append(Tube((v.at(s * side, back + hole * 1.2, low), v.at(s * 2, behind - 1, low)), (5.6, 5.4)))
        pieces.append(_transverse(v, s, side, back, lift))
    return Union(tuple(pieces), blend=2)


def _pillar(v: Vertebra, x: float, y: float) -> Solid:
    tall = {"C": 0.42, "T": 0.5, "L": 0.6}[v.level[0]] * v.height
    thick = {"C": 6.6, "T": 5.8, "L": 6.6}[v.level[0]]
    return Tube((v.at(x, y - 1, tall), v.at(x, y + 2, -tall)), (thick, thick))


def _transverse(v: Vertebra, s: int, side: float, back: float, lift: float) -> Solid:
    region = v.level[0]
    if region == "C":
        return Tube((v.at(s * (side - 5), 3, 0), v.at(s * (side + 2), 5, -1)), (6.0, 6.0))
    if region == "T":
        reach = 16 if v.level in ("T11", "T12") else 23
        return Tube((v.at(s * side, back + 8, lift), v.at(s * (side + reach - 8), back + 17, lift + 2)), (6, 6))
    return Tube((v.at(s * side, back + 4, lift), v.at(s * (side + 22), back + 10, lift)), (5.6, 5.4))


def _canal(column: Column) -> Iterator[Part]:
    places = [(z, _middle(v), v.level) for v in _all(column) for z in (v.centre[2],)]
    places.sort()
    heights = tuple(z for z, _, _ in places)
    x, y = tuple(p[0] for _, p, _ in places), tuple(p[1] for _, p, _ in places)
    wide = tuple(CANAL_RADIUS[level[0]] * 1.12 for *_, level in places)
    deep = tuple(CANAL_RADIUS[level[0]] * 0.86 * _lean_factor(column[level]) for *_, level in places)
    yield Part(Sweep(heights, x, y, wide, deep), Tissue.FLUID)
    yield from _roots(column)
    above = [row for row in places if row[0] >= column["L1"].centre[2] - 8]
    cord = Sweep(
        tuple(z for z, *_ in above),
        tuple(p[0] for _, p, _ in above),
        tuple(p[1] - 0.6 for _, p, _ in above),
        tuple(CORD_RADIUS[level[0]][0] * (0.55 if level == "L1" else 1) for *_, level in above),
        tuple(CORD_RADIUS[level[0]][1] * (0.55 if level == "L1" else 1) for *_, level in above),
    )
    yield Part(cord, Tissue.CORD)


def _roots(column: Column) -> Iterator[Part]:
    for s in (-1, 1):
        levels = ("L1", "L2", "L3", "L4", "L5", "S1")
        path = tuple(_offset(_middle(column[k]), s * 2.2, 4.2) for k in levels)
        yield Part(Tube(path, (1.7,) * len(path)), Tissue.CORD)


def _offset(p: Triple, left: float, posterior: float) -> Triple:
    return p[0] + left, p[1] + posterior, p[2]


def _all(column: Column) -> tuple[Vertebra, ...]:
    sacral = tuple(column[k] for k in ("S2", "S1"))
    return (*sacral, *(column[k] for k in LEVELS))


def _middle(v: Vertebra) -> Triple:
    """The middle of the canal at the height of a body's centre."""
    region = v.level[0]
    at = np.asarray(v.at(0, v.depth / 2 + CANAL_RADIUS[region] * 0.95, 0))
    lean = v.axes[2]
    if region == "S":
        return float(at[0]), float(at[1]), float(at[2])
    x, y, z = at + lean / lean[2] * (v.centre[2] - at[2])
    return float(x), float(y), float(z)


def _lean_factor(v: Vertebra) -> float:
    """The horizontal section of a leaning canal is longer than the canal is wide."""
    return float(1 / max(v.axes[2][2], 0.7))
