"""What the doctor sees of the models with one thing planted that is wrong, and what it advises."""

import shutil
from pathlib import Path

from service.doctor import models
from service.doctor.seen import Level
from service.modelstore import PHANTOM_LOCK, ModelStore, site_store
from tests.service.doctor.ground import ground, only, wrong
from workers.install.place import locked


def test_models_that_are_missing_changed_or_phantom_are_told(tmp_path: Path, phantom_models: ModelStore) -> None:
    at = ground(tmp_path, weights='"models"')
    missing = wrong(models.models(at))
    assert missing and all("sagittal models install" in each.advice for each in missing)
    folder = tmp_path / "models"
    folder.mkdir()
    for each in phantom_models.installed():
        (folder / each.network).mkdir()
        for file in phantom_models.path(each.network).iterdir():
            (folder / each.network / file.name).write_bytes(file.read_bytes())
    assert not wrong(models.models(at))
    weights = next(folder.glob("*/*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights.parent.name in only(models.models(at)).saw
    phantom = only(models.models(ground(tmp_path)))
    assert phantom.level is Level.WARNING and "NOT for clinical use" in phantom.saw


def test_phantom_models_that_a_worker_is_installing_are_not_told_to_be_missing(
    tmp_path: Path, phantom_models: ModelStore
) -> None:
    at = ground(tmp_path)
    folder = site_store(at.site).folder
    folder.mkdir(parents=True)
    assert "NOT for clinical use" in only(models.models(at)).saw
    network = phantom_models.installed()[0].network
    shutil.copytree(phantom_models.path(network), folder / network)
    with locked(folder / PHANTOM_LOCK):
        assert "NOT for clinical use" in only(models.models(at)).saw
    assert "not installed" in wrong(models.models(at))[1].saw


def test_a_great_file_of_weights_is_known_to_be_cut_off_by_its_own_header(
    tmp_path: Path, phantom_models: ModelStore
) -> None:
    source = next(phantom_models.folder.glob("*/*.safetensors"))
    assert models.length_of(source) == source.stat().st_size
    cut = tmp_path / source.name
    cut.write_bytes(source.read_bytes()[:-4096])
    assert models.length_of(cut) == cut.stat().st_size + 4096


def test_a_gpu_that_is_wanted_and_not_there_is_bad() -> None:
    told = {"gpus": [], "cuda": "", "driver": "", "needs": {}, "unable": {"a": "too large"}, "host_bytes": 0}
    gpu = {"name": "NVIDIA H100", "memory_bytes": 80 << 30}
    assert "nvidia-smi" in only(models.told_of("cuda", {**told, "unable": {}})).advice
    assert not wrong(models.told_of("auto", {**told, "unable": {}}))
    assert "torch does not see it" in only(models.told_of("auto", {**told, "driver": "550", "unable": {}})).saw
    assert not wrong(models.told_of("cuda", {**told, "gpus": [gpu], "driver": "550", "cuda": "12", "unable": {}}))
    assert "too large" in only(models.told_of("cpu", told)).saw


def test_too_little_memory_for_a_network_of_full_size_is_a_warning() -> None:
    assert "fewer inference processes" in only(models.room_for_volumes(1 << 30)).advice
    assert not wrong(models.room_for_volumes(16 << 30))
