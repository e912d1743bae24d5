"""Who a result is: UIDs, number, names and equipment, all derived from its source so that a step run twice agrees.

A result of a phantom model says so in each of its names, because the weights say so; no parameter here hides it.
"""

import json
import re
import uuid
from dataclasses import dataclass, replace

from dicom_nodes.encode.source import Source, texts
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Algorithm, ResultIdentity, Volume

PHANTOM = "PHANTOM MODEL, NOT CLINICAL"

_NAMESPACE = uuid.UUID("6f0a4d0e-53a7-4d3b-8a39-6a1c2d1f7b58")
_LONG_STRING, _CODE_STRING = 64, 16
_SERIES_NUMBERS_FROM, _PER_SERIES = 1000, 100
_LARGEST_SOURCE_NUMBER = 20_000_000  # beyond it the result's own number would leave the 32 bits of an IS


@dataclass(frozen=True, slots=True)
class Names:
    """What a person reads of a result before opening it."""

    series_description: str
    """Starts with "AI" and names the source within the 23 characters that a viewer's panel shows."""
    series_number: int
    content_label: str
    content_description: str
    algorithm: str


def derived_uid(*parts: str) -> str:
    """Derive a UID under 2.25 (PS3.5 B.2) from what it identifies: the same parts, the same UID."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


def result_uid(purpose: str, volume: Volume, algorithm: Algorithm, result: ResultIdentity) -> str:
    """Derive the UID of one thing of a result, as "series" or "instance", from all that makes the result."""
    source = (volume.series_uid, str(volume.index), volume.name)
    model = (result.submodel, algorithm.version, str(result.laterality or ""), str(result.revision))
    return derived_uid(purpose, *source, *model, *([result.part] if result.part else []))


def tracking_uid(volume: Volume, algorithm: Algorithm, result: ResultIdentity, segment_value: int) -> str:
    """Derive the TrackingUID of one segment, the same in every object that speaks of it, from its label value."""
    return result_uid(f"segment {segment_value}", volume, algorithm, replace(result, part=""))


def name_result(volume: Volume, source: Source, algorithm: Algorithm, result: ResultIdentity) -> Names:
    """Name a result after its protocol, side and source."""
    number = _series_number(source)
    protocol = plain(result.protocol.replace("_", " "), 12) or plain(result.submodel, 12)
    part = plain(f"{protocol} {result.part}", 29)
    side = f" {result.laterality}" if result.laterality else ""
    of = f"{volume.name} {_source_name(volume, source)}"
    head = "AI PHANTOM not clinical" if algorithm.phantom else "AI"
    label = "AI_PHANTOM_MODEL" if algorithm.phantom else f"AI_{re.sub('[^A-Z0-9]+', '_', part.upper())}"
    warning = f"{PHANTOM}: " if algorithm.phantom else ""
    return Names(
        series_description=plain(f"{head} {part}{side}: {of}", _LONG_STRING),
        series_number=_SERIES_NUMBERS_FROM + _PER_SERIES * number + min(volume.index, _PER_SERIES - 1),
        content_label=label[:_CODE_STRING].strip("_"),
        content_description=plain(f"{warning}{result.submodel} on {of}", _LONG_STRING),
        algorithm=plain(f"{warning}{algorithm.name}", _LONG_STRING),
    )


def plain(text: str, limit: int) -> str:
    """Make a text safe in every character set: printable ASCII without a backslash, at most `limit` characters."""
    kept = "".join(c if " " <= c <= "~" and c != "\\" else " " if c.isspace() or c == "\\" else "" for c in text)
    return " ".join(kept.split())[:limit].rstrip()


def require_plain(what: str, text: str, limit: int = _LONG_STRING) -> str:
    """Return the text unchanged; raise ResultUnsound where `plain` would have to change it or nothing is there."""
    if not text or plain(text, limit) != text:
        raise ResultUnsound(f"{what} {text!r} must be 1 to {limit} printable ASCII characters")
    return text


def _series_number(source: Source) -> int:
    """SeriesNumber of the source; 0 where it has none that a number can be made of."""
    text = next(iter(texts(source.header, "SeriesNumber")), "")
    number = int(text) if re.fullmatch(r"\+?\d{1,10}", text) else 0
    return number if number <= _LARGEST_SOURCE_NUMBER else 0


def _source_name(volume: Volume, source: Source) -> str:
    """What a person calls the source series, in ASCII; its number where nothing readable is left."""
    for keyword in ("SeriesDescription", "ProtocolName"):
        written = "".join(texts(source.header, keyword))
        ascii_only = "�" not in written and "\x1b" not in written
        name = plain(volume.facts.get(keyword, "") or (written if ascii_only else ""), _LONG_STRING)
        if any(c.isalnum() for c in name):
            return name
    return f"series {_series_number(source)}"
