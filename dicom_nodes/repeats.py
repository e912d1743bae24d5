"""A scanned image in; what it alone says, and a digest of what its whole series says alike out.

The images of a series repeat nearly all that they say: of a hundred elements three differ. Whoever keeps what was
made of the rest, by its digest, has to look at these three only. Where they are written in an unusual way, or an
object tells of several frames, nothing is said here, and the object is read as a whole.
"""

import hashlib
import math
import re
from dataclasses import dataclass

from dicom_nodes.elements import tag_of
from dicom_nodes.scan import Scanned, value_of

_UID, _NUMBER, _POSITION = map(tag_of, ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient"))
OWN = frozenset((_UID, _NUMBER, _POSITION))
"""The tags of what each image says for itself."""

_ELSEWHERE = frozenset(map(tag_of, (
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PlanePositionSequence",
)))  # fmt: skip
"""Where there is one of these, the frame's place may stand in it."""
_ONE_UID = re.compile(rb"([0-9.]+)\0?")
_ONE_INTEGER = re.compile(rb" *([+-]?\d{1,9}) *")
_DECIMAL = rb" *([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?) *"
_THREE_DECIMALS = re.compile(rb"\\".join([_DECIMAL] * 3))


@dataclass(frozen=True, slots=True)
class Own:
    """What an image says that is its own."""

    sop_instance_uid: str
    instance_number: int
    """0 where it has none."""
    position: tuple[float, ...] | None
    """ImagePositionPatient, LPS mm; None where it has none."""


def own(scanned: Scanned) -> Own | None:
    """Read what the image alone says; None where that is not plain to see."""
    elements = scanned.elements
    if not _ELSEWHERE.isdisjoint(elements):
        return None
    uid = _match(_ONE_UID, b"UI", elements.get(_UID))
    number = _match(_ONE_INTEGER, b"IS", elements[_NUMBER]) if _NUMBER in elements else None
    place = _match(_THREE_DECIMALS, b"DS", elements[_POSITION]) if _POSITION in elements else None
    if uid is None or (number is None and _NUMBER in elements) or (place is None and _POSITION in elements):
        return None
    position = tuple(map(float, place.groups())) if place else None
    if position is not None and not all(map(math.isfinite, position)):
        return None
    return Own(uid[1].decode("ascii"), int(number[1]) if number else 0, position)


def digest(scanned: Scanned) -> bytes:
    """Equal for images that differ in nothing but `OWN`; nothing can be read from it."""
    shared = (written for tag, written in scanned.elements.items() if tag not in OWN)
    return hashlib.sha256(b"".join((scanned.syntax.encode(), b"\0", *shared))).digest()


def _match(pattern: re.Pattern[bytes], vr: bytes, written: bytes | None) -> re.Match[bytes] | None:
    return pattern.fullmatch(value_of(written)) if written is not None and written[4:6] == vr else None
