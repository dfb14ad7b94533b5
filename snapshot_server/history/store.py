"""The history of all markets: tops of books and trades, in a bounded number of bytes."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.market_history import HistoryTrade, MarketHistory, Mover, Movers
from bus.threads import Owner
from markets.book import standing_price_e4
from markets.records import Quote, Status, Trade

from .log import Log
from .moves import COARSE_MS, KEPT_MS, Moves
from .rows import (
    QUOTE_WIDTH,
    TRADE_WIDTH,
    key_bytes,
    key_in,
    key_of,
    quote_points,
    quote_row,
    stands_alike,
    stands_e4,
    time_of,
    trade_points,
    trade_row,
)
from .segment import Pause

QUOTES_WAITING: Final = 65_536
TRADES_WAITING: Final = 8_192
"""Rows that wait until they are packed."""

KEPT_SHARE: Final = 2
"""The share, one part in this many, that kept rows of cared-for markets may take."""

MAX_CARED_FOR: Final = 1_000
KNOWN_TRADES: Final = 10_000
"""How many trade ids are remembered, so that a repeated trade counts once."""

MAX_POINTS: Final = 20_000
SAME_MOMENT: Final = 1_000
"""The most trades of one market at one millisecond that a page may begin with."""

MOST_MOVERS: Final = 5_000

MOVERS_MS: Final = 10_000
"""So old do movers become before they are worked out again, while somebody asks."""

ASKED_MS: Final = 12_000
"""How long they are kept current once they were asked for."""

MOST_WINDOWS: Final = 8

_SLICE: Final = 1_000

Place = tuple[int, str]
"""Where a trade stands among all: its time (ms) and its id."""


class Store:
    """The history of all markets. One thread writes, any thread reads.

    Args:
        most_bytes: beyond these the oldest is dropped.
        pause: lets other threads have the interpreter.
    """

    def __init__(self, most_bytes: int, pause: Pause) -> None:
        self.most_bytes = most_bytes
        self._pause = pause
        self._cared_for: dict[str, None] = {}
        self._cared_lock = threading.Lock()
        self._writer = Owner("the history of all markets")
        self._asked_ms: dict[int, int] = {}
        self._begin()

    def _begin(self) -> None:
        self.quotes = Log("quotes", QUOTE_WIDTH, QUOTES_WAITING, self._pause)
        self.trades = Log("trades", TRADE_WIDTH, TRADES_WAITING, self._pause)
        self._last: dict[str, Quote] = {}
        self._before: dict[bytes, bytes] = {}
        self._known: set[str] = set()
        self._known_order: deque[str] = deque()
        self._moves = Moves()
        self._movers: dict[int, Movers] = {}

    # -- the writer's

    def clear(self) -> None:
        """Forget all that happened."""
        self._writer.check()
        self._begin()

    def remember(self, now_ms: int) -> None:
        """Note what the last rows say: what is the same after a restart is not a change."""

        def changed(before: bytes, row: bytes) -> None:
            if stands_alike(before, row):
                return
            then_e4 = stands_e4(before)
            if then_e4 is not None and then_e4 != stands_e4(row):
                self._moves.note(key_in(row), min(time_of(row), now_ms), now_ms, then_e4)

        self._before = self.quotes.last_rows(changed, now_ms - KEPT_MS - COARSE_MS)
        begin_ms, until_ms = self.quotes.begin_ms(), self.quotes.until_ms
        if begin_ms is not None and until_ms is not None:
            for hole in (*self.quotes.holes(begin_ms, until_ms), (until_ms, until_ms)):
                self._moves.listened(begin_ms, hole[0], now_ms)
                begin_ms = hole[1]
        self._moves.turn(now_ms)
        for part in self.trades.newest(-(2**62), 2**62):
            for _, trade in trade_points(part.rows):
                self._know(trade.trade_id)
            if len(self._known) >= KNOWN_TRADES // 2:
                break

    def put_quotes(self, quotes: Iterable[Quote], now_ms: int | None = None) -> None:
        """Add the quotes whose top of the book, last price, volume or status have changed.

        Args:
            now_ms: when they are heard; None: when the last of them says.
        """
        self._writer.check()
        last, rows = self._last, []
        for quote in quotes:
            ticker = quote.ticker
            known = last.get(ticker)
            last[ticker] = quote
            if known is not None and (
                known is quote
                or (
                    known.yes_bid_e4 == quote.yes_bid_e4
                    and known.yes_ask_e4 == quote.yes_ask_e4
                    and known.yes_bid_size_e2 == quote.yes_bid_size_e2
                    and known.yes_ask_size_e2 == quote.yes_ask_size_e2
                    and known.last_price_e4 == quote.last_price_e4
                    and known.volume_e2 == quote.volume_e2
                    and known.open_interest_e2 == quote.open_interest_e2
                    and known.status is quote.status
                )
            ):
                continue
            key = key_of(ticker)
            row = quote_row(key, quote)
            if known is None and self._before:
                before = self._before.pop(key_bytes(key), b"")
                if before[16:] == row[16:]:
                    continue
                if before:
                    self._moved(key, stands_e4(before), quote, now_ms)
            elif known is not None:
                self._moved(key, standing_e4(known), quote, now_ms)
            rows.append((key, quote.as_of_ms, row))
        self.quotes.put(rows)

    def put_trades(self, trades: Iterable[Trade]) -> None:
        """Add trades that are not known yet."""
        self._writer.check()
        new = [trade for trade in trades if self._know(trade.trade_id)]
        if new:
            self.trades.note_names({trade.ticker for trade in new})
            keys = [key_of(trade.ticker) for trade in new]
            self.trades.put(
                [(k, trade.time_ms, trade_row(k, trade)) for k, trade in zip(keys, new, strict=True)]
            )

    def compare(self, quotes: Mapping[str, Quote], now_ms: int | None = None) -> None:
        """Add what differs in a whole state, and forget the last quotes of markets that are gone."""
        self.put_quotes(quotes.values(), now_ms)
        if len(self._last) > len(quotes):
            self._last = {ticker: quote for ticker, quote in self._last.items() if ticker in quotes}
        self._before = {}

    def bound(self) -> None:
        """Drop what exceeds the allowed bytes."""
        self._writer.check()
        most_kept = self.most_bytes // KEPT_SHARE
        while self.size > self.most_bytes:
            logs = sorted((self.quotes, self.trades), key=lambda log: log.oldest_end_ms or 2**62)
            cared_for = self.cared_for()
            if not any(log.evict(cared_for, most_kept // 2) for log in logs):
                return

    def _moved(self, key: int, before_e4: int | None, quote: Quote, now_ms: int | None) -> None:
        if before_e4 is not None and before_e4 != standing_e4(quote):
            now_ms = quote.as_of_ms if now_ms is None else now_ms
            self._moves.note(key, now_ms, now_ms, before_e4)

    def work_out_movers(self, now_ms: int) -> None:
        """Work out which markets have moved, for each time that somebody asks about and once it is old."""
        self._writer.check()
        self._moves.turn(now_ms)
        with self._cared_lock:
            asked = {
                window_s: asked_ms
                for window_s, asked_ms in self._asked_ms.items()
                if 0 <= now_ms - asked_ms < ASKED_MS
            }
            self._asked_ms = asked.copy()
        self._movers = {window_s: latest for window_s, latest in self._movers.items() if window_s in asked}
        for window_s in asked:
            latest = self._movers.get(window_s)
            if latest is None or not 0 <= now_ms - latest.as_of_ms < MOVERS_MS:
                self._movers[window_s] = self._movers_since(now_ms, window_s)

    def _movers_since(self, now_ms: int, window_s: int) -> Movers:
        since_ms, then_e4 = self._moves.then(now_ms - 1_000 * window_s)
        moved: list[tuple[int, str, int, int]] = []
        for number, (ticker, quote) in enumerate(self._last.items()):
            if number % _SLICE == _SLICE - 1:
                self._pause()
            before_e4 = then_e4.get(key_of(ticker)) if quote.status is Status.ACTIVE else None
            now_e4 = None if before_e4 is None else standing_e4(quote)
            if before_e4 is not None and now_e4 is not None and now_e4 != before_e4:
                moved.append((-abs(now_e4 - before_e4), ticker, before_e4, now_e4))
        begin_ms = self.quotes.begin_ms()
        begin_ms = since_ms if begin_ms is None else begin_ms
        moved.sort()
        return Movers(
            window_s=window_s,
            since_ms=max(since_ms, begin_ms),
            begin_ms=begin_ms,
            as_of_ms=now_ms,
            total=len(moved),
            movers=[Mover(ticker, before_e4, now_e4) for _, ticker, before_e4, now_e4 in moved[:MOST_MOVERS]],
        )

    def _know(self, trade_id: str) -> bool:
        """Note a trade; return whether it is new."""
        if not trade_id:
            return True
        if trade_id in self._known:
            return False
        self._known.add(trade_id)
        self._known_order.append(trade_id)
        if len(self._known_order) > KNOWN_TRADES:
            self._known.discard(self._known_order.popleft())
        return True

    # -- any thread's

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return self.quotes.size + self.trades.size

    def care_for(self, tickers: Sequence[str]) -> None:
        """Keep what happened in these markets longest: the last MAX_CARED_FOR named."""
        with self._cared_lock:
            for ticker in tickers:
                self._cared_for.pop(ticker, None)
                self._cared_for[ticker] = None
            while len(self._cared_for) > MAX_CARED_FOR:
                del self._cared_for[next(iter(self._cared_for))]

    def cared_for(self) -> frozenset[int]:
        """Return the keys of the markets that are kept longest."""
        with self._cared_lock:
            return frozenset(map(key_of, self._cared_for))

    def history(self, ticker: str, low_ms: int, high_ms: int, most: int = MAX_POINTS) -> MarketHistory:
        """Return what happened in a market between two times: at most the last `most` of each."""
        key = key_of(ticker)
        quotes = self.quotes.read(key, low_ms, high_ms, most, before=True)
        trades = self.trades.read(key, low_ms, high_ms, most, before=False)
        points, begin_ms = quote_points(quotes.rows), self.quotes.begin_ms(key)
        standing = self._last.get(ticker)
        if not points and standing is not None and begin_ms is not None and begin_ms <= high_ms:
            # It has not changed since.
            points = quote_points([quote_row(key, msgspec.structs.replace(standing, as_of_ms=begin_ms))])
        return MarketHistory(
            ticker=ticker,
            quotes=points,
            trades=[trade for _, trade in trade_points(trades.rows)],
            quotes_begin_ms=begin_ms,
            trades_begin_ms=self.trades.begin_ms(key),
            quotes_more=quotes.more,
            trades_more=trades.more,
            quotes_holes=self.quotes.holes(low_ms, high_ms),
            trades_holes=self.trades.holes(low_ms, high_ms),
        )

    def movers(self, window_s: int, now_ms: int) -> Movers | None:
        """Return which markets have moved within a time, as last worked out; None: it will be soon.

        Of more windows than MOST_WINDOWS the last that were asked for count.
        """
        with self._cared_lock:
            self._asked_ms.pop(window_s, None)
            self._asked_ms[window_s] = now_ms
            while len(self._asked_ms) > MOST_WINDOWS:
                del self._asked_ms[next(iter(self._asked_ms))]
        return self._movers.get(window_s)

    def newest_trades(
        self, low_ms: int, high_ms: int, most: int, before: Place | None, ticker: str | None = None
    ) -> list[tuple[str, HistoryTrade]]:
        """Return trades, of one market or of all, with their tickers, the latest first, from `before` on."""
        if before is not None:
            high_ms = min(high_ms, before[0])
        found: list[tuple[str, HistoryTrade]] = []
        if ticker is not None:
            # A few more, since those of one moment are unordered: none must be left out at a page's end.
            rows = self.trades.read(key_of(ticker), low_ms, high_ms, most + SAME_MOMENT, before=False).rows
            found = [(ticker, trade) for _, trade in trade_points(rows)]
            found = [pair for pair in found if before is None or place_of(pair[1]) < before]
            found.sort(key=lambda pair: place_of(pair[1]), reverse=True)
            return found[:most]
        for part in self.trades.newest(low_ms, high_ms):
            names = {key_of(ticker): ticker for ticker in part.names}
            for key, trade in trade_points(part.rows):
                if (before is None or place_of(trade) < before) and key in names:
                    found.append((names[key], trade))
            found.sort(key=lambda pair: place_of(pair[1]), reverse=True)
            if len(found) >= most and found[most - 1][1].time_ms > part.later_ms:
                break
        return found[:most]


def standing_e4(quote: Quote) -> int | None:
    """Return what YES stands at by a quote."""
    return standing_price_e4(
        quote.yes_bid_e4 if quote.yes_bid_size_e2 > 0 else None,
        quote.yes_ask_e4 if quote.yes_ask_size_e2 > 0 else None,
        quote.last_price_e4,
    )


def place_of(trade: HistoryTrade) -> Place:
    """Return a trade's place among all trades."""
    return trade.time_ms, trade.trade_id
