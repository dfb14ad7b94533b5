"""The engine: one totally ordered log of inputs in, decisions out. Pure: the same log gives the same bytes.

`step` is the only way in. It neither waits nor reads a clock, and what it decides it does not carry out: the
worker writes inputs and outputs to the journal first.
"""

import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

from bus.trading import reasons
from markets.book import YES
from markets.fees import fee_schedule
from markets.opportunities import EventView, MarketView, Opportunity, ScanLimits, candidates
from markets.opportunities.legs import top
from markets.orders import (
    Accepted,
    AnyOrderEvent,
    Ended,
    Fill,
    Filled,
    Intent,
    Position,
    Proposal,
    Unknown,
    Wanted,
    reserve_e6,
)
from markets.records import FairValue, Market, Status
from markets.units import PRICE_ONE_E4, opposite

from . import risk
from .inputs import (
    AnyInput,
    Command,
    Data,
    Exchange,
    Feed,
    Orders,
    Start,
    Tick,
    TimeGap,
    Values,
)
from .ledger import Ledger
from .outputs import (
    CANCELLED,
    FILLED,
    OPEN,
    PARTIAL,
    REJECTED,
    AnyOutput,
    Booked,
    Cancel,
    Day,
    Equity,
    Place,
    Refused,
    Settled,
    Switch,
)
from .rebalance import follow_ups
from .risk import FUTURE_MS, MINUTE_MS, Facts, Limits
from .standing import Standing
from .strategies import ALL, Strategy, Update

DAY_MS: Final = 86_400_000
EQUITY_EVERY_MS: Final = 60_000
MAX_REFUSALS_KEPT: Final = 10_000


