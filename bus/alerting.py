"""What alerts and dashboard exchange: the rules, and the answers on `alerts_control`.

docs/alerts.md as types. A rule says what is worth an alert; only alerts/ judges it. Prices are dollars as
text with four decimals, money with six, times are Unix seconds.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from bus.trading.asked import asked
from bus.trading.shapes import MoneyText, PriceText, Shape, TickerText, UnixTime
from markets.errors import BadRecord

RULES_MOST: Final = 200
NOTE_MOST: Final = 100
HISTORY_MOST: Final = 200
"""How many messages are kept, the newest."""

CLOCK: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d", re.ASCII)

Series = Annotated[str, msgspec.Meta(max_length=200)]
Note = Annotated[str, msgspec.Meta(max_length=NOTE_MOST)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31, description="a whole number from 0 to 2^31")]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What somebody wants to be alerted to.

    Attributes:
        number: identifies it for good; 0 before it has one.
        on: whether it is judged. urgent: sent even in quiet hours.
        ends: whether the end of a condition is sent, too.
        note: its owner's words, sent with each alert.
    """

    number: Number = 0
    on: bool = True
    urgent: bool = False
    ends: bool = False
    note: Note = ""


class PriceRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="price"):
    """A price of YES crosses `at_dollars`, coming from the other side.

    It is sent again only after the price has come back by `back_dollars` in between.

    Attributes:
        of: the best bid, the best ask, or the last trade.
        series: that of the market, "" for what its ticker begins with.
    """

    ticker: TickerText
    of: Literal["bid", "ask", "last"] = "bid"
    crosses: Literal["above", "below"] = "above"
    at_dollars: PriceText
    back_dollars: PriceText = "0.0100"
    series: Series = ""


class EdgeRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="edge"):
    """Something tradable whose profit after fees is `least_dollars` or more, in one series or in all ("")."""

    least_dollars: MoneyText
    series: Series = ""


class FillRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fill"):
    """An order was filled, in whole or in part."""


class RefusedRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="refused"):
    """An order was refused, or what became of it is not known."""


class LimitRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="limit"):
    """So much of a trader's limit is in use: total, daily loss, open orders, orders per minute."""

    percent: Annotated[int, msgspec.Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 80


class StaleRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="stale"):
    """The data is old, nothing is heard, or the trader is not trading although nobody stopped it."""


class ProcessRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="process"):
    """A process is down, or has been restarted."""


class SettledRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="settled"):
    """A market with a position was settled."""


class DriftRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="drift"):
    """The exchange departs from its documentation, or its account differs from the journal."""


AnyRule = (
    PriceRule
    | EdgeRule
    | FillRule
    | RefusedRule
    | LimitRule
    | StaleRule
    | ProcessRule
    | SettledRule
    | DriftRule
)

RULES: Final[Mapping[str, type[AnyRule]]] = {
    "price": PriceRule,
    "edge": EdgeRule,
    "fill": FillRule,
    "refused": RefusedRule,
    "limit": LimitRule,
    "stale": StaleRule,
    "process": ProcessRule,
    "settled": SettledRule,
    "drift": DriftRule,
}
"""Every kind of rule."""

TITLES: Final[Mapping[str, str]] = {
    "price": "Price crosses",
    "edge": "Edge above",
    "fill": "Order filled",
    "refused": "Order refused or unknown",
    "limit": "Limit near",
    "stale": "Data old or trader halted",
    "process": "Process down",
    "settled": "Market settled",
    "drift": "Drift",
}
"""The titles of the kinds."""


