"""A result is believed to be delivered when the archive says that it keeps it; whatever it does, it ends."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dicom_nodes.commitment import SAME_ASSOCIATION_SECONDS
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.types import CommitmentReport, Node
from service.config import Site
from service.jobs import Delivery, DeliveryState, Job, JobState, ResultObject
from service.ledger import Ledger, open_ledger
from service.ledger_commitments import MOST_RESENT, RESEND_SECONDS
from service.ledger_rests import FAILURES_BEFORE_REST
from service.modelstore import ModelStore
from service.queue import Hints
from tests.clock import Clock
from tests.conftest import free_port
from tests.dicom_nodes.pacs import SEG, Pacs, pacs
from tests.dicom_nodes.peers import Object, wait_until
from tests.ledgers import ledger_in
from tests.service.test_ledger import routed
from workers.delivery import deliver
from workers.models import WarmModels
from workers.workshop import Workshop

HOUR = 3600.0
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@dataclass
class House:
    """A site with one job whose objects wait for their destinations, and the node that hears reports."""

    folder: Path
    clock: Clock
    ledger: Ledger
    node: Node
    shop: Workshop | None = None
    job: Job | None = None

    def sends_to(self, *nodes: Node, count: int = 1, **settings: Any) -> "House":
        destinations = [
            {"name": f"pacs-{n}", "aet": node.aet, "host": node.host, "port": node.port, "timeout_seconds": 3.0}
            | settings
            for n, node in enumerate(nodes, 1)
        ]
        site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": destinations})
        models = WarmModels(ModelStore(self.folder / "models"), {})
        hints = Hints("redis://127.0.0.1:1/0")
        self.shop = Workshop(site.model_copy(update={"home": self.folder}), self.ledger, hints, {}, models)
        if self.job is None:
            self.job = encoded(self.ledger, self.folder, [d.name for d in site.destination], count)
        return self

    def go(self) -> None:
        """Do everything that is due now."""
        assert self.shop is not None
        for delivery in self.ledger.deliveries_due():
            deliver(self.shop, delivery.id)

    @property
    def deliveries(self) -> list[Delivery]:
        assert self.job is not None
        return self.ledger.deliveries(self.job.id)

    @property
    def states(self) -> list[str]:
        return [str(delivery.state) for delivery in self.deliveries]

    @property
    def now(self) -> Job:
        assert self.job is not None
        job = self.ledger.job(self.job.id)
        assert job is not None
        return job

    def steps(self) -> list[str]:
        return [step.to_state for step in self.ledger.history("job", self.now.id)]


def encoded(ledger: Ledger, folder: Path, destinations: list[str], count: int) -> Job:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "done", owner="w1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30)
    made = []
    for number in range(count):
        thing = Object(sop_class_uid=SEG)
        path = thing.write(folder)
        made.append(ResultObject(thing.sop_instance_uid, job.id, f"seg{number}", SEG, "2.25.2", str(path), 1000.0))
    uids = [each.sop_instance_uid for each in made]
    assert ledger.encoded(job.id, "w2", made, dict.fromkeys(destinations, uids))
    return job


def answered(archive: Pacs, times: int) -> bool:
    return len(archive.answers) == times


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = Clock()
    ledger = open_ledger(ledger_in(tmp_path), actor="test", now=clock)
    settings = ScpSettings("SAGITTAL", "127.0.0.1", 0)
    scp = StorageScp(
        settings,
        tmp_path / "incoming",
        lambda _: None,
        lambda _: None,
        lambda _: None,
        reported=ledger.commitment_reported,
    )
    scp.start()
    made = House(tmp_path, clock, ledger, Node("SAGITTAL", "127.0.0.1", scp.port))
    yield made
    scp.stop()
    if made.shop is not None:
        made.shop.hints.close()
    ledger.close()


def test_an_archive_that_commits_on_the_same_association_makes_the_job_committed(house: House) -> None:
    with pacs() as archive:
        house.sends_to(archive.node, count=3).go()
        wait_until(lambda: len(archive.answers) == 1)
    assert house.states == ["committed"] * 3
    assert house.steps()[-3:] == ["delivering", "delivered", "committed"]
    assert (len(archive.stored), len(archive.asked), archive.answers) == (3, 1, [0x0000])
    assert len(archive.asked[0].ReferencedSOPSequence) == 3, "one request for all objects of the job"
    assert house.ledger.deliveries_due() == []


def test_an_archive_that_commits_hours_late_on_a_new_association_is_heard(house: House) -> None:
    with pacs(us=house.node, where="nowhere") as archive:
        house.sends_to(archive.node).go()
        assert (house.now.state, house.states) == (JobState.DELIVERED, ["stored"])
        house.clock.time += 5 * HOUR
        house.go()
        assert len(archive.asked) == 1, "not asked again so early"
        assert archive.send_elsewhere(*archive.report(archive.asked[0]))
    assert (house.now.state, house.states, archive.answers) == (JobState.COMMITTED, ["committed"], [0x0000])
    assert len(archive.stored) == 1


def test_a_report_on_a_new_association_ends_the_wait_for_it_on_the_old_one(house: House) -> None:
    with pacs(us=house.node, where="new association") as archive:
        started = time.monotonic()
        house.sends_to(archive.node).go()
        assert time.monotonic() - started < SAME_ASSOCIATION_SECONDS
        wait_until(lambda: archive.answers == [0x0000])
    assert house.now.state is JobState.COMMITTED


def test_the_report_is_faster_than_the_answer_to_the_request(house: House) -> None:
    archive_of: list[Pacs] = []

    def report_first(event: Any) -> int:
        (archive,) = archive_of
        archive.send_elsewhere(*archive.report(event.action_information))
        return 0x0000

    with pacs(us=house.node, where="nowhere", action=report_first) as archive:
        archive_of.append(archive)
        house.sends_to(archive.node).go()
    assert (house.now.state, archive.answers) == (JobState.COMMITTED, [0x0000])
    house.clock.time += 48 * HOUR
    house.go()
    assert house.states == ["committed"]


def test_an_archive_without_storage_commitment_has_delivered_and_the_record_says_so(house: House) -> None:
    with pacs(commits=False) as archive:
        house.sends_to(archive.node).go()
    assert (house.now.state, house.states) == (JobState.DELIVERED, ["delivered"])
    assert "no presentation context for Storage Commitment" in house.deliveries[0].comment
    assert house.ledger.deliveries_due() == []


def test_a_site_that_requires_commitment_is_told_where_there_is_none(house: House) -> None:
    with pacs(commits=False) as archive:
        house.sends_to(archive.node, commitment="require").go()
    assert (house.now.state, house.states) == (JobState.FAILED, ["failed"])
    assert "stored, but not confirmed, which site.toml requires" in house.now.reason


def test_a_site_that_wants_no_commitment_asks_for_none(house: House) -> None:
    with pacs() as archive:
        house.sends_to(archive.node, commitment="off").go()
    assert (house.now.state, house.states, archive.asked) == (JobState.DELIVERED, ["delivered"], [])


def test_what_the_archive_lost_is_sent_again_and_nothing_else(house: House) -> None:
    with pacs() as archive:
        house.sends_to(archive.node, count=2)
        uid, other = (delivery.sop_instance_uid for delivery in house.deliveries)
        archive.lost = {uid: 0x0112}
        house.go()
        wait_until(lambda: len(archive.answers) == 1)
        assert (house.now.state, house.states) == (JobState.DELIVERING, ["waiting", "committed"])
        assert "0x0112 no such object instance" in house.deliveries[0].comment
        archive.lost = {}
        house.clock.time += RESEND_SECONDS
        house.go()
        wait_until(lambda: len(archive.answers) == 2)
    assert (house.now.state, house.states) == (JobState.COMMITTED, ["committed"] * 2)
    assert (archive.stored.count(uid), archive.stored.count(other)) == (2, 1)


@pytest.mark.parametrize(("reason", "sent"), [(0x0112, MOST_RESENT + 1), (0x0122, 1)])
def test_an_archive_that_never_keeps_it_is_given_up_with_its_reason(house: House, reason: int, sent: int) -> None:
    with pacs() as archive:
        house.sends_to(archive.node)
        uid = house.deliveries[0].sop_instance_uid
        archive.lost = {uid: reason}
        for attempt in range(1, MOST_RESENT + 3):
            house.go()
            wait_until(partial(answered, archive, min(attempt, sent)))
            house.clock.time += HOUR
    assert (house.now.state, house.states) == (JobState.FAILED, ["failed"])
    assert f"0x{reason:04X}" in house.now.reason
    assert archive.stored.count(uid) == sent


def test_a_failure_that_is_reported_twice_counts_once(house: House) -> None:
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        archive.lost = {house.deliveries[0].sop_instance_uid: 0x0110}
        for _ in range(2):
            archive.send_elsewhere(*archive.report(archive.asked[0]))
    assert (house.deliveries[0].resent, house.states) == (1, ["waiting"])
    assert archive.answers == [0x0000, 0x0000]


def test_what_is_said_of_an_earlier_sending_does_not_count_for_the_next(house: House) -> None:
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        house.clock.time += 7 * HOUR
        house.go()
        first, second = archive.asked
        archive.lost = {house.deliveries[0].sop_instance_uid: 0x0112}
        archive.send_elsewhere(*archive.report(second))
        assert house.states == ["waiting"]
        archive.lost = {}
        archive.send_elsewhere(*archive.report(first))
    assert house.states == ["waiting"]


def test_an_archive_that_never_answers_is_asked_again_and_then_there_is_an_alarm(house: House) -> None:
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node, commitment_hours=8.0)
        for _ in range(20):
            house.go()
            house.clock.time += HOUR / 2
        assert (house.now.state, house.states) == (JobState.FAILED, ["failed"])
        assert "did not confirm within 8 h" in house.now.reason
        assert (len(archive.stored), len(archive.asked)) == (1, 4)
        assert archive.send_elsewhere(*archive.report(archive.asked[0]))
    assert (house.now.state, house.now.reason) == (JobState.COMMITTED, ""), "better late than never"


def test_an_archive_that_is_down_for_longer_than_its_confirmation_may_take_costs_nothing_but_time(
    house: House,
) -> None:
    aborts: list[Any] = []

    def abort(event: Any) -> int:
        aborts.append(event.assoc.abort())
        return 0x0000

    with pacs(action=abort, where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node, commitment_hours=8.0)
        for _ in range(40):
            house.go()
            house.clock.time += HOUR / 2
        assert (house.now.state, house.states) == (JobState.DELIVERED, ["stored"]), house.now.reason
        assert len(aborts) > 4
        archive.action = lambda _: 0x0000
        house.go()
        archive.send_elsewhere(*archive.report(archive.asked[-1]))
    assert (house.now.state, len(archive.stored)) == (JobState.COMMITTED, 1)


def test_an_archive_that_stays_down_is_given_up_after_the_time_for_both(house: House) -> None:
    def abort(event: Any) -> int:
        event.assoc.abort()
        return 0x0000

    with pacs(action=abort, where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node, commitment_hours=8.0, retry_hours=12.0)
        for _ in range(30):
            house.go()
            house.clock.time += HOUR / 2
    assert (house.now.state, house.states) == (JobState.FAILED, ["failed"])
    assert "did not confirm" in house.now.reason


def test_a_report_on_what_nobody_asked_is_refused(house: House) -> None:
    report = CommitmentReport("ARCHIVE", "2.25.99", frozenset({"2.25.1"}), {})
    assert house.ledger.commitment_reported(report) is False
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        asked = archive.asked[0]
        event_type, information = archive.report(asked)
        information.TransactionUID = "2.25.98"
        archive.send_elsewhere(event_type, information)
        archive.send_elsewhere(7, archive.report(asked)[1])
        del information.TransactionUID
        archive.send_elsewhere(event_type, information)
    assert archive.answers == [0x0115, 0x0113, 0x0115]
    assert house.states == ["stored"]


def test_who_does_not_propose_to_be_provider_gets_no_context(house: House) -> None:
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        assert not archive.send_elsewhere(*archive.report(archive.asked[0]), role=False)
    assert house.states == ["stored"]


def test_an_archive_that_aborts_the_request_is_asked_again(house: House) -> None:
    def abort_once(event: Any) -> int:
        if not aborted:
            aborted.append(True)
            event.assoc.abort()
        return 0x0000

    aborted: list[bool] = []
    with pacs(action=abort_once, where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        assert (house.now.state, house.states) == (JobState.DELIVERED, ["stored"])
        house.clock.time += 10
        house.go()
        archive.send_elsewhere(*archive.report(archive.asked[-1]))
    assert (house.now.state, len(archive.stored)) == (JobState.COMMITTED, 1)


def test_an_archive_that_takes_no_segmentations_is_refusing_for_good(house: House) -> None:
    with pacs(takes=(SR,)) as archive:
        house.sends_to(archive.node).go()
    assert (house.now.state, archive.stored, archive.asked) == (JobState.FAILED, [], [])
    assert "no presentation context for Segmentation Storage" in house.now.reason


def test_an_archive_that_is_full_and_then_is_not_has_it_once(house: House) -> None:
    statuses = [0xA700, 0xB000]
    with pacs(store=lambda _: statuses.pop(0)) as archive:
        house.sends_to(archive.node).go()
        assert house.states == ["waiting"]
        house.clock.time += 10
        house.go()
        wait_until(lambda: len(archive.answers) == 1)
    assert (house.now.state, len(archive.stored)) == (JobState.COMMITTED, 1)


def test_an_archive_that_aborts_the_storing_gets_it_again(house: House) -> None:
    aborted: list[bool] = []

    def abort_once(event: Any) -> int:
        if not aborted:
            aborted.append(True)
            event.assoc.abort()
            return 0x0110
        return 0x0000

    with pacs(store=abort_once) as archive:
        house.sends_to(archive.node).go()
        assert house.states == ["waiting"]
        house.clock.time += 10
        house.go()
        wait_until(lambda: len(archive.answers) == 1)
    assert (house.now.state, len(archive.stored)) == (JobState.COMMITTED, 1)


def test_a_destination_that_is_down_makes_its_deliveries_wait_together_and_the_others_go_on(house: House) -> None:
    down = Node("DOWN", "127.0.0.1", free_port())
    with pacs(commits=False) as archive:
        house.sends_to(down, archive.node, count=6).go()
        of_down = [each for each in house.deliveries if each.destination == "pacs-1"]
        assert sorted(each.attempts for each in of_down) == [0, 0, 0, 1, 1, 1]
        assert FAILURES_BEFORE_REST == 3
        assert len(archive.stored) == 6
        assert house.ledger.deliveries_due() == []
        rest = house.ledger.rest_of("pacs-1")
        assert rest is not None and rest.failures == 3
        house.clock.time = rest.rests_until
        house.go()
        of_down = [each for each in house.deliveries if each.destination == "pacs-1"]
        assert sum(each.attempts for each in of_down) == 4, "one goes first"
        house.sends_to(archive.node)  # it is up again, under the same name
        rest = house.ledger.rest_of("pacs-1")
        assert rest is not None
        house.clock.time = rest.rests_until
        house.go()
        house.go()
    assert set(house.states) == {"delivered"}
    assert len(archive.stored) == 12
    assert house.ledger.rest_of("pacs-1") is None


def test_all_that_wait_for_a_destination_that_stays_down_are_given_up_in_time(house: House) -> None:
    house.sends_to(Node("DOWN", "127.0.0.1", free_port()), count=6, retry_hours=1.0)
    began = house.clock.time
    while any(state == DeliveryState.WAITING for state in house.states):
        house.go()
        house.clock.time += 60
        assert house.clock.time - began < 2 * HOUR
    assert house.now.state is JobState.FAILED
    assert all("given up after 1 h" in each.comment for each in house.deliveries)


def test_a_superseded_result_that_the_archive_lost_is_not_sent_again(house: House) -> None:
    with pacs(where="nowhere", us=house.node) as archive:
        house.sends_to(archive.node).go()
        house.ledger.supersede_jobs(house.now.series_uid, 2)
        archive.lost = {house.deliveries[0].sop_instance_uid: 0x0112}
        archive.send_elsewhere(*archive.report(archive.asked[0]))
        house.go()
    assert (house.now.state, house.states, len(archive.stored)) == (JobState.SUPERSEDED, ["failed"], 1)
