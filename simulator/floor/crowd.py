"""The crowd that quotes and trades: prices follow the underlying truth, takers hit and lift."""

from collections.abc import Callable
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Final

from markets.units import PRICE_ONE_E4, format_time
from simulator.matching.book import Change, combined
from simulator.matching.engine import Matching
from simulator.matching.orders import ASK, BID, Side

from .agenda import Agenda
from .halts import Activity, Halts
from .happenings import Herald
from .latent import Combo
from .listed import Listings
from .model import ACTIVE, INITIALIZED, NOTHING_STAYS, Event, Group, Market
from .screen import NO_ASK, NO_BID, Level, Screen, crowds_interest

PLANTED_SIZE_E2: Final = 5_000
"""Least size of a planted quote, to be worth a client's while."""

_ONE_E4: Final = float(PRICE_ONE_E4)
"""A dollar as a float, for what is asked of every market all the time: floats of one kind are quicker."""

_SIZES_MANY: Final = 1024
_SIZES: Final = tuple(
    exp(-0.7 + 0.8 * NormalDist().inv_cdf((i + 0.5) / _SIZES_MANY)) for i in range(_SIZES_MANY)
)
"""A quote's size is one of these, drawn at random, times the usual size: log-normal."""

_PRICED_MS: Final = 6_000
"""How often, at least, all markets of a match in play are repriced, all at one moment."""

_BURST_EVERY_S: Final = 60.0
"""Mean time between moments in which one market goes wild: up to thousands of frames within a second."""


