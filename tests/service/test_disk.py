"""Watermarks: what may begin by how much is free, and a receiver on a file system that is full."""

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dicom_nodes import scu
from dicom_nodes.scu import echo
from dicom_nodes.types import Node
from service.config import Disk, Site
from service.disk import GB, DiskState, DiskWatch, Free, disk_watch, judge, no_room_in_hand, problem
from service.jobs import SeriesState
from service.ledger import Ledger, open_ledger
from service.queue import Hints
from service.receiver import Receiver
from service.submodel import load_submodels
from service.web.server import make_app
from tests.conftest import free_port
from tests.dicom_nodes.peers import Object, wait_until
from tests.ledgers import with_ledger

MARKS = Disk()
ENOUGH, LOW, STOP = DiskState


def free(percent: float, total_gb: float = 100) -> Free:
    return Free(int(total_gb * GB), int(total_gb * GB * percent / 100))


@pytest.mark.parametrize(
    ("percent", "before", "after"),
    [
        (20, ENOUGH, ENOUGH),
        (14, ENOUGH, LOW),
        (6, LOW, LOW),
        (4, LOW, STOP),
        (6, STOP, STOP),
        (7.9, STOP, STOP),
        (8.1, STOP, LOW),
        (20, STOP, ENOUGH),
    ],
)
def test_a_stopped_volume_resumes_only_above_its_own_mark(
    percent: float, before: DiskState, after: DiskState
) -> None:
    assert judge(free(percent), MARKS, before) is after


def test_of_a_large_disk_the_gigabytes_count_and_not_the_part() -> None:
    assert judge(free(1, total_gb=20_000), MARKS, ENOUGH) is ENOUGH
    assert judge(Free(20_000 * GB, 9 * GB), MARKS, ENOUGH) is STOP


def test_a_file_system_without_free_inodes_is_full() -> None:
    assert judge(Free(100 * GB, 90 * GB, 1000, 10), MARKS, ENOUGH) is STOP
    assert judge(Free(100 * GB, 90 * GB, 0, 0), MARKS, ENOUGH) is ENOUGH


@given(st.floats(0, 100), st.sampled_from(DiskState), st.floats(1, 1e5))
def test_what_is_under_way_goes_on_longer_than_what_begins(
    percent: float, before: DiskState, total_gb: float
) -> None:
    found = free(percent, total_gb)
    if no_room_in_hand(found, MARKS):
        assert judge(found, MARKS, before) is STOP


def test_marks_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="stop_free_percent < resume_free_percent"):
        Disk(stop_free_percent=9)


def test_a_volume_is_asked_once_a_second_and_a_change_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, asked, percent = [0.0], [0], [50.0]

    def stat(_path: Path) -> Free:
        asked[0] += 1
        return free(percent[0])

    watch = DiskWatch({"incoming": tmp_path, "jobs": tmp_path / "jobs"}, MARKS, stat, lambda: clock[0])
    for _ in range(5):
        (volume,) = watch.volumes()
    assert (asked[0], volume.holds, volume.state) == (1, ("incoming", "jobs"), ENOUGH)
    percent[0] = 3
    for _ in range(5):
        clock[0] += 1
        assert "3.0 GB of 100.0 GB free" in watch.stopped("jobs")
    assert [record.getMessage() for record in caplog.records] == ["disk"]
    assert "A700" in problem(watch.volumes()[0])
    assert watch.stopped("models") == ""
    assert watch.no_room(in_hand=False)
    assert watch.no_room(in_hand=True) == ""  # 3 % is above half of 5 %


def site_in(folder: Path, **tables: object) -> Site:
    values = {
        "receive": {"aet": "SAGITTAL", "host": "127.0.0.1", "port": 0},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
        "assembly": {"quiet_seconds": 0.3, "incomplete_seconds": 60},
        **tables,
    }
    return with_ledger(Site.model_validate(values).model_copy(update={"home": folder}))


@contextmanager
def running(site: Site, ledger: Ledger, disk: DiskWatch) -> Iterator[Node]:
    hints = Hints(f"redis://127.0.0.1:{free_port()}/0")  # nobody answers: the ledger keeps the work
    receiver = Receiver(site, ledger, load_submodels(), hints, disk=disk)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    try:
        wait_until(lambda: receiver.port != 0)
        yield Node("SAGITTAL", "127.0.0.1", receiver.port)
    finally:
        receiver.stop.set()
        thread.join()
        hints.close()


def always_looking(folder: Path, percent: list[float]) -> DiskWatch:
    """A watch over a disk of which so much is free, without a pause between two looks."""
    clock = map(float, itertools.count())
    places = {"incoming": folder, "jobs": folder}
    return DiskWatch(places, MARKS, lambda _: free(percent[0]), clock.__next__)


