"""The dashboard as a real process, with a publisher and a snapshot server made for the test."""

import csv
import io
import json
import signal
import socket

import msgspec
import pytest

from bus.protocol.messages import PublisherHealth
from tests.support import Process, Runner, eventually
from tests.ui.browsers import FAST, Browser
from tests.ui.stage import DULL, MATCH, NASTY, PAIR, Stage, quote
from ui.front import HEADERS
from ui.hub import MAX_STREAMS

pytestmark = pytest.mark.e2e


@pytest.fixture
def browser(runner: Runner) -> Browser:
    return Browser(runner.ui_port)


@pytest.fixture
def ui(runner: Runner, browser: Browser) -> Process:
    process = runner.start("ui")
    eventually(browser.answers, what="the dashboard answers")
    return process


@pytest.fixture
def live(ui: Process, stage: Stage, browser: Browser) -> Stage:
    """A publisher and a snapshot server, followed by the dashboard."""
    stage.open()
    stage.start_feed()
    stage.start_query()
    eventually(lambda: browser.json("/api/status")["feed"] == "live", what="the dashboard follows the feed")
    eventually(lambda: browser.json("/api/opportunities")["total_analyzed"], what="the scan is done")
    return stage


def test_before_any_data_the_page_says_that_it_is_starting(ui: Process, browser: Browser) -> None:
    status, _, page = browser.get("/")
    assert status == 200
    assert "Nothing has been heard from the publisher yet" in page
    found = browser.json("/api/opportunities")
    assert found == {
        "opportunities": [], "total_analyzed": 0, "total_tradable": 0, "as_of": None, "age_seconds": None,
        "stale": True, "epoch": 0, "seq": 0,
    }  # fmt: skip
    assert browser.json("/api/status")["feed"] == "starting"
    assert browser.get(f"/m/{MATCH}-VAN")[0] == 404
    assert ui.stop(5) == 0


def test_api_opportunities_has_its_shape(live: Stage, browser: Browser) -> None:
    found = browser.json("/api/opportunities?limit=1")

    assert set(found) >= {
        "opportunities",
        "total_analyzed",
        "total_tradable",
        "as_of",
        "age_seconds",
        "stale",
        "seq",
    }
    assert (len(found["opportunities"]), found["stale"]) == (1, False)
    assert found["total_analyzed"] >= found["total_tradable"] >= 2
    one = found["opportunities"][0]
    assert one["tradable"] is True
    assert one["reasons"] == []
    assert one["start_time"] != one["close_time"]
    assert all(leg["price_dollars"][1] == "." for leg in one["legs"])
    basket = browser.json("/api/opportunities?kind=no_basket")["opportunities"][0]
    assert basket["event_ticker"] == MATCH
    assert basket["url"] == f"/e/{MATCH}"


@pytest.mark.parametrize("path", ["/api/opportunities", "/opportunities.csv", "/"])
def test_a_bad_parameter_is_named(live: Stage, browser: Browser, path: str) -> None:
    for query, name in (("limit=0", "limit"), ("nonsense=1", "nonsense"), ("kind=%3Cscript%3E", "kind")):
        status, _, body = browser.get(f"{path}?{query}")
        assert status == 400
        assert name in body
        if path == "/":
            assert "<script>" not in body
        else:
            assert json.loads(body)["error"]["parameter"] == name


def test_pages_show_the_market_and_the_event(live: Stage, browser: Browser) -> None:
    status, _, page = browser.get(f"/m/{MATCH}-VAN")
    assert status == 200
    assert "If Vancouver wins, YES." in page
    assert "15 deeper levels not shown" in page
    assert "from the match schedule" in page
    eventually(lambda: live.wished[:1] == [f"{MATCH}-VAN"], what="the snapshot server is told who looks")
    status, _, page = browser.get(f"/e/{MATCH}")
    assert status == 200
    assert "at most one YES" in page
    raw = browser.json(f"/api/market/{MATCH}-VAN")
    assert (raw["ticker"], raw["series_ticker"]) == (f"{MATCH}-VAN", "KXMLSGAME")
    assert raw["orderbook"]["yes_dollars"][-1] == ["0.4000", "500.00"]


