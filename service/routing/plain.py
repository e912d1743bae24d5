"""A header's text in; out: its words in lower case, without accents, and taken apart where a device glued them."""

import re
import unicodedata
from functools import lru_cache

IDEOGRAPHS = "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Letters of scripts without spaces between words, and of Korean, whose particles stick to them: in a `[...]`."""

_LETTERS = str.maketrans({"ł": "l", "ı": "i", "ø": "o", "æ": "a", "œ": "o", "đ": "d", "ð": "d", "þ": "th"})

_PLANES = "sag|cor|kor|tra|ax|axial|sagittal|coronal"
_SIDES = "rechts|links|right|left|rt|lt|re|li|dx|sx"
_SEQUENCES = "t1w?|t2w?|pdw?|dp|stir|tse|fse|nativ"
_JOINTS = (
    "knee|knie|kniegelenk|genou|rodilla|ginocchio|joelho|kolano|koleno|kna|shoulder|schulter|schultergelenk|epaule|"
    "hombro|spalla|ombro|schouder|skulder|omuz|diz|hip|hufte|hanche|cadera|heup|ankle|enkel|sprunggelenk|cheville|"
    "tobillo|caviglia|tornozelo|wrist|handgelenk|poignet|polso|elbow|ellbogen|coude|codo|gomito|foot|hand|osg"
)
_PARTS = (
    "lws|hws|bws|lwk|cwk|twk|isg|lspine|cspine|tspine|spine|lumbar|lumbal|cervical|thoracic|lombaire|lombare|lombar|"
    "becken|pelvis|bassin|bacino|abdomen|abdo|oberbauch|liver|leber|foie|fegato|higado|prostata|prostate|prostaat"
)
_AROUND = f"{_PLANES}|{_SIDES}|{_SEQUENCES}|mri?|mrt|irm|rmn?"
_GLUED = re.compile(r"(sag|cor|tra|ax|mri|mr|irm|rm)(\w{4,})")
_STEM = re.compile(
    rf"(?P<before>(?:{_AROUND})*)(?:(?P<side>[rl])(?={_JOINTS}))?(?P<stem>{_JOINTS}|{_PARTS})(?P<after>(?:{_AROUND})*)"
)
_BESIDE_STEM = re.compile(_AROUND)

_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ][a-zß-ÿ])|(?<=[a-zß-ÿ]{3})(?=[RL](?![^\W_]))")
_DIGITS = re.compile(r"(?<=[^\W\d_]{3})(?=\d)|(?<=\d)(?=[^\W\d_]{3})")
_SCRIPTS = re.compile(rf"(?<=[{IDEOGRAPHS}])(?=[^\W{IDEOGRAPHS}])|(?<=[^\W{IDEOGRAPHS}])(?=[{IDEOGRAPHS}])")
_APART = re.compile(r"[\W_]+")
_UMLAUT = re.compile(r"([aou])e")

_MOJIBAKE = re.compile("[ÂÃÄÅ][\u0080-\u00bf\u0152-\u2122]")
_LOST = re.compile(r"(?:[^\W\d_]+(?:\?|\ufffd){1,2}|(?<!\S)(?:\?|\ufffd){1,2}(?=[^\W\d_]{3}))[^\W\d_]+")
_LOST_LETTERS = "aoueinsclz"
"""What a letter with an accent that a device wrote as "?" may have been, without its accent."""


@lru_cache(maxsize=4096)
def plain_words(text: str) -> str:
    """Fold a header's text to lower-case words between single spaces, with one more at each end.

    Accents go (and ä, ae and a become one), camelCase and underscores are taken apart, digits are parted from words
    of three letters or more. Behind bars follow other readings of single words: "sagknee" as "sag knee", "Kniere"
    as "knie re", "Pr?stata" as "prostata".
    """
    text = _mended(text)
    words = _words(text)
    readings = [reading for word in words for reading in _unglued(word)]
    readings += [reading for found in _LOST.findall(text) for reading in _guesses(found)]
    return f" {' | '.join([' '.join(words), *dict.fromkeys(readings)])} "


def normal_body_part(value: str) -> str:
    """BodyPartExamined without spaces, hyphens and case: "L-Spine" is LSPINE."""
    return _APART.sub("", value).upper()


def fold(text: str) -> str:
    """Lower case without accents; ä, ae and a are one. Turkish "sağ" (right) becomes "sagh": "sag" is sagittal."""
    lower = unicodedata.normalize("NFC", text.casefold()).translate(_LETTERS).replace("sağ", "sagh")
    decomposed = unicodedata.normalize("NFKD", lower)
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _UMLAUT.sub(r"\1", bare)


def _words(text: str) -> list[str]:
    folded = _DIGITS.sub(" ", fold(_CAMEL.sub(" ", text)))
    if not folded.isascii():
        folded = _SCRIPTS.sub(" ", folded)
    return _APART.sub(" ", folded).split()


def _mended(text: str) -> str:
    """UTF-8 that was read as Latin-1 made whole again."""
    if text.isascii() or not _MOJIBAKE.search(text):
        return text
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


def _unglued(word: str) -> list[str]:
    found = [f"{part[1]} {part[2]}"] if (part := _GLUED.fullmatch(word)) else []
    stem = _STEM.fullmatch(word)
    if stem and stem["stem"] != word:
        parts = (*_BESIDE_STEM.findall(stem["before"]), stem["side"], stem["stem"])
        found.append(" ".join([*filter(None, parts), *_BESIDE_STEM.findall(stem["after"])]))
    return found


def _guesses(found: str) -> list[str]:
    """A word with lost letters, with each letter that they may have been."""
    return [" ".join(_words(re.sub(r"(?:\?|\ufffd)+", letter, found))) for letter in _LOST_LETTERS]
