"""One WebSocket session, frame by frame: recorded ones, and made ones with frames lost, doubled, swapped."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bus.clock import ManualClock
from bus.process.lifecycle import Stop
from markets.json.frames import StatusChange, TickerUpdate
from markets.records import Book, BookDelta, Status, Suspect, Trade
from markets.units import format_count, format_price, parse_count_e2, parse_price_e4
from publisher.kalshi.signing import KeySource
from publisher.kalshi.stream import KalshiStream
from publisher.kalshi.stream_session import ASK_AGAIN_MS, REFRESH_MS, Fact, StreamSession
from publisher.kalshi.subscriptions import PROBE_AFTER_MS, STALLED_AFTER_MS, Broken
from tests.publisher.kalshi.sessions import NOW_MS, load

Sides = tuple[dict[int, int], dict[int, int]]


class Books:
    """What a consumer has who applies the facts, as a replica does."""

    def __init__(self) -> None:
        self.books: dict[str, Sides] = {}
        self.suspect: set[str] = set()
        self.facts: list[Fact] = []

    def take(self, facts: list[Fact]) -> None:
        self.facts += facts
        for fact in facts:
            if isinstance(fact, Book):
                self.books[fact.ticker] = (dict(fact.yes), dict(fact.no))
                self.suspect.discard(fact.ticker)
            elif isinstance(fact, Suspect):
                self.suspect.add(fact.ticker)
            elif isinstance(fact, BookDelta):
                levels = self.books[fact.ticker][fact.side == "no"]
                levels[fact.price_e4] = fact.count_e2
                if not fact.count_e2:
                    del levels[fact.price_e4]


class Venue:
    """Kalshi's side of one session: books that change, and the frames of it, numbered."""

    def __init__(self, tickers: list[str], seed: int = 1) -> None:
        self.rng = Random(seed)
        self.books: dict[str, Sides] = {t: ({4000: 100, 4100: 50}, {5000: 70}) for t in tickers}
        self.subscribed: set[str] = set()
        self.seq = 0
        self.sid = 1
        self.ids: list[int] = []
        self.how: list[dict[str, Any]] = []

    def answer(self, command: bytes, now_ms: int) -> list[dict[str, Any]]:
        said = json.loads(command)
        params = said.get("params", {})
        self.ids.append(said["id"])
        if said["cmd"] == "list_subscriptions":
            return [{"type": "ok", "id": said["id"], "msg": []}]
        tickers = params.get("market_tickers", [])
        if said["cmd"] == "subscribe":
            if params["channels"] != ["orderbook_delta"]:
                return []
            self.how.append(params)
            self.subscribed.update(tickers)
            opened = {"channel": "orderbook_delta", "sid": self.sid}
            return [
                {"type": "subscribed", "id": said["id"], "msg": opened},
                *(self.snapshot(t, now_ms) for t in tickers),
            ]
        if params["action"] == "get_snapshot":
            return [self.snapshot(t, now_ms) for t in tickers]
        acknowledged = self.numbered({"type": "ok", "id": said["id"], "msg": {}}, now_ms)
        if params["action"] == "delete_markets":
            self.subscribed.difference_update(tickers)
            return [acknowledged]
        self.subscribed.update(tickers)
        return [acknowledged, *(self.snapshot(t, now_ms) for t in tickers)]

    def numbered(self, frame: dict[str, Any], now_ms: int) -> dict[str, Any]:
        self.seq += 1
        return frame | {"sid": self.sid, "seq": self.seq, "sending_ts_ms": now_ms}

    def snapshot(self, ticker: str, now_ms: int) -> dict[str, Any]:
        message: dict[str, Any] = {"market_ticker": ticker, "market_id": "x"}
        yes, no = self.books[ticker]
        # On the YES scale, as asked for; an empty side is left out.
        for name, levels in (("yes", yes), ("no", {10_000 - price: n for price, n in no.items()})):
            if levels:
                message[f"{name}_dollars_fp"] = [
                    [format_price(p), format_count(n)] for p, n in sorted(levels.items())
                ]
        return self.numbered({"type": "orderbook_snapshot", "msg": message}, now_ms)

    def move(self, now_ms: int) -> dict[str, Any]:
        ticker = self.rng.choice(sorted(self.subscribed))
        side = self.rng.randrange(2)
        levels = self.books[ticker][side]
        price_e4 = self.rng.randrange(30, 50) * 100
        change = self.rng.choice([-levels.get(price_e4, 0), self.rng.randrange(1, 500)]) or 10
        levels[price_e4] = levels.get(price_e4, 0) + change
        if not levels[price_e4]:
            del levels[price_e4]
        message = {
            "market_ticker": ticker,
            "price_dollars": format_price(10_000 - price_e4 if side else price_e4),
            "delta_fp": ("-" if change < 0 else "") + format_count(abs(change)),
            "side": ("yes", "no")[side],
            "ts_ms": now_ms,
        }
        return self.numbered({"type": "orderbook_delta", "msg": message}, now_ms)


