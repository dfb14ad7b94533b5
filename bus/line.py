"""Line: the two sockets that a replica hears and asks through. One thread makes, uses and closes them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import zmq

from bus.protocol.asks import Ask
from bus.protocol.messages import encode_map

from .sockets import MAX_ANSWER, MAX_FEED, make
from .threads import Owner
from .wake import Wake

POLL_MS: Final = 50
DRAIN: Final = 1_000
DRAIN_BYTES: Final = 4 * 1_048_576


class Line:
    """SUB to a feed, DEALER to whoever answers op `snapshot`; they belong to the thread that makes this.

    Args:
        feed, snapshots: their endpoints.
        prefixes: topics to subscribe to.
    """

    def __init__(self, context: zmq.Context[Any], feed: str, snapshots: str, prefixes: Sequence[str]) -> None:
        self._owner = Owner("the sockets of a replica")
        self._owner.take()
        self._context = context
        self._feed = feed
        self._prefixes = tuple(prefixes)
        self._dealer = make(context, zmq.DEALER, MAX_ANSWER)
        self._dealer.setsockopt(zmq.IMMEDIATE, 1)  # no question waits in a queue for a server that is gone
        self._dealer.connect(snapshots)
        self._subscriber = self._subscribe()

    def heard(self) -> list[bytes]:
        """Return the feed messages that are there, at most DRAIN and not many more than DRAIN_BYTES."""
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

        This costs less than a poll before a receive, so who waits for nothing else does it.
        """
        self._owner.check()
        try:
            return [self._subscriber.recv()]
        except zmq.Again:
            return []

    def wait(self, wake: Wake | None = None, *, feed: bool = True) -> None:
        """Wait until an answer, `wake` or (with `feed`) a feed message is there, at most POLL_MS."""
        self._owner.check()
        wanted: list[Any] = [self._dealer]
        if feed:
            wanted.append(self._subscriber)
        if wake is not None:
            wanted.append(wake.fileno())
        zmq.select(wanted, [], [], POLL_MS / 1_000)

    def answers(self) -> Iterator[list[bytes]]:
        """Yield the answers that are there, as frames."""
        self._owner.check()
        with contextlib.suppress(zmq.Again):
            while True:
                yield self._dealer.recv_multipart(zmq.NOBLOCK)

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
        try:
            self._dealer.send_multipart([b"", encode_map(question)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def rebuild(self) -> None:
        """Connect to the feed anew."""
        self._owner.check()
        self._subscriber.close()
        self._subscriber = self._subscribe()

    def close(self) -> None:
        """Close the sockets."""
        self._owner.check()
        self._subscriber.close()
        self._dealer.close()

    def _subscribe(self) -> zmq.Socket[bytes]:
        subscriber = make(self._context, zmq.SUB, MAX_FEED)
        subscriber.setsockopt(zmq.RCVTIMEO, POLL_MS)
        for prefix in self._prefixes:
            subscriber.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        subscriber.connect(self._feed)
        return subscriber
