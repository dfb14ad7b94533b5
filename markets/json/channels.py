"""Kalshi's WebSocket as the exchange speaks it: the messages of its public channels, built from records.

What `frames.py` reads, this writes: only the `msg` of a frame, which is the same for every client. What a
record does not say is left out. Times are those of the record.

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from markets.records import Book, Event, Level, Market, Quote, Trade
from markets.units import format_count, format_price, format_time, opposite

from .decoding import JSON_FAULTS

_encode: Final = msgspec.json.Encoder().encode
_object: Final = msgspec.json.Decoder(dict[str, Any])

_HALF_DOLLARS_E2: Final = 200
"""A contract counts as half a dollar in `dollar_volume` and `dollar_open_interest` (recorded)."""

_METADATA: Final = (
    "title",
    "yes_sub_title",
    "no_sub_title",
    "rules_primary",
    "rules_secondary",
    "can_close_early",
    "event_ticker",
    "strike_type",
    "floor_strike",
    "cap_strike",
    "custom_strike",
)
"""Members of a market that are announced when it is created, under their own names."""

_STRIKE: Final = ("strike_type", "floor_strike", "cap_strike", "custom_strike", "yes_sub_title")
"""Members of a market that are announced when they change."""


@lru_cache(maxsize=20_000)
def market_id(ticker: str) -> str:
    """Return the UUID that frames give a market beside its ticker: our own, and always the same.

    Kalshi's own is not in its REST replies. A UUID derived from a name says so: its version is 5.
    """
    named = hashlib.sha1(b"kalshi-bus/market/" + ticker.encode(errors="replace"), usedforsecurity=False)
    octets = bytearray(named.digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def ticker_message(quote: Quote, last_trade_e2: int | None) -> bytes:
    """Return a `ticker`. `last_trade_e2`: the size of the last trade, where one was heard."""
    if last_trade_e2 is None and quote.volume_e2 == 0:
        last_trade_e2 = 0
    size = "" if last_trade_e2 is None else f'"last_trade_size_fp":"{format_count(last_trade_e2)}",'
    volume_e2, interest_e2, time_ms = quote.volume_e2, quote.open_interest_e2, quote.as_of_ms
    traded = "" if volume_e2 is None else f'"volume_fp":"{format_count(volume_e2)}",'
    held = "" if interest_e2 is None else f'"open_interest_fp":"{format_count(interest_e2)}",'
    if volume_e2 is not None:
        traded += f'"dollar_volume":{volume_e2 // _HALF_DOLLARS_E2},'
    if interest_e2 is not None:
        held += f'"dollar_open_interest":{interest_e2 // _HALF_DOLLARS_E2},'
    return (
        f'{{{_named(quote.ticker)},"price_dollars":"{format_price(quote.last_price_e4 or 0)}",'
        f'"yes_bid_dollars":"{format_price(quote.yes_bid_e4)}",'
        f'"yes_ask_dollars":"{format_price(quote.yes_ask_e4)}",'
        f'"yes_bid_size_fp":"{format_count(quote.yes_bid_size_e2)}",'
        f'"yes_ask_size_fp":"{format_count(quote.yes_ask_size_e2)}",{size}{traded}{held}'
        f'"ts":{time_ms // 1000},"ts_ms":{time_ms},"time":"{format_time(time_ms)}"}}'
    ).encode()


def snapshot_message(book: Book, *, yes_price: bool) -> bytes:
    """Return an `orderbook_snapshot`; a side without levels is left out, as Kalshi does.

    `yes_price`: NO levels are on the scale of YES, still in ascending order of NO.
    """
    sides = ""
    if book.yes:
        sides += f',"yes_dollars_fp":[{_levels(book.yes)}]'
    if book.no:
        no = tuple([(opposite(price), count) for price, count in book.no]) if yes_price else book.no
        sides += f',"no_dollars_fp":[{_levels(no)}]'
    return f"{{{_named(book.ticker)}{sides}}}".encode()


def delta_messages(before: Book, after: Book, *, yes_price: bool) -> list[bytes]:
    """Return the `orderbook_delta`s that make one book of the other; none if their levels are the same."""
    head = f"{{{_named(after.ticker)}"
    tail = f'"ts":"{format_time(after.as_of_ms)}","ts_ms":{after.as_of_ms}}}'
    return [
        (
            f'{head},"price_dollars":"{format_price(price)}",'
            f'"delta_fp":"{format_count(change)}","side":"{side}",{tail}'
        ).encode()
        for side, old, new in (("yes", before.yes, after.yes), ("no", before.no, after.no))
        if old is not new
        for price, change in _changes(old, new, mirrored=yes_price and side == "no")
    ]


def trade_message(trade: Trade) -> bytes:
    """Return a `trade`, without its taker's side if that is unknown."""
    side = trade.taker_side
    book_side = "bid" if side == "yes" else "ask"
    taker = (
        f'"taker_side":"{side}","taker_outcome_side":"{side}","taker_book_side":"{book_side}",'
        if side in ("yes", "no")
        else ""
    )
    price_e4, time_ms = trade.yes_price_e4, trade.time_ms
    return (
        f'{{"trade_id":{_text(trade.trade_id)},"market_ticker":{_text(trade.ticker)},'
        f'"yes_price_dollars":"{format_price(price_e4)}","no_price_dollars":"{format_price(opposite(price_e4))}",'
        f'"count_fp":"{format_count(trade.count_e2)}",{taker}"is_block_trade":false,'
        f'"ts":{time_ms // 1000},"ts_ms":{time_ms}}}'
    ).encode()


