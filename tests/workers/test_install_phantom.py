"""The shipped phantom models, installed like any other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.workers.installs import save
from workers.install.phantom import SHIPPED, phantom_store
from workers.phantom_models import calibrate
from workers.runners.checkpoint import read as read_checkpoint

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_phantom_models_are_installed_once_and_are_mended(tmp_path: Path) -> None:
    store = phantom_store(tmp_path / "phantoms")
    first = store.installed()
    assert [model.network for model in first] == [
        "mrannotator-abdomen", "mrannotator-pelvis-prostate", "mrannotator-shoulder-knee", "mrannotator-spine",
    ]  # fmt: skip
    assert all(model.phantom and not model.licence_accepted for model in first)
    assert phantom_store(tmp_path / "phantoms").installed() == first

    (store.path("mrannotator-spine") / "fold_0.safetensors").write_bytes(b"torn")
    phantom_store(tmp_path / "phantoms")

    store.verify("mrannotator-spine")


def test_newer_phantom_models_replace_older_ones(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "Dataset001_Abdomen", tmp_path / "shipped" / "Dataset001_Abdomen")
    older = phantom_store(tmp_path / "phantoms", tmp_path / "shipped").get("mrannotator-abdomen")
    calibrate.shift(next((tmp_path / "shipped").rglob("checkpoint_final.pth")), 0.4)
    newer = phantom_store(tmp_path / "phantoms", tmp_path / "shipped").get("mrannotator-abdomen")
    assert newer.version != older.version


def test_several_processes_may_ask_for_the_phantom_models_at_once(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from workers.install.phantom import phantom_store; "
    program += "print(len(phantom_store(Path(sys.argv[1])).installed()))"
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "phantoms")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["4", "4", "4"]


def test_a_calibration_counts_from_the_weights_as_they_were_trained(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    weights = {"decoder.seg_layers.0.bias": torch.tensor([1.0, 2.0])}
    torch.save({"network_weights": weights}, file)
    assert calibrate.shifted_by(file) == 0.0
    for step in (0.5, 0.5, 0.25):
        calibrate.shift(file, step)
        bias = torch.load(file, weights_only=True)["network_weights"]["decoder.seg_layers.0.bias"]
        assert calibrate.shifted_by(file) == step
        assert torch.equal(bias, torch.tensor([1.0 - step, 2.0]))


def test_what_a_checkpoint_says_of_itself_is_read_from_it(plain: Path) -> None:
    save(plain, inference_allowed_mirroring_axes=(0, 2))
    saved = read_checkpoint(plain / "fold_0" / "checkpoint_final.pth")
    assert (saved.heads, saved.channels) == (3, 1)
    assert (saved.trainer, saved.configuration, saved.mirroring_axes) == (
        "nnUNetTrainerNoMirroring", "3d_fullres", (0, 2),
    )  # fmt: skip
