"""A live replica for scripts and notebooks, typed objects and tables: ``bus.connect()``, docs/python.md."""

import atexit
import os
import random
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, get_origin, get_type_hints

import structlog

from bus.process.programs import to_type
from bus.process.settings import Settings
from bus.protocol.join import Action, Stats
from bus.protocol.messages import CONTROL_TOPICS, TOPIC_EX, TOPIC_MD, TOPIC_REF
from bus.protocol.state import State
from bus.tape.file import Recording
from bus.tape.moments import At, Moments, moment, parse_at
from markets.errors import KalshiBusError
from markets.records import Book, Event, Market, Quote
from markets.units import format_price

from .ask import ask
from .clock import SystemClock
from .frames import Column, integer_columns, table
from .market_history import HistoryQuote, HistoryTrade, MarketHistory, ask_history
from .nearest import nearest
from .replica import Replica, ReplicaStatus
from .sockets import make_context
from .updates import LIMIT, Update, Updates


def _integers(type_: type) -> dict[str, bool]:
    """Return the integer members of a record, each with whether it may be None."""
    return {
        name: not (hint is int or get_origin(hint) is Annotated)
        for name, hint in get_type_hints(type_, include_extras=True).items()
        if name.endswith(("_e4", "_e2", "_ms"))
    }


_OF_QUOTE: Final = _integers(Quote)
_OF_CHANGE: Final = _integers(HistoryQuote)
_OF_TRADE: Final = _integers(HistoryTrade)
_HISTORY_MAX: Final = 20_000


class UnknownTopic(KalshiBusError, ValueError):
    """No stream begins with a given topic; the message names the nearest ones."""


