"""The runner against nnU-Net itself, and against folders and checkpoints that are not what they should be."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from dicom_nodes.errors import ModelUnusable
from workers.phantom_models.datasets import Recipe
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json
from workers.runners import nnunet

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TINY = Recipe(
    dataset="Dataset999_Tiny",
    labels=("spleen", "kidney_right"),
    protocols=("abdomen",),
    transpose=(2, 0, 1),
    spacing_mm=(3.0, 2.0, 2.0),
    patch=(8, 16, 16),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    flat_stages=1,
    features=(4, 8, 8),
    cases=1,
    iterations=1,
)
SPACING_MM = (1.7, 1.9, 3.3)


def quiet(_stage: str, _fraction: float) -> None:
    pass


def network() -> torch.nn.Module:
    architecture = plans_json(TINY)["configurations"][CONFIGURATION]["architecture"]
    torch.manual_seed(7)
    built: torch.nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        len(TINY.labels) + 1,
        deep_supervision=False,
    )
    return built


def checkpoint(**changes: object) -> dict[str, object]:
    return {
        "network_weights": network().state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`DatasetXXX_NAME` with one trained model: real architecture, random weights."""
    trained = tmp_path / TINY.dataset / f"nnUNetTrainerNoMirroring__nnUNetPlans__{CONFIGURATION}"
    (trained / "fold_0").mkdir(parents=True)
    (trained / "plans.json").write_text(json.dumps(plans_json(TINY)))
    (trained / "dataset.json").write_text(json.dumps(dataset_json(TINY, 1)))
    torch.save(checkpoint(), trained / "fold_0" / "checkpoint_final.pth")
    return trained.parent


def trained_in(folder: Path) -> Path:
    return next(folder.glob("*__3d_fullres"))


def checkpoint_in(folder: Path, fold: int = 0) -> Path:
    return trained_in(folder) / f"fold_{fold}" / "checkpoint_final.pth"


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def volume(shape: tuple[int, int, int] = (25, 30, 12)) -> np.ndarray:
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(3)), size=shape, mode="trilinear"
    )
    return (smooth[0, 0].numpy() * 300 + 500).astype(np.float32)


def test_a_prediction_equals_that_of_nnunets_own_predictor_on_the_same_folder(folder: Path) -> None:
    model = nnunet.load(folder, threads=1)
    stock = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(trained_in(folder)), (0,))

    found = model.predict(volume(), SPACING_MM, quiet)

    expected = stock.predict_single_npy_array(volume()[None], {"spacing": list(SPACING_MM)})
    assert found.dtype == np.uint8
    assert found.shape == volume().shape
    assert len(np.unique(found)) > 1
    assert np.array_equal(found, expected)


def test_folds_are_averaged_as_nnunet_averages_them(folder: Path) -> None:
    other = {k: v * 0.5 for k, v in network().state_dict().items()}
    checkpoint_in(folder, 1).parent.mkdir()
    torch.save(checkpoint(network_weights=other), checkpoint_in(folder, 1))
    stock = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(trained_in(folder)), (0, 1))

    both = nnunet.load(folder, threads=1).predict(volume(), SPACING_MM, quiet)

    expected = stock.predict_single_npy_array(volume()[None], {"spacing": list(SPACING_MM)})
    assert np.array_equal(both, expected)


def test_progress_goes_through_the_stages_in_order_and_reaches_the_end_of_each(folder: Path) -> None:
    heard: list[tuple[str, float]] = []

    nnunet.load(folder, threads=1).predict(volume(), SPACING_MM, lambda *step: heard.append(step))

    stages = list(dict.fromkeys(stage for stage, _ in heard))
    assert stages == ["preprocess", "network", "resample"]
    for stage in stages:
        fractions = [fraction for name, fraction in heard if name == stage]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0
        assert fractions[-1] == 1.0
    assert len([1 for stage, _ in heard if stage == "network"]) > 3, "one call per tile"


def test_the_number_of_torch_threads_is_as_before_after_a_prediction(folder: Path) -> None:
    before = torch.get_num_threads()
    nnunet.load(folder, threads=before + 1).predict(volume(), SPACING_MM, quiet)
    assert torch.get_num_threads() == before


