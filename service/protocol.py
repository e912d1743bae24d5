"""A study protocol that a sub-model serves: what it delivers there, and how such a volume is recognised."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from dicom_nodes.types import Plane
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

    Words are patterns of service/vocabulary.py: whole words or phrases, `*` at either end of a word.
    """

    name: Text
    planes: Annotated[tuple[Plane, ...], Field(min_length=1)]
    keep: tuple[int, ...] = ()
    """The labels that are delivered; empty: all."""
    side: SideRule = SideRule.NONE
    minimum_slices: Annotated[int, Field(ge=1)]
    across_mm: Range
    """Covered length along the slice normal."""
    in_plane_mm: Range
    """Longer side of the field of view."""
    body_parts: tuple[Text, ...] = ()
    """Values of BodyPartExamined that name it (PS3.16 Annex L), beside those in service/vocabulary.toml."""
    words: tuple[Text, ...] = ()
    """Words of protocol names and descriptions that name it, beside those in service/vocabulary.toml."""
    not_words: tuple[Text, ...] = ()
    """Words that show that it is not meant, although it is named."""
    includes: tuple[Text, ...] = ()
    """Protocols or regions that lie inside: naming this one does not contradict them."""
