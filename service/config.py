"""`site.toml` of one site, read once, checked whole and passed on as a value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Node
from service.findings import CONTRADICTIONS, Action, FindingName
from service.running import OTHERWISE_BY_DEFAULT, RUN_BY_DEFAULT, fault_of
from service.submodel import site_submodels
from service.tomlfile import line_of, read_toml

AET = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\s]([^\\\x00-\x1f]*[^\\\x00-\x1f\s])?$"),
]
"""An AE title (PS3.5 6.2): 1 to 16 characters, no backslash, no control characters, no spaces around it."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Output = Literal["seg", "sr", "text"]
"""A kind of object that is made of a result, as in `dicom_nodes.encode.ENCODERS`."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Receive(_Table):
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


class Assembly(_Table):
    """When a series is complete."""

    quiet_seconds: Seconds = 5.0
    quiet_seconds_by_aet: dict[AET, Seconds] = Field(default_factory=dict)
    abandoned_seconds: Seconds = 300.0
    """How long to wait for a sender that aborted before the series ends in a visible reason."""
    incomplete_seconds: Seconds = 600.0
    """How long to wait for instances that the PACS counts and that did not come."""


class QueryNode(_Table):
    """The archive that is asked how many instances a series has (C-FIND)."""

    aet: AET
    host: str
    port: Port

    @property
    def node(self) -> Node:
        """The archive as an application entity."""
        return Node(self.aet, self.host, self.port)


class Destination(_Table):
    """Where results go."""

    name: Name
    kind: Literal["dicom"] = "dicom"
    aet: AET
    host: str
    port: Port
    timeout_seconds: Seconds = 60.0
    retry_hours: Annotated[float, Field(ge=0)] = 72.0
    """How long an unreachable destination is tried before its deliveries fail."""
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)] = ("seg",)
    """Which objects of a result it gets: the segmentation, the measurements by TID 1500, the same as plain text."""
    commitment: Literal["auto", "off", "require"] = "auto"
    """Whether it is asked to confirm that it keeps what it stored (storage commitment, PS3.4 J)."""
    commitment_hours: Annotated[float, Field(gt=0)] = 24.0
    """How long its confirmation is waited for before the delivery fails."""

    @field_validator("outputs")
    @classmethod
    def _outputs_go_together(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        if len(set(outputs)) < len(outputs):
            raise ValueError("an output is named twice")
        if "sr" in outputs and "seg" not in outputs:
            raise ValueError(
                '"sr" refers to the segments of "seg", so a destination that gets it needs "seg" as well'
            )
        return outputs

    @property
    def node(self) -> Node:
        """The destination as an application entity."""
        return Node(self.aet, self.host, self.port)


class Models(_Table):
    """Which weights the sub-models run with."""

    weights: str = "phantom"
    """The folder into which `sagittal models install` puts them, or "phantom" for the shipped phantom models."""
    run: Annotated[tuple[str, ...], Field(min_length=1)] = RUN_BY_DEFAULT
    """Names of the sub-models that run; `*` stands for any letters."""
    otherwise: tuple[str, ...] = OTHERWISE_BY_DEFAULT
    """Those for volumes that none of `run` serves, as far as they are installed; the first that serves one runs."""
    submodels: str = ""
    """A folder with more sub-model TOML files beside the shipped ones; empty for none."""


class RoutingTable(_Table):
    """How series are routed."""

    rules: str = ""
    """A file of rules of this site, asked before the protocols of the sub-models; empty for none."""
    least_confidence: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """The part of the witnesses, by weight, that must agree on the body part."""
    doubtful: Literal["held", "unrouted"] = "held"
    """Where a series whose witnesses disagree ends."""
    study_quiet_seconds: Seconds = 30.0
    """A series that needs the others of its study is routed when nothing more of it came for so long."""


class Checks(_Table):
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


class Storage(_Table):
    """Where things lie; relative paths are relative to the folder of site.toml."""

    folder: str = "data"
    ledger: str = ""
    """SQLAlchemy URL; empty for SQLite in the folder above."""
    redis: str = ""
    """URL of a Redis; empty for one that `sagittal up` starts on loopback."""


class Web(_Table):
    """Status page and JSON."""

    host: str = "127.0.0.1"
    port: Port = 8042


class Workers(_Table):
    """The processes that make results."""

    inference_processes: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of one inference process; None for all cores."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model_memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB of the host's memory that one inference process may fill with weights; None for half of it, shared."""
    gpu_memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB of the GPU's memory, likewise."""
    deliver_threads: Annotated[int, Field(ge=1, le=64)] = 4
    lease_seconds: Annotated[float, Field(ge=2)] = 30.0
    """A worker that has not been heard of for so long has lost its job."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3


class Site(_Table):
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


SITE_TOML = """\
# Sagittal at this site. Every key that is not written here has the default shown in docs/configuration.md.
# Check a changed file with:  sagittal check --site site.toml

