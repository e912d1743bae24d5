"""A DICOM dataset and a frame number in; the value of an attribute for this frame out, wherever it is kept.

A classic object keeps an attribute in the dataset; an Enhanced one in a functional group, per frame or shared
(PS3.3 C.7.6.16.2); a Legacy Converted one in the unassigned groups as well (PS3.3 C.7.6.16.2.25).
"""

import math
import struct
from collections.abc import Iterable, Sequence
from functools import cache

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag

FACTS = (
    "Modality", "BodyPartExamined", "ProtocolName", "SeriesDescription", "StudyDescription", "Laterality",
    "ImageLaterality", "FrameLaterality", "AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "ImageType",
    "FrameType", "ComplexImageComponent", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength",
    "SoftwareVersions", "StationName", "ScanningSequence", "SequenceVariant", "SequenceName", "PulseSequenceName",
    "EchoPulseSequence", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "InversionTime",
    "EchoTrainLength", "FlipAngle", "EchoNumbers", "DiffusionBValue", "SliceThickness", "SpacingBetweenSlices",
    "SpectrallySelectedSuppression", "ReceiveCoilName", "ContrastBolusAgent", "PatientPosition",
    "RequestedProcedureDescription", "PerformedProcedureStepDescription", "ScheduledProcedureStepDescription",
    "ProcedureCodeSequence", "RequestedProcedureCodeSequence", "SeriesNumber", "AcquisitionContrast",
    "VolumeBasedCalculationTechnique", "VolumetricProperties",
)  # fmt: skip
"""The keywords whose values routing may read; none of them is an attribute of the patient's identity."""

_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "DiffusionGradientDirectionSequence": "MRDiffusionSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "AcquisitionContrast": "MRImageFrameTypeSequence",
    "VolumeBasedCalculationTechnique": "MRImageFrameTypeSequence",
    "VolumetricProperties": "MRImageFrameTypeSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameLaterality": "FrameAnatomySequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
    "PrimaryAnatomicStructureSequence": "FrameAnatomySequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "EchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "InversionTimes": "MRModifierSequence",
    "SpectrallySelectedSuppression": "MRFOVGeometrySequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "TemporalPositionTimeOffset": "TemporalPositionSequence",
    "ReceiveCoilName": "MRReceiveCoilSequence",
    "RequestedProcedureDescription": "RequestAttributesSequence",
    "ScheduledProcedureStepDescription": "RequestAttributesSequence",
}
"""Keyword to the sequence whose first item may hold it, in a functional group or in the dataset itself."""

_OTHER_NAMES = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}
"""Classic keyword to what Enhanced objects call it."""

_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")

_BAD_VALUE = (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, OverflowError, struct.error)


class FrameView:
    """The attributes of one frame (0-based index) of an object, or of a single-frame object."""

    def __init__(self, dataset: Dataset, index: int = 0) -> None:
        per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
        shared = items(dataset, "SharedFunctionalGroupsSequence")
        self._dataset = dataset
        self._own = list(per_frame[index : index + 1])
        self._groups = [*self._own, *shared[:1]]
        converted = (item for group in self._groups for name in _UNASSIGNED for item in items(group, name))
        self._rest = [*converted, dataset]

    def value(self, keyword: str | int) -> object:
        """Give the value of a keyword, or of a tag, for this frame; None where it is absent, empty or malformed."""
        if isinstance(keyword, str) and keyword in _GROUPS:
            for group in (*self._groups, self._dataset):
                found = first_value(items(group, _GROUPS[keyword]), keyword)
                if found is not None:
                    return found
        if isinstance(keyword, str) and keyword in _OTHER_NAMES:
            found = self.value(_OTHER_NAMES[keyword])
            if found is not None:
                return found
        return first_value(self._rest, keyword)

    def tells(self, keyword: str) -> bool:
        """Say whether the frame's own groups, rather than the object, may hold a keyword."""
        names = (_GROUPS.get(keyword), _GROUPS.get(_OTHER_NAMES.get(keyword, "")), _UNASSIGNED[0])
        return any(name in group for group in self._own for name in names if name)


def first_value(datasets: Iterable[Dataset], keyword: str | int) -> object:
    """Find the first non-empty value of a keyword or tag; a malformed value is as good as none."""
    for dataset in datasets:
        try:
            element = dataset.get(_tag_of(keyword))
            if element is not None and element.value not in (None, "", b""):
                return element.value
        except _BAD_VALUE:
            continue
    return None


def text(value: object) -> str:
    """Write a value as text: many joined by a backslash, coded concepts by their meaning; empty for None."""
    if value is None:
        return ""
    if isinstance(value, DicomSequence):
        meanings = (text(first_value([item], "CodeMeaning")) for item in value)
        return "\\".join(meaning for meaning in meanings if meaning)
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(each).strip() for each in value)
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").strip("\0 ")
    return str(value).strip("\0 ")


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """Read a value as `count` finite numbers; None where it is anything else. A single number may be binary."""
    if isinstance(value, bytes):
        value = _unpacked(value)
    values: Sequence[object] = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    try:
        found = tuple(float(each) for each in values)  # type: ignore[arg-type]  # the error is the answer
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _unpacked(value: bytes) -> object:
    """Read a private value of unknown VR: decimal text, or else a little-endian IEEE 754 number."""
    try:
        return [float(part) for part in value.decode("ascii").strip("\0 ").split("\\")]
    except ValueError:
        kind = {4: "<f", 8: "<d"}.get(len(value))
        return struct.unpack(kind, value)[0] if kind else None


@cache
def _tag_of(keyword: str | int) -> BaseTag:
    return Tag(keyword)


def items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Give the items of a sequence; empty where it is absent or is no sequence."""
    found = first_value([dataset], keyword)
    return found if isinstance(found, DicomSequence) else ()


def tag(group: int, element: int) -> BaseTag:
    """Name a private tag as the vendors' conformance statements do."""
    return Tag(group, element)
