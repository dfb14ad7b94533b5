"""One WebSocket connection to Kalshi, sans-I/O: frames in, facts out, commands to send.

Every frame of a sequenced subscription, acknowledgements too, takes the next number of its `sid`. A number
left out makes every book of that subscription suspect at once, until its snapshot came again; a number that
was there before is dropped. The subscription's own answers prove that nothing was lost: a quiet book is asked
for again, and its answer says that all others are still as they were.

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from markets.errors import BadRecord, KalshiBusError
from markets.records import Book, BookDelta, Level, Status, Suspect, Trade
from markets.units import (
    MAX_COUNT_E2,
    PRICE_ONE_E4,
    opposite,
    parse_count_e2,
    parse_price_e4,
    parse_signed_count_e2,
)

T = TypeVar("T")

BOOKS: Final = "orderbook_delta"
TICKER: Final = "ticker"
TRADES: Final = "trade"
LIFECYCLE: Final = "market_lifecycle_v2"
ALL_MARKETS: Final = (TICKER, TRADES, LIFECYCLE)

TICKERS_PER_COMMAND: Final = 500
MAX_LEVELS: Final = 10_000
PROBE_AFTER_MS: Final = 4_000
"""A subscription that is silent this long is asked whether it lives."""

STALLED_AFTER_MS: Final = 6_000
"""No frame for this long after that question: the connection is dead, however open it looks."""

ASK_AGAIN_MS: Final = 3_000
REFRESH_MS: Final = 5_000
"""A book that did not change is said to be still true this often."""

SKEW_MS: Final = 60_000
TERMINAL: Final = frozenset({10, 25})
"""Channel error, and buffer overflow: the subscription has ended."""

_DEACTIVATED: Final = {True: Status.INACTIVE, False: Status.ACTIVE, None: None}
_STATUS_AFTER: Final = {
    "activated": Status.ACTIVE,
    "determined": Status.DETERMINED,
    "settled": Status.FINALIZED,
}


class Broken(KalshiBusError):
    """The connection is of no use any more: make a new one."""


class Tick(NamedTuple):
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
    """A market's new status, announced."""

    ticker: str
    status: Status
    as_of_ms: int


Fact = Book | BookDelta | Suspect | Trade | Tick | StatusChange


