"""A job that runs again: the same model makes the same objects, a newer one makes others that name them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread

from service.jobfolder import JobFolder
from service.jobs import Job, JobState, ResultObject, SeriesState, job_id
from service.jobs_cli import jobs
from service.phantom.body import Phantom
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.site_template import site_toml
from tests.clock import Clock
from tests.dicom_nodes.pacs import pacs
from tests.ledgers import naming_ledger
from tests.workers.test_pipeline import PROTOCOL, deliver_all, inferred, workshop
from workers import pipeline
from workers.workshop import Workshop


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PROTOCOL, 6, voxel_scale=5.0)


@pytest.fixture(scope="module")
def series(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_dicom(phantom, tmp_path_factory.mktemp("series"))


class Ticking(Clock):
    """No two things happen at the same time."""

    def __call__(self) -> float:
        self.time += 0.001
        return self.time


@pytest.fixture
def delivered(
    tmp_path: Path, empty_redis: str, phantom: Phantom, series: PhantomSeries
) -> Iterator[tuple[Workshop, Job, list[str]]]:
    """A shop, its delivered job, and what the archive has stored so far."""
    with pacs(commits=False) as archive:
        shop = workshop(tmp_path, empty_redis, Ticking(), archive.node)
        job = inferred(shop, phantom, series)
        pipeline.encode(shop, job.id)
        deliver_all(shop)
        assert now(shop, job).state is JobState.DELIVERED
        yield shop, job, archive.stored
    shop.hints.close()
    shop.ledger.close()


def now(shop: Workshop, job: Job) -> Job:
    found = shop.ledger.job(job.id)
    assert found is not None
    return found


def run_again(shop: Workshop, job: Job, model: str) -> list[ResultObject]:
    """Have a job run again with a model of this version, and all sent; its objects in order of making."""
    shop.ledger.move_job(job.id, JobState.QUEUED, "test")
    folder = JobFolder(shop.site.jobs, job.id)
    found = folder.load_label_map()
    folder.save_label_map(replace(found, algorithm=replace(found.algorithm, version=model)))
    shop.ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    shop.ledger.inferred(job.id, "test", (), "", owner="w1")
    pipeline.encode(shop, job.id)
    deliver_all(shop)
    return sorted(shop.ledger.objects(job.id), key=lambda made: made.path)


def test_the_same_model_makes_the_same_object_which_is_not_sent_twice(
    delivered: tuple[Workshop, Job, list[str]],
) -> None:
    shop, job, stored = delivered
    (before,) = shop.ledger.objects(job.id)
    content = Path(before.path).read_bytes()
    assert run_again(shop, job, "abc") == [before]
    assert Path(before.path).read_bytes() == content
    assert (now(shop, job).state, stored) == (JobState.DELIVERED, [before.sop_instance_uid])


def test_a_newer_model_makes_an_object_that_names_the_one_before_it(
    delivered: tuple[Workshop, Job, list[str]],
) -> None:
    shop, job, stored = delivered
    (before,) = shop.ledger.objects(job.id)
    content = Path(before.path).read_bytes()
    first, second = run_again(shop, job, "newer")
    assert (first, Path(first.path).read_bytes()) == (before, content), "it may still be on its way"
    assert Path(second.path).name == "seg~2.dcm"
    assert second.series_uid != first.series_uid
    assert first.sop_instance_uid.encode() in Path(second.path).read_bytes()
    assert second.sop_instance_uid.encode() not in content
    assert stored == [first.sop_instance_uid, second.sop_instance_uid]
    assert now(shop, job).state is JobState.DELIVERED
    third = run_again(shop, job, "newest")[-1]
    assert second.sop_instance_uid.encode() in Path(third.path).read_bytes()
    assert run_again(shop, job, "newer") == [first, second, third], "what was made once is not made again"
    assert len(stored) == 3


def test_a_new_revision_of_the_series_names_the_object_of_the_one_before(
    delivered: tuple[Workshop, Job, list[str]],
) -> None:
    shop, job, _ = delivered
    (before,) = shop.ledger.objects(job.id)
    later = replace(
        job,
        id=job_id(job.series_uid, 2, 1, job.submodel, job.protocol),
        revision=2,
        state=JobState.QUEUED,
        owner="",
    )
    folder = JobFolder(shop.site.jobs, job.id)
    again = JobFolder(shop.site.jobs, later.id)
    again.save_volume(folder.load_volume())
    again.save_label_map(folder.load_label_map())
    shop.ledger.move_series(job.series_uid, SeriesState.COMPLETE, "a late instance")
    shop.ledger.supersede_jobs(job.series_uid, 2)
    shop.ledger.route_series(job.series_uid, "test", "", [later], revision=2)
    shop.ledger.claim_job(later.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    shop.ledger.inferred(later.id, "test", (), "", owner="w1")
    pipeline.encode(shop, later.id)
    (made,) = shop.ledger.objects(later.id)
    assert before.sop_instance_uid.encode() in Path(made.path).read_bytes()
    assert dcmread(made.path).SOPInstanceUID == made.sop_instance_uid


def test_a_person_asks_for_it_by_command_and_only_of_what_was_delivered(
    delivered: tuple[Workshop, Job, list[str]], tmp_path: Path
) -> None:
    shop, job, _ = delivered
    site = tmp_path / "site.toml"
    text = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (shop.site.destination[0].node,))
    site.write_text(naming_ledger(text, shop.site.folder))
    asked = CliRunner().invoke(jobs, ["rerun", "--site", str(site), job.id])
    assert (asked.exit_code, now(shop, job).state) == (0, JobState.QUEUED), asked.output
    refused = CliRunner().invoke(jobs, ["rerun", "--site", str(site), job.id])
    assert refused.exit_code == 1
    assert "is queued; one that is delivered or committed can be run again" in refused.output