def lifecycle_message(event_type: str, ticker: str, **members: Any) -> bytes:
    """Return a `market_lifecycle_v2`; members that are None are left out."""
    said = {name: value for name, value in members.items() if value is not None}
    return _encode({"event_type": event_type, "market_ticker": ticker, **said})


def created_message(market: Market, raw: bytes) -> bytes:
    """Return the `market_lifecycle_v2` of a market that is new. `raw`: its JSON."""
    body = members_of_market(raw)
    metadata = {name: body[name] for name in _METADATA if body.get(name) is not None}
    if market.expected_expiration_ms is not None:
        metadata["expected_expiration_ts"] = market.expected_expiration_ms // 1000
    return lifecycle_message(
        "created",
        market.ticker,
        exchange_index=market.exchange_index,
        open_ts=_seconds(market.open_ms),
        close_ts=_seconds(market.close_ms),
        **grid_members(body),
        additional_metadata={"name": metadata.get("yes_sub_title", ""), **metadata},
    )


def event_message(event: Event) -> bytes:
    """Return the `event_lifecycle` of an event that is new."""
    returned = members_of_market(event.raw).get("collateral_return_type")
    message = {
        "event_ticker": event.event_ticker,
        "exchange_index": event.exchange_index,
        "title": event.title,
        "subtitle": event.sub_title,
        "collateral_return_type": returned if isinstance(returned, str) else "",
        "series_ticker": event.series_ticker,
    }
    if event.strike_date_ms is not None:
        message["strike_date"] = event.strike_date_ms // 1000
    return _encode(message)


def event_fee_message(event: Event) -> bytes:
    """Return the `event_fee_update` of an event whose override has changed; nulls where it has none."""
    multiplier_e4 = event.fee_multiplier_override_e4
    return _encode(
        {
            "event_ticker": event.event_ticker,
            "fee_type_override": event.fee_type_override,
            "fee_multiplier_override": None if multiplier_e4 is None else multiplier_e4 / 10_000,
        }
    )


def members_of_market(raw: bytes) -> Mapping[str, Any]:
    """Return the members of Kalshi's JSON object, none if it cannot be read."""
    try:
        return _object.decode(raw)
    except JSON_FAULTS:
        return {}


def grid_members(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a market's JSON says about its prices."""
    return {name: body.get(name) for name in ("price_level_structure", "price_ranges")}


def strike_members(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a market's JSON says about its strikes."""
    return {name: body.get(name) for name in _STRIKE}


@lru_cache(maxsize=20_000)
def _named(ticker: str) -> str:
    return f'"market_ticker":{_text(ticker)},"market_id":"{market_id(ticker)}"'


def _text(text: str) -> str:
    return _encode(text).decode()


def _seconds(time_ms: int | None) -> int | None:
    return None if time_ms is None else time_ms // 1000


def _levels(levels: tuple[Level, ...]) -> str:
    return ",".join([f'["{format_price(price)}","{format_count(count)}"]' for price, count in levels])


def _changes(old: tuple[Level, ...], new: tuple[Level, ...], *, mirrored: bool) -> Iterator[Level]:
    """Yield (price_e4, change of count_e2) for each level that differs, in ascending order.

    `mirrored`: the price is given on the scale of the other side.
    """
    before, after = dict(old), dict(new)
    for price in sorted(before.keys() | after.keys()):
        change = after.get(price, 0) - before.get(price, 0)
        if change:
            yield opposite(price) if mirrored else price, change
