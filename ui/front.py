"""The front door: checks on every request, headers on every answer, and the server-sent events.

Events are native ASGI, since an open stream must not hold a thread. Everything else goes to Flask, which gets
a whole request and returns a whole answer, so that a slow sender or reader holds no thread.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qsl

from flask import Flask
from werkzeug.wrappers import Response

from bus.process.http_headers import joined, names_this_machine

from .hub import KEEP_ALIVE_S, LEAST_INTERVAL_S, RETRY_AFTER_S, SEND_TIMEOUT_S, OpenStream, UpdateHub
from .routes.command_rules import BODY_MAX
from .squeeze import SqueezedStream, squeezed, takes_gzip

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

EVENTS_PATH: Final = "/events"
KILL_PATH: Final = "/api/trader/kill"

HEADERS: Final[dict[bytes, bytes]] = {
    # form-action 'self': filters and search are plain forms, so that pages work without scripts.
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that does not set them itself."""

BODY_S: Final = 2.0
"""How long a body may take to arrive."""

PAGE_THREADS: Final = 4
PAGES_WAITING: Final = 32
"""How many requests may wait for one of them; any more get 503."""

COMMAND_THREADS: Final = 2
COMMANDS_WAITING: Final = 16
"""The same for commands, and again for kill alone: it waits for no page and no other command."""


class Workers:
    """The threads in which Flask answers; limits how many requests may wait for them."""

    def __init__(self, flask: Flask, name: str, threads: int, waiting: int) -> None:
        self._flask = flask
        self._pool = ThreadPoolExecutor(threads, name)
        self._room = threads + waiting

    async def answer(self, environ: dict[str, Any]) -> Response | None:
        """Return Flask's whole answer, or None at once if too many are waiting already."""
        if not self._room:
            return None
        self._room -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._call, environ)
        finally:
            self._room += 1

    def _call(self, environ: dict[str, Any]) -> Response:
        answer = Response.from_app(self._flask, environ, buffered=True)
        return squeezed(answer, environ.get("HTTP_ACCEPT_ENCODING", ""))


class Front:
    """The ASGI application."""

    def __init__(
        self,
        flask: Flask,
        hub: UpdateHub,
        keep_alive_s: float = KEEP_ALIVE_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._pages = Workers(flask, "page", PAGE_THREADS, PAGES_WAITING)
        self._commands = Workers(flask, "command", COMMAND_THREADS, COMMANDS_WAITING)
        self._kill = Workers(flask, "kill", COMMAND_THREADS, COMMANDS_WAITING)
        self._hub = hub
        self._keep_alive_s = keep_alive_s
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        headers = joined(scope["headers"])
        send = _with_headers(send)
        if not names_this_machine(headers.get("host", ""), scope["http_version"]):
            message = "Host: expected one name of this machine, such as 127.0.0.1 or localhost"
            await _refuse(send, 400, "bad_host", message)
        elif headers.get("sec-fetch-site") == "cross-site" and (
            path == EVENTS_PATH or path.startswith("/api/")
        ):
            await _refuse(send, 403, "cross_site", "this API answers its own pages and local programs only")
        elif not scope["query_string"].isascii():
            await _refuse(send, 400, "bad_request", "query: expected ASCII, other characters percent-encoded")
        elif path == EVENTS_PATH:
            await self._events(scope, headers, receive, send)
        else:
            await self._flask(scope, headers, receive, send)

    async def _flask(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        body, workers = b"", self._pages
        if scope["method"] == "POST":
            workers = self._kill if scope["path"] == KILL_PATH else self._commands
            try:
                body = await _body(headers, receive)
            except _BadBody as bad:
                await _refuse(send, bad.status, bad.code, str(bad))
                return
        answer = await workers.answer(_environ(scope, headers, body))
        if answer is None:
            await _refuse(send, 503, "busy", "too many requests are waiting; try again in a second", _SOON)
            return
        start = [(name.lower().encode(), text.encode("latin-1")) for name, text in answer.headers]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": start})
        await send({"type": "http.response.body", "body": answer.get_data()})

    async def _events(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
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
            squeeze = takes_gzip(headers.get("accept-encoding", ""))
            await self._send(stream, send, SqueezedStream() if squeeze else None)
        finally:
            self._hub.leave(stream)
            leaving.cancel()

    async def _send(self, stream: OpenStream, send: Send, squeeze: SqueezedStream | None) -> None:
        head = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        head.append((b"vary", b"accept-encoding"))
        if squeeze is not None:
            head.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": head})
        first = stream.take()
        body = b"retry: 2000\n\n" + (first.encode() if first else b"")
        # A client that does not read for so long has no page any more. Whatever fails here, it is gone.
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            while not stream.gone:
                if squeeze is not None:
                    body = squeeze.part(body)
                chunk = {"type": "http.response.body", "body": body, "more_body": True}
                await asyncio.wait_for(send(chunk), self._send_timeout_s)
                await asyncio.sleep(LEAST_INTERVAL_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stream.ready.wait(), self._keep_alive_s)
                update = stream.take()
                body = b": still here\n\n" if update is None else update.encode()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


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


_SOON: Final = [(b"retry-after", b"1")]


class _BadBody(Exception):
    """A body that is refused: status, code and message of the refusal."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


def _too_large() -> _BadBody:
    return _BadBody(413, "request_entity_too_large", f"body: expected at most {BODY_MAX} bytes")


async def _body(headers: dict[str, str], receive: Receive) -> bytes:
    """Return the body of a request, read before it takes a thread.

    Raises:
        _BadBody: it is too large, too slow or incomplete.
    """
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 9 or int(length) > BODY_MAX:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _BadBody(400, "bad_request", "body: ended before it was complete")
                body += message.get("body", b"")
                if len(body) > BODY_MAX:
                    raise _BadBody(
                        413, "request_entity_too_large", f"body: expected at most {BODY_MAX} bytes"
                    )
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _BadBody(408, "request_timeout", f"body: expected all of it within {BODY_S:g} s") from None


def _environ(scope: Scope, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return a request as a WSGI environ (PEP 3333)."""
    host, port = scope["server"]
    environ = {
        f"HTTP_{name}".upper().replace("-", "_"): text
        for name, text in headers.items()
        # A name with an underscore could pass for another one with a hyphen.
        if "_" not in name and name not in ("content-length", "content-type", "transfer-encoding")
    }
    return environ | {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("ascii"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
