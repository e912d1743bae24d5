"""Steps that end badly, with a real worker process: told to stop, killed, hung; every job ends as it should."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pynetdicom import evt

from service import attempts
from service.jobfolder import JobFolder
from service.jobs import Delivery, DeliveryState, Job, JobState
from service.modelstore import ModelStore
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import load_submodels
from tests.dicom_nodes.peers import answering
from tests.workers.steps_site import StepsSite, steps_site
from tests.workers.test_pipeline import inferred
from workers.models import WarmModels
from workers.stopping import LEAVE_SECONDS, OVERRUN
from workers.workshop import Workshop


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[PhantomSeries]:
    folder = tmp_path_factory.mktemp("series")
    return [write_dicom(make_phantom("abdomen", seed, voxel_scale=3.0), folder / str(seed)) for seed in (6, 7)]


@pytest.fixture
def wide(tmp_path: Path) -> PhantomSeries:
    """A series six times as large, so that the network is long enough at work to be met there."""
    one, six = make_phantom("abdomen", 6, voxel_scale=3.0), (1, 2, 3)
    tiled = replace(one, pixels=np.tile(one.pixels, six), truth=np.tile(one.truth, six))
    return write_dicom(tiled, tmp_path / "wide")


@pytest.fixture
def site(tmp_path: Path, empty_redis: str, phantom_models: ModelStore) -> Iterator[StepsSite]:
    with steps_site(tmp_path, empty_redis, phantom_models.folder) as running:
        yield running


def hang_at_reading(site: StepsSite, job: Job) -> None:
    """One file of the job's series is a pipe that nobody writes into: who reads it waits for ever."""
    path = JobFolder(site.site.jobs, job.id).load_volume().frames[0].path
    path.unlink()
    os.mkfifo(path)


def steps(site: StepsSite, job: Job) -> list[str]:
    return [step.to_state for step in site.ledger.history("job", job.id)]


def ended(worker: subprocess.Popen[bytes], seconds: float) -> tuple[int, float]:
    """A worker's exit status, and how long it took."""
    started = time.monotonic()
    return worker.wait(seconds), time.monotonic() - started


def test_a_worker_told_to_stop_in_mid_network_hands_its_job_back_and_the_attempt_does_not_count(
    tmp_path: Path, empty_redis: str, phantom_models: ModelStore, wide: PhantomSeries
) -> None:
    with steps_site(tmp_path, empty_redis, phantom_models.folder, stop_seconds=45.0) as site:
        job, worker = site.queue(wide), site.start()
        site.until_in(job, "network")
        worker.terminate()
        status, seconds = ended(worker, 60)
        assert status == 0
        assert seconds < site.site.workers.stop_seconds, "after the tile in work, not when its time is over"
        back = site.now(job)
        assert (back.state, back.attempts, back.owner, back.reason) == (JobState.QUEUED, 0, "", "")
        site.start()
        done = site.until_is(job, JobState.INFERRED)
        assert (done.attempts, done.setbacks) == (1, 0)
        assert steps(site, job) == ["queued", "inferring", "queued", "inferring", "inferred"]
        assert "handed back" in site.ledger.history("job", job.id)[2].cause


