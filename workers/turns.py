"""Deliveries and threads in; who goes now out, so that a slow destination holds neither the others nor the encoder.

Of the threads that encode and deliver, one destination has at most half, and all destinations together all but one.
What finds no place waits here, the most urgent first, for a thread that comes free; the ledger still holds it, and
after a restart the sweeper tells of it again.
"""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

CARRY_ON_SECONDS = 5.0
"""A thread goes on for so long with what waited for a place, before it looks at the queue again."""


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """One delivery that wants a place at its destination; the least goes first."""

    less_urgent: int
    """The negative of its `Urgency`."""
    delivery_id: int
    destination: str = field(compare=False)


class Turns:
    """The places at the destinations, for the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()
        self._waiting: dict[str, list[Turn]] = {}
        """By destination, a heap."""

    def go(self, turn: Turn, threads: int, step: Callable[[int], None], again: Callable[[Turn], None]) -> None:
        """Do `step` with a delivery if there is a place, and then with those that waited for one.

        After `CARRY_ON_SECONDS`, `again` gets one of those that still wait, to put it back on the queue.
        """
        if not self._take(turn, threads):
            return
        until = time.monotonic() + CARRY_ON_SECONDS
        while True:
            try:
                step(turn.delivery_id)
            finally:
                self._leave(turn)
            following = self._next(threads)
            if following is None:
                return
            if time.monotonic() >= until:
                again(following)
                return
            if not self._take(following, threads):  # another thread was faster, and will come to it
                return
            turn = following

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            self._sending[turn.destination] -= 1

    def _next(self, threads: int) -> Turn | None:
        """The most urgent of those that wait and would find a place now; it waits no longer."""
        with self._lock:
            able = [each for name, each in self._waiting.items() if each and self._free(name, threads)]
            return heapq.heappop(min(able, key=lambda waiting: waiting[0])) if able else None

    def _take(self, turn: Turn, threads: int) -> bool:
        with self._lock:
            if self._free(turn.destination, threads):
                self._sending[turn.destination] += 1
                return True
            waiting = self._waiting.setdefault(turn.destination, [])
            if turn not in waiting:
                heapq.heappush(waiting, turn)
            return False

    def _free(self, destination: str, threads: int) -> bool:
        one, all_ = max(1, threads // 2), max(1, threads - 1)
        return self._sending[destination] < one and self._sending.total() < all_
