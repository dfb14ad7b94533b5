"""Strategy ``maker``: quotes around a market's worth. It earns the spread, or loses to the better informed.

It quotes both sides of a few markets with orders that may only rest. Its prices follow from the middle of
others' bid and ask, or from a published fair value of an accepted source; its inventory moves both quotes
away from more of the same. It pulls its quotes before a start or a close, when the data is in doubt or old,
and where others leave it no room. What it holds when a match starts, it keeps until settlement.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from markets.book import NO, YES, above, at_or_below
from markets.opportunities import EventView, MarketView
from markets.opportunities.legs import expected_payout_ms, top
from markets.orders import AmendWanted, AnyWanted, CancelWanted, Intent, Proposal, Wanted
from markets.records import Event, Status
from markets.timing import is_open
from markets.units import COUNT_ONE_E2
from trader.engine.quoting import OwnBids, fair_e6, others, own_bids
from trader.extensions.params import Parameters

from .strategy import Quiet, Update

MINUTE_MS: Final = 60_000
TURNS: Final = 6
"""How many first orders of an event may be refused before it is left alone for a while."""

RESTS_MS: Final = 600_000
"""How long an event that could not be quoted is not asked for again."""


class Maker(Quiet):
    """Quotes both sides of up to `markets` markets. It is off unless it is named."""

    name = "maker"
    only_tradable = True

    class Params(Parameters, frozen=True, kw_only=True):
        """Prices are in 1/100 cent, counts in whole contracts.

        `series`: where it quotes; if empty, anywhere. `events`: how many it asks for at once.
        `edge_e4`: how far below a market's worth it bids, at least. `spread_e4`: the least spread of others
        in which it quotes. `skew_e4`: how far a full inventory moves both quotes. `reprice_e4`: how far off a
        quote may be before it is moved, since moving costs its place in the queue. `improves`: whether it
        bids a tick more than others. `within_hours`: events expected to pay out later are left alone.
        """

        series: tuple[str, ...] = ()
        events: int = 20
        markets: int = 10
        contracts: int = 10
        inventory: int = 50
        edge_e4: int = 100
        spread_e4: int = 300
        skew_e4: int = 200
        reprice_e4: int = 100
        improves: bool = False
        fair: Literal["middle", "values"] = "middle"
        within_hours: float = 24.0
        before_start_s: float = 300.0
        before_close_s: float = 600.0
        life_s: float = 600.0
        stale_s: float = 30.0
        per_minute: int = 60

        def __post_init__(self) -> None:
            for name, least, most in (
                ("events", 1, 1_000),
                ("markets", 1, 1_000),
                ("contracts", 1, 100_000),
                ("inventory", 1, 1_000_000),
                ("edge_e4", 0, 5_000),
                ("spread_e4", 0, 9_999),
                ("skew_e4", 0, 5_000),
                ("reprice_e4", 0, 5_000),
                ("within_hours", 0, 100_000),
                ("before_start_s", 0, 86_400),
                ("before_close_s", 0, 86_400),
                ("life_s", 1, 86_400),
                ("stale_s", 1, 86_400),
                ("per_minute", 1, 100_000),
            ):
                value = getattr(self, name)
                if not least <= value <= most:
                    raise ValueError(f"{name}: got {value}, expected {least} to {most}")

    params: Params

    def __init__(self, params: Params | None = None) -> None:
        super().__init__(params)
        self._asked_for: set[str] = set()
        self._resting_ms: dict[str, int] = {}
        self._now_ms = 0
        self._active: dict[str, frozenset[str]] = {}
        self._seen: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._sent_ms: deque[int] = deque()
        self._turns: dict[str, int] = {}

    def wants(self, event: Event) -> bool:
        """Ask for a few events. This is outside the log, so no decision may depend on it."""
        params, ticker = self.params, event.event_ticker
        if params.series and event.series_ticker not in params.series:
            return False
        if ticker in self._asked_for:
            return True
        if len(self._asked_for) >= params.events or self._resting_ms.get(ticker, 0) > self._now_ms:
            return False
        self._asked_for.add(ticker)
        return True

    def on_timer(self, now_ms: int) -> Sequence[AnyWanted]:
        """Cancel orders that rest in events not heard of for too long."""
        self._now_ms = now_ms
        wanted: list[AnyWanted] = []
        for event_ticker, (seen_ms, numbers) in list(self._seen.items()):
            if now_ms - seen_ms > self.params.stale_s * 1000:
                del self._seen[event_ticker]
                wanted += [CancelWanted(self.name, event_ticker, number) for number in numbers]
        return wanted

    def on_update(self, update: Update) -> Sequence[AnyWanted]:
        self._now_ms = update.now_ms
        event_ticker = update.view.event.event_ticker
        wanted: list[AnyWanted] = []
        new: list[Wanted] = []
        active: set[str] = set()
        quotable = self._may_quote(update)
        for seen in update.view.markets:
            ticker = seen.market.ticker
            orders = [order for order in update.orders if order.ticker == ticker]
            held = any(lot.ticker == ticker for lot in update.lots)
            targets: dict[str, tuple[int, int]] = {}
            if quotable and (orders or held or self._has_room(event_ticker, len(active))):
                targets = self._targets(seen, update)
            if orders or held or targets:
                active.add(ticker)
            wanted += self._pursue(orders, targets, update)
            for side, (price_e4, contracts) in targets.items():
                new.append(Wanted(ticker, side, price_e4, contracts * COUNT_ONE_E2))
        wanted += self._place(new, update)
        self._active[event_ticker] = frozenset(active)
        if not active:
            del self._active[event_ticker]
            self._turns.pop(event_ticker, None)
            self._rest(event_ticker, update.now_ms)
        numbers = tuple(order.number for order in update.orders)
        if numbers:
            self._seen[event_ticker] = update.now_ms, numbers
        else:
            self._seen.pop(event_ticker, None)
        return wanted

    def _rest(self, event_ticker: str, now_ms: int) -> None:
        """Give the place of an event in which nothing is quoted to another."""
        self._asked_for.discard(event_ticker)
        self._resting_ms = {ticker: ms for ticker, ms in self._resting_ms.items() if ms > now_ms}
        self._resting_ms[event_ticker] = now_ms + RESTS_MS

    def _has_room(self, event_ticker: str, here: int) -> bool:
        elsewhere = sum(len(markets) for event, markets in self._active.items() if event != event_ticker)
        return elsewhere + here < self.params.markets

    def _may_quote(self, update: Update) -> bool:
        timing, params, now_ms = update.view.timing, self.params, update.now_ms
        series = update.view.event.series_ticker
        if timing.in_play or (params.series and series not in params.series):
            return False
        if timing.start_ms is not None and now_ms >= timing.start_ms - params.before_start_s * 1000:
            return False
        if self._turns.get(update.view.event.event_ticker, 0) >= TURNS:
            return False  # risk does not want it
        ends_ms = expected_payout_ms(update.view, now_ms)
        if timing.close_ms is None or ends_ms is None or ends_ms - now_ms > params.within_hours * 3_600_000:
            return False
        return now_ms < timing.close_ms - params.before_close_s * 1000

    # -- where to quote

    def _targets(self, seen: MarketView, update: Update) -> dict[str, tuple[int, int]]:
        """Return price and number of contracts for each side to bid for."""
        params, market = self.params, seen.market
        if not self._is_sound(seen, update.now_ms):
            return {}
        own = own_bids(update.orders, update.filled, market.ticker)
        best = others(seen, own)
        fair = self._fair_e6(seen, own, update)
        if best.yes_bid is None or best.yes_ask is None or fair is None:
            return {}
        if best.yes_ask[0] - best.yes_bid[0] < params.spread_e4:
            return {}
        inventory_e2 = sum(lot.signed_e2 for lot in update.lots if lot.ticker == market.ticker)
        most_e2 = params.inventory * COUNT_ONE_E2
        skew_e4 = params.skew_e4 * inventory_e2 // most_e2
        targets = {}
        for side, worth_e4, sign in (
            (YES, fair // 100 - skew_e4, 1),
            (NO, 10_000 - -(-fair // 100) + skew_e4, -1),
        ):
            bid, ask = best.bid(side), best.ask(side)
            if bid is None or ask is None or sign * inventory_e2 + params.contracts * COUNT_ONE_E2 > most_e2:
                continue
            price_e4 = self._price(bid[0], ask[0], worth_e4, market.price_ranges)
            if price_e4 is not None:
                targets[side] = price_e4, params.contracts
        return targets

    def _price(
        self, bid_e4: int, ask_e4: int, worth_e4: int, grid: Sequence[tuple[int, int, int]]
    ) -> int | None:
        """Return what to bid: as much as others or a tick more, but never too near its worth."""
        joined = (above(bid_e4, grid) or bid_e4) if self.params.improves else bid_e4
        price_e4 = at_or_below(min(joined, worth_e4 - self.params.edge_e4, ask_e4 - 1), grid)
        return None if price_e4 is None or price_e4 >= ask_e4 else price_e4

    def _fair_e6(self, seen: MarketView, own: OwnBids, update: Update) -> int | None:
        value = update.fair_values.get(seen.market.ticker)
        if self.params.fair == "values":
            accepted = update.accepted
            if value is None or value.source not in accepted:
                return None
            return fair_e6(seen, own, value, accepted, update.now_ms - 3_600_000)
        return fair_e6(seen, own, None, (), 0)

    def _is_sound(self, seen: MarketView, now_ms: int) -> bool:
        if seen.suspect or top(seen).crossed or seen.quote.status is not Status.ACTIVE:
            return False
        newest_ms = max(seen.quote_as_of_ms, seen.book_as_of_ms or 0)
        return is_open(seen.market, now_ms) and now_ms - newest_ms <= self.params.stale_s * 1000

    # -- from the resting orders to the wanted ones

    def _pursue(
        self, orders: Sequence[Intent], targets: dict[str, tuple[int, int]], update: Update
    ) -> Iterator[AnyWanted]:
        """Move or cancel what rests in a market; leave in `targets` what is still to be placed."""
        event_ticker = update.view.event.event_ticker
        for order in orders:
            target = targets.pop(order.side, None)
            if order.number in update.asked:
                continue  # wait for the answer
            if target is None:
                yield CancelWanted(self.name, event_ticker, order.number)
            elif self._is_off(order, target) and self._may_send(update.now_ms):
                got_e2 = update.filled.get(order.number, 0)
                count_e2 = (-(-got_e2 // COUNT_ONE_E2) + target[1]) * COUNT_ONE_E2
                yield AmendWanted(self.name, event_ticker, order.number, target[0], count_e2)

    def _place(self, new: Sequence[Wanted], update: Update) -> Iterator[Proposal]:
        """Propose missing quotes. An event's first order makes its trade; the others join that later.

        If several could be the first, they take turns, since risk may refuse one and not another.
        """
        event_ticker = update.view.event.event_ticker
        trades = [lot.trade for lot in update.lots] + [order.trade for order in update.orders]
        trade = min(trades, default=None)
        if trade is not None:
            self._turns.pop(event_ticker, None)
        elif new:
            turn = self._turns.get(event_ticker, 0)
            self._turns[event_ticker] = turn + 1
            new = (new[turn % len(new)],)
        for wanted in new:
            if not self._may_send(update.now_ms):
                return
            yield Proposal(
                self.name,
                event_ticker,
                (wanted,),
                0,
                None,
                time_in_force="gtc",
                expires_ms=self._ends_ms(update.view, update.now_ms),
                post_only=True,
                joins=trade,
            )

    def _is_off(self, order: Intent, target: tuple[int, int]) -> bool:
        """Whether a quote is too far from where it should be; for one too high, half as far is enough."""
        off_e4 = target[0] - order.price_e4
        return off_e4 >= max(1, self.params.reprice_e4) or -off_e4 > self.params.reprice_e4 // 2

    def _may_send(self, now_ms: int) -> bool:
        sent = self._sent_ms
        while sent and sent[0] <= now_ms - MINUTE_MS:
            sent.popleft()
        if len(sent) >= self.params.per_minute:
            return False
        sent.append(now_ms)
        return True

    def _ends_ms(self, view: EventView, now_ms: int) -> int:
        params, timing = self.params, view.timing
        ends = [now_ms + params.life_s * 1000]
        if timing.start_ms is not None:
            ends.append(timing.start_ms - params.before_start_s * 1000)
        if timing.close_ms is not None:
            ends.append(timing.close_ms - params.before_close_s * 1000)
        return int(min(ends))
