"""C-STORE taken straight from the socket: the P-DATA-TF of an association in, its answers out, no message between.

This room stands on pynetdicom's inner life (3.0.4; tests/dicom_nodes/test_pdata.py fails where a version differs).
pynetdicom negotiates, releases, aborts and times out. Its thread that reads the network (`DULServiceProvider`) asks
`_is_transport_event` for what has come and reads one PDU by `_read_pdu_data`, through `AssociationSocket.recv`; its
association's thread asks `DIMSEServiceProvider.get_msg` for messages. The first, `recv` and `get_msg` are replaced
here, for one association: as long as well-formed C-STOREs come, their data are received into one buffer and stored
in the reading thread, and the association's thread rests. Whatever else comes, in whole or in part, is laid before
pynetdicom as it came.
"""

import itertools
import logging
import select
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_nodes.command import StoreCommand, p_data, read_store_command, success
from dicom_nodes.in_flight import Budget, DataSetInFlight, DataSetReceived

_log = logging.getLogger(__name__)

Store = Callable[[Any, StoreCommand, str, DataSetReceived], tuple[int, str] | None]
"""(association, command, TransferSyntaxUID, data set) → (Status, ErrorComment); None: the association is over."""

ESTABLISHED = "Sta6"  # PS3.8 Table 9-10
_CLOSED, _INVALID_PDU, _CONNECTION_CLOSED = "Sta1", "Evt19", "Evt17"  # PS3.8 Tables 9-10 and 9-4 and their like
_P_DATA_TF = 4
_HEAD = struct.Struct(">BxIIBB")  # of a P-DATA-TF and of its first presentation data value
_OF_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 E.2)
_REST_SECONDS = 0.05
_AT_ONCE = getattr(socket, "TCP_QUICKACK", None)
"""A sender with Nagle's algorithm writes the rest of a PDU only when its head is acknowledged, else 40 ms later."""
_CHUNK_BYTES = 1 << 18
_WHOLE_PDU_BYTES = 1 << 20
"""A PDU up to this is looked at as a whole where it has several values, or a command."""
_LONGEST_COMMAND = 1 << 16
_MOST_LAID_BACK = 1 << 31
_SHORTEST_PDU_FOR_ANSWER = 512
_FAILED = 0xC211
"""The Status that pynetdicom gives where a handler raises."""


class BudgetedDimse(DIMSEServiceProvider):  # type: ignore[misc]  # pynetdicom is untyped
    """pynetdicom's gathering of messages, each data set within the budget; rests while it has nothing to gather."""

    def __init__(self, association: Any, budget: Budget) -> None:
        super().__init__(association)
        self._budget = budget
        self._data_sets: weakref.WeakSet[DataSetInFlight | DataSetReceived] = weakref.WeakSet()
        self.wanted = threading.Event()
        """Not set while C-STOREs are taken straight: then no message can come."""
        self.wanted.set()
        self.storing = False

    def new_data_set(self, memory: bytearray | None) -> DataSetReceived:
        """A data set that is counted."""
        data_set = DataSetReceived(self._budget, memory)
        self._data_sets.add(data_set)
        return data_set

    def forget(self) -> None:
        """Count out what came of an association that has ended."""
        for data_set in list(self._data_sets):
            data_set.done()

    def get_msg(self, block: bool = False) -> Any:
        """The next message; the association's thread, which asks a thousand times a second, rests here."""
        while not self.wanted.wait(_REST_SECONDS) and self.storing:
            pass
        return super().get_msg(block)

    def receive_primitive(self, primitive: Any) -> None:
        """Take one P-DATA; a message that begins with it has a data set that is counted."""
        if self.message is None:
            self.message: Any = DIMSEMessage()
            self.message.data_set = data_set = DataSetInFlight(self._budget)
            self._data_sets.add(data_set)
        super().receive_primitive(primitive)


