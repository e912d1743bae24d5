"""A finished job → objects to send: one file per kind of object, chosen from the table."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pydicom import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, RTStructureSetStorage, SegmentationStorage

from dicom_nodes.encode.capture import encode_capture
from dicom_nodes.encode.labelmap import encode_labelmap
from dicom_nodes.encode.rtstruct import encode_rtstruct
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.encode.sheet import encode_sheet
from dicom_nodes.encode.sr import encode_sr
from dicom_nodes.encode.text import encode_text
from dicom_nodes.types import Finished

Encoder = Callable[[Finished, Sequence[Dataset]], Dataset]
"""Of what is finished and, for a report, the objects with the segments that it refers to."""


def _seg(finished: Finished, _: Sequence[Dataset]) -> Dataset:
    return encode_seg(finished.label_map, finished.volume, finished.identity, finished.predecessor)


def _labelmap(finished: Finished, _: Sequence[Dataset]) -> Dataset:
    return encode_labelmap(finished.label_map, finished.volume, finished.identity, finished.predecessor)


ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "seg": _seg,
        "labelmap": _labelmap,
        "rtstruct": encode_rtstruct,
        "capture": encode_capture,
        "sr": encode_sr,
        "text": encode_text,
        "sheet": encode_sheet,
    }
)
"""By kind of object, as site.toml names it."""

SOP_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "seg": str(SegmentationStorage),
        "labelmap": "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
        "rtstruct": str(RTStructureSetStorage),
        "capture": str(MultiFrameTrueColorSecondaryCaptureImageStorage),
    }
)
"""Of the kinds that write down where the structures lie."""
