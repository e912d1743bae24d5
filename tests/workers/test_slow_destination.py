"""A destination that hangs: it keeps its own deliveries, and neither those of others nor the encoder's threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers import turns
from workers.turns import Turn, Turns

THREADS = 4


class Post:
    """Deliveries by number; those below 100 go to a destination that answers when it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.sent: list[int] = []
        self.hanging = 0
        self.most_hanging = 0
        self._lock = threading.Lock()

    def send(self, number: int) -> None:
        if number < 100:
            with self._lock:
                self.hanging += 1
                self.most_hanging = max(self.hanging, self.most_hanging)
            assert self.go_on.wait(20)
            with self._lock:
                self.hanging -= 1
        self.sent.append(number)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def turn(number: int, urgency: int = 0) -> Turn:
    return Turn(-urgency, number, "slow" if number < 100 else "quick")


def test_all_deliveries_to_a_hanging_destination_leave_threads_for_the_others_and_are_sent_later() -> None:
    places, post, again = Turns(), Post(), list[Turn]()
    with ThreadPoolExecutor(THREADS) as pool:
        slow = [pool.submit(places.go, turn(n), THREADS, post.send, again.append) for n in range(10)]
        wait_until(lambda: post.hanging == THREADS // 2)
        quick = [pool.submit(places.go, turn(n), THREADS, post.send, again.append) for n in range(100, 110)]
        wait_until(lambda: {n for n in post.sent if n >= 100} == set(range(100, 110)))
        encoded = pool.submit(lambda: "encoded")
        assert encoded.result(10) == "encoded"
        assert post.hanging == THREADS // 2
        post.go_on.set()
        for each in (*slow, *quick):
            each.result(20)
    assert sorted(post.sent) == [*range(10), *range(100, 110)]
    assert (post.most_hanging, again) == (THREADS // 2, [])


def test_what_waits_for_a_place_goes_by_its_urgency() -> None:
    places, post = Turns(), Post()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(places.go, turn(1), 2, post.send, lambda _: None)
        wait_until(lambda: post.hanging == 1)
        for number, urgency in ((2, 0), (3, 2), (4, 1), (3, 2)):
            places.go(turn(number, urgency), 2, post.send, lambda _: None)  # returns at once: no place
        post.go_on.set()
        first.result(20)
    assert post.sent == [1, 3, 4, 2]


def test_a_thread_that_carried_on_long_enough_puts_the_next_one_back_on_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "CARRY_ON_SECONDS", 0.0)
    places, post, again = Turns(), Post(), list[Turn]()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(places.go, turn(1), 2, post.send, again.append)
        wait_until(lambda: post.hanging == 1)
        places.go(turn(2), 2, post.send, again.append)
        post.go_on.set()
        first.result(20)
    assert (post.sent, [each.delivery_id for each in again]) == ([1], [2])


def test_a_step_that_breaks_gives_its_place_back() -> None:
    places = Turns()

    def breaks(_: int) -> None:
        raise RuntimeError("no")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            places.go(turn(1), 2, breaks, lambda _: None)