def test_labels_and_version_come_from_the_folder(folder: Path) -> None:
    model = nnunet.load(folder)
    same = nnunet.load(trained_in(folder))
    shutil.copytree(folder, folder.with_name("copy"))
    change_json(trained_in(folder.with_name("copy")) / "dataset.json", description="another")

    assert dict(model.labels) == {"background": 0, "spleen": 1, "kidney_right": 2}
    assert model.digest == same.digest
    assert len(model.digest) == 64
    assert nnunet.load(folder.with_name("copy")).digest != model.digest


def test_a_model_is_a_phantom_model_by_its_checkpoint_and_not_by_its_name_or_description(folder: Path) -> None:
    assert "PHANTOM" in (trained_in(folder) / "dataset.json").read_text()
    assert not nnunet.load(folder).phantom
    torch.save(checkpoint(sagittal_phantom=True), checkpoint_in(folder))
    change_json(trained_in(folder) / "dataset.json", description="clinical")
    assert nnunet.load(folder).phantom


def test_an_unstripped_checkpoint_with_a_training_log_is_read(folder: Path) -> None:
    log = {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "epochs": [np.int64(1)]}
    torch.save(checkpoint(logging=log, _best_ema=np.float64(0.5)), checkpoint_in(folder))
    assert nnunet.load(folder).labels


class Bomb:
    """Makes the folder that it is told of when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_that_wants_something_run_is_refused_and_nothing_is_run(folder: Path) -> None:
    target = folder / "executed"
    torch.save(checkpoint(logging=Bomb(target)), checkpoint_in(folder))

    with pytest.raises(ModelUnusable, match=r"checkpoint_final\.pth: refused, it asks to run posix\.mkdir"):
        nnunet.load(folder)

    assert not target.exists()


def test_plans_that_name_a_class_from_elsewhere_are_refused(folder: Path) -> None:
    plans = plans_json(TINY)
    plans["configurations"][CONFIGURATION]["architecture"]["network_class_name"] = "os.system"
    (trained_in(folder) / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelUnusable, match=r"plans\.json: 3d_fullres asks to import 'os\.system'"):
        nnunet.load(folder)


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (trained_in(folder) / name).unlink()
    with pytest.raises(ModelUnusable, match=Path(name).name):
        nnunet.load(folder)


def test_a_missing_fold_is_named(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"fold_3/checkpoint_final\.pth"):
        nnunet.load(folder, folds=(0, 3))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="absent: no such folder"):
        nnunet.load(tmp_path / "absent")


def test_several_trained_models_in_one_folder_ask_for_a_choice(folder: Path) -> None:
    shutil.copytree(trained_in(folder), folder / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}")
    with pytest.raises(ModelUnusable, match="several trained models"):
        nnunet.load(folder)


def test_a_label_table_that_does_not_fit_the_network_is_refused(folder: Path) -> None:
    change_json(trained_in(folder) / "dataset.json", labels={"background": 0, "spleen": 1})
    with pytest.raises(ModelUnusable, match=r"tells 3 classes apart, dataset\.json names 2"):
        nnunet.load(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    weights = network().state_dict()
    weights.pop(next(iter(weights)))
    torch.save(checkpoint(network_weights=weights), checkpoint_in(folder))
    with pytest.raises(ModelUnusable, match="do not fit the plans"):
        nnunet.load(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    weights = network().state_dict()
    next(iter(weights.values()))[0] = float("nan")
    torch.save(checkpoint(network_weights=weights), checkpoint_in(folder))
    with pytest.raises(ModelUnusable, match="not finite"):
        nnunet.load(folder)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_named(folder: Path, content: bytes) -> None:
    checkpoint_in(folder).write_bytes(content)
    with pytest.raises(ModelUnusable, match=r"checkpoint_final\.pth"):
        nnunet.load(folder)


def test_a_model_of_two_images_is_refused(folder: Path) -> None:
    change_json(trained_in(folder) / "dataset.json", channel_names={"0": "T1", "1": "T2"})
    with pytest.raises(ModelUnusable, match="wants 2 images"):
        nnunet.load(folder)


def test_overlapping_regions_are_refused(folder: Path) -> None:
    change_json(trained_in(folder) / "dataset.json", labels={"background": 0, "whole": [1, 2], "core": 2})
    with pytest.raises(ModelUnusable, match="overlapping regions"):
        nnunet.load(folder)