def take_straight(association: Any, budget: Budget, silent_seconds: float | None, store: Store | None) -> None:
    """Have the data sets of an association counted, and its C-STOREs taken by `store`; before it starts.

    Without `store` pynetdicom takes them. A peer may fall silent for `silent_seconds` within a PDU.
    """
    association.dimse = dimse = BudgetedDimse(association, budget)
    connection: socket.socket = association.dul.socket.socket
    if store is None or type(connection) is not socket.socket:  # as with TLS
        connection.settimeout(silent_seconds)
        return
    connection.settimeout(None)
    if silent_seconds is not None:  # the system waits, without a poll before each call
        seconds = struct.pack("ll", int(silent_seconds), int(silent_seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, seconds)
    reader = StraightReader(association, dimse, connection, store)
    association.dul.socket.recv = reader.recv
    association.dul._is_transport_event = reader.transport_event


class StraightReader:
    """What has come on the connection of one association; all but `recv`'s name is called in its reading thread."""

    def __init__(self, association: Any, dimse: BudgetedDimse, connection: socket.socket, store: Store) -> None:
        self._association, self._dul, self._dimse = association, association.dul, dimse
        self._socket, self._store = connection, store
        self._upstream: Callable[[], bool] = association.dul._is_transport_event
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._head = memoryview(bytearray(_HEAD.size))
        self._laid_back = bytearray()
        """Read already, and pynetdicom's to read."""
        self._memory: bytearray | None = None
        self._syntaxes: dict[tuple[int, str], str] = {}
        self._longest_pdu: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Stand between two messages."""
        self._parts = bytearray()
        """Of the command set of a message that has begun."""
        self._command: StoreCommand | None = None
        self._context_id = 0
        self._data_set: DataSetReceived | None = None

    def recv(self, number: int) -> bytearray:
        """In place of AssociationSocket.recv: so many bytes, less where the peer closes; OSError where it fails."""
        received = self._laid_back[:number]
        del self._laid_back[:number]
        while len(received) < number:
            content = self._socket.recv(min(number - len(received), _CHUNK_BYTES))
            if not content:
                break
            received += content
        return received

    def transport_event(self) -> bool:
        """In place of DULServiceProvider._is_transport_event: whether something came; it is taken or laid back."""
        if self._laid_back and self._dul.state_machine.current_state != _CLOSED:
            self._dul._read_pdu_data()
            return True
        if not self._is_ours():
            self._dimse.wanted.set()
            return self._upstream()
        came = False
        while self._poll.poll(0 if self._dimse.wanted.is_set() else 1000 * _REST_SECONDS):
            came = True
            try:
                self._take_pdu()
            except (OSError, EOFError) as error:
                _log.info("connection closed in a message", extra={"fields": {"reason": str(error)}})
                self._leave_to(_CONNECTION_CLOSED)
            self._dul._idle_timer.restart()
            if self._dimse.wanted.is_set() or self._is_interrupted():
                break
        return came

    def _is_ours(self) -> bool:
        """Whether what comes next on the connection is the beginning of a message, or goes on with one of ours."""
        return (
            self._dul.state_machine.current_state == ESTABLISHED
            and self._association.is_established
            and self._dimse.message is None
            and not self._dimse.msg_queue.queue
            and not self._dul.event_queue.queue
        )

    def _is_interrupted(self) -> bool:
        """Whether the reading thread is to do something else first."""
        return bool(self._dul._kill_thread or self._dul.to_provider_queue.queue)

    # ── PDUs ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_pdu(self) -> None:
        """Take one PDU; OSError or EOFError where the connection ends within."""
        came = self._receive_head()
        if came < _HEAD.size:
            return self._lay_back(self._head[:came])
        _, length, value_length, context_id, control = _HEAD.unpack(self._head)
        plain = self._command and context_id == self._context_id and not control & _OF_COMMAND
        if plain and value_length + 4 == length and value_length >= 2:
            self._receive_fragment(value_length - 2)
            if control & _LAST:
                self._finish()
            return None
        if length > _WHOLE_PDU_BYTES:
            return self._lay_back(self._head)
        pdu = bytearray(6 + length)
        pdu[: _HEAD.size] = self._head
        self._receive(memoryview(pdu)[_HEAD.size :])
        if not self._take_values(pdu):
            self._lay_back(pdu)
        return None

    def _receive_head(self) -> int:
        """The first bytes of a PDU, as many as are there before it is known not to be ours."""
        came = 0
        while came < _HEAD.size:
            number = self._socket.recv_into(self._head[came:])
            if not number:
                raise EOFError("between two PDUs" if not came else "in the head of a PDU")
            came += number
            if _AT_ONCE is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _AT_ONCE, 1)
            if self._head[0] != _P_DATA_TF or (came >= 6 and int.from_bytes(self._head[2:6], "big") < 6):
                break
        return came

    def _receive(self, into: memoryview) -> None:
        at = 0
        while at < len(into):
            number = self._socket.recv_into(into[at:], 0, socket.MSG_WAITALL)
            if not number:
                raise EOFError("in a PDU")
            at += number

    def _receive_fragment(self, size: int) -> None:
        assert self._data_set is not None
        while size:
            room = self._data_set.room(min(size, _CHUNK_BYTES))
            self._receive(room)
            self._data_set.received(len(room))
            size -= len(room)

    # ── messages ───────────────────────────────────────────────────────────────────────────────────────────────

    def _take_values(self, pdu: bytearray) -> bool:
        """Take a whole P-DATA-TF that begins a C-STORE or goes on with it; False, taking nothing, for another."""
        values = _values(pdu)
        if not values or not _are_of_one_message(values):
            return False
        context_id = values[0][0]
        if (self._parts or self._command) and context_id != self._context_id:
            return False
        parts = b"".join(fragment for _, control, fragment in values if control & _OF_COMMAND)
        if (parts and self._command) or len(self._parts) + len(parts) > _LONGEST_COMMAND:
            return False
        command, ended = self._command, any(control & 3 == 3 for _, control, _ in values)
        if ended:
            command = self._store_command(self._parts + parts, context_id)
        if command is None and (ended or not values[-1][1] & _OF_COMMAND):
            return False
        self._parts += parts
        self._context_id = context_id
        if command and not self._command:
            self._command, self._data_set = command, self._dimse.new_data_set(self._memory)
            self._memory = None
            self._dimse.wanted.clear()
        self._add([fragment for _, control, fragment in values if not control & _OF_COMMAND])
        if values[-1][1] & 3 == _LAST:
            self._finish()
        return True

    def _add(self, fragments: list[memoryview]) -> None:
        for fragment in fragments:
            assert self._data_set is not None
            self._data_set.add(fragment)

    def _store_command(self, command_set: bytearray, context_id: int) -> StoreCommand | None:
        """The command of a C-STORE that may be taken straight."""
        command = read_store_command(command_set)
        if command is None:
            return None
        proposed = context_id, command.sop_class_uid
        if proposed not in self._syntaxes:
            self._syntaxes[proposed] = self._transfer_syntax(*proposed)
        return command if self._syntaxes[proposed] else None

    def _transfer_syntax(self, context_id: int, sop_class_uid: str) -> str:
        """The TransferSyntaxUID of a context for a class that pynetdicom would take for storage; else nothing."""
        context = self._association._accepted_cx.get(context_id)
        if context is None or sop_class_uid in self._association.acceptor.accepted_common_extended:
            return ""
        storage = uid_to_service_class(sop_class_uid) is StorageServiceClass
        return str(context.transfer_syntax[0]) if storage else ""

    def _finish(self) -> None:
        """Store what is whole, and answer."""
        command, context_id, data_set = self._command, self._context_id, self._data_set
        assert command is not None and data_set is not None
        transfer_syntax = self._syntaxes[context_id, command.sop_class_uid]
        self._dimse.storing = True
        self._dimse.wanted.clear()
        try:
            outcome = self._store(self._association, command, transfer_syntax, data_set)
        except Exception:  # noqa: BLE001  as pynetdicom does: the sender is answered, and the association goes on
            _log.exception("an instance was not taken")
            outcome = (_FAILED, "")
        finally:
            self._memory = data_set.done()
            self._begin()
            self._dimse.storing = False
        if outcome is not None and self._association.is_established and not self._association._sent_abort:
            self._answer(command, context_id, *outcome)

    def _answer(self, command: StoreCommand, context_id: int, status: int, comment: str) -> None:
        if self._longest_pdu is None:
            self._longest_pdu = self._dimse.maximum_pdu_size or _SHORTEST_PDU_FOR_ANSWER  # 0 is no limit
        if status == 0 and self._longest_pdu >= _SHORTEST_PDU_FOR_ANSWER:
            self._dul.socket.send(success(command, context_id))
            return
        answer = C_STORE()
        answer.MessageID = answer.MessageIDBeingRespondedTo = command.message_id
        answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = command.sop_class_uid, command.sop_instance_uid
        answer.Status = status
        if comment:
            answer.ErrorComment = comment
        self._dimse.send_msg(answer, context_id)

    # ── what is pynetdicom's ───────────────────────────────────────────────────────────────────────────────────

    def _lay_back(self, begun: bytearray | memoryview) -> None:
        """Leave it to pynetdicom: what was taken of the message, and what has come of a PDU."""
        data = self._data_set.getbuffer() if self._data_set else b""
        if self._data_set and (self._data_set.refused or len(data) > _MOST_LAID_BACK):
            return self._leave_to(_INVALID_PDU)  # only its head is there: it must not be taken for the whole
        if self._parts:
            control = _OF_COMMAND | (_LAST if self._command else 0)
            self._laid_back += p_data(self._context_id, control, self._parts)
        if len(data):
            self._laid_back += p_data(self._context_id, 0, data)
        self._laid_back += begun
        self._give_up()
        return None

    def _leave_to(self, event: str) -> None:
        """End the association by an event of PS3.8 9.2.2."""
        self._give_up()
        self._dul.event_queue.put(event)

    def _give_up(self) -> None:
        if self._data_set:
            self._data_set.done()
        self._begin()
        self._dimse.wanted.set()


def _values(pdu: bytearray) -> list[tuple[int, int, memoryview]]:
    """(context ID, message control header, fragment) of each value of a P-DATA-TF; none where it is malformed."""
    view, at, values = memoryview(pdu), 6, []
    while at + 6 <= len(view):
        end = at + 4 + int.from_bytes(view[at : at + 4], "big")
        if end < at + 6 or end > len(view):
            return []
        values.append((view[at + 4], view[at + 5], view[at + 6 : end]))
        at = end
    return values if at == len(view) else []


def _are_of_one_message(values: list[tuple[int, int, memoryview]]) -> bool:
    """Whether they are of one context, a command before its data, and nothing behind the last of either."""
    kinds = [control & 3 for _, control, _ in values]
    if len({context_id for context_id, _, _ in values}) > 1:
        return False
    following = {1: {1, 3}, 3: {0, 2}, 0: {0, 2}, 2: set[int]()}
    return all(after in following[before] for before, after in itertools.pairwise(kinds))
