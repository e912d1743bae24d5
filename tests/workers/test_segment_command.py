"""`sagittal segment`: one folder in, one SEG out, without a network."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import PHANTOM_SOURCE
from service.verify import dice_by_structure, geometry_differences

pytestmark = pytest.mark.slow


def segment(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return sagittal("segment", *arguments)


def sagittal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *map(str, arguments)]
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
    algorithm = dcmread(out).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmSource == PHANTOM_SOURCE, "not the authors of the model that it stands for"


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


def test_installed_weights_give_what_the_phantom_models_give(tmp_path: Path, repository: Path) -> None:
    write_dicom(make_phantom("abdomen", 73, voxel_scale=4.0), tmp_path / "series")
    plain = repository / "workers" / "phantom_models" / "Dataset001_Abdomen"
    installed = sagittal("models", "install", plain, "--as", "mrannotator-abdomen", "--folder", tmp_path / "models")
    assert installed.returncode == 0, installed.stderr
    said = []
    for weights in ("phantom", tmp_path / "models"):
        out = tmp_path / "result.dcm"
        done = segment(tmp_path / "series", "--model", "mrannotator-abdomen", "--weights", weights, "--out", out)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "liver" in said[0]


def test_a_sub_model_whose_weights_are_not_installed_says_how_to_get_them(tmp_path: Path) -> None:
    write_dicom(make_phantom("abdomen", 74, voxel_scale=6.0), tmp_path / "series")
    name, models = "totalsegmentator-total-mr-fast", tmp_path / "models"
    done = segment(tmp_path / "series", "--model", name, "--weights", models, "--out", tmp_path / "result.dcm")
    assert done.returncode == 1
    assert "totalsegmentator-852 is not installed" in done.stderr
    assert "sagittal models install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_protocol_that_a_sub_model_does_not_serve_is_refused_with_those_it_does(tmp_path: Path) -> None:
    write_dicom(make_phantom("abdomen", 75, voxel_scale=6.0), tmp_path / "series")
    out = tmp_path / "result.dcm"
    done = segment(tmp_path / "series", "--model", "mrannotator-shoulder-knee", "--protocol", "spine", "--out", out)
    assert done.returncode == 1
    assert "does not serve spine; it serves: shoulder, knee" in done.stderr
