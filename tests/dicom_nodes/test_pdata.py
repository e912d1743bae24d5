"""C-STOREs taken straight from the socket, beside the same bytes taken by pynetdicom: equal files and answers."""

import inspect
import itertools
import random
import socket
import statistics
import threading
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.transport import AssociationSocket

from dicom_nodes import scu
from dicom_nodes.in_flight import HEAD_BYTES, KEPT_BYTES, Budget, DataSetReceived
from dicom_nodes.scp import StorageScp
from dicom_nodes.types import Ending, Instance
from tests.dicom_nodes import peers
from tests.dicom_nodes.bare_peer import (
    COMMAND,
    LAST,
    MR_CONTEXT,
    OTHER_MR_CONTEXT,
    RELEASE,
    BarePeer,
    cancel_command,
    cut_anyhow,
    echo_command,
    element,
    in_pieces,
    joined,
    message,
    p_data,
    store_command,
)
from tests.dicom_nodes.peers import (
    DATA,
    EXPLICIT_LITTLE,
    MR,
    Object,
    associated,
    encoded,
    needs_data,
    needs_dcmtk,
    storescu,
    wait_until,
)

ECHO_CONTEXT = 3
VERIFICATION = "1.2.840.10008.1.1"
A_ABORT = 0x07
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


class Straight(StorageScp):
    """It tells how many C-STOREs pynetdicom took all the same."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.left_to_pynetdicom = 0

    def _on_c_store(self, event: Any) -> Any:
        self.left_to_pynetdicom += 1
        return super()._on_c_store(event)


class Plain(Straight):
    """The twin that leaves all of it to pynetdicom."""

    straight = False


receiving = partial(peers.receiving, kind=Straight)


def lying(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.dcm")}


def settled(peer: BarePeer) -> None:
    """Have the association stand on both sides: what comes in that very moment pynetdicom takes."""
    peer.send(message(echo_command(), context_id=ECHO_CONTEXT))
    assert peer.status() == 0x0000


def test_pynetdicom_has_what_this_stands_on() -> None:
    """Where this fails, read dicom_nodes/pdata.py again beside the new version."""
    assert version("pynetdicom").startswith("3.0.")
    reader = inspect.getsource(DULServiceProvider.run_reactor)
    for expected in ("self._kill_thread", "self._process_recv_primitive()", "self._is_transport_event()",
                     "self._idle_timer.restart()", "self.state_machine.do_action(event)"):  # fmt: skip
        assert expected in reader
    assert "self._read_pdu_data()" in inspect.getsource(DULServiceProvider._is_transport_event)
    read = inspect.getsource(DULServiceProvider._read_pdu_data)
    assert read.count("self.socket.recv(") == 2 and 'event_queue.put("Evt17")' in read
    assert list(inspect.signature(AssociationSocket.recv).parameters) == ["self", "nr_bytes"]
    assert list(inspect.signature(DIMSEServiceProvider.get_msg).parameters) == ["self", "block"]
    assert "self.dimse.get_msg(block=False)" in inspect.getsource(Association._run_reactor)
    assert "dimse.receive_primitive(" in inspect.getsource(__import__("pynetdicom.fsm").fsm.DT_2)
    assert TRANSITION_TABLE["Evt10", "Sta6"] == "DT-2" and ("Evt17", "Sta6") in TRANSITION_TABLE
    assert TRANSITION_TABLE["Evt19", "Sta6"] == "AA-8"


def test_an_association_has_what_this_reads(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, associated(receiver.node, build_context(MR, EXPLICIT_LITTLE)):
        (one,) = receiver.scp._standing
        for name in ("is_established", "_sent_abort", "_accepted_cx", "acceptor", "dul", "dimse"):
            assert hasattr(one, name), name
        for name in ("_kill_thread", "to_provider_queue", "event_queue", "_idle_timer", "state_machine", "socket"):
            assert hasattr(one.dul, name), name
        assert one.acceptor.accepted_common_extended == {}
        assert one.dimse.message is None and not one.dimse.msg_queue.queue


@needs_dcmtk
def test_a_series_of_dcmtk_is_the_same_both_ways_and_pynetdicom_sees_at_most_its_first(tmp_path: Path) -> None:
    source = tmp_path / "out"
    source.mkdir()
    sizes = itertools.cycle([0, 512, 20_000, 131_072, 400_000, 1_500_000])
    for _, size in zip(range(30), sizes, strict=False):
        Object(pixel_bytes=size).write(source)
    there: list[dict[str, bytes]] = []
    for kind in (Straight, Plain):
        with receiving(tmp_path / kind.__name__, kind=kind) as receiver:
            assert storescu(receiver.node, "+sd", source).returncode == 0
            assert receiver.one_ended().ending is Ending.RELEASED
            assert isinstance(receiver.scp, Straight)
            assert receiver.scp.left_to_pynetdicom == 30 if kind is Plain else receiver.scp.left_to_pynetdicom <= 1
        there.append(lying(tmp_path / kind.__name__))
    assert len(there[0]) == 30 and there[0] == there[1]


@needs_data
def test_real_series_are_the_same_both_ways(tmp_path: Path) -> None:
    folders = [DATA / "tricky" / "siemens_trio_9_transfer_syntaxes", DATA / "charset" / "pydicom_charsets"]
    files = [path for folder in folders for path in sorted(folder.glob("*.dcm")) if "chrSQ" not in path.name]
    there: list[Any] = []
    for kind in (Straight, Plain):
        with receiving(tmp_path / kind.__name__, kind=kind) as receiver:
            outcomes = scu.store(receiver.node, "MODALITY", files)
        there.append((lying(tmp_path / kind.__name__), [(each.status, each.comment) for each in outcomes]))
    assert there[0] == there[1] and len(there[0][0]) > 15


@pytest.mark.parametrize("seed", range(12))
def test_any_fragments_in_any_pdus_in_any_pieces_are_one_data_set(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    objects = [Object(pixel_bytes=chance.choice([0, 10, 5000, 300_000])) for _ in range(4)]
    with receiving(tmp_path) as receiver, joined(receiver.node) as peer:
        settled(peer)
        for number, one in enumerate(objects):
            content = one.data_set
            for piece in in_pieces(cut_anyhow(store_command(one, number), content, chance), chance):
                peer.send(piece)
            assert peer.status() == 0x0000
            assert encoded(receiver.heard[-1].path) == content
            if chance.random() < 0.5:
                settled(peer)
        assert receiver.scp.left_to_pynetdicom == 0  # type: ignore[attr-defined]
        peer.send(RELEASE)
        assert [pdu[0] for pdu in peer.rest()] == [0x06]
    assert [each.sop_instance_uid for each in receiver.heard] == [each.sop_instance_uid for each in objects]
    assert receiver.one_ended().ending is Ending.RELEASED


def test_one_byte_at_a_time_is_enough(tmp_path: Path) -> None:
    one = Object()
    with receiving(tmp_path) as receiver, joined(receiver.node) as peer:
        settled(peer)
        content = one.data_set
        for byte in message(store_command(one), content, fragment_bytes=100):
            peer.send(bytes([byte]))
        assert peer.status() == 0x0000
        assert encoded(receiver.heard[0].path) == content


DATA_SET = Object("1.2.3.4").data_set
STORE = store_command(Object("1.2.3.4"))
CUT = len(DATA_SET) // 2


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("a value longer than its PDU", b"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\x09\x01\x03abcd"),
        ("a value without a control header", b"\x04\x00\x00\x00\x00\x05\x00\x00\x00\x01\x01"),
        ("a P-DATA-TF of two bytes", b"\x04\x00\x00\x00\x00\x02ab"),
        ("an unknown PDU", b"\x09\x00\x00\x00\x00\x04abcd"),
        ("bytes behind the last value", p_data((1, 3, STORE))[:-1] + b"\0\0\0"),
        ("a command that is none", p_data((1, 3, b"\xff" * 40))),
        ("a priority that is none", message(store_command(Object("1.2.3.4"), priority=9), DATA_SET)),
        ("a context that was not proposed", message(STORE, DATA_SET, context_id=77)),
        ("another command within the data", p_data((1, 3, STORE)) + p_data((1, 0, DATA_SET[:CUT])) + p_data(
            (1, 3, echo_command())) + p_data((1, 2, DATA_SET[CUT:]))),
        ("a command again within the data", p_data((1, 3, STORE)) + p_data((1, 0, DATA_SET[:CUT])) + p_data(
            (1, 3, STORE)) + p_data((1, 2, DATA_SET[CUT:]))),
        ("data of another context", p_data((1, 3, STORE)) + p_data((1, 0, DATA_SET[:CUT])) + p_data(
            (OTHER_MR_CONTEXT, 2, DATA_SET[CUT:]))),
        ("data before any command", p_data((1, 2, DATA_SET))),
        ("a cancel within the data", p_data((1, 3, STORE), (1, 0, DATA_SET[:CUT])) + p_data(
            (1, 3, cancel_command())) + p_data((1, 2, DATA_SET[CUT:]))),
        ("a value behind the last", p_data((1, 3, STORE)) + p_data((1, 2, DATA_SET), (1, 0, b"more"))),
        ("a second message in a PDU", p_data((1, 3, STORE)) + p_data((1, 2, DATA_SET), (3, 3, echo_command()))),
        ("a C-STORE for Verification", message(STORE.replace(element(2, MR), element(2, VERIFICATION)), DATA_SET,
                                               context_id=ECHO_CONTEXT)),
        ("an ill-formed UID", message(store_command(Object("1..2")), Object("1..2").data_set)),
        ("an element nobody knows", message(store_command(Object("1.2.3.4"), 7, element(0x5010, "x ")), DATA_SET)),
        ("a cancel of nothing", message(cancel_command()) + message(STORE, DATA_SET)),
        ("no data set at all", message(STORE, b"") + p_data((1, 2, b""))),
        ("reserved bits that are set", p_data((1, 0xF3, STORE)) + p_data((1, 0xF2, DATA_SET))),
        ("a release within the data", p_data((1, 3, STORE)) + p_data((1, 0, DATA_SET[:CUT])) + RELEASE),
        ("an abort within the data", p_data((1, 3, STORE)) + p_data((1, 0, DATA_SET[:CUT])) + ABORT),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:End of file reached:UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # pynetdicom's reading thread
def test_what_is_unusual_has_the_same_outcome_both_ways(tmp_path: Path, what: str, content: bytes) -> None:
    there = [_outcome(tmp_path / kind.__name__, kind, content) for kind in (Straight, Plain)]
    assert there[0] == there[1], what


def _outcome(folder: Path, kind: type[Straight], content: bytes) -> tuple[Any, ...]:
    """(what came back, what lies there, what was heard and refused, how it ended) of one association."""
    with receiving(folder, kind=kind, idle_timeout_seconds=1.5) as receiver, joined(receiver.node) as peer:
        settled(peer)
        peer.send(content)
        peer.connection.settimeout(0.4)  # for what is not answered
        came: list[bytes] = []
        try:
            while answer := peer.pdu():
                came.append(answer)
        except TimeoutError:
            peer.connection.settimeout(20)
            peer.send(RELEASE)
            came += peer.rest()
        ended = receiver.one_ended()
        told = [each.sop_instance_uid for each in receiver.heard], [each.status for each in receiver.refused]
        return came, lying(folder), told, ended.ending, ended.series_uids


def test_a_data_set_beyond_the_budget_is_not_taken_for_whole_by_what_comes_within(tmp_path: Path) -> None:
    """Only its head is kept: with another command in it pynetdicom would store that."""
    go_on, held = threading.Event(), threading.Event()

    def heard(_: Instance) -> None:
        held.set()
        assert go_on.wait(20)

    first, one = Object(pixel_bytes=HEAD_BYTES), Object(pixel_bytes=2 * HEAD_BYTES)
    with (
        receiving(tmp_path, heard=heard, max_in_flight_bytes=HEAD_BYTES) as receiver,
        joined(receiver.node) as slow,
    ):
        settled(slow)
        slow.send(message(store_command(first), first.data_set))
        assert held.wait(20)
        with joined(receiver.node) as peer:
            settled(peer)
            peer.send(p_data((1, 3, store_command(one))) + p_data((1, 0, one.data_set[: HEAD_BYTES + 99])))
            peer.send(p_data((1, COMMAND | LAST, store_command(one))) + p_data((1, LAST, b"")))
            assert [pdu[0] for pdu in peer.rest()] == [A_ABORT]
        go_on.set()
        assert slow.status() == 0x0000
    assert [path.stem for path in tmp_path.rglob("*.dcm")] == [first.sop_instance_uid]


def test_an_answer_goes_in_as_many_pdus_as_the_peer_asks_for(tmp_path: Path) -> None:
    one = Object()
    with receiving(tmp_path) as receiver, joined(receiver.node, longest_pdu=64) as peer:
        settled(peer)
        peer.send(message(store_command(one), one.data_set))
        answer = peer.pdu()
        assert len(answer) <= 6 + 64 and not answer[11] & LAST
        assert peer.status() == 0x0000


def test_a_context_of_another_transfer_syntax_is_that_of_its_files(tmp_path: Path) -> None:
    one = Object()
    with receiving(tmp_path) as receiver, joined(receiver.node) as peer:
        settled(peer)
        peer.send(message(store_command(one), one.data_set, context_id=OTHER_MR_CONTEXT))
        peer.status()
        peer.send(message(store_command(one), one.data_set, context_id=MR_CONTEXT))
        assert peer.status() == 0x0000
    assert [each.transfer_syntax_uid for each in receiver.heard][-1] == EXPLICIT_LITTLE


def test_an_error_that_nobody_expects_is_answered_and_the_association_goes_on(tmp_path: Path) -> None:
    bad, good = Object(), Object()

    class Broken(Straight):
        def _take(self, assoc: Any, command: Any, *more: Any) -> Any:
            if command.sop_instance_uid == bad.sop_instance_uid:
                raise LookupError("nobody expects this")
            return super()._take(assoc, command, *more)

    with receiving(tmp_path, kind=Broken) as receiver, joined(receiver.node) as peer:
        settled(peer)
        peer.send(message(store_command(bad), bad.data_set))
        assert peer.status() == 0xC211
        peer.send(message(store_command(good), good.data_set))
        assert peer.status() == 0x0000


def test_the_end_of_an_association_is_told_after_its_last_instance(tmp_path: Path) -> None:
    told: list[str] = []
    in_hand, go_on = threading.Event(), threading.Event()

    def heard(instance: Instance) -> None:
        in_hand.set()
        assert go_on.wait(20)
        told.append("heard")

    one = Object()
    with receiving(tmp_path, heard=heard) as receiver:
        receiver.scp._ended = lambda _: told.append("ended")
        with joined(receiver.node) as peer:
            settled(peer)
            peer.send(message(store_command(one), one.data_set))
            assert in_hand.wait(20)
        go_on.set()  # the peer has gone meanwhile
        wait_until(lambda: len(told) == 2)
    assert told == ["heard", "ended"]


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no way to acknowledge at once")
def test_a_sender_that_waits_for_acknowledgements_does_not_wait_long(tmp_path: Path) -> None:
    """Nagle's algorithm, as most modalities have it: of three writes the second would wait 40 ms."""
    content = message(echo_command(), context_id=ECHO_CONTEXT)
    took: list[float] = []
    with receiving(tmp_path) as receiver, joined(receiver.node) as peer:
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for _ in range(21):
            began = time.perf_counter()
            for piece in (content[:12], content[12:20], content[20:]):
                peer.send(piece)
            assert peer.status() == 0x0000
            took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.03


def test_memory_is_used_again_and_never_for_what_somebody_still_looks_at() -> None:
    budget = Budget(10 * KEPT_BYTES)
    first = DataSetReceived(budget)
    first.add(b"first")
    seen = first.getbuffer()
    kept = first.done()
    assert kept is not None and budget.held_bytes == 0
    second = DataSetReceived(budget, kept)
    second.add(bytes(100))
    assert bytes(second.getbuffer()) == bytes(100) and len(seen) == 5
    second.add(bytes(KEPT_BYTES))
    assert second.done() is None, "more than is worth keeping"
    assert budget.held_bytes == 0
