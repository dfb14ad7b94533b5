"""Markets, events, series, milestones and the exchange's status: Kalshi's objects turned into records.

An object is refused only if the members that identify it cannot be read; any other faulty member is lost
alone (`decoding.Reader`). A price or size that cannot be read makes the quote untradable: both its sizes are
0, and what was sent is passed on as it came.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from markets.errors import BadRecord
from markets.records import Event, ExchangeStatus, Market, Milestone, Quote, Series, Status
from markets.units import PRICE_OF_TEXT, PRICE_ONE_E4, parse_count_e2, parse_price_e4

from .decoding import (
    JSON_FAULTS,
    NOT_TEXT,
    Number,
    Reader,
    checked_ticker,
    elements_of,
    legible,
    members_of,
    readable,
    sent_as,
    texts_of,
)

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

UNREADABLE: Final = "unreadable"
"""Fee type of an event whose overrides cannot be read: an unknown type, so that its fees are unknown."""

MAX_STATUS_BYTES: Final = 100_000
"""A longer answer about the exchange's status is not kept as sent, since no message could carry it."""

LONGEST_TIMER_S: Final = 10 * 366 * 86_400

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Timer = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_TIMER_S)]
_Text = str | UnsetType | None

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FIRST_MS: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MS: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_STATUS_OF: Final[Mapping[Any, Status]] = {
    status.value: status for status in Status if status is not Status.UNKNOWN
}
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
    market_type: str | None = None
    created_time: _Time | None = None
    open_time: _Time | None = None
    close_time: _Time | None = None
    latest_expiration_time: _Time | None = None
    title: str | None = None
    yes_sub_title: str | None = None
    strike_type: str | None = None
    floor_strike: float | None = None
    cap_strike: float | None = None
    price_ranges: Raw = _NULL
    expected_expiration_time: _Time | None = None
    occurrence_datetime: _Time | None = None
    settlement_timer_seconds: _Timer = 0
    result: str | None = None
    settlement_value_dollars: str | None = None
    exchange_index: Number = 0


class _QuoteWire(msgspec.Struct):
    """The members of a market that change while it trades."""

    ticker: str
    status: _Text = UNSET
    yes_bid_dollars: _Text = UNSET
    yes_ask_dollars: _Text = UNSET
    no_bid_dollars: _Text = UNSET
    no_ask_dollars: _Text = UNSET
    yes_bid_size_fp: _Text = UNSET
    yes_ask_size_fp: _Text = UNSET
    last_price_dollars: _Text = UNSET
    previous_price_dollars: _Text = UNSET
    previous_yes_bid_dollars: _Text = UNSET
    previous_yes_ask_dollars: _Text = UNSET
    volume_fp: _Text = UNSET
    volume_24h_fp: _Text = UNSET
    open_interest_fp: _Text = UNSET


class _EventWire(msgspec.Struct):
    event_ticker: str
    series_ticker: str = ""
    title: str | None = None
    mutually_exclusive: bool | None = None
    sub_title: str | None = None
    category: str | None = None
    strike_date: _Time | None = None
    fee_type_override: Raw = _NULL
    fee_multiplier_override: Raw = _NULL
    exchange_index: Number = 0
    markets: list[Raw] | None = None


class _NestedWire(msgspec.Struct):
    event_ticker: str
    markets: list[Raw] | None = None


class _SeriesWire(msgspec.Struct):
    ticker: str
    title: str | None = None
    category: str | None = None
    fee_type: str | None = None
    fee_multiplier: Raw = _NULL
    frequency: str | None = None


class _MilestoneWire(msgspec.Struct):
    id: str
    type: str | None = None
    category: str | None = None
    title: str | None = None
    start_date: _Time | None = None
    end_date: _Time | None = None
    primary_event_tickers: Raw = _NULL
    related_event_tickers: Raw = _NULL
    details: Raw = _NULL


class _DetailsWire(msgspec.Struct):
    status: str | None = None


class _ShardWire(msgspec.Struct):
    exchange_index: Number
    exchange_active: bool | None = None
    trading_active: bool | None = None


class _ExchangeStatusWire(msgspec.Struct):
    exchange_active: bool | None = None
    trading_active: bool | None = None
    exchange_estimated_resume_time: _Time | None = None
    exchange_index_statuses: Raw = _NULL


