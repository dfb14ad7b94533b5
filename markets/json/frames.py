"""Kalshi's WebSocket: the frames that the exchange sends, and the commands that it takes.

A frame's message is decoded where it is wanted, not with its frame: most of those that are not are dropped by
their number alone. Prices of NO levels come on the scale of NO, or on that of YES where `use_yes_price` asked
for it; all that is returned here is on the scale of its own side.

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from markets.errors import BadRecord
from markets.records import Level, Status, Trade
from markets.units import PRICE_ONE_E4, opposite, parse_count_e2, parse_price_e4, parse_signed_count_e2

from .decoding import JSON_FAULTS, decode, refuse

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
"""A time of the exchange is believed if it is this recent, and not ahead of ours."""

_DEACTIVATED: Final = {True: Status.INACTIVE, False: Status.ACTIVE, None: None}
_STATUS_AFTER: Final = {
    "activated": Status.ACTIVE,
    "determined": Status.DETERMINED,
    "settled": Status.FINALIZED,
}

_T = TypeVar("_T")

Pairs = list[tuple[str, str]]
Levels = tuple[Level, ...]


class StreamFrame(msgspec.Struct):
    """A frame, its message not decoded; `seq` numbers those of the subscription `sid`.

    `id` is of the command that it answers, None where it answers none.
    """

    type: str
    sid: int | None = None
    seq: int | None = None
    msg: Raw = Raw(b"null")
    sending_ts_ms: int | None = None
    id: int | None = None


class Subscribed(msgspec.Struct):
    """The acknowledgement of a subscription."""

    channel: str
    sid: int


class StreamError(msgspec.Struct):
    """An error, of a command or of a subscription; `code` 0 where it says none."""

    code: int = 0
    msg: str = ""


class BookSnapshot(msgspec.Struct):
    """A book, whole; its levels as sent."""

    market_ticker: str
    yes_dollars_fp: Pairs | None = None
    no_dollars_fp: Pairs | None = None

    def sides(self, *, yes_price: bool) -> tuple[Levels, Levels]:
        """Return the levels of YES and of NO. `yes_price`: the latter come on the scale of YES.

        Raises:
            BadRecord: a price is there twice or is outside (0, 1), or a size is not positive.
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
        """Return price_e4 of the level, and by how much its count_e2 changes.

        `yes_price`: as in `BookSnapshot`.

        Raises:
            BadRecord: they are no price and no count.
        """
        price_e4 = parse_price_e4(self.price_dollars, "price_dollars")
        if yes_price and self.side == "no":
            price_e4 = opposite(price_e4)
        return price_e4, parse_signed_count_e2(self.delta_fp, "delta_fp")


class TickerUpdate(NamedTuple):
    """What a ticker frame says of a market; None where it was not sent."""

    ticker: str
    yes_bid_e4: int
    yes_ask_e4: int
    yes_bid_size_e2: int
    yes_ask_size_e2: int
    last_price_e4: int | None
    volume_e2: int | None
    open_interest_e2: int | None
    as_of_ms: int


class StatusChange(NamedTuple):
    """A market's new status, announced; with what was determined, as far as that was sent and is readable."""

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


class _TradeWire(msgspec.Struct):
    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    taker_side: str | None = None
    taker_outcome_side: str | None = None
    ts_ms: int | None = None


class _LifecycleWire(msgspec.Struct):
    event_type: str
    market_ticker: str
    is_deactivated: bool | None = None
    result: Raw = Raw(b"null")
    settlement_value: Raw = Raw(b"null")


class _NamedWire(msgspec.Struct):
    market_ticker: str


_frame = msgspec.json.Decoder(StreamFrame)
_subscribed = msgspec.json.Decoder(Subscribed)
_error = msgspec.json.Decoder(StreamError)
_snapshot = msgspec.json.Decoder(BookSnapshot)
_delta = msgspec.json.Decoder(BookChange)
_ticker = msgspec.json.Decoder(_TickerWire)
_trade = msgspec.json.Decoder(_TradeWire)
_lifecycle = msgspec.json.Decoder(_LifecycleWire)
_named = msgspec.json.Decoder(_NamedWire)
_string = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode


