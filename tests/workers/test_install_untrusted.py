"""Nothing of a file is executed, and plans name nothing but what is nnU-Net's."""

from pathlib import Path

import pytest
import torch

from service.modelstore import ModelStore
from tests.workers.installs import Trap, change_json, change_plans, refused, save
from tests.workers.trained import (
    TINY,
    checkpoint,
    submodel,
    write_model,
    zipped,
)
from workers.phantom_models.plans import CONFIGURATION, plans_json

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


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
