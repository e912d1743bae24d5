"""A site's sub-models and installed models in; out: what runs with which weights, under which licence, or why not.

Read anew at every look, since `sagittal models install` may have changed it; checksums are left to the workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.config import Site
from service.modelstore import Installed, ModelStore, site_store
from service.running import submodels_to_run
from service.submodel import PHANTOM_SOURCE, Network, SubModel, site_submodels, with_rough

VERSION_DIGITS = 16
"""As many of a version as a result carries in its AlgorithmVersion (0066,0031)."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class NetworkLine:
    """One network that a sub-model runs, and what is installed for it."""

    name: str
    folds: tuple[int, ...]
    """That the sub-model runs."""
    of: str
    """The sub-model that is run first, to find where to look, if the network is its; else empty."""
    published_licence: str
    """Of the weights that belong here."""
    installed: Installed | None
    fault: str
    """Why it cannot run; empty where it can."""

    @property
    def licence(self) -> str:
        """Of what is installed; of the published weights where nothing is."""
        return self.published_licence if self.installed is None else self.installed.licence

    @property
    def mib(self) -> float | None:
        """MiB of the weights of the folds that run; None where they are not all there."""
        if self.installed is None or self.fault:
            return None
        return self.installed.bytes / len(self.installed.folds) * len(self.folds) / MIB


@dataclass(frozen=True, slots=True)
class SubModelCard:
    """A sub-model, and whether it can run here."""

    submodel: SubModel
    networks: tuple[NetworkLine, ...]

    @property
    def phantom(self) -> bool:
        """Whether any of the weights are those of a phantom model."""
        return any(line.installed.phantom for line in self.networks if line.installed)

    @property
    def source(self) -> str:
        """Where the weights come from, as AlgorithmSource of a result says it."""
        return PHANTOM_SOURCE if self.phantom else self.submodel.source

    @property
    def state(self) -> str:
        """In a word or two."""
        if any(line.fault for line in self.networks):
            return "cannot run"
        return "phantom" if self.phantom else "ready"

    @property
    def licences(self) -> tuple[str, ...]:
        """Of all its networks, its own before those that are run first; each once."""
        own_first = sorted(self.networks, key=lambda line: bool(line.of))
        return tuple(dict.fromkeys(line.licence for line in own_first))

    @property
    def acceptance(self) -> str:
        """Whether the licence was accepted at install; empty where nobody is asked."""
        own = [line.installed for line in self.networks if line.installed and not line.of]
        if not self.submodel.accept_licence or (own and all(each.phantom for each in own)):
            return ""
        if not own:
            return "to be accepted at install"
        return "accepted" if all(each.licence_accepted for each in own) else "not accepted"


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that the page shows."""

    phantom: bool
    """Whether the site runs the shipped phantom models."""
    run: tuple[str, ...]
    cards: tuple[SubModelCard, ...]
    idle: tuple[Installed, ...]
    """Installed, but of no sub-model that runs."""
    broken: Mapping[str, str]
    """Installed, but unreadable, and of no sub-model that runs: why, by name."""


class SiteModels:
    """The sub-models that a site knows, read once, and the folder of its installed models.

    Raises ConfigurationError where a sub-model's file is wrong.
    """

    def __init__(self, site: Site) -> None:
        self._site, self._store = site, site_store(site)
        self._known = site_submodels(site.models.submodels, site.home)

    def look(self) -> Inventory:
        """What runs and what is installed now."""
        shelf, run = self._shelf(), self._site.models.run
        cards = tuple(self._card(each, shelf) for each in submodels_to_run(self._known, run))
        used = {line.name for card in cards for line in card.networks}
        idle = tuple(each for name, each in shelf.installed.items() if name not in used)
        broken = {name: why for name, why in shelf.broken.items() if name not in used}
        return Inventory(shelf.phantom, run, cards, idle, broken)

    def card(self, name: str) -> SubModelCard | None:
        """One sub-model, whether or not it runs; None where no file describes it any more."""
        submodel = next((each for each in self._known if each.name == name), None)
        return None if submodel is None else self._card(submodel, self._shelf())

    def _card(self, submodel: SubModel, shelf: "Shelf") -> SubModelCard:
        lines = [
            NetworkLine(network.name, network.folds, of, each.licence, *shelf.find(network))
            for each in reversed(with_rough(submodel, self._known))
            for of in ("" if each is submodel else each.name,)
            for network in each.network
        ]
        return SubModelCard(submodel, tuple(lines))

    def _shelf(self) -> "Shelf":
        """What lies in the folder now; its path stays on this machine."""
        place = f"{self._store.folder}/"
        return Shelf(
            self._store,
            self._site.models.weights == "phantom",
            {each.network: each for each in self._store.installed()},
            {name: why.replace(place, "") for name, why in self._store.broken().items()},
        )


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of installed models at one moment."""

    store: ModelStore
    phantom: bool
    """Whether it is the one that the workers fill with the shipped phantom models."""
    installed: Mapping[str, Installed]
    broken: Mapping[str, str]

    def find(self, network: Network) -> tuple[Installed | None, str]:
        """What is installed for a network, and why it cannot run; the latter is empty where it can."""
        if network.obsolete:
            return None, network.obsolete
        found = self.installed.get(network.name)
        if found is None:
            return None, self.broken.get(network.name, self._absent)
        if missing := sorted(set(network.folds) - set(found.folds)):
            return found, f"fold {', '.join(map(str, missing))} is not installed; install an archive that has it"
        path = self.store.path(network.name)
        if gone := sorted(name for name in found.files if not (path / name).is_file()):
            return found, f"{', '.join(gone)} is gone; install the model again"
        return found, ""

    @property
    def _absent(self) -> str:
        if not self.phantom:
            return "not installed; install it with: sagittal models install ZIP_OR_FOLDER"
        if not self.installed:
            return "not installed yet: the workers install the phantom models when they start"
        return "no phantom model takes its place: name a folder in [models] weights, and install the published one"


def inventory_record(inventory: Inventory) -> dict[str, Any]:
    """The inventory as JSON shows it."""
    return {
        "phantom": inventory.phantom,
        "run": inventory.run,
        "submodels": [card_record(card) for card in inventory.cards],
        "not_run": [_installed_record(each) for each in inventory.idle],
        "broken": inventory.broken,
    }


def card_record(card: SubModelCard) -> dict[str, Any]:
    """One sub-model as JSON shows it."""
    submodel = card.submodel
    return {
        "name": submodel.name,
        "system": submodel.system,
        "state": card.state,
        "phantom": card.phantom,
        "licences": card.licences,
        "licence_of_published_weights": submodel.licence,
        "licence_acceptance": card.acceptance,
        "source": card.source,
        "citation": submodel.citation,
        "protocols": [protocol.name for protocol in submodel.protocol],
        "networks": [_line_record(line) for line in card.networks],
    }


def _line_record(line: NetworkLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "folds": line.folds,
        "runs_first_as": line.of or None,
        "fault": line.fault or None,
        "mib": None if line.mib is None else round(line.mib, 1),
        "installed": None if line.installed is None else _installed_record(line.installed),
    }


def _installed_record(installed: Installed) -> dict[str, Any]:
    shown = {
        *("network", "submodel", "system", "version", "folds", "bytes", "licence", "licence_accepted", "phantom"),
        *("origin", "installed_at", "software"),
    }
    return installed.model_dump(mode="json", include=shown)
