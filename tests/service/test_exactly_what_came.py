"""What becomes of what came: broken off, twice, changed, late, from two sides; the table in docs/architecture.md.

A receiver with its SCP, its ledger and a real Redis; the workers are the test itself.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset, dcmread
from pynetdicom import build_context

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.filing import note_release, was_released
from dicom_nodes.scu import store
from dicom_nodes.types import Algorithm, LabelMap, Node, ResultIdentity
from service.config import Assembly, Site
from service.jobfolder import JobFolder
from service.jobs import DeliveryState, Job, JobState, ResultObject, SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger
from service.ledger_withdrawals import NOTE
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.queue import Hints, inference_queue
from service.receiver import Receiver
from service.submodel import load_submodels
from tests.conftest import free_port
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, associated, wait_until
from tests.ledgers import with_ledger

MR_EXPLICIT = build_context(MR, EXPLICIT_LITTLE)


@pytest.fixture(scope="module")
def lumbar(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_dicom(make_phantom("lumbar", 7, voxel_scale=6.0), tmp_path_factory.mktemp("lumbar"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    values = {
        "receive": {"aet": "SAGITTAL", "host": "127.0.0.1", "port": free_port()},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
        "assembly": Assembly(quiet_seconds=0.6, abandoned_seconds=2.0),
    }
    return with_ledger(Site.model_validate(values).model_copy(update={"home": tmp_path}))


@pytest.fixture
def ledger(site: Site) -> Iterator[Ledger]:
    ledger = open_ledger(site.ledger_url, actor="test")
    yield ledger
    ledger.close()


@contextmanager
def receiving(site: Site, ledger: Ledger, redis_url: str) -> Iterator[Node]:
    """The site's receiver, until the block ends."""
    hints = Hints(redis_url)
    receiver = Receiver(site, ledger, load_submodels(), hints)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    try:
        wait_until(lambda: receiver._scp._server is not None, 20)
        yield Node("SAGITTAL", "127.0.0.1", receiver.port)
    finally:
        receiver.stop.set()
        thread.join(20)
        hints.close()


@pytest.fixture
def node(site: Site, ledger: Ledger, empty_redis: str) -> Iterator[Node]:
    with receiving(site, ledger, empty_redis) as node:
        yield node


def settled(ledger: Ledger, series: PhantomSeries, revision: int) -> tuple[SeriesRecord, list[Job]]:
    """The series once it is routed in this revision and stays so, and its jobs, the newest revision first."""

    def there() -> bool:
        now = ledger.series(series.series_uid)
        return now is not None and now.state is SeriesState.ROUTED and now.revision == revision

    wait_until(there, 20)
    record = ledger.series(series.series_uid)
    assert record is not None
    return record, sorted(ledger.list_jobs(series_uid=series.series_uid), key=lambda job: -job.revision)


def routed_again(ledger: Ledger, series: PhantomSeries) -> None:
    """Wait until the series was routed for a second time."""

    def times() -> int:
        return [step.to_state for step in ledger.history("series", series.series_uid)].count("routed")

    wait_until(lambda: times() == 2, 20)


def frames(site: Site, job: Job) -> set[str]:
    """The instances that a job is made of, by UID."""
    return {frame.sop_instance_uid for frame in JobFolder(site.jobs, job.id).load_volume().frames}


def uids(paths: Iterable[Path]) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}


def changed(path: Path, folder: Path, change: Callable[[FileDataset], None]) -> Path:
    """The same instance by its UID, with other bytes."""
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(folder / path.name)
    return folder / path.name


def brighter(dataset: FileDataset) -> None:
    dataset.PixelData = bytes(reversed(dataset.PixelData))


