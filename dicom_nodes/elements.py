"""A dataset and a keyword in; the element's value out, as text or as numbers, and None where it is no good.

The images of a series repeat most of what they say: a value that was decoded once is not decoded again where the
same bytes come again. What the patient is called is never kept.
"""

import math
import struct
from collections.abc import Iterable, MutableSequence, Sequence
from functools import cache, lru_cache
from typing import cast

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag

_BAD_VALUE = (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, OverflowError, struct.error)
_PATIENT_GROUP = 0x0010
_CHARSET = BaseTag(0x00080005)
_KEPT_BYTES = 512
_KEPT_VALUES = 8192


@cache
def tag_of(keyword: str | int) -> BaseTag:
    """Name the tag of a keyword, or of a tag in any form; one object for each tag, which is found faster."""
    return _one_object(int(Tag(keyword)))


@cache
def _one_object(tag: int) -> BaseTag:
    return BaseTag(tag)


def first_value(datasets: Iterable[Dataset], keyword: str | int) -> object:
    """Find the first non-empty value of a keyword or tag; a malformed value is as good as none."""
    tag = tag_of(keyword)
    for dataset in datasets:
        element = cast("DataElement | RawDataElement | None", dataset.get_item(tag))
        if element is None:
            continue
        try:
            value = _decoded(dataset, element) if isinstance(element, RawDataElement) else element.value
        except _BAD_VALUE:
            continue
        if value not in (None, "", b""):
            return value
    return None


def _decoded(dataset: Dataset, raw: RawDataElement) -> object:
    """Decode a value: by its bytes alone where these say all, else by what stands beside it as well."""
    alone = raw.VR not in (None, "UN") or (raw.VR is None and not raw.tag.is_private)
    charset = dataset.original_character_set
    if (
        not alone
        or not charset
        or raw.value is None
        or len(raw.value) > _KEPT_BYTES
        or raw.tag.group == _PATIENT_GROUP
    ):
        return _told_charset(dataset[raw.tag].value, charset, raw.is_implicit_VR, raw.is_little_endian)
    encoding = charset if isinstance(charset, str) else tuple(charset)
    return _decoded_once(raw.tag, raw.VR, raw.value, raw.is_implicit_VR, raw.is_little_endian, encoding)


@lru_cache(maxsize=_KEPT_VALUES)
def _decoded_once(
    tag: BaseTag, vr: str | None, value: bytes, implicit: bool, little_endian: bool, charset: str | tuple[str, ...]
) -> object:
    raw = RawDataElement(tag, vr, len(value), value, 0, implicit, little_endian)
    encoding = charset if isinstance(charset, str) else list(charset)
    return _told_charset(convert_raw_data_element(raw, encoding=encoding).value, encoding, implicit, little_endian)


def _told_charset(
    value: object, charset: str | MutableSequence[str], implicit: bool, little_endian: bool
) -> object:
    """Tell the items of a sequence the character set that they inherit (PS3.3 C.12.1.1.2), where they have none."""
    if isinstance(value, DicomSequence) and charset:
        for item in value:
            if _CHARSET not in item:
                item.set_original_encoding(implicit, little_endian, charset)
    return value


def forget_values() -> None:
    """Drop every value that was kept; what is read is the same, at first more slowly."""
    _decoded_once.cache_clear()


def text(value: object) -> str:
    """Write a value as text: many joined by a backslash, coded concepts by their meaning; empty for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip("\0 ")
    if isinstance(value, DicomSequence):
        return text_of_items(value, "CodeMeaning")
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(each).strip() for each in value)
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").strip("\0 ")
    return str(value).strip("\0 ")


def text_of_items(items: Iterable[Dataset], keyword: str) -> str:
    """Write one attribute of every item of a sequence as text, joined by a backslash."""
    found = (text(first_value([item], keyword)) for item in items)
    return "\\".join(each for each in found if each)


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """Read a value as `count` finite numbers; None where it is anything else. A single number may be binary."""
    if isinstance(value, bytes):
        value = _unpacked(value)
    values: Sequence[object] = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    if len(values) != count:
        return None
    try:
        found = tuple(float(each) for each in values)  # type: ignore[arg-type]  # the error is the answer
    except (TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, found)) else None


def _unpacked(value: bytes) -> object:
    """Read a private value of unknown VR: decimal text, or else a little-endian IEEE 754 number."""
    try:
        return [float(part) for part in value.decode("ascii").strip("\0 ").split("\\")]
    except ValueError:
        kind = {4: "<f", 8: "<d"}.get(len(value))
        return struct.unpack(kind, value)[0] if kind else None


def items(dataset: Dataset, keyword: str | int) -> Sequence[Dataset]:
    """Give the items of a sequence; empty where it is absent or is no sequence."""
    found = first_value([dataset], keyword)
    return found if isinstance(found, DicomSequence) else ()
