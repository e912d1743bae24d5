"""An anatomy and a grid in, pixels and truth out, as a scanner would have seen them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import Laterality, Plane
from service.phantom.body import Acquisition, Anatomy, Part, Phantom
from service.phantom.contrast import Contrast, Tissue, signals, texture_of
from service.phantom.solids import Array, Points

WARP_MM = 1.6
"""How far the slow deformation that makes every patient's organs a little irregular moves a point at most."""
HALVES = (-0.25, 0.25)
"""Where in its thickness a slice collects signal, in slice thicknesses from its middle."""

_CELLS = 96

_Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False, slots=True)
class _Canvas:
    """What painting changes (image, truth) and what it reads."""

    signal: Mapping[Tissue, float]
    image: Array
    """(half, z, y, x)."""
    truth: npt.NDArray[np.uint8]
    """(z, y, x)."""
    points: Points
    """Each (half, z, y, x): where the anatomy is asked."""
    texture: Array
    """(z, y, x)."""
    labels: Mapping[str, int]
    pixel_mm: float


def render(
    anatomy: Anatomy,
    acquisition: Acquisition,
    seed: int,
    *,
    protocol: str,
    labels: Mapping[str, int],
    contrast: Contrast,
    laterality: Laterality | None = None,
    absent: frozenset[str] = frozenset(),
    noise: float = 0.02,
) -> Phantom:
    """Image an anatomy: partial volume, shading, blur and noise; the truth is what fills the voxel's middle.

    Structures named as absent are seen but have no place in the truth.
    """
    rng = np.random.default_rng((seed, 7001))
    centres = _centres(acquisition)
    waves = np.random.default_rng((seed, 7002))
    points, texture = _deformed(centres, waves), _texture(centres, waves)
    canvas = _Canvas(
        signal=signals(contrast, rng),
        image=np.zeros((len(HALVES), *acquisition.shape), dtype=np.float32),
        truth=np.zeros(acquisition.shape, dtype=np.uint8),
        points=_halves(points, acquisition),
        texture=texture,
        labels={name: value for name, value in labels.items() if name not in absent},
        pixel_mm=max(acquisition.spacing_mm[1:]),
    )
    for part in anatomy.parts:
        window = _window(part, acquisition)
        if window is not None:
            _paint(part, window, canvas)
    pixels = _seen(canvas.image.mean(axis=0), acquisition, centres, noise, rng)
    plane = plane_of(acquisition)
    return Phantom(protocol, seed, pixels, canvas.truth, labels, acquisition, plane, contrast, laterality)


def plane_of(acquisition: Acquisition) -> Plane:
    """The anatomical plane nearest to the slices of a grid."""
    normal = np.cross(acquisition.affine[:3, 0], acquisition.affine[:3, 1])
    return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[int(np.argmax(np.abs(normal)))]


def _centres(acquisition: Acquisition) -> Points:
    z, y, x = (np.arange(n, dtype=np.float32) for n in acquisition.shape)
    a = acquisition.affine.astype(np.float32)
    i, j, k = x[None, None, :], y[None, :, None], z[:, None, None]
    along = [a[r, 0] * i + a[r, 1] * j + a[r, 2] * k + a[r, 3] for r in range(3)]
    return along[0], along[1], along[2]


def _wave(points: Points, rng: np.random.Generator, length_mm: tuple[float, float]) -> Array:
    direction = rng.normal(size=3)
    direction *= 2 * np.pi / rng.uniform(*length_mm) / np.linalg.norm(direction)
    a, b, c = (np.float32(v) for v in direction)
    phase = np.float32(rng.uniform(0, 2 * np.pi))
    return np.asarray(np.sin(points[0] * a + points[1] * b + points[2] * c + phase), dtype=np.float32)


def _deformed(points: Points, rng: np.random.Generator) -> Points:
    moved: list[Array] = []
    for coordinate in points:
        shift = _wave(points, rng, (70, 160)) + np.float32(0.5) * _wave(points, rng, (35, 60))
        moved.append(np.asarray(coordinate + shift * np.float32(WARP_MM / 1.5), dtype=np.float32))
    return moved[0], moved[1], moved[2]


