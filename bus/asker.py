"""Ask one server again and again over a socket that stays open: how the dashboard talks to the trader."""

from typing import Any, Final

import zmq

from bus.protocol.messages import decode_map, encode_map
from markets.errors import DecodeError

from .ask import NoAnswer
from .replica import MAX_ANSWER
from .sockets import make

CONNECT_MS: Final = 250
"""How long to wait for a server that may just be starting; nothing is queued for one that is not there."""


class Asker:
    """One DEALER socket and one question at a time. The thread that asks first owns it and closes it.

    After a question without an answer the socket is thrown away: what waits in it must not reach a server
    that comes later. A command is carried out now or not at all, as far as this side can see to it.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self._context = context
        self._endpoint = endpoint
        self._socket: zmq.Socket[bytes] | None = None
        self._id = 0

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        """Return the answer's map; an answer that is an error is returned like any other.

        Raises:
            NoAnswer: nobody is there, or none came within `timeout_ms`.
            DecodeError: it is no msgpack map.
        """
        self._id += 1
        try:
            return self._ask({**question, "id": self._id}, timeout_ms)
        except (NoAnswer, DecodeError):
            self.close()
            raise

    def close(self) -> None:
        """Close the socket. A later question opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        if self._socket is None:
            self._socket = make(self._context, zmq.DEALER, MAX_ANSWER)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.connect(self._endpoint)
        socket = self._socket
        if not socket.poll(min(CONNECT_MS, timeout_ms), zmq.POLLOUT):
            raise NoAnswer(f"{self._endpoint}: nobody is there")
        socket.send_multipart((b"", encode_map(question)), zmq.NOBLOCK)
        if not socket.poll(timeout_ms):
            raise NoAnswer(f"{self._endpoint}: no answer to {question['op']!r} within {timeout_ms} ms")
        frames: list[bytes] = socket.recv_multipart()
        answer: dict[str, Any] = decode_map(frames[-1], dict[str, Any])
        if answer.get("id") != question["id"]:
            raise NoAnswer(f"{self._endpoint}: answered another question than {question['op']!r}")
        return answer
