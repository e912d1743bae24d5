"""Installing published weights: every layout in the field, what is asked for first, and what a kill leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from dicom_nodes.errors import ModelUnusable
from service.modelstore import STAGING, ModelStore, sha256
from service.submodel import load_submodels
from tests.workers.installs import KNOWN, Trap, change_json, install_one, refused, save
from tests.workers.trained import (
    SPACING_MM,
    TINY,
    TRAINED,
    dataset_folder,
    network,
    submodel,
    write_model,
    zipped,
)
from workers.install.installing import Wish, install
from workers.install.phantom import SHIPPED
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json
from workers.runners import nnunet

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize(
    "within",
    ["", TRAINED, f"Dataset999_Tiny/{TRAINED}", f"weights v1/results/Dataset999_Tiny/{TRAINED}"],
    ids=["bare", "trained", "dataset", "wrapped"],
)
def test_every_layout_in_the_field_is_the_same_model(
    tmp_path: Path, store: ModelStore, within: str, as_zip: bool
) -> None:
    source = tmp_path / "source"
    write_model(source / within)
    if as_zip:
        source = zipped(source, tmp_path / "published.zip")

    model = install_one(source, store)

    assert model == store.get("tiny")
    assert model.origin == ("published.zip" if as_zip else "source")
    assert list(model.originals) == ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"]
    assert model.originals["plans.json"] == sha256(store.path("tiny") / "plans.json")
    assert (model.trainer, model.configuration, model.folds) == ("nnUNetTrainerNoMirroring", "3d_fullres", (0,))
    assert any("exactly those of tiny" in reason for reason in model.why)
    store.verify("tiny")
    assert not list(store.folder.glob(f"{STAGING}*"))


def test_only_data_is_installed(plain: Path, store: ModelStore) -> None:
    install_one(plain, store)
    names = sorted(path.name for path in store.path("tiny").iterdir())
    assert names == ["dataset.json", "fold_0.safetensors", "model.json", "plans.json"]


def test_several_models_in_one_archive_are_installed_together(tmp_path: Path, store: ModelStore) -> None:
    known = tuple(submodel(name, replace(TINY, labels=(name, "kidney_right"))) for name in ("one", "two"))
    for each in known:
        recipe = replace(TINY, dataset=f"Dataset99_{each.name}", labels=(each.name, "kidney_right"))
        dataset_folder(tmp_path / "all", recipe)

    outcome = install(zipped(tmp_path / "all", tmp_path / "all.zip"), store, known)

    assert [model.network for model in outcome.installed] == ["one", "two"]
    assert outcome.left == ()


def test_one_unknown_model_beside_a_known_one_is_left_and_said(tmp_path: Path, store: ModelStore) -> None:
    dataset_folder(tmp_path / "all")
    dataset_folder(tmp_path / "all", replace(TINY, dataset="Dataset998_Other", labels=("moon", "sun")))

    outcome = install(tmp_path / "all", store, KNOWN)

    assert [model.network for model in outcome.installed] == ["tiny"]
    assert "Dataset998_Other" in outcome.left[0]
    assert "no known" in outcome.left[0]

    other = next((tmp_path / "all" / "Dataset998_Other").glob("*__3d_fullres"))
    change_json(other / "dataset.json", labels={"background": 0, "whole": [1, 2]})
    assert "overlapping regions" in install(tmp_path / "all", store, KNOWN).left[0]
    save(other, logging=Trap(tmp_path / "executed"))
    refused(tmp_path / "all", store, "refused, it asks to run")


def test_nnunets_own_export_with_other_configurations_and_pickles_beside_it(
    tmp_path: Path, store: ModelStore
) -> None:
    whole = tmp_path / "export" / TINY.dataset
    folder = dataset_folder(tmp_path / "export") / TRAINED
    (folder / "fold_0" / "validation").mkdir()
    (folder / "fold_0" / "validation" / "summary.json").write_text("{}")
    (folder / "crossval_results_folds_0").mkdir()
    (folder / "crossval_results_folds_0" / "postprocessing.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    plans = plans_json(TINY)
    plans["configurations"]["3d_lowres"] = plans["configurations"][CONFIGURATION]
    write_model(
        whole / TRAINED.replace("3d_fullres", "3d_lowres"), plans=plans, init_args={"configuration": "3d_lowres"}
    )
    archive = zipped(tmp_path / "export", tmp_path / "export.zip")

    outcome = install(archive, store, KNOWN)

    assert [model.configuration for model in outcome.installed] == ["3d_fullres"]
    assert "3d_lowres" in outcome.left[0]
    assert install(archive, store, KNOWN, Wish(only="3d_lowres")).installed[0].configuration == "3d_lowres"


def test_plans_of_nnunet_2_0_are_brought_to_the_form_of_today(plain: Path, store: ModelStore) -> None:
    new = install_one(plain, store)
    predicted = nnunet.load(store.path("tiny"), threads=1).predict(noise(), SPACING_MM, quiet)
    old = plans_json(TINY)
    configuration = old["configurations"][CONFIGURATION]
    kwargs = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
    }
    (plain / "plans.json").write_text(json.dumps(old))

    model = install_one(plain, store)

    assert model.version != new.version
    assert "architecture" in (store.path("tiny") / "plans.json").read_text()
    again = nnunet.load(store.path("tiny"), threads=1).predict(noise(), SPACING_MM, quiet)
    assert np.array_equal(predicted, again)


@pytest.mark.parametrize("module", ["unet", "residual_unet"])
def test_a_residual_network_is_run_wherever_its_plans_say_it_lies(
    tmp_path: Path, store: ModelStore, module: str
) -> None:
    plans = plans_json(TINY)
    architecture = plans["configurations"][CONFIGURATION]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    kwargs, layers = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    torch.manual_seed(1)
    built = get_network_from_plans(architecture["network_class_name"], kwargs, layers, 1, 3, deep_supervision=True)
    architecture["network_class_name"] = architecture["network_class_name"].replace(".unet.", f".{module}.")
    plain = write_model(tmp_path / "plain", plans=plans, network_weights=built.state_dict())

    install_one(plain, store)

    found = nnunet.load(store.path("tiny"), threads=1).predict(noise(), SPACING_MM, quiet)
    assert len(np.unique(found)) > 1


def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(500, 100, (20, 24, 12)).astype(np.float32)


def quiet(_stage: str, _fraction: float) -> None:
    pass


@pytest.mark.filterwarnings("ignore")  # nnU-Net's trainer and what it imports
def test_a_whole_checkpoint_as_nnunets_trainer_saves_it_is_read(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: PLC0415  # takes seconds

    plans = {**plans_json(TINY), "continue_training": False}
    trainer = nnUNetTrainer(plans, CONFIGURATION, 0, dataset_json(TINY, 1), torch.device("cpu"))
    trainer.network = network(deep_supervision=True)
    trainer.optimizer, _ = trainer.configure_optimizers()
    for parameter in trainer.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer.optimizer.step()
    trainer.logger.log("dice_per_class_or_region", [np.float64(0.5), np.float32(0.25)], 0)
    trainer.logger.log("mean_fg_dice", np.mean([0.5, 0.25]), 0)
    trainer._best_ema = np.float64(0.4)
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    plain = write_model(tmp_path / "plain")
    trainer.save_checkpoint(str(plain / "fold_0" / "checkpoint_final.pth"))
    names = torch.serialization.get_unsafe_globals_in_checkpoint(plain / "fold_0" / "checkpoint_final.pth")
    assert {"numpy._core.multiarray.scalar", "numpy.dtype"} <= set(names), "it is one that needs more than tensors"

    model = install_one(plain, store, name="tiny")  # its trainer is not the published one

    assert (model.trainer, model.mirroring_axes) == ("nnUNetTrainer", (0, 1, 2))


def test_a_checkpoint_written_with_numpy_1_is_read(plain: Path, store: ModelStore) -> None:
    file = plain / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in content if name.endswith("data.pkl"))
    assert b"numpy._core.multiarray\nscalar" in content[pickled]
    content[pickled] = content[pickled].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)

    assert install_one(plain, store).network == "tiny"


def test_arrays_of_numpy_in_a_training_log_are_read_and_forgotten(plain: Path, store: ModelStore) -> None:
    save(plain, logging={"curve": np.arange(3.0), "flag": np.bool_(True), "none": np.array([None, "x"], object)})
    assert install_one(plain, store).network == "tiny"


def test_all_folds_are_installed_and_counted(tmp_path: Path, store: ModelStore) -> None:
    known = (submodel(folds=(0, 1, 2)),)
    one = install_one(write_model(tmp_path / "plain", folds=(0, 1, 2)), store, known)
    assert one.folds == (0, 1, 2)
    assert one.bytes == 3 * 4 * one.parameters
    assert {"fold_0.safetensors", "fold_1.safetensors", "fold_2.safetensors"} < set(one.files)


def test_a_training_on_all_cases_stands_for_the_only_fold(tmp_path: Path, store: ModelStore) -> None:
    model = install_one(write_model(tmp_path / "plain", folds=("all",)), store)
    assert model.folds == (0,)
    assert model.remarks == ("fold 0 is fold_all/checkpoint_final.pth",)


def test_the_best_checkpoint_is_taken_only_where_it_is_asked_for(plain: Path, store: ModelStore) -> None:
    (plain / "fold_0" / "checkpoint_final.pth").rename(plain / "fold_0" / "checkpoint_best.pth")
    refused(plain, store, r"checkpoint_final\.pth; --best takes")
    assert install_one(plain, store, best=True).remarks == ("fold 0 is fold_0/checkpoint_best.pth",)


def test_an_older_model_is_replaced_and_one_that_failed_replaces_nothing(plain: Path, store: ModelStore) -> None:
    older = install_one(plain, store)
    (plain / "fold_0" / "checkpoint_final.pth").write_bytes(b"torn")
    refused(plain, store, "not readable as a checkpoint|not a plain file")
    assert store.get("tiny") == older
    save(plain, seed=99)

    newer = install_one(plain, store)

    assert store.get("tiny") == newer
    assert newer.version != older.version
    store.verify("tiny")


def test_a_model_that_is_in_use_can_be_replaced_and_removed(plain: Path, store: ModelStore) -> None:
    install_one(plain, store)
    model = nnunet.load(store.path("tiny"), threads=1)
    found = model.predict(noise(), SPACING_MM, quiet)
    save(plain, seed=99)
    install_one(plain, store)
    store.remove("tiny")
    assert np.array_equal(model.predict(noise(), SPACING_MM, quiet), found)


# Licence, checksums, names


def test_a_licence_that_restricts_is_shown_and_asked_for(plain: Path, store: ModelStore) -> None:
    known = (submodel().model_copy(update={"accept_licence": True, "licence": "CC-BY-NC 4.0"}),)
    refused(plain, store, r"CC-BY-NC 4\.0 \(nowhere\).*--accept-licence", known)
    assert install_one(plain, store, known, accept_licence=True).licence_accepted
    save(plain, sagittal_phantom=True)
    assert "phantom" in install_one(plain, store, known).licence, "ours are not theirs"


def test_a_published_checksum_is_compared(tmp_path: Path, store: ModelStore) -> None:
    archive = zipped(write_model(tmp_path / "plain"), tmp_path / "published.zip")
    same = install_one(archive, store, (submodel(sha256=(sha256(archive),)),))
    other = install_one(archive, store, (submodel(sha256=("0" * 64,)),))
    assert (same.why[-1], same.remarks) == ("the archive has the SHA-256 that its authors publish", ())
    assert "is not one of the published ones" in other.remarks[0]


def test_what_content_cannot_tell_is_asked_for_and_told_by_as(plain: Path, store: ModelStore) -> None:
    known = (submodel("one", dataset="A*"), submodel("two", dataset="B*"))
    refused(plain, store, "--as one or --as two", known)
    assert install_one(plain, store, known, name="two").network == "two"
    assert store.get("two").why[0] == "named two by --as"


def test_a_name_that_the_content_contradicts_is_refused(plain: Path, store: ModelStore) -> None:
    other = submodel("other", replace(TINY, labels=("a", "b", "c")))
    refused(plain, store, "cannot be other: it has 2 labels", (*KNOWN, other), name="other")
    refused(plain, store, "there is no such network; known are tiny", name="unknown")


def test_an_obsolete_network_is_named_and_refused(plain: Path, store: ModelStore) -> None:
    refused(plain, store, "tiny, which is obsolete: get the new one", (submodel(obsolete="get the new one"),))


# An install that is killed


def test_an_install_that_is_killed_leaves_nothing_listed_and_the_next_one_works(
    tmp_path: Path, store: ModelStore
) -> None:
    source = tmp_path / "spine"
    shutil.copytree(SHIPPED / "Dataset004_Spine", source)
    archive = zipped(source, tmp_path / "spine.zip")
    command = [sys.executable, "-m", "workers", "install", str(archive), "--folder", str(store.folder)]
    command += ["--as", "mrannotator-spine"]
    for wanted in ("*.pth", "*.safetensors"):
        kill_when(command, store.folder, wanted)
        assert store.installed() == ()
        assert dict(store.broken()) == {}
        assert list(store.folder.glob(f"{STAGING}*")), "it was killed in the middle"
        with pytest.raises(ModelUnusable, match="not installed"):
            store.get("mrannotator-spine")

    install_one(archive, store, load_submodels(), name="mrannotator-spine")

    assert [model.network for model in store.installed()] == ["mrannotator-spine"]
    assert not list(store.folder.glob(f"{STAGING}*"))


def kill_when(command: list[str], folder: Path, pattern: str) -> None:
    """Start an install and kill it as soon as a file of that kind is there that was not there before."""
    before = staged(folder, pattern)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not staged(folder, pattern) - before:
            assert process.poll() is None, "the install ended before it could be killed"
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()


def staged(folder: Path, pattern: str) -> set[Path]:
    """The files of that kind in staging folders; os.walk does not mind folders that vanish under it."""
    walked = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {
        path for path in walked if path.match(pattern) and path.relative_to(folder).parts[0].startswith(STAGING)
    }


# The published ones, with small networks in their place


PUBLISHED = {
    network.name: (network, each) for each in load_submodels() for network in each.network if not each.variant_of
}


def stand_in(folder: Path, name: str, **parts: Any) -> Path:
    """A model with the data set's name, labels, grid, trainer and folds of a published network."""
    published, _ = PUBLISHED[name]
    spacing = published.spacing_mm or (1.5, 1.5, 1.5)
    recipe = replace(TINY, dataset=published.dataset.replace("*", "x"), labels=published.labels, spacing_mm=spacing)
    said = {"folds": published.folds, "trainer_name": published.trainers[0], **parts}
    return write_model(folder, recipe, **said)


