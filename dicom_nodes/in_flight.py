"""Fragments of data sets in; their bytes in memory out, within a budget that all associations share.

pynetdicom gathers a whole data set in memory before anybody sees it. What would pass the budget is read from the
network and thrown away but for its head, which says of which series it is, so that its sender can be answered
(A700: it may send again) and the association goes on.
"""

import threading
import weakref
from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage

HEAD_BYTES = 1 << 20
"""As much of a refused data set is kept; what tells its series comes before, but in an object that nobody makes."""


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


class BudgetedDimse(DIMSEServiceProvider):  # type: ignore[misc]  # pynetdicom is untyped
    """pynetdicom's gathering of messages, with each data set within the budget."""

    def __init__(self, association: Any, budget: Budget) -> None:
        super().__init__(association)
        self._budget = budget
        self._data_sets: weakref.WeakSet[DataSetInFlight] = weakref.WeakSet()

    def forget(self) -> None:
        """Count out what came of an association that has ended."""
        for data_set in list(self._data_sets):
            data_set.done()

    def receive_primitive(self, primitive: Any) -> None:
        """Take one P-DATA; a message that begins with it has a data set that is counted."""
        if self.message is None:
            self.message: Any = DIMSEMessage()
            self.message.data_set = data_set = DataSetInFlight(self._budget)
            self._data_sets.add(data_set)
        super().receive_primitive(primitive)
