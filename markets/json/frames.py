"""Kalshi's WebSocket: the frames that the exchange sends, and the commands that it takes.

A frame's message is decoded where it is wanted, not with its frame: most unwanted ones are dropped by their
number alone. A ticker counts as far as it can be read; a price or size that cannot be read makes the quote
untradable. A book, a change of one and a trade are taken whole or not at all.

Prices of NO levels come on the scale of NO, or on that of YES where `use_yes_price` asked for it; everything
returned here is on the scale of its own side.

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from markets.errors import BadRecord
from markets.records import Level, Status, Trade
from markets.units import PRICE_ONE_E4, opposite, parse_count_e2, parse_price_e4, parse_signed_count_e2

from .decoding import JSON_FAULTS, Number, Reader, decode, members_of, readable, sent_as

BOOKS: Final = "orderbook_delta"
TICKER: Final = "ticker"
TRADES: Final = "trade"
LIFECYCLE: Final = "market_lifecycle_v2"
"""Names of channels."""

UNKNOWN_SUBSCRIPTION: Final = 7
AUTHENTICATION_REQUIRED: Final = 9
CHANNEL_ERROR: Final = 10
COMMAND_TIMEOUT: Final = 18
BUFFER_OVERFLOW: Final = 25
MARKET_LIMIT: Final = 26
TOO_MANY_COMMANDS: Final = 27
"""Codes of errors. CHANNEL_ERROR and BUFFER_OVERFLOW end a subscription."""

SKEW_MS: Final = 60_000
"""A time stamp of the exchange is believed if it is this recent, and not ahead of our clock."""

_DEACTIVATED: Final = {True: Status.INACTIVE, False: Status.ACTIVE, None: None}
_STATUS_AFTER: Final = {
    "activated": Status.ACTIVE,
    "determined": Status.DETERMINED,
    "settled": Status.FINALIZED,
}

_SIDES: Final = ("yes_dollars_fp", "no_dollars_fp")
_NEEDED: Final = ("yes_bid_dollars", "yes_ask_dollars", "yes_bid_size_fp", "yes_ask_size_fp")

Pairs = list[tuple[str, str]]
Levels = tuple[Level, ...]


class StreamFrame(msgspec.Struct):
    """A frame, its message not decoded; `seq` numbers those of the subscription `sid`.

    `id` is that of the command it answers, None if it answers none.
    """

    type: str
    sid: Number | None = None
    seq: Number | None = None
    msg: Raw = Raw(b"null")
    sending_ts_ms: Number | None = None
    id: Number | None = None


class Subscribed(msgspec.Struct):
    """The acknowledgement of a subscription."""

    channel: str
    sid: Number


class StreamError(msgspec.Struct):
    """An error, of a command or of a subscription; `code` is 0 if it names none."""

    code: Number = 0
    msg: str = ""


class BookSnapshot(msgspec.Struct):
    """A book, whole; its levels as sent."""

    market_ticker: str
    yes_dollars_fp: Pairs | None = None
    no_dollars_fp: Pairs | None = None

    def sides(self, *, yes_price: bool) -> tuple[Levels, Levels]:
        """Return the levels of YES and of NO. `yes_price`: the NO levels come on the scale of YES.

        Raises:
            BadRecord: a price occurs twice or is outside (0, 1), or a size is not positive.
        """
        return _side(self.yes_dollars_fp, False), _side(self.no_dollars_fp, yes_price)


class BookChange(msgspec.Struct):
    """A change of one level; its price and size as sent."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    ts_ms: int | None = None

    def change(self, *, yes_price: bool) -> tuple[int, int]:
        """Return the level's price_e4 and the change of its count_e2.

        `yes_price`: as in `BookSnapshot`.

        Raises:
            BadRecord: they are not a price and a count.
        """
        price_e4 = parse_price_e4(self.price_dollars, "price_dollars")
        if yes_price and self.side == "no":
            price_e4 = opposite(price_e4)
        return price_e4, parse_signed_count_e2(self.delta_fp, "delta_fp")


class TickerUpdate(NamedTuple):
    """What a ticker frame says of a market; None where it was not sent.

    `as_sent` holds the members of a quote that could not be read, as in `Quote`; both sizes are 0 then.
    """

    ticker: str
    yes_bid_e4: int
    yes_ask_e4: int
    yes_bid_size_e2: int
    yes_ask_size_e2: int
    last_price_e4: int | None
    volume_e2: int | None
    open_interest_e2: int | None
    as_of_ms: int
    as_sent: dict[str, str | None] | None = None


