"""A small exchange for the trader's tests: one match of three outcomes whose prices one can set."""

from typing import Any

import msgspec

from markets.opportunities import EventView, MarketView, ScanLimits
from markets.orders import Ended, Fill, Filled, Intent
from markets.records import Book, Event, Level, Market, Quote, Series, Status
from markets.timing import MatchTiming
from markets.units import HOUR_MS
from trader.engine.inputs import RULES, Data, Feed, Orders, Start, Tick
from trader.engine.risk import Limits
from trader.ledger.ledger import Ledger

NOW_MS = 1_800_000_000_000
CLOSE_MS = NOW_MS + 20 * HOUR_MS
START_MS = NOW_MS + 12 * HOUR_MS
EPOCH = NOW_MS - 1_000_000
SERIES = Series("KXMLSGAME", "t", "Sports", "custom", "quadratic", 10_000, b"{}")
GAME = b'{"product_metadata":{"competition":"MLS","competition_scope":"Game"}}'
JOURNAL_ID = "6f0c1f0e-54b5-4a0a-8f4c-2f1f6d2c9a11"

LIMITS = Limits(
    order_e6=100_000_000,
    market_e6=200_000_000,
    event_e6=300_000_000,
    total_e6=1_000_000_000,
    daily_loss_e6=250_000_000,
    open_orders=10,
    orders_per_minute=30,
    positions_per_event=1,
    price_collar_e4=1_000,
    leg_age_ms=30_000,
    min_edge_e6=0,
    stale_after_ms=30_000,
)
SCAN = ScanLimits()


def event_of(number: int = 1, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "event_ticker": f"KXMLSGAME-26AUG19E{number}",
        "series_ticker": "KXMLSGAME",
        "title": f"Match {number}",
        "sub_title": "",
        "category": "Sports",
        "mutually_exclusive": True,
        "strike_date_ms": None,
        "fee_type_override": None,
        "fee_multiplier_override_e4": None,
        "exchange_index": 0,
        "raw": GAME,
    }
    return Event(**{**fields, **changes})


