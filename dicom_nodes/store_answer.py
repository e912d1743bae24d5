"""What a DICOMweb service answers to the Store Transaction of one object (PS3.18 10.5.3): HTTP → `StoreOutcome`.

What the Store Instances Response Module (PS3.18 I) says of the object decides, be it in JSON or in XML; where an
answer has no such data set, or it does not name the object, the HTTP status decides alone, and the comment says so.
Each request carries one object, so a failure that names no object is that of the one which was sent.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.types import StoreOutcome

Item = Mapping[str, Sequence[Any]]
"""The values of a data set by tag, as "00081197"; those of a sequence are such items again."""

_UID, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"
_STORED, _FAILED, _OTHER_FAILURES = "00081199", "00081198", "0008119A"
_FAILED_ATTRIBUTES, _ERROR_COMMENT = "00741048", "00000902"
_TAG = re.compile(r"[0-9A-F]{8}")
_QUOTED = re.compile(r'"[^"]*"')
_COMMENT_CHARACTERS = 200

_PROCESSING_FAILURE = 0x0110
_ALREADY_THERE = frozenset(
    {
        0x0111,  # Duplicate SOP Instance (PS3.7 C.5.7)
        0xB00E,  # the same by the DICOM service of Azure, 45070 in its conformance statement
    }
)
_SUCCESS_AND_WARNINGS = (0x0000, 0xB000, 0xB006, 0xB007)
_MEANINGS = MappingProxyType(
    {
        0x0110: "processing failure",
        0x0122: "SOP Class not supported",
        0x0124: "not authorized",
        0x0213: "resource limitation",
        0xC122: "transfer syntax not supported",
        0xB00F: "the same object is being stored by another request",  # Azure, 45071
    }
)
_CLASSES = MappingProxyType({0xA7: "out of resources", 0xA9: "data set does not match SOP Class"})
_REMEDIES = MappingProxyType(
    {
        400: "it finds fault with the request",
        401: "the credentials are missing or not valid: see the file `authorization` in site.toml",
        403: "these credentials may not store here: see its permissions and the file `authorization` in site.toml",
        404: "no such address: is `url` in site.toml that of the DICOMweb service, without /studies?",
        405: "nothing can be stored there: is `url` in site.toml that of the DICOMweb service?",
        406: "it answers neither in DICOM JSON nor in XML",
        407: "a proxy in between wants credentials, and none are sent to proxies",
        409: "it stored nothing and gave no reason",
        411: "it, or a proxy before it, does not read Content-Length",
        413: "the object is too large for it, or for a proxy before it: raise the limit there, or set `max_frames`",
        415: "it does not take multipart/related with application/dicom",
        501: "it does not offer the Store Transaction",
        505: "it does not speak HTTP/1.1",
    }
)
_LATER = frozenset({408, 421, 423, 424, 425, 429})
"""Of the 4xx those that speak of the moment and not of the request; 424 is Azure's for its own storage."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back over HTTP."""

    status: int
    phrase: str
    content: bytes = b""
    location: str = ""
    """Of a redirect."""

    @property
    def said(self) -> str:
        """For a person, as "HTTP 404 Not Found"."""
        return f"HTTP {self.status} {self.phrase}".rstrip()


def outcome_of(peer: str, sop_instance_uid: str, answer: HttpAnswer) -> StoreOutcome:
    """What an answer says of the one object that was sent.

    A failure of the object is an outcome with its FailureReason (0008,1197) as status; an object that is there
    already is stored. Raises Refused where the service takes no such request, Unreachable where it cannot now.
    """
    module = read_module(answer.content)
    if module is not None:
        failed = {_uid(item): item for item in _items(module, _FAILED, _OTHER_FAILURES)}
        if sop_instance_uid in failed:
            return _not_stored(sop_instance_uid, failed[sop_instance_uid])
        for item in _items(module, _STORED) if 200 <= answer.status < 300 else ():
            if _uid(item) == sop_instance_uid:
                return _stored(sop_instance_uid, item)
        if "" in failed:
            return _not_stored(sop_instance_uid, failed[""])
    return _by_http_alone(peer, sop_instance_uid, answer, "without" if module is None else "and the object not in")


def read_module(content: bytes) -> Item | None:
    """The Store Instances Response Module in DICOM JSON (PS3.18 F) or XML (PS3.19 A.1); None if it is neither."""
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        module = _of_xml_document(content) if content.startswith(b"<") else _of_json_document(content)
    except (ValueError, LookupError, RecursionError, ET.ParseError):  # an error page, or nothing that can be read
        return None
    return module if module and all(_TAG.fullmatch(tag) for tag in module) else None


