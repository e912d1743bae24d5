"""A label map and the volume it was made of → a DICOM-SEG that every viewer opens (PS3.3 A.51), proven by reading.

highdicom builds the object from plain single-frame stand-ins of the source's frames, so that nothing odd in a real
header reaches it; place, references and patient are then written as the source has them, to the byte.
"""

import io
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.equipment import list_equipment
from dicom_nodes.encode.identity import Names, derived_uid, name_result, result_uid
from dicom_nodes.encode.place import check_grid, floats, place_frames, refer_to_source, stand_in_uid
from dicom_nodes.encode.seal import seal
from dicom_nodes.encode.segments import describe_segments, number_segments, present_segments
from dicom_nodes.encode.source import Source, read_source
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Algorithm, LabelMap, ResultIdentity, Volume


def encode_seg(label_map: LabelMap, volume: Volume, result: ResultIdentity) -> Dataset:
    """Encode a label map as a BINARY Segmentation in Explicit VR Little Endian, the same bytes at every attempt.

    Only segments with voxels are listed. What is returned has been decoded again and found equal to the label map,
    voxel by voxel, at the positions that the source's own headers give. Written with `pydicom.dcmwrite`, or sent,
    before its text is looked at, it keeps the source's bytes.

    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    present = present_segments(label_map)
    source = read_source(volume)
    check_grid(label_map, volume, source)
    names = name_result(volume, source, label_map.algorithm, result)
    numbers = number_segments(label_map.array, present)
    items = describe_segments(present, volume, label_map.algorithm, names.algorithm, result)
    seg = _build(numbers, items, volume, label_map.algorithm, result, names, source)
    place_frames(seg, volume, source)
    refer_to_source(seg, volume, source)
    _name_makers(seg, names, volume, label_map.algorithm, result, source)
    encoded = seal(seg, source)
    prove(encoded, numbers, volume, source)
    return dcmread(io.BytesIO(encoded))


def _build(
    numbers: npt.NDArray[np.uint8],
    items: list[Any],
    volume: Volume,
    algorithm: Algorithm,
    result: ResultIdentity,
    names: Names,
    source: Source,
) -> Any:
    """Have highdicom build the object: a hd.seg.Segmentation with the stand-ins' references."""
    return hd.seg.Segmentation(
        source_images=_stand_ins(volume, source),
        pixel_array=numbers,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=items,
        series_instance_uid=result_uid("series", volume, algorithm, result),
        series_number=names.series_number,
        sop_instance_uid=result_uid("instance", volume, algorithm, result),
        instance_number=1,
        manufacturer=result.manufacturer,
        manufacturer_model_name=result.model_name,
        software_versions=result.software_version,
        device_serial_number=result.device_serial,
        content_label=names.content_label,
        content_description=names.content_description,
        content_creator_name=f"{result.manufacturer}^{result.model_name}",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
        series_description=names.series_description,
        content_date=result.made_at.date(),
        content_time=result.made_at.time(),
    )


def _stand_ins(volume: Volume, source: Source) -> list[Dataset]:
    """Make a plain MR header for each slice, of the place alone; SOPInstanceUID is the slice's number."""
    frame_of_reference = volume.frame_of_reference_uid or derived_uid("frame of reference", volume.series_uid)
    made = []
    for z, frame in enumerate(source.frames):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, stand_in_uid(z)
        image.StudyInstanceUID, image.SeriesInstanceUID = volume.study_uid, volume.series_uid
        image.FrameOfReferenceUID, image.Modality = frame_of_reference, "MR"
        image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""
        image.AccessionNumber = image.StudyID = ""
        image.StudyDate = image.StudyTime = None
        image.Rows, image.Columns = frame.rows, frame.columns
        image.ImagePositionPatient = list(frame.position)
        image.ImageOrientationPatient = list(source.frames[0].orientation)
        image.PixelSpacing, image.SliceThickness = list(source.frames[0].spacing), "1"
        made.append(image)
    return made


def _name_makers(
    seg: Any, names: Names, volume: Volume, algorithm: Algorithm, result: ResultIdentity, source: Source
) -> None:
    """Replace what highdicom draws from chance and the clock, and name equipment, side and loss of the pixels."""
    seg.ContributingEquipmentSequence = list_equipment(source, algorithm, names, result)
    seg.LossyImageCompression = "00" if source.lossy is None else "01"
    if result.laterality:
        seg.Laterality = str(result.laterality)
    organization = result_uid("dimensions", volume, algorithm, result)
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    date, time = seg.ContentDate, seg.ContentTime
    seg.InstanceCreationDate = seg.SeriesDate = date
    seg.InstanceCreationTime = seg.SeriesTime = time


def prove(encoded: bytes, numbers: npt.NDArray[np.uint8], volume: Volume, source: Source) -> None:
    """Decode what will be sent; raise ResultUnsound unless every voxel lies where the source's headers put it."""
    positions = np.array([floats(frame.position) for frame in source.frames])
    decoded = read_seg(io.BytesIO(encoded), Grid(volume.affine, volume.shape, positions))
    if not np.array_equal(decoded.labels, numbers):
        wrong = int(np.count_nonzero(decoded.labels != numbers))
        raise ResultUnsound(f"the encoded object differs from the label map in {wrong} voxels")
