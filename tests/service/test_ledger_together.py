"""Several at once at one ledger, on both databases: none is refused by the database, and no change is lost."""

import itertools
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg import sql

from service.jobs import DeliveryState, IllegalTransitionError, JobState, ResultObject, SeriesState
from service.ledger import Ledger, open_ledger
from tests.postgresql import PostgreSql
from tests.service.test_ledger import SERIES, STUDY, encoded, new_job, routed

PROCESSES, WRITES = 8, 200
THREADS, ROUNDS = 6, 60


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty ledger."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite"
        return
    server: PostgreSql = request.getfixturevalue("postgresql_server")
    server.execute(sql.SQL("CREATE DATABASE together"))
    yield server.url("together")
    server.execute(sql.SQL("DROP DATABASE together WITH (FORCE)"))


def at_once(works: list[Callable[[], object]]) -> list[Exception]:
    """Run all of it in threads that begin together; what was raised."""
    broken: list[Exception] = []
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        begin.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001  # of any kind: the test says which
            broken.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return broken


def write_many(url: str, name: int) -> None:
    with closing(open_ledger(url, actor=f"process {name}")) as ledger:
        for number in range(WRITES):
            ledger.heard(f"1.2.{name}.{number}", STUDY, "MR1", 1)


def test_many_processes_write_beside_a_long_reader_and_none_is_refused(url: str) -> None:
    open_ledger(url, actor="test").close()
    engine = sa.create_engine(url)
    context = multiprocessing.get_context("fork")
    with engine.connect() as reader:  # one snapshot that stays open, as of a backup
        reader.execute(sa.text("SELECT count(*) FROM series")).scalar_one()
        writers = [context.Process(target=write_many, args=(url, name)) for name in range(PROCESSES)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM series")).scalar_one() == PROCESSES * WRITES
        assert connection.execute(sa.text("SELECT count(*) FROM transitions")).scalar_one() == PROCESSES * WRITES
    engine.dispose()


def test_workers_that_find_a_destination_unreachable_at_once_are_all_counted(url: str) -> None:
    with closing(open_ledger(url, actor="test")) as ledger:
        for destination in map(str, range(10)):
            broken = at_once([lambda to=destination: ledger.unreachable(to, "refused", 60.0)] * THREADS)  # type: ignore[misc]
            assert broken == []
            rest = ledger.rest_of(destination)
            assert rest is not None and rest.failures == THREADS


def chain_of(ledger: Ledger, subject: str, key: str | int) -> list[str]:
    """The states that a subject went through; asserts that each began where the one before ended."""
    steps = ledger.history(subject, key)
    for before, after in itertools.pairwise(steps):
        assert after.from_state == before.to_state, f"{before} and then {after}: a change was lost"
    return [step.to_state for step in steps]


def test_a_late_instance_and_the_routing_of_its_series_never_overwrite_each_other(url: str) -> None:
    with closing(open_ledger(url, actor="test")) as ledger:
        for number in range(40):
            uid = f"1.2.3.{number}"
            ledger.heard(uid, STUDY, "MR1", 20)
            ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s")
            late = lambda uid=uid: ledger.heard(uid, STUDY, "MR1", 21)  # noqa: E731
            route = lambda uid=uid: ledger.route_series(uid, "0 jobs", "because", [])  # noqa: E731
            broken = at_once([late, route])
            assert all(isinstance(error, IllegalTransitionError) for error in broken), broken
            assert chain_of(ledger, "series", uid)[-1] == "receiving", "what came late was not routed"


def storm(ledger: Ledger, seed: int) -> None:
    """Do what workers, the sweeper and the receiver do, in any order."""
    chance, owner = random.Random(seed), f"w{seed}"
    for _ in range(ROUNDS):
        with suppress(IllegalTransitionError):
            one_thing(ledger, chance, owner)


def one_thing(ledger: Ledger, chance: random.Random, owner: str) -> None:
    jobs = ledger.list_jobs()
    job = chance.choice(jobs)
    match chance.randrange(8):
        case 0:
            ledger.hinted([each.id for each in chance.sample(jobs, len(jobs))])
        case 1:
            for delivery in ledger.deliveries_due():
                if claimed := ledger.claim_delivery(delivery.id, 0.0):
                    to = chance.choice([DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.FAILED])
                    ledger.settle_delivery(claimed, to, owner, None)
        case 2:
            ledger.unreachable("pacs", "refused", 0.0)
        case 3:
            ledger.answered("pacs")
        case 4:
            ledger.retry_deliveries(job.id, owner)
        case 5 if claimed_ := ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, owner, 30):
            ledger.renew(claimed_.id, owner, "network", 50, 30)
            ledger.move_job(claimed_.id, JobState.QUEUED, "handed back", owner=owner)
        case 6 if chance.random() < 0.05:
            ledger.supersede_jobs(SERIES, 2)
        case _:
            ledger.heard(SERIES, STUDY, "MR1", chance.randrange(30))


def stormed(ledger: Ledger) -> None:
    """Ten jobs of one series, of which some have deliveries."""
    encoded(ledger, "pacs", "research")
    ledger.move_series(SERIES, SeriesState.COMPLETE, "asked again")
    ledger.route_series(SERIES, "more", "because", [new_job(volume=volume) for volume in range(2, 11)])
    for volume in range(2, 6):
        job = new_job(volume=volume)
        assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 30)
        assert ledger.move_job(job.id, JobState.INFERRED, "done", owner="w")
        assert ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w", 30)
        made = ResultObject(f"2.25.{volume}0", job.id, "seg", "1.2.840", "2.25.2", "/x.dcm", 1000.0)
        uid = made.sop_instance_uid
        assert ledger.encoded(job.id, "w", [made], {"pacs": [uid], "research": [uid]})


def test_whatever_many_do_at_once_nobody_waits_for_ever_and_no_change_is_lost(url: str) -> None:
    with closing(open_ledger(url, actor="test")) as ledger:
        stormed(ledger)
        assert at_once([lambda seed=seed: storm(ledger, seed) for seed in range(THREADS)]) == []  # type: ignore[misc]
        for job in ledger.list_jobs():
            assert chain_of(ledger, "job", job.id)[-1] == job.state
            for delivery in ledger.deliveries(job.id):
                chain_of(ledger, "delivery", delivery.id)
        series = ledger.series(SERIES)
        assert series is not None and chain_of(ledger, "series", SERIES)[-1] == series.state
        assert ledger.count_jobs() == Counter(job.state for job in ledger.list_jobs())


def test_a_process_that_stops_in_mid_change_does_not_stop_the_others(postgresql_server: PostgreSql) -> None:
    postgresql_server.execute(sql.SQL("CREATE DATABASE stopped"))
    url = postgresql_server.url("stopped")
    with closing(open_ledger(url, actor="stopped")) as stopped, closing(open_ledger(url, actor="test")) as ledger:
        job = routed(ledger)
        with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"), stopped._write() as connection:
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '1s'"))  # it is 30 s
            began = time.monotonic()
            assert ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30) is not None
            assert time.monotonic() - began < 20
            connection.execute(sa.text("SELECT 1"))  # and now it goes on
        assert stopped.job(job.id) is not None, "with a new connection"
    postgresql_server.execute(sql.SQL("DROP DATABASE stopped WITH (FORCE)"))
