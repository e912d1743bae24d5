"""What the header of an MR series says, by vendor: protocol, contrast, plane and side in; keywords and values out.

The habits are those of real series: how Siemens (syngo MR E11, XA), GE (MR30) and Philips (R5, R11) name protocols,
body parts and image types, which side they state, in which order they number slices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicom_nodes.types import Laterality, Plane
from service.phantom.contrast import Contrast


class Vendor(StrEnum):
    """A manufacturer whose habits we know."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"


@dataclass(frozen=True, slots=True)
class Scanner:
    """The equipment that a header names."""

    manufacturer: str
    model: str
    software: tuple[str, ...]
    tesla: float
    station: str
    stored_bits: int
    signed: bool
    rescale_slope: float
    """Philips stores scaled values; 1 elsewhere."""
    first_slice: Mapping[Plane, float]
    """Sign of the patient axis along which instances are numbered: +1 toward L, P or S."""


_SIEMENS_ORDER = {Plane.AXIAL: 1.0, Plane.SAGITTAL: 1.0, Plane.CORONAL: -1.0}
_GE_ORDER = {Plane.AXIAL: -1.0, Plane.SAGITTAL: 1.0, Plane.CORONAL: 1.0}
_PHILIPS_ORDER = {Plane.AXIAL: 1.0, Plane.SAGITTAL: -1.0, Plane.CORONAL: 1.0}
_GE = Scanner(
    "GE MEDICAL SYSTEMS", "SIGNA Artist", ("30", "LX", "MR Software release:MR30.1_R03_2346.a"), 1.5,
    "MRGE1", 16, True, 1.0, _GE_ORDER,
)  # fmt: skip

SCANNERS: Mapping[tuple[Vendor, bool], Scanner] = {
    (Vendor.SIEMENS, False): Scanner(
        "SIEMENS", "Skyra", ("syngo MR E11",), 3.0, "MRSIE1", 12, False, 1.0, _SIEMENS_ORDER
    ),
    (Vendor.SIEMENS, True): Scanner(
        "Siemens Healthineers", "MAGNETOM Sola", ("syngo MR XA51",), 1.5, "MRSIE2", 12, False, 1.0, _SIEMENS_ORDER
    ),
    (Vendor.GE, False): _GE,
    (Vendor.GE, True): _GE,
    (Vendor.PHILIPS, False): Scanner(
        "Philips Medical Systems", "Ingenia", ("5.7.1", "5.7.1.2"), 3.0, "MRPHI1",
        12, False, 1.31062271062271, _PHILIPS_ORDER,
    ),
    (Vendor.PHILIPS, True): Scanner(
        "Philips", "Ingenia Elition X", ("11.0.0", "11.0.0.0"), 3.0, "MRPHI2",
        12, False, 1.29304029304029, _PHILIPS_ORDER,
    ),
}  # fmt: skip
"""By vendor, and whether it writes Enhanced MR."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a contrast is made: times in ms, flip in degrees."""

    family: str
    """tse, tir, h (single-shot) or fl: Siemens' short names."""
    weighting: str
    repetition: float
    echo: float
    echo_train: int
    flip: float
    bandwidth: float
    """Hz per pixel."""
    inversion: float | None = None
    fat_suppressed: bool = False

    @property
    def scanning_sequence(self) -> list[str]:
        """ScanningSequence (0018,0020)."""
        return {"tir": ["SE", "IR"], "fl": ["GR"]}.get(self.family, ["SE"])

    @property
    def sequence_name(self) -> str:
        """Siemens' SequenceName: family, dimensions and echo train."""
        return f"*{self.family}2d1" if self.family == "fl" else f"*{self.family}2d1_{self.echo_train}"


