"""An anatomy and its landmarks in, the grid out that a technologist would have set for one protocol."""

import numpy as np

from dicom_nodes.types import Laterality, Plane
from service.phantom.body import Acquisition, Anatomy
from service.phantom.grids import grid
from service.phantom.solids import Triple

_Generator = np.random.Generator


def cervical(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Sagittal from the base of the skull to the second, third or fourth thoracic vertebra."""
    bottom = anatomy.landmarks[f"below {_one_of(rng, 'T2', 'T3')}"][2]
    top = anatomy.landmarks["C2"][2] + rng.uniform(42, 62)
    return _spinal(anatomy, rng, (bottom, top), ("C4", "C7"), slices=18, thickness=3.0, gap=0.3, ahead=14)


def thoracic(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Sagittal from the sixth or seventh cervical to the first or second lumbar vertebra."""
    top = anatomy.landmarks[f"below {_one_of(rng, 'C5', 'C6')}"][2]
    bottom = anatomy.landmarks[f"below {_one_of(rng, 'L1', 'L2')}"][2]
    return _spinal(anatomy, rng, (bottom, top), ("T3", "T9"), slices=20, thickness=3.5, gap=0.4, ahead=24)


def lumbar(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Sagittal from the eleventh or twelfth thoracic vertebra to the sacrum."""
    top = anatomy.landmarks[f"below {_one_of(rng, 'T10', 'T11')}"][2]
    bottom = anatomy.landmarks["S3"][2] - rng.uniform(0, 18)
    return _spinal(anatomy, rng, (bottom, top), ("L1", "L5"), slices=20, thickness=4.0, gap=0.4, ahead=20)


def _one_of(rng: _Generator, *names: str) -> str:
    return names[int(rng.integers(len(names)))]


def _spinal(
    anatomy: Anatomy,
    rng: _Generator,
    reach: tuple[float, float],
    middle: tuple[str, str],
    *,
    slices: int,
    thickness: float,
    gap: float,
    ahead: float,
) -> Acquisition:
    """A square field from one disc to another, centred a little before the column."""
    bottom, top = reach[0] + rng.uniform(-1.5, 1.5), reach[1] + rng.uniform(-1.5, 1.5)
    x, y, _ = np.mean([anatomy.landmarks[k] for k in middle], axis=0)
    centre: Triple = (x + rng.uniform(-4, 4), y - ahead + rng.uniform(-12, 12), (bottom + top) / 2)
    return grid(
        Plane.SAGITTAL,
        centre,
        matrix=(320, 320),
        pixel_mm=(top - bottom) / 320,
        slices=slices,
        thickness_mm=thickness,
        gap_mm=gap,
        tilt=(float(rng.uniform(-2, 2)), float(rng.uniform(-2.5, 2.5)), float(rng.uniform(-4, 4))),
    )


def abdomen(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Axial from the dome of the diaphragm to below the kidneys, the matrix wider than deep."""
    x, y, z = anatomy.landmarks["T12"]
    centre = (x + rng.uniform(-10, 10), y - 34 + rng.uniform(-8, 8), z - 12 + rng.uniform(-10, 10))
    return grid(
        Plane.AXIAL,
        centre,
        matrix=(256, 320),
        pixel_mm=(2 * anatomy.landmarks["half width"][0] + float(rng.uniform(14, 50))) / 320,
        slices=36,
        thickness_mm=5.5,
        gap_mm=1.1,
        tilt=(float(rng.uniform(-2, 2)), float(rng.uniform(-2, 2)), float(rng.uniform(-3, 3))),
    )


def pelvis(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Coronal from the pubic symphysis to behind the sacrum."""
    x, y, z = anatomy.landmarks["hips"]
    centre = (x + rng.uniform(-8, 8), y + 12 + rng.uniform(-6, 6), z + 24 + rng.uniform(-15, 15))
    return grid(
        Plane.CORONAL,
        centre,
        matrix=(320, 320),
        pixel_mm=float(rng.uniform(1.2, 1.31)),
        slices=34,
        thickness_mm=4.5,
        gap_mm=0.9,
        tilt=(float(rng.uniform(-6, 6)), float(rng.uniform(-2, 2)), float(rng.uniform(-3, 3))),
    )


def prostate(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Axial to the prostate in thin slices and a small field."""
    x, y, z = anatomy.landmarks["prostate"]
    centre = (x + rng.uniform(-6, 6), y + 6 + rng.uniform(-8, 8), z + rng.uniform(-5, 8))
    return grid(
        Plane.AXIAL,
        centre,
        matrix=(320, 320),
        pixel_mm=float(rng.uniform(0.56, 0.65)),
        slices=26,
        thickness_mm=3.0,
        gap_mm=float(rng.choice([0.0, 0.3, 0.6])),
        tilt=(float(rng.uniform(-9, 9)), float(rng.uniform(-2, 2)), float(rng.uniform(-3, 3))),
    )


def shoulder(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Coronal, turned a little towards the scapula."""
    x, y, z = anatomy.landmarks["joint"]
    inwards = 1 if side is Laterality.RIGHT else -1
    centre = (x + inwards * rng.uniform(24, 36), y + 8 + rng.uniform(-5, 5), z - 20 + rng.uniform(-8, 8))
    return grid(
        Plane.CORONAL,
        centre,
        matrix=(320, 320),
        pixel_mm=float(rng.uniform(0.53, 0.6)),
        slices=28,
        thickness_mm=3.2,
        gap_mm=0.4,
        tilt=(float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3)), inwards * float(rng.uniform(-10, 2))),
    )


def knee(anatomy: Anatomy, rng: _Generator, side: Laterality) -> Acquisition:
    """Sagittal across the whole joint, wide enough to hold the head of the fibula."""
    x, y, z = anatomy.landmarks["joint"]
    outwards = -1 if side is Laterality.RIGHT else 1
    centre = (x + outwards * rng.uniform(0, 4), y + rng.uniform(-6, 4), z + rng.uniform(-10, 10))
    return grid(
        Plane.SAGITTAL,
        centre,
        matrix=(320, 320),
        pixel_mm=float(rng.uniform(0.5, 0.56)),
        slices=30,
        thickness_mm=3.2,
        gap_mm=0.4,
        tilt=(float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3)), float(rng.uniform(-10, 10))),
    )
