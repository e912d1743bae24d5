"""The named errors, by what a caller does about them.

SagittalError
├── ConfigurationError      correct the file it names
├── SeriesUnreadable        say which rule of which series broke; nobody tries again
├── ModelUnusable           say which model is missing or broken; try again once it is mended
├── EmptyResult             record that the model found nothing; there is no object to send
├── ResultUnsound           send nothing and tell someone: the result does not fit its source
├── Unreachable             try again later
└── Refused                 tell someone: the peer answered, and the answer was no
"""

from enum import StrEnum


class SagittalError(Exception):
    """The root of every error that Sagittal raises on purpose."""


class ConfigurationError(SagittalError):
    """A file of the site is wrong; the message names the file, the line, the key and what is allowed."""


class Rule(StrEnum):
    """The rules that a series must keep to become a volume."""

    MODALITY = "wrong modality"
    SOP_CLASS = "unsupported SOP class"
    PIXEL_DATA = "no pixel data"
    TRUNCATED = "truncated pixel data"
    UNDECODABLE = "undecodable pixel data"
    FILE = "unreadable file"
    GEOMETRY = "missing geometry"
    ORIENTATION = "mixed orientations"
    ROTATED = "slices turned against each other"
    TOO_FEW = "too few slices"
    MOVIE = "one position only"
    DUPLICATE = "duplicate positions"
    SPACING = "uneven slice spacing"
    SHEARED = "slices not stacked along their normal"
    MATRIX = "mixed matrix"
    COLOUR = "colour image"
    MIXED_PATIENTS = "mixed patients"
    MOSAIC = "mosaic or vendor grid"
    DERIVED = "not an acquired volume"


class SeriesUnreadable(SagittalError):
    """A series, or one part of it, cannot become a volume: which rule broke, with what, and what to do."""

    def __init__(self, rule: Rule, series_uid: str, detail: str, remedy: str) -> None:
        super().__init__(f"series {series_uid}: {rule.value}: {detail}. {remedy}")
        self.rule = rule
        self.series_uid = series_uid
        self.detail = detail
        self.remedy = remedy


class ModelUnusable(SagittalError):
    """A sub-model's folder is absent, incomplete, changed or of another kind."""


class EmptyResult(SagittalError):
    """A label map without a single labelled voxel: no Segmentation may be written of it (PS3.3 C.8.20.2)."""


class ResultUnsound(SagittalError):
    """A result contradicts its source or itself, in geometry, labels or patient, and must not leave the house."""


class Unreachable(SagittalError):
    """A peer could not be reached, or the association broke; the same request may succeed later."""


class Refused(SagittalError):
    """A peer answered with a failure: its status and comment are the message."""

    def __init__(self, peer: str, status: int | None, comment: str) -> None:
        shown = "" if status is None else f"status 0x{status:04X}"
        super().__init__(": ".join(filter(None, (f"{peer} refused", shown, comment))))
        self.status = status
        self.comment = comment
