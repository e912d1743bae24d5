"""A sub-model's name in; its network, loaded once and kept warm, out."""

import threading
from pathlib import Path

from dicom_nodes.errors import ModelUnusable
from service.submodel import SubModel
from workers.runners.nnunet import LoadedModel, load

PHANTOM_MODELS = Path(__file__).parent / "phantom_models"
"""The shipped models, trained on synthetic phantoms; they say so themselves in everything they make."""


class WarmModels:
    """The networks of one worker process, each loaded at its first series."""

    def __init__(self, weights: str, home: Path, threads: int | None = None, device: str = "auto") -> None:
        self._folder = PHANTOM_MODELS if weights == "phantom" else home / weights
        self._threads, self._device = threads, device
        self._loaded: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()

    def get(self, submodel: SubModel) -> LoadedModel:
        """The network of a sub-model; raises ModelUnusable when its folder is absent or broken."""
        with self._lock:
            if submodel.name not in self._loaded:
                self._loaded[submodel.name] = self._load(submodel)
            return self._loaded[submodel.name]

    def _load(self, submodel: SubModel) -> LoadedModel:
        found = sorted(self._folder.glob(submodel.dataset))
        if not found:
            raise ModelUnusable(
                f"sub-model {submodel.name}: no folder {submodel.dataset} in {self._folder}; put its weights there"
            )
        return load(
            found[0],
            configuration=submodel.configuration,
            folds=submodel.folds,
            threads=self._threads,
            device=_device(self._device),
        )


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    from workers.runners.device import cuda_is_there  # noqa: PLC0415  # torch is loaded only where a model is

    return "cuda" if cuda_is_there() else "cpu"
