"""Only what an object cannot be named without keeps it out; any other member costs at most itself."""

import json
from functools import cache
from itertools import cycle
from typing import Any

import msgspec
import pytest

from bus.protocol.messages import decode_record, encode_record
from markets.book import top_of_quote
from markets.errors import BadRecord
from markets.json.books import decode_books, decode_candles
from markets.json.decoding import legible
from markets.json.pages import market_ticker, split_events, split_list
from markets.json.read import (
    competition_of,
    custom_strike_keys,
    decode_event,
    decode_exchange_status,
    decode_market,
    decode_milestone,
    decode_series,
    slim_event_raw,
    slim_market_raw,
)
from markets.json.write import market_json
from markets.records import Market, Quote, Status
from markets.units import format_time
from tests.markets.json.odd import SPOILT, mutations, spoilt, with_bytes_in_strings
from tests.markets.json.recorded import DATA, EVENTS, MARKET, MARKETS, decode

ODD = json.loads((DATA / "odd.json").read_text())
IDENTITY = ("ticker", "event_ticker")
QUOTED = (
    "yes_bid_dollars",
    "yes_ask_dollars",
    "no_bid_dollars",
    "no_ask_dollars",
    "yes_bid_size_fp",
    "yes_ask_size_fp",
)
SERIES = json.loads((DATA / "series.json").read_text())
MILESTONES = json.loads((DATA / "milestones.json").read_text())["milestones"]


BY_TICKER = {sent["ticker"]: sent for sent in MARKETS}


@cache
def whole_of(ticker: str) -> tuple[Market, Quote]:
    return decode(BY_TICKER[ticker])


def loads(raw: bytes) -> Any:
    """Decode JSON that may have numbers beyond a double: as their text."""
    return json.loads(legible(raw), parse_float=str, parse_int=str)


def read(raw: bytes) -> tuple[Market, Quote]:
    """Decode a market, and all that is made of it elsewhere."""
    market, quote = decode_market(raw, series_ticker="S", as_of_ms=1_786_171_942_265)
    for kind, record in (("market", market), ("quote", quote)):
        assert decode_record(kind, encode_record(record)) == record
    for time_ms in (market.created_ms, market.open_ms, market.close_ms, market.latest_expiration_ms):
        assert time_ms is None or format_time(time_ms)
    slim_market_raw(market)
    custom_strike_keys(market)
    return market, quote


def check_market(sent: dict[str, Any], name: str, how: str, raw: bytes) -> None:
    """Check that a member costs a market at most itself."""
    market, quote = read(raw)
    whole, whole_quote = whole_of(sent["ticker"])
    assert market.ticker == sent["ticker"]
    if name not in ("result", "settlement_value_dollars"):
        assert (market.result, market.settlement_value_e4) == (whole.result, whole.settlement_value_e4)
    if name == "status":
        assert quote.status is Status.UNKNOWN
    else:
        assert quote.status is whole_quote.status
    if name in QUOTED:
        top = top_of_quote(quote)
        assert (top.yes_bid, top.yes_ask) == (None, None)
    else:
        assert top_of_quote(quote) == top_of_quote(whole_quote)
    served = loads(market_json(market, quote, as_of_ms=quote.as_of_ms))
    del served["series_ticker"], served["as_of"]
    assert served == loads(raw), (name, how)


@pytest.mark.parametrize(
    "sent",
    [MARKET, next(market for market in MARKETS if market.get("settlement_value_dollars"))],
    ids=["active", "settled"],
)
def test_any_member_of_a_market_costs_at_most_itself(sent: dict[str, Any]) -> None:
    others = ("settlement_value_dollars", "strike_type", "floor_strike", "cap_strike", "occurrence_datetime")
    tried = 0
    for name, how, raw in mutations(sent, *others):
        if name not in IDENTITY:
            check_market(sent, name, how, raw)
            tried += 1
        elif SPOILT[how] not in (b'"nonsense"', b'"-3.00"', b'"0001-01-01T00:00:00+23:59"'):
            with pytest.raises(BadRecord):
                read(raw)
    assert tried > 600


def test_no_recorded_market_is_lost_for_one_member() -> None:
    """Each member of each of them is spoilt in one way; the ways take turns."""
    ways = cycle(SPOILT)
    assert len(MARKETS) > 270
    for sent in BY_TICKER.values():
        for name in sent:
            if name not in IDENTITY:
                how = next(ways)
                check_market(sent, name, how, spoilt(sent, name, how))
        next(ways)


