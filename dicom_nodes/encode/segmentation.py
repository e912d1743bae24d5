"""A label map and the volume it was made of → a Segmentation of either kind (PS3.3 A.51), proven before it leaves.

What both kinds have in common is put together here, place, references and patient as the source has them, to the
byte. How a kind holds its frames is told by its own room; what will be sent is decoded and compared by `proof.py`,
which knows nothing of how it was made.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.tag import Tag

from dicom_nodes.encode.equipment import list_equipment
from dicom_nodes.encode.frames import Frames, encode_groups
from dicom_nodes.encode.identity import Names, derived_uid, name_result, result_uid
from dicom_nodes.encode.place import check_grid, floats, refer_to_predecessor, refer_to_source, share_place
from dicom_nodes.encode.seal import seal, take_bytes
from dicom_nodes.encode.segments import count_voxels, describe_segments, number_segments, present_segments
from dicom_nodes.encode.source import LOSSY, REQUIRED, Source, borrow, read_source
from dicom_nodes.proof import Truth, prove
from dicom_nodes.types import Algorithm, LabelMap, Predecessor, ResultIdentity, Volume

Numbers = npt.NDArray[np.uint8]
"""SegmentNumbers (z, y, x) on the volume's grid, 0 where there is no segment."""

BY_SEGMENT = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Referenced Segment Number")
BY_PLACE = ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of Segmentation holds its frames (PS3.3 C.8.20.2)."""

    sop_class_uid: str
    segmentation_type: str
    purpose: str
    """Put before what each of its UIDs is derived for, so that two kinds of one result never share one."""
    series_offset: int
    """Added to the SeriesNumber of the result."""
    dimensions: tuple[tuple[str, str, str], ...]
    """What tells its frames apart, in order: attribute, functional group, label."""
    bits: int
    """Of each stored pixel."""
    background: int | None
    """The stored pixel that belongs to no segment, where the kind has to say so (PS3.3 A.51.4)."""
    list_frames: Callable[[npt.NDArray[np.integer]], Frames]
    """Of how many voxels (z, n) each slice has of segment n + 1."""
    pack: Callable[[Numbers, Frames], bytes]


def encode_segmentation(
    kind: Kind, label_map: LabelMap, volume: Volume, result: ResultIdentity, predecessor: Predecessor | None
) -> Dataset:
    """Encode a label map in Explicit VR Little Endian, the same bytes at every attempt.

    Only segments with voxels are listed, only frames with voxels written. What is returned has been decoded again
    and found equal to the label map, voxel by voxel, at the positions that the source's own headers give. Written
    with `pydicom.dcmwrite`, or sent, before its text is looked at, it keeps the source's bytes.

    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    voxels = count_voxels(label_map.array)
    present = present_segments(label_map, voxels)
    source = read_source(volume)
    check_grid(label_map, volume, source)
    algorithm = label_map.algorithm
    names = name_result(volume, source, algorithm, result)
    numbers = number_segments(label_map.array, present)
    seg = _describe(kind, volume, algorithm, result, names, source)
    segments = describe_segments(present, volume, algorithm, names.algorithm, result)
    take_bytes(seg, [segments, *refer_to_source(volume, source)])
    if predecessor is not None:
        take_bytes(seg, [refer_to_predecessor(predecessor)])
    frames = kind.list_frames(voxels[:, [segment.value for segment in present]])
    _add_frames(seg, kind, numbers, frames, volume, source)
    encoded = seal(seg, source)
    positions = np.array([floats(frame.position) for frame in source.frames])
    prove(encoded, Truth(numbers, present, result.laterality, volume, positions))
    return dcmread(io.BytesIO(encoded))


def _describe(
    kind: Kind, volume: Volume, algorithm: Algorithm, result: ResultIdentity, names: Names, source: Source
) -> Dataset:
    """Write what the object is, who made it and when."""
    seg, identified = Dataset(), (volume, algorithm, result)
    for keyword in REQUIRED:
        setattr(seg, keyword, None)  # until the source's take their place
    seg.SOPClassUID = kind.sop_class_uid
    seg.SOPInstanceUID = result_uid(f"{kind.purpose}instance", *identified)
    seg.StudyInstanceUID = volume.study_uid
    seg.SeriesInstanceUID = result_uid(f"{kind.purpose}series", *identified)
    frame_of_reference = volume.frame_of_reference_uid or derived_uid("frame of reference", volume.series_uid)
    seg.FrameOfReferenceUID = frame_of_reference
    seg.Modality, seg.ImageType, seg.InstanceNumber = "SEG", ["DERIVED", "PRIMARY"], 1
    seg.SeriesNumber = names.series_number + kind.series_offset
    seg.SeriesDescription = names.series_description
    seg.InstanceCreationDate = seg.SeriesDate = seg.ContentDate = result.made_at.date()
    seg.InstanceCreationTime = seg.SeriesTime = seg.ContentTime = result.made_at.time()
    seg.Manufacturer, seg.ManufacturerModelName = result.manufacturer, result.model_name
    seg.SoftwareVersions, seg.DeviceSerialNumber = result.software_version, result.device_serial
    seg.ContentLabel, seg.ContentDescription = names.content_label, names.content_description
    seg.ContentCreatorName = f"{result.manufacturer}^{result.model_name}"
    if result.laterality:
        seg.Laterality = str(result.laterality)
    seg.ContributingEquipmentSequence = list_equipment(source, algorithm, names, result)
    _add_dimensions(seg, kind, result_uid(f"{kind.purpose}dimensions", *identified))
    return seg


def _add_dimensions(seg: Dataset, kind: Kind, organization_uid: str) -> None:
    """Say by what frames are told apart, and in which order (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    seg.DimensionOrganizationSequence = [organization]
    seg.DimensionIndexSequence = []
    for pointer, group, label in kind.dimensions:
        index = Dataset()
        index.DimensionOrganizationUID = organization_uid
        index.DimensionIndexPointer, index.FunctionalGroupPointer = Tag(pointer), Tag(group)
        index.DimensionDescriptionLabel = label
        seg.DimensionIndexSequence.append(index)


def _add_frames(seg: Dataset, kind: Kind, numbers: Numbers, frames: Frames, volume: Volume, source: Source) -> None:
    """Write the pixels (PS3.3 C.7.6.3, C.8.20.2) and where each frame of them lies."""
    seg.NumberOfFrames, seg.Rows, seg.Columns = len(frames), *numbers.shape[1:]
    seg.SamplesPerPixel, seg.PhotometricInterpretation, seg.PixelRepresentation = 1, "MONOCHROME2", 0
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = kind.bits, kind.bits, kind.bits - 1
    if kind.background is not None:
        seg.add_new("PixelPaddingValue", "US", kind.background)
    seg.SegmentationType, seg.SegmentsOverlap = kind.segmentation_type, "NO"
    seg.PresentationLUTShape = "IDENTITY"
    seg.LossyImageCompression = "00" if source.lossy is None else "01"
    if source.lossy is not None:
        take_bytes(seg, list(borrow(source.lossy, LOSSY)))
    seg.SharedFunctionalGroupsSequence = [share_place(volume, source)]
    take_bytes(seg, [encode_groups(frames, source)])
    seg.add_new("PixelData", "OB", kind.pack(numbers, frames))
