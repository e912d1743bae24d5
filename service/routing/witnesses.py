"""One volume in; out: what each part of its header says of the body part, and what they agree on.

A witness is a small function from a volume to what it says; the words it understands are data (vocabulary.toml and
the sub-models' own). Witnesses that disagree lower the confidence; nobody is outvoted unless the site says so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dicom_nodes.types import Volume
from service.label import Range
from service.routing.vocabulary import (
    Lexicon,
    RegionWords,
    Vocabulary,
    first_word,
    lexicon_of,
    normal_body_part,
    plain_words,
    shipped_vocabulary,
)
from service.submodel import SubModel

BODY_PART = "BodyPartExamined"
REGION_CODE = "AnatomicRegionSequence.CodeValue"
SERIES_TEXTS = ("AnatomicRegionSequence", "ProtocolName", "SeriesDescription")
STUDY_TEXTS = (
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
    "RequestedProcedureCodeSequence",
    "ProcedureCodeSequence",
)
STUDY = "other series of the study"

WEIGHTS: Mapping[str, int] = MappingProxyType({BODY_PART: 2, **dict.fromkeys(STUDY_TEXTS, 2), STUDY: 1})
"""How much a witness counts where they disagree; 3 for all others, which speak of the series itself."""


@dataclass(frozen=True, slots=True)
class Region:
    """A body part and the words for it, gathered from the vocabulary and the protocols of that name."""

    name: str
    body_parts: frozenset[str]
    codes: frozenset[str]
    words: tuple[str, ...]
    hints: tuple[str, ...]
    includes: frozenset[str]
    vague: bool
    """Naming it leaves open which of the parts inside is meant."""
    field_mm: Range | None
    """Longer side of a field of view in which it may be the subject; None where nothing is too small or large."""

    def may_fill(self, field_mm: float) -> bool:
        """Whether it may be the subject of a field of view of that length."""
        return self.field_mm is None or self.field_mm.holds(field_mm)


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one witness says of the body part."""

    witness: str
    said: str
    names: Mapping[str, str]
    """Region to the word that named it."""
    allows: frozenset[str]
    """The named regions and all that lie in them: what this witness does not contradict."""
    weight: int = 3

    def __str__(self) -> str:
        if not self.said:
            return f"{self.witness} is empty"
        named = ", ".join(f"{region} ({word})" for region, word in self.names.items())
        return f'{self.witness} "{self.said}" names {named or "no body part that is known here"}'


def regions(vocabulary: Vocabulary, submodels: Sequence[SubModel]) -> tuple[Region, ...]:
    """Every body part that has a name here, the protocols' first."""
    parts: dict[str, list[RegionWords]] = {}
    for protocol in (each for submodel in submodels for each in submodel.protocol):
        said = {key: getattr(protocol, key) for key in ("name", "body_parts", "codes", "words", "includes")}
        parts.setdefault(protocol.name, []).append(RegionWords.model_construct(**said))
    for region in vocabulary.region:
        parts.setdefault(region.name, []).append(region)
    return tuple(_region(name, each) for name, each in parts.items())


def _region(name: str, said: Sequence[RegionWords]) -> Region:
    return Region(
        name,
        frozenset(normal_body_part(value) for each in said for value in each.body_parts),
        frozenset(code for each in said for code in each.codes),
        tuple(dict.fromkeys(word for each in said for word in each.words)),
        tuple(dict.fromkeys(word for each in said for word in each.hints)),
        frozenset(inner for each in said for inner in each.includes),
        any(each.vague for each in said),
        next((each.field_mm for each in said if each.field_mm is not None), None),
    )


def body_part_testimonies(volume: Volume, known: Sequence[Region]) -> tuple[Testimony, ...]:
    """What every witness says of the body part, the silent ones too; first the series', then the study's."""
    words = lexicon_of(tuple((region.name, region.words) for region in known), shipped_vocabulary().noise)
    stated = volume.facts.get(BODY_PART, "").strip()
    coded = {region.name: stated for region in known if normal_body_part(stated) in region.body_parts}
    first = _testimony(BODY_PART, stated, coded, known) if coded else _worded(BODY_PART, stated, words, known)
    codes = volume.facts.get(REGION_CODE, "").strip()
    by_code = {region.name: code for code in codes.split("\\") for region in known if code in region.codes}
    second = (_testimony(REGION_CODE, codes, by_code, known),) if by_code else ()
    rest = [_worded(each, said, words, known) for each, said in texts(volume)]
    for _ in ("what stands beside a level", "what the others then name"):
        all_ = (first, *second, *rest)
        rest = [_hinted(each, all_, known) for each in rest]
    return (first, *second, *rest)


def _hinted(told: Testimony, all_: Sequence[Testimony], known: Sequence[Region]) -> Testimony:
    """A text with what it hints at, where it names nothing near enough or one level of several: "Th" of a spine.

    Hints are heard only among what all witnesses name, or beside another level in the same text, so that both are
    named by "cervical, L-S". A single letter is a hint only in a text of the series; in one of the study it may
    mean anything.
    """
    near = [region for region in known if region.name in told.names and not region.vague]
    spoken = [each for each in all_ if each.names]
    if not told.said or not spoken or not all(region.hints for region in near):
        return told
    meant = frozenset(each.name for each in known) if near else frozenset.intersection(*(e.allows for e in spoken))
    text, shortest = plain_words(told.said), 1 if told.witness in SERIES_TEXTS and not near else 2
    hints = (
        (each.name, first_word(text, tuple(hint for hint in each.hints if len(hint) >= shortest)))
        for each in known
        if each.hints and each.name in meant and each.name not in told.names
    )
    found = {name: word for name, word in hints if word}
    return _testimony(told.witness, told.said, {**told.names, **found}, known) if found else told


def study_testimony(named_by_others: Sequence[frozenset[str]], known: Sequence[Region]) -> Testimony | None:
    """What the other series of the study name, where all that name something name the same; None where not."""
    speaking = {names for names in named_by_others if names}
    if len(speaking) != 1:
        return None
    (names,) = speaking
    said = f"{len([each for each in named_by_others if each])} of {len(named_by_others)}"
    return _testimony(STUDY, said, dict.fromkeys(sorted(names), "alike"), known)


def innermost(agreed: frozenset[str], known: Sequence[Region]) -> frozenset[str]:
    """Those that include no other of them."""
    includes = {region.name: region.includes for region in known}
    return frozenset(name for name in agreed if not includes[name] & (agreed - {name}))


def texts(volume: Volume, keywords: Iterable[str] = (*SERIES_TEXTS, *STUDY_TEXTS)) -> Iterator[tuple[str, str]]:
    """The texts of the header that say something, with their keywords."""
    for keyword in keywords:
        if said := volume.facts.get(keyword, "").strip():
            yield keyword, said


def _worded(witness: str, said: str, words: Lexicon, known: Sequence[Region]) -> Testimony:
    return _testimony(witness, said, words.named(plain_words(said)), known)


def _testimony(witness: str, said: str, names: dict[str, str], known: Sequence[Region]) -> Testimony:
    """What a witness says; where words name a part and what lies around it, the part is meant: "spine, lumbar".

    BodyPartExamined is one word, which may stand for either: ABDOMEN is entered for the whole trunk, too.
    """
    meant = frozenset(names) if witness == BODY_PART else innermost(frozenset(names), known)
    inside = {region for each in known if each.name in meant for region in each.includes}
    allows = frozenset(names) | inside
    return Testimony(witness, said, MappingProxyType(names), allows, WEIGHTS.get(witness, 3))