# --- what the exchange says. All of these raise BadRecord for what is not as they expect. Those that come
#     by the thousand a second call their decoder themselves.


def decode_frame(text: str | bytes) -> StreamFrame:
    """Decode one frame as received, but for its message."""
    try:
        return _frame.decode(text)
    except JSON_FAULTS as error:
        refuse(error, text.encode() if isinstance(text, str) else text, "frame")


def decode_subscribed(frame: StreamFrame) -> Subscribed:
    """Decode the message of a "subscribed"."""
    return decode(_subscribed, frame.msg, frame.type)


def decode_error(frame: StreamFrame) -> StreamError:
    """Decode the message of an "error"."""
    return decode(_error, frame.msg, frame.type)


def decode_snapshot(frame: StreamFrame) -> BookSnapshot:
    """Decode the message of an "orderbook_snapshot"."""
    return decode(_snapshot, frame.msg, frame.type)


def decode_delta(frame: StreamFrame) -> BookChange:
    """Decode the message of an "orderbook_delta"."""
    try:
        return _delta.decode(frame.msg)
    except JSON_FAULTS as error:
        refuse(error, frame.msg, frame.type)


def decode_ticker(frame: StreamFrame, heard_ms: int) -> TickerUpdate:
    """Decode the message of a "ticker"."""
    try:
        wire = _ticker.decode(frame.msg)
    except JSON_FAULTS as error:
        refuse(error, frame.msg, frame.type)
    last_e4 = _if_sent(parse_price_e4, wire.price_dollars, "price_dollars")
    return TickerUpdate(
        wire.market_ticker,
        parse_price_e4(wire.yes_bid_dollars, "yes_bid_dollars"),
        parse_price_e4(wire.yes_ask_dollars, "yes_ask_dollars"),
        parse_count_e2(wire.yes_bid_size_fp, "yes_bid_size_fp"),
        parse_count_e2(wire.yes_ask_size_fp, "yes_ask_size_fp"),
        last_e4 or None,  # 0.0000: never traded
        _if_sent(parse_count_e2, wire.volume_fp, "volume_fp"),
        _if_sent(parse_count_e2, wire.open_interest_fp, "open_interest_fp"),
        believed_ms(wire.ts_ms, heard_ms),
    )


def decode_trade(frame: StreamFrame, heard_ms: int) -> Trade:
    """Decode the message of a "trade"."""
    try:
        wire = _trade.decode(frame.msg)
    except JSON_FAULTS as error:
        refuse(error, frame.msg, frame.type)
    return Trade(
        wire.trade_id,
        wire.market_ticker,
        parse_price_e4(wire.yes_price_dollars, "yes_price_dollars"),
        parse_count_e2(wire.count_fp, "count_fp"),
        wire.taker_outcome_side or wire.taker_side or "",
        wire.ts_ms or heard_ms,
    )


def decode_lifecycle(frame: StreamFrame, heard_ms: int) -> StatusChange | None:
    """Decode the message of a "market_lifecycle_v2"; None if it changes no status.

    A result or value that cannot be read is not known: the status is, all the same.
    """
    wire = decode(_lifecycle, frame.msg, frame.type)
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
    """Return the exchange's time of a frame where it can be believed, else that of its arrival."""
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


def _if_sent(parse: Callable[[object, str], _T], text: str | None, name: str) -> _T | None:
    return None if text is None else parse(text, name)


# --- what it is told -----------------------------------------------------------------------------


def subscribe(number: int, channel: str) -> bytes:
    """Return command `number`: subscribe to a channel for all markets."""
    return _command(number, "subscribe", {"channels": [channel]})


def subscribe_books(number: int, tickers: Sequence[str], *, yes_price: bool) -> bytes:
    """Return command `number`: subscribe to the books of some markets."""
    # The default of use_yes_price will change some day: it is always said.
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
