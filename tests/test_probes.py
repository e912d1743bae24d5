"""What breaks other receivers does not break this one: its column of the table of probes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.probes import disk
from benchmarks.probes.pacs import Pacs
from benchmarks.probes.probes import CUT, KILLED_AFTER, PROBES, outcome
from benchmarks.probes.sagittal import Sagittal, sagittal
from benchmarks.probes.sender import Told
from benchmarks.probes.series import SLICES, Series
from benchmarks.probes.server import Pace
from dicom_nodes.types import Node


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sagittal]:
    folder = tmp_path_factory.mktemp("probes")
    pacs = Pacs(folder / "pacs")
    pacs.up()
    with sagittal(folder / "sagittal", pacs, Pace(quiet=1.0, abandoned=4.0, away=2.0, still=0.5)) as running:
        yield running
    pacs.down()


@pytest.mark.slow
def test_half_a_series_is_never_sent_on_and_a_sender_that_returns_gets_one_result_of_all(
    server: Sagittal, tmp_path: Path
) -> None:
    gone, returned = PROBES["abort"](server, tmp_path)
    assert (gone.acknowledged, gone.kept, gone.forwarded, gone.lost, gone.half) == (CUT, CUT, (), 0, False)
    assert "association aborted after 30 instances; the sender did not return" in gone.says
    assert (returned.acknowledged, returned.kept, returned.lost, returned.half) == (SLICES, SLICES, 0, False)
    assert returned.forwarded == (SLICES,)


@pytest.mark.slow
def test_what_was_acknowledged_before_the_receiver_was_killed_is_in_the_one_result(
    server: Sagittal, tmp_path: Path
) -> None:
    (killed,) = PROBES["kill"](server, tmp_path)
    assert KILLED_AFTER < killed.acknowledged == killed.kept == SLICES
    assert (killed.forwarded, killed.lost, killed.half, killed.doubled) == ((SLICES,), 0, False, False)


@pytest.mark.slow
@pytest.mark.skipif(bool(disk.why_not()), reason=disk.why_not())
def test_a_full_disk_is_answered_with_a700_and_leaves_no_partial_file(server: Sagittal, tmp_path: Path) -> None:
    (full,) = PROBES["full"](server, tmp_path)
    assert "A700" in full.told
    assert "partial files: 0 while full, 0 at the end" in full.says
    assert (full.acknowledged, full.kept, full.forwarded) == (SLICES, SLICES, (SLICES,))
    assert (full.lost, full.half, full.doubled) == (0, False, False)


@dataclass
class Careless:
    """A server that sends on what it likes, and says nothing."""

    pacs: Pacs
    storage: Path
    sends_on: list[frozenset[str]]
    reason: str = ""
    name: str = "Careless"
    pace: Pace = field(default_factory=Pace)
    node: Node = field(default_factory=lambda: Node("CARELESS", "127.0.0.1", 104))

    def kill(self) -> None: ...

    def back(self) -> None: ...

    def at_rest(self, series: Series) -> bool:
        return True

    def forwarded(self, series: Series) -> list[frozenset[str]]:
        return self.sends_on

    def images(self, series: Series) -> list[Path]:
        return []

    def results(self, series: Series) -> list[Path]:
        return []

    def says(self, series: Series) -> str:
        return self.reason

    def set_aside(self, series: Series) -> bool:
        return bool(self.reason)


@pytest.mark.parametrize(
    ("sends_on", "reason", "lost", "half", "doubled"),
    [
        (["1234"], "", 0, False, False),
        ([], "", 4, False, False),
        ([], "no room", 0, False, False),
        (["12"], "", 2, True, False),
        (["12", "34"], "", 0, True, False),
        (["12", "1234"], "", 0, True, False),
        (["1234", "1234"], "", 0, False, True),
    ],
)
def test_a_lost_a_halved_and_a_doubled_series_are_found(
    tmp_path: Path, sends_on: list[str], reason: str, lost: int, half: bool, doubled: bool
) -> None:
    paths = tuple(tmp_path / uid for uid in "1234")
    series = Series("1.2", "1.3", paths, ("1", "2", "3", "4"))
    told = Told(dict.fromkeys(series.uids, 0x0000))
    server = Careless(Pacs(tmp_path / "pacs"), tmp_path, [frozenset(each) for each in sends_on], reason)
    found = outcome("planted", server, [(series, told)])
    assert (found.acknowledged, found.lost, found.half, found.doubled) == (4, lost, half, doubled)
