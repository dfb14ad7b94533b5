"""What a simulated trader promised, what was true, and what it got, recorded as it happens.

The truth is the exchange's latent probability at that moment. The trader sees none of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bus.scan.rescan import Rescan
from laboratory.memory_journal import MemoryJournal
from markets.json.read import decode_event, decode_market
from markets.opportunities import EventView, Opportunity, ScanLimits, consensus_values
from markets.opportunities.exhaustive import exhaustiveness
from markets.opportunities.reasons import TWO_EVENTS
from markets.orders import Fill, Intent, Settlement
from markets.records import FairValue
from markets.units import PRICE_ONE_E4
from simulator.floor.exchange import Exchange
from simulator.floor.mispricing import BASKETS, Mispricing
from simulator.floor.model import Event, Market
from simulator.front.render import event_json, market_json
from simulator.matching.orders import BID
from trader.engine.outputs import AnyOutput, Dropped

FOUND_MS: Final = 1_000
"""A plant that lives for at least this long should be found within this time if its books are kept."""

SWEPT_MS: Final = 13_000
"""Within this time otherwise: a sweep and a step."""

LEFT_MS: Final = 15_000
"""How long after its end a plant may still be in what a trader sees."""

EPISODES_MAX: Final = 60_000


class Side(msgspec.Struct):
    """A trade's part in one market: contracts bought of YES and of NO, and how many were planned."""

    yes_e2: int = 0
    no_e2: int = 0
    planned_e2: int = 0

    def payout_e6(self, yes_e4: float) -> float:
        """Return its payout if YES is worth `yes_e4`."""
        return self.yes_e2 * yes_e4 + self.no_e2 * (PRICE_ONE_E4 - yes_e4)


class Trade(msgspec.Struct):
    """One decision of a strategy and everything that came of it; money in 1/1,000,000 dollar.

    Attributes:
        planted: what was planted in its event.
        true_e6: expected payout of its fills, each at its moment, less cost and fees.
        open: orders that have not ended. attempts: how often it was evened out.
        first: what its first orders got: "even", "missed" (a leg was missed) or "nothing".
        values: those of its settled markets. odd: one was settled without a single winner.
        locked_e6: its least payout if it is not settled at the end of the run.
        truth_e6: its true worth then.
    """

    number: int
    strategy: str
    kind: str
    event_ticker: str
    group: str
    planted: str
    promised_e6: int
    at_ms: int
    sides: dict[str, Side] = {}
    cost_e6: int = 0
    fees_e6: int = 0
    true_e6: float = 0.0
    open: int = 0
    attempts: int = 0
    first: str = ""
    values: dict[str, int] = {}
    odd: bool = False
    locked_e6: float = 0.0
    truth_e6: float = 0.0

    @property
    def filled(self) -> bool:
        return self.cost_e6 > 0

    @property
    def settled(self) -> bool:
        """Whether everything it holds has been paid out."""
        return self.filled and all(
            ticker in self.values for ticker, side in self.sides.items() if side.yes_e2 != side.no_e2
        )

    @property
    def realised_e6(self) -> float:
        """Its result, once settled."""
        # If a side was sold, the value makes no difference.
        paid = sum(side.payout_e6(self.values.get(ticker, 0)) for ticker, side in self.sides.items())
        return paid - self.cost_e6 - self.fees_e6

    @property
    def sure_e6(self) -> float:
        """Its result, or its least certain result; if it is uneven, its true worth."""
        if self.settled:
            return self.realised_e6
        return (self.locked_e6 if self.even else self.truth_e6) - self.cost_e6 - self.fees_e6

    @property
    def even(self) -> bool:
        """Whether it holds equally much of each leg."""
        nets = {abs(side.yes_e2 - side.no_e2) for side in self.sides.values()}
        return len(nets) == 1


class Plant(msgspec.Struct):
    """One planted mispricing, and when it was seen as tradable; for an implication, when a page showed it.

    `evident`: the exchange's data on the event proves that all legs together are certain to pay.
    """

    kind: str
    group: str
    legs: dict[str, str]
    event_ticker: str
    from_ms: int
    edge_e4: int
    tick_e4: int
    booked: bool
    gone_ms: int | None = None
    found_ms: int | None = None
    same_ms: int | None = None
    right: bool = False
    traded: bool = False
    evident: bool = True


