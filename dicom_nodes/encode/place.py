"""Where a Segmentation lies: checked against its source, and written frame by frame as the source has it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.valuerep import format_number_as_ds

from dicom_nodes.encode.source import Source, SourceFrame
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import LabelMap, Volume

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


def place_frames(seg: Any, volume: Volume, source: Source) -> None:
    """Write place, segment and source of every frame, in the source's own decimal strings.

    A frame of slice z refers to `stand_in_uid(z)` when it comes. The segment's number stands in each frame's own
    item even where there is one segment only, since Weasis looks nowhere else; each frame has exactly one source.
    """
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(source.frames[0].orientation)
    shared.PixelMeasuresSequence = [_measures(source.frames[0], volume)]
    identification = shared.pop("SegmentIdentificationSequence", None)
    seg.pop("DimensionOrganizationType", None)
    positions = [_position(frame) for frame in source.frames]
    derivations = [_derivation(frame) for frame in source.frames]
    for own in seg.PerFrameFunctionalGroupsSequence:
        z = _slice_of(own.DerivationImageSequence[0].SourceImageSequence[0])
        own.PlanePositionSequence, own.DerivationImageSequence = positions[z], derivations[z]
        if identification is not None:
            own.SegmentIdentificationSequence = identification.value


def refer_to_source(seg: Any, volume: Volume, source: Source) -> None:
    """Name the instances of the volume, each once: one series, and no instance of its other volumes."""
    frames_of: dict[str, list[SourceFrame]] = {}
    for frame in source.frames:
        frames_of.setdefault(frame.ref.sop_instance_uid, []).append(frame)
    series = Dataset()
    series.SeriesInstanceUID = volume.series_uid
    series.ReferencedInstanceSequence = [_reference(frames[0]) for frames in frames_of.values()]
    seg.ReferencedSeriesSequence = [series]
    seg.SourceImageSequence = [_reference(frames[0]) for frames in frames_of.values()]
    for image, frames in zip(seg.SourceImageSequence, frames_of.values(), strict=True):
        if frames[0].ref.frame_number is not None:
            image.ReferencedFrameNumber = [frame.ref.frame_number for frame in frames]


def stand_in_uid(z: int) -> str:
    """Name slice z for as long as highdicom builds the object."""
    return f"1.{z}"


def floats(texts: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Read decimal strings."""
    return np.array(texts, dtype=np.float64)


def _slice_of(image: Dataset) -> int:
    return int(str(image.ReferencedSOPInstanceUID).removeprefix("1."))


def _measures(frame: SourceFrame, volume: Volume) -> Dataset:
    """Say how large the voxels are; readers insist on a thickness, and without one from the source slices touch."""
    measures = Dataset()
    measures.PixelSpacing = list(frame.spacing)
    measures.SpacingBetweenSlices = format_number_as_ds(volume.spacing_mm[0])
    measures.SliceThickness = frame.thickness or measures.SpacingBetweenSlices
    return measures


def _position(frame: SourceFrame) -> Sequence:
    item = Dataset()
    item.ImagePositionPatient = list(frame.position)
    return Sequence([item])


def _derivation(frame: SourceFrame) -> Sequence:
    """Say that the frame was segmented from exactly this image (PS3.3 A.51.5.1, CID 7203 and 7202)."""
    image = _reference(frame)
    if frame.ref.frame_number is not None:
        image.ReferencedFrameNumber = frame.ref.frame_number
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item = Dataset()
    item.DerivationCodeSequence = [_code(codes.cid7203.SegmentationImageDerivation)]
    item.SourceImageSequence = [image]
    return Sequence([item])


def _reference(frame: SourceFrame) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = frame.ref.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.ref.sop_instance_uid
    return item


def _code(code: DicomCode) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
