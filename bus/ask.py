"""Ask `state`, `query` or the trader's control socket: once, or again and again over one socket."""

from typing import Any, Final

import zmq

from bus.protocol.messages import decode_map, encode_map
from markets.errors import DecodeError, KalshiBusError

from .sockets import MAX_ANSWER, connect, make
from .threads import Owner

CONNECT_MS: Final = 250
"""How long to wait for a server that may just be starting; nothing is queued for an absent one."""


class NoAnswer(KalshiBusError):
    """Nobody answered in time: is the process behind this endpoint up?"""


def ask(
    context: zmq.Context[Any], endpoint: str, question: dict[str, Any], timeout_ms: int = 2_000
) -> dict[str, Any]:
    """Ask one question, as scripts, the doctor and tests do, and wait for a server that is not up yet.

    Returns the answer's map; an answer that is an error is returned like any other.

    Raises:
        NoAnswer: none came within `timeout_ms`.
        DecodeError: the answer is not a msgpack map.
        BadRecord: the question cannot be sent; the message names the member.
    """
    socket = make(context, zmq.REQ, MAX_ANSWER)
    try:
        connect(socket, endpoint)
        socket.send(encode_map(question))
        return _answer(socket, endpoint, question, timeout_ms)
    finally:
        socket.close()


class Asker:
    """One DEALER socket and one question at a time. The thread that asks first owns it and closes it.

    After a question without an answer the socket is thrown away: what is queued in it must not reach a server
    that comes later. A command is carried out now or not at all, as far as this side can ensure it.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self._context = context
        self._endpoint = endpoint
        self._socket: zmq.Socket[bytes] | None = None
        self._id = 0
        self._owner = Owner(f"the socket that asks {endpoint}")

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        """Return the answer's map; an answer that is an error is returned like any other.

        Raises:
            NoAnswer: nobody is there, or none came within `timeout_ms`.
            DecodeError: the answer is not a msgpack map.
            BadRecord: the question cannot be sent; the message names the member.
        """
        self._owner.check()
        self._id += 1
        try:
            return self._ask({**question, "id": self._id}, timeout_ms)
        except (NoAnswer, DecodeError):
            self.close()
            raise

    def close(self) -> None:
        """Close the socket. A later question opens another."""
        self._owner.check()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        if self._socket is None:
            self._socket = make(self._context, zmq.DEALER, MAX_ANSWER)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            connect(self._socket, self._endpoint)
        socket = self._socket
        try:
            # A server may go away a moment later; then the poll or the send says so.
            if not socket.poll(min(CONNECT_MS, timeout_ms), zmq.POLLOUT):
                raise zmq.Again
            socket.send_multipart((b"", encode_map(question)), zmq.NOBLOCK)
        except zmq.Again:
            raise NoAnswer(f"{self._endpoint}: nobody is there") from None
        answer = _answer(socket, self._endpoint, question, timeout_ms)
        if answer.get("id") != question["id"]:
            raise NoAnswer(f"{self._endpoint}: answered another question than {question.get('op')!r}")
        return answer


def _answer(
    socket: zmq.Socket[bytes], endpoint: str, question: dict[str, Any], timeout_ms: int
) -> dict[str, Any]:
    if not socket.poll(timeout_ms):
        raise NoAnswer(f"{endpoint}: no answer to {question.get('op')!r} within {timeout_ms} ms")
    frames: list[bytes] = socket.recv_multipart()
    answer: dict[str, Any] = decode_map(next(filter(None, frames), b""), dict[str, Any])  # less the delimiter
    return answer
