"""What must not become a model: damaged, foreign, contradictory."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.modelstore import ModelStore
from tests.workers.installs import change_json, install_one, refused, save
from tests.workers.trained import (
    TINY,
    network,
    submodel,
    write_model,
    zipped,
)
from workers.install.trainers import PLAIN

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


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
