"""How the trader stands, as maps for the control socket: docs/trader.md fixes the shapes."""

from typing import Any, Final

import msgspec

from markets.opportunities import EventView
from markets.orders import Position
from markets.records import Status
from markets.units import format_count, format_money, format_price

from .engine import Engine
from .rebalance import uneven
from .worker import ACCOUNT, Worker

MAX_REFUSED_SHOWN: Final = 200
MAX_FAILURES_SHOWN: Final = 20


class Snapshot(msgspec.Struct, frozen=True):
    """Status and positions of one moment, ready to be sent."""

    status: dict[str, Any]
    positions: list[dict[str, Any]]


def snapshot(worker: Worker, now_ms: int, epoch: int, seq: int) -> Snapshot:
    """Return how things stand; the engine's thread calls this.

    Args:
        epoch, seq: where the replica stands.
    """
    engine, ledger, limits = worker.engine, worker.engine.ledger, worker.limits
    positions = [position_map(engine, position, now_ms) for position in _by_cost(engine)]
    profit_e6, value_e6 = engine.worth.profit_e6(), engine.worth.value_e6()
    unrealised_e6 = None if value_e6 is None else value_e6 - ledger.basis_e6
    stake_e6, lost_e6 = ledger.at_stake_e6(), engine.worth.lost_today_e6()
    killed = worker.around.kill_switch.read()
    p50_ms, p99_ms = worker.announcer.latencies.percentiles_ms(50, 99)
    file = worker.around.values_file
    complete_ms = engine.conditions.complete_ms
    failed = worker.failed
    status = {
        "state": worker.state,
        "reasons": list(worker.reasons),
        "mode": worker.settings.mode,
        "env": worker.settings.env,
        "account": ACCOUNT,
        "now": now_ms / 1000,
        "started": worker.started_ms / 1000,
        "uptime_seconds": max(0, now_ms - worker.started_ms) / 1000,
        "epoch": epoch,
        "seq": seq,
        "data_age_seconds": None if complete_ms is None else max(0, now_ms - complete_ms) / 1000,
        "feed": engine.conditions.feed,
        "strategies": sorted(worker.settings.strategies),
        "fair_values": {
            "consensus": None,
            "file": None
            if file is None
            else {
                "path": str(file.path),
                "values": len(worker.values),
                "loaded": None if file.loaded_ms is None else file.loaded_ms / 1000,
                "errors": list(file.loaded.errors[:20]),
            },
        },
        "pnl": {
            "realised_dollars": format_money(ledger.realised_e6),
            "unrealised_dollars": _money(unrealised_e6),
            "fees_dollars": format_money(ledger.fees_e6),
            "total_dollars": _money(None if value_e6 is None else profit_e6),
            "today_dollars": _money(None if value_e6 is None else -lost_e6),
        },
        "cash_dollars": format_money(ledger.cash_e6),
        "starting_cash_dollars": format_money(ledger.start_e6),
        "equity_dollars": _money(None if value_e6 is None else ledger.cash_e6 + value_e6),
        "exposure": {
            "positions_dollars": format_money(stake_e6 - ledger.reserved_e6),
            "orders_dollars": format_money(ledger.reserved_e6),
            "total_dollars": format_money(stake_e6),
        },
        "limits": {
            "order_dollars": format_money(limits.order_e6),
            "market_dollars": format_money(limits.market_e6),
            "event_dollars": format_money(limits.event_e6),
            "total_dollars": format_money(limits.total_e6),
            "daily_loss_dollars": format_money(limits.daily_loss_e6),
            "min_edge_dollars": format_money(limits.min_edge_e6),
            "open_orders": limits.open_orders,
            "orders_per_minute": limits.orders_per_minute,
            "price_collar_dollars": format_price(min(limits.price_collar_e4, 10_000)),
            "leg_age_seconds": limits.leg_age_ms / 1000,
            "positions_per_event": limits.positions_per_event,
            "payout_hours": limits.payout_ms / 3_600_000,
            "in_play": engine.scan.in_play,
        },
        "use": {
            "total": _share(stake_e6, limits.total_e6),
            "daily_loss": _share(max(0, lost_e6), limits.daily_loss_e6),
            "open_orders": _share(len(ledger.open), limits.open_orders),
            "orders_per_minute": _share(engine.throttle.last_minute(engine.now_ms), limits.orders_per_minute),
        },
        "positions": len(positions),
        "open_orders": len(ledger.open),
        "uneven": [
            {
                "trade": trade,
                "strategy": basket.strategy,
                "event_ticker": basket.event_ticker,
                "tries": basket.tries,
                "refused": list(engine.refusals.not_evened.get(trade, ())),
                "legs": [
                    {
                        "ticker": leg.ticker,
                        "side": leg.side,
                        "planned_fp": format_count(leg.planned_e2),
                        "got_fp": format_count(leg.got_e2),
                    }
                    for leg in basket.legs
                ],
            }
            for trade, basket in ledger.baskets.items()
            if not ledger.ordered(trade) and uneven(basket)
        ],
        **worker.announcer.counts,
        "decisions": worker.session.rescan.scanned,
        "decisions_per_second": round(worker.session.scans.per_second, 2),
        "backlog": worker.around.follows.backlog,
        "latency_ms": {"p50": p50_ms, "p99": p99_ms, "count": len(worker.announcer.latencies)},
        "failed": len(failed),
        "failures": [
            {"event_ticker": failure.event_ticker, "part": failure.part, "error": failure.error}
            for failure in [failure for failures in failed.values() for failure in failures][
                :MAX_FAILURES_SHOWN
            ]
        ],
        "refusals": dict(engine.refusals.counts),
        "refused": [
            {"strategy": strategy, "event_ticker": event_ticker, "reason": reason}
            for (strategy, event_ticker), reason in list(engine.refusals.stand.items())[-MAX_REFUSED_SHOWN:]
        ],
        "reconciled": worker.reconciled,
        "journal": str(worker.around.journal_path),
        "killed": None if killed is None else {"at": killed.at_ms / 1000, "reason": killed.reason},
        "error": worker.halted,
    }
    return Snapshot(status, positions)


