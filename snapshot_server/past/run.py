"""The process: reads the recording that the recorder writes, and answers requests with `at`.

Threads: `answer` makes what HTTP is answered with, `query` answers REQ/REP; the main thread serves HTTP.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import structlog

from bus.clock import SystemClock
from bus.process.http_headers import joined
from bus.process.lifecycle import Stop
from bus.process.settings import Settings, variable_of
from bus.process.web import serve
from bus.protocol.answers import Answers, Refusal
from bus.protocol.messages import encode_map, unpack_map
from bus.server import QueryServer
from bus.sockets import make_context
from bus.tape.moments import NotRecorded, parse_at
from bus.threads import Owner, main_thread
from markets.errors import BadRecord, DecodeError
from snapshot_server.editor import pause
from snapshot_server.http import BUSY, CRASHED, HttpRequest, HttpResponse
from snapshot_server.ops import SnapshotOps
from snapshot_server.view import NOTHING

from .http import NOT_KEPT, respond_past
from .machine import Machine, Shown

log = structlog.get_logger()

MAX_WAITING: Final = 16
"""The most HTTP questions that wait; one more is told to come back later."""

PIECE: Final = 1_048_576

NICE: Final = 10
"""Questions about the past get the processor time that live answers leave."""

_ABOUT_NOW: Final = frozenset(("ping", "schema"))
_NOT_KEPT: Final = frozenset(("history", "movers"))
_NAMED: Final = ("ticker", "event_ticker")

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def run(settings: Settings, stop: Stop) -> int:
    """Serve until `stop`; return the exit code. Main thread only.

    Raises:
        StartupError: the HTTP port or the endpoint is taken.
    """
    main_thread.check()
    os.nice(NICE)
    machine = Machine(settings.recording, int(settings.stale_after_s * 1000))
    context = make_context()
    app = App(machine)
    with ExitStack() as stack:
        stack.callback(context.term)
        query = QueryServer(context, settings.past, PastAnswers(machine), SystemClock().now_ms, "past")
        thread = threading.Thread(target=query.serve, args=(stop,), name="query")
        stack.callback(app.close)

        def end() -> None:
            stop.set()
            thread.join()

        stack.callback(end)
        thread.start()
        serve(app, settings.past_port, variable_of("past_port"), stop, settings)
    return 0


class PastAnswers(Answers):
    """The snapshot server's ops, each about the moment that its parameter `at` names."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(self._shown_state, lambda: "replay")
        self._machine = machine
        self._shown: Shown | None = None
        SnapshotOps(lambda: machine.view(self._shown), pause, NOTHING).add_to(self)

    def _shown_state(self) -> Any:
        return self._shown.state if self._shown is not None else None

    def answer(self, question: bytes, now_ms: int) -> list[bytes]:
        """Return the frames that answer a question, whatever its bytes."""
        self._shown = None
        try:
            asked = unpack_map(question)
        except DecodeError:
            return super().answer(question, now_ms)
        id_ = asked.get("id")
        try:
            if asked.get("op") == "span":
                begin_ns, end_ns = self._machine.span()
                told = {"begin_ms": begin_ns // 1_000_000, "end_ms": end_ns // 1_000_000}
                return [encode_map({"ok": True, "id": id_, **told})]
            if asked.get("op") in _ABOUT_NOW:
                return super().answer(question, now_ms)
            if asked.get("op") in _NOT_KEPT:
                return self._refused(id_, Refusal("not_found", NOT_KEPT))
            at = parse_at(asked.pop("at", None))
            named = frozenset(name for key in _NAMED if isinstance(name := asked.get(key), str))
            shown = self._shown = self._machine.show(at, named or None)
        except BadRecord as error:
            return self._refused(id_, Refusal("bad_request", str(error)[:500]))
        except NotRecorded as error:
            return self._refused(id_, Refusal(error.code, str(error)))
        except OSError as error:
            message = f"the recording cannot be read: {error.strerror}"
            return self._refused(id_, Refusal("not_ready", message, retry_ms=1_000))
        try:
            return super().answer(encode_map(asked), shown.now_ms)
        finally:
            self._shown = None

    def begin(self, question: bytes, now_ms: int, _to: Sequence[bytes], _steady_ms: int) -> list[bytes]:
        """As `answer`, at once: a past moment belongs to one question, and holds up nothing live."""
        return self.answer(question, now_ms)

    def _refused(self, id_: Any, refusal: Refusal) -> list[bytes]:
        self.errors += 1
        return self._refuse(id_ if isinstance(id_, (int, str, bytes)) else None, refusal)


class App:
    """The ASGI application, called in the event loop's thread."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._executor = ThreadPoolExecutor(1, "answer")
        self._waiting = 0
        self._owner = Owner("the HTTP application")

    def close(self) -> None:
        """Make no more answers."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, scope: Mapping[str, Any], _receive: object, send: Send) -> None:
        self._owner.check()
        response: HttpResponse = BUSY
        if self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                request = HttpRequest(
                    scope["method"],
                    scope["path"],
                    scope["query_string"].decode("latin-1"),
                    joined(scope["headers"]),
                    scope["http_version"],
                )
                loop = asyncio.get_running_loop()
                response = await loop.run_in_executor(self._executor, respond_past, request, self._machine)
            except Exception:
                # One request must not end the service for the others.
                log.exception("request.crashed", path=scope["path"][:200])
                response = CRASHED
            finally:
                self._waiting -= 1
        body = response.content()
        headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
        if response.status != 304 and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        for at in range(0, max(1, len(body)), PIECE):
            more = at + PIECE < len(body)
            await send({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": more})
