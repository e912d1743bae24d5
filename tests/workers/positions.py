"""Networks that know nothing but what they are shown: they label every voxel by its value, or by where it lies."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from dicom_nodes.errors import ModelUnusable
from service.submodel import Network, SubModel
from workers.segmentation import Model

Rule = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.uint8]]


class Ruled:
    """A network that applies a rule to its input, and keeps what it was shown."""

    phantom = True

    def __init__(self, rule: Rule, classes: int, digest: str = "ruled") -> None:
        self.rule, self.digest = rule, digest
        self.labels = {str(value): value for value in range(classes)}
        self.shown: list[tuple[npt.NDArray[np.float32], tuple[float, float, float]]] = []

    def predict(
        self,
        array: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        progress: Callable[[str, float], None],
    ) -> npt.NDArray[np.uint8]:
        self.shown.append((array, spacing_mm))
        for stage in ("preprocess", "network", "resample"):
            progress(stage, 0.0)
            progress(stage, 0.5)
            progress(stage, 1.0)
        return self.rule(array)


class Shelf:
    """The networks of a worker, given by name; one under "" is that of every sub-model."""

    def __init__(self, models: Mapping[str, Model] | Model, *submodels: SubModel) -> None:
        self._models = models if isinstance(models, Mapping) else {"": models}
        self._submodels = {submodel.name: submodel for submodel in submodels}

    def get(self, submodel: SubModel, network: Network) -> Model:
        return self._models.get(network.name) or self._models[""]

    def submodel(self, name: str) -> SubModel:
        if name not in self._submodels:
            raise ModelUnusable(f"sub-model {name} is not known")
        return self._submodels[name]
