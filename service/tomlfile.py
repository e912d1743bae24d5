"""A TOML file and the pydantic model of it in; the checked value out, or an error that names file, line and key."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from dicom_nodes.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

_HEADER = re.compile(r"\s*\[\[?[\w.\"'-]+\]")


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read `path` as `model`.

    Raises:
        ConfigurationError: the file is unreadable, no TOML, or breaks the model; every fault is one line that names
            the file, the line, the key and what is allowed there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    return parse_toml(text, path, model)


def parse_toml(text: str, path: Path, model: type[Model]) -> Model:
    """Check TOML text as `model`; `path` is only named in errors, which are those of `read_toml`."""
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        faults = [_fault(text, path, model, dict(each)) for each in error.errors()]
        raise ConfigurationError("\n".join(faults)) from error


def line_of(text: str, location: Sequence[int | str]) -> int:
    """The 1-based line of a key, or of the innermost table or key around it that the text has; 1 if it has none."""
    lines = text.splitlines()
    keys = tuple(part for part in location if isinstance(part, str))
    start, end = _table(lines, location)
    for key in reversed(keys):
        name = re.compile(rf"""\s*(?:[\w."'-]+\.)?["']?{re.escape(key)}["']?\s*[=.]""")
        for number in range(start, end):
            if name.match(lines[number]):
                return _inline(lines, number, end, location[location.index(key) + 1 :]) + 1
    return max(start, 1)


def _inline(lines: list[str], number: int, end: int, inside: Sequence[int | str]) -> int:
    """The line of one table of an array that begins at `number` and has each of its tables on a line of its own."""
    if not inside or not isinstance(inside[0], int) or not lines[number].partition("#")[0].rstrip().endswith("["):
        return number
    tables = [each for each in range(number + 1, end) if lines[each].lstrip().startswith("{")]
    return tables[inside[0]] if inside[0] < len(tables) else number


def _table(lines: list[str], location: Sequence[int | str]) -> tuple[int, int]:
    """First and one past the last index of the lines in the deepest table of `location` that has a header."""
    low, high = 0, len(lines)
    start, end = 0, _next_header(lines, 0, high)
    path: list[str] = []
    for place, part in enumerate(location):
        if isinstance(part, int):
            continue
        path.append(part)
        header = re.compile(rf"\s*\[{{1,2}}\s*{re.escape('.'.join(path))}\s*\]{{1,2}}")
        found = [number for number in range(low, high) if header.match(lines[number])]
        follows = location[place + 1] if place + 1 < len(location) else 0
        nth = follows if isinstance(follows, int) else 0
        if nth < len(found):
            low, high = found[nth], found[nth + 1] if nth + 1 < len(found) else high
            start, end = low + 1, _next_header(lines, low + 1, high)
    return start, end


def _next_header(lines: list[str], start: int, end: int) -> int:
    return next((number for number in range(start, end) if _HEADER.match(lines[number])), end)


def _fault(text: str, path: Path, model: type[BaseModel], error: dict[str, Any]) -> str:
    location: Location = error["loc"]
    key = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in location) or "(whole file)"
    says = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "missing"):
        allowed = ", ".join(_keys(model, location[:-1]))
        says = (
            "is not a known key" if error["type"] == "extra_forbidden" else "is missing"
        ) + f"; known: {allowed}"
    elif not isinstance(error["input"], dict | list):
        says += f", but is {error['input']!r}"
    return f"{path}, line {line_of(text, location)}: {key}: {says}"


def _keys(model: type[BaseModel], location: Location) -> tuple[str, ...]:
    """The keys that the table at `location` may have."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation) or model
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as tuple[Label, ...] or Range | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _inner(each)) is not None), None)
