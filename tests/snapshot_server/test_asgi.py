"""The shell between the server and `respond`: what is prepared, shared, kept, sent, and how."""

import asyncio
import gzip
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
import structlog.testing

from snapshot_server import asgi, bodies, body
from snapshot_server.asgi import App
from snapshot_server.view import View
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, VIEW, edition_of, view_of
from tests.support import TIMEOUT_S, eventually


class Reader:
    """What the server sends to one client; from `patience` body messages on it takes nothing more."""

    def __init__(self, patience: int | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.sent: list[bytes] = []
        self.done = False
        self.patience = patience

    async def send(self, message: Mapping[str, Any]) -> None:
        assert not self.done, "answered twice"
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        if self.patience is not None and len(self.sent) >= self.patience:
            await asyncio.Event().wait()
        self.sent.append(message["body"])
        self.done = not message.get("more_body", False)

    @property
    def body(self) -> bytes:
        return b"".join(self.sent)


async def no_body() -> Mapping[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


class Server:
    """An App whose view a test changes, and which counts what is prepared."""

    def __init__(self) -> None:
        self.view = VIEW
        self.pauses = 0
        self.hold: Callable[[], None] = lambda: None
        self.requests: Counter[tuple[str, int]] = Counter()
        self.app = App(lambda: self.view, lambda: NOW_MS, self.requests, self._pause, clock_s=time.monotonic)

    def _pause(self) -> None:
        self.pauses += 1
        self.hold()

    async def get(
        self, path: str, query: str = "", reader: Reader | None = None, method: str = "GET", **headers: str
    ) -> Reader:
        reader = reader or Reader()
        sent = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        await self.app(scope, no_body, reader.send)
        return reader


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.app.close()


def next_view(seconds: int) -> View:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    writer.commit([], a_cycle(NOW_MS - seconds * 1_000, 300), 0, 0)
    return view_of(msgspec.structs.replace(edition_of(writer), number=1 + seconds))


def assert_true(value: bool) -> None:
    assert value


def run(main: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 10)

    asyncio.run(bounded())


def test_a_body_is_prepared_once_for_all_who_ask_for_it(server: Server) -> None:
    async def main() -> None:
        answers = await asyncio.gather(*(server.get("/markets") for _ in range(20)))
        assert len({answer.body for answer in answers}) == 1
        once = server.pauses
        await server.get("/markets")
        assert server.pauses == once > 0
        await server.get("/markets", accept_encoding="gzip")
        assert server.pauses > once

    run(main())
    assert server.requests == {("/markets", 200): 22}


def test_a_quick_body_is_always_of_the_latest_edition(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", 60)

    async def main() -> None:
        first = await server.get("/markets")
        server.view = next_view(1)
        second = await server.get("/markets")
        assert json.loads(second.body)["seq"] == json.loads(first.body)["seq"] + _seq(server.view) - _seq(
            VIEW
        )
        assert first.headers["etag"] != second.headers["etag"]

    run(main())


def _seq(view: View) -> int:
    assert view.edition is not None
    return view.edition.seq


def test_a_slow_body_serves_on_and_is_true_to_its_own_edition(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", -1)
    monkeypatch.setattr(bodies, "MAX_REUSE_S", 0)  # a successor is made at once, but nobody waits for it

    async def main() -> None:
        first = await server.get("/markets", accept_encoding="gzip")
        server.view = next_view(5)
        second = await server.get("/markets", accept_encoding="gzip")
        assert second.headers["etag"] == first.headers["etag"]
        answer = json.loads(gzip.decompress(second.body))
        assert answer["age_seconds"] == NOW_MS / 1000 - answer["generated_at"] == 0
        await asyncio.gather(*server.app._making.values())
        third = await server.get("/markets", accept_encoding="gzip")
        answer = json.loads(gzip.decompress(third.body))
        assert (answer["age_seconds"], answer["seq"]) == (5, _seq(server.view))
        # Who knows the earlier edition's tag and would be sent just that is told so.
        server.view = next_view(7)
        known = await server.get("/markets", accept_encoding="gzip", if_none_match=third.headers["etag"])
        assert (known.status, known.body) == (304, b"")

    run(main())


def test_nobody_gets_what_was_begun_before_a_commit_and_all_who_waited_get_the_same(server: Server) -> None:
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert release.wait(TIMEOUT_S)

    async def main() -> None:
        server.hold = hold
        first = asyncio.create_task(server.get("/markets"))
        await asyncio.to_thread(begun.wait)
        later = []
        for seconds in range(1, 6):
            server.view = next_view(seconds)
            later.append(asyncio.create_task(server.get("/markets")))
            await asyncio.sleep(0)
        server.hold = lambda: None
        release.set()
        assert json.loads((await first).body)["seq"] == _seq(VIEW)
        pauses = server.pauses
        assert {json.loads((await each).body)["seq"] for each in later} == {_seq(server.view)}
        made = server.pauses - pauses
        server.view = next_view(6)
        await server.get("/markets")
        assert made <= server.pauses - pauses - made, "once for all of them"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "SLOW_S", TIMEOUT_S)  # however long it was held
        run(main())


def test_large_bodies_leave_at_the_pace_of_the_reader_who_must_not_stop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "PATIENCE_S", 0.3)

    async def main() -> None:
        whole = await server.get("/markets")
        assert len(whole.sent) > 1
        assert all(len(chunk) >= body.PIECE for chunk in whole.sent[:-1])
        packed = await server.get("/markets", accept_encoding="zstd")
        assert len(packed.sent) == 1
        assert int(whole.headers["content-length"]) == len(whole.body)
        assert json.loads(whole.body)["markets"]["total_count"] == 300
        stopped = await server.get("/markets", reader=Reader(patience=1))
        assert (len(stopped.sent), stopped.done) == (1, False)

    run(main())
    assert server.requests == {("/markets", 200): 3}


def test_the_same_request_in_the_same_moment_is_answered_from_memory() -> None:
    requests: Counter[tuple[str, int]] = Counter()
    asked, now_ms, moment = 0, NOW_MS, 1

    def view() -> View:
        nonlocal asked
        asked += 1
        return VIEW

    app = App(view, lambda: now_ms, requests, lambda: None, lambda: (VIEW.edition, moment))

    async def get(path: str, **headers: str) -> Reader:
        reader = Reader()
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": sent}
        scope["http_version"] = "1.1"
        await app(scope, no_body, reader.send)
        return reader

    async def main() -> None:
        nonlocal now_ms, moment
        first, again = [await get("/health", host="localhost", x_other=str(n)) for n in range(2)]
        assert (first.status, first.body, first.headers) == (again.status, again.body, again.headers)
        assert asked == 1
        assert (await get("/health", host="evil.example")).status == 400
        assert (await get("/ready", host="localhost")).body != first.body
        assert asked == 3
        now_ms += 1
        assert (await get("/health", host="localhost")).body != first.body
        moment += 1  # as the clock of the machine does while a replay's stands still
        await get("/health", host="localhost")
        assert asked == 5
        whole = await get("/markets", host="localhost")
        assert len(json.loads(whole.body)["markets"]["markets"]) == 300

    run(main())
    assert requests["/health", 200] == 4


def test_a_large_answer_to_head_does_not_say_how_long_it_is(server: Server) -> None:
    async def main() -> None:
        full = await server.get("/markets")
        head = await server.get("/markets", method="HEAD")
        assert int(full.headers["content-length"]) == len(full.body)
        assert (head.status, head.body) == (200, b"")
        assert head.headers.items() == {*full.headers.items()} - {("content-length", str(len(full.body)))}
        small = await server.get("/ready", method="HEAD")
        assert small.headers == (await server.get("/ready")).headers
        assert int(small.headers["content-length"]) > 0

    run(main())


def test_a_kept_body_is_let_go_when_nobody_asks_any_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        await server.get("/markets")
        assert VIEW.edition is not None
        (key,) = (key for key, _ in server.app.bodies.hot(time.monotonic()))
        server.app.make_ahead(VIEW.edition)
        assert server.app.bodies.get(key, VIEW.edition.number) is not None
        monkeypatch.setattr(bodies, "KEPT_S", 0.0)
        server.app.make_ahead(VIEW.edition)
        assert server.app.bodies.get(key, VIEW.edition.number) is None

    run(main())


def test_too_many_different_large_answers_are_refused_and_small_ones_are_not(server: Server) -> None:
    release = threading.Event()
    server.hold = lambda: assert_true(release.wait(TIMEOUT_S))

    async def main() -> None:
        limits = [f"limit={100 + number}" for number in range(asgi.MAX_MAKING)]
        slow = [asyncio.create_task(server.get("/markets", limit)) for limit in limits]
        await asyncio.sleep(0)
        refused = await server.get("/markets", "limit=99")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert json.loads(refused.body)["error"]["code"] == "busy"
        same = asyncio.create_task(server.get("/markets", limits[0]))
        assert (await server.get("/health")).status == 200
        assert (await server.get("/markets", f"tickers={CATALOGUE.markets[0].ticker}")).status == 200
        release.set()
        assert {(await task).status for task in (*slow, same)} == {200}
        assert (await server.get("/markets", "limit=99")).status == 200

    run(main())


def test_a_reader_that_stalls_gives_way_when_all_places_are_taken(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        stalled = [
            asyncio.create_task(server.get("/markets", reader=Reader(patience=1)))
            for _ in range(asgi.MAX_SENDING)
        ]

        def all_wait() -> bool:
            since_s = server.app._sending.values()
            return len(since_s) == asgi.MAX_SENDING and math.inf not in since_s

        await asyncio.to_thread(eventually, all_wait)
        refused = await server.get("/markets")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await server.get("/health")).status == 200
        monkeypatch.setattr(asgi, "STALLS_S", 0)
        for _ in range(3):
            assert (await server.get("/markets")).status == 200

        def given_way() -> bool:
            return [task.done() for task in stalled].count(True) == 3

        await asyncio.to_thread(eventually, given_way)
        for task in stalled:
            task.cancel()

    run(main())


def test_a_crash_is_answered_and_the_next_request_served(server: Server) -> None:
    class Broken(msgspec.Struct, frozen=True):
        tickers: list[str] = []

    async def main() -> None:
        edition: Any = Broken()
        server.view = msgspec.structs.replace(VIEW, edition=edition)
        broken = await server.get("/markets")
        assert (broken.status, json.loads(broken.body)["error"]["code"]) == (500, "internal")
        server.view = VIEW

        def fail() -> None:
            raise ZeroDivisionError

        server.hold = fail
        assert (await server.get("/markets")).status == 500
        server.hold = lambda: None
        assert (await server.get("/markets")).status == 200

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert [log["event"] for log in logs] == ["request.crashed"] * 2
    assert server.requests["other", 500] == 2


def test_nobody_waits_for_a_body_under_way_of_another_query(server: Server) -> None:
    """One who asks for the whole must not hold up one who asks for a market."""

    release = threading.Event()
    server.hold = lambda: assert_true(release.wait(30))

    async def main() -> None:
        slow = asyncio.create_task(server.get("/markets"))
        await asyncio.sleep(0)
        one = await server.get("/markets", f"tickers={CATALOGUE.markets[0].ticker}")
        health = await server.get("/health")
        assert (one.status, health.status) == (200, 200)
        assert not slow.done()
        release.set()
        assert (await slow).status == 200

    run(main())


def test_what_was_asked_for_lately_is_made_with_the_edition(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", 60.0)  # however slow the machine is
    monkeypatch.setattr(asgi, "MAX_AHEAD_S", 600.0)

    async def main() -> None:
        await server.get("/markets")
        await server.get("/markets", "limit=60")
        server.view = next_view(1)
        edition = server.view.edition
        assert edition is not None
        server.app.make_ahead(edition)
        once = server.pauses
        for query in ("", "limit=60"):
            answer = await server.get("/markets", query)
            assert json.loads(answer.body)["seq"] == edition.seq
        assert server.pauses == once
        await server.get("/markets", "limit=61")
        assert server.pauses > once

    run(main())


def test_what_was_made_for_an_edition_that_is_not_shown_is_not_served(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", 60.0)  # however slow the machine is
    monkeypatch.setattr(asgi, "MAX_AHEAD_S", 600.0)

    async def main() -> None:
        await server.get("/markets")
        other = next_view(1).edition
        assert other is not None
        server.app.make_ahead(other)
        server.view = next_view(2)
        assert server.view.edition is not None
        answer = await server.get("/markets")
        assert answer.headers["etag"].startswith(
            f'W/"{server.view.edition.epoch:x}-{server.view.edition.seq:x}-'
        )
        assert json.loads(answer.body)["generated_at"] == (NOW_MS - 2_000) / 1000

    run(main())


def test_the_same_bytes_in_the_same_moment_are_answered_whole() -> None:
    moments = [object(), object()]
    requests: Counter[tuple[str, int]] = Counter()
    app = App(lambda: VIEW, lambda: NOW_MS, requests, lambda: None, lambda: moments[0])
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"

    async def main() -> None:
        assert app.ready(head) is None
        reader = Reader()
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/health",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost")],
            "head": head,
        }
        await app(scope, no_body, reader.send)
        whole = app.ready(head)
        assert whole is not None
        said, _, content = whole.partition(b"\r\n\r\n")
        assert content == reader.body
        assert said.startswith(b"HTTP/1.1 200 OK\r\ndate: ") or b"\r\ndate: " in said
        assert app.ready(head.replace(b"localhost", b"evil.example")) is None
        moments.pop(0)
        assert app.ready(head) is None

    run(main())
    app.close()
    assert requests == {("/health", 200): 2}
