"""A Storage SCP that stops while associations stand: bounded in time, whatever their peers and its disk do."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import build_context
from pynetdicom.acse import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.sop_class import Verification

from dicom_nodes.ending import ABORT_SECONDS, CLOSE_SECONDS, abort_all
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID
from dicom_nodes.types import Ending, Instance, Node
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, Object, associated, half_a_store, receiving, wait_until

LEEWAY_SECONDS = 1.5
"""For a busy machine."""


def request() -> bytes:
    """An A-ASSOCIATE-RQ for MR images and C-ECHO (PS3.8 9.3.2)."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title, primitive.called_ae_title = "MODALITY", "SAGITTAL"
    contexts = [build_context(MR, EXPLICIT_LITTLE), build_context(Verification, EXPLICIT_LITTLE)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    primitive.user_information = [length, implementation]
    asked = A_ASSOCIATE_RQ()
    asked.from_primitive(primitive)
    encoded: bytes = asked.encode()
    return encoded


@contextlib.contextmanager
def standing(node: Node, window_bytes: int = 0) -> Iterator[socket.socket]:
    """An association of a peer that does nothing by itself: it neither reads nor closes its connection."""
    with socket.socket() as peer:
        if window_bytes:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        peer.settimeout(10)
        peer.connect((node.host, node.port))
        peer.sendall(request())
        head = peer.recv(6, socket.MSG_WAITALL)
        assert head[0] == 0x02, "A-ASSOCIATE-AC"
        peer.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)
        yield peer


def pdu(control: int, content: bytes) -> bytes:
    """A P-DATA-TF with one fragment of the first context (PS3.8 9.3.5)."""
    item = struct.pack(">IBB", len(content) + 2, 1, control) + content
    return struct.pack(">BBI", 4, 0, len(item)) + item


def whole_store(one: Object) -> bytes:
    """A C-STORE request with its data set."""
    content = one.data_set
    return half_a_store(one) + pdu(2, content[len(content) // 2 :])


def listens(node: Node) -> bool:
    """Whether a new connection is to be had."""
    try:
        socket.create_connection((node.host, node.port), timeout=2).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


class Disk:
    """What is told of instances; some take for ever to be durable."""

    def __init__(self, slow: set[str]) -> None:
        self.slow, self.held, self.again = slow, threading.Semaphore(0), threading.Event()

    def heard(self, instance: Instance) -> None:
        if instance.sop_instance_uid in self.slow:
            self.held.release()
            self.again.wait(30)


def test_twenty_associations_are_over_within_the_stated_time_whatever_each_is_doing(tmp_path: Path) -> None:
    slow = [Object() for _ in range(3)]
    disk = Disk({one.sop_instance_uid for one in slow})
    with receiving(tmp_path, disk.heard) as receiver, contextlib.ExitStack() as peers:
        idle = [peers.enter_context(standing(receiver.node)) for _ in range(10)]
        half = [peers.enter_context(standing(receiver.node)) for _ in range(7)]
        on_disk = [peers.enter_context(standing(receiver.node)) for _ in range(3)]
        for peer in half:
            peer.sendall(half_a_store(Object(pixel_bytes=1 << 16)))
        for peer, one in zip(on_disk, slow, strict=True):
            peer.sendall(whole_store(one))
        for _ in on_disk:
            assert disk.held.acquire(timeout=10)
        started = time.monotonic()
        receiver.scp.stop()
        took = time.monotonic() - started
        assert took < ABORT_SECONDS + CLOSE_SECONDS + LEEWAY_SECONDS
        assert [each.ending for each in receiver.ended] == [Ending.LOST] * 17, "three are in the middle of a file"
        for peer in [*idle, *half]:
            assert peer.recv(10)[0] == 0x07, "A-ABORT"
        disk.again.set()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((receiver.node.host, receiver.node.port), timeout=2)


def test_a_peer_that_does_not_read_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """Its window is full of answers: the A-ABORT cannot be sent either."""
    with receiving(tmp_path) as receiver, standing(receiver.node, window_bytes=2048) as peer:
        (connection,) = receiver.scp._server._connections.values()  # type: ignore[union-attr]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one = whole_store(Object())
        peer.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                peer.sendall(one)
        started = time.monotonic()
        receiver.scp.stop()
        assert time.monotonic() - started < ABORT_SECONDS + CLOSE_SECONDS + LEEWAY_SECONDS
        assert [each.ending for each in receiver.ended] == [Ending.LOST]


def test_a_series_that_is_being_sent_comes_to_its_end_before_the_stop(tmp_path: Path) -> None:
    files = [Object().write(tmp_path) for _ in range(8)]
    with (
        receiving(tmp_path / "in") as receiver,
        associated(receiver.node, build_context(MR, EXPLICIT_LITTLE)) as sender,
        associated(receiver.node, build_context(MR, EXPLICIT_LITTLE)),
    ):
        sender.send_c_store(files[0])
        stopping = threading.Thread(target=receiver.scp.stop, args=(5.0,))
        stopping.start()
        wait_until(lambda: not listens(receiver.node))
        for path in files[1:]:
            assert sender.send_c_store(path).Status == 0x0000
            time.sleep(0.05)
        sender.release()
        released = time.monotonic()
        stopping.join(10)
        assert time.monotonic() - released < 2, "it waits no longer than for that"
    assert [each.ending for each in receiver.ended] == [Ending.RELEASED, Ending.LOST], (
        "the other one brought nothing"
    )
    assert len(receiver.heard) == 8


def test_an_association_that_outstays_the_grace_is_aborted(tmp_path: Path) -> None:
    with (
        receiving(tmp_path / "in") as receiver,
        associated(receiver.node, build_context(MR, EXPLICIT_LITTLE)) as sender,
    ):
        sender.send_c_store(Object().write(tmp_path))
        started = time.monotonic()
        receiver.scp.stop(0.5)
        assert 0.5 <= time.monotonic() - started < 0.5 + LEEWAY_SECONDS
    assert [each.ending for each in receiver.ended] == [Ending.LOST]


def test_nothing_is_waited_for_where_nothing_stands() -> None:
    started = time.monotonic()
    assert abort_all([], lambda _: None) == []
    assert time.monotonic() - started < 0.1
