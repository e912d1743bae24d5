"""`python -m tests.workers.small_memory`: each line in is a network on a volume; a line of what its run took out.

Every run is a process of its own, forked once the network is loaded and before it was ever run. What is said, as
one JSON object: the digest of the label map or the error, how it was run, the peak of its memory over what it had
before the run, and what was estimated. A file of Linux (proc(5), clear_refs) sets the peak back.
"""

import gc
import hashlib
import json
import os
import resource
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from service.modelstore import ModelStore
from service.submodel import Network, SubModel
from tests.workers.trained import TINY, submodel
from workers.failures import failure_of
from workers.fitting import Fitting
from workers.memory import MIB
from workers.models import WarmModels
from workers.needs import Room, TooLittleMemory, Way, estimate
from workers.runners.nnunet import LoadedModel


@dataclass(frozen=True)
class Boundless:
    """The networks of a worker that believes that there is room for everything."""

    models: WarmModels

    @property
    def scratch(self) -> Path:
        return self.models.scratch

    def room(self) -> Room:
        return Room(2**60, None, 2**60)

    def most(self) -> Room:
        return self.room()

    def give_back(self) -> None:
        self.models.give_back()

    def get(self, submodel: SubModel, network: Network) -> LoadedModel:
        return self.models.get(submodel, network)

    def submodel(self, name: str) -> SubModel:
        return self.models.submodel(name)


def volume(shape: tuple[int, ...]) -> np.ndarray:
    """Noise on waves, the same in every process."""
    z, y, x = (np.sin(np.arange(n) / 7) for n in shape)
    noise = np.random.default_rng(5).random(shape, dtype=np.float32)
    made: np.ndarray = (400 * noise + 90 * (z[:, None, None] + y[:, None] + x + 3)).astype(np.float32)
    return made


def table_of(asked: dict[str, Any]) -> SubModel:
    labels = TINY.labels if asked["classes"] == 3 else tuple(f"l{n}" for n in range(1, asked["classes"]))
    return submodel(recipe=replace(TINY, labels=labels))


def models_of(asked: dict[str, Any]) -> WarmModels:
    """With the network in memory."""
    folder, table = Path(asked["folder"]), table_of(asked)
    memory_mb, scratch = asked.get("memory_mb"), folder / "scratch"
    models = WarmModels(
        ModelStore(folder / "models"),
        {"tiny": table},
        threads=1,
        device="cpu",
        memory_mb=memory_mb,
        scratch=scratch,
    )
    models.get(table, table.network[0])
    return models


def run(asked: dict[str, Any], models: WarmModels) -> dict[str, Any]:
    table = table_of(asked)
    roomy = Boundless(models) if asked.get("boundless") else models
    notes: list[str] = []
    model = Fitting(roomy, asked.get("frugal", False), notes.append).get(table, table.network[0])
    array, spacing_mm = volume(asked["shape"]), tuple(asked["spacing_mm"])
    if asked.get("warm"):
        model.predict(volume((24, 48, 48)), spacing_mm, lambda *_: None)
    gc.collect()
    before = _size("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    if "limit_mb" in asked:
        limit = _size("VmSize") + asked["limit_mb"] * MIB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    told: dict[str, Any] = {"notes": notes, "room_mb": models.room().host_bytes / MIB}
    for name, way in (("kept", Way(True, False, True)), ("memory", Way(True, False)), ("disk", Way(True, True))):
        needed = estimate(tuple(asked["shape"]), spacing_mm, model.model.footprint, way)
        told[f"{name}_mb"] = needed.host_bytes / MIB
    try:
        found = model.predict(array, spacing_mm, lambda *_: None)
        told["found"] = hashlib.sha256(found.tobytes()).hexdigest()
        told["labels"] = np.unique(found).tolist()
    except TooLittleMemory as error:
        told["refused"], told["again"] = str(error), failure_of(error).again
    told["peak_mb"] = (_size("VmHWM") - before) / MIB
    return told


def _size(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def answer(line: str) -> None:
    asked = json.loads(line)
    models = models_of(asked)
    if os.fork() == 0:
        sys.stdout.write(json.dumps(run(asked, models)) + "\n")
        sys.stdout.flush()
        os._exit(0)
    _, status = os.wait()
    if status:
        sys.stdout.write(json.dumps({"broke": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for each in sys.stdin:
        answer(each)