class Connection:
    """An exact copy of the catalogue that follows the feed until `close`; also a context manager.

    A program that ends without `close` closes it.

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
        self._updates: tuple[Updates, ...] = ()
        self._topics = tuple(topics)
        self._closed = False
        self.replica = Replica(
            self._context, feed, snapshots, SystemClock(), random.Random(), self._topics, self._listen
        )
        self.replica.start(daemon=True)
        atexit.register(self.close)
        if not self.replica.wait(lambda replica: bool(replica.state.epoch), timeout_s):
            self.close()
            raise TimeoutError(
                f"{snapshots}: no snapshot within {timeout_s:g} s: is everything up? {to_type('doctor')}"
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

    def frame(self, library: str = "pandas", *, dollars: bool = False) -> Any:
        """Return all markets as of one position as a table, one per row; pandas' is indexed by ticker.

        Prices, counts and times stay integers, even in columns where some are unknown (pandas: Int64).

        Args:
            library: "pandas", "polars" or "arrow" (a ``pyarrow.Table``).
            dollars: give prices in dollars and counts in contracts, as floats, which are not exact.

        Raises:
            ValueError: there is no such library.
            ImportError: it is not installed.
        """
        state = self.state
        with state.lock:
            pairs = [(state.markets.get(ticker), quote) for ticker, quote in state.quotes.items()]
        quotes = [quote for _, quote in pairs]
        partly = [name for name, some in _OF_QUOTE.items() if some]
        integers = integer_columns(quotes, _OF_QUOTE, partly)

        def text(name: str) -> Column:
            return Column(
                name, [getattr(market, name) if market else None for market, _ in pairs], integers=False
            )

        columns = [
            Column("ticker", [quote.ticker for quote in quotes], integers=False),
            Column("status", [quote.status.value for quote in quotes], integers=False),
            *integers,
            *map(text, ("event_ticker", "series_ticker", "title")),
        ]
        found = table(columns, library, dollars=dollars)
        return found.set_index("ticker") if library == "pandas" else found

    def wait_for(self, condition: "Callable[[Self], object]", timeout_s: float = 10.0) -> None:
        """Wait until `condition(self)` is true, checking it after every message.

        If it asks for a market that is not here yet, that counts as false. It should be quick: the copy
        cannot move while it runs.

        Raises:
            TimeoutError: it was not true in time.
        """
        lacks: list[object] = []

        def holds(_replica: Replica) -> bool:
            lacks.clear()
            try:
                return bool(condition(self))
            except KeyError as error:
                lacks.extend(error.args)
                return False

        if not self.replica.wait(holds, timeout_s):
            because = f": there is no {lacks[0]!r} here" if lacks else ""
            raise TimeoutError(f"not within {timeout_s:g} s{because} ({self!r})")

    def updates(self, *kinds: str, keys: Collection[str] | None = None, limit: int = LIMIT) -> Updates:
        """Return the changes from now on, to iterate over with ``for`` or ``async for``.

        A slow reader delays nobody. If a record changes again before it is read, only the last version is
        given out; each `Update` says how often that happened, and how much was dropped beyond `limit`.

        Args:
            kinds: kinds of records, such as "quote", "book", "trade"; all if none are given.
            keys: only these tickers.
            limit: how many changed records may wait.

        Raises:
            ValueError: there is no such kind.
        """
        found = Updates(lambda: self.state, self._ended, kinds, keys, limit)
        self._updates = (*(one for one in self._updates if not one.closed), found)
        return found

    def on_update(
        self,
        function: Callable[[Update], object],
        *kinds: str,
        keys: Collection[str] | None = None,
        limit: int = LIMIT,
    ) -> Updates:
        """Call `function` with each update, in a thread of its own, until the returned object is closed.

        An exception is logged, stored in `error` of the returned object, and ends the calls.

        Raises:
            ValueError: there is no such kind.
        """
        found = self.updates(*kinds, keys=keys, limit=limit)
        found.call(function)
        return found

    def _listen(self, actions: Sequence[Action]) -> None:
        for updates in self._updates:
            updates.listen(actions)

    def _ended(self) -> bool:
        return self._closed or not self.replica.running

    def history(
        self, ticker: str, start_ms: int | None = None, end_ms: int | None = None, limit: int | None = None
    ) -> MarketHistory:
        """Return how the top of a market's book moved and what was traded, as far as it was recorded.

        Args:
            start_ms, end_ms: times in ms since 1970; by default everything there is.
            limit: how many quotes and trades, counted from the newest; 2,000 by default, at most 20,000.

        Raises:
            NoAnswer: the snapshot server does not answer.
            HistoryRefused: there is no such market.
        """
        return ask_history(self._context, self._snapshots, ticker, start_ms, end_ms, limit)

    def history_frame(
        self,
        ticker: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        library: str = "pandas",
        *,
        dollars: bool = False,
    ) -> Any:
        """Return the quotes of `history`, at most 20,000, as a table; pandas' is indexed by time (UTC).

        Args:
            library, dollars: as for `frame`.

        Raises:
            ValueError, ImportError: as for `frame`.
            NoAnswer, HistoryRefused: as for `history`.
        """
        quotes = self.history(ticker, start_ms, end_ms, _HISTORY_MAX).quotes
        return _over_time(quotes, _OF_CHANGE, ("status",), library, dollars=dollars)

    def trades_frame(
        self,
        ticker: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        library: str = "pandas",
        *,
        dollars: bool = False,
    ) -> Any:
        """Return the trades of `history` as a table, like `history_frame`."""
        trades = self.history(ticker, start_ms, end_ms, _HISTORY_MAX).trades
        return _over_time(trades, _OF_TRADE, ("taker_side", "trade_id"), library, dollars=dollars)

    def __repr__(self) -> str:
        return f"<kalshi_bus connection: {', '.join(f'{name} {said}' for name, said in self._facts())}>"

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(said)}</td></tr>"
            for name, said in self._facts()
        )
        return f"<table><caption>kalshi_bus connection</caption>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        if self._closed:
            return [("feed", "closed")]
        status, state = self.status(), self.state
        age = "unknown" if status.age_ms is None else f"{status.age_ms / 1000:.1f} s"
        facts = [
            ("feed", status.feed if status.source == "live" else f"{status.feed}, a replay"),
            ("age", age),
            ("markets", f"{len(state.markets):,}"),
            ("books", f"{len(state.books):,}"),
            ("position", f"{status.epoch}:{status.seq}"),
            ("topics", ", ".join(self._topics) if any(self._topics) else "all"),
        ]
        return facts + ([("in doubt", ", ".join(status.degraded)[:200])] if status.degraded else [])

    def check_topics(self) -> None:
        """Check that every followed topic has a stream.

        Raises:
            UnknownTopic: names the first topic without one, and similar topics.
        """
        known = (*self.state.streams, *CONTROL_TOPICS, TOPIC_REF, TOPIC_EX)
        for topic in self._topics:
            if any(one.startswith(topic) for one in known):
                continue
            of_series = {one.removeprefix(TOPIC_MD): one for one in self._all_topics()}
            meant = f"{topic.removeprefix(TOPIC_MD).removesuffix('.').upper()}."
            alike = [meant] if meant in of_series else nearest(meant, of_series)
            names = " or ".join(repr(of_series[one]) for one in alike)
            hint = f" Did you mean {names}?" if names else " Market data is on md.SERIES."
            raise UnknownTopic(
                f"topic {topic!r}: no stream begins with it.{hint} "
                "(With missing_ok=True it is followed until there is one.)"
            )

    def _all_topics(self) -> list[str]:
        """Return the topics of all streams, including those not followed; none if nothing answers."""
        try:
            streams = ask(self._context, self._snapshots, {"op": "digest", "id": 1}).get("streams")
        except KalshiBusError:
            return []
        return sorted(streams) if isinstance(streams, dict) else []

    def close(self) -> None:
        """Stop following, and end all iterations over updates."""
        self._closed = True
        atexit.unregister(self.close)
        for updates in self._updates:
            updates.close()
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
        self._updates = ()
        self._topics = ("",)
        self._closed = False

    @property
    def state(self) -> State:
        """All records by kind."""
        return self._then.state

    def status(self) -> ReplicaStatus:
        """Return position and age as they were."""
        state = self._then.state
        complete_ms = state.cycle.complete_ms if state.cycle is not None else None
        age_ms = None if complete_ms is None else max(0, self._then.published_ns // 1_000_000 - complete_ms)
        return ReplicaStatus(
            state.epoch, state.seq, live=False, phase="live", lost=False, age_ms=age_ms, degraded=(),
            source="replay", stats=Stats(),
        )  # fmt: skip

    def wait_for(self, condition: "Callable[[Self], object]", timeout_s: float = 10.0) -> None:
        """Check once, since nothing moves. Raises TimeoutError at once if `condition` is not true."""
        if not condition(self):
            raise TimeoutError(f"it is not true at this past moment, which does not change ({self!r})")

    def _ended(self) -> bool:
        return True

    def _facts(self) -> list[tuple[str, str]]:
        return [("as it was at", moment(self._then.published_ns)), *super()._facts()[1:]]

    def close(self) -> None:
        """Do nothing: nothing is open."""


def _over_time(
    rows: Sequence[Any], integers: dict[str, bool], texts: Sequence[str], library: str, *, dollars: bool
) -> Any:
    partly = [name for name in integers if name != "time_ms"]
    columns = integer_columns(rows, integers, partly)
    columns += [Column(name, [getattr(row, name) for row in rows], integers=False) for name in texts]
    found = table(columns, library, dollars=dollars)
    if library == "pandas":
        times = import_module("pandas").to_datetime(found.pop("time_ms"), unit="ms", utc=True)
        found.index = times.rename("time")
    return found


def connect(
    *topics: str,
    feed: str | None = None,
    snapshots: str | None = None,
    timeout_s: float = 10.0,
    at: str | int | None = None,
    recording: str | Path | None = None,
    curve_key: str | Path | None = None,
    missing_ok: bool = False,
) -> Connection:
    """Follow the bus: everything, or only the streams whose topics begin with `topics`.

    Endpoints are those of the settings (environment, kalshi-bus.toml) unless given.

    Args:
        at: a past moment to show instead: ISO 8601, ms since 1970, or EPOCH:SEQ.
        recording: the recording to read; by default the one in the data directory.
        curve_key: key file for endpoints on another machine, ``tcp://HOST:PORT`` (docs/remote.md).
        missing_ok: whether `topics` may lack a stream so far, such as a series yet to be listed.

    Raises:
        UnknownTopic: one of the topics has no stream; the nearest are named.
        StartupError: an endpoint or the key cannot be used.
        TimeoutError: nothing answered.
        SettingsError: the settings are wrong.
        NotRecorded, BadRecord, RecordingError, OSError: the moment is malformed or not in the recording, or
            the recording is not valid or cannot be read.
    """
    if at is not None:
        folder = Settings.load(os.environ, Path.cwd()).recording if recording is None else Path(recording)
        return Moment(folder, parse_at(at))
    if feed is None or snapshots is None:
        settings = Settings.load(os.environ, Path.cwd())
        feed, snapshots = feed or settings.feed, snapshots or settings.query
        curve_key = curve_key or settings.curve_key
    key = None if curve_key is None else Path(curve_key)
    if not structlog.is_configured():  # nothing of ours between what the program prints
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    connection = Connection(feed, snapshots, topics or ("",), timeout_s, key)
    if not missing_ok:
        try:
            connection.check_topics()
        except UnknownTopic:
            connection.close()
            raise
    return connection


def dollars(price_e4: int) -> str:
    """Return a price as Kalshi writes it, such as 0.4500."""
    return format_price(price_e4)