class Line:
    """A session and a venue, joined by lists."""

    def __init__(self, tickers: list[str], seed: int = 1) -> None:
        self.venue = Venue(tickers, seed)
        self.session = StreamSession(channels=())
        self.books = Books()
        self.now_ms = NOW_MS
        self.session.open(NOW_MS)
        self.session.want(tickers, NOW_MS)
        self.settle()

    def settle(self) -> None:
        while commands := self.session.commands():
            for command in commands:
                self.deliver(*self.venue.answer(command, self.now_ms))
        self.books.take(self.session.facts())

    def deliver(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            self.session.receive(json.dumps(frame), self.now_ms)
        self.books.take(self.session.facts())

    def move(self) -> dict[str, Any]:
        return self.venue.move(self.now_ms)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.session.tick(self.now_ms)

    @property
    def right(self) -> bool:
        return self.books.books == self.venue.books and not self.books.suspect


# -- recorded sessions


def test_recorded_session_ends_in_the_recorded_books() -> None:
    recorded = load("ws_orderbook_stream.json.gz")
    session, books = StreamSession(yes_price=False, channels=()), Books()
    expected: dict[str, Sides] = {}
    tickers = [
        frame["msg"]["market_ticker"] for _, frame in recorded if frame["type"] == "orderbook_snapshot"
    ]
    session.want(tickers, recorded[0][0])

    for received_ms, frame in recorded:
        session.receive(json.dumps(frame), received_ms)
        books.take(session.facts())
        # The same again, by Kalshi's rules alone.
        message = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            expected[message["market_ticker"]] = (
                {parse_price_e4(p): parse_count_e2(n) for p, n in message.get("yes_dollars_fp", [])},
                {parse_price_e4(p): parse_count_e2(n) for p, n in message.get("no_dollars_fp", [])},
            )
        elif frame["type"] == "orderbook_delta":
            levels = expected[message["market_ticker"]][message["side"] == "no"]
            price_e4 = parse_price_e4(message["price_dollars"])
            levels[price_e4] = levels.get(price_e4, 0) + round(float(message["delta_fp"]) * 100)
            if not levels[price_e4]:
                del levels[price_e4]

    assert len(books.books) == 12
    assert books.books == expected
    assert session.counters.gaps == session.counters.bad == session.counters.duplicates == 0
    for ticker, (yes, no) in expected.items():
        book = session.book(ticker)
        assert book is not None
        assert (dict(book.yes), dict(book.no)) == (yes, no)


def test_recorded_quarter_hour_of_gold_ends_empty_and_never_goes_below_zero() -> None:
    recorded = load("ws_gold15m.json.gz")
    ticker, now_ms = recorded["ticker"], recorded["recv_ms"]
    session, books = StreamSession(yes_price=False, channels=()), Books()
    session.want([ticker], now_ms)
    session.receive('{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}', now_ms)
    opening = {"market_ticker": ticker, "yes_dollars_fp": recorded["yes"], "no_dollars_fp": recorded["no"]}
    session.receive(json.dumps({"type": "orderbook_snapshot", "sid": 1, "seq": 1, "msg": opening}), now_ms)
    for seq, (later_ms, late_ms, side, price, change) in enumerate(recorded["deltas"], 2):
        now_ms += later_ms
        message = {
            "market_ticker": ticker,
            "side": side,
            "price_dollars": price,
            "delta_fp": change,
            "ts_ms": now_ms - late_ms,
        }
        session.receive(json.dumps({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": message}), now_ms)
    books.take(session.facts())

    assert len(recorded["deltas"]) == 22_024
    assert session.counters.bad == 0
    yes, no = books.books[ticker]
    assert no == {}  # decided: nobody bids for NO any more
    assert max(yes) == 9900
    assert sum(yes.values()) == 1_264_632

    end = {"type": "orderbook_snapshot", "sid": 1, "seq": 22_026, "msg": {"market_ticker": ticker}}
    session.receive(json.dumps(end), recorded["end_recv_ms"])
    books.take(session.facts())
    assert books.books[ticker] == ({}, {})


def test_a_book_wanted_again_at_once_is_followed_whatever_the_order_of_commands() -> None:
    """They were seen to be carried out in another order than they were sent in."""
    line = Line(["A", "B"])
    line.session.want(["B"], line.now_ms)
    line.session.want(["A", "B"], line.now_ms)
    for command in reversed(line.session.commands()):
        line.deliver(*line.venue.answer(command, line.now_ms))
    line.pass_time(1_000)
    line.settle()

    assert line.venue.subscribed == {"A", "B"}
    for _ in range(20):
        line.deliver(line.move())
    assert line.right


# -- gaps, duplicates, swaps


def test_subscription_states_its_price_scale() -> None:
    line = Line(["A", "B"])

    assert line.right
    assert line.venue.how[0]["use_yes_price"] is True


def test_gap_makes_all_books_of_the_subscription_suspect_at_the_next_frame_and_snapshots_heal_them() -> None:
    line = Line(["A", "B"])
    line.move()  # lost

    line.deliver(line.move())

    assert line.books.suspect == {"A", "B"}
    assert line.session.counters.gaps == 1
    assert not line.session.live
    line.settle()
    assert line.right


def test_duplicates_change_nothing() -> None:
    line = Line(["A", "B"])
    for _ in range(50):
        frame = line.move()
        line.deliver(frame, frame)

    assert line.right
    assert line.session.counters.duplicates == 50
    assert line.session.counters.gaps == 0


@given(
    st.lists(st.sampled_from(["pass", "pass", "pass", "drop", "double", "swap", "answer"]), max_size=40),
    st.integers(0, 9),
)
def test_whatever_is_lost_doubled_or_swapped_no_book_is_wrong_and_trusted(acts: list[str], seed: int) -> None:
    line = Line(["A", "B", "C"], seed)
    for act in acts:
        if act == "answer":
            line.settle()
            continue
        first, second = line.move(), line.move()
        frames = {
            "pass": [first, second],
            "drop": [second],
            "double": [first, first, second],
            "swap": [second, first],
        }[act]
        line.deliver(*frames)
        for ticker in line.books.books.keys() - line.books.suspect:
            assert line.books.books[ticker] == line.venue.books[ticker]
        if act in ("drop", "swap"):
            assert line.books.suspect == {"A", "B", "C"}
    line.settle()
    assert line.right


def test_snapshot_that_does_not_come_is_asked_for_again() -> None:
    line = Line(["A", "B"])
    line.move()
    line.deliver(line.move())
    assert line.session.commands()  # lost on the way

    line.pass_time(ASK_AGAIN_MS + 1)
    line.settle()

    assert line.right


def test_acknowledgements_take_numbers_in_whatever_order_they_come() -> None:
    line = Line(["A", "B", "C", "D"])
    line.session.want(["A", "C", "E"], line.now_ms)
    line.venue.books["E"] = ({1000: 5}, {})
    commands = line.session.commands()
    frames = [f for command in reversed(commands) for f in line.venue.answer(command, line.now_ms)]

    line.deliver(*frames, line.move())

    assert len(commands) == 2
    assert line.session.counters.gaps == 0
    assert set(line.session.live) == {"A", "C", "E"}


def test_added_book_that_was_not_confirmed_before_a_gap_is_asked_for_too() -> None:
    line = Line(["A"])
    line.venue.books["B"] = ({1000: 5}, {})
    line.session.want(["A", "B"], line.now_ms)
    for command in line.session.commands():
        line.venue.answer(command, line.now_ms)  # lost

    line.deliver(line.move())
    line.settle()

    assert line.right


# -- silence, errors, bad frames


def test_quiet_books_are_proven_by_one_question_and_told_to_be_as_they_were() -> None:
    line = Line(["A", "B", "C"])
    before = len(line.books.facts)
    line.pass_time(max(PROBE_AFTER_MS, REFRESH_MS) + 1)
    line.settle()
    line.pass_time(1)
    line.settle()

    told = {fact.ticker: fact for fact in line.books.facts[before:]}
    assert set(told) == {"A", "B", "C"}
    assert all(isinstance(fact, BookDelta) and fact.as_of_ms >= line.now_ms - 1 for fact in told.values())
    assert line.right


def test_silent_subscription_breaks_the_connection_though_tickers_go_on() -> None:
    line = Line(["A"])
    line.session.receive('{"type":"subscribed","id":9,"msg":{"channel":"ticker","sid":2}}', line.now_ms)

    def go_on() -> None:
        while True:
            line.pass_time(1000)
            line.session.commands()  # nobody answers
            line.session.receive(json.dumps(ticker_frame(sid=2)), line.now_ms)
            assert line.now_ms - NOW_MS <= PROBE_AFTER_MS + STALLED_AFTER_MS + 3000

    with pytest.raises(Broken):
        go_on()


def test_silent_connection_breaks() -> None:
    session = StreamSession()
    session.open(NOW_MS)
    session.tick(NOW_MS + PROBE_AFTER_MS + 1)
    assert b"list_subscriptions" in session.commands()[-1]

    with pytest.raises(Broken):
        session.tick(NOW_MS + PROBE_AFTER_MS + STALLED_AFTER_MS + 2)


@pytest.mark.parametrize("code", [10, 25])
def test_terminal_error_makes_books_suspect_and_subscribes_again(code: int) -> None:
    line = Line(["A", "B"])
    error = {"type": "error", "msg": {"code": code, "msg": "over"}}

    line.deliver(line.venue.numbered(error, line.now_ms))

    assert line.books.suspect == {"A", "B"}
    line.venue.sid, line.venue.seq = 2, 0
    line.settle()
    assert line.right
    line.deliver(line.move())
    assert line.right


def test_end_of_the_connection_makes_everything_suspect() -> None:
    line = Line(["A", "B"])

    line.session.closed("down", line.now_ms)
    line.books.take(line.session.facts())

    assert line.books.suspect == {"A", "B"}


def edit(frame: dict[str, Any], **members: Any) -> dict[str, Any]:
    return frame | {"msg": frame["msg"] | members}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: edit(frame, delta_fp="-999999.00"),
        lambda frame: edit(frame, delta_fp=1e18),
        lambda frame: edit(frame, price_dollars="1.0000"),
        lambda frame: edit(frame, price_dollars="0.33333"),
        lambda frame: edit(frame, side="maybe"),
        lambda frame: frame | {"msg": None},
    ],
)
def test_delta_that_cannot_be_makes_its_book_suspect_and_is_healed(
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    line = Line(["A"])

    line.deliver(spoil(line.move()))

    assert line.books.suspect == {"A"}
    assert line.session.counters.bad == 1
    line.settle()
    assert line.right


def test_market_with_lasting_bad_snapshots_is_given_up_and_the_rest_flows() -> None:
    line = Line(["A", "B"])
    line.venue.books["A"] = ({10_000: 5}, {})
    line.session.verify(["A"], line.now_ms)
    for _ in range(3):
        line.settle()

    assert line.books.suspect == {"A"}
    assert set(line.session.live) == {"B"}
    assert line.venue.subscribed == {"B"}


def test_difference_seen_elsewhere_is_confirmed_or_healed_by_the_snapshot() -> None:
    line = Line(["A", "B"])
    line.venue.books["B"] = ({1000: 5}, {})  # no delta told of it

    line.session.verify(["A", "B"], line.now_ms)
    line.settle()

    assert line.session.counters.confirmed == 1
    assert line.session.counters.healed == 1
    assert line.right


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"type":5}', "\xff", "[" * 3000, '{"type":"error","sid":1}']
)
def test_nonsense_is_counted(text: str) -> None:
    session = StreamSession()
    session.open(NOW_MS)

    session.receive(text, NOW_MS)
    session.receive(b"\xff\xfe", NOW_MS)

    assert session.counters.bad >= 1


# -- other channels


def test_a_clock_that_is_ahead_makes_nothing_older_than_what_is_read() -> None:
    clock, facts, stop = ManualClock(), list[Fact](), Stop()
    keys = KeySource(None, None, None)
    stream = KalshiStream("ws://nowhere", keys, clock, Random(1), stop, ahead_ms=lambda: 3_000)
    stop.close()
    session = StreamSession(channels=())
    stream._sink = facts.extend
    frame = ticker_frame(ts_ms=clock.now_ms() - 3_010)
    del frame["sid"]
    session.receive(json.dumps(frame), stream._there_ms())
    session.closed("gone", stream._there_ms())

    stream._hand_over(session)

    (tick,) = facts
    assert isinstance(tick, TickerUpdate)
    assert tick.as_of_ms == clock.now_ms() - 10


def ticker_frame(sid: int = 1, **members: Any) -> dict[str, Any]:
    message = {
        "market_ticker": "A",
        "price_dollars": "0.0000",
        "yes_bid_dollars": "0.5300",
        "yes_ask_dollars": "0.5400",
        "yes_bid_size_fp": "4120.00",
        "yes_ask_size_fp": "1893.27",
        "volume_fp": "18240.55",
        "open_interest_fp": "12050.90",
        "ts_ms": NOW_MS - 20,
    }
    return {"type": "ticker", "sid": sid, "msg": message | members}


def open_all() -> StreamSession:
    session = StreamSession()
    session.open(NOW_MS)
    for sid, channel in enumerate(("ticker", "trade", "market_lifecycle_v2"), 1):
        opened = {"channel": channel, "sid": sid}
        session.receive(json.dumps({"type": "subscribed", "id": sid, "msg": opened}), NOW_MS)
    assert [json.loads(c)["params"] for c in session.commands()] == [
        {"channels": ["ticker"]},
        {"channels": ["trade"]},
        {"channels": ["market_lifecycle_v2"]},
    ]
    return session


def test_tickers_trades_and_announcements_become_facts() -> None:
    session = open_all()
    session.receive(json.dumps(ticker_frame()), NOW_MS)
    trade = {
        "trade_id": "T",
        "market_ticker": "A",
        "yes_price_dollars": "0.5400",
        "count_fp": "10.00",
        "taker_outcome_side": "no",
        "ts_ms": NOW_MS - 5,
    }
    session.receive(json.dumps({"type": "trade", "sid": 2, "seq": 1, "msg": trade}), NOW_MS)
    for seq, (event_type, more) in enumerate(
        [("deactivated", {"is_deactivated": True}), ("determined", {}), ("metadata_updated", {})], 1
    ):
        message = {"event_type": event_type, "market_ticker": "A"} | more
        session.receive(
            json.dumps({"type": "market_lifecycle_v2", "sid": 3, "seq": seq, "msg": message}), NOW_MS
        )

    assert session.facts() == [
        TickerUpdate("A", 5300, 5400, 412_000, 189_327, None, 1_824_055, 1_205_090, NOW_MS - 20),
        Trade("T", "A", 5400, 1000, "no", NOW_MS - 5),
        StatusChange("A", Status.INACTIVE, NOW_MS),
        StatusChange("A", Status.DETERMINED, NOW_MS),
    ]


@pytest.mark.parametrize("ts_ms", [None, NOW_MS + 3_600_000, NOW_MS - 3_600_000])
def test_exchange_time_that_cannot_be_is_not_believed(ts_ms: int | None) -> None:
    session = open_all()
    session.receive(json.dumps(ticker_frame(ts_ms=ts_ms)), NOW_MS)

    (tick,) = session.facts()
    assert isinstance(tick, TickerUpdate)
    assert tick.as_of_ms == NOW_MS


def test_a_bad_book_before_the_subscription_is_answered_asks_of_no_subscription() -> None:
    session = StreamSession(channels=())
    session.open(NOW_MS)
    session.want(["T"], NOW_MS)
    assert [json.loads(command)["cmd"] for command in session.commands()] == ["subscribe"]
    bad = {
        "type": "orderbook_snapshot",
        "msg": {"market_ticker": "T", "yes_dollars_fp": [["0.0000", "1.00"]]},
    }
    session.receive(json.dumps(bad), NOW_MS)
    assert session.counters.bad == 1
    assert session.commands() == []
