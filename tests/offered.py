"""Requests offered at a rate, whether the ones before are answered or not.

``python -m tests.offered PORT PATH RATE SECONDS`` prints how often each status came, how many 503 said
when to ask again, and the longest wait of a 200.
"""

import asyncio
import json
import sys
import time
from collections import Counter


class Request(asyncio.Protocol):
    """One connection with one request."""

    def __init__(self, path: str, found: Counter[str], waits_s: list[float]) -> None:
        self._path = path
        self._found = found
        self._waits_s = waits_s
        self._started_s = time.monotonic()
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._head = self._head or data[:500]

    def connection_lost(self, _error: Exception | None) -> None:
        status = self._head[9:12].decode() or "none"
        self._found[status] += 1
        if status == "200":
            self._waits_s.append(time.monotonic() - self._started_s)
        elif b"retry-after: " in self._head:
            self._found["retry-after"] += 1


async def offer(port: int, path: str, rate: float, seconds: float) -> dict[str, float]:
    """Offer requests; return what came of them."""
    loop = asyncio.get_running_loop()
    found: Counter[str] = Counter()
    waits_s: list[float] = []
    asked: set[asyncio.Task[object]] = set()
    started_s = loop.time()
    count = 0
    while (passed_s := loop.time() - started_s) < seconds:
        while count < passed_s * rate:
            count += 1
            made = loop.create_connection(lambda: Request(path, found, waits_s), "127.0.0.1", port)
            asked.add(asyncio.ensure_future(made))
        await asyncio.sleep(0.002)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    found["no connection"] = sum(isinstance(outcome, OSError) for outcome in outcomes)
    answered = found["200"] + found["503"]
    while answered < count and loop.time() - started_s < seconds + 5:
        await asyncio.sleep(0.05)
        answered = found["200"] + found["503"]
    return {"offered": count, **found, "longest_200_s": max(waits_s, default=0)}


if __name__ == "__main__":
    place, of, per_second, for_s = sys.argv[1:]
    print(json.dumps(asyncio.run(offer(int(place), of, float(per_second), float(for_s)))))
