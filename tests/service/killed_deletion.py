"""`python -m tests.service.killed_deletion HOME LEDGER SERIES STEP [FILE]`: a deletion that is killed at one step.

What the interpreter says of its own calls (sys.addaudithook) tells where it is. Before it is killed there, the
instance in FILE is received as the SCP lays it on disk, if there is one.
"""

import os
import sys
from pathlib import Path
from typing import Any

from dicom_nodes.filing import file_instance
from dicom_nodes.part10 import read_file_header, read_head
from service.config import Site
from service.deletion import delete_series
from service.ledger import open_ledger

STEPS = ("decided", "set aside", "given up", "half removed", "removed")
KILLED = 9


def receive(incoming: Path, file: Path) -> None:
    """File an instance as the SCP does."""
    content = memoryview(file.read_bytes())
    meta, offset = read_file_header(content)
    syntax = meta[0x00020010]
    file_instance(incoming, read_head(content[offset:], syntax), syntax, "MR1", "a", content[offset:])


class Kill:
    """Ends this process at a step of the deletion of one series."""

    def __init__(self, incoming: Path, series_uid: str, step: str, file: Path | None) -> None:
        self._incoming, self._series_uid, self._step, self._file = incoming, series_uid, step, file
        self._renames = self._removed = 0
        self._removing = self._done = False

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._done:
            return
        ours = bool(arguments) and self._series_uid in str(arguments[0])
        if name == "os.rename" and ours:
            self._renames += 1
            self._at({1: "decided", 2: "set aside"}.get(self._renames, ""))
        elif name == "shutil.rmtree" and ours:
            self._removing = True
            self._at("given up")
        elif name == "os.remove" and self._removing:
            self._removed += 1
            self._at("half removed" if self._removed == 3 else "")
        elif name == "os.rmdir" and ours:
            self._at("removed")

    def _at(self, step: str) -> None:
        if step != self._step:
            return
        self._done = True
        if self._file:
            receive(self._incoming, self._file)
        os._exit(KILLED)


if __name__ == "__main__":
    home, url, series_uid, step, *files = sys.argv[1:]
    values = {"receive": {"aet": "SAGITTAL"}, "destination": [{"name": "pacs", "aet": "A", "host": "h", "port": 9}]}
    site = Site.model_validate(values).model_copy(update={"home": Path(home)})
    ledger = open_ledger(url, actor="test")
    sys.addaudithook(Kill(site.incoming, series_uid, step, Path(files[0]) if files else None))
    delete_series(site, ledger, series_uid)