[receive]                    # the DICOM node that modalities and the PACS send to
aet = "{aet}"
host = "{host}"              # the address to listen on
port = {port}
# accepted_calling_aets = ["MR1", "PACS"]   # who may send; anybody if absent
# require_called_aet = true                 # reject associations that call another AE title
# other_storage = "accept"                  # objects that are not MR images: "accept" or "refuse"

[assembly]                   # when a series is complete
quiet_seconds = 5.0          # with no other evidence: nothing more came for so long
# quiet_seconds_by_aet = {{ SLOWMR = 30.0 }}
# abandoned_seconds = 300.0  # wait so long for a sender that aborted to come back
# incomplete_seconds = 600.0 # wait so long for instances that the PACS counts and that did not come

# [query]                    # ask this archive how many instances a series has (C-FIND): completes it sooner
# aet = "PACS"
# host = "192.0.2.10"
# port = 104

{destinations}
[models]
weights = "phantom"          # the shipped phantom models, NOT for clinical use; or the folder of installed models
# run = ["mrannotator-*"]    # which sub-models run; `sagittal check` lists them, docs/models.md says what they find
# otherwise = ["mrsegmentator", "totalsegmentator-total-mr"]   # where none of those serves a volume, if installed

# [routing]
# rules = "rules.toml"       # this site's own rules; docs/routing.md says how to write them
# least_confidence = 1.0     # lower it to let a few witnesses be contradicted by the others
# doubtful = "held"          # or "unrouted": where a series ends whose header contradicts itself

# [checks]
# contradiction = "hold"     # or "deliver": a result that contradicts its route, as a spine without vertebrae
# policy = {{ islands = "deliver", leak = "hold" }}   # "deliver", "mark" or "hold" by finding

[storage]
folder = "data"              # received series, results and the ledger; relative to this file
# ledger = "postgresql+psycopg://sagittal@db/sagittal"   # default: SQLite in the folder
# redis = "redis://localhost:6379/0"                     # default: `sagittal up` starts one on loopback

[web]                        # status page and JSON over HTTP
host = "127.0.0.1"
port = {web_port}

[workers]
inference_processes = 1
# threads = 2                # per inference process; default: all cores
# device = "auto"            # "cuda" where a GPU is, else "cpu"
# lease_seconds = 30.0       # a worker that was not heard of for so long has lost its job to another
"""

DESTINATION_TOML = """\
[[destination]]              # results go to each destination by C-STORE
name = "{name}"
aet = "{aet}"
host = "{host}"
port = {port}
# outputs = ["seg", "sr", "text"]   # measurements beside the SEG: TID 1500, and as text for other viewers
# retry_hours = 72.0         # an unreachable destination is tried for so long
# commitment = "auto"        # ask it to confirm what it stored; "off", or "require" where it has to
# commitment_hours = 24.0    # a confirmation is waited for so long
"""


def site_toml(aet: str, host: str, port: int, web_port: int, send_to: tuple[Node, ...]) -> str:
    """The commented site.toml that `sagittal init` writes."""
    names = [node.aet.lower() for node in send_to]
    destinations = "\n".join(
        DESTINATION_TOML.format(
            name=name if names.count(name) == 1 else f"{name}-{place}", aet=node.aet, host=node.host, port=node.port
        )
        for place, (name, node) in enumerate(zip(names, send_to, strict=True), start=1)
    )
    return SITE_TOML.format(aet=aet, host=host, port=port, web_port=web_port, destinations=destinations)
