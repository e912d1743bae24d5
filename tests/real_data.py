"""Where the real DICOM for tests is: the folder that SAGITTAL_TEST_DATA names, or `../shared/data`.

It is never copied into the project; tests that read it skip where it is absent.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SAGITTAL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

needed = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no real DICOM at {ROOT}; set SAGITTAL_TEST_DATA to a folder that holds it"
)
"""Marks a test, or a module by `pytestmark`, that reads the real data."""


def folder(name: str) -> Path:
    """One folder of the real data, as `prostate/px0001_t2_tra`; skips the test where it is absent."""
    path = ROOT / name
    if not path.is_dir():
        pytest.skip(f"no real DICOM at {path}; set SAGITTAL_TEST_DATA to a folder that holds it")
    return path


def files(name: str) -> list[Path]:
    """All files of one folder of the real data, sorted."""
    return sorted(path for path in folder(name).rglob("*") if path.is_file())


def folders() -> list[str]:
    """The names of all folders that hold DICOM, sorted; empty where the real data are absent."""
    if not ROOT.is_dir():
        return []
    kinds = sorted(path for path in ROOT.iterdir() if path.is_dir() and path.name != "nifti")
    return [f"{kind.name}/{path.name}" for kind in kinds for path in sorted(kind.iterdir()) if path.is_dir()]
