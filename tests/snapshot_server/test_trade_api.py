"""Kalshi's public read API from the replica: pure, to an independent client, and beside the exchange."""

import gzip
import json
import random
import re
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import zmq
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pykalshi import KalshiClient, MarketStatus
from pykalshi.exceptions import KalshiAPIError, ResourceNotFoundError

from bus.protocol.writer import Change, Writer
from markets.json.read import decode_exchange_status, decode_milestone, decode_series
from markets.records import Candles, Milestone, Quote, Record, Remove, Series, Status, Suspect, Trade
from markets.units import format_time
from snapshot_server import trade_api
from snapshot_server.edition import Edition, next_edition
from snapshot_server.elsewhere import Elsewhere, made
from snapshot_server.history.store import Store
from snapshot_server.http import HttpRequest, HttpResponse, Large, respond
from snapshot_server.trade_api.listings import make_cursor, read_cursor
from snapshot_server.view import View
from tests.publisher.exchange import event as an_event
from tests.publisher.exchange import market as a_market
from tests.publisher.exchange import milestone as sent_milestone
from tests.publisher.exchange import series as sent_series
from tests.simulator.schemas import answer_errors, fill, operations
from tests.snapshot_server.venue import DATA, Venue, a_catalogue, a_cycle, a_writer, grouped
from tests.snapshot_server.views import (
    CATALOGUE,
    HOST,
    NOW_MS,
    STARTING,
    VIEW,
    edition_after,
    edition_of,
    view_of,
)
from tests.support import ROOT, Runner, eventually

BASE = "/trade-api/v2"
BY_TICKER = {market.ticker: market for market in CATALOGUE.markets}
NEWEST_FIRST = [
    ticker for _, ticker in sorted(((m.created_ms, m.ticker) for m in CATALOGUE.markets), reverse=True)
]


def ask(
    path: str, view: View = VIEW, method: str = "GET", headers: dict[str, str] = HOST, **query: Any
) -> HttpResponse:
    text = urlencode(query, doseq=True)
    return respond(HttpRequest(method, BASE + path, text, headers), view, NOW_MS + 1_250)


def get(path: str, code: int = 200, /, view: View = VIEW, **query: Any) -> Any:
    response = ask(path, view, **query)
    assert response.status == code, response.content()[:300]
    return json.loads(response.content())


def header(response: HttpResponse, name: str) -> str | None:
    found = [value for key, value in response.headers if key == name]
    assert len(found) < 2, f"{name} twice"
    return found[0] if found else None


def tickers_of(view: View = VIEW, **query: Any) -> list[str]:
    return [market["ticker"] for market in get("/markets", view=view, **query)["markets"]]


