"""A finished job → every slice with labels as a picture, for archives and viewers that know no Segmentation."""

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from dicom_nodes.encode.beside import Based, Kind, read_base
from dicom_nodes.encode.place import floats
from dicom_nodes.encode.secondary import NOT_FOR_DIAGNOSIS, encode_secondary, pixel_aspect
from dicom_nodes.errors import EmptyResult
from dicom_nodes.pictures.slices import draw_slices
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Finished

KIND = Kind("capture", MultiFrameTrueColorSecondaryCaptureImageStorage, f"outlines {NOT_FOR_DIAGNOSIS}", 90)


def encode_capture(finished: Finished, _: Sequence[Dataset]) -> Dataset:
    """Encode one RGB frame for each slice with labels, in slice order (PS3.3 A.8.5). The same bytes every time.

    Frames are told apart by Slice Location Vector (0018,2005). Raises EmptyResult where nothing is labelled,
    ResultUnsound where the headers cannot be read, SeriesUnreadable where the pixels cannot.
    """
    if not finished.label_map.array.any():
        raise EmptyResult("the label map has no labelled voxel")
    based = read_base(finished)
    drawn = draw_slices(read_voxels(finished.volume).array, finished.label_map)
    specific = Dataset()
    specific.ImageType, specific.PatientOrientation = ["DERIVED", "SECONDARY", "OVERLAY"], list(drawn.towards)
    specific.DerivationDescription = "outlines of what was found, over each slice that it was found in"
    specific.NumberOfFrames = len(drawn.frames)
    specific.FrameIncrementPointer = Tag("SliceLocationVector")
    specific.SliceLocationVector = slice_locations(based, drawn.numbers)
    if aspect := pixel_aspect(finished.volume.spacing_mm[1:]):
        specific.PixelAspectRatio = aspect
    return encode_secondary(based, KIND, drawn.frames, drawn.numbers, specific)


def slice_locations(based: Based, numbers: Sequence[int]) -> list[str]:
    """Where each of the slices lies along their normal, in mm from the origin of the frame of reference."""
    across, down = np.array(floats(based.source.frames[0].orientation)).reshape(2, 3)
    normal = np.cross(across, down)
    positions = (np.array(floats(based.source.frames[z].position)) for z in numbers)
    return [format_number_as_ds(round(float(normal @ position), 4)) for position in positions]
