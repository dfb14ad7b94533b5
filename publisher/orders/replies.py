"""What Kalshi's answers about orders say. Pure, and lenient: only useless answers raise.

The rule for the unknown: a 4xx in the exchange's own words is a refusal, all else leaves open what was done.
"""

from typing import Any, Final, NamedTuple

import msgspec

from markets.errors import BadRecord
from markets.json.decoding import LARGEST, legible
from markets.orders import Fill
from markets.units import (
    MAX_TIME_MS,
    PRICE_ONE_E4,
    opposite,
    parse_count_e2,
    parse_decimal,
    parse_price_e4,
    parse_signed_count_e2,
    parse_time_ms,
)

ALREADY_EXISTS: Final = "order_already_exists"

MOST_E2: Final = LARGEST // PRICE_ONE_E4
"""No count is larger: what it costs, too, is a number that everything here and on the bus can hold."""

_DECODER: Final = msgspec.json.Decoder()


class Created(NamedTuple):
    """An order in the answer to a create or amend. None is unknown."""

    order_id: str
    client_order_id: str
    filled_e2: int | None
    remaining_e2: int | None
    ts_ms: int | None


class SeenOrder(NamedTuple):
    """An order as it is listed. `price_e4` is a YES price."""

    order_id: str
    client_order_id: str
    ticker: str
    shard: int
    side: str
    status: str
    price_e4: int
    filled_e2: int
    remaining_e2: int
    initial_e2: int | None
    expires_ms: int | None
    updated_ms: int | None


class Named(NamedTuple):
    """Which order is listed, and where, as far as that can be read: what it takes to end it.

    Attributes:
        order_id, ticker: "" if it cannot be read. shard: None.
        client_order_id: "" if it has none, None if it cannot be read.
    """

    order_id: str
    client_order_id: str | None
    ticker: str
    shard: int | None


class SeenFill(NamedTuple):
    """A fill as it is listed; the price of `fill` is that of `side`."""

    order_id: str
    ticker: str
    shard: int
    side: str
    fill: Fill


class UnreadableFill(NamedTuple):
    """What can be read of a fill that cannot be read; "" and None are unknown."""

    order_id: str
    ticker: str
    time_ms: int | None


