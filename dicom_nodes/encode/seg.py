"""A label map and the volume it was made of → a DICOM-SEG that every viewer opens: frames of one bit a voxel."""

from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from dicom_nodes.encode.frames import list_frames, pack
from dicom_nodes.encode.segmentation import BY_PLACE, BY_SEGMENT, Kind, encode_segmentation
from dicom_nodes.types import LabelMap, Predecessor, ResultIdentity, Volume

_BINARY = Kind(
    sop_class_uid=SegmentationStorage,
    segmentation_type="BINARY",
    purpose="",
    series_offset=0,
    dimensions=(BY_SEGMENT, BY_PLACE),
    bits=1,
    background=None,
    list_frames=list_frames,
    pack=pack,
)


def encode_seg(
    label_map: LabelMap, volume: Volume, result: ResultIdentity, predecessor: Predecessor | None = None
) -> Dataset:
    """Encode a label map as a BINARY Segmentation, proven by decoding it again; see `encode_segmentation`.

    `predecessor` is the Segmentation that this one takes the place of.
    Raises EmptyResult where nothing is labelled, ResultUnsound where label map, volume and source do not agree.
    """
    return encode_segmentation(_BINARY, label_map, volume, result, predecessor)
