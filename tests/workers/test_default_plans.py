"""A network whose plans resample as nnU-Net's planner has it: each step against nnU-Net's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from tests.workers.trained import TINY, TRAINED, dataset_folder, installed, network
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json
from workers.runners import nnunet, preprocessing
from workers.runners.nnunet import LoadedModel

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SPACING_MM = (3.2, 1.7, 1.9)


def default_plans(use_mask: bool = False) -> dict[str, Any]:
    plans = plans_json(TINY)
    resampling = "resample_data_or_seg_to_shape"
    plans["configurations"][CONFIGURATION] |= {
        "use_mask_for_norm": [use_mask],
        **{f"resampling_fn_{what}": resampling for what in ("data", "seg", "probabilities")},
        **{
            f"resampling_fn_{what}_kwargs": {
                "is_seg": what == "seg", "order": 3 if what == "data" else 1, "order_z": 0, "force_separate_z": None
            }
            for what in ("data", "seg", "probabilities")
        },
    }  # fmt: skip
    return plans


def loaded(folder: Path, use_mask: bool = False, **said: Any) -> LoadedModel:
    source = dataset_folder(folder, TINY, plans=default_plans(use_mask), folds=(0, 1)) / TRAINED
    return nnunet.load(installed(source, folder / "models"), threads=1, **said)


def image(shape: tuple[int, int, int] = (14, 33, 29)) -> np.ndarray:
    """Smooth, with noise, and with a rim of zeros as some scanners leave it."""
    coarse = torch.randn(1, 1, 5, 6, 5, generator=torch.Generator().manual_seed(11))
    found = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0].numpy() * 300 + 900
    found += np.random.default_rng(0).normal(0, 20, shape)
    found[:, :3] = found[:, :, -2:] = found[0] = 0
    found[5:7, 15:18, 12:14] = 0
    return found.astype(np.float32)


def quiet(_stage: str, _fraction: float) -> None:
    pass


def by_nnunet(folds: tuple[int, ...] = (0, 1)) -> np.ndarray:
    stock = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    plans = PlansManager(default_plans())
    weights = [network(7 + fold).state_dict() for fold in folds]
    configuration = plans.get_configuration(CONFIGURATION)
    stock.manual_initialization(
        network(), plans, configuration, weights, dataset_json(TINY, 1), "nnUNetTrainer", None
    )
    found: np.ndarray = stock.predict_single_npy_array(image()[None], {"spacing": list(SPACING_MM)})
    return found


@pytest.mark.parametrize("use_mask", [False, True])
def test_an_image_is_prepared_as_nnunets_preprocessor_does(tmp_path: Path, use_mask: bool) -> None:
    predictor = loaded(tmp_path, use_mask).prediction.predictor
    data, properties = preprocessing.preprocessed(predictor, image(), SPACING_MM)
    wanted, said = preprocessing._by_nnunet(predictor, image(), {"spacing": list(SPACING_MM)})
    torch.testing.assert_close(data, wanted, rtol=0, atol=0)
    assert {
        key: list(map(list, value)) if key.startswith("bbox") else list(value) for key, value in properties.items()
    } == {key: list(map(list, value)) if key.startswith("bbox") else list(value) for key, value in said.items()}


def test_an_image_of_nothing_but_zeros_is_prepared_as_nnunets_preprocessor_does(tmp_path: Path) -> None:
    predictor = loaded(tmp_path).prediction.predictor
    data, properties = preprocessing.preprocessed(predictor, np.zeros((6, 20, 20), np.float32), SPACING_MM)
    wanted, said = preprocessing._by_nnunet(
        predictor, np.zeros((6, 20, 20), np.float32), {"spacing": list(SPACING_MM)}
    )
    torch.testing.assert_close(data, wanted)
    assert properties["bbox_used_for_cropping"] == said["bbox_used_for_cropping"]


def test_a_network_of_the_planner_runs_as_nnunets_own_predictor_does(tmp_path: Path) -> None:
    found = loaded(tmp_path).predict(image(), SPACING_MM, quiet)
    np.testing.assert_array_equal(found, by_nnunet())
