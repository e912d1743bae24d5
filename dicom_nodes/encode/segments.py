"""A label map → the segments in it, numbered 1 to N, and their items of the Segment Sequence."""

from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code as DicomCode

from dicom_nodes.encode.identity import plain, require_plain, result_uid
from dicom_nodes.errors import EmptyResult, ResultUnsound
from dicom_nodes.types import Algorithm, Code, LabelMap, Laterality, ResultIdentity, Segment, Volume

LATERALITY = {  # PS3.16 CID 244
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
}
ARTIFICIAL_INTELLIGENCE = DicomCode("123110", "DCM", "Artificial Intelligence")  # PS3.16 CID 7162


def present_segments(label_map: LabelMap) -> tuple[Segment, ...]:
    """List the segments that have voxels, by rising label value; the n-th of them becomes SegmentNumber n.

    A segment without voxels must not be listed: viewers give its name and colour to the next one.
    Raises EmptyResult where nothing is labelled, ResultUnsound where a value or a name is not of one segment.
    """
    known = {segment.value: segment for segment in label_map.segments}
    values = np.flatnonzero(np.bincount(label_map.array.ravel(), minlength=256)).tolist()
    if values in ([], [0]):
        raise EmptyResult("the label map has no labelled voxel")
    if unknown := [value for value in values if value not in known and value != 0]:
        raise ResultUnsound(f"the label map has values that no segment of the sub-model explains: {unknown}")
    present = tuple(known[value] for value in values if value != 0)
    if len(known) != len(label_map.segments) or len({s.name for s in present}) != len(present):
        raise ResultUnsound("two segments share a label value or a name")
    return present


def number_segments(array: npt.NDArray[np.uint8], present: tuple[Segment, ...]) -> npt.NDArray[np.uint8]:
    """Map label values to SegmentNumbers; (z, y, x) as it came."""
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[[segment.value for segment in present]] = np.arange(1, len(present) + 1)
    return numbers[array]


def describe_segments(
    present: tuple[Segment, ...], volume: Volume, algorithm: Algorithm, algorithm_name: str, result: ResultIdentity
) -> list[Any]:
    """Write the Segment Sequence's items (PS3.3 C.8.20.4)."""
    identification = hd.AlgorithmIdentificationSequence(
        name=require_plain("the algorithm's name", algorithm_name),
        family=ARTIFICIAL_INTELLIGENCE,
        version=require_plain("the algorithm's version", plain(algorithm.version, 64)),
        source=require_plain("the algorithm's source", plain(algorithm.source, 64)),
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=require_plain("segment label", segment.name),
            segmented_property_category=_concept(segment.category),
            segmented_property_type=_sided(segment, result.laterality),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
            tracking_id=f"{result.submodel} {segment.name}",
            tracking_uid=result_uid(f"segment {segment.value}", volume, algorithm, result),
            display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
        )
        for number, segment in enumerate(present, start=1)
    ]


def _sided(segment: Segment, side: Laterality | None) -> Any:
    """Code what a segment is, with its side as the modifier (PS3.3 Table 10.33-1)."""
    concept = _concept(segment.type)
    laterality = segment.laterality or (LATERALITY[side] if side else None)
    if laterality:
        concept.SegmentedPropertyTypeModifierCodeSequence = [_concept(laterality)]
    return concept


def _concept(code: Code) -> Any:
    return hd.sr.CodedConcept(code.value, code.scheme, require_plain("code meaning", code.meaning))
