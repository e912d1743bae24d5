"""One volume in; out: what each part of its header says of the body part, of the side, and of its fitness.

A witness is a small function from a volume to what it says; the words it understands are data (vocabulary.toml and
the sub-models' own). Nothing is decided here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dicom_nodes.types import Laterality, Volume
from service.submodel import SubModel
from service.vocabulary import SideWords, Vocabulary, first_word, normal_body_part, plain_words, without

BODY_PART = "BodyPartExamined"
SERIES_TEXTS = ("AnatomicRegionSequence", "ProtocolName", "SeriesDescription")
STUDY_TEXTS = (
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
    "RequestedProcedureCodeSequence",
    "ProcedureCodeSequence",
)
SIDE_ATTRIBUTES = ("Laterality", "ImageLaterality", "FrameLaterality")

BEYOND_MIDLINE_MM = 60.0
"""A joint whose middle lies so far on one side of the scanner's middle is not the other side's."""


@dataclass(frozen=True, slots=True)
class Region:
    """A body part and the words for it, gathered from the vocabulary and the protocols of that name."""

    name: str
    served: bool
    body_parts: frozenset[str]
    words: tuple[str, ...]
    includes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one witness says of the body part."""

    witness: str
    said: str
    names: Mapping[str, str]
    """Region to the word that named it."""
    allows: frozenset[str]
    """The named regions and all that lie in them: what this witness does not contradict."""

    def __str__(self) -> str:
        if not self.said:
            return f"{self.witness} is empty"
        named = ", ".join(f"{region} ({word})" for region, word in self.names.items())
        return f'{self.witness} "{self.said}" names {named or "no body part that is known here"}'


@dataclass(frozen=True, slots=True)
class SideTestimony:
    """What one witness says of the side: one side, or both of them."""

    witness: str
    said: str
    sides: frozenset[Laterality]

    def __str__(self) -> str:
        named = " and ".join("right" if side is Laterality.RIGHT else "left" for side in sorted(self.sides))
        return f'{self.witness} "{self.said}" says {named}'


