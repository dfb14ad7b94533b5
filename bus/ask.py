"""Ask `state` or `query` one question, as scripts, the doctor and tests do."""

from typing import Any

import zmq

from bus.protocol.messages import decode_map, encode_map
from markets.errors import KalshiBusError

from .replica import MAX_ANSWER
from .sockets import make


class NoAnswer(KalshiBusError):
    """Nobody answered in time: is the process behind this endpoint up?"""


def ask(
    context: zmq.Context[Any], endpoint: str, question: dict[str, Any], timeout_ms: int = 2_000
) -> dict[str, Any]:
    """Return the answer's map; an answer that is an error is returned like any other.

    Raises:
        NoAnswer: none came within `timeout_ms`.
        DecodeError: it is no msgpack map.
    """
    socket = make(context, zmq.REQ, MAX_ANSWER)
    try:
        socket.connect(endpoint)
        socket.send(encode_map(question))
        if not socket.poll(timeout_ms):
            raise NoAnswer(f"{endpoint}: no answer to {question.get('op')!r} within {timeout_ms} ms")
        frames: list[bytes] = socket.recv_multipart()
    finally:
        socket.close()
    answer: dict[str, Any] = decode_map(frames[0], dict[str, Any])
    return answer
