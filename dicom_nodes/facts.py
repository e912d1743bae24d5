"""What the headers of frames say in; what routing reads of a volume out: by DICOM keyword, or by a name of ours.

Names of ours: `AnatomicRegionSequence.CodeValue` and the like are the code values of a sequence of concepts, joined
by a backslash; `DixonPart`, `Component`, `BValue`, `TemporalPosition` and `EchoNumber` are the traits that may part
the volumes of a series; `Subject` is "phantom" or "animal", and absent for a human being.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from dicom_nodes.attributes import FACTS, VENDOR_FACTS, FrameView
from dicom_nodes.elements import text, text_of_items
from dicom_nodes.traits import Trait

CODED: Mapping[str, str] = MappingProxyType({
    name: f"{name}.CodeValue"
    for name in ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "ProcedureCodeSequence",
                 "RequestedProcedureCodeSequence")
})  # fmt: skip
"""Keyword of a sequence of coded concepts to the name of the fact that has their code values."""

OF_TRAITS: Mapping[str, str] = MappingProxyType({
    "dixon": "DixonPart", "component": "Component", "b": "BValue", "time": "TemporalPosition", "echo": "EchoNumber",
})  # fmt: skip
"""Trait to the name of its fact."""

SUBJECT = "Subject"

_EVERY_FACT = (*FACTS, *VENDOR_FACTS)

FACT_NAMES = frozenset((*_EVERY_FACT, *CODED.values(), *OF_TRAITS.values(), SUBJECT))
"""Every name that a fact can have."""

GATHERED = (
    "BodyPartExamined", "AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", *CODED.values(), "Laterality",
    "ImageLaterality", "FrameLaterality", "ProtocolName", "SeriesDescription", "StudyDescription",
    "PatientPosition", "ContrastBolusAgent", SUBJECT,
)  # fmt: skip
"""Facts of which a volume has what any of its frames says, and not the first alone: where they are not one, the
series is in doubt."""


def object_facts(view: FrameView, subject: str) -> dict[str, str]:
    """Read every fact of an object, which is what a frame says that does not say otherwise."""
    return _read(view, _EVERY_FACT) | ({SUBJECT: subject} if subject else {})


def frame_facts(common: Mapping[str, str], view: FrameView, traits: Mapping[str, Trait]) -> Mapping[str, str]:
    """Add to the facts of an object what a frame of it says by itself."""
    own = _read(view, view.told())
    named = {name: _shown(traits[trait]) for trait, name in OF_TRAITS.items() if trait in traits}
    return MappingProxyType({**common, **own, **named})


def volume_facts(frames: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """Give the facts of a volume of such frames: those of the first, and of `GATHERED` what any of them says."""
    gathered = {name: _joined(frame[name] for frame in frames if name in frame) for name in GATHERED}
    return MappingProxyType({**frames[0], **{name: said for name, said in gathered.items() if said}})


def _read(view: FrameView, keywords: Iterable[str]) -> dict[str, str]:
    found = {}
    for keyword in keywords:
        value = view.value(keyword)
        if said := text(value):
            found[keyword] = said
        if keyword in CODED and isinstance(value, Sequence) and (codes := text_of_items(value, "CodeValue")):
            found[CODED[keyword]] = codes
    return found


def _joined(said: Iterable[str]) -> str:
    return "\\".join(dict.fromkeys(said))


def _shown(trait: Trait) -> str:
    return trait if isinstance(trait, str) else f"{trait:g}"
