"""A site in; out: what every check saw of it, asked side by side, each bounded in time.

`CHECKS` is the table; each destination adds a check of its own. A check only looks, and prints nothing.
"""

import threading
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from dicom_nodes.errors import ConfigurationError
from service.config import Site, read_site
from service.doctor import machine, models, nodes, parts, stores, web_nodes
from service.doctor.seen import Check, Examined, Ground, Seen, bad, count, ok, warning
from service.routing.site import rules_fault
from service.submodel import site_submodels

LONGEST_SECONDS = 20.0
"""What has not ended by then is left."""

CHECKS: tuple[Check, ...] = (
    Check("folder", "machine", machine.folders),
    Check("file system", "machine", machine.file_system),
    Check("free space", "machine", machine.space),
    Check("user", "machine", machine.user),
    Check("open files", "machine", machine.open_files),
    Check("clock", "machine", machine.clock),
    Check("software", "machine", machine.software),
    Check("redis", "stores", stores.redis),
    Check("ledger", "stores", stores.ledger),
    Check("receiver", "parts", parts.receiver),
    Check("web", "parts", parts.web),
    Check("workers", "parts", parts.workers),
    Check("jobs", "parts", parts.jobs),
    Check("models", "models", models.models),
    Check("device", "models", models.capacity),
    Check("query node", "nodes", nodes.query),
)


def checks_of(site: Site, skip: Collection[str] = ()) -> tuple[Check, ...]:
    """The table, and a check for each destination, without the groups to skip."""
    asks = {"dicom": nodes.dicom_destination, "stow": web_nodes.web_destination}
    destinations = (
        Check(f"destination {each.name}", "nodes", partial(asks[each.kind], target=each))
        for each in site.destination
    )
    return tuple(check for check in (*CHECKS, *destinations) if check.group not in skip)


def examine(
    site_file: Path, skip: Collection[str] = (), store_test_object: bool = False, timeout_seconds: float = 5.0
) -> list[Examined]:
    """Everything that can be seen of a site; where site.toml is wrong, only that."""
    try:
        site = read_site(site_file)
        fault = rules_fault(site, site_submodels(site.models.submodels, site.home))
    except ConfigurationError as error:
        return [Examined("site", (bad(str(error), "Correct the file where the message says."),))]
    said = f"{site_file}: {site.receive.aet}, {count(len(site.destination), 'destination')}"
    wrong = [bad(f"the rules are wrong: {fault}", "Correct the file of rules where the message says.")]
    first = Examined("site", (ok(said), *(wrong if fault else [])))
    return [first, *ask_all(checks_of(site, skip), Ground(site, site_file, timeout_seconds, store_test_object))]


def ask_all(checks: Sequence[Check], ground: Ground, seconds: float = LONGEST_SECONDS) -> list[Examined]:
    """Every check in a thread of its own, in the order of the table; one that hangs or breaks stops no other."""
    answers: dict[str, tuple[Seen, ...]] = {}

    def ask(check: Check) -> None:
        answers[check.name] = _asked(check, ground)

    threads = [threading.Thread(target=ask, args=(each,), name=each.name, daemon=True) for each in checks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    silent = (
        warning(f"no answer in {seconds:g} s", "Ask again with `--skip` for the others, and look at it alone."),
    )
    return [Examined(each.name, answers.get(each.name, silent)) for each in checks]


def _asked(check: Check, ground: Ground) -> tuple[Seen, ...]:
    try:
        return tuple(check.ask(ground))
    except Exception as error:  # noqa: BLE001  # recorded as what was seen; the other checks go on
        said = f"the check itself broke: {type(error).__name__}: {error}"
        return (bad(said, "Please report it, with the version and this line."),)
