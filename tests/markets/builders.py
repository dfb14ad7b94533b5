"""Events and their markets, with the prices given."""

from typing import Any

from markets.opportunities import (
    EventView,
    MarketView,
)
from markets.records import Book, Event, Level, Market, Quote, Series, Status
from markets.timing import MatchTiming
from markets.units import HOUR_MS

NOW_MS = 1_800_000_000_000
CLOSE_MS = NOW_MS + 48 * HOUR_MS
CENTS = ((0, 10_000, 100),)
FREE = Series("KXMLSGAME", "t", "Sports", "custom", "quadratic", 0, b"{}")
PLAIN = Series("KXMLSGAME", "t", "Sports", "custom", "quadratic", 10_000, b"{}")
TIMING = MatchTiming(NOW_MS + 24 * HOUR_MS, "milestone", CLOSE_MS, NOW_MS + 27 * HOUR_MS, False)
GAME = b'{"product_metadata":{"competition":"MLS","competition_scope":"Game"}}'


def market(name: str, label: str = "", **changes: Any) -> Market:
    fields: dict[str, Any] = {
        "ticker": f"KXMLSGAME-26AUG19VANHOU-{name}",
        "event_ticker": "KXMLSGAME-26AUG19VANHOU",
        "series_ticker": "KXMLSGAME",
        "title": "t",
        "yes_sub_title": label or name,
        "market_type": "binary",
        "strike_type": "structured",
        "floor_strike": None,
        "cap_strike": None,
        "price_ranges": CENTS,
        "created_ms": 0,
        "open_ms": 0,
        "close_ms": CLOSE_MS,
        "expected_expiration_ms": None,
        "latest_expiration_ms": CLOSE_MS,
        "occurrence_ms": None,
        "settlement_timer_s": 300,
        "result": "",
        "settlement_value_e4": None,
        "exchange_index": 0,
        "raw": b"{}",
    }
    return Market(**{**fields, **changes})


def quote(ticker: str, bid: Level | None, ask: Level | None, status: Status = Status.ACTIVE) -> Quote:
    bid_e4, ask_e4 = bid[0] if bid else 0, ask[0] if ask else 10_000
    return Quote(
        ticker, status, bid_e4, ask_e4, 10_000 - ask_e4, 10_000 - bid_e4, bid[1] if bid else 0,
        ask[1] if ask else 0, None, 5_000_00, None, None, None, None, None, NOW_MS,
    )  # fmt: skip


def row(
    name: str,
    bid: Level | None,
    ask: Level | None,
    book: tuple[list[Level], list[Level]] | None = None,
    age_ms: int = 1_000,
    book_age_ms: int = 1_000,
    suspect: bool = False,
    status: Status = Status.ACTIVE,
    **changes: Any,
) -> MarketView:
    """One market; prices on the YES scale, `book` as (YES bids, NO bids), best last."""
    what = market(name, **changes)
    return MarketView(
        what,
        quote(what.ticker, bid, ask, status),
        Book(what.ticker, NOW_MS - book_age_ms, tuple(book[0]), tuple(book[1])) if book else None,
        NOW_MS - age_ms,
        NOW_MS - book_age_ms if book else None,
        suspect,
    )


def event(
    *rows: MarketView, series: Series | None = PLAIN, exclusive: bool = True, timing: MatchTiming = TIMING,
    raw: bytes = GAME, category: str = "Sports",
) -> EventView:  # fmt: skip
    what = Event(
        "KXMLSGAME-26AUG19VANHOU", "KXMLSGAME", "Vancouver vs Houston", "", category, exclusive, None, None,
        None, 0, raw,
    )  # fmt: skip
    return EventView(what, series, rows, timing)


def three_way(*bids_and_asks: tuple[int, int], **kwargs: Any) -> tuple[MarketView, ...]:
    return tuple(
        row(name, (bid, 100_00), (ask, 100_00), **kwargs)
        for name, (bid, ask) in zip(("VAN", "HOU", "Tie"), bids_and_asks, strict=True)
    )


NUMBER = b"{}"


def above(strike: float, bid: int, ask: int, words: str = "Above {}", **changes: Any) -> MarketView:
    return row(
        f"T{strike:g}",
        (bid, 100_00),
        (ask, 100_00),
        label=words.format(f"{strike:g}"),
        strike_type="greater",
        floor_strike=strike,
        **changes,
    )


def bucket(low: float, high: float, bid: int, ask: int, words: str = "{} to {}") -> MarketView:
    return row(
        f"B{low:g}",
        (bid, 100_00),
        (ask, 100_00),
        label=words.format(f"{low:g}", f"{high:g}"),
        strike_type="between",
        floor_strike=low,
        cap_strike=high,
    )


def ladder(*rungs: MarketView, series: Series = PLAIN) -> EventView:
    return event(*rungs, exclusive=False, raw=NUMBER, category="Economics", series=series)
