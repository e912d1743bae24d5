"""What goes wrong in a night: a sender that aborts, a Redis that dies, two workers who want the same work."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import build_context

from dicom_nodes.scu import store
from service.jobs import Job, JobState, SeriesRecord, SeriesState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.circle.site import Archive, RunningSite, running_site, wait_until
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, associated

pytestmark = pytest.mark.slow

WORKERS = ("inference-1", "inference-2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pacs: Archive) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("site")
    settings = {"quiet_seconds": "1.0", "abandoned_seconds": "5.0", "inference_processes": "2", "threads": "1"}
    with running_site(folder, [pacs.node], **settings) as running:
        yield running


def phantom_series(folder: Path, seed: int) -> PhantomSeries:
    return write_dicom(make_phantom("lumbar", seed, voxel_scale=4.0), folder / str(seed))


def send_and_abort(site: RunningSite, paths: Sequence[Path]) -> None:
    """Send some instances of a series and break the association off with A-ABORT."""
    with associated(site.node, build_context(MR, EXPLICIT_LITTLE)) as association:
        for path in paths:
            assert association.send_c_store(dcmread(path)).Status == 0x0000
        association.abort()


def waiting(site: RunningSite, series: PhantomSeries) -> SeriesRecord:
    """The series once the ledger knows that its association was aborted."""

    def aborted() -> SeriesRecord | None:
        record = site.ledger.series(series.series_uid)
        return record if record is not None and record.association == "aborted" else None

    return wait_until(aborted, 10)


def test_a_sender_that_aborts_and_comes_back_gets_one_result_of_all_slices(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = phantom_series(tmp_path, 51)
    send_and_abort(site, series.paths[:4])
    record = waiting(site, series)
    assert (record.state, record.instance_count) == (SeriesState.RECEIVING, 4)
    time.sleep(2.5 * site.site.assembly.quiet_seconds)
    assert waiting(site, series).state is SeriesState.RECEIVING
    assert site.ledger.list_jobs(series_uid=series.series_uid) == []
    store(site.node, "MR1", series.paths)
    record, (job,) = site.settled(series.series_uid)
    assert (record.revision, record.instance_count) == (1, len(series.paths))
    assert job.state is JobState.DELIVERED
    (result,) = pacs.results_of(series.study_uid)
    referenced = dcmread(result, stop_before_pixels=True).ReferencedSeriesSequence[0].ReferencedInstanceSequence
    sent = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in series.paths}
    assert {str(each.ReferencedSOPInstanceUID) for each in referenced} == sent


def test_a_sender_that_aborts_and_never_comes_back_leaves_a_reason(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = phantom_series(tmp_path, 52)
    send_and_abort(site, series.paths[:4])
    record, jobs = site.settled(series.series_uid, 30)
    assert (record.state, jobs) == (SeriesState.FAILED, [])
    said, advice = record.reason.split(". ")
    assert said == "association aborted after 4 instances; the sender did not return"
    assert advice.endswith(f"sagittal jobs retry {series.series_uid}")
    assert pacs.results_of(series.study_uid) == []
    first, *_, last = site.ledger.history("series", series.series_uid)
    assert last.at - first.at >= site.site.assembly.abandoned_seconds


@contextmanager
def all_queued(site: RunningSite, folder: Path, seeds: Iterable[int]) -> Iterator[list[PhantomSeries]]:
    """Series whose jobs are all queued, with hints in Redis, while the inference workers are held still."""
    many = [phantom_series(folder, seed) for seed in seeds]
    uids = {series.series_uid for series in many}

    def hinted() -> bool | None:
        jobs = [job for job in site.ledger.list_jobs(JobState.QUEUED) if job.series_uid in uids and job.hinted_at]
        return True if len(jobs) == len(many) else None

    pids = [site.worker_pid(name) for name in WORKERS]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for series in many:
            store(site.node, "MR1", series.paths)
        wait_until(hinted, 60)
        yield many
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def delivered_once(site: RunningSite, pacs: Archive, many: Sequence[PhantomSeries]) -> list[Job]:
    """The jobs of some series; asserts that each series has one, done at the first attempt, and one result."""
    jobs = [job for series in many for job in site.settled(series.series_uid)[1]]
    assert [(job.state, job.attempts) for job in jobs] == [(JobState.DELIVERED, 1)] * len(many)
    assert [len(pacs.results_of(series.study_uid)) for series in many] == [1] * len(many)
    return jobs


def test_two_inference_processes_share_the_work_and_each_series_has_one_result(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    with all_queued(site, tmp_path, range(60, 63)) as many:
        pass
    jobs = delivered_once(site, pacs, many)
    steps = [[step for step in site.ledger.history("job", job.id) if step.actor in WORKERS] for job in jobs]
    assert [[step.to_state for step in each] for each in steps] == [["inferring", "inferred"]] * len(many)
    assert [len({step.actor for step in each}) for each in steps] == [1] * len(many)
    assert {step.actor for each in steps for step in each} == set(WORKERS)


def redis_pid(site: RunningSite) -> int | None:
    """The redis-server that `sagittal up` keeps; None while there is none."""
    children = ["pgrep", "-P", str(site.process.pid), "redis-server"]
    found = subprocess.run(children, capture_output=True, text=True).stdout.split()
    return int(found[0]) if found else None


def test_a_redis_that_dies_with_work_in_its_queues_is_started_again_and_nothing_is_lost_or_doubled(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    with all_queued(site, tmp_path, range(70, 72)) as many:
        killed = redis_pid(site)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: True if redis_pid(site) not in (None, killed) else None, 20)
    delivered_once(site, pacs, many)
    assert site.process.poll() is None
