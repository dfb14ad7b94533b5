"""Learns the chance that a leg of a basket is gone when its order arrives, and what that costs. Pure.

Every basket that is offered is a trial. If it is bought, its own orders show whether a leg was missed, and
its result once it is even (rebalance.py) shows what that cost. If it is not bought, it is watched for as long
as our orders take to arrive: had it been bought, would all legs have been there? If not, it is watched
further: would the missing leg have come at the price we would have bid, and if not, what would evening out
have cost after the longest wait? So knowledge grows with what is seen, not with what is lost, and bad baskets
are recognised without buying them.

Baskets are grouped by state, age, number of legs, and what a set earns. The state is what the activity of
others shows: whether one quote made the basket or several at once (then somebody has repriced the event, and
others are looking at it too), and whether it already earns less than at first (then somebody has been there).
Each estimate is drawn towards that of the wider group, and the widest towards a prior: what has stood for
long will stand for long. Old trials count less. Estimates are subject to luck, and the baskets that look
better than they are would be the ones bought; so when deciding whether to buy, the chance of a miss is taken
one standard deviation worse.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Final, NamedTuple

import msgspec

from markets.opportunities import EventView, ScanLimits
from markets.orders import Wanted

from .edge import Edge, evened_e6, had, offered_e6

MILLION: Final = 1_000_000

LATENCY_MS: Final = 500
"""How long an order is assumed to take until our own orders have shown it."""

LATENCY_FROM_MS: Final = 20
LATENCY_TO_MS: Final = 5_000

AGES_MS: Final = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
"""Bounds between groups of age."""

TYPICAL_MS: Final = (250, 750, 1_500, 3_000, 6_000, 12_000, 30_000)
"""A typical age of each of these groups."""

SIZES_E4: Final = (50, 150, 400)
"""Bounds between groups of earnings, in $0.0001 per set."""

LEGS_MOST: Final = 6
"""Baskets with this many legs or more form one group."""

MOVED_MS: Final = 750
"""Quotes that changed within this time before a basket was first seen made it."""

SHRINKS_E4: Final = 20
"""If a basket earns this much less per set than at first, somebody has taken a leg."""

ONE, SEVERAL, TOUCHED = "one", "several", "touched"
"""States of a basket: one quote made it; several did; several did, and somebody has been there."""

GROWS_E4: Final = 50
"""A basket that earns this much more per set than before is a new one: somebody has moved a price."""

WEIGHT: Final = 5.0
"""The wider group's estimate counts as this many trials."""

KEEPS: Final = 0.995
"""The share of earlier trials kept at each further one, so that about the last two hundred count."""

SPARE_MS: Final = 500
"""Chosen so that two in five baskets that have just appeared are assumed to miss a leg in `LATENCY_MS`."""

PRIOR_COST: Final = 0.5
"""The assumed cost of a missed leg, as a share of what all legs together earn before fees."""

COST_LEAST: Final = -1.0
COST_MOST: Final = 5.0

GAP_MS: Final = 15_000
"""After offering nothing for this long, whatever an event offers is new."""

SEEN_MAX: Final = 5_000
WATCHED_MAX: Final = 500
GROUPS_MAX: Final = 1_000

LATENCY: Final = "latency"

Learnt = tuple[str, float, float]
"""(group, sum of results, number of trials that it counts as)."""


class Like(NamedTuple):
    """What is known of a basket at the decision."""

    state: str
    age: int
    legs: int
    size: int
    series_ticker: str

    @property
    def of_misses(self) -> tuple[str, ...]:
        """The groups that estimate the chance of a miss, the widest first."""
        state, age, legs, size, _ = self
        return state, f"{state}/{age}", f"{state}/{age}/{size}", f"{state}/{age}/{size}/{legs}"

    @property
    def of_costs(self) -> tuple[str, ...]:
        """The groups that estimate the cost of a miss, the widest first."""
        return "cost", f"cost/{self.legs}", f"cost:{self.series_ticker}"


class _Seen(msgspec.Struct):
    """When an event's present offer was first and last seen, and what a set earned at both times."""

    first_ms: int
    first_e4: int
    several: bool
    last_ms: int
    last_e4: int


