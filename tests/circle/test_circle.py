"""The circle on real parts: every accepted series ends in one result, or in a reason that a person understands."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from dicom_nodes.scu import store
from service.jobs import JobState, SeriesState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.verify import geometry_differences
from tests import real_data
from tests.circle.site import Archive, RunningSite, running_site, wait_until

pytestmark = pytest.mark.slow

STORESCU = shutil.which("storescu")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pacs: Archive) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("site")
    quick = "\n[routing]\nstudy_quiet_seconds = 2.0\n"
    with running_site(folder, [pacs.node], quick, quiet_seconds="1.0", lease_seconds="4.0") as running:
        yield running


def phantom_series(folder: Path, protocol: str, seed: int) -> PhantomSeries:
    return write_dicom(make_phantom(protocol, seed, voxel_scale=2.0), folder)


def test_the_same_series_twice_gives_its_result_once(site: RunningSite, pacs: Archive, tmp_path: Path) -> None:
    series = phantom_series(tmp_path, "lumbar", 31)
    for _ in range(2):
        store(site.node, "MR1", series.paths)
        _, (job,) = site.settled(series.series_uid)
        assert job.state is JobState.DELIVERED
    assert len(pacs.results_of(series.study_uid)) == 1


@pytest.mark.skipif(STORESCU is None, reason="dcmtk's storescu is not installed")
def test_the_same_series_in_another_encoding_from_another_sender_gives_its_result_once(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = phantom_series(tmp_path, "lumbar", 34)
    store(site.node, "MR1", series.paths)
    site.settled(series.series_uid)
    send_folder(site, tmp_path, "-xi")

    def routed_again() -> bool | None:
        steps = site.ledger.history("series", series.series_uid)
        return True if [step.to_state for step in steps].count(SeriesState.ROUTED) == 2 else None

    wait_until(routed_again, 60)
    record, (job,) = site.settled(series.series_uid)
    assert (record.revision, job.state) == (1, JobState.DELIVERED)
    received = dcmread(next((site.site.incoming / series.series_uid).iterdir()), stop_before_pixels=True)
    assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert len(pacs.results_of(series.study_uid)) == 1


def test_a_late_slice_gives_a_new_result_that_supersedes_the_first(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = phantom_series(tmp_path, "lumbar", 32)
    store(site.node, "MR1", series.paths[:-1])
    site.settled(series.series_uid)
    store(site.node, "MR1", series.paths[-1:])

    def both() -> list[JobState] | None:
        jobs = site.ledger.list_jobs(series_uid=series.series_uid)
        states = [job.state for job in sorted(jobs, key=lambda job: job.revision)]
        return states if states[-1] is JobState.DELIVERED and len(states) == 2 else None

    assert wait_until(both, 120) == [JobState.SUPERSEDED, JobState.DELIVERED]
    first, second = (dcmread(path, stop_before_pixels=True) for path in pacs.results_of(series.study_uid))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert len(second.ReferencedSeriesSequence[0].ReferencedInstanceSequence) >= len(
        first.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    )


def test_a_worker_killed_in_mid_inference_costs_nothing_but_time(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = write_dicom(make_phantom("abdomen", 33), tmp_path)
    store(site.node, "MR1", series.paths)

    def in_the_network() -> bool | None:
        jobs = site.ledger.list_jobs(JobState.INFERRING, series_uid=series.series_uid)
        return True if any(job.stage in ("preprocess", "network", "resample") for job in jobs) else None

    wait_until(in_the_network, 120)
    os.kill(site.worker_pid("inference-1"), signal.SIGKILL)
    _, (job,) = site.settled(series.series_uid)
    assert (job.state, job.attempts) == (JobState.DELIVERED, 2)
    assert len(pacs.results_of(series.study_uid)) == 1
    causes = [step.cause for step in site.ledger.history("job", job.id)]
    assert any("fell silent" in cause for cause in causes)


def _without(series: PhantomSeries, keyword: str) -> None:
    for path in series.paths:
        dataset = dcmread(path)
        delattr(dataset, keyword)
        dataset.save_as(path)


def _no_pixel_data(series: PhantomSeries) -> None:
    _without(series, "PixelData")


def _missing_geometry(series: PhantomSeries) -> None:
    _without(series, "ImagePositionPatient")


def _two_slices(series: PhantomSeries) -> None:
    for path in series.paths[2:]:
        path.unlink()


def _mixed_orientations(series: PhantomSeries) -> None:
    for place, path in enumerate(series.paths):
        dataset = dcmread(path)
        dataset.ImageOrientationPatient = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]][place % 3]
        dataset.ImagePositionPatient = [5.0 * place] * 3
        dataset.save_as(path)


def _duplicate_positions(series: PhantomSeries) -> None:
    for path in series.paths:
        dataset = dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(path.with_name(f"again-{path.name}"))


def _wrong_modality(series: PhantomSeries) -> None:
    for path in series.paths:
        dataset = dcmread(path)
        dataset.Modality = "CT"
        dataset.save_as(path)


def _truncated(series: PhantomSeries) -> None:
    dataset = dcmread(series.paths[3])
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    dataset.save_as(series.paths[3])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_pixel_data, "no pixel data"),
        (_missing_geometry, "missing geometry"),
        (_two_slices, "too few slices"),
        (_mixed_orientations, "mixed orientations"),
        (_duplicate_positions, "duplicate positions"),
        (_wrong_modality, "wrong modality"),
        (_truncated, "truncated pixel data"),
    ],
)
def test_a_bad_series_ends_with_the_rule_it_broke_and_disturbs_nothing(
    site: RunningSite, pacs: Archive, tmp_path: Path, spoil: object, says: str
) -> None:
    seed = 40 + [_no_pixel_data, _missing_geometry, _two_slices, _mixed_orientations, _duplicate_positions,
                 _wrong_modality, _truncated].index(spoil)  # type: ignore[arg-type]  # fmt: skip
    series = phantom_series(tmp_path, "cervical", seed)
    spoil(series)  # type: ignore[operator]
    store(site.node, "MR1", sorted(tmp_path.glob("*.dcm")))
    record, jobs = site.settled(series.series_uid)
    reason = " ".join([record.reason, *(job.reason for job in jobs)])
    assert says in reason
    assert series.series_uid in reason
    assert not any(job.state is JobState.DELIVERED for job in jobs)
    assert pacs.results_of(series.study_uid) == []


PROPOSALS = ("-x=", "-xs", "-xy", "-xx", "-xv", "-xw", "-xt", "-xu", "-xr", "-xd")
"""storescu proposes one compressed transfer syntax at a time: none, JPEG, JPEG 2000, JPEG-LS, RLE, deflated."""


def send_folder(site: RunningSite, folder: Path, proposal: str) -> subprocess.CompletedProcess[bytes]:
    """Send what dcmtk can read in a folder, going on after each object that it cannot send."""
    assert STORESCU is not None
    to = ["-aec", "SAGITTAL", "-aet", "STORESCU", "127.0.0.1", str(site.node.port), str(folder)]
    command = [STORESCU, "+sd", "+r", "-R", "-nh", proposal, *to]
    return subprocess.run(command, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True, timeout=120)


@real_data.needed
@pytest.mark.skipif(STORESCU is None, reason="dcmtk's storescu is not installed")
def test_every_real_series_that_is_accepted_ends_in_an_outcome_with_a_reason(site: RunningSite) -> None:
    for name in real_data.folders():
        compressed = name.startswith(("tricky", "malformed", "knee", "shoulder", "abdomen", "vendors"))
        for proposal in PROPOSALS if compressed else PROPOSALS[:1]:
            sent = send_folder(site, real_data.folder(name), proposal)
            assert site.process.poll() is None, f"{name} brought the service down: {sent.stderr!r}"
    accepted = list((site.site.incoming).glob("*/*.dcm"))
    assert len(accepted) > 300
    for series_uid in {path.parent.name for path in accepted}:
        record, jobs = site.settled(series_uid)
        assert record.state in (SeriesState.ROUTED, SeriesState.UNROUTED, SeriesState.HELD, SeriesState.FAILED)
        assert record.reason
        assert "Traceback" not in record.reason and "routing failed" not in record.reason
        assert all(job.reason for job in jobs if job.state is JobState.FAILED)


@real_data.needed
def test_a_real_prostate_comes_back_as_a_seg_that_lies_exactly_on_its_source(
    site: RunningSite, pacs: Archive
) -> None:
    paths = real_data.files("prostate/px0001_t2_tra")
    header = dcmread(paths[0], stop_before_pixels=True)
    store(site.node, "MR1", paths)
    # storescu encodes sequences in its own way, but what it sent before is the same content: one job, one result.
    record, (job,) = site.settled(str(header.SeriesInstanceUID))
    assert (job.protocol, job.state) == ("prostate", JobState.DELIVERED), (record, job)
    (made,) = site.ledger.objects(job.id)
    (seg,) = (each.path for each in pacs.arrived if each.sop_instance_uid == made.sop_instance_uid)
    assert geometry_differences(seg, paths) == ()
    assert "PHANTOM" in dcmread(seg, stop_before_pixels=True).SeriesDescription
