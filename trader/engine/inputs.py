"""The engine's input log: everything that decides, in one order, and how it is encoded.

Each input carries the present twice: `now_ms` in the data's time (wall clock, or a recording's), `steady_ms`
from a clock that never jumps. Market data comes as the views, at (epoch, seq), of the events that matter. A
record that rarely changes (market, event, series) is written to the log once, under a number from `Encoder`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from bus.trading.gateway import AccountAnswer, ForeignFill
from markets.errors import DecodeError
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.orders import AnyOrderEvent, Ended, Fill, Filled, Intent
from markets.records import Book, Event, FairValue, Market, Quote, Record, Series
from markets.timing import MatchTiming
from trader.ledger.ledger import Ledger

from .asks import AnyAsk
from .legrisk import Learnt
from .marks import KeptMark
from .risk import Limits
from .standing import KnownOrder
from .taken import TakenLevel


class Present(NamedTuple):
    """A moment: `now_ms` in the data's time, `steady_ms` by a clock that never jumps."""

    now_ms: int
    steady_ms: int


class Input(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all inputs. Their first two members are those of `Present`."""

    now_ms: int
    steady_ms: int


RULES: Final = 4
"""The version of the rules by which inputs are decided and booked: a session is decided again by its own.

From 1 on, the steady clock decides rates and days, a settlement pays whole cents, and one without a value is
booked in the end. From 2 on, order states are the words of docs/orders.md, and the daily loss counts locked
lots at their floor, does not take an empty book for a price of 0, and holds until the day is over. From 3
on, a timer is called that a strategy has set on itself by the end of `on_start`, and of what is not ours only
what was paid in the same event counts towards the floor of what is left. From 4 on, a ticket that flattens
counts nothing as sold that risk refuses, a strategy is dropped if it wants something in a text that is too
long or not UTF-8, and a listed fill of no contracts costs its fee and raises no alarm.
"""


class Start(Input, frozen=True):
    """A process begins, with the journal's ledger. Always the first input of a session.

    Attributes:
        journal_id: random id made with the journal; order ids derive from it.
        day, day_start_e6: the last `Day`, in days since 1970, and the profit with which it began.
        strategies: each one's text in the settings, including parameters, so that the same can be made again.
        killed, paused: why not to trade, None if nothing forbids it.
        trader, account: who trades, and on which account; empty in journals from before these existed.
        rules: the rules in effect (RULES); a journal keeps those under which it was written.
        gateway: whether orders go to an exchange. If so, nothing is traded before its account was compared,
            and settlements and payments are those that it lists.
        heard: number of the gateway's last event that is booked.
        alarm: what a person must look at first, None if nothing.
        adopted: ids of the cash movements that are booked.
        loss_base_e6: the profit from which that day's loss is counted, None for the one it began with.
        loss_latched: whether that loss has reached its limit.
        taken: what earlier orders took from levels that may still be shown.
        marks: the last bids for what is held, and since when nobody bids.
        leg_risk: what was learnt about missed legs before.
        known: what was last reported of open orders. cancelling: those whose end was asked for.
        rounded_e6: what payouts withheld of which it is not known yet whether the exchange paid it.
    """

    journal_id: str
    ledger: Ledger
    limits: Limits
    scan: ScanLimits
    strategies: tuple[str, ...]
    next_order: int
    next_trade: int
    day: int
    day_start_e6: int
    killed: str | None
    paused: str | None
    trader: str = ""
    account: str = ""
    rules: int = 0
    gateway: bool = False
    heard: int = 0
    alarm: str | None = None
    adopted: tuple[str, ...] = ()
    loss_base_e6: int | None = None
    loss_latched: bool = False
    taken: tuple[TakenLevel, ...] = ()
    marks: tuple[KeptMark, ...] = ()
    leg_risk: tuple[Learnt, ...] = ()
    known: tuple[KnownOrder, ...] = ()
    cancelling: tuple[int, ...] = ()
    rounded_e6: int = 0


class Tick(Input, frozen=True):
    """Time passes."""


class Data(Input, frozen=True):
    """What changed on the feed, as far as it matters.

    Attributes:
        epoch, seq: the position of all views.
        complete_ms: when the fetch of the last complete sweep ended, None before the first.
        views: events that changed and have candidates, a position or an order. An event whose markets are
            all gone has no view, and keeps its last one.
    """

    epoch: int
    seq: int
    complete_ms: int | None
    views: tuple[EventView, ...]


class Feed(Input, frozen=True):
    """The state of the feed: `word` is live, starting, gap or lost; `degraded` are the series in doubt."""

    word: str
    degraded: tuple[str, ...]


class TradingStatus(Input, frozen=True, tag="Exchange"):
    """Whether the exchange trades, and which of its shards do not; `known`: the exchange itself says so."""

    trading: bool
    idle_shards: tuple[int, ...]
    known: bool = True


class TimeGap(Input, frozen=True):
    """The process stood still for `ms`, or the wall clock was set: nothing seen before is acted on.

    A negative `ms` is how far the clock was set back.
    """

    ms: int


class Values(Input, frozen=True):
    """Changes of the published fair values: new ones, and the tickers of those withdrawn."""

    set: tuple[FairValue, ...]
    removed: tuple[str, ...]


class Trust(Input, frozen=True):
    """The sources of fair values that have passed their trial: from now on traded on at full size."""

    sources: tuple[str, ...]


class Orders(Input, frozen=True):
    """What a broker reported at once about orders, in the order it happened.

    Attributes:
        heard: number of the gateway's last event among these, or before them; 0 without a gateway.
        foreign: fills of orders that are not ours.
        ended: orders that had ended before and are reported on nevertheless.
    """

    events: tuple[AnyOrderEvent, ...]
    heard: int = 0
    foreign: tuple[ForeignFill, ...] = ()
    ended: tuple[Intent, ...] = ()


class Gateway(Input, frozen=True):
    """The state of the order gateway: `word` is answers, silent or other; `said` is a sentence."""

    word: str
    said: str = ""


class Account(Input, frozen=True):
    """What the exchange lists of the account, for comparison with the ledger."""

    listed: AccountAnswer


class Command(Input, frozen=True):
    """pause, resume or kill, by a person. `reason` is theirs; for resume, the word that was typed, if any."""

    op: str
    reason: str


class ByHand(Input, frozen=True):
    """A person asks for something, with the events concerned as they are at (epoch, seq).

    `epoch`, `seq`, `complete_ms` and `views` are as in `Data`; epoch 0: there is no data yet.
    """

    epoch: int
    seq: int
    complete_ms: int | None
    views: tuple[EventView, ...]
    ask: AnyAsk


class StrategyFault(Input, frozen=True):
    """A strategy raised an error outside a decision: when it was asked which events it wants."""

    strategy: str
    call: str
    error: str


_Plain = (
    Start
    | Tick
    | Feed
    | TradingStatus
    | TimeGap
    | Values
    | Trust
    | Orders
    | Gateway
    | Account
    | Command
    | StrategyFault
)
AnyInput = _Plain | Data | ByHand


class _EndedRow(Input, frozen=True, tag="Ended"):
    """What journals contain from before orders could fill in parts: an order, its fills and its end."""

    number: int
    fills: tuple[Fill, ...]
    reason: str

    def orders(self) -> Orders:
        """Return the input that says the same today."""
        fills = (Filled(self.number, fill) for fill in self.fills)
        return Orders(self.now_ms, self.steady_ms, (*fills, Ended(self.number, self.reason)))


class _MarketRow(msgspec.Struct, array_like=True, frozen=True):
    market: int
    quote: Quote
    book: Book | None
    quote_as_of_ms: int
    book_as_of_ms: int | None
    suspect: bool
    vouched: bool = False


class _EventRow(msgspec.Struct, array_like=True, frozen=True):
    event: int
    series: int | None
    timing: tuple[int | None, str, int | None, int | None, bool | None]
    markets: tuple[_MarketRow, ...]
    match: str = ""


class _DataRow(msgspec.Struct, array_like=True, frozen=True, tag="DataRow"):
    now_ms: int
    steady_ms: int
    epoch: int
    seq: int
    complete_ms: int | None
    views: tuple[_EventRow, ...]


class _ByHandRow(msgspec.Struct, array_like=True, frozen=True, tag="ByHandRow"):
    now_ms: int
    steady_ms: int
    epoch: int
    seq: int
    complete_ms: int | None
    views: tuple[_EventRow, ...]
    ask: AnyAsk


_encode = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(_Plain | _DataRow | _ByHandRow | _EndedRow)
_STATIC: Final[dict[str, type[Record]]] = {"market": Market, "event": Event, "series": Series}


class Encoder:
    """Encodes inputs.

    Args:
        save: stores (kind, bytes) of a new record and returns its number.
    """

    def __init__(self, save: Callable[[str, bytes], int]) -> None:
        self._save = save
        self._known: dict[tuple[str, str], tuple[Record, int]] = {}

    def encode(self, taken: AnyInput) -> bytes:
        """Return an input as bytes; records that it refers to are saved first."""
        if isinstance(taken, Data):
            views = tuple(map(self._event, taken.views))
            row = _DataRow(taken.now_ms, taken.steady_ms, taken.epoch, taken.seq, taken.complete_ms, views)
            return _encode(row)
        if isinstance(taken, ByHand):
            views = tuple(map(self._event, taken.views))
            at = (taken.now_ms, taken.steady_ms, taken.epoch, taken.seq, taken.complete_ms)
            return _encode(_ByHandRow(*at, views, taken.ask))
        return _encode(taken)

    def _event(self, view: EventView) -> _EventRow:
        timing = view.timing
        return _EventRow(
            event=self._number("event", view.event.event_ticker, view.event),
            series=None if view.series is None else self._number("series", view.series.ticker, view.series),
            timing=(
                timing.start_ms,
                timing.source,
                timing.close_ms,
                timing.expected_expiration_ms,
                timing.in_play,
            ),
            markets=tuple(
                _MarketRow(
                    market=self._number("market", seen.market.ticker, seen.market),
                    quote=seen.quote,
                    book=seen.book,
                    quote_as_of_ms=seen.quote_as_of_ms,
                    book_as_of_ms=seen.book_as_of_ms,
                    suspect=seen.suspect,
                    vouched=seen.vouched,
                )
                for seen in view.markets
            ),
            match=view.match,
        )

    def _number(self, kind: str, key: str, record: Record) -> int:
        known = self._known.get((kind, key))
        if known is not None and (known[0] is record or known[0] == record):
            return known[1]
        number = self._save(kind, _encode(record))
        self._known[kind, key] = record, number
        return number


class Decoder:
    """Decodes inputs.

    Args:
        statics: number -> (kind, bytes), as they were given to `Encoder`'s `save`.
    """

    def __init__(self, statics: Mapping[int, tuple[str, bytes]]) -> None:
        self._statics = statics
        self._read: dict[int, Any] = {}

    def decode(self, body: bytes) -> AnyInput:
        """Return the input that these bytes encode.

        Raises:
            DecodeError: they are not an input.
        """
        try:
            row: _Plain | _DataRow | _ByHandRow | _EndedRow = _decoder.decode(body)
            if isinstance(row, _EndedRow):
                return row.orders()
            if not isinstance(row, _DataRow | _ByHandRow):
                return row
            views = tuple(map(self._view, row.views))
        except (msgspec.MsgspecError, KeyError, ValueError) as error:
            raise DecodeError(f"input: {error}") from None
        at = (row.now_ms, row.steady_ms, row.epoch, row.seq, row.complete_ms, views)
        return Data(*at) if isinstance(row, _DataRow) else ByHand(*at, row.ask)

    def _view(self, row: _EventRow) -> EventView:
        return EventView(
            event=self._static(row.event),
            series=None if row.series is None else self._static(row.series),
            markets=tuple(
                MarketView(
                    market=self._static(seen.market),
                    quote=seen.quote,
                    book=seen.book,
                    quote_as_of_ms=seen.quote_as_of_ms,
                    book_as_of_ms=seen.book_as_of_ms,
                    suspect=seen.suspect,
                    vouched=seen.vouched,
                )
                for seen in row.markets
            ),
            timing=MatchTiming(*row.timing),
            match=row.match,
        )

    def _static(self, number: int) -> Any:
        found = self._read.get(number)
        if found is None:
            kind, body = self._statics[number]
            found = self._read[number] = msgspec.msgpack.decode(body, type=_STATIC[kind])
        return found
