"""The front door: what every request must pass and every answer carries, and the server-sent events.

Events are native ASGI, since an open stream must not hold a thread; everything else goes to Flask.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

from a2wsgi import WSGIMiddleware
from flask import Flask

from .hub import KEEP_ALIVE_S, LEAST_INTERVAL_S, RETRY_AFTER_S, SEND_TIMEOUT_S, OpenStream, UpdateHub

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

EVENTS_PATH: Final = "/events"
HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names of loopback. Any other Host is a DNS name that somebody pointed here."""

HEADERS: Final[dict[bytes, bytes]] = {
    # form-action 'self': filters and search are plain forms, so that the pages work without scripts.
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that does not say otherwise."""

WSGI_THREADS: Final = 4


class Front:
    """The ASGI application."""

    def __init__(self, flask: Flask, hub: UpdateHub, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._flask: Any = WSGIMiddleware(flask, workers=WSGI_THREADS)  # type: ignore[arg-type]
        self._hub = hub
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        headers = _last_of_each(scope["headers"])
        send = _with_headers(send)
        if _host(headers.get(b"host", b"")) not in HOSTS:
            message = "Host: expected a name of this machine, such as 127.0.0.1 or localhost"
            await _refuse(send, 400, "bad_host", message)
        elif headers.get(b"sec-fetch-site") == b"cross-site" and (
            path == EVENTS_PATH or path.startswith("/api/")
        ):
            await _refuse(send, 403, "cross_site", "this API answers its own pages and local programs only")
        elif not scope["query_string"].isascii():
            await _refuse(send, 400, "bad_request", "query: expected ASCII, other characters percent-encoded")
        elif path == EVENTS_PATH:
            await self._events(scope, receive, send)
        else:
            link = _Link(receive)
            try:
                await self._flask(scope, link, send)
            finally:
                link.cut()

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await _refuse(send, 405, "method_not_allowed", "expected GET", [(b"allow", b"GET")])
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        unknown = sorted(set(query) - {"ticker", "event", "page"})
        if unknown:
            message = f"{unknown[0][:50]}: expected one of the parameters ticker, event, page"
            await _refuse(send, 400, "bad_request", message)
            return
        stream = self._hub.join(query.get("ticker"), query.get("event"), query.get("page"))
        if stream is None:
            retry = [(b"retry-after", str(RETRY_AFTER_S).encode())]
            await _refuse(send, 503, "too_many", "too many open event streams; close a tab or poll", retry)
            return
        leaving = asyncio.ensure_future(_gone(receive, stream))
        try:
            await self._send(stream, send)
        finally:
            self._hub.leave(stream)
            leaving.cancel()

    async def _send(self, stream: OpenStream, send: Send) -> None:
        head = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        first = stream.take()
        body = b"retry: 2000\n\n" + (first.encode() if first else b"")
        # A client that does not read for so long has no page any more; whatever fails here, it is gone.
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            while not stream.gone:
                chunk = {"type": "http.response.body", "body": body, "more_body": True}
                await asyncio.wait_for(send(chunk), SEND_TIMEOUT_S)
                await asyncio.sleep(LEAST_INTERVAL_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stream.ready.wait(), self._keep_alive_s)
                update = stream.take()
                body = b": still here\n\n" if update is None else update.encode()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Link:
    """The server's `receive` for as long as a request lasts.

    Templates and tracebacks leave cycles that hold the request until the garbage collector comes. They must
    not hold the connection: the server waits for those when it stops (measured: 2 s).
    """

    def __init__(self, receive: Receive) -> None:
        self._receive: Receive | None = receive

    async def __call__(self) -> dict[str, Any]:
        return {"type": "http.disconnect"} if self._receive is None else await self._receive()

    def cut(self) -> None:
        self._receive = None


async def _gone(receive: Receive, stream: OpenStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers: list[Header] = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers += [(name, value) for name, value in HEADERS.items() if name not in present]
            message = {**message, "headers": headers}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, code: str, message: str, headers: Iterable[Header] = ()) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def _last_of_each(headers: Iterable[Header]) -> dict[bytes, bytes]:
    return {bytes(name).lower(): bytes(value) for name, value in headers}


def _host(header: bytes) -> str:
    """The host of a Host header, without its port."""
    name = header.decode("latin-1").lower()
    if name.startswith("["):
        return name[: name.find("]") + 1]
    return name.rpartition(":")[0] if ":" in name else name
