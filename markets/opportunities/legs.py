"""What can be bought now in one market, and what speaks against buying it."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from markets.book import (
    YES,
    Top,
    asks,
    best_ask,
    cost_e6,
    depth,
    is_complementary,
    on_grid,
    quoted_ask,
    top_of_book,
    top_of_quote,
)
from markets.fees import FeeSchedule, least_fee_e18, taker_fees_e6
from markets.records import Level, Market, Status
from markets.timing import MatchTiming, is_open
from markets.units import PRICE_ONE_E4, YEAR_MS

from . import reasons as why
from .types import EventView, Leg, MarketView, ScanLimits

ONE_E18: Final = 10**18
PRICE_E18: Final = ONE_E18 // PRICE_ONE_E4


class Ladder(msgspec.Struct, frozen=True, gc=False):
    """Asks of one outcome, best first, and when they were seen."""

    levels: tuple[Level, ...]
    as_of_ms: int


def top(view: MarketView) -> Top:
    """Return the best bid and ask from the newer of book and quote."""
    if view.book is not None and (view.book_as_of_ms or 0) >= view.quote_as_of_ms:
        return top_of_book(view.book)
    return top_of_quote(view.quote)


def yes_prices(view: MarketView) -> tuple[int | None, int | None]:
    """Return the prices of `top` without their sizes; most markets are never asked for anything else."""
    book = view.book
    if book is not None and (view.book_as_of_ms or 0) >= view.quote_as_of_ms:
        yes, no = book.yes, book.no
        return yes[-1][0] if yes else None, PRICE_ONE_E4 - no[-1][0] if no else None
    quote = view.quote
    return (
        quote.yes_bid_e4 if quote.yes_bid_size_e2 > 0 else None,
        quote.yes_ask_e4 if quote.yes_ask_size_e2 > 0 else None,
    )


def ask_e4(view: MarketView, side: str) -> int | None:
    """Return the best price of `ladder`, without making the others; None where nothing is asked."""
    bid_e4, asked_e4 = yes_prices(view)
    if side == YES:
        return asked_e4
    return None if bid_e4 is None else PRICE_ONE_E4 - bid_e4


def is_off_grid(market: Market, bid_e4: int | None, ask_e4: int | None) -> bool:
    """Whether a best price lies off the market's grid, so that nobody can have bid or asked it."""
    grid = market.price_ranges
    return (bid_e4 is not None and not on_grid(bid_e4, grid)) or (
        ask_e4 is not None and not on_grid(ask_e4, grid)
    )


def ladder(view: MarketView, side: str, limits: ScanLimits) -> Ladder:
    """Return the asks of `side`.

    The newer of book and quote decides the top. A book slightly older than the quote (by no more than legs
    may differ) still lends its depth if both agree on the top; then the whole ladder is as old as the book.
    """
    book, book_as_of_ms = view.book, view.book_as_of_ms
    if book is not None and book_as_of_ms is not None:
        lag_ms = view.quote_as_of_ms - book_as_of_ms
        if lag_ms <= 0:
            return Ladder(asks(book, side), book_as_of_ms)
        if lag_ms <= limits.max_leg_spread_ms:
            best = best_ask(book, side)
            if best is not None and best == quoted_ask(view.quote, side):
                return Ladder(asks(book, side), book_as_of_ms)
    quoted = quoted_ask(view.quote, side)
    return Ladder(() if quoted is None else (quoted,), view.quote_as_of_ms)


def leg(
    view: MarketView, side: str, bought: Sequence[Level], as_of_ms: int, fees: FeeSchedule | None, now_ms: int
) -> Leg:
    """Return the purchase of the levels `bought`."""
    quoted = quoted_ask(view.quote, side) if view.vouched else None
    return Leg(
        ticker=view.market.ticker,
        side=side,
        price_e4=bought[-1][0],
        count_e2=depth(bought),
        cost_e6=cost_e6(bought),
        fee_e6=None if fees is None else taker_fees_e6(fees, bought, time_ms=now_ms),
        as_of_ms=as_of_ms,
        label=view.market.yes_sub_title,
        vouched=quoted is not None and quoted[0] == bought[0][0],
    )


def least_cost_e18(fees: FeeSchedule, price_e4: int) -> int:
    """Return the least that a contract costs, fee included, in $1e-18."""
    return price_e4 * PRICE_E18 + least_fee_e18(fees, price_e4)


def total_fees_e6(legs: Iterable[Leg]) -> int | None:
    """Return the fees of all legs; None if any is unknown."""
    total_e6 = 0
    for bought in legs:
        if bought.fee_e6 is None:
            return None
        total_e6 += bought.fee_e6
    return total_e6