_members = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str | None)
_market = Reader(_MarketWire, "market")
_quote = Reader(_QuoteWire, "market")
_range = Reader(_PriceRange, "price_ranges")
_event = Reader(_EventWire, "event")
_nested = msgspec.json.Decoder(_NestedWire)
_series = Reader(_SeriesWire, "series")
_milestone = Reader(_MilestoneWire, "milestone")
_details = Reader(_DetailsWire, "details")
_exchange_status = Reader(_ExchangeStatusWire, "body")
_shard = Reader(_ShardWire, "exchange_index_statuses")
_encode: Final = msgspec.json.Encoder().encode


def decode_market(
    raw: bytes | Raw, *, series_ticker: str | None, as_of_ms: int, previous: Market | None = None
) -> tuple[Market, Quote]:
    """Decode Kalshi's market object into its static and its quote part.

    Args:
        raw: the JSON object as sent.
        series_ticker: the series of its event; a market object does not name it. None if unknown.
        as_of_ms: the age of the reply, for the quote.
        previous: the last known static part. If nothing static has changed, that very object is returned
            (``market is previous``), and the static members are not decoded again.

    Raises:
        BadRecord: it is not an object with the tickers of a market and its event.
    """
    odd: dict[str, str | None] = {}
    try:
        members, wire = _members.decode(raw), _quote.strictly(raw)
    except JSON_FAULTS:
        members = members_of(raw, "market")
        wire = _quote.of(members)
        for name in QUOTE_MEMBERS:
            sent = sent_as(members.get(name, _NULL))
            if sent is not None and sent.startswith(NOT_TEXT):
                odd[name] = sent
    for name in _NOT_STATIC:
        members.pop(name, None)
    static = _encode(members)
    if previous is None or previous.raw != static or previous.series_ticker != series_ticker:
        previous = _static_part(static, series_ticker)
    return previous, _quote_part(wire, as_of_ms, odd)


def decode_event(raw: bytes | Raw, held: Mapping[str, Event] = _NO_EVENTS) -> tuple[Event, list[Raw]]:
    """Decode an event; return it and its nested raw markets (none when not asked for).

    `Event.raw` leaves the nested markets out.

    Args:
        raw: the JSON object as sent.
        held: known events by ticker. If nothing but its markets has changed, the known one is returned
            (``event is held[ticker]``) and not decoded again.

    Raises:
        BadRecord: it is not an object with an event's ticker.
    """
    nested = _nested_of(raw, held)
    if nested is not None:
        return nested
    wire = _event.read(raw)
    event_ticker = checked_ticker(wire.event_ticker, "event_ticker")
    try:
        series_ticker = checked_ticker(wire.series_ticker, "series_ticker")
    except BadRecord:
        known = held.get(event_ticker)
        series_ticker = known.series_ticker if known is not None else ""
    try:
        members = _members.decode(raw)
    except JSON_FAULTS:
        members = members_of(raw, "event")
    members.pop("markets", None)
    fee_type, multiplier_e4 = _overrides(wire)
    event = Event(
        event_ticker=event_ticker,
        series_ticker=intern(series_ticker),
        title=wire.title or "",
        sub_title=wire.sub_title or "",
        category=intern(wire.category or ""),
        mutually_exclusive=wire.mutually_exclusive or False,
        strike_date_ms=_ms(wire.strike_date),
        fee_type_override=fee_type,
        fee_multiplier_override_e4=multiplier_e4,
        exchange_index=wire.exchange_index,
        raw=legible(_encode(members)),
    )
    return event, wire.markets or []


def decode_series(raw: bytes | Raw) -> Series:
    """Decode a series.

    Raises:
        BadRecord: it is not an object with a series' ticker.
    """
    wire = _series.read(raw)
    return Series(
        ticker=intern(checked_ticker(wire.ticker, "ticker")),
        title=wire.title or "",
        category=intern(wire.category or ""),
        frequency=intern(wire.frequency or ""),
        fee_type=intern(wire.fee_type or ""),
        fee_multiplier_e4=_multiplier_e4(wire.fee_multiplier),
        raw=legible(bytes(raw)),
    )


