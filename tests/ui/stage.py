"""A publisher and a snapshot server in this process: real sockets, made-up markets."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.messages import CycleEnd, PublisherHealth, market_topic
from bus.protocol.state import Changed, State
from bus.protocol.writer import Change, Writer
from bus.server import FeedServer, QueryServer
from bus.sockets import check_endpoint
from markets.errors import StartupError
from markets.records import (
    Book,
    Event,
    ExchangeStatus,
    Level,
    Market,
    Milestone,
    Quote,
    Record,
    Series,
    Status,
)
from tests.support import eventually

HOUR_MS = 3_600_000
GAME = b'{"product_metadata":{"competition":"MLS","competition_scope":"Game"}}'
NASTY = '=cmd|x <script>alert(1)</script> "\u202equoted"'

MATCH = "KXMLSGAME-26AUG19VANHOU"
"""Three outcomes whose YES bids sum to 105¢, without fees: a tradable basket."""

PAIR = "KXNBAGAME-26NOV29NOPCHI"
"""Two outcomes, one offered 6¢ below what the other's price implies: a value."""

DULL = "KXHIGHNY-26NOV22"
"""No candidate, and a nasty title."""

HEALTHY = PublisherHealth(0, 12_000, "complete", "ok", True, None)


def series_of(ticker: str) -> str:
    return ticker.split("-", maxsplit=1)[0]


def market(event: str, name: str, label: str, now_ms: int, title: str = "", **changes: Any) -> Market:
    ticker = f"{event}-{name}"
    fields: dict[str, Any] = {
        "ticker": ticker,
        "event_ticker": event,
        "series_ticker": series_of(event),
        "title": title or f"Will {label} win?",
        "yes_sub_title": label,
        "market_type": "binary",
        "strike_type": "structured",
        "floor_strike": None,
        "cap_strike": None,
        "price_ranges": ((0, 10_000, 100),),
        "created_ms": now_ms - 48 * HOUR_MS,
        "open_ms": now_ms - 24 * HOUR_MS,
        "close_ms": now_ms + 72 * HOUR_MS,
        "expected_expiration_ms": now_ms + 30 * HOUR_MS,
        "latest_expiration_ms": now_ms + 96 * HOUR_MS,
        "occurrence_ms": None,
        "settlement_timer_s": 300,
        "result": "",
        "settlement_value_e4": None,
        "exchange_index": 0,
        "raw": b'{"ticker":"%b","rules_primary":"If %b wins, YES."}' % (ticker.encode(), label.encode()),
    }
    if "basketball" in changes:
        del changes["basketball"]
        fields["raw"] = b'{"ticker":"%b","custom_strike":{"basketball_team":"x"}}' % ticker.encode()
    return Market(**(fields | changes))


def quote(ticker: str, bid: Level | None, ask: Level | None, as_of_ms: int, **changes: Any) -> Quote:
    bid_e4, ask_e4 = bid[0] if bid else 0, ask[0] if ask else 10_000
    fields: dict[str, Any] = {
        "ticker": ticker,
        "status": Status.ACTIVE,
        "yes_bid_e4": bid_e4,
        "yes_ask_e4": ask_e4,
        "no_bid_e4": 10_000 - ask_e4,
        "no_ask_e4": 10_000 - bid_e4,
        "yes_bid_size_e2": bid[1] if bid else 0,
        "yes_ask_size_e2": ask[1] if ask else 0,
        "last_price_e4": bid_e4,
        "volume_e2": 1_234_500,
        "volume_24h_e2": 100_000 + bid_e4,
        "open_interest_e2": 50_000,
        "previous_price_e4": 3_000,
        "previous_yes_bid_e4": None,
        "previous_yes_ask_e4": None,
        "as_of_ms": as_of_ms,
    }
    return Quote(**(fields | changes))


def event(ticker: str, title: str, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "event_ticker": ticker,
        "series_ticker": series_of(ticker),
        "title": title,
        "sub_title": "",
        "category": "Sports",
        "mutually_exclusive": True,
        "strike_date_ms": None,
        "fee_type_override": None,
        "fee_multiplier_override_e4": None,
        "exchange_index": 0,
        "raw": GAME,
    }
    return Event(**(fields | changes))


