"""One volume and its sub-model in; the label map on the volume's own grid out."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Algorithm, LabelMap, Laterality, Segment, Volume
from service.submodel import SubModel

Report = Callable[[str, int], None]
"""Called with the stage ("read", "preprocess", "network", "resample") and the per cent of the whole."""


class Model(Protocol):
    """A network that is ready to run, as `workers.runners.nnunet.LoadedModel`."""

    @property
    def digest(self) -> str:
        """Changes with the weights."""
        ...

    @property
    def phantom(self) -> bool:
        """Trained on synthetic phantoms, by the word of the weights themselves."""
        ...

    def predict(
        self,
        array: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        progress: Callable[[str, float], None],
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of an array (z, y, x) on the model's own axes."""
        ...


_SPAN = {"preprocess": (5, 15), "network": (15, 85), "resample": (85, 100)}


def segment(
    volume: Volume, submodel: SubModel, protocol: str, side: Laterality | None, model: Model, report: Report
) -> LabelMap:
    """Read a volume, run the sub-model in its own orientation, and lay what the protocol keeps back on the volume.

    Raises SeriesUnreadable where the pixels cannot be read and ModelUnusable where the model's labels are not the
    sub-model's.
    """
    report("read", 0)
    voxels = read_voxels(volume)
    turned = reorient(voxels.array, voxels.affine, submodel.orientation)

    def progress(stage: str, fraction: float) -> None:
        first, last = _SPAN[stage]
        report(stage, round(first + (last - first) * fraction))

    found = model.predict(np.asarray(turned.array, np.float32), turned.spacing_mm, progress)
    segments = submodel.segments(protocol, side)
    algorithm = Algorithm(submodel.name, model.digest[:16], submodel.source, model.phantom)
    return LabelMap(_kept(turned.undo(found), segments), volume.affine, segments, algorithm)


def _kept(labels: npt.NDArray[np.uint8], segments: tuple[Segment, ...]) -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for wanted in segments:
        table[wanted.value] = wanted.value
    return table[labels]
