"""The pure half of the trader: what arrives becomes inputs, which are decided, logged and carried out.

Inputs are delimited by what was said (a message or a commit) and by time, never by what happened to have
arrived: the same feed and times give the same log, whoever calls, and however late. The live worker calls it
with the machine's time; a replay with the recording's times, which then are the steady clock too.

At a message of time t, first comes everything due until t, each at its own time and against the markets as
they were before the message; then comes the message. An order is durable in the log before it is sent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from bus.protocol.join import Action, ReplicaStatus
from bus.protocol.state import Changed, State
from bus.scan.membership import market_view
from bus.scan.rescan import Batch, Rescan, batch_of
from bus.threads import Owner
from bus.trading import reasons
from bus.trading.gateway import AccountAnswer, ForeignFill, ListedPosition
from markets.opportunities import EventView, MarketView, Opportunity
from markets.orders import AnyOrderEvent, Filled, Intent
from markets.records import ExchangeStatus, FairValue
from markets.texts import carried
from trader.engine.asks import (
    Adopt,
    AnyAsk,
    CancelOrder,
    ClosePosition,
    Confirm,
    Flatten,
    Prepare,
    PrepareCancel,
    PrepareFlatten,
    PrepareSale,
)
from trader.engine.engine import Engine
from trader.engine.inputs import (
    Account,
    AnyInput,
    ByHand,
    Command,
    Data,
    Feed,
    Gateway,
    Orders,
    Present,
    Start,
    StrategyFault,
    Tick,
    TimeGap,
    TradingStatus,
    Trust,
    Values,
)
from trader.engine.outputs import Amend, AnyOutput, Booked, Cancel, Day, Equity, Place, Refused
from trader.engine.risk import pays_too_late_until_ms

from .brokers.base import Broker, OpenOrder
from .figures import Rate

TICK_MS: Final = 1_000
SKIP_MS: Final = 3_600_000
"""If time moves on by more than this at once, only the ticks of the last such stretch happen."""

EVENTS_AT_ONCE: Final = 8
"""How many events are read and scanned together before what they offer is traded."""

STATUS_KNOWN_FOR_MS: Final = 60_000
"""How long the exchange's status is believed: every sweep asks for it."""

_MAY_BE_LOST: Final = (Refused, Equity, Day)
"""Outputs on which nothing depends: a step with no others becomes durable together with a later one."""

_SENT_ALL_THE_SAME: Final = (reasons.PAUSED, reasons.DAILY_LOSS)
"""During these nothing more is bought; orders placed before, or that reduce risk, are still carried out."""

_FROM_OUTSIDE: Final = (Start, Command, Values, Trust, Gateway, StrategyFault)
"""Inputs whose texts may come from files, people and strategies, and so from no message."""

Homed = TypeVar("Homed", ForeignFill, ListedPosition)

Probe = Callable[[str], None]
"""Called with the name of each point at which a crash matters; tests die there."""


class StepLog(Protocol):
    """Takes inputs and outputs."""

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        """Write one step."""
        ...

    def commit(self) -> None:
        """Make everything written so far durable."""
        ...


