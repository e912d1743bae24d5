"""Destinations, against a real archive program, and the rules of trying again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_nodes.deliver import (
    DESTINATIONS,
    Address,
    Destination,
    DicomDestination,
    StowDestination,
    backoff_seconds,
    retryable,
)
from dicom_nodes.errors import Unreachable
from dicom_nodes.types import Node, StoreOutcome
from tests.dicom_nodes.dicomweb import dicomweb
from tests.dicom_nodes.peers import Object, answering, encoded, needs_storescp, storescp
from tests.orthanc.server import free_ports


@needs_storescp
def test_a_dicom_destination_stores_in_an_archive(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with storescp(tmp_path / "archive", "+B") as node:
        destination: Destination = DESTINATIONS["dicom"](Address(node=node, calling_aet="SAGITTAL"))
        (outcome,) = destination.send([path])
    assert outcome.stored
    (stored,) = (tmp_path / "archive").iterdir()
    assert encoded(stored) == encoded(path)


def test_a_web_destination_stores_at_a_service(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with dicomweb() as service:
        destination: Destination = DESTINATIONS["stow"](Address(url=service.url))
        (outcome,) = destination.send([path])
    assert outcome.stored
    assert [request.part for request in service.received] == [path.read_bytes()]


def test_a_destination_has_all_of_its_address(tmp_path: Path) -> None:
    node, authorization, ca = Node("ARCHIVE", "127.0.0.1", 104), tmp_path / "token", tmp_path / "ca.pem"
    everything = Address(7.0, node, "SAGITTAL", "https://archive/rs", authorization, ca)
    assert DESTINATIONS["dicom"](everything) == DicomDestination(node, "SAGITTAL", 7.0)
    assert DESTINATIONS["stow"](everything) == StowDestination("https://archive/rs", 7.0, authorization, ca)
    with pytest.raises(ValueError, match="needs a node"):
        DESTINATIONS["dicom"](Address(url="https://archive/rs"))


def test_an_archive_that_is_down_is_unreachable(tmp_path: Path) -> None:
    destination = DicomDestination(Node("ARCHIVE", "127.0.0.1", free_ports(1)[0]), "SAGITTAL", timeout_seconds=2)
    with pytest.raises(Unreachable, match=r"ARCHIVE@127\.0\.0\.1"):
        destination.send([Object().write(tmp_path)])


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_the_warnings_of_the_standard_are_stored(tmp_path: Path, status: int) -> None:
    outcome = answered(tmp_path, status)
    assert (outcome.stored, outcome.status) == (True, status)


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (0xA700, True),
        (0xA7FF, True),
        (0x0110, True),
        (0x0213, True),
        (0xA900, False),
        (0xA9FF, False),
        (0xC000, False),
        (0xC123, False),
        (0xCFFF, False),
        (0x0111, False),
        (0x0117, False),
        (0x0122, False),
        (0x0124, False),
        (0x0210, False),
    ],
)
def test_a_full_archive_is_tried_again_and_one_that_does_not_understand_is_not(
    tmp_path: Path, status: int, again: bool
) -> None:
    outcome = answered(tmp_path, status)
    assert (outcome.stored, outcome.status, outcome.comment) == (False, status, "no")
    assert retryable(outcome.status) is again


@pytest.mark.parametrize("status", [0x0001, 0xB001, 0xFE00, 0xFF00, 0x9999])
def test_a_status_that_no_standard_gives_to_storing_is_not_stored(tmp_path: Path, status: int) -> None:
    outcome = answered(tmp_path, status)
    assert (outcome.stored, retryable(outcome.status)) == (False, False)


def answered(folder: Path, status: int) -> StoreOutcome:
    """What is made of the answer of an archive."""
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, "no"
    with answering([(evt.EVT_C_STORE, lambda _: answer)]) as node:
        (outcome,) = DicomDestination(node, "SAGITTAL", timeout_seconds=5).send([Object().write(folder)])
    return outcome


def test_only_the_receivers_own_trouble_is_tried_again() -> None:
    assert [status for status in range(0x10000) if retryable(status)] == [
        0x0110,
        0x0213,
        *range(0xA700, 0xA800),
        0xB00F,
    ]


def test_the_pause_doubles_up_to_the_longest() -> None:
    assert [backoff_seconds(attempt) for attempt in range(1, 11)] == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert backoff_seconds(3, first=1, longest=3) == 3
    with pytest.raises(ValueError, match="from 1"):
        backoff_seconds(0)


@given(st.integers(1, 10**9), st.floats(0.001, 1e6), st.floats(0.001, 1e9))
def test_the_pause_never_passes_the_longest_and_never_shrinks(attempt: int, first: float, longest: float) -> None:
    pause = backoff_seconds(attempt, first, longest)
    assert 0 < pause <= longest
    assert backoff_seconds(attempt + 1, first, longest) >= pause
