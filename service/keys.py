"""What keys of site.toml can hold, and what all its tables have in common."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as https://HOST/PATH, for example https://pacs.example.org/dicom-web")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("credentials belong into the file that `authorization` names; no ? and no # in a base")
    return url


AET = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\s]([^\\\x00-\x1f]*[^\\\x00-\x1f\s])?$"),
]
"""An AE title (PS3.5 6.2): 1 to 16 characters, no backslash, no control characters, no spaces around it."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
FreePercent = Annotated[float, Field(gt=0, le=100)]
Kept = Annotated[float, Field(ge=1)] | Literal["keep"]
"""Days, at least one; or "keep": for ever."""
BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""The address of a DICOMweb service, to which /studies is added; credentials go into a file of their own."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Table(BaseModel):
    """A table of site.toml: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