def market_reasons(view: MarketView, as_of_ms: int, now_ms: int, limits: ScanLimits) -> list[str]:
    """Return what speaks against trading one market now, at prices seen at `as_of_ms`."""
    market, reasons = view.market, []
    if view.quote.status is not Status.ACTIVE or not is_open(market, now_ms):
        reasons.append(why.NOT_ACTIVE)
    if market.market_type != "binary":
        reasons.append(why.SCALAR_MARKET)
    if view.suspect:
        reasons.append(why.SUSPECT)
    if now_ms - as_of_ms > limits.max_leg_age_ms:
        reasons.append(why.STALE_LEG)
    bid_e4, ask_e4 = yes_prices(view)
    if bid_e4 is not None and ask_e4 is not None and bid_e4 >= ask_e4:
        reasons.append(why.CROSSED_BOOK)
    if not is_complementary(view.quote):
        reasons.append(why.PRICES_DISAGREE)
    if is_off_grid(market, bid_e4, ask_e4):
        reasons.append(why.OFF_GRID)
    return reasons


def legs_reasons(
    view: EventView,
    legs: Sequence[tuple[MarketView, Leg]],
    close_ms: int | None,
    now_ms: int,
    limits: ScanLimits,
    *,
    sound: bool = False,
) -> list[str]:
    """Return what speaks against buying these legs together now, apart from edge and fees.

    `close_ms`: when the first of their markets closes. `sound`: these are known to have no `market_reasons`.
    """
    reasons = _timing_reasons(view.timing, close_ms, now_ms, limits)
    for seen, bought in legs:
        if not sound:
            reasons += market_reasons(seen, bought.as_of_ms, now_ms, limits)
        if not on_grid(bought.price_e4, seen.market.price_ranges):
            reasons.append(why.OFF_GRID)
        if bought.count_e2 < limits.min_count_e2:
            reasons.append(why.NO_DEPTH)
    if _apart_ms([bought for _, bought in legs], now_ms) > limits.max_leg_spread_ms:
        reasons.append(why.LEGS_NOT_SIMULTANEOUS)
    return reasons


def _apart_ms(legs: Sequence[Leg], now_ms: int) -> int:
    """Return how far apart in time these prices were known; a price that is vouched for counts as of now."""
    seen_ms = [bought.as_of_ms for bought in legs if not bought.vouched]
    if not seen_ms:
        return 0
    newest_ms = max(seen_ms) if len(seen_ms) == len(legs) else max(now_ms, *seen_ms)
    return newest_ms - min(seen_ms)


def annualised(view: EventView, profit_e6: int | None, capital_e6: int | None, now_ms: int) -> float | None:
    """Return profit over capital as a simple yearly rate until the expected payout; None if unknown."""
    payout_ms = expected_payout_ms(view, now_ms)
    if profit_e6 is None or not capital_e6 or payout_ms is None:
        return None
    return profit_e6 / capital_e6 * YEAR_MS / (payout_ms - now_ms)


def expected_payout_ms(view: EventView, now_ms: int) -> int | None:
    """Return the expected expiration, else the close, plus the settlement timer; None if both are past."""
    expected_ms = view.timing.expected_expiration_ms
    ends_ms = expected_ms if expected_ms and expected_ms > now_ms else view.timing.close_ms
    if ends_ms is None or ends_ms <= now_ms:
        return None
    return ends_ms + max([seen.market.settlement_timer_s for seen in view.markets], default=0) * 1000


def first_close_ms(markets: Iterable[Market]) -> int | None:
    """Return when the first of these markets closes; None if one does not say."""
    first_ms = None
    for market in markets:
        if market.close_ms is None:
            return None
        first_ms = market.close_ms if first_ms is None else min(first_ms, market.close_ms)
    return first_ms


def least_volume_e2(views: Iterable[MarketView]) -> int | None:
    """Return the volume of the least traded market; None if one is unknown."""
    least_e2 = None
    for view in views:
        volume_e2 = view.quote.volume_e2
        if volume_e2 is None:
            return None
        if least_e2 is None or volume_e2 < least_e2:
            least_e2 = volume_e2
    return least_e2


def _timing_reasons(timing: MatchTiming, close_ms: int | None, now_ms: int, limits: ScanLimits) -> list[str]:
    reasons = []
    if close_ms is None or close_ms - now_ms < limits.min_before_close_ms:
        reasons.append(why.TOO_CLOSE_TO_CLOSE)
    if limits.in_play:
        return reasons
    if timing.in_play or (timing.start_ms is not None and now_ms >= timing.start_ms):
        reasons.append(why.MATCH_STARTED)
    elif timing.start_ms is not None and timing.start_ms - now_ms < limits.min_before_start_ms:
        reasons.append(why.TOO_CLOSE_TO_START)
    return reasons
