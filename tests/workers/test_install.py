"""Installing published weights: every layout in the field, and everything that must not become a model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from dicom_nodes.errors import ModelUnusable
from service.modelstore import STAGING, Installed, ModelStore, sha256
from service.submodel import SubModel, load_submodels
from tests.workers.trained import (
    SPACING_MM,
    TINY,
    TRAINED,
    checkpoint,
    dataset_folder,
    network,
    submodel,
    write_model,
    zipped,
)
from workers.install.installing import Wish, install
from workers.install.phantom import SHIPPED, phantom_store
from workers.install.trainers import PLAIN
from workers.phantom_models import calibrate
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json
from workers.runners import nnunet
from workers.runners.checkpoint import read as read_checkpoint

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

KNOWN = (submodel(),)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model's folder, bare: plans.json, dataset.json, fold_0."""
    return write_model(tmp_path / "plain")


def install_one(source: Path, store: ModelStore, known: tuple[SubModel, ...] = KNOWN, **wish: Any) -> Installed:
    (model,) = install(source, store, known, Wish(**wish)).installed
    return model


def refused(
    source: Path, store: ModelStore, because: str, known: tuple[SubModel, ...] = KNOWN, **wish: Any
) -> None:
    """The install ends in this reason, and leaves everything as it was."""
    before = written(store)
    with pytest.raises(ModelUnusable, match=because):
        install(source, store, known, Wish(**wish))
    assert written(store) == before
    assert not list(store.folder.glob(f"{STAGING}*"))


def written(store: ModelStore) -> dict[Path, int]:
    """Every file of the models, and when it was written."""
    files = (path for path in store.folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_plans(folder: Path, **changes: object) -> None:
    """Change the one configuration in a model's plans."""
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"][CONFIGURATION].update(changes)
    (folder / "plans.json").write_text(json.dumps(plans))


def save(folder: Path, fold: int = 0, **changes: object) -> None:
    torch.save(checkpoint(**changes), folder / f"fold_{fold}" / "checkpoint_final.pth")


# What is in the field


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


# What must not become a model


def test_a_folder_or_zip_that_holds_no_model_says_what_it_holds(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.png").write_bytes(b"cat")
    refused(tmp_path / "pictures", store, r"holds no model of nnU-Net v2")
    refused(zipped(tmp_path / "pictures", tmp_path / "cat.zip"), store, r"cat\.zip: holds no model of nnU-Net v2")
    (tmp_path / "pictures" / "weights.zip").write_bytes(b"PK")
    refused(tmp_path / "pictures", store, r"holds an archive \(weights\.zip\), which is not opened")


def test_a_model_of_nnunet_v1_is_named_as_such(tmp_path: Path, store: ModelStore) -> None:
    fold = tmp_path / "Task001" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "model_final_checkpoint.model").write_bytes(b"\x80\x02.")
    (fold.parent / "plans.pkl").write_bytes(b"\x80\x02.")
    refused(tmp_path / "Task001", store, r"is a model of nnU-Net v1 \(model_final_checkpoint\.model, plans\.pkl\)")


def test_a_missing_fold_is_named(tmp_path: Path, store: ModelStore) -> None:
    plain = write_model(tmp_path / "plain", folds=(0, 1, 3))
    refused(plain, store, r"fold_2/checkpoint_final\.pth is missing; .* there are fold_0, fold_1, fold_3",
            (submodel(folds=(0, 1, 2, 3)),))  # fmt: skip
    shutil.rmtree(plain / "fold_0")
    refused(plain, store, r"fold_0/checkpoint_final\.pth is missing")


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_a_missing_or_damaged_file_is_named(plain: Path, store: ModelStore, name: str) -> None:
    (plain / name).write_bytes(b"{ torn")
    refused(plain, store, f"{Path(name).name}: (not readable|refused)")
    (plain / name).unlink()
    refused(plain, store, Path(name).name)


def test_a_label_table_that_fits_no_system_is_refused_with_what_differs(tmp_path: Path, store: ModelStore) -> None:
    other = write_model(tmp_path / "plain", replace(TINY, labels=("spleen", "moon")))
    refused(other, store, "no known model: .*nearest is tiny.*missing: kidney_right.*besides: moon")


def test_a_label_table_that_does_not_fit_the_weights_is_refused(plain: Path, store: ModelStore) -> None:
    change_json(plain / "dataset.json", labels={"background": 0, "spleen": 1})
    refused(plain, store, "head of 3 channels|tells 3 classes apart")


@pytest.mark.parametrize(
    ("labels", "because"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, "overlapping regions"),
        ({"background": 0, "spleen": 1, "kidney_right": 3}, "without a gap"),
        ({"0": "background", "1": "spleen"}, "whole numbers"),
        ({}, "names no labels"),
    ],
)
def test_labels_that_cannot_be_run_are_refused(
    plain: Path, store: ModelStore, labels: dict[str, object], because: str
) -> None:
    change_json(plain / "dataset.json", labels=labels)
    refused(plain, store, because)


