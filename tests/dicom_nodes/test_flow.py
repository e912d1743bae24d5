"""Limits of the receiving node: places by calling AE title, bytes in memory; and that nothing stays held."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from dicom_nodes import scu
from dicom_nodes.admission import Shares, admits
from dicom_nodes.in_flight import HEAD_BYTES, Budget, DataSetInFlight
from dicom_nodes.listener import BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, REJECTED_TRANSIENT
from dicom_nodes.types import Instance
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, Object, Receiver, associated, receiving, wait_until

ECHO = build_context(Verification)
MIB = 2**20


def test_an_ae_title_has_its_own_share_or_that_of_all() -> None:
    shares = Shares(4, {"MR1": 2})
    assert [admits(shares, "MR1", standing) for standing in (0, 1, 2)] == [True, True, False]
    assert [admits(shares, "PACS", standing) for standing in (3, 4)] == [True, False]
    assert admits(Shares(), "PACS", 10_000)


@contextmanager
def holding(receiver: Receiver, number: int, calling_aet: str) -> Iterator[list[Any]]:
    """So many associations of one AE title, which all stand."""
    with ExitStack() as stack:
        yield [stack.enter_context(associated(receiver.node, ECHO, calling_aet=calling_aet)) for _ in range(number)]


def asked(receiver: Receiver, calling_aet: str) -> Any:
    """An association that was asked for; whether or not it stands."""
    return AE(calling_aet).associate("127.0.0.1", receiver.scp.port, [ECHO], ae_title="SAGITTAL")


def test_a_flooding_ae_title_is_rejected_for_now_and_the_others_come_in(tmp_path: Path) -> None:
    flood = Shares(3)
    with (
        receiving(tmp_path, max_associations=6, shares=flood) as receiver,
        holding(receiver, 3, "FLOOD") as standing,
    ):
        assert all(one.is_established for one in standing)
        one_more = asked(receiver, "FLOOD")
        assert one_more.is_rejected
        answer = one_more.acceptor.primitive
        said = (answer.result, answer.result_source, answer.diagnostic)
        assert said == (REJECTED_TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED)
        other = asked(receiver, "MR1")
        assert other.is_established
        other.release()
        standing[0].release()
        wait_until(lambda: _comes_in(receiver, "FLOOD"))


def _comes_in(receiver: Receiver, calling_aet: str) -> bool:
    association = asked(receiver, calling_aet)
    if association.is_established:
        association.release()
        return True
    return False


def test_an_ae_title_with_a_number_of_its_own_may_have_more_or_less_than_the_others(tmp_path: Path) -> None:
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving(tmp_path, shares=Shares(1, {"PACS": 2})))
        standing = stack.enter_context(holding(receiver, 2, "PACS")) + stack.enter_context(
            holding(receiver, 1, "MR1")
        )
        assert all(one.is_established for one in standing)
        assert asked(receiver, "PACS").is_rejected
        assert asked(receiver, "MR1").is_rejected


# ── bytes in memory ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_data_set_beyond_the_budget_keeps_only_its_head() -> None:
    budget = Budget(4 * HEAD_BYTES)
    one, other = DataSetInFlight(budget), DataSetInFlight(budget)
    one.write(b"1" * 2 * HEAD_BYTES)
    for letter in b"2345":
        other.write(bytes([letter]) * HEAD_BYTES)
    assert (one.refused, other.refused) == (False, True)
    assert other.getvalue() == b"2" * HEAD_BYTES
    assert budget.held_bytes == 2 * HEAD_BYTES
    one.done()
    one.done()
    assert (budget.held_bytes, budget.most_bytes) == (0, 4 * HEAD_BYTES)


def test_a_data_set_that_is_alone_may_be_larger_than_the_budget() -> None:
    budget = Budget(10)
    alone = DataSetInFlight(budget)
    for _ in range(10):
        alone.write(bytes(10))
    assert not alone.refused
    refused = DataSetInFlight(budget)
    refused.write(b"x")
    assert refused.refused
    del alone
    assert budget.held_bytes == 0


def test_what_passes_the_budget_is_answered_a700_and_may_come_again(tmp_path: Path) -> None:
    held, go_on = threading.Event(), threading.Event()
    heard: list[Instance] = []

    def slowly(instance: Instance) -> None:
        heard.append(instance)
        held.set()
        assert go_on.wait(20)

    large, other = Object(pixel_bytes=2 * MIB), Object(pixel_bytes=MIB)
    paths = [each.write(tmp_path) for each in (large, other)]
    with receiving(tmp_path / "in", slowly, max_in_flight_bytes=2 * MIB) as receiver:
        sender = threading.Thread(target=scu.store, args=(receiver.node, "MR1", paths[:1]))
        sender.start()
        assert held.wait(20)
        (outcome,) = scu.store(receiver.node, "MR2", paths[1:])
        assert (outcome.status, outcome.comment) == (0xA700, "too much in memory that is not on disk yet")
        (refused,) = receiver.refused
        assert (refused.sop_instance_uid, refused.series_uid) == (other.sop_instance_uid, other.series_uid)
        go_on.set()
        sender.join()
        (outcome,) = scu.store(receiver.node, "MR2", paths[1:])
        assert outcome.stored
    assert [each.sop_instance_uid for each in heard] == [large.sop_instance_uid, other.sop_instance_uid]


@pytest.mark.parametrize("how", ["released", "aborted", "cut off"])
def test_nothing_stays_counted_after_an_association_however_it_ends(tmp_path: Path, how: str) -> None:
    path = Object(pixel_bytes=MIB).write(tmp_path)
    with receiving(tmp_path / "in") as receiver:
        budget = receiver.scp._server.budget  # type: ignore[union-attr]  # what is measured stands behind the socket
        with associated(receiver.node, build_context(MR, EXPLICIT_LITTLE)) as association:
            assert association.send_c_store(dcmread(path)).Status == 0x0000
            if how == "released":
                association.release()
            elif how == "cut off":  # within a data set
                cut_off_within_a_data_set(association)
                wait_until(lambda: budget.held_bytes > 0)
                association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: budget.held_bytes == 0)
        assert budget.most_bytes >= MIB


def cut_off_within_a_data_set(association: Any) -> None:
    """Send a C-STORE's command and a part of its data set, as bytes."""
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = MR, "1.2.3"
    primitive.DataSet = BytesIO(bytes(MIB))
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    context_id = association.accepted_contexts[0].context_id
    for number, pdata in enumerate(message.encode_msg(context_id, 16384)):
        if number < 8:
            association.dul.send_pdu(pdata)
