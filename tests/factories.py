"""Small valid MR objects, built in code: classic and Enhanced, in any plane, whose pixels know where they lie.

The value of every voxel is `value_at` its patient position, so that a test can tell from the values alone whether
the geometry is right. Attributes are given by keyword and override what the factory sets; None leaves them out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    generate_uid,
)

IDENTITY = {"PatientID": "P1", "PatientName": "Miller^Ann", "PatientBirthDate": "19700101", "PatientSex": "O"}


@dataclass(frozen=True)
class Grid:
    """A stack of slices: (z, y, x) shape and spacing, row and column cosines, first corner in LPS mm."""

    shape: tuple[int, int, int] = (5, 6, 8)
    spacing_mm: tuple[float, float, float] = (3.5, 0.75, 0.5)
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    origin: tuple[float, float, float] = (-20.0, -30.0, 40.0)

    @property
    def affine(self) -> np.ndarray:
        row, column = np.array(self.orientation[:3], float), np.array(self.orientation[3:], float)
        affine = np.eye(4)
        affine[:3, 0] = row * self.spacing_mm[2]
        affine[:3, 1] = column * self.spacing_mm[1]
        affine[:3, 2] = np.cross(row, column) * self.spacing_mm[0]
        affine[:3, 3] = self.origin
        return affine

    def position(self, z: float) -> list[float]:
        """ImagePositionPatient of slice z."""
        return [float(each) for each in (self.affine @ [0, 0, z, 1])[:3]]

    def pixels(self, z: float) -> np.ndarray:
        """uint16 (row, column) of slice z."""
        y, x = np.mgrid[: self.shape[1], : self.shape[2]]
        points = np.stack([x, y, np.full_like(x, z), np.ones_like(x)], axis=-1) @ self.affine.T
        return value_at(points[..., :3])


AXIAL = Grid()
GRIDS = {
    "axial": AXIAL,
    "axial, feet first (columns toward the right)": Grid(orientation=(-1, 0, 0, 0, 1, 0)),
    "axial, prone": Grid(orientation=(-1, 0, 0, 0, -1, 0)),
    "sagittal": Grid(orientation=(0, 1, 0, 0, 0, -1)),
    "sagittal, feet first": Grid(orientation=(0, -1, 0, 0, 0, 1)),
    "coronal": Grid(orientation=(1, 0, 0, 0, 0, -1)),
    "decubitus right, sagittal": Grid(orientation=(0, 0, -1, 0, -1, 0)),
    "oblique axial": Grid(orientation=(1, 0, 0, 0, 0.8, 0.6)),
    "doubly oblique": Grid(orientation=(0.64, 0.48, -0.6, -0.6, 0.8, 0.0)),
}


def value_at(points: np.ndarray) -> np.ndarray:
    """uint16 value of the voxel at patient positions (..., 3), LPS mm: different in every direction."""
    return np.rint(5000 + points @ np.array([20.0, 7.0, 31.0])).astype(np.uint16)


def classic_series(grid: Grid = AXIAL, series_uid: str | None = None, **attributes: object) -> list[Dataset]:
    """One MR Image Storage object for each slice of the grid, in slice order."""
    uids = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": series_uid or generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    }
    return [classic_slice(grid, z, **{**uids, **attributes}) for z in range(grid.shape[0])]


def classic_slice(grid: Grid, z: float, **attributes: object) -> Dataset:
    """Slice z of the grid, as one MR Image Storage object."""
    pixels = grid.pixels(z)
    return described(
        {
            **IDENTITY,
            "SOPClassUID": MRImageStorage,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.4",
            "FrameOfReferenceUID": "1.2.3.5",
            "Modality": "MR",
            "Manufacturer": "SAGITTAL TEST",
            "ImageType": ["ORIGINAL", "PRIMARY", "M"],
            "InstanceNumber": round(z) + 1,
            "EchoTime": 30.0,
            "EchoNumbers": 1,
            "ImagePositionPatient": [f"{each:.6f}" for each in grid.position(z)],
            "ImageOrientationPatient": [f"{each:.9f}" for each in grid.orientation],
            "PixelSpacing": [grid.spacing_mm[1], grid.spacing_mm[2]],
            "SliceThickness": 99,
            **image_of(pixels),
            **attributes,
        }
    )


def enhanced(grid: Grid = AXIAL, legacy: bool = False, **attributes: object) -> Dataset:
    """All slices of the grid in one Enhanced MR object (or Legacy Converted one), a frame for each."""
    sop_class = LegacyConvertedEnhancedMRImageStorage if legacy else EnhancedMRImageStorage
    pixels = np.stack([grid.pixels(z) for z in range(grid.shape[0])])
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(grid.orientation))],
        PixelMeasuresSequence=[item(PixelSpacing=[grid.spacing_mm[1], grid.spacing_mm[2]], SliceThickness=99)],
        PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")],
    )
    return described(
        {
            **IDENTITY,
            "SOPClassUID": sop_class,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": generate_uid(),
            "SeriesInstanceUID": generate_uid(),
            "FrameOfReferenceUID": generate_uid(),
            "Modality": "MR",
            "Manufacturer": "SAGITTAL TEST",
            "ImageType": ["ORIGINAL", "PRIMARY", "T2", "NONE"],
            "InstanceNumber": 1,
            **image_of(pixels),
            "NumberOfFrames": grid.shape[0],
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": [frame_at(grid.position(z)) for z in range(grid.shape[0])],
            **attributes,
        }
    )


def frame_at(position: list[float], **groups: object) -> Dataset:
    """The per-frame functional groups of a frame at a position, and any further group by its keyword."""
    return item(PlanePositionSequence=[item(ImagePositionPatient=position)], **groups)


def item(**attributes: object) -> Dataset:
    """A sequence item."""
    return described(attributes)


def described(attributes: dict[str, object]) -> Dataset:
    """A dataset of attributes by keyword, without those that are None."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, Sequence(value) if dictionary_VR(keyword) == "SQ" else value)
    return dataset


def image_of(pixels: np.ndarray) -> dict[str, object]:
    """Attributes of an uncompressed greyscale image: (row, column) or frames of it, 8 or 16 bit, signed or not."""
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": pixels.itemsize * 8,
        "HighBit": pixels.itemsize * 8 - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": padded(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()),
    }


def padded(data: bytes) -> bytes:
    """Pixel data of even length."""
    return data + b"\0" * (len(data) % 2)


def save(dataset: Dataset, folder: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write an object as a DICOM file named by its SOPInstanceUID; RLE and JPEG 2000 are compressed on the way."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if dataset.get("BitsAllocated") == 8 else "OW"
    if syntax.is_compressed and not syntax.is_deflated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(datasets: list[Dataset], folder: Path, syntax: UID = ExplicitVRLittleEndian) -> list[Path]:
    """Write objects as DICOM files."""
    return [save(dataset, folder, syntax) for dataset in datasets]
