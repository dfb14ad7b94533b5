"""Judges rules against observations and returns alerts. Pure: all that it remembers is in `Memory`.

There are two sorts of rules. *Conditions* hold for a while (a price beyond its mark, old data, a process
that is down): an alert is sent when one begins, and again only after it has been over for CLEAR_MS, so that
flickering causes a single alert. *Events* (a fill, a refusal, a settlement) are numbered and alerted once
each. The memory is kept on disk, so a restart repeats nothing and catches up on what happened meanwhile.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from bus.alerting import (
    TITLES,
    AnyRule,
    DriftRule,
    EdgeRule,
    FillRule,
    LimitRule,
    PriceRule,
    ProcessRule,
    RefusedRule,
    SettledRule,
    StaleRule,
    kind_of,
    words_of,
)
from bus.trading import reasons
from bus.trading.shapes import TraderStatus
from markets.orders import OrderState
from markets.records import Quote
from markets.units import PRICE_ONE_E4

from .seen import Alert, Seen, TraderSeen, Up

CLEAR_MS: Final = 60_000
"""How long a condition must be over before it can cause another alert."""

GONE_MS: Final = 60_000
"""How long a market must be missing from the catalogue to count as gone; a repair takes less."""

EDGE_BACK: Final = 0.8
"""An edge is over when it falls below this share of the rule's least."""

LIMIT_BACK_PERCENT: Final = 10
START_MS: Final = 120_000
"""How long a start may take."""

HOLDS_MOST: Final = 500
"""Most conditions of one rule that are remembered. Any more wait, unsent, until another is over."""

ACCOUNT: Final = "account"
GONE: Final = "gone"
NUMBERS_MOST: Final = 2_000
TEXT_MOST: Final = 300

_HALTED: Final = frozenset(
    {reasons.HALTED, reasons.DRIFT, reasons.OTHER_ACCOUNT, reasons.DAILY_LOSS, reasons.NO_GATEWAY}
)
"""Reasons for which a trader does not trade although nobody told it to stop."""

_LIMITS: Final = {
    "total": "total at stake",
    "daily_loss": "daily loss",
    "open_orders": "open orders",
    "orders_per_minute": "orders per minute",
}


class Held(msgspec.Struct):
    """A condition that was alerted. `over_ms`: since when it no longer holds, None while it does."""

    text: str
    since_ms: int
    over_ms: int | None = None


class RuleMemory(msgspec.Struct):
    """What is remembered of a rule.

    Attributes:
        about: what the rule was about; a rule that is changed starts over.
        armed: for a price: whether it has been seen on the other side.
        absent_ms: since when the rule's market has been missing, None while it is there.
    """

    about: str = ""
    armed: bool = False
    absent_ms: int | None = None
    held: dict[str, Held] = {}


class Journal(msgspec.Struct):
    """How far a trader's journal has been alerted: highest ids; and refused orders, which come unordered."""

    fill: int = 0
    settlement: int = 0
    refused: list[int] = []


class Memory(msgspec.Struct):
    """All that must survive a restart."""

    rules: dict[int, RuleMemory] = {}
    journals: dict[str, Journal] = {}
    restarts: dict[str, int] = {}

    def marks(self) -> object:
        """Return what must differ for the memory to be worth writing: texts change with every price."""
        rules = [
            (number, one.about, one.armed, one.absent_ms, [*one.held]) for number, one in self.rules.items()
        ]
        journals = [(name, one.fill, one.settlement, len(one.refused)) for name, one in self.journals.items()]
        return rules, journals, dict(self.restarts)


class Judged(NamedTuple):
    """The state of a rule: which conditions hold, and why it cannot be judged, None if it can."""

    holds: tuple[str, ...]
    problem: str | None


class _So(NamedTuple):
    """A rule's finding on one condition: "yes", "no" (it is over), or "unknown", which changes nothing."""

    key: str
    is_so: Literal["yes", "no", "unknown"]
    text: str


class Verdict(NamedTuple):
    """The alerts to send, and the state of each rule by its number."""

    alerts: list[Alert]
    rules: dict[int, Judged]


