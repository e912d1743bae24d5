"""The vertebral column as numbers: a seed in, the place, lean and size of every vertebra from L5 up to C2 out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.phantom.solids import Triple, Vector, frame

SIZES: dict[str, tuple[float, float, float, float, float]] = {
    # level: height, depth, width of the body, disc below, lean backwards in degrees (supine adult)
    "L5": (28.0, 34.5, 50, 10.0, -19),
    "L4": (28.5, 34.5, 48, 11.5, -9),
    "L3": (28.5, 34.0, 46, 11.0, 0),
    "L2": (28.0, 33.0, 44, 10.0, 7),
    "L1": (27.0, 32.0, 43, 9.0, 12),
    "T12": (25.5, 31.0, 41, 7.5, 14),
    "T11": (24.0, 30.5, 38, 6.5, 13),
    "T10": (23.0, 30.0, 35.5, 6.0, 11),
    "T9": (22.0, 29.5, 33.5, 5.5, 8),
    "T8": (21.3, 28.5, 32, 5.0, 4),
    "T7": (20.7, 27.5, 30.5, 4.7, 0),
    "T6": (20.0, 26.0, 29.5, 4.5, -4),
    "T5": (19.5, 24.5, 28.5, 4.3, -8),
    "T4": (19.0, 23.0, 28, 4.2, -13),
    "T3": (18.5, 21.5, 28, 4.2, -17),
    "T2": (18.0, 20.0, 28.5, 4.4, -20),
    "T1": (17.0, 19.0, 29, 4.8, -22),
    "C7": (15.8, 19.5, 28, 5.4, -20),
    "C6": (15.0, 19.0, 26, 5.6, -14),
    "C5": (14.8, 18.6, 25, 5.6, -7),
    "C4": (14.8, 18.2, 24.5, 5.5, -1),
    "C3": (15.0, 17.8, 24, 5.4, 4),
    "C2": (20.0, 16.0, 21, 5.2, 7),
}
LEVELS = tuple(SIZES)
"""From below upwards."""
SACRUM: dict[str, tuple[float, float, float, float]] = {
    # level: height, depth, width, lean backwards in degrees; upwards in the patient means backwards in the table
    "S1": (30, 31, 50, -38),
    "S2": (25, 23, 40, -36),
    "S3": (21, 17, 34, -22),
    "S4": (18, 14, 30, 2),
    "S5": (16, 12, 26, 26),
}


@dataclass(frozen=True, eq=False, slots=True)
class Vertebra:
    """The body of one vertebra."""

    level: str
    centre: Triple
    axes: Vector
    """Rows: local left, posterior, superior in LPS."""
    height: float
    depth: float
    width: float
    disc_below: float

    def at(self, left: float, posterior: float, superior: float) -> Triple:
        """A point given in millimetres along the local axes, in LPS."""
        x, y, z = np.asarray(self.centre) + np.array([left, posterior, superior]) @ self.axes
        return float(x), float(y), float(z)

    @property
    def name(self) -> str:
        """The structure's name in MRAnnotator's label table."""
        return f"Vertebrae {self.level}"


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """All vertebrae, by level; the middle of the end plate of S1 is the origin of x and z."""

    vertebrae: Mapping[str, Vertebra]
    sacrum: Mapping[str, Vertebra]
    size: float
    """Stature of the patient, 1 for the average."""

    def __getitem__(self, level: str) -> Vertebra:
        """The vertebra of a level, sacral ones included."""
        return self.sacrum[level] if level in self.sacrum else self.vertebrae[level]

    def centres(self) -> Vector:
        """The centres from the lowest upwards, (n, 3) LPS."""
        rows = [v.centre for v in (*reversed(tuple(self.sacrum.values())), *self.vertebrae.values())]
        return np.array(rows)

    def y(self, z: float) -> float:
        """How far posterior the middle of the column is at a height."""
        at = self.centres()
        return float(np.interp(z, at[:, 2], at[:, 1]))

    def x(self, z: float) -> float:
        """How far left the middle of the column is at a height."""
        at = self.centres()
        return float(np.interp(z, at[:, 2], at[:, 0]))


def grow(rng: np.random.Generator) -> Column:
    """A column with its own stature, curvatures, slight scoliosis and worn discs."""
    size = float(rng.uniform(0.93, 1.07))
    bend = {"L": rng.uniform(0.7, 1.2), "T": rng.uniform(0.75, 1.15), "C": rng.uniform(0.5, 1.15)}
    sway, phase = rng.uniform(0, 2.5), rng.uniform(0, 2 * np.pi)
    slope = float(rng.uniform(0.85, 1.15))
    start = np.array([0.0, 38.0, 0.0])
    top, lean_below = start, SACRUM["S1"][3] * slope
    vertebrae: dict[str, Vertebra] = {}
    for i, (level, (height, depth, width, disc, lean)) in enumerate(SIZES.items()):
        pitch, roll = lean * bend[level[0]], sway * np.sin(i / 3.5 + phase)
        axes = frame(roll=roll, pitch=pitch)
        gap, tall = disc * size * rng.uniform(0.8, 1.1), height * size * rng.uniform(0.97, 1.03)
        middle = top + frame(roll=roll, pitch=(pitch + lean_below) / 2)[2] * gap + axes[2] * tall / 2
        deep, wide = depth * size * rng.uniform(0.96, 1.04), width * size * rng.uniform(0.96, 1.04)
        vertebrae[level] = Vertebra(level, _triple(middle), axes, tall, deep, wide, gap)
        top, lean_below = middle + axes[2] * tall / 2, pitch
    return Column(vertebrae, _sacral(start, size, slope), size)


def _sacral(start: Vector, size: float, slope: float) -> dict[str, Vertebra]:
    bottom, found = start, {}
    for level, (height, depth, width, lean) in SACRUM.items():
        axes = frame(pitch=lean * slope)
        middle = bottom - axes[2] * height * size / 2
        found[level] = Vertebra(level, _triple(middle), axes, height * size, depth * size, width * size, 0.0)
        bottom = middle - axes[2] * height * size / 2
    return found


def _triple(v: Vector) -> Triple:
    return float(v[0]), float(v[1]), float(v[2])
