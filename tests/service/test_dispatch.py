"""Dispatch: a complete series gets its jobs or its reason; the same content once, new content a new revision."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import FileDataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_nodes.types import Laterality
from service.config import Site
from service.dispatch import dispatch
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import load_submodels


@pytest.fixture
def site(tmp_path: Path) -> Site:
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    return Site.model_validate(values).model_copy(update={"home": tmp_path})


@pytest.fixture
def ledger(site: Site) -> Iterator[Ledger]:
    ledger = open_ledger(site.ledger_url, actor="test")
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    phantom = make_phantom("knee", 5, voxel_scale=5.0, laterality=Laterality.LEFT)
    return write_dicom(phantom, tmp_path_factory.mktemp("knee"))


def receive(site: Site, ledger: Ledger, series: PhantomSeries, paths: tuple[Path, ...]) -> None:
    """Lay files where the SCP lays them, and let the series be complete."""
    folder = site.incoming / series.series_uid
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copy(path, folder / f"{dcmread(path, stop_before_pixels=True).SOPInstanceUID}.dcm")
    ledger.heard(series.series_uid, series.study_uid, "MR1", len(list(folder.iterdir())))
    ledger.move_series(series.series_uid, SeriesState.COMPLETE, "quiet for 5 s")


def dispatched(site: Site, ledger: Ledger, series: PhantomSeries) -> tuple[SeriesRecord, list[Job]]:
    complete = ledger.series(series.series_uid)
    assert complete is not None
    dispatch(site, ledger, load_submodels(), complete)
    record = ledger.series(series.series_uid)
    assert record is not None
    return record, ledger.list_jobs(series_uid=series.series_uid)


def test_a_left_knee_becomes_one_job_that_knows_its_frames_and_its_side(
    site: Site, ledger: Ledger, knee: PhantomSeries
) -> None:
    receive(site, ledger, knee, knee.paths)
    record, (job,) = dispatched(site, ledger, knee)
    assert (record.state, record.revision) == (SeriesState.ROUTED, 1)
    assert (job.submodel, job.protocol, job.laterality) == ("mrannotator-shoulder-knee", "knee", "L")
    volume = JobFolder(site.jobs, job.id).load_volume()
    assert len(volume.frames) == len(knee.paths)
    assert all(frame.path.is_relative_to(site.incoming) for frame in volume.frames)
    assert "routed: knee, left" in record.explanation


def test_a_knee_on_which_three_sub_models_run_becomes_three_jobs_of_one_volume(
    site: Site, ledger: Ledger, knee: PhantomSeries
) -> None:
    run = ("mrannotator-*", "totalsegmentator-total-mr", "totalsegmentator-appendicular-bones-mr", "mrsegmentator")
    site = site.model_copy(update={"models": site.models.model_copy(update={"run": run})})
    receive(site, ledger, knee, knee.paths)
    record, jobs = dispatched(site, ledger, knee)
    assert {job.submodel for job in jobs} == {
        "mrannotator-shoulder-knee", "totalsegmentator-total-mr", "totalsegmentator-appendicular-bones-mr",
    }  # fmt: skip
    assert {(job.protocol, job.laterality, job.revision) for job in jobs} == {("knee", "L", 1)}
    volumes = [JobFolder(site.jobs, job.id).load_volume() for job in jobs]
    assert len({volume.series_uid for volume in volumes}) == 1
    assert "unrouted by MRSegmentator: no sub-model serves knee" in record.explanation


def test_the_same_content_again_leaves_the_result_alone(site: Site, ledger: Ledger, knee: PhantomSeries) -> None:
    receive(site, ledger, knee, knee.paths)
    _, (first,) = dispatched(site, ledger, knee)
    receive(site, ledger, knee, knee.paths)
    record, (second,) = dispatched(site, ledger, knee)
    assert first == second
    assert (record.revision, record.state) == (1, SeriesState.ROUTED)


def with_implicit_vr(dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def deflated(dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def from_another_node(dataset: FileDataset) -> None:
    dataset.file_meta.SourceApplicationEntityTitle = "PACS"


@pytest.mark.parametrize("encode", [with_implicit_vr, deflated, from_another_node])
def test_the_same_content_in_another_encoding_leaves_the_result_alone(
    site: Site, ledger: Ledger, knee: PhantomSeries, encode: Callable[[FileDataset], None]
) -> None:
    receive(site, ledger, knee, knee.paths)
    _, first = dispatched(site, ledger, knee)
    for path in (site.incoming / knee.series_uid).iterdir():
        dataset, before = dcmread(path), path.read_bytes()
        encode(dataset)
        dataset.save_as(path)
        assert path.read_bytes() != before
    receive(site, ledger, knee, ())
    record, second = dispatched(site, ledger, knee)
    assert (record.revision, second) == (1, first)


def one_pixel(dataset: FileDataset) -> None:
    dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]


def one_attribute(dataset: FileDataset) -> None:
    dataset.EchoTime = 99.5


@pytest.mark.parametrize("change", [one_pixel, one_attribute])
def test_one_change_in_one_slice_is_a_new_revision(
    site: Site, ledger: Ledger, knee: PhantomSeries, change: Callable[[FileDataset], None]
) -> None:
    receive(site, ledger, knee, knee.paths)
    dispatched(site, ledger, knee)
    path = next((site.incoming / knee.series_uid).iterdir())
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    receive(site, ledger, knee, ())
    record, jobs = dispatched(site, ledger, knee)
    assert record.revision == 2
    assert {job.revision: job.state for job in jobs} == {1: JobState.SUPERSEDED, 2: JobState.QUEUED}


def test_more_content_is_a_new_revision_whose_job_replaces_the_old(
    site: Site, ledger: Ledger, knee: PhantomSeries
) -> None:
    receive(site, ledger, knee, knee.paths[:-2])
    dispatched(site, ledger, knee)
    receive(site, ledger, knee, knee.paths[-2:])
    record, jobs = dispatched(site, ledger, knee)
    assert record.revision == 2
    assert {job.revision: job.state for job in jobs} == {1: JobState.SUPERSEDED, 2: JobState.QUEUED}


def test_two_slices_fail_and_rule_and_series_are_named(site: Site, ledger: Ledger, knee: PhantomSeries) -> None:
    receive(site, ledger, knee, knee.paths[:2])
    record, jobs = dispatched(site, ledger, knee)
    assert (record.state, jobs) == (SeriesState.FAILED, [])
    assert "too few slices" in record.reason
    assert knee.series_uid in record.reason


def test_what_is_no_mr_is_unrouted_and_not_an_error(site: Site, ledger: Ledger, knee: PhantomSeries) -> None:
    receive(site, ledger, knee, knee.paths)
    for path in (site.incoming / knee.series_uid).iterdir():
        dataset = dcmread(path)
        dataset.Modality = "CT"
        dataset.save_as(path)
    record, jobs = dispatched(site, ledger, knee)
    assert (record.state, jobs) == (SeriesState.UNROUTED, [])
    assert "wrong modality" in record.reason
