"""The queue on a real Redis and a real worker: what is urgent is taken first, whatever came before it."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from celery.contrib.testing.worker import start_worker
from redis import Redis

from dicom_nodes.errors import Unreachable
from service.config import Site
from service.jobs import JobState, SeriesState, Urgency
from service.ledger import open_ledger
from service.queue import DELIVER, ENCODE, INFER, Hints, declare, inference_queue, lists_of, make_app
from service.redis_server import redis_binary
from service.sweep import Sweeper
from tests.clock import Clock
from tests.conftest import free_port
from tests.ledgers import ledger_in
from tests.service.test_ledger import SERIES, STUDY, new_job

QUEUES = [inference_queue(name) for name in ("abdomen", "knee", "spine")]


@pytest.fixture
def hints(empty_redis: str) -> Iterator[Hints]:
    hints = Hints(empty_redis)
    yield hints
    hints.close()


def taken(redis_url: str, queues: list[str], count: int, task: str = INFER) -> list[str | int]:
    """The ids that one worker takes from its queues, one at a time, in the order in which it takes them."""
    app, done = make_app(redis_url), threading.Event()
    order: list[str | int] = []
    declare(app, queues)

    @app.task(name=task, shared=False)  # type: ignore[untyped-decorator]  # Celery ships no types
    def take(subject_id: str | int) -> None:
        order.append(subject_id)
        time.sleep(0.01)
        if len(order) >= count:
            done.set()

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        assert done.wait(30), f"only {order} came"
    app.close()
    return order


def test_a_stat_hint_that_was_put_last_is_taken_first(hints: Hints, empty_redis: str) -> None:
    for number in range(4):
        hints.send(INFER, f"routine {number}", QUEUES[0])
    hints.send(INFER, "high", QUEUES[0], Urgency.HIGH)
    hints.send(INFER, "stat", QUEUES[0], Urgency.STAT)
    assert hints.waiting(QUEUES[0]) == 6
    order = taken(empty_redis, QUEUES[:1], 6)
    assert order == ["stat", "high", *(f"routine {number}" for number in range(4))]
    assert hints.waiting(QUEUES[0]) == 0


def test_a_stat_hint_is_taken_first_whichever_sub_model_it_is_for(hints: Hints, empty_redis: str) -> None:
    for number in range(3):
        for queue in QUEUES:
            hints.send(INFER, f"{queue} {number}", queue)
    for queue in reversed(QUEUES):
        hints.send(INFER, f"{queue} high", queue, Urgency.HIGH)
    hints.send(INFER, f"{QUEUES[2]} stat", QUEUES[2], Urgency.STAT)
    order = taken(empty_redis, QUEUES, 13)
    assert order[0] == f"{QUEUES[2]} stat"
    assert sorted(map(str, order[1:4])) == [f"{queue} high" for queue in QUEUES]


def test_queues_of_one_urgency_take_turns_so_that_no_sub_model_waits_for_all_of_another(
    hints: Hints, empty_redis: str
) -> None:
    for queue in QUEUES:
        for number in range(4):
            hints.send(INFER, f"{queue} {number}", queue)
    order = taken(empty_redis, QUEUES, 12)
    assert {str(each).rpartition(" ")[0] for each in order[:3]} == set(QUEUES)


def test_encoding_and_delivery_of_what_is_urgent_go_first_too(hints: Hints, empty_redis: str) -> None:
    for number in range(3):
        hints.send(DELIVER, number, DELIVER)
    hints.send(DELIVER, 99, DELIVER, Urgency.STAT)
    assert taken(empty_redis, [ENCODE, DELIVER], 4, DELIVER)[0] == 99


def test_the_lists_of_a_queue_are_those_that_the_broker_uses(hints: Hints, empty_redis: str) -> None:
    for urgency in Urgency:
        hints.send(INFER, urgency.name, "infer.x", urgency)
    with Redis.from_url(empty_redis) as client:
        found = {key.decode() for key in client.scan_iter("infer.*")}
    assert found == set(lists_of("infer.x"))


@contextmanager
def redis_at(port: int, folder: Path) -> Iterator[None]:
    """A redis-server at a port, empty at its start."""
    command = [str(redis_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield
        server.terminate()


def test_a_hint_to_a_redis_that_is_down_fails_within_two_seconds_and_the_next_one_after_it_came_back_does_not(
    tmp_path: Path,
) -> None:
    port = free_port()
    hints = Hints(f"redis://127.0.0.1:{port}/0")
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Unreachable, match="Redis does not answer"):
            hints.send(INFER, "job", QUEUES[0])
        assert time.monotonic() - began < 2
    with redis_at(port, tmp_path):
        assert sent_at_last(hints, "job") < 5
        assert hints.waiting(QUEUES[0]) == 1
        assert (hints.was_emptied(), hints.was_emptied()) == (True, False)
    hints.close()


def sent_at_last(hints: Hints, job: str) -> float:
    """Seconds until a hint could be sent."""
    began = time.monotonic()
    while True:
        try:
            hints.send(INFER, job, QUEUES[0])
        except Unreachable:
            time.sleep(0.05)
        else:
            return time.monotonic() - began


def test_a_worker_goes_on_soon_after_redis_came_back_however_long_it_was_away(tmp_path: Path) -> None:
    port, order, done = free_port(), list[str](), threading.Event()
    app, hints = make_app(f"redis://127.0.0.1:{port}/0"), Hints(f"redis://127.0.0.1:{port}/0")
    declare(app, QUEUES[:1])

    @app.task(name=INFER, shared=False)  # type: ignore[untyped-decorator]  # Celery ships no types
    def take(subject_id: str) -> None:
        order.append(subject_id)
        done.set()

    with redis_at(port, tmp_path):
        sent_at_last(hints, "before")
        worker = start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20)
        worker.__enter__()
        assert done.wait(30)
    done.clear()
    time.sleep(7)  # kombu's own pauses would have grown to 6 s by now
    with redis_at(port, tmp_path):
        sent_at_last(hints, "after")
        began = time.monotonic()
        assert done.wait(30)
        assert time.monotonic() - began < 3
        worker.__exit__(None, None, None)
    assert order == ["before", "after"]
    hints.close()
    app.close()


def test_the_sweeper_tells_of_urgent_jobs_with_their_urgency(
    hints: Hints, empty_redis: str, tmp_path: Path
) -> None:
    clock = Clock()
    ledger = open_ledger(ledger_in(tmp_path), actor="test", now=clock)
    ledger.heard(SERIES, STUDY, "MR1", 20)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "quiet", revision=1)
    urgencies = (Urgency.ROUTINE, Urgency.HIGH, Urgency.STAT)
    jobs = [replace(new_job(volume=number), urgency=int(each)) for number, each in enumerate(urgencies, 1)]
    ledger.route_series(SERIES, "3 jobs", "because", jobs)
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    site = Site.model_validate(values).model_copy(update={"home": tmp_path})
    Sweeper(site, ledger, hints).sweep()
    queue = inference_queue(jobs[0].submodel)
    assert hints.waiting(queue) == 3
    assert taken(empty_redis, [queue], 3) == [job.id for job in reversed(jobs)]
    assert {job.state for job in ledger.list_jobs()} == {JobState.QUEUED}
    ledger.close()