def walk(path: str, key: str, view: View = VIEW, **query: Any) -> list[Any]:
    """All elements of a paged list."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = get(path, view=view, cursor=cursor, **query)
        assert len(page[key]) <= query["limit"]
        found += page[key]
        cursor = page["cursor"]
        if not cursor:
            return found


def with_changes(kind: str, records: list[Record], topic: str = "ref.") -> View:
    """The catalogue and more."""
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    writer.commit([(topic, kind, records)], a_cycle(NOW_MS, len(CATALOGUE.markets)), 0, NOW_MS * 1_000_000)
    return view_of(edition_of(writer))


def requoted(**changes: Any) -> tuple[Quote, View]:
    """The sixth market, which has no book, with a changed quote."""
    quote = msgspec.structs.replace(CATALOGUE.quotes[5], **changes)
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    series = {market.ticker: market.series_ticker or "_" for market in CATALOGUE.markets}
    writer.commit(
        grouped("quote", [quote], series), a_cycle(NOW_MS, len(CATALOGUE.markets)), 0, NOW_MS * 1_000_000
    )
    return quote, view_of(edition_of(writer))


# --- markets -------------------------------------------------------------------------------------


def test_a_market_is_exactly_what_kalshi_sent() -> None:
    sent = json.loads(gzip.decompress(DATA.read_bytes()))["events"]
    recorded = {market["ticker"]: market for event in sent for market in event["markets"]}
    compared = 0
    for ticker in BY_TICKER:
        if ticker in recorded:
            assert get(f"/markets/{ticker}")["market"] == recorded[ticker]
            compared += 1
    assert compared > 200


def test_a_market_with_a_book_is_no_different() -> None:
    ticker = CATALOGUE.books[0].ticker
    market = get(f"/markets/{ticker}")["market"]
    assert not {"series_ticker", "as_of", "orderbook"} & market.keys()
    assert market == get("/markets", tickers=ticker)["markets"][0]


def test_markets_come_newest_first_a_hundred_a_page() -> None:
    assert tickers_of() == NEWEST_FIRST[:100]
    assert tickers_of(limit=0) == NEWEST_FIRST[:100]
    assert tickers_of(limit=1000) == NEWEST_FIRST


@pytest.mark.parametrize("limit", [1, 49, 51, 299, 300])
def test_pages_make_up_the_whole_and_the_last_has_no_cursor(limit: int) -> None:
    if limit == 1:
        tickers = NEWEST_FIRST[:7]
        found = walk("/markets", "markets", limit=1, tickers=",".join(tickers))
        assert [market["ticker"] for market in found] == tickers
        return
    assert [market["ticker"] for market in walk("/markets", "markets", limit=limit)] == NEWEST_FIRST


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_an_unreadable_cursor_is_the_first_page(cursor: str) -> None:
    if read_cursor(cursor) is None:
        assert tickers_of(cursor=cursor, limit=3) == NEWEST_FIRST[:3]


@given(
    st.integers(-(10**12), 10**15),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1),
)
def test_a_cursor_means_what_it_was_made_from(time_ms: int, key: str) -> None:
    assert read_cursor(make_cursor((time_ms, key))) == (time_ms, key)


def test_a_market_that_comes_while_one_pages_shifts_nothing() -> None:
    first = get("/markets", limit=100)
    old = CATALOGUE.markets[0]
    raw = old.raw.replace(old.ticker.encode(), b"NEW")
    newer = msgspec.structs.replace(old, ticker="NEW", created_ms=NOW_MS, raw=raw)
    quote = msgspec.structs.replace(CATALOGUE.quotes[0], ticker="NEW")
    topic = f"md.{newer.series_ticker}."
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    before = edition_of(writer)
    cycle = a_cycle(NOW_MS, len(CATALOGUE.markets))
    writer.commit([(topic, "market", [newer]), (topic, "quote", [quote])], cycle, 0, NOW_MS * 1_000_000)
    view = view_of(edition_of(writer, before))
    assert tickers_of(view=view, limit=1) == ["NEW"]
    assert tickers_of(view=view, limit=1000, cursor=first["cursor"]) == NEWEST_FIRST[100:]
    gone = Remove("market", NEWEST_FIRST[99])
    topic = f"md.{BY_TICKER[gone.key].series_ticker}."
    writer.commit([(topic, "remove", [gone])], cycle, 0, NOW_MS * 1_000_000)
    view = view_of(edition_of(writer, view.edition))
    assert tickers_of(view=view, limit=1000, cursor=first["cursor"]) == NEWEST_FIRST[100:]
    assert gone.key not in tickers_of(view=view, limit=1000)


@pytest.mark.parametrize(
    ("word", "status", "shown"),
    [
        ("open", "active", True),
        ("open", "inactive", False),
        ("unopened", "initialized", True),
        ("paused", "inactive", True),
        ("closed", "closed", True),
        ("closed", "determined", True),
        ("closed", "disputed", True),
        ("closed", "amended", True),
        ("closed", "finalized", False),
        ("settled", "finalized", True),
        ("settled", "active", False),
    ],
)
def test_a_filter_word_selects_the_words_it_stands_for(word: str, status: str, shown: bool) -> None:
    quote, view = requoted(status=Status(status))
    view = msgspec.structs.replace(view, elsewhere=elsewhere())
    response = ask("/markets", view, status=word, limit=1000)
    assert response.status == 200 or (word == "settled" and not shown)
    listed = json.loads(response.content()).get("markets", ())
    assert (quote.ticker in [market["ticker"] for market in listed]) == shown
    event = BY_TICKER[quote.ticker].event_ticker
    if word != "paused":
        found = get("/events", view=view, status=word, tickers=event)["events"]
        assert bool(found) == (shown or word == "open")  # any other market of it is open


def test_filters_restrict_and_add_up() -> None:
    market = CATALOGUE.markets[7]
    of_event = [t for t in NEWEST_FIRST if BY_TICKER[t].event_ticker == market.event_ticker]
    of_series = [t for t in NEWEST_FIRST if BY_TICKER[t].series_ticker == market.series_ticker]
    assert tickers_of(event_ticker=market.event_ticker, limit=1000) == of_event
    assert tickers_of(series_ticker=market.series_ticker, limit=1000) == of_series
    assert (
        tickers_of(series_ticker="NONE")
        == tickers_of(event_ticker="NONE")
        == tickers_of(tickers="NONE")
        == []
    )
    other = next(t for t in NEWEST_FIRST if t not in of_event)
    both = f"{other},{market.ticker},NONE,{other}"
    assert sorted(tickers_of(tickers=both)) == sorted([other, market.ticker])
    assert tickers_of(tickers=both, event_ticker=market.event_ticker) == [market.ticker]
    assert tickers_of(mve_filter="exclude", limit=1000) == NEWEST_FIRST
    assert tickers_of(mve_filter="only") == []


@pytest.mark.parametrize("family", ["created", "close"])
def test_times_bound_markets_both_ends_included(family: str) -> None:
    def time_s(ticker: str) -> int:
        market = BY_TICKER[ticker]
        return ((market.created_ms if family == "created" else market.close_ms) or 0) // 1000

    times = sorted(map(time_s, NEWEST_FIRST))
    low, high = times[60], times[200]
    bounds: dict[str, Any] = {f"min_{family}_ts": low, f"max_{family}_ts": high}
    found = tickers_of(limit=1000, **bounds)
    assert 100 < len(found) < 300
    # A lower bound is a whole second: what was created within it is later.
    assert found == [t for t in NEWEST_FIRST if low <= time_s(t) <= high]


def test_later_updated_markets_are_those_after_a_second() -> None:
    market = CATALOGUE.markets[0]
    updated = get(f"/markets/{market.ticker}")["market"].get("updated_time")
    assert updated is not None
    assert market.ticker in tickers_of(min_updated_ts=0, limit=1000)
    assert market.ticker not in tickers_of(min_updated_ts=NOW_MS // 1000 + 10**8, limit=1000)
    assert tickers_of(min_settled_ts=0, limit=1000) == []


@pytest.mark.parametrize(
    ("path", "query", "part"),
    [
        ("/markets", {"limit": 1001}, "'Limit' failed on the 'lte' tag"),
        ("/markets", {"limit": -1}, "'gte' tag"),
        ("/markets", {"limit": "x"}, "parameter limit"),
        ("/markets", {"min_close_ts": "1.5"}, "parameter min_close_ts"),
        ("/events", {"limit": 201}, "'lte' tag"),
        ("/events", {"with_nested_markets": "yes"}, "ParseBool"),
        ("/milestones", {}, "limit is required"),
        ("/milestones", {"limit": 501}, "'lte' tag"),
        ("/milestones", {"limit": 5, "minimum_start_date": "soon"}, "RFC3339"),
        ("/markets/A/orderbook", {"depth": 101}, "'lte' tag"),
        (
            "/series/S/markets/A/candlesticks",
            {"start_ts": 1, "end_ts": 2, "period_interval": 5},
            "Params.PeriodInterval' Error:Field validation for 'PeriodInterval' failed on the 'oneof' tag",
        ),
        ("/markets/orderbooks", {}, "tickers is required"),
        ("/markets/orderbooks", {"tickers": ["A"] * 101}, "'max' tag"),
        ("/markets/orderbooks", {"tickers": ["A"] * 201}, "at most 200 parameters"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused_in_kalshis_shape(
    path: str, query: dict[str, Any], part: str
) -> None:
    body = get(path, 400, **query)
    assert list(body) == ["msg"]
    assert part in body["msg"]


@pytest.mark.parametrize(
    ("path", "query", "part"),
    [
        ("/markets", {"status": "finalized"}, "invalid status filter"),
        ("/markets", {"status": "open,closed"}, "invalid status filter"),
        ("/markets", {"mve_filter": "all"}, "invalid mve_filter"),
        ("/markets", {"event_ticker": "A,B"}, "only one event_ticker"),
        ("/markets", {"min_close_ts": 1, "max_created_ts": 2}, "only one of"),
        ("/markets", {"min_updated_ts": 1, "status": "open"}, "cannot be combined"),
        ("/markets", {"min_updated_ts": 1, "series_ticker": "A"}, "mve_filter=exclude"),
        ("/markets", {"min_created_ts": 1, "status": "closed"}, "not compatible"),
        ("/events", {"status": "paused"}, "invalid status filter"),
        (
            "/series/S/markets/A/candlesticks",
            {"start_ts": 9, "end_ts": 2, "period_interval": 1},
            "end_ts must not be before start_ts",
        ),
    ],
)
def test_a_filter_that_kalshi_refuses_is_refused(path: str, query: dict[str, Any], part: str) -> None:
    error = get(path, 400, **query)["error"]
    assert error["code"] == "bad_request"
    assert part in error["details"]


# --- order books ---------------------------------------------------------------------------------


def test_a_book_has_bids_only_ascending_and_depth_keeps_the_best() -> None:
    ticker = CATALOGUE.books[0].ticker
    yes = [["0.4000", "10.00"], ["0.4100", "25.50"]]
    no = [["0.5700", "3.00"]]
    response = ask(f"/markets/{ticker}/orderbook")
    assert json.loads(response.content()) == {"orderbook_fp": {"yes_dollars": yes, "no_dollars": no}}
    assert header(response, trade_api.TOP_ONLY) is None
    best = get(f"/markets/{ticker}/orderbook", depth=1)["orderbook_fp"]
    assert best == {"yes_dollars": yes[1:], "no_dollars": no}


def test_books_come_in_the_order_asked_for_and_say_which_are_only_a_top() -> None:
    names = [CATALOGUE.markets[6].ticker, CATALOGUE.books[1].ticker, CATALOGUE.markets[7].ticker]
    response = ask("/markets/orderbooks", tickers=names)
    books = json.loads(response.content())["orderbooks"]
    assert [book["ticker"] for book in books] == names
    assert header(response, trade_api.TOP_ONLY) == "0,2"
    for book in books:
        assert book["orderbook_fp"] == get(f"/markets/{book['ticker']}/orderbook")["orderbook_fp"]


def test_without_a_book_the_quote_tells_its_top() -> None:
    sizes = {"yes_bid_size_e2": 150, "yes_ask_size_e2": 20_050}
    quote, view = requoted(yes_bid_e4=4_200, yes_ask_e4=4_510, **sizes)
    response = ask(f"/markets/{quote.ticker}/orderbook", view)
    book = json.loads(response.content())["orderbook_fp"]
    assert book == {"yes_dollars": [["0.4200", "1.50"]], "no_dollars": [["0.5490", "200.50"]]}
    assert header(response, trade_api.TOP_ONLY) == "0"


@pytest.mark.parametrize("price_e4", [0, 10_000, 5_000])
def test_a_side_without_a_size_is_empty_whatever_its_price(price_e4: int) -> None:
    quote, view = requoted(yes_bid_e4=price_e4, yes_ask_e4=price_e4, yes_bid_size_e2=0, yes_ask_size_e2=0)
    book = get(f"/markets/{quote.ticker}/orderbook", view=view)["orderbook_fp"]
    assert book == {"yes_dollars": [], "no_dollars": []}


def test_no_book_is_made_up_for_a_market_that_is_not_here() -> None:
    assert get("/markets/NONE/orderbook", 404)["error"]["code"] == "not_found"
    known = CATALOGUE.books[0].ticker
    assert "'NONE'" in get("/markets/orderbooks", 404, tickers=[known, "NONE"])["error"]["message"]
    get("/markets/orderbooks", 404, tickers=f"{known},{CATALOGUE.books[1].ticker}")


HOUR_S = 3_600
TRADED = next(m for m in CATALOGUE.markets if m.open_ms and m.open_ms < NOW_MS - 86_400_000)
CANDLES = f"/series/{TRADED.series_ticker}/markets/{TRADED.ticker}/candlesticks"
NOW_S = NOW_MS // 1_000
DAY_S = NOW_S // 86_400 * 86_400 - 86_400
"""A day that is over: candlesticks of it are made up below."""


def an_hour(number: int, **members: Any) -> dict[str, Any]:
    return {"end_period_ts": DAY_S + number * HOUR_S, **members}


def with_candles(sent: list[Any], as_of_ms: int = NOW_MS) -> View:
    candles = Candles(TRADED.ticker, as_of_ms, HOUR_S, json.dumps(sent).encode())
    return with_changes("candles", [candles], f"md.{TRADED.series_ticker}.")


def test_candlesticks_come_as_sent_within_the_times_asked_for_with_the_age_of_their_own() -> None:
    hours: dict[str, Any] = {
        "start_ts": DAY_S + HOUR_S + 1,
        "end_ts": DAY_S + 3 * HOUR_S,
        "period_interval": 60,
    }
    refused = ask(CANDLES, **hours)
    assert refused.status == 404
    assert refused.wishes == (trade_api.Wish("candles", (TRADED.ticker,)),), "the next look has them"
    sent = [an_hour(n, new=[n]) for n in range(1, 6)]
    view = with_candles(sent, NOW_MS - 39_000)

    response = ask(CANDLES, view, **hours)
    assert json.loads(response.content()) == {"ticker": TRADED.ticker, "candlesticks": sent[1:3]}
    assert header(response, "age") == "41"
    assert header(response, trade_api.BEGINS) is None
    assert response.wishes == ()
    early = ask(CANDLES, view, **hours | {"start_ts": DAY_S - HOUR_S})
    assert header(early, trade_api.BEGINS) == str(DAY_S)
    assert early.wishes
    get(CANDLES, 404, view=view, **hours | {"period_interval": 1})
    get(CANDLES.replace(str(TRADED.series_ticker), "OTHER"), 404, view=view, **hours)
    for bad in ({"period_interval": 5}, {"start_ts": "x"}):
        get(CANDLES, 400, view=view, **hours | bad)
    get(CANDLES, 400, view=view, start_ts=1, end_ts=2)


def test_before_a_market_opened_there_are_no_candlesticks_and_that_is_known() -> None:
    assert get(CANDLES, start_ts=0, end_ts=86_400, period_interval=60)["candlesticks"] == []


def test_the_candle_before_the_first_is_carried_on_if_it_is_asked_for() -> None:
    quoted = {
        "open_dollars": "0.1000",
        "high_dollars": "0.3000",
        "low_dollars": "0.1000",
        "close_dollars": "0.2000",
    }
    sent = [
        an_hour(n, price=price, yes_bid=quoted, volume_fp="7.00")
        for n, price in ((1, {"close_dollars": "0.4000"}), (2, {"previous_dollars": "0.5000"}), (4, {}))
    ]
    view = with_candles(sent)

    def asked(start: int, before: str = "true") -> list[Any]:
        hours: dict[str, Any] = {"start_ts": start, "end_ts": DAY_S + 4 * HOUR_S, "period_interval": 60}
        found: list[Any] = get(CANDLES, view=view, **hours, include_latest_before_start=before)[
            "candlesticks"
        ]
        return found

    nothing = dict.fromkeys(("open_dollars", "high_dollars", "low_dollars", "close_dollars"))
    carried = an_hour(
        3,
        price=nothing | {"previous_dollars": "0.5000"},
        yes_bid=dict.fromkeys(quoted, "0.2000"),
        volume_fp="0.00",
    )
    assert asked(DAY_S + 2 * HOUR_S + 1) == [carried, sent[2]]
    assert asked(DAY_S + 2 * HOUR_S + 1, "false") == [sent[2]]
    assert asked(DAY_S + HOUR_S + 1)[0]["price"]["previous_dollars"] == "0.4000"
    assert asked(DAY_S + HOUR_S) == sent  # there is none before


def prices(*parts: str) -> dict[str, str]:
    return dict(zip(("open_dollars", "high_dollars", "low_dollars", "close_dollars"), parts, strict=True))


def test_a_day_is_made_of_its_hours() -> None:
    sent = [
        an_hour(
            n,
            yes_bid=prices("0.1000", f"0.{n:02}00", "0.0100", "0.2000"),
            yes_ask=prices("0.3000", "0.9000", "0.3000", "0.4000"),
            price=prices("0.1500", "0.3500", "0.1500", f"0.{n:02}00") | {"mean_dollars": "0.2500"},
            volume_fp="2.00",
            open_interest_fp=f"{n}.00",
        )
        for n in range(1, 25)
    ]
    view = with_candles(sent)
    (day,) = get(CANDLES, view=view, start_ts=DAY_S + 1, end_ts=DAY_S + 86_400, period_interval=1440)[
        "candlesticks"
    ]
    assert day == {
        "end_period_ts": DAY_S + 86_400,
        "yes_bid": prices("0.1000", "0.2400", "0.0100", "0.2000"),
        "yes_ask": prices("0.3000", "0.9000", "0.3000", "0.4000"),
        "price": prices("0.1500", "0.3500", "0.1500", "0.2400") | {"mean_dollars": "0.2500"},
        "volume_fp": "48.00",
        "open_interest_fp": "24.00",
    }


MINUTE = NOW_S // 60 * 60 - 600


def happened() -> View:
    """A market of which three minutes were heard, from the beginning of the first on."""
    store = Store(8 << 20, lambda: None)
    quote = CATALOGUE.quotes[CATALOGUE.markets.index(TRADED)]

    def at(second: int, bid_e4: int, volume_e2: int, last_e4: int) -> Quote:
        return msgspec.structs.replace(
            quote, as_of_ms=(MINUTE + second) * 1000, yes_bid_e4=bid_e4, yes_ask_e4=bid_e4 + 200,
            volume_e2=volume_e2, last_price_e4=last_e4, open_interest_e2=700,
        )  # fmt: skip

    for log in (store.quotes, store.trades):
        log.heard(MINUTE * 1000, NOW_MS)
    store.compare({other.ticker: other for other in CATALOGUE.quotes if other is not quote})
    store.put_quotes([at(-5, 4_000, 1_000, 4_100), at(20, 4_300, 1_000, 4_100), at(30, 4_100, 1_500, 4_300)])
    store.put_quotes([at(130, 4_500, 1_600, 4_400)])
    ids = [str(uuid.UUID(int=number)) for number in range(3)]
    store.put_trades(
        [
            Trade(ids[0], TRADED.ticker, 4_400, 400, "yes", (MINUTE + 25) * 1000),
            Trade(ids[1], TRADED.ticker, 4_300, 100, "no", (MINUTE + 30) * 1000),
            Trade(ids[2], "KXELSE-1", 5_000, 100, "", (MINUTE + 40) * 1000),
        ]
    )
    return msgspec.structs.replace(VIEW, history=store)


def test_candlesticks_are_made_of_what_was_heard() -> None:
    view = happened()
    minutes: dict[str, Any] = {"start_ts": MINUTE + 1, "end_ts": MINUTE + 180, "period_interval": 1}
    response = ask(CANDLES, view, **minutes)
    first, second, third = json.loads(response.content())["candlesticks"]

    assert first == {
        "end_period_ts": MINUTE + 60,
        "yes_bid": prices("0.4000", "0.4300", "0.4000", "0.4100"),
        "yes_ask": prices("0.4200", "0.4500", "0.4200", "0.4300"),
        "price": prices("0.4400", "0.4400", "0.4300", "0.4300")
        | {"mean_dollars": "0.4380", "previous_dollars": "0.4100"},
        "volume_fp": "5.00",
        "open_interest_fp": "7.00",
    }
    assert second["yes_bid"] == prices(*["0.4100"] * 4)
    assert (second["volume_fp"], second["price"]) == ("0.00", {"previous_dollars": "0.4300"})
    # Of this one the feed brought no trade, but the quote says that there was one.
    assert (third["volume_fp"], third["yes_bid"]) == ("1.00", prices("0.4100", "0.4500", "0.4100", "0.4500"))
    assert header(response, trade_api.BEGINS) is None
    assert header(response, "age") == "2"
    early = ask(CANDLES, view, **minutes | {"start_ts": MINUTE - 600})
    assert header(early, trade_api.BEGINS) == str(MINUTE)
    assert early.wishes
    assert not answer_errors(
        "/series/{series_ticker}/markets/{ticker}/candlesticks", json.loads(response.content())
    )


def test_candlesticks_of_many_markets_come_in_kalshis_shapes() -> None:
    view = happened()
    minutes: dict[str, Any] = {"start_ts": MINUTE + 1, "end_ts": MINUTE + 180, "period_interval": 1}
    one = get(CANDLES, view=view, **minutes)["candlesticks"]
    batch = get("/markets/candlesticks", view=view, market_tickers=f"NONE,{TRADED.ticker}", **minutes)
    assert batch == {"markets": [{"market_ticker": TRADED.ticker, "candlesticks": one}]}
    assert not answer_errors("/markets/candlesticks", batch)
    path = f"/series/{TRADED.series_ticker}/events/{TRADED.event_ticker}/candlesticks"
    members = [m.ticker for m in CATALOGUE.markets if m.event_ticker == TRADED.event_ticker]
    known = get(path, view=view, **minutes)
    assert dict(zip(known["market_tickers"], known["market_candlesticks"], strict=True))[TRADED.ticker] == one
    early = get(path, view=view, **minutes | {"start_ts": 0, "end_ts": 86_400})
    assert early["market_candlesticks"] == [[] for _ in early["market_tickers"]]
    assert set(early["market_tickers"]) == set(members)
    assert not answer_errors("/series/{series_ticker}/events/{ticker}/candlesticks", early)
    get("/markets/candlesticks", 400, view=view, **minutes)
    get("/markets/candlesticks", 400, view=view, market_tickers=",".join("ABC" * 40), **minutes)
    get(CANDLES, 400, view=view, start_ts=0, end_ts=NOW_S, period_interval=1)


def test_trades_come_the_latest_first_by_page_and_by_market() -> None:
    view = happened()
    low: dict[str, Any] = {"min_ts": MINUTE}
    listed = get("/markets/trades", view=view, **low)
    assert [trade["ticker"] for trade in listed["trades"]] == ["KXELSE-1", TRADED.ticker, TRADED.ticker]
    assert listed["cursor"] == ""
    of_one = get("/markets/trades", view=view, ticker=TRADED.ticker, **low)
    assert not answer_errors("/markets/trades", of_one)
    assert [trade["yes_price_dollars"] for trade in of_one["trades"]] == ["0.4300", "0.4400"]
    assert of_one["trades"][1] | {"trade_id": ""} == {
        "trade_id": "",
        "ticker": TRADED.ticker,
        "count_fp": "4.00",
        "yes_price_dollars": "0.4400",
        "no_price_dollars": "0.5600",
        "taker_side": "yes",
        "taker_outcome_side": "yes",
        "taker_book_side": "bid",
        "created_time": format_time((MINUTE + 25) * 1000),
        "is_block_trade": False,
    }
    assert walk("/markets/trades", "trades", view, limit=1, **low) == listed["trades"]
    assert (
        get("/markets/trades", view=view, min_ts=MINUTE + 30, max_ts=MINUTE + 30)["trades"]
        == of_one["trades"][:1]
    )
    assert header(ask("/markets/trades", view, **low), trade_api.BEGINS) is None
    assert header(ask("/markets/trades", view), trade_api.BEGINS) == str(MINUTE)


def test_no_list_of_trades_is_empty_where_there_may_have_been_some() -> None:
    quote = next(q for q in CATALOGUE.quotes if q.volume_e2 and q.ticker != TRADED.ticker)
    view = happened()
    assert get("/markets/trades", view=view, ticker=quote.ticker, min_ts=MINUTE)["trades"] == []
    refused = get("/markets/trades", 404, view=view, ticker=quote.ticker)["error"]
    assert refused["code"] == "not_found"
    assert format_time(MINUTE * 1000) in refused["message"]
    assert "no trades are heard here" in get("/markets/trades", 404)["error"]["message"]
    get("/markets/trades", 404, view=view, is_block_trade="true")
    get("/markets/trades", 400, view=view, limit=1001)


def test_a_book_that_is_asked_for_is_wished_for() -> None:
    ticker = CATALOGUE.markets[-1].ticker
    assert ask(f"/markets/{ticker}/orderbook").wishes == (trade_api.Wish("book", (ticker,)),)
    assert ask("/markets/orderbooks", tickers=[ticker]).wishes == (trade_api.Wish("book", (ticker,)),)
    assert ask("/markets/NONE/orderbook").wishes == ()


PUBLIC = sorted(path for path, _ in operations())


def elsewhere(**lists: Any) -> Elsewhere:
    """What was read besides the feed: without `lists`, that there is nothing."""
    bodies: dict[str, Any] = {"unopened": [], "closed": [], "series": [], "milestones": []} | lists
    packed = {name: zstandard.compress(json.dumps(body).encode()) for name, body in bodies.items()}
    return made(packed, dict.fromkeys(packed, NOW_MS - 90_000), lambda: None)


def with_lists(**lists: Any) -> View:
    return msgspec.structs.replace(VIEW, elsewhere=elsewhere(**lists))


UNOPENED = an_event("KXSOON-1", "KXSOON", a_market("KXSOON-1-A", "KXSOON-1", status="initialized"))
CLOSED = an_event("KXLATE-1", "KXLATE", a_market("KXLATE-1-A", "KXLATE-1", status="closed"))


def test_what_is_not_open_is_listed_with_the_age_of_its_own() -> None:
    view = with_lists(unopened=[UNOPENED], closed=[CLOSED])
    sent = a_market("KXSOON-1-A", "KXSOON-1", status="initialized")
    response = ask("/markets", view, status="unopened")
    assert json.loads(response.content()) == {"cursor": "", "markets": [sent]}
    assert header(response, "age") == "92"
    assert tickers_of(view, status="closed") == ["KXLATE-1-A"]
    assert get("/markets/KXSOON-1-A", view=view)["market"] == sent
    assert set(tickers_of(view, tickers="KXSOON-1-A," + TRADED.ticker)) == {TRADED.ticker, "KXSOON-1-A"}
    assert tickers_of(view, event_ticker="KXSOON-1") == ["KXSOON-1-A"]
    assert tickers_of(view, series_ticker="KXSOON") == ["KXSOON-1-A"]
    both = walk("/markets", "markets", view, limit=70)
    assert len(both) == len({m["ticker"] for m in both}) == len(CATALOGUE.markets) + 2
    plain = {name: value for name, value in UNOPENED.items() if name != "markets"}
    assert get("/events", view=view, status="unopened")["events"] == [plain]
    nested = get("/events", view=view, tickers="KXSOON-1", with_nested_markets="true")["events"]
    assert nested == [UNOPENED]
    assert get("/events/KXLATE-1", view=view) == {
        "event": {name: value for name, value in CLOSED.items() if name != "markets"},
        "markets": CLOSED["markets"],
    }
    assert len(walk("/events", "events", view, limit=50)) == len(CATALOGUE.events) + 2
    book = ask("/markets/KXSOON-1-A/orderbook", view)
    assert (book.status, header(book, trade_api.TOP_ONLY)) == (200, "0")


def test_what_is_on_the_feed_is_told_from_the_feed() -> None:
    stale = an_event(
        TRADED.event_ticker,
        str(TRADED.series_ticker),
        a_market(TRADED.ticker, TRADED.event_ticker, status="initialized"),
    )
    view = with_lists(unopened=[stale])
    assert tickers_of(view, status="unopened") == []
    assert get(f"/markets/{TRADED.ticker}", view=view) == get(f"/markets/{TRADED.ticker}")


@pytest.mark.parametrize("status", ["unopened", "closed", "settled"])
def test_no_list_of_a_status_is_empty_where_there_may_be_some(status: str) -> None:
    assert get("/markets", 404, status=status)["error"]["code"] == "not_found"
    assert get("/events", 404, status=status)["error"]["code"] == "not_found"
    if status != "settled":
        assert get("/markets", view=with_lists(), status=status)["markets"] == []
    words = {"unopened": Status.INITIALIZED, "closed": Status.CLOSED, "settled": Status.FINALIZED}
    quote, view = requoted(status=words[status])
    response = ask("/markets", view, status=status)
    assert [m["ticker"] for m in json.loads(response.content())["markets"]] == [quote.ticker]
    assert header(response, trade_api.INCOMPLETE)


def test_all_series_and_milestones_are_listed_once_they_were_read() -> None:
    listed = ask("/series")
    assert header(listed, trade_api.INCOMPLETE)
    view = with_lists(
        series=[sent_series("KXZ"), sent_series("KXA"), None], milestones=[sent_milestone("m9", "KXLATE-1")]
    )
    response = ask("/series", view)
    assert [s["ticker"] for s in json.loads(response.content())["series"]] == ["KXA", "KXZ"]
    assert header(response, trade_api.INCOMPLETE) is None
    assert get("/series/KXA", view=view)["series"] == sent_series("KXA")
    assert get("/milestones/m9", view=view)["milestone"] == sent_milestone("m9", "KXLATE-1")
    found = get("/milestones", view=view, limit=5, related_event_ticker="KXLATE-1")["milestones"]
    assert found == [sent_milestone("m9", "KXLATE-1")]


def test_documents_are_passed_on_as_they_were_sent() -> None:
    schedule = {"schedule": {"maintenance_windows": [], "standard_hours": [], "new": 1}}
    get("/exchange/schedule", 404)
    response = ask("/exchange/schedule", with_lists(schedule=schedule))
    assert json.loads(response.content()) == schedule
    assert header(response, "age") == "92"


def test_changes_of_fees_are_those_to_come_unless_all_are_asked_for() -> None:
    past, ahead = ({"id": i, "series_ticker": s, "event_ticker": "E", "scheduled_ts": t} for i, s, t in (
        ("1", "S1", "2020-01-01T00:00:00Z"), ("2", "S2", "2030-01-01T00:00:00Z")))  # fmt: skip
    view = with_lists(series_fees=[past, {"odd": 1}, ahead], event_fees=[past, ahead, ahead | {"id": "3"}])
    assert get("/series/fee_changes", view=view) == {"series_fee_change_arr": [ahead]}
    assert get("/series/fee_changes", view=view, show_historical="true")["series_fee_change_arr"] == [
        past,
        ahead,
    ]
    assert get("/series/fee_changes", view=view, series_ticker="S1")["series_fee_change_arr"] == []
    assert [c["id"] for c in walk("/events/fee_changes", "event_fee_changes", view, limit=1)] == ["2", "3"]
    assert not answer_errors("/events/fee_changes", {"event_fee_changes": [], "cursor": ""})
    get("/series/fee_changes", 404)


ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["markets", "ticker", "event_ticker", "id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["unopened", "closed", "series", "milestones", "schedule"]), ODD))
def test_whatever_a_list_holds_the_rest_is_served(lists: dict[str, Any]) -> None:
    view = with_lists(**lists)
    assert get(f"/markets/{TRADED.ticker}", view=view)["market"]
    assert len(tickers_of(view, limit=1000)) >= len(CATALOGUE.markets)


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_read_of_the_specification_answers_in_its_shape_or_says_why_not(path: str) -> None:
    view = happened()
    values = {
        "series_ticker": str(TRADED.series_ticker),
        "event_ticker": TRADED.event_ticker,
        "ticker": TRADED.event_ticker if "/events/" in path else TRADED.ticker,
        "milestone_id": "m1",
    }
    asked = fill(path, dict.fromkeys(re.findall(r"\{(\w+)\}", path), "x") | values)
    query: dict[str, Any] = {"limit": 5, "market_tickers": TRADED.ticker, "min_ts": MINUTE}
    if "candlesticks" in path:
        query |= {"start_ts": MINUTE + 1, "end_ts": MINUTE + 60, "period_interval": 1}
    if "orderbooks" in path:
        query = {"tickers": [TRADED.ticker]}
    response = ask(asked, view, **query)
    body = json.loads(response.content())
    if BASE + path in trade_api.TEMPLATES and response.status == 200:
        # What is inside came as the exchange sent it.
        assert not [wrong for wrong in answer_errors(path, body) if wrong.startswith("$:")]
    else:
        assert response.status == 404
        assert body["error"]["code"] == "not_found"
        assert len(body["error"]["message"]) > 20
    text = (ROOT / "docs/http-api.md").read_text()
    assert f"`{path}`" in text or f"`{BASE}{path}`" in text


def test_a_book_in_doubt_says_so() -> None:
    market = CATALOGUE.markets[1]
    suspect = Suspect(market.ticker, NOW_MS, "gap")
    view = with_changes("suspect", [suspect], f"md.{market.series_ticker}.")
    response = ask("/markets/orderbooks", view, tickers=[CATALOGUE.markets[0].ticker, market.ticker])
    assert header(response, trade_api.SUSPECT) == "1"


# --- events, series, milestones, status ----------------------------------------------------------


def test_events_come_newest_first_without_their_markets_unless_asked_for() -> None:
    first = {event.event_ticker: 0 for event in CATALOGUE.events}
    for market in CATALOGUE.markets:
        first[market.event_ticker] = min(market.created_ms or 0, first[market.event_ticker] or NOW_MS)
    expected = [ticker for _, ticker in sorted(((ms, t) for t, ms in first.items()), reverse=True)]
    plain = walk("/events", "events", limit=7)
    assert [event["event_ticker"] for event in plain] == expected
    assert plain == get("/events")["events"]
    raws = {event.event_ticker: json.loads(event.raw) for event in CATALOGUE.events}
    assert plain == [raws[ticker] for ticker in expected]
    for event in walk("/events", "events", limit=7, with_nested_markets="true"):
        markets = event.pop("markets")
        assert event == raws[event["event_ticker"]]
        assert {m["ticker"] for m in markets} == set(
            tickers_of(event_ticker=event["event_ticker"], limit=1000)
        )
        assert all(m == get(f"/markets/{m['ticker']}")["market"] for m in markets[:2])


def test_markets_of_an_event_come_in_the_order_in_which_kalshi_sent_them() -> None:
    event = max(CATALOGUE.events, key=lambda e: len(tickers_of(event_ticker=e.event_ticker, limit=1000)))
    held = sorted(tickers_of(event_ticker=event.event_ticker, limit=1000))
    assert len(held) > 3
    order = [held[2], "NEVER-HELD", held[0]]
    view = with_changes("event", [msgspec.structs.replace(event, market_tickers=" ".join(order))])
    expected = [held[2], held[0], held[1], *held[3:]]
    path = f"/events/{event.event_ticker}"
    listed = get("/events", view=view, tickers=event.event_ticker, with_nested_markets="true")["events"][0]
    for body in (get(path, view=view), get(path, view=view, with_nested_markets="true")["event"], listed):
        assert [market["ticker"] for market in body["markets"]] == expected


def test_events_are_filtered() -> None:
    event = CATALOGUE.events[3]
    found = get("/events", series_ticker=event.series_ticker)["events"]
    assert event.event_ticker in {e["event_ticker"] for e in found}
    assert {e["series_ticker"] for e in found} == {event.series_ticker}
    two = [event.event_ticker, CATALOGUE.events[9].event_ticker]
    assert {e["event_ticker"] for e in get("/events", tickers=",".join(two))["events"]} == set(two)
    assert get("/events", tickers="NONE") == {"cursor": "", "events": []}
    closing = max(market.close_ms or 0 for market in CATALOGUE.markets) // 1000
    late = {e["event_ticker"] for e in get("/events", min_close_ts=closing)["events"]}
    assert late == {m.event_ticker for m in CATALOGUE.markets if (m.close_ms or 0) >= closing * 1000}
    assert get("/events", min_updated_ts=NOW_MS)["events"] == []


def test_events_bring_their_milestones() -> None:
    (milestone,) = CATALOGUE.milestones
    (event,) = milestone.primary_event_tickers
    answer = get("/events", tickers=event, with_milestones="true")
    assert answer["milestones"] == [json.loads(milestone.raw)]
    assert (
        get("/events", tickers=CATALOGUE.events[1].event_ticker, with_milestones="true")["milestones"] == []
    )
    assert "milestones" not in get("/events", tickers=event)


def test_an_event_has_its_markets_beside_or_inside() -> None:
    event = CATALOGUE.events[2].event_ticker
    beside, inside = get(f"/events/{event}"), get(f"/events/{event}", with_nested_markets="true")
    assert beside["markets"] == inside["event"].pop("markets")
    assert inside["markets"] == []
    assert inside["event"] == beside["event"]
    assert {m["event_ticker"] for m in beside["markets"]} == {event}


def a_series(ticker: str, **more: Any) -> Series:
    body = {
        "ticker": ticker,
        "title": ticker,
        "category": "Sports",
        "fee_type": "quadratic",
        "fee_multiplier": 1,
    }
    return decode_series(json.dumps(body | more).encode())


def test_series_are_listed_filtered_and_shown_as_sent() -> None:
    volume = {"volume_fp": "7.00", "product_metadata": {"scope": "Game"}}
    listed = [
        a_series("B", tags=["NFL", "Football"], **volume, last_updated_ts="2026-09-01T00:00:00Z"),
        a_series("A", category="Politics", categories=["Politics", "World"], tags=None),
    ]
    view = with_changes("series", list(listed))

    def shown(**query: Any) -> list[str]:
        return [series["ticker"] for series in get("/series", view=view, **query)["series"]]

    assert shown() == ["A", "B"]
    assert shown(category="World") == shown(category="Politics") == ["A"]
    assert shown(category="world") == []
    assert shown(tags="Football,Baseball") == ["B"]
    assert shown(min_updated_ts=1_788_000_000) == ["B"]
    full = json.loads(listed[0].raw)
    plain = {name: value for name, value in full.items() if name not in volume}
    assert get("/series", view=view)["series"][1] == plain
    both = get("/series", view=view, include_volume="true", include_product_metadata="true")
    assert both["series"][1] == full
    assert get("/series/B", view=view, include_volume="true") == {"series": full}
    assert get("/series/C", 404, view=view)["error"]["code"] == "not_found"


def a_milestone(number: int, **more: Any) -> Milestone:
    body = {
        "id": f"m-{number}",
        "type": "football_game",
        "category": "Sports",
        "title": "A match",
        "start_date": f"2026-10-{number:02}T18:00:00Z",
        "primary_event_tickers": [f"E-{number}"],
        "related_event_tickers": [f"E-{number}", "E-ALL"],
        "details": {"league": "NFL"},
        "last_updated_ts": f"2026-09-{number:02}T00:00:00Z",
    }
    return decode_milestone(json.dumps(body | more).encode())


def test_milestones_are_listed_by_start_and_filtered() -> None:
    listed = [a_milestone(number) for number in (9, 3, 5)]
    listed.append(a_milestone(7, type="tennis_match", category="Tennis", source_id="s", details={}))
    view = with_changes("milestone", list(listed))

    def shown(**query: Any) -> list[str]:
        found = walk("/milestones", "milestones", view, limit=2, **query)
        return [milestone["id"] for milestone in found if milestone]  # the catalogue's own is empty

    assert shown() == ["m-3", "m-5", "m-7", "m-9"]
    assert shown(minimum_start_date="2026-10-05T18:00:00Z") == ["m-5", "m-7", "m-9"]
    assert shown(type="tennis_match") == shown(category="Tennis") == shown(source_id="s") == ["m-7"]
    assert shown(competition="NFL") == ["m-3", "m-5", "m-9"]
    assert shown(related_event_ticker="E-5") == ["m-5"]
    assert shown(related_event_ticker="E-ALL") == ["m-3", "m-5", "m-7", "m-9"]
    assert shown(min_updated_ts=1_788_566_400) == ["m-7", "m-9"]  # 2026-09-05T00:00:00Z is not later
    assert get("/milestones/m-9", view=view) == {"milestone": json.loads(listed[0].raw)}
    assert get("/milestones/m-8", 404, view=view)["error"]["code"] == "not_found"


def test_the_exchanges_status_is_what_kalshi_told() -> None:
    shard = {
        "exchange_index": 0,
        "description": "Default",
        "exchange_active": True,
        "trading_active": True,
        "intra_exchange_transfers_active": False,
    }
    sent = {"exchange_active": True, "trading_active": True, "exchange_index_statuses": [shard], "new": [1.0]}
    status = decode_exchange_status(json.dumps(sent).encode(), NOW_MS)
    assert get("/exchange/status", view=with_changes("exchange", [status], "ex.")) == sent


def test_a_status_that_came_without_all_of_its_shards_is_told_without_them() -> None:
    """As an older publisher sends it: a client of Kalshi needs every member of a shard, but no shards."""
    assert get("/exchange/status") == {
        "exchange_active": True,
        "trading_active": True,
        "exchange_estimated_resume_time": None,
    }


def test_an_unknown_status_is_not_made_up() -> None:
    writer = Writer(1)
    writer.commit(CATALOGUE.changes(), a_cycle(NOW_MS, 1), 0, NOW_MS * 1_000_000)
    view = view_of(edition_of(writer))
    assert get("/exchange/status", 503, view=view)["error"]["code"] == "service_unavailable"


# --- how every answer leaves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/markets", f"/markets/{NEWEST_FIRST[0]}", "/events", "/series", "/exchange/status"]
)
def test_every_answer_says_where_it_stands_and_how_old_it_is(path: str) -> None:
    response = ask(path)
    assert VIEW.edition is not None
    assert header(response, trade_api.SEQ) == f"{VIEW.edition.epoch}:{VIEW.edition.seq}"
    assert header(response, "age") == "2"  # 1.25 s, rounded up
    assert header(response, "content-type") == "application/json"
    assert header(response, "cache-control") == "no-store"


def test_one_markets_age_is_its_own() -> None:
    quote, view = requoted(as_of_ms=NOW_MS + 1_000)
    assert header(ask(f"/markets/{quote.ticker}", view), "age") == "1"
    assert header(ask("/markets", view, tickers=quote.ticker), "age") == "1"
    assert header(ask("/markets", view, tickers=f"{quote.ticker},{NEWEST_FIRST[-1]}"), "age") == "2"
    assert header(ask(f"/markets/{quote.ticker}/orderbook", view), "age") == "1"


@pytest.mark.parametrize("template", trade_api.TEMPLATES)
def test_before_the_first_snapshot_there_is_no_answer(template: str) -> None:
    response = ask(template.removeprefix(BASE), STARTING)
    assert response.status == 503
    assert header(response, "retry-after") == "1"
    assert header(response, "age") is None
    assert json.loads(response.content())["error"]["code"] == "service_unavailable"


@pytest.mark.parametrize(
    "path",
    [
        "/trade-api",
        "/trade-api/",
        BASE,
        BASE + "/",
        BASE + "/portfolio/orders",
        BASE + "/markets/",
        BASE + "/events/a/b",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_all_else_is_not_found(path: str, method: str) -> None:
    response = respond(HttpRequest(method, path, "", HOST), VIEW, NOW_MS)
    assert response.status == 404
    assert json.loads(response.content())["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/markets/trades", "/events/multivariate", "/exchange/schedule"])
def test_what_the_replica_does_not_hold_is_not_found(path: str) -> None:
    assert get(path, 404)["error"]["code"] == "not_found"


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_nothing_can_be_changed(method: str) -> None:
    response = ask("/markets", method=method)
    assert response.status == 405
    assert header(response, "allow") == "GET, HEAD"
    assert json.loads(response.content())["error"]["code"] == "method_not_allowed"


def test_head_gives_the_headers_alone() -> None:
    plain, head = ask(f"/markets/{NEWEST_FIRST[0]}"), ask(f"/markets/{NEWEST_FIRST[0]}", method="HEAD")
    assert head.content() == b""
    assert header(head, "content-length") == str(len(plain.content()))


def test_a_foreign_host_reads_nothing() -> None:
    assert ask("/markets", headers={"host": "evil.example"}).status == 400


def test_large_lists_are_made_where_they_hold_up_nobody_and_compressed() -> None:
    response = ask("/events", headers=HOST | {"accept-encoding": "gzip"}, with_nested_markets="true")
    assert isinstance(response.body, Large)
    assert not response.body.small
    assert header(response, "content-encoding") == "gzip"
    whole = json.loads(gzip.decompress(response.content()))
    assert whole == get("/events", with_nested_markets="true")
    few = ask("/markets", event_ticker=CATALOGUE.events[3].event_ticker).body
    assert isinstance(few, Large)
    assert few.small


@given(st.sampled_from(trade_api.TEMPLATES), st.text(st.characters(max_codepoint=0x2FF), max_size=80))
def test_no_query_string_breaks_the_server(path: str, query: str) -> None:
    response = respond(HttpRequest("GET", path, query, HOST), VIEW, NOW_MS)
    assert response.status in (200, 400, 404)
    json.loads(response.content())


def test_the_documentation_names_every_path_and_header() -> None:
    text = (ROOT / "docs/http-api.md").read_text()
    for template in trade_api.TEMPLATES:
        assert f"`{template}`" in text, template
    for name in (trade_api.SEQ, trade_api.TOP_ONLY, trade_api.SUSPECT):
        assert f"`{name.title()}`" in text, name


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_is_kept_through_any_editions(rng: random.Random) -> None:
    writer = Writer(1)
    previous: Edition | None = None
    markets = CATALOGUE.markets[:60]
    quotes = dict(zip(BY_TICKER, CATALOGUE.quotes, strict=True))
    series = {market.ticker: market.series_ticker or "_" for market in markets}
    for step in range(4):
        some = rng.sample(markets, rng.randint(1, 30))
        moved = [
            msgspec.structs.replace(m, created_ms=rng.choice((m.created_ms, NOW_MS + step))) for m in some
        ]
        gone = [
            Remove("market", t)
            for t in rng.sample(sorted(writer.state.markets), min(len(writer.state.markets), 5))
        ]
        changes: list[Change] = [("ref.", "event", CATALOGUE.events)] if step == 1 else []
        changes += [(f"md.{series[removed.key]}.", "remove", [removed]) for removed in gone]
        changes += grouped("market", moved, series) + grouped(
            "quote", [quotes[m.ticker] for m in some], series
        )
        writer.commit(changes, a_cycle(NOW_MS, 1), 0, NOW_MS * 1_000_000)
        edition = edition_after(writer, previous)
        fresh = next_edition(writer.state.frozen(), writer.state.digest(), None, NOW_MS, lambda: None)
        assert edition.created == fresh.created
        assert edition.created == sorted((m.created_ms, m.ticker) for m in writer.state.markets.values())
        assert edition.events_created == fresh.events_created
        assert edition.event_created_ms == fresh.event_created_ms
        previous = edition


# --- to an independent client --------------------------------------------------------------------


def wait_ready(runner: Runner) -> str:
    """Wait until the snapshot server has data; return the base URL of Kalshi's API there."""
    root = f"http://127.0.0.1:{runner.snapshot_port}"

    def ready() -> bool:
        try:
            return bool(read(f"{root}/health")["market_count"])
        except OSError:
            return False

    eventually(ready, 30, "the snapshot server has data")
    return root + BASE


