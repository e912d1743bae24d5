"""`kinds.toml` and the facts of a volume in; out: which sign of a kind its header shows first, and where it stands.

A sign is a value of an attribute, the name of a pulse sequence or a word of a description (as in
vocabulary.py). The words are data; what follows from times and angles is in sequences.py.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from service.label import Table, Text
from service.routing.vocabulary import first_word, plain_words, without
from service.tomlfile import read_toml

SHIPPED = Path(__file__).parent / "kinds.toml"

SERIES_TEXTS = ("SeriesDescription", "ProtocolName")
STUDY_TEXTS = (
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
)
IMAGE_TYPES = ("FrameType", "ImageType", "PhilipsImageTypeMR")
PULSES = (
    "SequenceName",
    "PulseSequenceName",
    "GEPulseSequenceName",
    "GEInternalPulseSequenceName",
    "PhilipsScanningTechnique",
)
VENDORS = ("GE", "Philips")
"""Names of private attributes begin with one of them; another vendor's attribute may have the same tag."""

_SPELT = (
    (re.compile(r"(?<![^\W\d_])c\s*\+|\+\s*(?:c|ce|gd|k|km|gado\w*)(?![^\W\d_])", re.I), " plus c "),
    (re.compile(r"(?<![^\W\d_])c-(?!\w)|(?<=\s)-c(?!\w)", re.I), " minus c "),
    (re.compile(r"(t2|r2)\s*\*", re.I), r" \1star "),
    (re.compile(r"(?<=[a-z])(T[12]|PD)(?=[A-Z_]|\b)"), r" \1 "),
    (re.compile(r"^\s*fat\s*:", re.I), " fatpart "),
    (re.compile(r"\(\s*[2-9]\s*-\s*1\s*\)"), " subtraction "),
)
"""Signs that are no letters and say something: +C, T1C+, C-, T2*, "AxT1FSE", GE's "FAT: ", the phases "(2-1)"."""


class Sign(Table):
    """A name, and all that shows it."""

    name: Text
    tags: tuple[Text, ...] = ()
    """"Keyword=VALUE": one of the values of the attribute, without case; `*` stands for any characters."""
    image_types: tuple[Text, ...] = ()
    """Values of ImageType or FrameType."""
    pulses: tuple[Text, ...] = ()
    """Names of pulse sequences without case; `*` stands for any characters."""
    words: tuple[Text, ...] = ()
    """In SeriesDescription and ProtocolName."""
    study_words: tuple[Text, ...] = ()
    """In the descriptions of study and procedure too."""
    noise: tuple[Text, ...] = ()
    """Phrases with such words that mean something else."""


class Dixon(Table):
    """How descriptions name the parts of a fat-water separation by a suffix, as "t1_vibe_dixon_tra_W"."""

    marks: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Words of which one must be in the text."""
    parts: Mapping[str, str]
    """Suffix, a whole word, to the part."""


class KindWords(Table):
    """The whole of kinds.toml; in each table the first sign that holds counts."""

    purpose: tuple[Sign, ...]
    weighting: tuple[Sign, ...]
    sequence: tuple[Sign, ...]
    inversion: tuple[Sign, ...]
    fat: tuple[Sign, ...]
    contrast: tuple[Sign, ...]
    dixon: Dixon


@dataclass(frozen=True, slots=True)
class Found:
    """A name, and the evidence for it in words."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Clues:
    """The facts of a volume, and its texts folded to words once."""

    facts: Mapping[str, str]
    series_texts: tuple[tuple[str, str, str], ...]
    """(keyword, as it stands, as `plain_words`)."""
    study_texts: tuple[tuple[str, str, str], ...]

    def said(self, keyword: str) -> str:
        """The value of a fact without spaces around; empty where it is absent."""
        return self.facts.get(keyword, "").strip()

    def values(self, keyword: str) -> tuple[str, ...]:
        """The values of a fact in capitals."""
        return tuple(part.strip().upper() for part in self.said(keyword).split("\\") if part.strip())

    def number(self, keyword: str) -> float | None:
        """The first value of a fact as a number; None where it is none."""
        try:
            return float(self.said(keyword).partition("\\")[0])
        except ValueError:
            return None


def read_kind_words(path: Path = SHIPPED) -> KindWords:
    """Read the signs of the kinds; raises ConfigurationError."""
    return read_toml(path, KindWords)


@lru_cache(maxsize=1)
def shipped_kind_words() -> KindWords:
    """The signs that Sagittal ships."""
    return read_kind_words(SHIPPED)


def clues_of(facts: Mapping[str, str]) -> Clues:
    """Fold the texts of a volume.

    GE writes the name of the whole examination into ProtocolName ("ABDOMEN MRCP DWI"); it speaks of the series only
    where nothing else does.
    """
    maker = facts.get("Manufacturer", "").strip().upper()
    series = _folded(facts, SERIES_TEXTS)
    if len(series) > 1 and maker.startswith("GE"):
        series = series[:1]
    foreign = tuple(each for each in VENDORS if maker and not maker.startswith(each.upper()))
    own = {keyword: said for keyword, said in facts.items() if not (foreign and keyword.startswith(foreign))}
    return Clues(own, series, _folded(facts, STUDY_TEXTS))


def _folded(facts: Mapping[str, str], keywords: Iterable[str]) -> tuple[tuple[str, str, str], ...]:
    spoken = ((keyword, facts.get(keyword, "").strip()) for keyword in keywords)
    return tuple((keyword, said, plain_words(_spelt(said))) for keyword, said in spoken if said)


def _spelt(said: str) -> str:
    for pattern, words in _SPELT:
        said = pattern.sub(words, said)
    return said


def first_sign(clues: Clues, signs: Sequence[Sign]) -> Found | None:
    """The first sign that holds, by attributes or words."""
    return next((found for sign in signs if (found := by_tags(clues, sign) or by_words(clues, sign))), None)


def by_tags(clues: Clues, *signs: Sign) -> Found | None:
    """The first sign that an attribute or the name of the pulse sequence shows."""
    return next((Found(sign.name, why) for sign in signs if (why := _tag(clues, sign))), None)


def by_words(clues: Clues, *signs: Sign) -> Found | None:
    """The first sign that a word of a description shows."""
    return next((Found(sign.name, why) for sign in signs if (why := _word(clues, sign))), None)


def _tag(clues: Clues, sign: Sign) -> str | None:
    for keyword in IMAGE_TYPES:
        for value in clues.values(keyword):
            if value in sign.image_types:
                return f'{keyword} has "{value}"'
    for tag in sign.tags:
        keyword, _, wanted = tag.partition("=")
        if found := next((each for each in clues.values(keyword) if fnmatchcase(each, wanted.upper())), None):
            return f'{keyword} has "{found}"'
    for keyword in PULSES:
        said = clues.said(keyword)
        if said and any(fnmatchcase(said.lower().lstrip("*"), pulse) for pulse in sign.pulses):
            return f'{keyword} is "{said}"'
    return None


def _word(clues: Clues, sign: Sign) -> str | None:
    places = [(text, (*sign.words, *sign.study_words)) for text in clues.series_texts]
    places += [(text, sign.study_words) for text in clues.study_texts]
    for (keyword, said, plain), sought in places:
        text = without(plain, sign.noise) if sign.noise else plain
        if sought and (word := first_word(text, sought)):
            return f'{keyword} "{said}" has "{word}"'
    return None
