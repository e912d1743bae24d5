"""What was measured of the segments → a Basic Text SR with the same table, for viewers that know no TID 1500."""

from collections.abc import Sequence

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import BasicTextSRStorage

from dicom_nodes.encode.beside import Kind, read_base
from dicom_nodes.encode.identity import plain
from dicom_nodes.encode.report import encode_report, measured, observer, remarks
from dicom_nodes.encode.sr import LANGUAGE, PROCEDURE
from dicom_nodes.types import Finished, Measurement, Segment

KIND = Kind("text", BasicTextSRStorage, "report", 70)
_TITLE = DicomCode("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7000
_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS


def encode_text(finished: Finished, _: Sequence[Dataset]) -> Dataset:
    """Encode the measurements as readable lines, one for each segment. The same bytes at every attempt."""
    based = read_base(finished)
    root = hd.sr.ContainerContentItem(name=_TITLE)
    procedure = hd.sr.CodeContentItem(
        codes.DCM.ProcedureReported, PROCEDURE, hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    )
    rows = [row(segment, each) for segment, each in measured(finished)]
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *hd.sr.LanguageOfContentItemAndDescendants(LANGUAGE),
            *observer(based),
            procedure,
            _section(codes.DCM.Summary, codes.DCM.Comment, remarks(based)),
            _section(codes.DCM.Findings, codes.DCM.Finding, tuple(rows)),
        ],
        is_root=False,
    )
    return encode_report(based, KIND, root)


def row(segment: Segment, each: Measurement) -> str:
    """Tell of one segment in a line; slices are counted from 1."""
    parts = [f"{segment.name.replace('_', ' ')}: {millilitres(each.volume_ml)} mL"]
    if each.mean is not None and each.sd is not None:
        parts.append(f"intensity {each.mean:.5g} +/- {each.sd:.3g} (mean, SD; arbitrary units)")
    parts.append(f"{each.slices} slices ({each.first_slice + 1} to {each.last_slice + 1})")
    if each.edges:
        parts.append(f"reaches the edge of the image: {', '.join(each.edges)}")
    return plain("; ".join(parts), 1024)


def millilitres(volume_ml: float) -> str:
    """Write a volume with one digit after the point, small ones with three that count."""
    return f"{volume_ml:.1f}" if volume_ml >= 10 else f"{volume_ml:.3g}"


def _section(heading: DicomCode, name: DicomCode, texts: tuple[str, ...]) -> hd.sr.ContainerContentItem:
    section = hd.sr.ContainerContentItem(name=heading, relationship_type=_CONTAINS)
    section.ContentSequence = hd.sr.ContentSequence(
        [hd.sr.TextContentItem(name, sentence(text), _CONTAINS) for text in texts]
    )
    return section


def sentence(text: str) -> str:
    """A text with its full stop: some viewers run the lines of a container into one paragraph."""
    return text if text.endswith(".") else f"{text}."
