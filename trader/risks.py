"""What can come of positions, event by event: best and worst case, and when they pay out. Pure."""

from collections.abc import Mapping, Sequence

from bus.trading.shapes import RiskRow
from markets.opportunities import EventView, void_e6
from markets.opportunities.legs import expected_payout_ms
from markets.units import format_money
from trader.engine.outcomes import Legs, outcomes_e6
from trader.engine.worth import LotWorth
from trader.ledger.lots import FOREIGN

_LAST = float("inf")


def risk_rows(
    worths: Mapping[int, Sequence[LotWorth]], views: Mapping[str, EventView | None], now_ms: int
) -> tuple[RiskRow, ...]:
    """Return what is held by event, the earliest expected payout first.

    Args:
        worths: trade -> what its lots are worth. views: the events with positions, as last seen.
    """
    of_event: dict[str, list[LotWorth]] = {}
    for ones in worths.values():
        for one in ones:
            of_event.setdefault(one.lot.event_ticker, []).append(one)
    rows = [_row(event, ones, views.get(event), now_ms) for event, ones in of_event.items()]
    return tuple(sorted(rows, key=lambda row: (row.payout or _LAST, row.event_ticker)))


def _row(event_ticker: str, worths: Sequence[LotWorth], view: EventView | None, now_ms: int) -> RiskRow:
    legs = [(one.lot.ticker, one.lot.side, one.lot.count_e2) for one in worths]
    least_e6, most_e6 = outcomes_e6(view, legs)
    # What each trade has locked remains, whatever else is held.
    least_e6 = max(least_e6, sum(one.floor_e6 for one in worths))
    cost_e6 = sum(one.lot.cost_e6 + one.lot.fees_e6 for one in worths)
    bids = [one.bid_e6 for one in worths if one.bid_e6 is not None]
    pays_e6 = sum(one.settlement_e6 for one in worths)
    payout_ms = None if view is None else expected_payout_ms(view, now_ms)
    start_ms = None if view is None else view.timing.start_ms
    return RiskRow(
        event_ticker=event_ticker,
        series_ticker=event_ticker.partition("-")[0] if view is None else view.event.series_ticker,
        title=None if view is None else view.event.title,
        start=None if start_ms is None else start_ms / 1000,
        payout=None if payout_ms is None else payout_ms / 1000,
        lots=len(worths),
        trades=tuple(sorted({one.lot.trade for one in worths} - {FOREIGN})),
        strategies=tuple(sorted({one.lot.strategy for one in worths if one.lot.strategy})),
        locked=least_e6 > cost_e6,
        cost_dollars=format_money(cost_e6),
        worst_dollars=format_money(least_e6 - cost_e6),
        best_dollars=format_money(most_e6 - cost_e6),
        void_dollars=_void(view, legs, cost_e6),
        bid_dollars=format_money(sum(bids) - cost_e6) if len(bids) == len(worths) else None,
        settlement_dollars=format_money(pays_e6 - cost_e6),
        pays_dollars=format_money(pays_e6),
        least_dollars=format_money(least_e6),
        most_dollars=format_money(most_e6),
    )


def _void(view: EventView | None, legs: Legs, cost_e6: int) -> str | None:
    seen = {} if view is None else {one.market.ticker: one for one in view.markets}
    if view is None or any(ticker not in seen for ticker, _, _ in legs):
        return None
    return format_money(void_e6(view.markets, legs) - cost_e6)
