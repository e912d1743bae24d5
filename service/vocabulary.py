"""`vocabulary.toml` in; out: what words of headers mean, whatever the language, the accents and the vendor's glue.

A pattern is one word or a phrase ("l spine"), compared without case and accents and only with whole words, so that
"leg" is not in "college"; `*` at an end of a word stands for any letters (including none).
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dicom_nodes.types import Laterality
from service.label import Table, Text
from service.tomlfile import read_toml

SHIPPED = Path(__file__).parent / "vocabulary.toml"


class RegionWords(Table):
    """A part of the body that protocols may lie in, or that no sub-model serves."""

    name: Text
    body_parts: tuple[Text, ...] = ()
    words: tuple[Text, ...] = ()
    includes: tuple[Text, ...] = ()
    """What lies inside it: naming the whole does not contradict the part."""


class Unsuited(Table):
    """A kind of image that is not for segmentation, with the words and values of ImageType that show it."""

    kind: Text
    words: tuple[Text, ...] = ()
    """In ProtocolName and SeriesDescription."""
    study_words: tuple[Text, ...] = ()
    """In StudyDescription and RequestedProcedureDescription too."""
    image_types: tuple[Text, ...] = ()
    """Any of these values of ImageType, after the first two."""


class SideWords(Table):
    """Words that state a side of the body; `beside` asks for a word of the same language anywhere in the texts."""

    sides: Annotated[tuple[Literal["R", "L"], ...], Field(min_length=1)]
    words: Annotated[tuple[Text, ...], Field(min_length=1)]
    beside: tuple[Text, ...] = ()

    @property
    def lateralities(self) -> frozenset[Laterality]:
        """The sides as nouns."""
        return frozenset(Laterality(side) for side in self.sides)


class Vocabulary(Table):
    """The whole of vocabulary.toml."""

    region: tuple[RegionWords, ...]
    unsuited: tuple[Unsuited, ...]
    side: tuple[SideWords, ...]
    side_noise: tuple[Text, ...]
    """Phrases whose words look like a side and are none; they are taken out before sides are looked for."""


def read_vocabulary(path: Path = SHIPPED) -> Vocabulary:
    """Read a vocabulary; raises ConfigurationError."""
    return read_toml(path, Vocabulary)


@lru_cache(maxsize=1)
def shipped_vocabulary() -> Vocabulary:
    """The vocabulary that Sagittal ships."""
    return read_vocabulary(SHIPPED)


def plain_words(text: str) -> str:
    """Fold a header's text to lower-case words between single spaces, with one more at each end.

    Accents go (and ä, ae and a become one), camelCase and underscores are taken apart, digits are parted from words
    of three letters or more; "sagknee" is also read as "sag knee".
    """
    text = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ][a-zß-ÿ])", " ", text)
    folded = _fold(text)
    folded = re.sub(r"(?<=[^\W\d_]{3})(?=\d)|(?<=\d)(?=[^\W\d_]{3})", " ", folded)
    words = re.sub(r"[\W_]+", " ", folded).split()
    unglued = [f"{part[1]} {part[2]}" for word in words if (part := _GLUED.fullmatch(word))]
    return f" {' | '.join([' '.join(words), *unglued])} "


_GLUED = re.compile(r"(sag|cor|tra|ax|mri|mr|irm|rm)(\w{4,})")


def normal_body_part(value: str) -> str:
    """BodyPartExamined without spaces, hyphens and case: "L-Spine" is LSPINE."""
    return re.sub(r"[\W_]+", "", value).upper()


def first_word(text: str, patterns: tuple[str, ...]) -> str | None:
    """The first part of `plain_words` text that a pattern matches; None where none does."""
    found = _compiled(patterns).search(text)
    return found[0].strip() if found else None


def without(text: str, patterns: tuple[str, ...]) -> str:
    """`plain_words` text with what the patterns match taken out."""
    return _compiled(patterns).sub("|", text)


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns, the longest first; nothing matches where there are none."""
    alternatives = sorted((_expression(pattern) for pattern in patterns), key=len, reverse=True)
    return re.compile(rf"(?<= )(?:{'|'.join(alternatives)})(?= )" if alternatives else r"(?!)")


def _expression(pattern: str) -> str:
    """A pattern as an expression; a script without spaces between words matches inside them."""
    folded = re.sub(r"[^\w*]+", " ", _fold(pattern)).strip()
    words = (re.escape(word).replace(r"\*", r"\w*") for word in folded.split())
    expression = " ".join(words)
    return expression if folded.isascii() else rf"\w*{expression}\w*"


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"([aou])e", r"\1", bare)


_LETTERS = str.maketrans({"ł": "l", "ı": "i", "ø": "o", "æ": "a", "œ": "o", "đ": "d"})
