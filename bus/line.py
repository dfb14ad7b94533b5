"""Line: the two sockets that a replica hears and asks through. One thread makes, uses and closes them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog
import zmq

from bus.protocol.asks import Ask
from bus.protocol.messages import encode_map

from .curve import Handshakes
from .sockets import MAX_ANSWER, MAX_FEED, connect, keys_of, make
from .threads import Owner
from .wake import Wake

log = structlog.get_logger()

POLL_MS: Final = 50
DRAIN: Final = 1_000
DRAIN_BYTES: Final = 4 * 1_048_576


class Line:
    """SUB to a feed, DEALER to the server that answers op `snapshot`; owned by the thread that makes this.

    Args:
        feed, snapshots: their endpoints.
        prefixes: topics to subscribe to.
        spare: endpoint that is asked for what changed, never for everything, while nobody answers at
            `snapshots`.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        prefixes: Sequence[str],
        spare: str | None = None,
    ) -> None:
        self._owner = Owner("the sockets of a replica")
        self._owner.take()
        self._context = context
        self._feed = feed
        self._said = ""
        self._handshakes: dict[zmq.Socket[bytes], Handshakes] = {}
        self._prefixes = tuple(prefixes)
        self._endpoints = [endpoint for endpoint in (snapshots, spare) if endpoint is not None]
        self._dealers = [self._asking(endpoint) for endpoint in self._endpoints]
        self._asked: tuple[int, zmq.Socket[bytes]] | None = None
        self._subscriber = self._subscribe()

    def heard(self) -> list[bytes]:
        """Return the feed messages that have arrived, at most DRAIN and not much more than DRAIN_BYTES."""
        self._owner.check()
        frames: list[bytes] = []
        size = 0
        with contextlib.suppress(zmq.Again):
            while len(frames) < DRAIN and size < DRAIN_BYTES:
                frames.append(self._subscriber.recv(zmq.NOBLOCK))
                size += len(frames[-1])
        return frames

    def hear(self) -> list[bytes]:
        """Wait for the next feed message; return none if it does not come within POLL_MS.

        This costs less than a poll before a receive, for callers that wait for nothing else.
        """
        self._owner.check()
        try:
            return [self._subscriber.recv()]
        except zmq.Again:
            return []

    def wait(self, wake: Wake | None = None, *, feed: bool = True) -> None:
        """Wait until an answer, `wake` or (with `feed`) a feed message is there, at most POLL_MS."""
        self._owner.check()
        wanted: list[Any] = [*self._dealers]
        if feed:
            wanted.append(self._subscriber)
        if wake is not None:
            wanted.append(wake.fileno())
        zmq.select(wanted, [], [], POLL_MS / 1_000)

    def answers(self) -> Iterator[list[bytes]]:
        """Yield the answers that have arrived, as frames."""
        self._owner.check()
        for dealer in self._dealers:
            with contextlib.suppress(zmq.Again):
                while True:
                    yield dealer.recv_multipart(zmq.NOBLOCK)
                    self._asked = None

    def deserted(self) -> int | None:
        """Return, once, the id of the last question if the server went away without answering it."""
        self._owner.check()
        if self._asked is None:
            return None
        id_, dealer = self._asked
        events: int = dealer.getsockopt(zmq.EVENTS)  # type: ignore[assignment]
        if events & zmq.POLLOUT:
            return None
        self._asked = None
        return id_

    def ask(self, ask: Ask) -> bool:
        """Send op `snapshot`; return whether anybody is there to take it."""
        self._owner.check()
        question: dict[str, Any] = {
            "op": "snapshot",
            "id": ask.id,
            "epoch": ask.epoch,
            "streams": list(self._prefixes),
        }
        if ask.since is not None:
            question |= {"since": ask.since, "also": list(ask.also)}
        self._ask_anew()
        dealers = self._dealers[:1] if ask.since is None else self._dealers[:: -1 if ask.spare else 1]
        for dealer in dealers:
            with contextlib.suppress(zmq.Again):
                dealer.send_multipart([b"", encode_map(question)], zmq.NOBLOCK)
                self._asked = ask.id, dealer
                return True
        return False

    def rebuild(self) -> None:
        """Connect to the feed anew."""
        self._owner.check()
        self._leave(self._subscriber)
        self._subscriber = self._subscribe()

    def close(self) -> None:
        """Close the sockets."""
        self._owner.check()
        for socket in (self._subscriber, *self._dealers):
            self._leave(socket)

    def _ask_anew(self) -> None:
        # Once a peer has refused libzmq, it does not try again.
        for index, dealer in enumerate(self._dealers):
            if dealer in self._handshakes and self._refused(dealer):
                self._leave(dealer)
                self._dealers[index] = self._asking(self._endpoints[index])

    def _refused(self, socket: zmq.Socket[bytes]) -> bool:
        """Return whether the last handshake of a socket failed; log it if that is news."""
        problem = self._handshakes[socket].trouble()
        if problem is not None and problem != self._said:
            self._said = problem
            log.warning("curve.no_entry", problem=problem)
        return problem is not None

    def _leave(self, socket: zmq.Socket[bytes]) -> None:
        if socket in self._handshakes:
            self._refused(socket)
            self._handshakes.pop(socket).close()
        socket.close()

    def _watch(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        if endpoint.startswith("tcp://") and keys_of(self._context) is not None:
            self._handshakes[socket] = Handshakes(socket, endpoint)

    def _asking(self, endpoint: str) -> zmq.Socket[bytes]:
        dealer = make(self._context, zmq.DEALER, MAX_ANSWER)
        dealer.setsockopt(zmq.IMMEDIATE, 1)  # no question is queued for a server that is gone
        self._watch(dealer, endpoint)
        connect(dealer, endpoint)
        return dealer

    def _subscribe(self) -> zmq.Socket[bytes]:
        subscriber = make(self._context, zmq.SUB, MAX_FEED)
        subscriber.setsockopt(zmq.RCVTIMEO, POLL_MS)
        for prefix in self._prefixes:
            subscriber.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        self._watch(subscriber, self._feed)
        connect(subscriber, self._feed)
        return subscriber