def _of_json_document(content: bytes) -> Item | None:
    document = json.loads(content or b"null")
    if isinstance(document, list) and len(document) == 1:  # some wrap it as if it were the result of a search
        document = document[0]
    return _of_json(document) if isinstance(document, dict) else None


def _of_json(node: Mapping[str, Any]) -> Item:
    values = {tag.upper(): each.get("Value") for tag, each in node.items() if isinstance(each, dict)}
    return {
        tag: [_of_json(value) if isinstance(value, dict) else value for value in each]
        for tag, each in values.items()
        if isinstance(each, list)
    }


def _of_xml_document(content: bytes) -> Item | None:
    if b"<!" in content.replace(b"<!--", b""):  # a document type: error pages have one, and only mischief entities
        return None
    root = ET.fromstring(content)
    return _of_xml(root) if root.tag.rpartition("}")[2] == "NativeDicomModel" else None


def _of_xml(node: ET.Element) -> Item:
    return {
        attribute.get("tag", "").upper(): [
            *(_of_xml(item) for item in attribute.iterfind("{*}Item")),
            *((value.text or "").strip() for value in attribute.iterfind("{*}Value")),
        ]
        for attribute in node.iterfind("{*}DicomAttribute")
    }


def _items(module: Item, *tags: str) -> Iterator[Item]:
    for tag in tags:
        yield from (item for item in module.get(tag, ()) if isinstance(item, dict))


def _uid(item: Item) -> str:
    return str(next(iter(item.get(_UID, ())), "")).strip("\0 ")


def _reason(item: Item, tag: str) -> int | None:
    """A status of 16 bits; None where there is none."""
    try:
        reason = int(str(next(iter(item.get(tag, ())), "")))
    except ValueError:
        return None
    return reason if 0 <= reason <= 0xFFFF else None


def _not_stored(uid: str, item: Item) -> StoreOutcome:
    reason = _reason(item, _FAILURE_REASON)
    if reason in _ALREADY_THERE:
        return StoreOutcome(uid, 0x0000, f"FailureReason 0x{reason:04X}: an object with this UID was there already")
    if reason is None or reason in _SUCCESS_AND_WARNINGS:  # a failure must never pass for stored
        given = "no FailureReason" if reason is None else f"FailureReason 0x{reason:04X}"
        return StoreOutcome(uid, _PROCESSING_FAILURE, _clipped(f"not stored, with {given}", item))
    meaning = _MEANINGS.get(reason) or _CLASSES.get(reason >> 8)
    if meaning is None:
        meaning = "cannot understand" if reason >> 12 == 0xC else "a reason of its own"
    return StoreOutcome(uid, reason, _clipped(meaning, item))


def _stored(uid: str, item: Item) -> StoreOutcome:
    """What is among the stored is stored, whatever the warning; those of the standard are its status."""
    warning = _reason(item, _WARNING_REASON)
    if warning is None:
        return StoreOutcome(uid, 0x0000, "")
    if warning in _SUCCESS_AND_WARNINGS:
        return StoreOutcome(uid, warning, _clipped("stored with a warning", item))
    return StoreOutcome(uid, 0x0000, _clipped(f"stored with warning 0x{warning:04X}", item))


def _clipped(meaning: str, item: Item) -> str:
    """A meaning and what the service says of attributes, without what it quotes: that may be the patient's name."""
    said = [
        str(text)
        for each in (item, *_items(item, _FAILED_ATTRIBUTES))
        for text in each.get(_ERROR_COMMENT, ())
        if not isinstance(text, dict)
    ]
    comment = _QUOTED.sub('"…"', "; ".join([meaning, *said]))
    return " ".join(comment.split())[:_COMMENT_CHARACTERS]


def _by_http_alone(peer: str, uid: str, answer: HttpAnswer, how: str) -> StoreOutcome:
    status = answer.status
    if status in (200, 201):  # Table 10.5.3-1: all instances were stored
        return StoreOutcome(uid, 0x0000, f"{answer.said}, {how} a data set")
    if 200 <= status < 300:  # taken, but not said to be stored
        return StoreOutcome(uid, _PROCESSING_FAILURE, f"{answer.said}, {how} a data set: it may not be stored")
    if status == 500:  # of this object, it may be; the service itself is there
        return StoreOutcome(uid, _PROCESSING_FAILURE, f"{answer.said}, {how} a data set")
    if status in _LATER or (status > 500 and status not in _REMEDIES):
        raise Unreachable(f"{peer}: {answer.said}")
    remedy = _REMEDIES.get(status, "")
    if 300 <= status < 400:
        remedy = f"redirects to {answer.location or 'no address'}: correct `url` in site.toml"
    raise Refused(peer, None, f"{answer.said}{': ' + remedy if remedy else ''}")
