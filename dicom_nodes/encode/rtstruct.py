"""A label map and the volume it was made of → an RT Structure Set of its outlines (PS3.3 A.19), proven by reading.

Each structure is outlined slice by slice along the edges of its voxels, so nothing of it is lost or smoothed away,
and each contour names the one image that it lies on. What will be sent is read again, and filled, before it leaves.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.uid import RTStructureSetStorage

from dicom_nodes.contours import Polygon, trace
from dicom_nodes.decode_contours import Plane, prove_contours
from dicom_nodes.encode.beside import Based, Kind, begin, read_base
from dicom_nodes.encode.codes import code_elements
from dicom_nodes.encode.explicit import element, item, raw_element, sequence
from dicom_nodes.encode.identity import Names, derived_uid, plain, require_plain, tracking_uid
from dicom_nodes.encode.place import check_grid, floats, number_frames, refer_to
from dicom_nodes.encode.seal import seal, take_bytes
from dicom_nodes.encode.segments import (
    ARTIFICIAL_INTELLIGENCE,
    LATERALITY,
    count_voxels,
    number_segments,
    present_segments,
)
from dicom_nodes.encode.source import Source, SourceFrame
from dicom_nodes.types import Finished, LabelMap, Predecessor, Segment, Volume

KIND = Kind("rtstruct", RTStructureSetStorage, "contours", 10)
MOST_POINTS = 0xFFFE // (3 * 17)
"""Of one contour: so many points of three DS of 16 characters fit the 16 bits of the length of ContourData."""

_DECIMALS = 4  # of a millimetre: a coordinate is written at most 0.00005 mm from where it is
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"  # what RTReferencedStudySequence refers to (PS3.3 C.8.8.5)
_TRACKING_ID = 129  # characters: two names of 64 and a space
_ANATOMY = frozenset({"123037004", "91723000", "85756007"})
"""Categories whose types are places in the body: anatomical structures and tissues (CID 7150)."""

Planes = Sequence[Sequence[tuple[int, list[Polygon]]]]
"""For each structure, its slices and the polygons on each."""


def encode_rtstruct(finished: Finished, _: Sequence[Dataset] = ()) -> Dataset:
    """Encode the outlines of a label map in Explicit VR Little Endian, the same bytes at every attempt.

    Only structures with voxels are listed, numbered from 1 as in the SEG. What is returned has been read again:
    filled by the even-odd rule on the images that the contours name, they are the label map voxel by voxel, and
    none of their points lies 0.01 mm off its image's plane.

    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    label_map, volume = finished.label_map, finished.volume
    voxels = count_voxels(label_map.array)
    present = present_segments(label_map, voxels)
    based = read_base(finished)
    check_grid(label_map, volume, based.source)
    planes = outline(label_map, present, voxels)
    built = _describe(based)
    take_bytes(
        built,
        [
            _refer(based),
            raw_element("StructureSetROISequence", b"".join(_list_structures(based, present))),
            raw_element("ROIContourSequence", b"".join(_draw(present, planes, based.source))),
            raw_element("RTROIObservationsSequence", b"".join(_observe(based, present))),
        ],
    )
    before = finished.predecessor
    if before is not None and before.sop_class_uid == RTStructureSetStorage:
        take_bytes(built, [_follow(before)])
    encoded = seal(built, based.source)
    numbers, images = number_segments(label_map.array, present), list(map(_plane, based.source.frames))
    prove_contours(encoded, numbers, [segment.name for segment in present], images)
    return dcmread(io.BytesIO(encoded))


def _plane(frame: SourceFrame) -> Plane:
    image = (frame.ref.sop_instance_uid, frame.ref.frame_number)
    return Plane(image, floats(frame.position), floats(frame.orientation), floats(frame.spacing))


def outline(label_map: LabelMap, present: Sequence[Segment], voxels: npt.NDArray[np.intp]) -> Planes:
    """Find the polygons of each structure; `voxels` (z, 256) says which slices it is on."""
    return [
        [
            (int(z), trace(label_map.array[z] == segment.value, MOST_POINTS))
            for z in np.flatnonzero(voxels[:, segment.value])
        ]
        for segment in present
    ]


def _describe(based: Based) -> Dataset:
    """Write what the object is, who made it and when (PS3.3 C.8.8.1, C.8.8.5, C.8.8.16)."""
    finished, names = based.finished, based.names
    built = begin(based, KIND)
    del built.ContentDate, built.ContentTime
    built.StructureSetDate, built.StructureSetTime = (
        finished.identity.made_at.date(),
        finished.identity.made_at.time(),
    )
    built.FrameOfReferenceUID = _frame_of_reference(finished.volume)
    built.PositionReferenceIndicator = built.OperatorsName = None
    built.Modality, built.ApprovalStatus = "RTSTRUCT", "UNAPPROVED"
    built.StructureSetLabel, built.StructureSetName = names.content_label, built.SeriesDescription
    built.StructureSetDescription = names.content_description
    return built


def _frame_of_reference(volume: Volume) -> str:
    return volume.frame_of_reference_uid or derived_uid("frame of reference", volume.series_uid)


