"""docs/conformance.md in; its sections, tables and numbers out."""

import re
from pathlib import Path

from pydicom.uid import UID

from dicom_nodes.encode import SOP_CLASSES, sheet, sr, text

DOCUMENT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
NEWER_NAMES = {SOP_CLASSES["labelmap"]: "Label Map Segmentation Storage"}  # than pydicom's dictionary
BESIDE = {"sr": sr, "text": text, "sheet": sheet}


def section(title: str) -> str:
    """The text below a heading, as far as the next one of any rank."""
    found = re.search(rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#+ |\Z)", DOCUMENT, re.M | re.S)
    assert found is not None, title
    return found[1]


def rows(text: str, columns: int) -> list[tuple[str, ...]]:
    """The cells of every row of the tables with so many columns, their heads with them."""
    cells = (tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in text.splitlines())
    return [tuple(cell.strip(" |") for cell in row) for row in cells if len(row) == columns]


def pairs(text: str) -> dict[str, str]:
    """The tables with two columns, as one."""
    return {row[0]: row[1] for row in rows(text, 2)}


def spelt(ranges: str) -> set[int]:
    """The numbers that "200, 202 to 204" names."""
    ends = [[int(end) for end in part.split(" to ")] for part in ranges.split(", ")]
    return {number for first, *last in ends for number in range(first, (last or [first])[0] + 1)}


def name_of(sop_class_uid: str) -> str:
    return NEWER_NAMES.get(sop_class_uid, UID(sop_class_uid).name)


def sop_class_of(kind: str) -> str:
    return SOP_CLASSES[kind] if kind in SOP_CLASSES else str(BESIDE[kind].KIND.sop_class_uid)
