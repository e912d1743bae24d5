"""Many jobs for several destinations, and several workers at it at once: each object is stored once and is kept."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.types import CommitmentReport, Node
from service.config import Site
from service.jobs import Delivery, DeliveryState, JobState, ResultObject, SeriesState, job_id
from service.ledger import Ledger
from service.modelstore import ModelStore
from service.queue import Hints
from tests.clock import Clock
from tests.dicom_nodes.pacs import SEG, Pacs, pacs
from tests.dicom_nodes.peers import Object, wait_until
from tests.service import test_ledger
from tests.service.test_ledger import STUDY, new_job
from workers.delivery import GATHER_SECONDS, deliver
from workers.models import WarmModels
from workers.workshop import Workshop

JOBS, OBJECTS, WORKERS = 60, 3, 4

ledger = test_ledger.ledger
"""Each test runs on SQLite and on PostgreSQL."""


@pytest.fixture
def us(ledger: Ledger, tmp_path: Path) -> Iterator[Node]:
    """The node that hears reports."""
    nothing = (lambda _: None,) * 3
    settings = ScpSettings("SAGITTAL", "127.0.0.1", 0)
    scp = StorageScp(settings, tmp_path / "incoming", *nothing, reported=ledger.commitment_reported)
    scp.start()
    yield Node("SAGITTAL", "127.0.0.1", scp.port)
    scp.stop()


def encoded(ledger: Ledger, folder: Path, number: int, destinations: list[str]) -> list[str]:
    """The objects, by UID, of a new job of a series of its own."""
    series_uid = f"1.2.3.{number}"
    name = job_id(series_uid, 1, 1, "mrannotator-spine", "lumbar")
    job = replace(new_job(), id=name, series_uid=series_uid)
    ledger.heard(series_uid, STUDY, "MODALITY", 20)
    ledger.move_series(series_uid, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    ledger.route_series(series_uid, "1 job", "because", [job])
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "done", owner="w1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30)
    objects = [Object(sop_class_uid=SEG) for _ in range(OBJECTS)]
    made = [
        ResultObject(each.sop_instance_uid, job.id, "seg", SEG, "2.25.2", str(each.write(folder)), 1000.0)
        for each in objects
    ]
    uids = [each.sop_instance_uid for each in objects]
    assert ledger.encoded(job.id, "w2", made, dict.fromkeys(destinations, uids))
    return uids


def shop_for(folder: Path, ledger: Ledger, *archives: Pacs) -> Workshop:
    destinations = [
        {"name": f"pacs-{n}", "aet": "ARCHIVE", "host": "127.0.0.1", "port": archive.node.port}
        for n, archive in enumerate(archives, 1)
    ]
    site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": destinations})
    models = WarmModels(ModelStore(folder / "models"), {})
    return Workshop(site.model_copy(update={"home": folder}), ledger, Hints("redis://127.0.0.1:1/0"), {}, models)


def all_at_once(shop: Workshop, due: list[Delivery]) -> None:
    """Every worker does everything that is due, in its own order, as if each had been told of all."""
    start = Barrier(WORKERS)

    def work(worker: int) -> None:
        start.wait()
        for place in range(len(due)):
            deliver(shop, due[(place + worker * len(due) // WORKERS) % len(due)].id)

    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(work, worker) for worker in range(WORKERS)]:
            done.result()


def test_every_object_of_many_jobs_is_stored_once_in_each_place_and_kept(
    ledger: Ledger,
    clock: Clock,
    us: Node,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pacs(us=us, where="new association") as one, pacs(us=us, where="new association") as other:
        shop = shop_for(tmp_path, ledger, one, other)
        uids = [uid for number in range(JOBS) for uid in encoded(ledger, tmp_path, number, ["pacs-1", "pacs-2"])]
        while due := ledger.deliveries_due():
            all_at_once(shop, due)
            for archive in (one, other):
                wait_until(lambda archive=archive: len(archive.answers) == len(archive.asked), 10)  # type: ignore[misc]
            clock.time += GATHER_SECONDS + 1
        shop.hints.close()
    assert Counter(job.state for job in ledger.list_jobs()) == {JobState.COMMITTED: JOBS}
    deliveries = (each.id for job in ledger.list_jobs(limit=JOBS) for each in ledger.deliveries(job.id))
    commitments = [each for delivery_id in deliveries for each in ledger.commitments(delivery_id)]
    assert sum(each.outcome == "committed" for each in commitments) == 2 * len(uids)
    for archive in (one, other):
        assert Counter(archive.stored) == dict.fromkeys(uids, 1)
        assert set(archive.answers) == {0x0000}
        # An object that a busy machine stores later than the others of its job is asked about by itself.
        assert JOBS <= len(archive.asked) <= JOBS + JOBS // 10, Counter(each.outcome for each in commitments)
    assert [(r.getMessage(), r.exc_text) for r in caplog.records if r.levelname == "ERROR"] == []


def test_of_those_who_ask_for_one_job_at_once_the_first_asks_for_all_its_objects(
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    jobs = [encoded(ledger, tmp_path, number, ["pacs-1"]) for number in range(15)]
    numbers = {}
    for each in ledger.deliveries_due():
        delivery = ledger.claim_delivery(each.id, 60.0)
        assert delivery is not None
        ledger.settle_delivery(delivery, DeliveryState.STORED, "stored", 0, next_attempt_at=ledger.now())
        numbers[each.sop_instance_uid] = each.id
    together = Barrier(OBJECTS, timeout=10)

    def ask(place: int) -> list[str]:
        asked: list[str] = []
        for number, uids in enumerate(jobs):
            together.wait()
            transaction_uid = f"2.25.{place}{number}"
            claimed = ledger.claim_commitment(numbers[uids[place]], transaction_uid, 60.0)
            kept = {each.sop_instance_uid for each in claimed}
            ledger.commitment_reported(CommitmentReport("ARCHIVE", transaction_uid, frozenset(kept), {}))
            asked += kept
        return asked

    with ThreadPoolExecutor(OBJECTS) as pool:
        asked = [each for done in [pool.submit(ask, place) for place in range(OBJECTS)] for each in done.result(60)]
    assert Counter(asked) == dict.fromkeys(numbers, 1)
    assert Counter(job.state for job in ledger.list_jobs()) == {JobState.COMMITTED: len(jobs)}
