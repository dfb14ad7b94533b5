"""The living exchange: prices move, trades happen, markets open, close and settle, as time goes by.

Pure: `Exchange.advance(now_ms)` runs everything due until then, in order of time. With the same seed, start
and catalogue, two exchanges go through the same states at the same times, whatever is read from them
meanwhile; orders are part of what happens.

Its parts: the agenda (time), the listings (what there is), the herald (who is told), the screen (what is
shown), the lifecycle, the crowd (quotes and trades), the planter of mispricings, and the matching engine with
its ledger. All but the engine share one source of randomness.
"""

from collections import deque
from random import Random
from typing import Final

from markets.units import PRICE_ONE_E4
from simulator.matching.book import OrderBook
from simulator.matching.engine import Matching
from simulator.matching.ledger import Ledger
from simulator.matching.orders import OrderSwitches, Reason
from simulator.universe.catalogue import Catalogue
from simulator.universe.dates import DAY_MS, MINUTE_MS, SECOND_MS
from simulator.universe.templates import Recorded

from .agenda import Agenda
from .crowd import Crowd
from .halts import Activity, Halts
from .happenings import Herald, Listener, Trade
from .listed import Listings
from .lives import FeeChange, Lifecycle
from .mispricing import Mispricing, Planter
from .model import ACTIVE, Event, Market, Series, Stage
from .past import key_of
from .record import Memory, keeping
from .rivals import Rivals
from .screen import Screen
from .venue import FloorVenue

CASH_E6: Final = 10_000_000_000
"""The cash of a new account on every shard, $10,000."""