_T1 = Pulse("tse", "T1", 620, 11, 3, 150, 250)
_T2 = Pulse("tse", "T2", 3800, 98, 17, 150, 200)
_PD = Pulse("tse", "PD", 2600, 32, 7, 150, 195)
_PD_FS = Pulse("tse", "PD", 3100, 36, 7, 150, 195, fat_suppressed=True)
_T2_FS = Pulse("tse", "T2", 4200, 84, 17, 150, 200, fat_suppressed=True)
_STIR = Pulse("tir", "T2", 4600, 62, 13, 150, 215, inversion=160, fat_suppressed=True)
_GRADIENT_BREATH_HOLD = Pulse("fl", "T1", 128, 4.8, 1, 70, 270)
_SINGLE_SHOT = Pulse("h", "T2", 1100, 92, 128, 150, 700)
_SINGLE_SHOT_FS = Pulse("h", "T2", 1100, 92, 128, 150, 700, fat_suppressed=True)
_USUAL = {Contrast.T1: _T1, Contrast.T2: _T2, Contrast.PD: _PD, Contrast.FAT_SUPPRESSED: _STIR}
_JOINT = _USUAL | {Contrast.FAT_SUPPRESSED: _PD_FS}
_PULSES: Mapping[str, Mapping[Contrast, Pulse]] = {
    "abdomen": _USUAL
    | {
        Contrast.T1: _GRADIENT_BREATH_HOLD,
        Contrast.T2: _SINGLE_SHOT,
        Contrast.FAT_SUPPRESSED: _SINGLE_SHOT_FS,
    },
    "prostate": _USUAL | {Contrast.FAT_SUPPRESSED: _T2_FS},
    "shoulder": _JOINT,
    "knee": _JOINT,
}


def pulse(protocol: str, contrast: Contrast) -> Pulse:
    """The pulse sequence usual for a contrast in a region: the abdomen in breath hold, STIR in the spine."""
    return _PULSES.get(protocol, _USUAL)[contrast]


@dataclass(frozen=True, slots=True)
class Region:
    """What is imaged, in the words of headers."""

    body_part: str
    german: str
    english: str
    french: str
    exam: str
    """GE's ProtocolName names the exam, not the series."""
    anatomy: tuple[str, str]
    """Code (SRT, as scanners still write) and meaning for AnatomicRegionSequence."""
    paired: bool = False
    sex: str = "O"


REGIONS: Mapping[str, Region] = {
    "abdomen": Region(
        "ABDOMEN", "Oberbauch", "ABDOMEN", "abdomen", "LIVER ROUTINE", ("T-D4000", "Abdomen"), sex="F"
    ),
    "pelvis": Region("PELVIS", "Becken", "PELVIS", "bassin", "BONY PELVIS", ("T-D6000", "Pelvis"), sex="M"),
    "prostate": Region(
        "PROSTATE", "Prostata", "PROSTATE", "prostate", "PROSTATE", ("T-92000", "Prostate"), sex="M"
    ),
    "shoulder": Region(
        "SHOULDER", "Schulter", "SHOULDER", "épaule", "SHOULDER", ("T-D2220", "Shoulder"), True, "F"
    ),
    "knee": Region("KNEE", "Knie", "KNEE", "genou", "KNEE", ("T-D9200", "Knee"), True, "M"),
    "cervical": Region(
        "CSPINE", "HWS", "CERVICAL SPINE", "rachis cervical", "C-SPINE WO", ("T-11501", "Cervical spine"), sex="F"
    ),
    "thoracic": Region(
        "TSPINE", "BWS", "THORACIC SPINE", "rachis dorsal", "T-SPINE WO", ("T-11502", "Thoracic spine"), sex="M"
    ),
    "lumbar": Region(
        "LSPINE", "LWS", "LUMBAR SPINE", "rachis lombaire", "L-SPINE WO", ("T-11503", "Lumbar spine"), sex="F"
    ),
}
_GERMAN = {Laterality.RIGHT: " rechts", Laterality.LEFT: " links", None: ""}
_ENGLISH = {Laterality.RIGHT: " RIGHT", Laterality.LEFT: " LEFT", None: ""}
_FRENCH = {
    ("épaule", Laterality.RIGHT): " droite", ("épaule", Laterality.LEFT): " gauche",
    ("genou", Laterality.RIGHT): " droit", ("genou", Laterality.LEFT): " gauche",
}  # fmt: skip
_PLANE_WORDS = {
    Vendor.SIEMENS: {Plane.AXIAL: "tra", Plane.SAGITTAL: "sag", Plane.CORONAL: "cor"},
    Vendor.GE: {Plane.AXIAL: "Ax", Plane.SAGITTAL: "Sag", Plane.CORONAL: "Cor"},
    Vendor.PHILIPS: {Plane.AXIAL: "TRA", Plane.SAGITTAL: "SAG", Plane.CORONAL: "COR"},
}


