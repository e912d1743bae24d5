"""Networks run as their authors run them: folds, mirroring and tile step equal nnU-Net's own predictor, exactly."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from dicom_nodes.errors import ModelUnusable, ResultUnsound
from tests.workers.trained import SPACING_MM, TINY, TRAINED, dataset_folder, installed, network
from workers.lease import LeaseLostError
from workers.needs import Way
from workers.phantom_models.plans import CONFIGURATION, dataset_json, plans_json
from workers.runners import model_folder, nnunet
from workers.runners.prediction import prepare

pytestmark = [
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FOLDS = (0, 1, 2)


def image(shape: tuple[int, int, int] = (17, 26, 12)) -> np.ndarray:
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 1, 5, 6, 5, generator=torch.Generator().manual_seed(11)), size=shape, mode="trilinear"
    )
    return (smooth[0, 0].numpy() * 300 + 500).astype(np.float32)


def quiet(_stage: str, _fraction: float) -> None:
    pass


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed network of three folds whose checkpoints allow mirroring along all axes."""
    folder = tmp_path_factory.mktemp("mirrored")
    source = dataset_folder(folder, TINY, folds=FOLDS, inference_allowed_mirroring_axes=(0, 1, 2)) / TRAINED
    return installed(source, folder / "models")


def by_nnunet(
    folds: tuple[int, ...], mirroring: bool, tile_step: float, axes: tuple[int, ...] | None = (0, 1, 2)
) -> np.ndarray:
    """The same weights in nnU-Net's own predictor."""
    stock = nnUNetPredictor(
        tile_step_size=tile_step, use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False
    )
    plans = PlansManager(plans_json(TINY))
    weights = [network(7 + fold).state_dict() for fold in folds]
    configuration = plans.get_configuration(CONFIGURATION)
    stock.manual_initialization(
        network(), plans, configuration, weights, dataset_json(TINY, 1), "nnUNetTrainer", axes
    )
    found: np.ndarray = stock.predict_single_npy_array(image()[None], {"spacing": list(SPACING_MM)})
    return found


@pytest.mark.parametrize(
    ("folds", "mirroring", "tile_step"),
    [((0,), False, 0.5), ((0,), True, 0.5), ((0,), False, 0.8), (FOLDS, True, 0.5), ((0, 2), False, 0.8)],
)
def test_a_network_runs_as_nnunets_own_predictor_does(
    mirrored: Path, folds: tuple[int, ...], mirroring: bool, tile_step: float
) -> None:
    model = nnunet.load(mirrored, folds=folds, mirroring=mirroring, tile_step=tile_step, threads=1)
    found = model.predict(image(), SPACING_MM, quiet)
    assert np.array_equal(found, by_nnunet(folds, mirroring, tile_step))


@pytest.mark.parametrize(("folds", "mirroring", "tile_step"), [((0,), False, 0.5), (FOLDS, True, 0.8)])
@pytest.mark.parametrize("shape", [(17, 26, 12), (17, 9, 40), (60, 12, 6), (5, 5, 5)])
def test_logits_that_wait_on_disk_make_the_same_label_map(
    mirrored: Path,
    shape: tuple[int, int, int],
    folds: tuple[int, ...],
    mirroring: bool,
    tile_step: float,
    tmp_path: Path,
) -> None:
    model = nnunet.load(mirrored, folds=folds, mirroring=mirroring, tile_step=tile_step, threads=1)
    found = model.predict_so(image(shape), SPACING_MM, quiet, Way(on_cpu=True, on_disk=True), tmp_path)
    assert np.array_equal(found, model.predict(image(shape), SPACING_MM, quiet))
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_folds_mirroring_and_tile_step_each_make_a_difference(mirrored: Path) -> None:
    """Else the equality above would say nothing."""
    model = nnunet.load(mirrored, threads=1)
    ways = [((0,), False, 0.5), ((0,), True, 0.5), ((0,), False, 1.0), (FOLDS, False, 0.5)]
    found = [model.varied(*way).predict(image(), SPACING_MM, quiet) for way in ways]
    assert all(not np.array_equal(one, found[0]) for one in found[1:])