class Exchange:
    """All state of the simulated exchange.

    Args:
        recorded: the recorded payloads to clone.
        markets: roughly how many markets to begin with.
        seed: that of everything random.
        start_ms: when it begins.
        cash_e6: what each account begins with on every shard.

    Attributes:
        advanced: accounts granted the Advanced usage level.
        allocations: account -> shard -> percentage of its cash that it would like to have there.
    """

    def __init__(
        self,
        recorded: Recorded,
        markets: int,
        seed: int,
        start_ms: int,
        activity: Activity | None = None,
        cash_e6: int = CASH_E6,
        memory: Memory | None = None,
    ) -> None:
        self.recorded = recorded
        self.advanced: set[int] = set()
        self.allocations: dict[int, dict[int, int]] = {}
        self.seed = seed
        self._cash_e6 = cash_e6
        self.activity = activity or Activity()
        self.halts = Halts()
        self.rng = Random(seed)
        self.agenda = Agenda(start_ms)
        self.catalogue = Catalogue(recorded, self.rng)
        self.listings = Listings()
        self.herald = Herald()
        memory = Memory(keeping(markets)) if memory is None else memory
        self.screen = Screen(self.agenda, self.herald, memory)
        self.switches = OrderSwitches()
        self.ledger = Ledger(self.switches, sorted(self.halts.shards))
        self.venue = FloorVenue(self.agenda, self.halts, self.screen, self.ledger, self.switches, seed)
        self.matching = Matching(self.venue, self.ledger, self.switches, Random(f"{seed}:orders"))
        self.lifecycle = Lifecycle(
            self.agenda,
            self.rng,
            self.activity,
            self.catalogue,
            self.listings,
            self.herald,
            self.matching,
            memory.settled_ms,
        )
        self.crowd = Crowd(
            self.agenda,
            self.rng,
            self.activity,
            self.halts,
            self.listings,
            self.herald,
            self.screen,
            self.matching,
            self.lifecycle.close,
        )
        self.lifecycle.follow(self.crowd)
        self.planter = Planter(self.agenda, self.rng, self.activity, self.halts, self.listings, self.crowd)
        self.rivals = Rivals(self.agenda, self.rng, self.activity, self.listings, self.crowd)
        self.planter.followers.append(self.rivals.tempted)
        for group in self.catalogue.universe(markets, start_ms):
            self.lifecycle.add(group)
        self.listings.sort()
        self.agenda.at(start_ms + SECOND_MS, self.planter.plant, None)
        self.agenda.at(start_ms + 20 * SECOND_MS, self.crowd.burst, None)
        self.agenda.at(start_ms + 2 * MINUTE_MS, self.lifecycle.refine, None)
        self.agenda.at(start_ms + DAY_MS, self._tidy, None)
        self.lifecycle.schedule_fees()
        self.advance(start_ms)
        self._look_back()
        self.screen.remembers = True

    def _look_back(self) -> None:
        """Make every market's past end where the exchange begins."""
        for market in self.listings.markets.values():
            past = market.past
            if past is not None:
                past.key = key_of(self.seed, market.ticker)
                past.until_ms = min(self.start_ms, market.event.close_ms)
                price = min(max(round(market.p * 100), 1), 99) * 100
                past.price_e4 = market.last_e4 = past.grid.at_or_below(price) or past.grid.prices[0]

    # -- looking

    @property
    def now_ms(self) -> int:
        """The exchange's present."""
        return self.agenda.now_ms

    @property
    def start_ms(self) -> int:
        """The exchange's beginning."""
        return self.agenda.start_ms

    @property
    def series(self) -> dict[str, Series]:
        """All series by ticker."""
        return self.catalogue.series

    @property
    def events(self) -> dict[str, Event]:
        """Events of the live window by ticker."""
        return self.listings.events

    @property
    def markets(self) -> dict[str, Market]:
        """Markets of the live window by ticker."""
        return self.listings.markets

    @property
    def trades(self) -> deque[Trade]:
        """The latest public trades, oldest first."""
        return self.screen.trades

    @property
    def quote_changes(self) -> int:
        """How many times a quote has changed."""
        return self.screen.quote_changes

    @property
    def fee_changes(self) -> list[FeeChange]:
        """All changes of fees that were ever scheduled."""
        return self.lifecycle.fee_changes

    @property
    def mispricings(self) -> deque[Mispricing]:
        """The latest ones planted, oldest first."""
        return self.planter.planted

    @property
    def listeners(self) -> list[Listener]:
        """Who hears what happens."""
        return self.herald.listeners

    def book(self, market: Market) -> OrderBook:
        """Return a market's order book, made on the first look."""
        return self.venue.depth(market).book

    # -- time

    def advance(self, now_ms: int) -> None:
        """Run everything that is due up to `now_ms`. Time never goes back."""
        self.agenda.advance(now_ms)

    def next_ms(self) -> int | None:
        """Return when something happens next."""
        return self.agenda.next_ms()

    def mark_e4(self, ticker: str) -> int:
        """Return what a YES contract counts as: its value once known, else its best bid, else 0."""
        market = self.listings.markets.get(ticker)
        if market is None:
            return 0
        return market.value_e4 if market.value_e4 is not None else market.bid_e4

    # -- accounts

    def _tidy(self, _subject: None, time_ms: int) -> None:
        """Once a day, move what is old out of the live lists."""
        self.agenda.at(time_ms + DAY_MS, self._tidy, None)
        self.matching.forget(time_ms)
        self.ledger.age(time_ms)

    def open_account(self, account: int) -> None:
        """Open an account, unless it is open already."""
        if account not in self.matching.orders:
            self.ledger.open(account, self._cash_e6)
            self.matching.open(account)

    # -- interventions, for faults and tests

    def set_pace(self, pace: float) -> None:
        """Set how often prices move from now on: what was planned at the old pace is replanned."""
        if pace == self.activity.pace:
            return
        self.activity.pace = pace
        for group in self.listings.groups:
            if group.tick:
                self.crowd.plan_tick(group, self.now_ms)

    def set_active(self, exchange_active: bool | None, trading_active: bool | None) -> None:
        """Switch the exchange, and trading, on or off; None leaves it. A pause ends orders asking for it."""
        if exchange_active is not None:
            self.halts.exchange_active = exchange_active
        if trading_active is not None:
            self.halts.trading_active = trading_active
        self.halts.note()
        if False in (exchange_active, trading_active):
            self.matching.halt(None, self.now_ms)

    def set_shard(self, index: int, trading_active: bool) -> None:
        """Switch trading on one shard on or off."""
        self.halts.shards[index].trading_active = trading_active
        self.halts.note()
        if not trading_active:
            self.matching.halt(index, self.now_ms)

    def pause_shard(self, index: int, for_ms: int) -> None:
        """Pause trading on one shard for a while."""
        self.set_shard(index, trading_active=False)
        self.agenda.at(self.now_ms + for_ms, self._resume, index)

    def _resume(self, index: int, _time_ms: int) -> None:
        self.set_shard(index, trading_active=True)

    def add_combos(self, count: int) -> None:
        """Create combo markets of two to four matches' winners each (on the real exchange, users do)."""
        rng = self.rng
        winners = [
            [m for m in group.events[0].markets if m.role.kind == "win" and m.status == ACTIVE]
            for group in self.listings.matches
        ]
        winners = [markets for markets in winners if markets]
        for _ in range(count if len(winners) >= 4 else 0):
            chosen = rng.sample(winners, 2 + rng.randrange(3))
            group = self.catalogue.combo([m[rng.randrange(len(m))] for m in chosen], self.now_ms)
            if group is not None:
                self.lifecycle.add(group)

    def bring(self, event: Event, stage: Stage) -> None:
        """Close an event at once, and go on to determine, settle, and forget it ("gone")."""
        self.lifecycle.bring(event, stage)

    def pause_market(self, market: Market, paused: bool) -> None:
        """Deactivate or activate one market; activation ends all resting orders (contract 6)."""
        if market.paused == paused:
            return
        market.paused = paused
        if paused:
            self.herald.announced("deactivated", market, {"is_deactivated": True}, self.now_ms)
        else:
            self.herald.announced("activated", market, {}, self.now_ms)
        if not paused:
            self.matching.withdraw_all(market, Reason.HALT_CANCEL, self.now_ms)
            self.crowd.set_quote(market, (0, 0), (PRICE_ONE_E4, 0), self.now_ms)
            if market.status == ACTIVE and not market.event.group.pulled:
                self.crowd.requote(market, self.now_ms)
