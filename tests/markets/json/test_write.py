"""Records written as the JSON they came as."""

import json

import msgspec

from markets.json.write import market_json, market_prefix
from markets.records import Book
from tests.markets.json.recorded import (
    MARKET,
    changed,
    decode,
    served,
)


def test_own_members_win_over_kalshis_of_the_same_name() -> None:
    market, quote = decode(changed(series_ticker="THEIRS", as_of="never", orderbook=1))
    out = market_json(market, quote, as_of_ms=2_500)
    assert out.count(b'"series_ticker":') == out.count(b'"as_of":') == 1
    assert json.loads(out)["series_ticker"] == "S"
    assert json.loads(out)["as_of"] == 2.5


def test_series_is_null_until_the_event_is_known() -> None:
    market, quote = decode(MARKET, series_ticker=None)
    assert served(market, quote)["series_ticker"] is None
    assert served(market, quote, series_ticker="LATER")["series_ticker"] == "LATER"


def test_cached_prefix_and_book_give_the_same_object() -> None:
    market, quote = decode(MARKET)
    book = Book(market.ticker, 0, ((100, 120_000), (5_200, 8_850)), ())
    whole = served(market, quote, book=book)
    assert whole["orderbook"] == {
        "yes_dollars": [["0.0100", "1200.00"], ["0.5200", "88.50"]],
        "no_dollars": [],
    }
    assert served(market, quote, book=book, prefix=market_prefix(market)) == whole


def test_newer_source_supersedes_the_odd_text_in_canonical_form() -> None:
    market, quote = decode(changed(yes_bid_dollars="0.5"))
    streamed = msgspec.structs.replace(quote, yes_bid_e4=5_100, as_sent=None)
    assert served(market, streamed)["yes_bid_dollars"] == "0.5100"