def decode_milestone(raw: bytes | Raw) -> Milestone:
    """Decode a milestone. Its status is that of `details`, such as "created" or "inprogress".

    Raises:
        BadRecord: it is not an object with an id.
    """
    wire = _milestone.read(raw)
    try:
        status = _details.read(wire.details).status
    except BadRecord:  # free-form by contract: another shape says nothing about a status
        status = None
    return Milestone(
        id=checked_ticker(wire.id, "id"),
        type=intern(wire.type or ""),
        category=intern(wire.category or ""),
        title=wire.title or "",
        start_ms=_ms(wire.start_date),
        end_ms=_ms(wire.end_date),
        primary_event_tickers=texts_of(wire.primary_event_tickers),
        related_event_tickers=texts_of(wire.related_event_tickers),
        status=status,
        raw=legible(bytes(raw)),
    )


def decode_exchange_status(body: bytes, as_of_ms: int) -> ExchangeStatus:
    """Decode the reply of ``GET /exchange/status``.

    Raises:
        BadRecord: it is not an object that says whether exchange or trading are active.
    """
    wire = _exchange_status.read(body)
    if wire.exchange_active is None and wire.trading_active is None:
        raise BadRecord("trading_active", None, "whether exchange and trading are active")
    shards = []
    for raw in elements_of(wire.exchange_index_statuses):
        try:
            shard = _shard.read(raw)
        except BadRecord:
            continue  # it does not say which it is
        shards.append((shard.exchange_index, shard.exchange_active, shard.trading_active))
    return ExchangeStatus(
        exchange_active=wire.exchange_active,
        trading_active=wire.trading_active,
        resume_ms=_ms(wire.exchange_estimated_resume_time),
        shards=tuple(shards),
        as_of_ms=as_of_ms,
        raw=legible(body) if len(body) <= MAX_STATUS_BYTES else b"",
    )


# --- members of `raw` that only some readers need ------------------------------------------------


class Competition(msgspec.Struct, frozen=True):
    """`product_metadata` of a sports event: competition "MLS", scope "Game"; "" where not sent."""

    competition: str = ""
    competition_scope: str = ""


class _MetadataWire(msgspec.Struct):
    product_metadata: Raw = _NULL


class _SourceWire(msgspec.Struct):
    name: str = ""


class _SourcesWire(msgspec.Struct):
    settlement_sources: list[_SourceWire] | None = None


class _CustomStrikeWire(msgspec.Struct):
    custom_strike: dict[str, Raw] | None = None


_metadata = Reader(_MetadataWire, "event")
_competition = Reader(Competition, "product_metadata")
_sources = msgspec.json.Decoder(_SourcesWire)
_custom_strike = msgspec.json.Decoder(_CustomStrikeWire)


def competition_of(event: Event) -> Competition:
    """Return which competition a sports event belongs to; empty if Kalshi does not say."""
    try:
        return _competition.read(_metadata.read(event.raw).product_metadata)
    except BadRecord:  # free-form metadata of another shape says nothing about a competition
        return Competition()


def settlement_sources_of(event: Event) -> frozenset[str]:
    """Return the names of an event's settlement sources; empty if Kalshi does not say."""
    try:
        return frozenset(source.name for source in _sources.decode(event.raw).settlement_sources or ())
    except JSON_FAULTS:
        return frozenset()


def custom_strike_keys(market: Market) -> frozenset[str]:
    """Return the keys of a market's `custom_strike`, such as "baseball_team" or "tennis_competitor"."""
    try:
        return frozenset(_custom_strike.decode(market.raw).custom_strike or ())
    except JSON_FAULTS:  # free-form by contract: another shape simply has none of the known keys
        return frozenset()


def mentions_fair_price(market: Market) -> bool:
    """Tell whether the rules mention a fair price: the usual wording for a match that is not played."""
    return _mentions_fair_price(market.raw)


@lru_cache(maxsize=1024)  # the same markets are asked at every scan
def _mentions_fair_price(raw: bytes) -> bool:
    text = raw.lower()
    return b"fair price" in text or b"fair market price" in text


def slim_market_raw(market: Market) -> bytes:
    """Return the part of a market's JSON that the functions above read; they give the same answers for it."""
    members: dict[str, object] = {}
    keys = custom_strike_keys(market)
    if keys:
        members["custom_strike"] = dict.fromkeys(sorted(keys))
    if mentions_fair_price(market):
        members["rules_secondary"] = "fair price"
    return _encode(members)