def market_of(event: Event, name: str, **changes: Any) -> Market:
    fields: dict[str, Any] = {
        "ticker": f"{event.event_ticker}-{name}",
        "event_ticker": event.event_ticker,
        "series_ticker": event.series_ticker,
        "title": "t",
        "yes_sub_title": "Tie" if name == "TIE" else name,
        "market_type": "binary",
        "strike_type": "structured",
        "floor_strike": None,
        "cap_strike": None,
        "price_ranges": ((0, 10_000, 100),),
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


def quote_of(
    ticker: str, bid: Level | None, ask: Level | None, status: Status = Status.ACTIVE, as_of_ms: int = NOW_MS
) -> Quote:
    bid_e4, ask_e4 = bid[0] if bid else 0, ask[0] if ask else 10_000
    return Quote(
        ticker, status, bid_e4, ask_e4, 10_000 - ask_e4, 10_000 - bid_e4, bid[1] if bid else 0,
        ask[1] if ask else 0, None, 5_000_00, None, None, None, None, None, as_of_ms,
    )  # fmt: skip


def leg(
    event: Event,
    name: str,
    bid: Level | None = None,
    ask: Level | None = None,
    *,
    book: tuple[list[Level], list[Level]] | None = None,
    status: Status = Status.ACTIVE,
    suspect: bool = False,
    as_of_ms: int = NOW_MS,
    **changes: Any,
) -> MarketView:
    """One market as a replica holds it; with `book` (YES bids, NO bids, ascending) the quote is its top."""
    market = market_of(event, name, **changes)
    made = None
    if book is not None:
        made = Book(market.ticker, as_of_ms, tuple(book[0]), tuple(book[1]))
        bid = made.yes[-1] if made.yes else None
        ask = (10_000 - made.no[-1][0], made.no[-1][1]) if made.no else None
    return MarketView(
        market=market,
        quote=quote_of(market.ticker, bid, ask, status, as_of_ms),
        book=made,
        quote_as_of_ms=as_of_ms,
        book_as_of_ms=None if made is None else as_of_ms,
        suspect=suspect,
    )


def view_of(event: Event, *legs: MarketView, start_ms: int | None = START_MS) -> EventView:
    timing = MatchTiming(
        start_ms,
        "milestone",
        CLOSE_MS,
        START_MS + 3 * HOUR_MS if start_ms is None else start_ms + 3 * HOUR_MS,
        False,
    )
    return EventView(event, SERIES, legs, timing)


def basket(number: int = 1, size_e2: int = 10_000, as_of_ms: int = NOW_MS, bid_e4: int = 4_000) -> EventView:
    """An event whose three YES bids add up to 1.2: three NOs cost 1.80 and pay 2."""
    event = event_of(number)
    bid = (bid_e4, size_e2)
    ask = (bid_e4 + 200, size_e2)
    return view_of(event, *(leg(event, name, bid, ask, as_of_ms=as_of_ms) for name in ("HOM", "AWY", "TIE")))


def quiet(number: int = 1, as_of_ms: int = NOW_MS) -> EventView:
    """An event with nothing to gain."""
    event = event_of(number)
    return view_of(
        event,
        *(
            leg(event, name, (3_000, 10_000), (3_600, 10_000), as_of_ms=as_of_ms)
            for name in ("HOM", "AWY", "TIE")
        ),
    )


def settled(view: EventView, winner: str, status: Status = Status.FINALIZED, **values: int) -> EventView:
    """The same event after its end: `winner` pays, or each market what `values` says."""

    def after(one: MarketView) -> MarketView:
        name = one.market.ticker.rsplit("-", 1)[1]
        value_e4 = values.get(name, 10_000 if name == winner else 0)
        result = {0: "no", 10_000: "yes"}.get(value_e4, "scalar")
        return msgspec.structs.replace(
            one,
            market=msgspec.structs.replace(one.market, result=result, settlement_value_e4=value_e4),
            quote=quote_of(one.market.ticker, None, None, status, one.quote.as_of_ms),
            book=None,
            book_as_of_ms=None,
        )

    return msgspec.structs.replace(view, markets=tuple(after(one) for one in view.markets))


def start(ledger: Ledger | None = None, limits: Limits = LIMITS, **changes: Any) -> Start:
    fields: dict[str, Any] = {
        "now_ms": NOW_MS,
        "steady_ms": 0,
        "journal_id": JOURNAL_ID,
        "ledger": ledger or Ledger.new(1_000_000_000),
        "limits": limits,
        "scan": SCAN,
        "strategies": ("no_basket",),
        "next_order": 1,
        "next_trade": 1,
        "day": NOW_MS // 86_400_000,
        "day_start_e6": 0,
        "killed": None,
        "paused": None,
        "rules": RULES,
    }
    return Start(**{**fields, **changes})


def live(now_ms: int = NOW_MS) -> Feed:
    return Feed(now_ms, 0, word="live", degraded=())


def data(*views: EventView, now_ms: int = NOW_MS, seq: int = 1, complete_ms: int | None = None) -> Data:
    return Data(
        now_ms, now_ms - NOW_MS, epoch=EPOCH, seq=seq,
        complete_ms=now_ms if complete_ms is None else complete_ms, views=views,
    )  # fmt: skip


def tick(now_ms: int = NOW_MS) -> Tick:
    return Tick(now_ms, now_ms - NOW_MS)


def over(number: int, *fills: Fill, reason: str, now_ms: int = NOW_MS) -> Orders:
    """An order's fills and its end, told at once."""
    parts = (Filled(number, fill) for fill in fills)
    return Orders(now_ms, 0, (*parts, Ended(number, reason)))


def filled(intent: Intent, now_ms: int = NOW_MS, fee_e6: int = 10_000) -> Orders:
    """The order's end, filled whole at its limit."""
    fill = Fill(intent.price_e4, intent.count_e2, fee_e6, intent.count_e2, now_ms)
    return over(intent.number, fill, reason="complete", now_ms=now_ms)


def unfilled(intent: Intent, now_ms: int = NOW_MS, reason: str = "nothing_left") -> Orders:
    return over(intent.number, reason=reason, now_ms=now_ms)
