"""The session: the same feed and times give the same log, in whatever portions it is called."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.protocol.join import Action, ReplicaStatus, Stats, Tell
from bus.protocol.messages import CycleEnd
from bus.protocol.state import Changed
from bus.protocol.writer import Change, Writer
from bus.scan.rescan import Rescan
from markets.opportunities import EventView, MarketView
from markets.orders import AnyOrderEvent, Intent, Proposal, Wanted
from markets.records import Event, ExchangeStatus, FairValue
from markets.units import DAY_MS, HOUR_MS
from tests.bus.scan.changes import changes_of
from tests.trader.world import LIMITS, NOW_MS, SCAN, basket, event_of, leg, quiet, start, view_of
from trader.brokers.base import Markets
from trader.brokers.paper import PaperBroker
from trader.engine.engine import Engine
from trader.engine.inputs import AnyInput, Data, Encoder, Orders, Present, StrategyFault, Tick
from trader.engine.outputs import AnyOutput, Booked, Dropped, Place, Refused, encode_outputs
from trader.engine.risk import Limits
from trader.session import EVENTS_AT_ONCE, SKIP_MS, STATUS_KNOWN_FOR_MS, Session
from trader.strategies import BUILT_IN, NoBasket, Quiet, Update
from trader.strategies.strategy import exit_of

LATENCY_MS = 250


class Book:
    """A log in memory."""

    def __init__(self) -> None:
        self.inputs: list[AnyInput] = []
        self.outputs: list[AnyOutput] = []
        self.bytes: list[bytes] = []
        self.lasting = 0
        self._encoder = Encoder(self._save)

    def _save(self, kind: str, body: bytes) -> int:
        self.bytes.append(body)
        return len(self.bytes)

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        self.inputs.append(taken)
        self.outputs += outputs
        self.bytes += (self._encoder.encode(taken), encode_outputs(outputs))

    def commit(self) -> None:
        self.lasting = len(self.inputs)


class Careful(PaperBroker):
    """Takes orders only of which the log has the input for good; counts what it is asked."""

    def __init__(self, book: Book) -> None:
        super().__init__(LATENCY_MS, 30_000, SCAN)
        self._book = book
        self.asked = 0

    def place(self, intent: Intent, present: Present) -> None:
        assert self._book.lasting == len(self._book.inputs)
        super().place(intent, present)

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> list[AnyOrderEvent]:
        self.asked += 1
        return super().due(present, market, refuse, floor_ms)


class Deaf:
    def decided(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        assert outputs


class Run:
    """A session and a publisher whose state it follows; times are those of the recording that this is."""

    def __init__(self, strategy: str = "no_basket", limits: Limits = LIMITS) -> None:
        self.status: Callable[[int], ExchangeStatus] = open_at
        self.book = Book()
        self.broker = Careful(self.book)
        self.writer = Writer(1)
        self.session = Session(Engine(), self.broker, Rescan(SCAN), self.book, Deaf())
        self.session.begin(start(now_ms=NOW_MS, steady_ms=NOW_MS, strategies=(strategy,), limits=limits))
        self.session.feed(standing(live=True), present(NOW_MS))

    def commit(self, now_ms: int, *views: EventView) -> list[Action]:
        changes = [change for view in views for change in changes_of(view)]
        cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
        trades: Change = ("ex.", "exchange", [self.status(now_ms)])
        self.writer.commit([trades, *changes], cycle, now_ms * 1_000_000, now_ms * 1_000_000)
        groups = [
            (kind, [one.event_ticker if kind == "event" else one.ticker for one in records])
            for _, kind, records in changes
        ]
        return [Changed(self.writer.state.seq, 1, groups)]

    def stream(self, now_ms: int, view: EventView) -> list[Action]:
        quotes = [seen.quote for seen in view.markets]
        topic = f"md.{view.event.series_ticker}."
        self.writer.stream(topic, "quote", quotes, now_ms * 1_000_000, now_ms * 1_000_000)
        return [Changed(self.writer.state.seq, 0, [("quote", [quote.ticker for quote in quotes])])]

    def hear(self, now_ms: int, actions: Sequence[Action]) -> None:
        self.session.hear(self.writer.state, actions, present(now_ms))
        while self.session.pending:
            self.session.look(present(now_ms))

    def say(self, now_ms: int, *views: EventView) -> None:
        self.hear(now_ms, self.commit(now_ms, *views))

    def taken(self, kind: type[AnyInput]) -> list[int]:
        """The times of all inputs of a kind."""
        return [taken.now_ms for taken in self.book.inputs if isinstance(taken, kind)]


def open_at(now_ms: int) -> ExchangeStatus:
    return ExchangeStatus(True, True, None, (), now_ms)


def present(now_ms: int) -> Present:
    return Present(now_ms, now_ms)


def standing(*, live: bool) -> ReplicaStatus:
    """How a replica of the replay stands that has a state."""
    phase = "live" if live else "repairing"
    return ReplicaStatus(1, 1, live, phase, False, None, (), "replay", Stats())


def test_what_is_due_happens_at_its_own_time_and_against_the_markets_before_the_message() -> None:
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    assert sum(isinstance(output, Place) for output in run.book.outputs) == 3

    # The next message comes after the orders have arrived, and takes away what they have bought.
    run.say(NOW_MS + 2_700, quiet(as_of_ms=NOW_MS + 2_700))
    assert run.taken(Orders) == [NOW_MS + 100 + LATENCY_MS]
    assert run.taken(Tick) == [NOW_MS + 1_000, NOW_MS + 2_000]
    booked = [output for output in run.book.outputs if isinstance(output, Booked)]
    assert [output.status for output in booked] == ["filled"] * 3
    assert {fill.time_ms for output in booked for fill in output.fills} == {NOW_MS + 100 + LATENCY_MS}
    times = [(taken.now_ms, taken.steady_ms) for taken in run.book.inputs]
    assert times == sorted(times)


def test_an_order_that_arrives_with_a_message_meets_the_markets_before_it() -> None:
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.say(NOW_MS + 100 + LATENCY_MS, quiet(as_of_ms=NOW_MS + 200))

    assert [output.status for output in run.book.outputs if isinstance(output, Booked)] == ["filled"] * 3


def test_the_market_that_an_order_meets_is_the_last_one_said_before_it_arrives() -> None:
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.hear(NOW_MS + 200, run.stream(NOW_MS + 200, quiet(as_of_ms=NOW_MS + 200)))
    run.session.pass_time(present(NOW_MS + 3_000))

    assert [output.status for output in run.book.outputs if isinstance(output, Booked)] == ["cancelled"] * 3


def test_a_broker_that_says_nothing_though_it_is_due_is_not_asked_for_ever() -> None:
    class Silent(Careful):
        @property
        def next_ms(self) -> int | None:
            return NOW_MS + 10

        def due(self, *_asked: object) -> list[AnyOrderEvent]:
            self.asked += 1
            return []

    run = Run()
    run.session.broker = silent = Silent(run.book)
    run.session.pass_time(present(NOW_MS + 2_500))
    assert (silent.asked, run.taken(Tick)) == (1, [NOW_MS + 1_000, NOW_MS + 2_000])


def test_a_kill_waits_for_nothing_that_is_due() -> None:
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.session.command("kill", "enough", present(NOW_MS + 5_000))
    run.session.pass_time(present(NOW_MS + 5_000))

    assert {output.reason for output in run.book.outputs if isinstance(output, Booked)} == {"killed"}
    times = [taken.now_ms for taken in run.book.inputs]
    assert times == sorted(times)


def test_a_hole_of_days_is_not_ticked_through() -> None:
    run = Run()
    run.session.pass_time(present(NOW_MS + 90 * 86_400_000))

    ticks = run.taken(Tick)
    assert len(ticks) == SKIP_MS // 1_000 + 1
    assert ticks[-1] == NOW_MS + 90 * 86_400_000


def test_after_a_gap_in_time_no_tick_is_made_up_for() -> None:
    run = Run()
    run.session.time_gap(30_000, present(NOW_MS + 30_500))
    run.session.pass_time(present(NOW_MS + 31_200))

    assert run.taken(Tick) == [NOW_MS + 31_000]


def test_a_large_commit_is_looked_at_a_few_events_at_a_time_and_each_of_them_once() -> None:
    run = Run()
    count = 2 * EVENTS_AT_ONCE + 3
    now_ms = NOW_MS + 100
    actions = run.commit(now_ms, *(basket(number, as_of_ms=now_ms) for number in range(1, count + 1)))
    run.session.hear(run.writer.state, actions, present(now_ms))
    looks = 0
    while run.session.pending:
        run.session.look(present(now_ms))
        looks += 1

    data = [taken for taken in run.book.inputs if isinstance(taken, Data)]
    assert (looks, len(data)) == (3, 3)
    seen = [view.event.event_ticker for taken in data for view in taken.views]
    assert sorted(seen) == sorted(event_of(number).event_ticker for number in range(1, count + 1))


def test_fair_values_are_traded_on_at_once() -> None:
    run = Run("value")
    run.say(NOW_MS + 100, quiet(as_of_ms=NOW_MS + 100))
    ticker = f"{event_of().event_ticker}-HOM"
    run.session.values([FairValue(ticker, 0.7, "file", NOW_MS, 0.0)], [], present(NOW_MS + 200))
    while run.session.pending:
        run.session.look(present(NOW_MS + 200))

    assert [output.intent.ticker for output in run.book.outputs if isinstance(output, Place)] == [ticker]


# -- any feed, called in any portions

number = st.integers(1, 12)
Message = tuple[str, int, int, int]
messages: st.SearchStrategy[list[Message]] = st.lists(
    st.tuples(
        st.sampled_from(["basket", "basket", "quiet", "stream", "stream", "gap"]),
        number,
        st.sampled_from([0, 1, 100, 249, 250, 251, 900, 5_000]),
        st.sampled_from([3_700, 4_000, 4_200]),
    ),
    min_size=1,
    max_size=25,
)


def played(messages: Sequence[Message], wait: Callable[[Run, int, int], None]) -> list[bytes]:
    """Play messages into a new session; `wait` is called before each with the times of the last and of it."""
    run, now_ms = Run(), NOW_MS
    for what, number, after_ms, bid_e4 in messages:
        before_ms, now_ms = now_ms, now_ms + after_ms
        wait(run, before_ms, now_ms)
        view = (
            quiet(number, as_of_ms=now_ms)
            if what == "quiet"
            else basket(number, as_of_ms=now_ms, bid_e4=bid_e4)
        )
        if what == "gap":
            run.session.feed(standing(live=False), present(now_ms))
            run.session.feed(standing(live=True), present(now_ms))
            run.hear(now_ms, [Tell("resynced", {})])
        elif what == "stream" and view.event.event_ticker in run.writer.state.events:
            run.hear(now_ms, run.stream(now_ms, view))
        else:
            run.say(now_ms, view)
    run.session.pass_time(present(now_ms + 10_000))
    return run.book.bytes


@given(messages, st.lists(st.integers(1, 400), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_the_log_is_the_same_whoever_lets_time_pass_in_whatever_portions(
    messages: list[Message], portions: list[int]
) -> None:
    def in_portions(run: Run, before_ms: int, now_ms: int) -> None:
        at_ms = before_ms
        while at_ms < now_ms:
            for portion_ms in portions:
                at_ms += portion_ms
                run.session.pass_time(present(min(at_ms, now_ms)))

    assert played(messages, in_portions) == played(messages, lambda _run, _before_ms, _now_ms: None)


def test_nothing_that_a_market_view_says_is_asked_of_the_state_after_the_message() -> None:
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    before: dict[str, MarketView | None] = dict(run.session._markets)
    actions = run.commit(NOW_MS + 200, quiet(as_of_ms=NOW_MS + 200))
    assert run.session._markets == before
    run.hear(NOW_MS + 200, actions)
    assert run.session._markets != before


# -- events that a strategy asks for


class Asking(Quiet):
    """Asks for every event of an even number; fails when asked for number 5."""

    name = "asking"
    told: ClassVar[list[str]] = []

    def wants(self, event: Event) -> bool:
        if event.title == "Match 5":
            raise LookupError(event.title)
        return int(event.title.split()[1]) % 2 == 0

    def on_update(self, update: Update) -> Sequence[Proposal]:
        self.told.append(update.view.event.title)
        return ()


def test_a_strategy_hears_of_every_event_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "asking", Asking)
    monkeypatch.setattr(Asking, "told", [])
    run = Run("asking")
    run.say(NOW_MS + 100, *(quiet(number, as_of_ms=NOW_MS + 100) for number in (1, 2, 3, 4)))
    assert Asking.told == ["Match 2", "Match 4"]
    run.hear(NOW_MS + 200, run.stream(NOW_MS + 200, quiet(2, as_of_ms=NOW_MS + 200)))
    assert Asking.told == ["Match 2", "Match 4", "Match 2"]
    seen = [view.event.title for taken in run.book.inputs if isinstance(taken, Data) for view in taken.views]
    assert seen == Asking.told  # nothing else enters the log

    run.say(NOW_MS + 300, *(quiet(number, as_of_ms=NOW_MS + 300) for number in (5, 6)))

    assert run.taken(StrategyFault) == [NOW_MS + 300]
    assert [output for output in run.book.outputs if isinstance(output, Dropped)] == [
        Dropped("asking", "wants", "LookupError")
    ]
    run.say(NOW_MS + 400, quiet(2, as_of_ms=NOW_MS + 400))
    assert "Match 6" not in Asking.told
    assert len(Asking.told) == 3


class Loose(Quiet):
    """Buys one contract in an event of which no kind of opportunity sees anything."""

    name = "loose"

    def wants(self, event: Event) -> bool:
        return not event.mutually_exclusive

    def on_update(self, update: Update) -> Sequence[Proposal]:
        if update.lots or update.orders or update.view.event.mutually_exclusive:
            return ()
        assert not any(found.tradable for found in update.opportunities)
        wanted = Wanted(update.view.markets[0].market.ticker, "yes", 3_600, 100)
        return [Proposal(self.name, update.view.event.event_ticker, (wanted,), 0, 0.9)]


def test_a_strategy_trades_in_an_event_that_is_not_exclusive_and_offers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BUILT_IN, "loose", Loose)
    run = Run("loose")
    event = event_of(1, mutually_exclusive=False)
    ticker = f"{event.event_ticker}-AWY"
    run.session.values([FairValue(ticker, 0.9, "polls", NOW_MS, 0.6)], [], present(NOW_MS + 50))
    run.say(NOW_MS + 100, msgspec.structs.replace(quiet(1, as_of_ms=NOW_MS + 100), event=event))

    (placed,) = [output.intent for output in run.book.outputs if isinstance(output, Place)]
    assert (placed.ticker, placed.kind, placed.source) == (ticker, "loose", "polls")


class Overdue(NoBasket):
    """Wants orders that are to rest until a moment that is over."""

    def on_update(self, update: Update) -> Sequence[Proposal]:
        return [
            msgspec.structs.replace(wanted, time_in_force="gtc", expires_ms=update.now_ms)
            for wanted in super().on_update(update)
        ]


def test_an_order_that_is_to_end_at_once_is_cancelled_after_it_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Overdue)
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.session.pass_time(present(NOW_MS + 1_000))

    ends = {output.reason for output in run.book.outputs if isinstance(output, Booked)}
    assert ends == {"cancelled"}


def test_what_pays_out_too_late_stands_refused_until_its_prices_offer_nothing() -> None:
    run = Run(limits=msgspec.structs.replace(LIMITS, payout_ms=HOUR_MS))
    stands: list[list[str]] = []

    def note() -> None:
        refused = run.session.engine.refusals.stand.get(event_of().event_ticker, [])
        stands.append([one.reason for one in refused])

    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    for second in range(12, 60, 12):
        note()
        run.say(NOW_MS + second * 1_000)
    note()
    assert stands == [["payout_too_late"]] * 5

    run.hear(NOW_MS + 49_000, run.stream(NOW_MS + 49_000, quiet(as_of_ms=NOW_MS + 49_000)))
    note()
    assert not stands.pop()
    run.hear(NOW_MS + 50_000, run.stream(NOW_MS + 50_000, basket(as_of_ms=NOW_MS + 50_000)))
    again = Engine()
    for taken in run.book.inputs:
        again.step(taken)
    assert again.refusals.stand == run.session.engine.refusals.stand != {}


def test_what_pays_out_too_late_by_a_clock_that_was_ahead_is_bought_once_that_is_set_right() -> None:
    times: dict[str, Any] = {"expected_expiration_ms": NOW_MS + HOUR_MS, "close_ms": NOW_MS + 14 * DAY_MS}

    def offered(as_of_ms: int) -> EventView:
        prices = (4_000, 10_000), (4_200, 10_000)
        names = "HOM", "AWY", "TIE"
        return view_of(
            event_of(), *[leg(event_of(), name, *prices, as_of_ms=as_of_ms, **times) for name in names]
        )

    def take(actions: Sequence[Action], now_ms: int, steady_ms: int) -> None:
        run.session.hear(run.writer.state, actions, Present(now_ms, steady_ms))
        while run.session.pending:
            run.session.look(Present(now_ms, steady_ms))

    run, ahead_ms = Run(), 3 * HOUR_MS
    at_ms = NOW_MS + ahead_ms  # past the expected end, so the close counts
    take(run.commit(at_ms, offered(at_ms)), at_ms, NOW_MS + 100)
    assert {one.reason for one in run.book.outputs if isinstance(one, Refused)} == {"payout_too_late"}
    run.session.time_gap(-ahead_ms, present(NOW_MS + 12_000))
    for at_ms in range(NOW_MS + 24_000, NOW_MS + 60_000, 12_000):
        run.hear(at_ms, [*run.stream(at_ms, offered(at_ms)), *run.commit(at_ms)])

    assert any(isinstance(one, Place) for one in run.book.outputs)


def test_what_offers_nothing_while_trading_is_paused_is_not_said_to_be_refused_afterwards() -> None:
    run = Run(limits=msgspec.structs.replace(LIMITS, payout_ms=HOUR_MS))
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.session.command("pause", "lunch", present(NOW_MS + 200))
    run.hear(NOW_MS + 300, run.stream(NOW_MS + 300, quiet(as_of_ms=NOW_MS + 300)))
    run.session.command("resume", "", present(NOW_MS + 400))
    run.say(NOW_MS + 12_000)

    assert not run.session.engine.halts()
    assert not run.session.engine.refusals.stand


class Leaving(NoBasket):
    """Buys baskets, and sells a leg at one moment, by the clock."""

    at_ms: ClassVar[int]
    exits: tuple[Proposal, ...] = ()

    def on_update(self, update: Update) -> Sequence[Proposal]:
        markets = {seen.market.ticker: seen for seen in update.view.markets}
        found = [exit_of(lot, markets[lot.ticker]) for lot in update.lots]
        self.exits = tuple([one for one in found if one is not None])
        return () if update.lots else super().on_update(update)

    def on_timer(self, now_ms: int) -> Sequence[Proposal]:
        return self.exits[:1] if now_ms == self.at_ms else ()


@pytest.mark.parametrize("after_s", [61, 70, 80])
def test_what_is_locked_and_even_can_be_sold_by_the_clock_on_what_each_commit_confirms(
    after_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Leaving)
    monkeypatch.setattr(Leaving, "at_ms", NOW_MS + after_s * 1_000, raising=False)
    run = Run()
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    run.say(NOW_MS + 12_000, quiet(as_of_ms=NOW_MS + 12_000))
    assert run.session.engine.worth.locked(event_of().event_ticker)
    run.book.outputs.clear()

    for second in range(24, 96, 12):
        run.say(NOW_MS + second * 1_000)

    assert not [output.reason for output in run.book.outputs if isinstance(output, Refused)]
    (sold,) = [output.intent for output in run.book.outputs if isinstance(output, Place)]
    assert sold.created_ms == Leaving.at_ms


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((None, None), "exchange_unknown"),
        ((True, None), "exchange_unknown"),
        ((None, True), "exchange_unknown"),
        ((True, False), "closed"),
        ((None, False), "closed"),
    ],
)
def test_nothing_is_traded_while_the_exchange_does_not_say_that_it_trades(
    flags: tuple[bool | None, bool | None], reason: str
) -> None:
    run = Run()
    run.status = lambda now_ms: ExchangeStatus(*flags, None, (), now_ms)
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    assert reason in run.session.engine.halts()
    assert not any(isinstance(output, Place) for output in run.book.outputs)

    run.status = open_at
    run.say(NOW_MS + 200, basket(as_of_ms=NOW_MS + 200))
    assert run.session.engine.halts() == ()
    assert any(isinstance(output, Place) for output in run.book.outputs)


def test_a_status_of_the_exchange_that_is_not_read_any_more_is_unknown_after_a_minute() -> None:
    run = Run()
    run.status = lambda _now_ms: open_at(NOW_MS)
    run.say(NOW_MS + STATUS_KNOWN_FOR_MS, quiet())
    assert "exchange_unknown" not in run.session.engine.halts()
    run.say(NOW_MS + STATUS_KNOWN_FOR_MS + 1, quiet())
    assert "exchange_unknown" in run.session.engine.halts()


def test_a_shard_without_flags_does_not_trade_and_the_others_do() -> None:
    run = Run()
    run.status = lambda now_ms: ExchangeStatus(True, True, None, ((0, None, None), (1, True, True)), now_ms)
    run.say(NOW_MS + 100, basket(as_of_ms=NOW_MS + 100))
    refused = [output.reason for output in run.book.outputs if isinstance(output, Refused)]
    assert refused == ["exchange_closed"]