class Episode(msgspec.Struct):
    """A tradable candidate as it first appeared: what it promised for its size and was truly worth."""

    kind: str
    planted: str
    event_ticker: str
    legs: tuple[tuple[str, str, int], ...]
    cost_e6: int
    promised_e6: int
    void_e6: int | None
    true_e6: float
    paid_e6: float | None = None
    void: bool = False


class Mark(msgspec.Struct):
    """The account's worth at one moment; profit in micro-dollars."""

    at_ms: int
    shown_e6: int
    expected_e6: int
    bid_e6: float
    floor_e6: float
    mid_e6: float
    true_e6: float
    stake_e6: int


class Belief(msgspec.Struct):
    """A consensus value, and the truth at its moment."""

    group: str
    ticker: str
    planted: bool
    fair: float
    truth: float
    margin: float


class Result(msgspec.Struct):
    """Everything that a run recorded."""

    seed: int
    hours: float
    rivals: bool
    start_ms: int = 0
    cpu_s: float = 0.0
    trades: list[Trade] = []
    plants: list[Plant] = []
    episodes: list[Episode] = []
    rows: dict[str, list[float]] = {}
    marks: list[Mark] = []
    beliefs: dict[str, list[float]] = {}
    refused: dict[str, int] = {}
    orders: int = 0
    looks: int = 0
    dips_bid: int = 0
    dips_locked: int = 0
    deepest_bid_e6: float = 0.0
    deepest_locked_e6: float = 0.0
    breaches: list[str] = []
    dropped: list[str] = []
    failures: list[str] = []


class Watching(Rescan):
    """A rescan that reports what it finds to the record."""

    def __init__(self, limits: ScanLimits, before: Rescan, recorder: "Recorder") -> None:
        super().__init__(limits, before.wants)
        self._recorder = recorder

    def candidates(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int
    ) -> list[Opportunity]:
        found = super().candidates(view, fair_values, now_ms)
        self._recorder.scanned(view, found)
        return found


