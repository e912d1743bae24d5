"""What a failed step is the fault of: only what may go otherwise is tried again, and only what it did counts."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dicom_nodes.errors import EmptyResult, ModelUnusable, ResultUnsound, Rule, SeriesUnreadable
from service.attempts import LONGEST_REST_SECONDS, rest_seconds
from service.config import Site
from service.jobs import FailureKind, Job, JobState
from service.ledger import Ledger, open_ledger
from service.modelstore import ModelStore
from service.queue import Hints
from tests.clock import Clock
from tests.ledgers import with_ledger
from tests.service.test_ledger import routed
from workers.failing import FULL_REST_SECONDS, ended
from workers.failures import failure_of, reason_for
from workers.lease import HandBackError, StepTooLongError
from workers.models import WarmModels
from workers.needs import NeverFits, TooLittleMemory
from workers.workshop import Workshop

UNREADABLE = SeriesUnreadable(Rule.GEOMETRY, "1.2.3", "no positions", "Send the originals")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "kind", "again", "counts"),
    [
        (UNREADABLE, "series", False, True),
        (ModelUnusable("not installed"), "model", False, True),
        (EmptyResult("nothing"), "result", False, True),
        (ResultUnsound("another patient"), "result", False, True),
        (MemoryError(), "machine", True, True),
        (TooLittleMemory("900 MiB, and there are 800 MiB now"), "machine", True, True),
        (NeverFits("900 MiB, and there are 800 MiB"), "machine", False, True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "machine", True, True),
        (RuntimeError("CUDA error: device-side assert triggered"), "machine", True, True),
        (FULL, "machine", True, False),
        (OSError(errno.EROFS, "read-only"), "machine", True, False),
        (OSError(errno.EIO, "input/output error"), "machine", True, True),
        (StepTooLongError("took longer"), "machine", True, True),
        (KeyError("of ours"), "program", True, True),
    ],
)
def test_an_error_says_whose_fault_it_is(error: Exception, kind: str, again: bool, counts: bool) -> None:
    failure = failure_of(error)
    assert (failure.kind.value, failure.again, failure.counts) == (kind, again, counts)


def test_the_rest_between_attempts_doubles_and_has_an_end() -> None:
    rests = [rest_seconds(attempts) for attempts in range(1, 12)]
    assert rests[1] == 2 * rests[0]
    assert rests == sorted(rests) and rests[-1] == LONGEST_REST_SECONDS


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Workshop]:
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    site = with_ledger(Site.model_validate(values).model_copy(update={"home": tmp_path}))
    ledger = open_ledger(site.ledger_url, actor="test", now=clock)
    models = WarmModels(ModelStore(tmp_path / "models"), {})
    yield Workshop(site, ledger, Hints("redis://127.0.0.1:1/0"), {}, models)
    ledger.close()


def claimed(ledger: Ledger, job: Job, ready: JobState, to: JobState) -> Job:
    found = ledger.claim_job(job.id, ready, to, "w1", 30)
    assert found is not None
    return found


def inferring(shop: Workshop, job: Job) -> Job:
    return claimed(shop.ledger, job, JobState.QUEUED, JobState.INFERRING)


def after(shop: Workshop, job: Job) -> Job:
    found = shop.ledger.job(job.id)
    assert found is not None
    return found


def test_a_bad_series_fails_at_once_and_says_what_kind_of_failure_it_is(shop: Workshop) -> None:
    job = inferring(shop, routed(shop.ledger))
    ended(shop, job, UNREADABLE)
    now = after(shop, job)
    assert (now.state, now.reason, now.reason_kind) == (JobState.FAILED, str(UNREADABLE), FailureKind.SERIES)


def test_a_full_disk_is_waited_out_and_costs_no_attempt(shop: Workshop, clock: Clock) -> None:
    job = routed(shop.ledger)
    for _ in range(5):
        ended(shop, inferring(shop, job), FULL)
        now = after(shop, job)
        assert (now.state, now.attempts, now.setbacks, now.reason_kind) == (JobState.QUEUED, 0, 0, "machine")
        assert "No space left on device. Make room where the site's folder lies" in now.reason
        assert shop.ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30) is None, "it rests"
        clock.time += FULL_REST_SECONDS


def test_want_of_memory_is_tried_again_after_a_rest_and_fails_after_the_attempts_of_the_site(
    shop: Workshop, clock: Clock
) -> None:
    job = routed(shop.ledger)
    for attempt in (1, 2):
        ended(shop, inferring(shop, job), MemoryError("40 GiB"))
        now = after(shop, job)
        assert (now.state, now.attempts, now.setbacks) == (JobState.QUEUED, attempt, attempt)
        assert now.not_before == clock.time + rest_seconds(attempt)
        clock.time = now.not_before
    ended(shop, inferring(shop, job), MemoryError("40 GiB"))
    now = after(shop, job)
    assert now.state is JobState.FAILED
    assert now.reason.startswith("failed 3 times, the last with MemoryError: 40 GiB")


def test_a_volume_that_never_fits_fails_at_once_with_the_numbers(shop: Workshop) -> None:
    job = inferring(shop, routed(shop.ledger))
    ended(shop, job, NeverFits("a volume of 512 x 512 x 900 needs 9000 MiB of memory, and there are 800 MiB"))
    now = after(shop, job)
    assert (now.state, now.attempts, now.reason_kind) == (JobState.FAILED, 1, FailureKind.MACHINE)
    assert now.reason.endswith("needs 9000 MiB of memory, and there are 800 MiB")


def test_an_operator_who_tries_again_need_not_wait(shop: Workshop) -> None:
    job = inferring(shop, routed(shop.ledger))
    ended(shop, job, ModelUnusable("not installed"))
    shop.ledger.move_job(job.id, JobState.QUEUED, "asked for by an operator", attempts=0, reason="")
    now = after(shop, job)
    assert (now.not_before, now.setbacks, now.reason_kind) == (0.0, 0, "")
    assert inferring(shop, job).attempts == 1


def test_a_job_that_is_handed_back_is_as_it_was_before(shop: Workshop) -> None:
    job = routed(shop.ledger)
    ended(shop, inferring(shop, job), HandBackError("its worker was told to stop"))
    now = after(shop, job)
    assert (now.state, now.attempts, now.not_before, now.reason) == (JobState.QUEUED, 0, 0.0, "")


def test_encoding_that_found_the_disk_full_is_tried_again_and_one_that_broke_fails(
    shop: Workshop, clock: Clock
) -> None:
    job = inferring(shop, routed(shop.ledger))
    shop.ledger.inferred(job.id, "test", (), "", owner="w1")
    for _ in range(4):
        ended(shop, claimed(shop.ledger, job, JobState.INFERRED, JobState.INFERRED), FULL)
        now = after(shop, job)
        assert (now.state, now.owner, now.setbacks) == (JobState.INFERRED, "", 0)
        clock.time = now.not_before
    ended(shop, claimed(shop.ledger, job, JobState.INFERRED, JobState.INFERRED), KeyError("of ours"))
    now = after(shop, job)
    assert now.state is JobState.FAILED
    assert now.reason.startswith("encoding failed: KeyError") and now.reason_kind == "program"


def test_a_step_whose_job_another_holds_by_now_changes_nothing(shop: Workshop, clock: Clock) -> None:
    job = inferring(shop, routed(shop.ledger))
    clock.time += 31
    other = shop.ledger.move_job(job.id, JobState.QUEUED, "fell silent", owner="w1")
    assert other is not None
    ended(shop, job, UNREADABLE)
    assert after(shop, job).state is JobState.QUEUED


def test_a_lost_gpu_ends_the_worker_so_that_a_new_one_may_find_it(shop: Workshop) -> None:
    error = RuntimeError("CUDA error: unspecified launch failure")
    assert failure_of(error).ends_worker
    assert "nvidia-smi" in reason_for(error)
