"""Who gets what: from the replica's changes to the subscriptions, sans-I/O.

Everything is compared with what was sent before: so a change heard twice is sent once, and what was missed
and repaired is sent like any other change. A book is first sent as a snapshot and then by the levels that
differ. While it is not fully known (never read, suspect, dropped) nothing is sent about it; once it is known
again, every subscription gets a new snapshot.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed, Records
from bus.threads import Owner
from markets.json.channels import (
    created_message,
    delta_messages,
    event_fee_message,
    event_message,
    grid_members,
    lifecycle_message,
    members_of_market,
    snapshot_message,
    strike_members,
    ticker_message,
    trade_message,
)
from markets.json.frames import BOOKS, LIFECYCLE, TICKER, TRADES
from markets.records import Book, Event, Market, Quote, Status, Trade
from markets.units import format_price

from .session import Session, Subscription

MAX_WISHED: Final = 5_000
"""The most books wished for at a time, for all clients: half of what the publisher accepts. Beyond that they
take turns."""

_EMPTY: Final = frozenset(
    (
        Status.INITIALIZED,
        Status.CLOSED,
        Status.DETERMINED,
        Status.DISPUTED,
        Status.AMENDED,
        Status.FINALIZED,
    )
)
"""Statuses in which a market accepts no orders, so that its book is empty."""

_DECIDED: Final = frozenset((Status.DETERMINED, Status.DISPUTED, Status.AMENDED, Status.FINALIZED))


class _Followed:
    """A book that somebody follows, as last sent; None while it is not fully known.

    `told` have its snapshot and get the changes; `waiting` get a snapshot when there is one; `asked` wait for
    another one (`get_snapshot`).
    """

    __slots__ = ("asked", "book", "told", "waiting")

    def __init__(self) -> None:
        self.book: Book | None = None
        self.told: dict[Subscription, None] = {}
        self.waiting: dict[Subscription, None] = {}
        self.asked: dict[Subscription, None] = {}

    @property
    def wanted(self) -> bool:
        return bool(self.told or self.waiting or self.asked)


class _Life(NamedTuple):
    """What is sent about a market when it changes."""

    status: Status | None
    close_ms: int | None
    price_ranges: tuple[tuple[int, int, int], ...]
    strikes: tuple[object, ...]
    decided: bool


class Hub:
    """All subscriptions. One thread.

    Args:
        state: returns what the replica holds now; before it holds anything, its epoch is 0.
        now_ms: gives the time.
    """

    def __init__(self, state: Callable[[], Records], now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.sessions: dict[Session, None] = {}
        self.fresh_wishes = False
        self._state = state
        self._books: dict[str, _Followed] = {}
        self._by_ticker: dict[str, dict[str, dict[Subscription, None]]] = {TICKER: {}, TRADES: {}}
        self._of_all: dict[str, dict[Subscription, None]] = {TICKER: {}, TRADES: {}, LIFECYCLE: {}}
        self._quotes: dict[str, Quote] = {}
        self._last_trade_e2: dict[str, int] = {}
        self._lives: dict[str, _Life] | None = None
        self._events: dict[str, Event] = {}
        self._turns: dict[Session, int] = {}
        self._owner = Owner("the hub of WebSocket clients")

    @property
    def ready(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._state().epoch)

    # -- clients

    def connect(self, dirty: Callable[[Session], None]) -> Session:
        """Return the session of a new client; `dirty` is called when it has something to send."""
        self._owner.check()
        session = Session(self, dirty)
        self.sessions[session] = None
        return session

    def disconnect(self, session: Session) -> None:
        """Forget a client."""
        self._owner.check()
        session.close()
        self.sessions.pop(session, None)
        self._turns.pop(session, None)

    def refill(self, session: Session) -> None:
        """Send books that wait for room, as long as there is some."""
        while session.backlog and session.has_room:
            subscription, ticker = next(iter(session.backlog))
            del session.backlog[subscription, ticker]
            self._show(subscription, ticker)

    # -- what sessions report (Listeners)

    def added(self, subscription: Subscription, tickers: Sequence[str] | None, *, initial: bool) -> None:
        channel = subscription.channel
        if channel == BOOKS:
            for ticker in tickers or ():
                followed = self._books.get(ticker)
                if followed is None:
                    followed = self._books[ticker] = _Followed()
                    followed.book = self._whole(ticker)
                    self.fresh_wishes = True
                followed.waiting[subscription] = None
                if followed.book is not None:
                    self._show(subscription, ticker)
            return
        state = self._state()
        if tickers is None:
            if channel == TICKER and not self._of_all[TICKER]:
                self._quotes = {**state.quotes, **self._quotes}
            self._of_all[channel][subscription] = None
            if channel == LIFECYCLE and self._lives is None:
                self._look_at_lives()
            return
        heard = self._by_ticker[channel]
        for ticker in tickers:
            heard.setdefault(ticker, {})[subscription] = None
        for ticker in tickers if channel == TICKER else ():
            quote = state.quotes.get(ticker)
            if quote is not None:
                self._quotes.setdefault(ticker, quote)
                if initial and _says(quote):
                    message = ticker_message(quote, self._last_trade_e2.get(ticker))
                    subscription.data(b"ticker", message, self.now_ms())

    def removed(self, subscription: Subscription, tickers: Sequence[str]) -> None:
        if subscription.channel == BOOKS:
            for ticker in tickers:
                followed = self._books.get(ticker)
                if followed is not None:
                    followed.told.pop(subscription, None)
                    followed.waiting.pop(subscription, None)
                    self._let_go(ticker, followed)
            return
        heard = self._by_ticker[subscription.channel]
        for ticker in tickers:
            listeners = heard.get(ticker)
            if listeners is not None:
                listeners.pop(subscription, None)
                if not listeners:
                    del heard[ticker]
                    if subscription.channel == TICKER and not self._of_all[TICKER]:
                        self._quotes.pop(ticker, None)

    def ended(self, subscription: Subscription) -> None:
        for ticker in subscription.asked:
            followed = self._books[ticker]
            followed.asked.pop(subscription, None)
            self._let_go(ticker, followed)
        subscription.asked.clear()
        if subscription.tickers is not None:
            self.removed(subscription, list(subscription.tickers))
            return
        self._of_all[subscription.channel].pop(subscription, None)
        if subscription.channel == TICKER and not self._of_all[TICKER]:
            heard = self._by_ticker[TICKER]
            self._quotes = {ticker: quote for ticker, quote in self._quotes.items() if ticker in heard}
        if subscription.channel == LIFECYCLE and not self._of_all[LIFECYCLE]:
            self._lives = None
            self._events = {}

    def asked(self, subscription: Subscription, tickers: Sequence[str], command: int) -> None:
        for ticker in tickers:
            followed = self._books.get(ticker)
            if followed is None:
                followed = self._books[ticker] = _Followed()
                followed.book = self._whole(ticker)
                self.fresh_wishes = True
            followed.asked[subscription] = None
            subscription.asked[ticker] = command
            if followed.book is not None:
                self._show(subscription, ticker)

    def unknown(self, tickers: Sequence[str]) -> Sequence[str]:
        state = self._state()
        if not state.epoch:
            return ()
        return [ticker for ticker in tickers if ticker not in state.quotes and ticker not in state.markets]

    # -- what happened

    def changed(self, actions: Iterable[Action]) -> None:
        """Send what changed."""
        self._owner.check()
        if not self.sessions:
            for action in actions:
                if isinstance(action, Changed):
                    for trade in action.trades:
                        self._last_trade_e2[trade.ticker] = trade.count_e2
            return
        for action in actions:
            if isinstance(action, Changed):
                self._on_changed(action)
            elif isinstance(action, Tell) and action.event in ("live", "resynced", "epoch"):
                self.compare_all()

    def _on_changed(self, changed: Changed) -> None:
        for trade in changed.trades:
            self._on_trade(trade)
        for kind, keys in changed.groups:
            if kind == "quote":
                for ticker in keys:
                    self._on_quote(ticker)
                if self._lives is not None:
                    self._on_lives(keys)
            elif kind in ("book", "suspect"):
                for ticker in keys:
                    self._on_book(ticker)
            elif kind == "market":
                if self._lives is not None:
                    self._on_lives(keys)
                for ticker in keys:
                    if ticker not in self._state().markets:  # its book went with it
                        self._on_book(ticker)
                        self._last_trade_e2.pop(ticker, None)
            elif kind == "event" and self._lives is not None:
                self._on_events(keys)

    def compare_all(self) -> None:
        """Send whatever differs from what was sent: what changed unheard and was repaired."""
        state = self._state()
        for ticker in list(self._books):
            self._on_book(ticker)
        for ticker in list(state.quotes) if self._of_all[TICKER] else list(self._by_ticker[TICKER]):
            self._on_quote(ticker)
        if self._lives is not None:
            self._on_lives(list(state.markets))
            self._on_events(list(state.events))

    # -- books

    def _whole(self, ticker: str) -> Book | None:
        """Return a book that is fully known, None if it is not."""
        state = self._state()
        if ticker in state.suspects:
            return None
        quote = state.quotes.get(ticker)
        if quote is not None and quote.status in _EMPTY:
            return Book(ticker, quote.as_of_ms, (), ())
        return state.books.get(ticker)

    def _on_book(self, ticker: str) -> None:
        followed = self._books.get(ticker)
        if followed is None:
            return
        before, book = followed.book, self._whole(ticker)
        if book is None:
            if before is not None:
                followed.book = None
                followed.waiting.update(followed.told)
                followed.told.clear()
            return
        followed.book = book
        if before is None:
            for subscription in list(followed.waiting | followed.asked):
                self._show(subscription, ticker)
            return
        if followed.told and (before.yes is not book.yes or before.no is not book.no):
            now_ms = self.now_ms()
            by_scale: dict[bool, list[bytes]] = {}
            for subscription in list(followed.told):
                scale = subscription.yes_price
                messages = by_scale.get(scale)
                if messages is None:
                    messages = by_scale[scale] = delta_messages(before, book, yes_price=scale)
                for message in messages:
                    if subscription in followed.told:  # it has not ended in between
                        subscription.data(b"orderbook_delta", message, now_ms)

    def _show(self, subscription: Subscription, ticker: str) -> None:
        """Send a book that waits to be sent, now or when there is room for it."""
        followed = self._books.get(ticker)
        if followed is None or followed.book is None:
            return  # it is sent once it is complete
        if subscription not in followed.waiting and subscription not in followed.asked:
            return  # it is no longer wanted
        session = subscription.session
        if not session.has_room:
            session.backlog[subscription, ticker] = None
            return
        command = 0
        if subscription in followed.waiting:
            del followed.waiting[subscription]
            followed.told[subscription] = None
        if subscription in followed.asked:
            command = subscription.asked.pop(ticker)
            del followed.asked[subscription]
        message = snapshot_message(followed.book, yes_price=subscription.yes_price)
        subscription.data(b"orderbook_snapshot", message, self.now_ms(), command)
        self._let_go(ticker, followed)

    def _let_go(self, ticker: str, followed: _Followed) -> None:
        if not followed.wanted:
            self._books.pop(ticker, None)

    # -- quotes and trades

    def _on_quote(self, ticker: str) -> None:
        if ticker in self._books:
            self._on_book(ticker)  # it is empty once nothing can be ordered
        listeners, of_all = self._by_ticker[TICKER].get(ticker), self._of_all[TICKER]
        if listeners is None and not of_all:
            return
        quote, before = self._state().quotes.get(ticker), self._quotes.get(ticker)
        if quote is None or quote is before or not _says(quote):
            return
        self._quotes[ticker] = quote
        if before is not None and _told_of(quote) == _told_of(before):
            return
        self._tell(b"ticker", ticker_message(quote, self._last_trade_e2.get(ticker)), listeners, of_all)

    def _on_trade(self, trade: Trade) -> None:
        self._last_trade_e2[trade.ticker] = trade.count_e2
        listeners, of_all = self._by_ticker[TRADES].get(trade.ticker), self._of_all[TRADES]
        if listeners or of_all:
            self._tell(b"trade", trade_message(trade), listeners, of_all)

    def _tell(
        self,
        kind: bytes,
        message: bytes,
        listeners: dict[Subscription, None] | None,
        of_all: dict[Subscription, None],
    ) -> None:
        now_ms = self.now_ms()
        for subscription in [*(listeners or ()), *of_all]:
            subscription.session.data(subscription, kind, message, now_ms)

    # -- lives of markets and events

    def _look_at_lives(self) -> None:
        state = self._state()
        self._lives = {}
        for ticker, market in list(state.markets.items()):
            self._lives[ticker] = _life_of(market, state.quotes.get(ticker))
        self._events = dict(state.events)

    def _on_lives(self, tickers: Iterable[str]) -> None:
        state, lives = self._state(), self._lives
        assert lives is not None
        for ticker in tickers:
            market, quote, before = state.markets.get(ticker), state.quotes.get(ticker), lives.get(ticker)
            if market is None:
                lives.pop(ticker, None)
                continue
            life = lives[ticker] = _life_of(market, quote)
            if before is None:
                self._tell_life(created_message(market, state.raw(market)))
            elif life != before:
                for message in _changes_of(market, quote, before, life, state):
                    self._tell_life(message)

    def _on_events(self, tickers: Iterable[str]) -> None:
        state = self._state()
        for ticker in tickers:
            event, before = state.events.get(ticker), self._events.get(ticker)
            if event is None:
                self._events.pop(ticker, None)
                continue
            self._events[ticker] = event
            if before is None:
                self._tell_life(event_message(event), b"event_lifecycle")
            elif (event.fee_type_override, event.fee_multiplier_override_e4) != (
                before.fee_type_override,
                before.fee_multiplier_override_e4,
            ):
                self._tell_life(event_fee_message(event), b"event_fee_update")

    def _tell_life(self, message: bytes, kind: bytes = b"market_lifecycle_v2") -> None:
        self._tell(kind, message, None, self._of_all[LIFECYCLE])

    # -- wishes

    def wishes(self, most: int = MAX_WISHED) -> list[str]:
        """Return which books to wish for.

        All those followed or, if they are too many, the same number for each client, different ones each
        time.
        """
        self._owner.check()
        self.fresh_wishes = False
        if len(self._books) <= most:
            return list(self._books)
        found: dict[str, None] = {}
        queues: list[tuple[Session, list[str]]] = []
        for session in self.sessions:
            books = session.books()
            tickers = [] if books is None else list(books.tickers or ()) + list(books.asked)
            if tickers:
                turn = self._turns.get(session, 0) % len(tickers)
                queues.append((session, tickers[turn:] + tickers[:turn]))
        at = 0
        while len(found) < most and queues:
            for session, tickers in islice(queues, most):
                if at < len(tickers) and len(found) < most:
                    found[tickers[at]] = None
                    self._turns[session] = self._turns.get(session, 0) + 1
            at += 1
            queues = [(session, tickers) for session, tickers in queues if at < len(tickers)]
        # Those first this time come last the next.
        if self.sessions:
            first = next(iter(self.sessions))
            del self.sessions[first]
            self.sessions[first] = None
        return list(found)


def _says(quote: Quote) -> bool:
    """Whether the prices and sizes of a quote could be read."""
    return quote.as_sent is None or bool(quote.yes_bid_size_e2 or quote.yes_ask_size_e2)


def _told_of(quote: Quote) -> tuple[int | None, ...]:
    return (
        quote.yes_bid_e4,
        quote.yes_ask_e4,
        quote.yes_bid_size_e2,
        quote.yes_ask_size_e2,
        quote.last_price_e4,
        quote.volume_e2,
        quote.open_interest_e2,
    )


def _life_of(market: Market, quote: Quote | None) -> _Life:
    status = None if quote is None else quote.status
    return _Life(
        status,
        market.close_ms,
        market.price_ranges,
        (market.strike_type, market.floor_strike, market.cap_strike),
        status in _DECIDED and bool(market.result),
    )


def _changes_of(
    market: Market, quote: Quote | None, before: _Life, life: _Life, state: Records
) -> Iterable[bytes]:
    ticker = market.ticker
    now_s = None if quote is None else quote.as_of_ms // 1000
    if life.close_ms != before.close_ms and life.close_ms is not None:
        yield lifecycle_message("close_date_updated", ticker, close_ts=life.close_ms // 1000)
    if life.price_ranges != before.price_ranges:
        members = grid_members(members_of_market(state.raw(market)))
        yield lifecycle_message("price_level_structure_updated", ticker, **members)
    if life.strikes != before.strikes:
        members = strike_members(members_of_market(state.raw(market)))
        yield lifecycle_message("metadata_updated", ticker, **members)
    if life.status is Status.ACTIVE and before.status is not Status.ACTIVE:
        yield lifecycle_message("activated", ticker)
    if life.status is Status.INACTIVE and before.status is not Status.INACTIVE:
        yield lifecycle_message("deactivated", ticker, is_deactivated=True)
    if life.decided and not before.decided:
        value_e4 = market.settlement_value_e4
        yield lifecycle_message(
            "determined",
            ticker,
            determination_ts=now_s,
            result=market.result,
            settlement_value=None if value_e4 is None else format_price(value_e4),
        )
    if life.status is Status.FINALIZED and before.status is not Status.FINALIZED:
        yield lifecycle_message("settled", ticker, settled_ts=now_s)
