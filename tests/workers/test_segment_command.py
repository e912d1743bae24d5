"""`sagittal segment`: one folder in, one SEG out, without a network."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.verify import dice_by_structure, geometry_differences

pytestmark = pytest.mark.slow


def segment(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "segment", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_folder_becomes_a_seg_that_agrees_with_the_truth(tmp_path: Path) -> None:
    phantom = make_phantom("abdomen", 71, voxel_scale=1.5)
    series = write_dicom(phantom, tmp_path / "series", vendor="philips", enhanced=True)
    out = tmp_path / "result.dcm"
    done = segment(tmp_path / "series", "--model", "mrannotator-abdomen", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "liver" in done.stdout
    assert geometry_differences(out, series.paths) == ()
    names = {value: name for name, value in phantom.labels.items()}
    dice = dice_by_structure(out, phantom.truth, phantom.affine, names)
    assert min(dice.values()) >= 0.70


def test_a_series_of_another_protocol_is_not_segmented_by_mistake(tmp_path: Path) -> None:
    write_dicom(make_phantom("lumbar", 72, voxel_scale=4.0), tmp_path / "series")
    done = segment(tmp_path / "series", "--model", "mrannotator-abdomen", "--out", tmp_path / "result.dcm")
    assert done.returncode == 1
    assert "lumbar" in done.stderr
    assert "--protocol" in done.stderr
    assert not (tmp_path / "result.dcm").exists()


def test_an_unknown_model_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    unknown = segment(tmp_path / "empty", "--model", "mrannotator-heart", "--out", tmp_path / "result.dcm")
    assert "mrannotator-abdomen" in unknown.stderr
    empty = segment(tmp_path / "empty", "--model", "mrannotator-abdomen", "--out", tmp_path / "result.dcm")
    assert "no DICOM files" in empty.stderr
    assert "Traceback" not in unknown.stderr + empty.stderr
