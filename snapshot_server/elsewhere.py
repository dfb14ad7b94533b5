"""What the exchange has beyond the feed: lists that the publisher reads slowly, fetched from it.

Markets and events that are not open, all series, fee changes, the schedule. They serve only Kalshi's read
API, and carry their own ages.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec import Raw

from bus.ask import Asker, NoAnswer
from bus.process.lifecycle import Stop
from bus.protocol.messages import unpack
from bus.threads import Owner
from markets.errors import BadRecord, DecodeError, KalshiBusError
from markets.json.decoding import JSON_FAULTS
from markets.json.read import decode_event, decode_market, decode_milestone, decode_series
from markets.json.write import quote_members
from markets.records import Event, Market, Milestone, Quote

log = structlog.get_logger()

EVERY_S: Final = 2.0
TIMEOUT_MS: Final = 5_000
MAX_LIST: Final = 64 * 1_048_576
_SLICE: Final = 100

NOT_OPEN: Final = ("unopened", "closed")
"""The lists of events that are not open, with their markets."""

_elements: Final = msgspec.json.Decoder(list[Raw])


class OtherMarket(NamedTuple):
    """A market that is not on the feed."""

    market: Market
    quote: Quote

    @property
    def raw(self) -> bytes:
        """Kalshi's object for it."""
        return b"%b%b}" % (self.market.raw[:-1], quote_members(self.quote))


class Elsewhere:
    """Everything known beyond the feed; replaced, never changed.

    Attributes:
        as_of_ms: that of each list that was read. documents: those passed on as they came, JSON.
        markets, events, milestones: by ticker, or id. market_order, event_order: by creation, ascending.
        series: Kalshi's objects by ticker.
    """

    def __init__(self) -> None:
        self.as_of_ms: Mapping[str, int] = {}
        self.documents: Mapping[str, bytes] = {}
        self.markets: Mapping[str, OtherMarket] = {}
        self.events: Mapping[str, Event] = {}
        self.market_order: list[tuple[int, str]] = []
        self.event_order: list[tuple[int, str]] = []
        self.markets_of: Mapping[str, tuple[str, ...]] = {}
        self.milestones: Mapping[str, Milestone] = {}
        self.series: Mapping[str, bytes] = {}


NOWHERE: Final = Elsewhere()


class _Lists(msgspec.Struct):
    lists: dict[str, int]


class _List(msgspec.Struct):
    as_of_ms: int
    body: bytes


class Elsewheres:
    """Keeps `latest` up to date. One thread runs it.

    Args:
        endpoint: the publisher's `state`. pause: lets other threads have the interpreter.
    """

    def __init__(self, context: Any, endpoint: str, pause: Callable[[], None]) -> None:
        self.latest = NOWHERE
        self._context = context
        self._endpoint = endpoint
        self._pause = pause
        self._bodies: dict[str, bytes] = {}
        self._as_of_ms: dict[str, int] = {}
        self._owner = Owner("the asking for slow lists")

    def run(self, stop: Stop) -> None:
        """Ask until `stop`."""
        self._owner.check()
        asker = Asker(self._context, self._endpoint)
        try:
            while not stop.wait(EVERY_S):
                try:
                    self._update(asker)
                except NoAnswer:
                    continue  # what was read continues to serve, with its age
                except KalshiBusError as error:
                    log.warning("lists.failed", error=str(error)[:200])
        finally:
            asker.close()

    def _update(self, asker: Asker) -> None:
        answer = asker.ask({"op": "lists"}, TIMEOUT_MS)
        if answer.get("ok") is not True:
            return  # an older publisher, or a replay, has no lists
        lists = _converted(answer, _Lists).lists
        changed = [name for name, as_of_ms in lists.items() if self._as_of_ms.get(name) != as_of_ms]
        for name in changed:
            answer = asker.ask({"op": "list", "name": name}, TIMEOUT_MS)
            if answer.get("ok") is True:
                found = _converted(answer, _List)
                self._bodies[name] = found.body
                self._as_of_ms[name] = found.as_of_ms
        if changed:
            self.latest = made(self._bodies, self._as_of_ms, self._pause)


def made(packed: Mapping[str, bytes], as_of_ms: Mapping[str, int], pause: Callable[[], None]) -> Elsewhere:
    """Return the content of compressed lists, by name; elements that cannot be read are left out.

    Raises:
        DecodeError: one is not zstd, or too long.
    """
    found = Elsewhere()
    bodies = {name: unpack(body, MAX_LIST) for name, body in packed.items()}
    found.as_of_ms = dict(as_of_ms)
    found.documents = {name: body for name, body in bodies.items() if name not in _TAKEN_APART}
    markets: dict[str, OtherMarket] = {}
    events: dict[str, Event] = {}
    for name in NOT_OPEN:
        for raw in _each(bodies.get(name, b"[]"), pause):
            try:
                event, members = decode_event(raw)
            except BadRecord:
                continue
            events[event.event_ticker] = event
            for member in members:
                try:
                    market, quote = decode_market(
                        member, series_ticker=event.series_ticker or None, as_of_ms=as_of_ms[name]
                    )
                except BadRecord:
                    continue
                markets[market.ticker] = OtherMarket(market, quote)
    found.markets, found.events = markets, events
    found.market_order = sorted((other.market.created_ms or 0, ticker) for ticker, other in markets.items())
    of: dict[str, list[str]] = {}
    for ticker, other in markets.items():
        of.setdefault(other.market.event_ticker, []).append(ticker)
    found.markets_of = {event: tuple(tickers) for event, tickers in of.items()}
    created = {
        event: min((markets[ticker].market.created_ms or 0 for ticker in of.get(event, ())), default=0)
        for event in events
    }
    found.event_order = sorted((time_ms, event) for event, time_ms in created.items())
    found.milestones = _read(bodies.get("milestones", b"[]"), decode_milestone, "id", pause)
    found.series = {
        ticker: series.raw
        for ticker, series in _read(bodies.get("series", b"[]"), decode_series, "ticker", pause).items()
    }
    return found


_TAKEN_APART: Final = frozenset((*NOT_OPEN, "milestones", "series"))


def _read(body: bytes, read: Callable[[Raw], Any], key: str, pause: Callable[[], None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for raw in _each(body, pause):
        try:
            record = read(raw)
        except BadRecord:
            continue
        found[getattr(record, key)] = record
    return found


def _each(body: bytes, pause: Callable[[], None]) -> Iterator[Raw]:
    with suppress(*JSON_FAULTS):
        for number, raw in enumerate(_elements.decode(body)):
            if number % _SLICE == _SLICE - 1:
                pause()
            yield raw


def _converted(answer: Mapping[str, Any], type_: type[Any]) -> Any:
    try:
        return msgspec.convert(answer, type_)
    except msgspec.ValidationError as error:
        raise DecodeError(f"lists: {error}") from None
