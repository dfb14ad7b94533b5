"""Passes feed and answers on, over TCP with CURVE, to the machines whose keys it knows. docs/remote.md.

It is one more local reader: SUB to the feed, DEALER to `query`; towards the machines XPUB and ROUTER. A
forwarder that follows another one is a branch of a tree. Messages pass unchanged.
"""

import contextlib
from collections.abc import Iterable
from typing import Any, Final

import structlog
import zmq

from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.messages import decode_map, encode_map
from markets.errors import DecodeError, StartupError

from .ask import Asker
from .clock import Clock
from .curve import DOMAIN, Gate, Handshakes, Keyring, Zap
from .metrics import Figure, Telling
from .server import COPY_BELOW, ENVELOPE_MAX, SUBSCRIPTIONS_WAITING
from .sockets import (
    ANSWERS_WAITING,
    MAX_ANSWER,
    MAX_FEED,
    MAX_QUESTION,
    QUESTIONS_WAITING,
    bind,
    connect,
    make,
)
from .threads import Owner

log = structlog.get_logger()

DRAIN: Final = 1_000
QUESTIONS: Final = 100
LOOK_MS: Final = 1_000
"""How often revoked keys are looked for."""

REBIND_MS: Final = 2_000
"""How long a port of ours may stay taken after it was closed."""

RETRY_MS: Final = 200


