"""Mispricings, planted for a scanner to find: what the crowd would never leave on the table."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from markets.units import PRICE_ONE_E4
from simulator.universe.dates import HOUR_MS, SECOND_MS

from .agenda import Agenda
from .crowd import Crowd
from .halts import Activity, Halts
from .listed import Listings
from .model import ACTIVE, Event, Market

PULL_BEFORE_START_MS: Final = 3 * SECOND_MS
"""Quoters pull so long before a match starts."""

_ALIVE: Final = (6, 10)
"""Planted mispricings alive at once, from and to; a large enough universe given."""

_STANDS_MS: Final = (30_000, 120_000)
"""How long one stands, from and to."""

_EVERY_S: Final = 1.5
_FEE: Final = 0.07


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


def fee_multiplier(event: Event) -> float:
    """Return the multiplier of an event's fees."""
    override = event.fee_override
    return float(event.series.body["fee_multiplier"] if override is None else override[1])


class Planter:
    """Plants mispricings and takes them away again.

    Attributes:
        planted: the latest, oldest first.
    """

    def __init__(
        self, agenda: Agenda, rng: Random, activity: Activity, halts: Halts, listings: Listings, crowd: Crowd
    ) -> None:
        self.planted: deque[Mispricing] = deque(maxlen=200)
        self._agenda = agenda
        self._rng = rng
        self._activity = activity
        self._halts = halts
        self._listings = listings
        self._crowd = crowd

    def plant(self, _subject: None, time_ms: int) -> None:
        """Misprice something for a while, as long as there are not enough mispricings."""
        rng = self._rng
        self._agenda.at(time_ms + 500 + int(1000 * rng.expovariate(1 / _EVERY_S)), self.plant, None)
        if not self._activity.mispricings or not self._halts.trading_active:
            return
        alive = [m for m in self.planted if self.stands(m, time_ms)]
        if len(alive) >= rng.randint(*_ALIVE):
            return
        until_ms = time_ms + rng.randint(*_STANDS_MS)
        baskets = sum(m.kind == "no_basket" for m in alive)
        plant = self._plant_basket if 2 * baskets <= len(alive) else self._plant_leg
        everything = self._listings.groups
        soon = [g for g in everything if 0 < g.start_ms - time_ms < HOUR_MS and g.kind == "match"]
        for _ in range(60):
            # Half of them where whoever takes them sees the outcome soon.
            groups = soon if soon and rng.random() < 0.5 else everything
            group = groups[rng.randrange(len(groups))]
            event = group.events[0]
            # Nothing that stops being quoted meanwhile, and never two in one event.
            ends_ms = group.start_ms - PULL_BEFORE_START_MS if group.kind == "match" else event.close_ms
            if (
                event.status == ACTIVE
                and event.template.exclusive
                and until_ms < ends_ms
                and self._halts.shards[event.shard].trading_active
                and not any(m.fair_shift_e4 or m.paused for m in event.markets)
                and plant(event, time_ms, until_ms)
            ):
                return

    def stands(self, planted: Mispricing, time_ms: int) -> bool:
        """Return whether a planted mispricing can be traded."""
        legs = [self._listings.markets.get(ticker) for ticker in planted.tickers]
        return planted.from_ms <= time_ms < planted.until_ms and all(
            leg is not None and leg.fair_shift_e4 and leg.bid_e2 and leg.ask_e2 and leg.status == ACTIVE
            for leg in legs
        )

    def _plant_basket(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Raise the bids so that buying NO of every leg pays after fees: sum of bids > 1 + fees."""
        rng = self._rng
        quoted = sorted((m for m in event.markets if m.bid_e2 and m.ask_e2), key=lambda m: -m.p)[:4]
        if len(quoted) < 2 or quoted[1].p < 0.05 or sum(m.p for m in quoted) < 0.5:
            return False
        rate = _FEE * fee_multiplier(event)
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
        rng = self._rng
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
        fee = _FEE * fee_multiplier(event) * price * (1 - price)
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
            self._crowd.requote(market, time_ms)
        fair = {m.ticker: round(m.p, 4) for m in legs}
        self.planted.append(Mispricing(kind, event.ticker, list(fair), time_ms, until_ms, edge_e4, fair))
        self._agenda.at(until_ms, self._unplant, legs)

    def _unplant(self, legs: Iterable[Market], time_ms: int) -> None:
        for market in legs:
            market.fair_shift_e4 = 0
            if market.status == ACTIVE and not market.event.group.pulled:
                self._crowd.requote(market, time_ms)
