"""The steps of nnU-Net's `predict_single_npy_array`, with progress: preprocess, sliding window, export.

The network is built from plans and weights and not from the trainer's class name: nnU-Net's search for that class
imports every trainer it ships, and one of them cannot be imported beside a CPU build of torch.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from dicom_nodes.errors import ModelUnusable
from workers.runners import checkpoint
from workers.runners.model_folder import ModelFolder
from workers.runners.nnunet import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """nnU-Net's predictor, initialised with one model."""

    predictor: Any
    threads: int

    def run(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float], progress: Progress
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of `array` (z, y, x); `progress` hears of every step and every tile."""
        with _torch_threads(self.threads):
            progress("preprocess", 0.0)
            data, properties = self.preprocess(array, spacing_mm)
            progress("preprocess", 1.0)
            logits = self.logits(data, progress)
            progress("resample", 0.0)
            found = self.export(logits, properties)
            progress("resample", 1.0)
        return found

    def preprocess(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Transposed, cropped, normalised and resampled: (channel, ...) in the order and spacing of the plans."""
        p = self.predictor
        preprocessor = p.configuration_manager.preprocessor_class(verbose=False)
        properties: dict[str, Any] = {"spacing": [float(mm) for mm in spacing_mm]}
        data, _, properties = preprocessor.run_case_npy(
            array[None], None, properties, p.plans_manager, p.configuration_manager, p.dataset_json
        )
        return torch.from_numpy(np.ascontiguousarray(data)), properties

    def logits(self, data: torch.Tensor, progress: Progress) -> torch.Tensor:
        """(class, ...) on the grid of `data`, averaged over tiles and folds."""
        p = self.predictor
        tiles = _tile_count(p, tuple(data.shape[1:])) * len(p.list_of_parameters)
        done = 0

        def tile_done(*_: object) -> None:
            nonlocal done
            done += 1
            progress("network", min(done / tiles, 1.0))

        progress("network", 0.0)
        hook = p.network.register_forward_hook(tile_done)
        try:
            logits: torch.Tensor = p.predict_logits_from_preprocessed_data(data).cpu()
        finally:
            hook.remove()
        return logits

    def export(self, logits: torch.Tensor, properties: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) on the grid that the array came on."""
        p = self.predictor
        found = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            p.plans_manager,
            p.configuration_manager,
            p.label_manager,
            properties,
            num_threads_torch=self.threads,
        )
        return np.ascontiguousarray(found, dtype=np.uint8)


def prepare(found: ModelFolder, threads: int, device: str, tile_step: float) -> tuple[Prediction, bool]:
    """The predictor for `found`, and whether a checkpoint of it says that it is a phantom model."""
    saved = [checkpoint.read(file) for file in found.checkpoints]
    weights = [dict(one.weights) for one in saved]
    plans, dataset = PlansManager(dict(found.plans)), dict(found.dataset)
    configuration = plans.get_configuration(found.configuration)
    heads = plans.get_label_manager(dataset).num_segmentation_heads
    channels = determine_num_input_channels(plans, configuration, dataset)
    network = _network(found.path, configuration, channels, heads, weights)
    predictor = _predictor(device, tile_step)
    predictor.manual_initialization(network, plans, configuration, weights, dataset, saved[0].trainer_name, None)
    return Prediction(predictor, threads), any(one.phantom for one in saved)


def _network(
    path: Path, configuration: Any, channels: int, heads: int, weights: list[dict[str, torch.Tensor]]
) -> torch.nn.Module:
    """The plans' architecture; every fold's weights must fit it."""
    network: torch.nn.Module = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        heads,
        allow_init=False,
        deep_supervision=False,
    )
    for one in weights:
        _check_heads(path, one, heads)
        try:
            network.load_state_dict(one)
        except RuntimeError as error:
            raise ModelUnusable(f"{path}: the weights do not fit the plans: {error}") from error
    return network.eval()


def _check_heads(path: Path, weights: Mapping[str, torch.Tensor], heads: int) -> None:
    outputs = {int(v.shape[0]) for k, v in weights.items() if ".seg_layers." in k and k.endswith(".weight")}
    if outputs and outputs != {heads}:
        found = ", ".join(map(str, sorted(outputs)))
        raise ModelUnusable(f"{path}: the network tells {found} classes apart, dataset.json names {heads}")


def _predictor(device: str, tile_step: float) -> Any:
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelUnusable(f"device {device} is asked for, but this torch sees no GPU")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it will not use a GPU
        return nnUNetPredictor(
            tile_step_size=tile_step,
            use_gaussian=True,
            use_mirroring=False,  # mirroring would confuse left with right
            perform_everything_on_device=device != "cpu",
            device=torch.device(device),
            verbose=False,
            allow_tqdm=False,
        )


def _tile_count(predictor: Any, shape: tuple[int, ...]) -> int:
    """Of a volume (z, y, x) padded to the patch; a 2-D model goes slice by slice."""
    patch = tuple(predictor.configuration_manager.patch_size)
    sliced = len(shape) - len(patch)
    padded = shape[:sliced] + tuple(max(n, p) for n, p in zip(shape[sliced:], patch, strict=True))
    return len(predictor._internal_get_sliding_window_slicers(padded))


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