class Engine:
    """Decides. One thread uses it.

    Attributes:
        ledger: cash, positions, open orders.
        decisions: events looked at since the start.
        refusals: how often risk gave each reason.
        refused: the standing refusals: (strategy, event ticker) -> reason.
        not_evened: trade of an uneven basket -> why its follow-ups were refused when last tried.
        floor_ms: data seen before this is not acted on.
    """

    def __init__(self) -> None:
        self.ledger = Ledger.new(0)
        self.decisions = 0
        self.refusals: Counter[str] = Counter()
        self.now_ms = 0
        self.epoch = 0
        self.seq = 0
        self.complete_ms: int | None = None
        self.feed = "starting"
        self.killed: str | None = None
        self.paused: str | None = None
        self.limits: Limits
        self.scan = ScanLimits()
        self.strategies: list[Strategy] = []
        self.fair_values: dict[str, FairValue] = {}
        self.views: dict[str, EventView] = {}
        self.day_start_e6 = 0
        self._day = 0
        self.standing = Standing()
        self._trader = self._account = ""
        self._journal_id = uuid.UUID(int=0)
        self._next_order = 1
        self._next_trade = 1
        self._degraded: tuple[str, ...] = ()
        self._trading = True
        self._idle_shards: tuple[int, ...] = ()
        self.floor_ms = 0
        self._sent_ms: deque[int] = deque()
        self._retry_at_ms: dict[str, int] = {}
        self.refused: dict[tuple[str, str], str] = {}
        self.not_evened: dict[int, tuple[str, ...]] = {}
        self._marks: dict[str, int] = {}
        self._equity_ms: int | None = None
        self._equity_known = False
        self._out: list[AnyOutput] = []

    def step(
        self, taken: AnyInput, found: Mapping[str, Sequence[Opportunity]] | None = None
    ) -> list[AnyOutput]:
        """Take one input; return what was decided, in order.

        Args:
            found: what `candidates` says of events of this data, where the caller has it already. It saves
                saying it again; who decides a log again has none, and decides the same.

        Raises:
            LedgerError: the ledger does not add up, or an order's end contradicts it: stop trading.
        """
        self._out = []
        self.now_ms = taken.now_ms
        match taken:
            case Start():
                self._start(taken)
            case Data():
                self._data(taken, found or {})
            case Orders():
                self._orders(taken.events)
            case Tick():
                for strategy in self.strategies:
                    strategy.on_timer(taken.now_ms)
            case Feed():
                self.feed, self._degraded = taken.word, taken.degraded
            case Exchange():
                self._trading, self._idle_shards = taken.trading, taken.idle_shards
            case TimeGap():
                self.floor_ms = taken.now_ms
            case Values():
                self.fair_values.update((value.ticker, value) for value in taken.set)
                for ticker in taken.removed:
                    self.fair_values.pop(ticker, None)
            case Command():
                self._command(taken)
        if not isinstance(taken, Start):  # the broker has taken over nothing yet
            killed = self.killed is not None
            cancels = self.standing.to_cancel(self.now_ms, killed=killed)
            self._out += [Cancel(number, reason) for number, reason in cancels]
        self._keep_ledger(money_moved=any(isinstance(out, Booked | Settled) for out in self._out))
        return self._out

    # -- reading

    def halts(self) -> tuple[str, ...]:
        """Return why nothing may be traded now, worst first; empty if trading is allowed."""
        return tuple(
            word
            for word, holds in (
                (reasons.KILLED, self.killed is not None),
                (reasons.PAUSED, self.paused is not None),
                (reasons.STARTING, self.feed == "starting" or not self.epoch),
                (reasons.GAP, self.feed in ("gap", "lost")),
                (reasons.STALE, self._stale()),
                (reasons.CLOSED, not self._trading),
            )
            if holds
        )

    def _stale(self) -> bool:
        seen_ms = self.complete_ms
        return (
            seen_ms is None
            or self.now_ms - seen_ms > self.limits.stale_after_ms
            or seen_ms - self.now_ms > FUTURE_MS
            or seen_ms < self.floor_ms
        )

    def bid_e4(self, position: Position) -> int | None:
        """Return the best bid of what is held, 0 if nobody bids, None while that is not known."""
        mark = self._marks.get(position.ticker)
        return None if mark is None else mark

    def value_e6(self) -> int | None:
        """Return what all positions are worth at their bids, None while one is not known."""
        total_e6 = 0
        for position in self.ledger.positions.values():
            bid_e4 = self.bid_e4(position)
            if bid_e4 is None:
                return None
            total_e6 += bid_e4 * position.count_e2
        return total_e6

    def profit_e6(self) -> int:
        """Return realised and unrealised profit after fees.

        A market whose position has no bid known counts at what is bound in it; pairs are worth their dollar.
        """
        ledger = self.ledger
        value_e6 = 0
        for position in ledger.positions.values():
            bid_e4 = self.bid_e4(position)
            value_e6 += ledger.basis_of_e6(position.ticker) if bid_e4 is None else bid_e4 * position.count_e2
        return ledger.realised_e6 + value_e6 - ledger.basis_e6 - ledger.fees_e6

    def sent_last_minute(self) -> int:
        """Return how many orders were sent within the last minute."""
        return sum(self.now_ms - MINUTE_MS < sent_ms <= self.now_ms for sent_ms in self._sent_ms)

    # -- inputs

    def _start(self, start: Start) -> None:
        self.ledger = start.ledger.copy()
        self.limits, self.scan = start.limits, start.scan
        self.killed, self.paused = start.killed, start.paused
        self._journal_id = uuid.UUID(start.journal_id)
        self._next_order, self._next_trade = start.next_order, start.next_trade
        self._trader, self._account = start.trader, start.account
        for intent in self.ledger.open.values():
            self.standing.add(intent)
        self._day, self.day_start_e6 = start.day, start.day_start_e6
        self.strategies = [ALL[name]() for name in start.strategies]
        for strategy in self.strategies:
            strategy.on_start(start.now_ms)

    def _data(self, data: Data, found: Mapping[str, Sequence[Opportunity]]) -> None:
        self.epoch, self.seq, self.complete_ms = data.epoch, data.seq, data.complete_ms
        for view in data.views:
            self._mark(view)
            self._settle(view)
            self._even_out(view)
            self.scan_and_trade(view, found.get(view.event.event_ticker))
        held = self.ledger.events()
        for view in data.views:
            self.views[view.event.event_ticker] = view
        for event_ticker in [ticker for ticker in self.views if ticker not in held]:
            del self.views[event_ticker]
        for trade in [trade for trade in self.not_evened if trade not in self.ledger.baskets]:
            del self.not_evened[trade]

    def scan_and_trade(self, view: EventView, found: Sequence[Opportunity] | None) -> None:
        """Look for candidates in an event that has changed, and trade on what the strategies want of them."""
        self.decisions += 1
        if self.halts():
            return
        if found is None:
            found = candidates(view, self.fair_values, self.now_ms, self.scan).opportunities
        update = Update(view, found, self.now_ms)
        for strategy in self.strategies:
            for proposal in strategy.on_update(update):
                self.place_trade(proposal, view)

    def _even_out(self, view: EventView) -> None:
        """Complete the short legs of uneven baskets in this event, or sell what the others have too much."""
        ledger = self.ledger
        for trade in sorted(ledger.trades_in(view.event.event_ticker)):
            basket = ledger.baskets.get(trade)
            if basket is None or ledger.ordered(trade):
                continue
            because: list[str] = []
            for proposal in follow_ups(trade, basket, view, self.now_ms, self.scan, []):
                reason = self._place(proposal, view)
                if reason is None:
                    because = []
                    break
                because.append(reason)
            if not because:
                self.not_evened.pop(trade, None)
            elif self.not_evened.get(trade) != tuple(because):
                self.not_evened[trade] = tuple(because)
                self._out += [Refused(basket.strategy, basket.event_ticker, reason) for reason in because]

    def place_trade(self, proposal: Proposal, view: EventView) -> bool:
        """Place one trade, all its orders or none, if risk lets it pass; return whether it did."""
        reason = self._place(proposal, view)
        key = (proposal.strategy, proposal.event_ticker)
        if reason is None:
            self.refused.pop(key, None)
        elif self.refused.get(key) != reason:
            if len(self.refused) >= MAX_REFUSALS_KEPT:
                self.refused.clear()
            self.refused[key] = reason
            self._out.append(Refused(*key, reason))
        return reason is None

    def _place(self, proposal: Proposal, view: EventView) -> str | None:
        """Place one trade if risk lets it pass; return why not."""
        facts = self._facts()
        legs: tuple[Wanted, ...] = ()
        reason = risk.early(proposal, facts, self.limits)
        if reason is None:
            if proposal.evens is None:
                legs = risk.fit(proposal, view, self.ledger, self.limits, self.now_ms)
            else:
                legs = proposal.legs  # half of it would leave the basket uneven
            reason = risk.check(legs, proposal, view, facts, self.limits, self.scan)
        if reason is not None:
            self.refusals[reason] += 1
            return reason
        if proposal.evens is None:
            trade, attempt, self._next_trade = self._next_trade, 0, self._next_trade + 1
        else:
            trade, attempt = proposal.evens, self.ledger.baskets[proposal.evens].tries + 1
        wanted_e2 = sum(leg.count_e2 for leg in proposal.legs)
        edge_e6 = proposal.edge_e6 * sum(leg.count_e2 for leg in legs) // wanted_e2
        fees = fee_schedule(view.event, view.series)
        assert fees is not None, "risk refuses what has no fees"
        markets = {one.market.ticker: one.market for one in view.markets}
        ends_ms = [self.now_ms + self.limits.valid_ms, *(markets[leg.ticker].close_ms for leg in legs)]
        if view.timing.start_ms is not None and not self.scan.in_play:
            ends_ms.append(view.timing.start_ms)
        for leg in legs:
            number, self._next_order = self._next_order, self._next_order + 1
            intent = Intent(
                number=number,
                client_order_id=str(uuid.uuid5(self._journal_id, str(number))),
                trade=trade,
                strategy=proposal.strategy,
                ticker=leg.ticker,
                event_ticker=view.event.event_ticker,
                series_ticker=view.event.series_ticker,
                label=markets[leg.ticker].yes_sub_title,
                side=leg.side,
                price_e4=leg.price_e4,
                count_e2=leg.count_e2,
                reserve_e6=reserve_e6(fees, leg.price_e4, leg.count_e2, self.now_ms),
                fee_type=fees.fee_type,
                multiplier_e4=fees.multiplier_e4,
                created_ms=self.now_ms,
                valid_until_ms=min(ends_ms),
                epoch=self.epoch,
                seq=self.seq,
                edge_e6=edge_e6,
                probability=proposal.probability,
                attempt=attempt,
                exchange_index=markets[leg.ticker].exchange_index,
                time_in_force=proposal.time_in_force,
                expires_ms=proposal.expires_ms,
                trader=self._trader,
                account=self._account,
            )
            self.ledger.place(intent)
            self.standing.add(intent)
            self._sent_ms.append(self.now_ms)
            self._out.append(Place(intent))
        while self._sent_ms and self._sent_ms[0] <= self.now_ms - MINUTE_MS:
            self._sent_ms.popleft()
        return None

    def _facts(self) -> Facts:
        return Facts(
            now_ms=self.now_ms,
            halts=self.halts(),
            floor_ms=self.floor_ms,
            ledger=self.ledger,
            sent_ms=self._sent_ms,
            lost_today_e6=self.day_start_e6 - self.profit_e6(),
            idle_shards=self._idle_shards,
            degraded=self._degraded,
            retry_at_ms=self._retry_at_ms,
        )

    def _orders(self, events: Sequence[AnyOrderEvent]) -> None:
        of_order: dict[int, list[AnyOrderEvent]] = {}
        for event in events:
            of_order.setdefault(event.number, []).append(event)
        for number, told in of_order.items():
            intent = self.ledger.open.get(number)
            if intent is not None:  # else it has ended, and this was heard before: booked once
                self._book(intent, told)

    def _book(self, intent: Intent, events: Sequence[AnyOrderEvent]) -> None:
        """Book what happened to an open order, and look at what follows from it."""
        number, standing = intent.number, self.standing
        fills: list[Fill] = []
        status, reason = OPEN, ""
        for event in events:
            match event:
                case Accepted():
                    standing.accept(number)
                case Filled():
                    standing.accept(number)
                    if self.ledger.fill(number, event.fill) is not None:
                        fills.append(event.fill)
                case Unknown():
                    standing.lose(number, event.reason)
                case Ended() if status == OPEN:
                    status, reason = self._end(intent, event.reason), event.reason
        if status == OPEN:
            reason = standing.unknown.get(number, "")
        booked = tuple(fills)
        self._out.append(Booked(number, status, reason, booked, self.now_ms))
        view = self.views.get(intent.event_ticker)
        if view is not None:
            self._mark(view)
        if booked or status != OPEN:
            for strategy in self.strategies:
                if strategy.name == intent.strategy:
                    strategy.on_fill(intent, booked, self.now_ms)
        if view is not None and status != OPEN:
            self._settle(view)
            if not intent.attempt:
                # Once at once; further tries wait until the event changes.
                self._even_out(view)

    def _end(self, intent: Intent, reason: str) -> str:
        """Free what an order still held; return what it has come to."""
        got_e2 = self.ledger.filled(intent.number).count_e2
        self.ledger.end(intent.number)
        accepted = self.standing.end(intent.number)
        if got_e2 == intent.count_e2:
            return FILLED
        if got_e2:
            return PARTIAL
        if reason != reasons.RESTARTED and not intent.attempt:
            self._rest(intent.event_ticker)
        return CANCELLED if accepted or reason in reasons.UNFILLED else REJECTED

    def _rest(self, event_ticker: str) -> None:
        """Leave an event alone for a while."""
        self._retry_at_ms = {
            ticker: at_ms for ticker, at_ms in self._retry_at_ms.items() if at_ms > self.now_ms
        }
        self._retry_at_ms[event_ticker] = self.now_ms + self.limits.retry_after_ms

    def _command(self, command: Command) -> None:
        if command.op == "kill":
            self.killed = command.reason
        elif command.op == "pause":
            self.paused = command.reason
        else:
            self.killed = self.paused = None
        self._out.append(Switch(self.killed, self.paused))

    # -- money

    def _mark(self, view: EventView) -> None:
        for one in view.markets:
            position = self.ledger.positions.get(one.market.ticker)
            if position is None:
                continue
            settled_e4 = settlement_e4(one.market)
            if settled_e4 is not None:
                self._marks[position.ticker] = settled_e4 if position.side == YES else opposite(settled_e4)
            elif one.quote.status is Status.ACTIVE:
                # Of a market that is closed or paused the last bid stands: no bid says nothing there.
                bid = top(one).bid(position.side)
                self._marks[position.ticker] = bid[0] if bid else 0

    def _settle(self, view: EventView) -> None:
        """Book what was paid out for what is held, of each market once, when no order there can be filled."""
        ledger = self.ledger
        for seen in view.markets:
            ticker, value_e4 = seen.market.ticker, settlement_e4(seen.market)
            if ticker not in ledger.lots or value_e4 is None or not _paid(seen):
                continue
            if any(intent.ticker == ticker for intent in ledger.open.values()):
                continue  # what it got may yet be heard: its end settles the market
            settlement = ledger.settle(ticker, _result(seen.market, value_e4), value_e4, self.now_ms)
            if settlement is not None:
                self._marks.pop(ticker, None)
                self._out.append(Settled(settlement))

    def _keep_ledger(self, *, money_moved: bool) -> None:
        day = self.now_ms // DAY_MS
        if day > self._day:
            self._day, self.day_start_e6 = day, self.profit_e6()
            self._out.append(Day(day, self.day_start_e6))
        due = self._equity_ms is None or not 0 <= self.now_ms - self._equity_ms < EQUITY_EVERY_MS
        # After a restart no bid is known at first: the curve goes on as soon as all are.
        if money_moved or due or (not self._equity_known and self.value_e6() is not None):
            ledger, value_e6 = self.ledger, self.value_e6()
            self._equity_ms, self._equity_known = self.now_ms, value_e6 is not None
            self._out.append(
                Equity(self.now_ms, ledger.cash_e6, value_e6, ledger.realised_e6, ledger.fees_e6)
            )
        self.ledger.check()


def settlement_e4(market: Market) -> int | None:
    """Return what YES of a determined market pays, None while that is not known."""
    if market.settlement_value_e4 is not None:
        return market.settlement_value_e4 if market.result else None
    return {"yes": PRICE_ONE_E4, "no": 0}.get(market.result)


def _paid(one: MarketView) -> bool:
    # A determined market may still be disputed and amended; money moves when it is finalized.
    return one.quote.status is Status.FINALIZED


def _result(market: Market, value_e4: int) -> str:
    if market.result in ("yes", "no", "scalar"):
        return market.result
    return "void" if 0 < value_e4 < PRICE_ONE_E4 else "yes" if value_e4 else "no"