def test_a_model_for_ct_and_one_for_two_images_are_refused(plain: Path, store: ModelStore) -> None:
    change_json(plain / "dataset.json", channel_names={"0": "CT"})
    refused(plain, store, "model for CT")
    change_json(plain / "dataset.json", channel_names={"0": "T1", "1": "T2"})
    refused(plain, store, "wants 2 images")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(plain: Path, store: ModelStore, value: float) -> None:
    weights = network().state_dict()
    next(iter(weights.values()))[0] = value
    save(plain, network_weights=weights)
    refused(plain, store, "not finite")


def test_weights_that_claim_more_than_the_file_holds_are_refused(plain: Path, store: ModelStore) -> None:
    weights = network().state_dict()
    weights[next(iter(weights))] = torch.zeros(1).expand(1 << 40)
    save(plain, network_weights=weights)
    refused(plain, store, "claims more numbers than the file holds")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.float8_e5m2),
    ],
    ids=["complex", "sparse", "meta", "float8"],
)
def test_weights_of_an_odd_kind_are_refused(plain: Path, store: ModelStore, tensor: torch.Tensor) -> None:
    weights = network().state_dict()
    weights[next(iter(weights))] = tensor
    save(plain, network_weights=weights)
    refused(plain, store, "is no plain array of numbers")


def test_weights_of_another_architecture_are_refused(plain: Path, store: ModelStore) -> None:
    weights = network().state_dict()
    weights.pop(next(reversed(weights)))
    save(plain, network_weights=weights)
    refused(plain, store, "do not fit the plans")


def test_folds_of_two_models_are_refused(tmp_path: Path, store: ModelStore) -> None:
    known = (submodel(folds=(0, 1)),)
    plain = write_model(tmp_path / "plain", folds=(0, 1))
    save(plain, 1, network_weights=network(7, replace(TINY, features=(4, 8, 12))).state_dict())
    refused(plain, store, "fold_1: the weights do not fit the plans", known)
    save(plain, 1, trainer_name="nnUNetTrainer")
    refused(plain, store, "fold_1: says trainer nnUNetTrainer, another fold says nnUNetTrainerNoMirroring", known)


def test_a_trainer_that_may_build_another_network_is_refused_with_what_to_do(
    plain: Path, store: ModelStore
) -> None:
    for trainer in ("nnUNetTrainerBN", "nnUNetTrainerDAExt"):
        save(plain, trainer_name=trainer)
        refused(plain, store, f"trained by {trainer}.*add {trainer} to the trainers of tiny", name="tiny")
    assert install_one(plain, store, (submodel(trainers=("nnUNetTrainerDAExt",)),)).trainer == "nnUNetTrainerDAExt"


def test_the_table_of_trainers_is_that_of_the_installed_nnunet() -> None:
    import ast  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    spec = find_spec("nnunetv2")
    assert spec is not None
    assert spec.origin is not None
    classes: dict[str, tuple[list[str], set[str]]] = {}
    for file in (Path(spec.origin).parent / "training" / "nnUNetTrainer").rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                classes[node.name] = bases, {m.name for m in node.body if isinstance(m, ast.FunctionDef)}

    def is_plain(name: str) -> bool:
        bases, methods = classes.get(name, ([], set()))
        return name == "nnUNetTrainer" or (
            "build_network_architecture" not in methods and bool(bases) and all(map(is_plain, bases))
        )

    here = {name for name in classes if is_plain(name)}
    assert here & PLAIN, "the folder was found"
    assert not (PLAIN & set(classes)) - here, "a trainer in the table builds a network of its own"


