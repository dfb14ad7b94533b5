"""The records that travel on the bus and live in a replica: typed, immutable, exact.

Every record is a msgspec array (see docs/protocol.md for the wire order, which is the field order
here). Fields are only ever appended. ``None`` means "not sent"; it is never 0 or 0.5.
`raw` members hold Kalshi's JSON object as sent (for a market: all of it but the quote's members).
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .units import MAX_COUNT_E2, MAX_TIME_MS, MIN_TIME_MS, PRICE_ONE_E4

# The range of each number. Decoders refuse anything outside it and nothing else checks again: given a record,
# one may index with its prices, hash its levels and render its times.
PriceE4 = Annotated[int, Meta(ge=0, le=PRICE_ONE_E4)]
CountE2 = Annotated[int, Meta(ge=0, le=MAX_COUNT_E2)]
SignedCountE2 = Annotated[int, Meta(ge=-MAX_COUNT_E2, le=MAX_COUNT_E2)]
TimeMs = Annotated[int, Meta(ge=MIN_TIME_MS, le=MAX_TIME_MS)]

Level = tuple[PriceE4, CountE2]
"""One price level: (price_e4, count_e2)."""


class Status(StrEnum):
    """Status of a market as the exchange returns it; a word we do not know becomes UNKNOWN."""

    INITIALIZED = "initialized"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "Status":
        return cls.UNKNOWN


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all records: a frozen msgpack array, trailing unknown fields ignored."""


class Market(Record, frozen=True, cache_hash=True):
    """Static part of a market: identity, rules, strikes, times, price grid.

    A member that cannot be read is unknown: None, "", 0 or an empty tuple. `price_ranges` holds
    (start_e4, end_e4, step_e4) bands, the only authority for valid prices.
    `floor_strike` and `cap_strike` are JSON numbers at Kalshi: a strike is a level of the
    underlying, not money.
    """

    ticker: str
    event_ticker: str
    series_ticker: str | None
    title: str
    yes_sub_title: str
    market_type: str
    strike_type: str | None
    floor_strike: float | None
    cap_strike: float | None
    price_ranges: tuple[tuple[PriceE4, PriceE4, PriceE4], ...]
    created_ms: TimeMs | None
    open_ms: TimeMs | None
    close_ms: TimeMs | None
    expected_expiration_ms: TimeMs | None
    latest_expiration_ms: TimeMs | None
    occurrence_ms: TimeMs | None
    settlement_timer_s: int
    result: str
    settlement_value_e4: PriceE4 | None
    exchange_index: int
    raw: bytes


class Quote(Record, frozen=True):
    r"""Quote part of a market: everything that changes while it trades.

    The four prices are as Kalshi sent them; a side of the book exists only if its size is positive (the price
    of an empty side varies). If a price or a size cannot be read, both sizes are 0. `as_sent` holds members
    whose text was not in Kalshi's canonical form, as sent, so that they are passed on unchanged: None is
    null, and "\0" begins what was not a string, followed by its JSON, or by nothing if it was not sent. It is
    nearly always None.
    """

    ticker: str
    status: Status
    yes_bid_e4: PriceE4
    yes_ask_e4: PriceE4
    no_bid_e4: PriceE4
    no_ask_e4: PriceE4
    yes_bid_size_e2: SignedCountE2
    yes_ask_size_e2: SignedCountE2
    last_price_e4: PriceE4 | None
    volume_e2: SignedCountE2 | None
    volume_24h_e2: SignedCountE2 | None
    open_interest_e2: SignedCountE2 | None
    previous_price_e4: PriceE4 | None
    previous_yes_bid_e4: PriceE4 | None
    previous_yes_ask_e4: PriceE4 | None
    as_of_ms: TimeMs
    as_sent: dict[str, str | None] | None = None


class Book(Record, frozen=True):
    """Order book of one market: bids of both outcomes, ascending, best last, as Kalshi sends them.

    NO levels are in NO prices; a NO bid at q is a YES ask at 1 - q of the same size.
    """

    ticker: str
    as_of_ms: TimeMs
    yes: tuple[Level, ...]
    no: tuple[Level, ...]


class BookDelta(Record, frozen=True):
    """Change of one level: the new total `count_e2` at `price_e4` of `side` ("yes" or "no"); 0 removes it."""

    ticker: str
    as_of_ms: TimeMs
    side: str
    price_e4: PriceE4
    count_e2: CountE2


