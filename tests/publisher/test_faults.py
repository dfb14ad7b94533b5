"""Faults of the exchange, the simulator's: what every reader holds afterwards is what it lists.

After each: a replica's digest is the publisher's at the same number (`proven`), and nothing old is shown as
fresh.
"""

import itertools
import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import pytest
import zmq

from bus.ask import ask
from bus.clock import SystemClock
from bus.protocol.messages import CycleEnd, Header, Quotes, decode, decode_record
from bus.replica import Replica
from bus.scan.membership import Membership, market_view
from markets.json.books import decode_books
from markets.opportunities import MarketView, ScanLimits, candidates
from markets.opportunities.legs import market_reasons
from markets.records import Book, ExchangeStatus, Market, Quote, Record, Remove, Status, Suspect
from tests.support import Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Exchange:
    """The simulator, a publisher of it, and a replica of that. All tests share one."""

    def __init__(self, runner: Runner, context: zmq.Context[Any]) -> None:
        self._base = f"http://127.0.0.1:{runner.sim_port}"
        runner.env |= {"KALSHI_BUS_POLL_INTERVAL_S": "1", "KALSHI_BUS_ENRICHED_BOOKS_MAX": "60"}
        keys = ["--keys", str(runner.run_dir)]
        runner.run_dir.mkdir(0o700)
        self.simulator = runner.start(
            "simulator", "--port", str(runner.sim_port), "--markets", "120", "--tier", "none", *keys
        )
        self.publisher = runner.start("publisher")
        feed, state = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state"))
        self._context, self._state = context, state
        self._tape: list[bytes] = []
        self._taping = False
        self.replica = Replica(context, feed, state, SystemClock(), Random(1), tap=self._tap)
        self.replica.start()
        self.wait(lambda: self.health["stream_books"] >= 20 and not self.health["stream_unsure"])
        self.wait(lambda: self.replica.status().live and len(self.replica.state.books) >= 20)

    def settle(self) -> None:
        """End all faults, freeze the prices and wait until everybody holds what the exchange lists."""
        self.set(rules=[], settings={"pace": 0, "mispricings": False})
        before = self.replica.heartbeat
        self.wait(lambda: self.replica.heartbeat is not before)
        self.wait(lambda: self.cycle.complete and not self.cycle.quarantined)
        self.wait(lambda: self.health["stream"] == "live" and not self.health["stream_unsure"])
        self.wait(self.agrees)
        self.wait(self.proven)

    def close(self) -> None:
        self.replica.stop()

    def _tap(self, frame: bytes, _envelope: Header | Quotes) -> None:
        if self._taping:
            self._tape.append(frame)

    def tape(self) -> None:
        """Begin to take down what is published."""
        self._tape, self._taping = [], True

    def taped(self) -> list[Record]:
        """Return the records published since `tape`, in order."""
        self._taping = False
        return [
            decode_record(envelope.kind, raw)
            for _, envelope in map(decode, self._tape)
            if envelope.kind not in ("heartbeat", "cycle")
            for raw in envelope.records
        ]

    def hits(self) -> list[int]:
        """How often each rule in force has hit."""
        return [rule["hits"] for rule in self.get("/sim/faults")["rules"]]

    @property
    def health(self) -> dict[str, Any]:
        heartbeat = self.replica.heartbeat
        return msgspec.to_builtins(heartbeat.publisher) if heartbeat else {"stream_books": 0}

    @property
    def cycle(self) -> CycleEnd:
        cycle = self.replica.state.cycle
        assert cycle is not None
        return cycle

    def wait(self, predicate: Any) -> None:
        eventually(predicate, 60, "the publisher to settle")

    def set(self, **document: Any) -> None:
        body = json.dumps(document).encode()
        request = urllib.request.Request(
            f"{self._base}/sim/faults", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def proven(self) -> bool:
        """Whether the replica is at the very number of the publisher's answer; its digest must fit then."""
        answer = ask(self._context, self._state, {"op": "digest", "id": 1})
        with self.replica.state.lock:
            state = self.replica.state
            if (state.epoch, state.seq) != (answer["epoch"], answer["seq"]):
                return False
            assert f"{state.digest():016x}" == answer["digest"]
        return True

    def market(self, ticker: str) -> dict[str, Any]:
        """A market as the exchange has it now."""
        found: dict[str, Any] = self.get(f"/trade-api/v2/markets/{ticker}")["market"]
        return found

    def view(self, ticker: str) -> MarketView:
        """A market as the scanner sees it."""
        with self.replica.state.lock:
            view = market_view(self.replica.state, ticker)
        assert view is not None
        return view

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self._base + path, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def agrees(self) -> bool:
        """Whether the followed books are those of the exchange, digests fit, and nothing is suspect."""
        status = self.replica.status()
        with self.replica.state.lock:
            books, suspects = dict(self.replica.state.books), dict(self.replica.state.suspects)
        if not books or suspects or not status.live or status.degraded:
            return False
        query = "&".join(f"tickers={ticker}" for ticker in books)
        url = f"{self._base}/trade-api/v2/markets/orderbooks?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            listed, bad = decode_books(answer.read(), 0)
        assert not bad
        return all((books[b.ticker].yes, books[b.ticker].no) == (b.yes, b.no) for b in listed)


@pytest.fixture(scope="module")
def started() -> Iterator[Exchange]:
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner, context = Runner(folder), zmq.Context[zmq.Socket[bytes]]()
    try:
        made = Exchange(runner, context)
        yield made
        made.close()
        context.term()
    finally:
        runner.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def exchange(started: Exchange) -> Exchange:
    started.settle()
    return started


def test_lost_doubled_swapped_frames_and_dead_lines_leave_the_exchanges_books(exchange: Exchange) -> None:
    for fault in ("drop", "duplicate", "swap"):
        gaps = exchange.health["stream_gaps"]
        # Without a limit: a frame that changes places with one of another subscription is no gap.
        rule = {"fault": fault, "frame": "orderbook_delta", "probability": 0.2}
        exchange.set(rules=[rule], settings={"pace": 20})
        if fault != "duplicate":
            exchange.wait(lambda gaps=gaps: exchange.health["stream_gaps"] > gaps)
        else:
            exchange.wait(lambda: exchange.hits() >= [5])
        exchange.set(rules=[], settings={"pace": 0})
        exchange.wait(exchange.agrees)
        exchange.wait(exchange.proven)

    exchange.set(rules=[{"fault": "stall", "frame": "*", "count": 1}], settings={"pace": 5})
    reconnects = exchange.health["stream_reconnects"]
    exchange.wait(lambda: exchange.health["stream_reconnects"] > reconnects)
    exchange.settle()


def test_a_gap_doubts_and_renews_all_books_of_its_subscription_and_nothing_else(exchange: Exchange) -> None:
    """All books are on one `sid`; the gap is in one of them."""
    before, gaps = set(exchange.replica.state.books), exchange.health["stream_gaps"]
    own = exchange.replica.status().stats.gaps
    exchange.tape()
    exchange.set(rules=[{"fault": "drop", "frame": "orderbook_delta", "count": 1}], settings={"pace": 20})
    exchange.wait(lambda: exchange.health["stream_gaps"] > gaps)
    exchange.settle()

    assert exchange.health["stream_gaps"] == gaps + 1  # none in tickers, trades and announcements
    assert exchange.replica.status().stats.gaps == own
    doubted: set[str] = set()
    renewed: set[str] = set()
    came_or_went: set[str] = set()  # as the plan of books has it, whatever happens
    for record in exchange.taped():
        if isinstance(record, Suspect):
            assert record.reason == "gap"
            doubted.add(record.ticker)
        elif isinstance(record, Book):
            (renewed if record.ticker in doubted else came_or_went).add(record.ticker)
        elif isinstance(record, Remove):
            came_or_went.add(record.key)
    after = set(exchange.replica.state.books)
    stayed = (before & after) - came_or_went
    assert len(stayed) >= 20
    assert stayed <= doubted
    assert doubted & after <= renewed


def test_stream_that_is_closed_again_and_again_waits_longer_and_leaves_nothing_behind(
    exchange: Exchange,
) -> None:
    """Twenty times, with shorter pauses: tests/publisher/test_stream.py."""
    processes = [psutil.Process(one.pid) for one in (exchange.publisher, exchange.simulator)]
    open_before = [process.num_fds() for process in processes]
    before = len(exchange.publisher.events("stream.down"))
    exchange.tape()
    for number in range(3):
        opened = len(exchange.publisher.events("stream.open"))
        exchange.set(rules=[{"fault": "disconnect", "frame": "*", "count": 1}], settings={"pace": 5})
        exchange.wait(lambda opened=opened: len(exchange.publisher.events("stream.open")) > opened)
        assert len(exchange.publisher.events("stream.down")) == before + number + 1
    exchange.settle()

    pauses = [event["again_in_s"] for event in exchange.publisher.events("stream.down")][before:]
    assert len(pauses) == 3
    for shorter, longer in itertools.pairwise(pauses):
        assert longer <= 8
        assert longer > shorter or shorter >= 4  # half of each pause is chance, the rest doubles up to 8 s
    assert any(isinstance(record, Suspect) for record in exchange.taped())
    for process, descriptors in zip(processes, open_before, strict=True):
        eventually(lambda process=process, most=descriptors: process.num_fds() <= most)  # type: ignore[misc]


def test_retry_after_is_obeyed_by_every_request(exchange: Exchange) -> None:
    rule = {"fault": "status", "status": 429, "retry_after_s": 3, "route": "GET /events", "count": 1}
    exchange.set(rules=[rule])
    earliest_s = time.monotonic()

    def refused() -> bool:
        nonlocal earliest_s
        now_s = time.monotonic()
        if exchange.hits() == [1]:
            return True
        earliest_s = now_s
        return False

    exchange.wait(refused)
    requests = exchange.get("/sim/stats")["requests_total"]
    # Two may be on their way, of books and of the account's limits.
    exchange.wait(lambda: exchange.get("/sim/stats")["requests_total"] > requests + 2)
    assert time.monotonic() - earliest_s >= 3
    exchange.settle()


def test_passing_errors_are_tried_again(exchange: Exchange) -> None:
    statuses = [
        {"fault": "status", "status": status, "route": "GET /events", "skip": number, "count": 1}
        for number, status in enumerate((500, 502, 503))
    ]
    cut = [
        {"fault": fault, "ms": 200, "route": "GET /events", "skip": 3 + number, "count": 1}
        for number, fault in enumerate(("timeout", "disconnect"))
    ]
    before = len(exchange.publisher.events("exchange.retry"))
    exchange.set(rules=[*statuses, *cut])
    exchange.wait(lambda: exchange.hits() == [1] * 5)
    exchange.settle()

    tried = [event["outcome"] for event in exchange.publisher.events("exchange.retry")][before:]
    assert {"server_error", "unreachable"} & set(tried)


@pytest.mark.parametrize("fault", ["repeated_cursor", "endless_cursor"])
def test_list_without_an_end_is_left(exchange: Exchange, fault: str) -> None:
    complete_ms = exchange.cycle.complete_ms
    requests = exchange.get("/sim/stats")["requests_total"]
    exchange.set(rules=[{"fault": fault, "route": "GET /events"}])
    exchange.wait(lambda: exchange.health["sweep"] in ("failed", "partial"))
    requests = exchange.get("/sim/stats")["requests_total"] - requests
    assert requests <= 3 * 120  # a sweep that was under way, and less than two of at most 100 pages
    words = "came again" if fault == "repeated_cursor" else "no end"
    exchange.wait(lambda: words in (exchange.health["error"] or ""))
    exchange.wait(lambda: not exchange.cycle.complete)
    assert complete_ms is not None
    assert complete_ms <= (exchange.cycle.complete_ms or 0) <= exchange.cycle.started_ms
    assert len(exchange.replica.state.markets) >= 100
    exchange.wait(exchange.proven)
    exchange.set(rules=[])
    exchange.wait(lambda: exchange.cycle.complete)


FAILS: list[dict[str, Any]] = [
    {"fault": "status", "status": 429},
    {"fault": "html", "status": 200},
    {"fault": "truncate"},
    {"fault": "status", "status": 502},
    {"fault": "timeout", "ms": 100},
    {"fault": "set_field", "field": "events", "value": "none", "everywhere": True},
]
"""What ends a sweep. The requests for books are left alone: the stream's health is another matter."""


def test_requests_that_fail_leave_the_last_good_data_ageing_and_heal(exchange: Exchange) -> None:
    exchange.set(settings={"pace": 0})
    for fault in FAILS:
        exchange.set(rules=[fault | {"route": "GET /events"}])
        exchange.wait(lambda: exchange.health["sweep"] in ("failed", "partial"))
        number, complete_ms = exchange.cycle.cycle, exchange.cycle.complete_ms
        with exchange.replica.state.lock:
            state = exchange.replica.state
            markets, oldest = len(state.markets), min(state.quote_as_of_ms(t) or 0 for t in state.quotes)
        exchange.wait(lambda: exchange.health["error"] is not None)
        # Nothing is confirmed by a sweep that failed: no age grows younger, no market goes.
        assert (exchange.cycle.cycle, exchange.cycle.complete_ms) == (number, complete_ms), fault
        assert complete_ms is not None
        assert oldest <= complete_ms
        assert markets >= 100
        exchange.set(rules=[])
        exchange.wait(lambda before=number: exchange.cycle.cycle > before and exchange.cycle.complete)
        exchange.wait(exchange.proven)
    exchange.wait(exchange.agrees)


def test_records_that_cannot_be_named_are_kept_out_and_age(exchange: Exchange) -> None:
    exchange.set(settings={"pace": 0})
    rule = {"fault": "missing_field", "route": "GET *", "field": "event_ticker", "everywhere": True}
    exchange.set(rules=[rule])
    since_ms = SystemClock().now_ms()
    exchange.wait(lambda: exchange.cycle.quarantined >= 100)
    with exchange.replica.state.lock:
        state = exchange.replica.state
        assert len(state.markets) >= 100
        younger = {
            ticker: (quote.status, (state.quote_as_of_ms(ticker) or 0) - since_ms)
            for ticker, quote in state.quotes.items()
            if quote.status is not Status.FINALIZED  # which is not asked for: it cannot change any more
            and quote.as_of_ms <= since_ms < (state.quote_as_of_ms(ticker) or 0)  # not by the stream
        }
    assert younger == {}
    exchange.wait(exchange.proven)
    exchange.set(rules=[])
    exchange.wait(lambda: exchange.cycle.complete and not exchange.cycle.quarantined)
    exchange.wait(exchange.proven)


@pytest.mark.parametrize(
    ("fault", "field", "shows"),
    [
        ("missing_field", "yes_bid_dollars", lambda _market, quote: not quote.yes_ask_size_e2),
        ("renamed_field", "close_time", lambda market, _quote: market.close_ms is None),
        ("set_field", "status", lambda _market, quote: quote.status is Status.UNKNOWN),
        ("set_field", "price_ranges", lambda market, _quote: market.price_ranges == ()),
        ("set_field", "settlement_timer_seconds", lambda market, _quote: market.settlement_timer_s == 0),
    ],
)
def test_a_member_that_all_markets_lack_costs_itself(
    exchange: Exchange, fault: str, field: str, shows: Callable[[Market, Quote], bool]
) -> None:
    def spoilt() -> bool:
        state = exchange.replica.state
        with state.lock:
            quotes = [quote for quote in state.quotes.values() if quote.status is not Status.FINALIZED]
            return all(shows(state.markets[quote.ticker], quote) for quote in quotes)

    exchange.set(settings={"pace": 0})
    value = 10**30 if field == "settlement_timer_seconds" else "new"
    rule = {"fault": fault, "route": "GET *", "field": field, "to": "x", "value": value, "everywhere": True}
    exchange.set(rules=[rule])
    exchange.wait(spoilt)
    since_ms = SystemClock().now_ms()
    exchange.wait(lambda: exchange.cycle.started_ms > since_ms and exchange.cycle.complete)
    assert exchange.cycle.quarantined == 0
    assert len(exchange.replica.state.markets) >= 100
    exchange.wait(exchange.proven)
    exchange.set(rules=[])
    exchange.wait(lambda: not spoilt())
    exchange.wait(exchange.agrees)
    exchange.wait(exchange.proven)


SIDES = ("yes_bid_dollars", "no_ask_dollars", "yes_ask_dollars", "no_bid_dollars")
UNREADABLE: dict[str, dict[str, object]] = {
    "negative quantity": {"yes_bid_size_fp": "-5.00"},
    "1e18 contracts": {"yes_ask_size_fp": "1000000000000000000.00"},
    "1e18 as a float": {"volume_fp": "1e18"},
    "a third decimal of a contract": {"yes_bid_size_fp": "10.125"},
    "a fifth decimal of a dollar": {"yes_bid_dollars": "0.12345"},
    "negative price": {"yes_ask_dollars": "-0.0100"},
    "price of 101 cents": {"yes_ask_dollars": "1.0100"},
    "number, not text": {"yes_bid_dollars": 0.4},
    "null": {"yes_bid_dollars": None},
}
"""Members of a market that make its quote untradable, or are unknown themselves."""

BAD_NAMES: dict[str, dict[str, object]] = {
    "right-to-left ticker": {"ticker": "KX\u202eXK\u200f"},
    "ticker of 10 kB": {"ticker": "K" * 10_000},
}
"""Members of a market that keep it out."""

ODD_QUOTES: dict[str, tuple[dict[str, object], str]] = {
    "crossed": (dict(zip(SIDES, ("0.6000", "0.4000", "0.5500", "0.4500"), strict=True)), "crossed_book"),
    "locked": (dict(zip(SIDES, ("0.5000", "0.5000", "0.5000", "0.5000"), strict=True)), "crossed_book"),
    "contradiction": (
        dict(zip(SIDES, ("0.3000", "0.6000", "0.8000", "0.2000"), strict=True)),
        "prices_disagree",
    ),
    "bid at 0": (dict(zip(SIDES, ("0.0000", "1.0000", "0.5000", "0.5000"), strict=True)), "off_grid"),
    "ask at 100": (dict(zip(SIDES, ("0.5000", "0.5000", "1.0000", "0.0000"), strict=True)), "off_grid"),
    "bid at 100": (dict(zip(SIDES, ("1.0000", "0.0000", "1.0000", "0.0000"), strict=True)), "off_grid"),
    "between the cents": (
        dict(zip(SIDES, ("0.3456", "0.6544", "0.8000", "0.2000"), strict=True)),
        "off_grid",
    ),
}
"""Members of a market that are possible, and what speaks against trading it then. Both sizes are 10.50."""

EMPTY: dict[str, object] = {"yes_bid_size_fp": "0.00", "yes_ask_size_fp": "0.00"}


def test_values_that_cannot_be_are_kept_out_or_flagged_and_never_an_opportunity(exchange: Exchange) -> None:
    state = exchange.replica.state
    with state.lock:
        tickers = sorted(
            ticker
            for ticker, market in state.markets.items()
            if state.quotes[ticker].status is Status.ACTIVE
            and market.price_ranges == ((0, 10_000, 100),)
            and (market.close_ms or 0) > SystemClock().now_ms() + 3_600_000
        )
    bad = dict(zip(tickers, BAD_NAMES.values(), strict=False))
    odd = dict(zip(tickers[len(bad) :], ODD_QUOTES.values(), strict=False))
    empty, *others = tickers[len(bad) + len(odd) :]
    unreadable = dict(zip(others, UNREADABLE.values(), strict=False))
    before = {ticker: state.quotes[ticker] for ticker in bad}
    sizes = {"yes_bid_size_fp": "10.50", "yes_ask_size_fp": "10.50"}
    changes: dict[str, dict[str, object]] = {
        **bad,
        **unreadable,
        **{ticker: {**prices, **sizes} for ticker, (prices, _) in odd.items()},
        empty: EMPTY,
    }
    exchange.set(
        rules=[
            {"fault": "set_field", "route": "GET *", "ticker": ticker, "field": name, "value": value}
            for ticker, members in changes.items()
            for name, value in members.items()
        ]
    )
    since_ms = SystemClock().now_ms()

    def reasons(ticker: str) -> list[str]:
        view = msgspec.structs.replace(
            exchange.view(ticker), book=None
        )  # the stream's book is another matter
        return list(market_reasons(view, view.quote_as_of_ms, SystemClock().now_ms(), ScanLimits()))

    exchange.wait(lambda: all(why in reasons(ticker) for ticker, (_, why) in odd.items()))
    exchange.wait(lambda: exchange.cycle.started_ms > since_ms and exchange.cycle.quarantined >= len(bad) - 1)
    started_ms = exchange.cycle.started_ms
    exchange.wait(exchange.proven)
    with state.lock:
        # What is held stays, and ages; a market or two may close by the clock, which the stream says.
        assert any(state.quotes[ticker] == quote for ticker, quote in before.items())
        swept = {t: q for t in unreadable if (q := state.quotes[t]).as_sent is not None}  # not streamed since
        assert len(swept) >= 3
        assert {
            (quote.yes_bid_size_e2, quote.yes_ask_size_e2)
            for t, quote in swept.items()
            if "volume_fp" not in unreadable[t]
        } == {(0, 0)}
        for ticker, quote in before.items():
            known_ms = state.quote_as_of_ms(ticker) or 0
            assert known_ms < started_ms or ticker in state.books or state.quotes[ticker] != quote
        assert {state.quotes[ticker].yes_bid_size_e2 for ticker in odd} == {1050}  # 10.50 contracts
        assert state.quotes[empty].yes_bid_size_e2 == state.quotes[empty].yes_ask_size_e2 == 0
        assert all(ticker.isascii() and len(ticker) < 100 for ticker in state.markets)
    catalogue, now_ms = Membership(), SystemClock().now_ms()
    catalogue.rebuild(state)
    touched = {state.markets[ticker].event_ticker for ticker in changes}
    for event_ticker in touched:
        view = catalogue.view(state, event_ticker, now_ms)
        assert view is not None
        found = candidates(view, {}, now_ms, ScanLimits())
        assert found.failures == []
        for one in found.opportunities:
            assert not one.tradable or not {leg.ticker for leg in one.legs} & odd.keys(), one
    lines = [line for line in exchange.publisher.output().splitlines() if "quarantined" in line]
    assert len(lines) >= len(bad)
    assert all(line.isascii() and len(line) < 2_000 for line in lines)


BAD_LEVELS: list[list[list[str]]] = [
    [["0.0000", "5.00"]],
    [["1.0000", "5.00"]],
    [["0.4000", "-5.00"]],
    [["0.4000", "0.00"]],
    [["0.4000", "1000000000000000000.00"]],
    [["0.4000", "10.125"]],
    [["0.12345", "5.00"]],
    [["0.4000", "5.00"], ["0.3000", "5.00"]],
]
BAD_FRAMES = [
    ("orderbook_delta", "delta_fp", "-1000000000000.00"),
    ("orderbook_delta", "delta_fp", "1000000000000000000.00"),
    ("orderbook_delta", "delta_fp", "0.125"),
    ("orderbook_delta", "price_dollars", "0.0000"),
    ("orderbook_delta", "price_dollars", "1.0000"),
    ("orderbook_delta", "price_dollars", "0.12345"),
    ("orderbook_delta", "side", "maybe"),
    ("ticker", "yes_bid_dollars", "1.0100"),
    ("ticker", "yes_ask_dollars", "0.12345"),
    ("ticker", "yes_bid_size_fp", "-1.00"),
    ("ticker", "yes_ask_size_fp", "1000000000000000000.00"),
]


def test_books_and_frames_that_cannot_be_are_never_shown(exchange: Exchange) -> None:
    books = sorted(exchange.replica.state.books)
    quarantined = len(exchange.publisher.events("record.quarantined"))
    exchange.tape()
    exchange.set(
        rules=[
            {
                "fault": "set_field",
                "route": "GET /markets/orderbooks",
                "ticker": ticker,
                "field": "yes_dollars",
                "value": levels,
            }
            for ticker, levels in zip(books, BAD_LEVELS, strict=False)
        ]
    )
    exchange.wait(
        lambda: len(exchange.publisher.events("record.quarantined")) >= quarantined + len(BAD_LEVELS)
    )
    frames = [
        {"fault": "set_field", "frame": frame, "field": name, "value": value, "skip": 2 * number, "count": 1}
        for number, (frame, name, value) in enumerate(BAD_FRAMES)
    ]
    exchange.set(rules=frames, settings={"pace": 20})
    exchange.wait(lambda: all(exchange.hits()))
    exchange.settle()

    # A book whose snapshots are bad again and again comes by REST instead.
    hopeless = next(t for t in sorted(exchange.replica.state.books) if exchange.replica.state.books[t].yes)
    snapshots = {"fault": "set_field", "frame": "orderbook_snapshot", "ticker": hopeless, "count": 2}
    snapshots |= {"field": "yes_dollars_fp", "value": [["1.0000", "5.00"]]}
    lost = {"fault": "drop", "frame": "orderbook_delta", "count": 1}
    exchange.set(rules=[snapshots, lost], settings={"pace": 20})
    exchange.wait(lambda: exchange.hits() == [2, 1])
    exchange.settle()

    records = exchange.taped()
    assert any(isinstance(one, Suspect) and one.reason == "unreadable frame" for one in records)
    for book in (one for one in records if isinstance(one, Book)):
        for price_e4, count_e2 in (*book.yes, *book.no):
            assert 0 < price_e4 < 10_000
            assert 0 < count_e2 <= 10**10


def test_pauses_of_trading_exchange_shard_and_market_show_and_end(exchange: Exchange) -> None:
    def now() -> ExchangeStatus:
        status: ExchangeStatus = exchange.replica.state.exchange[""]
        return status

    def words() -> tuple[bool | None, bool | None]:
        return now().exchange_active, now().trading_active

    exchange.wait(lambda: words() == (True, True))
    exchange.set(settings={"pace": 0, "trading_active": False})
    exchange.wait(lambda: words() == (True, False))
    exchange.set(settings={"exchange_active": False})
    exchange.wait(lambda: words() == (False, False))
    exchange.wait(exchange.proven)

    # While it lasts the data goes on being confirmed, or ages; it is never shown younger than it is.
    number, asked_ms = exchange.cycle.cycle, SystemClock().now_ms()
    exchange.wait(lambda: exchange.cycle.cycle > number)
    newest = exchange.cycle
    assert newest.as_of_ms is None or newest.as_of_ms <= SystemClock().now_ms()
    assert now().as_of_ms <= SystemClock().now_ms()
    assert asked_ms - now().as_of_ms < 30_000

    exchange.set(settings={"exchange_active": True, "trading_active": True})
    exchange.wait(lambda: words() == (True, True))
    shard = now().shards[-1][0]
    exchange.set(settings={"shards": {str(shard): False}})
    exchange.wait(lambda: (shard, True, False) in now().shards)
    exchange.set(settings={"shards": {str(shard): True}})
    exchange.wait(lambda: all(active and trades for _, active, trades in now().shards))

    state = exchange.replica.state
    ticker = next(t for t in sorted(state.books) if state.quotes[t].status is Status.ACTIVE)
    exchange.set(settings={"paused_markets": [ticker]})
    exchange.wait(lambda: exchange.replica.state.quotes[ticker].status is Status.INACTIVE)
    exchange.set(settings={"paused_markets": [], "pace": 5})
    exchange.wait(lambda: exchange.replica.state.quotes[ticker].status is Status.ACTIVE)
    exchange.set(settings={"pace": 0})
    exchange.wait(exchange.agrees)
    exchange.wait(exchange.proven)


def test_event_that_closes_settles_and_disappears_mid_stream_goes_everywhere(exchange: Exchange) -> None:
    exchange.set(settings={"pace": 20})
    state = exchange.replica.state
    followed = sorted({state.markets[ticker].event_ticker for ticker in state.books})
    settling, vanishing, renamed = followed[:3]

    def markets_of(event: str) -> list[Market]:
        with exchange.replica.state.lock:
            return [m for m in exchange.replica.state.markets.values() if m.event_ticker == event]

    def statuses(event: str) -> set[Status]:
        return {exchange.replica.state.quotes[market.ticker].status for market in markets_of(event)}

    exchange.set(settings={"stages": {settling: "closed"}})
    # The exchange may go on by itself before we look.
    over = {Status.CLOSED, Status.DETERMINED, Status.DISPUTED, Status.FINALIZED}
    exchange.wait(lambda: statuses(settling) <= over)
    assert all(not exchange.replica.state.quotes[m.ticker].yes_bid_size_e2 for m in markets_of(settling))
    exchange.set(settings={"stages": {settling: "determined"}})
    exchange.wait(lambda: statuses(settling) <= over - {Status.CLOSED})
    exchange.set(settings={"stages": {settling: "settled"}})
    exchange.wait(lambda: statuses(settling) == {Status.FINALIZED})
    assert markets_of(settling)  # kept, so that a position keeps its row

    gone = [market.ticker for market in markets_of(vanishing)]
    exchange.set(settings={"stages": {vanishing: "gone"}})
    exchange.wait(lambda: not markets_of(vanishing))
    exchange.wait(lambda: vanishing not in exchange.replica.state.events)
    for kind in ("quote", "book", "suspect"):
        assert not exchange.replica.state.records[kind].keys() & set(gone)

    # A name that changes: the title of an event and its markets is another in every answer from now on.
    before = {market.ticker: market.title for market in markets_of(renamed)}
    rule = {"fault": "renamed_field", "route": "GET *", "field": "title", "to": "name", "everywhere": True}
    exchange.set(rules=[rule], settings={"pace": 0})
    exchange.wait(lambda: {market.title for market in markets_of(renamed)} == {""})
    exchange.set(rules=[])
    exchange.wait(lambda: {market.ticker: market.title for market in markets_of(renamed)} == before)

    exchange.wait(exchange.agrees)
    exchange.wait(exchange.proven)


def test_members_that_are_otherwise_are_noticed_within_a_sweep_and_cost_nothing_else(
    exchange: Exchange,
) -> None:
    def noticed() -> set[tuple[str, str, str]]:
        drifts = list(exchange.replica.state.drifts.values())
        return {(row.route, row.member, row.what) for row in drifts}

    markets, began_ms = set(exchange.replica.state.markets), SystemClock().now_ms()
    changes = [
        {"route": "GET /events", "field": "markets.can_close_early", "how": "type"},
        {"route": "GET /events", "field": "markets.price_level_structure", "how": "renamed"},
        {"route": "GET /markets", "field": "cursor", "how": "renamed"},
        {
            "route": "GET /markets/orderbooks",
            "field": "orderbooks.orderbook_fp.yes_dollars",
            "how": "negative",
        },
        {"frame": "ticker", "field": "msg.time", "how": "bytes"},
        {"frame": "trade", "field": "type", "how": "unknown"},
    ]
    rules = [{"fault": "mutate", **change} for change in changes]
    exchange.set(rules=rules, settings={"pace": 3, "trade_share": 0.5})
    expected = {
        ("GET /events", "markets.can_close_early", "type"),
        ("GET /events", "markets.price_level_structure", "missing"),
        ("GET /events", "markets.price_level_structure_renamed", "unknown"),
        ("GET /markets", "cursor", "missing"),
        ("GET /markets", "cursor_renamed", "unknown"),
        ("GET /markets/orderbooks", "orderbooks.orderbook_fp.yes_dollars", "range"),
        ("ws ticker", "msg.time", "type"),
        ("ws root", "type", "enum"),
    }
    exchange.wait(lambda: expected <= noticed())
    exchange.wait(lambda: exchange.cycle.complete and exchange.cycle.started_ms > began_ms)
    assert exchange.health["stream"] == "live"
    assert markets <= set(exchange.replica.state.markets)
    assert len(exchange.publisher.events("drift.noticed")) == len(noticed())


def test_clock_that_is_off_is_named_and_causes_no_storm(exchange: Exchange) -> None:
    """The offset that the exchange's Date header shows is the fault's own: the two clocks here are one."""
    before = exchange.get("/sim/stats")["requests_total"]
    exchange.set(settings={"clock_skew_ms": -60_000})
    exchange.wait(lambda: exchange.health["key"] == "refused")
    sweeps = len(exchange.publisher.events("sweep.done"))
    first = exchange.get("/sim/stats")["requests_total"]
    exchange.wait(lambda: len(exchange.publisher.events("sweep.done")) >= sweeps + 3)
    requests = exchange.get("/sim/stats")["requests_total"] - first

    assert "header_timestamp_expired" in exchange.health["error"]
    assert exchange.health["sweep"] == "key_refused"
    # A sweep ends at its first refusal; books, tier and stream are tried a few times beside it.
    assert requests <= 3 * 6
    assert first - before < 200
    complete_ms = exchange.cycle.complete_ms
    assert complete_ms is not None
    assert SystemClock().now_ms() - complete_ms >= 2_000  # its age grows

    exchange.set(settings={"clock_skew_ms": 0})
    exchange.wait(lambda: exchange.health["key"] == "ok" and exchange.health["sweep"] == "complete")
    exchange.wait(exchange.proven)
