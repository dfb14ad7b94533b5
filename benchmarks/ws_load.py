"""WebSocket clients in a process of their own: ``python -m benchmarks.ws_load``, with a plan on stdin.

All connect, subscribe to their markets, and read for some seconds. It prints one JSON object: the number of
frames of each type and, for a sample of them, market, time of the record and time of arrival. With
`reports` in the plan, it repeats this so many times, and after each, `replaced` clients leave and come back.
"""

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter, deque
from typing import Any, Final

SAMPLE: Final = 10
_STAMPED: Final = re.compile(rb'"market_ticker":"([^"]+)".*?"ts_ms":(\d+)')
_TYPE: Final = re.compile(rb'\{"type":"(\w+)"')
UPGRADE: Final = (
    "GET /trade-api/ws/v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def opened(port: int) -> socket.socket:
    """Return an open WebSocket connection."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.sendall(UPGRADE.encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert b" 101 " in head, head
    return sock


def say(sock: socket.socket, command: dict[str, Any]) -> None:
    """Send a command; a mask of zeros is valid."""
    text = json.dumps(command).encode()
    size = bytes((0xFE,)) + len(text).to_bytes(2) if len(text) > 125 else bytes((0x80 | len(text),))
    sock.sendall(b"\x81" + size + b"\0\0\0\0" + text)


def main() -> None:
    """Carry out the plan."""
    plan = json.load(sys.stdin)
    selector = selectors.DefaultSelector()
    clients: deque[tuple[socket.socket, list[str]]] = deque()

    def join(tickers: list[str]) -> None:
        sock = opened(plan["port"])
        channels = plan["channels"]
        say(sock, {"id": 1, "cmd": "subscribe", "params": {"channels": channels, "market_tickers": tickers}})
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, (sock, bytearray()))
        clients.append((sock, tickers))

    for tickers in plan["clients"]:
        join(tickers)
    print("connected", flush=True)
    begun = time.monotonic() + plan["settle_s"]
    for _ in range(plan.get("reports", 1)):
        counts: Counter[str] = Counter()
        samples: list[tuple[str, int, int]] = []
        size = 0
        while (now := time.monotonic()) < begun + plan["seconds"]:
            for key, _ in selector.select(0.1):
                found = (counts, samples) if now >= begun else (Counter[str](), [])
                sock, held = key.data
                held += sock.recv(262_144)
                size += _take(sock, held, *found)
        print(json.dumps({"counts": counts, "samples": samples, "bytes": size}), flush=True)
        for _ in range(plan.get("replaced", 0)):
            sock, tickers = clients.popleft()
            selector.unregister(sock)
            sock.close()
            join(tickers)
        begun += plan["seconds"]


def _take(
    sock: socket.socket, held: bytearray, counts: Counter[str], samples: list[tuple[str, int, int]]
) -> int:
    """Take the complete frames; return their bytes."""
    now_ns, at, end = time.time_ns(), 0, len(held)
    while end - at >= 2:
        size, start = held[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(held[at + 2 : at + 4]), at + 4
        elif size == 127:
            size, start = int.from_bytes(held[at + 2 : at + 10]), at + 10
        if end < start + size:
            break
        if held[at] == 0x89:
            sock.sendall(b"\x8a\x80\0\0\0\0")
        elif found := _TYPE.match(held, start):
            kind = found[1].decode()
            if kind == "error":
                kind = bytes(held[start : start + 80]).decode()
            counts[kind] += 1
            if counts[kind] % SAMPLE == 0 and (stamped := _STAMPED.search(held, start, start + size)):
                samples.append((stamped[1].decode(), int(stamped[2]), now_ns))
        at = start + size
    del held[:at]
    return at


if __name__ == "__main__":
    main()
