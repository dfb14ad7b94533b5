"""Where the probe asks: markets in which its orders do no harm, and what the account has. Pure."""

from typing import Any, Final

import msgspec

from markets.errors import BadRecord
from markets.units import parse_count_e2, parse_decimal, parse_price_e4, parse_time_ms
from publisher.orders import requests
from publisher.orders.requests import Asked

from .talk import Ask, Talk, Unanswered, good, read, rows

TICK_E4: Final = 100
LOW_E4: Final = 100
"""The price of resting bids, far below every market that is chosen."""

HIGH_E4: Final = 9_900
NEAR_E4: Final = 1_000
"""No market is chosen that is quoted this close to 0 or 1."""

SLIP_E4: Final = 200
"""The most that an order meant to fill pays above the offer."""

OPEN_MS: Final = 600_000
"""How long a market must stay open: a probe and its orders are over by then."""

LEAST_E2: Final = 200
"""How many contracts must be affordable, and preferably offered."""

PAGES: Final = 10
GATED: Final = frozenset({"Sports", "Elections", "Entertainment"})
"""Categories for which an account must have attested where it is."""


class Spot(msgspec.Struct, frozen=True):
    """A market that is quoted. Prices are YES prices."""

    ticker: str
    shard: int
    category: str
    bid_e4: int
    ask_e4: int
    ask_e2: int
    whole: bool
    """Whether it trades whole contracts only."""

    @property
    def take_e4(self) -> int:
        """The highest price at which the probe buys."""
        return self.ask_e4 + SLIP_E4

    @property
    def least_e2(self) -> int:
        """The smallest order."""
        return 100 if self.whole else 1


class Venue(msgspec.Struct, frozen=True):
    """What is found before anything is placed.

    Attributes:
        main: where most is asked.
        elsewhere: a market that is not on shard 0.
        gated: one in a category that requires the attestation of place.
        admission: one on the shard with the least cash.
        closed: ticker and shard of a market that no longer trades.
        cash_e6: by shard. resting: resting orders by shard that are not the probe's.
        as_of_ms: the exchange's time.
    """

    main: Spot
    elsewhere: Spot | None
    gated: Spot | None
    admission: Spot | None
    closed: tuple[str, int] | None
    cash_e6: dict[int, int]
    resting: dict[int, int]
    as_of_ms: int


def find(wanted: str | None) -> Talk[Venue]:
    """Look around.

    Args:
        wanted: ticker of the market in which most is to be asked, None for any that fits.

    Raises:
        Unanswered: the exchange pauses, does not answer, or has no market that fits.
    """
    asked = Asked("status", "GET", "/exchange/status")
    told = yield Ask(asked)
    status = good(asked, told.reply)
    if status.get("exchange_active") is False or status.get("trading_active") is False:
        raise Unanswered("the exchange pauses: nothing can be tried now")
    shut = {
        row.get("exchange_index")
        for row in rows(status, "exchange_index_statuses")
        if row.get("exchange_active") is False or row.get("trading_active") is False
    }
    cash_e6 = yield from cash()
    held, resting = yield from _own()
    every = [one for one in (yield from _spots(told.now_ms)) if one.ticker not in held]
    every = [one for one in every if one.shard not in shut]
    paid = [one for one in every if cash_e6.get(one.shard, 0) > one.take_e4 * LEAST_E2]
    fitting = [one for one in paid if wanted in (None, one.ticker)]
    if not fitting:
        what = f"market {wanted}" if wanted is not None else "no market"
        raise Unanswered(
            f"{what} fits: it must be open for ten minutes more, on a shard with a dollar or two, quoted on "
            "both sides between 0.10 and 0.90 in whole cents, and nothing of yours may be held or rest there"
        )
    return Venue(
        # Own orders must find room inside the spread, and what is bought should cost little.
        main=min(fitting, key=_fits),
        elsewhere=next((one for one in paid if one.shard), None),
        gated=next((one for one in every if one.category in GATED), None),
        admission=min(paid, key=lambda one: cash_e6[one.shard], default=None),
        closed=(yield from _closed()),
        cash_e6=cash_e6,
        resting=resting,
        as_of_ms=told.now_ms,
    )


