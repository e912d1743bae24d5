"""A label map → the segments in it, numbered 1 to N, and their items of the Segment Sequence."""

import struct

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement

from dicom_nodes.encode.codes import cielab, code_elements
from dicom_nodes.encode.explicit import element, item, raw_element, sequence
from dicom_nodes.encode.identity import plain, require_plain, tracking_uid
from dicom_nodes.errors import EmptyResult, ResultUnsound
from dicom_nodes.types import Algorithm, Code, LabelMap, Laterality, ResultIdentity, Segment, Volume

LATERALITY = {  # PS3.16 CID 244
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
}
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # PS3.16 CID 7162
_TRACKING_ID = 129  # characters: two names of 64 and a space


def count_voxels(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Count how often each value stands in each slice of (z, y, x): (z, 256)."""
    return np.stack([np.bincount(plane.ravel(), minlength=256) for plane in array])


def present_segments(label_map: LabelMap, voxels: npt.NDArray[np.intp]) -> tuple[Segment, ...]:
    """List the segments that have voxels, by rising label value; the n-th of them becomes SegmentNumber n.

    A segment without voxels must not be listed: viewers give its name and colour to the next one.
    `voxels` is `count_voxels` of the label map.
    Raises EmptyResult where nothing is labelled, ResultUnsound where a value or a name is not of one segment.
    """
    known = {segment.value: segment for segment in label_map.segments}
    values = np.flatnonzero(voxels.any(axis=0)).tolist()
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
) -> RawDataElement:
    """Encode the Segment Sequence (PS3.3 C.8.20.4)."""
    made_by = _identify(algorithm, algorithm_name)
    items = []
    for number, segment in enumerate(present, start=1):
        tracked_as = require_plain("tracking identifier", f"{result.submodel} {segment.name}", _TRACKING_ID)
        parts = [
            sequence("SegmentedPropertyCategoryCodeSequence", code_elements(segment.category)),
            element("SegmentNumber", struct.pack("<H", number)),
            element("SegmentLabel", require_plain("segment label", segment.name)),
            made_by,
            element("RecommendedDisplayCIELabValue", struct.pack("<3H", *cielab(segment.rgb))),
            sequence("SegmentedPropertyTypeCodeSequence", _sided(segment, result.laterality)),
            element("TrackingID", tracked_as),
            element("TrackingUID", tracking_uid(volume, algorithm, result, segment.value)),
        ]
        items.append(item(b"".join(parts)))
    return raw_element("SegmentSequence", b"".join(items))


def _identify(algorithm: Algorithm, name: str) -> bytes:
    """Say what made a segment (PS3.3 10.16)."""
    require_plain("the algorithm's name", name)
    version = require_plain("the algorithm's version", plain(algorithm.version, 64))
    parts = [
        element("AlgorithmSource", require_plain("the algorithm's source", plain(algorithm.source, 64))),
        sequence("AlgorithmFamilyCodeSequence", code_elements(ARTIFICIAL_INTELLIGENCE)),
        element("AlgorithmVersion", version),
        element("AlgorithmName", name),
    ]
    identification = sequence("SegmentationAlgorithmIdentificationSequence", b"".join(parts))
    return identification + element("SegmentAlgorithmType", "AUTOMATIC") + element("SegmentAlgorithmName", name)


def _sided(segment: Segment, side: Laterality | None) -> bytes:
    """Code what a segment is, with its side as the modifier (PS3.3 Table 10.33-1)."""
    laterality = segment.laterality or (LATERALITY[side] if side else None)
    if laterality is None:
        return code_elements(segment.type)
    modifier = sequence("SegmentedPropertyTypeModifierCodeSequence", code_elements(laterality))
    return code_elements(segment.type) + modifier
