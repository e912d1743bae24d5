"""Objects of ours that are to be rejected → a rejection note (IHE IOCM), the same bytes at every attempt.

A Key Object Selection Document (PS3.3 A.35.4, C.17.6) by TID 2010, in a series of its own in their study, with
patient, study and character set byte for byte as one of the objects has them, which has them from the source.
"""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from dicom_nodes.encode.identity import derived_uid, plain
from dicom_nodes.encode.seal import seal
from dicom_nodes.encode.source import PATIENT_AND_STUDY, REQUIRED, Source
from dicom_nodes.rejection import KEY_OBJECT_SELECTION, Title
from dicom_nodes.types import Reference

_EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber")
_READ = [*PATIENT_AND_STUDY, *_EQUIPMENT, "SpecificCharacterSet", "StudyInstanceUID", "SeriesNumber"]
_NOT_IN_A_NOTE = frozenset({"PositionReferenceIndicator"})
_SERIES_OFFSET = 90
_NO_IMAGES = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.481.3")
"""What the UIDs of those SOP Classes begin with whose objects are referred to as COMPOSITE: reports, documents,
RT Structure Sets (PS3.3 C.18.3, C.18.4)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One object to be rejected."""

    reference: Reference
    series_uid: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """What is rejected, why, and when that was decided."""

    job_id: str
    """The work that the objects came from; part of the note's own UID."""
    title: Title
    because: str
    """A person's words; empty for none. What is not ASCII is left out."""
    at: datetime
    """In the site's time."""
    objects: tuple[Rejected, ...]
    like: Path
    """The file of one of the objects: patient, study, character set and equipment are taken from it."""


def header_for_notes(path: Path) -> Dataset:
    """What a rejection note takes from the file of an object, to be kept when the object itself is not."""
    return dcmread(path, specific_tags=_READ)


def encode_rejection(rejection: Rejection) -> Dataset:
    """Encode the note. Raises ValueError where nothing is rejected."""
    if not rejection.objects:
        raise ValueError("a rejection note rejects at least one object")
    header = header_for_notes(rejection.like)
    note = _content(rejection, header)
    for keyword in REQUIRED - _NOT_IN_A_NOTE:
        setattr(note, keyword, None)  # until those of the object take their place
    uids = sorted(each.reference.sop_instance_uid for each in rejection.objects)
    note.SOPClassUID = KEY_OBJECT_SELECTION
    note.SOPInstanceUID = derived_uid("note instance", rejection.job_id, rejection.title, *uids)
    note.SeriesInstanceUID = derived_uid("note series", rejection.job_id, rejection.title, *uids)
    note.StudyInstanceUID = header.StudyInstanceUID
    note.Modality, note.InstanceNumber = "KO", 1
    note.SeriesNumber = int(header.get("SeriesNumber") or 0) + _SERIES_OFFSET
    note.SeriesDescription = plain(f"AI withdrawn: {rejection.title.meaning}", 64)
    note.InstanceCreationDate = note.SeriesDate = note.ContentDate = rejection.at.date()
    note.InstanceCreationTime = note.SeriesTime = note.ContentTime = rejection.at.time().replace(microsecond=0)
    for keyword in _EQUIPMENT:
        setattr(note, keyword, header.get(keyword))
    note.ReferencedPerformedProcedureStepSequence = []
    note.CurrentRequestedProcedureEvidenceSequence = [_evidence(str(header.StudyInstanceUID), rejection.objects)]
    return dcmread(io.BytesIO(seal(note, Source((), header, None), _NOT_IN_A_NOTE)))


def _content(rejection: Rejection, header: Dataset) -> Dataset:
    """The root of the document and what it contains (TID 2010)."""
    code = rejection.title.code
    title = DicomCode(code.value, code.scheme, code.meaning)
    root = hd.sr.ContainerContentItem(title, is_content_continuous=False, template_id="2010")
    items = list(_observer(header))
    if words := plain(unicodedata.normalize("NFKD", rejection.because), 1024):
        contains = hd.sr.RelationshipTypeValues.CONTAINS
        items.append(hd.sr.TextContentItem(codes.DCM.KeyObjectDescription, words, contains))
    note = Dataset()
    note.update(root)
    note.ContentSequence = [*items, *(_selected(each.reference) for each in rejection.objects)]
    return note


def _observer(header: Dataset) -> hd.sr.ObserverContext:
    """Name us as the device that selected the objects (TID 1002, TID 1004)."""
    kept = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber")
    maker, model, serial = (plain(str(header.get(keyword) or ""), 64) for keyword in kept)
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", maker, model, serial),
        manufacturer_name=maker or None,
        model_name=model or None,
        serial_number=serial or None,
    )
    return hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _selected(reference: Reference) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "COMPOSITE" if reference.sop_class_uid.startswith(_NO_IMAGES) else "IMAGE"
    item.ReferencedSOPSequence = [_reference(reference)]
    return item


def _evidence(study_uid: str, objects: Sequence[Rejected]) -> Dataset:
    """List all that is rejected, by series (PS3.3 Table C.17-3)."""
    series: dict[str, Dataset] = {}
    for each in objects:
        item = series.setdefault(each.series_uid, Dataset())
        item.SeriesInstanceUID = each.series_uid
        item.ReferencedSOPSequence = [*item.get("ReferencedSOPSequence", ()), _reference(each.reference)]
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, list(series.values())
    return study


def _reference(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item
