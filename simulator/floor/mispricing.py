"""Mispricings, planted for a scanner to find: what the crowd would never leave on the table.

Kinds: `no_basket` and `yes_basket` (exclusive events whose bids add up to more, or asks to less, than a
dollar after fees), `ladder`, `range` and `implication` (a market whose YES includes another's and yet is
cheaper: by its strikes or bounds within an event, or in another event of the match), and `value` (one leg of
an exhaustive event departs from what the others say).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from operator import attrgetter
from random import Random
from typing import Final

from markets.units import PRICE_ONE_E4
from simulator.matching.orders import ASK, BID, Side
from simulator.universe.dates import HOUR_MS, SECOND_MS

from .agenda import Agenda
from .crowd import Crowd
from .draws import index
from .halts import Activity, Halts
from .listed import Listings
from .model import ACTIVE, Event, Group, Market

PULL_BEFORE_START_MS: Final = 3 * SECOND_MS
"""How long before a match starts quoters pull."""

KINDS: Final = {"no_basket": 8, "yes_basket": 1, "ladder": 1, "range": 1, "implication": 1, "value": 4}
"""How often each is planted, relative to the others."""

BASKETS: Final = frozenset(KINDS) - {"value"}
"""Kinds that surely pay, whatever comes, once all legs are filled."""

_PAIRS: Final = frozenset({"ladder", "range", "implication"})
"""Kinds planted in two markets of which one includes the other."""

_ALIVE: Final = (6, 10)
"""Least and most planted mispricings alive at once, given a large enough universe."""

_STANDS_MS: Final = (30_000, 120_000)
"""Least and longest time that one stands unless somebody takes it."""

_EVERY_S: Final = 1.5
_PATIENCE: Final = 6
"""After this many failures in a row, searches become rarer."""

_P: Final = attrgetter("p")
_SOON: Final = 0.6
_TRIES: Final = 90
_FIRST_TRIES: Final = _TRIES // 2
_OWN_TRIES: Final = _TRIES // 3
"""How often something to misprice is sought; at first where it is preferred, and of the kind that is."""

_FEE: Final = 0.07
_STEP_E4: Final = 50
"""By how much more each leg is shifted until the whole pays."""

_NEAR: Final = 0.12
"""Nested markets to be planted the wrong way round are worth at most this much apart."""


@dataclass(slots=True)
class Mispricing:
    """One planted mispricing: what a scanner should find between `from_ms` and `until_ms`.

    Attributes:
        tickers: its legs.
        sides: what a taker does in each: "bid" buys YES, "ask" buys NO.
        edge_e4: the profit per contract after taker fees, in $0.0001: for a basket what a set surely pays,
            for a leg what it pays on average.
        fair: the true probability of each leg at `from_ms`.
    """

    kind: str
    event_ticker: str
    tickers: list[str]
    sides: list[Side]
    from_ms: int
    until_ms: int
    edge_e4: int
    fair: dict[str, float]


def fee_multiplier(event: Event) -> float:
    """Return the multiplier of an event's fees."""
    override = event.fee_override
    return float(event.series.body["fee_multiplier"] if override is None else override[1])


def nested(group: Group) -> Iterator[tuple[str, Market, Market]]:
    """Yield (kind, wider, narrower) for neighbours where YES of one includes YES of the other."""
    wins: dict[str, Market] = {}
    margins: dict[str, Market] = {}
    for event in group.events:
        rows: dict[tuple[str, str], list[Market]] = {}
        between: list[Market] = []
        for market in event.markets:
            role = market.role
            if role.kind == "win":
                wins[role.key] = market
            elif role.kind == "between":
                between.append(market)
            elif role.kind in ("margin", "total", "count", "above"):
                rows.setdefault((role.kind, role.key), []).append(market)
        for (kind, key), row in rows.items():
            row.sort(key=lambda market: market.role.floor)
            yield from (("ladder", wider, narrower) for wider, narrower in pairwise(row))
            if kind == "margin" and row[0].role.floor >= 0:
                margins[key] = row[0]
            if kind == "above":
                yield from (
                    ("range", wider, inside)
                    for inside in between
                    for wider in row
                    if wider.role.floor <= inside.role.floor
                )
    yield from (("implication", wins[key], margin) for key, margin in margins.items() if key in wins)


