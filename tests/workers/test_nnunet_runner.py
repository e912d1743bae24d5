"""The runner on installed models, against nnU-Net itself on the plain folders they were installed from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from dicom_nodes.errors import ModelUnusable
from service.modelstore import RECORD
from tests.workers.trained import SPACING_MM, TRAINED, checkpoint, dataset_folder, installed, network
from workers.runners import nnunet, weights

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def quiet(_stage: str, _fraction: float) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`TRAINER__PLANS__CONFIGURATION` with one fold: real architecture, random weights."""
    return dataset_folder(tmp_path / "plain") / TRAINED


@pytest.fixture
def model_folder(folder: Path, tmp_path: Path) -> Path:
    """The same, installed."""
    return installed(folder, tmp_path / "models")


def volume(shape: tuple[int, int, int] = (25, 30, 12)) -> np.ndarray:
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(3)), size=shape, mode="trilinear"
    )
    return (smooth[0, 0].numpy() * 300 + 500).astype(np.float32)


def by_nnunet(folder: Path, folds: tuple[int, ...] = (0,)) -> np.ndarray:
    """What nnU-Net's own predictor finds with the plain folder."""
    stock = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    (folder / "stock").mkdir()
    for fold in folds:  # it looks up the trainer, which it cannot import beside a CPU build of torch
        saved = torch.load(folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
        (folder / "stock" / f"fold_{fold}").mkdir()
        torch.save({**saved, "trainer_name": "nnUNetTrainer"}, folder / f"stock/fold_{fold}/checkpoint_final.pth")
    for name in ("plans.json", "dataset.json"):
        shutil.copy(folder / name, folder / "stock")
    stock.initialize_from_trained_model_folder(str(folder / "stock"), folds)
    found: np.ndarray = stock.predict_single_npy_array(volume()[None], {"spacing": list(SPACING_MM)})
    return found


def test_a_prediction_equals_that_of_nnunets_own_predictor_on_the_plain_folder(
    folder: Path, model_folder: Path
) -> None:
    found = nnunet.load(model_folder, threads=1).predict(volume(), SPACING_MM, quiet)

    assert found.dtype == np.uint8
    assert found.shape == volume().shape
    assert len(np.unique(found)) > 1
    assert np.array_equal(found, by_nnunet(folder))


def test_folds_are_averaged_as_nnunet_averages_them(folder: Path, tmp_path: Path) -> None:
    other = {k: v * 0.5 for k, v in network().state_dict().items()}
    (folder / "fold_1").mkdir()
    torch.save(checkpoint(network_weights=other), folder / "fold_1" / "checkpoint_final.pth")

    model = nnunet.load(installed(folder, tmp_path / "models"), threads=1)

    both = model.predict(volume(), SPACING_MM, quiet)
    assert np.array_equal(both, by_nnunet(folder, (0, 1)))
    first = model.varied((0,), mirroring=False, tile_step=0.5).predict(volume(), SPACING_MM, quiet)
    assert not np.array_equal(first, both)


def test_progress_goes_through_the_stages_in_order_and_reaches_the_end_of_each(model_folder: Path) -> None:
    heard: list[tuple[str, float]] = []

    nnunet.load(model_folder, threads=1).predict(volume(), SPACING_MM, lambda *step: heard.append(step))

    stages = list(dict.fromkeys(stage for stage, _ in heard))
    assert stages == ["preprocess", "network", "resample"]
    for stage in stages:
        fractions = [fraction for name, fraction in heard if name == stage]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0
        assert fractions[-1] == 1.0
    assert len([1 for stage, _ in heard if stage == "network"]) > 3, "one call per tile"


def test_the_number_of_torch_threads_is_as_before_after_a_prediction(model_folder: Path) -> None:
    before = torch.get_num_threads()
    nnunet.load(model_folder, threads=before + 1).predict(volume(), SPACING_MM, quiet)
    assert torch.get_num_threads() == before


def test_labels_size_and_version_come_from_the_installed_model(model_folder: Path) -> None:
    model = nnunet.load(model_folder)
    weights_count = sum(parameter.numel() for parameter in network().parameters())

    assert dict(model.labels) == {"background": 0, "spleen": 1, "kidney_right": 2}
    assert model.version == model.digest == json.loads((model_folder / RECORD).read_text())["version"]
    assert weights_count * 0.9 < model.bytes / 4 <= weights_count, "equal weights are stored once"


def test_a_model_is_a_phantom_model_by_its_checkpoint_and_not_by_its_name_or_description(
    folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    assert "PHANTOM" in (model_folder / "dataset.json").read_text()
    assert not nnunet.load(model_folder).phantom
    torch.save(checkpoint(sagittal_phantom=True), folder / "fold_0" / "checkpoint_final.pth")
    description = json.loads((folder / "dataset.json").read_text()) | {"description": "clinical"}
    (folder / "dataset.json").write_text(json.dumps(description))
    assert nnunet.load(installed(folder, tmp_path / "others")).phantom


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0.safetensors"])
def test_a_changed_byte_in_any_file_is_refused_and_the_file_named(model_folder: Path, name: str) -> None:
    content = bytearray((model_folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model_folder / name).write_bytes(content)
    with pytest.raises(ModelUnusable, match=rf"{name}: was changed after it was installed"):
        nnunet.load(model_folder)


@pytest.mark.parametrize("name", [RECORD, "plans.json", "dataset.json", "fold_0.safetensors"])
def test_a_missing_file_is_named(model_folder: Path, name: str) -> None:
    (model_folder / name).unlink()
    with pytest.raises(ModelUnusable, match=rf"{name}: cannot be read"):
        nnunet.load(model_folder)


def test_a_record_that_was_changed_is_refused(model_folder: Path) -> None:
    record = json.loads((model_folder / RECORD).read_text())
    record["originals"]["plans.json"] = "0" * 64
    (model_folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(ModelUnusable, match="the record was changed"):
        nnunet.load(model_folder)


def test_a_fold_that_is_not_installed_is_named_with_those_that_are(model_folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="fold 3 is asked for; installed are 0"):
        nnunet.load(model_folder, folds=(0, 3))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="absent: no such folder"):
        nnunet.load(tmp_path / "absent")


def test_a_plain_folder_is_never_run(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="is it an installed model"):
        nnunet.load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_come_back_bit_for_bit_in_their_own_precision_and_the_encoder_is_kept_once(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    halves: dict[int, torch.Tensor] = {}
    state = {k: halves.setdefault(v.data_ptr(), v.to(dtype)) for k, v in network().state_dict().items()}

    count = weights.write(state, tmp_path / "fold_0.safetensors")
    back = weights.read(tmp_path / "fold_0.safetensors")

    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype is dtype
        assert torch.equal(back[name].view(torch.uint8), tensor.view(torch.uint8)), name
    encoder = [name for name in state if name.startswith("encoder.")]
    assert all(back[name].data_ptr() == back[f"decoder.{name}"].data_ptr() for name in encoder)
    assert (tmp_path / "fold_0.safetensors").stat().st_size < 1.3 * count * dtype.itemsize + 20_000


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 40, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_weights_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fold_0.safetensors").write_bytes(content)
    with pytest.raises(ModelUnusable, match=r"fold_0\.safetensors: not readable as safetensors"):
        weights.read(tmp_path / "fold_0.safetensors")
