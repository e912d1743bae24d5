"""A finished job → objects to send: one file per kind of object, chosen from the table."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydicom import Dataset

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.encode.sr import encode_sr
from dicom_nodes.encode.text import encode_text
from dicom_nodes.types import Finished

Encoder = Callable[[Finished, Mapping[str, Dataset]], Dataset]
"""Of what is finished and the objects made of it so far, by kind."""


def _seg(finished: Finished, made: Mapping[str, Dataset]) -> Dataset:
    return encode_seg(finished.label_map, finished.volume, finished.identity)


ENCODERS: Mapping[str, Encoder] = MappingProxyType({"seg": _seg, "sr": encode_sr, "text": encode_text})
"""In the order in which they are made: a report refers to the SEG before it."""
