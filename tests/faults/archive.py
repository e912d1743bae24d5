"""The archive as a process of its own: what it is sent is on disk and in its journal before it answers Success.

    python -m tests.faults.archive FOLDER HOST PORT

It does as `FOLDER/mood.json` says at the moment, and confirms (storage commitment) what it holds.
"""

import hashlib
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import SegmentationStorage, StorageCommitmentPushModel, Verification
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes.part10 import file_header
from tests.dicom_nodes.pacs import Pacs
from tests.faults.journal import Journal, read_journal

AET = "ARCHIVE"
OUT_OF_RESOURCES, NO_SUCH_OBJECT = 0xA700, 0x0112
SLOW_SECONDS = 2.0
Behaviour = Literal["well", "slow", "refuses", "aborts", "mute"]


@dataclass(frozen=True, slots=True)
class Mood:
    """How the archive behaves."""

    behaviour: Behaviour = "well"
    """`refuses`: A700. `aborts`: the connection ends after so many bytes. `mute`: stored, and no answer."""
    after_bytes: int = 0


def tell(folder: Path, mood: Mood) -> None:
    """Set the mood of the archive that runs in a folder."""
    new = folder / "mood.new"
    new.write_text(json.dumps({"behaviour": mood.behaviour, "after_bytes": mood.after_bytes}))
    new.replace(folder / "mood.json")


def mood_of(folder: Path) -> Mood:
    path = folder / "mood.json"
    return Mood(**json.loads(path.read_text())) if path.exists() else Mood()


@dataclass
class Archive:
    """Stores into a folder."""

    folder: Path
    held: set[str] = field(default_factory=set)
    received: dict[Any, int] = field(default_factory=dict)
    """Bytes by association."""
    cut: set[Any] = field(default_factory=set)
    """Associations whose connection was ended in the middle: what came of an object is forgotten with them."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.held = {line["uid"] for line in read_journal(self.folder / "held.jsonl")}
        self.journal = Journal(self.folder / "held.jsonl")

    def on_data(self, event: Any) -> None:
        """Cut the connection when more came than the mood allows."""
        mood = mood_of(self.folder)
        if mood.behaviour != "aborts":
            return
        self.received[event.assoc] = self.received.get(event.assoc, 0) + len(event.data)
        if self.received[event.assoc] > mood.after_bytes:
            self.cut.add(event.assoc)
            _cut(event)

    def on_store(self, event: Any) -> int:
        mood = mood_of(self.folder)
        if mood.behaviour == "slow":
            time.sleep(SLOW_SECONDS)
        if mood.behaviour == "refuses" or event.assoc in self.cut:
            return OUT_OF_RESOURCES
        self._keep(event)
        if mood.behaviour == "mute":
            _cut(event)
        return 0x0000

    def _keep(self, event: Any) -> None:
        """Lay an object down durably; one that comes again is kept again, under another name."""
        content = event.request.DataSet.getvalue()
        uid = str(event.request.AffectedSOPInstanceUID)
        sop_class = str(event.request.AffectedSOPClassUID)
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{time.time_ns()}-{uid}.dcm"
        with path.open("wb") as file:
            file.write(file_header(sop_class, uid, str(event.context.transfer_syntax), AET) + content)
            file.flush()
            os.fsync(file.fileno())
        self.journal.write(uid=uid, digest=digest, path=path.name, at=time.time())
        with self.lock:
            self.held.add(uid)

    def on_action(self, event: Any) -> tuple[int, None]:
        """Take a request for storage commitment; the report says which of its objects lie here."""
        asked: Dataset = event.action_information
        named = {str(item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence}
        with self.lock:
            lost = dict.fromkeys(named - self.held, NO_SUCH_OBJECT)
        reporter = Pacs(lost=lost)
        return reporter.on_action(event)


def _cut(event: Any) -> None:
    """End the connection under the association, as a machine does that falls over."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.shutdown(socket.SHUT_RDWR)


def main(folder: Path, host: str, port: int) -> None:
    """Run until killed."""
    _config.LOG_HANDLER_LEVEL = "none"
    archive = Archive(folder)
    ae = AE(AET)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 15
    for sop_class in (SegmentationStorage, Verification, StorageCommitmentPushModel):
        ae.add_supported_context(sop_class)
    handlers = [
        (evt.EVT_DATA_RECV, archive.on_data),
        (evt.EVT_C_STORE, archive.on_store),
        (evt.EVT_N_ACTION, archive.on_action),
    ]
    server = ae.make_server((host, port), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
