"""The attributes of an object in; whether it shows a phantom or an animal out, and nothing else of who it is.

A patient's own name must never make a phantom of them: what may be a family name counts only where nothing else of
the name is a person's, and the short words of quality control only where they are a whole component of the name.
"""

import re
from collections.abc import Sequence

from dicom_nodes.attributes import FrameView
from dicom_nodes.elements import text, text_of_items

PHANTOM = "phantom"
ANIMAL = "animal"

_DEVICE = re.compile(
    r"(?:phantom|phantome|phantoms|fantome|fantoom|fantomas|eurospin|magphan|catphan|kalibr\w*|calibration"
    r"|waterbottle|testobject|wasserflasche)\d*|.*(?:ファントム|体模|水模|模体).*"
)
"""A word of a name or of an ID that no person bears."""
_PHRASE = re.compile(
    r"\b(?:test (?:object|bottle|sphere)|water (?:bottle|sphere)|oil bottle|quality (?:assurance|control))\b"
    r"|\b(?:acr|nist|qa|qc) (?:\w+ )*(?:daily|weekly|monthly|annual|test|qa|qc)\b"
    r"|\b(?:daily|weekly|monthly|annual) (?:acr|nist|qa|qc)\b"
)
_MAY_BE_A_NAME = re.compile(r"(?:fantom|nist|acr)\d*")
_NO_PERSON = re.compile(r".*\d.*|mr|mri|qa|qc|test|service")
"""What may stand beside a word that may be a family name, and leave it a phantom's."""
_WHOLE = re.compile(r"(?:qa|qc|qaqc|qa qc)(?: ?\d{1,4})?")
_HUMAN = re.compile(r"human|homo\b|mensch|humain|umano|ヒト|\b人", re.IGNORECASE)
_HUMAN_CODES = frozenset({"337915000", "L-85B00", "9606"})
"""Homo sapiens: SNOMED CT, its older form (PS3.16 CID 7454), NCBI taxonomy."""
_UNSAID = frozenset({"", "UNKNOWN", "UNK", "N/A", "NA", "NONE", "U", "H"})


def subject(view: FrameView) -> str:
    """Say `PHANTOM` or `ANIMAL`; empty where nothing tells, as for a human being."""
    if is_animal(view):
        return ANIMAL
    controlled = text(view.value("QualityControlImage")).upper() == "YES"
    names = (text(view.value("PatientName")), text(view.value("PatientID")))
    return PHANTOM if controlled or any(map(names_phantom, names)) else ""


def is_animal(view: FrameView) -> bool:
    """Say whether an attribute of the patient is filled that only animals have (PS3.3 C.7.1.1)."""
    species = text(view.value("PatientSpeciesDescription"))
    coded_species = view.value("PatientSpeciesCodeSequence")
    codes = text_of_items(coded_species, "CodeValue").split("\\") if isinstance(coded_species, Sequence) else [""]
    described = species.upper() not in _UNSAID and _HUMAN.search(species) is None
    coded = codes != [""] and not _HUMAN_CODES & set(codes)
    bred = text(view.value("PatientBreedDescription")).upper() not in _UNSAID
    owned = text(view.value("ResponsiblePersonRole")).upper() == "OWNER"
    neutered = text(view.value("PatientSexNeutered")).upper() in ("ALTERED", "UNALTERED")
    return described or coded or bred or owned or neutered


def names_phantom(name: str) -> bool:
    """Say whether a PatientName or PatientID is a phantom's."""
    components = [_plain(each) for each in re.split(r"[\^=]", name.casefold())]
    words = [word for component in components for word in component.split()]
    if any(map(_DEVICE.fullmatch, words)) or _PHRASE.search(" ".join(words)) is not None:
        return True
    if any(map(_WHOLE.fullmatch, components)):
        return True
    others = [word for word in words if _MAY_BE_A_NAME.fullmatch(word) is None]
    return len(others) < len(words) and all(map(_NO_PERSON.fullmatch, others))


def _plain(component: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", component).split())
