"""Objects of Kalshi made into records, on recorded payloads and on damaged ones."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import BadRecord
from markets.fees import fee_schedule
from markets.json.books import decode_books, decode_candles
from markets.json.decoding import legible
from markets.json.pages import decode_tier, market_ticker, member, split_events, split_list, text_member
from markets.json.read import (
    QUOTE_MEMBERS,
    competition_of,
    custom_strike_keys,
    decode_event,
    decode_exchange_status,
    decode_market,
    decode_milestone,
    decode_series,
)
from markets.json.write import market_json
from markets.records import Status
from tests.markets.json.recorded import (
    DATA,
    EVENTS,
    MARKET,
    MARKETS,
    changed,
    decode,
    encode,
    served,
    without,
)

# --- there and back ------------------------------------------------------------------------------


def test_every_recorded_market_comes_back_with_equal_values() -> None:
    assert len(MARKETS) > 270
    for sent in MARKETS:
        market, quote = decode(sent)
        assert served(market, quote) == {**sent, "series_ticker": "S", "as_of": 1_786_171_942.265}


def test_static_part_and_quote_part_do_not_overlap() -> None:
    market, quote = decode(MARKET)
    static = json.loads(market.raw)
    assert not set(static) & set(QUOTE_MEMBERS)
    assert set(static) | set(QUOTE_MEMBERS) == set(MARKET)
    assert quote.as_sent is None


def test_values_keep_their_bytes() -> None:
    raw = (
        encode(without("title", "floor_strike"))[:-1]
        + b', "title" : "\\u00b0F <b>",\n "floor_strike":1.50, "x_new": {"a" : [1e3, -0.0]} }'
    )
    market, _ = decode_market(raw, series_ticker=None, as_of_ms=0)
    assert b'"title":"\\u00b0F <b>"' in market.raw
    assert b'"floor_strike":1.50' in market.raw
    assert b'"x_new":{"a" : [1e3, -0.0]}' in market.raw
    assert (market.title, market.floor_strike) == ("°F <b>", 1.5)


def test_unusual_but_valid_text_leaves_as_it_came() -> None:
    sent = changed(yes_bid_dollars="0.5", volume_fp="7", last_price_dollars=None, yes_ask_dollars="0.010000")
    market, quote = decode(sent)
    assert (quote.yes_bid_e4, quote.volume_e2, quote.last_price_e4) == (5_000, 700, None)
    assert quote.as_sent == {
        "yes_bid_dollars": "0.5",
        "yes_ask_dollars": "0.010000",
        "volume_fp": "7",
        "last_price_dollars": None,
    }
    assert {name: served(market, quote)[name] for name in sent} == sent


def test_absent_optional_members_stay_absent() -> None:
    optional = (
        "occurrence_datetime",
        "custom_strike",
        "volume_24h_fp",
        "exchange_index",
        "previous_price_dollars",
    )
    sent = without(*optional)
    market, quote = decode(sent)
    assert (quote.volume_24h_e2, quote.previous_price_e4, market.occurrence_ms) == (None, None, None)
    assert {**sent, "series_ticker": "S", "as_of": 1_786_171_942.265} == served(market, quote)


def test_both_sentinels_of_an_empty_ask_are_accepted() -> None:
    for yes_ask, no_bid in (("1.0000", "0.0000"), ("0.0000", "1.0000")):
        sent = changed(yes_ask_dollars=yes_ask, no_bid_dollars=no_bid, yes_ask_size_fp="0.00")
        assert served(*decode(sent))["yes_ask_dollars"] == yes_ask


def test_crossed_quote_is_data() -> None:
    _, quote = decode(changed(yes_bid_dollars="0.6000", yes_bid_size_fp="1.00", yes_ask_dollars="0.4000"))
    assert (quote.yes_bid_e4, quote.yes_ask_e4) == (6_000, 4_000)


# --- what is decoded -----------------------------------------------------------------------------


def test_fields_of_a_recorded_market() -> None:
    market, quote = decode(MARKET)
    assert (market.ticker, market.event_ticker, market.series_ticker) == ("KXNBA-27-ATL", "KXNBA-27", "S")
    assert market.price_ranges == ((0, 10_000, 100),)
    assert market.open_ms == 1_781_424_000_000
    assert market.created_ms == 1_781_422_412_558
    assert (quote.status, quote.yes_ask_e4, quote.yes_ask_size_e2) == (Status.ACTIVE, 100, 86_126_522)
    assert (quote.volume_e2, quote.open_interest_e2) == (25_841_431, 24_536_023)


def test_settled_market_has_result_and_value() -> None:
    settled = next(m for m in MARKETS if m.get("settlement_value_dollars"))
    market, quote = decode(settled)
    assert (market.result, market.settlement_value_e4) == ("yes", 10_000)
    assert quote.status is Status.FINALIZED


def test_unchanged_static_part_is_the_previous_object() -> None:
    market, _ = decode(MARKET)
    again, quote = decode(changed(yes_ask_dollars="0.0200", status="closed"), previous=market)
    assert again is market
    assert (quote.yes_ask_e4, quote.status) == (200, Status.CLOSED)
    other, _ = decode(changed(rules_primary="other"), previous=market)
    assert other is not market
    joined, _ = decode(MARKET, previous=market, series_ticker="T")
    assert joined.series_ticker == "T"


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (changed(ticker=""), "ticker"),
        (changed(ticker="A B"), "ticker"),
        (changed(ticker=7), "ticker"),
        (changed(event_ticker="A\0B"), "event_ticker"),
        (changed(event_ticker=None), "event_ticker"),
        (without("ticker"), "ticker"),
        (without("event_ticker"), "event_ticker"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_market_that_cannot_be_named_is_refused_naming_the_field(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecord) as refused:
        decode(sent)
    assert refused.value.field == field
    assert refused.value.expected
    assert refused.value.value == repr(sent.get(field))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    for read in (
        lambda: split_list(body, "markets"),
        lambda: split_events(body),
        lambda: decode_tier(body),
        lambda: decode_candles(body, 1_000),
        lambda: decode_market(body, series_ticker=None, as_of_ms=0),
        lambda: decode_event(body),
        lambda: decode_series(body),
        lambda: decode_milestone(body),
        lambda: decode_books(body, 0),
        lambda: decode_exchange_status(body, 0),
    ):
        with pytest.raises(BadRecord):
            read()


RAW = encode(MARKET)


@given(st.integers(0, len(RAW) - 1), st.binary(min_size=0, max_size=3))
def test_a_damaged_market_is_refused_or_comes_out_as_valid_json(at: int, damage: bytes) -> None:
    raw = RAW[:at] + damage + RAW[at + 1 :]
    try:
        market, quote = decode_market(raw, series_ticker="S", as_of_ms=0)
    except BadRecord:
        return
    out = json.loads(market_json(market, quote, as_of_ms=0))
    sent = json.loads(legible(raw))
    assert {name: out[name] for name in sent} == sent


# --- events, series, milestones, books, status ---------------------------------------------------


def test_every_recorded_event_splits_from_its_markets() -> None:
    for sent in EVENTS["events"]:
        event, markets = decode_event(encode(sent))
        assert (event.event_ticker, event.series_ticker) == (sent["event_ticker"], sent["series_ticker"])
        assert event.mutually_exclusive is sent["mutually_exclusive"]
        assert json.loads(event.raw) == {name: value for name, value in sent.items() if name != "markets"}
        assert [market_ticker(raw) for raw in markets] == [m["ticker"] for m in sent["markets"]]


@pytest.mark.parametrize("spaces", [None, (",", ":")])
@pytest.mark.parametrize("place", ["first", "second", "last"])
def test_held_event_with_other_markets_is_itself_and_with_anything_else_is_not(
    spaces: tuple[str, str] | None, place: str
) -> None:
    def raw(sent: dict[str, Any]) -> bytes:
        members = [(name, value) for name, value in sent.items() if name != "markets"]
        index = {"first": 0, "second": 1, "last": len(members)}[place]
        members.insert(index, ("markets", sent["markets"]))
        return json.dumps(dict(members), ensure_ascii=False, separators=spaces).encode()

    sent = EVENTS["events"][0]
    one, *others = sent["markets"]
    event, _ = decode_event(raw(sent))
    held = {event.event_ticker: event}

    moved = one | {"yes_bid_dollars": "0.1230"}
    for members in (sent["markets"], [moved, *others], others, [one], [*sent["markets"], moved]):
        again, split = decode_event(raw(sent | {"markets": members}), held)
        assert again == event
        assert (again is event) == (spaces is not None)
        assert [json.loads(bytes(each)) for each in split] == members
    for other in (
        sent | {"title": "other"},
        sent | {"title": sent["title"][:-1]},
        sent | {"markets": []},
        sent | {"new": {"markets": sent["markets"]}},
        {"new": 1} | sent,
        {name: value for name, value in sent.items() if name != "sub_title"},
        sent | {"event_ticker": "OTHER"},
    ):
        again, split = decode_event(raw(other), held)
        assert (again, [bytes(each) for each in split]) == (
            (plain := decode_event(raw(other)))[0],
            [bytes(each) for each in plain[1]],
        )


def test_event_in_an_envelope_and_its_times() -> None:
    body = encode(EVENTS["event_single"])
    event, markets = decode_event(member(body, "event"))
    assert event.strike_date_ms == 1_784_519_940_000
    assert markets == []
    assert len(split_list(body, "markets")[0]) == 1
    assert text_member(member(body, "event"), "event_ticker") == "KXHIGHNY-26JUL19"


@pytest.mark.parametrize(
    ("text", "multiplier_e4"), [("0.5", 5_000), ("1", 10_000), ("0", 0), ("2e0", 20_000), ("null", None)]
)
def test_fee_override_is_read_exactly(text: str, multiplier_e4: int | None) -> None:
    raw = (
        '{"event_ticker":"E","series_ticker":"S","title":"t","mutually_exclusive":false,'
        '"fee_type_override":"quadratic","fee_multiplier_override":' + text + "}"
    )
    event, _ = decode_event(raw.encode())
    assert (event.fee_type_override, event.fee_multiplier_override_e4) == ("quadratic", multiplier_e4)


@pytest.mark.parametrize("text", ['"1"', "-1", "1e9", "0.00001", "true", "[]", "1e999999999"])
def test_fees_are_unknown_where_a_multiplier_is_no_sane_number(text: str) -> None:
    raw = f'{{"ticker":"S","title":"t","category":"c","fee_type":"quadratic","fee_multiplier":{text}}}'
    series = decode_series(raw.encode())
    assert (series.fee_type, series.fee_multiplier_e4) == ("quadratic", None)
    assert fee_schedule(None, series) is None

    sane = msgspec.structs.replace(series, fee_multiplier_e4=10_000)
    event, _ = decode_event(b'{"event_ticker":"E","fee_multiplier_override":%b}' % text.encode())
    assert fee_schedule(event, sane) is None
    odd, _ = decode_event(b'{"event_ticker":"E","fee_type_override":5}')
    assert fee_schedule(odd, sane) is None
    plain, _ = decode_event(b'{"event_ticker":"E","fee_type_override":null}')
    assert fee_schedule(plain, sane) is not None


def test_recorded_series() -> None:
    sent = json.loads((DATA / "series.json").read_text())
    series = {ticker: decode_series(encode(value)) for ticker, value in sent.items()}
    assert series["KXMLBGAME"].fee_type == "quadratic_with_maker_fees"
    assert {ticker: one.fee_multiplier_e4 for ticker, one in series.items()} == {
        "KXMLBGAME": 5_000,
        "KXMLBSPREAD": 5_000,
        "KXATPDOUBLES": 10_000,
        "KXWNBAGAME": 10_000,
    }
    assert all(json.loads(one.raw) == sent[ticker] for ticker, one in series.items())


def test_recorded_milestones() -> None:
    sent = json.loads((DATA / "milestones.json").read_text())["milestones"]
    milestones = [decode_milestone(encode(one)) for one in sent]
    assert [one.status for one in milestones] == ["created", "inprogress", None, None, None]
    assert milestones[0].primary_event_tickers == ("SIMNBAGAME",)
    assert milestones[0].start_ms == 1_715_212_800_000


def test_what_a_match_is_can_be_read_from_raw() -> None:
    by_ticker = {one["event_ticker"]: one for one in EVENTS["events"]}
    event, markets = decode_event(encode(by_ticker["KXMLBGAME-26AUG092020HOUSD"]))
    assert (competition_of(event).competition, competition_of(event).competition_scope) == (
        "Pro Baseball",
        "Game",
    )
    market, _ = decode_market(markets[0], series_ticker=None, as_of_ms=0)
    assert custom_strike_keys(market) == {"baseball_team"}
    weather, _ = decode_event(encode(EVENTS["event_single"]["event"]))
    assert competition_of(weather).competition == ""


@pytest.mark.parametrize(
    "raw",
    [b"", b'{"custom_strike":{"\xff":1}}', b'{"product_metadata":{"\xff":1}}', b'{"x":' + b"[" * 100_000],
    ids=["empty", "strike no UTF-8", "metadata no UTF-8", "deep"],
)
def test_raw_that_is_no_json_says_nothing(raw: bytes) -> None:
    event, markets = decode_event(encode(EVENTS["events"][0]))
    market, _ = decode_market(markets[0], series_ticker=None, as_of_ms=0)
    assert custom_strike_keys(msgspec.structs.replace(market, raw=raw)) == frozenset()
    assert competition_of(msgspec.structs.replace(event, raw=raw)).competition == ""


def test_exchange_status_with_and_without_shards() -> None:
    plain = decode_exchange_status(b'{"exchange_active":true,"trading_active":false}', 7)
    assert (plain.exchange_active, plain.trading_active, plain.shards, plain.as_of_ms) == (True, False, (), 7)
    full = decode_exchange_status(
        b'{"exchange_active":true,"trading_active":true,"intra_exchange_transfers_active":true,'
        b'"exchange_estimated_resume_time":"2026-10-22T09:00:00Z","exchange_index_statuses":[{"exchange_index":2,'
        b'"description":"Crypto","exchange_active":true,"trading_active":false,'
        b'"intra_exchange_transfers_active":true}]}',
        7,
    )
    assert full.shards == ((2, True, False),)
    assert full.resume_ms == 1_792_659_600_000
    half = decode_exchange_status(b'{"exchange_active":true,"trading_active":"yes"}', 7)
    assert (half.exchange_active, half.trading_active) == (True, None)
    for nothing in (b"{}", b'{"exchange_active":null,"trading_active":1}'):
        with pytest.raises(BadRecord):
            decode_exchange_status(nothing, 7)
