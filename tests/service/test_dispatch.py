"""Dispatch: a complete series gets its jobs or its reason; the same content once, new content a new revision."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import FileDataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Laterality
from service.config import Site
from service.dispatch import assign_series, wake_waiting
from service.jobfolder import JobFolder
from service.jobs import JobState, SeriesState
from service.ledger import Ledger, open_ledger
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.routing.rules import Rule
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests.clock import Clock
from tests.ledgers import with_ledger
from tests.service.routed_site import dispatched, receive, without_body_part


@pytest.fixture
def site(tmp_path: Path) -> Site:
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    return with_ledger(Site.model_validate(values).model_copy(update={"home": tmp_path}))


@pytest.fixture
def ledger(site: Site) -> Iterator[Ledger]:
    ledger = open_ledger(site.ledger_url, actor="test")
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    phantom = make_phantom("knee", 5, voxel_scale=5.0, laterality=Laterality.LEFT)
    return write_dicom(phantom, tmp_path_factory.mktemp("knee"))


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


# ── the study ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def timed(site: Site, clock: Clock) -> Iterator[Ledger]:
    ledger = open_ledger(site.ledger_url, actor="test", now=clock)
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomSeries, PhantomSeries]:
    """Two series of one lumbar study."""
    folder = tmp_path_factory.mktemp("spine")
    phantom = make_phantom("lumbar", 5, voxel_scale=5.0)
    first = write_dicom(phantom, folder / "1")
    return first, write_dicom(phantom, folder / "2", vendor="ge", study_uid=first.study_uid)


def test_a_series_without_a_body_part_waits_for_its_study_and_takes_what_that_names(
    site: Site, timed: Ledger, clock: Clock, spine: tuple[PhantomSeries, PhantomSeries]
) -> None:
    nameless, named = spine
    receive(site, timed, nameless, change=without_body_part)
    record, jobs = dispatched(site, timed, nameless)
    assert (record.state, jobs) == (SeriesState.WAITING, [])
    receive(site, timed, named)
    assert dispatched(site, timed, named)[0].state is SeriesState.ROUTED
    wake_waiting(site, timed)
    assert timed.list_series(SeriesState.WAITING) != []
    clock.time += site.routing.study_quiet_seconds
    wake_waiting(site, timed)
    record, (job,) = dispatched(site, timed, nameless)
    assert (record.state, record.revision, job.protocol) == (SeriesState.ROUTED, 1, "lumbar")
    assert "other series of the study" in record.explanation


def test_a_series_without_a_body_part_and_without_a_study_ends_unrouted(
    site: Site, timed: Ledger, clock: Clock, spine: tuple[PhantomSeries, PhantomSeries]
) -> None:
    receive(site, timed, spine[0], change=without_body_part)
    assert dispatched(site, timed, spine[0])[0].state is SeriesState.WAITING
    clock.time += site.routing.study_quiet_seconds
    wake_waiting(site, timed)
    record, jobs = dispatched(site, timed, spine[0])
    assert (record.state, jobs) == (SeriesState.UNROUTED, [])
    assert "no body part is named" in record.reason


def test_of_a_study_the_one_best_series_runs_whichever_came_first(
    site: Site, timed: Ledger, clock: Clock, spine: tuple[PhantomSeries, PhantomSeries]
) -> None:
    best = Rule(name="one", run="mrannotator-spine: lumbar", one_per="study", best="most slices")
    routing = Routing(load_submodels(), rules=(best,))
    fewer, more = spine
    inner = sorted(fewer.paths, key=lambda path: float(dcmread(path).ImagePositionPatient[0]))[1:-1]
    for series, paths in ((fewer, tuple(inner)), (more, more.paths)):
        receive(site, timed, series, paths)
        assert dispatched(site, timed, series, routing)[0].state is SeriesState.WAITING
    clock.time += site.routing.study_quiet_seconds
    wake_waiting(site, timed)
    passed_over, none = dispatched(site, timed, fewer, routing)
    chosen, (job,) = dispatched(site, timed, more, routing)
    assert (passed_over.state, none) == (SeriesState.UNROUTED, [])
    assert f"of series {more.series_uid} is better: most slices" in passed_over.reason
    assert (chosen.state, job.protocol) == (SeriesState.ROUTED, "lumbar")


def test_a_contradiction_is_held_until_a_person_assigns_it(site: Site, ledger: Ledger, knee: PhantomSeries) -> None:
    def contradicting(dataset: FileDataset) -> None:
        dataset.BodyPartExamined = "ANKLE"

    receive(site, ledger, knee, change=contradicting)
    record, jobs = dispatched(site, ledger, knee)
    assert (record.state, jobs) == (SeriesState.HELD, [])
    assert 'BodyPartExamined "ANKLE" names ankle' in record.reason
    known = load_submodels()
    with pytest.raises(ConfigurationError, match="serves several protocols"):
        assign_series(site, ledger, known, knee.series_uid, "mrannotator-shoulder-knee")
    with pytest.raises(ConfigurationError, match="no such volume; there are 1"):
        assign_series(site, ledger, known, knee.series_uid, "mrannotator-shoulder-knee: knee", frozenset({2}))
    (job,) = assign_series(site, ledger, known, knee.series_uid, "mrannotator-shoulder-knee: knee", side="L")
    assert (job.protocol, job.laterality, job.state) == ("knee", "L", JobState.QUEUED)
    assert len(JobFolder(site.jobs, job.id).load_volume().frames) == len(knee.paths)
    now = ledger.series(knee.series_uid)
    assert now is not None and (now.state, now.reason) == (
        SeriesState.ROUTED, "knee (mrannotator-shoulder-knee), assigned by a person",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="is routed; one that is held or unrouted"):
        assign_series(site, ledger, known, knee.series_uid, "mrannotator-shoulder-knee: knee")
