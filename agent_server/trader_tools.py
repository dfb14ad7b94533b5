"""The tools about the trader, and those that have it work out orders; only through its socket for agents."""

from typing import Any, Final, TypeVar

import msgspec

from bus.protocol.state import Records
from bus.scan.search import fold
from bus.trading.reasons import HALTS, why_ended, why_refused
from bus.trading.shapes import (
    AnyPrepareCommand,
    AnyTicketRow,
    CancelTicketRow,
    FlattenTicketRow,
    OrderRow,
    OrdersAnswer,
    PositionsAnswer,
    PrepareCancelCommand,
    PrepareCommand,
    PrepareFlattenCommand,
    PrepareSaleCommand,
    ReportAnswer,
    ReportRow,
    SaleRow,
    SaleTicketRow,
    ShownOrderRow,
    TicketAnswer,
    TicketRow,
    TraderStatus,
)
from markets.errors import BadRecord
from markets.opportunities import MarketView
from markets.units import format_price, parse_count_e2, parse_price_e4

from . import words
from .arguments import (
    NoArguments,
    OrdersArguments,
    PrepareArguments,
    PrepareCancelArguments,
    PrepareSaleArguments,
    ResultsArguments,
)
from .market_tools import MARKETS_MAX, cut, head, known_market, yes_means
from .world import PREPARE_MS, Unanswered, World

EQUITY_DAYS_MAX: Final = 30
ORDERS_AT_ONCE: Final = 200
ORDERS_LOOKED_AT: Final = 5_000
"""Of how many orders, the newest, those that are open are looked for."""

T = TypeVar("T")


def status(world: World, _asked: NoArguments) -> dict[str, Any]:
    try:
        records = world.records()
    except Unanswered as error:
        answer: dict[str, Any] = {"data": str(error), "exchange": words.EXCHANGES[world.settings.env]}
    else:
        health = world.health(records)
        answer = head(world, records) | {
            "markets": len(records.markets),
            "books": len(records.books),
            "last_sweep_complete": health.complete,
            "exchange_trades": None if health.exchange is None else health.exchange.trading_active,
        }
    try:
        told = world.trader({"op": "status"}, TraderStatus)
    except Unanswered as error:
        return answer | {"trader": str(error)}
    return answer | {"trader": _trader_row(told)}


def positions(world: World, _asked: NoArguments) -> dict[str, Any]:
    told = world.trader({"op": "status"}, TraderStatus)
    held = world.trader({"op": "positions"}, PositionsAnswer).positions
    rows = [
        {
            "ticker": row.ticker,
            "title": words.text(row.title),
            "outcome": words.text(row.label),
            "side": row.side,
            "contracts": row.count_fp,
            "average_price_dollars": row.average_price_dollars,
            "cost_dollars": row.cost_dollars,
            "fees_dollars": row.fees_dollars,
            "bid_dollars": row.bid_dollars,
            "value_dollars": row.value_dollars,
            "unrealised_dollars": row.unrealised_dollars,
            "locked_contracts": row.locked_fp,
            "strategy": row.strategy,
            "stale": row.stale,
            "close_time": None if row.close_time is None else words.time(round(row.close_time * 1000)),
        }
        for row in held[:MARKETS_MAX]
    ]
    return {"trader": _trader_row(told), "positions": rows} | cut(len(held), len(rows))


