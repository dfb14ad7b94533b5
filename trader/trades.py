"""Trades as rows: what each promised, what is locked, what it may still earn, and what it earned. Pure.

The journal's record says what a trade bought, sold and was paid; the engine says what its lots are worth now.
"""

from collections.abc import Mapping, Sequence

from bus.trading.shapes import Side, TradeLeg, TradeRow
from markets.book import NO, YES
from markets.units import format_count, format_money
from trader.engine.worth import LotWorth

from .attribution import Account, Leg, Trade


def trade_rows(
    account: Account,
    worths: Mapping[int, Sequence[LotWorth]],
    limit: int,
    before: int,
    *,
    held: bool = False,
) -> tuple[TradeRow, ...]:
    """Return trades with fills, below number `before`, the newest first; `held`: only those still held."""
    newest = account.newest(limit, before, held=held)
    return tuple(_row(number, trade, worths.get(number, ())) for number, trade in newest)


def _row(number: int, trade: Trade, worths: Sequence[LotWorth]) -> TradeRow:
    of, held = trade.first, trade.held.values()
    cost_e6 = trade.cost_e6 + sum(lot.cost_e6 for lot in held)
    fees_e6 = trade.fees_e6 + sum(lot.fees_e6 for lot in held)
    came_e6 = trade.got_e6 - cost_e6 - fees_e6
    known = {worth.lot.ticker: worth for worth in worths}
    seen = bool(held) and all(lot.ticker in known for lot in held)
    floor_e6 = sum(worth.floor_e6 for worth in worths) if seen else None
    whole = seen and all(worth.locked_e2 == worth.lot.count_e2 for worth in worths)
    bids = [worth.bid_e6 for worth in worths]
    bid_e6 = sum(bid or 0 for bid in bids) if seen and None not in bids else None
    settlement_e6 = sum(worth.settlement_e6 for worth in worths) if seen else None
    return TradeRow(
        trade=number,
        strategy=of.strategy if of is not None else next((lot.strategy for lot in held), ""),
        kind="" if of is None else of.kind,
        event_ticker=trade.event_ticker,
        opened=(trade.opened_ms or 0) / 1000,
        ended=None if held else trade.ended_ms / 1000,
        legs=_legs(trade, known),
        cost_dollars=format_money(cost_e6),
        fees_dollars=format_money(fees_e6),
        got_dollars=format_money(trade.got_e6),
        promised_dollars=_money(trade.promised.e6 if of is not None and of.promises else None),
        floor_dollars=_money(floor_e6),
        locked_dollars=_money(came_e6 + floor_e6 if whole and floor_e6 is not None else None),
        bid_dollars=_money(None if bid_e6 is None else came_e6 + bid_e6),
        settlement_dollars=_money(None if settlement_e6 is None else came_e6 + settlement_e6),
        settled_dollars=None if held else format_money(came_e6),
        source="" if of is None else of.source,
        slippage_dollars=_money(trade.slippage_e6),
        decided=None if of is None else of.decided_ms / 1000,
        series_ticker=trade.event_ticker.partition("-")[0] if of is None else of.series,
    )


def _legs(trade: Trade, known: Mapping[str, LotWorth]) -> tuple[TradeLeg, ...]:
    legs = []
    for ticker, side in sorted({*trade.gone, *((lot.ticker, lot.side) for lot in trade.held.values())}):
        gone = trade.gone.get((ticker, side), Leg())
        lot = trade.held.get(ticker)
        if lot is not None and lot.side != side:
            lot = None
        worth = known.get(ticker) if lot is not None else None
        count_e2, cost_e6 = (0, 0) if lot is None else (lot.count_e2, lot.cost_e6)
        legs.append(
            TradeLeg(
                ticker=ticker,
                label=trade.labels.get(ticker, ""),
                side=_side(side),
                bought_fp=format_count(count_e2 + gone.count_e2),
                count_fp=format_count(count_e2),
                cost_dollars=format_money(cost_e6 + gone.cost_e6),
                locked_fp=format_count(0 if worth is None else worth.locked_e2),
                bid_dollars=_money(None if worth is None else worth.bid_e6),
                settlement_dollars=_money(None if worth is None else worth.settlement_e6),
                expected_from=() if worth is None else worth.sources,
            )
        )
    return tuple(legs)


def _side(side: str) -> Side:
    return YES if side == YES else NO


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)
