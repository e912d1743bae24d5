"""A site in; out: how it routes now, read again whenever its rules or its installed models change."""

import logging
from collections.abc import Sequence
from pathlib import Path

from dicom_nodes.errors import ConfigurationError
from service.config import Site
from service.modelstore import site_store
from service.observe import event
from service.routing.rules import Rule, read_rules
from service.routing.settings import Routing
from service.routing.vocabulary import shipped_vocabulary
from service.routing.witnesses import regions
from service.submodel import SubModel, with_rough

log = logging.getLogger(__name__)


class SiteRouting:
    """How one site routes; a changed file of rules counts from the next series on, a wrong one changes nothing."""

    def __init__(self, site: Site, known: Sequence[SubModel]) -> None:
        """Read the rules; raises ConfigurationError where they are wrong, as there are no old ones to keep."""
        self._site, self._known = site, tuple(known)
        self._store = site_store(site)
        self._file = site.home / site.routing.rules if site.routing.rules else None
        self._read_at = _stamp(self._file)
        self._rules = read_site_rules(self._file, self._known)
        self.fault = ""
        """What is wrong with the file as it stands, so that older rules are in force; empty where nothing is."""

    def now(self) -> Routing:
        """How the site routes at this moment."""
        self._read_again()
        models, ours = self._site.models, self._site.routing
        return Routing(
            known=self._known,
            run=models.run,
            otherwise=models.otherwise,
            rules=self._rules,
            able=self._able(),
            least_confidence=ours.least_confidence,
            doubtful=ours.doubtful,
        )

    def _read_again(self) -> None:
        stamp = _stamp(self._file)
        if stamp == self._read_at:
            return
        self._read_at = stamp
        try:
            self._rules, self.fault = read_site_rules(self._file, self._known), ""
        except ConfigurationError as error:
            self.fault = str(error)
            event(log, logging.ERROR, "the rules are wrong; those of before stay in force", why=self.fault)
        else:
            event(log, logging.INFO, "rules read again", rules=len(self._rules))

    def _able(self) -> frozenset[str]:
        """The sub-models that run here, and those others whose networks are installed.

        One that the site runs and that is not installed gives jobs that fail with what to do; none is passed over.
        """
        installed = {each.network for each in self._store.installed()}
        chosen = {each.name for system in Routing(self._known, self._site.models.run).systems for each in system}
        return frozenset(
            each.name
            for each in self._known
            if each.name in chosen
            or all(n.name in installed for needed in with_rough(each, self._known) for n in needed.network)
        )


def read_site_rules(file: Path | None, known: Sequence[SubModel]) -> tuple[Rule, ...]:
    """The rules of a site; none where it has no file. Raises ConfigurationError."""
    if file is None:
        return ()
    names = [region.name for region in regions(shipped_vocabulary(), known)]
    return read_rules(file, known, names)


def rules_fault(site: Site, known: Sequence[SubModel]) -> str:
    """What is wrong with the site's file of rules as it stands, without its folder; empty where nothing is."""
    file = site.home / site.routing.rules if site.routing.rules else None
    try:
        read_site_rules(file, known)
    except ConfigurationError as error:
        return str(error) if file is None else str(error).replace(str(file), file.name)
    return ""


def _stamp(file: Path | None) -> tuple[int, int]:
    """What changes when a file is written."""
    try:
        status = None if file is None else file.stat()
    except FileNotFoundError:
        return 0, 0
    return (0, 0) if status is None else (status.st_mtime_ns, status.st_size)
