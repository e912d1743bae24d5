"""A site to look at, and what of it is seen that is not well."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dicom_nodes.types import Node
from service.config import read_site
from service.destination import Destination
from service.doctor.seen import Ground, Level, Seen
from service.site_template import site_toml
from tests.conftest import free_port


def ground(home: Path, target: str = "", port: int = 0, **edits: object) -> Ground:
    """A site with one destination, or the tables in `target`; `edits` replaces lines of its site.toml."""
    pacs_node = Node("PACS", "127.0.0.1", port or free_port())
    text = site_toml("SAGITTAL", "127.0.0.1", port or free_port(), port or free_port(), (pacs_node,))
    for key, value in edits.items():
        changed = [
            f"{key} = {value}" if line.startswith((f"{key} =", f"# {key} =")) else line for line in text.split("\n")
        ]
        assert "\n".join(changed) != text, key
        text = "\n".join(changed)
    path = home / "site.toml"
    path.write_text(text + target)
    return Ground(read_site(path), path, timeout_seconds=2.0)


def to(node: Node, **more: Any) -> Destination:
    return Destination(name="pacs", aet=node.aet, host=node.host, port=node.port, **more)


def wrong(seen: Iterable[Seen]) -> list[Seen]:
    """What is not ok; each has to say what to do."""
    found = [each for each in seen if each.level is not Level.OK]
    assert all(each.advice for each in found)
    return found


def only(seen: Iterable[Seen]) -> Seen:
    """The one thing that is not ok."""
    (found,) = wrong(seen)
    return found
