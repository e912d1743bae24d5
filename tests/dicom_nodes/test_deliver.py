"""Destinations, against a real archive program, and the rules of trying again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_nodes.deliver import DESTINATIONS, Destination, DicomDestination, backoff_seconds, retryable
from dicom_nodes.errors import Unreachable
from dicom_nodes.types import Node
from tests.dicom_nodes.peers import Object, answering, encoded, needs_storescp, storescp
from tests.orthanc.server import free_ports


@needs_storescp
def test_a_dicom_destination_stores_in_an_archive(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with storescp(tmp_path / "archive", "+B") as node:
        destination: Destination = DESTINATIONS["dicom"](node, "SAGITTAL")
        (outcome,) = destination.send([path])
    assert outcome.stored
    (stored,) = (tmp_path / "archive").iterdir()
    assert encoded(stored) == encoded(path)


def test_an_archive_that_is_down_is_unreachable(tmp_path: Path) -> None:
    destination = DicomDestination(Node("ARCHIVE", "127.0.0.1", free_ports(1)[0]), "SAGITTAL", timeout_seconds=2)
    with pytest.raises(Unreachable, match=r"ARCHIVE@127\.0\.0\.1"):
        destination.send([Object().write(tmp_path)])


@pytest.mark.parametrize(("status", "again"), [(0xA700, True), (0xC000, False)])
def test_a_full_archive_is_tried_again_and_one_that_does_not_understand_is_not(
    tmp_path: Path, status: int, again: bool
) -> None:
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, "no"
    with answering([(evt.EVT_C_STORE, lambda _: answer)]) as node:
        (outcome,) = DicomDestination(node, "SAGITTAL").send([Object().write(tmp_path)])
    assert not outcome.stored
    assert retryable(outcome.status) is again


def test_only_the_receivers_own_trouble_is_tried_again() -> None:
    assert all(retryable(status) for status in (0xA700, 0xA7FF, 0x0110, 0x0213))
    assert not any(retryable(status) for status in (0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122, 0x0124, 0x0117, 0xA800))


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