class StatusChange(NamedTuple):
    """A market's new status as announced, with the result as far as it was sent and is readable."""

    ticker: str
    status: Status
    as_of_ms: int
    result: str = ""
    settlement_value_e4: int | None = None


class _TickerWire(msgspec.Struct):
    market_ticker: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    price_dollars: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    ts_ms: int | None = None


class _OddTickerWire(msgspec.Struct):
    """The same, as far as it can be read."""

    market_ticker: str
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    price_dollars: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    ts_ms: Number | None = None


class _TradeWire(msgspec.Struct):
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    trade_id: str = ""
    taker_side: str | None = None
    taker_outcome_side: str | None = None
    ts_ms: Number | None = None


class _LifecycleWire(msgspec.Struct):
    event_type: str
    market_ticker: str
    is_deactivated: bool | None = None
    result: Raw = Raw(b"null")
    settlement_value: Raw = Raw(b"null")


class _NamedWire(msgspec.Struct):
    market_ticker: str


_frame = Reader(StreamFrame, "frame")
_subscribed = msgspec.json.Decoder(Subscribed)
_error = Reader(StreamError, "error")
_snapshot = msgspec.json.Decoder(BookSnapshot)
_delta = Reader(BookChange, "orderbook_delta")
_ticker = msgspec.json.Decoder(_TickerWire)
_odd_ticker = Reader(_OddTickerWire, "ticker")
_trade = Reader(_TradeWire, "trade")
_lifecycle = Reader(_LifecycleWire, "market_lifecycle_v2")
_named = msgspec.json.Decoder(_NamedWire)
_string = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode


# --- what the exchange says. All of these raise BadRecord for what is not as they expect. Those that come
#     by the thousand a second call their decoder themselves.


def decode_frame(text: str | bytes) -> StreamFrame:
    """Decode one frame as received, but for its message."""
    try:
        return _frame.strictly(text)
    except JSON_FAULTS:
        return _frame.read(text.encode(errors="replace") if isinstance(text, str) else text)


def decode_subscribed(frame: StreamFrame) -> Subscribed:
    """Decode the message of a "subscribed"."""
    return decode(_subscribed, frame.msg, frame.type)


def decode_error(frame: StreamFrame) -> StreamError:
    """Decode the message of an "error"."""
    return _error.read(frame.msg)


def decode_snapshot(frame: StreamFrame) -> BookSnapshot:
    """Decode the message of an "orderbook_snapshot".

    A missing side is empty, unless another member may be that side under a new name.
    """
    book = decode(_snapshot, frame.msg, frame.type)
    if book.yes_dollars_fp is None or book.no_dollars_fp is None:
        for name, value in members_of(frame.msg, frame.type).items():
            if name not in _SIDES and bytes(value)[:1] in (b"[", b"{"):
                raise BadRecord(name, bytes(value), "sides called " + " and ".join(_SIDES))
    return book


def decode_delta(frame: StreamFrame) -> BookChange:
    """Decode the message of an "orderbook_delta"."""
    return _delta.read(frame.msg)


def decode_ticker(frame: StreamFrame, heard_ms: int) -> TickerUpdate:
    """Decode the message of a "ticker"."""
    try:
        wire = _ticker.decode(frame.msg)
        last_e4 = None if wire.price_dollars is None else parse_price_e4(wire.price_dollars)
        return TickerUpdate(
            wire.market_ticker,
            parse_price_e4(wire.yes_bid_dollars),
            parse_price_e4(wire.yes_ask_dollars),
            parse_count_e2(wire.yes_bid_size_fp),
            parse_count_e2(wire.yes_ask_size_fp),
            last_e4 or None,  # 0.0000: never traded
            None if wire.volume_fp is None else parse_count_e2(wire.volume_fp),
            None if wire.open_interest_fp is None else parse_count_e2(wire.open_interest_fp),
            believed_ms(wire.ts_ms, heard_ms),
        )
    except (BadRecord, *JSON_FAULTS):
        return _ticker_in_part(frame, heard_ms)


def decode_trade(frame: StreamFrame, heard_ms: int) -> Trade:
    """Decode the message of a "trade"."""
    wire = _trade.read(frame.msg)
    time_ms = wire.ts_ms if wire.ts_ms is not None and wire.ts_ms <= heard_ms + SKEW_MS else heard_ms
    return Trade(
        wire.trade_id,
        wire.market_ticker,
        parse_price_e4(wire.yes_price_dollars, "yes_price_dollars"),
        parse_count_e2(wire.count_fp, "count_fp"),
        wire.taker_outcome_side or wire.taker_side or "",
        time_ms or heard_ms,
    )


