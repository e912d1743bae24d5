"""Requests to other nodes: to dcmtk's storescp, a real Orthanc, and stand-ins that answer what these never do."""

import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_context, evt

from dicom_nodes import scu
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.part10 import file_header
from dicom_nodes.types import Node
from tests.dicom_nodes.peers import (
    MR,
    SECONDARY_CAPTURE,
    Object,
    answering,
    associated,
    encoded,
    needs_storescp,
    receiving,
    storescp,
)
from tests.orthanc.server import Orthanc, free_ports, missing, orthanc

STUDY, SERIES = Object().study_uid, Object().series_uid


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if missing():
        pytest.skip(f"no real archive to ask: {missing()} is not installed")
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@needs_storescp
def test_dcmtk_stores_exactly_the_bytes_of_each_file(tmp_path: Path) -> None:
    objects = [Object(), Object(sop_class_uid=SECONDARY_CAPTURE)]
    files = [one.write(tmp_path) for one in objects]
    with storescp(tmp_path / "archive", "+B") as node:
        outcomes = scu.store(node, "SAGITTAL", files)
    assert [outcome.sop_instance_uid for outcome in outcomes] == [one.sop_instance_uid for one in objects]
    assert all(outcome.stored for outcome in outcomes)
    stored = {encoded(path) for path in (tmp_path / "archive").iterdir()}
    assert stored == {encoded(path) for path in files}


def test_a_series_of_many_files_goes_over_one_association(tmp_path: Path) -> None:
    files = [Object().write(tmp_path) for _ in range(40)]
    with receiving(tmp_path / "in") as receiver:
        outcomes = scu.store(receiver.node, "SAGITTAL", files)
        assert receiver.one_ended().series_uids == {SERIES}
    assert len({outcome.sop_instance_uid for outcome in outcomes}) == 40
    assert len({instance.association_id for instance in receiver.heard}) == 1


def test_more_kinds_of_objects_than_one_association_can_negotiate_are_all_sent(tmp_path: Path) -> None:
    classes = [f"1.2.826.0.1.3680043.8.498.78.{number}" for number in range(130)]
    files = [Object(sop_class_uid=uid).write(tmp_path) for uid in classes]
    with receiving(tmp_path / "in", extra_sop_classes=frozenset(classes)) as receiver:
        outcomes = scu.store(receiver.node, "SAGITTAL", files)
    assert [outcome.status for outcome in outcomes] == [0] * 130
    assert len({instance.association_id for instance in receiver.heard}) == 2


def test_a_class_that_the_peer_does_not_take_is_an_outcome_beside_the_others(tmp_path: Path) -> None:
    files = [Object(sop_class_uid=SECONDARY_CAPTURE).write(tmp_path), Object().write(tmp_path)]
    with receiving(tmp_path / "in", other_storage="refuse") as receiver:
        refused, stored = scu.store(receiver.node, "SAGITTAL", files)
    assert (refused.status, refused.stored, stored.stored) == (0x0122, False, True)
    wanted = "no presentation context for Secondary Capture Image Storage in Explicit VR Little Endian"
    assert refused.comment == wanted


@needs_storescp
def test_a_peer_that_takes_none_of_it_is_named_with_class_and_syntax(tmp_path: Path) -> None:
    label_map = "1.2.840.10008.5.1.4.1.1.66.7"  # younger than dcmtk 3.6.7
    with storescp(tmp_path / "archive") as node, pytest.raises(Refused) as refused:
        scu.store(node, "SAGITTAL", [Object(sop_class_uid=label_map).write(tmp_path)])
    assert re.search("no presentation context for .+ in Explicit VR Little Endian", str(refused.value))
    assert str(node.port) in str(refused.value)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0110, 0xB000])
def test_the_peers_status_and_comment_are_the_outcome(tmp_path: Path, status: int) -> None:
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, "because"
    with answering([(evt.EVT_C_STORE, lambda _: answer)]) as node:
        (outcome,) = scu.store(node, "SAGITTAL", [Object().write(tmp_path)])
    assert (outcome.status, outcome.comment) == (status, "because")
    assert outcome.stored is (status == 0xB000)


