"""The command set of a C-STORE in, what it says out; and the whole answer to one, ready to be sent.

Command sets are always in Implicit VR Little Endian, in ascending order of tags (PS3.7 6.3.1); those of C-STORE are
in PS3.7 9.3.1. Only what leaves no question is read here: of any other command set nothing is said.
"""

import re
import struct
from dataclasses import dataclass

from dicom_nodes.part10 import is_uid

_GROUP_LENGTH, _SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_PRIORITY, _DATA_SET_TYPE, _SOP_INSTANCE = 0x0700, 0x0800, 0x1000
_MOVE_ORIGINATOR, _MOVE_MESSAGE_ID = 0x1030, 0x1031
_REQUIRED = frozenset({_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE, _SOP_INSTANCE})
_KNOWN = _REQUIRED | {_GROUP_LENGTH, _MOVE_ORIGINATOR, _MOVE_MESSAGE_ID}

_C_STORE_RQ, _NO_DATA_SET = 1, 0x0101
_AE_TITLE = re.compile(rb"(?=.*[^ ])[ -\[\]-~]{1,16}")
_ELEMENT = struct.Struct("<HHI")
_P_DATA_TF, _LAST_OF_COMMAND = 4, 3  # PS3.8 9.3.5 and E.2


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """A C-STORE-RQ without its data set (PS3.7 Table 9.3-1)."""

    message_id: int
    sop_class_uid: str
    """AffectedSOPClassUID."""
    sop_instance_uid: str
    """AffectedSOPInstanceUID."""


def read_store_command(command_set: bytes | bytearray) -> StoreCommand | None:
    """What a whole command set says; None for all but a well-formed C-STORE-RQ that is followed by a data set."""
    values = _values(bytes(command_set))
    if values is None or not _REQUIRED <= values.keys() <= _KNOWN:
        return None
    fields = [_number(values[tag]) for tag in (_COMMAND_FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE)]
    command_field, message_id, priority, data_set_type = fields
    uids = _uid(values[_SOP_CLASS]), _uid(values[_SOP_INSTANCE])
    if command_field != _C_STORE_RQ or message_id is None or priority not in (0, 1, 2):
        return None
    if data_set_type in (None, _NO_DATA_SET) or not all(uids) or not _is_plain_origin(values):
        return None
    return StoreCommand(message_id, *uids)


def _values(command_set: bytes) -> dict[int, bytes] | None:
    """Value by element number, of ascending elements of group 0000 whose group length is right."""
    values: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(command_set):
        if at + 8 > len(command_set):
            return None
        group, element, length = _ELEMENT.unpack_from(command_set, at)
        at += 8 + length
        if group or element <= last or at > len(command_set):
            return None
        values[element], last = command_set[at - length : at], element
    stated = values.get(_GROUP_LENGTH, b"")
    return values if int.from_bytes(stated, "little") == len(command_set) - 12 and len(stated) == 4 else None


def _number(value: bytes) -> int | None:
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _uid(value: bytes) -> str:
    """A well-formed UID with the padding that it needs, or nothing."""
    text = (value[:-1] if value[-1:] == b"\0" else value).decode("latin-1")
    return text if is_uid(text) and len(value) % 2 == 0 else ""


def _is_plain_origin(values: dict[int, bytes]) -> bool:
    """Whether what is said of the C-MOVE behind a C-STORE, if anything, is what the standard lets be said."""
    title = values.get(_MOVE_ORIGINATOR)
    return (title is None or _AE_TITLE.fullmatch(title) is not None) and len(
        values.get(_MOVE_MESSAGE_ID, b"\0\0")
    ) == 2


def success(command: StoreCommand, context_id: int) -> bytes:
    """The P-DATA-TF with the C-STORE-RSP whose Status is 0000 (PS3.7 9.3.1.2)."""
    sop_class, sop_instance = _padded(command.sop_class_uid), _padded(command.sop_instance_uid)
    rest = b"".join(
        (
            _ELEMENT.pack(0, _SOP_CLASS, len(sop_class)),
            sop_class,
            _short(_COMMAND_FIELD, 0x8001),
            _short(0x0120, command.message_id),
            _short(_DATA_SET_TYPE, _NO_DATA_SET),
            _short(0x0900, 0x0000),
            _ELEMENT.pack(0, _SOP_INSTANCE, len(sop_instance)),
            sop_instance,
        )
    )
    command_set = struct.pack("<HHII", 0, _GROUP_LENGTH, 4, len(rest)) + rest
    return p_data(context_id, _LAST_OF_COMMAND, command_set)


def p_data(context_id: int, control: int, fragment: bytes | bytearray | memoryview) -> bytes:
    """A P-DATA-TF with one presentation data value (PS3.8 Tables 9-22 and 9-23)."""
    size = len(fragment)
    return struct.pack(">BxIIBB", _P_DATA_TF, size + 6, size + 2, context_id, control) + fragment


def _padded(uid: str) -> bytes:
    return uid.encode("ascii") + b"\0" * (len(uid) % 2)


def _short(element: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0, element, 2, value)
