"""docs/configuration.md lists every key of site.toml with its default, and no other."""

import json
import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.config import Site

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"


def tables() -> dict[str, dict[str, str]]:
    """What the document says: table to key to default, as written."""
    found = {}
    for section in DOCUMENT.read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", body, re.M)
        assert all(meaning.strip() for _, _, meaning in rows)
        found[heading.strip("`")] = {key: default.strip("`") for key, default, _ in rows}
    return found


def model_inside(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a table's field, be it optional or repeated."""
    pending = [field.annotation]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        pending.extend(get_args(kind))
    return None


def default_of(field: FieldInfo) -> str:
    """A default as TOML writes it; none is a key that may be left out and has no value then."""
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "*none*" if value is None else json.dumps(value)


def test_every_key_of_the_site_file_is_documented_with_its_default() -> None:
    expected = {}
    for name, field in Site.model_fields.items():
        model = model_inside(field)
        if model is not None:
            heading = f"[[{name}]]" if "tuple" in str(field.annotation) else f"[{name}]"
            expected[heading] = {key: default_of(inner) for key, inner in model.model_fields.items()}
    assert expected["[receive]"]["aet"] == "*required*" and "[[destination]]" in expected
    assert tables() == expected
