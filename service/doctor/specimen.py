"""A kind of object in; out: a small one of nobody, in a study of its own, made as results are.

Its source is a block of water in code that never leaves this machine. The same version makes the same object with
the same UIDs, so that a node that is asked again keeps one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.identity import derived_uid
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Algorithm, Code, Finished, LabelMap, Measurement, ResultIdentity, Segment, Volume
from dicom_nodes.volumes import find_volumes

PATIENT_ID = "SAGITTAL^DOCTOR"
_SLICES, _SIZE, _SPACING_MM = 4, 32, 4.0
_MADE_AT = datetime(2000, 1, 1, 12, tzinfo=UTC)
_WATER = Segment(
    value=1,
    name="test object",
    category=Code("91723000", "SCT", "Anatomical Structure"),
    type=Code("113345001", "SCT", "Abdomen"),
    laterality=None,
    rgb=(0, 128, 255),
)
_ALGORITHM = Algorithm(name="sagittal doctor", version="1", source="Sagittal", phantom=True)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A test object on disk."""

    path: Path
    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def specimen(folder: Path, kind: str, aet: str) -> Specimen:
    """Write an object of a kind, as in `dicom_nodes.encode.ENCODERS` without "sr", into an empty folder."""
    software = version("sagittal")
    volume = _volume(folder, ("doctor", aet, software))
    array = np.zeros(volume.shape, np.uint8)
    array[1:3, 8:24, 8:24] = 1
    found = LabelMap(array, volume.affine, (_WATER,), _ALGORITHM)
    identity = ResultIdentity("doctor", "test", 1, None, _MADE_AT, software, aet)
    measured = Measurement(1, float(array.sum()) * _SPACING_MM**3 / 1000, None, None, 2, 1, 2, ())
    dataset = ENCODERS[kind](Finished(found, volume, identity, (measured,)), ())
    path = folder / "specimen.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Specimen(path, str(dataset.StudyInstanceUID), str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))


def _volume(folder: Path, of: tuple[str, ...]) -> Volume:
    paths = [_slice(folder, number, of) for number in range(_SLICES)]
    (volume,) = find_volumes(read_headers(paths)).volumes
    return volume


def _slice(folder: Path, number: int, of: tuple[str, ...]) -> Path:
    """One MR Image Storage object: axial, of nobody."""
    slice_ = Dataset()
    slice_.SOPClassUID, slice_.SOPInstanceUID = MRImageStorage, derived_uid(*of, f"slice {number}")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(slice_, keyword, derived_uid(*of, keyword))
    slice_.PatientID, slice_.PatientName = PATIENT_ID, "SAGITTAL^DOCTOR"
    slice_.PatientBirthDate = slice_.PatientSex = slice_.AccessionNumber = slice_.ReferringPhysicianName = ""
    slice_.StudyID, slice_.StudyDate, slice_.StudyTime = "DOCTOR", "20000101", "120000"
    slice_.StudyDescription, slice_.SeriesDescription = "Test of Sagittal", "no patient"
    slice_.Modality, slice_.ImageType = "MR", ["ORIGINAL", "PRIMARY", "OTHER"]
    slice_.Manufacturer, slice_.SeriesNumber, slice_.InstanceNumber = "Sagittal", 1, number + 1
    slice_.PositionReferenceIndicator, slice_.SliceThickness = "", _SPACING_MM
    slice_.ImagePositionPatient = [0.0, 0.0, number * _SPACING_MM]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing = [_SPACING_MM, _SPACING_MM]
    slice_.Rows = slice_.Columns = _SIZE
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.PixelRepresentation = 1, "MONOCHROME2", 0
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit = 15
    slice_.PixelData = np.full((_SIZE, _SIZE), 100, "<u2").tobytes()
    slice_["PixelData"].VR = "OW"
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"slice-{number}.dcm"
    slice_.save_as(path, enforce_file_format=True)
    return path
