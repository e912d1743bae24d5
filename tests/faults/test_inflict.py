"""A fault strikes what it says, and is over when it is undone: the archive, the network, the disk and the clock."""

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import Unreachable
from dicom_nodes.scu import echo, store
from dicom_nodes.types import Node
from tests.conftest import free_port
from tests.dicom_nodes.seg_sources import AXIAL, classic, identity, label_map
from tests.faults import clocks, machines
from tests.faults.archive import AET, Behaviour, Mood, tell
from tests.faults.inflict import DEEDS
from tests.faults.journal import read_journal
from tests.faults.processes import Keeper
from tests.faults.schedule import KINDS
from tests.faults.site import ROOT


def test_every_kind_of_fault_has_its_deed() -> None:
    assert set(DEEDS) == set(KINDS)


@contextmanager
def archive(folder: Path) -> Iterator[tuple[Node, Keeper]]:
    """The archive as the runs have it."""
    port, keeper = free_port(), Keeper()
    (folder / "archive").mkdir()
    command = [sys.executable, "-m", "tests.faults.archive", str(folder / "archive"), "127.0.0.1", str(port)]
    keeper.add("archive", command, folder / "archive.log", PYTHONPATH=str(ROOT))
    keeper.start()
    try:
        node = Node(AET, "127.0.0.1", port)
        answering(node)
        yield node, keeper
    finally:
        keeper.close()


def answering(node: Node) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            return echo(node, "TEST", timeout_seconds=2)
        except Unreachable:
            assert time.monotonic() < until, "the archive does not answer"
            time.sleep(0.1)


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    """A Segmentation of some kilobytes."""
    (tmp_path / "source").mkdir()
    volume = classic(tmp_path / "source", AXIAL)
    path = tmp_path / "seg.dcm"
    encode_seg(label_map(volume, 1, 2, 3), volume, identity()).save_as(path, enforce_file_format=True)
    return path


def test_the_archive_does_as_it_is_told_and_remembers_what_it_holds_over_a_kill(tmp_path: Path, seg: Path) -> None:
    with archive(tmp_path) as (node, keeper):
        folder = tmp_path / "archive"

        def held() -> int:
            return len(list(read_journal(folder / "held.jsonl")))

        def told(behaviour: Behaviour, after_bytes: int = 0) -> None:
            tell(folder, Mood(behaviour, after_bytes))

        told("refuses")
        assert [outcome.status for outcome in store(node, "TEST", [seg])] == [0xA700]
        assert held() == 0
        told("aborts", 2_000)
        with pytest.raises(Unreachable):
            store(node, "TEST", [seg], timeout_seconds=5)
        assert held() == 0
        told("mute")
        with pytest.raises(Unreachable):
            store(node, "TEST", [seg], timeout_seconds=5)
        assert held() == 1
        told("well")
        keeper.kill("archive")
        time.sleep(0.3)
        answering(node)
        assert [outcome.status for outcome in store(node, "TEST", [seg])] == [0x0000]
        first, again = read_journal(folder / "held.jsonl")
        assert (first["uid"], first["digest"]) == (again["uid"], again["digest"])


needs_namespaces = pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not() or "it can")


@needs_namespaces
def test_a_cut_network_answers_nobody_until_it_is_mended(tmp_path: Path) -> None:
    listens = "import socket, time; s = socket.create_server(('0.0.0.0', 7000)); time.sleep(60)"
    with machines.machines(tmp_path / "incoming") as two, serving(two.on_site([sys.executable, "-c", listens])):
        assert reached(two.inside, 10)
        two.plug("down")
        assert not reached(two.inside, 2)
        two.plug("up")
        assert reached(two.inside, 10)


@contextmanager
def serving(command: Sequence[str]) -> Iterator[None]:
    with subprocess.Popen(command) as server:
        yield
        server.kill()


def reached(host: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection((host, 7000), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


@needs_namespaces
def test_the_disk_of_the_site_is_its_own_and_can_be_filled(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    with machines.machines(incoming) as two:
        with pytest.raises(OSError) as full:
            (two.seen(incoming) / "ballast").write_bytes(bytes(machines.INCOMING_BYTES + 1))
        assert full.value.errno == errno.ENOSPC
        assert list(incoming.iterdir()) == []


@pytest.mark.skipif(bool(clocks.why_not()), reason=clocks.why_not() or "it can")
def test_a_process_can_have_a_clock_of_its_own_that_is_set_while_it_runs(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    asks = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    environment = clocks.environment(clocks.build(tmp_path), clock)
    with subprocess.Popen(
        [sys.executable, "-c", asks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        answers = process.stdout
        assert process.stdin is not None and answers is not None

        def told() -> tuple[float, float]:
            """Seconds by which its two clocks are ahead of ours."""
            print(file=process.stdin, flush=True)
            wall, steady = map(float, answers.readline().split())
            return round(wall - time.time()), round(steady - time.monotonic())

        assert told() == (0, 0)
        clocks.set_clock(clock, -120.0)
        assert told() == (-120, 0)
        clocks.set_clock(clock, 0.0)
        assert told() == (0, 0)
        process.stdin.close()