@pytest.mark.parametrize("status", ["determined", "finalized", "closed", "active"])
def test_negative_sizes_cost_the_quote_and_neither_status_nor_result(status: str) -> None:
    sent = MARKET | {"status": status, "result": "yes", "settlement_value_dollars": "1.0000"}
    sent |= {"yes_bid_size_fp": "-120.00", "yes_ask_size_fp": "-0.50"}
    market, quote = read(json.dumps(sent).encode())
    assert (quote.status.value, market.result, market.settlement_value_e4) == (status, "yes", 10_000)
    assert (quote.yes_bid_size_e2, quote.yes_ask_size_e2) == (0, 0)
    assert json.loads(market_json(market, quote, as_of_ms=0))["yes_bid_size_fp"] == "-120.00"


def test_a_quote_that_heals_is_as_it_was() -> None:
    market, quote = decode(MARKET)
    again, odd = decode_market(
        spoilt(MARKET, "yes_bid_dollars", "object"), series_ticker="S", as_of_ms=0, previous=market
    )
    assert again is market
    assert odd.as_sent is not None
    assert decode(MARKET, previous=market) == (market, quote)


def test_any_member_of_an_event_costs_at_most_itself() -> None:
    for sent in (EVENTS["events"][0], EVENTS["event_single"]["event"]):
        members = {name: value for name, value in sent.items() if name != "markets"}
        whole, markets = decode_event(json.dumps(sent).encode())
        for name, how, raw in mutations(sent, "fee_type_override", "strike_date", "markets"):
            if name == "event_ticker":
                continue
            event, nested = decode_event(raw)
            assert decode_record("event", encode_record(event)) == event
            if name != "markets":
                assert [bytes(market) for market in nested] == [bytes(market) for market in markets]
            expected = loads(raw)
            expected.pop("markets", None)
            assert loads(event.raw) == expected
            assert event.event_ticker == whole.event_ticker
            if name != "mutually_exclusive":
                assert event.mutually_exclusive is whole.mutually_exclusive
            elif how != "boolean":
                assert not event.mutually_exclusive
            assert name == "product_metadata" or competition_of(event) == competition_of(whole)
            slim_event_raw(event)
        assert members


def test_any_member_of_the_metadata_of_an_event_costs_itself() -> None:
    sent = {"competition": "Pro Baseball", "competition_scope": "Game"}
    for name, how, raw in mutations(sent):
        event, _ = decode_event(b'{"event_ticker":"E","product_metadata":%b}' % raw)
        assert name == "competition" or competition_of(event).competition == "Pro Baseball", how
        assert name == "competition_scope" or competition_of(event).competition_scope == "Game", how
        slim = msgspec.structs.replace(event, raw=slim_event_raw(event))
        assert competition_of(slim) == competition_of(event)


def test_a_series_of_an_event_that_cannot_be_read_is_the_held_one() -> None:
    sent = EVENTS["events"][0]
    whole, _ = decode_event(json.dumps(sent).encode())
    raw = spoilt(sent, "series_ticker", "null")
    assert decode_event(raw)[0].series_ticker == ""
    assert decode_event(raw, {whole.event_ticker: whole})[0].series_ticker == whole.series_ticker


def test_any_member_of_a_series_or_a_milestone_costs_at_most_itself() -> None:
    for sent in SERIES.values():
        for name, _, raw in mutations(sent):
            if name != "ticker":
                series = decode_series(raw)
                assert decode_record("series", encode_record(series)) == series
                assert loads(series.raw) == loads(raw)
    for sent in MILESTONES:
        whole = decode_milestone(json.dumps(sent).encode())
        for name, _, raw in mutations(sent, "end_date"):
            if name != "id":
                milestone = decode_milestone(raw)
                assert decode_record("milestone", encode_record(milestone)) == milestone
                assert loads(milestone.raw) == loads(raw)
                assert name == "details" or milestone.status == whole.status
        for name, how, raw in mutations(sent["details"]):
            whole_raw = spoilt(sent, "details", "absent")[:-1] + b',"details":%b}' % raw
            assert name == "status" or decode_milestone(whole_raw).status == whole.status, how


def test_one_ticker_in_a_milestone_that_is_none_leaves_the_others() -> None:
    sent = MILESTONES[0] | {"primary_event_tickers": ["A", None, 5, "B"]}
    assert decode_milestone(json.dumps(sent).encode()).primary_event_tickers == ("A", "B")


def test_one_band_of_prices_that_cannot_be_read_leaves_the_others() -> None:
    bands = [None, {"start": "0.0000"}, {"start": "0.0000", "end": "1.0000", "step": "0.0100"}, "x"]
    assert decode(MARKET | {"price_ranges": bands})[0].price_ranges == ((0, 10_000, 100),)


def test_odd_members_of_a_book_cost_that_book_at_most() -> None:
    levels = {"yes_dollars": [["0.0100", "5.00"]], "no_dollars": None}
    for _, _, raw in mutations({"ticker": "A", "orderbook_fp": levels}):
        books, bad = decode_books(
            b'{"orderbooks":[%b,{"ticker":"B","orderbook_fp":%b}]}' % (raw, json.dumps(levels).encode()), 0
        )
        assert len(books) + len(bad) == 2
        assert books[-1].ticker == "B"
    for _, _, raw in mutations(levels):
        books, bad = decode_books(b'{"orderbooks":[{"ticker":"A","orderbook_fp":%b}]}' % raw, 0)
        assert len(books) + len(bad) == 1
        for book in books:  # a side that cannot be read is not an empty one
            assert book.yes == ((100, 500),) or b'"yes_dollars":null' in raw or b'"yes_dollars":[]' in raw