def judge(rules: Sequence[AnyRule], seen: Seen, memory: Memory) -> Verdict:
    """Judge all rules; `memory` is updated in place."""
    numbers = {rule.number for rule in rules}
    for number in [number for number in memory.rules if number not in numbers]:
        del memory.rules[number]
    news = _news(seen.trader, memory)
    pulses = _pulses(seen, memory)
    alerts: list[Alert] = []
    judged: dict[int, Judged] = {}
    for rule in rules:
        kept = memory.rules.setdefault(rule.number, RuleMemory())
        about = _about(rule)
        if kept.about != about:
            kept = memory.rules[rule.number] = RuleMemory(about=about)
        if not rule.on:
            kept.held.clear()
            kept.armed = False
            judged[rule.number] = Judged((), None)
            continue
        problem = None
        said: list[_So] = []
        match rule:
            case FillRule() | SettledRule() | RefusedRule():
                alerts += [_alert(rule, key, text) for key, text in news.of(rule)]
                if isinstance(rule, RefusedRule) and seen.trader.answers:
                    said = _others_over(_unknown_orders(seen.trader), kept.held)
            case PriceRule():
                price, problem = _price(rule, seen, kept)
                said = [] if price is None else [price]
                said.append(_gone(rule, seen, kept))
            case EdgeRule():
                said, problem = _edges(rule, seen)
                if problem is None:
                    said = _others_over(said, kept.held)
            case LimitRule():
                said = _limits(rule, seen.trader.status if seen.trader.answers else None)
            case StaleRule():
                said = _stale(seen)
            case ProcessRule():
                problem = None if seen.processes is not None else "the state of the processes is not known"
                if seen.processes is not None:
                    said = _others_over(_processes(seen.processes, pulses), kept.held)
            case DriftRule():
                said = _drift(seen)
        left_out, changes = _changes(rule, said, kept, seen.now_ms)
        alerts += changes
        if left_out and problem is None:
            problem = f"{HOLDS_MOST} conditions hold, which is the limit; {left_out} more are not sent"
        holds = tuple(
            one.text
            for key, one in kept.held.items()
            if one.over_ms is None
            and (not isinstance(rule, DriftRule) or key in seen.drift or key == ACCOUNT)
        )
        if problem is None and _of_trader(rule) and not seen.trader.answers:
            problem = "the trader does not answer"
        judged[rule.number] = Judged(holds, problem)
    return Verdict(alerts, judged)


def _about(rule: AnyRule) -> str:
    """Return the part of a rule that decides what it alerts to, without its note and how it is sent."""
    plain = msgspec.structs.replace(rule, number=0, on=True, urgent=False, ends=False, note="")
    return msgspec.json.encode(plain).decode()


def _of_trader(rule: AnyRule) -> bool:
    return isinstance(rule, FillRule | SettledRule | RefusedRule | LimitRule)


def _alert(rule: AnyRule, key: str, text: str, what: Literal["so", "over", "note"] = "so") -> Alert:
    text = f"{text} ({rule.note})" if rule.note else text
    return Alert(rule.number, TITLES[kind_of(rule)], key, clean(text), rule.urgent, what)


def clean(text: str) -> str:
    """Return a text that is safe to send: one line, no characters that reverse text, no @ mentions."""
    kept = "".join(char if char.isprintable() else " " for char in text).replace("@", "(at)")
    return kept if len(kept) <= TEXT_MOST else f"{kept[: TEXT_MOST - 1]}…"


def _changes(rule: AnyRule, said: Sequence[_So], kept: RuleMemory, now_ms: int) -> tuple[int, list[Alert]]:
    """Return how many conditions did not fit into the memory, and alerts for what began and what is over.

    Drift is alerted once for good: the exchange keeps sending it when the publisher starts counting again.
    """
    alerts: list[Alert] = []
    left_out = 0
    spoken_of = {so.key for so in said}
    silent = iter([key for key in kept.held if key not in spoken_of])
    for so in said:
        held = kept.held.get(so.key)
        if so.is_so == "yes" and held is None:
            if len(kept.held) >= HOLDS_MOST:
                # Forget only what has no finding now: anything else would be alerted again the next moment.
                oldest = next(silent, None)
                if oldest is None:
                    left_out += 1
                    continue
                del kept.held[oldest]
            kept.held[so.key] = Held(so.text, now_ms)
            alerts.append(_alert(rule, so.key, so.text, "note" if so.key == GONE else "so"))
        elif so.is_so == "yes" and held is not None:
            held.text, held.over_ms = so.text, None
        elif so.is_so == "no" and held is not None and held.over_ms is None:
            held.over_ms = now_ms
    for key, held in list(kept.held.items()):
        if held.over_ms is not None and not 0 <= now_ms - held.over_ms < CLEAR_MS:
            del kept.held[key]
            if rule.ends and key != GONE:
                alerts.append(_alert(rule, key, f"Over: {held.text}", "over"))
    return left_out, alerts


def _others_over(said: list[_So], held: Mapping[str, object]) -> list[_So]:
    """Return `said`, with a "no" added for every alerted condition that is not in it."""
    now = {so.key for so in said}
    return said + [_So(key, "no", "") for key in held if key not in now]


# -- prices


