"""The command set of a C-STORE, held against pynetdicom's own reading and writing."""

import struct
from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE

from dicom_nodes.command import StoreCommand, read_store_command, success
from tests.dicom_nodes.bare_peer import command_set, echo_command, element, store_command
from tests.dicom_nodes.peers import MR, Object

ONE = Object("1.2.3.45")
WHOLE = store_command(ONE)


@pytest.mark.parametrize("instance_uid", ["1.2.3", "1.2.34", "2.25." + "9" * 59])
@pytest.mark.parametrize("message_id", [0, 1, 65535])
def test_a_command_as_pynetdicom_writes_it_is_read(instance_uid: str, message_id: int) -> None:
    asked = C_STORE()
    asked.MessageID, asked.Priority, asked.DataSet = message_id, 2, BytesIO(b"data")
    asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID = MR, instance_uid
    asked.MoveOriginatorApplicationEntityTitle, asked.MoveOriginatorMessageID = "PACS", 12
    message = C_STORE_RQ()
    message.primitive_to_message(asked)
    first = next(message.encode_msg(1, 16384))
    assert read_store_command(first.presentation_data_value_list[0][1][1:]) == StoreCommand(
        message_id, MR, instance_uid
    )


@pytest.mark.parametrize("instance_uid", ["1.2.3", "1.2.34"])
def test_success_is_byte_for_byte_what_pynetdicom_would_answer(instance_uid: str) -> None:
    answer = C_STORE()
    answer.MessageID = answer.MessageIDBeingRespondedTo = 513
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID, answer.Status = MR, instance_uid, 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    (only,) = message.encode_msg(5, 16384)
    ((context_id, value),) = only.presentation_data_value_list
    theirs = struct.pack(">BxIIB", 4, len(value) + 5, len(value) + 1, context_id) + value
    assert success(StoreCommand(513, MR, instance_uid), 5) == theirs


@pytest.mark.parametrize(
    ("why", "unusual"),
    [
        ("another command", echo_command()),
        ("no data set", WHOLE.replace(element(0x0800, 1), element(0x0800, 0x0101))),
        ("no such priority", store_command(ONE, priority=3)),
        ("an unknown element", store_command(ONE, 7, element(0x1040, 1))),
        ("not in order", command_set(element(0x0110, 7), element(0x0100, 1))),
        ("twice the same", store_command(ONE, 7, element(0x1000, "1.2"))),
        ("an ill-formed UID", store_command(Object("1..2"))),
        ("an empty UID", store_command(Object(""))),
        ("a UID padded with a space", WHOLE.replace(element(0x1000, "1.2.3.45"), element(0x1000, "1.2.3.4 "))),
        ("a long title", store_command(ONE, 7, element(0x1030, "SEVENTEEN LETTERS "), element(0x1031, 3))),
        ("a title of spaces", store_command(ONE, 7, element(0x1030, "  "), element(0x1031, 3))),
        ("a wide number", store_command(ONE).replace(element(0x0110, 7), element(0x0110, b"\7\0\0\0"))),
        ("another group", b"\x08" + WHOLE[1:]),
        ("a wrong group length", WHOLE + element(0x1030, "PACS")),
        ("no group length", WHOLE[12:]),
        ("cut off", WHOLE[:-1]),
        ("cut off in a head", WHOLE[:15]),
        ("nothing", b""),
    ],
)
def test_of_what_is_not_plainly_a_c_store_nothing_is_said(why: str, unusual: bytes) -> None:
    assert unusual != WHOLE and read_store_command(unusual) is None, why


def test_what_a_c_move_adds_is_let_pass() -> None:
    moved = store_command(ONE, 7, element(0x1030, "PACS A"), element(0x1031, 3))
    assert read_store_command(moved) == StoreCommand(7, MR, "1.2.3.45")
