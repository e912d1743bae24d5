"""One volume in; out: what each part of its header says of the side of the body, and where it lies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_nodes.types import Laterality, Volume
from service.routing.vocabulary import SideWords, Vocabulary, first_word, plain_words, without
from service.routing.witnesses import BODY_PART, SERIES_TEXTS, STUDY_TEXTS, texts

SIDE_ATTRIBUTES = ("Laterality", "ImageLaterality", "FrameLaterality")

_AGAIN = re.compile(r"\b[Rr]e-(?!(?i:knie|schult|sprung|gelenk|h[uü]ft))([^\W\d_])(?=[^\W\d_]{3})")
"""The prefix of a word, as in "Re-Instabilität", which is no German "re" for right."""

_TITLED = re.compile(r"\b(?:dott(?:\.?ssa)?|dra?|drs|prof|herrn?|frau)\b\.?\s+[^\W\d_]{3,}", re.IGNORECASE)
"""A person's name after a title, as of a Dr. Right."""

BEYOND_MIDLINE_MM = 60.0
"""A joint whose middle lies so far on one side of the scanner's middle is not the other side's."""


@dataclass(frozen=True, slots=True)
class SideTestimony:
    """What one witness says of the side: one side, or both of them."""

    witness: str
    said: str
    sides: frozenset[Laterality]

    def __str__(self) -> str:
        named = " and ".join("right" if side is Laterality.RIGHT else "left" for side in sorted(self.sides))
        return f'{self.witness} "{self.said}" says {named}'


def stated_side(volume: Volume, vocabulary: Vocabulary) -> tuple[frozenset[Laterality], tuple[SideTestimony, ...]]:
    """The sides that no witness contradicts, and the witnesses; no side where they contradict each other.

    A position far off the middle, and a lone letter, speak against the other side, but state none by themselves.
    """
    heard = side_testimonies(volume, vocabulary)
    sides = frozenset(Laterality).intersection(*(each.sides for each in heard))
    if len(sides) == 1:
        against = [
            each for each in (far_side(volume), *_hints(volume, vocabulary)) if each and not sides & each.sides
        ]
        if against:
            return frozenset(), (*heard, *against)
    return sides, heard


def both(heard: Sequence[SideTestimony]) -> str:
    """What contradicting witnesses say, in one sentence."""
    return "; but ".join(str(each) for each in heard)


def side_testimonies(volume: Volume, vocabulary: Vocabulary) -> tuple[SideTestimony, ...]:
    """What the header says of the side: the coded attributes first, then words; silent witnesses are left out."""
    found = [_coded_side(keyword, volume.facts.get(keyword, "")) for keyword in SIDE_ATTRIBUTES]
    spoken = tuple(texts(volume, (BODY_PART, *SERIES_TEXTS, *STUDY_TEXTS)))
    everything = "".join(plain_words(said) for _, said in spoken)
    words = [each for each in vocabulary.side if not each.hint and each.not_in is not volume.plane]
    found += [_worded_side(each, said, everything, words, vocabulary) for each, said in spoken]
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


def _worded_side(
    keyword: str, said: str, everything: str, words: Sequence[SideWords], vocabulary: Vocabulary
) -> SideTestimony | None:
    said_of_image = _TITLED.sub(" ", said)
    text = without(
        plain_words(_AGAIN.sub(lambda found: f"re{found[1].lower()}", said_of_image)), vocabulary.side_noise
    )
    spoken = [each for each in words if first_word(text, each.words) and _is_at_home(each, everything)]
    sides = frozenset(side for each in spoken for side in each.lateralities)
    return SideTestimony(keyword, said, sides) if sides else None


def _is_at_home(words: SideWords, everything: str) -> bool:
    return not words.beside or first_word(everything, words.beside) is not None


def _hints(volume: Volume, vocabulary: Vocabulary) -> tuple[SideTestimony, ...]:
    """The lone letters of the series' own texts; one that has several of them says nothing."""
    found = []
    for keyword, said in texts(volume, ("ProtocolName", "SeriesDescription")):
        text = without(plain_words(said), vocabulary.side_noise)
        meant = {each.lateralities for each in vocabulary.side if each.hint and first_word(text, each.words)}
        if len(meant) == 1:
            found.append(SideTestimony(keyword, said, next(iter(meant))))
    return tuple(found)
