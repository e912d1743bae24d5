"""An RT Structure Set → its structures as masks on the images that its contours name; and the proof of one.

Shares no step with the encoder: points are taken back to pixels by inverting the image's header, and filled.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.tag import BaseTag, Tag

from dicom_nodes.contours import Mask, Polygon, fill, signed_area
from dicom_nodes.decode import TOLERANCE_MM, Image
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.walk import Elements, elements, items, sequence_value


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """An image of the source and where it lies, as its header says."""

    image: Image
    position: npt.NDArray[np.float64]
    """(3,): ImagePositionPatient in LPS mm."""
    orientation: npt.NDArray[np.float64]
    """(6,): ImageOrientationPatient."""
    spacing: npt.NDArray[np.float64]
    """(2,): PixelSpacing in mm, from row to row and from column to column."""


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One contour: its structure, the image that it names, and its points in LPS mm, (points, 3)."""

    roi_number: int
    image: Image
    points: npt.NDArray[np.float64]


def read_contours(source: Path | BinaryIO | Dataset) -> list[Contour]:
    """Read the contours of a structure set.

    Raises ResultUnsound where one is not CLOSED_PLANAR, does not name exactly one image, or has not the points that
    it says it has.
    """
    dataset = source if isinstance(source, Dataset) else dcmread(source)
    try:
        return list(_contours(dataset))
    except (KeyError, ValueError) as error:
        raise ResultUnsound(f"a contour does not say its image and points: {error!r}") from error


def prove_contours(
    encoded: bytes, numbers: npt.NDArray[np.uint8], names: Sequence[str], planes: Sequence[Plane]
) -> None:
    """Read what will be sent; raise ResultUnsound unless its contours enclose exactly the voxels of each structure.

    `numbers` (z, y, x) are ROI numbers on the grid of `planes`, in slice order; 0 where there is none; the n-th of
    `names` is that of structure n. Every point lies within 0.01 mm of a corner of a pixel of the image that its
    contour names, in three dimensions, and every rule of filling gives the same voxels.
    """
    slices = {plane.image: z for z, plane in enumerate(planes)}
    polygons: dict[tuple[int, int], list[Polygon]] = {}
    dataset = dcmread(io.BytesIO(encoded))
    listed = {int(item.ROINumber): str(item.ROIName) for item in dataset.StructureSetROISequence}
    if listed != dict(enumerate(names, start=1)):
        raise ResultUnsound("the structures are not named as the label map has them")
    for contour in read_contours(dataset):
        if contour.image not in slices:
            raise ResultUnsound(f"a contour of structure {contour.roi_number} names an image of another volume")
        z = slices[contour.image]
        polygon = to_pixels(contour.points, planes[z])
        _check_corners(polygon, planes[z], contour.roi_number)
        polygons.setdefault((contour.roi_number, z), []).append(polygon)
    expected = {(number, z) for z, labels in enumerate(numbers) for number in np.unique(labels).tolist() if number}
    if missing := sorted(expected ^ polygons.keys()):
        raise ResultUnsound(f"structure {missing[0][0]} has contours or voxels, not both, on slice {missing[0][1]}")
    for (number, z), drawn in polygons.items():
        _check_filled(drawn, numbers[z] == number, f"structure {number} on slice {z}")


def to_pixels(points: npt.NDArray[np.float64], plane: Plane) -> Polygon:
    """Turn points in LPS mm into row and column of an image.

    Raises ResultUnsound where one lies more than 0.01 mm off its plane.
    """
    row_mm, column_mm = plane.spacing
    across, down = plane.orientation.reshape(2, 3)
    normal = np.cross(across, down)
    steps = np.stack([down * row_mm, across * column_mm, normal / np.linalg.norm(normal)], axis=1)
    away = points - plane.position
    row, column, height = np.linalg.solve(steps, away.T)
    worst = float(np.abs(height).max())
    if not worst <= TOLERANCE_MM:
        raise ResultUnsound(f"a contour lies {worst:.3g} mm off the plane of its image")
    return np.stack([row, column], axis=1)


def _check_corners(polygon: Polygon, plane: Plane, roi_number: int) -> None:
    aside = np.abs(polygon - np.floor(polygon) - 0.5) * plane.spacing
    worst = float(np.linalg.norm(aside, axis=1).max())
    if not worst <= TOLERANCE_MM:
        raise ResultUnsound(
            f"a contour of structure {roi_number} lies {worst:.3g} mm beside the edges of its voxels"
        )


def _check_filled(polygons: list[Polygon], expected: Mask, what: str) -> None:
    if not np.array_equal(fill(polygons, expected.shape), expected):
        wrong = int(np.count_nonzero(fill(polygons, expected.shape) != expected))
        raise ResultUnsound(f"the contours of {what} differ from the label map in {wrong} voxels")
    if round(signed_area(polygons)) != np.count_nonzero(expected):
        raise ResultUnsound(f"the contours of {what} overlap, or go around a hole the wrong way")


def _contours(dataset: Dataset) -> Iterator[Contour]:
    for structure in items(sequence_value(dataset, "ROIContourSequence")):
        roi = elements(structure)
        number = int(_text(roi, "ReferencedROINumber"))
        for each in items(roi[_tag("ContourSequence")]):
            contour = elements(each)
            if _text(contour, "ContourGeometricType") != "CLOSED_PLANAR":
                raise ValueError("a contour that is not CLOSED_PLANAR")
            points = np.array(_text(contour, "ContourData").split("\\"), dtype=np.float64).reshape(-1, 3)
            if len(points) != int(_text(contour, "NumberOfContourPoints")):
                raise ValueError("a contour of another number of points than it says")
            (image,) = items(contour[_tag("ContourImageSequence")])
            yield Contour(number, _image(elements(image)), points)


def _image(reference: Elements) -> Image:
    frame = _text(reference, "ReferencedFrameNumber") if _tag("ReferencedFrameNumber") in reference else ""
    return _text(reference, "ReferencedSOPInstanceUID"), int(frame) if frame else None


def _text(item: Elements, keyword: str) -> str:
    return item[_tag(keyword)].decode("ascii").strip("\0 ")


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)
