"""One volume in; out: what kind of MR image it is, and the evidence: what for, weighting, sequence, fat, contrast.

`purpose` is "anatomy", or the reason why the volume is not for segmentation whatever it shows. Of several reasons
the first in kinds.toml counts. A word such as "localizer" or "ADC" in a description always counts, for safety.
"""

import re
from dataclasses import dataclass

from dicom_nodes.types import Volume
from service.routing.sequences import FAMILY, contrast_of, fat_of, inversion_of, sequence_of, weighting_of
from service.routing.signs import Clues, Found, KindWords, clues_of, first_sign, shipped_kind_words

__all__ = ["ANATOMY", "KIND_NAMES", "Kind", "KindWords", "kind_of"]

ANATOMY = "anatomy"
PURPOSES = (
    ANATOMY, "not MR", "phantom", "animal", "screen save or report", "spectroscopy or moving images", "localizer",
    "calibration or reference scan", "calculated diffusion image", "diffusion map", "diffusion image",
    "perfusion or dynamic map", "subtraction", "angiography", "projection", "reformat",
    "phase, field or parameter map", "functional or fast echo-planar image", "secondary image",
)  # fmt: skip
WEIGHTINGS = ("T1", "T2", "PD", "T2*", "T2/T1")
INVERSIONS = ("STIR", "FLAIR")
DIXON_PARTS = ("water", "fat", "in phase", "opposed phase", "fat fraction", "water fraction")

KIND_NAMES = frozenset({
    *PURPOSES, *WEIGHTINGS, *FAMILY, *INVERSIONS, *DIXON_PARTS,
    "suppressed", "fat suppressed", "Dixon", "post-contrast", "native",
})  # fmt: skip
"""All names that a kind can have; a rule names no other."""

_PART_OF_DIFFUSION = re.compile(r"(?:^|, )b \d+(?:$|,)")


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of image a volume is."""

    purpose: str
    """One of PURPOSES; only "anatomy" is for segmentation."""
    weighting: str
    """One of WEIGHTINGS, T2/T1 being balanced; empty where nothing tells."""
    sequence: str
    """SE, TSE, HASTE (single shot), GRE, VIBE (3D spoiled), MPRAGE (3D, inverted), bSSFP, EPI; or empty."""
    inversion: str
    """STIR or FLAIR (dark fluid); else empty."""
    fat: str
    """One of DIXON_PARTS, or "suppressed"; empty where neither is stated."""
    contrast: bool | None
    """After contrast medium; None where nothing tells, or the header contradicts itself."""
    reasons: tuple[str, ...]
    """One line for each part that was found."""

    @property
    def suited(self) -> bool:
        """Whether it is for segmentation at all."""
        return self.purpose == ANATOMY

    @property
    def summary(self) -> str:
        """In a few words: what it is for, or the weighting, sequence and so on."""
        if not self.suited:
            return self.purpose
        contrast = {True: "post-contrast", False: "native", None: ""}[self.contrast]
        fat = "fat suppressed" if self.fat == "suppressed" else self.fat
        return " ".join(filter(None, (self.weighting, self.inversion, self.sequence, fat, contrast))) or ANATOMY

    @property
    def why_not(self) -> str:
        """Why it is not for segmentation, in a sentence; empty where it is."""
        if self.suited:
            return ""
        evidence = self.reasons[0].partition(": ")[2]
        return f"it is {_article(self.purpose)}, not for segmentation ({evidence})"

    @property
    def names(self) -> frozenset[str]:
        """Every name that applies, for a rule to ask for; a subset of KIND_NAMES."""
        found = {self.purpose, self.weighting, self.sequence, self.inversion, self.fat} - {""}
        if self.fat in ("suppressed", "water") or self.inversion == "STIR":
            found.add("fat suppressed")
        if self.fat in DIXON_PARTS:
            found.add("Dixon")
        if self.contrast is not None:
            found.add("post-contrast" if self.contrast else "native")
        return frozenset(found)


def _article(purpose: str) -> str:
    if purpose == "not MR":
        return "no MR image"
    many = purpose.endswith("s")
    return purpose if many else f"{'an' if purpose[0] in 'aeiou' else 'a'} {purpose}"


def kind_of(volume: Volume, words: KindWords | None = None) -> Kind:
    """Tell what kind of image the volume is; `words` None means the shipped ones."""
    known = words or shipped_kind_words()
    clues = clues_of(volume.facts)
    sequence = sequence_of(clues, known)
    inversion = inversion_of(clues, known, _name(sequence))
    parts = {
        "purpose": _purpose(volume, clues, known),
        "weighting": weighting_of(clues, known, _name(sequence), _name(inversion)),
        "sequence": sequence,
        "inversion": inversion,
        "fat": fat_of(clues, known),
        "contrast": contrast_of(clues, known),
    }
    reasons = (f"{part} {found.name or 'unknown'}: {found.why}" for part, found in parts.items() if found)
    contrast = {"post-contrast": True, "native": False}.get(_name(parts["contrast"]))
    names = {part: _name(found) for part, found in parts.items() if part != "contrast"}
    return Kind(**names, contrast=contrast, reasons=tuple(reasons))


def _name(found: Found | None) -> str:
    return found.name if found else ""


def _purpose(volume: Volume, clues: Clues, words: KindWords) -> Found:
    modality = clues.said("Modality") or "MR"
    if modality.upper() != "MR":
        return Found("not MR", f"Modality is {modality}")
    if subject := clues.said("Subject").lower():
        return Found(subject, f'Subject is "{subject}"')
    found = first_sign(clues, words.purpose)
    if found and found.name != "functional or fast echo-planar image":
        return found
    if found := _diffusion(volume, clues) or found:
        return found
    if "SECONDARY" in clues.values("ImageType")[1:2]:
        return Found("secondary image", f"ImageType is {clues.said('ImageType')}")
    return Found(ANATOMY, "nothing speaks against it")


def _diffusion(volume: Volume, clues: Clues) -> Found | None:
    """By a b-value above 0, which some scanners write into every image, or as a part of a series of b-values."""
    for keyword in ("BValue", "DiffusionBValue"):
        if (clues.number(keyword) or 0) > 0:
            return Found("diffusion image", f"{keyword} is {clues.said(keyword)}")
    if _PART_OF_DIFFUSION.search(volume.name):
        return Found("diffusion image", f'the series is parted by b-value, this is "{volume.name}"')
    return None
