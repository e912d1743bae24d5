"""A deletion killed at each of its steps, an instance received just before: it is kept, and nothing is half."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.dispatch import dispatch
from service.jobs import SeriesState
from service.ledger import Ledger, open_ledger
from service.removal import finish_deletions
from service.retention import DAY
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests.clock import Clock
from tests.ledgers import ledger_in
from tests.service.killed_deletion import KILLED, STEPS
from tests.service.withdrawn_site import Ward


@pytest.fixture
def clock() -> Clock:
    """Twenty days ago, until a test sets it."""
    return Clock(time.time() - 20 * DAY)


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_in(tmp_path / "site" / "data"), actor="test", now=clock)
    yield ledger
    ledger.close()


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger, clock: Clock) -> Ward:
    """A series whose one result was delivered then."""
    ward = Ward(tmp_path / "site", ledger, ("pacs",)).encoded()
    ward.stored("pacs").stored("pacs", "text")
    os.utime(ward.site.incoming / ward.volume.series_uid, (clock.time, clock.time))
    clock.time = time.time()
    return ward


def killed(ward: Ward, step: str, *received: Path) -> None:
    """Begin to delete the series in a process that is killed at a step."""
    of = [str(ward.folder), ward.ledger.url, ward.volume.series_uid, step, *map(str, received)]
    command = [sys.executable, "-m", "tests.service.killed_deletion", *of]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == KILLED, done.stderr


def files(ward: Ward) -> set[Path]:
    return {path for place in (ward.site.incoming, ward.site.jobs) for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_it_was_killed_at_it_is_finished_at_the_next_start(ward: Ward, step: str) -> None:
    killed(ward, step)
    finish_deletions(ward.site, ward.ledger)
    assert files(ward) == set()
    assert not list(ward.site.incoming.iterdir()) and not list(ward.site.jobs.iterdir())
    assert ward.ledger.unfinished_deletions() == []
    gone = ward.ledger.deletion("series", ward.volume.series_uid)
    assert gone is not None and gone.finished


def test_an_instance_that_came_before_the_rename_keeps_everything(ward: Ward) -> None:
    before = files(ward)
    killed(ward, "decided", ward.volume.frames[0].path)
    finish_deletions(ward.site, ward.ledger)
    assert files(ward) == before
    assert ward.ledger.deletion("series", ward.volume.series_uid) is None
    assert ward.ledger.deletion("job", ward.job.id) is None


@pytest.mark.parametrize("step", STEPS[1:])
def test_an_instance_that_came_after_the_rename_stays_alone_and_is_not_taken_for_the_series(
    ward: Ward, step: str
) -> None:
    killed(ward, step, ward.volume.frames[0].path)
    for _ in range(2):
        finish_deletions(ward.site, ward.ledger)
        folder = ward.site.incoming / ward.volume.series_uid
        (kept,) = files(ward)
        assert kept == folder / f"{ward.volume.frames[0].sop_instance_uid}.dcm"
        assert [path.name for path in ward.site.incoming.iterdir()] == [folder.name]
    gone = ward.ledger.deletion("series", ward.volume.series_uid)
    assert gone is not None and gone.finished
    ward.heard()
    series = ward.ledger.series(ward.volume.series_uid)
    assert series is not None
    dispatch(ward.site, ward.ledger, Routing(load_submodels(), ward.site.models.run), series)
    now = ward.ledger.series(ward.volume.series_uid)
    assert now is not None and now.state is SeriesState.FAILED
    assert now.reason.startswith(f"{len(ward.volume.frames) - 1} of the instances whose files were deleted")
