"""A site for the faults to strike: its processes one by one, its Redis, its archive and its site.toml."""

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import echo
from dicom_nodes.types import Node
from service.redis_server import redis_binary
from tests.conftest import free_port
from tests.faults import clocks
from tests.faults.archive import AET as ARCHIVE_AET
from tests.faults.archive import Mood, tell
from tests.faults.machines import Machines, machines, why_not
from tests.faults.model import NAME
from tests.faults.processes import Keeper
from tests.faults.schedule import WORKERS
from tests.postgresql import PostgreSql

START_SECONDS = 90.0
LEASE_SECONDS = 4.0
ROOT = Path(__file__).parents[2]
SITE_TOML = """\
[receive]
aet = "SAGITTAL"
host = "{inside}"
port = {port}

[assembly]
quiet_seconds = 2.0
abandoned_seconds = 25.0

[[destination]]
name = "archive"
aet = "{archive_aet}"
host = "{outside}"
port = {archive_port}
timeout_seconds = 4.0
commitment_hours = 0.05

[models]
weights = "{models}"
submodels = "{submodels}"
run = ["{model}"]
otherwise = []

[checks]
contradiction = "deliver"

[storage]
redis = "redis://127.0.0.1:{redis_port}/0"
ledger = "{ledger}"

[web]
host = "{inside}"
port = {web_port}

[workers]
threads = 1
device = "cpu"
lease_seconds = {lease}
max_attempts = 10
"""


@dataclass(frozen=True)
class BrokenSite:
    """A running site whose every part can be reached."""

    folder: Path
    machines: Machines
    keeper: Keeper
    node: Node
    redis_socket: Path
    web_url: str
    database: PostgreSql | None
    """The server of its ledger; None where that is an SQLite file."""

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL."""
        return ledger_url(self.folder, self.database)

    @property
    def incoming(self) -> Path:
        """Where received instances lie, as it is reached from here."""
        return self.machines.seen(self.folder / "site" / "data" / "incoming")

    @property
    def archive_folder(self) -> Path:
        return self.folder / "archive"

    def clock(self, worker: str) -> Path:
        """The file that says by how much a worker's clock is wrong."""
        return self.folder / f"clock-{worker}"


def ledger_url(folder: Path, database: PostgreSql | None) -> str:
    """SQLAlchemy URL of the ledger of a run, on the site's machine and here."""
    return database.socket_url if database else f"sqlite:///{folder}/site/data/ledger.sqlite"


@contextmanager
def broken_site(folder: Path, models: Path, submodels: Path, database: PostgreSql | None) -> Iterator[BrokenSite]:
    """Start everything; give it when the receiver answers."""
    home = folder / "site"
    home.mkdir(parents=True)
    keeper = Keeper()
    with machines(home / "data" / "incoming") as two:
        try:
            site = _started(folder, home, two, keeper, models, submodels, database)
            _wait_for(site.node)
            keeper.start()
            yield site
        finally:
            keeper.close()


def _started(
    folder: Path, home: Path, two: Machines, keeper: Keeper, models: Path, submodels: Path,
    database: PostgreSql | None,
) -> BrokenSite:  # fmt: skip
    port, archive_port, redis_port, web_port = (free_port() for _ in range(4))
    text = SITE_TOML.format(
        inside=two.inside, outside=two.outside, port=port, archive_port=archive_port, redis_port=redis_port,
        web_port=web_port, archive_aet=ARCHIVE_AET, models=models, submodels=submodels, model=NAME,
        lease=LEASE_SECONDS, ledger=ledger_url(folder, database),
    )  # fmt: skip
    (home / "site.toml").write_text(text)
    node, redis_socket = Node("SAGITTAL", two.inside, port), folder / "redis"
    site = BrokenSite(folder, two, keeper, node, redis_socket, f"http://{two.inside}:{web_port}", database)
    site.archive_folder.mkdir()
    tell(site.archive_folder, Mood())
    python = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    archive = [sys.executable, "-m", "tests.faults.archive", str(site.archive_folder), two.outside]
    keeper.add("archive", [*archive, str(archive_port)], folder / "archive.log", **python)
    redis = [str(redis_binary()), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly"]
    redis += ["no", "--unixsocket", str(redis_socket), "--dir", str(folder)]
    keeper.add("redis", two.on_site(redis), folder / "redis.log")
    sagittal, at = [sys.executable, "-m", "service"], ["--site", str(home / "site.toml")]
    keeper.add("receiver", two.on_site([*sagittal, "receiver", *at]), folder / "receiver.log", **python)
    keeper.add("web", two.on_site([*sagittal, "web", *at]), folder / "web.log", **python)
    for name in WORKERS:
        command = [*sagittal, "worker", *at, "--role", name.partition("-")[0], "--name", name]
        keeper.add(name, two.on_site(command), folder / f"{name}.log", **python, **_clock(site, name))
    return site


def _clock(site: BrokenSite, worker: str) -> dict[str, str]:
    """What gives a worker a clock of its own; nothing where that cannot be had."""
    if clocks.why_not():
        return {}
    library = site.folder / "clock.so"
    return clocks.environment(library if library.exists() else clocks.build(site.folder), site.clock(worker))


def _wait_for(node: Node) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(Unreachable, Refused):
            echo(node, "TEST", timeout_seconds=2)
            return
        assert time.monotonic() < until, "the receiver does not answer"
        time.sleep(0.2)


def unable(site: BrokenSite) -> dict[str, str]:
    """The kinds of fault that cannot be inflicted here, and why."""
    no: dict[str, str] = {}
    if site.database is None:
        no["crash postgresql"] = "the ledger is an SQLite file"
    if not site.machines.holder:
        no |= dict.fromkeys(("cut network", "disk full"), why_not())
    if why := clocks.why_not():
        no["set clock"] = why
    return no