def _pairs(group: Group) -> dict[str, list[tuple[Market, Market]]]:
    """Return what is `nested` in a group, by kind; which markets it has is settled when it is made."""
    if group.nested is None:
        group.nested = {}
        for kind, wider, narrower in nested(group):
            group.nested.setdefault(kind, []).append((wider, narrower))
    return group.nested


def _suits(group: Group, kind: str) -> bool:
    """Whether a kind can ever be planted in a group."""
    return kind in _pairs(group) if kind in _PAIRS else group.events[0].template.exclusive


class Planter:
    """Plants mispricings and takes them away again.

    Attributes:
        planted: the latest, oldest first.
        followers: told of each one planted.
    """

    def __init__(
        self, agenda: Agenda, rng: Random, activity: Activity, halts: Halts, listings: Listings, crowd: Crowd
    ) -> None:
        self.planted: deque[Mispricing] = deque(maxlen=200)
        self.followers: list[Callable[[Mispricing, int], None]] = []
        self._in_vain = 0
        self._current: list[tuple[Mispricing, list[Market]]] = []
        """Those not yet taken away again, with their legs."""
        self._agenda = agenda
        self._rng = rng
        self._activity = activity
        self._halts = halts
        self._listings = listings
        self._crowd = crowd

    def plant(self, _subject: None, time_ms: int) -> None:
        """Misprice something for a while, unless there are enough mispricings."""
        self._in_vain = 0 if self._plant(time_ms) else min(self._in_vain + 1, _PATIENCE)
        mean_s = _EVERY_S * (1 + self._in_vain)
        self._agenda.at(time_ms + 500 + int(1000 * self._rng.expovariate(1 / mean_s)), self.plant, None)

    def _plant(self, time_ms: int) -> bool:
        """Return whether there are enough, at least for now."""
        rng = self._rng
        if not self._activity.mispricings:
            return True
        alive = self._alive(time_ms)
        if sum(alive.values()) >= rng.randint(*_ALIVE):
            return True
        until_ms = time_ms + rng.randint(*_STANDS_MS)
        # Each by its weight, as the first of exponential waits; no kind beyond its share.
        waits = {kind: rng.expovariate(weight) for kind, weight in KINDS.items() if alive[kind] <= weight}
        kinds = sorted(waits, key=waits.__getitem__)
        everything = self._listings.groups
        from_ms, to_ms = time_ms, time_ms + HOUR_MS
        soon = [match for match in self._listings.matches if from_ms < match.start_ms < to_ms]
        first = soon if soon and rng.random() < _SOON else everything
        possible = self._possible
        kind = kinds[0]
        for attempt in range(_TRIES):
            # Mostly where the taker will soon see the outcome, if possible.
            groups = first if attempt < _FIRST_TRIES else everything
            group = groups[index(rng, len(groups))]
            if attempt > _OWN_TRIES:
                kind = kinds[(attempt - _OWN_TRIES) % len(kinds)]  # another, too, if that is impossible
            if (
                _suits(group, kind)
                and possible(group, until_ms)
                and self._try(kind, group, time_ms, until_ms)
            ):
                return True
        return False

    def _alive(self, time_ms: int) -> dict[str, int]:
        """Return how many of each kind stand."""
        alive = dict.fromkeys(KINDS, 0)
        for planted, legs in self._current:
            # Asked first what most fail: somebody has taken it.
            if legs[0].fair_shift_e4 and time_ms < planted.until_ms and _offered(legs):
                alive[planted.kind] += 1
        return alive

    def _possible(self, group: Group, until_ms: int) -> bool:
        """Whether a group is quoted until then, and has nothing planted yet."""
        first = group.events[0]
        ends_ms = group.start_ms - PULL_BEFORE_START_MS if group.kind == "match" else first.close_ms
        if first.status != ACTIVE or until_ms >= ends_ms or first.shard not in self._halts.trading:
            return False
        for event in group.events:
            for market in event.markets:
                if market.fair_shift_e4 or market.paused:
                    return False
        return True

    def _try(self, kind: str, group: Group, time_ms: int, until_ms: int) -> bool:
        if kind == "no_basket":
            return self._plant_no_basket(group.events[0], time_ms, until_ms)
        if kind == "yes_basket":
            return self._plant_yes_basket(group.events[0], time_ms, until_ms)
        if kind == "value":
            return self._plant_leg(group.events[0], time_ms, until_ms)
        return self._plant_pair(kind, self._rng.choice(_pairs(group)[kind]), time_ms, until_ms)

    def stands(self, planted: Mispricing, time_ms: int) -> bool:
        """Return whether a planted mispricing can be traded."""
        if not planted.from_ms <= time_ms < planted.until_ms:
            return False
        markets = self._listings.markets
        legs = [markets[ticker] for ticker in planted.tickers if ticker in markets]
        return len(legs) == len(planted.tickers) and _offered(legs)

    def _plant_no_basket(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Raise the bids so that buying NO of every leg pays after fees: sum of bids > 1 + fees."""
        rng = self._rng
        quoted = [market for market in event.markets if market.bid_e2 and market.ask_e2]
        quoted.sort(key=_P, reverse=True)
        del quoted[4:]
        fair = [market.p for market in quoted]
        if len(fair) < 2 or fair[1] < 0.05 or sum(fair) < 0.5:
            return False
        target, rate = 1 + rng.uniform(0.01, 0.03), _fee_rate(event)
        # No bid is above its shifted truth: a smaller shift cannot do.
        for shift in range(_first(target - sum(fair), len(fair)), 30 * _STEP_E4, _STEP_E4):
            bids = [m.grid.at_or_below(m.p * PRICE_ONE_E4 + shift) or 0 for m in quoted]
            together = sum(bids) / 1e4
            if together >= target and together >= target + (fees := _fees(rate, bids)):
                break
        else:
            return False
        if any(m.grid.above(b) is None for m, b in zip(quoted, bids, strict=True)):
            return False
        edge_e4 = round(sum(bids) - 1e4 * (1 + fees))
        self._misprice("no_basket", event, [(m, ASK, shift) for m in quoted], edge_e4, time_ms, until_ms)
        return True

    def _plant_yes_basket(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Lower the asks so that buying YES of every leg pays after fees: sum of asks < 1 - fees."""
        rng = self._rng
        legs = event.markets
        if not 2 <= len(legs) <= 6:
            return False
        fair = sum([m.p for m in legs])
        if fair < 0.995 or not all(m.ask_e2 for m in legs):
            return False
        target, rate = 1 - rng.uniform(0.01, 0.03), _fee_rate(event)
        # No ask is below its shifted truth: a smaller shift cannot do.
        for shift in range(_first(fair - target, len(legs)), 40 * _STEP_E4, _STEP_E4):
            asks = [m.grid.at_or_above(m.p * PRICE_ONE_E4 - shift) or PRICE_ONE_E4 for m in legs]
            together = sum(asks) / 1e4
            if together <= target and together <= target - (fees := _fees(rate, asks)):
                break
        else:
            return False
        if any(m.p * PRICE_ONE_E4 - shift < 100 for m in legs):
            return False
        edge_e4 = round(1e4 * (1 - fees) - sum(asks))
        self._misprice("yes_basket", event, [(m, BID, -shift) for m in legs], edge_e4, time_ms, until_ms)
        return True

    def _plant_pair(self, kind: str, pair: tuple[Market, Market], time_ms: int, until_ms: int) -> bool:
        """Make the wider market cheaper than the narrower: its YES and the other's NO pay a dollar."""
        wider, narrower = pair
        quoted = all(m.status == ACTIVE and m.bid_e2 and m.ask_e2 and 0.08 < m.p < 0.92 for m in pair)
        if not quoted or not 0 <= wider.p - narrower.p < _NEAR:
            return False
        gap = self._rng.uniform(0.01, 0.03)
        shift = int(1e4 * (wider.p - narrower.p) / 2)
        wider_rate, narrower_rate = _fee_rate(wider.event), _fee_rate(narrower.event)
        for _ in range(30):
            bid = narrower.grid.at_or_below(narrower.p * PRICE_ONE_E4 + shift)
            ask = wider.grid.at_or_above(wider.p * PRICE_ONE_E4 - shift)
            if bid is None or ask is None:
                return False
            fees = _fees(wider_rate, (ask,)) + _fees(narrower_rate, (bid,))
            if (bid - ask) / 1e4 >= gap + fees:
                break
            shift += _STEP_E4
        else:
            return False
        if wider.p * PRICE_ONE_E4 - shift < 100 or narrower.p * PRICE_ONE_E4 + shift > PRICE_ONE_E4 - 100:
            return False
        legs: list[tuple[Market, Side, int]] = [(wider, BID, -shift), (narrower, ASK, shift)]
        edge_e4 = round(bid - ask - 1e4 * fees)
        self._misprice(kind, wider.event, legs, edge_e4, time_ms, until_ms)
        return True

    def _plant_leg(self, event: Event, time_ms: int, until_ms: int) -> bool:
        """Move one leg of an exhaustive event well away from what the others say."""
        rng = self._rng
        legs = event.markets
        if not 3 <= len(legs) <= 12 or sum([m.p for m in legs]) < 0.97:
            return False
        for m in legs:
            if m.p > 0.01 and not (m.bid_e2 and m.ask_e2 and m.ask_e4 - m.bid_e4 <= 1200):
                return False
        leg = legs[index(rng, len(legs))]
        shift = (600 + rng.randrange(700)) * (1 if leg.p < 0.3 or rng.random() < 0.5 else -1)
        price = leg.p + shift / 1e4
        if not 0.03 < price < 0.97 or not leg.bid_e2:
            return False
        fee = _fee_rate(event) * price * (1 - price)
        edge_e4 = round(abs(shift) - 1e4 * fee - 100)
        side: Side = ASK if shift > 0 else BID
        self._misprice("value", event, [(leg, side, shift)], edge_e4, time_ms, until_ms)
        return True

    def _misprice(
        self,
        kind: str,
        event: Event,
        legs: list[tuple[Market, Side, int]],
        edge_e4: int,
        time_ms: int,
        until_ms: int,
    ) -> None:
        for market, _, shift_e4 in legs:
            market.fair_shift_e4 = shift_e4
            self._crowd.requote(market, time_ms)
        fair = {market.ticker: market.p for market, *_ in legs}
        sides = [side for _, side, _ in legs]
        planted = Mispricing(kind, event.ticker, list(fair), sides, time_ms, until_ms, edge_e4, fair)
        current = planted, [market for market, *_ in legs]
        self.planted.append(planted)
        self._current.append(current)
        self._agenda.at(until_ms, self._unplant, current)
        for follower in self.followers:
            follower(planted, time_ms)

    def _unplant(self, over: tuple[Mispricing, list[Market]], time_ms: int) -> None:
        planted, legs = over
        self._current = [each for each in self._current if each[0] is not planted]
        for market in legs:
            if market.fair_shift_e4:
                self._crowd.correct(market, time_ms)


def _offered(legs: Iterable[Market]) -> bool:
    """Return whether all legs of a mispricing are quoted as it was planted."""
    for leg in legs:
        if not leg.fair_shift_e4 or not leg.bid_e2 or not leg.ask_e2 or leg.status != ACTIVE:
            return False
    return True


def _first(missing: float, legs: int) -> int:
    """Return the first of the shifts, in steps from 0 on, that may do if all legs miss so much (dollars)."""
    # Less one: what is tried is rounded.
    return max(0, ceil((1e4 * missing / legs - 1) / _STEP_E4) * _STEP_E4)


def _fee_rate(event: Event) -> float:
    """Return the taker fee of one contract of an event, in dollars, by price * (1 - price)."""
    return _FEE * fee_multiplier(event)


def _fees(rate: float, prices_e4: Iterable[int]) -> float:
    """Return the taker fees of one contract at each of these prices, in dollars."""
    fees = 0.0
    for price in prices_e4:
        fees += rate * price / 1e4 * (1 - price / 1e4)
    return fees
