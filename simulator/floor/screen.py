"""What the public sees of each market: its quote, its trades, its history. All changes of these pass here."""

from collections import deque
from typing import Final

from simulator.matching.book import Change

from .agenda import Agenda
from .bars import note_quote, note_trade
from .happenings import Herald, Trade
from .model import Market

_TRADES_KEPT: Final = 50_000

Level = tuple[int, int]
"""A price and the contracts there: (price_e4, count_e2)."""


class Screen:
    """Shows quotes and prints trades.

    Args:
        bars: how many bars of history each market keeps.

    Attributes:
        remembers: whether quotes go into the price history; not while the universe is built.
        quote_changes: how many times a quote has changed.
        trades: the latest public trades, oldest first.
    """

    def __init__(self, agenda: Agenda, herald: Herald, bars: int) -> None:
        self.remembers = False
        self.quote_changes = 0
        self.trades: deque[Trade] = deque(maxlen=_TRADES_KEPT)
        self._agenda = agenda
        self._herald = herald
        self._bars = bars

    def show(self, market: Market, bid: Level, ask: Level, changes: list[Change], time_ms: int) -> None:
        """Show best YES bid and ask (a count of 0 is an empty side), and what has changed in the book."""
        if (market.bid_e4, market.bid_e2, market.ask_e4, market.ask_e2) == (*bid, *ask):
            if changes:
                self._herald.deepened(market, changes, time_ms)
            return
        (market.bid_e4, market.bid_e2), (market.ask_e4, market.ask_e2) = bid, ask
        self.quote_changes += 1
        if self.remembers:
            note_quote(market, time_ms, self._bars)
        self._herald.quoted(market, changes, time_ms)

    def print_trade(
        self,
        market: Market,
        trade_id: str,
        price_e4: int,
        count_e2: int,
        taker: str,
        opened: bool,
        time_ms: int,
    ) -> None:
        """Print a trade: last price, volume, open interest, the tape.

        Args:
            taker: outcome that the taker bought, "yes" or "no".
            opened: whether it opened contracts; else it closed some.
        """
        market.last_e4, market.last_size_e2 = price_e4, count_e2
        market.volume_e2 += count_e2
        market.volume_24h_e2 += count_e2
        market.open_interest_e2 = max(market.open_interest_e2 + (count_e2 if opened else -count_e2), 0)
        note_trade(market, price_e4, count_e2, time_ms, self._bars)
        trade = Trade(trade_id, market, price_e4, count_e2, taker, time_ms, self._agenda.number())
        self.trades.append(trade)
        self._herald.traded(trade)
