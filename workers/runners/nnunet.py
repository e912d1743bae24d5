"""The folder of an installed nnU-Net v2 network in; a model that turns arrays into label maps out.

No environment variable has to be set, no process is started and nothing is written to disk. torch and nnU-Net are
imported by the first `load` and not before: a process that will fork must not have them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workers.needs import Footprint, Way
from workers.runners import model_folder

if TYPE_CHECKING:
    from workers.runners.prediction import Prediction

Progress = Callable[[str, float], None]
"""Called with "preprocess", "network" or "resample" and the fraction of that stage that is done, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to run; keep it between series. One prediction at a time."""

    labels: Mapping[str, int]
    """Name to value as `dataset.json` has them, the background with them."""
    version: str
    """SHA-256 over plans, dataset description and checkpoints as they were published."""
    phantom: bool
    """Trained on synthetic phantoms, by the word of the checkpoint itself."""
    bytes: int
    """Memory that the weights of the loaded folds take, as float32."""
    prediction: "Prediction"

    @property
    def digest(self) -> str:
        """The same as `version`."""
        return self.version

    def predict(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float], progress: Progress
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of `array` (z, y, x), whose axes already lie as the model was trained.

        `spacing_mm` is the distance of voxel centres along (z, y, x). Equals what nnU-Net's
        `predict_single_npy_array` returns for the folder that was installed.
        """
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"an array of (z, y, x) is needed, not of shape {array.shape}")
        return self.prediction.run(array, spacing_mm, progress)

    @property
    def footprint(self) -> Footprint:
        """What decides how much memory a volume takes."""
        from workers.runners.footprint import footprint  # noqa: PLC0415  (imports torch, see the first lines)

        return footprint(self.prediction.predictor)

    def predict_so(
        self,
        array: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        progress: Progress,
        way: Way,
        scratch: Path | None,
    ) -> npt.NDArray[np.uint8]:
        """The same label map as `predict`, run in a way that takes less memory; files are in the folder `scratch`.

        Raises MemoryError where the memory, the GPU's or the host's, does not suffice after all, and OSError where
        the disk does not.
        """
        from workers.runners.device import says_out_of_memory  # noqa: PLC0415  (imports torch)

        device = "cpu" if way.on_cpu else str(self.prediction.predictor.device)
        try:
            return self.prediction.elsewhere(device, scratch).run(array, spacing_mm, progress, way)
        except (RuntimeError, MemoryError) as error:
            if not says_out_of_memory(error):
                raise
            raise MemoryError(str(error) or "memory is used up") from error

    def varied(self, folds: tuple[int, ...], mirroring: bool, tile_step: float) -> "LoadedModel":
        """The same weights in memory, run in another way; raises ModelUnusable where a fold is not loaded."""
        other = self.prediction.varied(folds, mirroring, tile_step)
        return LoadedModel(self.labels, self.version, self.phantom, self.bytes, other)


def load(
    folder: Path,
    *,
    folds: tuple[int, ...] | None = None,
    mirroring: bool = False,
    tile_step: float = 0.5,
    threads: int | None = None,
    device: str = "cpu",
) -> LoadedModel:
    """The installed network in `folder`, as `service.modelstore` keeps it.

    `folds` None takes all there are and averages them; `mirroring` averages over mirrored copies along the axes
    that the checkpoint allows; `tile_step` is the step of the sliding window as a part of the patch; `threads` None
    takes all cores. Raises ModelUnusable, naming what is missing, was changed or does not fit.
    """
    found = model_folder.read(folder, folds)
    count = threads or os.cpu_count() or 1
    # nnU-Net reads its number of threads from here, once, while it is imported.
    os.environ.setdefault("nnUNet_def_n_proc", str(count))
    from workers.runners import prediction, weights  # noqa: PLC0415  (imports torch, see the first lines)

    installed = found.installed
    loaded = {fold: weights.read(*found.weights(fold)) for fold in found.folds}
    prepared = prediction.prepare(
        found,
        loaded,
        mirroring_axes=installed.mirroring_axes,
        threads=count,
        device=device,
    )
    return LoadedModel(
        labels=found.plans.labels,
        version=installed.version,
        phantom=installed.phantom,
        bytes=4 * installed.parameters * len(found.folds),
        prediction=prepared.varied(found.folds, mirroring, tile_step),
    )
