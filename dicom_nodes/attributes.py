"""A DICOM dataset and a frame number in; the value of an attribute for this frame out, wherever it is kept.

A classic object keeps an attribute in the dataset; an Enhanced one in a functional group, per frame or shared
(PS3.3 C.7.6.16.2); a Legacy Converted one in the unassigned groups as well (PS3.3 C.7.6.16.2.25); Philips keeps its
private ones in a private sequence of each frame. The tables are all that is ever read of a header.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicom_nodes.elements import first_value, items, tag_of

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
    "VolumeBasedCalculationTechnique", "VolumetricProperties", "RequestedProcedurePriority",
    "EchoPlanarPulseSequence", "TimeOfFlightContrast", "PhaseContrast", "ArterialSpinLabelingContrast", "Tagging",
    "InversionRecovery", "SpectrallySelectedExcitation", "DiffusionDirectionality", "ContrastBolusAgentSequence",
    "ContrastBolusAgentAdministered",
)  # fmt: skip
"""The keywords whose values routing may read; none of them is an attribute of the patient's identity.

Facts with names of ours stand beside them: `facts.CODED` gives the code values of a sequence of concepts, and
`facts.OF_TRAITS` what tells the volumes of a series apart.
"""

VENDOR_FACTS: Mapping[str, BaseTag] = MappingProxyType(
    {
        "GEPulseSequenceName": Tag(0x0019, 0x109C),
        "GEInternalPulseSequenceName": Tag(0x0019, 0x109E),
        "PhilipsScanningTechnique": Tag(0x2001, 0x1020),
        "PhilipsSPIR": Tag(0x2001, 0x1021),
        "PhilipsImageTypeMR": Tag(0x2005, 0x1011),
        "GEFatSaturation": Tag(0x0019, 0x10A4),
    }
)
"""Name of ours to the private attribute whose value routing may read as well."""

PRIVATE: Mapping[str, BaseTag] = MappingProxyType(
    {
        "SiemensBValue": Tag(0x0019, 0x100C),
        "SiemensDirectionality": Tag(0x0019, 0x100D),
        "SiemensGradient": Tag(0x0019, 0x100E),
        "SiemensImagesInMosaic": Tag(0x0019, 0x100A),
        "SiemensCreator0019": Tag(0x0019, 0x0010),
        "GEBValue": Tag(0x0043, 0x1039),
        "GEComponent": Tag(0x0043, 0x102F),
        "GEDiffusionDirection": Tag(0x0043, 0x1030),
        "GEGradientX": Tag(0x0019, 0x10BB),
        "GEGradientY": Tag(0x0019, 0x10BC),
        "GEGradientZ": Tag(0x0019, 0x10BD),
        "PhilipsBValue": Tag(0x2001, 0x1003),
        "PhilipsDiffusionDirection": Tag(0x2001, 0x1004),
        "PhilipsGradientX": Tag(0x2005, 0x10B0),
        "PhilipsGradientY": Tag(0x2005, 0x10B1),
        "PhilipsGradientZ": Tag(0x2005, 0x10B2),
        "UIHBValue": Tag(0x0065, 0x1009),
        "UIHGradient": Tag(0x0065, 0x1037),
        "UIHImagesInGrid": Tag(0x0065, 0x1050),
        "UIHGridSequence": Tag(0x0065, 0x1051),
    }
)
"""Name of ours to the private attribute that tells frames apart, as the vendors' conformance statements have it."""

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
    "DiffusionDirectionality": "MRDiffusionSequence",
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
    "SpectrallySelectedExcitation": "MRModifierSequence",
    "InversionRecovery": "MRModifierSequence",
    "Tagging": "MRModifierSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
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
_PHILIPS_FRAME = Tag(0x2005, 0x140F)
_FUNCTIONAL_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_PARTING = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "InstanceNumber", "InversionTimes",
    "DiffusionGradientOrientation", "ImageComments",
)  # fmt: skip
_WHOLE = (
    "SpecificCharacterSet", "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID",
    "FrameOfReferenceUID", "PhotometricInterpretation", "SamplesPerPixel", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "PatientID", "PatientName", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientSexNeutered", "ResponsiblePersonRole", "QualityControlImage",
)  # fmt: skip

