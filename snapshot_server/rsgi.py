"""The RSGI shell: granian's requests to `http.respond`, its answers to the wire."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bus.web import READER_GONE, HTTPProtocol, Scope

from .body import Prepared
from .edition import Edition, Pause, Query
from .http import Large, Request, Response, View, respond

STREAM_FROM: Final = 1_048_576
"""Bodies from this size on leave in chunks, at the pace of the reader: a slow one must not fill memory."""

PATIENCE_S: Final = 30
"""How long a reader may take for one chunk."""

KEPT: Final = 32
"""Prepared bodies kept for one edition."""

_NEEDED: Final = ("host", "accept-encoding", "if-none-match")

Key = tuple[Query, str]


class App:
    """The application, called by granian in the event loop's thread.

    Args:
        view: gives what to answer from.
        now_ms: gives the time.
        requests: counts answers by (route, status).
        pause: lets other threads have the interpreter.
    """

    def __init__(
        self,
        view: Callable[[], View],
        now_ms: Callable[[], int],
        requests: Counter[tuple[str, int]],
        pause: Pause,
    ) -> None:
        self._requests = requests
        self._view = view
        self._now_ms = now_ms
        self._pause = pause
        self._preparer = ThreadPoolExecutor(1, "prepare")
        self._edition: Edition | None = None
        self._prepared: dict[Key, Prepared] = {}
        self._under_way: dict[Key, asyncio.Future[Prepared]] = {}

    def close(self) -> None:
        """Stop preparing."""
        self._preparer.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        if scope.proto != "http":
            protocol.close(403)  # type: ignore[attr-defined]  # a WebSocket's protocol has it
            return
        headers = scope.headers
        request = Request(
            scope.method,
            scope.path,
            scope.query_string,
            {name: value for name in _NEEDED if (value := headers.get(name)) is not None},
        )
        response = respond(request, self._view(), self._now_ms())
        self._requests[response.route, response.status] += 1
        if isinstance(response.body, bytes):
            protocol.response_bytes(response.status, response.headers, response.body)
        else:
            await self._send_large(response, response.body, protocol)

    async def _send_large(self, response: Response, large: Large, protocol: HTTPProtocol) -> None:
        chunks = (await self._prepare(large)).finish(large.end)
        length = sum(map(len, chunks))
        if length < STREAM_FROM:
            protocol.response_bytes(response.status, response.headers, b"".join(chunks))
            return
        headers = [*response.headers, ("content-length", str(length))]
        try:
            stream = protocol.response_stream(response.status, headers)
            for chunk in chunks:
                async with asyncio.timeout(PATIENCE_S):
                    await stream.send_bytes(chunk)
        except (*READER_GONE, TimeoutError):
            return  # gone, or as good as gone: granian closes what ends too early

    async def _prepare(self, large: Large) -> Prepared:
        """Return the body, from what is kept, or from whoever is making it, or made now."""
        if large.edition is not self._edition:
            self._edition = large.edition
            self._prepared.clear()
        prepared = self._prepared.get(large.key)
        if prepared is not None:
            return prepared
        # One that is under way may be of the edition before: whole, and at most its own making older.
        making = self._under_way.get(large.key)
        if making is None:
            loop = asyncio.get_running_loop()
            making = loop.run_in_executor(self._preparer, large.prepare, self._pause)
            self._under_way[large.key] = making
            making.add_done_callback(lambda future: self._keep(large, future))
        return await asyncio.shield(making)

    def _keep(self, large: Large, future: asyncio.Future[Prepared]) -> None:
        del self._under_way[large.key]
        if large.edition is self._edition and not future.cancelled() and future.exception() is None:
            while len(self._prepared) >= KEPT:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[large.key] = future.result()
