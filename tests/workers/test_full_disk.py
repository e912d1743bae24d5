"""A job folder on a full disk: no inference begins, the job stays queued, and goes on by itself."""

from pathlib import Path

from service.config import Disk
from service.disk import GB, DiskWatch, Free
from service.jobs import Job, JobState
from service.ledger import Ledger
from service.modelstore import ModelStore
from service.queue import Hints
from service.sweep import Sweeper
from tests.clock import Clock
from tests.service.withdrawn_site import Ward
from workers.models import WarmModels
from workers.pipeline import infer
from workers.workshop import Workshop

QUEUE = "infer.mrannotator-spine"


def test_while_the_jobs_disk_is_full_a_queued_job_is_neither_told_of_nor_begun(
    tmp_path: Path, ledger: Ledger, clock: Clock, empty_redis: str
) -> None:
    ward = Ward(tmp_path / "site", ledger).queued()
    free = [2 * GB]
    disk = DiskWatch({"jobs": tmp_path}, Disk(), lambda _: Free(100 * GB, free[0]), clock)
    hints = Hints(empty_redis)
    shop = Workshop(ward.site, ledger, hints, {}, WarmModels(ModelStore(tmp_path / "models"), {}), disk=disk)
    infer(shop, ward.job.id)  # by a hint that was sent before
    Sweeper(ward.site, ledger, hints, disk).sweep()
    assert (ward.now.state, ward.now.attempts, hints.waiting(QUEUE)) == (JobState.QUEUED, 0, 0)
    free[0] = 50 * GB
    clock.time += 2
    Sweeper(ward.site, ledger, hints, disk).sweep()
    assert hints.waiting(QUEUE) == 1
    infer(shop, ward.job.id)
    assert begun(ledger, ward.job)
    hints.close()


def begun(ledger: Ledger, job: Job) -> bool:
    return any(step.to_state == JobState.INFERRING for step in ledger.history("job", job.id))
