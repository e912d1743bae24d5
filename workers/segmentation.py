"""One volume and its sub-model in; the label map on the volume's own grid out.

The way is that of the sub-model's authors: crop to what a rough sub-model finds, turn, resample, run each network,
merge; and all of it back, so that the label map lies on the voxels that were read.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dicom_nodes.errors import EmptyResult, ModelUnusable
from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Affine, Algorithm, LabelMap, Laterality, Segment, Volume, Voxels
from service.submodel import PHANTOM_SOURCE, Crop, Network, SubModel
from workers.grid import Box, Image, Labels, Millimetres, box_around, laid_back, resampled, slabs
from workers.progress import Progress, Report

_ROUGH = 0.3
"""Part of the work that the rough run takes where there is one."""


class Model(Protocol):
    """A network that is ready to run, as `workers.runners.nnunet.LoadedModel`."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Name to value of its output, the background with them."""
        ...

    @property
    def digest(self) -> str:
        """Changes with the weights."""
        ...

    @property
    def phantom(self) -> bool:
        """Trained on synthetic phantoms, by the word of the weights themselves."""
        ...

    def predict(
        self, array: Image, spacing_mm: Millimetres, progress: Callable[[str, float], None]
    ) -> npt.NDArray[np.uint8]:
        """The label map (z, y, x) of an array (z, y, x) on the model's own axes."""
        ...


class Models(Protocol):
    """The networks of a worker, as `workers.models.WarmModels`."""

    def get(self, submodel: SubModel, network: Network) -> Model:
        """One network of a sub-model, set to run as the sub-model says; raises ModelUnusable."""
        ...

    def submodel(self, name: str) -> SubModel:
        """A sub-model by its name; raises ModelUnusable where it is not known."""
        ...


def segment(
    volume: Volume, submodel: SubModel, protocol: str, side: Laterality | None, models: Models, report: Report
) -> LabelMap:
    """Read a volume and segment it as `segment_voxels`; raises SeriesUnreadable where the pixels cannot be read."""
    report("read", 0)
    return segment_voxels(read_voxels(volume), submodel, protocol, side, models, report)


def segment_voxels(
    voxels: Voxels, submodel: SubModel, protocol: str, side: Laterality | None, models: Models, report: Report
) -> LabelMap:
    """Run the sub-model as its authors do, and lay what the protocol keeps back on the voxels.

    Raises ModelUnusable where a network is missing or its labels are not the sub-model's, and EmptyResult where the
    structures that it looks around are not there.
    """
    found = find(voxels.array, voxels.affine, submodel, models, Progress(report, 0.05))
    segments = submodel.segments(protocol, side)
    source = PHANTOM_SOURCE if found.phantom else submodel.source
    algorithm = Algorithm(submodel.name, found.version[:16], source, found.phantom)
    return LabelMap(_kept(found.labels, segments), voxels.affine, segments, algorithm)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All that a sub-model finds in an array, and which weights found it."""

    labels: Labels
    """(z, y, x) on the grid of the array, in the sub-model's label values."""
    version: str
    """The network's digest where one ran; else one over those of all that ran, the rough ones with them."""
    phantom: bool
    """True where any of the weights that ran are of a phantom model."""


def find(array: Image, affine: Affine, submodel: SubModel, models: Models, progress: Progress) -> Found:
    """Run a sub-model on an array (z, y, x) with its affine ((x, y, z) to LPS mm).

    Raises ModelUnusable and EmptyResult as `segment` does.
    """
    run = _Run(models)
    labels = run.find(array, affine, submodel, progress)
    return Found(labels, run.version, any(phantom for _, phantom in run.used.values()))