class _Frame(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None
    msg: Raw = Raw(b"null")
    sending_ts_ms: int | None = None


class _Subscribed(msgspec.Struct):
    channel: str
    sid: int


class _Snapshot(msgspec.Struct):
    market_ticker: str
    yes_dollars_fp: list[tuple[str, str]] | None = None
    no_dollars_fp: list[tuple[str, str]] | None = None


class _Delta(msgspec.Struct):
    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    ts_ms: int | None = None


class _Ticker(msgspec.Struct):
    market_ticker: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    price_dollars: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    ts_ms: int | None = None


class _Trade(msgspec.Struct):
    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    taker_side: str | None = None
    taker_outcome_side: str | None = None
    ts_ms: int | None = None


class _Lifecycle(msgspec.Struct):
    event_type: str
    market_ticker: str
    is_deactivated: bool | None = None


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


class _Named(msgspec.Struct):
    market_ticker: str


_frame = msgspec.json.Decoder(_Frame)
_subscribed = msgspec.json.Decoder(_Subscribed)
_snapshot = msgspec.json.Decoder(_Snapshot)
_delta = msgspec.json.Decoder(_Delta)
_ticker = msgspec.json.Decoder(_Ticker)
_trade = msgspec.json.Decoder(_Trade)
_lifecycle = msgspec.json.Decoder(_Lifecycle)
_error = msgspec.json.Decoder(_Error)
_named = msgspec.json.Decoder(_Named)
_encode = msgspec.json.Encoder().encode


class Counters(msgspec.Struct):
    """What happened on all connections so far."""

    frames: int = 0
    gaps: int = 0
    duplicates: int = 0
    bad: int = 0
    errors: int = 0
    healed: int = 0
    confirmed: int = 0


class _Subscription:
    __slots__ = ("as_of_ms", "channel", "last", "last_ms", "probed_ms")

    def __init__(self, channel: str, now_ms: int) -> None:
        self.channel = channel
        self.last = 0
        self.last_ms = now_ms
        self.as_of_ms = now_ms
        self.probed_ms: int | None = None


class _Ladder:
    """The live levels of one book: price_e4 -> count_e2, per side."""

    __slots__ = ("as_of_ms", "no", "yes")

    def __init__(self, book: Book) -> None:
        self.yes = dict(book.yes)
        self.no = dict(book.no)
        self.as_of_ms = book.as_of_ms


class Session:
    """The client's side of one connection. One thread; times are ms, `now_ms` the wall clock.

    Args:
        yes_price: whether NO levels come on the YES scale; asked for in each subscription.
        channels: subscribed for all markets.

    Attributes:
        counters: may be shared by successive connections.
    """

    def __init__(
        self,
        counters: Counters | None = None,
        *,
        yes_price: bool = True,
        channels: Sequence[str] = ALL_MARKETS,
    ) -> None:
        self.counters = counters or Counters()
        self._yes_price = yes_price
        self._channels = channels
        self._commands: list[bytes] = []
        self._facts: list[Fact] = []
        self._id = 0
        self._subs: dict[int, _Subscription] = {}
        self._books_sid: int | None = None
        self._subscribing: dict[str, int] = {}
        self._wanted: dict[str, None] = {}
        self._sent: dict[str, None] = {}
        self._live: dict[str, _Ladder] = {}
        self._checked: set[str] = set()
        self._asked_ms: dict[str, int] = {}
        self._suspect: set[str] = set()
        self._dropped: list[str] = []
        self._given_up: set[str] = set()
        self._heard_ms = 0
        self._probed_ms: int | None = None
        self._read: dict[str, Callable[[_Frame, int], None]] = {
            "orderbook_delta": self._on_delta,
            "ticker": self._on_ticker,
            "trade": self._on_trade,
            "orderbook_snapshot": self._on_snapshot,
            "market_lifecycle_v2": self._on_lifecycle,
            "error": self._on_error,
        }

    @property
    def live(self) -> Collection[str]:
        """Tickers whose books are known to be right."""
        return self._live.keys()

    @property
    def unsure(self) -> int:
        """How many wanted books are not known to be right."""
        return len(self._sent) - len(self._live)

    def book(self, ticker: str) -> Book | None:
        """Return a live book as it is now."""
        ladder = self._live.get(ticker)
        if ladder is None:
            return None
        return Book(ticker, ladder.as_of_ms, _levels(ladder.yes), _levels(ladder.no))

    # -- what the shell does

    def open(self, now_ms: int) -> None:
        """Begin: the connection is made."""
        self._heard_ms = now_ms
        for channel in self._channels:
            self._command("subscribe", {"channels": [channel]})

    def want(self, tickers: Iterable[str], now_ms: int) -> None:
        """Set which books to follow."""
        self._wanted = dict.fromkeys(tickers)
        self._given_up.intersection_update(self._wanted)
        self._follow(now_ms)

    def verify(self, tickers: Iterable[str], now_ms: int) -> None:
        """Fetch these books again: something else says otherwise."""
        known = [ticker for ticker in tickers if ticker in self._live]
        self._checked.update(known)
        self._ask(known, now_ms)

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Take one frame.

        Raises:
            Broken: the exchange ended the connection's use.
        """
        self.counters.frames += 1
        self._heard_ms, self._probed_ms = now_ms, None
        try:
            frame = _frame.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.counters.bad += 1
            return
        if frame.type == "subscribed":
            self._on_subscribed(frame, now_ms)
            return
        if frame.sid is not None and not self._in_sequence(frame.sid, frame, now_ms):
            return
        read = self._read.get(frame.type)
        if read is None:
            return  # an acknowledgement, or what came after this was written
        try:
            read(frame, now_ms)
        except (BadRecord, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.counters.bad += 1
            self._unreadable(frame, now_ms)

    def tick(self, now_ms: int) -> None:
        """Let time pass; call about every second.

        Raises:
            Broken: the connection is silent, whatever its pings say.
        """
        self._alive(now_ms)
        late = [ticker for ticker, at_ms in self._asked_ms.items() if now_ms - at_ms > ASK_AGAIN_MS]
        if late and self._books_sid is not None:
            self._ask(late, now_ms)
        self._follow(now_ms)
        sub = self._subs.get(self._books_sid) if self._books_sid is not None else None
        if sub is None:
            return
        for ticker, ladder in self._live.items():
            # Everything up to the last frame of the subscription was heard, and it was not about this book.
            if sub.as_of_ms - ladder.as_of_ms >= REFRESH_MS:
                ladder.as_of_ms = sub.as_of_ms
                self._facts.append(_unchanged(ticker, ladder))

    def commands(self) -> list[bytes]:
        """Return what is to be sent, once."""
        commands, self._commands = self._commands, []
        return commands

    def facts(self) -> list[Fact]:
        """Return what was learnt, in order, once."""
        facts, self._facts = self._facts, []
        return facts

    def closed(self, reason: str, now_ms: int) -> None:
        """The connection is gone: nothing that was followed is known any more."""
        self._doubt(list(self._live), reason, now_ms)
        self._asked_ms.clear()

    # -- frames

    def _in_sequence(self, sid: int, frame: _Frame, now_ms: int) -> bool:
        """Tell whether a frame is new and of a subscription of ours; see to what is missing before it."""
        sub = self._subs.get(sid)
        if sub is None:
            return False
        if frame.seq is not None:
            if frame.seq <= sub.last:
                self.counters.duplicates += 1
                return False
            missing = frame.seq != sub.last + 1
            sub.last = frame.seq
            if missing:
                self.counters.gaps += 1
                if sid == self._books_sid:
                    lost = list(self._live)
                    self._doubt(lost, "gap", now_ms)
                    self._ask([*lost, *self._asked_ms], now_ms)
        sub.last_ms, sub.probed_ms = now_ms, None
        sub.as_of_ms = _time(frame.sending_ts_ms, now_ms)
        return True

    def _on_subscribed(self, frame: _Frame, now_ms: int) -> None:
        try:
            message = _subscribed.decode(frame.msg)
        except msgspec.MsgspecError:
            self.counters.bad += 1
            return
        self._subscribing.pop(message.channel, None)
        if message.sid in self._subs:
            self.counters.duplicates += 1
            return
        self._subs[message.sid] = _Subscription(message.channel, now_ms)
        if message.channel == BOOKS:
            self._books_sid = message.sid
            self._follow(now_ms)

    def _on_snapshot(self, frame: _Frame, now_ms: int) -> None:
        message = _snapshot.decode(frame.msg)
        ticker = message.market_ticker
        if ticker not in self._sent:
            return  # not followed any more
        book = Book(
            ticker,
            _time(frame.sending_ts_ms, now_ms),
            _side(message.yes_dollars_fp, lambda price: price),
            _side(message.no_dollars_fp, opposite if self._yes_price else lambda price: price),
        )
        if len(book.yes) + len(book.no) > MAX_LEVELS:
            raise BadRecord("orderbook", f"{len(book.yes) + len(book.no)} levels", f"at most {MAX_LEVELS}")
        self._asked_ms.pop(ticker, None)
        self._given_up.discard(ticker)
        ladder, held = _Ladder(book), self._live.get(ticker)
        checked = ticker in self._checked
        self._checked.discard(ticker)
        self._live[ticker] = ladder
        self._suspect.discard(ticker)
        same = held is not None and (held.yes, held.no) == (ladder.yes, ladder.no)
        self.counters.healed += held is not None and not same
        self.counters.confirmed += same and checked
        self._facts.append(_unchanged(ticker, ladder) if same and not checked else book)

    def _on_delta(self, frame: _Frame, now_ms: int) -> None:
        message = _delta.decode(frame.msg)
        ladder = self._live.get(message.market_ticker)
        if ladder is None:
            return  # its snapshot is on the way
        price_e4 = parse_price_e4(message.price_dollars, "price_dollars")
        if message.side == "no" and self._yes_price:
            price_e4 = opposite(price_e4)
        levels = ladder.yes if message.side == "yes" else ladder.no
        count_e2 = levels.get(price_e4, 0) + parse_signed_count_e2(message.delta_fp, "delta_fp")
        if not 0 <= count_e2 <= MAX_COUNT_E2 or not 0 < price_e4 < PRICE_ONE_E4:
            raise BadRecord("delta_fp", message.delta_fp, "a change that leaves a size of 0 or more")
        if count_e2:
            levels[price_e4] = count_e2
        else:
            levels.pop(price_e4, None)
        ladder.as_of_ms = _time(message.ts_ms, now_ms)
        self._facts.append(
            BookDelta(message.market_ticker, ladder.as_of_ms, message.side, price_e4, count_e2)
        )

    def _on_ticker(self, frame: _Frame, now_ms: int) -> None:
        message = _ticker.decode(frame.msg)
        last_e4 = _if_sent(parse_price_e4, message.price_dollars, "price_dollars")
        self._facts.append(
            Tick(
                message.market_ticker,
                parse_price_e4(message.yes_bid_dollars, "yes_bid_dollars"),
                parse_price_e4(message.yes_ask_dollars, "yes_ask_dollars"),
                parse_count_e2(message.yes_bid_size_fp, "yes_bid_size_fp"),
                parse_count_e2(message.yes_ask_size_fp, "yes_ask_size_fp"),
                last_e4 or None,  # 0.0000: never traded
                _if_sent(parse_count_e2, message.volume_fp, "volume_fp"),
                _if_sent(parse_count_e2, message.open_interest_fp, "open_interest_fp"),
                _time(message.ts_ms, now_ms),
            )
        )

    def _on_trade(self, frame: _Frame, now_ms: int) -> None:
        message = _trade.decode(frame.msg)
        self._facts.append(
            Trade(
                message.trade_id,
                message.market_ticker,
                parse_price_e4(message.yes_price_dollars, "yes_price_dollars"),
                parse_count_e2(message.count_fp, "count_fp"),
                message.taker_outcome_side or message.taker_side or "",
                message.ts_ms or now_ms,
            )
        )

    def _on_lifecycle(self, frame: _Frame, now_ms: int) -> None:
        message = _lifecycle.decode(frame.msg)
        status = _STATUS_AFTER.get(message.event_type)
        if message.event_type == "deactivated":
            status = _DEACTIVATED[message.is_deactivated]
        if status is not None:
            time_ms = _time(frame.sending_ts_ms, now_ms)
            self._facts.append(StatusChange(message.market_ticker, status, time_ms))

    def _on_error(self, frame: _Frame, now_ms: int) -> None:
        message = _error.decode(frame.msg)
        self.counters.errors += 1
        if message.code not in TERMINAL and message.code not in (7, 9):
            return
        sub = self._subs.pop(frame.sid, None) if frame.sid is not None else None
        if sub is None:
            raise Broken(f"error {message.code}: {message.msg}")
        if sub.channel == BOOKS:
            self._books_sid = None
            self._doubt(list(self._live), f"error {message.code}", now_ms)
            self._asked_ms.clear()
            self._sent.clear()
            self._dropped.clear()
            self._follow(now_ms)
        else:
            self._command("subscribe", {"channels": [sub.channel]})

    def _unreadable(self, frame: _Frame, now_ms: int) -> None:
        """A frame that cannot be trusted makes its book suspect; a second bad snapshot ends following it."""
        if frame.type not in ("orderbook_delta", "orderbook_snapshot"):
            return
        try:
            ticker = _named.decode(frame.msg).market_ticker
        except msgspec.MsgspecError:
            # Whose it was is unknown: any.
            lost = list(self._live)
            self._doubt(lost, "unreadable frame", now_ms)
            self._ask(lost, now_ms)
            return
        if ticker not in self._sent:
            return
        self._doubt([ticker], "unreadable frame", now_ms)
        if frame.type == "orderbook_snapshot" and ticker in self._given_up:
            self._asked_ms.pop(ticker, None)
            self._sent.pop(ticker, None)
            self._update("delete_markets", [ticker])
            return
        if frame.type == "orderbook_snapshot":
            self._given_up.add(ticker)
        self._ask([ticker], now_ms)

    # -- books

    def _doubt(self, tickers: Iterable[str], reason: str, now_ms: int) -> None:
        for ticker in tickers:
            self._live.pop(ticker, None)
            self._checked.discard(ticker)
            if ticker not in self._suspect:
                self._suspect.add(ticker)
                self._facts.append(Suspect(ticker, now_ms, reason))

    def _ask(self, tickers: Iterable[str], now_ms: int) -> None:
        """Ask for snapshots of followed markets."""
        asked = list(dict.fromkeys(tickers))
        self._asked_ms.update(dict.fromkeys(asked, now_ms))
        self._update("get_snapshot", asked)

    def _follow(self, now_ms: int) -> None:
        """Bring the subscription to what is wanted."""
        for ticker in [ticker for ticker in self._sent if ticker not in self._wanted]:
            del self._sent[ticker]
            self._live.pop(ticker, None)
            self._checked.discard(ticker)
            self._asked_ms.pop(ticker, None)
            self._suspect.discard(ticker)
            self._dropped.append(ticker)
        new = [t for t in self._wanted if t not in self._sent and t not in self._given_up]
        if self._books_sid is None:
            if new and BOOKS not in self._subscribing:
                first = new[:TICKERS_PER_COMMAND]
                self._subscribing[BOOKS] = now_ms
                self._sent.update(dict.fromkeys(first))
                self._asked_ms.update(dict.fromkeys(first, now_ms))
                self._command("subscribe", {"channels": [BOOKS], "market_tickers": first, **self._how})
            return
        dropped, self._dropped = self._dropped, []
        self._update("delete_markets", dropped)
        self._sent.update(dict.fromkeys(new))
        self._asked_ms.update(dict.fromkeys(new, now_ms))
        self._update("add_markets", new)

    @property
    def _how(self) -> dict[str, bool]:
        # The default of use_yes_price will change some day: it is always said.
        return {"use_yes_price": self._yes_price, "skip_ticker_ack": True}

    def _update(self, action: str, tickers: Sequence[str]) -> None:
        for start in range(0, len(tickers), TICKERS_PER_COMMAND):
            part = tickers[start : start + TICKERS_PER_COMMAND]
            params = {"sids": [self._books_sid], "action": action, "market_tickers": part}
            self._command("update_subscription", params)

    def _command(self, name: str, params: dict[str, Any] | None = None) -> None:
        self._id += 1
        command: dict[str, Any] = {"id": self._id, "cmd": name}
        if params is not None:
            command["params"] = params
        self._commands.append(_encode(command))

    def _alive(self, now_ms: int) -> None:
        """Ask a silent subscription of books, and a silent connection, for a sign of life."""
        sub = self._subs.get(self._books_sid) if self._books_sid is not None else None
        followed = next(iter(self._live or self._asked_ms), None)
        if sub is not None and now_ms - sub.last_ms > PROBE_AFTER_MS and followed is not None:
            if sub.probed_ms is None:
                sub.probed_ms = now_ms
                self._update("get_snapshot", [followed])
            elif now_ms - sub.probed_ms > STALLED_AFTER_MS:
                raise Broken("the books are silent")
        if now_ms - self._subscribing.get(BOOKS, now_ms) > STALLED_AFTER_MS:
            raise Broken("the subscription of books is not answered")
        if now_ms - self._heard_ms > PROBE_AFTER_MS:
            if self._probed_ms is None:
                self._probed_ms = now_ms
                self._command("list_subscriptions")
            elif now_ms - self._probed_ms > STALLED_AFTER_MS:
                raise Broken("the connection is silent")


def _unchanged(ticker: str, ladder: _Ladder) -> BookDelta:
    """Say that a book is as it was: one of its levels again, with a later time."""
    for side, levels in (("yes", ladder.yes), ("no", ladder.no)):
        for price_e4, count_e2 in levels.items():
            return BookDelta(ticker, ladder.as_of_ms, side, price_e4, count_e2)
    return BookDelta(ticker, ladder.as_of_ms, "yes", 1, 0)


def _levels(side: dict[int, int]) -> tuple[Level, ...]:
    return tuple(sorted(side.items()))


def _side(levels: list[tuple[str, str]] | None, scale: Callable[[int], int]) -> tuple[Level, ...]:
    found: dict[int, int] = {}
    for price, count in levels or ():
        price_e4, count_e2 = scale(parse_price_e4(price)), parse_count_e2(count)
        if price_e4 in found or not count_e2 or not 0 < price_e4 < PRICE_ONE_E4:
            raise BadRecord("orderbook", (price, count), "one positive size per price inside (0, 1)")
        found[price_e4] = count_e2
    return _levels(found)


def _time(sent_ms: int | None, now_ms: int) -> int:
    """Return the exchange's time of a frame where it can be believed, else that of its arrival."""
    return sent_ms if sent_ms is not None and now_ms - SKEW_MS <= sent_ms <= now_ms else now_ms


def _if_sent(parse: Callable[[object, str], T], text: str | None, name: str) -> T | None:
    return None if text is None else parse(text, name)
