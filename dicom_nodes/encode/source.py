"""A volume's headers → what a result takes from them: the place of every frame, and patient and study to the byte.

Nothing is decoded on the way: geometry is kept as the decimal strings of the source, and text as its bytes, so a
character set that is odd, or declared wrongly, comes out of a result as it went in.
"""

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom.config
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import format_number_as_ds, validate_value

from dicom_nodes.errors import ResultUnsound
from dicom_nodes.scan import scan
from dicom_nodes.types import FrameRef, Volume

PATIENT_AND_STUDY = (
    "PositionReferenceIndicator",
    # Patient, Clinical Trial Subject (PS3.3 C.7.1)
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence"),
    *("OtherPatientNames", "EthnicGroup", "PatientComments", "QualityControlSubject", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "ResponsiblePerson", "ResponsiblePersonRole"),
    *("ResponsibleOrganization", "PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
    *("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialProtocolEthicsCommitteeName", "ClinicalTrialProtocolEthicsCommitteeApprovalNumber"),
    # General Study, Patient Study, Clinical Trial Study (PS3.3 C.7.2)
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName"),
    *("StudyDescription", "PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence"),
    *("NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence"),
    *("ProcedureCodeSequence", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies", "SmokingStatus"),
    *("PregnancyStatus", "LastMenstrualDate", "PatientState", "Occupation", "AdditionalPatientHistory"),
    *("AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription"),
    *("PatientSexNeutered", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
)
REQUIRED = frozenset(
    {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PositionReferenceIndicator"}
    | {"StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"}
)
"""Those that a result has in any case (type 2)."""
# Institution and station belong to the scanner: they go beside it into Contributing Equipment.
SCANNER = (
    *("Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName"),
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
)
LOSSY = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
ONE_PATIENT = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")

_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_FUNCTIONAL_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_LOSSY_OR_NOT = ("LossyImageCompression", *LOSSY)
_OF_EVERY_FILE = {
    int(tag): tag
    for tag in map(Tag, (*ONE_PATIENT, *_LOSSY_OR_NOT, *_PLACE, *_FUNCTIONAL_GROUPS, "Rows", "Columns"))
}
_DS_LENGTH = 16
_WORD_BYTES = {"US": 2, "SS": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
_LONG_LENGTH = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame of the volume: what to refer to and, as decimal strings of at most 16 characters, where it lies."""

    ref: FrameRef
    position: tuple[str, ...]
    orientation: tuple[str, ...]
    spacing: tuple[str, ...]
    thickness: str | None
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The frames of a volume in slice order, and the header that stands for all of them."""

    frames: tuple[SourceFrame, ...]
    header: Dataset
    lossy: Dataset | None
    """The first header that says its pixels were compressed with loss; None where none says so."""


def read_source(volume: Volume) -> Source:
    """Read the headers that a volume's frames lie in, each file once.

    Raises ResultUnsound where the files are not of one patient, study, series and frame of reference, or where a
    frame has no position: both would have kept the series from becoming a volume, unless the files have changed.
    """
    first_path, *other_paths = dict.fromkeys(ref.path for ref in volume.frames)
    first = _header(first_path)
    headers = {first_path: first} | {path: _header_of_frame(path) for path in other_paths}
    for header in headers.values():
        _check_same_patient(first, header)
    frames = tuple(_place(headers[ref.path], ref) for ref in volume.frames)
    lossy = next((h for h in headers.values() if texts(h, "LossyImageCompression") == ("01",)), None)
    return Source(frames, first, lossy)


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Read an attribute of plain ASCII as the source wrote it, one string per value; empty where absent."""
    element = _raw(dataset, Tag(keyword))
    if element is None or not element.value:
        return ()
    text = bytes(element.value).decode("ascii", "replace")
    return tuple(part.strip(" \0") for part in text.split("\\"))


def borrow(dataset: Dataset, keywords: Sequence[str]) -> Iterator[RawDataElement]:
    """Yield those of the attributes that are there, as bytes in Explicit VR Little Endian."""
    for keyword in keywords:
        if (element := _raw(dataset, Tag(keyword))) is not None:
            yield element


def borrow_patient(header: Dataset) -> Iterator[RawDataElement]:
    """Yield the attributes of patient and study; the optional ones only where their value is one of their VR.

    An age of "0Y" says nothing and makes the result ill-formed, while identity is kept as it is, good or bad.
    """
    for keyword in PATIENT_AND_STUDY:
        for element in borrow(header, (keyword,)):
            if keyword in REQUIRED or _well_formed(element):
                yield element


def _well_formed(element: RawDataElement) -> bool:
    value = bytes(element.value or b"")
    if element.tag == Tag("PregnancyStatus"):
        return int.from_bytes(value, "little") in (1, 2, 3, 4)
    if element.VR not in ("AS", "CS", "DA", "DS", "TM"):
        return True
    try:
        for part in value.decode("ascii").split("\\"):
            validate_value(element.VR, part.strip(), pydicom.config.RAISE)
    except ValueError:
        return False
    return True


def _header(path: Path) -> Dataset:
    with warnings.catch_warnings():  # pydicom warns of odd values; here they are passed on and not judged
        warnings.simplefilter("ignore")
        return dcmread(path, stop_before_pixels=True, force=True)


def _header_of_frame(path: Path) -> Dataset:
    """Read what is asked of every file; all that it says only where it is written in an unusual way."""
    with path.open("rb") as file:
        scanned = scan(file, _OF_EVERY_FILE)
    return scanned[0] if scanned is not None else _header(path)


def _check_same_patient(first: Dataset, other: Dataset) -> None:
    for keyword in ONE_PATIENT:
        if _value(first, keyword) != _value(other, keyword):
            raise ResultUnsound(f"the frames of the volume differ in {keyword}")


def _value(dataset: Dataset, keyword: str) -> bytes:
    element = _raw(dataset, Tag(keyword))
    return bytes(element.value).strip(b" \0") if element is not None and element.value else b""


def _place(header: Dataset, ref: FrameRef) -> SourceFrame:
    items = [header] if ref.frame_number is None else _functional_groups(header, ref.frame_number)
    found = {keyword: next((value for item in items if (value := texts(item, keyword))), ()) for keyword in _PLACE}
    position, orientation, spacing, thickness = (tuple(map(fit_ds, value)) for value in found.values())
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        raise ResultUnsound(f"frame {ref.frame_number or 1} of {ref.sop_instance_uid} has no place in the patient")
    rows, columns = int(header["Rows"].value), int(header["Columns"].value)
    return SourceFrame(ref, position, orientation, spacing, next(iter(thickness), None), rows, columns)


def _functional_groups(header: Dataset, frame_number: int) -> list[Dataset]:
    """List the items that describe one frame of a multi-frame image, the frame's own before the shared ones."""
    per_frame, shared = (header.get(keyword) or [] for keyword in _FUNCTIONAL_GROUPS)
    macros = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    groups = [*per_frame[frame_number - 1 : frame_number], *shared]
    return [*(group[macro].value[0] for group in groups for macro in macros if group.get(macro)), header]


def fit_ds(text: str) -> str:
    """Keep a decimal string as it is, unless it breaks the 16 characters of its VR (PS3.5 Table 6.2-1)."""
    if len(text) <= _DS_LENGTH:
        return text
    return format_number_as_ds(float(text))


def _raw(dataset: Dataset, tag: BaseTag) -> RawDataElement | None:
    """Find an element as bytes in Explicit VR Little Endian; None where absent or of length zero and unknown."""
    if tag not in dataset:
        return None
    element: Any = dataset.get_item(tag, keep_deferred=True)
    vr = _vr(element)
    if vr == "SQ":
        value = b"".join(_item(item) for item in dataset[tag].value)
    elif isinstance(element, RawDataElement):
        value = _little_endian(bytes(element.value or b""), vr, element.is_little_endian)
    else:  # already read by pydicom, which happens to the character set alone
        value = "\\".join(_as_list(element)).encode("latin-1")
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def _vr(element: DataElement | RawDataElement) -> str:
    """VR of an element; the dictionary's where the source is implicit or does not know."""
    if element.VR in (None, "UN") and dictionary_has_tag(element.tag):
        return dictionary_VR(element.tag)
    return str(element.VR or "UN")


def _as_list(element: DataElement) -> list[str]:
    value = element.value
    return [value] if isinstance(value, str) else [str(part) for part in value or ()]


def _little_endian(value: bytes, vr: str, is_little_endian: bool) -> bytes:
    size = _WORD_BYTES.get(vr, 1)
    if is_little_endian or size == 1:
        return value
    return b"".join(value[start : start + size][::-1] for start in range(0, len(value), size))


def _item(item: Dataset) -> bytes:
    raws = (_raw(item, tag) for tag in sorted(item.keys()) if not tag.is_private)
    body = b"".join(element_bytes(raw) for raw in raws if raw is not None)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def element_bytes(raw: RawDataElement) -> bytes:
    """Encode an element as `borrow` yields it (PS3.5 7.1.2)."""
    vr, value = str(raw.VR), bytes(raw.value or b"")
    head = struct.pack("<HH2s", raw.tag.group, raw.tag.element, vr.encode("ascii"))
    length = struct.pack("<2xI" if vr in _LONG_LENGTH else "<H", len(value))
    return head + length + value