def _fits(one: Spot) -> tuple[bool, bool, bool, int]:
    """Rank markets: room for an own order inside the spread, fractional contracts, enough offered, cheap."""
    return one.ask_e4 - one.bid_e4 < 2 * TICK_E4, one.whole, one.ask_e2 < 2 * LEAST_E2, one.ask_e4


def cash() -> Talk[dict[int, int]]:
    """Return the cash by shard.

    Raises:
        Unanswered: it is not stated.
    """
    found = yield from read(requests.balance())
    try:
        told = {
            int(row.get("exchange_index", 0)): parse_decimal(row.get("balance"), 6, "balance")
            for row in rows(found, "balance_breakdown")
        }
        return told or {0: parse_decimal(found.get("balance_dollars"), 6, "balance_dollars")}
    except (BadRecord, TypeError, ValueError) as error:
        raise Unanswered(f"the balance cannot be read: {error}") from None


def spot(market: dict[str, Any], category: str, now_ms: int) -> Spot | None:
    """Return a market from REST if the probe may ask in it; None for any other."""
    try:
        bid_e4 = parse_price_e4(market.get("yes_bid_dollars"), "yes_bid_dollars")
        ask_e4 = parse_price_e4(market.get("yes_ask_dollars"), "yes_ask_dollars")
        size_e2 = parse_count_e2(market.get("yes_ask_size_fp"), "yes_ask_size_fp")
        close_ms = parse_time_ms(market.get("close_time"), "close_time")
        ticker, shard = market["ticker"], market.get("exchange_index", 0)
    except (BadRecord, KeyError):
        return None
    if not isinstance(ticker, str) or not isinstance(shard, int) or market.get("status") != "active":
        return None
    cents = market.get("price_level_structure") == "linear_cent" and ask_e4 % TICK_E4 == bid_e4 % TICK_E4 == 0
    inside = NEAR_E4 <= bid_e4 < ask_e4 <= 10_000 - NEAR_E4
    if not cents or not inside or not size_e2 or close_ms < now_ms + OPEN_MS:
        return None
    whole = market.get("fractional_trading_enabled") is False
    return Spot(ticker, shard, category, bid_e4, ask_e4, size_e2, whole)


def _spots(now_ms: int) -> Talk[list[Spot]]:
    found: list[Spot] = []
    cursor = ""
    for _ in range(PAGES):
        query = (("status", "open"), ("with_nested_markets", "true"), ("limit", "200"))
        paged = (*query, ("cursor", cursor)) if cursor else query
        page = yield from read(Asked("events", "GET", "/events", paged))
        for event in rows(page, "events"):
            category = str(event.get("category", ""))
            found += filter(None, (spot(market, category, now_ms) for market in rows(event, "markets")))
        cursor = str(page.get("cursor") or "")
        enough = {one.shard for one in found} != {0} and any(one.category in GATED for one in found)
        if not cursor or (enough and len(found) >= 100):
            break
    return found


def _own() -> Talk[tuple[set[str], dict[int, int]]]:
    """Return the markets in which something is held, and how many orders rest on each shard."""
    held: set[str] = set()
    resting: dict[int, int] = {}
    cursor = ""
    for _ in range(PAGES):
        page = yield from read(requests.positions(cursor))
        held |= {str(row.get("ticker")) for row in rows(page, "market_positions")}
        if not (cursor := str(page.get("cursor") or "")):
            break
    for _ in range(PAGES):
        page = yield from read(requests.resting(cursor))
        for row in rows(page, "orders"):
            held.add(str(row.get("ticker")))
            shard = row.get("exchange_index", 0)
            resting[shard] = resting.get(shard, 0) + 1
        if not (cursor := str(page.get("cursor") or "")):
            break
    return held, resting


def _closed() -> Talk[tuple[str, int] | None]:
    query = (("status", "closed"), ("limit", "100"))
    page = yield from read(Asked("markets", "GET", "/markets", query))
    for row in rows(page, "markets"):
        ticker, shard = row.get("ticker"), row.get("exchange_index", 0)
        if (
            isinstance(ticker, str)
            and isinstance(shard, int)
            and row.get("price_level_structure") == "linear_cent"
        ):
            return ticker, shard
    return None
