"""Encode and deliver: one object per job, sent until it is stored or refused, and both may be asked for twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pynetdicom import evt

from dicom_nodes.headers import read_headers
from dicom_nodes.types import Algorithm, Edge, LabelMap, Node
from dicom_nodes.volumes import find_volumes
from service.config import Site
from service.findings import Finding, FindingName
from service.jobfolder import JobFolder
from service.jobs import Delivery, DeliveryState, Job, JobState, SeriesState, job_id
from service.ledger import Ledger, open_ledger
from service.modelstore import ModelStore
from service.phantom.body import Phantom
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.queue import Hints
from service.submodel import load_submodels
from service.verify import dice_by_structure
from tests.clock import Clock
from tests.conftest import free_port
from tests.dicom_nodes.peers import answering
from tests.ledgers import with_ledger
from workers import pipeline
from workers.delivery import deliver
from workers.models import WarmModels
from workers.workshop import Workshop

SUBMODEL, PROTOCOL = "mrannotator-abdomen", "abdomen"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PROTOCOL, 6, voxel_scale=5.0)


@pytest.fixture(scope="module")
def series(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_dicom(phantom, tmp_path_factory.mktemp("series"))


def workshop(
    folder: Path, redis_url: str, clock: Clock, *nodes: Node, outputs: Sequence[Sequence[str]] = ()
) -> Workshop:
    destinations = [
        {"name": f"pacs-{n}", "aet": node.aet, "host": node.host, "port": node.port, "timeout_seconds": 5.0,
         "retry_hours": 1.0}
        for n, node in enumerate(nodes, 1)
    ]  # fmt: skip
    for destination, kinds in zip(destinations, outputs, strict=False):
        destination["outputs"] = kinds
    site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": destinations})
    site = with_ledger(site.model_copy(update={"home": folder}))
    ledger = open_ledger(site.ledger_url, actor="test", now=clock)
    submodels = {submodel.name: submodel for submodel in load_submodels()}
    return Workshop(site, ledger, Hints(redis_url), submodels, WarmModels(ModelStore(folder / "models"), submodels))


@pytest.fixture
def shops(tmp_path: Path, empty_redis: str, clock: Clock) -> Iterator["Shops"]:
    made = Shops(tmp_path, empty_redis, clock)
    yield made
    for shop in made.open:
        shop.hints.close()
        shop.ledger.close()


class Shops:
    def __init__(self, folder: Path, redis_url: str, clock: Clock) -> None:
        self.folder, self.redis_url, self.clock = folder, redis_url, clock
        self.open: list[Workshop] = []

    def __call__(self, *nodes: Node, outputs: Sequence[Sequence[str]] = ()) -> Workshop:
        self.open.append(workshop(self.folder, self.redis_url, self.clock, *nodes, outputs=outputs))
        return self.open[-1]


def inferred(
    shop: Workshop, phantom: Phantom, series: PhantomSeries, *findings: Finding, empty: bool = False
) -> Job:
    """A job whose sub-model has just found exactly the truth (or nothing), and the checks `findings` in it."""
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    name = job_id(volume.series_uid, 1, 1, SUBMODEL, PROTOCOL)
    folder = JobFolder(shop.site.jobs, name)
    folder.save_volume(volume)
    segments = shop.submodels[SUBMODEL].segments(PROTOCOL, None)
    algorithm = Algorithm(SUBMODEL, "abc", "MRAnnotator", phantom=True)
    # The vendor may number its slices from the other end: the label map lies on the volume as it was found.
    flipped = volume.affine[:3, 2] @ phantom.affine[:3, 2] < 0
    labels = (phantom.truth[::-1] if flipped else phantom.truth).copy() * (not empty)
    folder.save_label_map(LabelMap(labels, volume.affine, segments, algorithm))
    job = Job(
        name, volume.series_uid, volume.study_uid, 1, 1, "", SUBMODEL, PROTOCOL, 0, "", JobState.QUEUED,
        "", 0, 0, "", 0.0, 0.0, "", "", 1000.0, 1000.0,
    )  # fmt: skip
    ledger = shop.ledger
    ledger.heard(volume.series_uid, volume.study_uid, "MR1", len(series.paths))
    ledger.move_series(volume.series_uid, SeriesState.COMPLETE, "test")
    ledger.route_series(volume.series_uid, "test", "", [job], revision=1)
    ledger.claim_job(name, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.inferred(name, "test", findings, "", owner="w1")
    return job


def state(ledger: Ledger, job: Job) -> tuple[JobState, str]:
    now = ledger.job(job.id)
    assert now is not None
    return now.state, now.reason


def deliver_all(shop: Workshop) -> list[Delivery]:
    done = []
    while due := [each for each in shop.ledger.deliveries_due() if each.id not in {one.id for one in done}]:
        for delivery in due:
            deliver(shop, delivery.id)
        done += due
    return done


def test_a_result_reaches_every_destination_once_and_equals_the_label_map(
    shops: Shops, phantom: Phantom, series: PhantomSeries
) -> None:
    stored: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        stored.append(event.dataset)
        return 0x0000

    with answering([(evt.EVT_C_STORE, keep)]) as one, answering([(evt.EVT_C_STORE, keep)]) as two:
        shop = shops(one, two)
        job = inferred(shop, phantom, series)
        for _ in range(2):
            pipeline.encode(shop, job.id)
        deliver_all(shop)
        assert deliver_all(shop) == []
    assert state(shop.ledger, job) == (JobState.DELIVERED, "")
    assert len(stored) == 2
    assert len({dataset.SOPInstanceUID for dataset in stored}) == 1
    (made,) = shop.ledger.objects(job.id)
    names = {value: name for name, value in phantom.labels.items()}
    dice = dice_by_structure(Path(made.path), phantom.truth, phantom.affine, names)
    assert set(dice.values()) == {1.0}


def test_a_destination_that_is_down_is_tried_again_later_and_then_has_it(
    shops: Shops, phantom: Phantom, series: PhantomSeries, clock: Clock
) -> None:
    down = Node("ARCHIVE", "127.0.0.1", free_port())
    shop = shops(down)
    job = inferred(shop, phantom, series)
    pipeline.encode(shop, job.id)
    deliver_all(shop)
    (delivery,) = shop.ledger.deliveries(job.id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.WAITING, 1)
    assert delivery.next_attempt_at > clock.time
    assert str(down.port) in delivery.comment
    clock.time = delivery.next_attempt_at
    with answering([(evt.EVT_C_STORE, lambda _: 0x0000)]) as up:
        moved = shops(up)
        deliver_all(moved)
    assert state(shop.ledger, job)[0] is JobState.DELIVERED


def test_a_destination_that_stays_down_fails_after_the_time_the_site_allows(
    shops: Shops, phantom: Phantom, series: PhantomSeries, clock: Clock
) -> None:
    shop = shops(Node("ARCHIVE", "127.0.0.1", free_port()))
    job = inferred(shop, phantom, series)
    pipeline.encode(shop, job.id)
    while (delivery := shop.ledger.deliveries(job.id)[0]).state is DeliveryState.WAITING:
        clock.time = max(clock.time, delivery.next_attempt_at)
        deliver_all(shop)
    now, reason = state(shop.ledger, job)
    assert now is JobState.FAILED
    assert "given up after 1 h" in reason
    assert delivery.attempts > 5


@pytest.mark.parametrize(
    ("status", "ends", "says"),
    [(0xA900, JobState.FAILED, "0xA900: not here"), (0xA700, JobState.DELIVERING, "0xA700: not here")],
)
def test_what_a_destination_answers_decides_whether_it_is_asked_again(
    shops: Shops, phantom: Phantom, series: PhantomSeries, status: int, ends: JobState, says: str
) -> None:
    def refuse(_: evt.Event) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, "not here"
        return answer

    with answering([(evt.EVT_C_STORE, refuse)]) as node:
        shop = shops(node)
        job = inferred(shop, phantom, series)
        pipeline.encode(shop, job.id)
        deliver_all(shop)
    assert state(shop.ledger, job)[0] is ends
    (delivery,) = shop.ledger.deliveries(job.id)
    assert says in delivery.comment
    assert delivery.status == status


def test_one_destination_that_refuses_does_not_keep_the_result_from_the_other(
    shops: Shops, phantom: Phantom, series: PhantomSeries
) -> None:
    with (
        answering([(evt.EVT_C_STORE, lambda _: 0xC000)]) as bad,
        answering([(evt.EVT_C_STORE, lambda _: 0x0000)]) as good,
    ):
        shop = shops(bad, good)
        job = inferred(shop, phantom, series)
        pipeline.encode(shop, job.id)
        deliver_all(shop)
    states = {delivery.destination: delivery.state for delivery in shop.ledger.deliveries(job.id)}
    assert states == {"pacs-1": DeliveryState.FAILED, "pacs-2": DeliveryState.DELIVERED}
    assert state(shop.ledger, job)[0] is JobState.FAILED
    assert "pacs-1" in state(shop.ledger, job)[1]


def test_an_empty_result_is_not_sent_and_says_so(shops: Shops, phantom: Phantom, series: PhantomSeries) -> None:
    shop = shops(Node("ARCHIVE", "127.0.0.1", free_port()))
    job = inferred(shop, phantom, series, empty=True)
    pipeline.encode(shop, job.id)
    now, reason = state(shop.ledger, job)
    assert now is JobState.FAILED
    assert series.series_uid in reason
    assert shop.ledger.objects(job.id) == []


def test_a_phantom_model_says_so_in_what_it_sends(shops: Shops, phantom: Phantom, series: PhantomSeries) -> None:
    shop = shops(Node("ARCHIVE", "127.0.0.1", free_port()))
    job = inferred(shop, phantom, series)
    pipeline.encode(shop, job.id)
    seg = dcmread(shop.ledger.objects(job.id)[0].path, stop_before_pixels=True)
    assert "PHANTOM" in seg.SeriesDescription
    assert "NOT CLINICAL" in seg.ContentDescription


def test_each_destination_is_sent_the_kinds_of_object_that_it_wants(
    shops: Shops, phantom: Phantom, series: PhantomSeries
) -> None:
    stored: dict[str, set[str]] = {}

    def keep(event: evt.Event) -> int:
        stored.setdefault(event.assoc.acceptor.ae_title, set()).add(event.request.AffectedSOPClassUID)
        return 0x0000

    with answering([(evt.EVT_C_STORE, keep)]) as node:
        shop = shops(node, node, node, outputs=[("seg",), ("seg", "sr"), ("text",)])
        job = inferred(shop, phantom, series)
        pipeline.encode(shop, job.id)
        deliver_all(shop)
    kind = {made.sop_instance_uid: made.kind for made in shop.ledger.objects(job.id)}
    sent = {(each.destination, kind[each.sop_instance_uid]) for each in shop.ledger.deliveries(job.id)}
    assert sent == {("pacs-1", "seg"), ("pacs-2", "seg"), ("pacs-2", "sr"), ("pacs-3", "text")}
    assert {uid for uids in stored.values() for uid in uids} == {
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.88.34",
        "1.2.840.10008.5.1.4.1.1.88.11",
    }
    assert state(shop.ledger, job) == (JobState.DELIVERED, "")


def test_a_label_map_without_measurements_is_measured_before_it_is_encoded(
    shops: Shops, phantom: Phantom, series: PhantomSeries
) -> None:
    shop = shops(Node("ARCHIVE", "127.0.0.1", free_port()), outputs=[("seg", "sr", "text")])
    job = inferred(shop, phantom, series)
    folder = JobFolder(shop.site.jobs, job.id)
    assert folder.load_measurements() is None
    pipeline.encode(shop, job.id)
    kept, label_map = folder.load_measurements(), folder.load_label_map()
    assert kept is not None and len(kept) == np.count_nonzero(np.unique(label_map.array))
    for each in kept:
        mask = label_map.array == each.value
        assert each.volume_ml == pytest.approx(mask.sum() * abs(np.linalg.det(label_map.affine[:3, :3])) / 1000)
        assert each.mean is not None and each.mean > 0
        assert (Edge.FIRST_SLICE in each.edges) == bool(mask[0].any())


def test_both_reports_name_what_the_checks_found_and_that_the_model_is_a_phantom_model(
    shops: Shops, phantom: Phantom, series: PhantomSeries
) -> None:
    shop = shops(Node("ARCHIVE", "127.0.0.1", free_port()), outputs=[("seg", "sr", "text")])
    job = inferred(shop, phantom, series, Finding(FindingName.LITTLE, "expected liver, found none"))
    pipeline.encode(shop, job.id)
    _, *reports = shop.ledger.objects(job.id)
    assert [made.kind for made in reports] == ["sr", "text"]
    for made in reports:
        content = Path(made.path).read_bytes()
        assert b"checks: little of what the protocol shows: expected liver, found none" in content, made.kind
        assert "PHANTOM" in dcmread(made.path).SeriesDescription