@pytest.mark.parametrize("reply", ODD["lists"], ids=lambda reply: reply["key"])
def test_a_list_that_is_null_is_empty(reply: dict[str, Any]) -> None:
    assert split_list(json.dumps(reply["body"]).encode(), reply["key"]) == ([], "")
    assert split_events(b'{"events":null,"milestones":5}') == ([], "", [])


@pytest.mark.parametrize("text", [b"5", b"{}", b'"a\xff"', b"true"])
def test_a_page_whose_cursor_cannot_be_read_counts_and_is_not_the_last(text: bytes) -> None:
    raws, cursor = split_list(b'{"markets":[{"ticker":"A"}],"cursor":%b}' % text, "markets")
    assert ([market_ticker(raw) for raw in raws], cursor) == (["A"], None)
    assert split_events(b'{"events":[],"cursor":%b}' % text).cursor is None


def test_half_a_character_in_one_market_does_not_spoil_its_page() -> None:
    body = rb'{"markets":[{"ticker":"A","title":"\ud83d"},{"ticker":"B","title":"\ud83d\ude00\\ud83d"}]}'
    raws, _ = split_list(body, "markets")
    assert [json.loads(bytes(raw)) for raw in raws] == [
        {"ticker": "A", "title": "\ufffd"},
        {"ticker": "B", "title": "\U0001f600\\ud83d"},
    ]


@pytest.mark.parametrize("sent", ODD["exchange_status"])
def test_an_odd_member_of_the_exchange_status_costs_itself(sent: dict[str, Any]) -> None:
    status = decode_exchange_status(json.dumps(sent).encode(), 7)
    assert (status.exchange_active, status.trading_active, status.resume_ms) == (True, True, None)
    assert status.shards in ((), ((0, None, None),))
    for name, _, raw in mutations(sent):
        try:
            other = decode_exchange_status(raw, 7)
        except BadRecord:
            pytest.fail(f"{name}: the other flag is still said")
        assert decode_record("exchange", encode_record(other)) == other


def test_odd_events_from_the_field_keep_their_markets() -> None:
    found = {}
    for sent in ODD["events"]:
        event, raws = decode_event(json.dumps(sent).encode())
        assert not event.mutually_exclusive
        for raw in raws:
            market, quote = read(bytes(raw))
            found[market.ticker] = market, quote
    market, quote = found["KXODDA-26DEC-A"]
    assert (market.title, market.created_ms, market.close_ms) == ("", None, 1_827_619_200_000)
    assert (quote.yes_bid_size_e2, quote.last_price_e4) == (1_000, None)
    market, quote = found["KXODDB-26DEC-A"]
    assert (market.result, quote.status, quote.yes_bid_size_e2) == ("yes", Status.DETERMINED, 0)


def test_a_byte_that_is_not_utf8_in_any_string_of_any_recorded_object_costs_it_at_most() -> None:
    def tried(read_one: Any, sent: object) -> int:
        number = 0
        for raw in with_bytes_in_strings(json.dumps(sent).encode()):
            number += 1
            try:
                record = read_one(raw)
            except BadRecord:
                continue
            getattr(record, "raw", b"").decode()
        return number

    def market(raw: bytes) -> Market:
        made, quote = decode_market(raw, series_ticker="S", as_of_ms=0)
        market_json(made, quote, as_of_ms=0).decode()
        return made

    count = sum(tried(market, sent) for sent in MARKETS[::9])
    count += sum(
        tried(lambda raw: decode_event(raw)[0], sent | {"markets": sent["markets"][:1]})
        for sent in EVENTS["events"][::4]
    )
    count += sum(tried(decode_series, sent) for sent in SERIES.values())
    count += sum(tried(decode_milestone, sent) for sent in MILESTONES)
    count += tried(
        lambda raw: decode_books(raw, 0),
        {"orderbooks": [EVENTS["orderbook"]]} if "orderbook" in EVENTS else {},
    )
    count += tried(
        lambda raw: decode_candles(raw, 1_000),
        {"markets": [{"market_ticker": "A", "candlesticks": [{"end_period_ts": 1, "volume_fp": "1.00"}]}]},
    )
    count += tried(
        split_events,
        {"events": EVENTS["events"][:1], "cursor": "x", "milestones": MILESTONES},
    )
    for sent in ODD["exchange_status"]:
        count += tried(lambda raw: decode_exchange_status(raw, 0), sent)
    assert count > 5_000
