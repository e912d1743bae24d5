"""Real peers and plain objects for the network tests: dcmtk's programs, a receiving node, MR instances in bytes."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.part10 import file_header
from dicom_nodes.scp import StorageScp
from dicom_nodes.types import AssociationEnded, Instance, InstanceRefused, Node
from tests.orthanc.server import free_ports, loopback_only

DATA = Path(os.environ.get("SAGITTAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real MR series at {DATA}; set SAGITTAL_TEST_DATA to their folder"
)
needs_storescp = pytest.mark.skipif(
    shutil.which("storescp") is None or shutil.which("gcc") is None,
    reason="dcmtk is not installed, or no C compiler to keep its storescp on loopback",
)
needs_dcmtk = pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")

MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
MR_EXPLICIT = build_context(MR, EXPLICIT_LITTLE)


def element(tag: int, vr: str, value: bytes | str) -> bytes:
    """One element in Explicit VR Little Endian."""
    value = value.encode("latin-1") if isinstance(value, str) else value
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


@dataclass(frozen=True)
class Object:
    """One small MR instance as encoded bytes; the pixel data need not mean anything, for nobody here decodes it."""

    sop_instance_uid: str = field(default_factory=generate_uid)
    series_uid: str = "1.2.826.0.1.3680043.8.498.2"
    study_uid: str = "1.2.826.0.1.3680043.8.498.3"
    sop_class_uid: str = MR
    transfer_syntax_uid: str = EXPLICIT_LITTLE
    pixel_bytes: int = 512
    between: bytes = b""
    """Encoded elements between group 0008 and the study's UID."""
    after: bytes = b""
    """Encoded elements between the series' UID and the pixel data."""

    @property
    def data_set(self) -> bytes:
        return b"".join(
            (
                element(0x00080016, "UI", self.sop_class_uid),
                element(0x00080018, "UI", self.sop_instance_uid),
                element(0x00080060, "CS", "MR"),
                self.between,
                element(0x0020000D, "UI", self.study_uid),
                element(0x0020000E, "UI", self.series_uid),
                self.after,
                element(0x7FE00010, "OW", os.urandom(1) * self.pixel_bytes),
            )
        )

    def write(self, folder: Path, header: bytes | None = None) -> Path:
        """A Part 10 file of it; another header makes command and data set differ."""
        path = folder / f"{generate_uid()}.dcm"
        own = file_header(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, "TEST")
        path.write_bytes((own if header is None else header) + self.data_set)
        return path


def encoded(path: Path) -> bytes:
    """The data set of a Part 10 file, as its bytes."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


@dataclass
class Receiver:
    """A Storage SCP of ours, and what it told."""

    folder: Path
    scp: StorageScp = field(init=False)
    heard: list[Instance] = field(default_factory=list)
    ended: list[AssociationEnded] = field(default_factory=list)
    refused: list[InstanceRefused] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return Node("SAGITTAL", "127.0.0.1", self.scp.port)

    def one_ended(self) -> AssociationEnded:
        """The next end of an association; it follows the peer's own by a moment."""
        wait_until(lambda: bool(self.ended))
        return self.ended.pop(0)


@contextmanager
def receiving(
    folder: Path,
    heard: Callable[[Instance], None] | None = None,
    kind: type[StorageScp] = StorageScp,
    **settings: Any,
) -> Iterator[Receiver]:
    receiver = Receiver(folder)
    receiver.scp = kind(
        ScpSettings("SAGITTAL", "127.0.0.1", 0, **settings),
        folder,
        heard or receiver.heard.append,
        receiver.ended.append,
        receiver.refused.append,
    )
    receiver.scp.start()
    try:
        yield receiver
    finally:
        receiver.scp.stop()


@contextmanager
def associated(node: Node, *contexts: PresentationContext, calling_aet: str = "MODALITY") -> Iterator[Any]:
    """An association with a node for what the SCU has no function for; aborted at the end if it still stands."""
    ae = AE(calling_aet)
    association = ae.associate(node.host, node.port, list(contexts), ae_title=node.aet)
    connection = association.dul.socket.socket
    try:
        yield association
    finally:
        association.abort()
        connection.close()


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def storescu(node: Node, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run dcmtk's storescu, whose sockets wait for Nagle unless told otherwise."""
    return subprocess.run(
        ["storescu", "-v", "-aec", node.aet, *arguments[:-1], node.host, str(node.port), arguments[-1]],
        env=os.environ | {"TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Node]:
    """dcmtk's storescp, writing into `folder`."""
    folder.mkdir(exist_ok=True)
    environment = loopback_only(folder.parent)
    (port,) = free_ports(1)
    command = ["storescp", "+xa", "-od", str(folder), "-aet", "ARCHIVE", *options, str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield Node("ARCHIVE", "127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def answering(handlers: list[tuple[Any, Callable[[Any], Any]]], **ae_settings: Any) -> Iterator[Node]:
    """A pynetdicom node as a stand-in for an archive that answers as the handlers say."""
    ae = AE("ARCHIVE")
    for name, value in ae_settings.items():
        setattr(ae, name, value)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax)
    ae.add_supported_context(Verification)
    for event, _ in handlers:
        if event is evt.EVT_C_FIND:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        if event is evt.EVT_N_ACTION:
            ae.add_supported_context(StorageCommitmentPushModel)
        if event is evt.EVT_C_MOVE:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    server = ae.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    ae._servers.append(server)  # where its shutdown looks for it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Node("ARCHIVE", "127.0.0.1", server.server_address[1])
    finally:
        standing = server.active_associations
        server.shutdown()
        thread.join()
        for association in standing:
            association.join(5)


def half_a_store(one: Object) -> bytes:
    """A C-STORE request and the first half of its data set, as PDUs (PS3.8 9.3.5)."""

    def command_element(element: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, element, len(value)) + value

    def padded(uid: str) -> bytes:
        return uid.encode() + b"\0" * (len(uid) % 2)

    def pdu(control: int, content: bytes) -> bytes:
        item = struct.pack(">IBB", len(content) + 2, 1, control) + content
        return struct.pack(">BBI", 4, 0, len(item)) + item

    command = b"".join(
        (
            command_element(0x0002, padded(MR)),
            command_element(0x0100, b"\x01\x00"),
            command_element(0x0110, b"\x07\x00"),
            command_element(0x0700, b"\x00\x00"),
            command_element(0x0800, b"\x00\x00"),
            command_element(0x1000, padded(one.sop_instance_uid)),
        )
    )
    command = command_element(0x0000, struct.pack("<I", len(command))) + command
    return pdu(3, command) + pdu(0, one.data_set[: len(one.data_set) // 2])
