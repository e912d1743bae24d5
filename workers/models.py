"""A sub-model in; its networks, loaded once and kept warm within a budget of memory, out."""

import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dicom_nodes.errors import ModelUnusable
from service.modelstore import Installed, ModelStore
from service.submodel import Network, SubModel
from workers.memory import MIB, Budget, gpu_most, gpu_room, gpu_share, host_most, host_room, host_share
from workers.needs import Room
from workers.runners.nnunet import LoadedModel, load

DISK_RESERVE = 256 * MIB
"""Of the disk that files of a run lie on, which no run may count on."""


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A network in memory."""

    model: LoadedModel
    installed: Installed
    """Its record when it was loaded."""
    folds: tuple[int, ...]
    size: Budget


class WarmModels:
    """The networks of one worker process, each loaded at its first series; the longest unused goes first."""

    def __init__(
        self,
        store: ModelStore,
        submodels: Mapping[str, SubModel],
        *,
        running: Iterable[str] | None = None,
        model_memory_mb: int | None = None,
        gpu_memory_mb: int | None = None,
        processes: int = 1,
        threads: int | None = None,
        device: str = "auto",
        memory_mb: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Load nothing yet.

        `submodels` are all that are known, `running` those that jobs come for (None: all). The memory is in MiB for
        this process; None takes half of what the host or the GPU has, shared by so many `processes`. `memory_mb` is
        what this process may have in all, weights and volumes; None for its share of the host. In the folder
        `scratch` lie files of a run, without a name; None: where the system keeps temporary files.
        """
        self._store, self._submodels = store, submodels
        self._running = tuple(submodels if running is None else running)
        self._memory_mb, self._processes = (model_memory_mb, gpu_memory_mb), processes
        self._threads, self._wanted_device = threads, device
        self._all_mb, self._scratch = memory_mb, scratch
        self._held: dict[str, _Held] = {}
        """In order of use, the latest last."""
        self._lock = threading.Lock()

    @cached_property
    def device(self) -> str:
        """What the networks run on: "cpu" or "cuda"."""
        return _device(self._wanted_device)

    @cached_property
    def budget(self) -> Budget:
        """How much weights this process may hold."""
        host_mb, gpu_mb = self._memory_mb
        host = host_share(self._processes) if host_mb is None else host_mb * MIB
        if self.device == "cpu":
            return Budget(host, None)
        return Budget(host, gpu_share(self._processes) if gpu_mb is None else gpu_mb * MIB)

    @property
    def scratch(self) -> Path:
        """Where files of a run lie; the folder is made."""
        folder = Path(tempfile.gettempdir()) if self._scratch is None else self._scratch
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def room(self) -> Room:
        """What there is for a volume now, of host, GPU and disk."""
        gpu = None if self.device == "cpu" else gpu_room()
        disk = shutil.disk_usage(self.scratch).free
        return Room(host_room(self._processes, self._all_mb), gpu, disk - DISK_RESERVE)

    def most(self) -> Room:
        """What there could be at the best: what a volume does not fit into, it never will."""
        gpu = None if self.device == "cpu" else gpu_most()
        disk = shutil.disk_usage(self.scratch).total
        return Room(host_most(self._processes, self._all_mb), gpu, disk - DISK_RESERVE)

    @property
    def held(self) -> tuple[str, ...]:
        """The networks in memory, the least recently used first."""
        return tuple(self._held)

    def submodel(self, name: str) -> SubModel:
        """A sub-model by its name; raises ModelUnusable where it is not known."""
        if name not in self._submodels:
            raise ModelUnusable(f"sub-model {name} is not among those of this worker: add its TOML file")
        return self._submodels[name]

    def check(self, submodel: SubModel) -> int:
        """The bytes of weights that a sub-model needs, its rough one apart.

        Raises ModelUnusable where one of its networks, or of those it needs first, is missing, obsolete or without
        a fold, or where its networks together are more than this process may hold.
        """
        chain = tuple(self._with_rough(submodel))
        sizes = [self._check_own(each) for each in chain]
        return sizes[0]

    def get(self, submodel: SubModel, network: Network) -> LoadedModel:
        """One network of a sub-model, set to run as the sub-model says; raises ModelUnusable as `check` does.

        A network that was installed anew is loaded anew. Keep no reference after the run, or it cannot be dropped.
        """
        with self._lock:
            self._check_own(submodel)
            installed = self._store.get(network.name)
            held = self._held.pop(network.name, None)
            if held is not None and (held.installed != installed or not set(network.folds) <= set(held.folds)):
                held = None
                self._let_go()
            if held is None:
                held = self._load(network, installed)
            self._held[network.name] = held
            return held.model.varied(network.folds, submodel.mirroring, submodel.tile_step)

    def give_back(self) -> None:
        """Give back the memory of all networks but the one that runs, as where a volume found too little."""
        with self._lock:
            self._held.clear()
        self._let_go()

    def _with_rough(self, submodel: SubModel) -> Iterator[SubModel]:
        """The sub-model, the one that it needs first, the one that that needs first, and so on."""
        names = [submodel.name]
        yield submodel
        while submodel.crop is not None:
            submodel = self.submodel(submodel.crop.submodel)
            if submodel.name in names:
                raise ModelUnusable(f"sub-models {' → '.join([*names, submodel.name])} need each other first")
            names.append(submodel.name)
            yield submodel

    def _check_own(self, submodel: SubModel) -> int:
        sizes = []
        for network in submodel.network:
            if network.obsolete:
                raise ModelUnusable(f"{network.name} is not run: {network.obsolete}")
            installed = self._store.get(network.name)
            if missing := sorted(set(network.folds) - set(installed.folds)):
                raise ModelUnusable(
                    f"{submodel.name} averages folds {_listed(network.folds)} of {network.name}; "
                    f"{_listed(missing)} is not installed"
                )
            sizes.append(self._size(installed, network.folds))
        self._check_fits(submodel, sizes)
        return sum(size.host_bytes for size in sizes)

    def _check_fits(self, submodel: SubModel, sizes: list[Budget]) -> None:
        host, gpu = sum(size.host_bytes for size in sizes), sum(size.gpu_bytes or 0 for size in sizes)
        wants = [("[workers] model_memory_mb", host, self.budget.host_bytes)]
        if self.budget.gpu_bytes is not None:
            wants.append(("[workers] gpu_memory_mb", gpu, self.budget.gpu_bytes))
        for key, needed, allowed in wants:
            if needed > allowed:
                raise ModelUnusable(
                    f"{submodel.name} needs {_mib(needed)} MiB for its weights and this worker may hold "
                    f"{int(allowed / MIB)} MiB ({key}): allow more, or run a smaller variant"
                )

    def _size(self, installed: Installed, folds: Iterable[int]) -> Budget:
        """Every fold's weights lie in the host's memory; a network is filled with one fold at a time."""
        one = installed.bytes // len(installed.folds)
        count = len(tuple(folds))
        if self.device == "cpu":
            return Budget((count + 1) * one, None)
        return Budget(count * one, one)

    def _load(self, network: Network, installed: Installed) -> _Held:
        folds = self._folds(network, installed)
        size = self._size(installed, folds)
        self._make_room(size)
        model = load(self._store.path(network.name), folds=folds, threads=self._threads, device=self.device)
        return _Held(model, installed, folds, size)

    def _folds(self, network: Network, installed: Installed) -> tuple[int, ...]:
        """Those that the running sub-models take of the network, where they fit; else those of this one."""
        needed = [each for name in self._running for each in self._usable(name)]
        taken = {fold for each in needed for one in each.network if one.name == network.name for fold in one.folds}
        folds = tuple(fold for fold in installed.folds if fold in taken | set(network.folds))
        size = self._size(installed, folds)
        fits = size.host_bytes <= self.budget.host_bytes and (size.gpu_bytes or 0) <= (self.budget.gpu_bytes or 0)
        return folds if fits else network.folds

    def _usable(self, name: str) -> tuple[SubModel, ...]:
        """A sub-model and those it needs first; none where it cannot run anyhow."""
        try:
            submodel = self.submodel(name)
            self.check(submodel)
        except ModelUnusable:
            return ()
        return tuple(self._with_rough(submodel))

    def _make_room(self, size: Budget) -> None:
        dropped = False
        while self._held and not self._fits_beside(size):
            del self._held[next(iter(self._held))]
            dropped = True
        if dropped:
            self._let_go()

    def _fits_beside(self, size: Budget) -> bool:
        sizes = [size, *(held.size for held in self._held.values())]
        if sum(each.host_bytes for each in sizes) > self.budget.host_bytes:
            return False
        return self.budget.gpu_bytes is None or sum(each.gpu_bytes or 0 for each in sizes) <= self.budget.gpu_bytes

    def _let_go(self) -> None:
        from workers.runners.device import let_go  # noqa: PLC0415  # torch is loaded only where a model is

        let_go(self.device)


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    from workers.runners.device import cuda_is_there  # noqa: PLC0415  # torch is loaded only where a model is

    return "cuda" if cuda_is_there() else "cpu"


def _mib(count: int) -> int:
    return -(-count // MIB)


def _listed(folds: Iterable[int]) -> str:
    return ", ".join(map(str, folds))