class Candles(Record, frozen=True):
    """Price history of one market, fetched on demand: the last candlesticks, oldest first.

    `raw` is the JSON array as Kalshi sent it; each element ends at its `end_period_ts` (Unix seconds,
    inclusive) and spans `period_s`. `minutes` and `days` are the same with shorter and longer periods, empty
    until fetched; `as_of_ms` is that of `raw`, once fetched.
    """

    ticker: str
    as_of_ms: TimeMs
    period_s: int
    raw: bytes
    minutes: bytes = b"[]"
    days: bytes = b"[]"


class Trade(Record, frozen=True):
    """One public trade; an event, not state. `taker_side` is the outcome the taker bought."""

    trade_id: str
    ticker: str
    yes_price_e4: PriceE4
    count_e2: CountE2
    taker_side: str
    time_ms: TimeMs


class Series(Record, frozen=True):
    """A series: category and fee schedule of its events. `fee_multiplier_e4` 10000 is x1, None unknown."""

    ticker: str
    title: str
    category: str
    frequency: str
    fee_type: str
    fee_multiplier_e4: int | None
    raw: bytes


class Event(Record, frozen=True, cache_hash=True):
    """An event: the markets of one question. `mutually_exclusive`: at most one resolves YES.

    `market_tickers` names its markets in the order in which they were last listed, separated by spaces: a
    single text, since separate ones would cost every replica three times the memory. "" if unknown.

    `series_ticker` is "" if it could not be read; `fee_type_override` is "unreadable" if there is an override
    that could not be read, so that its fees are unknown.
    """

    event_ticker: str
    series_ticker: str
    title: str
    sub_title: str
    category: str
    mutually_exclusive: bool
    strike_date_ms: TimeMs | None
    fee_type_override: str | None
    fee_multiplier_override_e4: int | None
    exchange_index: int
    raw: bytes
    market_tickers: str = ""


class Milestone(Record, frozen=True):
    """A scheduled occasion, such as a match, that events refer to. `start_ms` is when it is to start."""

    id: str
    type: str
    category: str
    title: str
    start_ms: TimeMs | None
    end_ms: TimeMs | None
    primary_event_tickers: tuple[str, ...]
    related_event_tickers: tuple[str, ...]
    status: str | None
    raw: bytes


class Suspect(Record, frozen=True):
    """Upstream doubt about one market since `since_ms`, until a new book or quote; None clears it."""

    ticker: str
    since_ms: TimeMs | None
    reason: str


class ExchangeStatus(Record, frozen=True):
    """Whether the exchange and its shards trade; None if unknown.

    `shards` holds (index, exchange_active, trading_active).
    """

    exchange_active: bool | None
    trading_active: bool | None
    resume_ms: TimeMs | None
    shards: tuple[tuple[int, bool | None, bool | None], ...]
    as_of_ms: TimeMs
    raw: bytes = b""


class Drift(Record, frozen=True):
    """A member of the exchange's JSON that is not as documented, how often it came, and since when.

    `route` is "GET /events" or "ws ticker", `member` a dotted path from the record it is part of, `what`
    "unknown", "missing", "type", "range" or "enum"; `example` its first value as JSON, cut, "" for none.
    """

    route: str
    member: str
    what: str
    count: int
    first_seen_ms: TimeMs
    example: str


class Remove(Record, frozen=True):
    """Removal of a record: `what` is its kind ("market": and all that belongs to it), `key` its identity."""

    what: str
    key: str


class FairValue(Record, frozen=True):
    """What a market's YES is believed to be worth, as the trader publishes it on a feed of its own.

    `margin` is the half-width of that belief: an edge inside it does not count. `source` names whose belief
    it is.

    Raises:
        ValueError: `probability` or `margin` is not within 0..1.
    """

    ticker: str
    probability: float
    source: str
    as_of_ms: TimeMs
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.probability <= 1.0 and 0.0 <= self.margin <= 1.0):
            raise ValueError(
                f"fair value of {self.ticker}: {self.probability} +- {self.margin} is not within 0..1"
            )


class TraderEvent(Record, frozen=True):
    """Something happened in the trader; an event, not state: ask again. On the trader's own feed only.

    `what` is "order", "fill", "settlement", "state" or "equity". `state` is the trader's new state, if it has
    changed; `number` is an order's.
    """

    what: str
    state: str | None = None
    number: int | None = None


UNJOINED_SERIES: Final = "_"
"""Stream of markets whose event the exchange does not know: ``md._.``; fees unknown, never an opportunity."""
