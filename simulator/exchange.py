"""The exchange as it lives: prices move, trades happen, markets open, close and settle, as time goes by.

Pure: `Exchange.advance(now_ms)` runs everything due until then, in the order of time. With one seed, one
start and the same catalogue two exchanges go through the same states at the same times, whatever is asked
of them meanwhile.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, Protocol
from uuid import UUID

from markets.units import PRICE_ONE_E4, format_price, format_time

from .book import Book, Change
from .catalogue import Catalogue, stamp
from .dates import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from .grid import GRIDS
from .history import bars_per_market, note_quote, note_trade
from .latent import Combo, Match, Window
from .model import (
    ACTIVE,
    CLOSED,
    DETERMINED,
    DISPUTED,
    FINALIZED,
    INITIALIZED,
    Event,
    Group,
    Market,
    Milestone,
    Series,
    Stage,
)
from .templates import Recorded

PULL_BEFORE_START_MS: Final = 3 * SECOND_MS
"""Quoters pull so long before a match starts."""

_MISPRICED: Final = (6, 10)
"""Planted mispricings alive at once, from and to; a large enough universe given."""

_MISPRICED_MS: Final = (30_000, 120_000)
"""How long one stands, from and to."""

_MISPRICED_SIZE_E2: Final = 5_000
"""Size of a planted quote at least: worth a client's while."""

_MISPRICING_EVERY_S: Final = 1.5
_FEE: Final = 0.07
_TRADES_KEPT: Final = 50_000
_DISPUTED_SHARE: Final = 0.03
_REFINE_EVERY_S: Final = 600.0
_BURST_EVERY_S: Final = 60.0
"""Mean time between moments in which one market goes wild: up to thousands of frames within a second."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade. `taker` is the outcome the taker bought, "yes" or "no"."""

    trade_id: str
    market: Market
    yes_price_e4: int
    count_e2: int
    taker: str
    time_ms: int
    number: int


@dataclass(slots=True)
class Mispricing:
    """One planted mispricing: what a scanner should find between `from_ms` and `until_ms`.

    `edge_e4` is the profit per contract after taker fees, in $0.0001: of a basket what a set of NOs pays for
    sure, of a leg what it pays on average.
    """

    kind: str
    event_ticker: str
    tickers: list[str]
    from_ms: int
    until_ms: int
    edge_e4: int
    fair: dict[str, float]


@dataclass(frozen=True, slots=True)
class FeeChange:
    """A scheduled change of fees, of a series or (with `event`) an override of one event."""

    id: str
    series: str
    event: str | None
    fee_type: str
    multiplier: float
    time_ms: int

    def body(self) -> dict[str, Any]:
        """Return it as the fee change operations show it."""
        own: dict[str, Any] = {"id": self.id, "scheduled_ts": format_time(self.time_ms)}
        if self.event is None:
            return {
                **own,
                "series_ticker": self.series,
                "fee_type": self.fee_type,
                "fee_multiplier": self.multiplier,
            }
        return {
            **own,
            "event_ticker": self.event,
            "fee_type_override": self.fee_type,
            "fee_multiplier_override": self.multiplier,
        }


