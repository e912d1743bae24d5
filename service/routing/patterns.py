"""Patterns of words in; out: where in a text they match. Made for thousands of patterns and short texts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from service.routing.plain import IDEOGRAPHS, fold

_WRITTEN_TOGETHER = re.compile(f"[{IDEOGRAPHS}]")


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern matches: characters from `start` to before `end` of the text."""

    start: int
    end: int
    letters: int
    """How many letters the pattern states; of two that match the same place, the longer is the more specific."""
    pattern: str


@dataclass(frozen=True, slots=True)
class _Phrase:
    pattern: str
    words: tuple[str, ...]
    letters: int


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The words of a text, where each starts, and its beginnings: "knee" has knee, k*, kn*, kne*, knee* and *."""

    words: tuple[str, ...]
    starts: tuple[int, ...]
    heads: Mapping[str, tuple[int, ...]]


class Patterns:
    """Patterns to look for all at once."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._heads: dict[str, list[_Phrase]] = {}
        self._inside: list[_Phrase] = []
        for pattern in patterns:
            words = tuple(re.sub(r"[^\w*$]+", " ", fold(pattern).replace("_", " ").replace("$", " $")).split())
            phrase = _Phrase(pattern, words, sum(len(word.strip("*$")) for word in words))
            if _WRITTEN_TOGETHER.search(pattern):
                self._inside.append(_Phrase(pattern, ("".join(words),), phrase.letters))
            elif words:
                self._heads.setdefault("*" if words[0].startswith("*") else words[0], []).append(phrase)

    def matches(self, text: str) -> list[Match]:
        """All places of `plain_words` text that any of the patterns matches."""
        tokens = tokens_of(text)
        found = [
            Match(tokens.starts[at], end, phrase.letters, phrase.pattern)
            for head in self._heads.keys() & tokens.heads.keys()
            for at in tokens.heads[head]
            for phrase in self._heads[head]
            if (end := _end(phrase, tokens, at)) is not None
        ]
        if self._inside and not text.isascii():
            found += (each for phrase in self._inside for each in _occurrences(phrase, text))
        return found


def outermost(matches: Iterable[Match]) -> list[Match]:
    """Those that lie in no longer or more specific match, and of two that share a word the first; left to right."""
    widest: list[Match] = []
    for match in sorted(matches, key=lambda each: (each.start - each.end, -each.letters)):
        if not any(_hides(wider, match) for wider in widest):
            widest.append(match)
    apart: list[Match] = []
    for match in sorted(widest, key=lambda each: (each.start, each.pattern)):
        if not any(before.start < match.start < before.end for before in apart):
            apart.append(match)
    return apart


def _hides(wider: Match, match: Match) -> bool:
    same = (wider.start, wider.end, wider.letters) == (match.start, match.end, match.letters)
    return wider.start <= match.start and match.end <= wider.end and not same


def _end(phrase: _Phrase, tokens: _Tokens, at: int) -> int | None:
    """Where the phrase ends if it begins at this word of the text; None if it does not."""
    length = len(phrase.words)
    if phrase.words[-1] == "$":
        length -= 1
        after = at + length
        if after < len(tokens.words) and tokens.words[after] != "|":
            return None
    if at + length > len(tokens.words):
        return None
    for place in range(length):
        if not _is_like(tokens.words[at + place], phrase.words[place]):
            return None
    last = at + length - 1
    return tokens.starts[last] + len(tokens.words[last])


def _is_like(word: str, pattern: str) -> bool:
    bare = pattern.strip("*")
    if pattern.startswith("*"):
        return bare in word if pattern.endswith("*") else word.endswith(bare)
    return word.startswith(bare) if pattern.endswith("*") else word == bare


def _occurrences(phrase: _Phrase, text: str) -> Iterable[Match]:
    sought, at = phrase.words[0].strip("*"), -1
    while (at := text.find(sought, at + 1)) >= 0:
        yield Match(at, at + len(sought), phrase.letters, phrase.pattern)


@lru_cache(maxsize=4096)
def tokens_of(text: str) -> _Tokens:
    """The words of `plain_words` text, kept as they are asked for again and again."""
    words = [(found[0], found.start()) for found in re.finditer(r"\S+", text)]
    heads: dict[str, list[int]] = {}
    for place, (word, _) in enumerate(words):
        if word != "|":
            for head in (word, "*", *(f"{word[:length]}*" for length in range(1, len(word) + 1))):
                heads.setdefault(head, []).append(place)
    return _Tokens(
        tuple(word for word, _ in words),
        tuple(start for _, start in words),
        {head: tuple(places) for head, places in heads.items()},
    )