def test_nothing_from_outside_becomes_markup_or_a_formula(live: Stage, browser: Browser) -> None:
    for path in (
        f"/e/{DULL}",
        f"/m/{DULL}-T50",
        "/search?q=cmd",
        "/m/%3Cscript%3Ealert(1)%3C/script%3E",
        "/e/..%2f",
        "/m/%E2%80%AE%E2%80%8Fcba",
        "/e/%E2%80%AE%E2%80%8Fcba",
        "/search?q=%E2%80%AEcba",
        "/explore?category=%E2%80%AEcba",
        "/s/%E2%80%AE%E2%80%8Fcba",
    ):
        page = browser.get(path)[2]
        assert "<script>alert" not in page
        assert "<title>\u202e" not in page  # the title does not run backwards
    for kind in "mes":
        assert browser.get(f"/{kind}/" + "x" * 10_000)[0] == 404
    live.commit(
        *(msgspec.structs.replace(live.writer.state.events[event], title=NASTY) for event in (MATCH, PAIR))
    )
    eventually(lambda: browser.json("/api/opportunities")["opportunities"][0]["title"] == NASTY)
    rows = list(csv.reader(io.StringIO(browser.get("/opportunities.csv")[2])))
    assert len(rows) > 2
    assert {row[2] for row in rows[1:]} == {"'" + NASTY}


def test_search_finds_by_word_and_ticker(live: Stage, browser: Browser) -> None:
    found = browser.json("/api/search?q=chicago")["results"]
    assert {hit["ticker"] for hit in found} >= {PAIR, f"{PAIR}-CHI"}
    assert f"/m/{PAIR}-CHI" in {hit["url"] for hit in found}
    assert f"/m/{PAIR}-CHI" in browser.get("/search?q=chicago")[2]
    assert browser.get("/api/search?limit=0")[0] == 400
    assert browser.get("/api/search?q=" + "x" * 201)[0] == 400
    assert browser.get("/api/search?q=%ff%00%fe")[0] == 200
    for path in ("/search?q=", "/explore?q=", "/explore?category=", "/s/"):
        assert browser.get(f"{path}%ff%fe%00")[0] in (200, 404), path
        assert browser.get(path + "x" * 1_000_000)[0] in (0, 400, 414, 431), path


def test_answers_carry_the_headers_and_foreign_hosts_are_refused(live: Stage, browser: Browser) -> None:
    for path in ("/", "/api/status", "/nowhere", "/api/nowhere", "/opportunities.csv", f"/m/{MATCH}-VAN"):
        headers = browser.get(path)[1]
        for name, text in HEADERS.items():
            assert headers[name.decode()] == text.decode(), (path, name)
    for host in (
        "evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.1.nip.io:5001",
        "",
        "localhost.evil.example",
        "127.0.0.1:80.evil.example",
        "[::1].evil.example",
        "[::2]",
    ):
        assert browser.get("/", Host=host)[0] == 400, host
        assert browser.get("/events", Host=host)[0] == 400, host
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:5001"):
        assert browser.get("/api/status", Host=host)[0] == 200, host
    for lines, answered in (
        (b"HTTP/1.0", True),
        (b"HTTP/1.1", False),
        (b"HTTP/1.1" + b"\r\nhost: localhost" * 2, False),
    ):
        with socket.create_connection(("127.0.0.1", browser.port), timeout=10) as client:
            client.sendall(b"GET /api/status " + lines + b"\r\n\r\n")
            assert (b" 200 " in client.recv(20)) is answered, lines
    for path in ("/api/opportunities", "/events"):
        assert browser.get(path, Sec_Fetch_Site="cross-site")[0] == 403
    assert browser.get("/", Sec_Fetch_Site="cross-site")[0] == 200


def test_wrong_methods_and_unknown_pages_are_refused_in_the_right_form(live: Stage, browser: Browser) -> None:
    for path in ("/", "/api/opportunities", "/events", f"/m/{MATCH}-VAN"):
        status, headers, _ = browser.get(path, "POST")
        assert status == 405
        assert "GET" in headers["allow"]
    status, headers, body = browser.get("/api/nowhere")
    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(body)["error"]["code"] == "not_found"
    status, headers, body = browser.get("/nowhere")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert browser.get("/static/../app.py")[0] == browser.get("/static/%2e%2e/app.py")[0] == 404
    assert browser.get("/events?nonsense=1")[0] == 400


def test_static_files_may_be_cached_for_ever(live: Stage, browser: Browser) -> None:
    page = browser.get("/")[2]
    path = page.split('rel="stylesheet" href="')[1].split('"')[0]
    status, headers, body = browser.get(path)
    assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in headers["cache-control"]
    assert body.startswith("/*")
    assert browser.get("/static/000000000000/app.css")[0] == 404


