"""What was measured of the segments of a SEG → a Comprehensive 3D SR by TID 1500 that refers to it (PS3.3 A.35.13).

Every NUM says all it means by its own name and unit: viewers drop the value of one that has anything below it.
"""

from collections.abc import Sequence

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import Comprehensive3DSRStorage

from dicom_nodes.encode.beside import Based, Kind, read_base
from dicom_nodes.encode.identity import plain, require_plain, tracking_uid
from dicom_nodes.encode.report import encode_report, measured, observer, remarks
from dicom_nodes.encode.segments import ARTIFICIAL_INTELLIGENCE, LATERALITY
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Code, Edge, Finished, FrameRef, Measurement, Segment

OWN_SCHEME = "99SAGITTAL"
KIND = Kind("sr", Comprehensive3DSRStorage, "volumes", 40)
PROCEDURE = DicomCode("25056-3", "LN", "MRI unspecified body region")  # CID 100
LANGUAGE = DicomCode("en", "RFC5646", "English")

_ML = DicomCode("ml", "UCUM", "milliliter")
_NO_UNITS = DicomCode("1", "UCUM", "no units")
_SLICES = DicomCode("{slices}", "UCUM", "slices")
_SLICES_COVERED = DicomCode("slices", OWN_SCHEME, "Slices covered")
_REACHES_EDGE = DicomCode("edge", OWN_SCHEME, "Reaches the edge of the image")
_EDGES = {
    Edge.IN_PLANE: DicomCode("edge-in-plane", OWN_SCHEME, "Yes, in plane"),
    Edge.FIRST_SLICE: DicomCode("edge-first-slice", OWN_SCHEME, "Yes, at the first slice"),
    Edge.LAST_SLICE: DicomCode("edge-last-slice", OWN_SCHEME, "Yes, at the last slice"),
}
_QUALITATIVE_EVALUATIONS = DicomCode("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12
_SITES = frozenset({"123037004", "91723000", "85756007"})
"""Categories whose types are places in the body: anatomical structures and tissues (CID 7150)."""


def encode_sr(finished: Finished, made: Sequence[Dataset]) -> Dataset:
    """Encode the measurements of segments that `made`, one SEG or several, lists. The same bytes at every attempt.

    Raises ResultUnsound where these do not list the segments that were measured, each once.
    """
    based = read_base(finished)
    listed = _listed(finished, made)
    groups = [_group(based, *listed[each.value], segment, each) for segment, each in measured(finished)]
    report = hd.sr.MeasurementReport(
        observation_context=observer(based),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    root: Dataset = report[0]
    place = next(n for n, item in enumerate(root.ContentSequence) if item.name == codes.DCM.ImagingMeasurements)
    root.ContentSequence.insert(place, _library(finished))
    root.ContentSequence.append(_remarks(based))
    root.CodingSchemeIdentificationSequence = [_own_scheme(based)]
    return encode_report(based, KIND, root, made)


def _listed(finished: Finished, made: Sequence[Dataset]) -> dict[int, tuple[Dataset, int]]:
    """Find by label value the SEG and the number that a segment has there; it is known by its TrackingUID."""
    found: dict[str, list[tuple[Dataset, int]]] = {}
    for seg in made:
        for item in seg.SegmentSequence:
            found.setdefault(str(item.TrackingUID), []).append((seg, int(item.SegmentNumber)))
    algorithm, result = finished.label_map.algorithm, finished.identity
    tracked = {
        segment.value: tracking_uid(finished.volume, algorithm, result, segment.value)
        for segment, _ in measured(finished)
    }
    if sorted(tracked.values()) != sorted(uid for uid, places in found.items() for _ in places):
        raise ResultUnsound(f"the SEG lists {len(found)} segments, {len(tracked)} others were measured")
    return {value: found[uid][0] for value, uid in tracked.items()}


def _group(based: Based, seg: Dataset, number: int, segment: Segment, each: Measurement) -> Dataset:
    """Write one measurement group (TID 1411), under the tracking identifier and UID of the SEG's segment."""
    finished = based.finished
    algorithm, result = finished.label_map.algorithm, finished.identity
    group: Dataset = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=tracking_uid(finished.volume, algorithm, result, segment.value),
            identifier=f"{result.submodel} {segment.name}",
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(finished.volume.series_uid),
        ),
        finding_category=_concept(segment.category),
        finding_type=_concept(segment.type),
        finding_sites=_sites(based, segment),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=based.names.algorithm,
            version=plain(algorithm.version, 64),
            family=_concept(ARTIFICIAL_INTELLIGENCE),
        ),
        measurements=_numbers(each),
        qualitative_evaluations=_edges(each),
    )
    return group


