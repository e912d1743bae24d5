"""The steps of nnU-Net's `predict_single_npy_array`, with progress: preprocess, sliding window, labels.

The network is built from plans and weights and not from the trainer's class name: nnU-Net's search for that class
imports every trainer it ships, and one of them cannot be imported beside a CPU build of torch.
"""

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from dicom_nodes.errors import ModelUnusable
from workers.needs import Way
from workers.runners import architecture
from workers.runners.labelling import label_map
from workers.runners.logits import InMemory, Logits, kept
from workers.runners.model_folder import ModelFolder
from workers.runners.nnunet import Progress
from workers.runners.pages import pages_kept
from workers.runners.preprocessing import preprocessed
from workers.runners.window import Tiles, filled, slide, tiles_of


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """nnU-Net's predictor, initialised with one model."""

    predictor: nnUNetPredictor
    folds: tuple[int, ...]
    """Of the predictor's list of parameters, in its order."""
    threads: int
    scratch: Path | None = None
    """Where logits lie that are kept on disk; None: where the system keeps temporary files."""

    def run(
        self,
        array: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        progress: Progress,
        way: Way | None = None,
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of `array` (z, y, x); `progress` hears of every step and every tile.

        It is the same in every `way`, None for the fastest on the predictor's device. What `progress` raises ends
        the run after the tile in work. Raises OSError where the disk does not take the logits.
        """
        way = way or Way(on_cpu=self.predictor.device.type == "cpu", on_disk=False, keeps_pages=True)
        with _torch_threads(self.threads):
            progress("preprocess", 0.0)
            data, properties = self.preprocess(array, spacing_mm)
            progress("preprocess", 1.0)
            tiles = tiles_of(self.predictor, data)
            a, b, c = data.shape[1:]
            classes = self.predictor.label_manager.num_segmentation_heads
            with kept(classes, (a, b, c), tiles.axis, way.on_disk, self.scratch) as logits:
                with pages_kept(way.on_cpu and way.keeps_pages):
                    self._slide(tiles, logits, progress)
                axis = tiles.axis
                del data, tiles
                progress("resample", 0.0)
                return self._labels(logits, properties, axis, progress)

    def varied(self, folds: tuple[int, ...], mirroring: bool, tile_step: float) -> "Prediction":
        """The same network and weights, run in another way; raises ModelUnusable where a fold is not loaded."""
        if missing := sorted(set(folds) - set(self.folds)):
            raise ModelUnusable(f"folds {missing} are not loaded; there are {list(self.folds)}")
        other = copy.copy(self.predictor)
        other.list_of_parameters = [self.predictor.list_of_parameters[self.folds.index(fold)] for fold in folds]
        other.use_mirroring = mirroring
        other.tile_step_size = tile_step
        return Prediction(other, folds, self.threads, self.scratch)

    def elsewhere(self, device: str, scratch: Path | None) -> "Prediction":
        """The same network and weights on another device, with logits kept in another folder.

        The network itself moves to the device when it is run.
        """
        other = copy.copy(self.predictor)
        other.device = torch.device(device)
        return Prediction(other, self.folds, self.threads, scratch)

    def preprocess(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """As `preprocessed`."""
        return preprocessed(self.predictor, array, spacing_mm)

    def logits(self, data: torch.Tensor, progress: Progress) -> torch.Tensor:
        """(class, ...) on the grid of `data`, averaged over tiles, mirrored tiles and folds."""
        tiles = tiles_of(self.predictor, data)
        classes = self.predictor.label_manager.num_segmentation_heads
        found = InMemory(torch.empty((classes, *data.shape[1:]), dtype=torch.half))
        self._slide(tiles, found, progress)
        return found.whole

    def export(self, logits: torch.Tensor, properties: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) on the grid that the array came on."""
        return self._labels(InMemory(logits), properties, 0, lambda *_: None)

    def _slide(self, tiles: Tiles, logits: Logits, progress: Progress) -> None:
        axes = self.predictor.allowed_mirroring_axes if self.predictor.use_mirroring else None
        runs = len(tiles.places) * (1 << len(axes or ())) * len(self.folds)
        done = iter(range(1, runs + 1))
        progress("network", 0.0)
        slide(self.predictor, self._networks(), tiles, logits, lambda: progress("network", next(done) / runs))

    def _networks(self) -> Iterator[torch.nn.Module]:
        """That of each fold, ready to run on the device, one after another."""
        p = self.predictor
        for weights in p.list_of_parameters:
            yield filled(p, weights)

    def _labels(
        self, logits: Logits, properties: dict[str, Any], axis: int, progress: Progress
    ) -> npt.NDArray[np.uint8]:
        return label_map(logits, self.predictor, properties, axis, lambda part: progress("resample", part))


def prepare(
    found: ModelFolder,
    weights: Mapping[int, Mapping[str, torch.Tensor]],
    *,
    mirroring_axes: tuple[int, ...] | None,
    threads: int,
    device: str,
) -> Prediction:
    """The predictor for `found` with the weights of its folds; run it plainly, or as `varied` says.

    `mirroring_axes` are those that the checkpoint allows; mirroring itself is off. Raises ModelUnusable where
    the weights do not fit the plans.
    """
    folds = tuple(weights)
    saved = [_in_single_precision(one) for one in weights.values()]
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


def _in_single_precision(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the network runs with as it lies there, each tensor once however many names it has."""
    found = {id(each): each.float() for each in weights.values()}
    return {name: found[id(each)] for name, each in weights.items()}


def _predictor(device: str) -> nnUNetPredictor:
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelUnusable(f"device {device} is asked for, but this torch sees no GPU")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it will not use a GPU
        return nnUNetPredictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=False,  # mirroring may confuse left with right: only where it is asked for
            perform_everything_on_device=device != "cpu",
            device=torch.device(device),
            verbose=False,
            allow_tqdm=False,
        )


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
