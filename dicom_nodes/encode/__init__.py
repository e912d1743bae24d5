"""A label map → objects to send: one file per kind of object, chosen from the table."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydicom import Dataset

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.types import LabelMap, ResultIdentity, Volume

Encoder = Callable[[LabelMap, Volume, ResultIdentity], Dataset]

ENCODERS: Mapping[str, Encoder] = MappingProxyType({"seg": encode_seg})