@cache
def _grain() -> Array:
    """(96, 96, 96): repeating noise of unit deviation in cells of one mm, mostly in lumps of 4 to 20 mm."""
    cycles = np.fft.fftfreq(_CELLS)
    pace = np.sqrt(cycles[:, None, None] ** 2 + cycles[None, :, None] ** 2 + cycles[None, None, :] ** 2)
    weight = np.exp(-((pace / 0.09) ** 2)) / (0.03 + pace)
    weight[0, 0, 0] = 0
    raw = np.random.default_rng(11).standard_normal((_CELLS,) * 3)
    smooth = np.fft.ifftn(np.fft.fftn(raw) * weight).real
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _texture(points: Points, rng: np.random.Generator) -> Array:
    x, y, z = (
        (p + np.float32(s)).astype(np.int32) % _CELLS for p, s in zip(points, rng.uniform(9e3, 1e4, 3), strict=True)
    )
    return _grain().ravel().take((z * _CELLS + y) * _CELLS + x)


def _halves(points: Points, acquisition: Acquisition) -> Points:
    normal = acquisition.affine[:3, 2] / acquisition.spacing_mm[0] * acquisition.thickness_mm
    shifts = np.outer(normal, HALVES).astype(np.float32)[:, :, None, None, None]
    x, y, z = (p[None] + s for p, s in zip(points, shifts, strict=True))
    return x, y, z


def _window(part: Part, acquisition: Acquisition) -> _Window | None:
    """The index ranges along (z, y, x) that a part may touch; None when it lies outside the grid."""
    low, high = part.solid.bounds()
    grown = np.stack([low - WARP_MM - 1.5, high + WARP_MM + 1.5])
    corners = np.array(
        [[grown[i, 0], grown[j, 1], grown[k, 2], 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    index = (np.linalg.inv(acquisition.affine) @ corners.T)[:3]
    first, last = np.floor(index.min(axis=1)).astype(int), np.ceil(index.max(axis=1)).astype(int) + 1
    ranges = [
        slice(max(0, a), min(n, b)) for a, b, n in zip(first[::-1], last[::-1], acquisition.shape, strict=True)
    ]
    if any(r.start >= r.stop for r in ranges):
        return None
    return ranges[0], ranges[1], ranges[2]


def _paint(part: Part, window: _Window, canvas: _Canvas) -> None:
    """Lay one part over what its window of the canvas holds already."""
    x, y, z = (p[(slice(None), *window)] for p in canvas.points)
    distance = part.solid.distance((x, y, z))
    _blend(canvas, window, distance, part.tissue if part.rim is None else part.rim)
    if part.rim is not None:
        _blend(canvas, window, distance + np.float32(part.rim_mm), part.tissue)
    if not part.keeps_truth:
        value = canvas.labels.get(part.structure, 0) if part.structure else 0
        canvas.truth[window][distance.mean(axis=0) < 0] = value


def _blend(canvas: _Canvas, window: _Window, distance: Array, tissue: Tissue) -> None:
    """Mix a tissue in by the part of the pixel's width that lies inside."""
    view = canvas.image[(slice(None), *window)]
    cover = np.clip(np.float32(0.5) - distance / np.float32(canvas.pixel_mm), 0, 1)
    paint = np.float32(canvas.signal[tissue]) * (1 + np.float32(texture_of(tissue)) * canvas.texture[window])
    view += cover * (paint - view)


def _seen(
    image: Array, acquisition: Acquisition, centres: Points, noise: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    shaded = image * _shading(centres, acquisition, rng)
    blurred = _spread(_spread(shaded, 1), 2)
    sigma = np.float32(noise * 1000 / np.sqrt(max(acquisition.spacing_mm[2], 0.3) / 0.7))
    real = blurred + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    return np.asarray(np.clip(np.rint(magnitude), 0, 4095), dtype=np.uint16)


def _spread(image: Array, axis: int) -> Array:
    """The in-plane point spread: a three-tap kernel along one axis."""
    padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
    n = image.shape[axis]
    left, middle, right = (padded.take(np.arange(s, s + n), axis=axis) for s in range(3))
    return np.asarray(np.float32(0.18) * (left + right) + np.float32(0.64) * middle, dtype=np.float32)


def _shading(points: Points, acquisition: Acquisition, rng: np.random.Generator) -> Array:
    """A smooth multiplicative field as receive coils leave it: a slope, a bowl and one slow wave."""
    extent = float(max(n * s for n, s in zip(acquisition.shape, acquisition.spacing_mm, strict=True)))
    u, v, w = ((p - np.float32(c)) / np.float32(extent) for p, c in zip(points, acquisition.centre_mm, strict=True))
    slope = rng.uniform(-0.3, 0.3, size=3).astype(np.float32)
    bowl = np.float32(rng.uniform(0.1, 0.5))
    wave = _wave(points, rng, (250, 500)) * np.float32(0.06)
    field = 1 + slope[0] * u + slope[1] * v + slope[2] * w - bowl * (u * u + v * v + w * w) + wave
    return np.asarray(field, dtype=np.float32)