def slim_event_raw(event: Event) -> bytes:
    """Return the part of an event's JSON that `competition_of` reads."""
    competition = competition_of(event)
    return _encode({"product_metadata": competition}) if competition != Competition() else b"{}"


# --- inside --------------------------------------------------------------------------------------


def _nested_of(raw: bytes | Raw, held: Mapping[str, Event]) -> tuple[Event, list[Raw]] | None:
    """Return the held event and the markets if only the markets have changed, else None.

    Scans the bytes once. The markets are cut out of them; what is left must equal the held event's bytes.
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


def _overrides(wire: _EventWire) -> tuple[str | None, int | None]:
    """Return an event's own fee type and multiplier, None where it has none."""
    multiplier_e4 = None
    try:
        fee_type = _text.decode(wire.fee_type_override)
    except JSON_FAULTS:
        fee_type = UNREADABLE
    if bytes(wire.fee_multiplier_override) != b"null":
        multiplier_e4 = _multiplier_e4(wire.fee_multiplier_override)
        if multiplier_e4 is None:
            fee_type = UNREADABLE
    return fee_type, multiplier_e4


def _static_part(static: bytes, series_ticker: str | None) -> Market:
    wire = _market.read(static)
    return Market(
        ticker=checked_ticker(wire.ticker, "ticker"),
        event_ticker=intern(checked_ticker(wire.event_ticker, "event_ticker")),
        series_ticker=series_ticker,
        title=wire.title or "",
        yes_sub_title=wire.yes_sub_title or "",
        market_type=intern(wire.market_type or ""),
        strike_type=None if wire.strike_type is None else intern(wire.strike_type),
        floor_strike=wire.floor_strike,
        cap_strike=wire.cap_strike,
        price_ranges=_price_ranges(bytes(wire.price_ranges)),
        created_ms=_ms(wire.created_time),
        open_ms=_ms(wire.open_time),
        close_ms=_ms(wire.close_time),
        expected_expiration_ms=_ms(wire.expected_expiration_time),
        latest_expiration_ms=_ms(wire.latest_expiration_time),
        occurrence_ms=_ms(wire.occurrence_datetime),
        settlement_timer_s=wire.settlement_timer_seconds,
        result=intern(wire.result or ""),
        settlement_value_e4=readable(parse_price_e4, wire.settlement_value_dollars),
        exchange_index=wire.exchange_index,
        raw=legible(static),
    )


def _quote_part(wire: _QuoteWire, as_of_ms: int, odd: dict[str, str | None]) -> Quote:
    status = _STATUS_OF.get(wire.status)
    if status is not None:
        try:
            return _canonical_quote(wire, status, as_of_ms)
        except KeyError:  # a member in another form, or not sent
            pass
    elif isinstance(wire.status, str):
        odd["status"] = wire.status
    else:
        _not_text(wire.status, "status", odd, True)
    prices = yes_bid_e4, yes_ask_e4, no_bid_e4, no_ask_e4 = (
        _price(wire.yes_bid_dollars, "yes_bid_dollars", odd, needed=True),
        _price(wire.yes_ask_dollars, "yes_ask_dollars", odd, needed=True),
        _price(wire.no_bid_dollars, "no_bid_dollars", odd, needed=True),
        _price(wire.no_ask_dollars, "no_ask_dollars", odd, needed=True),
    )
    yes_bid_size_e2 = _count(wire.yes_bid_size_fp, "yes_bid_size_fp", odd, needed=True)
    yes_ask_size_e2 = _count(wire.yes_ask_size_fp, "yes_ask_size_fp", odd, needed=True)
    if None in (*prices, yes_bid_size_e2, yes_ask_size_e2):
        for name in ("yes_bid_size_fp", "yes_ask_size_fp"):
            if name not in odd:
                odd[name] = getattr(wire, name)
        yes_bid_size_e2 = yes_ask_size_e2 = 0
    return Quote(
        ticker=wire.ticker,
        status=status or Status.UNKNOWN,
        yes_bid_e4=yes_bid_e4 or 0,
        yes_ask_e4=PRICE_ONE_E4 if yes_ask_e4 is None else yes_ask_e4,
        no_bid_e4=no_bid_e4 or 0,
        no_ask_e4=PRICE_ONE_E4 if no_ask_e4 is None else no_ask_e4,
        yes_bid_size_e2=yes_bid_size_e2 or 0,
        yes_ask_size_e2=yes_ask_size_e2 or 0,
        last_price_e4=_price(wire.last_price_dollars, "last_price_dollars", odd),
        volume_e2=_count(wire.volume_fp, "volume_fp", odd),
        volume_24h_e2=_count(wire.volume_24h_fp, "volume_24h_fp", odd),
        open_interest_e2=_count(wire.open_interest_fp, "open_interest_fp", odd),
        previous_price_e4=_price(wire.previous_price_dollars, "previous_price_dollars", odd),
        previous_yes_bid_e4=_price(wire.previous_yes_bid_dollars, "previous_yes_bid_dollars", odd),
        previous_yes_ask_e4=_price(wire.previous_yes_ask_dollars, "previous_yes_ask_dollars", odd),
        as_of_ms=as_of_ms,
        as_sent=odd or None,
    )