def series(ticker: str, fee_multiplier_e4: int = 10_000) -> Series:
    return Series(ticker, ticker, "Sports", "custom", "quadratic", fee_multiplier_e4, b"{}")


def milestone(id_: str, event_ticker: str, start_ms: int) -> Milestone:
    return Milestone(id_, "soccer", "Sports", id_, start_ms, None, (event_ticker,), (), "scheduled", b"{}")


def world(now_ms: int, fillers: int = 40) -> list[Change]:
    """Return three events of interest and `fillers` plain markets."""
    references: list[tuple[str, Sequence[Record]]] = [
        ("series", [series("KXMLSGAME", 0), series("KXNBAGAME", 0), series("KXHIGHNY"), series("KXFILL")]),
        (
            "event",
            [
                event(MATCH, "Vancouver vs Houston"),
                event(PAIR, "New Orleans vs Chicago"),
                event(DULL, NASTY, category="Climate and Weather", raw=b"{}"),
                *(event(f"KXFILL-{i}", f"Plain event {i}", mutually_exclusive=False) for i in range(fillers)),
            ],
        ),
        ("milestone", [milestone("m1", MATCH, now_ms + 26 * HOUR_MS)]),
    ]
    markets = [
        market(MATCH, "VAN", "Vancouver", now_ms),
        market(MATCH, "HOU", "Houston", now_ms),
        market(MATCH, "TIE", "Tie", now_ms),
        market(PAIR, "NOP", "New Orleans", now_ms, basketball=True),
        market(PAIR, "CHI", "Chicago", now_ms, basketball=True),
        market(DULL, "T50", "50° or below", now_ms, NASTY, strike_type="less", cap_strike=50.0),
        *(market(f"KXFILL-{i}", "A", f"Filler Atlético {i}", now_ms) for i in range(fillers)),
    ]
    quotes = [
        quote(f"{MATCH}-VAN", (4_000, 50_000), (4_200, 30_000), now_ms),
        quote(f"{MATCH}-HOU", (3_500, 40_000), (3_700, 30_000), now_ms),
        quote(f"{MATCH}-TIE", (3_000, 60_000), (3_200, 30_000), now_ms),
        quote(f"{PAIR}-NOP", (4_300, 20_000), (4_400, 10_000), now_ms),
        quote(f"{PAIR}-CHI", (4_900, 20_000), (5_000, 15_000), now_ms),
        quote(f"{DULL}-T50", (1_000, 5_000), None, now_ms),
        *(quote(f"KXFILL-{i}-A", (100 * (i % 90 + 1), 1_000), None, now_ms) for i in range(fillers)),
    ]
    books = [
        Book(
            f"{MATCH}-VAN",
            now_ms,
            (*((100 * i, 1_000 * i) for i in range(1, 40)), (4_000, 50_000)),
            (*((100 * i, 700 * i) for i in range(1, 58)), (5_800, 30_000)),
        )
    ]
    changes: list[Change] = [("ref.", kind, records) for kind, records in references]
    status = ExchangeStatus(True, True, None, ((0, True, True),), now_ms)
    changes.append(("ex.", "exchange", [status]))
    for kind, records in (("market", markets), ("quote", quotes), ("book", books)):
        for record in records:
            topic = market_topic(series_of(record.ticker))
            changes.append((topic, kind, [record]))
    return changes


def fill(state: State, changes: Sequence[Change]) -> list[tuple[str, str]]:
    """Put changes into a state directly; return what a replica would report as changed."""
    changed: list[tuple[str, str]] = []
    with state.lock:
        for topic, kind, records in changes:
            state.seq += 1
            groups = state.put(topic, state.seq, kind, records)
            changed += Changed(state.seq, 0, groups).records
    return changed