_PRIVATE_TAGS = tuple(map(tag_of, (_PHILIPS_FRAME, *VENDOR_FACTS.values(), *PRIVATE.values())))
WANTED: Mapping[int, BaseTag] = MappingProxyType({int(each): each for each in (
    *map(tag_of, (*FACTS, *_GROUPS, *_GROUPS.values(), *_OTHER_NAMES.values(), *_UNASSIGNED, *_FUNCTIONAL_GROUPS)),
    *map(tag_of, (*_PARTING, *_WHOLE)), *_PRIVATE_TAGS,
    *(tag_of(each.group << 16 | each.element >> 8) for each in _PRIVATE_TAGS if each.element > 0xFF),
)})  # fmt: skip
"""The tags of a dataset that are read at all, the private creators with the private ones (PS3.5 section 7.8.1).

What is not among them is skipped on the disk.
"""


class FrameView:
    """The attributes of one frame (0-based index) of an object, or of a single-frame object."""

    def __init__(self, dataset: Dataset, index: int = 0) -> None:
        per_frame, shared = (items(dataset, name) for name in _FUNCTIONAL_GROUPS)
        self._own = tuple(per_frame[index : index + 1])
        self._places = (*self._own, *shared[:1], dataset)
        groups = self._places[:-1]
        present = {tag for group in groups for tag in group.keys()}  # noqa: SIM118  # no dict
        converted = [item for name in _UNASSIGNED for item in _within(groups, name, present)]
        philips = list(_within(groups, _PHILIPS_FRAME, present))
        self._rest = (*converted, dataset)
        self._private = (*converted, *philips, dataset)
        self._present = present.union(*(each.keys() for each in self._private))
        self._known: dict[str, object] = {}

    def value(self, keyword: str) -> object:
        """Give the value of a keyword, or of a name of `VENDOR_FACTS` or `PRIVATE`, for this frame.

        None where it is absent, empty or malformed.
        """
        if keyword not in self._known:
            absent = self._present.isdisjoint(_roots(keyword))
            self._known[keyword] = None if absent else self._find(keyword)
        return self._known[keyword]

    def _find(self, keyword: str) -> object:
        private = VENDOR_FACTS.get(keyword) or PRIVATE.get(keyword)
        if private is not None:
            return first_value(self._private, private)
        group = _GROUPS.get(keyword)
        if group is not None:
            for place in self._places:
                found = first_value(items(place, group), keyword)
                if found is not None:
                    return found
        other = self.value(_OTHER_NAMES[keyword]) if keyword in _OTHER_NAMES else None
        return first_value(self._rest, keyword) if other is None else other

    def told(self) -> frozenset[str]:
        """Name the facts that the frame's own groups, rather than the object, may hold."""
        return frozenset().union(*(_told(frozenset(group.keys())) for group in self._own))


def _within(groups: Sequence[Dataset], keyword: str | int, present: Set[BaseTag]) -> Iterator[Dataset]:
    """Give the items of a sequence in functional groups, without a look where none of these has it."""
    if tag_of(keyword) in present:
        yield from (item for group in groups for item in items(group, keyword))


@cache
def _roots(keyword: str) -> tuple[BaseTag, ...]:
    """Name the elements, of an object or of its groups, without which there is no value of a keyword."""
    private = VENDOR_FACTS.get(keyword) or PRIVATE.get(keyword)
    if private is not None:
        return (tag_of(private),)
    other = _roots(_OTHER_NAMES[keyword]) if keyword in _OTHER_NAMES else ()
    group = (tag_of(_GROUPS[keyword]),) if keyword in _GROUPS else ()
    return (tag_of(keyword), *group, *other)


@cache
def _told(tags: frozenset[BaseTag]) -> frozenset[str]:
    """Name the facts that functional groups of these sequences may hold."""
    if tag_of(_UNASSIGNED[0]) in tags:
        return frozenset((*FACTS, *VENDOR_FACTS))
    grouped = (name for name in FACTS if {_GROUPS.get(name), _GROUPS.get(_OTHER_NAMES.get(name, ""))} - {None})
    found = {name for name in grouped if _sequence_of(name) in tags}
    return frozenset(found | (set(VENDOR_FACTS) if _PHILIPS_FRAME in tags else set()))


def _sequence_of(keyword: str) -> BaseTag:
    return tag_of(_GROUPS.get(keyword) or _GROUPS[_OTHER_NAMES[keyword]])
