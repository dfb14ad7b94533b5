"""What Kalshi's answers about orders say. Pure, and lenient: only useless answers raise.

The rule for the unknown: a 4xx in the exchange's own words is a refusal, all else leaves open what was done.
"""

from typing import Any, Final, NamedTuple

import msgspec

from markets.errors import BadRecord
from markets.orders import Fill
from markets.units import opposite, parse_count_e2, parse_decimal, parse_price_e4, parse_time_ms

ALREADY_EXISTS: Final = "order_already_exists"

MOST_E2: Final = 2**53
"""No count is larger: every JSON reader holds integers up to here."""

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


class SeenFill(NamedTuple):
    """A fill as it is listed; the price of `fill` is that of `side`."""

    order_id: str
    ticker: str
    shard: int
    side: str
    fill: Fill


def members(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        BadRecord: it is not one.
    """
    try:
        found = _DECODER.decode(body)
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
        _whole(found.get("ts_ms")),
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
        if order_id and ahead_e2 is not None and 0 <= ahead_e2 <= MOST_E2:
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
        _whole(found.get("ts_ms")),
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
    expires = found.get("expiration_time")
    initial, own = found.get("initial_count_fp"), found.get("client_order_id")
    updated = found.get("last_update_time")
    return SeenOrder(
        _text(found, "order_id"),
        own if isinstance(own, str) else "",
        _text(found, "ticker"),
        _whole(found.get("exchange_index")) or 0,
        _side(found),
        _text(found, "status"),
        parse_price_e4(found.get("yes_price_dollars"), "yes_price_dollars"),
        parse_count_e2(found.get("fill_count_fp"), "fill_count_fp"),
        parse_count_e2(found.get("remaining_count_fp"), "remaining_count_fp"),
        _count(initial),
        parse_time_ms(expires, "expiration_time") if expires else None,
        parse_time_ms(updated, "last_update_time") if updated else None,
    )


def fill(found: Any) -> SeenFill:
    """Return a fill as it is listed.

    Raises:
        BadRecord: it cannot be read.
    """
    if not isinstance(found, dict):
        raise BadRecord("fill", found, "an object")
    side = _side(found)
    yes_e4 = parse_price_e4(found.get("yes_price_dollars"), "yes_price_dollars")
    count_e2 = parse_count_e2(found.get("count_fp"), "count_fp")
    return SeenFill(
        _text(found, "order_id"),
        _text(found, "ticker" if found.get("ticker") else "market_ticker"),
        _whole(found.get("exchange_index")) or 0,
        side,
        Fill(
            price_e4=yes_e4 if side == "yes" else opposite(yes_e4),
            count_e2=count_e2,
            fee_e6=parse_decimal(found.get("fee_cost"), 6, "fee_cost"),
            shown_e2=count_e2,
            time_ms=parse_time_ms(found.get("created_time"), "created_time"),
            id=_text(found, "fill_id" if found.get("fill_id") else "trade_id"),
            maker=found.get("is_taker") is False,
        ),
    )


def _side(found: dict[str, Any]) -> str:
    side = found.get("outcome_side") or {"bid": "yes", "ask": "no"}.get(str(found.get("book_side")))
    if side not in ("yes", "no"):
        raise BadRecord("outcome_side", side, "yes or no")
    return str(side)


def _text(found: dict[str, Any], name: str) -> str:
    text = found.get(name)
    if not isinstance(text, str) or not text:
        raise BadRecord(name, text, "a text")
    return text


def _count(text: object) -> int | None:
    try:
        return parse_count_e2(text)
    except BadRecord:
        return None


def _whole(number: object) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) else None
