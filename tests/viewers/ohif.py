"""OHIF in a headless Chromium on a real archive: what it shows of Segmentations, in its own state."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VIEWERS = Path(os.environ.get("SAGITTAL_VIEWERS") or Path(__file__).parents[2] / ".viewers")
"""What `.ci/viewers` fills: OHIF's built files, and what drives the browser."""
_SECONDS = 240


@dataclass(frozen=True)
class ShownSegment:
    """A segment as the viewer lists it."""

    number: int
    label: str
    rgb: tuple[int, ...]
    voxels: int
    """How many of the viewer's own labelmap have its number."""


@dataclass(frozen=True)
class ShownSegmentation:
    """A Segmentation as the viewer lists it."""

    title: str
    segments: tuple[ShownSegment, ...]


@dataclass(frozen=True)
class Shown:
    """What the viewer shows of a study."""

    segmentations: tuple[ShownSegmentation, ...]
    """Those that were asked for, in that order."""
    errors: tuple[str, ...]
    """What the page threw."""
    report: str
    """The text of the page while it shows the report; empty where none was asked for."""


def missing() -> str:
    """What this machine lacks to run OHIF; empty if nothing."""
    programs = [name for name in ("node", "chromium") if shutil.which(name) is None]
    return ", ".join([*programs, *([] if (VIEWERS / "ready").is_file() else [f"OHIF in {VIEWERS} (.ci/viewers)"])])


def show(
    archive_url: str, study_uid: str, seg_series_uids: Sequence[str], report_series_uid: str, folder: Path
) -> Shown:
    """Open a study of an archive with DICOMweb and load Segmentations of it; `folder` gets `ohif.png`."""
    out = folder / "ohif.json"
    arguments = {
        "viewers": VIEWERS,
        "archive": archive_url,
        "chromium": shutil.which("chromium"),
        "study": study_uid,
        "report": report_series_uid,
        "report-picture": folder / "ohif-report.png",
        "out": out,
        "picture": folder / "ohif.png",
    }
    pairs = [*arguments.items(), *(("seg", uid) for uid in seg_series_uids)]
    words = [word for name, value in pairs for word in (f"--{name}", str(value))]
    script = Path(__file__).with_name("ohif.mjs")
    done = subprocess.run(["node", script, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    segmentations = tuple(_shown(each) for each in found["segmentations"])
    return Shown(segmentations, tuple(found["errors"]), found.get("report", ""))


def _shown(found: dict[str, Any]) -> ShownSegmentation:
    assert "error" not in found, found
    segments = (ShownSegment(s["number"], s["label"], tuple(s["colour"]), s["voxels"]) for s in found["segments"])
    return ShownSegmentation(found["title"], tuple(segments))
