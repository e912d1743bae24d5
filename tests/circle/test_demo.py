"""`sagittal demo`: what a newcomer runs first ends well, and what it says came back is there."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread

from service.phantom.protocols import PROTOCOLS

pytestmark = pytest.mark.slow


def test_the_demo_brings_eight_verified_results_back(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "service", "demo", "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 came back right" in done.stdout
    results = [dcmread(path, stop_before_pixels=True) for path in (folder / "pacs").glob("*/*.dcm")]
    assert Counter(result.Modality for result in results) == {"SEG": len(PROTOCOLS), "SR": 2 * len(PROTOCOLS)}
    assert done.stdout.count(", with measurements") >= len(PROTOCOLS)
    assert len({result.StudyInstanceUID for result in results}) == len(PROTOCOLS)
    assert all("PHANTOM" in result.SeriesDescription for result in results)
    assert {path.stem for path in (folder / "pictures").glob("*.png")} == set(PROTOCOLS)
    phrase = "nothing here is for clinical use"
    assert phrase in done.stdout
