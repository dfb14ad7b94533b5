"""Paper orders that rest: filled by trades and by who crosses them, ended by time, kept over a restart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.protocol.state import Changed
from markets.opportunities import EventView, MarketView
from markets.orders import Accepted, Amended, AmendRefused, AnyOrderEvent, Ended, Filled, OrderState
from markets.records import Status, Trade
from tests.trader.brokers.orders import EVENT, TICKER, order
from tests.trader.stand import Stand
from tests.trader.world import CLOSE_MS, NOW_MS, SCAN, leg, view_of
from trader.brokers.base import OpenOrder
from trader.brokers.paper import PaperBroker
from trader.engine.asks import CancelOrder, Confirm, Prepare
from trader.engine.inputs import Present
from trader.engine.outputs import Prepared
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.ledger.ledger import Progress
from trader.manual import ManualCommand

LATENCY_MS = 250


def market(*asks: tuple[int, int], bid_e2: int = 0, **changes: Any) -> MarketView:
    """YES at 40 bid for `bid_e2`, these asks."""
    no_bids = sorted((10_000 - price_e4, count_e2) for price_e4, count_e2 in asks)
    yes_bids = [(1_000, 10_000), *([(4_000, bid_e2)] if bid_e2 else [])]
    return leg(EVENT, "HOM", book=(yes_bids, no_bids), **changes)


def sold(count_e2: int, yes_price_e4: int = 4_000) -> Trade:
    return Trade("t", TICKER, yes_price_e4, count_e2, "no", NOW_MS)


class Bench:
    """A paper broker and a market that the test moves."""

    def __init__(self, seen: MarketView, broker: PaperBroker | None = None) -> None:
        self.broker = PaperBroker(LATENCY_MS, 30_000, SCAN) if broker is None else broker
        self.seen = seen
        self.steady_ms = 0

    @property
    def present(self) -> Present:
        return Present(NOW_MS + self.steady_ms, self.steady_ms)

    def wait(self, ms: int = LATENCY_MS) -> list[AnyOrderEvent]:
        self.steady_ms += ms
        due_ms = self.broker.next_ms
        if due_ms is None or due_ms > self.steady_ms:
            return []
        return self.broker.due(self.present, lambda _ticker: self.seen, None, 0)

    def see(self, seen: MarketView) -> list[AnyOrderEvent]:
        self.seen = seen
        self.broker.observe(seen, self.present)
        return self.wait(0)

    def hear(self, trade: Trade) -> list[AnyOrderEvent]:
        self.broker.traded(trade, self.present)
        return self.wait(0)


def resting(seen: MarketView, **changes: Any) -> Bench:
    """YES is bid for at 40, 10 contracts of it."""
    bench = Bench(seen)
    fields = {"price_e4": 4_000, "time_in_force": "gtc", "expires_ms": NOW_MS + 60_000, **changes}
    bench.broker.place(order(1, **fields), bench.present)
    return bench


def got(events: list[AnyOrderEvent]) -> list[tuple[int, int, int, bool]]:
    fills = [event.fill for event in events if isinstance(event, Filled)]
    return [(fill.price_e4, fill.count_e2, fill.fee_e6, fill.maker) for fill in fills]


def test_what_crosses_is_taken_at_the_arrival_and_the_rest_rests() -> None:
    bench = resting(market((3_900, 300), (4_100, 900)))

    events = bench.wait()
    assert events[0] == Accepted(1)
    assert [(price, count, maker) for price, count, _, maker in got(events)] == [(3_900, 300, False)]
    assert got(events)[0][2] > 0
    assert not any(isinstance(event, Ended) for event in events)
    assert bench.see(market((4_100, 900))) == []


def test_trades_fill_it_by_its_place_and_a_maker_pays_no_fee() -> None:
    bench = resting(market((4_200, 900), bid_e2=500))
    assert bench.wait() == [Accepted(1)]

    assert bench.hear(sold(400)) == []
    assert got(bench.hear(sold(500))) == [(4_000, 400, 0, True)]
    last = bench.hear(sold(600))
    assert got(last) == [(4_000, 600, 0, True)]
    assert last[-1] == Ended(1, "complete")
    assert (bench.broker.next_ms, set(bench.broker.watched)) == (None, set())
    assert bench.hear(sold(600)) == []


def test_who_offers_at_its_price_or_below_meets_it_at_its_price_and_once() -> None:
    bench = resting(market((4_200, 900)))
    bench.wait()

    assert got(bench.see(market((3_800, 300)))) == [(4_000, 300, 0, True)]
    assert bench.see(market((3_800, 300))) == []
    assert got(bench.see(market((3_800, 500)))) == [(4_000, 200, 0, True)]
    assert bench.see(market((3_700, 900), suspect=True)) == []


def test_it_expires_at_its_time_whoever_asks() -> None:
    bench = resting(market((4_200, 900)))
    bench.wait()

    assert bench.broker.next_ms == 60_000
    assert bench.wait(60_000 - 1 - bench.steady_ms) == []
    assert bench.wait(1) == [Ended(1, "expired", OrderState.EXPIRED)]
    assert bench.broker.next_ms is None


def test_a_cancel_takes_its_time_and_a_fill_may_be_quicker() -> None:
    bench = resting(market((4_200, 900)))
    bench.wait()
    bench.broker.cancel(1, bench.present)
    bench.broker.cancel(7, bench.present)  # of which it knows nothing

    assert bench.wait(LATENCY_MS - 1) == []
    assert got(bench.hear(sold(400))) == [(4_000, 400, 0, True)]
    assert bench.wait(1) == [Ended(1, "cancelled", OrderState.CANCELLED)]
    assert bench.hear(sold(400)) == []


def test_a_filled_order_is_cancelled_no_more() -> None:
    bench = resting(market((4_200, 900)))
    bench.wait()
    bench.broker.cancel(1, bench.present)
    bench.broker.amend(1, 4_100, 2_000, bench.present)

    assert bench.hear(sold(1_000))[-1] == Ended(1, "complete")
    assert bench.wait() == []


def test_an_amend_moves_it_to_the_end_of_the_queue_and_may_cross() -> None:
    bench = resting(market((4_200, 900), bid_e2=500))
    bench.wait()
    bench.hear(sold(500))
    bench.seen = market((4_200, 900), bid_e2=500)

    bench.broker.amend(1, 4_000, 800, bench.present)
    assert bench.wait() == [Amended(1, 4_000, 800)]
    assert bench.broker.places == {1: 0}  # fewer: it keeps its place
    bench.broker.amend(1, 4_000, 1_200, bench.present)
    assert bench.wait() == [Amended(1, 4_000, 1_200)]
    assert bench.broker.places == {1: 500}

    bench.broker.amend(1, 4_200, 1_200, bench.present)
    events = bench.wait()
    assert events[0] == Amended(1, 4_200, 1_200)
    assert [(price, count, maker) for price, count, _, maker in got(events)] == [(4_200, 900, False)]
    bench.broker.amend(1, 4_200, 900, bench.present)
    assert bench.wait() == [AmendRefused(1, "bad_size")]  # so much it has already


def test_one_that_is_only_to_rest_takes_nothing() -> None:
    bench = resting(market((4_000, 300)), post_only=True)
    assert bench.wait() == [Ended(1, "would_take", OrderState.REJECTED)]

    bench = resting(market((4_200, 300)), post_only=True)
    assert bench.wait() == [Accepted(1)]
    bench.broker.amend(1, 4_200, 1_000, bench.present)
    assert bench.wait() == [AmendRefused(1, "would_take")]
    assert got(bench.hear(sold(1_000))) == [(4_000, 1_000, 0, True)]


@pytest.mark.parametrize(
    ("seen", "ends"),
    [
        (market(status=Status.CLOSED), True),
        (market(status=Status.FINALIZED), True),
        (market(close_ms=NOW_MS), True),
        (market(status=Status.INACTIVE), False),
        (market((3_900, 900), status=Status.INACTIVE), False),
        (market(status=Status.UNKNOWN), False),
    ],
    ids=["closed", "paid", "past its close", "paused", "paused and crossed", "unknown"],
)
def test_it_ends_with_its_market_and_waits_while_that_is_paused(seen: MarketView, ends: bool) -> None:
    bench = resting(market((4_200, 900)))
    bench.wait()

    assert bench.see(seen) == ([Ended(1, "not_active", OrderState.CANCELLED)] if ends else [])


def test_it_ends_at_the_close_though_nobody_says_so() -> None:
    bench = resting(market((4_200, 900)), expires_ms=None)
    bench.wait()

    assert bench.broker.next_ms == CLOSE_MS - NOW_MS
    assert bench.wait(CLOSE_MS - NOW_MS) == [Ended(1, "not_active", OrderState.CANCELLED)]


@pytest.mark.parametrize(("kept_e2", "needs_e2"), [(200, 200), (None, 500), (900, 500)])
def test_after_a_restart_it_rests_where_it_was_or_at_the_end(kept_e2: int | None, needs_e2: int) -> None:
    intent = order(1, price_e4=4_000, time_in_force="gtc", expires_ms=NOW_MS + 60_000)
    broker = PaperBroker(LATENCY_MS, 30_000, SCAN, (), {1: kept_e2})
    told = broker.recover(
        [OpenOrder(intent, Progress(300, 1_200_000)), OpenOrder(order(2, time_in_force="gtc"), Progress())]
    )
    assert told == [Accepted(1), Ended(2, "restarted")]

    bench = Bench(market((4_200, 900), bid_e2=500), broker)
    bench.wait(0)
    assert broker.next_ms == 60_000
    bench.see(bench.seen)
    assert bench.hear(sold(needs_e2)) == []
    last = bench.hear(sold(800))
    assert got(last) == [(4_000, 700, 0, True)]
    assert last[-1] == Ended(1, "complete")


def test_a_change_that_nobody_answered_before_the_restart_was_not_made() -> None:
    before = order(1, price_e4=4_000, time_in_force="gtc", expires_ms=NOW_MS + 60_000)
    held = msgspec.structs.replace(before, price_e4=4_100)
    broker = PaperBroker(LATENCY_MS, 30_000, SCAN, (), {1: 0})

    assert broker.recover([OpenOrder(held, Progress(), before)]) == [
        Accepted(1),
        AmendRefused(1, "restarted"),
    ]
    bench = Bench(market((4_200, 900)), broker)
    bench.see(bench.seen)
    assert got(bench.hear(sold(100))) == [(4_000, 100, 0, True)]


# -- through engine, journal and worker


def quoted(now_ms: int, **changes: Any) -> EventView:
    return view_of(EVENT, market((4_200, 90_000), bid_e2=500, as_of_ms=now_ms, **changes))


def by_hand(stand: Stand, ask: Any) -> ManualCommand:
    command = ManualCommand("ask", "", ask)
    stand.commands.put(command)
    stand.turns(1)
    return command


def say_trade(stand: Stand, count_e2: int) -> None:
    stand.feed.say(Changed(stand.feed.state.seq, 0, [("trade", [TICKER])], [sold(count_e2)]))
    stand.turns(2)


def rows(stand: Stand) -> dict[int, dict[str, Any]]:
    stand.journal.commit()
    reader = Reader(stand.worker.around.journal_path)
    try:
        assert reader.ledger() == stand.worker.engine.ledger
        for session in reader.sessions():
            assert replay(reader.inputs(session)).differs_at is None
        return {row["number"]: row for row in reader.orders(100, 10**9)}
    finally:
        reader.close()


def test_a_person_s_order_rests_is_filled_in_parts_lives_through_a_restart_and_is_cancelled(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    try:
        stand.commit(quoted(NOW_MS))
        stand.turns(2)
        (prepared,) = by_hand(stand, Prepare(TICKER, "yes", 1_000, 4_000, 600_000)).outputs
        assert isinstance(prepared, Prepared)
        by_hand(stand, Confirm(prepared.ticket.number))
        stand.turns(4)
        assert rows(stand)[1]["status"] == "resting"

        say_trade(stand, 800)
        assert (rows(stand)[1]["status"], rows(stand)[1]["filled_e2"]) == ("partial", 300)
        ledger = stand.worker.engine.ledger
        assert ledger.positions[TICKER].cost_e6 == 1_200_000
    finally:
        stand.close()

    again = Stand(tmp_path, now_ms=stand.clock.now_ms() + 5_000)
    try:
        assert sorted(again.worker.engine.ledger.open) == [1]
        again.commit(quoted(again.clock.now_ms()))
        again.turns(2)
        say_trade(again, 100)  # nothing is ahead of it any more: it kept its place
        row = rows(again)[1]
        assert (row["status"], row["filled_e2"]) == ("partial", 400)

        by_hand(again, CancelOrder(1))
        again.turns(4)
        row = rows(again)[1]
        assert (row["status"], row["reason"], row["filled_e2"]) == ("cancelled", "cancelled", 400)
        assert again.worker.engine.ledger.reserved_e6 == 0
    finally:
        again.close()


def test_a_restart_does_not_take_what_rested_for_what_was_taken_of_a_level(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    try:
        stand.commit(quoted(NOW_MS))
        stand.turns(2)
        (prepared,) = by_hand(stand, Prepare(TICKER, "yes", 1_000, 4_000, 600_000)).outputs
        assert isinstance(prepared, Prepared)
        by_hand(stand, Confirm(prepared.ticket.number))
        stand.turns(4)
        say_trade(stand, 1_500)
        assert rows(stand)[1]["status"] == "filled"
    finally:
        stand.close()

    again = Stand(tmp_path, now_ms=stand.clock.now_ms() + 5_000)
    try:
        broker = again.worker.session.broker
        assert isinstance(broker, PaperBroker)
        assert broker.taken == ()
    finally:
        again.close()


def rebuilt(events: list[AnyOrderEvent]) -> dict[int, list[AnyOrderEvent]]:
    of_order: dict[int, list[AnyOrderEvent]] = {}
    for event in events:
        of_order.setdefault(event.number, []).append(event)
    return of_order


steps = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.integers(35, 45), st.integers(1, 12)),
        st.tuples(st.just("cancel"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("amend"), st.integers(1, 4), st.integers(1, 15)),
        st.tuples(st.just("sold"), st.integers(35, 45), st.integers(1, 1_500)),
        st.tuples(st.just("shows"), st.integers(36, 46), st.integers(0, 1_200)),
        st.tuples(st.just("wait"), st.integers(1, 400), st.just(0)),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_happens_no_order_gets_more_than_it_wants_costs_more_than_is_held_or_ends_twice(
    happened: list[tuple[str, int, int]],
) -> None:
    bench, events, number = Bench(market((5_000, 900), bid_e2=500)), list[AnyOrderEvent](), 0
    traded_e2 = shown_e2 = 0
    for what, first, second in happened:
        if what == "place":
            number += 1
            made = order(number, first * 100, second * 100, time_in_force="gtc")
            bench.broker.place(made, bench.present)
        elif what == "cancel":
            bench.broker.cancel(first, bench.present)
        elif what == "amend":
            bench.broker.amend(first, 4_100, second * 100, bench.present)
        elif what == "sold":
            traded_e2 += second
            events += bench.hear(sold(second, first * 100))
        elif what == "shows":
            shown_e2 += second
            events += bench.see(market((first * 100, second), bid_e2=second))
        else:
            events += bench.wait(first)
    events += bench.wait(CLOSE_MS)
    total_e2 = 0
    for told in rebuilt(events).values():
        ends = [event for event in told if isinstance(event, Ended)]
        assert len(ends) == 1
        assert told[-1] is ends[0]
        wanted = order(told[0].number, price_e4=4_500, count_e2=1_500)
        fills = [event.fill for event in told if isinstance(event, Filled)]
        got_e2 = sum(fill.count_e2 for fill in fills)
        changes = [event.count_e2 for event in told if isinstance(event, Amended)]
        assert got_e2 <= max([1_200, *changes])
        assert sum(fill.cost_e6 + fill.fee_e6 for fill in fills) <= wanted.reserve_e6
        assert all(0 < fill.price_e4 <= 4_500 and fill.count_e2 > 0 for fill in fills)
        total_e2 += got_e2
    assert total_e2 <= traded_e2 + shown_e2
    assert len(rebuilt(events)) == number
    assert not bench.broker.watched or bench.broker.taken