@pytest.mark.parametrize(
    "name", ["mrsegmentator", "totalsegmentator-850", "totalsegmentator-851", "mrannotator-shoulder-knee", "amos"]
)
def test_a_stand_in_of_a_published_network_is_recognised_by_its_content(
    tmp_path: Path, store: ModelStore, name: str
) -> None:
    published, known_as = PUBLISHED[name]
    model = install_one(stand_in(tmp_path / "weights", name), store, load_submodels(), accept_licence=True)
    assert (model.network, model.submodel, model.folds) == (name, known_as.name, published.folds)
    assert model.licence_accepted == known_as.accept_licence


def test_mrannotators_weights_ask_for_their_licence(tmp_path: Path, store: ModelStore) -> None:
    plain = stand_in(tmp_path / "weights", "mrannotator-spine")
    refused(plain, store, "CC-BY-NC.*--accept-licence", load_submodels())


def test_a_version_file_beside_the_plans_is_a_witness(tmp_path: Path, store: ModelStore) -> None:
    plain = stand_in(tmp_path / "weights", "mrsegmentator")
    labels = {"background": 0, **{str(value): value for value in range(1, 41)}}
    change_json(plain / "dataset.json", labels=labels)
    (plain / "version.json").write_text('{"weights_version": 1.2}')
    archive = zipped(plain, tmp_path / "weights.zip")
    model = install_one(archive, store, load_submodels())
    assert model.network == "mrsegmentator"
    assert any("version 1.2 agrees" in reason for reason in model.why)
    assert "not one of the published" in model.remarks[0]
