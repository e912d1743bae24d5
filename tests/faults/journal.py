"""What a party of the load knows, line by line, each flushed to disk before anything follows from it."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_nodes.part10 import read_file_header

_HEADER_BYTES = 64 << 10


class Journal:
    """Lines of JSON that are on disk when `write` returns; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = threading.Lock()

    def write(self, **line: Any) -> None:
        """Add a line and flush it."""
        with self._lock:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; the last one may be torn by a kill, and nothing followed from that."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def instance_uid(path: Path) -> str:
    """The SOP Instance UID of a Part 10 file."""
    with path.open("rb") as file:
        meta, _ = read_file_header(file.read(_HEADER_BYTES))
    return meta[0x00020003]
