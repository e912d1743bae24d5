"""Pixels and labels on one affine → planes through them as a radiologist looks at them.

Radiological convention: the patient's right is on the left of axial and coronal pictures, the front on the left of
sagittal ones. Proportions are those of the body, whatever the spacing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_nodes.orientation import Reoriented, reorient
from dicom_nodes.types import Affine, Plane

SIDES = {Plane.AXIAL: "RLAP", Plane.CORONAL: "RLHF", Plane.SAGITTAL: "APHF"}
"""What is at the left, right, top and bottom of a picture of this plane, in the letters of (0020,0020)."""
_PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
"""By the axis that runs through them, of an array whose axes are S, P, L."""
_MOST_SAMPLED = 2_000_000
_MARGIN_MM, LEAST_RATIO = 14.0, 0.6
"""Seen around the structures where a picture is cut to them; its shorter side against the longer."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One plane through the volume, as it is looked at: row 0 at the top."""

    sides: str
    """What is at the left, right, top and bottom."""
    grey: Bytes
    """(row, column), windowed."""
    labels: Bytes
    """(row, column)."""
    size_mm: tuple[float, float]
    """(width, height)."""
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A volume and its labels, turned to the patient's axes."""

    grey: Reoriented[np.uint8]
    labels: Reoriented[np.uint8]

    @property
    def acquired(self) -> int:
        """The array axis that the slices were acquired along."""
        return int(self.grey.transposition.index(0))


def lay(pixels: npt.NDArray[Any], labels: Bytes, affine: Affine) -> Body:
    """Turn both, (z, y, x), to the patient's axes; pixels become 8 bits."""
    return Body(reorient(windowed(pixels), affine, "LPS"), reorient(labels, affine, "LPS"))


def windowed(pixels: npt.NDArray[Any]) -> Bytes:
    """Map the pixel values, but for the hundredth part at either end, to 0..255; what is not finite to 0."""
    values = np.asarray(pixels, dtype=np.float32)
    sample = values.ravel()[:: max(1, values.size // _MOST_SAMPLED)]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (1, 99)) if sample.size else (0.0, 1.0)
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.asarray(np.nan_to_num(scaled), dtype=np.uint8)


def planes(body: Body) -> list[View]:
    """The plane of the slices first, then the two reformats; each where most is to be seen."""
    first = body.acquired
    order = [first, *(axis for axis in range(3) if axis != first)]
    return [_view(body, axis, _richest(body.labels.array, axis)) for axis in order]


def labelled(body: Body) -> tuple[int, tuple[float, float]]:
    """How many slices have labels, and the (width, height) in mm of a picture of one that is cut to them."""
    shown = _shown(body)
    if not shown.size:
        return 0, (1.0, 1.0)
    return int(shown.size), _view(body, body.acquired, int(shown[0]), _window(body)).size_mm


def strip(body: Body, count: int) -> list[View]:
    """`count` slices, evenly spread over those with labels, in the order of the volume, cut to what is labelled.

    `count` is not more than `labelled` says.
    """
    if not count:
        return []
    shown, axis = _shown(body), body.acquired
    chosen = shown[np.rint(np.linspace(0, shown.size - 1, count)).astype(int)]
    in_order = chosen[::-1] if axis in body.grey.flipped else chosen
    return [_view(body, axis, int(index), _window(body)) for index in in_order]


def _shown(body: Body) -> npt.NDArray[np.intp]:
    others = tuple(each for each in range(3) if each != body.acquired)
    return np.flatnonzero(body.labels.array.any(axis=others))


def _window(body: Body) -> tuple[slice, slice]:
    """What holds the structures of all slices and a margin around them; neither side much the shorter."""
    down, across = (each for each in range(3) if each != body.acquired)
    low, high = zip(*(_reach_mm(body, axis) for axis in (down, across)), strict=True)
    longest = max(end - start for start, end in zip(low, high, strict=True))
    window = []
    for axis, start, end in zip((down, across), low, high, strict=True):
        spacing = body.grey.spacing_mm[axis]
        more = max(0.0, LEAST_RATIO * longest - (end - start)) / 2
        first, last = max(0, round((start - more) / spacing)), round((end + more) / spacing)
        window.append(slice(first, min(body.grey.array.shape[axis], last)))
    return window[0], window[1]


def _reach_mm(body: Body, axis: int) -> tuple[float, float]:
    others = tuple(each for each in range(3) if each != axis)
    found = np.flatnonzero(body.labels.array.any(axis=others))
    spacing = body.grey.spacing_mm[axis]
    return float(found[0]) * spacing - _MARGIN_MM, float(found[-1] + 1) * spacing + _MARGIN_MM


def _view(body: Body, axis: int, index: int, window: tuple[slice, ...] = (slice(None), slice(None))) -> View:
    plane = _PLANES[axis]
    cuts = (np.take(layer.array, index, axis)[window] for layer in (body.grey, body.labels))
    grey, labels = (cut if plane is Plane.AXIAL else cut[::-1] for cut in cuts)
    down, across = (spacing for each, spacing in enumerate(body.grey.spacing_mm) if each != axis)
    size = (grey.shape[1] * across, grey.shape[0] * down)
    return View(SIDES[plane], grey, labels, size, _caption(body, axis, index))


def _caption(body: Body, axis: int, index: int) -> str:
    """The number of an acquired slice, counted from 1 in the order of the volume; a reformat has only its plane."""
    if axis != body.acquired:
        return str(_PLANES[axis])
    count = body.grey.array.shape[axis]
    return f"{count - index if axis in body.grey.flipped else index + 1} / {count}"


def _richest(labels: npt.NDArray[Any], axis: int) -> int:
    """The index along an axis where most is to be seen: the most structures in the largest sections.

    Sections count by their diameter rather than their area, so that one large organ does not hide several small
    ones. The middle where nothing is labelled.
    """
    others = tuple(a for a in range(3) if a != axis)
    areas = [np.count_nonzero(labels == value, axis=others) for value in np.unique(labels[labels > 0])]
    return int(np.argmax(np.sqrt(areas).sum(axis=0))) if areas else labels.shape[axis] // 2
