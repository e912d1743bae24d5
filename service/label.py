"""What one value of a label map means, as a TOML file says it: name, codes, colour, plausible volume."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from dicom_nodes.types import Code

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Channel = Annotated[int, Field(ge=0, le=255)]


class Table(BaseModel):
    """A table of a TOML file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Table):
    """Smallest and largest length in millimetres (or volume in millilitres), both allowed."""

    least: Annotated[float, Field(ge=0)]
    most: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.least > self.most:
            raise ValueError(f"least ({self.least:g}) is greater than most ({self.most:g})")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value lies in the range."""
        return self.least <= value <= self.most


class Bounds(Table):
    """What a number must not go below or beyond; one of the two may be open."""

    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> "Bounds":
        if self.least is None and self.most is None:
            raise ValueError("a table with least, most or both is wanted")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least ({self.least:g}) is greater than most ({self.most:g})")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value keeps to them; both are allowed values."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is None:
            return f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most is None else f"within {self.least:g} to {self.most:g}"


class Concept(Table):
    """A coded concept (PS3.3 section 8)."""

    value: Text
    scheme: Text
    meaning: Text

    @property
    def code(self) -> Code:
        """The same as the noun."""
        return Code(self.value, self.scheme, self.meaning)


ANATOMICAL_STRUCTURE = Concept(value="91723000", scheme="SCT", meaning="Anatomical Structure")


class Label(Table):
    """One value of the label map: its name, codes (CID 7150, CID 7151 and CID 244) and colour."""

    value: Channel
    name: Text
    category: Concept = ANATOMICAL_STRUCTURE
    type: Concept
    laterality: Literal["right", "left", "bilateral"] | None = None
    rgb: tuple[Channel, Channel, Channel]
    verified: bool = True
    """Whether the type's code is known to mean just this structure; one that is not is sent nevertheless."""
    also: tuple[Text, ...] = ()
    """Other names that dataset.json files of its networks may give it."""
    volume_ml: Range | None = None
    """What is plausible in an adult; the least only where it is seen whole."""
    pieces: Annotated[int, Field(ge=1)] | None = None
    """Of how many pieces, far from each other, it can consist; None: of any number."""
    inside_mm: Annotated[float, Field(gt=0)] | None = None
    """An image so wide from left to right has it inside: it does not reach the edge. None: it may anywhere."""

    @field_validator("value")
    @classmethod
    def _is_no_background(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0 is the background; a label's value is 1 to 255")
        return value