def test_broken_off_and_sent_again_is_one_job_of_all(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    with associated(node, MR_EXPLICIT) as association:
        for path in lumbar.paths[:5]:
            assert association.send_c_store(dcmread(path)).Status == 0x0000
        association.abort()
    wait_until(lambda: _association(ledger, lumbar) == "aborted")
    assert ledger.list_jobs() == []
    store(node, "MR1", lumbar.paths)
    _, (job,) = settled(ledger, lumbar, 1)
    assert frames(site, job) == uids(lumbar.paths)


def _association(ledger: Ledger, series: PhantomSeries) -> str:
    record = ledger.series(series.series_uid)
    return "" if record is None else record.association


def test_broken_off_and_never_sent_again_ends_in_a_reason_and_no_job(
    ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    with associated(node, MR_EXPLICIT) as association:
        for path in lumbar.paths[:5]:
            association.send_c_store(dcmread(path))
        association.abort()
    wait_until(
        lambda: (now := ledger.series(lumbar.series_uid)) is not None and now.state is SeriesState.FAILED, 20
    )
    record = ledger.series(lumbar.series_uid)
    assert record is not None
    assert record.reason.startswith("association aborted after 5 instances; the sender did not return")
    assert ledger.list_jobs() == []


def test_the_same_instances_twice_in_one_association_count_once(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", [*lumbar.paths, *lumbar.paths[:3]])
    record, (job,) = settled(ledger, lumbar, 1)
    assert (record.instance_count, len(frames(site, job))) == (len(lumbar.paths), len(lumbar.paths))


def test_of_one_instance_with_two_contents_the_last_counts(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries, tmp_path: Path
) -> None:
    last = changed(lumbar.paths[4], tmp_path, brighter)
    store(node, "MR1", [*lumbar.paths, last])
    record, (job,) = settled(ledger, lumbar, 1)
    assert record.instance_count == len(lumbar.paths)
    (frame,) = (f for f in JobFolder(site.jobs, job.id).load_volume().frames if f.sop_instance_uid in uids([last]))
    assert dcmread(frame.path).PixelData == dcmread(last).PixelData


def test_another_content_after_the_result_is_a_new_revision_and_the_old_job_is_superseded(
    ledger: Ledger, node: Node, lumbar: PhantomSeries, tmp_path: Path
) -> None:
    store(node, "MR1", lumbar.paths)
    settled(ledger, lumbar, 1)
    store(node, "MR1", [changed(lumbar.paths[4], tmp_path, brighter)])
    _, (new, old) = settled(ledger, lumbar, 2)
    assert (new.state, old.state) == (JobState.QUEUED, JobState.SUPERSEDED)
    assert new.id != old.id


def test_the_whole_study_again_a_day_later_makes_no_second_result(
    ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", lumbar.paths)
    _, (job,) = settled(ledger, lumbar, 1)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 60)
    store(node, "PACS", lumbar.paths)
    routed_again(ledger, lumbar)
    record, jobs = settled(ledger, lumbar, 1)
    assert [(each.id, each.state) for each in jobs] == [(job.id, JobState.INFERRING)]
    assert record.reason == "the same instances as before came again: the result stands"


def test_an_instance_that_comes_during_inference_ends_it_for_a_job_of_all(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", lumbar.paths[:-1])
    _, (job,) = settled(ledger, lumbar, 1)
    assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 60)
    store(node, "MR1", lumbar.paths[-1:])
    _, (new, old) = settled(ledger, lumbar, 2)
    assert (new.state, old.state) == (JobState.QUEUED, JobState.SUPERSEDED)
    assert frames(site, new) == uids(lumbar.paths)
    # The worker is told at its next sign of life, and cannot hand in what it found.
    assert not ledger.renew(job.id, "w", "network", 50, 60)
    assert ledger.move_job(job.id, JobState.INFERRED, "done", owner="w") is None


def test_two_associations_that_feed_one_series_are_one_series_however_they_interleave(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    with associated(node, MR_EXPLICIT) as one, associated(node, MR_EXPLICIT, calling_aet="PACS") as other:
        for number, path in enumerate(lumbar.paths):
            assert (one, other)[number % 2].send_c_store(dcmread(path)).Status == 0x0000
        one.release()
        other.release()
    record, (job,) = settled(ledger, lumbar, 1)
    assert record.instance_count == len(lumbar.paths)
    assert frames(site, job) == uids(lumbar.paths)


def test_a_series_whose_first_association_is_released_waits_for_the_second(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    half = len(lumbar.paths) // 2
    with associated(node, MR_EXPLICIT) as other:
        assert other.send_c_store(dcmread(lumbar.paths[-1])).Status == 0x0000
        store(node, "MR1", lumbar.paths[:half])
        for path in lumbar.paths[half:]:
            assert other.send_c_store(dcmread(path)).Status == 0x0000
        other.release()
    _, (job,) = settled(ledger, lumbar, 1)
    assert frames(site, job) == uids(lumbar.paths)


def test_of_two_sub_models_on_one_series_one_fails_and_the_other_goes_on(
    site: Site, ledger: Ledger, lumbar: PhantomSeries, empty_redis: str
) -> None:
    models = site.models.model_copy(update={"run": ("mrannotator-*", "totalsegmentator-total-mr")})
    with receiving(site.model_copy(update={"models": models}), ledger, empty_redis) as node:
        store(node, "MR1", lumbar.paths)
        _, jobs = settled(ledger, lumbar, 1)
    assert len({job.submodel for job in jobs}) == 2, [job.submodel for job in jobs]
    bad, good = jobs
    for job in jobs:
        ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 60)
    ledger.move_job(bad.id, JobState.FAILED, "no such structure", owner="w", reason="no such structure")
    assert ledger.move_job(good.id, JobState.INFERRED, "done", owner="w")
    states = {job.submodel: job.state for job in ledger.list_jobs(series_uid=lumbar.series_uid)}
    assert states == {bad.submodel: JobState.FAILED, good.submodel: JobState.INFERRED}
    record = ledger.series(lumbar.series_uid)
    assert record is not None and record.state is SeriesState.ROUTED


# ── a receiver that dies ────────────────────────────────────────────────────────────────────────────────────


def laid(site: Site, series: PhantomSeries, paths: Sequence[Path]) -> None:
    """Put instances where the SCP puts them, as one that was killed after its Success left them."""
    for path in paths:
        target = site.incoming / series.series_uid / f"{dcmread(path).SOPInstanceUID}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(path.read_bytes())
        part.replace(target)


@pytest.mark.parametrize("what", ["one instance more", "another content of an instance"])
def test_what_was_acknowledged_before_the_ledger_knew_of_it_is_found_at_the_next_start(
    what: str, site: Site, ledger: Ledger, lumbar: PhantomSeries, empty_redis: str, tmp_path: Path
) -> None:
    late = lumbar.paths[-1] if what == "one instance more" else changed(lumbar.paths[-1], tmp_path, brighter)
    first = lumbar.paths[:-1] if what == "one instance more" else lumbar.paths
    with receiving(site, ledger, empty_redis) as node:
        store(node, "MR1", first)
        settled(ledger, lumbar, 1)
    laid(site, lumbar, [late])
    with receiving(site, ledger, empty_redis) as node:
        # Nobody has said that this was all: a sender that was broken off comes back.
        store(node, "MR1", [late])
        _, (new, old) = settled(ledger, lumbar, 2)
    assert (new.state, old.state) == (JobState.QUEUED, JobState.SUPERSEDED)


@pytest.mark.parametrize("released", [True, False])
def test_a_receiver_that_died_before_the_ledger_knew_of_the_release_finds_it_beside_the_files(
    released: bool, site: Site, ledger: Ledger, lumbar: PhantomSeries, empty_redis: str
) -> None:
    laid(site, lumbar, lumbar.paths)
    if released:
        note_release(site.incoming / lumbar.series_uid)
    with receiving(site, ledger, empty_redis):
        wait_until(lambda: state_of(ledger, lumbar) in (SeriesState.ROUTED, SeriesState.FAILED), 20)
    assert state_of(ledger, lumbar) is (SeriesState.ROUTED if released else SeriesState.FAILED)


def test_one_instance_more_makes_a_noted_release_worth_nothing(
    site: Site, ledger: Ledger, lumbar: PhantomSeries, empty_redis: str
) -> None:
    laid(site, lumbar, lumbar.paths[:-1])
    note_release(site.incoming / lumbar.series_uid)
    laid(site, lumbar, lumbar.paths[-1:])
    with receiving(site, ledger, empty_redis):
        wait_until(lambda: state_of(ledger, lumbar) is SeriesState.FAILED, 20)


def test_the_release_of_an_association_is_noted_beside_the_files_that_it_brought(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", lumbar.paths)
    wait_until(lambda: was_released(site.incoming / lumbar.series_uid), 10)
    settled(ledger, lumbar, 1)


# ── half of a series ────────────────────────────────────────────────────────────────────────────────────────


def state_of(ledger: Ledger, series: PhantomSeries) -> SeriesState | None:
    record = ledger.series(series.series_uid)
    return None if record is None else record.state


def send_and_abort(node: Node, paths: Sequence[Path]) -> None:
    with associated(node, MR_EXPLICIT) as association:
        for path in paths:
            assert association.send_c_store(dcmread(path)).Status == 0x0000
        association.abort()


def test_what_was_made_of_a_part_is_taken_back_where_the_rest_is_broken_off_for_ever(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", lumbar.paths[:-2])
    _, (job,) = settled(ledger, lumbar, 1)
    send_and_abort(node, lumbar.paths[-2:-1])
    wait_until(lambda: state_of(ledger, lumbar) is SeriesState.RECEIVING, 10)
    claimed = ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    assert claimed is None, "more of it comes"
    wait_until(lambda: state_of(ledger, lumbar) is SeriesState.FAILED, 20)
    record, now = ledger.series(lumbar.series_uid), ledger.job(job.id)
    assert record is not None and now is not None
    assert "the sender did not return" in record.reason
    assert f"sagittal jobs retry {lumbar.series_uid}" in record.reason
    assert now.state is JobState.SUPERSEDED and "made of a part of the series" in now.reason


def test_a_result_of_a_part_that_was_stored_is_followed_by_a_rejection_note(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries, tmp_path: Path
) -> None:
    store(node, "MR1", lumbar.paths[:-2])
    _, (job,) = settled(ledger, lumbar, 1)
    stored(site, ledger, job)
    send_and_abort(node, lumbar.paths[-2:-1])
    wait_until(lambda: state_of(ledger, lumbar) is SeriesState.FAILED, 20)

    def noted() -> bool:
        return any(made.kind == NOTE for made in ledger.objects(job.id))

    wait_until(noted, 20)
    now = ledger.job(job.id)
    assert now is not None and now.state is JobState.SUPERSEDED


def stored(site: Site, ledger: Ledger, job: Job) -> None:
    """Make a SEG of one voxel, and have it stored."""
    folder = JobFolder(site.jobs, job.id)
    volume = folder.load_volume()
    labels = np.zeros(volume.shape, np.uint8)
    labels[2, 2, 2] = 1
    segments = next(each for each in load_submodels() if each.name == job.submodel).segments(job.protocol, None)
    first = replace(segments[0], value=1)
    found = LabelMap(labels, volume.affine, (first,), Algorithm("truth", "1", "test", phantom=True))
    identity = ResultIdentity(job.submodel, job.protocol, 1, None, datetime(2026, 3, 9, tzinfo=UTC), "0", "test")
    seg = encode_seg(found, volume, identity)
    path = folder.save_object("seg", seg)
    uid, series_uid = str(seg.SOPInstanceUID), str(seg.SeriesInstanceUID)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.inferred(job.id, "test", (), "", owner="w1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w1", 30)
    made = ResultObject(uid, job.id, "seg", str(seg.SOPClassUID), series_uid, str(path), 1.0)
    assert ledger.encoded(job.id, "w1", [made], {"pacs": [uid]})
    (delivery,) = ledger.deliveries(job.id)
    claimed = ledger.claim_delivery(delivery.id, 60)
    assert claimed is not None
    ledger.settle_delivery(claimed, DeliveryState.DELIVERED, "status 0x0000", 0)


def test_a_resend_of_the_same_that_is_broken_off_leaves_the_result_as_it_is(
    site: Site, ledger: Ledger, node: Node, lumbar: PhantomSeries
) -> None:
    store(node, "MR1", lumbar.paths)
    _, (job,) = settled(ledger, lumbar, 1)
    send_and_abort(node, lumbar.paths[:2])
    wait_until(lambda: state_of(ledger, lumbar) is SeriesState.RECEIVING, 10)
    routed_again(ledger, lumbar)
    record, (again,) = settled(ledger, lumbar, 1)
    assert (again.id, again.state) == (job.id, JobState.QUEUED)
    assert "the result stands" in record.reason


# ── at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_queue_hears_of_a_job_from_the_thread_that_routed_it(
    site: Site, ledger: Ledger, lumbar: PhantomSeries, empty_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.receiver.SWEEP_SECONDS", 3600.0)  # no sweep in our time
    with receiving(site, ledger, empty_redis) as node:
        store(node, "MR1", lumbar.paths)
        _, (job,) = settled(ledger, lumbar, 1)
        hints = Hints(empty_redis)
        wait_until(lambda: hints.waiting(inference_queue(job.submodel)) == 1)
        hints.close()


def test_a_node_that_floods_us_with_series_does_not_hold_up_the_series_of_another(ledger: Ledger) -> None:
    for number in range(5):
        ledger.heard(f"1.2.{number}", "1.2", "FLOOD", 1)
    ledger.heard("1.9", "1.9", "MR1", 1)
    for uid in (*(f"1.2.{number}" for number in range(5)), "1.9"):
        ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s")
    order = [series.calling_aet for series in ledger.series_to_route()]
    assert order == ["FLOOD", "MR1", "FLOOD", "FLOOD", "FLOOD", "FLOOD"]
