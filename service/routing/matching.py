"""A condition of a rule and a volume in; out: the first thing asked that the volume is not, as a sentence."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from dicom_nodes.types import Volume
from service.label import Bounds
from service.routing.bodypart import BodyPart
from service.routing.kinds import Kind
from service.routing.rules import Condition
from service.routing.vocabulary import first_word, plain_words
from service.routing.witnesses import texts


@dataclass(frozen=True, slots=True)
class Case:
    """A volume and all that rules may ask of it."""

    volume: Volume
    kind: Kind
    body_part: BodyPart
    calling_aet: str
    at: datetime
    """When the series was complete, in the site's time."""


def failure(condition: Condition, case: Case) -> str:
    """The first thing asked that the volume is not, as a sentence; empty where it is all that is asked."""
    for ask in _ASKED:
        if said := ask(condition, case):
            return said
    for each in condition.all:
        if said := failure(each, case):
            return said
    against = [failure(each, case) for each in condition.any]
    if against and all(against):
        return f"none of these holds: {'; '.join(against)}"
    if condition.not_ is not None and not failure(condition.not_, case):
        return "what must not hold holds"
    return ""


def _kind(condition: Condition, case: Case) -> str:
    for name in condition.kind:
        if (name.removeprefix("not ") in case.kind.names) is name.startswith("not "):
            return f"it is {case.kind.purpose if not case.kind.suited else case.kind.summary}, {_wanted(name)}"
    return ""


def _wanted(kind: str) -> str:
    return f"and must not be {kind.removeprefix('not ')}" if kind.startswith("not ") else f"not {kind}"


def _body_part(condition: Condition, case: Case) -> str:
    asked, found = condition.body_part, case.body_part
    if not asked or set(asked) & set(found.agreed):
        return ""
    if not found.agreed:
        return "the body part is in doubt" if found.contradicted else "no body part is named"
    return f"the body part is {found.agreed[0]}, not {' or '.join(asked)}"


def _plane(condition: Condition, case: Case) -> str:
    if not condition.plane or case.volume.plane in condition.plane:
        return ""
    wanted = " or ".join(plane.value for plane in condition.plane)
    return f"the slices are {case.volume.plane.value}, not {wanted}"


_LENGTHS: Mapping[str, tuple[str, str, Callable[[Volume], float]]] = {
    "slices": ("number of slices", "", lambda volume: float(volume.shape[0])),
    "pitch_mm": ("slice distance", " mm", lambda volume: volume.spacing_mm[0]),
    "across_mm": ("stack of slices", " mm", lambda volume: volume.extent_mm[0]),
    "in_plane_mm": ("field of view", " mm", lambda volume: max(volume.extent_mm[1:])),
    "pixel_mm": ("pixel", " mm", lambda volume: max(volume.spacing_mm[1:])),
    "oblique_degrees": ("obliqueness", "°", lambda volume: volume.oblique_degrees),
}
"""Key of a condition to what it measures, in words, with its unit."""


def _lengths(condition: Condition, case: Case) -> str:
    for key, (words, unit, measured) in _LENGTHS.items():
        bounds: Bounds | None = getattr(condition, key)
        if bounds is not None and not bounds.holds(value := measured(case.volume)):
            return f"its {words} of {value:.4g}{unit} is not {bounds}{unit}"
    return ""


def _words(condition: Condition, case: Case) -> str:
    spoken = [(keyword, said, plain_words(said)) for keyword, said in texts(case.volume)]
    for keyword, said, plain in spoken:
        if word := first_word(plain, condition.without_words):
            return f'{keyword} "{said}" has "{word}", which is something else'
    if condition.words and not any(first_word(plain, condition.words) for _, _, plain in spoken):
        return f"no text of the header has {' or '.join(condition.words)}"
    return ""


def _tags(condition: Condition, case: Case) -> str:
    for keyword, test in condition.tag.items():
        value = case.volume.facts.get(keyword, "")
        if test.like and not _like(value, test.like):
            return f'{keyword} "{value}" is not like {" or ".join(test.like)}'
        if test.least is not None or test.most is not None:
            number = re.match(r"\s*[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", value)
            if number is None or not Bounds(least=test.least, most=test.most).holds(float(number[0])):
                return f'{keyword} "{value}" is not {Bounds(least=test.least, most=test.most)}'
    return ""


def _like(value: str, patterns: Sequence[str]) -> bool:
    values = [value.casefold(), *(part.strip().casefold() for part in value.split("\\"))]
    return any(fnmatchcase(each, pattern.casefold()) for each in values for pattern in patterns)


def _circumstances(condition: Condition, case: Case) -> str:
    station = case.volume.facts.get("StationName", "")
    if condition.calling_aet and not _like(case.calling_aet, condition.calling_aet):
        return f"it came from {case.calling_aet or 'nobody known'}, not {' or '.join(condition.calling_aet)}"
    if condition.station and not _like(station, condition.station):
        return f'StationName "{station}" is not like {" or ".join(condition.station)}'
    if condition.hours is not None and not condition.hours.hold(case.at.time()):
        return f"it came at {case.at:%H:%M}, not between {condition.hours.since} and {condition.hours.until}"
    return ""


_ASKED: tuple[Callable[[Condition, Case], str], ...] = (
    _kind, _body_part, _words, _plane, _lengths, _tags, _circumstances,
)  # fmt: skip
"""What a condition may ask, in the order in which it is asked."""
