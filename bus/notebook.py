"""A live replica for a script or notebook, as typed objects and as a pandas DataFrame: ``bus.connect()``."""

import os
import random
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, get_origin, get_type_hints

import msgspec

from bus.process.settings import Settings
from bus.protocol.join import Stats
from bus.protocol.state import State
from bus.tape.file import Recording
from bus.tape.moments import At, Moments, parse_at
from markets.records import Book, Event, Market, Quote
from markets.units import format_price

from .clock import SystemClock
from .market_history import HistoryQuote, MarketHistory, ask_history
from .replica import Replica, ReplicaStatus
from .sockets import make_context

_INTEGERS: Final = {
    name: "int64" if hint is int or get_origin(hint) is Annotated else "Int64"
    for name, hint in get_type_hints(Quote, include_extras=True).items()
    if name.endswith(("_e4", "_e2", "_ms"))
}
"""Types of a DataFrame's columns: pandas would turn integers into floats wherever one is unknown."""


class Connection:
    """An exact copy of the catalogue that follows the feed until `close`; also a context manager.

    Prices are ints of $0.0001, counts ints of 0.01 contract, as everywhere on the bus.
    """

    def __init__(
        self,
        feed: str,
        snapshots: str,
        topics: Iterable[str],
        timeout_s: float,
        curve_key: Path | None = None,
    ) -> None:
        self._context = make_context(curve_key)
        self._snapshots = snapshots
        self.replica = Replica(self._context, feed, snapshots, SystemClock(), random.Random(), topics)
        self.replica.start()
        if not self.replica.wait(lambda replica: bool(replica.state.epoch), timeout_s):
            self.close()
            raise TimeoutError(
                f"{snapshots}: no snapshot within {timeout_s:g} s: is everything up? python -m bus doctor"
            )

    @property
    def state(self) -> State:
        """All records by kind; hold its lock while reading more than one."""
        return self.replica.state

    def status(self) -> ReplicaStatus:
        """Return position, age and health of the copy."""
        return self.replica.status()

    def market(self, ticker: str) -> Market:
        """Return a market's static part. Raises KeyError if there is none."""
        return self.state.markets[ticker]

    def quote(self, ticker: str) -> Quote:
        """Return a market's quote. Raises KeyError if there is none."""
        return self.state.quotes[ticker]

    def book(self, ticker: str) -> Book | None:
        """Return a market's order book, None if it is not one of those kept."""
        return self.state.books.get(ticker)

    def event(self, event_ticker: str) -> Event:
        """Return an event. Raises KeyError if there is none."""
        return self.state.events[event_ticker]

    def quotes(self) -> dict[str, Quote]:
        """Return all quotes as of one position."""
        state = self.state
        with state.lock:
            return dict(state.quotes)

    def frame(self) -> Any:
        """Return all markets as of one position as a pandas DataFrame, a row each, indexed by ticker.

        Prices, counts and times stay integers, even in columns where some are unknown (dtype Int64).

        Raises:
            ImportError: pandas is not installed.
        """
        pandas = import_module("pandas")
        state = self.state
        with state.lock:
            pairs = [(state.markets.get(ticker), quote) for ticker, quote in state.quotes.items()]
        columns = [name for name in Quote.__struct_fields__ if name != "as_sent"]
        rows = [
            {
                **{name: getattr(quote, name) for name in columns},
                "status": quote.status.value,
                "event_ticker": market.event_ticker if market else None,
                "series_ticker": market.series_ticker if market else None,
                "title": market.title if market else None,
            }
            for market, quote in pairs
        ]
        frame = pandas.DataFrame(rows, columns=[*columns, "event_ticker", "series_ticker", "title"])
        return frame.astype(_INTEGERS).set_index("ticker")

    def history(
        self, ticker: str, start_ms: int | None = None, end_ms: int | None = None, limit: int | None = None
    ) -> MarketHistory:
        """Return how the top of a market's book moved and what was traded, as far as it was recorded.

        Args:
            start_ms, end_ms: times in ms since 1970; everything there is without them.
            limit: the most quotes and trades, counted from the newest; 2,000 by default, at most 20,000.

        Raises:
            NoAnswer: the snapshot server does not answer.
            HistoryRefused: there is no such market.
        """
        return ask_history(self._context, self._snapshots, ticker, start_ms, end_ms, limit)

    def history_frame(self, ticker: str, start_ms: int | None = None, end_ms: int | None = None) -> Any:
        """Return the quotes of `history`, at most 20,000, as a pandas DataFrame indexed by time (UTC).

        Raises:
            ImportError: pandas is not installed.
        """
        pandas = import_module("pandas")
        past = self.history(ticker, start_ms, end_ms, 20_000)
        frame = pandas.DataFrame(
            [(*msgspec.structs.astuple(quote),) for quote in past.quotes],
            columns=list(HistoryQuote.__struct_fields__),
        )
        frame = frame.astype({name: "Int64" for name in frame.columns if name != "status"})
        frame.index = pandas.to_datetime(frame.pop("time_ms"), unit="ms", utc=True).rename("time")
        return frame

    def close(self) -> None:
        """Stop following."""
        self.replica.stop()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Moment(Connection):
    """The catalogue as it was at a past moment. It does not change."""

    def __init__(self, recording: Path, at: At) -> None:
        self._then = Moments(Recording(recording)).at(at)

    @property
    def state(self) -> State:
        """All records by kind."""
        return self._then.state

    def status(self) -> ReplicaStatus:
        """Return position and age, as they were."""
        state = self._then.state
        complete_ms = state.cycle.complete_ms if state.cycle is not None else None
        age_ms = None if complete_ms is None else max(0, self._then.published_ns // 1_000_000 - complete_ms)
        return ReplicaStatus(
            state.epoch, state.seq, live=False, phase="live", lost=False, age_ms=age_ms, degraded=(),
            source="replay", stats=Stats(),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


def connect(
    *topics: str,
    feed: str | None = None,
    snapshots: str | None = None,
    timeout_s: float = 10.0,
    at: str | int | None = None,
    recording: str | Path | None = None,
    curve_key: str | Path | None = None,
) -> Connection:
    """Follow the bus; everything, or only the streams whose topics begin with `topics`.

    Endpoints are those of the settings (environment, kalshi-bus.toml) unless given.

    Args:
        at: everything as it was at a past moment instead: ISO 8601, ms since 1970, or EPOCH:SEQ.
        recording: the recording to read; by default the one in the data directory.
        curve_key: file of the key for endpoints on another machine, ``tcp://HOST:PORT`` (docs/remote.md).

    Raises:
        StartupError: an endpoint or the key cannot be used.
        TimeoutError: nobody answered.
        SettingsError: the settings are wrong.
        NotRecorded, BadRecord, RecordingError, OSError: the moment is malformed or not in the recording, or
            the recording is not one or cannot be read.
    """
    if at is not None:
        folder = Settings.load(os.environ, Path.cwd()).recording if recording is None else Path(recording)
        return Moment(folder, parse_at(at))
    if feed is None or snapshots is None:
        settings = Settings.load(os.environ, Path.cwd())
        feed, snapshots = feed or settings.feed, snapshots or settings.query
        curve_key = curve_key or settings.curve_key
    key = None if curve_key is None else Path(curve_key)
    return Connection(feed, snapshots, topics or ("",), timeout_s, key)


def dollars(price_e4: int) -> str:
    """Return a price as Kalshi writes it, such as 0.4500."""
    return format_price(price_e4)
