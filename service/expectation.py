"""What a result must hold if it was routed right, as a TOML file says it: how much of what, and in which order."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from service.label import Table, Text

Names = Annotated[tuple[Text, ...], Field(min_length=1)]
"""Names of labels; `*` stands for any letters."""
Millilitres = Annotated[float, Field(gt=0)]


class Expectation(Table):
    """What a result of a protocol holds at the least: so many of these labels, each with such a volume."""

    labels: Names
    structures: Annotated[int, Field(ge=1)] = 1
    least_ml: Millilitres


class Toward(StrEnum):
    """A direction in the patient."""

    LEFT = "left"
    POSTERIOR = "posterior"
    HEAD = "head"
    RIGHT = "right"
    ANTERIOR = "anterior"
    FEET = "feet"

    @property
    def axis(self) -> int:
        """Its index in LPS coordinates."""
        return list(Toward).index(self) % 3

    @property
    def opposite(self) -> "Toward":
        """The direction against it."""
        return list(Toward)[(list(Toward).index(self) + 3) % 6]

    @property
    def sign(self) -> int:
        """1 where the coordinate grows that way, else -1."""
        return 1 if list(Toward).index(self) < 3 else -1


class Order(Table):
    """Labels that lie one after the other in a patient, as the vertebrae do."""

    labels: Names
    """From the first to the last; those of one pattern in order of value."""
    toward: Toward
    unbroken: bool = False
    """None between two that are found may be missing, and none may be found at two places."""
    least_ml: Millilitres = 1.0
    """What is smaller counts as not found."""


class Presence(Table):
    """Labels that an image shows wherever it shows others, as the gallbladder where the liver is whole."""

    labels: Names
    """Each of them is expected; one that is not delivered is not asked for."""
    where: Names
    """All of them must be found for that."""
    where_ml: Millilitres = 1.0
    """So much of each of them."""
    whole: bool = True
    """They must not touch the edge of the image, nor be cut off by it."""
    least_ml: Millilitres = 0.3
    """What is smaller counts as not found."""
    may_be_because: Text | None = None
    """What explains it in a patient, as "removed"."""


class Junction(Table):
    """A label that a row of others stands on, as the vertebrae on the sacrum: it gives the lowest its name."""

    base: Text
    labels: Names
    """From the one next to the base on; those of one pattern in order of value."""
    toward: Toward
    least_ml: Millilitres = 3.0
    """What is smaller counts as not found."""


def named(patterns: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that the patterns mean, each once, in the order of the patterns and then of the names."""
    return tuple(dict.fromkeys(name for pattern in patterns for name in names if fnmatchcase(name, pattern)))


def fault(wanted: Expectation | Order | Presence | Junction, names: Sequence[str]) -> str:
    """Why the labels of these names can never be as wanted; empty where they can."""
    for pattern in _patterns(wanted):
        if not named((pattern,), names):
            return f"{pattern!r} names no label that is delivered; there are {', '.join(names)}"
    if isinstance(wanted, Presence):
        return ""
    least = wanted.structures if isinstance(wanted, Expectation) else 2
    found = len(named(wanted.labels, names))
    return "" if found >= least else f"{least} structures are wanted of {found}"


def _patterns(wanted: Expectation | Order | Presence | Junction) -> Names:
    if isinstance(wanted, Presence):
        return (*wanted.labels, *wanted.where)
    return (wanted.base, *wanted.labels) if isinstance(wanted, Junction) else wanted.labels
