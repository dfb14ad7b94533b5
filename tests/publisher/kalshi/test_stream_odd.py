"""Frames in which something is odd: nothing raises, and no book that may be wrong is trusted."""

import json
from typing import Any

import pytest

from bus.protocol.messages import encode_record
from markets.json.decoding import NOT_TEXT
from markets.json.frames import StatusChange, TickerUpdate, decode_frame, decode_ticker
from markets.records import Book, Status, Suspect, Trade
from publisher.kalshi.stream_session import Fact, StreamSession
from tests.markets.json.odd import mutations, spoilt, with_bytes_in_strings
from tests.publisher.kalshi.sessions import NOW_MS, load

SNAPSHOT = {
    "market_ticker": "A",
    "market_id": "x",
    "yes_dollars_fp": [["0.4000", "5.00"]],
    "no_dollars_fp": [["0.5000", "7.00"]],
}
MESSAGES: dict[str, dict[str, Any]] = {
    "orderbook_snapshot": SNAPSHOT,
    "orderbook_delta": {
        "market_ticker": "A",
        "price_dollars": "0.4000",
        "delta_fp": "3.00",
        "side": "yes",
        "ts_ms": NOW_MS,
    },
    "ticker": {
        "market_ticker": "A",
        "yes_bid_dollars": "0.4000",
        "yes_ask_dollars": "0.5000",
        "yes_bid_size_fp": "5.00",
        "yes_ask_size_fp": "7.00",
        "price_dollars": "0.4500",
        "volume_fp": "10.00",
        "open_interest_fp": "3.00",
        "ts_ms": NOW_MS,
    },
    "trade": {
        "trade_id": "t",
        "market_ticker": "A",
        "yes_price_dollars": "0.4000",
        "count_fp": "5.00",
        "taker_outcome_side": "yes",
        "ts_ms": NOW_MS,
    },
    "market_lifecycle_v2": {
        "event_type": "determined",
        "market_ticker": "A",
        "result": "yes",
        "settlement_value": "1.0000",
        "determination_ts": 1_790_000_000,
        "is_deactivated": False,
    },
    "error": {"code": 8, "msg": "Unknown market"},
}


def followed() -> StreamSession:
    """A session that follows the books of A and B."""
    session = StreamSession(yes_price=False)
    session.open(NOW_MS)
    session.want(["A", "B"], NOW_MS)
    session.receive(
        json.dumps({"type": "subscribed", "id": 4, "msg": {"channel": "orderbook_delta", "sid": 1}}).encode(),
        NOW_MS,
    )
    for number, ticker in enumerate(("A", "B"), 1):
        session.receive(
            frame("orderbook_snapshot", json.dumps(SNAPSHOT | {"market_ticker": ticker}).encode(), number),
            NOW_MS,
        )
    assert sorted(session.live) == ["A", "B"]
    session.facts()
    return session


def frame(type_: str, message: bytes, number: int = 3) -> bytes:
    return b'{"type":"%b","sid":1,"seq":%d,"msg":%b}' % (type_.encode(), number, message)


def heard(session: StreamSession, raw: bytes) -> list[Fact]:
    """What is learnt of a frame; all of it can be published."""
    session.receive(raw, NOW_MS)
    session.tick(NOW_MS + 1_000)
    for command in session.commands():
        json.loads(command)
    facts = session.facts()
    for fact in facts:
        if not isinstance(fact, (TickerUpdate, StatusChange)):
            encode_record(fact)
    return facts


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_spoilt_member_of_a_message_raises_nothing_and_costs_at_most_its_market(type_: str) -> None:
    for name, how, raw in mutations(MESSAGES[type_]):
        session = followed()
        facts = heard(session, frame(type_, raw))
        if type_ == "ticker" and name != "market_ticker":
            (update,) = facts
            assert isinstance(update, TickerUpdate)
            odd = name.startswith("yes_")
            assert (update.yes_bid_size_e2, update.yes_ask_size_e2) == ((0, 0) if odd else (500, 700)), how
            assert (update.as_sent is not None) == odd
        elif type_ == "trade" and name in ("trade_id", "taker_outcome_side", "ts_ms", "x_new"):
            assert [type(fact) for fact in facts] == [Trade]
        elif type_ == "market_lifecycle_v2" and name not in ("event_type", "market_ticker"):
            (change,) = facts
            assert isinstance(change, StatusChange)
            assert change.status is Status.DETERMINED
        elif type_ in ("orderbook_snapshot", "orderbook_delta"):
            assert name == "market_ticker" or "B" in session.live
            suspects = [fact.ticker for fact in facts if isinstance(fact, Suspect)]
            assert session.counters.bad == bool(suspects) or name == "market_ticker"
            if how == "not UTF-8" and name not in (
                "market_id",
                "market_ticker",
                "ts_ms",
                "x_new",
            ):
                assert suspects == ["A"], (name, how)