class Recorder(MemoryJournal):
    """The trader's journal, which records what was true beside what was decided.

    Attributes:
        now_ms: set by the caller.
    """

    def __init__(self, exchange: Exchange, start_e6: int, result: Result) -> None:
        super().__init__(start_e6)
        self.exchange = exchange
        self.result = result
        self.now_ms = exchange.now_ms
        self.followed: set[str] = set()
        self.tradable: dict[str, list[Opportunity]] = {}
        self.trades: dict[int, Trade] = {}
        self.holding: dict[int, Trade] = {}
        self.mids: dict[str, float] = {}
        self.bids: dict[tuple[str, str], int] = {}
        self._live: list[tuple[Plant, Mispricing]] = []
        self._by_ticker: dict[str, Plant] = {}
        self._episodes: dict[str, dict[str, Episode]] = {}
        self._unpaid: dict[str, list[Episode]] = defaultdict(list)
        self._beliefs: dict[str, list[Belief]] = defaultdict(list)
        self._seen_rows: set[tuple[str, int]] = set()
        self._held: set[str] = set()
        self._done_e6 = 0.0
        exchange.planter.followers.append(self.planted)
        exchange.listeners.append(self)

    # -- the exchange

    def quoted(self, market: Market, changes: object, time_ms: int) -> None:
        """Note the bids of held markets."""
        if market.ticker in self._held:
            self._remember(market)

    def deepened(self, market: Market, changes: object, time_ms: int) -> None: ...

    def emptied(self, market: Market, time_ms: int) -> None: ...

    def traded(self, trade: object) -> None: ...

    def announced(
        self, event_type: str, subject: Market | Event, fields: Mapping[str, object], time_ms: int
    ) -> None:
        """Note the outcome of a market."""
        if event_type != "settled" or isinstance(subject, Event) or subject.value_e4 is None:
            return
        self._settle_beliefs(subject)
        self._settle_episodes(subject.event)

    def planted(self, planted: Mispricing, time_ms: int) -> None:
        """Record what has just been planted."""
        markets = [self.exchange.markets[ticker] for ticker in planted.tickers]
        ticks = []
        for market in markets:
            price = market.grid.at_or_below(market.p * PRICE_ONE_E4) or market.grid.prices[0]
            ticks.append((market.grid.above(price) or price + 100) - price)
        plant = Plant(
            kind=planted.kind,
            group=markets[0].event.group.kind,
            legs={
                ticker: "yes" if side == BID else "no"
                for ticker, side in zip(planted.tickers, planted.sides, strict=True)
            },
            event_ticker=planted.event_ticker,
            from_ms=time_ms,
            edge_e4=planted.edge_e4,
            tick_e4=max(ticks),
            booked=self.followed.issuperset(planted.tickers),
            evident=planted.kind != "yes_basket" or said_to_be_complete(markets[0].event, time_ms),
        )
        self.result.plants.append(plant)
        self._live.append((plant, planted))
        self._by_ticker.update(dict.fromkeys(planted.tickers, plant))

    def look_at_plants(self) -> None:
        """Note which plants are no longer available, and drop those that have ended."""
        left: list[tuple[Plant, Mispricing]] = []
        for plant, planted in self._live:
            if plant.gone_ms is None and not self.exchange.planter.stands(planted, self.now_ms):
                plant.gone_ms = self.now_ms
            if self.now_ms < planted.until_ms + LEFT_MS:
                left.append((plant, planted))
                continue
            for ticker in plant.legs:
                if self._by_ticker.get(ticker) is plant:
                    del self._by_ticker[ticker]
        self._live = left

    def implied(self) -> list[str]:
        """Return the events of implications that are available and not seen yet."""
        return [
            plant.event_ticker
            for plant, _ in self._live
            if plant.kind == "implication" and plant.gone_ms is None and plant.found_ms is None
        ]

    def shown(self, found: Sequence[Opportunity]) -> None:
        """Record what a page shows for an event and the others of its match."""
        for offered in found:
            if offered.kind == "implication" and set(offered.reasons) <= {TWO_EVENTS}:
                _, plant, own = self._planted_in([(leg.ticker, leg.side) for leg in offered.legs])
                if plant is not None and own and plant.kind == "implication":
                    plant.found_ms = plant.found_ms or self.now_ms
                    plant.same_ms = plant.same_ms or self.now_ms

    def _planted_in(self, tickers: Sequence[tuple[str, str]]) -> tuple[str, Plant | None, bool]:
        """Return what is planted in the event of these legs, and whether they are its own legs."""
        markets, best = self.exchange.markets, None
        for ticker, side in tickers:
            plant = self._by_ticker.get(ticker)
            if plant is not None:
                if plant.legs[ticker] == side:
                    return plant.kind, plant, True
                best = plant
        if best is None and tickers and tickers[0][0] in markets:
            for market in markets[tickers[0][0]].event.markets:
                best = best or self._by_ticker.get(market.ticker)
        return (best.kind if best else "nothing"), best, False

    # -- the trader's scans

    def scanned(self, view: EventView, found: Sequence[Opportunity]) -> None:
        """Record the candidates of an event as the trader sees them."""
        event_ticker = view.event.event_ticker
        tradable = [offered for offered in found if offered.tradable]
        before = self._episodes.get(event_ticker)
        if not tradable:
            if before:
                del self._episodes[event_ticker]
                self.tradable.pop(event_ticker, None)
            return
        self.tradable[event_ticker] = tradable
        now: dict[str, Episode] = {}
        for offered in tradable:
            legs = [(leg.ticker, leg.side) for leg in offered.legs]
            kind, plant, own = self._planted_in(legs)
            if plant is not None:
                plant.found_ms = plant.found_ms or self.now_ms
                if offered.kind == plant.kind or (plant.kind in BASKETS and offered.kind in BASKETS):
                    plant.same_ms = plant.same_ms or self.now_ms
                plant.right = plant.right or own
            episode = (before or {}).get(offered.key)
            now[offered.key] = episode or self._episode(offered, kind)
        self._episodes[event_ticker] = now

    def true_e6(self, offered: Opportunity) -> float:
        """Return a candidate's true worth: expected payout less cost and fees."""
        worth = sum(leg.count_e2 * self.truth_e4(leg.ticker, leg.side) for leg in offered.legs)
        return worth - sum(leg.cost_e6 + (leg.fee_e6 or 0) for leg in offered.legs)

    def truth_e4(self, ticker: str, side: str) -> float:
        """Return a contract's present true worth."""
        market = self.exchange.markets.get(ticker)
        if market is None:
            return 0.0
        yes = market.p * PRICE_ONE_E4
        return yes if side == "yes" else PRICE_ONE_E4 - yes

    def _episode(self, offered: Opportunity, planted: str) -> Episode:
        episode = Episode(
            kind=offered.kind,
            planted=planted,
            event_ticker=offered.event_ticker,
            legs=tuple((leg.ticker, leg.side, leg.count_e2) for leg in offered.legs),
            cost_e6=sum(leg.cost_e6 + (leg.fee_e6 or 0) for leg in offered.legs),
            promised_e6=offered.net_edge_e6 or 0,
            void_e6=offered.if_void_e6 or 0,
            true_e6=self.true_e6(offered),
        )
        if len(self.result.episodes) < EPISODES_MAX:
            self.result.episodes.append(episode)
            if offered.kind in BASKETS:
                self._unpaid[offered.event_ticker].append(episode)
        return episode

    def _settle_episodes(self, event: Event) -> None:
        values = {market.ticker: market.value_e4 for market in event.group.markets()}
        for episode in self._unpaid.pop(event.ticker, []):
            if any(values.get(ticker) is None for ticker, _, _ in episode.legs):
                self._unpaid[event.ticker].append(episode)  # a leg of another event is not settled yet
                continue
            paid = 0.0
            for ticker, side, count_e2 in episode.legs:
                value = values[ticker] or 0
                paid += count_e2 * (value if side == "yes" else PRICE_ONE_E4 - value)
            episode.paid_e6, episode.void = paid - episode.cost_e6, odd(event)
            least = episode.promised_e6
            if episode.void:
                least = min(least, episode.void_e6 if episode.void_e6 is not None else least)
            if episode.paid_e6 < least - 1:
                self.result.breaches.append(
                    f"{episode.kind} {event.ticker}{' (void)' if episode.void else ''}:"
                    f" at least {least / 1e6:.4f}, paid {episode.paid_e6 / 1e6:.4f}"
                )

    def rows(self) -> None:
        """Record the list as shown on a page: each tradable row once, by key and edge."""
        for event_ticker, found in list(self.tradable.items()):
            for offered in found:
                key = offered.key, offered.net_edge_e6 or 0
                if key in self._seen_rows:
                    continue
                self._seen_rows.add(key)
                planted, _, _ = self._planted_in([(leg.ticker, leg.side) for leg in offered.legs])
                true = self.true_e6(offered)
                row = self.result.rows.setdefault(f"{offered.kind}|{planted}", [0.0, 0.0, 0.0, 0.0])
                row[0] += 1
                row[1] += offered.net_edge_e6 or 0
                row[2] += true
                row[3] += true < 0
            if event_ticker not in self.exchange.events:
                del self.tradable[event_ticker]
        if len(self._seen_rows) > 200_000:
            self._seen_rows.clear()

    # -- fair values

    def believe(self, view: EventView) -> None:
        """Compare the consensus of an event with the truth."""
        event = self.exchange.events.get(view.event.event_ticker)
        if event is None:
            return
        planted = any(market.fair_shift_e4 for market in event.markets)
        count = len(event.markets)
        group = event.group.kind if event.group.kind != "match" else f"match, {count} legs"
        for value in consensus_values(view).values():
            market = self.exchange.markets[value.ticker]
            belief = Belief(group, value.ticker, planted, value.probability, market.p, value.margin)
            key = f"{group}|{'planted' if planted else 'clean'}"
            off = belief.fair - belief.truth
            sums = self.result.beliefs.setdefault(key, [0.0] * 8)
            for index, one in enumerate((1.0, off, off * off, belief.margin, abs(off) <= belief.margin)):
                sums[index] += one
            self._beliefs[value.ticker].append(belief)

    def _settle_beliefs(self, market: Market) -> None:
        value = (market.value_e4 or 0) / PRICE_ONE_E4
        for belief in self._beliefs.pop(market.ticker, ()):
            sums = self.result.beliefs[f"{belief.group}|{'planted' if belief.planted else 'clean'}"]
            sums[5] += 1
            sums[6] += (belief.fair - value) ** 2
            sums[7] += (belief.truth - value) ** 2

    # -- the journal

    def other(self, output: AnyOutput) -> None:
        """See MemoryJournal."""
        if isinstance(output, Dropped):
            self.result.dropped.append(f"{output.strategy} {output.call}: {output.error}")

    def placed(self, intent: Intent) -> None:
        """See MemoryJournal."""
        self.result.orders += 1
        trade = self.trades.get(intent.trade)
        if trade is None:
            group = self.exchange.markets[intent.ticker].event.group.kind
            trade = self.trades[intent.trade] = Trade(
                intent.trade, intent.strategy, "", intent.event_ticker, group, "", intent.edge_e6, self.now_ms
            )
        trade.open += 1
        trade.attempts = max(trade.attempts, intent.attempt)
        side = trade.sides.setdefault(intent.ticker, Side())
        if intent.attempt == 0:
            side.planned_e2 += intent.count_e2 if intent.side == "yes" else -intent.count_e2

    def ended(self, intent: Intent) -> None:
        """See MemoryJournal."""
        trade = self.trades[intent.trade]
        trade.open -= 1
        if not trade.open and not trade.first:
            self._first_end(trade)
        self._close(trade)

    def filled(self, intent: Intent, fill: Fill) -> None:
        """See MemoryJournal."""
        trade = self.trades[intent.trade]
        side = trade.sides[intent.ticker]
        if intent.side == "yes":
            side.yes_e2 += fill.count_e2
        else:
            side.no_e2 += fill.count_e2
        trade.cost_e6 += fill.cost_e6
        trade.fees_e6 += fill.fee_e6
        trade.true_e6 += fill.count_e2 * self.truth_e4(intent.ticker, intent.side)
        trade.true_e6 -= fill.cost_e6 + fill.fee_e6
        self.holding[trade.number] = trade
        if intent.ticker not in self._held and intent.ticker in self.exchange.markets:
            self._held.add(intent.ticker)
            self._remember(self.exchange.markets[intent.ticker])

    def _first_end(self, trade: Trade) -> None:
        legs = [(ticker, "yes" if side.planned_e2 > 0 else "no") for ticker, side in trade.sides.items()]
        trade.kind = kind_of(legs, self.exchange)
        planted, plant, own = self._planted_in(legs)
        trade.planted = planted if own or planted == "nothing" else f"{planted}, another leg"
        if plant is not None:
            plant.traded = True
        got = [max(side.yes_e2, side.no_e2) for side in trade.sides.values()]
        trade.first = "nothing" if not any(got) else "even" if min(got) == max(got) else "missed"

    def settled(self, settlement: Settlement) -> None:
        """See MemoryJournal."""
        self._held.discard(settlement.ticker)
        market = self.exchange.markets.get(settlement.ticker)
        for trade in list(self.holding.values()):
            side = trade.sides.get(settlement.ticker)
            if side is None:
                continue
            trade.values[settlement.ticker] = settlement.value_e4
            trade.odd = trade.odd or (market is not None and odd(market.event))
            self._close(trade)

    def _close(self, trade: Trade) -> None:
        """Stop tracking a trade once nothing of it is open."""
        if trade.number in self.holding and not trade.open and trade.settled:
            del self.holding[trade.number]
            self._done_e6 += trade.realised_e6

    # -- worth

    def _remember(self, market: Market) -> None:
        """Remember the last good bids and mid of held markets; later asks bound them."""
        bids, ticker = self.bids, market.ticker
        bid_e4 = market.bid_e4 if market.bid_e2 else None
        ask_e4 = market.ask_e4 if market.ask_e2 else None
        if bid_e4 is not None:
            bids[ticker, "yes"] = bid_e4
        elif ask_e4 is not None:
            bids[ticker, "yes"] = min(ask_e4, bids.get((ticker, "yes"), 0))
        if ask_e4 is not None:
            bids[ticker, "no"] = PRICE_ONE_E4 - ask_e4
        elif bid_e4 is not None:
            bids[ticker, "no"] = min(PRICE_ONE_E4 - bid_e4, bids.get((ticker, "no"), 0))
        if market.bid_e2 and market.ask_e2:
            self.mids[market.ticker] = (market.bid_e4 + market.ask_e4) / 2

    def truth_of_e6(self, trade: Trade) -> float:
        """Return a trade's present true worth."""
        return sum(
            side.payout_e6(trade.values.get(ticker, self.truth_e4(ticker, "yes")))
            for ticker, side in trade.sides.items()
        )

    def mark(self, shown_e6: int, expected_e6: int) -> Mark:
        """Return the present worth of all trades."""
        bid = floor = mid = true = self._done_e6
        stake = 0
        for trade in self.holding.values():
            paid = trade.cost_e6 + trade.fees_e6
            stake += trade.cost_e6
            at_bid = sum(self._bid_e6(ticker, side) for ticker, side in trade.sides.items())
            bid += at_bid - paid
            floor += max(at_bid, self.floor_e6(trade)) - paid
            mid += sum(self._mid_e6(ticker, side) for ticker, side in trade.sides.items()) - paid
            true += self.truth_of_e6(trade) - paid
        return Mark(self.now_ms, shown_e6, expected_e6, bid, floor, mid, true, stake)

    def at_bid_e6(self) -> float:
        """Return the profit at bid.

        For an empty book the last good bid is used, but not above the ask, until the result is known.
        """
        profit = self._done_e6
        for trade in self.holding.values():
            profit += sum(self._bid_e6(ticker, side, last=True) for ticker, side in trade.sides.items())
            profit -= trade.cost_e6 + trade.fees_e6
        return profit

    def floor_e6(self, trade: Trade, *, pairs: bool = True) -> float:
        """Return a trade's least payout, by the kind of set it is; 0 if it is none.

        Determined markets pay exactly their value, so a set in a void event no longer has a floor. `pairs` of
        YES and NO are paid at once, and may be left out.
        """
        if not trade.first:
            return 0.0
        values = {ticker: self._value_e4(ticker) for ticker in trade.sides}
        if None not in values.values():
            return sum(
                side.payout_e6(values[ticker] or 0)
                - (0 if pairs else min(side.yes_e2, side.no_e2) * PRICE_ONE_E4)
                for ticker, side in trade.sides.items()
            )
        nets = [side.yes_e2 - side.no_e2 for side in trade.sides.values()]
        sets = 0
        if trade.kind == "no_basket":
            lots = [-net for net in nets if net < 0]
            sets = sum(lots) - max(lots, default=0)
        elif trade.kind in BASKETS:
            sets = min(map(abs, nets))
        paired = sum(min(side.yes_e2, side.no_e2) for side in trade.sides.values()) if pairs else 0
        return float((paired + sets) * PRICE_ONE_E4)

    def _bid_e6(self, ticker: str, side: Side, *, last: bool = False) -> float:
        market = self.exchange.markets.get(ticker)
        value = self._value_e4(ticker)
        if value is not None:
            return side.payout_e6(value)
        pairs, net = min(side.yes_e2, side.no_e2), side.yes_e2 - side.no_e2
        word = "yes" if net > 0 else "no"
        price = 0
        if last:
            price = self.bids.get((ticker, word), 0)
        elif market is not None:
            if word == "yes":
                price = market.bid_e4 if market.bid_e2 else 0
            else:
                price = PRICE_ONE_E4 - market.ask_e4 if market.ask_e2 else 0
        return float(pairs * PRICE_ONE_E4 + abs(net) * price)

    def _mid_e6(self, ticker: str, side: Side) -> float:
        value = self._value_e4(ticker)
        return side.payout_e6(self.mids.get(ticker, 0.0) if value is None else value)

    def _value_e4(self, ticker: str) -> int | None:
        market = self.exchange.markets.get(ticker)
        return None if market is None else market.value_e4


def kind_of(legs: Sequence[tuple[str, str]], exchange: Exchange) -> str:
    """Return the kind of opportunity that these legs form, by their shape."""
    sides = {side for _, side in legs}
    if len(legs) == 1:
        return "value"
    if sides == {"no"}:
        return "no_basket"
    if sides == {"yes"}:
        return "yes_basket"
    events = {exchange.markets[ticker].event_ticker for ticker, _ in legs if ticker in exchange.markets}
    return "implication" if len(events) > 1 else "ladder"


def said_to_be_complete(event: Event, now_ms: int) -> bool:
    """Return whether the exchange's data on an event proves that one of its markets must win."""
    markets = [
        decode_market(
            market_json(one, now_ms).encode(),
            series_ticker=event.series.ticker,
            as_of_ms=now_ms,
            previous=None,
        )[0]
        for one in event.markets
    ]
    return exhaustiveness(decode_event(event_json(event, now_ms).encode())[0], markets).known


def odd(event: Event) -> bool:
    """Return whether an event was settled without whole winners: void, scalar or a dead heat."""
    whole = {0, PRICE_ONE_E4}
    return event.group.void or any(
        market.value_e4 is not None and market.value_e4 not in whole for market in event.markets
    )