def state_of(ledger: Ledger, uid: str) -> SeriesState | None:
    series = ledger.series(uid)
    return None if series is None else series.state


def statuses(node: Node, paths: list[Path]) -> list[int]:
    return [outcome.status for outcome in scu.store(node, "MR1", paths)]


def test_below_the_mark_c_store_is_refused_before_anything_is_written_and_resumes_by_itself(tmp_path: Path) -> None:
    site, percent = site_in(tmp_path), [50.0]
    ledger = open_ledger(site.ledger_url, actor="test")
    watch = always_looking(tmp_path, percent)
    objects = [Object(series_uid="1.2.3") for _ in range(3)]
    paths = [each.write(tmp_path) for each in objects]
    with running(site, ledger, watch) as node:
        percent[0] = 4
        refused = scu.store(node, "MR1", paths)
        assert {each.status for each in refused} == {0xA700}
        assert "disk too full: 4.0 GB of 100.0 GB free" in refused[0].comment
        echo(node, "MR1")
        assert list(site.incoming.rglob("*.*")) == []
        wait_until(lambda: len(ledger.refusals()) == 1)  # one for the series, not one for each instance
        percent[0] = 50
        assert statuses(node, paths) == [0, 0, 0]
        wait_until(lambda: state_of(ledger, "1.2.3") not in (None, SeriesState.RECEIVING))
    assert len(list(site.incoming.rglob("*.dcm"))) == 3
    ledger.close()


def test_a_series_of_which_instances_were_refused_is_not_complete_until_they_came(tmp_path: Path) -> None:
    site, percent = site_in(tmp_path), [50.0]
    ledger = open_ledger(site.ledger_url, actor="test")
    watch = always_looking(tmp_path, percent)
    paths = [Object(series_uid="1.2.3").write(tmp_path) for _ in range(4)]
    with running(site, ledger, watch) as node:
        assert statuses(node, paths[:1]) == [0]
        percent[0] = 4
        assert statuses(node, paths[1:]) == [0xA700] * 3
        time.sleep(1.5)  # many quiet times
        assert state_of(ledger, "1.2.3") is SeriesState.RECEIVING
        percent[0] = 50
    with running(site, ledger, watch) as node:  # another process does not take the half for the whole, either
        time.sleep(1.0)
        assert state_of(ledger, "1.2.3") is SeriesState.RECEIVING
        assert statuses(node, paths[1:]) == [0] * 3
        wait_until(lambda: state_of(ledger, "1.2.3") is not SeriesState.RECEIVING)
    ledger.close()


def test_page_and_health_say_that_a_disk_is_full_and_what_waits_for_room(tmp_path: Path) -> None:
    marks = {f"{mark}_free_percent": part for mark, part in (("stop", 99.98), ("resume", 99.99), ("warn", 100))}
    marks |= {f"{mark}_free_gb": size for mark, size in (("stop", 1e8), ("resume", 1e9), ("warn", 1e9))}
    site = site_in(tmp_path, disk=marks)
    ledger = open_ledger(site.ledger_url, actor="test")
    client = TestClient(make_app(ledger, site))
    (disk,) = client.get("/health").json()["disks"]
    here = ["ledger"] if site.ledger_url.startswith("sqlite") else []
    assert (disk["state"], disk["holds"]) == ("stop", ["incoming", "jobs", "models", *here])
    for said in ("is full", "told to try again later (A700)", "no routing or inference begins"):
        assert said in disk["problem"]
        assert said in client.get("/").text
    ledger.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_really_fills_leaves_whole_files_and_an_unharmed_ledger(
    tmp_path: Path, small_disk: Path
) -> None:
    site = site_in(small_disk)
    ledger = open_ledger(site.ledger_url, actor="test")
    paths = [Object(series_uid=f"1.2.{n}", pixel_bytes=700_000).write(tmp_path) for n in range(14)]
    with running(site, ledger, disk_watch(site)) as node:
        told = []
        for path in paths:
            told += statuses(node, [path])
            time.sleep(0.3)
        assert told[0] == 0 and told[-1] == 0xA700
        stored = {path.stem for path in site.incoming.rglob("*.dcm")}
        assert len(stored) == told.count(0)
        others = [path.name for path in site.incoming.rglob("*") if path.is_file() and path.suffix != ".dcm"]
        assert set(others) <= {"released"}
        assert {path.stat().st_size // 1000 for path in site.incoming.rglob("*.dcm")} == {700}
        accepted = [f"1.2.{n}" for n, status in enumerate(told) if status == 0]
        wait_until(lambda: all(state_of(ledger, uid) is not None for uid in accepted))
        for uid in accepted[:6]:
            for path in (site.incoming / uid).iterdir():
                path.unlink()
        wait_until(lambda: statuses(node, paths[-1:]) == [0])
    ledger.close()