def series_description(vendor: Vendor, sequence: Pulse, plane: Plane, columns: int) -> str:
    """As `t2_tse_sag_320`, `Sag T2 FSE` and `T2W_TSE_SAG`."""
    words = _PLANE_WORDS[vendor][plane]
    fat = sequence.fat_suppressed and sequence.family != "tir"
    if vendor is Vendor.SIEMENS:
        family = {"h": "haste", "fl": "fl2d", "tir": "tirm"}.get(sequence.family, "tse")
        return f"{sequence.weighting.lower()}_{family}_{'fs_' if fat else ''}{words}_{columns}"
    if vendor is Vendor.GE:
        family = {"h": "SSFSE", "fl": "FSPGR BH", "tir": "STIR"}.get(sequence.family, "FSE")
        weighting = "" if sequence.family == "tir" else sequence.weighting + " "
        return f"{words} {weighting}{'FS ' if fat else ''}{family}"
    family = {"h": "SSh", "fl": "FFE_BH"}.get(sequence.family, "SPAIR" if fat else "TSE")
    weighting = "STIR" if sequence.family == "tir" else f"{sequence.weighting}W"
    return f"{weighting}_{family}_{words}"


def study_description(vendor: Vendor, region: Region, side: Laterality | None) -> str:
    """As `MR Knie rechts`, `MRI KNEE RIGHT W/O CONTRAST` and `IRM genou droit`."""
    if vendor is Vendor.SIEMENS:
        return f"MR {region.german}{_GERMAN[side]}"
    if vendor is Vendor.GE:
        return f"MRI {region.english}{_ENGLISH[side]} W/O CONTRAST"
    return f"IRM {region.french}{_FRENCH[region.french, side] if side else ''}"


def naming(
    vendor: Vendor, protocol: str, sequence: Pulse, plane: Plane, side: Laterality | None, columns: int
) -> dict[str, Any]:
    """The names by which routing recognises a series: keyword to value; a side only where the part is paired.

    GE leaves the body part out for joints, and Laterality empty: there the side stands in StudyDescription alone.
    """
    region = REGIONS[protocol]
    series = series_description(vendor, sequence, plane, columns)
    names: dict[str, Any] = {
        "StudyDescription": study_description(vendor, region, side if region.paired else None),
        "SeriesDescription": series,
        "ProtocolName": region.exam if vendor is Vendor.GE else series,
    }
    joint = vendor is Vendor.GE and region.paired
    if not joint:
        names["BodyPartExamined"] = region.body_part
    if region.paired:
        names["Laterality"] = side.value if side and not joint else ""
    return names


def image_type(vendor: Vendor, sequence: Pulse, enhanced: bool) -> list[str]:
    """ImageType (0008,0008) of an original magnitude image."""
    if enhanced:
        third = "M" if vendor is Vendor.SIEMENS else acquisition_contrast(sequence)
        return ["ORIGINAL", "PRIMARY", third, "NONE"]
    if vendor is Vendor.SIEMENS:
        return ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]
    if vendor is Vendor.GE:
        return ["ORIGINAL", "PRIMARY", "OTHER"]
    kind = "FFE" if sequence.family == "fl" else "IR" if sequence.family == "tir" else "SE"
    return ["ORIGINAL", "PRIMARY", f"M_{kind}", "M", kind]


def acquisition_contrast(sequence: Pulse) -> str:
    """AcquisitionContrast (0008,9209), PS3.3 C.8.13.3.3.1."""
    if sequence.family == "tir":
        return "STIR"
    return {"PD": "PROTON_DENSITY"}.get(sequence.weighting, sequence.weighting)
