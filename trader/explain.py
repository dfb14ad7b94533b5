"""`kalshi-bus trader explain`: an order's black box, and why something was not traded.

Of an order it shows the input that decided it (position in the feed, book as seen, fair values, the facts
that risk had), the intent, what went to the exchange and came back (from the order gateway's log, if there is
one), fills, settlement and money. Everything comes from the journal's rows and its inputs. Inputs are kept
for a week; if they are gone, it says so.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.trading.reasons import why_ended, why_refused
from markets.errors import StartupError
from markets.fees import fee_schedule
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.opportunities.legs import ladder, top
from markets.orders import Intent
from markets.records import FairValue
from markets.units import format_count, format_money, format_price, format_time
from trader.engine.asks import MANUAL
from trader.engine.inputs import ByHand, Data, Start, Values
from trader.engine.outputs import Place, Refused, Undone
from trader.engine.risk import Limits
from trader.journal.reader import Reader, Step, readable
from trader.ledger.ledger import CLOSED_BY_HAND, JOINED, Ledger
from trader.ledger.lots import trade_lots

LEVELS_SHOWN: Final = 5

AskGateway = Callable[[str, int], Mapping[str, Any] | None]
"""Journal and order number -> what the order gateway knows of the order; None if no gateway answers."""


class Decided(msgspec.Struct, frozen=True):
    """The step in which an order was placed, and the situation then."""

    session: int
    step: Step
    start: Start
    values: Mapping[str, FairValue]
    ledger: Ledger

    @property
    def views(self) -> Sequence[EventView]:
        """The events as seen then."""
        taken = self.step.taken
        return taken.views if isinstance(taken, Data | ByHand) else ()


def explain_order(path: Path, number: int, ask_gateway: AskGateway) -> dict[str, Any]:
    """Return an order's black box, for programs: money, prices and counts as text, times as Unix seconds.

    Raises:
        StartupError: the journal cannot be read, or has no such order.
    """
    with readable(path), closing(Reader(path)) as reader:
        row = reader.order(number)
        if row is None:
            raise StartupError(f"order {number}: there is none with that number in {path}")
        intent = msgspec.msgpack.decode(row["intent"], type=Intent)
        decided = _decided(reader, intent)
        record = reader.record()
        journal_id = reader.meta()["id"]
        fills = reader.fills_of(number)
        siblings = reader.orders_of(intent.trade)
        settlement = reader.settlement_of(intent.ticker)
    lots = trade_lots(record)
    closed = [part for part in lots.closed if (part.trade, part.ticker) == (intent.trade, intent.ticker)]
    held = [lot for lot in lots.held if (lot.trade, lot.ticker) == (intent.trade, intent.ticker)]
    return {
        "order": number,
        "trade": intent.trade,
        "trade_orders": [
            {"order": one["number"], "ticker": one["ticker"], "side": one["side"], "status": one["status"]}
            for one in siblings
        ],
        "what": _what(intent),
        "decision": None if decided is None else _decision(decided, intent),
        "intent": {
            "client_order_id": intent.client_order_id,
            "strategy": intent.strategy,
            "ticker": intent.ticker,
            "event_ticker": intent.event_ticker,
            "side": intent.side,
            "limit_dollars": format_price(intent.price_e4),
            "count_fp": format_count(intent.count_e2),
            "reserve_dollars": format_money(intent.reserve_e6),
            "edge_dollars": format_money(intent.edge_e6),
            "probability": intent.probability,
            "fee_type": intent.fee_type,
            "time_in_force": intent.time_in_force,
            "expires": _seconds(intent.expires_ms),
            "created": intent.created_ms / 1000,
            "valid_until": intent.valid_until_ms / 1000,
            "basis": [intent.epoch, intent.seq],
            "exchange_index": intent.exchange_index,
            "attempt": intent.attempt,
        },
        "gateway": ask_gateway(journal_id, number),
        "status": row["status"],
        "reason": row["reason"],
        "ended": _seconds(row["ended_ms"]),
        "fills": [
            {
                "time": fill["time_ms"] / 1000,
                "price_dollars": format_price(fill["price_e4"]),
                "count_fp": format_count(fill["count_e2"]),
                "cost_dollars": format_money(fill["cost_e6"]),
                "fee_dollars": format_money(fill["fee_e6"]),
                "exchange_id": fill.get("fill_id") or None,
            }
            for fill in fills
        ],
        "settlement": None
        if settlement is None
        else {
            "time": settlement["time_ms"] / 1000,
            "result": settlement["result"],
            "value_dollars": format_price(settlement["value_e4"]),
        },
        "money": {
            "paid_dollars": format_money(sum(fill["cost_e6"] for fill in fills)),
            "fees_dollars": format_money(sum(fill["fee_e6"] for fill in fills)),
            "trade_here": {
                "held_fp": format_count(sum(lot.count_e2 for lot in held)),
                "held_cost_dollars": format_money(sum(lot.cost_e6 for lot in held)),
                "sold_or_settled_fp": format_count(sum(part.count_e2 for part in closed)),
                "proceeds_dollars": format_money(sum(part.proceeds_e6 for part in closed)),
                "gain_dollars": format_money(sum(part.gain_e6 for part in closed)),
            },
        },
    }


def _what(intent: Intent) -> str:
    if intent.attempt == JOINED:
        return f"it joins trade {intent.trade}"
    if intent.attempt >= CLOSED_BY_HAND:
        return "a person's sale of a position"
    if intent.attempt:
        return f"attempt {intent.attempt} to even out the basket"
    return "a person's own order" if intent.strategy == MANUAL else f"a trade of strategy {intent.strategy}"


def _decided(reader: Reader, intent: Intent) -> Decided | None:
    """Find the input that decided an order; None if it is not kept any more."""
    for session in reader.sessions_around(intent.created_ms):
        for step in reader.steps_with(session, Place.__name__):
            if any(isinstance(out, Place) and out.intent.number == intent.number for out in step.outputs):
                return _with_facts(reader, session, step, intent)
    return None


def _with_facts(reader: Reader, session: int, step: Step, intent: Intent) -> Decided | None:
    values: dict[str, FairValue] = {}
    start: Start | None = None
    for taken in reader.said_before(session, step.number):
        if isinstance(taken, Start):
            start = taken
        elif isinstance(taken, Values):
            values.update((value.ticker, value) for value in taken.set)
            for ticker in taken.removed:
                values.pop(ticker, None)
    if start is None:
        return None
    first = min(
        out.intent.number
        for out in step.outputs
        if isinstance(out, Place) and (out.intent.trade, out.intent.attempt) == (intent.trade, intent.attempt)
    )
    return Decided(session, step, start, values, reader.ledger((session << 32) + step.number, first))


def _decision(decided: Decided, intent: Intent) -> dict[str, Any]:
    step, limits, ledger = decided.step, decided.start.limits, decided.ledger
    taken = step.taken
    value = decided.values.get(intent.ticker)
    return {
        "session": decided.session,
        "input": step.number,
        "kind": type(taken).__name__,
        "time": taken.now_ms / 1000,
        "epoch": intent.epoch,
        "seq": intent.seq,
        "sweep_complete": _seconds(taken.complete_ms) if isinstance(taken, Data | ByHand) else None,
        "ask": repr(taken.ask) if isinstance(taken, ByHand) else None,
        "fair_value": None
        if value is None
        else {"probability": value.probability, "source": value.source, "as_of": value.as_of_ms / 1000},
        "market": next(
            (
                _seen(view, seen, intent.side, taken.now_ms, decided.start.scan)
                for view in decided.views
                for seen in view.markets
                if seen.market.ticker == intent.ticker
            ),
            None,
        ),
        "risk": _risk(ledger, limits, intent),
    }


def _seen(view: EventView, seen: MarketView, side: str, now_ms: int, scan: ScanLimits) -> dict[str, Any]:
    best, asks, fees = top(seen), ladder(seen, side, scan), fee_schedule(view.event, view.series)
    return {
        "status": str(seen.quote.status),
        "yes_bid": _level(best.yes_bid),
        "yes_ask": _level(best.yes_ask),
        "suspect": seen.suspect,
        "age_seconds": (now_ms - asks.as_of_ms) / 1000,
        f"{side}_asks": [_level(level) for level in asks.levels[:LEVELS_SHOWN]],
        "fee_type": None if fees is None else fees.fee_type,
        "starts": _seconds(view.timing.start_ms),
        "closes": _seconds(seen.market.close_ms),
    }


def _risk(ledger: Ledger, limits: Limits, intent: Intent) -> dict[str, Any]:
    event = intent.event_ticker
    before = (
        ("order", 0, limits.order_e6),
        ("market", ledger.at_stake_e6(event, ticker=intent.ticker), limits.market_e6),
        ("event", ledger.at_stake_e6(event), limits.event_e6),
        ("total", ledger.at_stake_e6(), limits.total_e6),
    )
    return {
        "at_stake_before": {
            name: {"dollars": format_money(stake_e6), "limit_dollars": format_money(limit_e6)}
            for name, stake_e6, limit_e6 in before
        },
        "this_order_dollars": format_money(intent.reserve_e6),
        "cash_free_dollars": format_money(ledger.free_e6),
        "open_orders": len(ledger.open),
        "open_orders_limit": limits.open_orders,
        "least_edge_dollars": format_money(limits.min_edge_e6),
    }


def explain_untraded(path: Path, name: str) -> dict[str, Any]:
    """Return why an event, or a market's event, was not traded: each reason, and how often it was news.

    Raises:
        StartupError: the journal cannot be read.
    """
    counts: Counter[tuple[str, str]] = Counter()
    times: dict[tuple[str, str], list[float]] = {}
    first_ms: int | None = None
    with readable(path), closing(Reader(path)) as reader:
        for session in reader.sessions():
            first_ms = reader.session_began_ms(session) if first_ms is None else first_ms
            for step in reader.steps_with(session, Refused.__name__, Undone.__name__):
                for who, reason in _refusals(step, name):
                    key = who, reason
                    counts[key] += 1
                    times.setdefault(key, []).append(step.taken.now_ms / 1000)
        orders = reader.orders_about(name)
    return {
        "about": name,
        "since": _seconds(first_ms),
        "refused": [
            {
                "strategy": who,
                "reason": reason,
                "why": why_refused(reason),
                "times": number,
                "first": times[who, reason][0],
                "last": times[who, reason][-1],
            }
            for (who, reason), number in counts.most_common()
        ],
        "orders": [
            {
                "order": row["number"],
                "ticker": row["ticker"],
                "status": row["status"],
                "reason": row["reason"],
            }
            for row in orders
        ],
    }


def _refusals(step: Step, name: str) -> Iterable[tuple[str, str]]:
    for output in step.outputs:
        if isinstance(output, Refused) and _is_about(output.event_ticker, name):
            yield output.strategy, output.reason
        elif isinstance(output, Undone) and _is_about(output.subject, name):
            yield f"{MANUAL}: {output.op}", output.reason


def _is_about(ticker: str, name: str) -> bool:
    """Whether they are the same, or one is a market of the other: its ticker begins with its event's."""
    return ticker == name or name.startswith(f"{ticker}-") or ticker.startswith(f"{name}-")


