"""What keys of site.toml can hold, and what all its tables have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

AET = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\s]([^\\\x00-\x1f]*[^\\\x00-\x1f\s])?$"),
]
"""An AE title (PS3.5 6.2): 1 to 16 characters, no backslash, no control characters, no spaces around it."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Table(BaseModel):
    """A table of site.toml: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
