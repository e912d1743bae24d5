"""A TOML file read against a pydantic model; every error names the file, the line, the key and what is allowed."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dicom_nodes.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, model: type[M]) -> M:
    """Read and check a file whole; raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(path, text, error))) from error


def _explain(path: Path, text: str, error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        location = item["loc"]
        key = ".".join(str(part) for part in location)
        line = line_of(text, location)
        where = f"{path}, line {line}" if line else str(path)
        known = "is not a known key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{where}: {key}: {known}")
    return lines


def line_of(text: str, location: Sequence[int | str]) -> int | None:
    """The 1-based line of the deepest part of a key's location that can be found; None if no part can."""
    lines = text.splitlines()
    at: int | None = None
    path: list[str] = []
    for position, part in enumerate(location):
        if isinstance(part, int):
            continue
        path.append(str(part))
        follows = location[position + 1] if position + 1 < len(location) else None
        found = _find(lines, at or 0, path, follows if isinstance(follows, int) else 0)
        at = found if found is not None else at
    return None if at is None else at + 1


def _find(lines: list[str], start: int, path: list[str], nth: int) -> int | None:
    table = re.compile(rf"^\s*\[\[?\s*{re.escape('.'.join(path))}\s*\]\]?")
    headers = [i for i, line in enumerate(lines) if i >= start and table.match(line)]
    if headers:
        return headers[min(nth, len(headers) - 1)]
    key = re.compile(rf"^\s*\"?{re.escape(path[-1])}\"?\s*=")
    return next((i for i in range(start, len(lines)) if key.match(lines[i])), None)
