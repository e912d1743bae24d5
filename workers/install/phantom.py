"""A folder in; the shipped phantom models installed in it, out. They are ours, and say so: nobody is asked."""

from fnmatch import fnmatchcase
from pathlib import Path

from dicom_nodes.errors import ModelUnusable
from service.modelstore import PHANTOM_LOCK, ModelStore, sha256, version_of
from service.submodel import Network, SubModel, load_submodels
from workers.install.layout import FINAL
from workers.install.place import locked

SHIPPED = Path(__file__).parent.parent / "phantom_models"


def phantom_store(folder: Path, shipped: Path = SHIPPED) -> ModelStore:
    """The phantom models as an installed model each, under the names of the networks whose place they take.

    What is absent in `folder`, or is not what is shipped now, is installed; a second call does nothing. Several
    processes may call it at once. torch is imported only where something is installed. Raises ModelUnusable.
    """
    store = ModelStore(folder)
    if _stale(store, shipped):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / PHANTOM_LOCK):
            for network, trained in _stale(store, shipped).items():
                _install(trained, network, store)
    return store


def network_of(dataset: str) -> str:
    """The name of the network whose place a phantom model takes, as mrannotator-spine for Dataset004_Spine."""
    return next(network.name for network in _networks() if fnmatchcase(dataset, network.dataset))


def _stale(store: ModelStore, shipped: Path) -> dict[str, Path]:
    """The plain folders, by name of the network, that are not installed as they are shipped."""
    found = {
        network.name: plans.parent
        for network in _networks()
        for plans in shipped.glob(f"{network.dataset}/*__{network.plans}__{network.configuration}/plans.json")
    }
    return {network: trained for network, trained in found.items() if not _is_current(store, network, trained)}


def _networks() -> tuple[Network, ...]:
    return tuple(network for each in _submodels() for network in each.network)


def _submodels() -> tuple[SubModel, ...]:
    """Those whose places the phantom models take."""
    return tuple(each for each in load_submodels() if each.system == "MRAnnotator" and not each.variant_of)


def _is_current(store: ModelStore, network: str, trained: Path) -> bool:
    files = ("plans.json", "dataset.json", f"fold_0/{FINAL}")
    try:
        store.verify(network)
        return store.get(network).version == version_of({name: sha256(trained / name) for name in files})
    except ModelUnusable:
        return False


def _install(trained: Path, network: str, store: ModelStore) -> None:
    from workers.install.installing import Wish, install  # noqa: PLC0415  # imports torch

    install(trained, store, _submodels(), Wish(name=network))