def _open_orders(world: World, limit: int) -> tuple[list[OrderRow], int | None]:
    """Return the newest open orders, and the number before which it was not looked for more, if any."""
    found, before = list[OrderRow](), None
    for _ in range(ORDERS_LOOKED_AT // ORDERS_AT_ONCE):
        question = {"op": "orders", "limit": ORDERS_AT_ONCE, "before": before}
        page = world.trader(question, OrdersAnswer).orders
        found += [row for row in page if row.ended is None]
        if len(page) < ORDERS_AT_ONCE or len(found) >= limit:
            return found[:limit], None
        before = page[-1].number
    return found, before


def orders(world: World, asked: OrdersArguments) -> dict[str, Any]:
    before = None
    if asked.open_only:
        wanted, before = _open_orders(world, asked.limit)
    else:
        wanted = list(world.trader({"op": "orders", "limit": asked.limit}, OrdersAnswer).orders)
    return {
        "orders": [
            {
                "number": row.number,
                "ticker": row.ticker,
                "outcome": words.text(row.label),
                "side": row.side,
                "limit_dollars": row.price_dollars,
                "contracts": row.count_fp,
                "filled": row.filled_fp,
                "cost_dollars": row.cost_dollars,
                "status": str(row.status),
                "why_ended": None if row.reason is None else why_ended(row.reason),
                "strategy": row.strategy,
                "created": words.time(round(row.created * 1000)),
            }
            for row in wanted
        ],
        "note": "newest first" + (f"; there may be others, older than number {before}" if before else ""),
    }


def results(world: World, asked: ResultsArguments) -> dict[str, Any]:
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        raise BadRecord("until", asked.until, f"{asked.since} or later")
    question = {"op": "report", "since": asked.since, "until": asked.until}
    told = world.trader(question, ReportAnswer)
    return {
        "since": told.since,
        "until": told.until,
        "held_is_valued": told.marked,
        "total": _result_row(told.total),
        "largest_fall_of_equity_dollars": told.drawdown_dollars,
        "by_strategy": [_result_row(row) for row in told.by_strategy],
        "by_kind": [_result_row(row) for row in told.by_kind],
        "by_day": [_result_row(row) for row in told.by_day[-EQUITY_DAYS_MAX:]],
        "note": "profit_dollars is realised profit less all fees, including those of open positions; "
        "at_settlement_dollars values open positions at their expected payout",
    }


def prepare_order(world: World, asked: PrepareArguments) -> dict[str, Any]:
    records = world.records()
    view = known_market(records, asked.ticker)
    means = _meant(records, view, asked.yes_means)
    parse_count_e2(str(asked.contracts), "contracts")
    ticket = _prepared(
        world,
        PrepareCommand(
            ticker=view.market.ticker,
            side=asked.side,
            count_fp=str(asked.contracts),
            price_dollars=_price(asked.price_dollars),
            rest_seconds=asked.rest_seconds,
        ),
        TicketRow,
    )
    return head(world, records) | {"ticket": _ticket_row(ticket, means), **_what_now(ticket)}


def prepare_sale(world: World, asked: PrepareSaleArguments) -> dict[str, Any]:
    records = world.records()
    view = known_market(records, asked.ticker)
    means, ticker = _meant(records, view, asked.yes_means), view.market.ticker
    held = world.trader({"op": "positions"}, PositionsAnswer).positions
    side = next((row.side for row in held if row.ticker == ticker), None)
    if side != asked.side:
        holds = "nothing" if side is None else side.upper()
        raise Unanswered(
            f"side: got {asked.side!r}, but the trader holds {holds} in {ticker}: nothing was prepared"
        )
    ticket = _prepared(
        world,
        PrepareSaleCommand(
            ticker=ticker,
            count_fp=None if asked.contracts is None else str(asked.contracts),
            price_dollars=None if asked.price_dollars is None else _price(asked.price_dollars),
        ),
        SaleTicketRow,
    )
    return head(world, records) | {
        "ticket": {
            "number": ticket.number,
            **_sale_row(ticket.sale),
            "yes_means": means,
            "worst_case_of_event_now_dollars": ticket.worst_before_dollars,
            "worst_case_of_event_then_dollars": ticket.worst_after_dollars,
            **_validity(ticket),
        },
        **_what_now(ticket),
    }


def prepare_cancel(world: World, asked: PrepareCancelArguments) -> dict[str, Any]:
    ticket = _prepared(world, PrepareCancelCommand(number=asked.number), CancelTicketRow)
    return {
        "ticket": {
            "number": ticket.number,
            "cancels": _order_row(ticket.order),
            "contracts_before_it": ticket.ahead_fp,
            **_validity(ticket),
        },
        **_what_now(ticket),
    }


def prepare_flatten(world: World, _asked: NoArguments) -> dict[str, Any]:
    ticket = _prepared(world, PrepareFlattenCommand(), FlattenTicketRow)
    return {
        "ticket": {
            "number": ticket.number,
            "would": "pause the trader, cancel every order and sell every position",
            "brings_dollars": ticket.brings_dollars,
            "fees_dollars": ticket.fees_dollars,
            "realises_dollars": ticket.realised_dollars,
            "against_settlement_dollars": ticket.against_settlement_dollars,
            **_validity(ticket),
        },
        **_what_now(ticket),
        "cancels": [_order_row(order) for order in ticket.orders],
        "sells": [_sale_row(sale) for sale in ticket.sales],
    }


def _meant(records: Records, view: MarketView, said: str) -> str:
    """Return what YES of a market means, if that is what was said.

    Raises:
        Unanswered: it is not.
    """
    means = yes_means(records, view.market)
    if " ".join(fold(said).split()) != fold(means):
        raise Unanswered(
            f"yes_means: got {said!r:.120}, but YES of {view.market.ticker} is {means!r:.120}: "
            "nothing was prepared. Check the market again, and which side is meant"
        )
    return means


def _price(text: str) -> str:
    return format_price(parse_price_e4(f"0{text.removeprefix('0')}", "price_dollars"))


def _prepared(world: World, command: AnyPrepareCommand, row: type[T]) -> T:
    ticket = world.trader(msgspec.to_builtins(command), TicketAnswer, PREPARE_MS).ticket
    if not isinstance(ticket, row):
        raise Unanswered("the trader answered with a different ticket than requested; it will expire")
    return ticket


def _what_now(ticket: AnyTicketRow) -> dict[str, Any]:
    if ticket.refused is not None:
        return {"sent": False, "note": f"nothing was done, and risk would refuse it: {ticket.why}"}
    return {
        "sent": False,
        "note": "nothing was done. A person decides: within 60 s, after reading the ticket, they may run "
        f"kalshi-bus trader confirm {ticket.number}. You cannot, and must not claim that it was done",
    }


# -- rows


def _trader_row(told: TraderStatus) -> dict[str, Any]:
    age_s = told.data_age_seconds
    return {
        "state": told.state,
        "why_not_trading": [HALTS.get(reason, reason) for reason in told.reasons],
        "mode": _MODES.get(told.mode, told.mode),
        "data": "of unknown age"
        if age_s is None
        else f"its data is {words.age_words(round(age_s * 1000))} old",
        "feed": told.feed,
        "time": words.time(round(told.now * 1000)),
        "strategies": list(told.strategies),
        "cash_dollars": told.cash_dollars,
        "equity_dollars": told.equity_dollars,
        "profit_today_dollars": told.pnl.today_dollars,
        "realised_dollars": told.pnl.realised_dollars,
        "unrealised_dollars": told.pnl.unrealised_dollars,
        "fees_dollars": told.pnl.fees_dollars,
        "positions": told.positions,
        "open_orders": told.open_orders,
        "can_be_lost_dollars": told.exposure.total_dollars,
        "refused": {why_refused(reason): number for reason, number in sorted(told.refusals.items())},
        "error": told.error,
    }


_MODES: Final = {
    "sim": "orders go to the simulated exchange",
    "paper": "play money: orders are filled locally and never sent",
    "live": "REAL MONEY: orders go to the exchange",
}


def _result_row(row: ReportRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "trades": row.trades,
        "over": row.over,
        "won": row.won,
        "bought_dollars": row.bought_dollars,
        "fees_dollars": row.fees_dollars,
        "realised_dollars": row.realised_dollars,
        "profit_dollars": row.profit_dollars,
        "at_bid_dollars": row.bid_dollars,
        "at_settlement_dollars": row.settlement_dollars,
    }


def _ticket_row(ticket: TicketRow, means: str) -> dict[str, Any]:
    return {
        "number": ticket.number,
        "buys": f"{ticket.count_fp} contracts of {ticket.side.upper()} in {ticket.ticker}",
        "pays_if": means if ticket.side == "yes" else f"not {means}",
        "limit_dollars": ticket.price_dollars,
        "best_price_now_dollars": ticket.best_dollars,
        "filled_at_once_contracts": ticket.fillable_fp,
        "cost_dollars": ticket.cost_dollars,
        "fees_dollars": ticket.fees_dollars,
        "can_be_lost_dollars": ticket.worst_dollars,
        "pays_dollars": ticket.payout_dollars,
        "rests_seconds": ticket.rest_seconds,
        **_validity(ticket),
    }


def _sale_row(sale: SaleRow) -> dict[str, Any]:
    return {
        "sells": f"{sale.count_fp} of {sale.held_fp} contracts of {sale.side.upper()} in {sale.ticker}",
        "outcome": words.text(sale.label),
        "stays_contracts": sale.left_fp,
        "best_bid_dollars": sale.best_dollars,
        "for_no_less_than_dollars": sale.price_dollars,
        "brings_dollars": sale.brings_dollars,
        "fees_dollars": sale.fees_dollars,
        "cost_dollars": sale.cost_dollars,
        "realises_dollars": sale.realised_dollars,
        "against_settlement_dollars": sale.against_settlement_dollars,
        "why_not_all": sale.why,
    }


def _order_row(order: ShownOrderRow) -> dict[str, Any]:
    return {
        "order": order.number,
        "ticker": order.ticker,
        "outcome": words.text(order.label),
        "side": order.side,
        "limit_dollars": order.price_dollars,
        "contracts": order.count_fp,
        "filled": order.filled_fp,
        "frees_dollars": order.frees_dollars,
    }


def _validity(ticket: AnyTicketRow) -> dict[str, Any]:
    return {
        "valid_until": words.time(round(ticket.valid_until * 1000)),
        "risk_says": "would pass" if ticket.refused is None else f"refused: {ticket.why}",
    }
