"""The floor as seen by the matching engine: where books are, whether a market takes orders, who is told."""

from collections.abc import Callable

from simulator.matching import refusals
from simulator.matching.book import Change, OrderBook
from simulator.matching.ledger import Ledger
from simulator.matching.orders import BID, Instrument, Order, OrderSwitches, Refusal, Side

from .agenda import Agenda
from .depth import Depth
from .halts import Halts
from .model import ACTIVE, Market
from .screen import Screen, crowds_interest


class FloorVenue:
    """Books, trading hours and the screen of one exchange. Its instruments are its markets.

    Args:
        seed: that of the depth of books.

    Attributes:
        listeners: told of each book just before it is made: from then on it has a depth of its own.
    """

    def __init__(
        self,
        agenda: Agenda,
        halts: Halts,
        screen: Screen,
        ledger: Ledger,
        switches: OrderSwitches,
        seed: int,
    ) -> None:
        self._agenda = agenda
        self._halts = halts
        self._screen = screen
        self._ledger = ledger
        self._switches = switches
        self._seed = seed
        self.listeners: list[Callable[[Market], None]] = []

    def depth(self, market: Market) -> Depth:
        """Return the crowd's side of a market's book, made on the first look."""
        if market.depth is None:
            for listener in self.listeners:
                listener(market)
            market.depth = Depth(f"{self._seed}:{market.ticker}")
            market.depth.follow(
                market.grid, (market.bid_e4, market.bid_e2), (market.ask_e4, market.ask_e2), market.size_e2
            )
        return market.depth

    def book(self, instrument: Instrument) -> OrderBook:
        """See Venue."""
        return self.depth(_market(instrument)).book

    def resting(self, instrument: Instrument) -> list[Order]:
        """See Venue."""
        depth = _market(instrument).depth
        return [] if depth is None else list(depth.book.resting())

    def closed_to(self, instrument: Instrument, opening: bool) -> Refusal | None:
        """See Venue. A pause of trading accepts cancels, a pause of the exchange nothing."""
        market, halts = _market(instrument), self._halts
        shard = halts.shards[market.exchange_index]
        if not (halts.exchange_active and shard.exchange_active):
            return refusals.EXCHANGE_PAUSED
        if market.event.status != ACTIVE:
            code = self._switches.code_after_close
            return Refusal(400, code, code.replace("_", " "))
        if opening and (market.paused or market.exchange_index not in halts.trading):
            return refusals.TRADING_PAUSED
        return None

    def on_grid(self, instrument: Instrument, price_e4: int) -> bool:
        """See Venue."""
        return _market(instrument).grid.at_or_below(price_e4) == price_e4

    def traded(
        self,
        instrument: Instrument,
        trade_id: str,
        price_e4: int,
        count_e2: int,
        taker: Side,
        users: bool,
        time_ms: int,
    ) -> None:
        """See Venue."""
        market = _market(instrument)
        bought = "yes" if taker == BID else "no"
        # A fair share of the crowd's trades open contracts; ids are random.
        opens = trade_id[-1] < "a"
        change_e2 = self._users_interest(market, opens) if users else crowds_interest(market, count_e2, opens)
        self._screen.print_trade(market, trade_id, price_e4, count_e2, bought, change_e2, time_ms)

    def _users_interest(self, market: Market, opens: bool) -> int:
        """Return how users' trades, with one another and with the crowd, change open interest.

        Users open or close according to their positions; the crowd closes what it has if it does not open. Of
        several trades of one request, the first reports all.
        """
        long_e2, short_e2 = market.held_e2
        market.held_e2 = new_long_e2, new_short_e2 = self._ledger.users_e2(market.ticker)
        bought_e2 = (new_long_e2 - long_e2) - (new_short_e2 - short_e2)
        # Of the open pairs, the crowd has the halves that users do not have.
        if bought_e2 >= 0:
            closed_e2 = 0 if opens else min(bought_e2, market.open_interest_e2 - long_e2)
            return new_long_e2 - long_e2 - closed_e2
        closed_e2 = 0 if opens else min(-bought_e2, market.open_interest_e2 - short_e2)
        return new_short_e2 - short_e2 - closed_e2

    def changed(self, instrument: Instrument, changes: list[Change], time_ms: int) -> None:
        """See Venue."""
        market = _market(instrument)
        self._screen.show(market, *self.book(market).quote(), changes, time_ms)

    def at(self, time_ms: int, action: Callable[[Order, int], None], order: Order) -> None:
        """See Venue."""
        self._agenda.at(time_ms, action, order)


def _market(instrument: Instrument) -> Market:
    assert isinstance(instrument, Market)
    return instrument
