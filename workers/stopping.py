"""SIGTERM in; whether this process is to end, and when at the latest, out: known although its main thread is busy.

Python runs a signal's handler in the main thread, between two of its own instructions: a worker whose main thread
is inside a long convolution would learn of SIGTERM when that is over. The number of a signal is written to a socket
at once, and a thread reads it there.
"""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.observe import event

log = logging.getLogger(__name__)

LEAVE_SECONDS = 2.0
"""After the time to stop: for what is in hand to be handed back, before the process ends whatever it is doing."""
OVERRUN = 70
"""The exit status of a process that ended itself because a step ran too long (EX_SOFTWARE)."""


class Stopping:
    """Whether a worker process is to end; `seconds` is how long it may take for what it has in hand."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._asked = threading.Event()
        self._deadline = math.inf
        self._in_hand: list[Callable[[], None]] = []

    @property
    def asked(self) -> bool:
        """True once it was told to stop: nothing is begun any more."""
        return self._asked.is_set()

    @property
    def overdue(self) -> bool:
        """True when what is in hand has to be handed back as it is."""
        return time.monotonic() >= self._deadline

    def listen(self) -> None:
        """Hear of SIGTERM and SIGINT beside those who handle them; call it from the main thread."""
        heard, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(heard, told), name="signals", daemon=True).start()

    def _listen(self, heard: socket.socket, _told: socket.socket) -> None:
        while numbers := heard.recv(16):
            if {signal.SIGTERM, signal.SIGINT} & set(numbers):
                self.ask("told to stop", self._seconds, os.EX_OK)

    def ask(self, why: str, seconds: float, status: int) -> None:
        """End this process after so long, with an exit status, if it does not end by itself before."""
        if self.asked:
            return
        event(log, logging.INFO, "stopping", why=why, seconds=seconds)
        self._deadline = time.monotonic() + seconds
        self._asked.set()
        if status == os.EX_OK:  # what a hanging step leaves behind counts as an attempt
            threading.Thread(target=self._hand_back, args=(seconds,), name="hands back", daemon=True).start()
        threading.Thread(target=self._leave, args=(seconds, status), name="stopping", daemon=True).start()

    @contextmanager
    def handing_back(self, hand_back: Callable[[], None]) -> Iterator[None]:
        """Call `hand_back` if the block still runs when an orderly stop is overdue; the process ends soon after."""
        self._in_hand.append(hand_back)
        try:
            yield
        finally:
            self._in_hand.remove(hand_back)

    def _hand_back(self, seconds: float) -> None:
        time.sleep(seconds)
        for each in list(self._in_hand):
            each()

    def _leave(self, seconds: float, status: int) -> None:
        time.sleep(seconds + LEAVE_SECONDS)
        event(log, logging.WARNING, "stopped in the middle of a step", status=status)
        os._exit(status)  # a thread that hangs keeps an interpreter from ending in any other way
