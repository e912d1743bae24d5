"""`[[destination]]` of site.toml: where results go, by which way, and which objects of a result go there."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from dicom_nodes.types import Node
from service.keys import AET, BaseUrl, Name, Port, Seconds, Table

Output = Literal["auto", "seg", "labelmap", "rtstruct", "capture", "sheet", "sr", "text"]
"""A kind of object that is made of a result, as in `dicom_nodes.encode.ENCODERS`; or "auto" for one of FORMS."""
Form = Literal["seg", "labelmap", "rtstruct", "capture"]
"""A way to write down where the structures lie."""
FORMS: tuple[Form, ...] = ("seg", "labelmap", "rtstruct", "capture")
"""In the order in which "auto" asks a destination for them."""
WITH_SEGMENTS: frozenset[Form] = frozenset({"seg", "labelmap"})
"""Those whose segments a report by TID 1500 can refer to."""
GroupName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9 -]{0,15}$")]
"""Goes into series descriptions: lower-case letters, digits, spaces and hyphens, 16 at most."""


class Destination(Table):
    """Where results go."""

    name: Name
    kind: Literal["dicom", "stow"] = "dicom"
    aet: AET | None = None
    host: str | None = None
    port: Port | None = None
    url: BaseUrl | None = None
    """Of the DICOMweb service, for `kind = "stow"`."""
    authorization: str = ""
    """A file with the value of the HTTP header Authorization; empty for none."""
    ca: str = ""
    """A file of certificates to trust, in PEM; empty for those of the machine."""
    timeout_seconds: Seconds = 60.0
    retry_hours: Annotated[float, Field(ge=0)] = 72.0
    """How long an unreachable destination is tried before its deliveries fail."""
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)] = ("seg",)
    """Which objects of a result it gets."""
    groups: dict[GroupName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Segments in objects of their own: a group's name and its labels, where `*` stands for any letters."""
    max_frames: Annotated[int, Field(ge=1)] | None = None
    """How many frames one SEG may have; None for any number."""
    commitment: Literal["auto", "off", "require"] = "auto"
    """Whether it is asked to confirm that it keeps what it stored (storage commitment, PS3.4 J)."""
    commitment_hours: Annotated[float, Field(gt=0)] = 24.0
    """How long its confirmation is waited for before the delivery fails."""

    @field_validator("outputs")
    @classmethod
    def _outputs_go_together(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        if len(set(outputs)) < len(outputs):
            raise ValueError("an output is named twice")
        if "auto" in outputs and (named := sorted(set(FORMS) & set(outputs))):
            raise ValueError(f'"auto" chooses one of {", ".join(FORMS)}; leave out {", ".join(named)}')
        if "sr" in outputs and not {"auto", *WITH_SEGMENTS} & set(outputs):
            raise ValueError('"sr" refers to segments, so it needs "seg", "labelmap" or "auto" beside it')
        return outputs

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        needed = ("url",) if self.kind == "stow" else ("aet", "host", "port")
        if missing := [key for key in needed if getattr(self, key) is None]:
            raise ValueError(f'kind = "{self.kind}" needs {", ".join(missing)}')
        others = ("aet", "host", "port") if self.kind == "stow" else ("url",)
        if given := [key for key in others if getattr(self, key) is not None]:
            raise ValueError(f'kind = "{self.kind}" has no {", ".join(given)}')
        if self.kind == "stow" and self.commitment == "require":
            raise ValueError(
                'no storage commitment is asked for over DICOMweb: commitment = "require" cannot be met'
            )
        return self

    @property
    def node(self) -> Node:
        """The application entity of a destination of kind "dicom"."""
        assert self.aet is not None and self.host is not None and self.port is not None  # checked when it was read
        return Node(self.aet, self.host, self.port)

    @property
    def address(self) -> str:
        """Where it is, for a person."""
        return self.url or f"{self.aet}@{self.host}:{self.port}"
