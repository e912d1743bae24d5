"""A destination with "auto" gets the first form that it takes; what was refused and why stays on record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_nodes.encode import SOP_CLASSES
from dicom_nodes.types import Node
from service.jobs import DeliveryState, Job, JobState
from service.phantom.body import Phantom
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.clock import Clock
from tests.dicom_nodes.pacs import Pacs, pacs
from tests.workers.test_pipeline import PROTOCOL, deliver_all, inferred, workshop
from workers import pipeline
from workers.workshop import Workshop

SEG, LABELMAP, RTSTRUCT, CAPTURE = (SOP_CLASSES[form] for form in ("seg", "labelmap", "rtstruct", "capture"))
SR, TEXT = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PROTOCOL, 6, voxel_scale=5.0)


@pytest.fixture(scope="module")
def series(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_dicom(phantom, tmp_path_factory.mktemp("series"))


@pytest.fixture
def house(tmp_path: Path, empty_redis: str, phantom: Phantom, series: PhantomSeries) -> Iterator["House"]:
    made = House(tmp_path, empty_redis, phantom, series)
    yield made
    for shop in made.open:
        shop.hints.close()
        shop.ledger.close()


class House:
    def __init__(self, folder: Path, redis_url: str, phantom: Phantom, series: PhantomSeries) -> None:
        self.folder, self.redis_url = folder, redis_url
        self.phantom, self.series, self.clock = phantom, series, Clock()
        self.open: list[Workshop] = []

    def sends(self, *nodes: Node, outputs: tuple[str, ...] = ("auto",), **more: Any) -> tuple[Workshop, Job]:
        """A site whose destinations want these, and a job of it that is encoded."""
        shop = workshop(self.folder, self.redis_url, self.clock, *nodes)
        wanted = {"outputs": outputs, "commitment": "off", **more}
        targets = tuple(each.model_copy(update=wanted) for each in shop.site.destination)
        site = shop.site.model_copy(update={"destination": targets})
        shop = Workshop(site, shop.ledger, shop.hints, shop.submodels, shop.models)
        self.open.append(shop)
        job = inferred(shop, self.phantom, self.series)
        pipeline.encode(shop, job.id)
        return shop, job


def record(shop: Workshop, job: Job) -> list[tuple[str, str]]:
    kinds = {made.sop_instance_uid: made.name for made in shop.ledger.objects(job.id)}
    return [(kinds[each.sop_instance_uid], each.state.value) for each in shop.ledger.deliveries(job.id)]


def now(shop: Workshop, job: Job) -> Job:
    found = shop.ledger.job(job.id)
    assert found is not None
    return found


def sent(archive: Pacs, shop: Workshop, job: Job) -> list[str]:
    names = {made.sop_instance_uid: made.name for made in shop.ledger.objects(job.id)}
    return [names[uid] for uid in archive.stored]


@pytest.mark.parametrize(
    ("takes", "form"),
    [
        ((SEG, LABELMAP, RTSTRUCT, CAPTURE), "seg"),
        ((LABELMAP, RTSTRUCT, CAPTURE), "labelmap"),
        ((RTSTRUCT, CAPTURE), "rtstruct"),
        ((CAPTURE,), "capture"),
    ],
)
def test_the_first_form_that_the_archive_takes_is_stored_and_no_other(
    house: House, takes: tuple[str, ...], form: str
) -> None:
    with pacs(takes=takes, commits=False) as archive:
        shop, job = house.sends(archive.node)
        deliver_all(shop)
        assert sent(archive, shop, job) == [form]
    assert now(shop, job).state is JobState.DELIVERED
    expected = [("seg", "dropped"), (form, "delivered")] if form != "seg" else [("seg", "delivered")]
    assert record(shop, job) == expected
    if form != "seg":
        dropped = shop.ledger.deliveries(job.id)[0]
        assert f"{form} in its place, which pacs-1 takes" in dropped.comment
        assert "no presentation context for Segmentation Storage" in dropped.comment


def test_the_report_refers_to_the_form_that_was_stored_and_comes_after_it(house: House) -> None:
    with pacs(takes=(LABELMAP, SR, TEXT), commits=False) as archive:
        shop, job = house.sends(archive.node, outputs=("auto", "sr", "text"))
        deliver_all(shop)
        assert sorted(sent(archive, shop, job)) == ["labelmap", "sr-labelmap", "text"]
        assert sent(archive, shop, job).index("labelmap") < sent(archive, shop, job).index("sr-labelmap")
    assert now(shop, job).state is JobState.DELIVERED
    states = dict(record(shop, job))
    assert (states["seg"], states["sr"]) == ("dropped", "dropped")
    (labelmap,) = (made for made in shop.ledger.objects(job.id) if made.kind == "labelmap")
    (report,) = (made for made in shop.ledger.objects(job.id) if made.name == "sr-labelmap")
    assert labelmap.sop_instance_uid.encode() in Path(report.path).read_bytes()


def test_an_archive_that_says_seg_does_not_match_its_class_gets_another_form(house: House) -> None:
    def no_seg(event: Any) -> int:
        return 0xA900 if event.request.AffectedSOPClassUID == SEG else 0x0000

    with pacs(takes=(SEG, RTSTRUCT), store=no_seg, commits=False) as archive:
        shop, job = house.sends(archive.node)
        deliver_all(shop)
        assert sent(archive, shop, job) == ["rtstruct"]
    assert record(shop, job) == [("seg", "dropped"), ("rtstruct", "delivered")]


def test_an_archive_that_cannot_understand_this_object_is_not_sent_another_form(house: House) -> None:
    with pacs(takes=(SEG, RTSTRUCT), store=lambda _: 0xC000, commits=False) as archive:
        shop, job = house.sends(archive.node)
        deliver_all(shop)
    assert record(shop, job) == [("seg", "failed")]
    assert "0xC000" in now(shop, job).reason


def test_an_archive_that_takes_none_is_told_by_name(house: House) -> None:
    with pacs(takes=("1.2.840.10008.5.1.4.1.1.4",), commits=False) as archive:
        shop, job = house.sends(archive.node, outputs=("auto", "sr"))
        deliver_all(shop)
    assert now(shop, job).state is JobState.FAILED
    assert "takes no seg, nor any of labelmap, rtstruct, capture" in now(shop, job).reason
    assert record(shop, job) == [("seg", "failed"), ("sr", "failed")]


def test_without_auto_what_is_refused_stays_refused(house: House) -> None:
    with pacs(takes=(LABELMAP,), commits=False) as archive:
        shop, job = house.sends(archive.node, outputs=("seg",))
        deliver_all(shop)
    assert record(shop, job) == [("seg", "failed")]


def test_an_archive_that_refuses_label_maps_fails_them_visibly(house: House) -> None:
    with pacs(takes=(SEG,), commits=False) as archive:
        shop, job = house.sends(archive.node, outputs=("labelmap", "sr"))
        deliver_all(shop)
    assert record(shop, job) == [("labelmap", "failed"), ("sr-labelmap", "failed")]
    assert "no presentation context" in now(shop, job).reason


def test_each_destination_gets_the_form_that_it_takes(house: House) -> None:
    with pacs(takes=(SEG,), commits=False) as one, pacs(takes=(RTSTRUCT,), commits=False) as other:
        shop, job = house.sends(one.node, other.node)
        deliver_all(shop)
        assert (sent(one, shop, job), sent(other, shop, job)) == (["seg"], ["rtstruct"])
    assert now(shop, job).state is JobState.DELIVERED


def test_an_archive_that_falls_silent_when_it_is_asked_is_asked_again_later(house: House) -> None:
    with pacs(takes=(SEG, RTSTRUCT), store=hang_up, commits=False) as archive:
        shop, job = house.sends(archive.node)
        deliver_all(shop)
        assert record(shop, job) == [("seg", "waiting")]
        archive.store = lambda _: 0xA900
        house.clock.time += 10
        deliver_all(shop)
        assert record(shop, job)[0] == ("seg", "dropped")
    assert shop.ledger.deliveries(job.id)[1].state is not DeliveryState.DROPPED


def hang_up(event: Any) -> int:
    event.assoc.abort()
    return 0x0000


def test_parts_fall_back_together(house: House) -> None:
    groups = {"kidneys": ["kidney*"], "liver": ["liver"]}
    with pacs(takes=(RTSTRUCT,), commits=False) as archive:
        shop, job = house.sends(archive.node, groups=groups)
        deliver_all(shop)
        stored = sorted(sent(archive, shop, job))
    assert all(name.startswith("rtstruct-") for name in stored) and len(stored) == len(set(stored)) >= 2
    assert {state for name, state in record(shop, job) if name.startswith("seg")} == {"dropped"}
    assert now(shop, job).state is JobState.DELIVERED
