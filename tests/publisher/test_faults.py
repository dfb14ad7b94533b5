"""Faults of the exchange, the simulator's: what every reader holds afterwards is what it lists.

After each: a replica's digest is the publisher's at the same number (`proven`), and nothing old is shown as
fresh.
"""

import json
import urllib.request
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import zmq

from bus.ask import ask
from bus.clock import SystemClock
from bus.messages import CycleEnd
from bus.replica import Replica
from markets.kalshi_json import decode_books
from markets.records import ExchangeStatus, Market, Status
from tests.support import Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Exchange:
    """The simulator, a publisher of it, and a replica of that."""

    def __init__(self, runner: Runner, context: zmq.Context[Any]) -> None:
        self._base = f"http://127.0.0.1:{runner.sim_port}"
        runner.env |= {"KALSHI_BUS_POLL_INTERVAL_S": "2", "KALSHI_BUS_ENRICHED_BOOKS_MAX": "60"}
        keys = ["--keys", str(runner.run_dir)]
        runner.run_dir.mkdir(0o700)
        runner.start("simulator", "--port", str(runner.sim_port), "--markets", "120", "--tier", "none", *keys)
        self.publisher = runner.start("publisher")
        feed, state = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state"))
        self._context, self._state = context, state
        self.replica = Replica(context, feed, state, SystemClock(), Random(1))
        self.replica.start()
        self.wait(lambda: self.health["stream_books"] >= 20 and not self.health["stream_unsure"])
        self.wait(lambda: self.replica.status().live and len(self.replica.state.books) >= 20)

    def close(self) -> None:
        self.replica.stop()

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


@pytest.fixture
def exchange(runner: Runner, zmq_context: zmq.Context[Any]) -> Iterator[Exchange]:
    made = Exchange(runner, zmq_context)
    yield made
    made.close()


def test_lost_doubled_swapped_frames_and_dead_lines_leave_the_exchanges_books(exchange: Exchange) -> None:
    for fault in ("drop", "duplicate", "swap"):
        gaps = exchange.health["stream_gaps"]
        rule = {"fault": fault, "frame": "orderbook_delta", "probability": 0.2, "count": 5}
        exchange.set(rules=[rule], settings={"pace": 20})
        if fault != "duplicate":
            exchange.wait(lambda gaps=gaps: exchange.health["stream_gaps"] > gaps)
        exchange.set(rules=[], settings={"pace": 0})
        exchange.wait(exchange.agrees)
        exchange.wait(exchange.proven)

    for fault in ("disconnect", "stall"):
        reconnects = exchange.health["stream_reconnects"]
        exchange.set(rules=[{"fault": fault, "frame": "*", "count": 1}], settings={"pace": 5})
        exchange.wait(lambda before=reconnects: exchange.health["stream_reconnects"] > before)
        exchange.set(rules=[], settings={"pace": 0})
        exchange.wait(lambda: exchange.health["stream"] == "live" and exchange.agrees())
        exchange.wait(exchange.proven)


FAILS: list[dict[str, Any]] = [
    {"fault": "status", "status": 429},
    {"fault": "html", "status": 200},
    {"fault": "truncate"},
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


@pytest.mark.parametrize(
    ("fault", "field"), [("missing_field", "yes_bid_dollars"), ("renamed_field", "close_time")]
)
def test_records_that_break_the_contract_are_kept_out_and_age(
    exchange: Exchange, fault: str, field: str
) -> None:
    exchange.set(settings={"pace": 0})
    rule = {"fault": fault, "route": "GET *", "field": field, "to": "x", "everywhere": True}
    exchange.set(rules=[rule])
    since_ms = SystemClock().now_ms()
    exchange.wait(lambda: exchange.cycle.quarantined >= 100)
    with exchange.replica.state.lock:
        state = exchange.replica.state
        assert len(state.markets) >= 100
        younger = {
            ticker: (quote.status, (state.quote_as_of_ms(ticker) or 0) - since_ms)
            for ticker, quote in state.quotes.items()
            if quote.as_of_ms <= since_ms < (state.quote_as_of_ms(ticker) or 0)  # not by the stream
        }
    assert younger == {}
    exchange.wait(exchange.proven)
    exchange.set(rules=[])
    exchange.wait(lambda: exchange.cycle.complete and not exchange.cycle.quarantined)
    exchange.wait(exchange.proven)


def test_pauses_of_trading_exchange_shard_and_market_show_and_end(exchange: Exchange) -> None:
    def now() -> ExchangeStatus:
        status: ExchangeStatus = exchange.replica.state.exchange[""]
        return status

    def words() -> tuple[bool, bool]:
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
    exchange.wait(lambda: exchange.cycle.quarantined)
    assert {market.ticker: market.title for market in markets_of(renamed)} == before
    exchange.set(rules=[])
    exchange.wait(lambda: not exchange.cycle.quarantined)

    exchange.wait(exchange.agrees)
    exchange.wait(exchange.proven)


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