class Quiet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when to when, by the clock of `zone`, only urgent alerts are sent; "" and "" for never."""

    begins: str = ""
    ends: str = ""
    zone: str = "UTC"


def kind_of(rule: AnyRule) -> str:
    """Return the kind of a rule."""
    return str(type(rule).__struct_config__.tag)


def words_of(rule: AnyRule) -> str:
    """Return what a rule is about, in one line."""
    match rule:
        case PriceRule():
            return f"{rule.ticker}: {rule.of} of YES {rule.crosses} {_cents(rule.at_dollars)}"
        case EdgeRule():
            where = f" in {rule.series}" if rule.series else ""
            return f"tradable for {_dollars(rule.least_dollars)} or more after fees{where}"
        case LimitRule():
            return f"{rule.percent} % of a limit in use"
        case _:
            return (type(rule).__doc__ or "").split(".")[0]


def check_rule(said: object) -> AnyRule:
    """Return a rule given from outside.

    Raises:
        BadRecord: it is not a rule; names the member.
    """
    kind = said.get("kind") if isinstance(said, Mapping) else said
    if not isinstance(said, Mapping) or not isinstance(kind, str) or kind not in RULES:
        raise BadRecord("kind", kind, f"one of {', '.join(RULES)}")
    rule = asked(dict(said), RULES[kind])
    if not rule.note.isprintable():
        raise BadRecord("note", rule.note, "printable characters in one line")
    if isinstance(rule, PriceRule):
        if not rule.ticker.isprintable() or rule.ticker != rule.ticker.strip():
            raise BadRecord("ticker", rule.ticker, "the ticker of a market")
        if not Decimal(0) < Decimal(rule.at_dollars) < Decimal(1):
            raise BadRecord("at_dollars", rule.at_dollars, "above 0.0000 and below 1.0000")
        if Decimal(rule.back_dollars) >= Decimal(1):
            raise BadRecord("back_dollars", rule.back_dollars, "below 1.0000")
    if isinstance(rule, EdgeRule) and Decimal(rule.least_dollars) <= 0:
        raise BadRecord("least_dollars", rule.least_dollars, "above 0")
    return rule


def check_quiet(said: object) -> Quiet:
    """Return quiet hours given from outside.

    Raises:
        BadRecord: they are not valid; names the member.
    """
    if not isinstance(said, Mapping):
        raise BadRecord("quiet", said, "begins, ends and zone")
    quiet = asked(said, Quiet)
    for member in ("begins", "ends"):
        text = getattr(quiet, member)
        if not CLOCK.fullmatch(text) and (quiet.begins or quiet.ends):
            raise BadRecord(member, text, "a time of day such as 22:30, or both empty")
    try:
        ZoneInfo(quiet.zone)
    except (ValueError, OSError, KeyError):  # also ZoneInfoNotFoundError; a path, a folder
        raise BadRecord("zone", quiet.zone, "the name of a time zone such as Europe/Berlin") from None
    return quiet


def price_text(text: str) -> str:
    """Return cents, as a person types them, as a price in dollars; text that is not a number is kept."""
    try:
        return f"{Decimal(text) / 100:.4f}"
    except (InvalidOperation, ValueError):
        return text


def money_text(text: str) -> str:
    """Return dollars, as a person types them, with six decimals; text that is not a number is kept."""
    try:
        return f"{Decimal(text):.6f}"
    except (InvalidOperation, ValueError):
        return text


def _cents(price: str) -> str:
    return f"{(Decimal(price) * 100).normalize():f}c"


def _dollars(money: str) -> str:
    amount = Decimal(money)
    return f"${amount:,.2f}" if amount == amount.quantize(Decimal("0.01")) else f"${amount.normalize():f}"


# -- answers


class WayRow(Shape, frozen=True, kw_only=True):
    """A way out, by name and scheme: its URL is a secret.

    `state`: "unused", "works" or "fails"; `error`: the last error; `waiting`: messages not sent yet.
    """

    name: str
    scheme: str
    state: Literal["unused", "works", "fails"]
    waiting: int
    error: str | None
    since: UnixTime | None


class RuleRow(Shape, frozen=True, kw_only=True):
    """A rule and its state: `holds` lists conditions that hold, `problem` says why it cannot be judged."""

    rule: dict[str, Any]
    title: str
    words: str
    holds: tuple[str, ...]
    problem: str | None


class MessageRow(Shape, frozen=True, kw_only=True):
    """A message.

    Attributes:
        number: counts all messages. rule: its number, 0 if none. told: how many alerts it holds.
        quiet: it was, or will be, sent after the quiet hours.
        ways: name of each way -> "waits", "sending", "delivered", "undelivered" or "uncertain".
        error: why it was not delivered, if it was not.
    """

    number: int
    at: UnixTime
    rule: int
    title: str
    text: str
    urgent: bool
    quiet: bool
    told: int
    ways: dict[str, str]
    error: str | None


class HeartbeatRow(Shape, frozen=True, kw_only=True):
    """The dead man's switch: `state` is "off", "beats", "held back" or "fails"; `why` in words."""

    state: Literal["off", "beats", "held back", "fails"]
    why: str | None
    beaten: UnixTime | None


class AlertsAnswer(Shape, frozen=True, kw_only=True):
    """To `alerts`: everything. `last` is the number of the newest message; `problems`: what is wrong here."""

    now: UnixTime
    rules: tuple[RuleRow, ...]
    messages: tuple[MessageRow, ...]
    last: int
    ways: tuple[WayRow, ...]
    quiet: Quiet
    quiet_now: bool
    heartbeat: HeartbeatRow
    problems: tuple[str, ...]


class DoneAnswer(Shape, frozen=True, kw_only=True):
    """To `set_rule`, `remove_rule`, `set_quiet` and `test`: the number of the rule, or of the message."""

    number: int
