"""`vocabulary.toml` in; out: what words of headers mean, whatever the language, the accents and the vendor's glue.

A pattern is one word or a phrase ("l spine"), compared without case and accents and only with whole words, so that
"leg" is not in "college"; `*` at an end of a word stands for any letters (including none), `$` for the end of the
text. Chinese, Japanese and Korean words are found inside others, as these scripts put no spaces between them.
Where patterns of several meanings match, the longest alone counts: "femoral neck" is no neck.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dicom_nodes.types import Laterality, Plane
from service.label import Range, Table, Text
from service.routing.patterns import Match, Patterns, outermost
from service.routing.plain import normal_body_part, plain_words
from service.tomlfile import read_toml

__all__ = [
    "Lexicon", "RegionWords", "SideWords", "Vocabulary", "first_word", "lexicon_of", "normal_body_part",
    "plain_words", "read_vocabulary", "shipped_vocabulary", "without",
]  # fmt: skip

SHIPPED = Path(__file__).parent / "vocabulary.toml"


class RegionWords(Table):
    """A part of the body that protocols may lie in, or that no sub-model serves."""

    name: Text
    body_parts: tuple[Text, ...] = ()
    codes: tuple[Text, ...] = ()
    """Code values of AnatomicRegionSequence that name it (SNOMED CT, and SNOMED RT as older devices write)."""
    words: tuple[Text, ...] = ()
    hints: tuple[Text, ...] = ()
    """Words of a series that name it only where the study names it, or what it lies in: "C" of the spine."""
    includes: tuple[Text, ...] = ()
    """What lies inside it: naming the whole does not contradict the part."""
    vague: bool = False
    """Naming it leaves open which part is meant: "spine" may be any level of it."""
    field_mm: Range | None = None
    """Longer side of a field of view in which it may be the subject; None where nothing is too small or large."""


class SideWords(Table):
    """Words that state a side of the body; `beside` asks for a word of the same language anywhere in the texts."""

    sides: Annotated[tuple[Literal["R", "L"], ...], Field(min_length=1)]
    words: Annotated[tuple[Text, ...], Field(min_length=1)]
    beside: tuple[Text, ...] = ()
    not_in: Plane | None = None
    """In slices of this plane they mean the plane: "SAG OMUZ" is a right shoulder in coronal ones."""
    hint: bool = False
    """They state no side by themselves, and contradict the other one where it is stated: a lone "R" in a series."""

    @property
    def lateralities(self) -> frozenset[Laterality]:
        """The sides as nouns."""
        return frozenset(Laterality(side) for side in self.sides)


class Vocabulary(Table):
    """The whole of vocabulary.toml."""

    region: tuple[RegionWords, ...]
    side: tuple[SideWords, ...]
    side_noise: tuple[Text, ...]
    """Phrases whose words look like a side and are none; they are taken out before sides are looked for."""
    noise: tuple[Text, ...] = ()
    """Phrases whose words look like a body part and name none, such as coils."""


def read_vocabulary(path: Path = SHIPPED) -> Vocabulary:
    """Read a vocabulary; raises ConfigurationError."""
    return read_toml(path, Vocabulary)


@lru_cache(maxsize=1)
def shipped_vocabulary() -> Vocabulary:
    """The vocabulary that Sagittal ships."""
    return read_vocabulary(SHIPPED)


class Lexicon:
    """The words of many body parts, to be looked for at once."""

    def __init__(self, words: tuple[tuple[str, tuple[str, ...]], ...], noise: tuple[str, ...] = ()) -> None:
        meanings: dict[str, list[str]] = {pattern: [] for pattern in noise}
        for name, patterns in words:
            for pattern in patterns:
                meanings.setdefault(pattern, []).append(name)
        self._meanings = {pattern: tuple(dict.fromkeys(names)) for pattern, names in meanings.items()}
        self._patterns = Patterns(tuple(self._meanings))

    def named(self, text: str) -> dict[str, str]:
        """The body parts that `plain_words` text names, in its order, each with the first word that names it."""
        found: dict[str, str] = {}
        for match in outermost(self._patterns.matches(text)):
            for name in self._meanings[match.pattern]:
                found.setdefault(name, text[match.start : match.end])
        return found


@lru_cache(maxsize=64)
def lexicon_of(words: tuple[tuple[str, tuple[str, ...]], ...], noise: tuple[str, ...] = ()) -> Lexicon:
    """The lexicon of names with their patterns; a phrase of `noise` hides the words in it and names nothing."""
    return Lexicon(words, noise)


def first_word(text: str, patterns: tuple[str, ...]) -> str | None:
    """The first part of `plain_words` text that a pattern matches; None where none does."""
    found = _compiled(patterns).matches(text)
    if not found:
        return None
    first = min(found, key=lambda match: (match.start, -match.end))
    return text[first.start : first.end]


def without(text: str, patterns: tuple[str, ...]) -> str:
    """`plain_words` text with what the patterns match taken out."""
    rest, end = [], 0
    for match in _apart(_compiled(patterns).matches(text)):
        rest += [text[end : match.start], "|"]
        end = match.end
    return "".join([*rest, text[end:]])


def _apart(matches: list[Match]) -> Iterator[Match]:
    """The matches from left to right, the longest of those that overlap."""
    end = 0
    for match in sorted(matches, key=lambda match: (match.start, -match.end)):
        if match.start >= end:
            yield match
            end = match.end


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> Patterns:
    return Patterns(patterns)
