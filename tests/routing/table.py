"""The tables of header sets in; volumes, the truth of each, and how a decision compares with it, out."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from dicom_nodes.types import Plane, Volume
from service.routing.route import RouteDecision

FOLDER = Path(__file__).parent
EIGHT = frozenset({"abdomen", "pelvis", "prostate", "shoulder", "knee", "cervical", "thoracic", "lumbar"})
KEYWORDS = {
    "body_part": "BodyPartExamined",
    "protocol": "ProtocolName",
    "series": "SeriesDescription",
    "study": "StudyDescription",
}
MANUFACTURERS = {
    "siemens": "SIEMENS",
    "siemens-xa": "Siemens Healthineers",
    "ge": "GE MEDICAL SYSTEMS",
    "philips": "Philips Medical Systems",
    "canon": "CANON_MEC",
    "uih": "UIH",
    "hitachi": "Hitachi Medical Corporation",
    "esaote": "ESAOTE",
}
AXES = {
    # columns, rows and slices run toward these (L, P, S)
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
MATRIX = 256


@dataclass(frozen=True)
class Row:
    """One header set and its truth."""

    table: str
    line: int
    volume: Volume
    truth: str
    """A protocol with its side, "other" (not one of the eight), "none" (nobody), "doubt" (held or unrouted)."""

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.table}:{self.line}"


def rows() -> list[Row]:
    """Every row of every table."""
    return [row for path in sorted(FOLDER.glob("*.tsv")) for row in _rows(path)]


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for line, values in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=2):
            yield Row(path.stem, line, _volume(values), values["truth"].strip())


def _volume(values: dict[str, str]) -> Volume:
    facts = {"Modality": "MR", "Manufacturer": MANUFACTURERS[values["vendor"]]}
    facts |= {keyword: values[column] for column, keyword in KEYWORDS.items()}
    for pair in filter(None, (part.strip() for part in values["more"].split(";"))):
        keyword, _, value = pair.partition("=")
        facts[keyword.strip()] = value.strip()
    pixel, pitch = float(values["fov_mm"]) / MATRIX, float(values["pitch_mm"])
    shape = (int(values["slices"]), MATRIX, MATRIX)
    affine = np.eye(4)
    affine[:3, :3] = np.array(AXES[values["plane"]]).T * (pixel, pixel, pitch)
    affine[:3, 3] = -affine[:3, :3] @ ((MATRIX - 1) / 2, (MATRIX - 1) / 2, (shape[0] - 1) / 2)
    said = {keyword: value for keyword, value in facts.items() if value}
    return Volume(
        "1.2", "1.1", "1.3", 1, "", (), affine, shape, Plane(values["plane"]), 0.0, MappingProxyType(said)
    )


def outcome(decision: RouteDecision) -> str:
    """One of the eight with its side, "other" for a route of a system that runs otherwise, "" for none."""
    if not decision.routes:
        return ""
    (route,) = decision.routes
    if not route.submodel.startswith("mrannotator-"):
        return "other"
    return f"{route.protocol} {route.laterality.value}" if route.laterality else route.protocol


def is_right(found: str, truth: str) -> bool:
    """Whether the outcome is what the truth asks for; a held or unrouted series is right where nothing is asked."""
    if truth == "other":
        return found in ("other", "")
    return found == ("" if truth in ("none", "doubt") else truth)


def is_wrong(found: str, truth: str) -> bool:
    """Whether a sub-model would run that must not, or for the wrong side; a side that is missed is not wrong."""
    without_side = truth.partition(" ")[0]
    return bool(found) and found != without_side and not is_right(found, truth)