def _refer(based: Based) -> RawDataElement:
    """Name the frame of reference, and in it the study, series and every image of the volume."""
    volume = based.finished.volume
    images = sequence("ContourImageSequence", *map(_image, _by_instance(based.source)))
    series = sequence("RTReferencedSeriesSequence", element("SeriesInstanceUID", volume.series_uid) + images)
    study = element("ReferencedSOPClassUID", _DETACHED_STUDY) + element(
        "ReferencedSOPInstanceUID", volume.study_uid
    )
    studies = sequence("RTReferencedStudySequence", study + series)
    content = element("FrameOfReferenceUID", _frame_of_reference(volume)) + studies
    return raw_element("ReferencedFrameOfReferenceSequence", item(content))


def _by_instance(source: Source) -> list[list[SourceFrame]]:
    frames_of: dict[str, list[SourceFrame]] = {}
    for frame in source.frames:
        frames_of.setdefault(frame.ref.sop_instance_uid, []).append(frame)
    return list(frames_of.values())


def _image(frames: list[SourceFrame]) -> bytes:
    return refer_to(frames[0]) + number_frames(frames)


def _follow(before: Predecessor) -> RawDataElement:
    """Name the structure set that this one takes the place of."""
    uid = element("ReferencedSOPInstanceUID", before.sop_instance_uid)
    reference = element("ReferencedSOPClassUID", before.sop_class_uid) + uid
    return raw_element("PredecessorStructureSetSequence", item(reference))


def _list_structures(based: Based, present: Sequence[Segment]) -> Iterator[bytes]:
    """Name each structure, how large it is and what found it (PS3.3 Table C.8-41)."""
    finished = based.finished
    volume_ml = {each.value: each.volume_ml for each in finished.measurements}
    made_by = _identify(based.names, finished)
    for number, segment in enumerate(present, start=1):
        ml = volume_ml.get(segment.value)
        yield item(
            element("ROINumber", str(number))
            + element("ReferencedFrameOfReferenceUID", _frame_of_reference(finished.volume))
            + element("ROIName", require_plain("structure name", segment.name))
            + (element("ROIVolume", f"{ml:.6g}") if ml is not None else b"")
            + element("ROIGenerationAlgorithm", "AUTOMATIC")
            + made_by
            + element("ROIGenerationDescription", based.names.algorithm)
        )


def _identify(names: Names, finished: Finished) -> bytes:
    """Say what found a structure (PS3.3 10.16)."""
    algorithm = finished.label_map.algorithm
    return sequence(
        "ROIDerivationAlgorithmIdentificationSequence",
        element("AlgorithmSource", require_plain("the algorithm's source", plain(algorithm.source, 64)))
        + sequence("AlgorithmFamilyCodeSequence", code_elements(ARTIFICIAL_INTELLIGENCE))
        + element("AlgorithmVersion", require_plain("the algorithm's version", plain(algorithm.version, 64)))
        + element("AlgorithmName", require_plain("the algorithm's name", names.algorithm)),
    )


def _draw(present: Sequence[Segment], planes: Planes, source: Source) -> Iterator[bytes]:
    """Write the contours of each structure, slice by slice (PS3.3 C.8.8.6)."""
    for number, (segment, slices) in enumerate(zip(present, planes, strict=True), start=1):
        drawn = [(source.frames[z], polygon) for z, polygons in slices for polygon in polygons]
        contours = [_contour(n, frame, polygon) for n, (frame, polygon) in enumerate(drawn, start=1)]
        color = element("ROIDisplayColor", "\\".join(map(str, segment.rgb)))
        yield item(color + sequence("ContourSequence", *contours) + element("ReferencedROINumber", str(number)))


def _contour(number: int, frame: SourceFrame, polygon: Polygon) -> bytes:
    """Place a polygon in the patient by the header of its image (PS3.3 C.7.6.2.1.1)."""
    across, down = floats(frame.orientation).reshape(2, 3)
    row_mm, column_mm = floats(frame.spacing)
    points = floats(frame.position) + polygon @ np.stack([down * row_mm, across * column_mm])
    rounded = np.round(points.ravel(), _DECIMALS) + 0.0  # no minus zero
    return (
        sequence("ContourImageSequence", _image([frame]))
        + element("ContourGeometricType", "CLOSED_PLANAR")
        + element("NumberOfContourPoints", str(len(polygon)))
        + element("ContourNumber", str(number))
        + element("ContourData", "\\".join(map(repr, rounded.tolist())))
    )


def _observe(based: Based, present: Sequence[Segment]) -> Iterator[bytes]:
    """Say what each structure is, by the codes and the tracking identifier of the SEG's segment (C.8.8.8)."""
    finished, side = based.finished, based.finished.identity.laterality
    algorithm, result = finished.label_map.algorithm, finished.identity
    for number, segment in enumerate(present, start=1):
        tracked_as = require_plain("tracking identifier", f"{result.submodel} {segment.name}", _TRACKING_ID)
        laterality = segment.laterality or (LATERALITY[side] if side else None)
        modifier = b"" if laterality is None else code_elements(laterality)
        code = code_elements(segment.type)
        code += sequence("SegmentedPropertyTypeModifierCodeSequence", modifier) if modifier else b""
        yield item(
            sequence("SegmentedPropertyCategoryCodeSequence", code_elements(segment.category))
            + element("TrackingID", tracked_as)
            + element("TrackingUID", tracking_uid(finished.volume, algorithm, result, segment.value))
            + element("ObservationNumber", str(number))
            + element("ReferencedROINumber", str(number))
            + sequence("RTROIIdentificationCodeSequence", code)
            + element("RTROIInterpretedType", "ORGAN" if segment.category.value in _ANATOMY else "")
            + element("ROIInterpreter", "")
        )