def untraded_text(found: Mapping[str, Any]) -> str:
    """Return the result of `explain_untraded` as lines for people."""
    lines = [f"{found['about']}, since {_time(found['since'])}"]
    for one in found["refused"]:
        last = _time(one["last"])
        lines.append(f"{one['times']:>6} x {one['strategy']}: {one['why']} ({one['reason']}), last {last}")
    if not found["refused"]:
        lines.append("nothing that a strategy or a person wanted there was refused")
    for order in found["orders"]:
        because = f": {why_ended(order['reason'])}" if order["reason"] else ""
        lines.append(f"order {order['order']} {order['ticker']}: {order['status']}{because}")
    if not found["orders"]:
        lines.append("nothing was ordered there")
    return "\n".join(lines)


def order_text(found: Mapping[str, Any]) -> str:
    """Return an order's black box as lines for people."""
    intent, decision = found["intent"], found["decision"]
    side = intent["side"].upper()
    lines = [
        f"order {found['order']} of trade {found['trade']}: {found['what']}",
        f"  buy {intent['count_fp']} {side} of {intent['ticker']} at {intent['limit_dollars']} or better",
        "decided",
    ]
    if decision is None:
        lines.append("  the inputs of that session are gone (they are kept for a week)")
    else:
        lines += _decision_lines(decision, intent)
    lines += [
        "intent",
        f"  at {_time(intent['created'])}, valid until {_time(intent['valid_until'])}",
        f"  {intent['time_in_force']}, client order id {intent['client_order_id']}",
        f"  reserves {intent['reserve_dollars']}, edge {intent['edge_dollars']}",
        *([f"  probability of YES {intent['probability']}"] if intent["probability"] is not None else []),
        "order gateway",
        *_gateway_lines(found["gateway"]),
        f"became {found['status']}" + (f": {why_ended(found['reason'])}" if found["reason"] else ""),
    ]
    lines += [
        f"  {_time(fill['time'])} {fill['count_fp']} at {fill['price_dollars']}, fee {fill['fee_dollars']}"
        for fill in found["fills"]
    ]
    settled, money = found["settlement"], found["money"]
    if settled is not None:
        lines.append(f"settled {settled['result']} at {settled['value_dollars']}, {_time(settled['time'])}")
    here = money["trade_here"]
    lines += [
        f"paid {money['paid_dollars']} and {money['fees_dollars']} in fees",
        f"the trade here holds {here['held_fp']}",
        f"  closed {here['sold_or_settled_fp']} for {here['proceeds_dollars']}, gain {here['gain_dollars']}",
    ]
    others = [f"{one['order']} ({one['status']})" for one in found["trade_orders"]]
    lines.append(f"orders of the trade: {', '.join(others)}")
    return "\n".join(lines)


