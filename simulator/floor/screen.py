"""What the public sees of each market: quote, trades, history. All changes to these pass here."""

from collections import deque
from typing import Final

from markets.units import PRICE_ONE_E4
from simulator.matching.book import Change

from .agenda import Agenda
from .happenings import Herald, Trade
from .model import NOTHING_STAYS, Market
from .record import MINUTE_MS, Memory, Record, Span, trade_bytes

Level = tuple[int, int]
"""A price and the number of contracts there: (price_e4, count_e2)."""

NO_BID: Final[Level] = (0, 0)
NO_ASK: Final[Level] = (PRICE_ONE_E4, 0)
"""The best levels of empty sides."""


class Screen:
    """Shows quotes and prints trades.

    Args:
        memory: how much is remembered.

    Attributes:
        remembers: whether quotes are remembered, which they are not while the universe is built.
        quote_changes: how many times a quote has changed.
        trades: the latest public trades, oldest first.
    """

    def __init__(self, agenda: Agenda, herald: Herald, memory: Memory) -> None:
        self.remembers = False
        self.quote_changes = 0
        self.trades: deque[Trade] = deque(maxlen=memory.trades)
        self._agenda = agenda
        self._herald = herald
        self._keeping = memory.keeping

    def show(self, market: Market, bid: Level, ask: Level, changes: list[Change], time_ms: int) -> None:
        """Show best YES bid and ask (count 0: an empty side), and what has changed in the book."""
        bid_e4, bid_e2 = bid
        ask_e4, ask_e2 = ask
        moved = market.bid_e4 != bid_e4 or market.ask_e4 != ask_e4
        if not moved and market.bid_e2 == bid_e2 and market.ask_e2 == ask_e2:
            if changes:
                self._herald.deepened(market, changes, time_ms)
            return
        # Without minutes, only how a market began is noted.
        noted = self.remembers and (self._keeping.minutes or market.record is None)
        span = self._span(market, time_ms) if noted else None
        market.bid_e2, market.ask_e2 = bid_e2, ask_e2
        if moved:  # a side that is empty has a price of its own
            market.bid_e4, market.ask_e4 = bid_e4, ask_e4
            market.stays_from, market.stays_to = NOTHING_STAYS
        self.quote_changes += 1
        if span is not None:
            _extend(span.bid, bid_e4 if bid_e2 else 0)
            _extend(span.ask, ask_e4 if ask_e2 else PRICE_ONE_E4)
        self._herald.quoted(market, changes, time_ms)

    def print_trade(
        self,
        market: Market,
        trade_id: str,
        price_e4: int,
        count_e2: int,
        taker: str,
        interest_e2: int,
        time_ms: int,
    ) -> None:
        """Print a trade: last price, volume, open interest, the tape.

        Args:
            taker: the outcome that the taker bought, "yes" or "no".
            interest_e2: the change of open interest.
        """
        span = self._span(market, time_ms) if self._keeping.minutes or market.record is None else None
        market.last_e4, market.last_size_e2 = price_e4, count_e2
        market.volume_e2 += count_e2
        market.open_interest_e2 += interest_e2
        number = self._agenda.number()
        if span is not None:
            if span.price is None:
                span.price = [price_e4] * 4
            else:
                _extend(span.price, price_e4)
            span.volume_e2 += count_e2
            span.notional += count_e2 * price_e4
            span.last_e4, span.total_e2, span.open_interest_e2 = (
                price_e4,
                market.volume_e2,
                market.open_interest_e2,
            )
            span.trades += trade_bytes(time_ms, price_e4, count_e2, taker == "yes", number, trade_id)
        trade = Trade(trade_id, market, price_e4, count_e2, taker, time_ms, number)
        self.trades.append(trade)
        self._herald.traded(trade)

    def _span(self, market: Market, time_ms: int) -> Span:
        """Return the record of the present minute, begun if need be."""
        minute, record = time_ms // MINUTE_MS, market.record
        if record is not None:
            last = record.last
            return last if last.minute == minute else record.begin(minute)
        bid, ask = market.shown
        last = Span(
            minute,
            1,
            [bid] * 4,
            [ask] * 4,
            None,
            market.last_e4,
            0,
            0,
            market.open_interest_e2,
            market.volume_e2,
        )
        market.record = Record(self._keeping, last)
        return last


def _extend(values: list[int], value: int) -> None:
    """Update open, high, low and close with a value."""
    if values[3] == value:
        return
    values[3] = value
    if value > values[1]:
        values[1] = value
    elif value < values[2]:
        values[2] = value


def crowds_interest(market: Market, count_e2: int, opens: bool) -> int:
    """Return how a trade within the crowd changes open interest: it can close only what it holds."""
    return count_e2 if opens else -min(count_e2, market.open_interest_e2 - max(market.held_e2))