def regions(
    vocabulary: Vocabulary, submodels: Sequence[SubModel], serving: Sequence[SubModel] = ()
) -> tuple[Region, ...]:
    """Every body part that has a name here, the protocols' first; those count as served that `serving` serve."""
    served = {protocol.name for submodel in serving for protocol in submodel.protocol}
    parts: dict[str, list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {}
    for submodel in submodels:
        for each in submodel.protocol:
            parts.setdefault(each.name, []).append((each.body_parts, each.words, each.includes))
    for region in vocabulary.region:
        parts.setdefault(region.name, []).append((region.body_parts, region.words, region.includes))
    return tuple(
        Region(
            name,
            name in served,
            frozenset(normal_body_part(value) for values, _, _ in each for value in values),
            tuple(dict.fromkeys(word for _, words, _ in each for word in words)),
            frozenset(inner for _, _, includes in each for inner in includes),
        )
        for name, each in parts.items()
    )


def body_part_testimonies(volume: Volume, known: Sequence[Region]) -> tuple[Testimony, ...]:
    """What every witness says of the body part, the silent ones too; first the series', then the study's."""
    stated = volume.facts.get(BODY_PART, "").strip()
    coded = {region.name: stated for region in known if normal_body_part(stated) in region.body_parts}
    first = _testimony(BODY_PART, stated, coded or _named(stated, known), known)
    rest = (_testimony(each, said, _named(said, known), known) for each, said in texts(volume))
    return (first, *rest)


def texts(volume: Volume, keywords: Iterable[str] = (*SERIES_TEXTS, *STUDY_TEXTS)) -> Iterator[tuple[str, str]]:
    """The texts of the header that say something, with their keywords."""
    for keyword in keywords:
        if said := volume.facts.get(keyword, "").strip():
            yield keyword, said


def _named(said: str, known: Sequence[Region]) -> dict[str, str]:
    text = plain_words(said)
    found = ((region.name, first_word(text, region.words)) for region in known)
    return {name: word for name, word in found if word is not None}


def _testimony(witness: str, said: str, names: dict[str, str], known: Sequence[Region]) -> Testimony:
    inside = {inner for region in known if region.name in names for inner in region.includes}
    return Testimony(witness, said, MappingProxyType(names), frozenset(names) | inside)


def unsuited(volume: Volume, vocabulary: Vocabulary) -> str | None:
    """Why the volume is not for segmentation whatever it shows; None where nothing speaks against it."""
    modality = volume.facts.get("Modality", "MR")
    if modality != "MR":
        return f"it is no MR image (Modality {modality})"
    values = [value.strip().upper() for value in volume.facts.get("ImageType", "").split("\\")]
    values += [value.strip().upper() for value in volume.facts.get("FrameType", "").split("\\")]
    for kind in vocabulary.unsuited:
        if found := next((value for value in values if value in kind.image_types), None):
            return f'it is a {kind.kind}, not for segmentation (ImageType has "{found}")'
        for keyword, said in texts(volume):
            words = (*kind.words, *kind.study_words) if keyword in SERIES_TEXTS else kind.study_words
            if word := first_word(plain_words(said), words):
                return f'it is a {kind.kind}, not for segmentation ({keyword} "{said}" has "{word}")'
    if b_value := _b_value(volume):
        return f"it is a diffusion image or map, not for segmentation (DiffusionBValue {b_value})"
    if values[:2] == ["DERIVED", "SECONDARY"]:
        return "it is a secondary image made from others, not for segmentation (ImageType DERIVED, SECONDARY)"
    return None


def _b_value(volume: Volume) -> str | None:
    """The DiffusionBValue if it is greater than 0; some scanners write 0 into every image."""
    stated = volume.facts.get("DiffusionBValue", "").strip()
    return stated if re.search(r"[1-9]", re.sub(r"[eE].*", "", stated)) else None


def side_testimonies(volume: Volume, vocabulary: Vocabulary) -> tuple[SideTestimony, ...]:
    """What the header says of the side: the coded attributes first, then words; silent witnesses are left out."""
    found = [_coded_side(keyword, volume.facts.get(keyword, "")) for keyword in SIDE_ATTRIBUTES]
    spoken = tuple(texts(volume))
    everything = "".join(plain_words(said) for _, said in spoken)
    found += [_worded_side(each, said, everything, vocabulary) for each, said in spoken]
    return tuple(each for each in found if each is not None)


def far_side(volume: Volume) -> SideTestimony | None:
    """The side on which the volume lies when it lies far off the middle, by its positions in LPS; else None."""
    z, y, x = volume.shape
    middle = float(volume.affine[0] @ [(x - 1) / 2, (y - 1) / 2, (z - 1) / 2, 1.0])
    if abs(middle) < BEYOND_MIDLINE_MM:
        return None
    side, name = (Laterality.LEFT, "left") if middle > 0 else (Laterality.RIGHT, "right")
    return SideTestimony("ImagePositionPatient", f"{abs(middle):.0f} mm to the {name}", frozenset({side}))


def _coded_side(keyword: str, value: str) -> SideTestimony | None:
    sides = {"R": {Laterality.RIGHT}, "L": {Laterality.LEFT}, "B": {Laterality.RIGHT, Laterality.LEFT}}
    said = {part.strip().upper()[:1] for part in value.split("\\") if part.strip()} & sides.keys()
    if not said:
        return None
    return SideTestimony(keyword, value, frozenset(side for each in said for side in sides[each]))


def _worded_side(keyword: str, said: str, everything: str, vocabulary: Vocabulary) -> SideTestimony | None:
    text = without(plain_words(said), vocabulary.side_noise)
    spoken = [each for each in vocabulary.side if first_word(text, each.words) and _is_at_home(each, everything)]
    sides = frozenset(side for each in spoken for side in each.lateralities)
    return SideTestimony(keyword, said, sides) if sides else None


def _is_at_home(words: SideWords, everything: str) -> bool:
    return not words.beside or first_word(everything, words.beside) is not None