def read(url: str, **query: Any) -> Any:
    with urllib.request.urlopen(f"{url}?{urlencode(query, doseq=True)}", timeout=10) as reply:
        return json.loads(reply.read())


@pytest.mark.e2e
def test_pykalshi_reads_the_replica_unchanged(
    runner: Runner, zmq_context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    key_path = tmp_path / "any.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    runner.run_dir.mkdir(mode=0o700, exist_ok=True)
    feed, state = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state"))
    with Venue(zmq_context, feed, state) as venue:
        now_ms = venue.clock.now_ms()
        catalogue = a_catalogue(300, now_ms)
        venue.open(a_writer(catalogue, now_ms, now_ms))
        process = runner.start("snapshot_server")
        base = wait_ready(runner)
        with KalshiClient("any", str(key_path), api_base=base) as client:
            assert client.exchange.is_trading()
            markets = client.get_markets(status=MarketStatus.OPEN, limit=70, fetch_all=True)
            assert {m.ticker for m in markets} == {m.ticker for m in catalogue.markets}
            assert len(markets) == 300
            book = client.get_market(catalogue.books[0].ticker).get_orderbook()
            assert book.orderbook.yes_dollars is not None
            assert [(level[0], level[1]) for level in book.orderbook.yes_dollars] == [
                ("0.4000", "10.00"),
                ("0.4100", "25.50"),
            ]
            event = client.get_event(catalogue.events[0].event_ticker)
            assert event.series_ticker == catalogue.events[0].series_ticker
            assert client.get_events(series_ticker=event.series_ticker)
            with pytest.raises(ResourceNotFoundError):
                client.get_market("NOPE")
            with pytest.raises(KalshiAPIError):
                client.get_markets(limit=1001)
        assert process.stop() == 0


# --- beside the exchange -------------------------------------------------------------------------


@pytest.fixture
def exchange(runner: Runner) -> tuple[str, str]:
    """A frozen exchange and a replica of it: the base URLs of both."""
    runner.env |= {"KALSHI_BUS_POLL_INTERVAL_S": "1", "KALSHI_BUS_SIM_MARKETS": "150"}
    places = ("--port", str(runner.sim_port), "--keys", str(runner.run_dir))
    # No limits: what looks at it in a loop would leave the publisher nothing.
    simulator = runner.start("simulator", "--markets", "150", "--seed", "1", "--tier", "none", *places)
    root = f"http://127.0.0.1:{runner.sim_port}"

    def freeze() -> bool:
        switches = {"settings": {"pace": 0, "mispricings": False, "bursts": False}}
        request = urllib.request.Request(f"{root}/sim/faults", json.dumps(switches).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            assert simulator.popen.poll() is None, simulator.output()
            return False

    eventually(freeze, 30, "the exchange is frozen")
    runner.start("publisher")
    runner.start("snapshot_server")
    return root + BASE, wait_ready(runner)


def crawl(base: str, path: str, key: str, **query: Any) -> list[Any]:
    """All elements of a list, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = read(base + path, cursor=cursor, **query)
        found += page[key]
        cursor = page["cursor"]
        if not cursor:
            return found


@pytest.mark.e2e
def test_the_replica_answers_as_the_exchange_does(exchange: tuple[str, str]) -> None:
    venue, replica = exchange

    def nested(base: str) -> list[Any]:
        return crawl(base, "/events", "events", limit=50, status="open", with_nested_markets="true")

    def differs(path: str, key: str, **query: Any) -> str:
        theirs, ours = crawl(venue, path, key, **query), crawl(replica, path, key, **query)
        return "" if theirs == ours else f"{path}: {difference(theirs, ours)}"

    def difference(theirs: list[Any], ours: list[Any]) -> str:
        if len(theirs) != len(ours):
            return f"{len(theirs)} and {len(ours)} elements"
        pair = next(pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1])
        names = pair[0].keys() | pair[1].keys()
        return str({n: (pair[0].get(n), pair[1].get(n)) for n in names if pair[0].get(n) != pair[1].get(n)})

    def difference_now() -> str:
        """What differs, if anything: what the last sweep had not seen yet may."""
        found = differs("/markets", "markets", limit=40, status="open", mve_filter="exclude")
        if found:
            return found
        theirs, ours = nested(venue), nested(replica)
        return "" if theirs == ours else f"events: {difference(theirs, ours)}"

    last = [""]

    def agree() -> bool:
        last[0] = difference_now()
        return not last[0]

    try:
        eventually(agree, 30)
    except AssertionError:
        pytest.fail(last[0])
    assert read(replica + "/exchange/status") == read(venue + "/exchange/status")
    for wanted in ("true", "false"):
        series = {s["ticker"]: s for s in read(venue + "/series", include_product_metadata=wanted)["series"]}
        ours = read(replica + "/series", include_product_metadata=wanted)["series"]
        assert ours == [series[s["ticker"]] for s in ours]
    tickers = [market["ticker"] for market in read(venue + "/markets", limit=20, status="open")["markets"]]
    assert len(tickers) == 20
    for ticker in tickers[:3]:
        assert read(f"{replica}/markets/{ticker}") == read(f"{venue}/markets/{ticker}")

    def books_agree() -> bool:
        ours, theirs = (read(base + "/markets/orderbooks", tickers=tickers) for base in (replica, venue))
        return bool(ours == theirs)

    eventually(books_agree, 30, "the books are those of the exchange")

    def slow_lists_agree() -> bool:
        """What no sweep reads is there, too: minutes old at the most, of an exchange that stands still."""
        try:
            for status in ("unopened", "closed"):
                query = {"limit": 1000, "status": status, "mve_filter": "exclude"}
                theirs, ours = (
                    {market["ticker"]: market for market in crawl(base, "/markets", "markets", **query)}
                    for base in (venue, replica)
                )
                # One may have opened or closed since its list was read.
                if len(theirs.keys() ^ ours.keys()) > 3:
                    return False
                if any(theirs[ticker] != ours[ticker] for ticker in theirs.keys() & ours.keys()):
                    return False
            series = read(venue + "/series", include_product_metadata="true")["series"]
            ours = read(replica + "/series", include_product_metadata="true")["series"]
            return (
                sorted(s["ticker"] for s in series) == [s["ticker"] for s in ours]
                and read(replica + "/exchange/schedule") == read(venue + "/exchange/schedule")
                and read(replica + "/series/fee_changes") == read(venue + "/series/fee_changes")
            )
        except urllib.error.HTTPError:  # not read yet
            return False

    eventually(slow_lists_agree, 60, "what is not on the feed is that of the exchange")
