"""The link to the order gateway: one DEALER socket in a thread of its own, which asks only what it is given.

Nothing is queued for an absent gateway: such a question is dropped, and its asker asks again. So each
question is a sign of life of the thread it came from, never of this one.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
import zmq

from bus.clock import Clock
from bus.protocol.messages import decode_map, encode_map
from bus.sockets import MAX_ANSWER, MAX_FEED, connect, make
from bus.threads import Owner
from bus.wake import Wake
from markets.errors import DecodeError

log = structlog.get_logger()

SILENT_MS: Final = 3_000
"""After this long without an answer the socket is thrown away, with what waits in it."""

POLL_MS: Final = 500
HINTS: Final = b"orders."
"""The topic of what becomes of orders; heartbeats say nothing new."""


class GatewayLink:
    """`ask` and `take` are for one thread; `start` and `stop` for the thread that made it.

    Args:
        endpoint: that of the gateway's ROUTER. hints: that of its PUB, None to do without.
        rouse: called in the link's thread when an answer or a hint has come.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        hints: str | None,
        clock: Clock,
        rouse: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._hints = hints
        self._clock = clock
        self._rouse = rouse
        self._questions: deque[bytes] = deque()
        self._answers: deque[dict[str, Any]] = deque()
        self._hinted = threading.Event()
        self._wake = Wake()
        self._stopping = threading.Event()
        self._owner = Owner("the socket to the order gateway")
        self._thread = threading.Thread(target=self._run, name="gateway link")

    def start(self) -> None:
        """Begin; the sockets belong to the link's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End and join the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._wake.close()

    def ask(self, id_: int, question: Mapping[str, Any]) -> None:
        """Ask soon, or never if nobody is there to take it."""
        self._questions.append(encode_map({**question, "id": id_}))
        self._wake.set()

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the answers that have come, each with the id of its question."""
        taken = []
        while self._answers:
            answer = self._answers.popleft()
            id_ = answer.get("id")
            if type(id_) is int:
                taken.append((id_, answer))
        return taken

    def take_hint(self) -> bool:
        """Whether the gateway has hinted at something new since the last call."""
        hinted = self._hinted.is_set()
        self._hinted.clear()
        return hinted

    def _run(self) -> None:
        self._owner.take()
        dealer, waits_ms = self._connect(), None
        hints = self._listen()
        try:
            while not self._stopping.is_set():
                wanted: list[Any] = [dealer, self._wake.fileno()]
                if hints is not None:
                    wanted.append(hints)
                zmq.select(wanted, [], [], POLL_MS / 1_000)
                self._wake.clear()
                now_ms = self._clock.monotonic_ns() // 1_000_000
                if self._receive(dealer):
                    waits_ms = None
                if hints is not None:
                    self._hear_hints(hints)
                while self._questions:
                    question = self._questions.popleft()
                    try:
                        dealer.send_multipart((b"", question), zmq.NOBLOCK)
                    except zmq.Again:
                        continue
                    waits_ms = now_ms if waits_ms is None else waits_ms
                if waits_ms is not None and now_ms - waits_ms > SILENT_MS:
                    # What is queued in it must not reach a gateway that wakes up later.
                    dealer.close()
                    dealer, waits_ms = self._connect(), None
        finally:
            dealer.close()
            if hints is not None:
                hints.close()
            self._rouse()

    def _connect(self) -> zmq.Socket[bytes]:
        dealer = make(self._context, zmq.DEALER, MAX_ANSWER)
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        connect(dealer, self._endpoint)
        return dealer

    def _listen(self) -> zmq.Socket[bytes] | None:
        if self._hints is None:
            return None
        hints = make(self._context, zmq.SUB, MAX_FEED)
        hints.setsockopt(zmq.SUBSCRIBE, HINTS)
        connect(hints, self._hints)
        return hints

    def _receive(self, dealer: zmq.Socket[bytes]) -> bool:
        heard = False
        while True:
            try:
                frames: list[bytes] = dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            heard = True
            try:
                answer: dict[str, Any] = decode_map(next(filter(None, frames), b""), dict[str, Any])
            except DecodeError as error:
                log.warning("gateway.answer_refused", error=str(error))
                continue
            self._answers.append(answer)
        if heard:
            self._rouse()
        return heard

    def _hear_hints(self, hints: zmq.Socket[bytes]) -> None:
        heard = False
        while True:
            try:
                hints.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            heard = True
        if heard:
            self._hinted.set()
            self._rouse()
