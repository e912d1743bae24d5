"""The attributes of one frame in; what tells it from other frames at the same place out: echo, b-value, time.

Each trait is one function in the table `TRAITS`; vendors that keep it elsewhere than the standard does have a line
in it. A trait is a number or a word, so that the parts of a series can be sorted; None where the frame is silent.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from dicom_nodes.attributes import FrameView
from dicom_nodes.components import component, diffusion_map, dixon, image_type_parts, vendor
from dicom_nodes.elements import numbers, text

Trait = float | str

TRACE = "trace"
"""The direction of a diffusion image that was made of several directions."""

_B_VALUES = ("DiffusionBValue", "SiemensBValue", "PhilipsBValue", "UIHBValue")
_GRADIENTS = ("DiffusionGradientOrientation", "SiemensGradient", "UIHGradient")
_GRADIENTS_BY_AXIS = (
    ("GEGradientX", "GEGradientY", "GEGradientZ"),
    ("PhilipsGradientX", "PhilipsGradientY", "PhilipsGradientZ"),
)
_GE_ISOTROPIC = 14
_SIEMENS_SEQUENCE_NAME = re.compile(r"^\*?ep_b(\d+)(?![\d_])")
_CANON_COMMENT = re.compile(r"^b=(\d+(?:\.\d+)?)\(([-\d., ]+)\)")
"""How Toshiba and Canon write b-value and direction into ImageComments."""


def echo_time_ms(view: FrameView) -> Trait | None:
    """Give EchoTime or EffectiveEchoTime, to the microsecond."""
    return _number(view, "EchoTime", 3)


def b_value(view: FrameView) -> Trait | None:
    """Give the b-value in s/mm², from the standard's attribute, the vendor's, or Siemens' sequence name."""
    for where in _B_VALUES:
        found = numbers(view.value(where), 1)
        if found is not None:
            return round(found[0])
    named = _SIEMENS_SEQUENCE_NAME.match(text(view.value("SequenceName")))
    if named:
        return float(named[1])
    commented = _canon_comment(view)
    return round(float(commented[1])) if commented else _ge_b_value(view)


def gradient(view: FrameView) -> Trait | None:
    """Give the direction of the diffusion gradient as text, or `TRACE` where the image is of no one direction."""
    if _isotropic(view):
        return TRACE
    inner = view.value("DiffusionGradientDirectionSequence")
    nested = inner[0].get("DiffusionGradientOrientation") if isinstance(inner, list) and inner else None
    places = [nested, *map(view.value, _GRADIENTS)]
    places += [[view.value(axis) for axis in axes] for axes in _GRADIENTS_BY_AXIS]
    commented = _canon_comment(view)
    places.append(commented[2].split(",") if commented else None)
    direction = next((found for place in places if place is not None and (found := numbers(place, 3))), None)
    return None if direction is None else ", ".join(f"{round(each, 4) + 0.0:.4f}" for each in direction)


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
    return "\\".join(image_type_parts(view)) or None


def derived(view: FrameView) -> Trait | None:
    """Tell original from derived pixels, the first value of the image type."""
    return next((part.lower() for part in image_type_parts(view)[:1] if part in ("ORIGINAL", "DERIVED")), None)


TRAITS: Mapping[str, Callable[[FrameView], Trait | None]] = MappingProxyType({
    "component": component,
    "dixon": dixon,
    "diffusion map": diffusion_map,
    "echo": lambda view: _number(view, "EchoNumbers"),
    "echo time": echo_time_ms,
    "b": b_value,
    "gradient": gradient,
    "inversion time": lambda view: _number(view, "InversionTime", 3),
    "flip angle": lambda view: _number(view, "FlipAngle", 3),
    "time": temporal_position,
    "time offset": lambda view: _number(view, "TemporalPositionTimeOffset", 3),
    "trigger": trigger_ms,
    "acquisition": acquisition,
    "derived": derived,
    "image type": image_type,
    "stack": lambda view: text(view.value("StackID")) or None,
})  # fmt: skip
"""Name of the trait to how a frame is asked for it."""


def _number(view: FrameView, keyword: str, digits: int = 0) -> float | None:
    found = numbers(view.value(keyword), 1)
    return None if found is None else round(found[0], digits)


def _isotropic(view: FrameView) -> bool:
    """Say whether the frame tells that it is of no one direction."""
    stated = (text(view.value(name)).upper() for name in ("DiffusionDirectionality", "SiemensDirectionality"))
    if "ISOTROPIC" in stated or text(view.value("PhilipsDiffusionDirection")).upper() == "I":
        return True
    return vendor(view) == "ge" and numbers(view.value("GEDiffusionDirection"), 1) == (_GE_ISOTROPIC,)


def _ge_b_value(view: FrameView) -> float | None:
    """Read GE's b-value, the first of four numbers; newer software adds 10⁹ to it."""
    found = numbers(view.value("GEBValue"), 4)
    return None if found is None else round(found[0] % 100_000)


def _canon_comment(view: FrameView) -> re.Match[str] | None:
    return _CANON_COMMENT.match(text(view.value("ImageComments"))) if vendor(view) == "canon" else None
