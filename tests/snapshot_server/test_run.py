"""The snapshot server as a process, against a real feed: HTTP and REQ/REP, under load and under abuse."""

import http.client
import json
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from bus import notebook
from bus.ask import ask
from bus.clock import SystemClock
from bus.market_history import HistoryRefused
from bus.protocol.messages import decode_map, encode_map
from bus.protocol.writer import Change, Writer
from bus.replica import Replica
from markets.records import Candles, Quote, Record, Trade
from tests.crowd import Crowd, assert_within, waits_s
from tests.snapshot_server.stack import COUNT, Context, Served, Stack, publish
from tests.snapshot_server.venue import (
    Catalogue,
    Venue,
    a_catalogue,
    a_cycle,
    a_writer,
    grouped,
    requoted,
)
from tests.support import ROOT, Process, Runner, eventually, free_ports

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live() -> Iterator[Stack]:
    """One server for all bad questions: none of them may harm the next."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner, context = Runner(folder), zmq.Context[Any]()
    stack = Stack(runner, context)
    try:
        with stack.venue() as venue:
            now_ms = venue.clock.now_ms()
            venue.open(a_writer(a_catalogue(20, now_ms), now_ms, now_ms))
            process = runner.start("snapshot_server")
            stack.wait("ok")
            yield stack
            assert not process.events("question.crashed")
            assert process.stop() == 0
    finally:
        runner.close()
        context.term()
        shutil.rmtree(folder, ignore_errors=True)


# --- coming and going ----------------------------------------------------------------------------


def test_it_waits_for_a_publisher_outlives_it_and_follows_the_next(stack: Stack) -> None:
    environment = {"KALSHI_BUS_POLL_INTERVAL_S": "0.2", "KALSHI_BUS_STALE_AFTER_S": "1"}
    process = stack.runner.start("snapshot_server", env=environment)
    stack.wait("starting")
    assert stack.get("/health")[0] == 503
    assert stack.get("/ready") == (503, {"status": "starting", "resyncing": None})
    assert stack.get("/markets")[0] == 503
    assert stack.ask("health")["status"] == "starting"
    assert stack.ask("market", ticker="A")["error"]["code"] == "not_ready"

    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        catalogue = a_catalogue(50, now_ms)
        venue.open(a_writer(catalogue, now_ms, now_ms))
        eventually(lambda: stack.get("/markets")[0] == 200)
    health = eventually(lambda: (h := stack.health())["feed"] == "lost" and h)
    assert health["status"] == "stale"
    assert stack.get("/ready") == (503, {"status": "stale", "resyncing": None})
    status, answer = stack.get("/markets")
    assert (status, answer["stale"], answer["markets"]["total_count"]) == (200, True, 50)
    assert stack.health()["age_seconds"] > health["age_seconds"]

    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        venue.open(a_writer(a_catalogue(60, now_ms), now_ms, now_ms))
        eventually(lambda: stack.health()["epoch"] == now_ms)
        assert stack.get("/markets")[1]["markets"]["total_count"] == 60
        eventually(lambda: stack.health()["feed"] == "live", what="the feed is live")
    assert process.stop() == 0


def test_killed_while_it_is_asked_for_a_snapshot_it_is_asked_again_and_who_has_one_goes_on(
    stack: Stack, zmq_context: Context
) -> None:
    with stack.venue() as venue, ExitStack() as replicas:
        now_ms = venue.clock.now_ms()
        catalogue = a_catalogue(COUNT, now_ms)
        writer = a_writer(catalogue, now_ms, now_ms)
        venue.open(writer)

        def moved(catalogue: Catalogue, number: int, as_of_ms: int) -> list[Change]:
            series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
            return grouped("quote", requoted(catalogue.quotes, number, as_of_ms), series)

        def follow() -> Replica:
            replica = Replica(
                zmq_context, venue.server.feed_address, stack.query, SystemClock(), random.Random(1)
            )
            replicas.callback(replica.stop)
            replica.start()
            return replica

        process = stack.runner.start("snapshot_server")
        stack.wait("ok")
        before = follow()
        assert before.wait(lambda r: r.status().live, 30)
        process.signal(signal.SIGSTOP)
        asking = follow()
        assert asking.wait(lambda r: r.status().stats.asks > 0, 30)
        process.kill()
        for number in range(1, 4):
            publish(venue, writer, moved(catalogue, number, now_ms), a_cycle(now_ms + number, COUNT))
        assert not asking.status().live
        again = stack.runner.start("snapshot_server")
        for replica in (asking, before):
            assert replica.wait(lambda r: r.status().live and r.state.seq == writer.state.seq, 30), (
                replica.status()
            )
        assert before.status().stats.gaps == 0
        assert asking.state.digest() == before.state.digest()
        assert again.stop() == 0


def test_a_taken_port_is_said_and_refused(stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.runner.snapshot_port))
        other.listen()
        process = stack.runner.start("snapshot_server")
        assert process.wait() == 2
    assert "KALSHI_BUS_SNAPSHOT_PORT" in process.output()


# --- HTTP ----------------------------------------------------------------------------------------


def test_no_answer_mixes_two_commits_while_they_come_and_go(served: Served) -> None:
    stack, venue, writer, catalogue, _ = served
    series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
    done = threading.Event()
    problems: list[str] = []
    seen: set[int] = set()

    def check(answers: Callable[[], tuple[int, list[dict[str, Any]]]]) -> None:
        last_seq = 0
        while not done.is_set():
            seq, markets = answers()
            volumes = {market["volume_fp"] for market in markets}
            if len(markets) != COUNT or (len(volumes) != 1 and seq > first_seq):
                problems.append(f"{len(markets)} markets, volumes {volumes} at {seq}")
            if seq < last_seq:
                problems.append(f"{seq} after {last_seq}")
            last_seq = seq
            seen.add(seq)

    def over_http(**headers: str) -> tuple[int, list[dict[str, Any]]]:
        answer = stack.get("/markets", **headers)[1]
        return answer["seq"], answer["markets"]["markets"]

    def over_req() -> tuple[int, list[dict[str, Any]]]:
        answer = stack.ask("markets")
        return answer["seq"], answer["markets"]["markets"]

    first_seq = writer.state.seq
    readers = [threading.Thread(target=check, args=(reader,)) for reader in (over_http, over_http, over_req)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 13):
            now_ms = venue.clock.now_ms()
            changes = grouped("quote", requoted(catalogue.quotes, number, now_ms), series)
            seq = publish(venue, writer, changes, a_cycle(now_ms, COUNT))
            eventually(lambda seq=seq: stack.health()["seq"] == seq)  # type: ignore[misc]
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not problems, problems[:3]
    assert len(seen) > 6
    health = stack.health()
    assert health["digest"] == f"{writer.state.digest():016x}"
    assert (health["gaps"], health["degraded"]) == (0, [])


@pytest.mark.alone
def test_it_stops_in_time_though_readers_have_not_taken_their_answers(stack: Stack) -> None:
    with stack.venue() as venue, ExitStack() as readers:
        now_ms = venue.clock.now_ms()
        venue.open(a_writer(a_catalogue(4_000, now_ms), now_ms, now_ms))
        process = stack.runner.start("snapshot_server")
        stack.wait("ok")
        for _ in range(5):
            client = readers.enter_context(
                socket.create_connection(("127.0.0.1", stack.runner.snapshot_port), timeout=10)
            )
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /markets HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert client.recv(100)
        assert process.stop(5) == 0
    assert process.events("http.cut_off")


def test_compression_and_304_over_the_wire(served: Served) -> None:
    stack = served[0]
    connection = http.client.HTTPConnection("localhost", stack.runner.snapshot_port, timeout=10)
    connection.request("GET", "/markets", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    packed = response.read()
    assert response.getheader("content-encoding") == "gzip"
    assert int(response.getheader("content-length") or 0) == len(packed)
    etag = response.getheader("etag") or ""
    connection.request("GET", "/markets", headers={"If-None-Match": etag})
    response = connection.getresponse()
    assert (response.status, response.read()) == (304, b"")
    for path in ("/markets", "/health"):
        connection.request("HEAD", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert response.getheader("content-length") != "0"
    connection.request("POST", "/markets", body=b"[" * 100_000)
    response = connection.getresponse()
    assert (response.status, response.getheader("allow")) == (405, "GET, HEAD")
    connection.close()


@pytest.mark.alone
def test_many_idle_and_slow_clients_do_not_shut_out_others(served: Served) -> None:
    stack = served[0]
    sockets = []
    try:
        for number in range(500):
            client = socket.create_connection(("127.0.0.1", stack.runner.snapshot_port))
            sockets.append(client)
            if number % 3 == 0:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.sendall(b"GET /markets HTTP/1.1\r\nhost: localhost\r\n\r\n")
            elif number % 3 == 1:
                client.sendall(b"GET /mark")
        assert stack.get("/markets")[0] == 200
        with ThreadPoolExecutor(8) as clients:
            asked = [clients.submit(stack.get, f"/markets?limit={60 + n % 8}") for n in range(400)]
            assert {stack.get("/health")[1]["status"] for _ in range(50)} == {"ok"}
            assert {one.result()[0] for one in asked} == {200}
    finally:
        for client in sockets:
            client.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\xfe" * 50,
        b"GET /markets HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_garbage_gets_an_error_or_a_closed_connection(live: Stack, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", live.runner.snapshot_port), timeout=15) as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65_536)
        except OSError:
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
    assert live.health()["status"] == "ok"


# --- under attack --------------------------------------------------------------------------------

ASK = b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n"


@contextmanager
def serving(stack: Stack, markets: int, descriptors: int | None = None) -> Iterator[Process]:
    """A server of many markets, with a hard limit of descriptors if given; it must outlive what is done."""
    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        venue.open(a_writer(a_catalogue(markets, now_ms), now_ms, now_ms))
        limit = "" if descriptors is None else f"ulimit -n {descriptors}; "
        process = stack.runner.start_command(["sh", "-c", f"{limit}exec {sys.executable} -m snapshot_server"])
        stack.wait("ok")
        yield process
        assert process.popen.poll() is None, process.output()[-2000:]
        assert process.stop() == 0
        assert not process.events("request.crashed")


@pytest.mark.alone
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nhost: local",
        b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\nGET /he",  # the front passes these on
    ],
    ids=["nothing", "half", "more"],
)
def test_connections_that_say_nothing_make_room_and_descriptors_never_run_out(
    stack: Stack, said: bytes
) -> None:
    with serving(stack, 300, descriptors=1_024) as process:
        with Crowd(stack.runner.snapshot_port, 1_100, said):
            assert_within(3, *waits_s(stack.health, 5))
            # While very many wait, one may be turned away.
            eventually(lambda: stack.health()["status"] == "ok", what="an answer")
            assert stack.ask("ping")["ok"]
        assert process.events("http.crowded")[0]["places"] == 768


READS = """
import sys, urllib.request
from concurrent.futures import ThreadPoolExecutor