class _Watch(msgspec.Struct):
    """A basket that was not bought, and what it would have been.

    Attributes:
        begun_ms, due_ms: when its orders would be sent and would arrive. due_ms is None between trials.
        next_ms: when the next trial begins.
    """

    legs: Sequence[Wanted]
    edge: Edge
    like: Like
    begun_ms: int
    due_ms: int | None
    next_ms: int = 0


class _Missing(msgspec.Struct):
    """A basket that was not bought and would have missed the legs at `gone`; watched as if it had been.

    Attributes:
        since_ms, until_ms: when waiting for them began and will end, by the steady clock.
    """

    legs: Sequence[Wanted]
    edge: Edge
    like: Like
    gone: Sequence[int]
    since_ms: int
    until_ms: int


class _Own(msgspec.Struct):
    """A basket that was bought. `came_e6` is the proceeds of sales less everything paid."""

    like: Like
    edge: Edge
    sent_ms: int
    came_e6: int = 0
    missed: bool = False


class LegRisk:
    """What became of baskets, by what was known of each when it was, or could have been, bought.

    Args:
        past: what `learnt` returned.

    Attributes:
        latency_ms: the time from a decision to its result, as our own orders have shown it.
        over: trades that missed a leg and have no result yet, though all their orders have ended.
        watched: the events in which a basket is watched or waited for: every change there must be seen.
    """

    def __init__(self, past: Iterable[Learnt] = ()) -> None:
        self.latency_ms = LATENCY_MS
        self._found: dict[str, tuple[float, float]] = {}
        self._own: dict[int, _Own] = {}
        self.over: set[int] = set()
        self._missing: dict[str, _Missing] = {}
        self._seen: dict[str, _Seen] = {}
        self._watches: dict[str, _Watch] = {}
        self.watched: set[str] = set()
        for group, total, trials in past:
            if group == LATENCY:
                self.latency_ms = round(total)
            else:
                self._found[group] = total, trials

    @property
    def learnt(self) -> tuple[Learnt, ...]:
        """What has been learnt, in the constructor's form."""
        return (
            (LATENCY, float(self.latency_ms), 1.0),
            *[(group, total, trials) for group, (total, trials) in self._found.items()],
        )

    @property
    def uneven(self) -> list[int]:
        """Those of `over`, the first that was sent first."""
        return [trade for trade in self._own if trade in self.over]

    def see(
        self, event_ticker: str, edge_e4: int, quoted_ms: Iterable[int], now_ms: int, steady_ms: int
    ) -> None:
        """Note that an event offers a basket now.

        Args:
            edge_e4: what a set of it earns.
            quoted_ms: when the quote of each leg last changed.
        """
        seen = self._seen.pop(event_ticker, None)
        if seen is None or not 0 <= steady_ms - seen.last_ms <= GAP_MS or edge_e4 >= seen.last_e4 + GROWS_E4:
            several = sum(now_ms - time_ms <= MOVED_MS for time_ms in quoted_ms) > 1
            seen = _Seen(steady_ms, edge_e4, several, steady_ms, edge_e4)
            self._unwatch(event_ticker)
        seen.last_ms, seen.last_e4 = steady_ms, edge_e4
        self._seen[event_ticker] = seen
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def like(self, event_ticker: str, series_ticker: str, legs: int, edge_e4: int, steady_ms: int) -> Like:
        """Return what is known of a basket to be decided on now; the worst state if it was never seen."""
        seen, state = self._seen.get(event_ticker), SEVERAL
        if seen is not None and not seen.several:
            state = ONE
        elif seen is not None and seen.last_e4 < seen.first_e4 - SHRINKS_E4:
            state = TOUCHED
        age = self._age(event_ticker, steady_ms)
        return Like(state, age, min(legs, LEGS_MOST), bisect_right(SIZES_E4, edge_e4), series_ticker)

    def miss_ppm(self, like: Like, *, cautious: bool = False) -> int:
        """Return the chance in a million that such a basket misses a leg; cautious: had luck been good."""
        prior = self.latency_ms / (self.latency_ms + TYPICAL_MS[like.age] + SPARE_MS)
        groups = like.of_misses
        mean, (_, trials) = self._mean(groups, prior), self._found.get(groups[-1], (0.0, 0.0))
        luck = sqrt(mean * (1 - mean) / (trials + 2 * WEIGHT)) if cautious else 0.0
        return round(min(1.0, mean + luck) * MILLION)

    def cost_ppm(self, like: Like) -> int:
        """Return the cost of a miss, in millionths of what all legs together earn before fees."""
        return round(self._mean(like.of_costs, PRIOR_COST) * MILLION)

    def expected_e6(self, like: Like, edge: Edge, *, cautious: bool = False) -> int:
        """Return the expected profit of a basket; `edge` is its profit if no leg is missed."""
        missed_e6 = edge.gross_e6 * self.cost_ppm(like) // MILLION
        return edge.whole_e6 - missed_e6 * self.miss_ppm(like, cautious=cautious) // MILLION

    def bears(self, like: Like, edge: Edge) -> bool:
        """Whether such a basket would make a profit even if misses cost twice as much as estimated.

        With little to gain and much to lose, the smallest error of the estimate decides, and buying
        everything that seems to make a profit would buy what is overrated. So the chance of a miss is also
        taken one standard deviation worse than estimated.
        """
        return 2 * self.expected_e6(like, edge, cautious=True) >= edge.whole_e6

    # -- what is bought

    def sent(self, trade: int, event_ticker: str, like: Like, edge: Edge, steady_ms: int) -> None:
        """Note that a basket is sent: from here its own orders tell, and they change what the event shows."""
        self._own[trade] = _Own(like, edge, steady_ms)
        self.over.discard(trade)
        self._unwatch(event_ticker)

    def paid(self, trade: int, came_e6: int) -> None:
        """Note what a fill brought (a sale), or cost (a purchase: negative), including fees."""
        own = self._own.get(trade)
        if own is not None:
            own.came_e6 += came_e6

    def ended(self, trade: int, steady_ms: int, *, missed: bool, over: bool) -> None:
        """Note that an order of a basket has ended, whether it missed something, and was the last."""
        own = self._own.get(trade)
        if own is None or trade in self.over:
            return
        own.missed |= missed
        if not over:
            return
        self.over.add(trade)
        self._count(own.like.of_misses, float(own.missed))
        took_ms = min(max(steady_ms - own.sent_ms, LATENCY_FROM_MS), LATENCY_TO_MS)
        self.latency_ms = (9 * self.latency_ms + took_ms) // 10
        if not own.missed:
            self.drop(trade)

    def came_to(self, trade: int, least_e6: int) -> None:
        """Note that a basket that missed a leg is even; `least_e6` is the least that its rest pays."""
        own = self._own.get(trade)
        self.drop(trade)
        if own is not None:
            self._count_cost(own.like, own.edge, own.came_e6 + least_e6)

    def drop(self, trade: int) -> None:
        """Forget a basket: if a leg settled before it was even, its result is luck."""
        self._own.pop(trade, None)
        self.over.discard(trade)

    # -- what is only watched

    def wants(self, event_ticker: str) -> bool:
        """Whether to watch a basket of this event from now on."""
        return event_ticker not in self._watches and len(self._watches) < WATCHED_MAX

    def watch(
        self, event_ticker: str, legs: Sequence[Wanted], edge: Edge, like: Like, steady_ms: int
    ) -> None:
        """Watch what becomes of a basket that is offered now."""
        self._watches[event_ticker] = _Watch(legs, edge, like, steady_ms, steady_ms + self.latency_ms)
        self.watched.add(event_ticker)

    def _unwatch(self, event_ticker: str) -> None:
        if self._watches.pop(event_ticker, None) is not None and event_ticker not in self._missing:
            self.watched.discard(event_ticker)

    def look(self, view: EventView, scan: ScanLimits, now_ms: int, steady_ms: int, patience_ms: int) -> None:
        """Look at an event that has changed: is a leg gone of the basket watched there, or back?

        Of events that are not in `watched` there is nothing to say.

        Args:
            patience_ms: how long to wait for the legs of a basket that misses some now.
        """
        event_ticker = view.event.event_ticker
        self._wait_for(view, scan, now_ms, steady_ms)
        watch = self._watches.get(event_ticker)
        if watch is None:
            return
        self._stood(event_ticker, watch, steady_ms)
        gone = [at for at, leg in enumerate(watch.legs) if not had(leg, view, scan)]
        if not gone:
            return
        self._unwatch(event_ticker)
        if watch.due_ms is None or steady_ms <= watch.begun_ms:
            return  # it could not have been bought: it was gone before
        self._count(watch.like.of_misses, 1.0)
        if event_ticker not in self._missing:
            until_ms = steady_ms + patience_ms
            self.watched.add(event_ticker)
            self._missing[event_ticker] = _Missing(
                watch.legs, watch.edge, watch.like, gone, steady_ms, until_ms
            )

    def pass_time(self, steady_ms: int) -> None:
        """Count watched baskets that have not changed as hits, and try them again at twice their age."""
        for event_ticker, watch in self._watches.items():
            if watch.due_ms is not None:
                self._stood(event_ticker, watch, steady_ms)
            if watch.due_ms is None and steady_ms >= watch.next_ms:
                state, _, legs, size, series_ticker = watch.like
                watch.like = Like(state, self._age(event_ticker, steady_ms), legs, size, series_ticker)
                watch.begun_ms, watch.due_ms = steady_ms, steady_ms + self.latency_ms

    def forget(self) -> None:
        """Stop watching everything: what is not heard of may have changed."""
        self._watches.clear()
        self._missing.clear()
        self.watched.clear()

    def _wait_for(self, view: EventView, scan: ScanLimits, now_ms: int, steady_ms: int) -> None:
        """Check whether the missing legs can be bought at the price that would be bid for them."""
        event_ticker = view.event.event_ticker
        missing = self._missing.get(event_ticker)
        if missing is None:
            return
        edge, gone = missing.edge, missing.gone
        ends_e6: int | None
        if steady_ms >= missing.until_ms:
            ends_e6 = evened_e6(view, missing.legs, edge.paid_e6, gone, scan, now_ms)
        else:
            first = steady_ms < (missing.since_ms + missing.until_ms) // 2
            ends_e6 = edge.whole_e6 if first else 0
            most_e6 = sum([edge.paid_e6[at] for at in gone]) + edge.whole_e6 - ends_e6
            if offered_e6([missing.legs[at] for at in gone], view, scan, most_e6) is None:
                return
        del self._missing[event_ticker]
        if event_ticker not in self._watches:
            self.watched.discard(event_ticker)
        if ends_e6 is not None:
            self._count_cost(missing.like, edge, ends_e6)

    def _stood(self, event_ticker: str, watch: _Watch, steady_ms: int) -> None:
        if watch.due_ms is None or steady_ms <= watch.due_ms:
            return
        self._count(watch.like.of_misses, 0.0)
        seen = self._seen.get(event_ticker)
        age_ms = 0 if seen is None else watch.due_ms - seen.first_ms
        watch.next_ms = watch.due_ms + age_ms
        watch.due_ms = None

    def _age(self, event_ticker: str, steady_ms: int) -> int:
        seen = self._seen.get(event_ticker)
        return 0 if seen is None else bisect_right(AGES_MS, steady_ms - seen.first_ms)

    # -- what was found

    def _mean(self, groups: Sequence[str], mean: float) -> float:
        for group in groups:
            total, trials = self._found.get(group, (0.0, 0.0))
            mean = (WEIGHT * mean + total) / (WEIGHT + trials)
        return mean

    def _count_cost(self, like: Like, edge: Edge, ends_e6: int) -> None:
        if edge.gross_e6 > 0:
            cost = (edge.whole_e6 - ends_e6) / edge.gross_e6
            self._count(like.of_costs, min(max(cost, COST_LEAST), COST_MOST))

    def _count(self, groups: Sequence[str], found: float) -> None:
        for group in groups:
            total, trials = self._found.pop(group, (0.0, 0.0))
            self._found[group] = total * KEEPS + found, trials * KEEPS + 1
        while len(self._found) > GROUPS_MAX:
            del self._found[next(iter(self._found))]
