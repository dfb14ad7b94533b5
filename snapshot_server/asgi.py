"""The ASGI shell: the server's requests to `http.respond`, its answers to the wire."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from bus.process.http_headers import joined
from bus.process.http_server import write_answer
from bus.threads import Owner

from .bodies import Bodies, Kept, Key
from .edition import Edition
from .http import BUSY, CRASHED, HttpRequest, HttpResponse, Large, respond, upgrade
from .shared import Pause
from .trade_api import Wish
from .view import View
from .websocket import handshake

log = structlog.get_logger()

PATIENCE_S: Final = 30
"""How long a reader may take for one chunk."""

MAX_SENDING: Final = 32
"""The most large answers under way; one more request gets 503, or the place of a reader that stalls."""

STALLS_S: Final = 1.0
"""A reader that has not taken a chunk for this long gives way to others."""

MAX_AHEAD: Final = 8
"""The most bodies made with an edition before it is shown: those most recently asked for."""

MAX_AHEAD_S: Final = 0.03
"""The most time for that."""

MAX_MAKING: Final = 24
"""The most bodies made at a time; a request for another one gets 503."""

NEEDED: Final = frozenset((b"host", b"accept-encoding", b"if-none-match"))

BODY: Final = "http.response.body"

Asked = tuple[str, str, bytes, tuple[tuple[bytes, bytes], ...], str]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Given(msgspec.Struct, frozen=True):
    """An answer as it was sent, and how it is counted."""

    start: Mapping[str, Any]
    body: Mapping[str, Any]
    counted: tuple[str, int]


class App:
    """The application, called in the event loop's thread.

    Args:
        view: returns what to answer from.
        now_ms: gives the time.
        requests: counts answers by (route, status).
        pause: lets other threads have the interpreter.
        moment: returns something different whenever an answer may differ. As long as it and `now_ms` are the
            same, the same request has the same answer. `now_ms` alone is not enough: in a replay it may stand
            still.
        wish: called with what an answer could have said more about.
        pass_on: hands the connection of a client (host, port) with our port over to the WebSocket server, if
            it can.
        clock_s: any steady clock, seconds.
    """

    def __init__(
        self,
        view: Callable[[], View],
        now_ms: Callable[[], int],
        requests: Counter[tuple[str, int]],
        pause: Pause,
        moment: Callable[[], object] = object,
        wish: Callable[[Wish], None] = lambda _wish: None,
        pass_on: Callable[[tuple[str, int], int], bool] = lambda _client, _port: False,
        clock_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._wish = wish
        self._pass_on = pass_on
        self._clock_s = clock_s
        self._moment = moment
        self._at: tuple[int, object] = (0, None)  # what `_given` belongs to
        self._given: dict[Asked, Given] = {}
        self._ready: dict[bytes, tuple[bytes, tuple[str, int]]] = {}
        self._requests = requests
        self._view = view
        self._now_ms = now_ms
        self._pause = pause
        self._preparers = ThreadPoolExecutor(2, "prepare")
        self._long = ThreadPoolExecutor(1, "prepare-long")
        self.bodies = Bodies()
        self._making: dict[Key, asyncio.Task[Kept]] = {}
        self._sending: dict[asyncio.Timeout, float] = {}  # since when each has waited for its reader
        self._owner = Owner("the HTTP application")

    def close(self) -> None:
        """Stop preparing."""
        self._preparers.shutdown(wait=True, cancel_futures=True)
        self._long.shutdown(wait=True, cancel_futures=True)

    def make_ahead(self, edition: Edition) -> None:
        """Make what is quick to make and frequently asked for, before the edition is shown.

        So nobody waits for it, several times a second. Runs in the thread that makes editions.
        """
        self.bodies.expire(self._clock_s())
        left_s = MAX_AHEAD_S
        for (asked, encoding), kept in self.bodies.hot(self._clock_s())[:MAX_AHEAD]:
            if kept.slow or kept.took_s > left_s:
                continue
            left_s -= kept.took_s
            try:
                self.make(Large(edition, asked, encoding, b"", page=True))
            except Exception:  # one question must not end the service for the others
                log.exception("ahead.crashed", asked=repr(asked)[:200])

    def make(self, large: Large, *, shown: bool = False, asked_s: float = -math.inf) -> Kept:
        """Make a body and keep it. Any thread.

        Args:
            shown: its edition is shown already.
            asked_s: when it was asked for here; not at all: -inf.
        """
        started_s = self._clock_s()
        body = large.prepare(self._pause)
        ready_s = self._clock_s()
        kept = Kept(large.edition, body, ready_s, ready_s - started_s, asked_s)
        self.bodies.put(large.key, kept, shown=shown)
        return kept

    def ready(self, head: bytes) -> bytes | None:
        """Return the whole answer to a request, given its bytes, if that was already given at this moment."""
        if not self._same_moment():
            return None
        found = self._ready.get(head)
        if found is None:
            return None
        self._requests[found[1]] += 1
        return found[0]

    def _same_moment(self) -> bool:
        """Whether answers are still valid; if not, forget them."""
        at = self._now_ms(), self._moment()
        if at == self._at:
            return True
        self._at = at
        self._given.clear()
        self._ready.clear()
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._owner.check()
        try:
            await self._answer(scope, send)
        except Exception:
            # One request must not end the service for the others.
            log.exception("request.crashed", path=scope["path"][:200], query=scope["query_string"][:200])
            self._requests["other", 500] += 1
            await _send(CRASHED, CRASHED.content(), send)

    async def _upgrade(self, scope: Scope, send: Send) -> None:
        """Hand the connection over to the WebSocket server, and tell the client so.

        In this order, so that what the client sends next is read there. A 101 makes the server release the
        connection, which lives on in the descriptor that was handed over.
        """
        request = HttpRequest(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            joined(scope["headers"]),
            scope["http_version"],
        )
        (host, port), (_, ours) = scope["client"], scope["server"]
        response = upgrade(request, lambda: self._pass_on((host, int(port)), int(ours)))
        self._requests[response.route, response.status] += 1
        length = None if response.status == 101 else len(response.content())
        await send(_start(response, length))
        await send({"type": BODY, "body": response.content()})

    async def _answer(self, scope: Scope, send: Send) -> None:
        if scope["path"] == handshake.PATH:
            await self._upgrade(scope, send)
            return
        self._same_moment()
        now_ms = self._at[0]
        headers = tuple([header for header in scope["headers"] if header[0] in NEEDED])
        asked = scope["method"], scope["path"], scope["query_string"], headers, scope["http_version"]
        given = self._given.get(asked)
        if given is not None:
            self._requests[given.counted] += 1
            await send(given.start)
            await send(given.body)
            return
        request = HttpRequest(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            joined(headers),
            scope["http_version"],
        )
        view = self._view()
        response = respond(request, view, now_ms)
        body = response.body
        for wish in response.wishes:
            self._wish(wish)
        if isinstance(body, Large) and not body.small:
            await self._answer_large(request, response.route, body, view, send)
            return
        body = response.content()
        self._requests[response.route, response.status] += 1
        start = _start(response, None if request.method == "HEAD" else len(body))
        given = Given(start, {"type": BODY, "body": body}, (response.route, response.status))
        self._given[asked] = given
        # Others may be changed on their way, as the place of a redirection is where TLS is on.
        if "head" in scope and request.method == "GET" and response.status == 200:
            self._ready[scope["head"]] = write_answer(response.status, start["headers"], body), given.counted
        await send(given.start)
        await send(given.body)

    async def _answer_large(
        self, request: HttpRequest, route: str, large: Large, view: View, send: Send
    ) -> None:
        """Answer with a body that takes long to make or to send, if there is room for one more."""
        kept = await self._prepare(large)
        if kept is None or not self._makes_room():
            self._requests[route, BUSY.status] += 1
            await _send(BUSY, BUSY.content(), send)
            return
        with suppress(TimeoutError):  # a stalled reader is as good as gone: its answer is cut off
            async with asyncio.timeout(None) as patience:
                self._sending[patience] = math.inf
                try:
                    await self._send_kept(request, kept, large, view, patience, send)
                finally:
                    del self._sending[patience]

    async def _send_kept(
        self,
        request: HttpRequest,
        kept: Kept,
        large: Large,
        view: View,
        patience: asyncio.Timeout,
        send: Send,
    ) -> None:
        """Send a prepared answer chunk by chunk, at its reader's pace: a slow reader must not fill memory."""
        if kept.edition is not large.edition:
            # The body is of an earlier edition, so its age and ETag must be, too.
            view = msgspec.structs.replace(view, edition=kept.edition)
        response = respond(request, view, self._now_ms())
        body = response.body
        self._requests[response.route, response.status] += 1
        if isinstance(body, bytes):
            await _send(response, body, send)
            return
        chunks = kept.body.finish(body.end)
        await send(_start(response, sum(map(len, chunks))))
        loop, last = asyncio.get_running_loop(), len(chunks) - 1
        for index, chunk in enumerate(chunks):
            self._sending[patience] = now_s = loop.time()
            patience.reschedule(now_s + PATIENCE_S)
            await send({"type": BODY, "body": chunk, "more_body": index < last})

    def _makes_room(self) -> bool:
        """Tell whether one more large answer may begin, if need be in place of the one stalled longest."""
        if len(self._sending) < MAX_SENDING:
            return True
        longest = min(self._sending, key=self._sending.__getitem__)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._sending[longest] < STALLS_S:
            return False
        self._sending[longest] = math.inf  # it ends at its own pace
        longest.reschedule(now_s)
        return True

    async def _prepare(self, large: Large) -> Kept | None:
        """Return a body: the kept one, or an earlier one while a slow successor is made, or a new one.

        None when there is too much to do already.
        """
        key = large.key
        while True:
            number, now_s = large.edition.number, self._clock_s()
            kept = self.bodies.get(key, number)
            if kept is not None:
                kept.asked_s = now_s
                if kept.serves(large.edition, now_s):
                    return kept
            making = self._making.get(key)
            if making is None:
                if len(self._making) >= MAX_MAKING:
                    return kept
                making = self._making[key] = asyncio.create_task(self._make(large, now_s))
            if kept is not None and kept.lingers(now_s):
                return kept
            made = await asyncio.shield(making)
            kept = self.bodies.get(key, number)
            if kept is None and made.edition.number >= number:  # it had to give way at once
                kept = made
            if kept is not None and (kept.edition.number >= number or kept.slow):
                return kept
            # It was of an earlier edition, begun for somebody else. All who waited now want the same one.
            large = msgspec.structs.replace(large, edition=self._view().edition or large.edition)

    async def _make(self, large: Large, asked_s: float) -> Kept:
        try:
            preparers = self._preparers if large.page else self._long
            make = partial(self.make, large, shown=True, asked_s=asked_s)
            return await asyncio.get_running_loop().run_in_executor(preparers, make)
        finally:
            del self._making[large.key]


def _start(response: HttpResponse, length: int | None) -> Mapping[str, Any]:
    """Return the message that begins an answer. `length` None: its headers are already complete."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
    if length is not None and response.status != 304:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": response.status, "headers": headers}


async def _send(response: HttpResponse, body: bytes, send: Send) -> None:
    await send(_start(response, len(body)))
    await send({"type": BODY, "body": body})