def _decision_lines(decision: Mapping[str, Any], intent: Mapping[str, Any]) -> list[str]:
    lines = [
        f"  on input {decision['input']} ({decision['kind']}) of session {decision['session']}",
        f"  {_time(decision['time'])}, at epoch {decision['epoch']}, seq {decision['seq']}",
    ]
    if decision["ask"]:
        lines.append(f"  asked: {decision['ask']}")
    market = decision["market"]
    if market is None:
        lines.append("  the market was not part of that input")
    else:
        asks = ", ".join(map(str, market[f"{intent['side']}_asks"])) or "none"
        lines += [
            f"  {market['status']}, YES bid {market['yes_bid'] or 'none'}, ask {market['yes_ask'] or 'none'}",
            f"  seen {market['age_seconds']} s before",
            f"  {intent['side'].upper()} offered: {asks}",
        ]
    value = decision["fair_value"]
    if value is not None:
        lines.append(f"  fair value of YES {value['probability']} from {value['source']}")
    risk = decision["risk"]
    lines += [
        f"  at stake before in its {name}: {at['dollars']} of {at['limit_dollars']}"
        for name, at in risk["at_stake_before"].items()
        if name != "order"
    ]
    free, held = risk["cash_free_dollars"], risk["open_orders"]
    return [*lines, f"  cash free {free}, {held} of {risk['open_orders_limit']} orders open"]


def _gateway_lines(known: Mapping[str, Any] | None) -> list[str]:
    if known is None:
        return ["  none answers: the order was filled on paper, or ask again where the gateway runs"]
    if not known.get("found"):
        return ["  it never had this order"]
    lines = [f"  {known.get('state')}: exchange order id {known.get('order_id') or 'unknown'}"]
    for one in known.get("exchanged", ()):
        answer = f"{one['status']} {one['reply']}" if one["status"] else f"no answer {one['trouble']}"
        sent = _time((one.get("sent_ms") or one["signed_ms"]) / 1000)
        lines += [f"  {sent} {one['what']} {one['path']} {one['body']}", f"    {answer}"]
    return lines


def _level(level: tuple[int, int] | None) -> str | None:
    return None if level is None else f"{format_count(level[1])} at {format_price(level[0])}"


def _seconds(time_ms: int | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else format_time(round(seconds * 1000))
