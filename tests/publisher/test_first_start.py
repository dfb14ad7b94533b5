"""A first start that cannot succeed: what is wrong, and what to do, is said before any epoch is open.

Each case is a publisher with real sockets, an exchange that behaves so, and a replica that hears it.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zmq
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from bus.ask import ask
from bus.clock import SystemClock
from bus.health import health_of, publisher_problem, publisher_warnings
from bus.process.settings import Settings
from bus.protocol.messages import PublisherHealth
from bus.replica import Replica
from publisher.kalshi import client as client_module
from tests.publisher.exchange import BASE, Answer, FakeExchange, event, market, on, reply
from tests.publisher.running import Running
from tests.support import eventually

pytestmark = pytest.mark.slow

LIMIT_S = 15.0
KEY_ID = "aaaaaaaa-canary-4bbb-8ccc-dddddddddddd"

PAGE = b"<!DOCTYPE HTML><html><head><title>ERROR: The request could not be satisfied</title></head>..."


def refusal(code: str, details: str = "") -> Answer:
    return Answer(401, json.dumps({"error": {"code": code, "message": "no", "details": details}}).encode())


class Start:
    """A publisher of env demo at an address, and what is heard of it."""

    def __init__(self, folder: Path, context: zmq.Context[Any], url: str, **environ: str) -> None:
        folder.joinpath("run").mkdir(0o700)
        key = folder / "key.pem"
        key.touch(0o600)
        private = ed25519.Ed25519PrivateKey.generate()
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        values = {
            "KALSHI_BUS_ENV": "demo",
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_API_URL": url,
            "KALSHI_BUS_WS_URL": url.replace("http", "ws", 1).replace(BASE, "/trade-api/ws/v2"),
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(key),
            "KALSHI_BUS_POLL_INTERVAL_S": "1",
        }
        self.settings = Settings.load(values | environ, folder)
        self._context = context
        self.replica = Replica(context, self.settings.feed, self.settings.state, SystemClock(), Random(1))
        self._began_s = time.monotonic()
        self.running = Running(self.settings)
        self.replica.start()

    def close(self) -> None:
        self.replica.stop()
        self.running.stop()

    @property
    def health(self) -> PublisherHealth:
        heartbeat = self.replica.heartbeat
        return heartbeat.publisher if heartbeat is not None else PublisherHealth()

    def wait(self, predicate: Callable[[PublisherHealth], object]) -> PublisherHealth:
        """Wait until the account is so; return it."""

        def found() -> PublisherHealth | None:
            health = self.health
            return health if predicate(health) else None

        health = eventually(found, LIMIT_S, f"not said; last: {self.health}")
        assert health is not None
        print(f"said after {time.monotonic() - self._began_s:.1f} s: {health.error} {health.warnings}")
        return health

    def fails(self, cause: str) -> PublisherHealth:
        """Wait until the start fails for this cause; no epoch is open, and no secret is said."""
        health = self.wait(lambda account: account.cause == cause)
        assert health.error
        assert health.remedy
        assert "canary" not in f"{health.error} {health.remedy}"
        problem = publisher_problem(health)
        assert problem is not None
        assert problem.remedy == health.remedy
        assert self.replica.state.epoch == 0
        answer = ask(self._context, self.settings.state, {"op": "snapshot", "id": 1})
        assert answer["error"]["code"] == "not_ready"
        status = self.replica.status()
        health_ = health_of(None, status, self.replica.heartbeat, 0, 30_000)
        assert (health_.word, status.feed) == ("starting", "joining")
        return health


Begin = Callable[..., Start]


@pytest.fixture
def begin(short_dir: Path, zmq_context: zmq.Context[Any]) -> Iterator[Begin]:
    started: list[Start] = []

    def start(url: str, **environ: str) -> Start:
        started.append(Start(short_dir, zmq_context, url, **environ))
        return started[-1]

    yield start
    for made in started:
        made.close()


@pytest.fixture
def exchange() -> Iterator[FakeExchange]:
    with FakeExchange() as made:
        made.list_event(event("KXBIG-1", "KXBIG", market("KXBIG-1-A", "KXBIG-1")))
        yield made


@pytest.mark.parametrize(
    ("answer", "cause", "key", "error", "remedy"),
    [
        (
            refusal("authentication_error", "NOT_FOUND"),
            "key_refused", "refused", "401 authentication_error no NOT_FOUND", "a key of prod is unknown",
        ),
        (
            refusal("authentication_error", "INCORRECT_API_KEY_SIGNATURE"),
            "key_refused", "refused", "INCORRECT_API_KEY_SIGNATURE", "KALSHI_PRIVATE_KEY_PATH",
        ),
        (
            Answer(401, f'{{"error":"key {KEY_ID} is unknown"}}'.encode()),
            "key_refused", "refused", "key [redacted] is unknown", "KALSHI_API_KEY_ID",
        ),
        (refusal("header_timestamp_expired"), "clock_off", "refused", "clock is wrong", "timedatectl"),
        (
            Answer(403, PAGE, (("Content-Type", "text/html"),)),
            "blocked", "ok", '403 with a web page, "ERROR: The request could not be satisfied"', "VPN",
        ),
        (
            Answer(301, b"", (("Location", "https://me:canary@api.example.com/trade-api/v2?k=canary"),)),
            "moved", "ok", "moved to https://api.example.com/trade-api/v2)", "KALSHI_BUS_API_URL",
        ),
        (Answer(200, PAGE), "bad_reply", "ok", '200 with a web page, "ERROR', "sign-in page"),
        (Answer(404, b"404 page not found"), "not_found", "ok", "404", "/trade-api/v2"),
        (Answer(403, b'{"error":{"code":"forbidden","message":"x"}}'), "refused", "ok", "forbidden", "scope"),
        (Answer(503, b"<html><title>Down</title>"), "server_error", "ok", '503 with a web page, "Down"', "W"),
        (Answer(429, b"{}"), "rate_limited", "ok", "429", "Wait"),
    ],
    ids=[
        "unknown key", "wrong key", "id repeated", "clock", "CDN", "moved", "portal", "path", "scope", "down",
        "rate",
    ],
)  # fmt: skip
def test_what_the_exchange_answers_is_said_with_its_remedy(
    exchange: FakeExchange, begin: Begin, answer: Answer, cause: str, key: str, error: str, remedy: str
) -> None:
    exchange.faults.append(on("", answer))

    health = begin(exchange.url).fails(cause)

    assert (health.key, error in (health.error or ""), remedy in (health.remedy or "")) == (key, True, True)


def test_it_heals_by_itself_as_soon_as_the_cause_is_gone(exchange: FakeExchange, begin: Begin) -> None:
    exchange.faults.append(on("", Answer(403, PAGE)))
    start = begin(exchange.url)
    start.fails("blocked")

    exchange.faults.clear()

    eventually(lambda: start.replica.status().live and len(start.replica.state.markets) == 1)
    health = start.wait(lambda account: account.sweep == "complete" and not account.pages)
    assert (health.error, health.cause, health.remedy, health.markets_read) == (None, None, None, 0)


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nobody_there_is_said(begin: Begin) -> None:
    health = begin(f"http://127.0.0.1:{dead_port()}{BASE}").fails("unreachable")
    assert "Connection refused" in (health.error or "")


def test_a_name_that_is_unknown_is_said(begin: Begin) -> None:
    health = begin(f"https://exchange.invalid{BASE}").fails("unresolved")
    assert (health.error or "").startswith("the name exchange.invalid cannot be resolved")
    assert (health.error or "").count("(") == (health.error or "").count(")")
    assert "DNS" in (health.remedy or "")


def test_no_answer_is_said_before_it_is_given_up(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "UNANSWERED_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        health = begin(f"http://127.0.0.1:{silent.getsockname()[1]}{BASE}").fails("timeout")
    assert "no answer for" in (health.error or "")


def test_somebody_who_speaks_no_tls_is_said(exchange: FakeExchange, begin: Begin) -> None:
    health = begin(exchange.url.replace("http:", "https:")).fails("tls")
    assert "no secure connection" in (health.error or "")


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [(-3_612.0, "about 3,610 s ahead of the exchange's"), (45.0, "about 40 s behind the exchange's")],
)
def test_a_clock_that_is_off_is_a_warning_where_nothing_is_refused(
    exchange: FakeExchange, begin: Begin, ahead_s: float, said: str
) -> None:
    exchange.ahead_s = ahead_s
    start = begin(exchange.url, KALSHI_BUS_STREAM="no")

    health = start.wait(lambda account: account.warnings and account.sweep == "complete")

    assert said in health.warnings[0]
    assert "timedatectl" in health.warnings[0]
    assert [problem.code for problem in publisher_warnings(health)] == ["warning"]

    exchange.ahead_s = 0.0
    start.wait(lambda account: not account.warnings)


def test_a_clock_that_is_off_is_named_where_the_key_is_refused(exchange: FakeExchange, begin: Begin) -> None:
    exchange.ahead_s = 400.0
    exchange.faults.append(on("", refusal("authentication_error", "INCORRECT_API_KEY_SIGNATURE")))

    health = begin(exchange.url).fails("clock_off")

    assert "clock differs by -" in (health.error or "")
    assert health.key == "refused"


def test_how_far_the_first_reading_has_come_is_told(exchange: FakeExchange, begin: Begin) -> None:
    for number in range(40):
        exchange.list_event(event(f"E{number}", "S", market(f"E{number}-A", f"E{number}")))
    exchange.page_size = 20
    go_on = threading.Event()

    def hold(path: str) -> None:
        if path == "/events" and exchange.calls["events"] >= 2:
            go_on.wait(10)

    exchange.faults.append(hold)
    start = begin(exchange.url)

    health = start.wait(lambda account: account.pages == 2)

    assert (health.markets_read, health.sweep, health.error) == (40, "starting", None)
    go_on.set()
    eventually(lambda: len(start.replica.state.markets) == 41)
    start.wait(lambda account: account.pages == 0 == account.markets_read)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SERIES", "kxbig", "KALSHI_BUS_SERIES: 'kxbig' matches nothing: did you mean 'KXBIG'?"),
        ("SERIES", "KXBIH", "KALSHI_BUS_SERIES: 'KXBIH' matches nothing: did you mean 'KXBIG'?"),
        ("CATEGORIES", "sport", "KALSHI_BUS_CATEGORIES: 'sport' matches nothing: did you mean 'Sports'?"),
        (
            "TICKERS",
            "kxbig-1-a",
            "KALSHI_BUS_TICKERS: 'kxbig-1-a' matches nothing: did you mean 'KXBIG-1-A'?",
        ),
        (
            "TICKERS",
            "QQQ-1",
            "KALSHI_BUS_TICKERS: 'QQQ-1' matches nothing: the exchange has no series of a similar name",
        ),
    ],
)
def test_a_setting_that_matches_nothing_is_named_with_what_it_may_have_meant(
    exchange: FakeExchange, begin: Begin, variable: str, value: str, said: str
) -> None:
    def answer(path: str) -> Answer | None:
        # Only a question for the series' own open markets.
        if path == "/markets" and "series_ticker=KXBIG&status=open" in exchange.paths[-1]:
            listed = [m for e in exchange.events.values() for m in e["markets"]]
            return reply({"markets": listed, "cursor": ""})
        return None

    exchange.faults.append(answer)
    start = begin(exchange.url, **{f"KALSHI_BUS_{variable}": value})

    health = start.wait(lambda account: account.warnings)

    assert health.warnings == (said,)
    assert (health.sweep, health.error) == ("complete", None)
    eventually(lambda: start.replica.state.epoch, LIMIT_S)
    problems = health_of(
        start.replica.state, start.replica.status(), start.replica.heartbeat, 0, 30_000
    ).problems()
    assert said in [problem.text for problem in problems]


def test_a_key_that_is_refused_only_where_one_is_needed_is_refused_and_prices_go_on(
    exchange: FakeExchange, begin: Begin
) -> None:
    exchange.faults.append(on("/account/limits", refusal("authentication_error", "NOT_FOUND")))
    start = begin(exchange.url)

    health = start.wait(lambda account: account.key == "refused" and account.sweep == "complete")

    eventually(lambda: start.replica.state.epoch, LIMIT_S)
    assert "NOT_FOUND" in (health.error or "")
    problem = publisher_problem(health)
    assert problem is not None
    assert problem.text.startswith("There is no live stream, prices are polled, since ")


def test_an_upgrade_that_is_refused_is_said_with_its_status(exchange: FakeExchange, begin: Begin) -> None:
    websocket = Answer(403, PAGE, (("Content-Type", "text/html"),))
    exchange.faults.append(lambda path: websocket if path == "/trade-api/ws/v2" else None)
    start = begin(exchange.url)

    health = start.wait(lambda account: account.stream_error and account.sweep == "complete")

    assert (health.stream, health.key, health.error) == ("refused", "ok", None)
    assert health.stream_error == (
        'upgrade refused with 403 with a web page, "ERROR: The request could not be satisfied"'
    )
    assert [problem.code for problem in publisher_warnings(health)] == ["stream_down"]
