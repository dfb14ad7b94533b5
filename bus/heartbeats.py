"""Hears the heartbeats of several feeds and nothing else: all that a watchdog over others needs."""

from collections.abc import Mapping
from typing import Any

import zmq

from .protocol.messages import TOPIC_HEARTBEAT
from .sockets import MAX_FEED, connect, make
from .threads import Owner


class Heartbeats:
    """A SUB socket for each of several feeds. One thread.

    Args:
        feeds: endpoints by a name that the caller chooses.
    """

    def __init__(self, context: zmq.Context[Any], feeds: Mapping[str, str]) -> None:
        self._owner = Owner("the sockets that hear heartbeats")
        self._owner.take()
        self._poller = zmq.Poller()
        self._names: dict[zmq.Socket[bytes], str] = {}
        for name, endpoint in feeds.items():
            socket = make(context, zmq.SUB, MAX_FEED)
            socket.setsockopt(zmq.SUBSCRIBE, TOPIC_HEARTBEAT.encode())
            # A process that was killed and comes back is heard at once.
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, 0)
            connect(socket, endpoint)
            self._names[socket] = name
            self._poller.register(socket, zmq.POLLIN)

    def hear(self, timeout_ms: int) -> set[str]:
        """Return the names of those whose heartbeats have come, waiting for one if there is none yet."""
        self._owner.check()
        heard = set()
        for socket, _ in self._poller.poll(timeout_ms):
            assert isinstance(socket, zmq.Socket)
            heard.add(self._names[socket])
            while socket.poll(0):
                socket.recv(zmq.NOBLOCK)
        return heard

    def close(self) -> None:
        """Close the sockets."""
        self._owner.check()
        for socket in self._names:
            socket.close()
