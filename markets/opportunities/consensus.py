"""Fair values from the other legs: the leave-one-out consensus.

Where exactly one market of an event resolves YES, the probabilities add up to one, so a leg is worth what the
others leave over. Each other leg says "between my bid and my ask" (no bid: from 0, no ask: up to 1); the fair
value is one less the sum of their mids, its margin the sum of their half spreads. An edge must exceed that
margin, or it is only somebody's spread.

Where the others contradict one another (their mids leave less than nothing), there is no fair value.
"""

from typing import Final

from markets.book import is_complementary
from markets.records import FairValue, Status
from markets.units import PRICE_ONE_E4

from .devig import METHODS
from .floors import verdict
from .legs import is_off_grid, yes_prices
from .types import CONSENSUS, EventView

METHOD: Final = "multiplicative"
"""How the margin is taken out of an event's mids: the method that benchmarks/devig.py finds nearest to the
truth."""


def consensus_values(view: EventView) -> dict[str, FairValue]:
    """Return the fair value of each leg, as far as the others give one; empty unless the event is exhaustive.

    A leg that is suspect, crossed, off its grid, not trading or contradictory says nothing, so no leg gets a
    value.
    """
    bounds = _bounds(view)
    if bounds is None:
        return {}
    lows, highs, seen_ms = bounds
    low_e4, high_e4 = sum(lows), sum(highs)
    values = {}
    for i, seen in enumerate(view.markets):
        others_low_e4, others_high_e4 = low_e4 - lows[i], high_e4 - highs[i]
        # Twice the value, to stay in integers: a mid is half of bid plus ask.
        twice_e4 = 2 * PRICE_ONE_E4 - others_low_e4 - others_high_e4
        margin_e4 = others_high_e4 - others_low_e4
        if 0 <= twice_e4 <= 2 * PRICE_ONE_E4 and margin_e4 <= 2 * PRICE_ONE_E4:
            values[seen.market.ticker] = FairValue(
                ticker=seen.market.ticker,
                probability=twice_e4 / (2 * PRICE_ONE_E4),
                source=CONSENSUS,
                as_of_ms=min(seen_ms[:i] + seen_ms[i + 1 :]),
                margin=margin_e4 / (2 * PRICE_ONE_E4),
            )
    return values


def event_values(view: EventView) -> dict[str, FairValue]:
    """Return what an event's prices say about its legs, as far as they say more than each leg's own prices.

    Where all legs have a bid and an ask: what their mids say with the margin taken out (devig.py), kept
    within a leg's own bid and ask, which carry news about it before the others move. Its margin is its half
    spread. Otherwise: for a leg without a bid or an ask, what the others leave over for it, and nothing for
    the other legs, because the mid of an empty side is too far off.
    """
    bounds = _bounds(view)
    if bounds is None:
        return {}
    lows, highs, seen_ms = bounds
    legs = list(zip(view.markets, lows, highs, strict=True))
    lacking = {seen.market.ticker for seen, low_e4, high_e4 in legs if not low_e4 or high_e4 == PRICE_ONE_E4}
    if lacking:
        return {ticker: value for ticker, value in consensus_values(view).items() if ticker in lacking}
    spreads = [(low_e4 / PRICE_ONE_E4, high_e4 / PRICE_ONE_E4) for _, low_e4, high_e4 in legs]
    probabilities = METHODS[METHOD]([(bid + ask) / 2 for bid, ask in spreads])
    if probabilities is None:
        return {}
    return {
        seen.market.ticker: FairValue(
            ticker=seen.market.ticker,
            probability=min(ask, max(bid, probability)),
            source=CONSENSUS,
            as_of_ms=min(seen_ms),
            margin=(ask - bid) / 2,
        )
        for (seen, *_), (bid, ask), probability in zip(legs, spreads, probabilities, strict=True)
    }


def _bounds(view: EventView) -> tuple[list[int], list[int], list[int]] | None:
    """Return bids, asks and ages of the legs of an exhaustive event; None if one of them says nothing."""
    if not view.event.mutually_exclusive:
        return None
    lows, highs, seen_ms = [], [], []
    for seen in view.markets:
        if seen.quote.status is not Status.ACTIVE or seen.suspect or not is_complementary(seen.quote):
            return None
        bid_e4, ask_e4 = yes_prices(seen)
        if is_off_grid(seen.market, bid_e4, ask_e4):
            return None
        if bid_e4 is not None and ask_e4 is not None and bid_e4 >= ask_e4:  # crossed
            return None
        lows.append(bid_e4 or 0)
        highs.append(PRICE_ONE_E4 if ask_e4 is None else ask_e4)
        seen_ms.append(_seen_ms(seen.quote_as_of_ms, seen.book_as_of_ms))
    return (lows, highs, seen_ms) if verdict(view).known else None


def _seen_ms(quote_as_of_ms: int, book_as_of_ms: int | None) -> int:
    return max(quote_as_of_ms, book_as_of_ms or 0)
