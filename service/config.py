"""`site.toml` of one site, read once, checked whole and passed on as a value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Node
from service.destination import Destination
from service.findings import CONTRADICTIONS, Action, FindingName
from service.keys import AET, BaseUrl, FreePercent, Kept, Port, Positive, Seconds, Table
from service.running import OTHERWISE_BY_DEFAULT, RUN_BY_DEFAULT, fault_of
from service.submodel import site_submodels
from service.tomlfile import line_of, read_toml


class Receive(Table):
    """The Storage SCP."""

    aet: AET
    host: str = "0.0.0.0"
    port: Port = 11112
    require_called_aet: bool = True
    """Reject an association that calls another AE title than ours."""
    accepted_calling_aets: tuple[AET, ...] = ()
    """Who may send; empty means anybody."""
    other_storage: Literal["accept", "refuse"] = "accept"
    """What to do with objects that are not MR images: store them beside the series, or refuse their context."""
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 50
    max_associations_per_aet: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of one calling AE title; None for half of all."""
    max_associations_by_aet: dict[AET, Annotated[int, Field(ge=1, le=1000)]] = Field(default_factory=dict)
    """By calling AE title, in place of that."""
    max_in_flight_mb: Annotated[int, Field(ge=1)] = 2048
    """MiB of instances that may be in memory and not on disk yet."""

    @property
    def share(self) -> int:
        """How many associations one calling AE title may have, if nothing else is said of it."""
        return self.max_associations_per_aet or max(1, self.max_associations // 2)


class Assembly(Table):
    """When a series is complete."""

    quiet_seconds: Seconds = 5.0
    quiet_seconds_by_aet: dict[AET, Seconds] = Field(default_factory=dict)
    abandoned_seconds: Seconds = 300.0
    """How long to wait for a sender that aborted before the series ends in a visible reason."""
    incomplete_seconds: Seconds = 600.0
    """How long to wait for instances that the PACS counts and that did not come."""


class QueryNode(Table):
    """The archive that is asked how many instances a series has (C-FIND), and that `sagittal pull` fetches from."""

    aet: AET
    host: str
    port: Port
    url: BaseUrl | None = None
    """Of its DICOMweb service, to fetch by WADO-RS; None to have it send by C-MOVE."""
    authorization: str = ""
    """A file with the value of the HTTP header Authorization; empty for none."""
    ca: str = ""
    """A file of certificates to trust, in PEM; empty for those of the machine."""

    @property
    def node(self) -> Node:
        """The archive as an application entity."""
        return Node(self.aet, self.host, self.port)


class Models(Table):
    """Which weights the sub-models run with."""

    weights: str = "phantom"
    """The folder into which `sagittal models install` puts them, or "phantom" for the shipped phantom models."""
    run: Annotated[tuple[str, ...], Field(min_length=1)] = RUN_BY_DEFAULT
    """Names of the sub-models that run; `*` stands for any letters."""
    otherwise: tuple[str, ...] = OTHERWISE_BY_DEFAULT
    """Those for volumes that none of `run` serves, as far as they are installed; the first that serves one runs."""
    submodels: str = ""
    """A folder with more sub-model TOML files beside the shipped ones; empty for none."""


class RoutingTable(Table):
    """How series are routed."""

    rules: str = ""
    """A file of rules of this site, asked before the protocols of the sub-models; empty for none."""
    least_confidence: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """The part of the witnesses, by weight, that must agree on the body part."""
    doubtful: Literal["held", "unrouted"] = "held"
    """Where a series whose witnesses disagree ends."""
    study_quiet_seconds: Seconds = 30.0
    """A series that needs the others of its study is routed when nothing more of it came for so long."""


class Checks(Table):
    """What becomes of a result that contradicts its route, or in which something is not plausible."""

    contradiction: Literal["hold", "deliver"] = "hold"
    """Hold the result until a person releases or rejects it, or send it with the finding on record."""
    policy: dict[str, Action] = Field(default_factory=dict)
    """By finding, where it is to be otherwise; what is no contradiction is marked if nothing else is said."""

    @field_validator("policy")
    @classmethod
    def _names_findings(cls, policy: dict[str, Action]) -> dict[str, Action]:
        allowed = [name.key for name in FindingName]
        if unknown := sorted(set(policy) - set(allowed)):
            raise ValueError(f"there is no finding {', '.join(unknown)}; allowed are {', '.join(allowed)}")
        return policy

    @property
    def becomes(self) -> Mapping[FindingName, Action]:
        """What becomes of a result with each of the findings."""
        contradicted, other = Action(self.contradiction), Action.MARK
        default = {name: contradicted if name in CONTRADICTIONS else other for name in FindingName}
        return {name: self.policy.get(name.key, action) for name, action in default.items()}


class Storage(Table):
    """Where things lie; relative paths are relative to the folder of site.toml."""

    folder: str = "data"
    ledger: str = ""
    """SQLAlchemy URL; empty for SQLite in the folder above."""
    redis: str = ""
    """URL of a Redis; empty for one that `sagittal up` starts on loopback."""


class Web(Table):
    """Status page and JSON."""

    host: str = "127.0.0.1"
    port: Port = 8042


class Workers(Table):
    """The processes that make results."""

    inference_processes: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of one inference process; None for all cores."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model_memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB of the host's memory that one inference process may fill with weights; None for half of it, shared."""
    gpu_memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB of the GPU's memory, likewise."""
    memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB of the host's memory that one inference process may have in all; None for its share of the host."""
    deliver_threads: Annotated[int, Field(ge=1, le=64)] = 4
    lease_seconds: Annotated[float, Field(ge=2)] = 30.0
    """A worker that has not been heard of for so long has lost its job."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    step_seconds: Annotated[float, Field(ge=1)] = 3600.0
    """An inference that runs longer is ended, with its process where it does not listen."""
    stop_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long a worker that is told to stop may take to end what it has in hand."""


class Disk(Table):
    """How much has to be free of each volume; the smaller of a part and a number of GB (10^9 bytes) counts."""

    warn_free_percent: FreePercent = 15.0
    warn_free_gb: Positive = 50.0
    stop_free_percent: FreePercent = 5.0
    """With less free nothing new begins: senders get A700, no inference starts."""
    stop_free_gb: Positive = 10.0
    resume_free_percent: FreePercent = 8.0
    resume_free_gb: Positive = 20.0

    @model_validator(mode="after")
    def _in_order(self) -> "Disk":
        for unit in ("percent", "gb"):
            stop, resume, warn = (getattr(self, f"{mark}_free_{unit}") for mark in ("stop", "resume", "warn"))
            if not stop < resume <= warn:
                raise ValueError(f"stop_free_{unit} < resume_free_{unit} <= warn_free_{unit} has to hold")
        return self


class Retention(Table):
    """How many days the files of a series and of its jobs are kept, by where they stand; the ledger stays."""

    committed_days: Kept = 7.0
    delivered_days: Kept = 14.0
    unrouted_days: Kept = 14.0
    failed_days: Kept = 90.0
    held_days: Kept = "keep"
    superseded_days: Kept = 14.0
    withdrawn_days: Kept = 30.0
    early: bool = False
    """While a disk is low: delete what is committed or delivered before its days are over, the oldest first."""


class Site(Table):
    """Everything a site decides."""

    receive: Receive
    assembly: Assembly = Assembly()
    query: QueryNode | None = None
    destination: Annotated[tuple[Destination, ...], Field(min_length=1)]
    models: Models = Models()
    routing: RoutingTable = RoutingTable()
    checks: Checks = Checks()
    storage: Storage = Storage()
    web: Web = Web()
    workers: Workers = Workers()
    disk: Disk = Disk()
    retention: Retention = Retention()
    home: Path = Field(default=Path(), exclude=True)
    """The folder of site.toml; set by `read_site`."""

    @field_validator("destination")
    @classmethod
    def _names_differ(cls, destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in destinations]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two destinations are called {', '.join(twice)}; each needs a name of its own")
        return destinations

    @property
    def folder(self) -> Path:
        """Where this site's data lie."""
        return self.home / self.storage.folder

    @property
    def incoming(self) -> Path:
        """One folder per received series."""
        return self.folder / "incoming"

    @property
    def jobs(self) -> Path:
        """One folder per job."""
        return self.folder / "jobs"

    @property
    def kept(self) -> Path:
        """One small file per job whose files were deleted: whose result it was, so that it can be taken back."""
        return self.folder / "kept"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.storage.ledger or f"sqlite:///{self.folder / 'ledger.sqlite'}"


def read_site(path: Path) -> Site:
    """Read a site's file and the sub-models that it names.

    Raises:
        ConfigurationError: with file, line, key and what is allowed.
    """
    site = read_toml(path, Site)
    home = path.resolve().parent
    known = site_submodels(site.models.submodels, home)
    for key in ("run", "otherwise"):
        if fault := fault_of(known, getattr(site.models, key)):
            line = line_of(path.read_text(encoding="utf-8"), ("models", key))
            raise ConfigurationError(f"{path}, line {line}: models.{key}: {fault}")
    return site.model_copy(update={"home": home})
