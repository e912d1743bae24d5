"""A label map and the volume it was made of → a DICOM-SEG that every viewer opens (PS3.3 A.51), proven by reading.

The object is put together here, place, references and patient as the source has them, to the byte; its many frames
are encoded in `frames.py`, and what will be sent is decoded by a room that knows nothing of how it was made.
"""

import io

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.equipment import list_equipment
from dicom_nodes.encode.frames import Frames, encode_groups, list_frames, pack
from dicom_nodes.encode.identity import Names, derived_uid, name_result, result_uid
from dicom_nodes.encode.place import check_grid, floats, refer_to_source, share_place
from dicom_nodes.encode.seal import seal, take_bytes
from dicom_nodes.encode.segments import count_voxels, describe_segments, number_segments, present_segments
from dicom_nodes.encode.source import LOSSY, REQUIRED, Source, borrow, read_source
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Algorithm, LabelMap, ResultIdentity, Volume

_DIMENSIONS = (
    ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Referenced Segment Number"),
    ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient"),
)


def encode_seg(label_map: LabelMap, volume: Volume, result: ResultIdentity) -> Dataset:
    """Encode a label map as a BINARY Segmentation in Explicit VR Little Endian, the same bytes at every attempt.

    Only segments with voxels are listed. What is returned has been decoded again and found equal to the label map,
    voxel by voxel, at the positions that the source's own headers give. Written with `pydicom.dcmwrite`, or sent,
    before its text is looked at, it keeps the source's bytes.

    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    voxels = count_voxels(label_map.array)
    present = present_segments(label_map, voxels)
    source = read_source(volume)
    check_grid(label_map, volume, source)
    algorithm = label_map.algorithm
    names = name_result(volume, source, algorithm, result)
    numbers = number_segments(label_map.array, present)
    seg = _describe(volume, algorithm, result, names, source)
    segments = describe_segments(present, volume, algorithm, names.algorithm, result)
    take_bytes(seg, [segments, *refer_to_source(volume, source)])
    frames = list_frames(voxels[:, [segment.value for segment in present]])
    _add_frames(seg, numbers, frames, volume, source)
    encoded = seal(seg, source)
    prove(encoded, numbers, volume, source)
    return dcmread(io.BytesIO(encoded))


def _describe(
    volume: Volume, algorithm: Algorithm, result: ResultIdentity, names: Names, source: Source
) -> Dataset:
    """Write what the object is, who made it and when."""
    seg = Dataset()
    for keyword in REQUIRED:
        setattr(seg, keyword, None)  # until the source's take their place
    seg.SOPClassUID = SegmentationStorage
    seg.SOPInstanceUID = result_uid("instance", volume, algorithm, result)
    seg.StudyInstanceUID = volume.study_uid
    seg.SeriesInstanceUID = result_uid("series", volume, algorithm, result)
    frame_of_reference = volume.frame_of_reference_uid or derived_uid("frame of reference", volume.series_uid)
    seg.FrameOfReferenceUID = frame_of_reference
    seg.Modality, seg.ImageType, seg.InstanceNumber = "SEG", ["DERIVED", "PRIMARY"], 1
    seg.SeriesNumber, seg.SeriesDescription = names.series_number, names.series_description
    seg.InstanceCreationDate = seg.SeriesDate = seg.ContentDate = result.made_at.date()
    seg.InstanceCreationTime = seg.SeriesTime = seg.ContentTime = result.made_at.time()
    seg.Manufacturer, seg.ManufacturerModelName = result.manufacturer, result.model_name
    seg.SoftwareVersions, seg.DeviceSerialNumber = result.software_version, result.device_serial
    seg.ContentLabel, seg.ContentDescription = names.content_label, names.content_description
    seg.ContentCreatorName = f"{result.manufacturer}^{result.model_name}"
    if result.laterality:
        seg.Laterality = str(result.laterality)
    seg.ContributingEquipmentSequence = list_equipment(source, algorithm, names, result)
    _add_dimensions(seg, result_uid("dimensions", volume, algorithm, result))
    return seg


def _add_dimensions(seg: Dataset, organization_uid: str) -> None:
    """Say that frames are told apart by segment and then by place (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    seg.DimensionOrganizationSequence = [organization]
    seg.DimensionIndexSequence = []
    for pointer, group, label in _DIMENSIONS:
        index = Dataset()
        index.DimensionOrganizationUID = organization_uid
        index.DimensionIndexPointer, index.FunctionalGroupPointer = Tag(pointer), Tag(group)
        index.DimensionDescriptionLabel = label
        seg.DimensionIndexSequence.append(index)


def _add_frames(
    seg: Dataset, numbers: npt.NDArray[np.uint8], frames: Frames, volume: Volume, source: Source
) -> None:
    """Write the pixels (PS3.3 C.7.6.3, C.8.20.2) and where each frame of them lies."""
    seg.NumberOfFrames, seg.Rows, seg.Columns = len(frames), *numbers.shape[1:]
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation = 1, 1, 0, 0
    seg.SegmentationType, seg.SegmentsOverlap, seg.PresentationLUTShape = "BINARY", "NO", "IDENTITY"
    seg.LossyImageCompression = "00" if source.lossy is None else "01"
    if source.lossy is not None:
        take_bytes(seg, list(borrow(source.lossy, LOSSY)))
    seg.SharedFunctionalGroupsSequence = [share_place(volume, source)]
    take_bytes(seg, [encode_groups(frames, source)])
    seg.add_new("PixelData", "OB", pack(numbers, frames))


def prove(encoded: bytes, numbers: npt.NDArray[np.uint8], volume: Volume, source: Source) -> None:
    """Decode what will be sent; raise ResultUnsound unless every voxel lies where the source's headers put it.

    By position and by reference: some viewers go by the one, some by the other.
    """
    positions = np.array([floats(frame.position) for frame in source.frames])
    decoded = read_seg(io.BytesIO(encoded), Grid(volume.affine, volume.shape, positions))
    if not np.array_equal(decoded.labels, numbers):
        wrong = int(np.count_nonzero(decoded.labels != numbers))
        raise ResultUnsound(f"the encoded object differs from the label map in {wrong} voxels")
    for z, images in decoded.images.items():
        ref = source.frames[z].ref
        if images != {(ref.sop_instance_uid, ref.frame_number)}:
            raise ResultUnsound(f"the encoded object refers slice {z} to another image than it was made of")
