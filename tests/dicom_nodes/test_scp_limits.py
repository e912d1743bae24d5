"""What a Storage SCP does not take: no room, strangers, too many, the silent; and what it gives back."""

import gc
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dicom_nodes import scu
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.types import Ending, Instance
from tests.dicom_nodes.peers import (
    MR_EXPLICIT,
    Object,
    associated,
    half_a_store,
    receiving,
    wait_until,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount the small disk that this fills")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_out_of_resources_and_leaves_no_half_file(tmp_path: Path, small_disk: Path) -> None:
    big, small = Object(pixel_bytes=1 << 20), Object()
    with receiving(small_disk / "in") as receiver:
        files = [big.write(tmp_path), small.write(tmp_path)]
        outcomes = scu.store(receiver.node, "MODALITY", files)
    assert [(outcome.status, outcome.comment) for outcome in outcomes] == [(0xA700, "no space left"), (0, "")]
    assert [path.name for path in (small_disk / "in").rglob("*.*") if path.is_file()] == [
        f"{small.sop_instance_uid}.dcm"
    ]


def test_a_file_over_the_quota_is_out_of_resources(tmp_path: Path) -> None:
    path = Object(pixel_bytes=1 << 20).write(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with receiving(tmp_path / "in") as receiver:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
        try:
            (outcome,) = scu.store(receiver.node, "MODALITY", [path])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.status == 0xA700
    assert [found for found in (tmp_path / "in").rglob("*") if found.is_file()] == []


def test_an_instance_that_cannot_be_recorded_is_not_answered_with_success(tmp_path: Path) -> None:
    def heard(_: Instance) -> None:
        raise LookupError("the ledger is away")

    with receiving(tmp_path / "in", heard) as receiver:
        (outcome,) = scu.store(receiver.node, "MODALITY", [Object().write(tmp_path)])
    assert (outcome.status, outcome.comment) == (0xA700, "stored but not recorded")


def test_strangers_and_wrong_titles_are_rejected_where_the_site_says_so(tmp_path: Path) -> None:
    with receiving(tmp_path, accepted_calling_aets=frozenset({"SCANNER1"}), require_called_aet=True) as receiver:
        scu.echo(receiver.node, "SCANNER1")
        with pytest.raises(Refused, match="Calling AE title not recognised"):
            scu.echo(receiver.node, "STRANGER")
        wrong = type(receiver.node)("OTHER", receiver.node.host, receiver.node.port)
        with pytest.raises(Refused, match="Called AE title not recognised"):
            scu.echo(wrong, "SCANNER1")


def test_more_associations_than_allowed_are_told_to_try_again(tmp_path: Path) -> None:
    with receiving(tmp_path, max_associations=1) as receiver:
        with associated(receiver.node, MR_EXPLICIT), pytest.raises(Unreachable, match="rejected"):
            scu.echo(receiver.node, "B")
        wait_until(lambda: len(receiver.ended) == 1)
        scu.echo(receiver.node, "B")


def test_a_silent_peer_is_given_up(tmp_path: Path) -> None:
    with (
        receiving(tmp_path, idle_timeout_seconds=1.0) as receiver,
        associated(receiver.node, MR_EXPLICIT) as association,
    ):
        association.dul.socket.socket.sendall(half_a_store(Object(pixel_bytes=4096))[:-10])
        assert receiver.one_ended().ending is Ending.LOST


def test_the_sockets_of_ended_associations_are_closed(tmp_path: Path) -> None:
    def open_sockets() -> int:
        count = 0
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile, as that of this listing
                count += str(link.readlink()).startswith("socket:")
        return count

    gc.disable()  # so that nothing but the node itself closes them
    try:
        with receiving(tmp_path / "in") as receiver:
            before = open_sockets()
            for _ in range(5):
                with associated(receiver.node, MR_EXPLICIT) as association:
                    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: len(receiver.ended) == 5 and open_sockets() <= before)
    finally:
        gc.enable()
