"""A trained nnU-Net v2 folder in; a model that turns arrays into label maps out.

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
    digest: str
    """SHA-256 over plans, dataset description and checkpoints: the model's version."""
    phantom: bool
    """Trained on synthetic phantoms, by the word of the checkpoint itself."""
    prediction: "Prediction"

    def predict(
        self, array: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float], progress: Progress
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of `array` (z, y, x), whose axes already lie as the model was trained.

        `spacing_mm` is the distance of voxel centres along (z, y, x). Equals what nnU-Net's
        `predict_single_npy_array` returns for the same folder.
        """
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"an array of (z, y, x) is needed, not of shape {array.shape}")
        return self.prediction.run(array, spacing_mm, progress)


def load(
    folder: Path,
    *,
    configuration: str = "3d_fullres",
    folds: tuple[int, ...] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    threads: int | None = None,
    device: str = "cpu",
    tile_step: float = 0.5,
) -> LoadedModel:
    """The nnU-Net v2 model in `folder`: a `DatasetXXX_NAME`, or one `TRAINER__PLANS__CONFIGURATION` folder.

    `folds` None takes all there are and averages them; `threads` None takes all cores; `tile_step` is the step of
    the sliding window as a part of the patch. Raises ModelUnusable, naming what is missing or does not fit.
    """
    found = model_folder.read(folder, configuration, folds, checkpoint)
    count = threads or os.cpu_count() or 1
    # nnU-Net reads its number of threads from here, once, while it is imported.
    os.environ.setdefault("nnUNet_def_n_proc", str(count))
    from workers.runners import prediction  # noqa: PLC0415  (imports torch, see the first lines)

    prepared, phantom = prediction.prepare(found, count, device, tile_step)
    return LoadedModel(labels=found.labels, digest=found.digest, phantom=phantom, prediction=prepared)