def test_events_announce_commits_and_streamed_changes(live: Stage, browser: Browser) -> None:
    state = live.writer.state
    with browser.events() as overview, browser.events(f"/events?ticker={PAIR}-CHI") as market:
        assert overview.status == market.status == 200
        assert overview.headers["content-type"].startswith("text/event-stream")
        assert overview.headers["x-accel-buffering"] == "no"
        first = overview.next()
        assert first["id"] == f"{state.epoch}:{state.seq}"
        assert json.loads(first["data"])["feed"] == "live"
        market.next()

        live.stream(quote(f"{PAIR}-CHI", (4_700, 20_000), (4_800, 15_000), live.clock.now_ms()))
        assert int(market.next()["id"].split(":")[1]) > int(first["id"].split(":")[1])
        live.commit()
        cycle = json.loads(first["data"])["cycle"]
        eventually(lambda: json.loads(overview.next()["data"])["cycle"] == cycle + 1)
    best = browser.json(f"/api/market/{PAIR}-CHI")
    assert best["yes_ask_dollars"] == "0.4800"


def test_too_many_streams_are_refused_and_closed_ones_make_room(live: Stage, browser: Browser) -> None:
    opened = [socket.create_connection(("127.0.0.1", browser.port), timeout=10) for _ in range(MAX_STREAMS)]
    for connection in opened:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    status, headers, body = browser.get("/events")
    assert (status, headers["retry-after"]) == (503, "5")
    assert json.loads(body)["error"]["code"] == "too_many"
    assert browser.json("/api/status")["feed"] == "live"
    for connection in opened:
        connection.close()

    def admitted() -> bool:
        with browser.events() as events:
            return events.status == 200

    eventually(admitted, what="the places of closed streams are free again")


def test_stopping_ends_open_streams_at_once(live: Stage, ui: Process, browser: Browser) -> None:
    with browser.events() as events:
        events.next()
        ui.signal(signal.SIGTERM)
        assert events.ended()
    assert ui.wait(10) == 0


def test_the_publisher_s_problems_are_on_the_page(live: Stage, browser: Browser) -> None:
    live.health = PublisherHealth(0, 12_000, "failed", "refused", True, "key refused: 401 <b>")

    eventually(lambda: "key_refused" in [p["code"] for p in browser.json("/api/status")["problems"]])
    page = browser.get("/")[2]
    assert "refuses the API key" in page
    assert "key refused: 401 &lt;b&gt;" in page


def test_if_the_publisher_falls_silent_the_last_data_grows_old_and_recovers(
    runner: Runner, stage: Stage, browser: Browser
) -> None:
    runner.env |= FAST
    runner.start("ui")
    eventually(browser.answers)
    stage.open()
    stage.start_feed()
    stage.start_query()
    eventually(lambda: browser.json("/api/opportunities")["total_tradable"])
    before = browser.json("/api/opportunities?why_not=1")

    stage.stop("feed")
    stage.stop("query")
    eventually(lambda: browser.json("/api/status")["feed"] == "lost", what="the loss is noticed")
    eventually(lambda: browser.json("/api/opportunities")["stale"], what="the data is called stale")
    after = eventually(
        lambda: (now := browser.json("/api/opportunities?why_not=1"))["total_tradable"] == 0 and now,
        what="nothing old counts as tradable",
    )
    assert after["age_seconds"] > before["age_seconds"]
    assert (after["seq"], after["total_analyzed"]) == (before["seq"], before["total_analyzed"])
    assert all("stale_leg" in one["reasons"] for one in after["opportunities"])
    page = browser.get("/")[2]
    assert "Nothing is heard from the publisher" in page
    assert ">was trading<" in page

    stage.start_feed()
    stage.start_query()
    stage.commit()
    eventually(lambda: browser.json("/api/status")["feed"] == "live", what="the dashboard recovers by itself")
    stage.commit()
    eventually(lambda: browser.json("/api/opportunities")["total_tradable"], what="and finds again")


def test_a_taken_port_is_one_clear_line(runner: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", runner.ui_port))
        taken.listen()
        process = runner.start("ui")
        assert process.wait(10) == 2
    assert "KALSHI_BUS_UI_PORT" in process.output()
    assert "Traceback" not in process.output()
