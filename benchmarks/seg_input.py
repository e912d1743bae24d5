"""What the SEG benchmark writes: segments, a label map of ellipsoids, and the MR series it lies over."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from dicom_nodes.types import Code, Segment

SPACING_MM = (3.0, 1.25, 1.25)
"""(z, y, x)."""

_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
_KIDNEY = Code("64033007", "SCT", "Kidney")


def segments(count: int) -> tuple[Segment, ...]:
    """Segments 1 to `count`."""
    return tuple(
        Segment(n, f"organ_{n}", _STRUCTURE, _KIDNEY, None, (37 * n % 256, 80, 160)) for n in range(1, count + 1)
    )


def draw(shape: tuple[int, int, int], count: int) -> npt.NDArray[np.uint8]:
    """Draw `count` ellipsoids into a grid, each a little less than half its height; uint8 (z, y, x)."""
    random = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    radii = np.array(shape) * (0.22, 0.06, 0.06)
    across = int(np.ceil(np.sqrt(count)))
    for number in range(count):
        row, column = divmod(number, across)
        place = (random.uniform(0.22, 0.78), (row + 0.5) / across, (column + 0.5) / across)
        ranges = [(np.arange(n) - n * at) / r for n, at, r in zip(shape, place, radii, strict=True)]
        z, y, x = np.ix_(*ranges)
        labels[z**2 + y**2 + x**2 < 1] = number + 1
    return labels


def write_series(folder: Path, shape: tuple[int, int, int], pixels: npt.NDArray[np.uint16] | None = None) -> None:
    """Write an axial series of single-frame MR; None: noise for pixels."""
    folder.mkdir()
    random = np.random.default_rng(0)
    series_uid, study_uid, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    for z in range(shape[0]):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = frame_of_reference, ""
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Benchmark^Seg", "B", "", "O"
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260101", "101010", "1", ""
        image.ReferringPhysicianName, image.Modality, image.Manufacturer = "", "MR", "benchmark"
        image.SeriesNumber, image.InstanceNumber, image.SeriesDescription = 1, z + 1, "t2_tse_tra"
        image.ImageType, image.SliceThickness = ["ORIGINAL", "PRIMARY", "M"], SPACING_MM[0]
        image.ImagePositionPatient = [0, 0, SPACING_MM[0] * z]
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], list(SPACING_MM[1:])
        image.Rows, image.Columns = shape[1:]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        plane = random.integers(0, 4096, shape[1:], np.uint16) if pixels is None else pixels[z]
        image.add_new("PixelData", "OW", plane.tobytes())
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(folder / f"{z:04}.dcm", enforce_file_format=True)