def _canonical_quote(wire: _QuoteWire, status: Status, as_of_ms: int) -> Quote:
    """Do what `_quote_part` does if all members are sent in canonical form, as they nearly always are.

    Raises:
        KeyError: one of them is not canonical.
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


def _canonical_count(text: _Text) -> int:
    """Return the count in a canonical text. Raises: KeyError: it is in another form, or was not sent."""
    if type(text) is str and text[-3:-2] == "." and len(text) <= _CANONICAL_COUNT_MOST:
        digits = text[:-3] + text[-2:]
        if digits.isdecimal() and digits.isascii() and (text[0] != "0" or len(text) == 4):
            return int(digits)
    raise KeyError(text)


def _price(text: _Text, field: str, odd: dict[str, str | None], *, needed: bool = False) -> int | None:
    if not isinstance(text, str):
        _not_text(text, field, odd, needed)
        return None
    price_e4 = PRICE_OF_TEXT.get(text)
    if price_e4 is None:
        odd[field] = text
        price_e4 = readable(parse_price_e4, text)
    return price_e4


def _count(text: _Text, field: str, odd: dict[str, str | None], *, needed: bool = False) -> int | None:
    if not isinstance(text, str):
        _not_text(text, field, odd, needed)
        return None
    count_e2 = readable(parse_count_e2, text)
    if count_e2 is None or text[-3:-2] != "." or not ("1" <= text[0] <= "9" or text[:2] == "0."):
        odd[field] = text
    return count_e2


def _not_text(sent: UnsetType | None, field: str, odd: dict[str, str | None], needed: bool) -> None:
    """Let a member that is absent or null be passed on that way."""
    if sent is None:
        odd[field] = None
    elif needed:
        odd.setdefault(field, NOT_TEXT)


@lru_cache(maxsize=256)
def _price_ranges(raw: bytes) -> tuple[tuple[int, int, int], ...]:
    """Return the bands that can be read. Markets share a handful of grids: equal ones share one tuple."""
    bands = []
    for element in elements_of(Raw(raw)):
        try:
            band = _range.read(element)
            start_e4, end_e4, step_e4 = map(parse_price_e4, (band.start, band.end, band.step))
        except BadRecord:
            continue
        if step_e4 and start_e4 < end_e4:
            bands.append((start_e4, end_e4, step_e4))
    return tuple(bands)


def _multiplier_e4(raw: Raw) -> int | None:
    """Read a multiplier from 0 to 100 with at most 4 decimals, without floats; None if it is not one."""
    try:
        scaled = Decimal(bytes(raw).decode(errors="replace")) * 10_000
    except ArithmeticError:  # not a number, or beyond Decimal's range
        return None
    return int(scaled) if 0 <= scaled <= 1_000_000 and scaled == int(scaled) else None


def _ms(time: datetime | None) -> int | None:
    if time is None:
        return None
    time_ms = (time - _EPOCH) // _MILLISECOND
    # Near the first and the last year, a time zone can lead out of the calendar.
    return time_ms if _FIRST_MS <= time_ms <= _LAST_MS else None


assert set(QUOTE_MEMBERS) | {"ticker"} == set(_QuoteWire.__struct_fields__), "both lists name the quote"
