"""The steps of nnU-Net's `predict_single_npy_array`, with progress: preprocess, sliding window, export.

The network is built from plans and weights and not from the trainer's class name: nnU-Net's search for that class
imports every trainer it ships, and one of them cannot be imported beside a CPU build of torch.
"""

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from dicom_nodes.errors import ModelUnusable
from workers.runners import architecture
from workers.runners.model_folder import ModelFolder
from workers.runners.nnunet import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """nnU-Net's predictor, initialised with one model."""

    predictor: "_Predictor"
    folds: tuple[int, ...]
    """Of the predictor's list of parameters, in its order."""
    threads: int

    def run(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float], progress: Progress
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of `array` (z, y, x); `progress` hears of every step and every tile.

        What `progress` raises ends the run after the tile in work.
        """
        with _torch_threads(self.threads):
            progress("preprocess", 0.0)
            data, properties = self.preprocess(array, spacing_mm)
            progress("preprocess", 1.0)
            logits = self.logits(data, progress)
            progress("resample", 0.0)
            found = self.export(logits, properties)
            progress("resample", 1.0)
        return found

    def varied(self, folds: tuple[int, ...], mirroring: bool, tile_step: float) -> "Prediction":
        """The same network and weights, run in another way; raises ModelUnusable where a fold is not loaded."""
        if missing := sorted(set(folds) - set(self.folds)):
            raise ModelUnusable(f"folds {missing} are not loaded; there are {list(self.folds)}")
        other = copy.copy(self.predictor)
        other.list_of_parameters = [self.predictor.list_of_parameters[self.folds.index(fold)] for fold in folds]
        other.use_mirroring = mirroring
        other.tile_step_size = tile_step
        return Prediction(other, folds, self.threads)

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
        """(class, ...) on the grid of `data`, averaged over tiles, mirrored tiles and folds."""
        p = self.predictor
        watch = _Watch(_tile_count(p, tuple(data.shape[1:])), progress)
        progress("network", 0.0)
        hook = p.network.register_forward_hook(watch.tile_done)
        p.watch = watch
        try:
            logits: torch.Tensor = p.predict_logits_from_preprocessed_data(data).cpu()
        finally:
            hook.remove()
            p.watch = None
        if watch.stopped is not None:
            raise watch.stopped
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


class _Watch:
    """Counts the tiles that are done; when `progress` raises, no further tile is begun.

    To raise inside nnU-Net's loop would leave its thread waiting for ever, with the volume in its hands.
    """

    def __init__(self, tiles: int, progress: Progress) -> None:
        self._tiles, self._progress, self._done = tiles, progress, 0
        self.stopped: BaseException | None = None

    def tile_done(self, *_: object) -> None:
        self._done += 1
        if self.stopped is not None:
            return
        try:
            self._progress("network", min(self._done / self._tiles, 1.0))
        except BaseException as error:  # noqa: BLE001  # raised again where the loop has ended
            self.stopped = error


class _Tiles(list[tuple[slice, ...]]):
    """The places of the sliding window; the way through them ends early where the watch says so."""

    watch: _Watch | None = None

    def __iter__(self) -> Iterator[tuple[slice, ...]]:
        for place in super().__iter__():
            if self.watch is not None and self.watch.stopped is not None:
                return
            yield place


class _Predictor(nnUNetPredictor):  # type: ignore[misc]  # nnU-Net ships no types
    """nnU-Net's, whose tiles can be stopped."""

    watch: _Watch | None = None

    def _internal_get_sliding_window_slicers(self, image_size: tuple[int, ...]) -> _Tiles:
        places = _Tiles(super()._internal_get_sliding_window_slicers(image_size))
        places.watch = self.watch
        return places


def prepare(
    found: ModelFolder,
    weights: Mapping[int, Mapping[str, torch.Tensor]],
    *,
    mirroring_axes: tuple[int, ...] | None,
    threads: int,
    device: str,
) -> Prediction:
    """The predictor for `found` with the weights of its folds; run it plainly, or as `varied` says.

    `mirroring_axes` are those that the checkpoint allows; mirroring itself is off. Raises ModelUnusable where the
    weights do not fit the plans.
    """
    folds = tuple(weights)
    saved = [dict(one) for one in weights.values()]
    network = architecture.build(found.plans)
    for one in saved:
        architecture.fill(network, one, found.path)
    plans, configuration = architecture.manager(found.plans.plans), architecture.configured(found.plans)
    predictor = _predictor(device)
    predictor.manual_initialization(
        network,
        plans,
        configuration,
        saved,
        dict(found.plans.dataset),
        found.installed.trainer,
        mirroring_axes or None,
    )
    return Prediction(predictor, folds, threads)


def _predictor(device: str) -> _Predictor:
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelUnusable(f"device {device} is asked for, but this torch sees no GPU")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it will not use a GPU
        return _Predictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=False,  # mirroring may confuse left with right: only where it is asked for
            perform_everything_on_device=device != "cpu",
            device=torch.device(device),
            verbose=False,
            allow_tqdm=False,
        )


def _tile_count(predictor: _Predictor, shape: tuple[int, ...]) -> int:
    """How often the network runs on a volume (z, y, x) padded to the patch; a 2-D model goes slice by slice."""
    patch = tuple(predictor.configuration_manager.patch_size)
    sliced = len(shape) - len(patch)
    padded = shape[:sliced] + tuple(max(n, p) for n, p in zip(shape[sliced:], patch, strict=True))
    tiles: int = len(predictor._internal_get_sliding_window_slicers(padded))
    axes = predictor.allowed_mirroring_axes if predictor.use_mirroring else None
    return tiles * (1 << len(axes or ())) * len(predictor.list_of_parameters)


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
