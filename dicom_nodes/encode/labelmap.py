"""A label map and the volume it was made of → a Label Map Segmentation: one byte a voxel, one frame a slice.

A fraction of the frames of a BINARY one and read in a fraction of the time, by viewers that know the SOP Class.
The background is told by PixelPaddingValue and has no item in the Segment Sequence: viewers take an item for it as
the first segment, and give every other one the colour or the name of its neighbour.
"""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_nodes.encode.frames import SEVERAL, Frames
from dicom_nodes.encode.segmentation import BY_PLACE, Kind, Numbers, encode_segmentation
from dicom_nodes.types import LabelMap, Predecessor, ResultIdentity, Volume

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"  # PS3.4 Table B.5-1, of 2024 and later


def encode_labelmap(
    label_map: LabelMap, volume: Volume, result: ResultIdentity, predecessor: Predecessor | None = None
) -> Dataset:
    """Encode a label map as a LABELMAP Segmentation, proven by decoding it again; see `encode_segmentation`.

    `predecessor` is the Segmentation that this one takes the place of.
    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    return encode_segmentation(_LABELMAP, label_map, volume, result, predecessor)


def _list_frames(voxels: npt.NDArray[np.integer]) -> Frames:
    return [(SEVERAL, z) for z in np.flatnonzero(voxels.any(axis=1)).tolist()]


def _pack(numbers: Numbers, frames: Frames) -> bytes:
    """Put the slices one behind the other, with a zero behind them where their length is odd (PS3.5 8.1.1)."""
    pixels = numbers[[z for _, z in frames]].tobytes()
    return pixels + bytes(len(pixels) % 2)


_LABELMAP = Kind(
    sop_class_uid=LABEL_MAP_SEGMENTATION_STORAGE,
    segmentation_type="LABELMAP",
    purpose="labelmap ",
    series_offset=20,
    dimensions=(BY_PLACE,),
    bits=8,
    background=0,
    list_frames=_list_frames,
    pack=_pack,
)
