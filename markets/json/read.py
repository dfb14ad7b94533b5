"""Markets, events, series, milestones and the exchange's status: Kalshi's objects made into records."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from markets.errors import BadRecord
from markets.records import Event, ExchangeStatus, Market, Milestone, Quote, Series, Status
from markets.units import PRICE_OF_TEXT, parse_count_e2, parse_price_e4

from .decoding import JSON_FAULTS, checked_ticker, checked_utf8, decode

QUOTE_MEMBERS: Final = (
    "status",
    "yes_bid_dollars",
    "yes_ask_dollars",
    "no_bid_dollars",
    "no_ask_dollars",
    "yes_bid_size_fp",
    "yes_ask_size_fp",
    "last_price_dollars",
    "previous_price_dollars",
    "previous_yes_bid_dollars",
    "previous_yes_ask_dollars",
    "volume_fp",
    "volume_24h_fp",
    "open_interest_fp",
)
"""Members of Kalshi's market object that live in the `Quote`; all others are its static part."""

OWN_MEMBERS: Final = ("series_ticker", "as_of", "orderbook", "suspect_since")
"""Members that we add to a market object on its way out; should Kalshi ever send them, ours win."""

_NOT_STATIC: Final = QUOTE_MEMBERS + OWN_MEMBERS

_Time = Annotated[datetime, msgspec.Meta(tz=True)]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_STATUS_OF: Final = {status.value: status for status in Status if status is not Status.UNKNOWN}
_CANONICAL_COUNT_MOST: Final = 16
_NO_EVENTS: Final[Mapping[str, Event]] = {}
_MARKETS: Final = b'"markets":['
_NULL: Final = Raw(b"null")
"""Default of a raw member: msgspec accepts any value only where the type is exactly Raw."""


class _PriceRange(msgspec.Struct):
    start: str
    end: str
    step: str


class _MarketWire(msgspec.Struct):
    """The static members of a market that we interpret."""

    ticker: str
    event_ticker: str
    market_type: str
    created_time: _Time
    open_time: _Time
    close_time: _Time
    latest_expiration_time: _Time
    title: str = ""
    yes_sub_title: str = ""
    strike_type: str | None = None
    floor_strike: float | None = None
    cap_strike: float | None = None
    price_ranges: Raw = _NULL
    updated_time: _Time | None = None
    expected_expiration_time: _Time | None = None
    occurrence_datetime: _Time | None = None
    settlement_timer_seconds: int = 0
    result: str = ""
    settlement_value_dollars: str | None = None
    exchange_index: int = 0


class _QuoteWire(msgspec.Struct):
    """The members of a market that move while it trades; the first eight are required."""

    ticker: str
    status: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    no_bid_dollars: str
    no_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    last_price_dollars: str | UnsetType | None = UNSET
    previous_price_dollars: str | UnsetType | None = UNSET
    previous_yes_bid_dollars: str | UnsetType | None = UNSET
    previous_yes_ask_dollars: str | UnsetType | None = UNSET
    volume_fp: str | UnsetType | None = UNSET
    volume_24h_fp: str | UnsetType | None = UNSET
    open_interest_fp: str | UnsetType | None = UNSET


class _EventWire(msgspec.Struct):
    event_ticker: str
    series_ticker: str
    title: str
    mutually_exclusive: bool
    sub_title: str = ""
    category: str | None = None
    strike_date: _Time | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Raw = _NULL
    exchange_index: int = 0
    markets: list[Raw] | None = None


class _NestedWire(msgspec.Struct):
    event_ticker: str
    markets: list[Raw] | None = None


class _SeriesWire(msgspec.Struct):
    ticker: str
    title: str
    category: str
    fee_type: str
    fee_multiplier: Raw
    frequency: str = ""


class _MilestoneWire(msgspec.Struct):
    id: str
    type: str
    category: str
    title: str
    start_date: _Time
    end_date: _Time | None = None
    primary_event_tickers: list[str] | None = None
    related_event_tickers: list[str] | None = None
    details: dict[str, Raw] | None = None