class StepListener(Protocol):
    """Is told of decisions once they have been carried out."""

    def decided(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        """Take an input and the decisions about it, in order; there is at least one."""
        ...


class Session:
    """One life of an engine: from a start to the end of its log. One thread uses it.

    Args:
        engine, broker: new ones that nobody else uses.
        rescan: finds the events that a change concerns, and scans them.
        order_of: returns an order from the journal, including ended ones.

    Attributes:
        present: the time of the last input.
        decisions: how many inputs had outputs; any other input leaves holdings and orders as they are.
        scans: how many events are scanned per second.
    """

    def __init__(
        self,
        engine: Engine,
        broker: Broker,
        rescan: Rescan,
        log: StepLog,
        listener: StepListener,
        probe: Probe = lambda _point: None,
        order_of: Callable[[int], Intent | None] = lambda _number: None,
    ) -> None:
        self.engine = engine
        self.broker = broker
        self.rescan = rescan
        self.present = Present(0, 0)
        self.decisions = 0
        self.scans = Rate()
        self._owner = Owner("a session")
        self._log = log
        self._listener = listener
        self._probe = probe
        self._order_of = order_of
        self._state: State | None = None
        self._markets: dict[str, MarketView | None] = {}
        self._pending: list[str] | None = None
        self._looked = 0
        self._held: frozenset[str] = frozenset()
        self._together = (self._held, self._held, self._held)
        self._feed: tuple[str, tuple[str, ...]] = ("starting", ())
        self._status: tuple[ExchangeStatus | None, bool] = (None, True)
        self._exchange: tuple[bool, bool, tuple[int, ...]] = (True, True, ())
        self._tick_ms = 0

    def begin(self, start: Start, values: Sequence[FairValue] = ()) -> None:
        """Continue where a journal ends; to be called first."""
        present = Present(start.now_ms, start.steady_ms)
        self._tick_ms = _next_tick_ms(present)
        self._step(start)
        if self.engine.roster.wanting:
            self.rescan.wants = self.engine.roster.wants
        self.rescan.refuses = self._refuses
        ledger = self.engine.ledger
        standing = [
            OpenOrder(intent, ledger.filled(number), ledger.amending.get(number))
            for number, intent in sorted(ledger.open.items())
        ]
        self._markets = dict.fromkeys(order.intent.ticker for order in standing)
        self._hear_broker(self.broker.recover(standing), present)
        if values:
            self._step(Values(*present, set=tuple(values), removed=()))
        self._log.commit()

    # -- time

    @property
    def next_ms(self) -> int:
        """When something is next due, by the steady clock."""
        due_ms = self.broker.next_ms
        return self._tick_ms if due_ms is None else min(self._tick_ms, due_ms)

    def pass_time(self, until: Present) -> None:
        """Do what is due until then: ticks at whole seconds, and what the broker has to report."""
        due_ms = self.broker.next_ms
        if self._tick_ms > until.steady_ms and (due_ms is None or due_ms > until.steady_ms):
            return  # as mostly: it is asked several times at each message
        if until.steady_ms - self._tick_ms > SKIP_MS:
            self._tick_ms += (until.steady_ms - self._tick_ms - SKIP_MS) // TICK_MS * TICK_MS
        asked_ms = -1
        while True:
            due_ms = self.broker.next_ms
            if due_ms is not None and asked_ms < due_ms <= min(self._tick_ms, until.steady_ms):
                asked_ms = due_ms
                self._ask_broker(self._at(due_ms, until))
            elif self._tick_ms <= until.steady_ms:
                at = self._at(self._tick_ms, until)
                self._tick_ms += TICK_MS
                self._step(Tick(*at))
                self.scans.note(at.steady_ms, self.rescan.scanned)
            else:
                return

    def time_gap(self, ms: int, present: Present) -> None:
        """Note that nobody could act for `ms`: nothing seen before is acted on, and missed ticks stay missed.

        If negative, the wall clock was set back by that much: the times of what was seen before are wrong.
        """
        self._step(TimeGap(*present, ms=ms))
        self.rescan.forget_refusals()
        self._tick_ms = max(self._tick_ms, _next_tick_ms(present))

    def _at(self, due_ms: int, until: Present) -> Present:
        """Return when something due at `due_ms` happens: never before the last input."""
        steady_ms = max(due_ms, self.present.steady_ms)
        return Present(until.now_ms - (until.steady_ms - steady_ms), steady_ms)

    def _ask_broker(self, at: Present) -> None:
        halts = [word for word in self.engine.halts() if word not in _SENT_ALL_THE_SAME]
        refuse = halts[0] if halts else None
        self._hear_broker(self.broker.due(at, self._markets.get, refuse, self.engine.conditions.floor_ms), at)

    def _hear_broker(self, heard: Sequence[AnyOrderEvent | ForeignFill], present: Present) -> None:
        if not heard:
            return
        self._probe("arrived")
        events = tuple(event for event in heard if not isinstance(event, ForeignFill))
        foreign = tuple(self._homed(event) for event in heard if isinstance(event, ForeignFill))
        open_ = self.engine.ledger.open
        late = {event.number for event in events if isinstance(event, Filled) and event.number not in open_}
        ended = [order for number in sorted(late) if (order := self._order_of(number)) is not None]
        # One input for all, so that the legs of a basket are booked together or not at all.
        self._step(
            Orders(*present, events=events, heard=self.broker.heard, foreign=foreign, ended=tuple(ended))
        )

    # -- the order gateway

    def gateway(self, word: str, said: str, present: Present) -> None:
        """Take the state of the order gateway."""
        self.pass_time(present)
        self._step(Gateway(*present, word=word, said=said))

    def account(self, listed: AccountAnswer, present: Present) -> None:
        """Take what the exchange lists of the account."""
        self.pass_time(present)
        positions = tuple(map(self._homed, listed.positions))
        self._step(Account(*present, listed=msgspec.structs.replace(listed, positions=positions)))

    def _homed(self, told: Homed) -> Homed:
        """Return a report about a market with its event, which the exchange's lists do not contain."""
        market = None if self._state is None else self._state.markets.get(told.ticker)
        lots = self.engine.ledger.lots.get(told.ticker)
        if market is not None:
            event_ticker = market.event_ticker
        elif lots:
            event_ticker = next(iter(lots.values())).event_ticker
        else:
            return told
        return msgspec.structs.replace(told, event_ticker=event_ticker)

    # -- people, and their files

    def command(self, op: str, reason: str, present: Present) -> None:
        """Take a person's command. It comes before what is due: a kill waits for nothing."""
        self._step(Command(*present, op=op, reason=reason))

    def by_hand(self, ask: AnyAsk, present: Present) -> Sequence[AnyOutput]:
        """Take what a person asks for; return the decisions, which have been carried out."""
        self.pass_time(present)
        if isinstance(ask, PrepareCancel) and (place := self.broker.queued.get(ask.number)) is not None:
            ahead_ms = present.now_ms if place.as_of_ms is None else place.as_of_ms
            ask = msgspec.structs.replace(ask, ahead_e2=place.ahead_e2, ahead_ms=ahead_ms)
        state = self._state
        views: tuple[EventView, ...] = ()
        if state is not None and state.epoch:
            views = tuple(self.rescan.views(state, self._concerned(ask, state), present.now_ms))
        cycle = None if state is None else state.cycle
        taken = ByHand(
            *present,
            epoch=0 if state is None else state.epoch,
            seq=0 if state is None else state.seq,
            complete_ms=None if cycle is None else cycle.complete_ms,
            views=views,
            ask=ask,
        )
        return self._step(taken)

    def _concerned(self, ask: AnyAsk, state: State) -> list[str]:
        """Return the events that must be looked at for this."""
        match ask:
            case CancelOrder() | PrepareCancel() | Adopt():
                return []
            case Flatten() | PrepareFlatten():
                return sorted(self.engine.ledger.events())
            case Confirm():
                return list(self.engine.people.events_of(ask.ticket))
            case Prepare() | PrepareSale() | ClosePosition():
                market = state.markets.get(ask.ticker)
        return [] if market is None else [market.event_ticker]

    def values(self, changed: Sequence[FairValue], removed: Sequence[str], present: Present) -> None:
        """Take changes of the published fair values. Call `look` for what they concern, as after `hear`."""
        self.pass_time(present)
        self._step(Values(*present, set=tuple(changed), removed=tuple(removed)))
        tickers = (*(value.ticker for value in changed), *removed)
        self._take(Batch().also("fair_value", tickers), present)

    def trust(self, sources: Sequence[str], present: Present) -> None:
        """Take the sources of fair values that are traded on at full size from now on."""
        self.pass_time(present)
        self._step(Trust(*present, sources=tuple(sources)))

    # -- the feed

    @property
    def state(self) -> State | None:
        """The state that was heard last."""
        return self._state

    @property
    def live(self) -> bool:
        """Whether the feed is followed without a gap, as last reported."""
        return self._feed[0] == "live"

    def feed(self, status: ReplicaStatus, present: Present) -> None:
        """Take the state of the feed."""
        if status.live:
            word = "live"
        elif status.lost:
            word = "lost"
        else:
            word = "gap" if status.epoch else "starting"
        degraded = status.degraded
        if degraded:
            degraded = tuple([topic.removeprefix("md.").removesuffix(".") for topic in degraded])
        if (word, degraded) != self._feed:
            self.pass_time(present)
            self._feed = (word, degraded)
            self._step(Feed(*present, word=word, degraded=degraded))

    def hear(self, state: State, actions: Sequence[Action], present: Present) -> None:
        """Take what one step of a replica did. Then call `look` until nothing is `pending`.

        Args:
            state: the replica's state after the step. It must not change while something is pending.
            actions: what the step reported.
        """
        self.pass_time(present)
        batch = batch_of(actions)
        if state is not self._state:
            self._state, batch = state, Batch(whole=True)
        watched = self.broker.watched
        if watched:
            for action in actions:
                for trade in action.trades if isinstance(action, Changed) else ():
                    if trade.ticker in watched:
                        self.broker.traded(trade, present)
        self._take(batch, present)

    @property
    def pending(self) -> bool:
        """Whether events wait to be looked at."""
        return self._pending is not None

    def look(self, present: Present) -> None:
        """Look at a few of the pending events, so that after a commit no trade waits for the last scan."""
        state, pending, engine = self._state, self._pending, self.engine
        assert state is not None, "nothing is pending before a state is there"
        assert pending is not None, "nothing is pending"
        self.pass_time(present)
        events = pending[self._looked : self._looked + EVENTS_AT_ONCE]
        self._looked += EVENTS_AT_ONCE
        if self._looked >= len(pending):
            self._pending = None
        cycle = state.cycle
        seen = self.rescan.views(state, events, present.now_ms)
        held = self._held_or_settled()
        curious = bool(engine.roster.curious)
        relevant = self.rescan.relevant(seen, engine.fair_values, held, present.now_ms, curious=curious)
        self._drop_faulty(present)
        complete_ms = cycle.complete_ms if cycle else None
        found = {view.event.event_ticker: offered for view, offered in relevant}
        views = tuple([view for view, _ in relevant])
        refused = engine.refusals.lasting
        if refused:  # what was refused there is so no more
            others = [view for view in seen if view.event.event_ticker not in found]
            views += tuple([view for view in others if view.event.event_ticker in refused])
        if views or complete_ms != engine.conditions.complete_ms or state.epoch != engine.conditions.epoch:
            self._step(
                Data(*present, epoch=state.epoch, seq=state.seq, complete_ms=complete_ms, views=views), found
            )

    def _held_or_settled(self) -> frozenset[str]:
        """Return `_held` and the events of markets settled lately; put together once while both stay."""
        held, settled = self._held, self.engine.ledger.recent_events
        if held is not self._together[0] or settled is not self._together[1]:
            self._together = held, settled, held | settled
        return self._together[2]

    def _refuses(self, view: EventView, now_ms: int) -> int:
        """Return until when risk allows no purchase in an event, at any price."""
        return pays_too_late_until_ms(view, now_ms, self.engine.limits)

    def _take(self, batch: Batch, present: Present) -> None:
        assert self._pending is None, "look at what is pending first"
        state = self._state
        if state is None or not state.epoch or not (batch.whole or batch.commit or batch.keys):
            return
        self._held = self.engine.minded
        values, settled = self.engine.fair_values, self.engine.ledger.recent_events
        heed = self.engine.heed
        self._pending = self.rescan.events(state, batch, values, self._held, heed=heed, recent=settled)
        self._looked = 0
        self._drop_faulty(present)
        self._observe(state, batch, present)
        status = state.exchange.get("")
        recent = status is not None and present.now_ms - status.as_of_ms <= STATUS_KNOWN_FOR_MS
        if self._status[0] is status and self._status[1] is recent:
            return
        self._status = status, recent
        trading = known = False
        idle: tuple[int, ...] = ()
        if status is not None:
            says = status.exchange_active, status.trading_active
            known = recent and (None not in says or False in says)
            trading = recent and all(says)
            idle = tuple(sorted(index for index, *flags in status.shards if not all(flags)))
        if (trading, known, idle) != self._exchange:
            self._exchange = trading, known, idle
            self._step(TradingStatus(*present, trading=trading, idle_shards=idle, known=known))

    def _drop_faulty(self, present: Present) -> None:
        """Have the strategies dropped that failed to say which events they want."""
        for fault in self.engine.roster.take_faults():
            self._step(StrategyFault(*present, strategy=fault.strategy, call=fault.call, error=fault.error))

    def _observe(self, state: State, batch: Batch, present: Present) -> None:
        """Keep the markets that orders may meet, and show the broker those that it watches."""
        markets, watched = self._markets, self.broker.watched
        if not markets and not watched:
            return
        wanted = watched | markets.keys() if watched else markets
        changed = dict.fromkeys([key for keys in batch.keys.values() for key in keys if key in wanted])
        for ticker in markets if batch.whole or batch.commit else changed:
            if ticker in markets:
                markets[ticker] = market_view(state, ticker)
        for ticker in sorted(watched) if batch.whole else changed:
            if ticker in watched and (market := market_view(state, ticker)) is not None:
                self.broker.observe(market, present)

    # -- one step

    def _step(
        self, taken: AnyInput, found: Mapping[str, Sequence[Opportunity]] | None = None
    ) -> Sequence[AnyOutput]:
        """Decide an input, log it, make it durable if it matters, then carry out the decisions."""
        self._owner.check()
        if isinstance(taken, _FROM_OUTSIDE):
            taken = carried(taken)  # what the log cannot carry must not be decided on either
        outputs = self.engine.step(taken, found)
        self._probe("decided")
        self._log.write(taken, outputs)
        if outputs and not all(isinstance(output, _MAY_BE_LOST) for output in outputs):
            self._log.commit()
        present = self.present
        if taken.steady_ms != present.steady_ms or taken.now_ms != present.now_ms:
            self.present = Present(taken.now_ms, taken.steady_ms)
        if not outputs:
            return outputs
        self.decisions += 1
        # In order: an order that is to be cancelled at once has been placed before.
        placed, asked = [], False
        for output in outputs:
            asked = asked or isinstance(output, Place | Cancel | Amend)
            if isinstance(output, Place):
                self.broker.place(output.intent, self.present)
                placed.append(output.intent)
                self._probe("placed")
            elif isinstance(output, Cancel):
                self.broker.cancel(output.number, self.present)
            elif isinstance(output, Amend):
                self.broker.amend(output.number, output.price_e4, output.count_e2, self.present)
        if asked:
            self.broker.carry_out()
        self._listener.decided(taken, outputs)
        if any(isinstance(output, Booked) and output.status.ended for output in outputs):
            tickers = {intent.ticker for intent in self.engine.ledger.open.values()}
            self._markets = {ticker: self._markets.get(ticker) for ticker in tickers}
        for intent in placed:
            assert self._state is not None, "orders are decided on a state"
            self._markets[intent.ticker] = market_view(self._state, intent.ticker)
        return outputs


def _next_tick_ms(present: Present) -> int:
    """Return the first whole second after `present`, by the steady clock."""
    return (present.steady_ms // TICK_MS + 1) * TICK_MS