def decode_lifecycle(frame: StreamFrame, heard_ms: int) -> StatusChange | None:
    """Decode the message of a "market_lifecycle_v2"; None if it changes no status.

    A result or value that cannot be read is unknown; the status still counts.
    """
    wire = _lifecycle.read(frame.msg)
    status = _STATUS_AFTER.get(wire.event_type)
    if wire.event_type == "deactivated":
        status = _DEACTIVATED[wire.is_deactivated]
    if status is None:
        return None
    as_of_ms, result = believed_ms(frame.sending_ts_ms, heard_ms), _text(wire.result)
    try:
        value_e4 = parse_price_e4(_text(wire.settlement_value), "settlement_value")
    except BadRecord:
        value_e4 = None
    return StatusChange(wire.market_ticker, status, as_of_ms, result, value_e4 if result else None)


def ticker_of(frame: StreamFrame) -> str:
    """Return the ticker that a message is about, whatever else is wrong with it."""
    return decode(_named, frame.msg, frame.type).market_ticker


def believed_ms(sent_ms: int | None, heard_ms: int) -> int:
    """Return the exchange's time of a frame if it can be believed, else the time of its arrival."""
    return sent_ms if sent_ms is not None and heard_ms - SKEW_MS <= sent_ms <= heard_ms else heard_ms


def _text(raw: Raw) -> str:
    try:
        return _string.decode(raw)
    except JSON_FAULTS:
        return ""


def _side(pairs: Pairs | None, mirrored: bool) -> Levels:
    found: dict[int, int] = {}
    for price, count in pairs or ():
        price_e4, count_e2 = parse_price_e4(price), parse_count_e2(count)
        if mirrored:
            price_e4 = opposite(price_e4)
        if price_e4 in found or not count_e2 or not 0 < price_e4 < PRICE_ONE_E4:
            raise BadRecord("orderbook", (price, count), "one positive size per price inside (0, 1)")
        found[price_e4] = count_e2
    return tuple(sorted(found.items()))


def _ticker_in_part(frame: StreamFrame, heard_ms: int) -> TickerUpdate:
    members = members_of(frame.msg, frame.type)
    wire = _odd_ticker.of(members)
    bid_e4, ask_e4 = (
        readable(parse_price_e4, wire.yes_bid_dollars),
        readable(parse_price_e4, wire.yes_ask_dollars),
    )
    sizes = readable(parse_count_e2, wire.yes_bid_size_fp), readable(parse_count_e2, wire.yes_ask_size_fp)
    as_sent: dict[str, str | None] | None = None
    if None in (bid_e4, ask_e4, *sizes):
        sizes = 0, 0
        as_sent = {name: sent_as(members.get(name)) for name in _NEEDED}
    return TickerUpdate(
        wire.market_ticker,
        bid_e4 or 0,
        PRICE_ONE_E4 if ask_e4 is None else ask_e4,
        sizes[0] or 0,
        sizes[1] or 0,
        readable(parse_price_e4, wire.price_dollars) or None,
        readable(parse_count_e2, wire.volume_fp),
        readable(parse_count_e2, wire.open_interest_fp),
        believed_ms(wire.ts_ms, heard_ms),
        as_sent,
    )


# --- what it is told -----------------------------------------------------------------------------


def subscribe(number: int, channel: str) -> bytes:
    """Return command `number`: subscribe to a channel for all markets."""
    return _command(number, "subscribe", {"channels": [channel]})


def subscribe_books(number: int, tickers: Sequence[str], *, yes_price: bool) -> bytes:
    """Return command `number`: subscribe to the books of some markets."""
    # The default of use_yes_price will change some day, so it is always stated.
    how = {"use_yes_price": yes_price, "skip_ticker_ack": True}
    return _command(number, "subscribe", {"channels": [BOOKS], "market_tickers": list(tickers), **how})


def update_subscription(
    number: int,
    sid: int,
    action: Literal["add_markets", "delete_markets", "get_snapshot"],
    tickers: Sequence[str],
) -> bytes:
    """Return command `number`: change the markets of a subscription, or ask for their books."""
    params = {"sids": [sid], "action": action, "market_tickers": list(tickers)}
    return _command(number, "update_subscription", params)


def list_subscriptions(number: int) -> bytes:
    """Return command `number`: ask for the list of subscriptions."""
    return _command(number, "list_subscriptions", None)


def _command(number: int, name: str, params: Mapping[str, object] | None) -> bytes:
    command: dict[str, object] = {"id": number, "cmd": name}
    if params is not None:
        command["params"] = params
    return _encode(command)
