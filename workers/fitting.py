"""The networks of a worker in; the same ones out, each run in a way that fits into the memory that there is.

Before a run its needs are estimated and held against what is free. A run that is out of memory all the same is done
once more, in the next way that takes less; when there is none, the job fails with the numbers.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.observe import event
from service.submodel import Network, SubModel
from workers.grid import Image, Labels, Millimetres
from workers.needs import Footprint, NeverFits, Room, Shape, TooLittleMemory, Way, estimate, refusal, ways_that_fit

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]


class Measured(Protocol):
    """A network that says what it needs, as `workers.runners.nnunet.LoadedModel`."""

    @property
    def labels(self) -> Mapping[str, int]:
        """As `workers.segmentation.Model.labels`."""
        ...

    @property
    def digest(self) -> str:
        """As `workers.segmentation.Model.digest`."""
        ...

    @property
    def phantom(self) -> bool:
        """As `workers.segmentation.Model.phantom`."""
        ...

    @property
    def footprint(self) -> Footprint:
        """What decides how much memory a volume takes."""
        ...

    def predict_so(
        self, array: Image, spacing_mm: Millimetres, progress: Progress, way: Way, scratch: Path | None
    ) -> Labels:
        """The label map (z, y, x); raises MemoryError where the memory does not suffice."""
        ...


class Roomy(Protocol):
    """The networks of a worker and the room that it has, as `workers.models.WarmModels`."""

    @property
    def scratch(self) -> Path:
        """Where files of a run lie."""
        ...

    def room(self) -> Room:
        """What there is for a volume now."""
        ...

    def most(self) -> Room:
        """What there could be at the best."""
        ...

    def give_back(self) -> None:
        """Give the memory of all networks but the one that runs back."""
        ...

    def get(self, submodel: SubModel, network: Network) -> Measured:
        """One network of a sub-model; raises ModelUnusable."""
        ...

    def submodel(self, name: str) -> SubModel:
        """A sub-model by its name; raises ModelUnusable."""
        ...


@dataclass(frozen=True, slots=True)
class Fitting:
    """Networks for one job."""

    models: Roomy
    frugal: bool = False
    """Take the way that needs least from the start: a worker died of this job, or was out of memory."""
    tell: Callable[[str], None] = lambda _: None
    """Hears, in words for the job's record, of every run that is not the plain one."""

    def get(self, submodel: SubModel, network: Network) -> "FittingModel":
        """As `WarmModels.get`; raises ModelUnusable as it does."""
        return FittingModel(self.models.get(submodel, network), network.name, self)

    def submodel(self, name: str) -> SubModel:
        """As `WarmModels.submodel`."""
        return self.models.submodel(name)


@dataclass(frozen=True, slots=True, eq=False)
class FittingModel:
    """One network, run so that it fits."""

    model: Measured
    name: str
    job: Fitting

    @property
    def labels(self) -> Mapping[str, int]:
        """As the network's."""
        return self.model.labels

    @property
    def digest(self) -> str:
        """As the network's."""
        return self.model.digest

    @property
    def phantom(self) -> bool:
        """As the network's."""
        return self.model.phantom

    def predict(self, array: Image, spacing_mm: Millimetres, progress: Progress) -> Labels:
        """The label map (z, y, x) of an array (z, y, x): the same one in whichever way it is run.

        Raises TooLittleMemory where it does not fit, or did not in any of the ways that should have; NeverFits, one
        of them, where this machine is too small for it.
        """
        z, y, x = array.shape
        shape: Shape = (z, y, x)
        room, ways = self._ways(shape, spacing_mm)
        for index, way in enumerate(ways):
            self._tell(way, shape, spacing_mm, room, again=index > 0)
            try:
                return self.model.predict_so(array, spacing_mm, progress, way, self.job.models.scratch)
            except MemoryError as error:
                if isinstance(error, TooLittleMemory):
                    raise
                self._say(f"{self.name} was out of memory {way}", why=str(error))
            self.job.models.give_back()  # not in `except`, where the traceback still holds the arrays
        needed = estimate(shape, spacing_mm, self.model.footprint, ways[-1])
        raise TooLittleMemory(refusal(shape, needed, self.job.models.room()))

    def _ways(self, shape: Shape, spacing_mm: Millimetres) -> tuple[Room, tuple[Way, ...]]:
        """What room there is and which ways fit, if need be without the other networks that are kept warm."""
        models, needed, frugal = self.job.models, self.model.footprint, self.job.frugal
        room = models.room()
        try:
            return room, ways_that_fit(shape, spacing_mm, needed, room, models.most(), frugal)
        except NeverFits:
            raise
        except TooLittleMemory:
            models.give_back()
        room = models.room()
        return room, ways_that_fit(shape, spacing_mm, needed, room, models.most(), frugal)

    def _tell(self, way: Way, shape: Shape, spacing_mm: Millimetres, room: Room, again: bool) -> None:
        plain = Way(on_cpu=room.gpu_bytes is None, on_disk=False)
        if (way.on_cpu, way.on_disk) == (plain.on_cpu, plain.on_disk) and not again:
            return
        wanted = estimate(shape, spacing_mm, self.model.footprint, plain)
        why = "to be on the safe side" if self.job.frugal else f"the plain way needs {wanted}, and there are {room}"
        self._say(f"{self.name} is run {way}", why="" if again else why)

    def _say(self, what: str, why: str) -> None:
        event(log, logging.WARNING, what, why=why)
        self.job.tell(f"{what}: {why}" if why else what)