# Nothing of a file is executed


class Trap:
    """Makes the folder that it is told of when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize("modern", [True, False], ids=["zip checkpoint", "tar checkpoint"])
@pytest.mark.parametrize("key", ["logging", "network_weights", "optimizer_state"])
def test_a_checkpoint_that_wants_something_run_is_refused_and_nothing_is_run(
    tmp_path: Path, plain: Path, store: ModelStore, key: str, modern: bool, as_zip: bool
) -> None:
    target = tmp_path / "executed"
    file = plain / "fold_0" / "checkpoint_final.pth"
    torch.save(checkpoint(**{key: Trap(target)}), file, _use_new_zipfile_serialization=modern)
    source = zipped(plain, tmp_path / "bad.zip") if as_zip else plain

    refused(source, store, r"checkpoint_final\.pth: refused, it asks to run posix\.mkdir")

    assert not target.exists()


def test_a_fold_after_the_first_is_read_as_carefully(tmp_path: Path, store: ModelStore) -> None:
    plain = write_model(tmp_path / "plain", folds=(0, 1))
    save(plain, 1, logging=Trap(tmp_path / "executed"))
    refused(plain, store, r"it asks to run posix\.mkdir", (submodel(folds=(0, 1)),))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.hub.load",
        "dynamic_network_architectures.architectures.unet.torch.hub.load",
        "dynamic_network_architectures.architectures.unet.nn.Module.load_state_dict",
        "dynamic_network_architectures",
    ],
)
def test_plans_that_name_a_network_from_elsewhere_are_refused(plain: Path, store: ModelStore, name: str) -> None:
    architecture = plans_json(TINY)["configurations"][CONFIGURATION]["architecture"]
    change_plans(plain, architecture={**architecture, "network_class_name": name})
    refused(plain, store, rf"plans\.json: 3d_fullres asks to import '{name}', which is no part of nnU-Net")


@pytest.mark.parametrize("name", ["os.system", "torch.nn.modules.conv.torch.os.system", "torch.nn.functional.relu"])
def test_plans_that_name_a_layer_from_elsewhere_are_refused(plain: Path, store: ModelStore, name: str) -> None:
    architecture = plans_json(TINY)["configurations"][CONFIGURATION]["architecture"]
    kwargs = {**architecture["arch_kwargs"], "nonlin": name}
    change_plans(plain, architecture={**architecture, "arch_kwargs": kwargs})
    refused(plain, store, rf"asks to import '{name}'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessor_name", "join"),
        ("resampling_fn_data", "recursive_find_python_class"),
        ("resampling_fn_probabilities", "os"),
        ("normalization_schemes", ["np"]),
    ],
)
def test_plans_that_name_a_step_from_elsewhere_are_refused(
    plain: Path, store: ModelStore, key: str, value: object
) -> None:
    change_plans(plain, **{key: value})
    refused(plain, store, "asks to import .*, which is no part of nnU-Net")


@pytest.mark.parametrize(
    "changes",
    [
        {"transpose_forward": [0, 1, 2]},
        {"transpose_backward": [0, 0, 0]},
        {"transpose_forward": None},
        {"transpose_forward": [0, 1], "transpose_backward": [0, 1]},
    ],
)
def test_axes_that_would_lay_a_result_elsewhere_are_refused(
    plain: Path, store: ModelStore, changes: dict[str, object]
) -> None:
    change_json(plain / "plans.json", **changes)
    refused(plain, store, r"transpose_backward .* does not undo transpose_forward")


@pytest.mark.parametrize("changes", [{"spacing": [3, 2]}, {"spacing": [3, 2, 0]}, {"patch_size": None}])
def test_a_grid_that_cannot_be_is_refused(plain: Path, store: ModelStore, changes: dict[str, object]) -> None:
    change_plans(plain, **changes)
    refused(plain, store, "spacing is|patch_size is")


def test_the_second_stage_of_a_cascade_is_refused(plain: Path, store: ModelStore) -> None:
    change_plans(plain, previous_stage="3d_lowres")
    refused(plain, store, "second stage of a cascade")


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


# The phantom models


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
