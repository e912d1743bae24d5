"""A built object and its source → the encoded file, with the source's patient and study to the byte."""

from typing import Any

from pydicom import Dataset
from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_nodes.encode.source import Source, borrow, borrow_patient, element_bytes
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_CHARACTER_SET = "SpecificCharacterSet"


def seal(built: Any, source: Source, without: frozenset[str] = frozenset()) -> bytes:
    """Encode in Explicit VR Little Endian as a Part 10 file.

    All text of our own is ASCII, which every character set of DICOM begins with; so the body is written without
    one, and the source's SpecificCharacterSet (0008,0005), the lowest tag there is, is put in front of it. What an
    IOD has no place for of patient and study is named in `without`, by keyword.
    """
    left_out = {Tag(keyword) for keyword in without}
    take_bytes(built, [element for element in borrow_patient(source.header) if element.tag not in left_out])
    file = DicomBytesIO()
    file.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(file, _file_meta(built))
    file.is_implicit_VR, file.is_little_endian = False, True
    for character_set in borrow(source.header, (_CHARACTER_SET,)):
        file.write(element_bytes(character_set))
    write_dataset(file, built)
    return file.getvalue()


def take_bytes(dataset: Dataset, elements: list[RawDataElement]) -> None:
    """Put encoded elements into a data set, which from then on writes them as they are."""
    for element in elements:
        dataset[element.tag] = element
    dataset.set_original_encoding(False, True, default_encoding)


def _file_meta(built: Any) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = built.SOPClassUID
    meta.MediaStorageSOPInstanceUID = built.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