def position_map(engine: Engine, position: Position, now_ms: int) -> dict[str, Any]:
    """Return one position; `bid` and `value` are in prices of the side held."""
    view: EventView | None = engine.views.get(position.event_ticker)
    one = next((m for m in view.markets if m.market.ticker == position.ticker), None) if view else None
    bid_e4 = engine.worth.bid_e4(position)
    value_e6 = None if bid_e4 is None else bid_e4 * position.count_e2
    as_of_ms = None if one is None else max(one.quote_as_of_ms, one.book_as_of_ms or 0)
    start_ms = view.timing.start_ms if view else None
    return {
        "ticker": position.ticker,
        "event_ticker": position.event_ticker,
        "series_ticker": position.series_ticker,
        "title": view.event.title if view else None,
        "label": position.label,
        "side": position.side,
        "count_fp": format_count(position.count_e2),
        "cost_dollars": format_money(position.cost_e6),
        "average_price_dollars": format_price(round(position.cost_e6 / position.count_e2)),
        "fees_dollars": format_money(position.fees_e6),
        "bid_dollars": None if bid_e4 is None else format_price(bid_e4),
        "value_dollars": _money(value_e6),
        "unrealised_dollars": _money(None if value_e6 is None else value_e6 - position.cost_e6),
        "as_of": None if as_of_ms is None else as_of_ms / 1000,
        # What does not trade any more cannot grow stale.
        "stale": one is None
        or as_of_ms is None
        or (one.quote.status is Status.ACTIVE and now_ms - as_of_ms > engine.limits.leg_age_ms),
        "strategy": position.strategy,
        "opened": position.opened_ms / 1000,
        "status": None if one is None else str(one.quote.status),
        "close_time": None if one is None else one.market.close_ms / 1000,
        "start_time": None if start_ms is None else start_ms / 1000,
    }


def order_map(row: dict[str, Any], intent: dict[str, Any]) -> dict[str, Any]:
    """Return one order from its row in the journal and its decoded intent."""
    return {
        "number": row["number"],
        "client_order_id": row["client_order_id"],
        "trade": row["trade"],
        "strategy": row["strategy"],
        "ticker": row["ticker"],
        "event_ticker": row["event_ticker"],
        "side": row["side"],
        "price_dollars": format_price(row["price_e4"]),
        "count_fp": format_count(row["count_e2"]),
        "filled_fp": format_count(row["filled_e2"] or 0),
        "cost_dollars": format_money(row["cost_e6"] or 0),
        "fees_dollars": format_money(row["fees_e6"] or 0),
        "status": row["status"],
        "reason": row["reason"],
        "created": row["created_ms"] / 1000,
        "ended": None if row["ended_ms"] is None else row["ended_ms"] / 1000,
        "latency_ms": None if row["ended_ms"] is None else row["ended_ms"] - row["created_ms"],
        "basis": [intent["epoch"], intent["seq"]],
        "edge_dollars": format_money(intent["edge_e6"]),
        "probability": intent["probability"],
        "attempt": intent["attempt"],
        "label": intent["label"],
    }


def fill_map(row: dict[str, Any]) -> dict[str, Any]:
    """Return one fill from its row in the journal."""
    return {
        "id": row["id"],
        "order": row["number"],
        "ticker": row["ticker"],
        "event_ticker": row["event_ticker"],
        "side": row["side"],
        "price_dollars": format_price(row["price_e4"]),
        "count_fp": format_count(row["count_e2"]),
        "cost_dollars": format_money(row["cost_e6"]),
        "fee_dollars": format_money(row["fee_e6"]),
        "time": row["time_ms"] / 1000,
    }


def settlement_map(row: dict[str, Any]) -> dict[str, Any]:
    """Return one settlement from its row in the journal."""
    return {
        "id": row["id"],
        "ticker": row["ticker"],
        "event_ticker": row["event_ticker"],
        "side": row["side"],
        "count_fp": format_count(row["count_e2"]),
        "result": row["result"],
        "value_dollars": format_price(row["value_e4"]),
        "cost_dollars": format_money(row["cost_e6"]),
        "payout_dollars": format_money(row["payout_e6"]),
        "profit_dollars": format_money(row["payout_e6"] - row["cost_e6"]),
        "time": row["time_ms"] / 1000,
    }


def point_map(row: dict[str, Any]) -> dict[str, Any]:
    """Return one point of the equity curve from its row in the journal."""
    cash_e6, positions_e6 = row["cash_e6"], row["positions_e6"]
    return {
        "time": row["time_ms"] / 1000,
        "cash_dollars": format_money(cash_e6),
        "positions_dollars": _money(positions_e6),
        "equity_dollars": _money(None if positions_e6 is None else cash_e6 + positions_e6),
        "realised_dollars": format_money(row["realised_e6"]),
        "fees_dollars": format_money(row["fees_e6"]),
    }


def _by_cost(engine: Engine) -> list[Position]:
    return sorted(engine.ledger.positions.values(), key=lambda one: (-one.cost_e6, one.ticker))


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