def _sites(based: Based, segment: Segment) -> list[hd.sr.FindingSite] | None:
    if segment.category.value not in _SITES:
        return None
    result = based.finished.identity
    side = segment.laterality or (LATERALITY[result.laterality] if result.laterality else None)
    return [hd.sr.FindingSite(_concept(segment.type), laterality=None if side is None else _concept(side))]


def _numbers(each: Measurement) -> list[hd.sr.Measurement]:
    wanted: list[tuple[DicomCode, float | None, DicomCode]] = [
        (codes.SCT.Volume, each.volume_ml, _ML),
        (codes.SCT.Mean, each.mean, _NO_UNITS),  # of the intensities; named alone, since nothing may stand below
        (codes.SCT.StandardDeviation, each.sd, _NO_UNITS),
        (_SLICES_COVERED, each.slices, _SLICES),
    ]
    return [hd.sr.Measurement(name, _short(value), unit) for name, value, unit in wanted if value is not None]


def _short(value: float) -> float:
    """Keep six digits, which are more than a segmentation is worth and fit a DS."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _edges(each: Measurement) -> list[hd.sr.QualitativeEvaluation]:
    values = [_EDGES[edge] for edge in each.edges] or [codes.SCT.No]
    return [hd.sr.QualitativeEvaluation(_REACHES_EDGE, value) for value in values]


def _library(finished: Finished) -> Dataset:
    """List the images that were measured: of a multi-frame one, the frames of the volume (TID 1600)."""
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    library: Dataset = hd.sr.ContainerContentItem(name=codes.DCM.ImageLibrary, relationship_type=contains)
    group = hd.sr.ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=contains)
    modality = hd.sr.CodeContentItem(
        name=codes.DCM.Modality,
        value=codes.cid29.MagneticResonance,
        relationship_type=hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT,
    )
    frames_of: dict[str, list[FrameRef]] = {}
    for frame in finished.volume.frames:
        frames_of.setdefault(frame.sop_instance_uid, []).append(frame)
    images = [_image(frames) for frames in frames_of.values()]
    group.ContentSequence = hd.sr.ContentSequence([modality, *images])
    library.ContentSequence = hd.sr.ContentSequence([group])
    return library


def _image(frames: list[FrameRef]) -> hd.sr.ImageContentItem:
    numbers = [frame.frame_number for frame in frames if frame.frame_number is not None]
    return hd.sr.ImageContentItem(
        name=DicomCode("260753009", "SCT", "Source"),
        referenced_sop_class_uid=frames[0].sop_class_uid,
        referenced_sop_instance_uid=frames[0].sop_instance_uid,
        referenced_frame_numbers=numbers or None,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _remarks(based: Based) -> Dataset:
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    container: Dataset = hd.sr.ContainerContentItem(name=_QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = hd.sr.ContentSequence(
        [hd.sr.TextContentItem(codes.DCM.Comment, text, contains) for text in remarks(based)]
    )
    return container


def _own_scheme(based: Based) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = OWN_SCHEME, "Sagittal"
    item.CodingSchemeResponsibleOrganization = plain(based.finished.identity.manufacturer, 64)
    return item


def _concept(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(code.value, code.scheme, require_plain("code meaning", code.meaning))
