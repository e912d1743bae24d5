"""The ledger: states move only as the tables say, a lease has one holder, and a result goes to each place once."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from service.findings import Finding, FindingName
from service.jobs import (
    DeliveryState,
    IllegalTransitionError,
    Job,
    JobState,
    ResultObject,
    SeriesState,
    Urgency,
    job_id,
)
from service.ledger import Ledger, open_ledger
from service.schema import metadata
from tests.clock import Clock

SERIES, STUDY = "1.2.3", "1.2"


def execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        execute(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    ledger = open_ledger(url, actor="test", now=clock)
    yield ledger
    ledger.close()


def test_many_processes_may_open_a_new_ledger_at_once(ledger: Ledger) -> None:
    url = ledger.url
    for table in [*metadata.tables, "alembic_version"]:
        execute(url, f"DROP TABLE {table}" + (" CASCADE" if "postgresql" in url else ""))
    code = f"from service.ledger import open_ledger; open_ledger({url!r}, actor='x').close()"
    command = [sys.executable, "-c", code]
    openers = [subprocess.Popen(command) for _ in range(4)]
    assert [opener.wait(60) for opener in openers] == [0, 0, 0, 0]


def new_job(revision: int = 1, volume: int = 1) -> Job:
    name = job_id(SERIES, revision, volume, "mrannotator-spine", "lumbar")
    return Job(
        name, SERIES, STUDY, revision, volume, "", "mrannotator-spine", "lumbar", 0, "", JobState.QUEUED,
        "", 0, 0, "", 0.0, 0.0, "", "", 1000.0, 1000.0,
    )  # fmt: skip


def routed(ledger: Ledger) -> Job:
    ledger.heard(SERIES, STUDY, "MODALITY", 20)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    job = new_job()
    ledger.route_series(SERIES, "1 job", "because", [job])
    return job


def encoded(ledger: Ledger, *destinations: str) -> Job:
    job = routed(ledger)
    assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    assert ledger.move_job(job.id, JobState.INFERRED, "done", owner="w1")
    assert ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30)
    made = ResultObject("2.25.1", job.id, "seg", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.2", "/x.dcm", 1000.0)
    assert ledger.encoded(job.id, "w2", [made], {name: ["2.25.1"] for name in destinations})
    return job


def test_a_series_that_is_heard_again_after_it_was_routed_is_receiving_again(ledger: Ledger) -> None:
    routed(ledger)
    ledger.heard(SERIES, STUDY, "MODALITY", 21)
    series = ledger.series(SERIES)
    assert series is not None
    assert (series.state, series.instance_count) == (SeriesState.RECEIVING, 21)
    assert [t.to_state for t in ledger.history("series", SERIES)] == [
        "receiving",
        "complete",
        "routed",
        "receiving",
    ]


def test_a_move_that_the_table_does_not_know_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    ledger.heard(SERIES, STUDY, "MODALITY", 20)
    with pytest.raises(IllegalTransitionError, match="receiving may not become routed"):
        ledger.move_series(SERIES, SeriesState.ROUTED, "no")
    series = ledger.series(SERIES)
    assert series is not None and series.state is SeriesState.RECEIVING
    assert len(ledger.history("series", SERIES)) == 1


def test_routing_twice_makes_one_job(ledger: Ledger) -> None:
    routed(ledger)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "asked again")
    ledger.route_series(SERIES, "1 job", "because", [new_job()])
    assert len(ledger.list_jobs()) == 1


def test_of_many_workers_that_claim_a_job_at_once_one_gets_it(ledger: Ledger) -> None:
    job = routed(ledger)
    won: list[str] = []

    def claim(owner: str) -> None:
        if ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, owner, 30):
            won.append(owner)

    threads = [threading.Thread(target=claim, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_job_is_taken_from_its_owner_by_nobody_but_the_sweeper_and_a_late_owner_can_change_nothing(
    ledger: Ledger, clock: Clock
) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    clock.time += 3600
    stolen = ledger.claim_job(job.id, JobState.INFERRING, JobState.INFERRING, "w2", 30)
    assert stolen is None, "whose clock is wrong nobody knows"
    assert [j.id for j in ledger.held_jobs()] == [job.id]
    ledger.move_job(job.id, JobState.QUEUED, "its worker is gone")
    assert ledger.renew(job.id, "w1", "network", 50, 30) is False
    assert ledger.move_job(job.id, JobState.INFERRED, "late", owner="w1") is None
    again = ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w2", 30)
    assert again is not None and again.attempts == 2


def test_a_job_is_delivered_when_the_last_of_its_destinations_has_it(ledger: Ledger) -> None:
    job = encoded(ledger, "pacs", "research")
    first, second = ledger.deliveries_due()
    for delivery, state in ((first, JobState.DELIVERING), (second, JobState.DELIVERED)):
        claimed = ledger.claim_delivery(delivery.id, 60)
        assert claimed is not None
        ledger.settle_delivery(claimed, DeliveryState.DELIVERED, "stored", 0)
        now = ledger.job(job.id)
        assert now is not None and now.state is state


def test_a_delivery_is_not_given_to_two_workers(ledger: Ledger, clock: Clock) -> None:
    encoded(ledger, "pacs")
    (due,) = ledger.deliveries_due()
    assert ledger.claim_delivery(due.id, 60)
    assert ledger.claim_delivery(due.id, 60) is None
    assert ledger.deliveries_due() == []
    clock.time += 61
    assert [d.id for d in ledger.deliveries_due()] == [due.id], "the worker that held it is gone"


def test_a_destination_that_refuses_fails_the_job_with_its_words_and_a_retry_sends_again(ledger: Ledger) -> None:
    job = encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(ledger.deliveries_due()[0].id, 60)
    assert claimed is not None
    ledger.settle_delivery(claimed, DeliveryState.FAILED, "status 0xA900: no such class", 0xA900)
    failed = ledger.job(job.id)
    assert failed is not None
    assert (failed.state, failed.reason) == (JobState.FAILED, "pacs: status 0xA900: no such class")
    assert ledger.retry_deliveries(job.id, "asked by an operator") == 1
    assert [d.destination for d in ledger.deliveries_due()] == ["pacs"]


def test_a_newer_revision_supersedes_the_older_jobs_and_they_are_not_sent(ledger: Ledger) -> None:
    job = encoded(ledger, "pacs")
    ledger.supersede_jobs(SERIES, 2)
    old = ledger.job(job.id)
    assert old is not None and old.state is JobState.SUPERSEDED
    assert ledger.deliveries_due() == []


FINDINGS = (Finding(FindingName.ORDER, "L3 above L2"), Finding(FindingName.LITTLE, "found none"))


def test_a_result_that_is_held_is_never_ready_for_an_encoder_and_its_findings_stay(ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    held = ledger.inferred(job.id, "took 2 s", FINDINGS, "held because", owner="w1", model_version="abc")
    assert held is not None
    assert (held.state, held.reason, held.owner, held.model_version) == (JobState.HELD, "held because", "", "abc")
    assert [step.to_state for step in ledger.history("job", job.id)][-2:] == ["inferred", "held"]
    assert ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30) is None
    assert ledger.ready_jobs(JobState.INFERRED, ledger.now() + 1) == []
    ledger.move_job(job.id, JobState.INFERRED, "released", reason="")
    assert [each.id for each in ledger.ready_jobs(JobState.INFERRED, ledger.now() + 1)] == [job.id]
    kept = [(each.name, each.evidence, each.holds, each.at) for each in ledger.findings(job.id)]
    assert kept == [("out of order", "L3 above L2", True, 1000.0),
                    ("little of what the protocol shows", "found none", True, 1000.0)]  # fmt: skip


def test_of_several_findings_those_that_hold_are_told_from_those_that_do_not(ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.inferred(job.id, "took 2 s", FINDINGS, "held because", FINDINGS[1:], owner="w1")
    assert [each.holds for each in ledger.findings(job.id)] == [False, True]


def test_a_worker_that_lost_its_job_records_no_findings_in_it(ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    assert ledger.inferred(job.id, "late", FINDINGS, "held because", owner="w0") is None
    now = ledger.job(job.id)
    assert now is not None and now.state is JobState.INFERRING
    assert ledger.findings(job.id) == []


def test_a_second_result_of_a_job_forgets_what_was_found_in_the_first(ledger: Ledger) -> None:
    job = routed(ledger)
    for found in (FINDINGS, ()):
        ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
        ledger.inferred(job.id, "took 2 s", found, "held because" if found else "", owner="w1")
        if found:
            ledger.move_job(job.id, JobState.QUEUED, "asked for by an operator")
    now = ledger.job(job.id)
    assert now is not None and now.state is JobState.INFERRED
    assert ledger.findings(job.id) == []


def test_a_newer_revision_supersedes_a_held_job(ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.inferred(job.id, "took 2 s", FINDINGS, "held because", owner="w1")
    ledger.supersede_jobs(SERIES, 2)
    now = ledger.job(job.id)
    assert now is not None and now.state is JobState.SUPERSEDED


def test_ready_jobs_come_the_most_urgent_first_and_then_the_oldest(ledger: Ledger) -> None:
    ledger.heard(SERIES, STUDY, "MODALITY", 20)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    urgencies = (Urgency.ROUTINE, Urgency.STAT, Urgency.HIGH, Urgency.ROUTINE, Urgency.STAT)
    jobs = [
        replace(new_job(volume=number), urgency=int(urgency), created_at=1000.0 - number)
        for number, urgency in enumerate(urgencies, 1)
    ]
    ledger.route_series(SERIES, "5 jobs", "because", jobs)
    ready = ledger.ready_jobs(JobState.QUEUED, ledger.now() + 1, limit=4)
    assert [job.volume_index for job in ready] == [5, 2, 3, 4]
    assert ledger.urgency_of(job.id for job in jobs[:2]) == {jobs[0].id: 0, jobs[1].id: 2}
