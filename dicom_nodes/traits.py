"""The attributes of one frame in; what tells it from other frames at the same place out: echo, b-value, time.

Each trait is one function in the table `TRAITS`; vendors that keep it elsewhere than the standard does have a line
in it. A trait is a number or a word, so that the parts of a series can be sorted; None where the frame is silent.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from dicom_nodes.attributes import FrameView, numbers, tag, text

Trait = float | str

_COMPONENT = {
    "M": "magnitude", "M_FFE": "magnitude", "M_SE": "magnitude", "M_IR": "magnitude", "MAGNITUDE": "magnitude",
    "P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "P_FFE": "phase", "P_SE": "phase", "P_IR": "phase",
    "R": "real", "REAL": "real", "R_FFE": "real", "R_SE": "real", "R_IR": "real",
    "I": "imaginary", "IMAGINARY": "imaginary", "I_FFE": "imaginary", "I_SE": "imaginary", "I_IR": "imaginary",
}  # fmt: skip
_GE_COMPONENT = {0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"}
_DIXON = {
    "W": "water", "WATER": "water", "F": "fat", "FAT": "fat", "IP": "in phase", "IN_PHASE": "in phase",
    "INPHASE": "in phase", "OP": "opposed phase", "OPP_PHASE": "opposed phase", "OUT_PHASE": "opposed phase",
    "OUTPHASE": "opposed phase", "OPPOSED_PHASE": "opposed phase",
    "FF": "fat fraction", "FAT_FRACTION": "fat fraction",
}  # fmt: skip
_B_VALUE_TAGS = (
    tag(0x0018, 0x9087),  # DiffusionBValue
    tag(0x0019, 0x100C),  # Siemens
    tag(0x2001, 0x1003),  # Philips
    tag(0x0065, 0x1009),  # United Imaging
)
_GE_B_VALUE = tag(0x0043, 0x1039)
_GE_IMAGE_TYPE = tag(0x0043, 0x102F)
_GE_GRADIENT = (tag(0x0019, 0x10BB), tag(0x0019, 0x10BC), tag(0x0019, 0x10BD))
_SIEMENS_GRADIENT = tag(0x0019, 0x100E)
_SIEMENS_SEQUENCE_NAME = re.compile(r"^\*?ep_b(\d+)(?![\d_])")


def component(view: FrameView) -> Trait | None:
    """Tell magnitude, phase, real and imaginary apart."""
    stated = text(view.value("ComplexImageComponent")).lower()
    if stated in _COMPONENT.values():
        return stated
    by_type = _first(_image_type(view), _COMPONENT)
    if by_type is None and "GE" in text(view.value("Manufacturer")).upper().split():
        code = numbers(view.value(_GE_IMAGE_TYPE), 1)
        return None if code is None else _GE_COMPONENT.get(int(code[0]))
    return by_type


def dixon(view: FrameView) -> Trait | None:
    """Tell the parts of a fat-water separation apart."""
    return _first(_image_type(view), _DIXON)


def echo(view: FrameView) -> Trait | None:
    """Give EchoNumbers; Enhanced objects have only the echo time."""
    return _number(view, "EchoNumbers")


def echo_time_ms(view: FrameView) -> Trait | None:
    """Give EchoTime or EffectiveEchoTime, to the microsecond."""
    return _number(view, "EchoTime", 3)


def b_value(view: FrameView) -> Trait | None:
    """Give the b-value in s/mm², from the standard's attribute, the vendor's, or Siemens' sequence name."""
    for where in ("DiffusionBValue", *_B_VALUE_TAGS):
        found = numbers(view.value(where), 1)
        if found is not None:
            return round(found[0])
    named = _SIEMENS_SEQUENCE_NAME.match(text(view.value("SequenceName")))
    return float(named[1]) if named else _ge_b_value(view)


def gradient(view: FrameView) -> Trait | None:
    """Give the direction of the diffusion gradient, as text."""
    inner = view.value("DiffusionGradientDirectionSequence")
    nested = inner[0].get("DiffusionGradientOrientation") if isinstance(inner, list) and inner else None
    places = [nested, view.value("DiffusionGradientOrientation"), view.value(_SIEMENS_GRADIENT)]
    places.append([view.value(each) for each in _GE_GRADIENT])
    direction = next((found for place in places if (found := numbers(place, 3))), None)
    return None if direction is None else ", ".join(f"{each:.4f}" for each in direction)


def temporal_position(view: FrameView) -> Trait | None:
    """Give the temporal position: index in Enhanced objects, identifier in classic ones."""
    index = _number(view, "TemporalPositionIndex")
    return _number(view, "TemporalPositionIdentifier") if index is None else index


def acquisition(view: FrameView) -> Trait | None:
    """Give the acquisition number of the frame or of the object."""
    number = _number(view, "FrameAcquisitionNumber")
    return _number(view, "AcquisitionNumber") if number is None else number


def trigger_ms(view: FrameView) -> Trait | None:
    """Give the delay after the heartbeat: nominal in Enhanced objects, TriggerTime in classic ones."""
    nominal = _number(view, "NominalCardiacTriggerDelayTime", 1)
    return _number(view, "TriggerTime", 1) if nominal is None else nominal


def image_type(view: FrameView) -> Trait | None:
    """Give the whole FrameType or ImageType."""
    return "\\".join(_image_type(view)) or None


TRAITS: Mapping[str, Callable[[FrameView], Trait | None]] = MappingProxyType({
    "component": component,
    "dixon": dixon,
    "echo": echo,
    "echo time": echo_time_ms,
    "b": b_value,
    "gradient": gradient,
    "inversion time": lambda view: _number(view, "InversionTime", 3),
    "flip angle": lambda view: _number(view, "FlipAngle", 3),
    "time": temporal_position,
    "time offset": lambda view: _number(view, "TemporalPositionTimeOffset", 3),
    "trigger": trigger_ms,
    "acquisition": acquisition,
    "image type": image_type,
    "stack": lambda view: text(view.value("StackID")) or None,
})  # fmt: skip
"""Name of the trait to how a frame is asked for it."""


def _image_type(view: FrameView) -> list[str]:
    stated = text(view.value("FrameType")) or text(view.value("ImageType"))
    return [part.strip().upper() for part in stated.split("\\")] if stated else []


def _first(parts: list[str], words: Mapping[str, str]) -> str | None:
    """Find the first of the values after Pixel Data Characteristics and Patient Examination Characteristics."""
    return next((words[part] for part in parts[2:] if part in words), None)


def _number(view: FrameView, keyword: str, digits: int = 0) -> float | None:
    found = numbers(view.value(keyword), 1)
    return None if found is None else round(found[0], digits)


def _ge_b_value(view: FrameView) -> float | None:
    """Read GE's b-value, the first of four numbers; newer software adds 10⁹ to it."""
    found = numbers(view.value(_GE_B_VALUE), 4)
    return None if found is None else round(found[0] % 100_000)