def read(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}", timeout=30) as answer:
        while answer.read(1 << 20):
            pass
        return answer.status

with ThreadPoolExecutor(6) as readers:
    asked = [readers.submit(read, path) for path in sys.argv[2:]]
    print("reading", flush=True)
    print(*(one.result() for one in asked))
"""


@pytest.mark.alone
def test_readers_that_do_not_read_hold_up_nothing_and_memory_is_bounded(stack: Stack) -> None:
    port = stack.runner.snapshot_port
    with serving(stack, 10_000) as process:
        # In a process of their own: 100 MB that this one reads would hold up its own questions.
        paths = ["/markets", "/trade-api/v2/events?with_nested_markets=true"] * 4
        paths += [f"/markets?limit={500 + n}" for n in range(8)]
        readers = stack.runner.start_command([sys.executable, "-c", READS, str(port), *paths])
        eventually(lambda: "reading" in readers.output())
        assert_soon(waits_s(stack.health, 50))
        assert readers.wait(30) == 0
        assert readers.output().split() == ["reading", *["200"] * len(paths)]
        assert stack.get("/markets")[1]["markets"]["total_count"] == 10_000
        before_mb = memory_mb(process)
        with Crowd(port, 200, ASK % b"/markets", reads=False):
            assert_soon(waits_s(stack.health, 100))
            eventually(lambda: stack.get("/markets")[0] == 200, 3, "one that stalls gives way")
            assert memory_mb(process) < before_mb + 200
        with Crowd(port, 200, ASK % b"/markets?limit=50" * 50, reads=False):
            assert_soon(waits_s(stack.health, 50), times=4)  # ten thousand questions come at once
            assert memory_mb(process) < before_mb + 200


def assert_soon(health_s: list[float], times: float = 1) -> None:
    """The machine may have something else to do for a moment."""
    assert_within(0.25 * times, sorted(health_s)[int(len(health_s) * 0.95)])
    assert_within(1 * times, *health_s)


def memory_mb(process: Process) -> float:
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * 4_096 / 1e6


@pytest.mark.alone
def test_what_is_beyond_capacity_gets_503_and_the_rest_is_answered_soon(stack: Stack) -> None:
    port = stack.runner.snapshot_port
    with serving(stack, 1_000):
        command = [sys.executable, "-m", "tests.offered", str(port), "/markets", "2000", "3"]
        load = stack.runner.start_command(command, {"PYTHONPATH": str(ROOT)})
        health_s: list[float] = []
        while load.popen.poll() is None:
            health_s += waits_s(stack.health, 1)
        found = json.loads(load.output())
        assert_soon(health_s)
        assert found["200"] + found["503"] == found["offered"]
        assert found["200"] > 100
        assert found["503"] == found["retry-after"]
        assert_within(5, found["longest_200_s"])


# --- REQ/REP -------------------------------------------------------------------------------------


def test_every_question_is_answered_like_http(served: Served) -> None:
    stack, _, writer, catalogue, _ = served
    enriched = catalogue.books[0]
    event = next(m.event_ticker for m in catalogue.markets if m.ticker == enriched.ticker)
    whole = stack.get("/markets")[1]
    by_ticker = {market["ticker"]: market for market in whole["markets"]["markets"]}

    market = stack.ask("market", ticker=enriched.ticker)
    assert (market["ok"], market["id"], market["seq"]) == (True, 7, whole["seq"])
    assert market["market"] == by_ticker[enriched.ticker]
    page = stack.ask("markets", limit=2, status=["active", "closed"], fields="title")
    http_page = stack.get("/markets?limit=2&status=active,closed&fields=title")[1]
    assert page["markets"] == http_page["markets"]
    assert page["generated_at"] == http_page["generated_at"]
    rest = stack.ask("markets", limit=1000, cursor=page["markets"]["cursor"], status="active,closed")
    assert rest["markets"]["total_count"] == page["markets"]["total_count"]
    assert len(rest["markets"]["markets"]) == page["markets"]["total_count"] - 2
    book = stack.ask("book", ticker=enriched.ticker)
    assert (book["yes"], book["no"]) == ([[4000, 1000], [4100, 2550]], [[5700, 300]])
    assert book["suspect_since_ms"] is None
    assert stack.ask("match_times")["match_times"] == whole["markets"]["match_times"]
    assert list(stack.ask("match_times", event_ticker=event)["match_times"]) == [event]
    assert stack.ask("match_times", event_ticker="NONE")["match_times"] == {}
    health = stack.ask("health")
    assert set(health) - {"ok", "id"} == set(stack.health())
    assert stack.ask("ping")["seq"] == writer.state.seq
    assert stack.ask("digest")["digest"] == f"{writer.state.digest():016x}" == health["digest"]
    assert stack.ask("schema")["version"] == 1


def test_a_replica_can_join_by_query(served: Served) -> None:
    stack, _, writer, _, _ = served
    replica = Replica(
        stack.context, f"ipc://{stack.runner.run_dir}/feed.sock", stack.query, SystemClock(), random.Random(1)
    )
    replica.start()
    try:
        assert replica.wait(lambda r: r.status().live, 30)
        assert replica.state.digest() == writer.state.digest()
    finally:
        replica.stop()


def test_price_history_is_wished_for_and_answered_when_it_is_there(served: Served) -> None:
    stack, venue, writer, _, _ = served
    ticker, market = next(iter(writer.state.markets.items()))
    assert stack.ask("candles", ticker=ticker)["error"]["code"] == "not_found"
    assert stack.ask("watch", tickers=[ticker], ttl_s=30, what="candles")["watched"] == 1
    eventually(lambda: venue.wished == [ticker])

    candles = Candles(ticker, 1_790_000_000_000, 3_600, b'[{"end_period_ts":3600}]')
    venue.do(
        lambda server: server.send(
            writer.stream(f"md.{market.series_ticker}.", "candles", [candles], 1, 1_790_000_000_000_000_000)
        )
    )

    eventually(lambda: stack.ask("candles", ticker=ticker)["ok"])
    answer = stack.ask("candles", ticker=ticker)
    assert answer["candlesticks"] == [{"end_period_ts": 3600}]
    assert (answer["as_of_ms"], answer["period_s"]) == (candles.as_of_ms, 3_600)


def test_what_happened_is_told_through_restarts(stack: Stack) -> None:
    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        catalogue = a_catalogue(COUNT, now_ms)
        writer = a_writer(catalogue, now_ms, now_ms)
        venue.open(writer)
        _tell_through_a_restart(stack, venue, writer, catalogue)


def _tell_through_a_restart(stack: Stack, venue: Venue, writer: Writer, catalogue: Catalogue) -> None:
    process = stack.runner.start("snapshot_server")
    stack.wait("ok")
    quote = catalogue.quotes[7]
    topic = f"md.{catalogue.markets[7].series_ticker}."

    def told() -> dict[str, Any]:
        return stack.ask("history", ticker=quote.ticker)

    def say(kind: str, record: Record) -> None:
        venue.do(lambda server: server.send(writer.stream(topic, kind, [record], 1, now_ms * 1_000_000)))

    def changed(volume_e2: int, ms: int) -> Quote:
        return requoted([quote], volume_e2, now_ms + ms)[0]

    eventually(lambda: len(told()["quotes"]) == 1, what="a market has its first point at once")
    now_ms = venue.clock.now_ms()
    say("quote", changed(777, 10))
    say("quote", changed(778, 20))
    say("quote", changed(778, 30))
    say("trade", Trade("a trade", quote.ticker, 4_200, 500, "yes", now_ms + 15))
    eventually(lambda: len(told()["quotes"]) == 3 and told()["trades"])
    answer = told()
    assert [point[6] for point in answer["quotes"][1:]] == [777, 778]
    assert [point[0] for point in answer["quotes"][1:]] == [now_ms + 10, now_ms + 20]
    assert answer["trades"] == [[now_ms + 15, 4_200, 500, "yes", "a trade"]]
    assert answer["quotes_begin_ms"] >= now_ms - 60_000
    assert answer["trades_begin_ms"] is None, "this publisher follows no stream: trades may be missing"

    feed = f"ipc://{stack.runner.run_dir}/feed.sock"
    with notebook.connect(feed=feed, snapshots=stack.query) as live:
        past = live.history(quote.ticker, now_ms, now_ms + 15)
        assert [msgspec.to_builtins(point) for point in past.quotes] == answer["quotes"][:2]
        assert past.trades[0].trade_id == "a trade"
        frame = live.history_frame(quote.ticker)
        assert list(frame["volume_e2"][1:]) == [777, 778]
        assert frame.index[1].value == (now_ms + 10) * 1_000_000
        trades = live.trades_frame(quote.ticker)
        assert trades[["price_e4", "count_e2", "taker_side"]].values.tolist() == [[4_200, 500, "yes"]]
        (row,) = live.trades_frame(quote.ticker, library="polars", dollars=True).to_dicts()
        assert (row["time_ms"], row["price_dollars"], row["count_contracts"]) == (now_ms + 15, 0.42, 5.0)
        assert live.history_frame(quote.ticker, library="arrow").column("volume_e2").to_pylist()[1:] == [
            777,
            778,
        ]
        with pytest.raises(HistoryRefused, match="no such market"):
            live.history("NONE")

    assert process.stop() == 0
    say("quote", changed(779, 40))
    process = stack.runner.start("snapshot_server")
    stack.wait("ok")
    eventually(lambda: len(told()["quotes"]) == 4)
    again = told()
    assert again["quotes"][:3] == answer["quotes"]
    assert again["trades"] == answer["trades"]
    assert again["quotes_begin_ms"] == answer["quotes_begin_ms"]
    ((begin_ms, end_ms),) = again["quotes_holes"]
    assert now_ms <= begin_ms < end_ms <= venue.clock.now_ms()
    assert stack.ask("movers").get("error", {}).get("code", "not_ready") == "not_ready"
    eventually(lambda: stack.ask("movers").get("total") == 0, what="nothing has moved")
    dear = msgspec.structs.replace(changed(780, 50), yes_bid_e4=9_800, yes_bid_size_e2=100)
    say("quote", msgspec.structs.replace(dear, yes_ask_e4=9_900, yes_ask_size_e2=100, last_price_e4=9_850))
    movers = eventually(lambda: stack.ask("movers", window_s=1_800).get("movers"), what="one has moved")
    assert [(ticker, now_e4) for ticker, _, now_e4 in movers or []] == [(quote.ticker, 9_850)]
    assert process.stop() == 0


def test_a_wish_for_books_reaches_the_publisher(served: Served) -> None:
    stack, venue, _, _, _ = served
    assert stack.ask("watch", tickers=["KXA", "KXB"], ttl_s=30)["watched"] == 2
    eventually(lambda: venue.wished == ["KXA", "KXB"])


@pytest.mark.parametrize(
    ("question", "code", "named"),
    [
        ({"op": "nope"}, "unknown_op", "op"),
        ({"op": ["market"]}, "unknown_op", "op"),
        ({}, "unknown_op", "op"),
        ({"op": "market"}, "bad_request", "ticker"),
        ({"op": "market", "ticker": 5}, "bad_request", "ticker"),
        ({"op": "market", "ticker": "NONE"}, "not_found", "ticker"),
        ({"op": "market", "ticker": "NONE", "colour": 1}, "bad_request", "market"),
        ({"op": "book", "ticker": "NONE"}, "not_found", "ticker"),
        ({"op": "candles", "ticker": "NONE"}, "not_found", "ticker"),
        ({"op": "history", "ticker": "NONE"}, "not_found", "ticker"),
        ({"op": "history", "ticker": 5}, "bad_request", "ticker"),
        ({"op": "history", "ticker": "KXA", "start_ms": "0"}, "bad_request", "start_ms"),
        ({"op": "history", "ticker": "KXA", "end_ms": 2**63}, "bad_request", "end_ms"),
        ({"op": "history", "ticker": "KXA", "limit": 0}, "bad_request", "limit"),
        ({"op": "history", "ticker": "KXA", "limit": True}, "bad_request", "limit"),
        ({"op": "movers", "window_s": 299}, "bad_request", "window_s"),
        ({"op": "movers", "window_s": "3600"}, "bad_request", "window_s"),
        ({"op": "movers", "limit": 5_001}, "bad_request", "limit"),
        ({"op": "watch", "tickers": ["KXA"], "what": "trades"}, "bad_request", "what"),
        ({"op": "markets", "limit": 0}, "bad_request", "limit"),
        ({"op": "markets", "limit": True}, "bad_request", "limit"),
        ({"op": "markets", "limit": 1.5}, "bad_request", "limit"),
        ({"op": "markets", "tickers": ["A,B"]}, "bad_request", "tickers"),
        ({"op": "markets", "tickers": []}, "bad_request", "tickers"),
        ({"op": "markets", "status": "open"}, "bad_request", "status"),
        ({"op": "markets", "cursor": b"x"}, "bad_request", "cursor"),
        ({"op": "match_times", "event_ticker": 1}, "bad_request", "event_ticker"),
        ({"op": "watch", "tickers": "A"}, "bad_request", "tickers"),
        ({"op": "health", "id": {"a": 1}}, "bad_request", "id"),
    ],
)
def test_a_bad_question_gets_one_clear_error(
    live: Stack, question: dict[str, Any], code: str, named: str
) -> None:
    answer = ask(live.context, live.query, question, 10_000)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert answer["error"]["message"].startswith(f"{named}: ")


def test_malformed_frames_do_not_harm_the_next_question(
    live: Stack, zmq_socket: Callable[..., zmq.Socket[bytes]]
) -> None:
    dealer = zmq_socket(zmq.DEALER)
    dealer.connect(live.query)
    several = [[b"a", b"b", b"c"], [b"x", b"y"]]
    answered = [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000,
        b"\x80x",
        encode_map([1]),
        b"\x81\xa1a\xa1\xff",
    ]
    dealer.send_multipart([b""] * 9)  # gets no answer: too many to be passed back
    for frames in several:
        dealer.send_multipart(frames)
    for frame in answered:
        dealer.send_multipart([b"", frame])
    for number in range(len(several) + len(answered)):
        *delimiters, raw = dealer.recv_multipart()
        answer = decode_map(raw, dict[str, Any])
        assert (delimiters, answer["ok"]) == ([b""] if number >= len(several) else [], False)
        assert answer["error"]["code"] in ("bad_request", "unknown_op")
    assert live.ask("ping")["ok"] is True


def test_raw_bytes_and_http_on_a_tcp_query_socket_are_ignored(
    stack: Stack,
) -> None:
    (port,) = free_ports(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        venue.open(a_writer(a_catalogue(20, now_ms), now_ms, now_ms))
        process = stack.runner.start("snapshot_server", env={"KALSHI_BUS_QUERY": endpoint})
        stack.wait("ok")
        stack.query = endpoint
        for sent in (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
            b"\x01\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\xff" * 64,
            b"\x00",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.sendall(sent)
                assert stack.ask("ping")["ok"] is True
        assert process.stop() == 0
        assert not process.events("question.crashed")
