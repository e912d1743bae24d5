"""A study protocol that a sub-model serves: what it delivers there, and how such a volume is recognised."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from dicom_nodes.types import Plane
from service.expectation import Expectation
from service.label import Range, Table, Text


class SideRule(StrEnum):
    """What the side of the body that DICOM states does to the labels of a protocol."""

    NONE = "none"
    MODIFIER = "modifier"
    """The labels have no side; the stated one is added to each as a modifier code."""
    LABELS = "labels"
    """The labels have sides; those of the other side are not delivered."""


class Protocol(Table):
    """A study protocol that a sub-model serves, what it delivers there, and how such a volume is recognised.

    Words are patterns of service/routing/vocabulary.py: whole words or phrases, `*` at either end of a word.
    """

    name: Text
    planes: Annotated[tuple[Plane, ...], Field(min_length=1)]
    keep: tuple[int, ...] = ()
    """The labels that are delivered; empty: all."""
    side: SideRule = SideRule.NONE
    expect: tuple[Expectation, ...] = ()
    """What a result holds if the volume shows this; else it contradicts its route."""
    kinds: tuple[Text, ...] = ("anatomy",)
    """What a volume must be, each of these (service/routing/kinds.py)."""
    one_per: Literal["volume", "series", "study"] = "series"
    """Run every volume, the best of those of a series at one place, or the one best of the study."""
    best: tuple[Text, ...] = ()
    """What makes a volume better, the most important first; empty: as `BEST` in service/routing/ranking.py."""
    minimum_slices: Annotated[int, Field(ge=1)]
    across_mm: Range
    """Covered length along the slice normal."""
    in_plane_mm: Range
    """Longer side of the field of view."""
    body_parts: tuple[Text, ...] = ()
    """Values of BodyPartExamined that name it (PS3.16 Annex L), beside those in service/routing/vocabulary.toml."""
    codes: tuple[Text, ...] = ()
    """Code values of AnatomicRegionSequence that name it (SNOMED CT, and SNOMED RT as older devices write)."""
    words: tuple[Text, ...] = ()
    """Words of protocol names and descriptions that name it, beside those in service/routing/vocabulary.toml."""
    not_words: tuple[Text, ...] = ()
    """Words that show that it is not meant, although it is named."""
    also_for: tuple[Text, ...] = ()
    """Regions inside it that keep it from running only where they are named alone: it shows them as well."""
    includes: tuple[Text, ...] = ()
    """Protocols or regions that lie inside: naming this one does not contradict them."""