class _ShardWire(msgspec.Struct):
    exchange_index: int
    exchange_active: bool
    trading_active: bool


class _ExchangeStatusWire(msgspec.Struct):
    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: _Time | None = None
    exchange_index_statuses: list[_ShardWire] | None = None


_members = msgspec.json.Decoder(dict[str, Raw])
_market = msgspec.json.Decoder(_MarketWire)
_quote = msgspec.json.Decoder(_QuoteWire)
_ranges = msgspec.json.Decoder(list[_PriceRange] | None)
_event = msgspec.json.Decoder(_EventWire)
_nested = msgspec.json.Decoder(_NestedWire)
_series = msgspec.json.Decoder(_SeriesWire)
_milestone = msgspec.json.Decoder(_MilestoneWire)
_exchange_status = msgspec.json.Decoder(_ExchangeStatusWire)
_encode: Final = msgspec.json.Encoder().encode


def decode_market(
    raw: bytes | Raw, *, series_ticker: str | None, as_of_ms: int, previous: Market | None = None
) -> tuple[Market, Quote]:
    """Decode Kalshi's market object into its static and its quote part.

    Args:
        raw: the JSON object as sent.
        series_ticker: the series of its event; a market object does not name it. None if unknown.
        as_of_ms: the age of the reply, for the quote.
        previous: the last known static part. Where nothing static has changed it is returned itself
            (``market is previous``), and the static members are not decoded again.

    Raises:
        BadRecord: a required member is missing, off-type or out of range, or the status is unknown.
    """
    members = decode(_members, raw, "market")
    wire = decode(_quote, raw, "market")
    for name in _NOT_STATIC:
        members.pop(name, None)
    static = _encode(members)
    if previous is None or previous.raw != static or previous.series_ticker != series_ticker:
        previous = _static_part(static, series_ticker)
    return previous, _quote_part(wire, as_of_ms)


def decode_event(raw: bytes | Raw, held: Mapping[str, Event] = _NO_EVENTS) -> tuple[Event, list[Raw]]:
    """Decode an event; return it and its nested raw markets (none when not asked for).

    `Event.raw` leaves the nested markets out.

    Args:
        raw: the JSON object as sent.
        held: known events by ticker. One of which nothing but its markets has changed is returned itself
            (``event is held[ticker]``), and is not decoded again.

    Raises:
        BadRecord: a required member is missing, off-type or out of range.
    """
    nested = _nested_of(raw, held)
    if nested is not None:
        return nested
    wire = decode(_event, raw, "event")
    members = decode(_members, raw, "event")
    members.pop("markets", None)
    multiplier = wire.fee_multiplier_override
    event = Event(
        event_ticker=checked_ticker(wire.event_ticker, "event_ticker"),
        series_ticker=intern(checked_ticker(wire.series_ticker, "series_ticker")),
        title=wire.title,
        sub_title=wire.sub_title,
        category=intern(wire.category or ""),
        mutually_exclusive=wire.mutually_exclusive,
        strike_date_ms=_ms(wire.strike_date),
        fee_type_override=wire.fee_type_override,
        fee_multiplier_override_e4=(
            None if bytes(multiplier) == b"null" else _multiplier_e4(multiplier, "fee_multiplier_override")
        ),
        exchange_index=wire.exchange_index,
        raw=checked_utf8(_encode(members), "event"),
    )
    return event, wire.markets or []


def decode_series(raw: bytes | Raw) -> Series:
    """Decode a series.

    Raises:
        BadRecord: a required member is missing, off-type or out of range.
    """
    wire = decode(_series, raw, "series")
    return Series(
        ticker=intern(checked_ticker(wire.ticker, "ticker")),
        title=wire.title,
        category=intern(wire.category),
        frequency=intern(wire.frequency),
        fee_type=intern(wire.fee_type),
        fee_multiplier_e4=_multiplier_e4(wire.fee_multiplier, "fee_multiplier"),
        raw=checked_utf8(bytes(raw), "series"),
    )


