"""Sends requests to the exchange: several at once, each on a connection of its own, the most urgent first.

Nothing is ever resent from here: the result of a request, or that it never left, is reported once, and the
caller decides.
"""

import heapq
import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from bus.clock import Clock
from publisher.kalshi.signing import KeySource

from .connection import Check, Connection
from .requests import ORDERS
from .steps import Reply, Request

log = structlog.get_logger()

WRITERS: Final = 4
READERS: Final = 2
WARM_S: Final = 1.0
"""How often an idle connection is checked, and reopened if the other side has closed it; also how often the
next order's request is signed ahead."""

SOON_S: Final = 0.02
"""How soon after a request that is first done."""

Answered = Callable[[Request, Reply], None]

_RANKS: Final[Mapping[str, int]] = {"cancel": 0, "renew": 1, "create": 2, "read": 3}


class Sender:
    """The sending threads. Any thread may call this.

    Writes and reads have threads of their own, so that a list that takes seconds holds up no cancel.

    Args:
        check: called at the last moment before a request leaves, in the thread that sends it.
        answered: called once with the result of each request, in the thread that sent it.

    Attributes:
        ahead_ms: how far the exchange's clock is ahead of ours; set by the owner.
        clock_offset_s: how far our clock is ahead of the exchange's, as of the last answer; None before.
    """

    def __init__(
        self,
        base_url: str,
        keys: KeySource,
        clock: Clock,
        check: Check,
        answered: Answered,
        writers: int = WRITERS,
        readers: int = READERS,
    ) -> None:
        self.ahead_ms = 0
        self.clock_offset_s: float | None = None
        self._clock = clock
        self._answered = answered
        self._lock = threading.Lock()
        self._wakes = {reads: threading.Condition(self._lock) for reads in (False, True)}
        self._heaps: dict[bool, list[tuple[int, int, Request]]] = {False: [], True: []}
        self._count = 0
        self._stopping = False
        kinds = [False] * writers + [True] * readers
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(Connection(base_url, keys, clock, check, lambda: self.ahead_ms), reads),
                name=f"send-{number}",
                daemon=True,  # a hanging name lookup must not keep the process from ending
            )
            for number, reads in enumerate(kinds)
        ]

    def start(self) -> None:
        """Start the threads; they connect before there is anything to send."""
        for thread in self._threads:
            thread.start()

    def send(self, request: Request) -> None:
        """Send a request now."""
        reads = request.method == "GET"
        with self._lock:
            stopping = self._stopping
            if not stopping:
                self._count += 1
                heapq.heappush(self._heaps[reads], (_RANKS[request.urgency], self._count, request))
                self._wakes[reads].notify()
        if stopping:
            self._answered(request, Reply(None, trouble="stopped", left=False))

    def stop(self, within_s: float) -> None:
        """Send nothing more, and wait for the answers under way.

        Requests still waiting are answered: they never left.
        """
        with self._lock:
            self._stopping = True
            left = [entry[2] for heap in self._heaps.values() for entry in heap]
            for reads, heap in self._heaps.items():
                heap.clear()
                self._wakes[reads].notify_all()
        for request in left:
            self._answered(request, Reply(None, trouble="stopped", left=False))
        until_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9))

    def _run(self, connection: Connection, reads: bool) -> None:
        try:
            connection.warm()
            while (request := self._next(connection, reads)) is not None:
                reply = connection.exchange(request)
                self.clock_offset_s = connection.clock_offset_s
                self._answered(request, reply)
        finally:
            connection.close()

    def _next(self, connection: Connection, reads: bool) -> Request | None:
        heap, wake = self._heaps[reads], self._wakes[reads]
        wait_s = SOON_S
        while True:
            with self._lock:
                if not heap and not self._stopping:
                    wake.wait(wait_s)
                if self._stopping:
                    return None
                if heap:
                    return heapq.heappop(heap)[2]
            connection.warm()
            if not reads:
                connection.sign_ahead("POST", ORDERS)
            wait_s = WARM_S
