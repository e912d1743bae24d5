"""The attributes of one frame in; which of several pictures of the same tissue it is out.

Magnitude or phase, a map of a field or of a parameter, a part of a fat-water separation, a map made of diffusion
images: from the standard's attributes first, then the vendor's, and the description where these are silent.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from dicom_nodes.attributes import FrameView
from dicom_nodes.elements import numbers, text

_COMPONENT: Mapping[str, str] = MappingProxyType({
    "M": "magnitude", "M_FFE": "magnitude", "M_SE": "magnitude", "M_IR": "magnitude", "MAGNITUDE": "magnitude",
    "M_PCA": "magnitude", "PHASE CONTRAST M": "magnitude", "FFE/M": "magnitude",
    "P": "phase", "PHASE": "phase", "P_FFE": "phase", "P_SE": "phase", "P_IR": "phase", "P_PCA": "phase",
    "R": "real", "REAL": "real", "R_FFE": "real", "R_SE": "real", "R_IR": "real",
    "I": "imaginary", "IMAGINARY": "imaginary", "I_FFE": "imaginary", "I_SE": "imaginary", "I_IR": "imaginary",
})  # fmt: skip
_MAP = re.compile(r"^(.+?)[ _]?MAPS?$")
_MAPS: Mapping[str, str] = MappingProxyType({
    "PHASE": "phase", "VELOCITY": "phase", "B0": "field map", "FIELD": "field map", "DELTA B0": "field map",
    "T2_STAR": "T2* map", "T2STAR": "T2* map", "T2 STAR": "T2* map",
    "R2_STAR": "R2* map", "R2STAR": "R2* map", "R2 STAR": "R2* map",
})  # fmt: skip
_ALWAYS_MAPS: Mapping[str, str] = MappingProxyType(
    {
        "R2_STAR": "R2* map",
        "R2STAR": "R2* map",
        "R2*": "R2* map",
        "DELTA_B0": "field map",
        "B0_FIELD": "field map",
    }
)
"""Values that mean a map by themselves; `T2_STAR` alone is an acquisition's contrast (PS3.3 C.8.13.1)."""
_PHILIPS_MAPS: Mapping[str, str] = MappingProxyType({
    "B0": "field map", "B1": "B1 map", "T1": "T1 map", "T2": "T2 map", "T2_STAR": "T2* map", "R1": "R1 map",
    "R2": "R2 map", "R2_STAR": "R2* map", "RHO": "PD map", "ADC": "ADC map",
})  # fmt: skip
"""What the private image type of Philips calls its maps."""
_GE_COMPONENT: Mapping[int, str] = MappingProxyType({0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"})

_DIXON: Mapping[str, str] = MappingProxyType({
    "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IP": "in phase", "IN_PHASE": "in phase", "INPHASE": "in phase", "IN PHASE": "in phase",
    "OP": "opposed phase", "OPP_PHASE": "opposed phase", "OUT_PHASE": "opposed phase",
    "OUTPHASE": "opposed phase", "OPPOSED_PHASE": "opposed phase", "OUT PHASE": "opposed phase",
    "OPPOSED PHASE": "opposed phase", "OUT_OF_PHASE": "opposed phase", "OUT OF PHASE": "opposed phase",
    "OPPPHASE": "opposed phase", "OPP PHASE": "opposed phase",
    "FF": "fat fraction", "FAT_FRACTION": "fat fraction", "FAT FRACTION": "fat fraction", "PDFF": "fat fraction",
    "FATFRACTION": "fat fraction", "FAT_FRAC": "fat fraction",
    "WF": "water fraction", "WATER_FRACTION": "water fraction",
})  # fmt: skip
_SHORT_DIXON: Mapping[str, str] = MappingProxyType({
    "IN": "in phase", "OPP": "opposed phase", "OUT": "opposed phase", "OPPOSED": "opposed phase",
})  # fmt: skip
"""Said so only beside the name of a fat-water separation."""

_SEPARATION = re.compile(
    r"[a-z\d]*dixon\w*|(?<![a-z])(?:ideal(?: ?iq)?|lava ?flex|wfi|wfop|wfs|fat ?sep)(?![a-z])|star ?map"
)
"""The names of fat-water separations: Siemens and Philips Dixon, GE IDEAL and Flex, UIH wfi, Canon WFOP and WFS,
Hitachi and Fujifilm FatSep."""
_PARTS: tuple[tuple[str, str], ...] = (
    (r"p?d?ff|fat ?frac(?:tion)?", "fat fraction"),
    (r"water ?frac(?:tion)?", "water fraction"),
    (r"in ?phase|inph|ip", "in phase"),
    (r"opp?(?: ?ph(?:ase)?)?|opposed(?: ?phase)?|out(?: ?of)? ?phase|oop|outph", "opposed phase"),
    (r"water(?! ?(?:ex|sat|sup|frac))|w", "water"),
    (r"fat(?! ?(?:ex|sat|sup|free|sep|frac))|f", "fat"),
)
_AFTER = tuple((re.compile(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])"), part) for pattern, part in _PARTS)
_BEFORE = (
    (re.compile(r"^\W*water ?:"), "water"),
    (re.compile(r"^\W*fat ?:"), "fat"),
    (re.compile(r"^\W*in ?phase ?:"), "in phase"),
    (re.compile(r"^\W*(?:out(?: ?of)?|opp(?:osed)?) ?phase ?:"), "opposed phase"),
    (re.compile(r"^\W*(?:fat ?fraction|fatfrac|pdff|ff) ?:"), "fat fraction"),
)
"""How GE names the parts of one acquisition: the part, a colon, and the name of the acquisition."""
_LAST = ((re.compile(r"(?<![a-z0-9])in$"), "in phase"), (re.compile(r"(?<![a-z0-9])out$"), "opposed phase"))

_DIFFUSION_MAP: Mapping[str, str] = MappingProxyType({
    "ADC": "ADC", "ADC MAP": "ADC", "ADC_MAP": "ADC", "DIFFUSION_ADC": "ADC", "FA": "FA", "FA_MAP": "FA",
    "COLFA": "FA", "TRACEW": "trace", "TRACE": "trace", "TRACE_WEIGHTED": "trace", "TENSOR": "tensor",
    "EADC": "exponential ADC", "EXP_ADC": "exponential ADC", "EXPONENTIAL_ADC": "exponential ADC",
    "CALC_BVALUE": "calculated", "CALC_BVAL": "calculated", "CALC_B": "calculated",
})  # fmt: skip


def component(view: FrameView) -> str | None:
    """Tell magnitude, phase, real, imaginary and the maps of fields and parameters apart."""
    parts = image_type_parts(view)
    mapped = next((found for part in parts[2:] if (found := _map(part))), None)
    stated = text(view.value("ComplexImageComponent")).lower()
    if mapped is None and stated in _COMPONENT.values():
        mapped = stated
    return mapped or _first(parts, _COMPONENT) or _VENDOR_COMPONENT.get(vendor(view), _silent)(view)


def dixon(view: FrameView) -> str | None:
    """Tell the parts of a fat-water separation apart."""
    parts = image_type_parts(view)
    short = _first(parts, _SHORT_DIXON) if "DIXON" in parts else None
    philips = _DIXON.get(_philips_type(view)) if vendor(view) == "philips" else None
    return _first(parts, _DIXON) or short or philips or dixon_in_words(text(view.value("SeriesDescription")))


@lru_cache(maxsize=256)
def dixon_in_words(description: str) -> str | None:
    """Read the part of a fat-water separation from a description; None where none, or more than one, is named."""
    words = " ".join(re.sub(r"[_\-./+=,]+", " ", description.casefold()).split())
    before = next((part for pattern, part in _BEFORE if pattern.search(words)), None)
    separation = _SEPARATION.search(words)
    if before or separation is None:
        return before
    after = words[separation.end() :]
    found = {part for pattern, part in (*_AFTER, *_LAST) if pattern.search(after)}
    return found.pop() if len(found) == 1 else None


def diffusion_map(view: FrameView) -> str | None:
    """Name what was made of diffusion images, by the image type: ADC, FA, trace-weighted, calculated b-value."""
    return _first(image_type_parts(view), _DIFFUSION_MAP)


def vendor(view: FrameView) -> str:
    """Name the maker of the scanner, as far as its private attributes are read here."""
    return _vendor(text(view.value("Manufacturer")))


@lru_cache(maxsize=256)
def _vendor(manufacturer: str) -> str:
    words = manufacturer.casefold().replace("_", " ").split()
    return next((name for word, name in _VENDORS.items() if word in words), "")


_VENDORS: Mapping[str, str] = MappingProxyType({
    "siemens": "siemens", "ge": "ge", "philips": "philips", "uih": "uih", "united": "uih",
    "canon": "canon", "toshiba": "canon",
})  # fmt: skip


def image_type_parts(view: FrameView) -> tuple[str, ...]:
    """Split FrameType, or else ImageType, into its values."""
    return _parts(text(view.value("FrameType")) or text(view.value("ImageType")))


@lru_cache(maxsize=256)
def _parts(stated: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in stated.split("\\")) if stated else ()


def _map(part: str) -> str | None:
    """Name the map that a value of the image type means; None where it means none."""
    named = _MAP.match(part)
    if named is None:
        return _ALWAYS_MAPS.get(part)
    return _MAPS.get(named[1], f"{named[1]} map")


def _first(parts: Sequence[str], words: Mapping[str, str]) -> str | None:
    """Find the first of the values after Pixel Data Characteristics and Patient Examination Characteristics."""
    return next((words[part] for part in parts[2:] if part in words), None)


def _philips_type(view: FrameView) -> str:
    return text(view.value("PhilipsImageTypeMR")).upper()


def _philips(view: FrameView) -> str | None:
    stated = _philips_type(view)
    return _PHILIPS_MAPS.get(stated) or _COMPONENT.get(stated)


def _ge(view: FrameView) -> str | None:
    code = numbers(view.value("GEComponent"), 1)
    return None if code is None else _GE_COMPONENT.get(int(code[0]))


def _silent(_view: FrameView) -> None:
    return None


_VENDOR_COMPONENT: Mapping[str, Callable[[FrameView], str | None]] = MappingProxyType(
    {"philips": _philips, "ge": _ge}
)
