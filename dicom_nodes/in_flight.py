"""Fragments of data sets in; their bytes in memory out, within a budget that all associations share.

A whole data set is gathered in memory before anybody sees it. What would pass the budget is read from the network
and thrown away but for its head, which says of which series it is, so that its sender can be answered
(A700: it may send again) and the association goes on.
"""

import threading
from io import BytesIO
from typing import Any

HEAD_BYTES = 1 << 20
"""As much of a refused data set is kept; what tells its series comes before, but in an object that nobody makes."""
KEPT_BYTES = 1 << 20
"""Of memory that an association keeps from one data set to the next, uncounted."""
_GROWTH_BYTES = 16 << 20


class Budget:
    """Bytes that are in memory and not durable yet; safe to use from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held = 0
        self._most = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What is in memory now."""
        return self._held

    @property
    def most_bytes(self) -> int:
        """The most that ever was."""
        return self._most

    def take(self, more: int, own: int) -> bool:
        """Take bytes for a data set that holds `own` already; one that is alone may pass the budget."""
        with self._lock:
            if self._held + more > self.limit_bytes and self._held > own:
                return False
            self._held += more
            self._most = max(self._most, self._held)
            return True

    def give_back(self, bytes_: int) -> None:
        """They are durable, or nobody wants them."""
        with self._lock:
            self._held -= bytes_


class DataSetInFlight(BytesIO):
    """An encoded data set while it arrives; only its head, with `refused` set, where the budget allowed no more."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget
        self._own = 0
        self.refused = False

    def write(self, data: Any) -> int:
        """Add a fragment, or throw it away once there was no room for one."""
        if not self.refused and not self._budget.take(len(data), self._own):
            self.refused = True
            self.truncate(HEAD_BYTES)
            self.done()
        if self.refused:
            super().write(memoryview(data)[: max(0, HEAD_BYTES - self.tell())])
            return len(data)
        self._own += len(data)
        return super().write(data)

    def done(self) -> None:
        """Its bytes are durable or not wanted; twice is once. Else it is counted out when it is freed."""
        own, self._own = self._own, 0
        if own:
            self._budget.give_back(own)

    def __del__(self) -> None:
        self.done()


class DataSetReceived:
    """An encoded data set while it is received into memory of its own; kept within a budget as `DataSetInFlight`.

    `room` gives where the next bytes go and `received` says how many went there.
    """

    def __init__(self, budget: Budget, memory: bytearray | None = None) -> None:
        self._budget = budget
        self._memory = bytearray() if memory is None else memory
        """May be larger than what was received, and used before."""
        self._size = 0
        self._own = 0
        self.refused = False

    def room(self, wanted: int) -> memoryview:
        """Memory for as many bytes at most; what is written there after a refusal may be thrown away."""
        more = self._size + wanted - self._own
        if not self.refused and more > 0:
            if self._budget.take(more, self._own):
                self._own += more
            else:
                self._refuse()
        if len(self._memory) < self._size + wanted:
            self._grow(max(wanted, min(len(self._memory), _GROWTH_BYTES)))
        return memoryview(self._memory)[self._size : self._size + wanted]

    def received(self, number: int) -> None:
        """Count the bytes that were written into the last `room`."""
        self._size += number
        if self.refused:
            self._size = min(self._size, HEAD_BYTES)

    def add(self, fragment: bytes | memoryview) -> None:
        """Copy a fragment to the end."""
        self.room(len(fragment))[:] = fragment
        self.received(len(fragment))

    def getbuffer(self) -> memoryview:
        """What was received."""
        return memoryview(self._memory)[: self._size]

    def done(self) -> bytearray | None:
        """Its bytes are durable or not wanted; the memory, if it is worth being kept for the next one."""
        own, self._own = self._own, 0
        if own:
            self._budget.give_back(own)
        memory, self._memory, self._size = self._memory, bytearray(), 0
        return memory if len(memory) <= KEPT_BYTES else None

    def __del__(self) -> None:
        self.done()

    def _grow(self, more: int) -> None:
        try:
            self._memory.extend(bytes(more))
        except BufferError:  # somebody still looks at what was in it before
            self._memory = self._memory[: self._size] + bytes(more)

    def _refuse(self) -> None:
        self.refused = True
        own, self._own = self._own, 0
        self._budget.give_back(own)
        self._size = min(self._size, HEAD_BYTES)
        self._memory = self._memory[: self._size]