@pytest.mark.parametrize("stored_as", [torch.float32, torch.float16])
def test_the_weights_of_every_fold_run_in_single_precision_and_stay_what_they_are(
    mirrored: Path, stored_as: torch.dtype
) -> None:
    found, axes = model_folder.read(mirrored), (0, 1, 2)
    stored = {fold: {k: v.to(stored_as) for k, v in network(7 + fold).state_dict().items()} for fold in FOLDS}
    prepared = prepare(found, stored, mirroring_axes=axes, threads=1, device="cpu")
    first = prepared.varied((0,), mirroring=False, tile_step=0.5).run(image(), SPACING_MM, quiet)
    prepared.run(image(), SPACING_MM, quiet)
    for fold, weights in zip(FOLDS, prepared.predictor.list_of_parameters, strict=True):
        assert all(torch.equal(weights[name], tensor.float()) for name, tensor in stored[fold].items())
    again = prepared.varied((0,), mirroring=False, tile_step=0.5).run(image(), SPACING_MM, quiet)
    assert np.array_equal(first, again)


def test_a_varied_model_equals_one_that_was_loaded_so(mirrored: Path) -> None:
    varied = nnunet.load(mirrored, threads=1).varied((1, 2), mirroring=True, tile_step=0.8)
    loaded = nnunet.load(mirrored, folds=(1, 2), mirroring=True, tile_step=0.8, threads=1)
    found = varied.predict(image(), SPACING_MM, quiet)
    assert np.array_equal(found, loaded.predict(image(), SPACING_MM, quiet))


def test_a_network_whose_checkpoint_allows_no_mirroring_is_never_mirrored(tmp_path: Path) -> None:
    source = dataset_folder(tmp_path, TINY, inference_allowed_mirroring_axes=None) / TRAINED
    model = nnunet.load(installed(source, tmp_path / "models"), mirroring=True, threads=1)
    found = model.predict(image(), SPACING_MM, quiet)
    assert np.array_equal(found, by_nnunet((0,), mirroring=False, tile_step=0.5))
    assert not np.array_equal(found, by_nnunet((0,), mirroring=True, tile_step=0.5))


def test_only_the_axes_that_the_checkpoint_allows_are_mirrored(tmp_path: Path) -> None:
    source = dataset_folder(tmp_path, TINY, inference_allowed_mirroring_axes=(1,)) / TRAINED
    model = nnunet.load(installed(source, tmp_path / "models"), mirroring=True, threads=1)
    found = model.predict(image(), SPACING_MM, quiet)
    assert np.array_equal(found, by_nnunet((0,), mirroring=True, tile_step=0.5, axes=(1,)))


def test_a_fold_that_is_not_loaded_is_named(mirrored: Path) -> None:
    model = nnunet.load(mirrored, folds=(0, 1), threads=1)
    with pytest.raises(ModelUnusable, match=r"folds \[4\] are not loaded; there are \[0, 1\]"):
        model.varied((0, 4), mirroring=False, tile_step=0.5)


@pytest.mark.parametrize("mirroring", [False, True])
def test_progress_counts_every_run_of_the_network(mirrored: Path, mirroring: bool) -> None:
    heard: list[float] = []

    def listen(stage: str, fraction: float) -> None:
        if stage == "network":
            heard.append(fraction)

    nnunet.load(mirrored, folds=(0, 1), mirroring=mirroring, threads=1).predict(image(), SPACING_MM, listen)
    assert heard == sorted(heard)
    assert len(set(heard)) == len(heard), "no fraction is told twice: the end is not reached too early"
    assert (heard[0], heard[-1]) == (0.0, 1.0)


def test_a_run_that_is_called_off_ends_after_its_tile_and_leaves_nothing_behind(mirrored: Path) -> None:
    model = nnunet.load(mirrored, threads=1)
    heard: list[float] = []

    def lost(stage: str, fraction: float) -> None:
        if stage == "network":
            heard.append(fraction)
            if len(heard) == 3:
                raise LeaseLostError("the job is another's")

    before = threading.active_count()
    with pytest.raises(LeaseLostError, match="the job is another's"):
        model.predict(image(), SPACING_MM, lost)
    assert len(heard) == 3
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before, "nnU-Net's thread waits for ever"
    found = model.predict(image(), SPACING_MM, quiet)
    assert np.array_equal(found, by_nnunet(FOLDS, mirroring=False, tile_step=0.5)), "and the next run is whole"


@pytest.mark.parametrize("folds", [(0,), FOLDS])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_network_whose_output_is_not_finite_gives_no_label_map(
    mirrored: Path, value: float, folds: tuple[int, ...]
) -> None:
    model = nnunet.load(mirrored, folds=folds, threads=1)
    model.prediction.predictor.list_of_parameters[-1]["decoder.seg_layers.1.bias"][0] = value
    with pytest.raises(ResultUnsound, match="not finite"):
        model.predict(image(), SPACING_MM, quiet)