class Forwarder:
    """One feed and one `query`, for other machines. Everything belongs to the thread that makes it.

    Args:
        feed, query: endpoints of the one it follows.
        feed_door, query_door: ``tcp://`` addresses that it listens on.
        keyring: its own key, and who is let in.

    Attributes:
        messages, bytes, questions, lost: what was passed on, and answers that nobody took.
        gate: who was let in.

    Raises:
        StartupError: it has no key, or a door cannot be used.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        query: str,
        feed_door: str,
        query_door: str,
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self._owner = Owner("the sockets of a forwarder")
        self._owner.take()
        self._context = context
        self._clock = clock
        self._followed = feed, query
        self._doors = feed_door, query_door
        self._key = keyring.server()
        self.gate = Gate(keyring)
        self.messages = self.bytes = self.questions = self.lost = 0
        self._looked_ms = 0
        self._handshakes: list[Handshakes] = []
        self._poller = zmq.Poller()
        with contextlib.ExitStack() as undo:
            self._zap = Zap(context, self.gate)
            undo.callback(self._zap.close)
            self._poller.register(self._zap.socket, zmq.POLLIN)
            self._follow()
            undo.callback(self._leave)
            self._open()
            undo.pop_all()

    def serve(self, stop: Stop) -> None:
        """Pass on until `stop`."""
        self._owner.check()
        self._poller.register(stop.fileno(), zmq.POLLIN)
        try:
            while not stop.is_set():
                ready = dict(self._poller.poll(LOOK_MS))
                if self._zap.socket in ready:
                    self._zap.serve()
                if self._upstream in ready:
                    self._pass_feed()
                if self._pub in ready:
                    self._take_subscriptions()
                if self._router in ready:
                    self._pass_questions()
                if self._answerer in ready:
                    self._pass_answers()
                self._look()
        finally:
            self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._owner.check()
        self._leave()
        for socket in (self._pub, self._router):
            socket.close()
        self._zap.close()

    def _follow(self) -> None:
        self._upstream = make(self._context, zmq.SUB, MAX_FEED)
        self._upstream.setsockopt(zmq.SUBSCRIBE, b"")
        self._answerer = make(self._context, zmq.DEALER, MAX_ANSWER)
        self._answerer.setsockopt(zmq.IMMEDIATE, 1)  # no question waits for a server that is gone
        self._handshakes.clear()
        for socket, endpoint in zip((self._upstream, self._answerer), self._followed, strict=True):
            self._poller.register(socket, zmq.POLLIN)
            if endpoint.startswith("tcp://"):
                self._handshakes.append(Handshakes(socket, endpoint))
            connect(socket, endpoint)

    def _leave(self) -> None:
        for handshakes in self._handshakes:
            handshakes.close()
        for socket in (self._upstream, self._answerer):
            self._poller.unregister(socket)
            socket.close()

    def _open(self) -> None:
        self._pub = self._guarded(zmq.XPUB, MAX_QUESTION)
        self._pub.setsockopt(zmq.RCVHWM, SUBSCRIPTIONS_WAITING)
        self._router = self._guarded(zmq.ROUTER, MAX_QUESTION)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.setsockopt(zmq.RCVHWM, QUESTIONS_WAITING)
        self._router.setsockopt(zmq.SNDHWM, ANSWERS_WAITING)
        try:
            self.feed_address = bind(self._pub, "forward_feed", self._doors[0])
            self.query_address = bind(self._router, "forward_query", self._doors[1])
        except BaseException:
            self._pub.close()
            self._router.close()
            raise
        self._doors = self.feed_address, self.query_address
        for socket in (self._pub, self._router):
            self._poller.register(socket, zmq.POLLIN)

    def _guarded(self, kind: int, max_bytes: int) -> zmq.Socket[bytes]:
        socket = make(self._context, kind, max_bytes)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._key
        return socket

    def _look(self) -> None:
        """Close the doors on a revoked key: clients that are still let in come back through new ones."""
        now_ms = self._clock.monotonic_ns() // 1_000_000
        if now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        problems = [problem for found in self._handshakes if (problem := found.trouble()) is not None]
        if problems:
            log.warning("curve.no_entry", problem=problems[0])
            self._leave()
            self._follow()  # once libzmq was refused it does not try again
        if not (out := self.gate.look()):
            return
        log.warning("forward.revoked", keys=[key.decode() for key in out])
        for socket in (self._pub, self._router):
            self._poller.unregister(socket)
            socket.close()
        while True:
            try:
                self._open()
                return
            except StartupError:
                # libzmq closes in its own thread, and meanwhile asks us who may come in.
                if self._clock.monotonic_ns() // 1_000_000 - now_ms > REBIND_MS:
                    raise
                if self._zap.socket.poll(10):
                    self._zap.serve()

    def _pass_feed(self) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(DRAIN):
                frame = self._upstream.recv(zmq.NOBLOCK)
                self.messages += 1
                self.bytes += len(frame)
                self._pub.send(frame, 0, len(frame) < COPY_BELOW)

    def _take_subscriptions(self) -> None:
        # libzmq filters by them; the whole feed is here.
        with contextlib.suppress(zmq.Again):
            for _ in range(QUESTIONS):
                self._pub.recv(zmq.NOBLOCK)

    def _pass_questions(self) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(QUESTIONS):
                frames: list[bytes] = self._router.recv_multipart(zmq.NOBLOCK)
                if not 3 <= len(frames) <= ENVELOPE_MAX or frames[-2]:
                    self.lost += 1  # without the delimiter an answer would not find its way back
                    continue
                self.questions += 1
                try:
                    self._answerer.send_multipart(frames, zmq.NOBLOCK)
                except zmq.Again:
                    self._answer([*frames[:-1], _not_ready(frames[-1])])

    def _pass_answers(self) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(QUESTIONS):
                self._answer(self._answerer.recv_multipart(zmq.NOBLOCK))

    def _answer(self, frames: list[bytes]) -> None:
        try:
            self._router.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.lost += 1


def _not_ready(question: bytes) -> bytes:
    try:
        id_ = decode_map(question, dict[str, Any]).get("id")
    except DecodeError:
        id_ = None
    error = {
        "code": "not_ready",
        "message": "nobody answers questions where these are passed on",
        "retry_ms": RETRY_MS,
    }
    return encode_map({"ok": False, "id": id_, "error": error})


def run(settings: Settings, stop: Stop, context: zmq.Context[Any], clock: Clock) -> int:
    """Pass on until `stop`; return the exit code."""
    doors = settings.forward_feed, settings.forward_query
    forwarder = Forwarder(context, settings.feed, settings.query, *doors, Keyring(settings.keyring), clock)
    log.info("forward.begins", feed=forwarder.feed_address, query=forwarder.query_address)

    def figures(_asker: Asker) -> Iterable[Figure]:
        yield Figure("forwarder_messages", (), forwarder.messages)
        yield Figure("forwarder_bytes", (), forwarder.bytes)
        yield Figure("forwarder_questions", (), forwarder.questions)
        yield Figure("forwarder_lost", (), forwarder.lost)
        yield Figure("forwarder_handshakes", ("admitted",), forwarder.gate.admitted)
        yield Figure("forwarder_handshakes", ("refused",), forwarder.gate.refused)

    with Telling(context, settings, "forwarder", figures).while_running(stop):
        forwarder.serve(stop)
    log.info(
        "forward.done", messages=forwarder.messages, bytes=forwarder.bytes, questions=forwarder.questions
    )
    return 0