@pytest.mark.slow
def test_a_series_that_kills_its_worker_ends_failed_and_another_is_not_held_up(
    site: StepsSite, series: list[PhantomSeries], wide: PhantomSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_REST_SECONDS", 0.5)
    poison, other = site.queue(wide), site.queue(series[1])
    for _ in range(site.site.workers.max_attempts):
        worker = site.start()
        site.until_in(poison, "network")
        worker.kill()
        worker.wait()
        site.until(lambda: site.now(poison).state is not JobState.INFERRING)
    failed = site.now(poison)
    assert (failed.state, failed.attempts, failed.reason_kind) == (JobState.FAILED, 3, "machine")
    assert "given up after 3 attempts" in failed.reason and "3 worker(s) in a row died" in failed.reason
    site.start()
    assert site.until_is(other, JobState.INFERRED).attempts == 1


@pytest.mark.slow
def test_after_two_workers_died_of_it_a_job_waits_for_all_others(
    site: StepsSite, series: list[PhantomSeries], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_REST_SECONDS", 0.1)
    poison = site.queue(series[0])
    for _ in range(2):
        claimed = site.ledger.claim_job(poison.id, JobState.QUEUED, JobState.INFERRING, "dead", 0.0)
        assert claimed is not None
        site.until_is(poison, JobState.QUEUED)
        time.sleep(0.3)
    assert site.now(poison).setbacks == 2
    other = site.queue(series[1])
    site.start()
    for job in (poison, other):
        site.until_is(job, JobState.INFERRED)
    first, second = (site.ledger.history("job", job.id)[-1].at for job in (other, poison))
    assert first < second


def test_a_step_that_hangs_ends_with_its_process_and_its_reason(
    tmp_path: Path, empty_redis: str, phantom_models: ModelStore
) -> None:
    hung = write_dicom(make_phantom("abdomen", 8, voxel_scale=5.0), tmp_path / "series")
    with steps_site(tmp_path, empty_redis, phantom_models.folder, step_seconds=1.0, max_attempts=1) as site:
        job = site.queue(hung)
        hang_at_reading(site, job)
        worker = site.start()
        failed = site.until_is(job, JobState.FAILED, 40)
        assert ended(worker, 10)[0] == OVERRUN
    assert "took longer than 1 s, in stage read" in failed.reason
    assert (failed.reason_kind, failed.attempts) == ("machine", 1)


def test_a_worker_that_hangs_and_is_told_to_stop_hands_back_and_ends_in_the_time_that_is_stated(
    tmp_path: Path, empty_redis: str, phantom_models: ModelStore
) -> None:
    hung = write_dicom(make_phantom("abdomen", 8, voxel_scale=5.0), tmp_path / "series")
    with steps_site(tmp_path, empty_redis, phantom_models.folder, stop_seconds=1.0) as site:
        job = site.queue(hung)
        hang_at_reading(site, job)
        worker = site.start()
        site.until_in(job, "read")
        worker.send_signal(signal.SIGTERM)
        status, seconds = ended(worker, 20)
        back = site.now(job)
    assert status == 0
    assert seconds < 1.0 + LEAVE_SECONDS + 2.0
    assert (back.state, back.attempts, back.owner) == (JobState.QUEUED, 0, "")


class Slow:
    """A handler that does not answer before it may."""

    def __init__(self, answer: Any) -> None:
        self.asked, self.may_answer, self._answer = threading.Event(), threading.Event(), answer

    def __call__(self, _: evt.Event) -> Any:
        """As pynetdicom calls it."""
        self.asked.set()
        self.may_answer.wait(60)
        return self._answer


@contextmanager
def stopped_while_asking(
    slow: Slow, handlers: list[tuple[Any, Any]], folder: Path, redis_url: str, weights: ModelStore
) -> Iterator[tuple[StepsSite, Delivery]]:
    """A results worker is told to stop while `slow`, one of the handlers of its archive, keeps it waiting."""
    phantom = make_phantom("abdomen", 8, voxel_scale=5.0)
    series = write_dicom(phantom, folder / "series")
    with (
        answering(handlers) as pacs,
        steps_site(folder, redis_url, weights.folder, port=pacs.port, stop_seconds=1.0) as site,
    ):
        submodels = {each.name: each for each in load_submodels()}
        models = WarmModels(weights, submodels)
        job = inferred(Workshop(site.site, site.ledger, site.hints, submodels, models), phantom, series)
        worker = site.start("results")
        site.until(slow.asked.is_set)
        worker.terminate()
        status, seconds = ended(worker, 20)
        (delivery,) = site.ledger.deliveries(job.id)
        slow.may_answer.set()
        assert status == 0
        assert seconds < 1.0 + LEAVE_SECONDS + 2.0
        yield site, delivery


def test_a_results_worker_told_to_stop_hands_back_what_a_slow_destination_has_not_answered(
    tmp_path: Path, empty_redis: str, phantom_models: ModelStore
) -> None:
    """The next worker sends it at once, long before a lease would be over, and no attempt is counted."""
    slow = Slow(0x0000)
    handlers = [(evt.EVT_C_STORE, slow)]
    with stopped_while_asking(slow, handlers, tmp_path, empty_redis, phantom_models) as (site, delivery):
        assert (delivery.state, delivery.attempts) == (DeliveryState.WAITING, 0)
        assert "handed back" in site.ledger.history("delivery", str(delivery.id))[-1].cause
        site.start("results")
        site.until(lambda: site.ledger.deliveries(delivery.job_id)[0].state is not DeliveryState.WAITING, 20)
        (sent,) = site.ledger.deliveries(delivery.job_id)
        assert sent.state in (DeliveryState.STORED, DeliveryState.DELIVERED), "asked to commit, and told no"
        assert sent.attempts == 1


def test_a_results_worker_told_to_stop_leaves_a_request_for_commitment_to_the_next(
    tmp_path: Path, empty_redis: str, phantom_models: ModelStore
) -> None:
    """It is asked again within seconds, not when the time of the broken request is over."""
    slow = Slow((0x0000, None))
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_ACTION, slow)]
    with stopped_while_asking(slow, handlers, tmp_path, empty_redis, phantom_models) as (site, delivery):
        assert (delivery.state, delivery.attempts) == (DeliveryState.STORED, 1)
        (broken,) = site.ledger.commitments(delivery.id)
        assert broken.outcome == "broken off: its worker was told to stop"
        site.start("results")
        site.until(lambda: len(site.ledger.commitments(delivery.id)) == 2, 20)