def decode_milestone(raw: bytes | Raw) -> Milestone:
    """Decode a milestone. Its status is that of `details`, such as "created" or "inprogress".

    Raises:
        BadRecord: a required member is missing, off-type or out of range.
    """
    wire = decode(_milestone, raw, "milestone")
    status = (wire.details or {}).get("status")
    return Milestone(
        id=checked_ticker(wire.id, "id"),
        type=intern(wire.type),
        category=intern(wire.category),
        title=wire.title,
        start_ms=_required_ms(wire.start_date),
        end_ms=_ms(wire.end_date),
        primary_event_tickers=tuple(wire.primary_event_tickers or ()),
        related_event_tickers=tuple(wire.related_event_tickers or ()),
        status=_text_or_none(status),
        raw=checked_utf8(bytes(raw), "milestone"),
    )


def decode_exchange_status(body: bytes, as_of_ms: int) -> ExchangeStatus:
    """Decode the reply of ``GET /exchange/status``.

    Raises:
        BadRecord: not such an object, or it does not say whether exchange and trading are active.
    """
    wire = decode(_exchange_status, body, "body")
    return ExchangeStatus(
        exchange_active=wire.exchange_active,
        trading_active=wire.trading_active,
        resume_ms=_ms(wire.exchange_estimated_resume_time),
        shards=tuple(
            (shard.exchange_index, shard.exchange_active, shard.trading_active)
            for shard in wire.exchange_index_statuses or ()
        ),
        as_of_ms=as_of_ms,
        raw=checked_utf8(bytes(body), "exchange status"),
    )


# --- members of `raw` that only some readers need ------------------------------------------------


class Competition(msgspec.Struct, frozen=True):
    """`product_metadata` of a sports event: such as competition "MLS", scope "Game"; "" where not sent."""

    competition: str = ""
    competition_scope: str = ""


class _CompetitionWire(msgspec.Struct):
    product_metadata: Competition | None = None


class _CustomStrikeWire(msgspec.Struct):
    custom_strike: dict[str, Raw] | None = None


_competition = msgspec.json.Decoder(_CompetitionWire)
_custom_strike = msgspec.json.Decoder(_CustomStrikeWire)


def competition_of(event: Event) -> Competition:
    """Return what competition a sports event belongs to; empty where Kalshi does not say."""
    try:
        return _competition.decode(event.raw).product_metadata or Competition()
    except JSON_FAULTS:  # free-form metadata of another shape says nothing about a competition
        return Competition()


def custom_strike_keys(market: Market) -> frozenset[str]:
    """Return the keys of a market's `custom_strike`, such as "baseball_team" or "tennis_competitor"."""
    try:
        return frozenset(_custom_strike.decode(market.raw).custom_strike or ())
    except JSON_FAULTS:  # a free map by contract: another shape is simply none of the known keys
        return frozenset()


def mentions_fair_price(market: Market) -> bool:
    """Tell whether the rules' text mentions a fair price: the usual wording where a match is not played."""
    text = market.raw.lower()
    return b"fair price" in text or b"fair market price" in text


def slim_market_raw(market: Market) -> bytes:
    """Return as much of a market's JSON as the functions above read of it: they say the same of it."""
    members: dict[str, object] = {}
    keys = custom_strike_keys(market)
    if keys:
        members["custom_strike"] = dict.fromkeys(sorted(keys))
    if mentions_fair_price(market):
        members["rules_secondary"] = "fair price"
    return _encode(members)


def slim_event_raw(event: Event) -> bytes:
    """Return as much of an event's JSON as `competition_of` reads of it."""
    competition = competition_of(event)
    return _encode({"product_metadata": competition}) if competition != Competition() else b"{}"


# --- inside --------------------------------------------------------------------------------------


