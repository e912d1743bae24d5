"""A wall clock that leaps ahead deletes nothing, across restarts too, until it is believed again."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.config import Disk
from service.deletion import Retainer
from service.disk import DiskWatch, Free
from service.doctor import machine
from service.doctor.seen import Level
from service.leaps import AWAY_SECONDS, DAY, EVEN_SECONDS, LEAP_SECONDS, Leaps, clock_file, looked_before
from service.ledger import open_ledger
from tests.clock import Clock
from tests.ledgers import ledger_in
from tests.service.doctor.ground import ground
from tests.service.withdrawn_site import Ward


@dataclass
class Machine:
    """Its clocks."""

    file: Path
    wall: float = 1e9
    steady: float = 50.0
    boot: str = "first"

    def process(self) -> Leaps:
        """One that looks at them."""
        return Leaps(self.file, lambda: self.wall, lambda: self.steady, self.boot)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock.json")


def test_time_that_passes_is_no_leap_however_long_nobody_looked(host: Machine) -> None:
    leaps = host.process()
    for seconds in (1.0, 300.0, 40 * DAY, 1.0):
        assert leaps.believed()
        host.passes(seconds)
    assert host.process().believed(), "a restart that took long, of the receiver alone"


def test_a_clock_that_a_time_server_slews_is_believed(host: Machine) -> None:
    leaps = host.process()
    for _ in range(1000):
        assert leaps.believed()
        host.passes(1.0)
        host.wall += 0.5


def test_a_leap_ahead_is_not_believed_for_a_day_that_passes_evenly(host: Machine) -> None:
    leaps = host.process()
    assert leaps.believed()
    host.wall += LEAP_SECONDS + 1
    passed = 0.0
    while passed < EVEN_SECONDS:
        assert not leaps.believed()
        host.passes(300.0)
        passed += 300.0
    assert leaps.believed()


def test_a_restart_does_not_make_a_leap_forgotten_and_the_day_goes_on(host: Machine) -> None:
    assert host.process().believed()
    host.wall += 30 * DAY
    assert not host.process().believed()
    host.passes(EVEN_SECONDS / 2)
    leaps = host.process()
    assert not leaps.believed()
    host.boot, host.steady = "second", 5.0
    host.wall += 3600.0
    leaps = host.process()
    assert not leaps.believed(), "while the machine stood still nothing went on evenly"
    host.passes(EVEN_SECONDS / 2 + 60)
    assert leaps.believed()


def test_a_clock_that_is_set_back_is_believed_at_once(host: Machine) -> None:
    leaps = host.process()
    assert leaps.believed()
    host.wall += 30 * DAY
    assert not leaps.believed()
    host.wall -= 29 * DAY
    assert not leaps.believed(), "not all of the way"
    host.wall -= DAY
    assert leaps.believed()


@pytest.mark.parametrize(("seconds", "believed"), [(AWAY_SECONDS - 60, True), (AWAY_SECONDS + 60, False)])
def test_a_machine_that_was_off_for_more_than_a_week_may_have_come_to_a_wrong_time(
    host: Machine, seconds: float, believed: bool
) -> None:
    assert host.process().believed()
    host.boot, host.steady, host.wall = "second", 5.0, host.wall + seconds
    assert host.process().believed() is believed


def test_another_process_that_is_told_to_believe_is_heard(host: Machine) -> None:
    leaps = host.process()
    assert leaps.believed()
    host.wall += 30 * DAY
    assert not leaps.believed()
    host.process().believe()
    host.passes(1.0)
    assert leaps.believed()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"wall": 1}', '{"colour": 1}'])
def test_a_file_that_says_nothing_is_as_none(host: Machine, content: str) -> None:
    host.file.write_text(content)
    assert host.process().believed()
    assert looked_before(host.file) is not None


def test_a_file_that_cannot_be_written_does_not_keep_a_full_disk_full(host: Machine) -> None:
    host.file = host.file / "no" / "such" / "folder"
    leaps = host.process()
    assert leaps.believed()
    host.wall += 30 * DAY
    assert not leaps.believed(), "the process itself knows"


def test_retention_deletes_nothing_by_a_clock_that_leapt_until_a_person_says_so(tmp_path: Path) -> None:
    """And the doctor says it."""
    at = ground(tmp_path)
    clock = Clock()
    clock.time = time.time()
    host = Machine(clock_file(at.site), wall=clock.time)
    ledger = open_ledger(ledger_in(at.site.folder), actor="test", now=clock)
    ward = Ward(tmp_path, ledger, ("pacs",)).encoded()
    ward.stored("pacs").stored("pacs", "text")
    series = ward.site.incoming / ward.volume.series_uid
    disk = DiskWatch({"incoming": tmp_path}, Disk(), lambda _: Free(10**11, 5 * 10**10))
    retainer = Retainer(ward.site, ledger, disk, leaps=host.process())
    retainer.bite(60)
    assert not [each for each in machine.clock(at) if "leapt" in each.saw]
    host.wall = clock.time = clock.time + 400 * DAY
    Retainer(ward.site, ledger, disk, leaps=host.process()).bite(60)
    retainer.bite(60)
    assert series.is_dir() and retainer.deleted == 0
    (said,) = [each for each in machine.clock(at) if "leapt" in each.saw]
    assert said.level is Level.WARNING and "400 d" in said.saw and "--delete-now" in said.advice
    last = looked_before(clock_file(at.site))
    assert last is not None and not last.believed
    ran = CliRunner().invoke(main, ["storage", "--delete-now", "--site", str(at.site_file)], catch_exceptions=False)
    assert ran.exit_code == 0
    last = looked_before(clock_file(at.site))
    assert last is not None and last.believed
    ledger.close()
