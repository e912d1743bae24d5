"""A peer that writes its own PDUs onto a socket, cut as a test wants them, and reads those that come back."""

import contextlib
import random
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pynetdicom import build_context
from pynetdicom.acse import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.sop_class import Verification

from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID
from dicom_nodes.types import Node
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, Object

MR_CONTEXT, ECHO_CONTEXT, OTHER_MR_CONTEXT = 1, 3, 5
"""What `joined` proposes: MR in Explicit VR Little Endian, Verification, MR in Implicit VR Little Endian."""
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
COMMAND, LAST = 1, 2
Value = tuple[int, int, bytes]
"""(presentation context ID, message control header, fragment)."""


@dataclass
class BarePeer:
    """An association, as bytes."""

    connection: socket.socket

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def pdu(self) -> bytes:
        """The next PDU that comes; nothing where the connection is closed."""
        try:
            head = self.connection.recv(6, socket.MSG_WAITALL)
            return head + self.connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL) if head else b""
        except ConnectionResetError:
            return b""

    def status(self) -> int:
        """Of the answer that comes next, in however many PDUs."""
        answer = b""
        while True:
            came = self.pdu()
            assert came[:1] == b"\x04", f"no P-DATA-TF: {came[:10].hex()}"
            answer += came[12:]
            if came[11] & LAST:
                at = answer.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
                return int.from_bytes(answer[at : at + 2], "little")

    def rest(self) -> list[bytes]:
        """Every PDU until the connection is closed."""
        return list(iter(self.pdu, b""))


@contextlib.contextmanager
def joined(node: Node, longest_pdu: int = 16384) -> Iterator[BarePeer]:
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(20)
        connection.connect((node.host, node.port))
        peer = BarePeer(connection)
        peer.send(_request(longest_pdu))
        assert peer.pdu()[:1] == b"\x02", "A-ASSOCIATE-AC"
        yield peer


def _request(longest_pdu: int) -> bytes:
    asked = A_ASSOCIATE()
    asked.application_context_name = APPLICATION_CONTEXT_NAME
    asked.calling_ae_title, asked.called_ae_title = "MODALITY", "SAGITTAL"
    contexts = [
        build_context(MR, EXPLICIT_LITTLE),
        build_context(Verification, EXPLICIT_LITTLE),
        build_context(MR, "1.2.840.10008.1.2"),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    asked.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = longest_pdu
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    asked.user_information = [length, implementation]
    request = A_ASSOCIATE_RQ()
    request.from_primitive(asked)
    return bytes(request.encode())


def element(number: int, value: bytes | str | int) -> bytes:
    """One element of a command set."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return element(0x0000, struct.pack("<I", len(content))) + content


def store_command(one: Object, message_id: int = 7, *more: bytes, priority: int = 0) -> bytes:
    return command_set(
        element(0x0002, one.sop_class_uid),
        element(0x0100, 0x0001),
        element(0x0110, message_id),
        element(0x0700, priority),
        element(0x0800, 0x0001),
        element(0x1000, one.sop_instance_uid),
        *more,
    )


def echo_command(message_id: int = 9) -> bytes:
    return command_set(
        element(0x0002, str(Verification)),
        element(0x0100, 0x0030),
        element(0x0110, message_id),
        element(0x0800, 0x0101),
    )


def cancel_command(message_id: int = 7) -> bytes:
    return command_set(element(0x0100, 0x0FFF), element(0x0120, message_id), element(0x0800, 0x0101))


def p_data(*values: Value) -> bytes:
    """One P-DATA-TF (PS3.8 9.3.5)."""
    items = b"".join(
        struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
        for context_id, control, fragment in values
    )
    return struct.pack(">BxI", 4, len(items)) + items


def message(
    command: bytes, data_set: bytes = b"", context_id: int = MR_CONTEXT, fragment_bytes: int = 1 << 14
) -> bytes:
    """A message as most peers write it: a PDU for the command, and one for each fragment of the data."""
    pieces = [data_set[at : at + fragment_bytes] for at in range(0, len(data_set), fragment_bytes)]
    values = [(context_id, 0, piece) for piece in pieces[:-1]] + [
        (context_id, LAST, piece) for piece in pieces[-1:]
    ]
    return p_data((context_id, COMMAND | LAST, command)) + b"".join(map(p_data, values))


def cut_anyhow(command: bytes, data_set: bytes, chance: random.Random) -> bytes:
    """A message with its command and data in any fragments, these in any number of PDUs."""
    values = _fragments(command, COMMAND, chance) + _fragments(data_set, 0, chance)
    pdus = b""
    while values:
        number = chance.choice([1, 1, 1, 2, 3, 8])
        pdus += p_data(*values[:number])
        values = values[number:]
    return pdus


def _fragments(content: bytes, kind: int, chance: random.Random) -> list[Value]:
    longest = chance.choice([1, 7, 100, 1000, 20_000, 200_000])
    values: list[Value] = []
    at = 0
    while at < len(content) or not values:
        if len(values) > 200:
            longest = 1 << 20
        size = chance.randint(0, longest)
        values.append((MR_CONTEXT, kind, content[at : at + size]))
        at += size
    context_id, control, fragment = values[-1]
    return [*values[:-1], (context_id, control | LAST, fragment)]


def in_pieces(content: bytes, chance: random.Random) -> Iterable[bytes]:
    """As the network may deliver it."""
    at = 0
    while at < len(content):
        size = chance.choice([1, 5, 6, 11, 12, 13, 1000, 100_000])
        yield content[at : at + size]
        at += size