class Crowd:
    """Moves the truth of every group, and keeps quotes and trades around it.

    Args:
        close: closes an event that its truth has decided (a combo).
        matching: trades with users' orders.
    """

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        activity: Activity,
        halts: Halts,
        listings: Listings,
        herald: Herald,
        screen: Screen,
        matching: Matching,
        close: Callable[[Event, int], None],
    ) -> None:
        self._agenda = agenda
        self._rng = rng
        self._activity = activity
        self._halts = halts
        self._listings = listings
        self._herald = herald
        self._screen = screen
        self._matching = matching
        self._close = close

    def advance_latent(self, group: Group, time_ms: int) -> bool:
        passed_ms = time_ms - group.updated_ms
        group.updated_ms = time_ms
        return group.latent.advance(passed_ms / 1000 if passed_ms > 0 else 0.0, self._rng)

    def plan_tick(self, group: Group, time_ms: int) -> None:
        """Plan the next move of a group, replacing one planned before."""
        group.tick = tick = group.tick + 1
        mean_s, pace = 1.5 if group.in_play else group.interval_s, self._activity.pace
        if pace < 1e-6:
            pace = 1e-6
        wait_ms = 1 + int(1000.0 * mean_s * -log(1.0 - self._rng.random()) / pace)
        self._agenda.at(time_ms + wait_ms, self._tick, (group, tick))

    def _tick(self, planned: tuple[Group, int], time_ms: int) -> None:
        """Let a group's truth move and its quotes follow."""
        group, tick = planned
        if tick != group.tick:
            return
        trading = self._halts.trading
        live: list[Event] = []
        for event in group.events:
            if event.status == ACTIVE and event.shard in trading:
                live.append(event)  # noqa: PERF401 (of one to three, a comprehension takes longer)
        if not live:
            if any(event.status in (INITIALIZED, ACTIVE) for event in group.events):
                self.plan_tick(group, time_ms)
            return
        self.plan_tick(group, time_ms)
        happened = self.advance_latent(group, time_ms)
        if happened and isinstance(group.latent, Combo):
            live[0].close_ms = time_ms
            live[0].values["close"] = format_time(time_ms)
            self._close(live[0], time_ms)
            return
        if group.pulled:
            return
        # While nothing is scored, the rest of a match changes little in seconds.
        if happened or not group.in_play or time_ms - group.priced_ms >= _PRICED_MS:
            group.priced_ms = time_ms
            for event in live:
                self.reprice(event, time_ms)
        chance = self._rng.random
        markets = live[int(chance() * len(live))].markets
        market = markets[int(chance() * len(markets))]
        if market.paused or market.fair_shift_e4:
            return
        if chance() < self._activity.trade_share and market.bid_e2 and market.ask_e2:
            self._trade(market, time_ms)
        else:
            self._requote(market, time_ms)
        if chance() < 0.5:
            self._flicker(market, time_ms)

    def _flicker(self, market: Market, time_ms: int) -> None:
        """Change a level behind the best, if anybody has ever looked at the book."""
        depth = market.depth
        if depth is not None:
            changes: list[Change] = []
            depth.flicker(market.grid, market.size_e2, changes if self._herald.detailed else None)
            self._herald.deepened(market, changes, time_ms)

    def burst(self, _subject: None, time_ms: int) -> None:
        """Let one lively market go wild for about a second; one time in six as wild as ever recorded."""
        rng = self._rng
        self._agenda.at(time_ms + 1_000 + int(1000 * rng.expovariate(1 / _BURST_EVERY_S)), self.burst, None)
        if not self._activity.bursts or not self._activity.pace:
            return
        for _ in range(100):
            group = self._listings.groups[rng.randrange(len(self._listings.groups))]
            live = [m for m in group.events[0].markets if m.status == ACTIVE and m.bid_e2 and m.ask_e2]
            if live and (group.in_play or group.kind == "updown"):
                market = live[rng.randrange(len(live))]
                until_ms = time_ms + 300 + rng.randrange(1_200)
                mean_ms = 0.6 if rng.random() < 1 / 6 else 8.0
                self._flurry((market, float(time_ms), until_ms, mean_ms), time_ms)
                return

    def _flurry(self, wild: tuple[Market, float, int, float], time_ms: int) -> None:
        """Requote a wild market, and do it again soon. Arguments: market, exact time, end, mean wait."""
        market, at_ms, until_ms, mean_ms = wild
        if market.status == ACTIVE and not market.event.group.pulled and self.trades(market):
            self.requote(market, time_ms)
            self._flicker(market, time_ms)
            at_ms += mean_ms * -log(1 - self._rng.random())
            if at_ms < until_ms:
                self._agenda.at(int(at_ms), self._flurry, (market, at_ms, until_ms, mean_ms))

    def reprice(self, event: Event, time_ms: int) -> None:
        """Move every quote that would give money away, or stands too far off, back around the truth."""
        markets = event.markets
        for market, p in zip(markets, event.group.latent.probabilities(markets), strict=True):
            market.p = p
            if market.stays_from <= p * _ONE_E4 <= market.stays_to:
                continue  # the usual case: nothing to correct
            if market.fair_shift_e4:
                continue  # what was planted stays until it is over
            fair = p * _ONE_E4
            market.stays_from, market.stays_to = least, highest = _stays(market)
            if least <= fair <= highest:
                continue
            if market.bid_e2 and market.bid_e4 > fair:
                self._informed(market, ASK, time_ms)
            elif market.ask_e2 and market.ask_e4 < fair:
                self._informed(market, BID, time_ms)
            bid_e4, bid_e2, ask_e4, ask_e2 = self._quote(market)
            if (
                not (bid_e2 or ask_e2)  # it should have been requoted during a pause
                or (bid_e2 and bid_e4 > fair)
                or (ask_e2 and ask_e4 < fair)
                or (bid_e2 and fair - bid_e4 > 2 * market.half_e4 + 250 and self._rng.random() < 0.5)
            ):
                self.requote(market, time_ms)

    def quote_all(self, event: Event, time_ms: int) -> None:
        markets = event.markets
        for market, p in zip(markets, event.group.latent.probabilities(markets), strict=True):
            market.p = p
            self.requote(market, time_ms)

    def _size(self, market: Market) -> int:
        draw = self._rng.random() * _SIZES_MANY
        index = int(draw)
        size = int(market.size_e2 * _SIZES[index])
        if draw - index >= 0.25:
            size -= size % 100
        least = PLANTED_SIZE_E2 if market.fair_shift_e4 else 100
        if size < least:
            size = least
        return size

    def requote(self, market: Market, time_ms: int) -> None:
        """Requote a market: bid <= truth <= ask on its grid, its usual spread, fresh sizes.

        Not during a pause, when nothing may trade; `reprice` does it afterwards.
        """
        if not market.paused and market.event.shard in self._halts.trading:
            self._requote(market, time_ms)

    def _requote(self, market: Market, time_ms: int) -> None:
        """The same, where there is trading."""
        grid, planted, chance = market.grid, market.fair_shift_e4, self._rng.random
        fair = market.p * _ONE_E4 + planted
        half = 0.0 if planted else market.half_e4 * (0.7 + 0.6 * chance())
        bid, ask = grid.around(fair - half, fair + half)
        if bid == ask and bid is not None:
            if planted < 0:
                bid = grid.below(bid)  # what is planted too cheaply keeps its ask
            else:
                ask = grid.above(bid)
        old_bid_e4, old_bid_e2, old_ask_e4, old_ask_e2 = self._quote(market)
        if bid is None:
            bid, bid_e2 = NO_BID
        elif bid == old_bid_e4 and old_bid_e2 and not planted and chance() < 0.5:
            bid_e2 = old_bid_e2
        else:
            bid_e2 = self._size(market)
        if ask is None:
            ask, ask_e2 = NO_ASK
        elif ask == old_ask_e4 and old_ask_e2 and not planted and chance() < 0.5:
            ask_e2 = old_ask_e2
        else:
            ask_e2 = self._size(market)
        if bid_e2 != old_bid_e2 or ask_e2 != old_ask_e2 or bid != old_bid_e4 or ask != old_ask_e4:
            self._set_quote(market, (bid, bid_e2), (ask, ask_e2), time_ms)

    def _quote(self, market: Market) -> tuple[int, int, int, int]:
        """Return the crowd's own best YES bid and ask: bid_e4, bid_e2, ask_e4, ask_e2.

        These are what is shown, less users' orders.
        """
        depth = market.depth
        if depth is None or not (depth.yes.orders or depth.no.orders):
            return market.bid_e4, market.bid_e2, market.ask_e4, market.ask_e2
        bid, ask = depth.quote()
        return *bid, *ask

    def set_quote(self, market: Market, bid: Level, ask: Level, time_ms: int) -> None:
        """Set the crowd's best bid and ask; a count of 0 empties the side. It trades with what it crosses."""
        if self._quote(market) != (*bid, *ask):
            self._set_quote(market, bid, ask, time_ms)

    def _set_quote(self, market: Market, bid: Level, ask: Level, time_ms: int) -> None:
        """The same, if they are not what the crowd quotes already."""
        depth = market.depth
        if depth is None:
            self._screen.show(market, bid, ask, [], time_ms)
            return
        has_orders = depth.yes.orders or depth.no.orders
        if not has_orders and not self._herald.detailed:
            if depth.follow(market.grid, bid, ask, market.size_e2):
                self._screen.show(market, bid, ask, [], time_ms)
            return
        changes: list[Change] = []
        depth.follow(market.grid, bid, ask, market.size_e2, changes)
        if has_orders:
            self._matching.follow(market, changes, time_ms)
        elif changes := combined(changes):
            self._screen.show(market, bid, ask, changes, time_ms)

    def trades(self, market: Market) -> bool:
        """Whether a market, its shard, and the exchange trade: none of them is paused."""
        return not market.paused and market.event.shard in self._halts.trading

    def correct(self, market: Market, time_ms: int) -> None:
        """Quote a mispriced market at its true price again."""
        market.fair_shift_e4 = 0
        if market.status == ACTIVE and not market.event.group.pulled:
            self.requote(market, time_ms)

    def hit(self, market: Market, side: Side, part: float, time_ms: int) -> int:
        """Let somebody take a share, 0..1, of the best level; return how much (count_e2)."""
        size = market.ask_e2 if side == BID else market.bid_e2
        count = max(1, int(size * part)) if size else 0
        if count:
            self._take(market, side, count, time_ms)
        return count

    def _informed(self, market: Market, side: Side, time_ms: int) -> None:
        """Now and then, let somebody who knows the truth take a quote that the truth has passed."""
        activity = self._activity
        if activity.pace and self.trades(market) and self._rng.random() < activity.informed_share:
            self.hit(market, side, self._rng.random(), time_ms)

    def _trade(self, market: Market, time_ms: int) -> None:
        """Let a taker hit the best bid or lift the best ask."""
        rng = self._rng
        buys_yes = rng.random() < 0.5
        size = market.ask_e2 if buys_yes else market.bid_e2
        usual = market.size_e2 / 20
        if usual < 1500:
            usual = 1500
        count = int(rng.expovariate(1 / usual))
        if count > size:
            count = size
        least = 1
        if rng.random() < 0.8:
            count -= count % 100
            least = 100
        if count < least:
            count = min(size, least)
        self._take(market, BID if buys_yes else ASK, count, time_ms)

    def _take(self, market: Market, side: Side, count: int, time_ms: int) -> None:
        """Let the crowd take `count` of the best level of the side that faces `side`."""
        rng = self._rng
        buys_yes = side == BID
        price, size = (market.ask_e4, market.ask_e2) if buys_yes else (market.bid_e4, market.bid_e2)
        depth = market.depth
        if depth is not None and (depth.yes.orders or depth.no.orders):
            self._matching.take(market, side, price, count, time_ms)
            return
        digits, opened = rng.getrandbits(128).to_bytes(16).hex(), rng.random() < 0.6
        trade_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        change_e2 = crowds_interest(market, count, opened)
        taker = "yes" if buys_yes else "no"
        self._screen.print_trade(market, trade_id, price, count, taker, change_e2, time_ms)
        left = price, size - count
        if count == size:
            worse = market.grid.above(price) if buys_yes else market.grid.below(price)
            left = (worse, self._size(market)) if worse else NO_ASK if buys_yes else NO_BID
        if buys_yes:
            self._set_quote(market, (market.bid_e4, market.bid_e2), left, time_ms)
        else:
            self._set_quote(market, left, (market.ask_e4, market.ask_e2), time_ms)


def _stays(market: Market) -> tuple[float, float]:
    """Return the least and highest truth, in $0.0001, that asks for no other quote than a market has.

    As floats: a truth, which is one, is compared with them far more often than they are found.
    """
    ask = float(market.ask_e4)
    if market.bid_e2:
        bid = float(market.bid_e4)
        highest = bid + 2 * market.half_e4 + 250
        return bid, ask if market.ask_e2 and ask < highest else highest
    return (0.0, ask) if market.ask_e2 else NOTHING_STAYS