def test_a_spoilt_envelope_raises_nothing() -> None:
    whole = {
        "type": "orderbook_delta",
        "sid": 1,
        "seq": 3,
        "sending_ts_ms": NOW_MS,
        "id": 5,
        "msg": MESSAGES["orderbook_delta"],
    }
    for name, how, raw in mutations(whole):
        session = followed()
        heard(session, raw)
        if name in ("sending_ts_ms", "x_new"):
            assert session.book("A") == Book("A", NOW_MS, ((4_000, 800),), ((5_000, 700),)), how


@pytest.mark.parametrize(
    "message",
    [
        {"market_ticker": "A", "yes_levels": [["0.4000", "5.00"]], "no_levels": []},
        {"market_ticker": "A", "bids": {"yes": [["0.4000", "5.00"]]}},
        {"market_ticker": "A", "yes_dollars_fp": [["0.4000", "5.00"]], "no_dollars": [["0.5000", "7.00"]]},
        {"market_ticker": "A", "yes": [[40, 5]], "no": [[50, 7]]},
    ],
)
def test_a_snapshot_whose_sides_have_other_names_is_no_empty_book(message: dict[str, Any]) -> None:
    session = followed()
    facts = heard(session, frame("orderbook_snapshot", json.dumps(message).encode()))
    assert [type(fact) for fact in facts] == [Suspect]
    assert session.counters.bad == 1
    assert list(session.live) == ["B"]


def test_a_side_that_is_absent_or_null_is_empty() -> None:
    for sides in ({}, {"yes_dollars_fp": None, "no_dollars_fp": None, "note": "x", "ts_ms": 5}):
        session = followed()
        heard(session, frame("orderbook_snapshot", json.dumps({"market_ticker": "A", **sides}).encode()))
        book = session.book("A")
        assert book is not None
        assert (book.yes, book.no) == ((), ())


def test_a_byte_that_is_not_utf8_in_any_string_of_any_recorded_frame_raises_nothing() -> None:
    recorded = [sent for _, sent in load("ws_orderbook_stream.json.gz")]
    by_type = {sent["type"]: sent for sent in recorded}
    frames = [
        *by_type.values(),
        *({"type": type_, "sid": 1, "seq": 3, "msg": message} for type_, message in MESSAGES.items()),
    ]
    tried = 0
    for sent in frames:
        for raw in with_bytes_in_strings(json.dumps(sent | {"sid": 1, "seq": 3}).encode()):
            heard(followed(), raw)
            tried += 1
    assert tried > 200


def test_what_a_ticker_said_leaves_as_it_came() -> None:
    raw = spoilt(MESSAGES["ticker"] | {"yes_ask_size_fp": "-7.00"}, "yes_bid_dollars", "object")
    update = decode_ticker(decode_frame(frame("ticker", raw)), NOW_MS)
    assert update.as_sent == {
        "yes_bid_dollars": NOT_TEXT + '{"a":[1,{"b":null}]}',
        "yes_ask_dollars": "0.5000",
        "yes_bid_size_fp": "5.00",
        "yes_ask_size_fp": "-7.00",
    }
    assert (update.last_price_e4, update.volume_e2) == (4_500, 1_000)


@pytest.mark.parametrize("ts_ms", [10**30, NOW_MS * 1_000, -5, 0, None, "x"])
def test_a_time_of_a_trade_that_cannot_be_is_that_of_its_arrival(ts_ms: object) -> None:
    message = json.dumps(MESSAGES["trade"] | {"ts_ms": ts_ms}).encode()
    (trade,) = heard(followed(), frame("trade", message))
    assert isinstance(trade, Trade)
    assert trade.time_ms == NOW_MS
