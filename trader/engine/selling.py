"""Selling positions: the orders that do it, what they bring, and what can come of the rest. Pure.

Selling means buying the other outcome; each trade's lot is sold by an order of that trade. Prices here are
those of the side held, except the prices of orders.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from bus.trading import reasons
from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.opportunities.legs import ladder
from markets.orders import Position, Proposal, Wanted
from markets.records import Level
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4, opposite
from trader.ledger.ledger import Ledger

from .asks import MANUAL, Sale
from .outcomes import outcomes_e6
from .risk import Limits
from .worth import LotWorth, Worth


class Selling(Protocol):
    """The part of the engine that this needs."""

    ledger: Ledger
    limits: Limits
    scan: ScanLimits
    worth: Worth
    now_ms: int

    def objection(self, proposal: Proposal, view: EventView) -> str | None: ...


Sold = tuple[Sale, Sequence[Proposal]]
"""What selling a position would do, and the orders that do it."""


def sales(
    ledger: Ledger,
    view: EventView,
    market: MarketView,
    least_e4: int | None,
    limits: Limits,
    scan: ScanLimits,
    most_e2: int | None = None,
) -> list[Proposal]:
    """Return the orders that sell the net position in a market, lot by lot, the oldest first.

    They sell whole contracts, at most as many as are bid for within the price collar, nothing below
    `least_e4`, and at most `most_e2` in total.
    """
    ticker = market.market.ticker
    position = ledger.positions[ticker]
    side = _other(position.side)
    within = _within(market, side, least_e4, limits, scan)
    wanted_e2 = position.count_e2 if most_e2 is None else min(position.count_e2, most_e2)
    left_e2 = min(wanted_e2, depth(within))
    found, before_e2 = [], 0
    for lot in sorted(ledger.lots[ticker].values(), key=lambda lot: (lot.opened_ms, lot.trade)):
        count_e2 = min(lot.count_e2, left_e2) // COUNT_ONE_E2 * COUNT_ONE_E2
        if lot.side != position.side or not count_e2:
            continue
        left_e2 -= count_e2
        before_e2 += count_e2
        price_e4 = fills(within, before_e2)[-1][0]
        found.append(
            Proposal(
                strategy=MANUAL,
                event_ticker=view.event.event_ticker,
                legs=(Wanted(ticker, side, price_e4, count_e2),),
                edge_e6=0,
                probability=None,
                evens=lot.trade,
                by_hand=True,
            )
        )
    return found


def bid_for(market: MarketView, side: str, scan: ScanLimits) -> bool:
    """Whether anybody bids for a side."""
    return bool(ladder(market, _other(side), scan).levels)


def _within(
    market: MarketView, side: str, least_e4: int | None, limits: Limits, scan: ScanLimits
) -> list[Level]:
    """Return the asks of `side` within the price collar, and at prices that leave at least `least_e4`."""
    levels = ladder(market, side, scan).levels
    most_e4 = levels[0][0] + limits.price_collar_e4 if levels else 0
    if least_e4 is not None:
        most_e4 = min(most_e4, opposite(least_e4))
    return [level for level in levels if level[0] <= most_e4]


def sale(
    engine: Selling,
    position: Position,
    seen: Mapping[str, tuple[EventView, MarketView]],
    count_e2: int | None = None,
    least_e4: int | None = None,
) -> Sold:
    """Return what selling a position would do now, and by which orders.

    Args:
        count_e2: how much of it; None: all. least_e4: the least price; None: any bid within the price collar.
    """
    ledger, ticker = engine.ledger, position.ticker
    found = seen.get(ticker)
    view, market = (None, None) if found is None else found
    fees = None if view is None else fee_schedule(view.event, view.series)
    wanted_e2 = position.count_e2 if count_e2 is None else count_e2
    proposals: list[Proposal] = []
    within: list[Level] = []
    best_e4, reason = None, reasons.MARKET_UNKNOWN
    brings_e6 = fees_e6 = 0
    if view is not None and market is not None and fees is None:
        reason = reasons.FEE_UNKNOWN
    elif view is not None and market is not None and fees is not None:
        levels = ladder(market, _other(position.side), engine.scan).levels
        best_e4 = opposite(levels[0][0]) if levels else None
        proposals = sales(ledger, view, market, least_e4, engine.limits, engine.scan, wanted_e2)
        reason = next((why for one in proposals if (why := engine.objection(one, view)) is not None), "")
        within = _within(market, _other(position.side), least_e4, engine.limits, engine.scan)
        brings_e6, fees_e6 = _brings(within, proposals, fees, engine.now_ms)
    sold_e2 = sum(one.legs[0].count_e2 for one in proposals)
    if not reason and sold_e2 < wanted_e2:
        part = wanted_e2 - sold_e2 < COUNT_ONE_E2 and depth(within) >= wanted_e2
        reason = reasons.BAD_SIZE if part else _missing(best_e4, least_e4)
    worths = {one.lot.trade: one for one in engine.worth.lots(position.event_ticker, engine.now_ms)
              if one.lot.ticker == ticker}  # fmt: skip
    cost_e6, settlement_e6, sources = _given_up(ledger, ticker, proposals, worths)
    prices = [one.legs[0].price_e4 for one in proposals]
    lowest_e4 = opposite(max(prices)) if prices else None
    if lowest_e4 is not None and least_e4 is not None:
        lowest_e4 = least_e4  # a person named the least price
    told = Sale(
        ticker=ticker,
        event_ticker=position.event_ticker,
        label=position.label,
        side=position.side,
        held_e2=position.count_e2,
        count_e2=sold_e2,
        best_e4=best_e4,
        price_e4=lowest_e4,
        brings_e6=brings_e6,
        fees_e6=fees_e6,
        cost_e6=cost_e6,
        settlement_e6=settlement_e6,
        sources=sources,
        reason=reason,
    )
    return told, proposals


def _missing(best_e4: int | None, least_e4: int | None) -> str:
    """Return why less is sold than was wanted: nobody bids for as much, or nobody bids as high."""
    high = best_e4 is not None and least_e4 is not None and best_e4 < least_e4
    return reasons.PRICE_MOVED if high else reasons.NO_DEPTH


def _brings(
    levels: Sequence[Level], proposals: Sequence[Proposal], fees: FeeSchedule, now_ms: int
) -> tuple[int, int]:
    """Return what orders bring when filled one after the other, and their fees, one per order."""
    brings_e6 = fees_e6 = before_e2 = 0
    for proposal in proposals:
        count_e2 = proposal.legs[0].count_e2
        had = dict(fills(levels, before_e2))
        before_e2 += count_e2
        bought = [(price, size - had.get(price, 0)) for price, size in fills(levels, before_e2)]
        bought = [level for level in bought if level[1]]
        brings_e6 += count_e2 * PRICE_ONE_E4 - cost_e6(bought)
        fees_e6 += taker_fees_e6(fees, bought, time_ms=now_ms)
    return brings_e6, fees_e6


def _given_up(
    ledger: Ledger, ticker: str, proposals: Sequence[Proposal], worths: Mapping[int, LotWorth]
) -> tuple[int, int | None, tuple[str, ...]]:
    """Return what the lots to be sold had cost, their expected payout, and who says so."""
    cost_e6 = settlement_e6 = 0
    known, sources = True, dict[str, None]()
    for proposal in proposals:
        assert proposal.evens is not None, "a sale is of a trade's lot"
        lot, count_e2 = ledger.lots[ticker][proposal.evens], proposal.legs[0].count_e2
        cost_e6 += lot.cost_e6 * count_e2 // lot.count_e2 + lot.fees_e6 * count_e2 // lot.count_e2
        worth = worths.get(lot.trade)
        if worth is None:
            known = False
            continue
        settlement_e6 += worth.settlement_e6 * count_e2 // lot.count_e2
        sources |= dict.fromkeys(worth.sources)
    return cost_e6, settlement_e6 if known and proposals else None, tuple(sources)


def worst_e6(
    engine: Selling, event_ticker: str, view: EventView | None, sold: Sequence[Sold]
) -> tuple[int, int]:
    """Return the profit in the worst outcome of everything held in an event: now, and after these sales."""
    lots = engine.ledger.lots_in(event_ticker)
    worths = engine.worth.lots(event_ticker, engine.now_ms)
    cost_e6 = sum(lot.cost_e6 + lot.fees_e6 for lot in lots)
    least_e6, _ = outcomes_e6(view, [(lot.ticker, lot.side, lot.count_e2) for lot in lots])
    before_e6 = max(least_e6, sum(one.floor_e6 for one in worths)) - cost_e6
    gone = {(told.ticker, one.evens): one.legs[0].count_e2 for told, proposals in sold for one in proposals}
    stay = [(lot.ticker, lot.side, lot.count_e2 - gone.get((lot.ticker, lot.trade), 0)) for lot in lots]
    least_e6, _ = outcomes_e6(view, [leg for leg in stay if leg[2]])
    # What other trades have locked remains, whatever is sold.
    touched = {trade for _, trade in gone}
    floor_e6 = sum(one.floor_e6 for one in worths if one.lot.trade not in touched)
    got_e6 = sum(told.brings_e6 - told.fees_e6 for told, _ in sold)
    return before_e6, max(least_e6, floor_e6) - cost_e6 + got_e6


def _other(side: str) -> str:
    return NO if side == YES else YES
