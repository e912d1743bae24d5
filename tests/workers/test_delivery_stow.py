"""Results on their way to a DICOMweb service, beside a PACS that is reached by C-STORE."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_nodes.types import Node
from service.config import Site
from service.jobs import Delivery
from service.ledger import Ledger, open_ledger
from service.modelstore import ModelStore
from service.queue import Hints
from tests.clock import Clock
from tests.conftest import free_port
from tests.dicom_nodes.dicomweb import Answer, Request, all_stored, dicomweb, in_json, module
from tests.dicom_nodes.pacs import pacs
from tests.ledgers import ledger_in
from tests.workers.test_delivery import encoded
from workers.delivery import deliver
from workers.models import WarmModels
from workers.workshop import Workshop

HOUR = 3600.0


class Way:
    """A site whose job has objects for two destinations: a PACS and a DICOMweb service."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.ledger: Ledger = open_ledger(ledger_in(folder), actor="test", now=self.clock)
        self.hints = Hints("redis://127.0.0.1:1/0")
        self.models = WarmModels(ModelStore(folder / "models"), {})
        self.job = encoded(self.ledger, folder, ["pacs", "web"], count=2)

    def go(self, node: Node, url: str, **settings: Any) -> None:
        """Do everything that is due now, with the destinations where they are now."""
        to_pacs = {"name": "pacs", "aet": node.aet, "host": node.host, "port": node.port, "timeout_seconds": 3.0}
        to_web = {"name": "web", "kind": "stow", "url": url, "timeout_seconds": 3.0} | settings
        site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": [to_pacs, to_web]})
        shop = Workshop(site.model_copy(update={"home": self.folder}), self.ledger, self.hints, {}, self.models)
        for delivery in self.ledger.deliveries_due():
            deliver(shop, delivery.id)

    def to(self, destination: str) -> list[Delivery]:
        return [each for each in self.ledger.deliveries(self.job.id) if each.destination == destination]

    def states(self, destination: str) -> list[str]:
        return [str(each.state) for each in self.to(destination)]

    @property
    def state(self) -> str:
        job = self.ledger.job(self.job.id)
        assert job is not None
        return str(job.state)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    made = Way(tmp_path)
    yield made
    made.hints.close()
    made.ledger.close()


def test_a_web_service_that_is_down_does_not_keep_the_pacs_waiting_and_is_served_when_it_is_up(way: Way) -> None:
    with pacs(commits=False) as archive:
        way.go(archive.node, f"http://127.0.0.1:{free_port()}/rs")
        assert way.states("pacs") == ["delivered"] * 2
        assert way.states("web") == ["waiting"] * 2
        assert way.state == "delivering"
        way.clock.time += HOUR
        with dicomweb() as service:
            way.go(archive.node, service.url)
            way.go(archive.node, service.url)
    assert way.state == "delivered"
    assert way.states("web") == ["delivered"] * 2
    assert (len(archive.stored), len(service.received)) == (2, 2)
    assert sorted(archive.stored) == sorted(request.uid for request in service.received)


def test_a_pacs_that_is_down_does_not_keep_the_web_service_waiting(way: Way) -> None:
    with dicomweb() as service:
        way.go(Node("DOWN", "127.0.0.1", free_port()), service.url)
        assert (way.states("web"), way.states("pacs")) == (["delivered"] * 2, ["waiting"] * 2)
        way.clock.time += HOUR
        with pacs(commits=False) as archive:
            way.go(archive.node, service.url)
            way.go(archive.node, service.url)
    assert way.state == "delivered"
    assert (len(archive.stored), len(service.received)) == (2, 2)


def test_what_a_web_service_stored_is_delivered_and_nobody_is_asked_to_commit(way: Way) -> None:
    with pacs(commits=False) as archive, dicomweb() as service:
        way.go(archive.node, service.url)
    assert {each.comment for each in way.to("web")} == {
        "status 0x0000; no storage commitment is asked for over DICOMweb"
    }
    assert way.ledger.deliveries_due() == []


def test_a_full_web_service_gets_again_only_what_it_did_not_store(way: Way) -> None:
    def full_once(request: Request) -> Answer:
        if len(service.received) == 1:
            return Answer(409, in_json(module(failed={request.uid: 0xA700})))
        return all_stored(request)

    with pacs(commits=False) as archive, dicomweb(full_once) as service:
        way.go(archive.node, service.url)
        assert sorted(way.states("web")) == ["delivered", "waiting"]
        way.clock.time += 10
        way.go(archive.node, service.url)
    assert way.states("web") == ["delivered"] * 2
    assert len(service.received) == 3


def test_an_object_whose_storing_was_not_heard_of_is_there_already_when_it_is_sent_again(way: Way) -> None:
    kept: set[str] = set()

    def silent_once(request: Request) -> Answer:
        if request.uid in kept:
            return Answer(409, in_json(module(failed={request.uid: 45070})))
        kept.add(request.uid)
        return Answer(breaks=True) if len(service.received) == 1 else all_stored(request)

    with pacs(commits=False) as archive, dicomweb(silent_once) as service:
        way.go(archive.node, service.url)
        assert sorted(way.states("web")) == ["delivered", "waiting"]
        way.clock.time += 10
        way.go(archive.node, service.url)
    assert way.states("web") == ["delivered"] * 2
    assert sum("was there already" in each.comment for each in way.to("web")) == 1


def test_the_files_of_a_site_lie_beside_its_settings_and_a_failure_tells_which(way: Way) -> None:
    (way.folder / "token").write_text("Bearer abc\n")
    with pacs(commits=False) as archive, dicomweb() as service:
        way.go(archive.node, service.url, authorization="token")
        assert {each.headers["Authorization"] for each in service.received} == {"Bearer abc"}
    assert way.states("web") == ["delivered"] * 2


def test_a_web_service_that_refuses_the_credentials_fails_with_what_to_do(way: Way) -> None:
    with pacs(commits=False) as archive, dicomweb(Answer(401)) as service:
        way.go(archive.node, service.url)
    assert (way.states("web"), way.state) == (["failed"] * 2, "failed")
    assert "HTTP 401" in way.to("web")[0].comment and "`authorization`" in way.to("web")[0].comment
