"""What a check gives: how bad it is, what was seen, and what to do; and what every check may ask about."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from service.config import Site


class Level(IntEnum):
    """How bad something is; the greater is the worse."""

    OK = 0
    WARNING = 1
    BAD = 2

    @property
    def word(self) -> str:
        """As a person and a program read it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that a check saw; never anything of a patient."""

    level: Level
    saw: str
    advice: str = ""
    """What to do about it, in one sentence; empty only where it is ok."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the checks of one run have in common."""

    site: Site
    site_file: Path
    timeout_seconds: float = 5.0
    """For each question that goes over a network."""
    store_test_object: bool = False
    """Whether each destination is sent an object, which stays there."""


Ask = Callable[[Ground], Iterable[Seen]]


GROUPS = ("machine", "stores", "parts", "models", "nodes")
"""What `--skip` leaves out together."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the site, asked beside all others."""

    name: str
    group: str
    """One of GROUPS."""
    ask: Ask


@dataclass(frozen=True, slots=True)
class Examined:
    """A check and what it saw, in its own order."""

    name: str
    seen: tuple[Seen, ...]

    @property
    def level(self) -> Level:
        """The worst of what it saw."""
        return max((each.level for each in self.seen), default=Level.OK)


def ok(saw: str) -> Seen:
    """Nothing to do."""
    return Seen(Level.OK, saw)


def warning(saw: str, advice: str) -> Seen:
    """It works, and should be looked at."""
    return Seen(Level.WARNING, saw, advice)


def bad(saw: str, advice: str) -> Seen:
    """It does not work, or patients' results are not safe with it."""
    return Seen(Level.BAD, saw, advice)


def count(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names in one line, the first few of many."""
    every = list(names)
    rest = [f"{len(every) - most} more"] if len(every) > most else []
    return ", ".join([*every[:most], *rest])


def worst_first(seen: Iterable[Seen]) -> Iterator[Seen]:
    """Bad before warning before ok, each in its own order."""
    yield from sorted(seen, key=lambda each: -each.level)