class _Run:
    """One run of a sub-model: what it finds, and a note of every network that took part."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.used: dict[str, tuple[str, bool]] = {}
        """By network: its digest, and whether it is a phantom model."""

    @property
    def version(self) -> str:
        """As `Found.version`."""
        if len(self.used) == 1:
            return next(iter(self.used.values()))[0]
        lines = "".join(f"{name}\0{digest}\n" for name, (digest, _) in self.used.items())
        return hashlib.sha256(lines.encode()).hexdigest()

    def find(self, array: Image, affine: Affine, submodel: SubModel, progress: Progress) -> Labels:
        """The label map of an array, on its own grid."""
        if submodel.crop is None:
            return self._find_all(array, affine, submodel, progress)
        box = self._box(array, affine, submodel, submodel.crop, progress.part(0, _ROUGH))
        found = self._find_all(box.cut(array), box.moved(affine), submodel, progress.part(_ROUGH, 1))
        return box.put_back(found, _shape(array))

    def _box(self, array: Image, affine: Affine, submodel: SubModel, crop: Crop, progress: Progress) -> Box:
        rough = self._models.submodel(crop.submodel)
        wanted = [label.value for label in rough.label if {label.name, *label.also} & set(crop.labels)]
        found = self.find(array, affine, rough, progress)
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
        box = box_around(np.isin(found, wanted), (float(z), float(y), float(x)), crop.margin_mm)
        if box is None:
            around = ", ".join(crop.labels)
            raise EmptyResult(f"{submodel.name} looks around {around} only, and {rough.name} found none of it")
        return box

    def _find_all(self, array: Image, affine: Affine, submodel: SubModel, progress: Progress) -> Labels:
        """Turn, resample, run every network, merge, and back."""
        turned = reorient(array, affine, submodel.orientation)
        image, spacing_mm = turned.array, turned.spacing_mm
        if submodel.resample_mm is not None:
            x, y, z = submodel.resample_mm
            image, spacing_mm = resampled(turned.array, turned.spacing_mm, (z, y, x)), (z, y, x)
        merged = np.zeros(image.shape, np.uint8)
        for index, network in enumerate(submodel.network):
            part = progress.share(index, len(submodel.network))
            found = self._run_one(image, spacing_mm, submodel, network, part)
            np.copyto(merged, found, where=found != 0)
        return turned.undo(laid_back(merged, _shape(turned.array)))

    def _run_one(
        self, image: Image, spacing_mm: Millimetres, submodel: SubModel, network: Network, progress: Progress
    ) -> Labels:
        """What one network finds, in the sub-model's label values."""
        progress.say("load model", 0.0)
        model = self._models.get(submodel, network)
        self.used[network.name] = (model.digest, model.phantom)
        table = _table(submodel, network, model)
        parts = slabs(image.shape[0], submodel.split_level)
        found = np.zeros(image.shape, np.uint8)
        for index, slab in enumerate(parts):
            seen = np.ascontiguousarray(image[slab.first : slab.end], np.float32)
            labels = model.predict(seen, spacing_mm, progress.share(index, len(parts)))
            kept = labels[slab.keep_first - slab.first : slab.keep_end - slab.first]
            found[slab.keep_first : slab.keep_end] = table[kept]
        return found


def _table(submodel: SubModel, network: Network, model: Model) -> Labels:
    """From a network's output values to the sub-model's label values."""
    values = submodel.values_of(network)
    told_apart = {value for name, value in model.labels.items() if name != "ignore"}
    if told_apart != set(range(len(values))):
        raise ModelUnusable(
            f"{network.name}: the installed network tells {len(told_apart)} classes apart, {submodel.name} expects "
            f"{len(values)}: background, {', '.join(network.labels)}"
        )
    table = np.zeros(256, np.uint8)
    table[: len(values)] = values
    return table


def _shape(array: npt.NDArray[np.generic]) -> tuple[int, int, int]:
    z, y, x = array.shape
    return z, y, x


def _kept(labels: Labels, segments: tuple[Segment, ...]) -> Labels:
    table = np.zeros(256, np.uint8)
    for wanted in segments:
        table[wanted.value] = wanted.value
    return table[labels]