def test_a_closed_port_an_unknown_host_and_a_mute_peer_are_unreachable(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        nodes = [
            Node("X", "127.0.0.1", free_ports(1)[0]),
            Node("X", "no-such-host.invalid", 104),
            Node("X", "127.0.0.1", mute.getsockname()[1]),
        ]
        for node in nodes:
            with pytest.raises(Unreachable, match=re.escape(node.host)):
                scu.echo(node, "SAGITTAL", timeout_seconds=0.3)
            with pytest.raises(Unreachable):
                scu.store(node, "SAGITTAL", [path], timeout_seconds=0.3)


def test_a_peer_that_breaks_off_or_falls_silent_is_unreachable(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    asleep = threading.Event()

    def sleeps(_: Any) -> int:
        asleep.wait(20)
        return 0x0000

    with answering([(evt.EVT_C_STORE, sleeps)]) as node:
        with pytest.raises(Unreachable, match="no answer to C-STORE"):
            scu.store(node, "SAGITTAL", [path], timeout_seconds=1.5)
        asleep.set()
    with (
        answering([(evt.EVT_C_STORE, lambda event: event.assoc.abort() or 0)]) as node,
        pytest.raises(Unreachable),
    ):
        scu.store(node, "SAGITTAL", [path, Object().write(tmp_path)], timeout_seconds=5)


def test_a_transient_rejection_is_unreachable_and_a_permanent_one_refused() -> None:
    with answering([], maximum_associations=1) as node, associated(node, build_context(MR)):  # noqa: SIM117
        with pytest.raises(Unreachable, match="limit"):
            scu.echo(node, "SAGITTAL")
    with answering([], require_calling_aet=["ELSE"]) as node, pytest.raises(Refused, match="Calling AE title"):
        scu.echo(node, "SAGITTAL")


def test_a_failed_echo_is_refused_with_its_status() -> None:
    handlers = [(evt.EVT_C_ECHO, lambda _: 0x0122)]
    with answering(handlers) as node, pytest.raises(Refused) as refused:
        scu.echo(node, "SAGITTAL")
    assert refused.value.status == 0x0122


def test_an_answer_that_the_wrong_thread_took_still_reaches_the_asker(tmp_path: Path) -> None:
    with answering([]) as node, scu.associated(node, "SAGITTAL", [build_context(MR)], 5) as association:
        association._reactor_checkpoint.clear()  # as for a request
        association._serve_request("the answer", 1)
        association._serve_request("one before it", 1)
        taken = [association.dimse.get_msg(block=True) for _ in range(2)]
        association._reactor_checkpoint.set()
    assert taken == [(1, "one before it"), (1, "the answer")]


def test_requests_leave_without_nagles_delay() -> None:
    seen: list[int] = []
    ended = threading.Event()

    class Noting(scu._Requestor):
        def _create_socket(self, *args: Any) -> Any:
            wrapped = super()._create_socket(*args)
            seen.append(wrapped.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return wrapped

    with answering([(evt.EVT_RELEASED, lambda _: ended.set())]) as node:
        ae = Noting("A")
        ae.add_requested_context(MR)
        association = ae.associate(node.host, node.port, ae_title=node.aet)
        association.release()
        assert ended.wait(5)
        assert ae.connection is not None
        ae.connection.close()
    assert seen == [1]


def test_orthanc_counts_the_instances_of_a_series(archive: Orthanc, tmp_path: Path) -> None:
    one = Object(series_uid=generate_uid(), study_uid=generate_uid())
    siblings = [Object(series_uid=one.series_uid, study_uid=one.study_uid) for _ in range(4)]
    scu.store(archive.node, "SAGITTAL", [item.write(tmp_path) for item in (one, *siblings)])
    assert scu.count_instances(archive.node, "SAGITTAL", one.study_uid, one.series_uid) == 5
    assert scu.count_instances(archive.node, "SAGITTAL", one.study_uid, "1.2.3.4") is None


def test_an_archive_without_the_count_is_asked_for_each_instance() -> None:
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        for number in range(3 if event.identifier.QueryRetrieveLevel == "IMAGE" else 1):
            match = Dataset()
            match.SeriesInstanceUID = SERIES
            if event.identifier.QueryRetrieveLevel == "IMAGE":
                match.SOPInstanceUID = f"1.2.{number}"
            yield 0xFF00, match

    with answering([(evt.EVT_C_FIND, find)]) as node:
        assert scu.count_instances(node, "SAGITTAL", STUDY, SERIES) == 3
    assert [query.QueryRetrieveLevel for query in asked] == ["SERIES", "IMAGE"]
    assert {(query.StudyInstanceUID, query.SeriesInstanceUID) for query in asked} == {(STUDY, SERIES)}


def test_an_archive_that_ignores_the_series_key_is_not_believed() -> None:
    def find(_: Any) -> Iterator[tuple[int, Dataset | None]]:
        match = Dataset()
        match.SeriesInstanceUID, match.NumberOfSeriesRelatedInstances = "1.2.99", 7
        yield 0xFF00, match

    with answering([(evt.EVT_C_FIND, find)]) as node:
        assert scu.count_instances(node, "SAGITTAL", STUDY, SERIES) is None


def answer_query(status: int, _: Any) -> Iterator[tuple[int, Dataset | None]]:
    yield status, None


def test_a_query_is_refused_or_to_be_tried_again_by_its_status(tmp_path: Path) -> None:
    for status, error in ((0xA700, Unreachable), (0xC001, Refused), (0xA900, Refused)):
        with answering([(evt.EVT_C_FIND, partial(answer_query, status))]) as node, pytest.raises(error):
            scu.count_instances(node, "SAGITTAL", STUDY, SERIES)
    with receiving(tmp_path) as receiver, pytest.raises(Refused, match="no presentation context for Study Root"):
        scu.count_instances(receiver.node, "SAGITTAL", STUDY, SERIES)


def test_a_file_whose_header_lies_about_its_syntax_reaches_the_peer_as_it_is(tmp_path: Path) -> None:
    one = Object()
    path = one.write(tmp_path, file_header(MR, one.sop_instance_uid, "1.2.840.10008.1.2.4.90", "X"))
    with receiving(tmp_path / "in") as receiver:
        (outcome,) = scu.store(receiver.node, "SAGITTAL", [path])
    assert outcome.stored
    assert encoded(receiver.heard[0].path) == encoded(path)
