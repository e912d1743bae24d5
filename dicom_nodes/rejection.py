"""A Key Object Selection file → the rejection note that it is, or None; and the titles that a rejection note has.

IHE Radiology, Imaging Object Change Management: a note is a Key Object Selection Document (PS3.3 A.35.4) under one
of four titles of CID 7010, and rejects every instance in its CurrentRequestedProcedureEvidenceSequence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_nodes.errors import SagittalError
from dicom_nodes.types import Code, Reference

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
_READ = [
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "ConceptNameCodeSequence"),
    "CurrentRequestedProcedureEvidenceSequence",
]


class Title(StrEnum):
    """Why something is rejected: the document titles of a rejection note, by their code value (CID 7010)."""

    QUALITY = "113001"
    SAFETY = "113037"
    WORKLIST = "113038"
    RETENTION = "113039"

    @property
    def code(self) -> Code:
        """The title as a coded concept."""
        return Code(self.value, "DCM", _MEANINGS[self])

    @property
    def meaning(self) -> str:
        """The title in words."""
        return _MEANINGS[self]


_MEANINGS: Mapping[Title, str] = MappingProxyType({
    Title.QUALITY: "Rejected for Quality Reasons",
    Title.SAFETY: "Rejected for Patient Safety Reasons",
    Title.WORKLIST: "Incorrect Modality Worklist Entry",
    Title.RETENTION: "Data Retention Policy Expired",
})  # fmt: skip


class NoteUnreadableError(SagittalError):
    """A file said to be a Key Object Selection that cannot be read as one."""


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What one note rejects, and why."""

    sop_instance_uid: str
    study_uid: str
    title: Title
    references: Mapping[str, tuple[Reference, ...]]
    """The rejected instances, by SeriesInstanceUID."""

    @property
    def rejected(self) -> frozenset[str]:
        """SOP Instance UIDs of all that it rejects."""
        return frozenset(each.sop_instance_uid for held in self.references.values() for each in held)


def read_note(path: Path) -> RejectionNote | None:
    """Read a Part 10 file; None where it is no Key Object Selection, or one under another title.

    Raises NoteUnreadableError where it is no DICOM file, or a note whose references cannot be followed.
    """
    try:
        header = dcmread(path, specific_tags=_READ)
        if header.get("SOPClassUID") != KEY_OBJECT_SELECTION:
            return None
        title = _title(header)
        if title is None:
            return None
        references: dict[str, tuple[Reference, ...]] = {}
        for series_uid, reference in _references(header):
            references[series_uid] = (*references.get(series_uid, ()), reference)
        uids = (str(header.SOPInstanceUID), str(header.StudyInstanceUID))
    except (InvalidDicomError, AttributeError, TypeError, ValueError, EOFError) as error:
        raise NoteUnreadableError(f"the Key Object Selection cannot be read: {error}") from error
    return RejectionNote(*uids, title, MappingProxyType(references))


def known_already(status: int, comment: str) -> bool:
    """Whether an archive answered a note with a failure because it has this very note.

    dcm4chee-arc says A770, "Rejection Note [uid=...] already received", where its answer to the first was lost.
    """
    return status == 0xA770 and comment.startswith("Rejection Note [uid=")


def _title(header: Dataset) -> Title | None:
    for code in header.get("ConceptNameCodeSequence") or ():
        if code.get("CodingSchemeDesignator") == "DCM" and code.get("CodeValue") in set(Title):
            return Title(code.CodeValue)
    return None


def _references(header: Dataset) -> Iterator[tuple[str, Reference]]:
    """Every reference with the UID of its series (PS3.3 Table C.17-3), in the order of the file."""
    for study in header.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                reference = Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                yield str(series.SeriesInstanceUID), reference
