"""What peers send that are none of ours, to any socket of ours."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack

HELLO_TLS = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))


def old_zmtp(*frames: bytes) -> bytes:
    """An anonymous ZMTP 1.0 peer that sends one message: that version has no handshake."""
    parts = [b"\x01\x00"]
    for number, frame in enumerate(frames):
        parts += [bytes((len(frame) + 1, number < len(frames) - 1)), frame]
    return b"".join(parts)


HOSTILE = {
    "raw zmtp 1": b"\x01\x00\x05\x00hello",
    "zmtp 1 question": old_zmtp(b"", msgpack.packb({"op": "ping", "id": "hostile"})),
    "zmtp 1 command": old_zmtp(b"", msgpack.packb({"op": "kill", "id": "hostile"})),
    "zmtp 1 subscription": old_zmtp(b"\x01"),
    "http post": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n\x01\x00\x0a\x01aaaaaaaa",
    "random": random.Random(1).randbytes(3_000),
    "tls hello": HELLO_TLS,
    "half a greeting": b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03",
    "nothing": b"",
    "greeting and a huge frame": (
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48) + b"\x06" + (2**62).to_bytes(8, "big") + b"x" * 1000
    ),
}

_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


@contextmanager
def raw_subscriber(port: int) -> Iterator[socket.socket]:
    """A peer that speaks ZMTP 3 and has said hello; what it sends from here on are frames."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48))
        greeting = b""
        while len(greeting) < 64:
            greeting += peer.recv(64 - len(greeting))
        peer.sendall(b"\x04" + bytes([len(_READY)]) + _READY)
        peer.recv(1)  # its READY begins
        yield peer
