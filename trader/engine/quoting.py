"""What a quote is worth: a strategy's order that only rests. Pure.

It earns the difference between its price and the middle of others' bid and ask, or the published fair value
of a source that has passed its trial, less the maker fee. At an exchange our own orders are in the book: a
level that shows no more than they bid there counts as ours, so that we do not quote around ourselves.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from bus.trading import reasons
from markets.book import NO, YES, Top, bids, top_of_book, top_of_quote
from markets.fees import FeeSchedule, fill_fee
from markets.opportunities import MarketView
from markets.orders import Intent, Wanted
from markets.records import FairValue, Level
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4, opposite

MILLION: Final = 1_000_000

OwnBids = Mapping[tuple[str, int], int]
"""(side, price_e4) -> how much our own orders bid for there."""


def own_bids(orders: Iterable[Intent], filled: Mapping[int, int], ticker: str) -> OwnBids:
    """Return what our own orders bid for in a market. An order being amended may count at both prices."""
    own: Counter[tuple[str, int]] = Counter()
    for intent in orders:
        if intent.ticker == ticker and intent.time_in_force == "gtc":
            own[intent.side, intent.price_e4] += intent.count_e2 - filled.get(intent.number, 0)
    return own


def others(seen: MarketView, own: OwnBids) -> Top:
    """Return the best bid and ask of others, from the newer of book and quote."""
    of_book = seen.book is not None and (seen.book_as_of_ms or 0) >= seen.quote_as_of_ms
    best = top_of_book(seen.book) if of_book and seen.book is not None else top_of_quote(seen.quote)
    found: dict[str, Level | None] = {}
    for side in (YES, NO):
        first = best.bid(side)
        levels: Iterable[Level] = () if first is None else (first,)
        if seen.book is not None:
            behind = bids(seen.book, side)
            levels = behind if of_book else (*levels, *(one for one in behind if first and one[0] < first[0]))
        found[side] = next((level for level in levels if level[1] > own.get((side, level[0]), 0)), None)
    no_bid = found[NO]
    return Top(found[YES], None if no_bid is None else (opposite(no_bid[0]), no_bid[1]))


def middle_e6(seen: MarketView, own: OwnBids) -> int | None:
    """Return the middle of others' bid and ask for YES, in micro-dollars; None if a side is empty."""
    best = others(seen, own)
    if best.yes_bid is None or best.yes_ask is None or best.crossed or seen.suspect:
        return None
    return (best.yes_bid[0] + best.yes_ask[0]) * 50


def fair_e6(
    seen: MarketView,
    own: OwnBids,
    value: FairValue | None,
    accepted: Collection[str],
    oldest_ms: int,
) -> int | None:
    """Return what YES is worth, in micro-dollars: the value of an accepted source, else the middle.

    Args:
        oldest_ms: a value from before this is ignored.
    """
    if value is not None and value.source in accepted and value.as_of_ms >= oldest_ms:
        return round(value.probability * MILLION)
    return middle_e6(seen, own)


def quote_edge_e6(wanted: Wanted, fair: int | None, fees: FeeSchedule, now_ms: int) -> int | str:
    """Return what a quote earns if it is filled, or why that is unknown."""
    if fair is None:
        return reasons.NO_MIDDLE
    own_e6 = fair if wanted.side == YES else MILLION - fair
    fee = fill_fee(fees, wanted.price_e4, wanted.count_e2, time_ms=now_ms, maker=True).total_e6
    return (own_e6 - wanted.price_e4 * MILLION // PRICE_ONE_E4) * wanted.count_e2 // COUNT_ONE_E2 - fee
