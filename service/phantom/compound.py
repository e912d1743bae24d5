"""Solids made of solids: several as one, or one cut by a plane."""

from dataclasses import dataclass

import numpy as np

from service.phantom.solids import Array, Box, Points, Solid, Triple, dot


@dataclass(frozen=True, eq=False)
class Union:
    """Several solids as one, with the seams filled to a fillet of the blend's width."""

    solids: tuple[Solid, ...]
    blend: float = 0.0

    def bounds(self) -> Box:
        """The box around all boxes."""
        lows, highs = zip(*(s.bounds() for s in self.solids), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def distance(self, points: Points) -> Array:
        """The least distance, or a smooth least one."""
        total = self.solids[0].distance(points)
        for solid in self.solids[1:]:
            other = solid.distance(points)
            if self.blend:
                fillet = np.maximum(np.float32(self.blend) - np.abs(total - other), 0)
                total = np.minimum(total, other) - fillet * fillet * np.float32(0.25 / self.blend)
            else:
                total = np.minimum(total, other)
        return total


@dataclass(frozen=True, eq=False)
class Cut:
    """A solid of which only the part behind a plane is left."""

    solid: Solid
    through: Triple
    normal: Triple
    """Points away from what is kept."""

    def bounds(self) -> Box:
        """The box of the whole solid."""
        return self.solid.bounds()

    def distance(self, points: Points) -> Array:
        """The worse of the solid's distance and the plane's."""
        n = np.asarray(self.normal, dtype=float)
        n /= np.linalg.norm(n)
        plane = dot(points, n) - np.float32(n @ np.asarray(self.through))
        return np.asarray(np.maximum(self.solid.distance(points), plane), dtype=np.float32)