def cycle_end(now_ms: int, number: int = 0, **changes: Any) -> CycleEnd:
    fields: dict[str, Any] = {"as_of_ms": now_ms, "complete_ms": now_ms, "markets": 46}
    return CycleEnd(number, 0, 0, 0, True, now_ms, now_ms, **(fields | changes))


class Stage:
    """Serves `world` on the endpoints of a run directory until `close`; each part can be stopped alone."""

    def __init__(self, context: Any, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clock = SystemClock()
        self.health = HEALTHY
        self.writer = Writer(self.clock.now_ms())
        self.wished: list[str] = []
        self._context = context
        self._run_dir = run_dir
        self._parts: dict[str, tuple[threading.Thread, Stop]] = {}
        self._feed: FeedServer | None = None

    def open(self) -> None:
        """Open an epoch that holds the whole world."""
        now_ms = self.clock.now_ms()
        self.writer.load(world(now_ms))
        with self.writer.state.lock:
            self.writer.state.end_cycle(cycle_end(now_ms, 1))

    def start_feed(self) -> None:
        ready = threading.Event()
        stop = Stop()

        def run() -> None:
            self._feed = FeedServer(
                self._context,
                f"ipc://{self._run_dir}/feed.sock",
                f"ipc://{self._run_dir}/state.sock",
                self.clock,
                lambda: self.health,
                lambda tickers, ttl_s, now_ms, what: None,
            )
            self._feed.open(self.writer)
            ready.set()
            self._feed.serve(stop)

        self._start("feed", run, stop)
        assert ready.wait(30)

    def start_query(self) -> None:
        stop = Stop()
        answers = Answers(
            lambda: self.writer.state,
            on_wish=lambda tickers, ttl_s, now_ms, what: self.wished.extend(tickers),
        )
        server = QueryServer(self._context, f"ipc://{self._run_dir}/query.sock", answers, self.clock.now_ms)
        self._start("query", lambda: server.serve(stop), stop)

    def stop(self, part: str) -> None:
        thread, stop = self._parts.pop(part)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        stop.close()
        for name in {"feed": ("feed", "state"), "query": ("query",)}[part]:
            eventually(lambda name=name: self._is_free(name))  # type: ignore[misc]

    def _is_free(self, name: str) -> bool:
        # ZeroMQ closes sockets in a thread of its own, some time after it was told to.
        try:
            check_endpoint(name, f"ipc://{self._run_dir}/{name}.sock")
        except StartupError:
            return False
        return True

    def close(self) -> None:
        for part in list(self._parts):
            self.stop(part)

    def reset(self) -> None:
        """Commit the world's quotes and books again as of now, in good health."""
        self.health = HEALTHY
        changes = world(self.clock.now_ms())
        self.commit(*(one for _, kind, records in changes if kind in ("quote", "book") for one in records))

    def commit(self, *records: Record, **changes: Any) -> None:
        """Publish a complete sweep in which `records` changed."""
        self._publish(records, True, changes)

    def stream(self, *records: Record) -> None:
        """Publish records as streamed changes."""
        self._publish(records, False, {})

    def _publish(self, records: Sequence[Record], commit: bool, changes: dict[str, Any]) -> None:
        now_ns = self.clock.now_ns()
        kinds: dict[type[Record], str] = {Quote: "quote", Book: "book", Market: "market", Event: "event"}
        batch: list[Change] = []
        for record in records:
            kind = kinds[type(record)]
            ticker: str = getattr(record, "ticker", "")
            topic = market_topic(series_of(ticker)) if ticker else "ref."
            batch.append((topic, kind, [record]))

        def job(feed: FeedServer) -> None:
            if commit:
                end = cycle_end(now_ns // 1_000_000, **changes)
                feed.send(self.writer.commit(batch, end, now_ns, now_ns))
            else:
                for topic, kind, some in batch:
                    feed.send(self.writer.stream(topic, kind, some, now_ns, now_ns))

        assert self._feed is not None
        self._feed.submit(job)

    def _start(self, name: str, run: Any, stop: Stop) -> None:
        thread = threading.Thread(target=run, name=name)
        thread.start()
        self._parts[name] = (thread, stop)