def _nested_of(raw: bytes | Raw, held: Mapping[str, Event]) -> tuple[Event, list[Raw]] | None:
    """Return the held event and the markets if all but the markets is as it was, else None.

    Scans the bytes once. Told by cutting the markets out of them: what is left must be the held event's.
    """
    if not held:
        return None
    try:
        wire = _nested.decode(raw)
    except JSON_FAULTS:
        return None  # the whole decoder says what is wrong
    event, markets = held.get(wire.event_ticker), wire.markets
    if event is None or not markets:
        return None
    body, static = memoryview(raw), event.raw
    # The markets with their name, a comma between two of them, the bracket, and a comma before or after all.
    size = len(_MARKETS) + sum([len(memoryview(market)) for market in markets]) + len(markets) + 1
    if len(body) != len(static) + size:
        return None
    head = bytes(body[: len(static) + len(_MARKETS)])
    start = head.find(_MARKETS)
    if start < 0:
        return None
    rest = bytes(body[start + size :])
    if rest:
        return (event, markets) if head[:start] + rest == static else None
    return (event, markets) if head[: start - 1] + b"}" == static else None


def _static_part(static: bytes, series_ticker: str | None) -> Market:
    wire = decode(_market, static, "market")
    value = wire.settlement_value_dollars
    return Market(
        ticker=checked_ticker(wire.ticker, "ticker"),
        event_ticker=intern(checked_ticker(wire.event_ticker, "event_ticker")),
        series_ticker=series_ticker,
        title=wire.title,
        yes_sub_title=wire.yes_sub_title,
        market_type=intern(wire.market_type),
        strike_type=None if wire.strike_type is None else intern(wire.strike_type),
        floor_strike=wire.floor_strike,
        cap_strike=wire.cap_strike,
        price_ranges=_price_ranges(bytes(wire.price_ranges)),
        created_ms=_required_ms(wire.created_time),
        open_ms=_required_ms(wire.open_time),
        close_ms=_required_ms(wire.close_time),
        expected_expiration_ms=_ms(wire.expected_expiration_time),
        latest_expiration_ms=_required_ms(wire.latest_expiration_time),
        occurrence_ms=_ms(wire.occurrence_datetime),
        settlement_timer_s=wire.settlement_timer_seconds,
        result=intern(wire.result),
        settlement_value_e4=None if value is None else parse_price_e4(value, "settlement_value_dollars"),
        exchange_index=wire.exchange_index,
        raw=checked_utf8(static, "market"),
    )


def _quote_part(wire: _QuoteWire, as_of_ms: int) -> Quote:
    status = _STATUS_OF.get(wire.status)
    if status is None:
        raise BadRecord("status", wire.status, "one of " + ", ".join(_STATUS_OF))
    try:
        return _canonical_quote(wire, status, as_of_ms)
    except KeyError:  # a member in another form, or not sent
        pass
    odd: dict[str, str | None] = {}
    return Quote(
        ticker=wire.ticker,
        status=status,
        yes_bid_e4=_price(wire.yes_bid_dollars, "yes_bid_dollars", odd),
        yes_ask_e4=_price(wire.yes_ask_dollars, "yes_ask_dollars", odd),
        no_bid_e4=_price(wire.no_bid_dollars, "no_bid_dollars", odd),
        no_ask_e4=_price(wire.no_ask_dollars, "no_ask_dollars", odd),
        yes_bid_size_e2=_count(wire.yes_bid_size_fp, "yes_bid_size_fp", odd),
        yes_ask_size_e2=_count(wire.yes_ask_size_fp, "yes_ask_size_fp", odd),
        last_price_e4=_optional(wire.last_price_dollars, "last_price_dollars", _price, odd),
        volume_e2=_optional(wire.volume_fp, "volume_fp", _count, odd),
        volume_24h_e2=_optional(wire.volume_24h_fp, "volume_24h_fp", _count, odd),
        open_interest_e2=_optional(wire.open_interest_fp, "open_interest_fp", _count, odd),
        previous_price_e4=_optional(wire.previous_price_dollars, "previous_price_dollars", _price, odd),
        previous_yes_bid_e4=_optional(wire.previous_yes_bid_dollars, "previous_yes_bid_dollars", _price, odd),
        previous_yes_ask_e4=_optional(wire.previous_yes_ask_dollars, "previous_yes_ask_dollars", _price, odd),
        as_of_ms=as_of_ms,
        as_sent=odd or None,
    )