def _price(rule: PriceRule, seen: Seen, kept: RuleMemory) -> tuple[_So | None, str | None]:
    quote = seen.quotes.get(rule.ticker)
    if quote is None:
        if not seen.whole:
            kept.absent_ms = None  # not known: time without data does not count towards a minute's absence
            return None, "there is no data yet"
        if kept.absent_ms is None:
            kept.absent_ms = seen.now_ms
        return None, f"there is no market {rule.ticker}"
    kept.absent_ms = None
    price_e4 = _price_of(rule, quote)
    if price_e4 is None:
        return (
            None,
            "no bids" if rule.of == "bid" else "no offers" if rule.of == "ask" else "no trades yet",
        )
    at_e4 = _e4(rule.at_dollars)
    room_e4 = at_e4 if rule.crosses == "above" else PRICE_ONE_E4 - at_e4
    # No price comes back beyond 0 or $1; and without any margin a price at the mark would be back and beyond.
    back_e4 = max(1, min(_e4(rule.back_dollars), room_e4 // 2))
    beyond = price_e4 >= at_e4 if rule.crosses == "above" else price_e4 <= at_e4
    back = price_e4 < at_e4 if rule.crosses == "above" else price_e4 > at_e4
    if "price" in kept.held:  # already alerted: the price must come back by the margin
        back = price_e4 <= at_e4 - back_e4 if rule.crosses == "above" else price_e4 >= at_e4 + back_e4
    if back:
        kept.armed = True
        return _So("price", "no", ""), None
    if not beyond:
        return _So("price", "unknown", ""), None
    if not kept.armed:
        return None, None  # already beyond when the rule was made: it has not crossed
    title = seen.titles.get(rule.ticker, "")
    text = f"{rule.ticker}{f' ({title})' if title else ''}: {rule.of} of YES is {price_e4 / 100:g}c, "
    return _So("price", "yes", f"{text}{rule.crosses} {at_e4 / 100:g}c"), None


def _gone(rule: PriceRule, seen: Seen, kept: RuleMemory) -> _So:
    """Return whether the market of a rule is gone; call after `_price`."""
    if kept.absent_ms is None:
        return _So(GONE, "no" if rule.ticker in seen.quotes else "unknown", "")
    gone = seen.now_ms - kept.absent_ms >= GONE_MS
    return _So(GONE, "yes" if gone else "unknown", f"{rule.ticker}: this market no longer exists")


def _price_of(rule: PriceRule, quote: Quote) -> int | None:
    """Return the price that a rule watches; a side of a book exists only if its size is positive."""
    if rule.of == "bid":
        return quote.yes_bid_e4 if quote.yes_bid_size_e2 > 0 else None
    if rule.of == "ask":
        return quote.yes_ask_e4 if quote.yes_ask_size_e2 > 0 else None
    return quote.last_price_e4 or None


def _e4(dollars: str) -> int:
    return int(Decimal(dollars) * 10_000)


# -- edges


def _edges(rule: EdgeRule, seen: Seen) -> tuple[list[_So], str | None]:
    if seen.edges is None:
        return [], "the events have not been scanned yet"
    if seen.health.stale:
        return [], "the data is old, so nothing counts as tradable"
    least_e6 = int(Decimal(rule.least_dollars) * 1_000_000)
    said: dict[str, _So] = {}
    for edge in seen.edges:
        key = edge.event_ticker
        if key in said or (rule.series and edge.series_ticker != rule.series):
            continue  # only the best of an event, which comes first
        if edge.net_edge_e6 >= least_e6:
            said[key] = _So(key, "yes", edge.text)
        elif edge.net_edge_e6 >= least_e6 * EDGE_BACK:
            said[key] = _So(key, "unknown", "")
    return [*said.values()], None


# -- the trader


class _News(NamedTuple):
    """What has happened since the last time, as (key, text), oldest first."""

    fills: list[tuple[str, str]]
    refused: list[tuple[str, str]]
    settled: list[tuple[str, str]]

    def of(self, rule: FillRule | RefusedRule | SettledRule) -> list[tuple[str, str]]:
        if isinstance(rule, FillRule):
            return self.fills
        return self.refused if isinstance(rule, RefusedRule) else self.settled


def _news(trader: TraderSeen, memory: Memory) -> _News:
    """Return what is new in a trader's lists; what was there at the first look is not alerted."""
    news = _News([], [], [])
    status = trader.status
    if status is None or not trader.answers:
        return news
    first = status.journal not in memory.journals
    known = memory.journals.setdefault(status.journal, Journal())
    while len(memory.journals) > 10:
        memory.journals.pop(next(iter(memory.journals)))
    for fill in sorted(trader.fills, key=lambda row: row.id):
        if fill.id > known.fill:
            known.fill = fill.id
            price = f"{fill.count_fp} {fill.side.upper()} of {fill.ticker} at {_cents(fill.price_dollars)}"
            text = f"Filled: {price}, fee ${Decimal(fill.fee_dollars):.4f} (order {fill.order})"
            news.fills.append((f"fill:{fill.id}", text))
    for row in sorted(trader.settlements, key=lambda row: row.id):
        if row.id > known.settlement:
            known.settlement = row.id
            profit = Decimal(row.profit_dollars)
            said = (
                f"Settled: {row.ticker} is {row.result.upper()}; {row.count_fp} {row.side.upper()} held paid "
            )
            text = f"{said}${Decimal(row.payout_dollars):,.2f}, profit before fees ${profit:+,.2f}"
            news.settled.append((f"settled:{row.id}", text))
    told = set(known.refused)
    for order in sorted(trader.orders, key=lambda row: row.number):
        if order.status is OrderState.REJECTED and order.number not in told:
            known.refused.append(order.number)
            why = reasons.why_ended(order.reason) if order.reason else "no reason given"
            what = f"{order.count_fp} {order.side.upper()} of {order.ticker}"
            text = f"Refused: order {order.number}, {what}: {why}"
            news.refused.append((f"refused:{order.number}", text))
    del known.refused[:-NUMBERS_MOST]
    return _News([], [], []) if first else news


def _unknown_orders(trader: TraderSeen) -> list[_So]:
    status = trader.status
    if status is None or not trader.answers:
        return []
    return [
        _So(
            f"unknown:{order.number}",
            "yes",
            f"Unknown: what became of order {order.number} in {order.ticker} is not known: "
            f"{order.reason.replace('_', ' ')}",
        )
        for order in status.unknown
    ]


def _limits(rule: LimitRule, status: TraderStatus | None) -> list[_So]:
    if status is None:
        return []
    said = []
    for name, words in _LIMITS.items():
        share = getattr(status.use, name) * 100
        text = f"{share:.0f} % of the limit in use: {words}"
        near, back = share >= rule.percent, share < rule.percent - min(LIMIT_BACK_PERCENT, rule.percent / 2)
        said.append(_So(name, "yes" if near else "no" if back else "unknown", text))
    return said


# -- everything else


def _stale(seen: Seen) -> list[_So]:
    health, said = seen.health, []
    age = "of unknown age" if health.age_s is None else f"{health.age_s:.0f} s old"
    if not health.epoch:
        said.append(_So("none", "yes" if seen.up_ms >= START_MS else "unknown", "There is no data at all"))
    else:
        said.append(_So("none", "no", ""))
        why = f", {health.publisher.error}" if health.publisher is not None and health.publisher.error else ""
        said.append(_So("stale", "yes" if health.stale else "no", f"The data is {age}{why}"))
        lost = health.feed == "lost"
        said.append(_So("lost", "yes" if lost else "no", "Nothing is heard from the publisher"))
    status = seen.trader.status if seen.trader.answers else None
    if status is not None:
        halted = [reason for reason in (status.state, *status.reasons) if reason in _HALTED]
        words = reasons.HALTS[halted[0]] if halted else ""
        text = f"The trader is not trading: {words}{f' ({status.error})' if status.error else ''}"
        said.append(_So("halted", "yes" if halted else "no", text))
    return said


def _pulses(seen: Seen, memory: Memory) -> dict[str, int]:
    """Return which processes have ended by themselves since the last time, and how often in all."""
    if seen.processes is None:
        return {}
    before, memory.restarts = memory.restarts, {name: up.restarts for name, up in seen.processes.items()}
    return {name: count for name, count in memory.restarts.items() if count > before.get(name, count)}


def _processes(processes: Mapping[str, Up], pulses: Mapping[str, int]) -> list[_So]:
    said = []
    for name, up in processes.items():
        if up.trouble is not None:
            said.append(_So(name, "yes", f"The {name} process {up.trouble}"))
        elif name in pulses:
            said.append(_So(name, "yes", f"The {name} process ended by itself and was restarted"))
        else:
            said.append(_So(name, "no", ""))
    return said


def _drift(seen: Seen) -> list[_So]:
    said = [_So(key, "yes", f"Not as documented: {text}") for key, text in seen.drift.items()]
    account = seen.trader.status.exchange_account if seen.trader.status and seen.trader.answers else None
    if account is not None:
        lines = "; ".join(account.drift)
        is_so: Literal["yes", "no"] = "yes" if account.drift else "no"
        said.append(_So(ACCOUNT, is_so, f"The exchange's account differs from the journal: {lines}"))
    return said


def _cents(dollars: str) -> str:
    return f"{(Decimal(dollars) * 100).normalize():f}c"


def describe(rule: AnyRule) -> str:
    """Return the text of a test of a rule."""
    return clean(f"Test of rule {rule.number}: {words_of(rule)}")
