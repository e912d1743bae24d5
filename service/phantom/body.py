"""The nouns of a phantom: parts of an anatomy, the grid it is imaged on, and the phantom that comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import Affine, Laterality, Plane
from service.phantom.contrast import Contrast, Tissue
from service.phantom.solids import Solid, Triple


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """One solid of one tissue; a later part covers the earlier ones."""

    solid: Solid
    tissue: Tissue
    structure: str | None = None
    """The name of the structure it belongs to, if that is one a model knows."""
    rim: Tissue | None = None
    """The tissue of its outermost layer, as the cortex of a bone."""
    rim_mm: float = 1.2
    keeps_truth: bool = False
    """Drawn inside a structure without ending it, as the medulla of a kidney."""


@dataclass(frozen=True, eq=False, slots=True)
class Anatomy:
    """A patient: ordered parts in LPS millimetres, and named points for those who place the grid."""

    parts: tuple[Part, ...]
    landmarks: Mapping[str, Triple] = field(default_factory=lambda: MappingProxyType({}))
    middles: Mapping[str, Triple] = field(default_factory=lambda: MappingProxyType({}))
    """Of structures that count as imaged only where this point of theirs is in the field: the vertebral bodies."""


@dataclass(frozen=True, eq=False, slots=True)
class Acquisition:
    """The grid of one volume."""

    affine: Affine
    shape: tuple[int, int, int]
    """(z, y, x)."""
    thickness_mm: float
    """What one slice collects signal from; the rest of the distance to the next slice is the gap."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x)."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def gap_mm(self) -> float:
        """The unimaged distance between neighbouring slices."""
        return self.spacing_mm[0] - self.thickness_mm

    def holds(self, point: Triple) -> bool:
        """Whether a point in LPS lies in the imaged box."""
        index = (np.linalg.inv(self.affine) @ [*point, 1.0])[:3]
        return bool(np.all(index > -0.5) and np.all(index < np.asarray(self.shape[::-1]) - 0.5))

    @property
    def centre_mm(self) -> Triple:
        """The middle of the imaged box in LPS."""
        index = [(n - 1) / 2 for n in self.shape[::-1]]
        x, y, z = (self.affine @ [*index, 1.0])[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, eq=False, slots=True)
class Phantom:
    """An imaged anatomy: pixels and truth on one grid."""

    protocol: str
    seed: int
    pixels: npt.NDArray[np.uint16]
    """(z, y, x), 0..4095."""
    truth: npt.NDArray[np.uint8]
    """(z, y, x): 0 or one of the values of `labels`."""
    labels: Mapping[str, int]
    """Every structure of the protocol and its value in the model's label map."""
    acquisition: Acquisition
    plane: Plane
    contrast: Contrast
    laterality: Laterality | None
    """Of the joint; None where the protocol has no side."""

    @property
    def affine(self) -> Affine:
        """(column, row, slice index, 1) to (L, P, S, 1)."""
        return self.acquisition.affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x); the first is slice thickness and gap together."""
        return self.acquisition.spacing_mm

    @property
    def thickness_mm(self) -> float:
        """Slice thickness."""
        return self.acquisition.thickness_mm

    @property
    def gap_mm(self) -> float:
        """Gap between slices."""
        return self.acquisition.gap_mm