def members(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        BadRecord: it is not one.
    """
    try:
        found = _DECODER.decode(legible(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRecord("body", body[:40], "a JSON object")
    return found


def error_code(body: bytes) -> str | None:
    """Return the code of a refusal in the exchange's own words; None if it is not the exchange speaking."""
    try:
        found = members(body)
    except BadRecord:
        return None
    inner = found.get("error", found)
    if isinstance(inner, str):
        return _word(inner)
    if isinstance(inner, dict):
        code = inner.get("code")
        if isinstance(code, str) and code:
            details = inner.get("details")
            return _word(f"{code}: {details}" if isinstance(details, str) and details else code)
    return "bad_request" if isinstance(found.get("msg"), str) else None


def _word(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[:200])
    code, colon, details = shown.partition(": ")
    return f"{code.strip().lower().replace(' ', '_')}{colon}{details}"[:120]


def created(body: bytes) -> Created | None:
    """Return what a create or amend made; None without an order id, or if it cannot be read."""
    try:
        return created_of(members(body))
    except BadRecord:
        return None


def created_of(found: dict[str, Any]) -> Created | None:
    """As `created`, from the members."""
    order_id = found.get("order_id")
    if not isinstance(order_id, str) or not order_id:
        return None
    own = found.get("client_order_id")
    return Created(
        order_id,
        own if isinstance(own, str) else "",
        _count(found.get("fill_count")),
        _count(found.get("remaining_count")),
        whole(found.get("ts_ms")),
    )


def queues(body: bytes) -> dict[str, int]:
    """Return how many contracts are before each order that is listed; what cannot be read is left out.

    Raises:
        BadRecord: it lists nothing.
    """
    listed = members(body).get("queue_positions")
    if listed is None:  # the exchange's word for an empty list, in some of its answers
        return {}
    if not isinstance(listed, list):
        raise BadRecord("queue_positions", listed, "a list")
    found: dict[str, int] = {}
    for one in listed:
        order_id = one.get("order_id") if isinstance(one, dict) else None
        ahead_e2 = _count(one.get("queue_position_fp")) if isinstance(order_id, str) else None
        if order_id and ahead_e2 is not None:
            found[order_id] = ahead_e2
    return found


def reduced(body: bytes) -> tuple[str, int | None, int | None] | None:
    """Return (order id, contracts that rested, the exchange's time) from a cancel's answer."""
    try:
        found = members(body)
    except BadRecord:
        return None
    order_id = found.get("order_id")
    return (
        order_id if isinstance(order_id, str) else "",
        _count(found.get("reduced_by")),
        whole(found.get("ts_ms")),
    )


def items(body: bytes) -> list[dict[str, Any]] | None:
    """Return the answers of a batch, in order; None if they cannot be read."""
    try:
        found = members(body).get("orders")
    except BadRecord:
        return None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        return None
    return found


def as_of_ms(body: bytes) -> int:
    """Return the time as of which lists are.

    Raises:
        BadRecord: it is not stated.
    """
    return parse_time_ms(members(body).get("as_of_time"), "as_of_time")


def page(body: bytes, key: str) -> tuple[list[Any], str]:
    """Return the elements of one page, and the next page's cursor, "" at the end.

    Raises:
        BadRecord: it is not a page.
    """
    found = members(body)
    listed = found.get(key)
    if not isinstance(listed, list):
        raise BadRecord(key, listed, "a list")
    cursor = found.get("cursor") or ""
    if not isinstance(cursor, str):
        raise BadRecord("cursor", cursor, "a cursor")
    return listed, cursor


def order(found: Any) -> SeenOrder:
    """Return an order as it is listed.

    Raises:
        BadRecord: it cannot be read.
    """
    if not isinstance(found, dict):
        raise BadRecord("order", found, "an object")
    expires, updated = found.get("expiration_time"), found.get("last_update_time")
    return SeenOrder(
        *_name(found),
        _side(found),
        text(found, "status"),
        parse_price_e4(found.get("yes_price_dollars"), "yes_price_dollars"),
        count_e2(found, "fill_count_fp"),
        count_e2(found, "remaining_count_fp"),
        _count(found.get("initial_count_fp")),
        parse_time_ms(expires, "expiration_time") if expires else None,
        parse_time_ms(updated, "last_update_time") if updated else None,
    )


def costing(found: Any) -> SeenOrder:
    """Return a resting order of which nothing needs to be legible but its name and what it may cost.

    Raises:
        BadRecord: that cannot be read.
    """
    if not isinstance(found, dict):
        raise BadRecord("order", found, "an object")
    order_id, own, ticker, _ = _name(found)
    return SeenOrder(
        order_id,
        own,
        ticker,
        whole_of(found, "exchange_index"),
        _side(found),
        "resting",
        parse_price_e4(found.get("yes_price_dollars"), "yes_price_dollars"),
        0,
        count_e2(found, "remaining_count_fp"),
        None,
        None,
        None,
    )


def named(found: object) -> Named:
    """Return which order is listed, as far as that can be read."""
    if not isinstance(found, dict):
        return Named("", None, "", None)
    order_id, own, ticker = (found.get(name) or "" for name in ("order_id", "client_order_id", "ticker"))
    return Named(
        order_id if isinstance(order_id, str) else "",
        own if isinstance(own, str) else None,
        ticker if isinstance(ticker, str) else "",
        whole(found.get("exchange_index")),
    )


def _name(found: dict[str, Any]) -> tuple[str, str, str, int]:
    own = found.get("client_order_id") or ""
    if not isinstance(own, str):
        raise BadRecord("client_order_id", own, "a text")
    shard = whole(found.get("exchange_index")) or 0
    return text(found, "order_id"), own, text(found, "ticker"), shard


def fill(found: Any) -> SeenFill:
    """Return a fill as it is listed.

    Raises:
        BadRecord: it cannot be read.
    """
    if not isinstance(found, dict):
        raise BadRecord("fill", found, "an object")
    side = _side(found)
    yes_e4 = parse_price_e4(found.get("yes_price_dollars"), "yes_price_dollars")
    filled_e2 = count_e2(found, "count_fp")
    return SeenFill(
        text(found, "order_id"),
        text(found, "ticker" if found.get("ticker") else "market_ticker"),
        whole(found.get("exchange_index")) or 0,
        side,
        Fill(
            price_e4=yes_e4 if side == "yes" else opposite(yes_e4),
            count_e2=filled_e2,
            fee_e6=money_e6(found, "fee_cost"),
            shown_e2=filled_e2,
            time_ms=_filled_ms(found),
            id=text(found, "fill_id" if found.get("fill_id") else "trade_id"),
            maker=found.get("is_taker") is False,
        ),
    )


def unreadable_fill(found: object) -> UnreadableFill:
    """Return what can be read of a fill."""
    name = named(found)
    try:
        at_ms = _filled_ms(found) if isinstance(found, dict) else None
    except BadRecord:
        at_ms = None
    return UnreadableFill(name.order_id, name.ticker, at_ms)


def _filled_ms(found: dict[str, Any]) -> int:
    """Return when a fill was made, as precisely as it says; both members are optional."""
    told, seconds = found.get("created_time"), whole(found.get("ts"))
    if told is None and seconds is not None:
        return time_ms(seconds, "ts") + 999  # rather not yet in a list than already
    return parse_time_ms(told, "created_time")


def _side(found: dict[str, Any]) -> str:
    side = found.get("outcome_side") or {"bid": "yes", "ask": "no"}.get(str(found.get("book_side")))
    if side not in ("yes", "no"):
        raise BadRecord("outcome_side", side, "yes or no")
    return str(side)


# -- what every member goes through: no number from outside is beyond what log, bus and readers can hold


def text(found: dict[str, Any], name: str) -> str:
    """Return a member that is a text.

    Raises:
        BadRecord: it is none, or empty.
    """
    told = found.get(name)
    if not isinstance(told, str) or not told:
        raise BadRecord(name, told, "a text")
    return told


def count_e2(found: dict[str, Any], name: str, *, signed: bool = False) -> int:
    """Return a member that is a count of contracts.

    Raises:
        BadRecord: it is none, is beyond MOST_E2, or is below 0 and not `signed`.
    """
    count = (parse_signed_count_e2 if signed else parse_count_e2)(found.get(name), name)
    if abs(count) > MOST_E2:
        raise BadRecord(name, found.get(name), "a number of contracts that there can be")
    return count


def money_e6(found: dict[str, Any], name: str) -> int:
    """Return a member that is an amount of dollars, as text.

    Raises:
        BadRecord: it is none, or beyond LARGEST.
    """
    return bounded(parse_decimal(found.get(name), 6, name), name)


def whole(number: object) -> int | None:
    """Return a whole number; None for what is none, or beyond LARGEST."""
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > LARGEST:
        return None
    return number


def whole_of(found: dict[str, Any], name: str) -> int:
    """Return a member that is a whole number, 0 if it is not there.

    Raises:
        BadRecord: it is none, or beyond LARGEST.
    """
    number = whole(found.get(name, 0))
    if number is None:
        raise BadRecord(name, found.get(name), "a whole number")
    return number


def time_ms(seconds: int, name: str) -> int:
    """Return a time told in whole seconds since the epoch.

    Raises:
        BadRecord: it is before the epoch, or later than the calendar goes.
    """
    if not 0 <= seconds <= MAX_TIME_MS // 1000:
        raise BadRecord(name, seconds, "seconds since 1970")
    return seconds * 1000


def bounded(number: int, name: str) -> int:
    """Return a number.

    Raises:
        BadRecord: it is beyond LARGEST.
    """
    if abs(number) > LARGEST:
        raise BadRecord(name, number, f"a number within +-{LARGEST}")
    return number


def _count(told: object) -> int | None:
    try:
        return count_e2({"count": told}, "count")
    except BadRecord:
        return None
