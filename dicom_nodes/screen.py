"""Headers of one series in; those that may be part of a volume out, and the rule that the others break.

Each rule looks at one object; the table `RULES` is their order, and the first that breaks is the one that is told.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.geometry import missing_geometry
from dicom_nodes.headers import Header

SUPPORTED = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

REMEDIES: Mapping[Rule, str] = MappingProxyType({
    Rule.MODALITY: "Send MR series only",
    Rule.SOP_CLASS: "Send the series as MR, Enhanced MR or Legacy Converted Enhanced MR Image Storage",
    Rule.PIXEL_DATA: "Send the images with their pixel data",
    Rule.TRUNCATED: "Send the series again; an image was cut off",
    Rule.UNDECODABLE: "Send the series again, uncompressed if possible",
    Rule.FILE: "Send the instance again",
    Rule.GEOMETRY: "Send the original images of the scanner, with position and orientation",
    Rule.ORIENTATION: "Send a series with one orientation",
    Rule.ROTATED: "Send a series of parallel slices with one orientation",
    Rule.MOVIE: "Send a series that covers the body part slice by slice; a movie of one slice is no volume",
    Rule.TOO_FEW: "Send the whole series, or leave scouts and single images out",
    Rule.DUPLICATE: "Send each repetition as a series of its own",
    Rule.SPACING: "Send the whole series again; images may be missing",
    Rule.SHEARED: "Send a series whose slices are stacked along their normal",
    Rule.MATRIX: "Send images of one matrix and pixel size",
    Rule.COLOUR: "Send the greyscale images that the colour images were made from",
    Rule.MIXED_PATIENTS: "Correct the series in the archive: its images name more than one patient",
    Rule.MOSAIC: "Send the series as single slices or as Enhanced MR",
    Rule.DERIVED: "Send the original images of the scanner",
})  # fmt: skip

_NO_STACK = frozenset({
    "PROJECTION IMAGE", "MIP", "MINIP", "MNIP", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "VOLUME RENDERING", "VRT",
    "SURFACE_RENDER", "SURFACE SHADED", "CURVED_MPR", "CPR", "SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE",
})  # fmt: skip
"""Values of ImageType, FrameType or VolumeBasedCalculationTechnique of images that are no slices of the patient."""


def screen(series_uid: str, headers: Sequence[Header]) -> tuple[tuple[Header, ...], tuple[SeriesUnreadable, ...]]:
    """Part the objects of a series into those that may make volumes and, rule by rule, those that may not.

    An instance that is there twice counts once. A series of several patients is refused whole, and so are images
    in several frames of reference, of which a series has but one (PS3.3 C.7.4.1.1.1).
    """
    ranked = sorted(headers, key=lambda header: header.pixel_fault is None)  # of two copies the whole one stays
    distinct = list({header.sop_instance_uid: header for header in ranked}.values())
    patients = len({header.patient_digest for header in distinct})
    if patients > 1:
        detail = f"the {len(distinct)} images of the series name {patients} patients"
        return (), (_unreadable(Rule.MIXED_PATIENTS, series_uid, detail),)
    good: list[Header] = []
    refused: dict[tuple[Rule, str], list[Header]] = {}
    for header in distinct:
        fault = next(((rule, said) for rule, broken in RULES if (said := broken(header))), None)
        if fault is None:
            good.append(header)
        else:
            refused.setdefault(fault, []).append(header)
    spaces = len({header.frame_of_reference_uid for header in good})
    if spaces > 1:
        refused[Rule.GEOMETRY, f"{spaces} frames of reference, so positions do not compare"] = good
    return () if spaces > 1 else tuple(good), tuple(
        _unreadable(rule, series_uid, f"{said} ({_which(bad)})") for (rule, said), bad in refused.items()
    )


def _modality(header: Header) -> str:
    return "" if header.modality == "MR" else f"Modality is {header.modality or 'absent'}"


def _sop_class(header: Header) -> str:
    known = header.sop_class_uid in SUPPORTED or header.sop_class_uid == EnhancedMRColorImageStorage
    return "" if known else f"SOP class is {UID(header.sop_class_uid, validation_mode=IGNORE).name}"


def _colour(header: Header) -> str:
    if header.photometric_interpretation in ("MONOCHROME1", "MONOCHROME2") and header.samples_per_pixel == 1:
        return ""
    stated = header.photometric_interpretation or "absent"
    return f"PhotometricInterpretation is {stated} with {header.samples_per_pixel} samples per pixel"


def _vendor_grid(header: Header) -> str:
    return "the slices are tiles of one image" if header.vendor_grid else ""


def _derived(header: Header) -> str:
    stated = set(header.image_type)
    for frame in header.frames[:1]:
        for keyword in ("FrameType", "VolumeBasedCalculationTechnique"):
            stated |= set(frame.facts.get(keyword, "").upper().split("\\"))
    found = sorted(stated & _NO_STACK)
    return f"the image type says {found[0]}" if found else ""


def _pixel_data(header: Header) -> str:
    missing = header.pixel_fault is not None and header.pixel_fault[0] is Rule.PIXEL_DATA
    return header.pixel_fault[1] if missing and header.pixel_fault else ""


def _geometry(header: Header) -> str:
    if header.frame_count > 1 and header.frame_count != len(header.frames):
        told = len(header.frames) if header.frames[0].ref.frame_number and len(header.frames) > 1 else 0
        return f"functional groups of {told} frames for {header.frame_count} frames"
    return next((said for frame in header.frames if (said := missing_geometry(frame))), "")


RULES: tuple[tuple[Rule, Callable[[Header], str]], ...] = (
    (Rule.MODALITY, _modality),
    (Rule.SOP_CLASS, _sop_class),
    (Rule.PIXEL_DATA, _pixel_data),
    (Rule.COLOUR, _colour),
    (Rule.MOSAIC, _vendor_grid),
    (Rule.DERIVED, _derived),
    (Rule.GEOMETRY, _geometry),
)
"""Each rule and what says how an object breaks it; an empty sentence where it does not."""


def _which(headers: Sequence[Header]) -> str:
    first = f"instance {headers[0].sop_instance_uid}"
    return first if len(headers) == 1 else f"{len(headers)} instances, first {first.removeprefix('instance ')}"


def _unreadable(rule: Rule, series_uid: str, detail: str) -> SeriesUnreadable:
    return SeriesUnreadable(rule, series_uid, detail, REMEDIES[rule])
