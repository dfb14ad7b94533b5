"""How much the legs of an event can pay together, given what is known of its outcomes. Pure."""

from collections.abc import Sequence

from markets.book import NO, YES
from markets.opportunities import EventView, floor_e6
from markets.units import PRICE_ONE_E4, opposite

from .marks import settlement_e4

Legs = Sequence[tuple[str, str, int]]
"""(ticker, side, contracts) of each."""


def outcomes_e6(view: EventView | None, legs: Legs) -> tuple[int, int]:
    """Return the least and the most that legs of one event pay together, given what is known of its outcomes.

    What a leg pays, its opposite does not: so the most is everything less the least of the opposites.
    """
    known_e6, open_legs = 0, []
    results: dict[str, int] = {}
    if view is not None:
        decided = ((seen.market.ticker, settlement_e4(seen.market)) for seen in view.markets)
        results = {ticker: value_e4 for ticker, value_e4 in decided if value_e4 is not None}
        if view.event.mutually_exclusive and PRICE_ONE_E4 in results.values():
            results = {seen.market.ticker: results.get(seen.market.ticker, 0) for seen in view.markets}
    for ticker, side, count_e2 in legs:
        value_e4 = results.get(ticker)
        if value_e4 is None:
            open_legs.append((ticker, side, count_e2))
        else:
            known_e6 += (value_e4 if side == YES else opposite(value_e4)) * count_e2
    all_e6 = sum(count_e2 for _, _, count_e2 in open_legs) * PRICE_ONE_E4
    if view is None:
        return known_e6, known_e6 + all_e6
    turned = [(ticker, NO if side == YES else YES, count_e2) for ticker, side, count_e2 in open_legs]
    return known_e6 + floor_e6(view, open_legs), known_e6 + all_e6 - floor_e6(view, turned)
