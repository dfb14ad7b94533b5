"""One WebSocket connection to Kalshi, sans-I/O: frames in, facts out, commands to send.

A skipped number (subscriptions.py) immediately makes every book of that subscription suspect, until its
snapshot has come again. The subscription's own answers prove that nothing was lost: a quiet book is asked for
again, and the answer says that all others are still as they were.

A refusal costs only what was refused: too many markets in one subscription (error 26) halve the number asked
for, which is remembered; markets that the exchange does not accept are found by bisection, and left to REST.

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from bus.threads import Owner
from markets.errors import BadRecord
from markets.json.frames import (
    BOOKS,
    LIFECYCLE,
    MARKET_LIMIT,
    TICKER,
    TRADES,
    StatusChange,
    StreamError,
    StreamFrame,
    TickerUpdate,
    believed_ms,
    decode_delta,
    decode_error,
    decode_frame,
    decode_lifecycle,
    decode_snapshot,
    decode_subscribed,
    decode_ticker,
    decode_trade,
    ticker_of,
)
from markets.records import Book, BookDelta, Suspect, Trade
from markets.units import MAX_COUNT_E2, PRICE_ONE_E4
from publisher.drift import DriftWatch

from .subscriptions import BUSY, Command, Counters, Refusal, Subscriptions

ALL_MARKETS: Final = (TICKER, TRADES, LIFECYCLE)
"""Channels subscribed for all markets."""

MAX_LEVELS: Final = 10_000
ASK_AGAIN_MS: Final = 3_000
REFUSED_IN_ROW: Final = 12
"""After this many refusals with nothing accepted in between, single markets are not the reason."""

REFRESH_MS: Final = 5_000
"""How often a book that has not changed is reported as still true."""

Fact = Book | BookDelta | Suspect | Trade | TickerUpdate | StatusChange


class _Ladder:
    """The live levels of one book: price_e4 -> count_e2 for each side."""

    __slots__ = ("as_of_ms", "no", "yes")

    def __init__(self, book: Book) -> None:
        self.yes = dict(book.yes)
        self.no = dict(book.no)
        self.as_of_ms = book.as_of_ms


class StreamSession:
    """The client's side of one connection. One thread; times are ms, `now_ms` the wall clock.

    Ages are by that clock; waiting times are by the steady clock.

    Args:
        yes_price: whether NO levels come on the YES scale; asked for in each subscription.
        channels: subscribed for all markets.
        drift: checks every frame; None for no checks.
        steady_ms: the steady clock; without it, `now_ms` counts as one.

    Attributes:
        counters: may be shared by successive connections.
    """

    def __init__(
        self,
        counters: Counters | None = None,
        *,
        yes_price: bool = True,
        channels: Sequence[str] = ALL_MARKETS,
        drift: DriftWatch | None = None,
        steady_ms: Callable[[], int] | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self._yes_price = yes_price
        self._channels = channels
        self._steady_ms = steady_ms
        self._drift = drift
        self._subscriptions = Subscriptions(self.counters, yes_price=yes_price)
        self._facts: list[Fact] = []
        self._wanted: dict[str, None] = {}
        self._sent: dict[str, None] = {}
        self._live: dict[str, _Ladder] = {}
        self._checked: set[str] = set()
        self._asked_ms: dict[str, int] = {}
        self._suspect: set[str] = set()
        self._dropped: list[str] = []
        self._given_up: set[str] = set()
        self._parts: deque[tuple[str, ...]] = deque()
        self._refused_in_row = 0
        self._refusals: list[Refusal] = []
        self._thread = Owner("the session of a stream")
        self._read: dict[str, Callable[[StreamFrame, int], None]] = {
            "orderbook_delta": self._on_delta,
            "ticker": self._on_ticker,
            "trade": self._on_trade,
            "orderbook_snapshot": self._on_snapshot,
            "market_lifecycle_v2": self._on_lifecycle,
            "error": self._on_error,
        }

    @property
    def live(self) -> Collection[str]:
        """The tickers whose books are known to be right."""
        return self._live.keys()

    @property
    def unsure(self) -> int:
        """How many wanted books are not known to be right."""
        return len(self._sent) - len(self._live)

    @property
    def since_ms(self) -> int | None:
        """Since when every change of a quote has been heard, by the wall clock; None while that is not so."""
        return self._subscriptions.since_ms(TICKER)

    def book(self, ticker: str) -> Book | None:
        """Return a live book as it is now."""
        ladder = self._live.get(ticker)
        if ladder is None:
            return None
        return Book(
            ticker, ladder.as_of_ms, tuple(sorted(ladder.yes.items())), tuple(sorted(ladder.no.items()))
        )

    def _at(self, now_ms: int) -> int:
        return now_ms if self._steady_ms is None else self._steady_ms()

    # -- what the shell does

    def open(self, now_ms: int) -> None:
        """Begin: the connection has been made."""
        self._subscriptions.heard(self._at(now_ms))
        for channel in self._channels:
            self._subscriptions.subscribe(channel)

    def want(self, tickers: Iterable[str], now_ms: int) -> None:
        """Set the books to follow."""
        self._thread.check()
        self._wanted = dict.fromkeys(tickers)
        self._given_up.intersection_update(self._wanted)
        self._follow(now_ms)

    def verify(self, tickers: Iterable[str], now_ms: int) -> None:
        """Fetch these books again: another source contradicts them."""
        known = [ticker for ticker in tickers if ticker in self._live]
        self._checked.update(known)
        self._ask(known, now_ms)

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Take one frame.

        Raises:
            Broken: the exchange made the connection useless.
        """
        self.counters.frames += 1
        self._subscriptions.heard(self._at(now_ms))
        try:
            frame = decode_frame(text)
        except BadRecord:
            self.counters.bad += 1
            self._look("", text)
            return
        self._look(frame.type, text)
        if frame.type == "subscribed":
            self._on_subscribed(frame, now_ms)
            return
        order = self._subscriptions.follows(frame, self._at(now_ms), now_ms)
        if order == "drop" and (frame.type != "error" or self._subscriptions.knows(frame.sid)):
            return
        if frame.id is not None and frame.type != "error" and self._subscriptions.answered(frame.id):
            self._refused_in_row = 0
            self._subscriptions.went_well(self._at(now_ms))
        if order == "after_gap" and self._subscriptions.is_books(frame.sid):
            lost = list(self._live)
            self._doubt(lost, "gap", now_ms)
            self._ask([*lost, *self._asked_ms], now_ms)
        read = self._read.get(frame.type)
        if read is None:
            return  # an acknowledgement, or what came after this was written
        try:
            read(frame, now_ms)
        except BadRecord:
            self.counters.bad += 1
            self._unreadable(frame, now_ms)

    def tick(self, now_ms: int) -> None:
        """Let time pass; call about every second.

        Raises:
            Broken: the connection is silent, whatever its pings say.
        """
        subscriptions = self._subscriptions
        steady_ms = self._at(now_ms)
        subscriptions.check_life(steady_ms, next(iter(self._live or self._asked_ms), None))
        if not subscriptions.held(steady_ms):
            late = [ticker for ticker, at_ms in self._asked_ms.items() if steady_ms - at_ms > ASK_AGAIN_MS]
            if late and subscriptions.books_open:
                self._ask(late, now_ms)
            subscriptions.renew(steady_ms)
        self._follow(now_ms)
        as_of_ms = subscriptions.books_as_of_ms
        if as_of_ms is None:
            return
        for ticker, ladder in self._live.items():
            # Everything up to the last frame of the subscription was heard, and none of it was about this
            # book. Never later than now: a time ahead comes from a clock that was set back.
            if abs(as_of_ms - ladder.as_of_ms) >= REFRESH_MS:
                ladder.as_of_ms = as_of_ms
                self._facts.append(_unchanged(ticker, ladder))

    def commands(self) -> list[bytes]:
        """Return, once, what is to be sent."""
        return self._subscriptions.commands()

    def facts(self) -> list[Fact]:
        """Return, once, the facts learnt, in order."""
        self._thread.check()
        facts, self._facts = self._facts, []
        return facts

    def refusals(self) -> list[Refusal]:
        """Return, once, the errors that came, in order."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def closed(self, reason: str, now_ms: int) -> None:
        """The connection is gone: nothing that was followed is known any longer."""
        self._doubt(list(self._live), reason, now_ms)
        self._asked_ms.clear()

    # -- frames

    def _look(self, kind: str, text: str | bytes) -> None:
        if self._drift is not None:
            self._drift.frame(kind, text.encode() if isinstance(text, str) else text)

    def _on_subscribed(self, frame: StreamFrame, now_ms: int) -> None:
        try:
            message = decode_subscribed(frame)
        except BadRecord:
            self.counters.bad += 1
            return
        self._refused_in_row = 0
        if self._subscriptions.opened(message, self._at(now_ms), now_ms):
            self._follow(now_ms)

    def _on_snapshot(self, frame: StreamFrame, now_ms: int) -> None:
        message = decode_snapshot(frame)
        ticker = message.market_ticker
        if ticker not in self._sent:
            return  # no longer followed
        book = Book(
            ticker, believed_ms(frame.sending_ts_ms, now_ms), *message.sides(yes_price=self._yes_price)
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

    def _on_delta(self, frame: StreamFrame, now_ms: int) -> None:
        message = decode_delta(frame)
        ladder = self._live.get(message.market_ticker)
        if ladder is None:
            return  # its snapshot is on its way
        price_e4, change_e2 = message.change(yes_price=self._yes_price)
        levels = ladder.yes if message.side == "yes" else ladder.no
        count_e2 = levels.get(price_e4, 0) + change_e2
        if not 0 <= count_e2 <= MAX_COUNT_E2 or not 0 < price_e4 < PRICE_ONE_E4:
            raise BadRecord("delta_fp", message.delta_fp, "a change that leaves a size of 0 or more")
        if count_e2:
            levels[price_e4] = count_e2
        else:
            levels.pop(price_e4, None)
        ladder.as_of_ms = believed_ms(message.ts_ms, now_ms)
        self._facts.append(
            BookDelta(message.market_ticker, ladder.as_of_ms, message.side, price_e4, count_e2)
        )

    def _on_ticker(self, frame: StreamFrame, now_ms: int) -> None:
        update = decode_ticker(frame, now_ms)
        self.counters.bad += update.as_sent is not None
        self._facts.append(update)

    def _on_trade(self, frame: StreamFrame, now_ms: int) -> None:
        self._facts.append(decode_trade(frame, now_ms))

    def _on_lifecycle(self, frame: StreamFrame, now_ms: int) -> None:
        change = decode_lifecycle(frame, now_ms)
        if change is not None:
            self._facts.append(change)

    def _on_error(self, frame: StreamFrame, now_ms: int) -> None:
        try:
            failure = decode_error(frame)
        except BadRecord:
            self.counters.bad += 1
            failure = StreamError()  # whatever it says, it is a refusal
        refusal = self._subscriptions.failed(frame, failure, self._at(now_ms))
        self._refusals.append(refusal)
        command = refusal.command
        if refusal.ended == BOOKS:
            self._doubt(list(self._live), f"error {failure.code}", now_ms)
            self._asked_ms.clear()
            self._sent.clear()
            self._dropped.clear()
            self._follow(now_ms)
        elif refusal.ended is None and command is not None and command.tickers:
            self._on_books_refused(command, failure.code, now_ms)

    def _on_books_refused(self, command: Command, code: int, now_ms: int) -> None:
        """Ask for fewer books, for part of them, or later; or leave them to REST."""
        asked = [ticker for ticker in command.tickers if ticker in self._sent]
        if command.action == "delete_markets" or (command.action == "get_snapshot" and code in BUSY):
            return  # nothing depends on the former, and the latter is asked for again
        self._refused_in_row += 1
        if command.action == "get_snapshot":
            if len(asked) > 1 and self._refused_in_row <= REFUSED_IN_ROW:
                for part in _halves(asked):
                    self._ask(part, now_ms)
            else:
                self._give_up(asked, f"error {code}", now_ms)
            return
        for ticker in asked:
            del self._sent[ticker]
            self._asked_ms.pop(ticker, None)
        if code == MARKET_LIMIT:
            fewer = max(1, len(self._sent) + len(command.tickers) // 2)
            self.counters.books_max = min(self.counters.books_max or fewer, fewer)
            if not self._sent and len(command.tickers) == 1:
                self._subscriptions.pause_books(self._at(now_ms))
        elif code not in BUSY and self._refused_in_row > REFUSED_IN_ROW:
            self._subscriptions.pause_books(self._at(now_ms))
            self._parts.clear()
        elif code not in BUSY and len(asked) == 1:
            self._given_up.update(asked)
        elif code not in BUSY:
            self._parts += _halves(asked)
        self._follow(now_ms)

    def _give_up(self, tickers: Sequence[str], reason: str, now_ms: int) -> None:
        """Stop following these books: they are left to REST."""
        self._doubt(tickers, reason, now_ms)
        for ticker in tickers:
            self._asked_ms.pop(ticker, None)
            self._sent.pop(ticker, None)
        self._given_up.update(tickers)
        self._subscriptions.update_books("delete_markets", tickers)

    def _unreadable(self, frame: StreamFrame, now_ms: int) -> None:
        """A frame that cannot be trusted makes its book suspect; a second bad snapshot ends following it."""
        if frame.type not in ("orderbook_delta", "orderbook_snapshot"):
            return
        try:
            ticker = ticker_of(frame)
        except BadRecord:
            # Whose it was is unknown: it may be any.
            lost = list(self._live)
            self._doubt(lost, "unreadable frame", now_ms)
            self._ask(lost, now_ms)
            return
        if ticker not in self._sent:
            return
        self._doubt([ticker], "unreadable frame", now_ms)
        if frame.type == "orderbook_snapshot" and ticker in self._given_up:
            self._give_up([ticker], "unreadable frame", now_ms)
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
        self._asked_ms.update(dict.fromkeys(asked, self._at(now_ms)))
        self._subscriptions.update_books("get_snapshot", asked)

    def _follow(self, now_ms: int) -> None:
        """Adjust the subscription to what is wanted."""
        steady_ms = self._at(now_ms)
        wanted = dict.fromkeys(
            islice((t for t in self._wanted if t not in self._given_up), self.counters.books_max)
        )
        for ticker in [ticker for ticker in self._sent if ticker not in wanted]:
            del self._sent[ticker]
            self._live.pop(ticker, None)
            self._checked.discard(ticker)
            self._asked_ms.pop(ticker, None)
            self._suspect.discard(ticker)
            self._dropped.append(ticker)
        subscriptions = self._subscriptions
        if subscriptions.held(steady_ms):
            return
        if subscriptions.books_open and self._dropped:
            dropped, self._dropped = self._dropped, []
            subscriptions.update_books("delete_markets", dropped)
        if not subscriptions.books_due(steady_ms):
            return
        # Commands may be carried out in another order: what goes must be gone before it, or more, comes.
        if leaving := subscriptions.leaving(steady_ms):
            if self.counters.books_max is not None:
                return
            wanted = {ticker: None for ticker in wanted if ticker not in leaving}
        for part in self._to_follow(wanted):
            new = part
            if subscriptions.books_open:
                subscriptions.update_books("add_markets", part)
            else:
                new = subscriptions.subscribe_books(part, steady_ms)
            self._sent.update(dict.fromkeys(new))
            self._asked_ms.update(dict.fromkeys(new, steady_ms))

    def _to_follow(self, wanted: Collection[str]) -> list[list[str]]:
        """Return what is to be followed and is not, in parts to be asked for separately."""
        if not self._subscriptions.books_open and self._parts:
            first = self._parts.popleft()  # the others once it is answered
            return [[ticker for ticker in first if ticker in wanted and ticker not in self._sent]]
        parts = [[t for t in part if t in wanted and t not in self._sent] for part in self._parts]
        apart = {ticker for part in parts for ticker in part}
        self._parts.clear()
        rest = [t for t in wanted if t not in self._sent and t not in apart]
        return [part for part in (*parts, rest) if part]


def _halves(tickers: Sequence[str]) -> list[tuple[str, ...]]:
    half = (len(tickers) + 1) // 2
    return [tuple(tickers[:half]), tuple(tickers[half:])]


def _unchanged(ticker: str, ladder: _Ladder) -> BookDelta:
    """Report that a book is unchanged: one of its levels again, with a later time."""
    for side, levels in (("yes", ladder.yes), ("no", ladder.no)):
        for price_e4, count_e2 in levels.items():
            return BookDelta(ticker, ladder.as_of_ms, side, price_e4, count_e2)
    return BookDelta(ticker, ladder.as_of_ms, "yes", 1, 0)
