"""An upgrade while patients are scanned: every part stops and is started again, nothing is lost or doubled."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from dicom_nodes.errors import Unreachable
from dicom_nodes.scu import store
from service.jobs import JobState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.up import LEEWAY_SECONDS
from tests.circle.site import Archive, RunningSite, running_site, wait_until

pytestmark = pytest.mark.slow

PARTS = ("receiver", "inference-1", "results", "web")


def pid_of(site: RunningSite, part: str) -> int | None:
    """The process of a part of `sagittal up`; None while it is not there."""
    words = f"-m service {part} --site {site.site_file}" if part in ("receiver", "web") else f"--name {part}"
    command = ["pgrep", "-P", str(site.process.pid), "-f", "--", words]
    found = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return int(found[0]) if found else None


def restarted(site: RunningSite, part: str) -> float:
    """Tell a part to stop, and wait for the one that `sagittal up` starts instead; how long it took to stop."""
    before = wait_until(lambda: pid_of(site, part), 30)
    began = time.monotonic()
    os.kill(before, signal.SIGTERM)
    wait_until(lambda: True if pid_of(site, part) != before else None, 60)
    stopped = time.monotonic() - began
    wait_until(lambda: pid_of(site, part), 30)
    return stopped


def send_each(site: RunningSite, calling_aet: str, many: Sequence[PhantomSeries]) -> None:
    """A modality that sends one series after the other, each until all of it was taken."""
    for series in many:
        while True:
            try:
                store(site.node, calling_aet, series.paths)
            except Unreachable:
                time.sleep(0.2)
            else:
                break


def test_every_part_is_restarted_under_load_and_each_series_has_one_result_of_one_attempt(
    pacs: Archive, tmp_path: Path
) -> None:
    many = [
        write_dicom(make_phantom("lumbar", seed, voxel_scale=6.0), tmp_path / str(seed)) for seed in range(80, 84)
    ]
    with running_site(tmp_path / "site", [pacs.node], quiet_seconds="1.0", threads="1") as site:
        senders = [
            threading.Thread(target=send_each, args=(site, name, many[index::2]))
            for index, name in enumerate(("MR1", "MR2"))
        ]
        for sender in senders:
            sender.start()
        stopped = [restarted(site, part) for part in (*PARTS, "receiver", "inference-1")]
        for sender in senders:
            sender.join()
        jobs = [job for series in many for job in site.settled(series.series_uid)[1]]
    assert [(job.state, job.attempts, job.reason) for job in jobs] == [(JobState.DELIVERED, 1, "")] * len(many)
    assert [len(pacs.results_of(series.study_uid)) for series in many] == [1] * len(many)
    assert max(stopped) < site.site.workers.stop_seconds + LEEWAY_SECONDS, stopped
