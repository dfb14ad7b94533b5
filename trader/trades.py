"""Trades as they are told: what was promised, what is locked, what is hoped for, and what came. Pure.

What a trade bought, sold and was paid stands in the journal's record; what its lots are worth now the engine
says.
"""

from collections.abc import Mapping, Sequence

import msgspec

from bus.trading.shapes import Side, TradeLeg, TradeRow
from markets.book import NO, YES
from markets.orders import Intent
from markets.units import format_count, format_money
from trader.engine.worth import LotWorth
from trader.ledger.lots import FOREIGN, Closed, Lot, Lots

from .attribution import Sent, whose


class Told(msgspec.Struct, frozen=True):
    """What the journal says of the trades, by their numbers."""

    orders: Mapping[int, Sequence[Sent]]
    held: Mapping[int, Sequence[Lot]]
    closed: Mapping[int, Sequence[Closed]]


def by_trade(orders: Sequence[Sent], lots: Lots) -> Told:
    """Return orders and lots by the number of their trade."""
    of_orders: dict[int, list[Sent]] = {}
    held: dict[int, list[Lot]] = {}
    closed: dict[int, list[Closed]] = {}
    for sent in orders:
        of_orders.setdefault(sent.intent.trade, []).append(sent)
    for lot in lots.held:
        held.setdefault(lot.trade, []).append(lot)
    for part in lots.closed:
        closed.setdefault(part.trade, []).append(part)
    return Told(of_orders, held, closed)


def trade_rows(
    told: Told, worths: Mapping[int, Sequence[LotWorth]], limit: int, before: int
) -> tuple[TradeRow, ...]:
    """Return the trades that got something, the newest first, below number `before`."""
    numbers = sorted({*told.held, *told.closed}, reverse=True)
    wanted = [number for number in numbers if number < before][:limit]
    return tuple(_row(number, told, worths.get(number, ())) for number in wanted)


def _row(number: int, told: Told, worths: Sequence[LotWorth]) -> TradeRow:
    sent, held, closed = told.orders.get(number, ()), told.held.get(number, ()), told.closed.get(number, ())
    orders = [one.intent for one in sent]
    of = None if number == FOREIGN else whose(orders)
    slippages = [one.slippage_e6 for one in sent]
    slippage_e6 = None if None in slippages else sum(slippage or 0 for slippage in slippages)
    cost_e6 = sum(lot.cost_e6 for lot in held) + sum(part.cost_e6 for part in closed)
    fees_e6 = sum(lot.fees_e6 for lot in held) + sum(part.fees_e6 for part in closed)
    got_e6 = sum(part.proceeds_e6 for part in closed)
    came_e6 = got_e6 - cost_e6 - fees_e6
    known = {worth.lot.ticker: worth for worth in worths}
    seen = bool(held) and all(lot.ticker in known for lot in held)
    floor_e6 = sum(worth.floor_e6 for worth in worths) if seen else None
    whole = seen and all(worth.locked_e2 == worth.lot.count_e2 for worth in worths)
    bids = [worth.bid_e6 for worth in worths]
    bid_e6 = sum(bid or 0 for bid in bids) if seen and None not in bids else None
    settlement_e6 = sum(worth.settlement_e6 for worth in worths) if seen else None
    events = [*(lot.event_ticker for lot in held), *(intent.event_ticker for intent in orders)]
    times_ms = [*(lot.opened_ms for lot in held), *(part.acquired_ms for part in closed)]
    return TradeRow(
        trade=number,
        strategy=of.strategy if of is not None else [*(lot.strategy for lot in held), ""][0],
        kind="" if of is None else of.kind,
        event_ticker=[*events, ""][0],
        opened=min(times_ms) / 1000,
        ended=None if held else max(part.disposed_ms for part in closed) / 1000,
        legs=_legs(orders, held, closed, known),
        cost_dollars=format_money(cost_e6),
        fees_dollars=format_money(fees_e6),
        got_dollars=format_money(got_e6),
        promised_dollars=_money(None if of is None else of.expected_e6),
        floor_dollars=_money(floor_e6),
        locked_dollars=_money(came_e6 + floor_e6 if whole and floor_e6 is not None else None),
        bid_dollars=_money(None if bid_e6 is None else came_e6 + bid_e6),
        settlement_dollars=_money(None if settlement_e6 is None else came_e6 + settlement_e6),
        settled_dollars=None if held else format_money(came_e6),
        source="" if of is None else of.source,
        slippage_dollars=_money(slippage_e6),
    )


def _legs(
    orders: Sequence[Intent],
    held: Sequence[Lot],
    closed: Sequence[Closed],
    known: Mapping[str, LotWorth],
) -> tuple[TradeLeg, ...]:
    labels = {intent.ticker: intent.label for intent in orders}
    sides = {(lot.ticker, lot.side) for lot in held} | {(part.ticker, part.side) for part in closed}
    legs = []
    for ticker, side in sorted(sides):
        lots = [lot for lot in held if (lot.ticker, lot.side) == (ticker, side)]
        gone = [part for part in closed if (part.ticker, part.side) == (ticker, side)]
        count_e2 = sum(lot.count_e2 for lot in lots)
        worth = known.get(ticker) if lots else None
        legs.append(
            TradeLeg(
                ticker=ticker,
                label=labels.get(ticker, ""),
                side=_side(side),
                bought_fp=format_count(count_e2 + sum(part.count_e2 for part in gone)),
                count_fp=format_count(count_e2),
                cost_dollars=format_money(
                    sum(lot.cost_e6 for lot in lots) + sum(part.cost_e6 for part in gone)
                ),
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
