"""The engine: one totally ordered log of inputs in, decisions out. Pure: the same log gives the same bytes.

`step` is the only way in. It neither waits nor reads a clock, and does not carry out what it decides: the
session first has input and outputs written to the journal.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.scan.failures import Failures
from bus.scan.rescan import Heed
from bus.threads import Owner
from bus.trading import reasons
from bus.trading.gateway import AccountAnswer, ForeignFill
from markets.book import NO, YES
from markets.fees import fee_schedule
from markets.opportunities import (
    EventView,
    Failure,
    Opportunity,
    ScanLimits,
    candidates,
    consensus_values,
    least_payout_e6,
    may_pay,
)
from markets.opportunities.legs import ladder
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    AmendWanted,
    AnyOrderEvent,
    AnyWanted,
    CancelWanted,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    Proposal,
    Sent,
    Unknown,
    Wanted,
    reserve_e6,
)
from markets.records import FairValue
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4, opposite
from trader.ledger.ledger import CLOSED_BY_HAND, JOINED, Basket, Ledger
from trader.strategies import LoadStrategy, Update

from . import risk
from .caps import Cap, Groups, caps
from .conditions import Conditions
from .edge import Edge, basket_edge, edge_of, shown_cost_e6, thin_first
from .inputs import (
    RULES,
    Account,
    AnyInput,
    ByHand,
    Command,
    Data,
    Feed,
    Gateway,
    Orders,
    Start,
    StrategyFault,
    Tick,
    TimeGap,
    TradingStatus,
    Trust,
    Values,
)
from .legrisk import LegRisk, Like
from .numbering import Numbering
from .outputs import (
    Alarm,
    Amend,
    AnyOutput,
    Booked,
    Cancel,
    Corrected,
    External,
    Foreign,
    Place,
    Refused,
    Rehomed,
    Settled,
    Switch,
)
from .outputs import Amended as AmendBooked
from .payouts import Payouts, pays
from .people import People
from .quoting import fair_e6, own_bids, quote_edge_e6
from .rebalance import Pace, Terms, follow_ups, patience_ms
from .reconciliation import Reconciliation, new_movements
from .refused import Refusals
from .risk import Facts, Limits
from .roster import BuiltIn, Calls, DroppedStrategy, Roster
from .standing import Standing
from .taken import Taken
from .throttle import Throttle
from .trust import believed
from .worth import Worth

RISK: Final = "risk"
EVENING_OUT: Final = "evening_out"
"""Parts other than kinds of opportunity that may fail on an event."""

SHOWN_MS: Final = 2_000
"""How long an event rests after a fill at an exchange: until then the feed may still show what was taken."""

UNEVEN_PART: Final = 10
"""Baskets that lack a leg may put one part in this many of the total limit at stake; beyond that none is
begun."""

STRAYS_MAX: Final = 100
"""How many are kept for `take_strays`: a broker that repeats itself must not flood the log."""

_REQUESTS: Final[tuple[type[AnyOutput], ...]] = (Place, Cancel, Amend)
_MONEY_MOVES: Final[tuple[type[AnyOutput], ...]] = (Booked, Settled, Corrected, Foreign, External)


class Engine:
    """Decides. One thread uses it, readers included.

    Args:
        load: finds the strategies that a start names; without it those of the project itself.
        calls: is told of every call of a strategy.

    Attributes:
        ledger: cash, positions, open orders.
        accepted: sources of fair values that have stood their trial.
        views: events in which something is held or ordered, as last seen.
        decisions: events looked at since the start.
        now_ms: the time of the last input. paced_ms: the same by the clock used for rates and days.
        roster: the strategies.
        leg_risk: the chance that a leg of a basket is gone, and what that costs.
        taken: what own orders took of the levels that are shown. pace: when baskets are evened out.
        failures: what raised an error when an event was last judged, which cost that event alone.
        payouts: books what was paid out.
        strays: what was reported about orders that have ended or never were, since `take_strays`. A fill
            among it that has the exchange's id is booked all the same; of an order that nobody knows it is an
            alarm.
        books: what comparisons with the exchange's account have shown.
        heard: number of the last event of the gateway that is booked.
    """

    def __init__(self, load: LoadStrategy = BuiltIn, calls: Calls | None = None) -> None:
        self.ledger = Ledger.new(0)
        self.limits: Limits
        self.scan = ScanLimits()
        self.conditions = Conditions()
        self.numbering = Numbering()
        self.throttle = Throttle()
        self.refusals = Refusals()
        self.standing = Standing()
        self.worth = Worth(self.ledger)
        self.roster = Roster(load, calls)
        self.taken = Taken()
        self.leg_risk = LegRisk()
        self.pace = Pace()
        self.fair_values: dict[str, FairValue] = {}
        self.accepted: frozenset[str] = frozenset()
        self.views: dict[str, EventView] = {}
        self.decisions = 0
        self.now_ms = 0
        self.paced_ms = 0
        self.failures = Failures()
        self.strays: list[AnyOrderEvent] = []
        self.books = Reconciliation()
        self.heard = 0
        self.people = People(self)
        self.payouts = Payouts(self)
        self.gateway = False
        self._adopted: set[str] = set()
        self._groups = Groups()
        self._seen_of = self.ledger.events()
        self._minded = (self._seen_of, frozenset[str](), self._seen_of)
        self._failing: list[Failure] = []
        self.rules = RULES
        self._out: list[AnyOutput] = []
        self._owner = Owner("the engine")

    def step(
        self, taken: AnyInput, found: Mapping[str, Sequence[Opportunity]] | None = None
    ) -> list[AnyOutput]:
        """Take one input; return what was decided, in order.

        Args:
            found: what `candidates` returns for events of this data, if the caller already has it. It saves
                the work; a log that is decided again has none, with the same decisions.

        Raises: LedgerError: the ledger does not add up, or the end of an order contradicts it: stop trading.
        """
        self._owner.check()
        self._out = []
        self.now_ms = taken.now_ms
        if isinstance(taken, Start):
            self.rules = taken.rules
        self.paced_ms = taken.steady_ms if self.rules else taken.now_ms
        if self.rules:
            # Data cannot be newer than now: a clock that was set back after a gap sets the floor anew.
            most_ms = taken.now_ms + risk.FUTURE_MS
            if self.conditions.floor_ms > most_ms:
                self.conditions.floor_ms = most_ms
        self._take(taken, found or {})
        if self.roster.dropped:
            self._out += self.roster.take_outputs()
        if self.standing.rests and not isinstance(taken, Start):  # the broker has taken over nothing yet
            self._cancel()
        self._learn()
        money_moved = False
        if self._out:
            decided = set(map(type, self._out))
            money_moved = not decided.isdisjoint(_MONEY_MOVES)
            if not decided.isdisjoint(_REQUESTS):
                self.books.request(self.now_ms, self.paced_ms)
        self._out += self.worth.points(self.now_ms, self.paced_ms, money_moved=money_moved)
        self._out += self.worth.latch(self.limits.daily_loss_e6)
        self.conditions.lost = self.worth.latched
        self.ledger.check()
        return self._out

    def _take(self, taken: AnyInput, found: Mapping[str, Sequence[Opportunity]]) -> None:
        match taken:
            case Data():
                self._data(taken, found)
            case Tick():
                self._tick()
            case Orders() | Gateway() | Account():
                self._hear_exchange(taken)
            case Start():
                self._start(taken)
            case Feed():
                self.conditions.feed, self.conditions.degraded = taken.word, taken.degraded
            case TradingStatus():
                self.conditions.trading, self.conditions.known = taken.trading, taken.known
                self.conditions.idle_shards = taken.idle_shards
            case TimeGap():
                self.conditions.floor_ms = taken.now_ms
            case Values():
                self.fair_values.update((value.ticker, value) for value in taken.set)
                for ticker in taken.removed:
                    self.fair_values.pop(ticker, None)
            case Trust():
                self.accepted = frozenset(taken.sources)
            case Command():
                self._command(taken)
            case ByHand():
                self._by_hand(taken)
            case StrategyFault():
                self.roster.drop(DroppedStrategy(taken.strategy, taken.call, taken.error, ""))

    def _tick(self) -> None:
        if self.halts():
            self.leg_risk.forget()
        self.leg_risk.pass_time(self.paced_ms)
        self._on_timer(self.roster.timer(self.now_ms))
        self._out += self.payouts.settle_voids()
        self._even_out_due()

    def _command(self, command: Command) -> None:
        self.conditions.command(command.op, command.reason)
        if command.op == "kill":
            self.standing.ask_again()  # whoever kills again does so because something still rests
        elif command.op == "resume" and command.reason:
            self._out += self.worth.release()
        self._out.append(Switch(self.conditions.killed, self.conditions.paused))

    def _cancel(self) -> None:
        """Cancel what must no longer rest: what expired, and everything while killed or at the daily loss.

        At the daily loss, an order that only gives up a lot stays: it reduces risk.
        """
        killed, lost = self.conditions.killed is not None, self.conditions.lost
        halts = self.halts() if self.rules >= 2 else ()
        cancels = self.standing.to_cancel(
            self.now_ms, killed=killed, lost=lost, halts=halts, closes=self._takes_off
        )
        for number, reason in cancels:
            self._out.append(Cancel(number, reason))

    def _takes_off(self, intent: Intent) -> bool:
        """Whether an order only reduces risk: it evens a basket out, or gives up what is held."""
        if 0 < intent.attempt < CLOSED_BY_HAND:
            return True
        other = NO if intent.side == YES else YES
        return self.ledger.held_e2(intent.trade, intent.ticker, other) >= intent.count_e2

    def halts(self) -> tuple[str, ...]:
        """Return why nothing may be traded now, worst first; empty if trading is allowed."""
        return self.conditions.halts(self.now_ms, self.limits.stale_after_ms)

    # -- inputs

    def _start(self, start: Start) -> None:
        self.ledger = start.ledger.copy()
        self.limits, self.scan = start.limits, start.scan
        self.conditions.killed, self.conditions.paused = start.killed, start.paused
        self.numbering = Numbering(
            start.journal_id, start.next_order, start.next_trade, start.trader, start.account
        )
        offset_ms = start.now_ms - start.steady_ms if start.rules else None
        self.worth = Worth(
            self.ledger,
            start.day,
            start.day_start_e6,
            offset_ms,
            rules=start.rules,
            fair_values=self.fair_values,
            scan=start.scan,
            base_e6=start.loss_base_e6,
            latched=start.loss_latched,
            marks=start.marks,
            now_ms=start.now_ms,
            paced_ms=self.paced_ms,
        )
        for intent in self.ledger.open.values():
            self.standing.add(intent)
        for known in start.known:
            self.standing.restore(known)
        for number in start.cancelling:
            self.standing.cancel_again(number)
        resting = self._own_asks if start.gateway else None  # nobody sees an order of the paper broker
        stays = start.rules >= 2 and not start.gateway
        self.taken = Taken(start.taken, stays=stays, resting=resting, bids=self._own_bids)
        for intent in self.ledger.open.values():
            if intent.time_in_force == "gtc" and stays:
                self.taken.plan(intent, ())
        self.roster.start(start.strategies, start.now_ms, start.rules)
        self.leg_risk = LegRisk(start.leg_risk)
        self.heard, self.gateway, self._adopted = start.heard, start.gateway, set(start.adopted)
        self.conditions.alarm = start.alarm
        self.books.rounded_e6 = start.rounded_e6
        if start.gateway:
            self.conditions.gateway, self.conditions.reconciled = "starting", False

    def _data(self, data: Data, found: Mapping[str, Sequence[Opportunity]]) -> None:
        conditions = self.conditions
        if data.complete_ms != conditions.complete_ms:
            self.refusals.commit(self.now_ms)
        conditions.epoch, conditions.seq, conditions.complete_ms = data.epoch, data.seq, data.complete_ms
        halted = bool(self.halts())  # nothing that follows from data halts or resumes
        taken, worth, leg_risk, ledger, rules = self.taken, self.worth, self.leg_risk, self.ledger, self.rules
        self.decisions += len(data.views)
        for view in data.views:
            taken.observe(view, self.scan)
            worth.mark(taken.of_others(view), self.paced_ms, self._failing)
            if pays(view):
                self._out += self.payouts.settle(view)
                self._out += self.payouts.correct(view)
            event_ticker = view.event.event_ticker
            if event_ticker in leg_risk.watched:
                left, patient_ms = taken.left(view), patience_ms(view, self.now_ms)
                leg_risk.look(left, self.scan, self.now_ms, self.paced_ms, patient_ms)
            if rules < 2 or ledger.stirs(event_ticker):
                self._even_out(view)
            self.refusals.look_at(event_ticker)
            if not halted:
                self._scan_and_trade(view, found.get(event_ticker))
            self._note_failures(view)
        held, views = ledger.events(), self.views
        for view in data.views:
            event_ticker = view.event.event_ticker
            if event_ticker in held:
                views[event_ticker] = view
        if held is not self._seen_of:
            self._seen_of = held
            self._groups.keep(held)
            for event_ticker in [ticker for ticker in views if ticker not in held]:
                del views[event_ticker]
        self.refusals.keep_follow_ups(ledger.baskets)

    def _scan_and_trade(self, view: EventView, found: Sequence[Opportunity] | None) -> None:
        """Look for candidates in a changed event, and trade those that the strategies want."""
        left = self.taken.left(view)
        if found is None or left is not view:
            values = self.fair_values if self.rules >= 2 else consensus_values(view) | self.fair_values
            found = ()
            if self.roster.curious or may_pay(left, values):
                found = candidates(left, values, self.now_ms, self.scan).opportunities
        event_ticker = view.event.event_ticker
        if not found and not self.roster.minding:
            return  # the usual case
        tradable = [one for one in found if one.tradable]
        offered = None
        for one in tradable:
            if one.probability is None:
                offered = one
                break
        if offered is not None:
            earns_e4 = (offered.net_edge_e6 or 0) // max(1, offered.count_e2)
            tickers = {leg.ticker for leg in offered.legs}
            quoted_ms = (seen.quote.as_of_ms for seen in left.markets if seen.market.ticker in tickers)
            self.leg_risk.see(event_ticker, earns_e4, quoted_ms, self.now_ms, self.paced_ms)
        if tradable or self.roster.minding:
            update = Update(left, tuple(found), self.now_ms)
            for wanted in self.roster.update(update, self._own, offers=bool(tradable)):
                self._do(wanted, self.taken.left(view))  # what was just ordered is no longer offered
        if offered is not None and self.rules >= 2:
            self._watch(left, offered)

    @property
    def minded(self) -> frozenset[str]:
        """The events in which something is held, ordered or watched, whether they offer anything or not."""
        held, watched = self.ledger.events(), self.leg_risk.watched
        if held is not self._minded[0] or watched != self._minded[1]:
            self._minded = held, frozenset(watched), held.union(watched)
        return self._minded[2]

    def heed(self, event_ticker: str) -> Heed:
        """Return when something held, ordered or watched is to be looked at, other than when prices move.

        Where all is locked, even, and of no order, there is nothing to do before a result. Marks follow
        prices, but whoever holds an opinion is asked with each commit, and whoever has a timer may sell
        between two of them: on what the last one confirmed.
        """
        view = self.views.get(event_ticker)
        if (
            view is None
            or self.rules < 2
            or event_ticker in self.leg_risk.watched
            or self.ledger.stirs(event_ticker)
            or self.taken.minds(view)
        ):
            return Heed.CHANGES
        calm = not self.roster.timed and self.worth.locked(event_ticker)
        return Heed.PRICES if calm else Heed.COMMITS

    def _watch(self, view: EventView, offered: Opportunity) -> None:
        """Follow what becomes of a basket that could be bought but is not, if its prices are current."""
        event_ticker, legs = view.event.event_ticker, offered.legs
        if (
            len(legs) < 2
            or not self.leg_risk.wants(event_ticker)
            or False in [leg.vouched for leg in legs]
            or event_ticker in [intent.event_ticker for intent in self.ledger.open.values()]
            or risk.pays_too_late(view, self.now_ms, self.limits)
        ):
            return
        most = self.limits.order_e6 // (max(leg.price_e4 for leg in legs) * COUNT_ONE_E2)
        cut = [
            Wanted(leg.ticker, leg.side, leg.price_e4, min(leg.count_e2, most * COUNT_ONE_E2)) for leg in legs
        ]
        edge = basket_edge(cut, view, self.scan, self.now_ms)
        if not isinstance(edge, str) and all(leg.count_e2 > 0 for leg in cut):
            self.leg_risk.watch(event_ticker, cut, edge, self._like(view, cut, edge), self.paced_ms)

    def _like(self, view: EventView, legs: Sequence[Wanted], edge: Edge) -> Like:
        """Return what is known of these legs by age, what a set earns, how many there are, and the series."""
        event, edge_e4 = view.event, edge.whole_e6 // max(leg.count_e2 for leg in legs)
        return self.leg_risk.like(event.event_ticker, event.series_ticker, len(legs), edge_e4, self.paced_ms)

    def _own(self, strategy: str, update: Update) -> Update:
        """Return what a strategy is told of an event, with what it has there itself."""
        ledger, held, values = self.ledger, self.ledger.lots, self.fair_values
        tickers = [seen.market.ticker for seen in update.view.markets]
        lots = [lot for ticker in tickers if ticker in held for lot in held[ticker].values()]
        event_ticker = update.view.event.event_ticker
        orders = [
            intent
            for intent in ledger.open.values()
            if intent.event_ticker == event_ticker and intent.strategy == strategy
        ]
        if not lots and not orders and not values:  # the usual case
            return Update(
                update.view,
                update.opportunities,
                update.now_ms,
                cash_e6=ledger.free_e6,
                accepted=self.accepted,
            )
        numbers = [intent.number for intent in orders]
        return Update(
            update.view,
            update.opportunities,
            update.now_ms,
            lots=tuple([lot for lot in lots if lot.strategy == strategy]),
            orders=tuple(orders),
            cash_e6=ledger.free_e6,
            fair_values={ticker: values[ticker] for ticker in tickers if ticker in values} if values else {},
            filled={
                number: ledger.filled(number).count_e2 for number in numbers if number in ledger.progress
            },
            asked=frozenset(
                [number for number in numbers if number in ledger.amending or self.standing.withdrawn(number)]
            ),
            accepted=self.accepted,
        )

    def _own_asks(self, ticker: str) -> Mapping[tuple[str, int], int]:
        """Return what own orders that rest offer in a market: a bid for one side asks for the other."""
        ledger, asks = self.ledger, Counter[tuple[str, int]]()
        for intent in ledger.open.values():
            if intent.ticker == ticker and intent.time_in_force == "gtc":
                side = NO if intent.side == YES else YES
                left_e2 = intent.count_e2 - ledger.filled(intent.number).count_e2
                asks[side, opposite(intent.price_e4)] += left_e2
        return asks

    def _own_bids(self, ticker: str) -> Mapping[tuple[str, int], int]:
        """Return what own orders that rest bid for in a market."""
        filled = {number: progress.count_e2 for number, progress in self.ledger.progress.items()}
        return own_bids(self.ledger.open.values(), filled, ticker)

    def _on_timer(self, wanted: Iterable[AnyWanted]) -> None:
        """Ask strategies what they want as time passes, for events in which something is held or ordered."""
        for one in wanted:
            view = self.views.get(one.event_ticker)
            takes_off = isinstance(one, CancelWanted) or (isinstance(one, Proposal) and one.evens is not None)
            if self.rules < 2 or (self.halts() and not takes_off):
                continue
            if isinstance(one, CancelWanted):
                self._change(one, None)
            elif view is None:
                self.refusals.counts[reasons.MARKET_UNKNOWN] += 1
                self._out.append(Refused(one.strategy, one.event_ticker, reasons.MARKET_UNKNOWN))
            else:
                self._do(one, self.taken.left(view))
                self._note_failures(view)

    def _do(self, wanted: AnyWanted, view: EventView) -> None:
        """Do what a strategy wants, if it may be."""
        if isinstance(wanted, Proposal):
            self.place_trade(wanted, view)
        else:
            self._change(wanted, view)

    def _change(self, wanted: CancelWanted | AmendWanted, view: EventView | None) -> None:
        """Request the change or the cancellation of a strategy's order; return why not."""
        reason = self._asked_for(wanted, view)
        if reason is None:
            return
        if self.refusals.note_of_order(wanted.strategy, wanted.event_ticker, reason):
            self._out.append(Refused(wanted.strategy, wanted.event_ticker, reason))

    def _asked_for(self, wanted: CancelWanted | AmendWanted, view: EventView | None) -> str | None:
        intent = self.ledger.open.get(wanted.number)
        if intent is None or (intent.strategy, intent.event_ticker) != (wanted.strategy, wanted.event_ticker):
            return reasons.NOT_OWN_ORDER
        if intent.time_in_force != "gtc":
            return reasons.NOT_RESTING
        if isinstance(wanted, AmendWanted):
            return reasons.MARKET_UNKNOWN if view is None else self._amend(intent, wanted, view)
        if self.standing.withdraw(wanted.number):
            self._out.append(Cancel(wanted.number, reasons.CANCELLED))
        return None

    def _even_out(self, view: EventView) -> None:
        """Complete the short legs of uneven baskets in this event, or sell the surplus of the others."""
        ledger, paced = self.ledger, self.rules >= 2
        trades = ledger.trades_in(view.event.event_ticker)
        if paced:
            trades = trades & ledger.lacking  # mostly none
            if not trades or not any(not ledger.ordered(trade) and self._is_due(trade) for trade in trades):
                return
        view = self.taken.left(view)
        for trade in sorted(trades):
            basket = ledger.baskets.get(trade)
            if basket is None or ledger.ordered(trade) or (paced and not self._is_due(trade)):
                continue
            because: list[str] = []
            proposals: Sequence[Proposal] = ()
            try:
                terms = self._terms(trade, basket, view) if paced else None
                proposals = follow_ups(
                    trade, basket, view, self.now_ms, self.scan, self._failing, terms=terms
                )
            except Exception as error:  # noqa: BLE001, it is noted
                self._failing.append(Failure.of(view.event.event_ticker, EVENING_OUT, error))
                because.append(reasons.ERROR)
            for proposal in proposals:
                reason = self._place(proposal, view)
                if reason is None:
                    because = []
                    break
                because.append(reason)
            rests = any(intent.trade == trade and intent.post_only for intent in ledger.open.values())
            ordered, tries = ledger.ordered(trade), ledger.baskets[trade].tries
            self.pace.tried(trade, self.paced_ms, tries, ordered=ordered, rests=rests)
            if self.refusals.note_follow_ups(trade, because):
                self._out += [Refused(basket.strategy, basket.event_ticker, reason) for reason in because]

    def _is_due(self, trade: int) -> bool:
        """Whether a trade has a basket that lacks something, and it is time to look at it."""
        return trade in self.ledger.lacking and self.pace.due(trade, self.paced_ms)

    def _terms(self, trade: int, basket: Basket, view: EventView) -> Terms:
        lots = [lot for lot in self.ledger.lots_in(basket.event_ticker) if lot.trade == trade]
        spent_e6 = sum(lot.cost_e6 + lot.fees_e6 for lot in lots)
        return self.pace.terms(trade, basket, view, spent_e6, self.now_ms, self.paced_ms)

    def _learn(self) -> None:
        """Note what has come of baskets that missed a leg, once they are even."""
        if self.leg_risk.over <= self.ledger.lacking:
            return  # mostly, they take their time
        for trade in self.leg_risk.uneven:
            basket = self.ledger.baskets.get(trade)
            if self.ledger.ordered(trade) or trade in self.ledger.lacking:
                continue
            least_e6 = 0
            if basket is not None:
                view = self.views.get(basket.event_ticker)
                if view is None:
                    continue
                legs = [(leg.ticker, leg.side, leg.got_e2) for leg in basket.legs]
                least_e6 = least_payout_e6(view, legs, []) or 0
            self.leg_risk.came_to(trade, least_e6)

    def _even_out_due(self) -> None:
        """Retry what is due: an event in which nothing changes may still have something to retry."""
        if self.rules < 2:
            return
        self.pace.keep(self.ledger.baskets)
        lacking = self.ledger.lacking
        if not lacking or lacking <= self.ledger.stakes.orders_of.keys():
            return  # for each of them an order is on its way, or rests
        for trade in self.pace.all_due(self.ledger, self.paced_ms):
            view = self.views.get(self.ledger.baskets[trade].event_ticker)
            if view is not None and self._is_due(trade):
                self._even_out(view)
                self._note_failures(view)

    def place_trade(self, proposal: Proposal, view: EventView) -> bool:
        """Place one trade, all its orders or none, if risk lets it pass; return whether it did."""
        if self.rules >= 2:
            proposal = believed(proposal, self.fair_values, self.accepted, self.limits)
        reason = self._place(proposal, view)
        until_ms = None
        if reason == reasons.PAYOUT_TOO_LATE:
            until_ms = risk.pays_too_late_until_ms(view, self.now_ms, self.limits)
        news = self.refusals.note(proposal, reason, until_ms)
        if news and reason is not None:
            self._out.append(Refused(proposal.strategy, proposal.event_ticker, reason))
        return reason is None

    def _place(self, proposal: Proposal, view: EventView) -> str | None:
        """Place one trade if risk lets it pass; return why not."""
        legs: tuple[Wanted, ...] = ()
        edge_e6: int | None = None
        risked: tuple[Like, Edge] | None = None
        try:
            legs, edge_e6, risked, reason = self._judge(proposal, view)
        except Exception as error:  # noqa: BLE001, it is noted
            self._failing.append(Failure.of(view.event.event_ticker, RISK, error))
            reason = reasons.ERROR
        if reason is not None:
            self.refusals.counts[reason] += 1
            return reason
        if proposal.joins is not None and proposal.evens is None:
            trade, attempt = proposal.joins, JOINED
        elif proposal.evens is None:
            trade, attempt = self.numbering.trade(), 0
        elif proposal.by_hand or proposal.exits:
            trade, attempt = proposal.evens, CLOSED_BY_HAND
        else:
            tried = self.ledger.baskets[proposal.evens].tries
            trade, attempt = proposal.evens, min(tried + 1, CLOSED_BY_HAND - 1)
        if edge_e6 is None:
            wanted_e2 = sum(leg.count_e2 for leg in proposal.legs)
            edge_e6 = proposal.edge_e6 * sum(leg.count_e2 for leg in legs) // wanted_e2
        fees = fee_schedule(view.event, view.series)
        assert fees is not None, "risk refuses what has no fees"
        seen = {each.market.ticker: each for each in view.markets}
        markets = {ticker: each.market for ticker, each in seen.items()}
        ends_ms = [self.now_ms + self.limits.valid_ms]
        ends_ms += [ms for leg in legs if (ms := markets[leg.ticker].close_ms) is not None]
        eases = proposal.evens is not None and self.rules >= 2
        if view.timing.start_ms is not None and not self.scan.in_play and not eases:
            margin_ms = 0 if proposal.by_hand else self.scan.min_before_start_ms
            ends_ms.append(view.timing.start_ms - margin_ms)
        expires_ms = proposal.expires_ms
        if proposal.time_in_force == "gtc" and self.rules >= 2:  # no market lets an order rest longer
            known = [expires_ms, *ends_ms[1:]]
            expires_ms = min((ms for ms in known if ms is not None), default=None)
        believed_in = None if proposal.probability is None else self.fair_values.get(legs[0].ticker)
        for leg in legs:
            levels = ladder(seen[leg.ticker], leg.side, self.scan).levels
            number, client_order_id = self.numbering.order()
            intent = Intent(
                number=number,
                client_order_id=client_order_id,
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
                epoch=self.conditions.epoch,
                seq=self.conditions.seq,
                edge_e6=edge_e6,
                probability=proposal.probability,
                attempt=attempt,
                exchange_index=markets[leg.ticker].exchange_index,
                time_in_force=proposal.time_in_force,
                expires_ms=expires_ms,
                trader=self.numbering.trader,
                account=self.numbering.account,
                kind=proposal.kind or ("" if attempt else proposal.strategy),
                source="" if believed_in is None else believed_in.source,
                shown_e6=shown_cost_e6(levels, leg.price_e4, leg.count_e2),
                post_only=proposal.post_only,
            )
            self.ledger.place(intent)
            self.standing.add(intent)
            if self.rules >= 2:
                self.taken.plan(intent, levels)
            self._out.append(Place(intent))
        if risked is not None:
            like, edge = risked
            self.leg_risk.sent(trade, view.event.event_ticker, like, edge, self.paced_ms)
            self.pace.planned(trade, edge.whole_e6)
        self.throttle.sent(len(legs), self.paced_ms)
        return None

    def _judge(
        self, proposal: Proposal, view: EventView
    ) -> tuple[tuple[Wanted, ...], int | None, tuple[Like, Edge] | None, str | None]:
        """Return the legs of a trade, cut to size, what is expected of it, and why it must not be placed.

        What is expected is None where that is what the proposal says. Third what is known of a basket, None
        where no leg can be missed.
        """
        facts = self._facts()
        reason = risk.early(proposal, view, facts, self.limits, self.scan)
        if reason is not None:
            return (), None, None, reason
        bounds = self._caps(view, proposal.strategy, self.limits.total_e6)
        if proposal.evens is not None or proposal.by_hand:
            legs = proposal.legs  # a part would leave the basket uneven, or is not what a person wants
            facts = msgspec.structs.replace(facts, caps=bounds)
            return legs, None, None, risk.check(legs, proposal, view, facts, self.limits, self.scan)
        legs = risk.fit(proposal, view, self.ledger, self.limits, self.now_ms, facts.free_e6, bounds)
        if not legs:
            return (), None, None, reasons.NO_ROOM
        facts = msgspec.structs.replace(facts, caps=bounds)
        if self.rules < 2:
            return legs, None, None, risk.check(legs, proposal, view, facts, self.limits, self.scan)
        if proposal.post_only and proposal.probability is None and len(legs) == 1:
            return self._judge_quote(legs, proposal, view, facts)
        edge = edge_of(legs, proposal, view, self.fair_values, self.scan, self.now_ms)
        if isinstance(edge, str):
            judged = msgspec.structs.replace(proposal, legs=legs, edge_e6=0)
            limits = msgspec.structs.replace(self.limits, min_edge_e6=0, daily_return_ppm=0)
            return legs, 0, None, risk.check(legs, judged, view, facts, limits, self.scan) or edge
        expected_e6, like = edge.whole_e6, None
        if len(legs) > 1 and proposal.probability is None and proposal.time_in_force != "gtc":
            like = self._like(view, legs, edge)
            expected_e6 = self.leg_risk.expected_e6(like, edge)
        judged = msgspec.structs.replace(proposal, legs=legs, edge_e6=expected_e6)
        reason = risk.check(legs, judged, view, facts, self.limits, self.scan)
        if reason is None and like is not None:
            reason = self._leg_reason(like, edge)
        if reason is None and len(legs) > 1:
            legs = thin_first(legs, view, self.scan)
        return legs, expected_e6, None if like is None else (like, edge), reason

    def _leg_reason(self, like: Like, edge: Edge) -> str | None:
        """Return why a basket must not be bought, given that legs may be missed."""
        if not self.leg_risk.bears(like, edge):
            return reasons.LEG_RISK
        ledger = self.ledger
        lacking = ledger.lacking
        at_stake_e6 = sum(
            lot.cost_e6 + lot.fees_e6
            for event_ticker in {ledger.baskets[trade].event_ticker for trade in lacking}
            for lot in ledger.lots_in(event_ticker)
            if lot.trade in lacking
        )
        return reasons.UNEVEN_LIMIT if at_stake_e6 > self.limits.total_e6 // UNEVEN_PART else None

    def _judge_quote(
        self, legs: tuple[Wanted, ...], proposal: Proposal, view: EventView, facts: Facts
    ) -> tuple[tuple[Wanted, ...], int | None, tuple[Like, Edge] | None, str | None]:
        """Like `_judge`, for an order that is only to rest: the mid price says what it is worth."""
        edge_e6 = self._quote_edge_e6(legs[0], view)
        expected_e6 = 0 if isinstance(edge_e6, str) else edge_e6
        judged = msgspec.structs.replace(proposal, legs=legs, edge_e6=expected_e6)
        limits = self.limits
        if isinstance(edge_e6, str):
            limits = msgspec.structs.replace(limits, min_edge_e6=0, daily_return_ppm=0)
        reason = risk.check(legs, judged, view, facts, limits, self.scan)
        return legs, expected_e6, None, reason or (edge_e6 if isinstance(edge_e6, str) else None)

    def _quote_edge_e6(self, wanted: Wanted, view: EventView) -> int | str:
        fees = fee_schedule(view.event, view.series)
        seen = next((one for one in view.markets if one.market.ticker == wanted.ticker), None)
        if seen is None or fees is None:
            return reasons.MARKET_UNKNOWN if seen is None else reasons.FEE_UNKNOWN
        filled = {number: progress.count_e2 for number, progress in self.ledger.progress.items()}
        own = own_bids(self.ledger.open.values(), filled, wanted.ticker)
        value, oldest_ms = self.fair_values.get(wanted.ticker), self.now_ms - self.scan.max_fair_value_age_ms
        return quote_edge_e6(wanted, fair_e6(seen, own, value, self.accepted, oldest_ms), fees, self.now_ms)

    def _by_hand(self, taken: ByHand) -> None:
        """Do what a person asks for, at current prices."""
        conditions = self.conditions
        if taken.epoch:
            conditions.epoch, conditions.seq = taken.epoch, taken.seq
            conditions.complete_ms = taken.complete_ms
        for output in self.people.hear(taken.ask, taken.views):
            self._out.append(output)
        held = self.ledger.events()
        for view in taken.views:
            self._note_failures(view)
            if view.event.event_ticker in held:
                self.views[view.event.event_ticker] = view

    def placed_before(self, number: int) -> bool:
        """Whether there was an order of this number."""
        return 0 < number <= self.numbering.last_order

    def objection(self, proposal: Proposal, view: EventView) -> str | None:
        """Return why risk would not let a trade pass now."""
        try:
            return self._with_cash(self._judge(proposal, view)[-1], proposal, view)
        except Exception as error:  # noqa: BLE001, it is noted
            self._failing.append(Failure.of(view.event.event_ticker, RISK, error))
            return reasons.ERROR

    def place_by_hand(self, proposal: Proposal, view: EventView) -> Intent | str:
        """Place a person's order of one leg if risk lets it pass; return it, or why not."""
        reason = self._with_cash(self._place(proposal, view), proposal, view)
        if reason is not None:
            return reason
        placed = self._out[-1]
        assert isinstance(placed, Place)
        return placed.intent

    def _with_cash(self, reason: str | None, proposal: Proposal, view: EventView) -> str | None:
        """Return a reason; if a shard lacks cash, with what to move."""
        if reason != reasons.CASH_ON_SHARD:
            return reason
        return f"{reason}: {risk.what_to_move(proposal, view, self._facts())}"

    def adopt_drift(self, lines: Sequence[str]) -> str | None:
        """Book the account as the exchange lists it; return why not, None once it is done."""
        books = self.books
        if not books.drift:
            return reasons.NO_DRIFT
        if tuple(lines) != books.drift or not books.still_drifts(self.ledger):
            return reasons.DRIFT_CHANGED
        for foreign in books.unexplained(self.ledger, self.now_ms):
            self._book_foreign(foreign)
        cash = books.unexplained_cash(self.ledger)
        if cash is not None:
            self._adopt(*cash)
        books.adopted()
        self.conditions.drift = ()
        return None

    def _note_failures(self, view: EventView) -> None:
        """Record what failed on an event, after everything else about it has been tried."""
        if self._failing or self.failures.standing:
            self.failures.note(view.event.event_ticker, self._failing)
            self._failing = []

    def _facts(self, view: EventView | None = None, strategy: str = "") -> Facts:
        return Facts(
            now_ms=self.now_ms,
            paced_ms=self.paced_ms,
            halts=self.halts(),
            floor_ms=self.conditions.floor_ms,
            ledger=self.ledger,
            sent_ms=self.throttle.sent_ms,
            lost_today_e6=self.worth.lost_today_e6(),
            idle_shards=self.conditions.idle_shards,
            degraded=self.conditions.degraded,
            rules=self.rules,
            free_e6=self.books.free_e6(self.ledger) if self.gateway else None,
            retry_at_ms=self.throttle.retry_at_ms,
            caps=() if view is None else self._caps(view, strategy),
            netting=self.gateway and self.books.netting is True,
        )

    def _caps(self, view: EventView, strategy: str, total_e6: int = risk.LARGEST) -> Sequence[Cap]:
        limits, now_ms = self.limits.caps, self.now_ms
        return caps(view, strategy, self.ledger, self.views, limits, now_ms, self._groups, total_e6)

    def _hear_exchange(self, taken: Orders | Gateway | Account) -> None:
        if isinstance(taken, Orders):
            self._orders(taken)
        elif isinstance(taken, Gateway):
            self.conditions.gateway = taken.word
        else:
            self._account(taken.listed)

    def _orders(self, taken: Orders) -> None:
        of_order: dict[int, list[AnyOrderEvent]] = {}
        for event in taken.events:
            of_order.setdefault(event.number, []).append(event)
        ended = {intent.number: intent for intent in taken.ended}
        for number, told in of_order.items():
            intent = self.ledger.open.get(number)
            if intent is None:
                self._book_late(ended.get(number), told)
            else:
                self._book(intent, told)
        for foreign in taken.foreign:
            self._book_foreign(foreign)
        self.heard = max(self.heard, taken.heard)

    def _book_late(self, intent: Intent | None, events: Sequence[AnyOrderEvent]) -> None:
        """Book the fills of an order that has ended: they are money, whatever was reported before."""
        self._stray(events)
        fills = [event.fill for event in events if isinstance(event, Filled) and event.fill.id]
        if not fills:
            return
        if intent is None:
            self._alarm(f"order {events[0].number}: filled, and the journal has no such order: {fills[0]}")
            return
        before_e6 = self.ledger.cash_e6
        for fill in fills:
            self.ledger.fill_late(intent, fill)
        self.books.move_cash(intent.exchange_index, self.ledger.cash_e6 - before_e6)
        booked = tuple(fills)
        self._out.append(Booked(intent.number, OrderState.CANCELLED, "", booked, self.now_ms, late=True))
        self._mark(intent.event_ticker)
        self.roster.fill(intent, booked, self.now_ms)

    def _book_foreign(self, foreign: ForeignFill) -> None:
        before_e6 = self.ledger.cash_e6
        closed: tuple[tuple[int, int], ...] = ()
        if foreign.fill.count_e2 or self.rules >= 4:
            closed = self.ledger.fill_foreign(foreign, by_event=self.rules >= 3)
        self.books.move_cash(foreign.exchange_index, self.ledger.cash_e6 - before_e6)
        self._out.append(Foreign(foreign, closed, self.now_ms))
        self._mark(foreign.event_ticker)

    def _mark(self, event_ticker: str) -> None:
        view = self.views.get(event_ticker)
        if view is not None:
            self.worth.mark(self.taken.of_others(view), self.paced_ms)

    def _alarm(self, line: str) -> None:
        """Trade nothing until a person has looked at this."""
        self.conditions.alarm = line
        self._out.append(Alarm(line))

    def _account(self, listed: AccountAnswer) -> None:
        """Book what the exchange has paid and cash that came or went, and compare all that is held."""
        for id_, kind, shard, amount_e6 in new_movements(listed, self._adopted):
            self._adopt(id_, kind, shard, amount_e6)
        for position in listed.positions:
            if self.ledger.rehome(position.ticker, position.event_ticker):
                self._out.append(Rehomed(position.ticker, position.event_ticker))
        if listed.last_event == self.heard:  # otherwise the listing holds more than is booked, or less
            for settlement in listed.settlements:
                self._out += self.payouts.settle_listed(settlement)
            newest = {one.ticker: one for one in sorted(listed.settlements, key=lambda one: one.time_ms)}
            for ticker in sorted(newest.keys() & self.ledger.recent.keys() - self.ledger.lots.keys()):
                self._out += self.payouts.correct_listed(newest[ticker])
            if "shards" not in listed.missing:
                self.books.list_cash(listed)
        books = self.books
        if books.quiet(listed, self.ledger, self.standing, self.heard, self.paced_ms):
            exclusive = {view.event.event_ticker for view in self.views.values() if _is_exclusive(view)}
            rounded_e6 = books.rounded_e6
            if (
                rounded_e6
                and sum(shard.cash_e6 for shard in listed.shards) - self.ledger.cash_e6 == rounded_e6
            ):
                # This exchange pays parts of a cent, though it lists none.
                self._adopt(f"rounding:{listed.as_of_ms}", "rounding", 0, rounded_e6)
            books.look(listed, self.ledger, self.standing, self.now_ms, self.paced_ms, exclusive)
            self.conditions.reconciled, self.conditions.drift = books.reconciled, books.drift

    def _adopt(self, id_: str, kind: str, shard: int, amount_e6: int) -> None:
        """Book cash that came or went without us."""
        self._adopted.add(id_)
        self.ledger.adopt(amount_e6)
        self._out.append(External(id_, kind, shard, amount_e6, self.now_ms))

    def _amend(self, intent: Intent, wanted: AmendWanted, view: EventView) -> str | None:
        """Request another price or count for a resting order; return why not, None once it is requested."""
        number, price_e4, count_e2 = wanted.number, wanted.price_e4, wanted.count_e2
        asked = number in self.ledger.amending or self.standing.withdrawn(number)
        if asked or number in self.standing.unknown:
            return reasons.RETRY_LATER
        try:
            reason = self._amend_refused(intent, wanted, view)
        except Exception as error:  # noqa: BLE001, it is noted
            self._failing.append(Failure.of(view.event.event_ticker, RISK, error))
            reason = reasons.ERROR
        if reason is None:
            most_e6 = reserve_e6(intent.fees, price_e4, count_e2, self.now_ms)
            self.ledger.ask_amend(number, price_e4, count_e2, most_e6)
            self.taken.amend()
            self.throttle.sent(1, self.paced_ms)
            self._out.append(Amend(number, price_e4, count_e2, most_e6))
        return reason

    def _amend_refused(self, intent: Intent, wanted: AmendWanted, view: EventView) -> str | None:
        got_e2 = self.ledger.filled(intent.number).count_e2
        whole = Wanted(intent.ticker, intent.side, wanted.price_e4, wanted.count_e2)
        reason = risk.amend(
            intent, got_e2, whole, view, self._facts(view, intent.strategy), self.limits, self.scan
        )
        if reason is not None or not intent.post_only or intent.attempt == CLOSED_BY_HAND:
            return reason
        left = msgspec.structs.replace(whole, count_e2=wanted.count_e2 - got_e2)
        edge_e6 = self._quote_edge_e6(left, view)
        if isinstance(edge_e6, str):
            return edge_e6
        return reasons.MIN_EDGE if edge_e6 < 0 else None

    def _amended(self, number: int, event: Amended | AmendRefused) -> None:
        """Hold the money that an order may cost as it now rests."""
        now = self.ledger.open[number]
        if isinstance(event, Amended):
            most_e6 = reserve_e6(now.fees, event.price_e4, event.count_e2, self.now_ms)
            rests = event.price_e4, event.count_e2, most_e6
        else:
            before = self.ledger.amending.get(number, now)
            rests = before.price_e4, before.count_e2, before.reserve_e6
        self.ledger.end_amend(number, *rests)
        self.taken.amend()
        self._out.append(AmendBooked(number, *rests, refused=isinstance(event, AmendRefused)))

    def _stray(self, events: Sequence[AnyOrderEvent]) -> None:
        self.strays += events[: max(0, STRAYS_MAX - len(self.strays))]

    def take_strays(self) -> list[AnyOrderEvent]:
        """Return what was reported since the last call about orders that are not open, STRAYS_MAX at most."""
        strays, self.strays = self.strays, []
        return strays

    def _book(self, intent: Intent, events: Sequence[AnyOrderEvent]) -> None:
        """Book what happened to an open order, and look at what follows from it."""
        number, standing = intent.number, self.standing
        before = self.ledger.baskets.get(intent.trade)
        before_e6 = self.ledger.cash_e6
        if any(isinstance(event, Filled) and event.fill.id for event in events):
            # Whatever was filled before the end or is reported after it, the end is booked last.
            events = sorted(events, key=lambda event: isinstance(event, Ended))
        fills: list[Fill] = []
        status, reason, ended = OrderState.OPEN, "", False
        for at, event in enumerate(events):
            if ended:
                self._stray(events[at:])
                break
            match event:
                case Sent():
                    standing.send(number)
                case Accepted():
                    standing.accept(number)
                case Filled():
                    standing.accept(number)
                    if event.fill.id and (beyond := self._beyond(number, event.fill)) is not None:
                        self._alarm(beyond)
                    if self.ledger.fill(number, event.fill) is not None:
                        fills.append(event.fill)
                        self.taken.fill(intent, event.fill)
                        self.leg_risk.paid(intent.trade, _came_e6(intent, event.fill, before))
                case Unknown():
                    standing.lose(number, event.reason, event.until_ms)
                case Ended():
                    status, reason, ended = self._end(intent, event), event.reason, True
                case Amended() | AmendRefused():
                    self._amended(number, event)
        if not ended:
            reason = standing.unknown.get(number, "")
            if self.rules >= 2:
                status = standing.state(number, self.ledger.filled(number).count_e2)
        booked = tuple(fills)
        self.books.move_cash(intent.exchange_index, self.ledger.cash_e6 - before_e6)
        self._out.append(Booked(number, status, reason, booked, self.now_ms))
        view = self.views.get(intent.event_ticker)
        if view is not None:
            self.worth.mark(self.taken.of_others(view), self.paced_ms)
        if booked or ended:
            self.roster.fill(intent, booked, self.now_ms)
        if view is not None and ended:
            self._out += self.payouts.settle(view)
            if not intent.attempt:
                # The first try is immediate; further tries have their time.
                self._even_out(view)
                self._note_failures(view)

    def _beyond(self, number: int, fill: Fill) -> str | None:
        return self.ledger.beyond(number, fill, may_be_empty=self.rules >= 4)

    def _end(self, intent: Intent, event: Ended) -> OrderState:
        """Free what an order still held; return what it has come to."""
        reason = event.reason
        intent = self.ledger.open[intent.number]  # by now it may differ from what was placed
        got_e2 = self.ledger.filled(intent.number).count_e2
        self.ledger.end(intent.number)
        self.taken.end(intent)
        if not intent.attempt:
            ended_there = self.gateway and event.state is OrderState.CANCELLED
            gone = got_e2 < intent.count_e2 and (reason in reasons.UNFILLED or ended_there)
            over = not self.ledger.ordered(intent.trade)
            self.leg_risk.ended(intent.trade, self.paced_ms, missed=gone, over=over)
        accepted = self.standing.end(intent.number)
        self._rest_until_shown(intent, got_e2)
        if got_e2 >= intent.count_e2:
            return OrderState.FILLED
        if got_e2 and self.rules < 2:
            return OrderState.PARTIAL
        rested = accepted and intent.time_in_force == "gtc"  # it missed nothing
        if not got_e2 and reason != reasons.RESTARTED and not intent.attempt and not rested:
            until_ms = self.paced_ms + self.limits.retry_after_ms
            self.throttle.rest(intent.event_ticker, self.paced_ms, until_ms)
        if event.state is not None and self.rules >= 2:
            return event.state
        arrived = accepted or got_e2 or reason in reasons.UNFILLED
        return OrderState.CANCELLED if arrived else OrderState.REJECTED

    def _rest_until_shown(self, intent: Intent, got_e2: int) -> None:
        """Leave an event alone while the feed may still show what an order took: it is not there twice."""
        shown_ms = self.paced_ms + SHOWN_MS
        if not self.gateway or not got_e2 or intent.attempt:
            return
        if self.throttle.retry_at_ms.get(intent.event_ticker, 0) < shown_ms:
            self.throttle.rest(intent.event_ticker, self.paced_ms, shown_ms)


def _came_e6(intent: Intent, fill: Fill, basket: Basket | None) -> int:
    """Return what a fill of a basket brought: of a sale the dollar of each pair, less what was paid."""
    sides = {} if basket is None else {leg.ticker: leg.side for leg in basket.legs}
    pairs_e2 = fill.count_e2 if sides.get(intent.ticker, intent.side) != intent.side else 0
    return pairs_e2 * PRICE_ONE_E4 - fill.cost_e6 - fill.fee_e6


def _is_exclusive(view: EventView) -> bool:
    return bool(view.event.mutually_exclusive)