def _canonical_quote(wire: _QuoteWire, status: Status, as_of_ms: int) -> Quote:
    """Do what `_quote_part` does where all members are sent in canonical form, as nearly always.

    Raises:
        KeyError: one of them is not.
    """
    price: Mapping[Any, int] = PRICE_OF_TEXT
    return Quote(
        wire.ticker,
        status,
        price[wire.yes_bid_dollars],
        price[wire.yes_ask_dollars],
        price[wire.no_bid_dollars],
        price[wire.no_ask_dollars],
        _canonical_count(wire.yes_bid_size_fp),
        _canonical_count(wire.yes_ask_size_fp),
        price[wire.last_price_dollars],
        _canonical_count(wire.volume_fp),
        _canonical_count(wire.volume_24h_fp),
        _canonical_count(wire.open_interest_fp),
        price[wire.previous_price_dollars],
        price[wire.previous_yes_bid_dollars],
        price[wire.previous_yes_ask_dollars],
        as_of_ms,
    )


def _canonical_count(text: str | UnsetType | None) -> int:
    """Return the count of a canonical text. Raises: KeyError: it is in another form, or not sent."""
    if type(text) is str and text[-3:-2] == "." and len(text) <= _CANONICAL_COUNT_MOST:
        digits = text[:-3] + text[-2:]
        if digits.isdecimal() and digits.isascii() and (text[0] != "0" or len(text) == 4):
            return int(digits)
    raise KeyError(text)


def _price(text: str, field: str, odd: dict[str, str | None]) -> int:
    price_e4 = PRICE_OF_TEXT.get(text)
    if price_e4 is None:
        price_e4 = parse_price_e4(text, field)
        odd[field] = text
    return price_e4


def _count(text: str, field: str, odd: dict[str, str | None]) -> int:
    count_e2 = parse_count_e2(text, field)
    if text[-3:-2] != "." or not ("1" <= text[0] <= "9" or text[:2] == "0."):
        odd[field] = text
    return count_e2


def _optional(
    text: str | UnsetType | None,
    field: str,
    parse: Callable[[str, str, dict[str, str | None]], int],
    odd: dict[str, str | None],
) -> int | None:
    if isinstance(text, str):
        return parse(text, field, odd)
    if text is None:
        odd[field] = None
    return None


@lru_cache(maxsize=256)
def _price_ranges(raw: bytes) -> tuple[tuple[int, int, int], ...]:
    """Markets share a handful of grids: one tuple for all of a kind."""
    bands = []
    for band in decode(_ranges, raw, "price_ranges") or ():
        start_e4, end_e4, step_e4 = (
            parse_price_e4(text, f"price_ranges.{name}")
            for name, text in (("start", band.start), ("end", band.end), ("step", band.step))
        )
        if step_e4 == 0 or start_e4 >= end_e4:
            raise BadRecord("price_ranges", raw, "bands with start < end and a positive step")
        bands.append((start_e4, end_e4, step_e4))
    return tuple(bands)


def _multiplier_e4(raw: Raw, field: str) -> int:
    """Read a JSON number exactly; no float in between."""
    text = bytes(raw).decode()
    try:
        scaled = Decimal(text) * 10_000
    except ArithmeticError:  # no number, or beyond Decimal's range
        raise BadRecord(field, text, "a JSON number") from None
    if not 0 <= scaled <= 1_000_000 or scaled != int(scaled):
        raise BadRecord(field, text, "a multiplier from 0 to 100 with at most 4 decimals")
    return int(scaled)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MILLISECOND


def _required_ms(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND


def _text_or_none(raw: Raw | None) -> str | None:
    if raw is None:
        return None
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else None


assert set(QUOTE_MEMBERS) | {"ticker"} == set(_QuoteWire.__struct_fields__), "both lists name the quote"