class Listener(Protocol):
    """Who wants to hear what happens: the WebSocket side."""

    def quoted(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """A market's quote changed; `changes` are its book's, empty if nobody ever looked at the book."""

    def deepened(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """Levels behind the best changed."""

    def emptied(self, market: Market, time_ms: int) -> None:
        """The book of a closed market is shown empty."""

    def traded(self, trade: Trade) -> None: ...

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        """Something of the life cycle: an `event_type` of contract 15.5, or "event_created"."""


@dataclass(slots=True)
class Shard:
    """Whether a shard of the exchange works."""

    exchange_active: bool = True
    trading_active: bool = True


@dataclass(slots=True)
class Activity:
    """How busy the exchange is. `pace` scales all rates; 0 freezes prices (the life cycle goes on)."""

    pace: float = 1.0
    trade_share: float = 0.35
    mispricings: bool = True
    bursts: bool = True


class Exchange:
    """All state of the simulated exchange.

    Args:
        recorded: the recorded payloads to clone.
        markets: how many markets to begin with, about.
        seed: of everything random.
        start_ms: time of the beginning.
    """

    def __init__(
        self, recorded: Recorded, markets: int, seed: int, start_ms: int, activity: Activity | None = None
    ) -> None:
        self.recorded = recorded
        self.seed = seed
        self.start_ms = self.now_ms = start_ms
        self.activity = activity or Activity()
        self.rng = Random(seed)
        self.catalogue = Catalogue(recorded, self.rng)
        self.markets: dict[str, Market] = {}
        self.events: dict[str, Event] = {}
        self.milestones: dict[str, Milestone] = {}
        self.market_order: list[tuple[int, str]] = []
        self.event_order: list[tuple[int, str]] = []
        self.milestone_order: list[tuple[int, str]] = []
        self.groups: list[Group] = []
        self.trades: deque[Trade] = deque(maxlen=_TRADES_KEPT)
        self.groups_by_milestone: dict[str, Group] = {}
        self.fee_changes: list[FeeChange] = []
        self.mispricings: deque[Mispricing] = deque(maxlen=200)
        self.shards: dict[int, Shard] = {0: Shard(), 1: Shard(), 2: Shard(), 3: Shard()}
        self.exchange_active = True
        self.trading_active = True
        self.listeners: list[Listener] = []
        self._heap: list[tuple[int, int, Callable[[Any, int], None], Any]] = []
        self._number = 0
        self._quote_changes = 0
        self._built = False
        self._bars = bars_per_market(markets)
        for group in self.catalogue.universe(markets, start_ms):
            self._add(group)
        self.market_order.sort()
        self.event_order.sort()
        self.milestone_order.sort()
        self.at(start_ms + SECOND_MS, self._plant, None)
        self.at(start_ms + 20 * SECOND_MS, self._burst, None)
        self.at(start_ms + 2 * MINUTE_MS, self._refine, None)
        self._schedule_fees()
        self.advance(start_ms)
        self._built = True

    @property
    def series(self) -> dict[str, Series]:
        """All series by ticker."""
        return self.catalogue.series

    @property
    def quote_changes(self) -> int:
        """How many times a quote has changed."""
        return self._quote_changes

    # Time -------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Run everything that is due up to `now_ms`. Time never goes back."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            time_ms, _, action, subject = heappop(heap)
            action(subject, max(time_ms, self.now_ms if time_ms > self.start_ms else time_ms))
        self.now_ms = max(self.now_ms, now_ms)

    def next_ms(self) -> int | None:
        """Return when something happens next."""
        return self._heap[0][0] if self._heap else None

    def at(self, time_ms: int, action: Callable[[Any, int], None], subject: Any) -> None:
        """Plan `action(subject, time_ms)`."""
        self._number += 1
        heappush(self._heap, (time_ms, self._number, action, subject))

    # Creation ---------------------------------------------------------------------------------------

    def _add(self, group: Group) -> None:
        """Take a group in and plan its life."""
        # While the universe is built its orders grow unsorted; they are sorted once at the end.
        fresh = self._built
        add: Callable[[list[tuple[int, str]], tuple[int, str]], None] = insort if fresh else list.append
        self.groups.append(group)
        group.updated_ms = self.now_ms
        for event in group.events:
            self.events[event.ticker] = event
            add(self.event_order, (event.created_ms, event.ticker))
            for market in event.markets:
                self.markets[market.ticker] = market
                add(self.market_order, (event.created_ms, market.ticker))
            self.at(event.open_ms, self._open, event)
            if group.kind != "match":
                self.at(event.close_ms, self._close, event)
        if group.milestone is not None:
            self.milestones[group.milestone.id] = group.milestone
            self.groups_by_milestone[group.milestone.id] = group
            add(self.milestone_order, (group.milestone.start_ms, group.milestone.id))
        if group.kind == "match":
            self.at(group.start_ms - PULL_BEFORE_START_MS, self._pull, group)
            self.at(group.start_ms, self._start, group)
            self.at(group.end_ms, self._end, group)
        self._plan_tick(group, max(self.now_ms, group.events[0].open_ms))
        if fresh:
            for event in group.events:
                self._announce("event_created", event, {}, self.now_ms)
                self._life(event, self.now_ms, "created")

    def _announce(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        for listener in self.listeners:
            listener.announced(event_type, subject, fields, time_ms)

    def _life(self, event: Event, time_ms: int, event_type: str, **fields: Any) -> None:
        """Announce something of every market of an event; callable fields are asked per market."""
        for market in event.markets:
            own = {key: value(market) if callable(value) else value for key, value in fields.items()}
            self._announce(event_type, market, own, time_ms)

    @staticmethod
    def _touched(event: Event, time_ms: int) -> None:
        """Note a change of metadata; quotes, trades and the clock are none (contract 7.1)."""
        event.updated_ms = time_ms
        event.values["updated"] = stamp(time_ms, event.ticker)

    def _schedule_fees(self) -> None:
        """Plan one change of a series' fees and one override of an event's, within the first hour."""
        match = [g for g in self.groups if g.kind == "match" and g.start_ms > self.start_ms + HOUR_MS]
        if not match:
            return
        event, other = match[0].events[0], match[-1].events[0]
        changes = [
            FeeChange(
                "fee-1", other.series.ticker, None, "quadratic_with_maker_fees", 1, self.start_ms + HOUR_MS
            ),
            FeeChange(
                "fee-2", event.series.ticker, event.ticker, "quadratic", 0.5, self.start_ms + 3 * MINUTE_MS
            ),
        ]
        for change in changes:
            self.fee_changes.append(change)
            self.at(change.time_ms, self._change_fees, change)

    def _change_fees(self, change: FeeChange, time_ms: int) -> None:
        if change.event is None:
            body = self.series[change.series].body
            body["fee_type"], body["fee_multiplier"] = change.fee_type, change.multiplier
            body["last_updated_ts"] = stamp(time_ms, change.series)
            return
        event = self.events.get(change.event)
        if event is not None:
            event.fee_override = (change.fee_type, change.multiplier)
            event.values["event_updated"] = stamp(time_ms, event.ticker)
            fields = {"fee_type_override": change.fee_type, "fee_multiplier_override": change.multiplier}
            self._announce("event_fee_update", event, fields, time_ms)

    def _refine(self, _subject: None, time_ms: int) -> None:
        """Now and then move a market to a finer grid in place, its quotes kept (contract 4)."""
        rng = self.rng
        self.at(time_ms + 30_000 + int(1000 * rng.expovariate(1 / _REFINE_EVERY_S)), self._refine, None)
        for _ in range(20):
            group = self.groups[rng.randrange(len(self.groups))]
            live = [m for m in group.events[0].markets if m.status == ACTIVE and m.grid.name == "linear_cent"]
            if live and group.kind == "options":
                market = live[rng.randrange(len(live))]
                market.grid = GRIDS["tapered_deci_cent"]
                self._touched(market.event, time_ms)
                fields = {"price_level_structure": market.grid.name, "price_ranges": market.grid.ranges}
                self._announce("price_level_structure_updated", market, fields, time_ms)
                return

    # Life cycle -------------------------------------------------------------------------------------

    def _open(self, event: Event, time_ms: int) -> None:
        if event.status != INITIALIZED:
            return
        event.status = ACTIVE
        latent = event.group.latent
        if isinstance(latent, Window):
            asset = latent.asset
            asset.advance_to(time_ms, self.rng)
            latent.strike = round(asset.price, asset.decimals)
            event.values["TARGET"] = f"${latent.strike:,.{asset.decimals}f}"
            event.values["STRIKE"] = f'"floor_strike":{latent.strike},'
            self._touched(event, time_ms)
            self._life(
                event, time_ms, "metadata_updated", strike_type="greater_or_equal", floor_strike=latent.strike
            )
        if not event.group.pulled:
            self._quote_all(event, time_ms)

    def _pull(self, group: Group, time_ms: int) -> None:
        group.pulled = True
        for event in group.events:
            for market in event.markets:
                self._set_quote(market, (0, 0), (PRICE_ONE_E4, 0), time_ms)

    def _start(self, group: Group, time_ms: int) -> None:
        assert isinstance(group.latent, Match)
        group.latent.advance(max(0.0, (time_ms - group.updated_ms) / 1000), self.rng)
        group.updated_ms = time_ms
        group.latent.started = group.in_play = True
        group.pulled = False
        if time_ms < self.start_ms:  # play was on when the exchange began: catch up
            self._advance_latent(group, min(self.start_ms, group.end_ms))
        self._plan_tick(group, max(time_ms, self.start_ms))
        self._milestone_says(group, "inprogress", time_ms)
        for event in group.events:
            if event.status == ACTIVE:
                self._quote_all(event, time_ms)

    def _end(self, group: Group, time_ms: int) -> None:
        assert isinstance(group.latent, Match)
        group.latent.finish(self.rng)
        group.in_play = False
        group.updated_ms = time_ms
        self._milestone_says(group, "closed", time_ms)
        close_ms = time_ms + 5_000 + self.rng.randrange(40_000)
        close_ms += -close_ms % SECOND_MS
        for event in group.events:
            self._reprice(event, time_ms)
            event.close_ms = close_ms
            event.values["close"] = format_time(close_ms)
            self._touched(event, time_ms)
            self._life(event, time_ms, "close_date_updated", close_ts=close_ms // 1000)
            self.at(close_ms, self._close, event)

    def _milestone_says(self, group: Group, status: str, time_ms: int) -> None:
        if group.milestone is not None:
            body = group.milestone.body
            body["details"]["status"] = status
            body["last_updated_ts"] = stamp(time_ms, group.milestone.id)
            if status == "closed":
                body["end_date"] = format_time(time_ms)

    def _close(self, event: Event, time_ms: int) -> None:
        if event.status not in (ACTIVE, INITIALIZED) or time_ms < event.close_ms:
            return
        if event.group.kind == "updown":
            self._advance_latent(event.group, time_ms)
        event.status = CLOSED
        for market in event.markets:
            self._set_quote(market, (0, 0), (PRICE_ONE_E4, 0), time_ms)
        for after_ms in (300, 1_900):  # as recorded: two empty snapshots of every book
            self.at(time_ms + after_ms, self._emptied, event)
        delay = {"updown": 2_000 + self.rng.randrange(8_000), "range": 9 * HOUR_MS, "combo": 1_000}.get(
            event.group.kind, 10_000 + self.rng.randrange(50_000)
        )
        self.at(time_ms + delay, self._determine, event)

    def _emptied(self, event: Event, time_ms: int) -> None:
        for market in event.markets:
            for listener in self.listeners:
                listener.emptied(market, time_ms)

    def _determine(self, event: Event, time_ms: int) -> None:
        if event.status != CLOSED:
            return  # an intervention was quicker
        latent = event.group.latent
        event.status = DETERMINED
        event.expiration_value = self._value_of(event)
        for market in event.markets:
            won = latent.outcome(market.role)
            market.p = float(won)
            market.result, market.value_e4 = ("yes", PRICE_ONE_E4) if won else ("no", 0)
        self._touched(event, time_ms)
        self._life(
            event, time_ms, "determined", determination_ts=time_ms // 1000,
            result=lambda m: m.result, settlement_value=lambda m: format_price(m.value_e4),
        )  # fmt: skip
        if self.rng.random() < _DISPUTED_SHARE:
            self.at(time_ms + 20_000, self._dispute, event)
        else:
            self.at(time_ms + event.template.timer_s * 1000, self._settle, event)

    def _dispute(self, event: Event, time_ms: int) -> None:
        if event.status != DETERMINED:
            return
        event.status = DISPUTED
        self._touched(event, time_ms)
        self.at(time_ms + 2 * MINUTE_MS, self._determine_again, event)

    def _determine_again(self, event: Event, time_ms: int) -> None:
        if event.status != DISPUTED:
            return
        event.status = DETERMINED
        self._touched(event, time_ms)
        self.at(time_ms + event.template.timer_s * 1000, self._settle, event)

    @staticmethod
    def _value_of(event: Event) -> str:
        latent = event.group.latent
        if isinstance(latent, Window):
            return f"{latent.asset.price:.{latent.asset.decimals}f}"
        mean = getattr(latent, "mean", None)
        return "" if mean is None else f"{mean:.2f}"

    def _settle(self, event: Event, time_ms: int) -> None:
        if event.status != DETERMINED:
            return
        event.status = FINALIZED
        event.settled_ms = time_ms
        self._touched(event, time_ms)
        self._life(event, time_ms, "settled", settled_ts=time_ms // 1000)
        self.at(time_ms + DAY_MS, self._archive, event)
        group = event.group
        if all(e.status == FINALIZED for e in group.events):
            successor = self.catalogue.again(group, max(time_ms, self.start_ms))
            self.groups.remove(group)
            if successor is not None:
                self.at(
                    max(time_ms, self.start_ms) + 1_000 + self.rng.randrange(20_000), self._create, successor
                )

    def _create(self, group: Group, time_ms: int) -> None:
        self.now_ms = max(self.now_ms, time_ms)
        self._add(group)

    def _archive(self, event: Event, _time_ms: int) -> None:
        """Move a settled event out of the live window (the real one holds three months)."""
        if event.ticker not in self.events:
            return
        event.series.events.remove(event)
        del self.events[event.ticker]
        self.event_order.remove((event.created_ms, event.ticker))
        for market in event.markets:
            del self.markets[market.ticker]
            del self.market_order[bisect_left(self.market_order, (event.created_ms, market.ticker))]

    # Prices -----------------------------------------------------------------------------------------

    def _wait_ms(self, group: Group) -> int:
        mean = 1.5 if group.in_play else group.interval_s
        return 1 + int(1000 * self.rng.expovariate(1 / mean) / max(self.activity.pace, 1e-6))

    def _advance_latent(self, group: Group, time_ms: int) -> bool:
        dt_s = max(0.0, (time_ms - group.updated_ms) / 1000)
        group.updated_ms = time_ms
        return group.latent.advance(dt_s, self.rng)

    def _plan_tick(self, group: Group, time_ms: int) -> None:
        """Plan the next move of a group; one planned before is void."""
        group.tick += 1
        self.at(time_ms + self._wait_ms(group), self._tick, (group, group.tick))

    def _tick(self, planned: tuple[Group, int], time_ms: int) -> None:
        """Let a group's truth move and its quotes follow."""
        group, tick = planned
        if tick != group.tick:
            return
        live = [event for event in group.events if event.status == ACTIVE]
        if not live and all(event.status not in (INITIALIZED, ACTIVE) for event in group.events):
            return
        self._plan_tick(group, time_ms)
        if not live or not self.trading_active:
            return
        self._advance_latent(group, time_ms)
        if isinstance(group.latent, Combo) and group.latent.decided():
            live[0].close_ms = time_ms
            live[0].values["close"] = format_time(time_ms)
            self._close(live[0], time_ms)
            return
        if group.pulled:
            return
        for event in live:
            if self.shards[event.shard].trading_active:
                self._reprice(event, time_ms)
        rng = self.rng
        event = live[rng.randrange(len(live))]
        market = event.markets[rng.randrange(len(event.markets))]
        if market.paused or market.fair_shift_e4 or not self.shards[event.shard].trading_active:
            return
        if rng.random() < self.activity.trade_share and market.bid_e2 and market.ask_e2:
            self._trade(market, time_ms)
        else:
            self._requote(market, time_ms)
        if rng.random() < 0.5:
            self._flicker(market, time_ms)

    def _flicker(self, market: Market, time_ms: int) -> None:
        """Change a level behind the best, if anybody ever looked at the book."""
        if market.book is not None:
            changes = market.book.flicker(market.grid, market.size_e2)
            for listener in self.listeners:
                listener.deepened(market, changes, time_ms)

    def _burst(self, _subject: None, time_ms: int) -> None:
        """Let one lively market go wild for about a second."""
        rng = self.rng
        self.at(time_ms + 1_000 + int(1000 * rng.expovariate(1 / _BURST_EVERY_S)), self._burst, None)
        if not self.activity.bursts or not self.activity.pace:
            return
        for _ in range(100):
            group = self.groups[rng.randrange(len(self.groups))]
            live = [m for m in group.events[0].markets if m.status == ACTIVE and m.bid_e2 and m.ask_e2]
            if live and (group.in_play or group.kind == "updown"):
                market = live[rng.randrange(len(live))]
                at_ms, until_ms = float(time_ms), time_ms + 300 + rng.randrange(1_200)
                while at_ms < until_ms:
                    at_ms += rng.expovariate(1 / 0.6)
                    self.at(int(at_ms), self._flurry, market)
                return

    def _flurry(self, market: Market, time_ms: int) -> None:
        if market.status == ACTIVE and not market.event.group.pulled and self.trading_active:
            self._requote(market, time_ms)
            self._flicker(market, time_ms)

    def _reprice(self, event: Event, time_ms: int) -> None:
        """Bring every quote that would give money away, or stands too far off, back around the truth."""
        probability = event.group.latent.probability
        for market in event.markets:
            market.p = p = probability(market.role)
            if market.fair_shift_e4:
                continue  # what was planted stands still until it is over
            fair = p * PRICE_ONE_E4
            if (
                (market.bid_e2 and market.bid_e4 > fair)
                or (market.ask_e2 and market.ask_e4 < fair)
                or (
                    market.bid_e2
                    and fair - market.bid_e4 > 2 * market.half_e4 + 250
                    and self.rng.random() < 0.5
                )
            ):
                self._requote(market, time_ms)

    def _quote_all(self, event: Event, time_ms: int) -> None:
        probability = event.group.latent.probability
        for market in event.markets:
            market.p = probability(market.role)
            self._requote(market, time_ms)

    def _size(self, market: Market) -> int:
        size = int(market.size_e2 * self.rng.lognormvariate(-0.7, 0.8))
        size = size if self.rng.random() < 0.25 else size // 100 * 100
        return max(_MISPRICED_SIZE_E2 if market.fair_shift_e4 else 100, size)

    def _requote(self, market: Market, time_ms: int) -> None:
        """Quote a market anew: bid <= truth <= ask on its grid, its usual spread, fresh sizes."""
        if market.paused:
            return
        grid = market.grid
        fair = market.p * PRICE_ONE_E4 + market.fair_shift_e4
        half = 0.0 if market.fair_shift_e4 else market.half_e4 * (0.7 + 0.6 * self.rng.random())
        bid, ask = grid.at_or_below(fair - half), grid.at_or_above(fair + half)
        if bid is not None and bid == ask:
            ask = grid.above(bid)
        old_bid, old_ask = (market.bid_e4, market.bid_e2), (market.ask_e4, market.ask_e2)
        new_bid, new_ask = (0, 0), (PRICE_ONE_E4, 0)
        if bid is not None:
            keep = not market.fair_shift_e4 and bid == old_bid[0] and old_bid[1] and self.rng.random() < 0.5
            new_bid = old_bid if keep else (bid, self._size(market))
        if ask is not None:
            keep = not market.fair_shift_e4 and ask == old_ask[0] and old_ask[1] and self.rng.random() < 0.5
            new_ask = old_ask if keep else (ask, self._size(market))
        self._set_quote(market, new_bid, new_ask, time_ms)

    def _set_quote(self, market: Market, bid: tuple[int, int], ask: tuple[int, int], time_ms: int) -> None:
        """Set best bid and ask (price_e4, count_e2); a count of 0 empties the side. Tells the listeners."""
        if (market.bid_e4, market.bid_e2, market.ask_e4, market.ask_e2) == (*bid, *ask):
            return
        (market.bid_e4, market.bid_e2), (market.ask_e4, market.ask_e2) = bid, ask
        self._quote_changes += 1
        if self._built:
            note_quote(market, time_ms, self._bars)
        changes = market.book.follow(market.grid, bid, ask, market.size_e2) if market.book is not None else []
        for listener in self.listeners:
            listener.quoted(market, changes, time_ms)

    def _trade(self, market: Market, time_ms: int) -> None:
        """Let a taker hit the best bid or lift the best ask."""
        rng = self.rng
        buys_yes = rng.random() < 0.5
        price, size = (market.ask_e4, market.ask_e2) if buys_yes else (market.bid_e4, market.bid_e2)
        count = min(size, max(1, int(rng.expovariate(1 / max(market.size_e2 / 20, 1500)))))
        if rng.random() < 0.8:
            count = min(size, max(100, count // 100 * 100))
        self.print_trade(market, price, count, "yes" if buys_yes else "no", time_ms)
        left = size - count
        grid = market.grid
        bid, ask = (market.bid_e4, market.bid_e2), (market.ask_e4, market.ask_e2)
        if buys_yes:
            worse = grid.above(price)
            ask = (price, left) if left else (worse, self._size(market)) if worse else (PRICE_ONE_E4, 0)
        else:
            worse = grid.below(price)
            bid = (price, left) if left else (worse, self._size(market)) if worse else (0, 0)
        self._set_quote(market, bid, ask, time_ms)

    def print_trade(self, market: Market, price_e4: int, count_e2: int, taker: str, time_ms: int) -> None:
        """Record a trade: last price, volume, open interest, the tape."""
        market.last_e4, market.last_size_e2 = price_e4, count_e2
        market.volume_e2 += count_e2
        market.volume_24h_e2 += count_e2
        opened = self.rng.random() < 0.6
        market.open_interest_e2 = max(market.open_interest_e2 + (count_e2 if opened else -count_e2), 0)
        note_trade(market, price_e4, count_e2, time_ms, self._bars)
        self._number += 1
        trade = Trade(
            str(UUID(int=self.rng.getrandbits(128))), market, price_e4, count_e2, taker, time_ms, self._number
        )
        self.trades.append(trade)
        for listener in self.listeners:
            listener.traded(trade)

    # Mispricings ------------------------------------------------------------------------------------

    def _plant(self, _subject: None, time_ms: int) -> None:
        """Misprice something for a while, as long as there are not enough mispricings."""
        rng = self.rng
        self.at(time_ms + 500 + int(1000 * rng.expovariate(1 / _MISPRICING_EVERY_S)), self._plant, None)
        if not self.activity.mispricings or not self.trading_active:
            return
        alive = [m for m in self.mispricings if self.stands(m, time_ms)]
        if len(alive) >= rng.randint(*_MISPRICED):
            return
        until_ms = time_ms + rng.randint(*_MISPRICED_MS)
        baskets = sum(m.kind == "no_basket" for m in alive)
        plant = self._plant_basket if 2 * baskets <= len(alive) else self._plant_leg
        soon = [
            group for group in self.groups if 0 < group.start_ms - time_ms < HOUR_MS and group.kind == "match"
        ]
        for _ in range(60):
            # Half of them where whoever takes them sees the outcome soon.
            groups = soon if soon and rng.random() < 0.5 else self.groups
            group = groups[rng.randrange(len(groups))]
            event = group.events[0]
            # Nothing that stops being quoted meanwhile, and never two in one event.
            ends_ms = group.start_ms - PULL_BEFORE_START_MS if group.kind == "match" else event.close_ms
            if (
                event.status == ACTIVE
                and event.template.exclusive
                and until_ms < ends_ms
                and self.shards[event.shard].trading_active
                and not any(m.fair_shift_e4 or m.paused for m in event.markets)
                and plant(event, time_ms, until_ms)
            ):
                return

    def stands(self, planted: Mispricing, time_ms: int) -> bool:
        """Return whether a planted mispricing can be traded."""
        legs = [self.markets.get(ticker) for ticker in planted.tickers]
        return planted.from_ms <= time_ms < planted.until_ms and all(
            leg is not None and leg.fair_shift_e4 and leg.bid_e2 and leg.ask_e2 and leg.status == ACTIVE
            for leg in legs
        )

    def fee_multiplier(self, event: Event) -> float:
        """Return the multiplier of an event's fees."""
        override = event.fee_override
        return float(event.series.body["fee_multiplier"] if override is None else override[1])

    def _plant_basket(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Raise the bids so that buying NO of every leg pays after fees: sum of bids > 1 + fees."""
        rng = self.rng
        quoted = sorted((m for m in event.markets if m.bid_e2 and m.ask_e2), key=lambda m: -m.p)[:4]
        if len(quoted) < 2 or quoted[1].p < 0.05 or sum(m.p for m in quoted) < 0.5:
            return False
        rate = _FEE * self.fee_multiplier(event)
        target = 1 + rng.uniform(0.01, 0.03)
        shift = 0.0
        for _ in range(30):
            bids = [m.grid.at_or_below(m.p * PRICE_ONE_E4 + shift) or 0 for m in quoted]
            fees = sum(rate * b / 1e4 * (1 - b / 1e4) for b in bids)
            if sum(bids) / 1e4 >= target + fees:
                break
            shift += 50
        else:
            return False
        if any(m.grid.above(b) is None for m, b in zip(quoted, bids, strict=True)):
            return False
        edge_e4 = round(sum(bids) - 1e4 * (1 + fees))
        self._misprice("no_basket", event, quoted, int(shift), edge_e4, time_ms, until_ms)
        return True

    def _plant_leg(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Move one leg of an exhaustive event well off what the others say of it."""
        rng = self.rng
        legs = event.markets
        if (
            not 3 <= len(legs) <= 12
            or sum(m.p for m in legs) < 0.97
            or not all(m.bid_e2 and m.ask_e2 and m.ask_e4 - m.bid_e4 <= 1200 for m in legs if m.p > 0.01)
        ):
            return False
        leg = legs[rng.randrange(len(legs))]
        shift = (600 + rng.randrange(700)) * (1 if leg.p < 0.3 or rng.random() < 0.5 else -1)
        price = leg.p + shift / 1e4
        if not 0.03 < price < 0.97 or not leg.bid_e2:
            return False
        fee = _FEE * self.fee_multiplier(event) * price * (1 - price)
        edge_e4 = round(abs(shift) - 1e4 * fee - 100)
        self._misprice("value", event, [leg], shift, edge_e4, time_ms, until_ms)
        return True

    def _misprice(
        self,
        kind: str,
        event: Event,
        legs: list[Market],
        shift_e4: int,
        edge_e4: int,
        time_ms: int,
        until_ms: int,
    ) -> None:
        for market in legs:
            market.fair_shift_e4 = shift_e4
            self._requote(market, time_ms)
        fair = {m.ticker: round(m.p, 4) for m in legs}
        self.mispricings.append(Mispricing(kind, event.ticker, list(fair), time_ms, until_ms, edge_e4, fair))
        self.at(until_ms, self._unplant, legs)

    def _unplant(self, legs: Iterable[Market], time_ms: int) -> None:
        for market in legs:
            market.fair_shift_e4 = 0
            if market.status == ACTIVE and not market.event.group.pulled:
                self._requote(market, time_ms)

    # Looking ----------------------------------------------------------------------------------------

    def book(self, market: Market) -> Book:
        """Return a market's order book, made on the first look."""
        if market.book is None:
            market.book = Book(f"{self.seed}:{market.ticker}")
            market.book.follow(
                market.grid,
                (market.bid_e4, market.bid_e2),
                (market.ask_e4, market.ask_e2),
                market.size_e2,
            )
        return market.book

    # Interventions (faults, tests) ------------------------------------------------------------------

    def set_pace(self, pace: float) -> None:
        """Set how often prices move, from now on: what was planned at the old pace is planned anew."""
        if pace == self.activity.pace:
            return
        self.activity.pace = pace
        for group in self.groups:
            if group.tick:
                self._plan_tick(group, self.now_ms)

    def add_combos(self, count: int) -> None:
        """Create combo markets, each of two to four matches' winners (on the real exchange users do)."""
        rng = self.rng
        winners = [
            [m for m in group.events[0].markets if m.role.kind == "win" and m.status == ACTIVE]
            for group in self.groups
            if group.kind == "match"
        ]
        winners = [markets for markets in winners if markets]
        for _ in range(count if len(winners) >= 4 else 0):
            chosen = rng.sample(winners, 2 + rng.randrange(3))
            group = self.catalogue.combo([m[rng.randrange(len(m))] for m in chosen], self.now_ms)
            if group is not None:
                self._add(group)

    def bring(self, event: Event, stage: Stage) -> None:
        """Let an event close at once, and go on to be determined, settled, and forgotten ("gone")."""
        now_ms = self.now_ms
        if event.status in (ACTIVE, INITIALIZED):
            if isinstance(event.group.latent, Match):
                event.group.latent.finish(self.rng)
            event.close_ms = now_ms
            event.values["close"] = format_time(now_ms)
            self._touched(event, now_ms)
            self._life(event, now_ms, "close_date_updated", close_ts=now_ms // 1000)
            self._close(event, now_ms)
        if stage in ("determined", "settled", "gone"):
            self._determine(event, now_ms)
        if stage in ("settled", "gone"):
            self._determine_again(event, now_ms)
            self._settle(event, now_ms)
        if stage == "gone":
            self._archive(event, now_ms)

    def pause_market(self, market: Market, paused: bool) -> None:
        """Deactivate or activate one market; all resting orders go at the activation (contract 6)."""
        if market.paused == paused:
            return
        market.paused = paused
        if paused:
            self._announce("deactivated", market, {"is_deactivated": True}, self.now_ms)
        else:
            self._announce("activated", market, {}, self.now_ms)
        if not paused:
            self._set_quote(market, (0, 0), (PRICE_ONE_E4, 0), self.now_ms)
            self._requote(market, self.now_ms)
