"""Where a Segmentation lies, checked against its source; and what of it its frames share, as the source has it."""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from dicom_nodes.encode.codes import code_elements, standard_code
from dicom_nodes.encode.explicit import element, item, raw_element, sequence
from dicom_nodes.encode.source import Source, SourceFrame
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import LabelMap, Predecessor, Volume

PREDECESSOR = standard_code(codes.DCM.TemporalPredecessor)  # PS3.16 CID 7201

_COSINE_TOLERANCE = 1e-3  # what makes frames one volume, and what viewers take for the same orientation
_VOXELS_ASTRAY = (1.0, 1.0, 1 / 3)
"""(column, row, slice): how far a frame may lie from an even grid and still be the slice that it is said to be.

What is written is always where it really lies.
"""
_PLACE_TOLERANCE_MM = 0.01


def check_grid(label_map: LabelMap, volume: Volume, source: Source) -> None:
    """Raise ResultUnsound unless label map, volume and headers speak of the same voxels at the same places."""
    first = source.frames[0]
    shape = (len(source.frames), first.rows, first.columns)
    if not label_map.array.shape == volume.shape == shape:
        raise ResultUnsound(f"label map {label_map.array.shape}, volume {volume.shape} and source {shape} differ")
    ends = np.array([[x, y, z, 1] for x in (0, shape[2]) for y in (0, shape[1]) for z in (0, shape[0])])
    if np.abs((label_map.affine - volume.affine) @ ends.T).max() > _PLACE_TOLERANCE_MM:
        raise ResultUnsound("the label map does not lie where its volume lies")
    for z, frame in enumerate(source.frames):
        _check_frame(frame, z, first, volume)


def _check_frame(frame: SourceFrame, z: int, first: SourceFrame, volume: Volume) -> None:
    turned = np.abs(floats(frame.orientation) - floats(first.orientation)).max()
    if turned > _COSINE_TOLERANCE or not np.allclose(floats(frame.spacing), floats(first.spacing), rtol=1e-4):
        raise ResultUnsound(f"slice {z} is turned or scaled against the first")
    if (frame.rows, frame.columns) != (first.rows, first.columns):
        raise ResultUnsound(f"slice {z} has another matrix than the first")
    across, down = floats(frame.orientation).reshape(2, 3)
    spacing = floats(frame.spacing)
    corners = np.stack([across * spacing[1] * frame.columns, down * spacing[0] * frame.rows, np.zeros(3)])
    corners += floats(frame.position)
    expected = np.array([[frame.columns, 0, z], [0, frame.rows, z], [0, 0, z]])
    index = np.linalg.solve(volume.affine[:3, :3], (corners - volume.affine[:3, 3]).T).T
    if (np.abs(index - expected) > _VOXELS_ASTRAY).any():
        raise ResultUnsound(f"frame {z} of the source does not lie on slice {z} of the volume")


def share_place(volume: Volume, source: Source) -> Dataset:
    """Write the item of the Shared Functional Groups Sequence: what all frames have in common of their place."""
    orientation, shared = Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(source.frames[0].orientation)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [_measures(source.frames[0], volume)]
    return shared


def refer_to_source(volume: Volume, source: Source) -> list[RawDataElement]:
    """Name the instances of the volume, each once: one series, and no instance of its other volumes."""
    frames_of: dict[str, list[SourceFrame]] = {}
    for frame in source.frames:
        frames_of.setdefault(frame.ref.sop_instance_uid, []).append(frame)
    images = [refer_to(frames[0]) for frames in frames_of.values()]
    instances = sequence("ReferencedInstanceSequence", *images)
    series = item(instances + element("SeriesInstanceUID", volume.series_uid))
    numbered = map(number_frames, frames_of.values())
    frames_named = b"".join(item(image + numbers) for image, numbers in zip(images, numbered, strict=True))
    return [raw_element("ReferencedSeriesSequence", series), raw_element("SourceImageSequence", frames_named)]


def refer_to_predecessor(predecessor: Predecessor) -> RawDataElement:
    """Name the image that the new one takes the place of, as one that is related to it (PS3.3 C.12.4).

    It is no source of the new one, and stands neither in the groups of a frame nor in the Referenced Series
    Sequence, whose first series a viewer takes for the one to show the segments on.
    """
    uid = element("ReferencedSOPInstanceUID", predecessor.sop_instance_uid)
    purpose = sequence("PurposeOfReferenceCodeSequence", code_elements(PREDECESSOR))
    image = element("ReferencedSOPClassUID", predecessor.sop_class_uid) + uid + purpose
    return raw_element("ReferencedImageSequence", item(image))


def refer_to(frame: SourceFrame) -> bytes:
    """Encode the elements that name the instance of a frame."""
    uid = element("ReferencedSOPInstanceUID", frame.ref.sop_instance_uid)
    return element("ReferencedSOPClassUID", frame.ref.sop_class_uid) + uid


def number_frames(frames: list[SourceFrame]) -> bytes:
    """Encode which frames of their instance they are; nothing where it has one only."""
    numbers = [str(frame.ref.frame_number) for frame in frames if frame.ref.frame_number is not None]
    return element("ReferencedFrameNumber", "\\".join(numbers)) if numbers else b""


def floats(texts: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Read decimal strings."""
    return np.array(texts, dtype=np.float64)


def _measures(frame: SourceFrame, volume: Volume) -> Dataset:
    """Say how large the voxels are; readers insist on a thickness, and without one from the source slices touch."""
    measures = Dataset()
    measures.PixelSpacing = list(frame.spacing)
    measures.SpacingBetweenSlices = format_number_as_ds(volume.spacing_mm[0])
    measures.SliceThickness = frame.thickness or measures.SpacingBetweenSlices
    return measures
