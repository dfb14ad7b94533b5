"""The engine: what it trades, what it refuses, and that the same log gives the same bytes."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.opportunities import EventView
from markets.orders import Accepted, Ended, Fill, Filled, Intent, OrderState, Proposal
from markets.records import FairValue, Status
from tests.trader.engine.makers import Maker, placed
from tests.trader.world import (
    JOURNAL_ID,
    LIMITS,
    NOW_MS,
    START_MS,
    basket,
    data,
    event_of,
    filled,
    leg,
    live,
    over,
    quiet,
    settled,
    start,
    tick,
    unfilled,
    view_of,
)
from trader.engine.engine import STRAYS_MAX, Engine
from trader.engine.inputs import AnyInput, Command, Feed, Orders, Tick, TimeGap, TradingStatus, Values
from trader.engine.outputs import (
    AnyOutput,
    Booked,
    Equity,
    Refused,
    Settled,
    Switch,
    decode_outputs,
    encode_outputs,
)
from trader.engine.payouts import VOID_MS
from trader.engine.roster import BuiltIn
from trader.ledger.ledger import Ledger, LedgerError
from trader.strategies import LoadStrategy, NoBasket, Update


def running(load: LoadStrategy = BuiltIn, **changes: Any) -> Engine:
    engine = Engine(load)
    engine.step(start(**changes))
    engine.step(live())
    return engine


def refused(outputs: list[AnyOutput]) -> list[str]:
    return [output.reason for output in outputs if isinstance(output, Refused)]


def test_a_basket_is_bought_whole_inside_the_limits() -> None:
    engine = running()

    intents = placed(engine.step(data(basket())))

    assert [(one.side, one.price_e4, one.trade) for one in intents] == [("no", 6_000, 1)] * 3
    assert len({one.count_e2 for one in intents}) == 1
    assert all(one.reserve_e6 <= LIMITS.order_e6 for one in intents)
    assert intents[0].count_e2 % 100 == 0
    assert (intents[0].epoch, intents[0].seq) == (engine.conditions.epoch, engine.conditions.seq)
    assert sum(one.reserve_e6 for one in intents) <= LIMITS.event_e6


def test_order_ids_come_from_the_journals_id_and_the_number() -> None:
    intents = placed(running(next_order=41).step(data(basket())))

    assert [one.number for one in intents] == [41, 42, 43]
    assert intents[0].client_order_id == str(uuid.uuid5(uuid.UUID(JOURNAL_ID), "41"))


def test_an_event_is_traded_once() -> None:
    engine = running()
    intents = placed(engine.step(data(basket(size_e2=50_000))))

    assert refused(engine.step(data(basket(size_e2=50_000), seq=2))) == ["one_position_per_event"] * len(
        list(engine.roster.active)[:1]
    )
    for one in intents:
        engine.step(filled(one))
    assert placed(engine.step(data(basket(size_e2=50_000), seq=3))) == []
    assert len(engine.ledger.positions) == 3


def test_an_order_that_got_nothing_leaves_the_event_alone_for_a_while() -> None:
    engine = running()
    for one in placed(engine.step(data(basket()))):
        engine.step(unfilled(one))

    soon, later = NOW_MS + 29_000, NOW_MS + 31_000
    assert refused(engine.step(data(basket(as_of_ms=soon), now_ms=soon))) == ["retry_later"]
    assert placed(engine.step(data(basket(as_of_ms=later), now_ms=later)))


@pytest.mark.parametrize(
    ("inputs", "state"),
    [
        ([Command(NOW_MS, 0, op="kill", reason="x")], "killed"),
        ([Command(NOW_MS, 0, op="pause", reason="x")], "paused"),
        ([Feed(NOW_MS, 0, word="gap", degraded=())], "gap"),
        ([Feed(NOW_MS, 0, word="lost", degraded=())], "gap"),
        ([Feed(NOW_MS, 0, word="starting", degraded=())], "starting"),
        ([TradingStatus(NOW_MS, 0, trading=False, idle_shards=())], "closed"),
        ([TimeGap(NOW_MS + 1, 0, ms=30_000)], "stale"),
    ],
)
def test_while_halted_nothing_is_traded(inputs: list[AnyInput], state: str) -> None:
    engine = running()
    engine.step(data())
    for one in inputs:
        engine.step(one)

    assert placed(engine.step(data(basket()))) == []
    assert engine.halts()[0] == state


def test_old_data_is_not_traded_on() -> None:
    engine = running()

    assert placed(engine.step(data(basket(), complete_ms=NOW_MS - 30_001))) == []
    assert engine.halts() == ("stale",)
    assert placed(engine.step(data(basket(as_of_ms=NOW_MS - 30_001)))) == []
    assert placed(engine.step(data(basket(as_of_ms=NOW_MS - 29_000))))


def test_after_standing_still_only_what_was_seen_since_counts() -> None:
    engine = running()
    later = NOW_MS + 10_000
    engine.step(TimeGap(later, 0, ms=10_000))

    assert placed(engine.step(data(basket(as_of_ms=later - 1), now_ms=later, complete_ms=later))) == []
    assert engine.refusals.counts["seen_before_a_gap"] == 1
    assert placed(engine.step(data(basket(as_of_ms=later), now_ms=later, complete_ms=later)))


def test_prices_from_the_future_are_not_traded_on() -> None:
    engine = running()

    assert placed(engine.step(data(basket(as_of_ms=NOW_MS + 5_001), complete_ms=NOW_MS))) == []
    assert engine.refusals.counts["price_from_the_future"] == 1
    # The wall clock was set back by an hour: the sweep itself ended in the future.
    assert placed(engine.step(data(basket(), complete_ms=NOW_MS + 3_600_000))) == []
    assert engine.halts() == ("stale",)


def test_a_match_that_has_started_is_not_traded() -> None:
    engine = running()

    assert placed(engine.step(data(basket(as_of_ms=START_MS), now_ms=START_MS))) == []
    (intent, *_) = placed(engine.step(data(basket(as_of_ms=START_MS - 1_000), now_ms=START_MS - 1_000)))
    assert intent.valid_until_ms == START_MS


def test_told_so_it_trades_in_play() -> None:
    scan = msgspec.structs.replace(start().scan, in_play=True)

    assert placed(running(scan=scan).step(data(basket(as_of_ms=START_MS), now_ms=START_MS)))


def test_a_series_in_doubt_and_an_idle_shard_are_not_traded() -> None:
    engine = running()
    engine.step(Feed(NOW_MS, 0, word="live", degraded=("KXMLSGAME",)))
    assert refused(engine.step(data(basket()))) == ["degraded"]
    engine.step(live())
    engine.step(TradingStatus(NOW_MS, 0, trading=True, idle_shards=(0,)))
    assert refused(engine.step(data(basket(), seq=2))) == ["exchange_closed"]


def test_value_follows_published_fair_values() -> None:
    engine = running(strategies=("value",))
    view = quiet()
    ticker = view.markets[0].market.ticker
    assert placed(engine.step(data(view))) == []

    engine.step(Values(NOW_MS, 0, set=(FairValue(ticker, 0.6, "file", NOW_MS, 0.01),), removed=()))
    (intent,) = placed(engine.step(data(view, seq=2)))
    assert (intent.ticker, intent.side, intent.price_e4, intent.probability) == (ticker, "yes", 3_600, 0.6)

    fresh = running(strategies=("value",))
    fresh.step(Values(NOW_MS, 0, set=(FairValue(ticker, 0.6, "file", NOW_MS, 0.01),), removed=()))
    fresh.step(Values(NOW_MS, 0, set=(), removed=(ticker,)))
    assert placed(fresh.step(data(view))) == []


def test_a_kill_lasts_until_resumed_and_is_said() -> None:
    engine = running(killed="by hand", paused="lunch")

    assert engine.halts()[:2] == ("killed", "paused")
    assert engine.step(Command(NOW_MS, 0, op="resume", reason=""))[0] == Switch(None, None)
    assert placed(engine.step(data(basket())))


def bought(engine: Engine, view: Any = None, fee_e6: int = 10_000) -> list[Intent]:
    intents = placed(engine.step(data(view or basket())))
    for one in intents:
        engine.step(filled(one, fee_e6=fee_e6))
    return intents


def test_fills_and_ends_are_booked_once_whatever_is_heard_again() -> None:
    engine = running()
    first, second, third = placed(engine.step(data(basket())))
    half = Fill(first.price_e4, first.count_e2 // 2, 5_000, first.count_e2, NOW_MS)

    (booked, equity) = engine.step(over(first.number, half, reason="nothing_left"))
    assert isinstance(booked, Booked)
    assert isinstance(equity, Equity)
    assert booked.status == "cancelled"
    assert engine.step(filled(first)) == []
    assert engine.step(unfilled(second))[0] == Booked(
        second.number, OrderState.CANCELLED, "nothing_left", (), NOW_MS
    )
    assert engine.step(unfilled(third, reason="killed"))[0] == Booked(
        third.number, OrderState.REJECTED, "killed", (), NOW_MS
    )
    assert [one.attempt for one in engine.ledger.open.values()] == [1, 1]  # only what completes the basket


def test_an_order_that_found_nothing_is_cancelled_also_in_the_word_of_old_journals() -> None:
    engine = running()
    first, *_ = placed(engine.step(data(basket())))

    assert engine.step(unfilled(first, reason="no_depth"))[0] == Booked(
        first.number, OrderState.CANCELLED, "no_depth", (), NOW_MS
    )


def test_what_is_told_of_an_order_that_is_not_open_is_booked_nowhere_and_not_lost() -> None:
    engine = running()
    first, *_ = placed(engine.step(data(basket())))
    part = Filled(first.number, Fill(first.price_e4, 100, 0, 100, NOW_MS))
    engine.step(Orders(NOW_MS, 0, (Ended(first.number, "nothing_left"), part)))
    cash_e6 = engine.ledger.cash_e6
    nobody = Accepted(999, "V999")

    assert engine.step(Orders(NOW_MS, 0, (part, nobody))) == []

    assert engine.take_strays() == [part, part, nobody]
    assert engine.take_strays() == []
    assert engine.ledger.cash_e6 == cash_e6
    for _ in range(STRAYS_MAX):
        engine.step(Orders(NOW_MS, 0, (part, nobody)))
    assert len(engine.take_strays()) == STRAYS_MAX


def test_a_settled_market_is_paid_once() -> None:
    engine = running()
    intents = bought(engine)
    count_e2 = intents[0].count_e2
    view = settled(basket(), "HOM")

    outputs = engine.step(data(view, seq=5))

    settlements = [output.settlement for output in outputs if isinstance(output, Settled)]
    assert [(one.result, one.payout_e6) for one in settlements] == [
        ("yes", 0), ("no", count_e2 * 10_000), ("no", count_e2 * 10_000)
    ]  # fmt: skip
    assert not any(isinstance(output, Settled) for output in engine.step(data(view, seq=6)))
    assert engine.ledger.positions == {}
    assert engine.ledger.realised_e6 == 2 * count_e2 * 10_000 - 3 * count_e2 * 6_000


def test_money_moves_when_a_market_is_finalized_not_when_it_is_determined() -> None:
    engine = running()
    bought(engine)

    assert not any(
        isinstance(o, Settled) for o in engine.step(data(settled(basket(), "HOM", Status.DETERMINED)))
    )
    # The mark is the result, though: what is held is worth what it will pay.
    assert engine.worth.value_e6() == sum(
        one.count_e2 * (0 if one.ticker.endswith("HOM") else 10_000)
        for one in engine.ledger.positions.values()
    )


def test_a_void_match_pays_the_settlement_value() -> None:
    engine = running()
    (first, *_) = bought(engine)

    outputs = engine.step(data(settled(basket(), "", HOM=4_000, AWY=3_000, TIE=3_000), seq=5))

    payouts = [output.settlement.payout_e6 for output in outputs if isinstance(output, Settled)]
    assert payouts == [first.count_e2 * 6_000, first.count_e2 * 7_000, first.count_e2 * 7_000]


def test_a_scalar_result_is_paid_in_whole_cents_and_the_rest_is_a_fee() -> None:
    engine = running()
    (first, *_) = bought(engine, basket(size_e2=3_300))
    before = msgspec.structs.replace(engine.ledger)

    outputs = engine.step(data(settled(basket(size_e2=3_300), "", HOM=3_333, AWY=6_667, TIE=1), seq=5))

    paid = [output.settlement for output in outputs if isinstance(output, Settled)]
    gross_e6 = [first.count_e2 * (10_000 - value_e4) for value_e4 in (3_333, 6_667, 1)]
    assert [one.payout_e6 + one.fee_e6 for one in paid] == gross_e6
    assert [(one.payout_e6 % 10_000, one.fee_e6) for one in paid] == [(0, e6 % 10_000) for e6 in gross_e6]
    fees_e6 = sum(one.fee_e6 for one in paid)
    assert fees_e6 > 0
    assert engine.ledger.cash_e6 - before.cash_e6 == sum(one.payout_e6 for one in paid)
    assert engine.ledger.fees_e6 - before.fees_e6 == fees_e6


def without_value(view: EventView, result: str, last_e4: int | None = 4_100) -> EventView:
    """The event paid out, and nobody says at what."""
    markets = tuple(
        msgspec.structs.replace(
            one,
            market=msgspec.structs.replace(one.market, result=result, settlement_value_e4=None),
            quote=msgspec.structs.replace(one.quote, last_price_e4=last_e4),
        )
        for one in settled(view, "").markets
    )
    return msgspec.structs.replace(view, markets=markets)


@pytest.mark.parametrize("result", ["void", "", "scalar", "all_no"])
@pytest.mark.parametrize(("last_e4", "value_e4"), [(4_100, 4_100), (None, 5_000)])
def test_a_market_paid_out_without_a_value_is_waited_for_and_then_booked_at_its_last_price(
    result: str, last_e4: int | None, value_e4: int
) -> None:
    engine = running()
    (first, *_) = bought(engine)
    assert not any(
        isinstance(o, Settled) for o in engine.step(data(without_value(basket(), result, last_e4), seq=5))
    )
    assert engine.payouts.voids.keys() == {one.market.ticker for one in basket().markets}
    for waited_ms in (1_000, VOID_MS - 1):
        outputs = engine.step(Tick(NOW_MS + 10 * VOID_MS, waited_ms))  # the wall clock says nothing of it
        assert not any(isinstance(o, Settled) for o in outputs)

    outputs = engine.step(Tick(NOW_MS, VOID_MS))
    paid = [output.settlement for output in outputs if isinstance(output, Settled)]
    assert [(one.result, one.value_e4) for one in paid] == [("void", value_e4)] * 3
    assert {one.payout_e6 for one in paid} == {first.count_e2 * (10_000 - value_e4)}
    assert (engine.ledger.lots, engine.payouts.voids) == ({}, {})


@pytest.mark.parametrize("last_e4", [0, None])
def test_a_void_that_never_traded_pays_the_middle_and_not_nothing(last_e4: int | None) -> None:
    engine = running()
    bought(engine)
    outputs = engine.step(data(without_value(basket(), "", last_e4), seq=5))
    outputs += engine.step(Tick(NOW_MS, VOID_MS))
    paid = [output.settlement for output in outputs if isinstance(output, Settled)]
    assert [(one.result, one.value_e4) for one in paid] == [("void", 5_000)] * 3


def test_a_value_that_comes_in_time_is_what_a_void_pays() -> None:
    engine = running()
    bought(engine)
    engine.step(data(without_value(basket(), "void"), seq=5))
    outputs = engine.step(data(settled(basket(), "", HOM=4_000, AWY=3_000, TIE=3_000), seq=6))
    assert sum(isinstance(output, Settled) for output in outputs) == 3
    assert engine.payouts.voids == {}
    assert not any(isinstance(o, Settled) for o in engine.step(Tick(NOW_MS, 2 * VOID_MS)))


def test_a_closed_market_keeps_its_last_mark_and_an_unknown_bid_is_not_zero() -> None:
    engine = running()
    bought(engine)
    engine.step(data(basket(), seq=2))
    marked = engine.worth.value_e6()
    assert marked == sum(one.count_e2 * 5_800 for one in engine.ledger.positions.values())

    engine.step(data(settled(basket(), "", Status.CLOSED), seq=3))
    assert engine.worth.value_e6() != 0

    recovered = running(ledger=engine.ledger)
    assert recovered.worth.value_e6() is None


class Recorder:
    """A strategy that wants what the engine's own basket strategy wants, and notes what it is told."""

    name = "recorder"

    def __init__(self) -> None:
        self.told: list[str] = []
        self.inner = NoBasket()

    def on_start(self, now_ms: int) -> None:
        self.told.append("start")

    def on_update(self, update: Update) -> Sequence[Proposal]:
        self.told.append("update")
        return [msgspec.structs.replace(one, strategy=self.name) for one in self.inner.on_update(update)]

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        self.told.append(f"fill {sum(fill.count_e2 for fill in fills)}")

    def on_timer(self, now_ms: int) -> None:
        self.told.append("timer")


def test_a_strategy_hears_of_its_start_updates_fills_and_time() -> None:
    recorder = Recorder()
    engine = running(lambda _text: Maker(recorder), strategies=("recorder",))

    first, second, third = placed(engine.step(data(basket())))
    engine.step(tick())
    for one in (filled(first), filled(second), unfilled(third)):
        engine.step(one)

    fills = [f"fill {first.count_e2}", f"fill {second.count_e2}", "fill 0"]
    assert recorder.told == ["start", "update", "timer", *fills]
    assert {one.strategy for one in (first, second, third)} == {"recorder"}


def test_a_contradiction_stops_the_engine() -> None:
    engine = running()
    (first, *_) = placed(engine.step(data(basket())))

    with pytest.raises(LedgerError):
        engine.step(filled(first, fee_e6=10**9))


def test_outputs_read_back_as_they_were_written() -> None:
    engine = running()
    outputs = engine.step(data(basket()))

    assert decode_outputs(encode_outputs(outputs)) == tuple(outputs)
    assert encode_outputs([]) == b""


# -- any log at all

numbers = st.integers(1, 4)
some = st.integers(0, 10)
Move = tuple[Any, ...]
BASKET = st.tuples(
    st.just("basket"), numbers, st.integers(100, 60_000), st.sampled_from([3_700, 3_900, 4_200])
)
FILL = st.tuples(st.just("fill"), some, st.sampled_from([100, 100, 60, 0]))
SETTLE = st.tuples(st.just("settle"), numbers, st.sampled_from(["HOM", "AWY", "TIE"]))
RESUME = st.sampled_from([("command", "resume"), ("feed", "live")])
RARE = st.one_of(
    st.tuples(st.just("quiet"), numbers),
    st.tuples(st.just("fail"), some),
    st.tuples(st.just("again"), some),
    st.tuples(st.just("time"), st.integers(-5_000, 60_000)),
    st.tuples(st.just("value"), numbers, st.floats(0, 1)),
    st.sampled_from([("gap",), ("feed", "gap"), ("feed", "lost"), ("command", "pause"), ("command", "kill")]),
)
moves: st.SearchStrategy[list[Move]] = st.lists(
    st.one_of(BASKET, BASKET, FILL, FILL, FILL, SETTLE, RESUME, RARE), min_size=5, max_size=60
)

TIGHT = msgspec.structs.replace(
    LIMITS, order_e6=30_000_000, market_e6=40_000_000, event_e6=75_000_000, total_e6=160_000_000,
    open_orders=7, orders_per_minute=12, positions_per_event=2, daily_loss_e6=40_000_000,
)  # fmt: skip


def played(moves: list[Move]) -> tuple[list[AnyInput], list[bytes]]:
    """Drive an engine as broker and feed would, check its limits at every step; return log and bytes."""
    engine, now_ms = Engine(), NOW_MS
    log: list[AnyInput] = []
    decided: list[bytes] = []
    open_: list[Intent] = []
    ended: list[AnyInput] = []

    def step(one: AnyInput) -> None:
        log.append(one)
        outputs = engine.step(one)
        decided.append(encode_outputs(outputs))
        open_.extend(placed(outputs))
        ledger = engine.ledger
        stakes = {one.event_ticker: ledger.at_stake_e6(one.event_ticker) for one in open_}
        assert ledger.at_stake_e6() <= TIGHT.total_e6
        assert all(stake <= TIGHT.event_e6 for stake in stakes.values())
        assert all(
            ledger.at_stake_e6(one.event_ticker, ticker=one.ticker) <= TIGHT.market_e6 for one in open_
        )
        assert all(one.reserve_e6 <= TIGHT.order_e6 for one in ledger.open.values())
        assert len(ledger.open) <= TIGHT.open_orders
        assert len(ledger.open) == len(open_)
        assert engine.throttle.last_minute(engine.now_ms) <= TIGHT.orders_per_minute
        assert ledger.free_e6 >= 0

    def take(index: int) -> Intent | None:
        return open_.pop(index % len(open_)) if open_ else None

    step(start(Ledger.new(200_000_000), TIGHT, strategies=("no_basket", "value")))
    step(live())
    for seq, (move, *values) in enumerate(moves, 1):
        if move == "basket":
            number, size_e2, bid_e4 = values
            step(data(basket(number, size_e2, now_ms, bid_e4 - bid_e4 % 100), now_ms=now_ms, seq=seq))
        elif move == "quiet":
            step(data(quiet(values[0], now_ms), now_ms=now_ms, seq=seq))
        elif move == "settle":
            step(data(settled(basket(values[0]), values[1]), now_ms=now_ms, seq=seq))
        elif move == "fill" and (one := take(values[0])):
            count_e2 = max(1, one.count_e2 * values[1] // 100)
            fill = Fill(one.price_e4, count_e2, 0 if values[1] else 10_000, count_e2, now_ms)
            ended.append(over(one.number, fill, reason="nothing_left", now_ms=now_ms))
            step(ended[-1])
        elif move == "fail" and (one := take(values[0])):
            ended.append(unfilled(one, now_ms))
            step(ended[-1])
        elif move == "again" and ended:
            step(ended[values[0] % len(ended)])
        elif move == "time":
            now_ms += values[0]
            step(tick(now_ms))
        elif move == "gap":
            step(TimeGap(now_ms, 0, ms=5_000))
        elif move == "feed":
            step(Feed(now_ms, 0, word=values[0], degraded=()))
        elif move == "value":
            ticker = f"{event_of(values[0]).event_ticker}-HOM"
            step(Values(now_ms, 0, set=(FairValue(ticker, values[1], "file", now_ms),), removed=()))
        elif move == "command":
            step(Command(now_ms, 0, op=values[0], reason="r"))
    return log, decided


@given(moves)
@settings(max_examples=150)
def test_limits_hold_and_the_same_log_gives_the_same_bytes(moves: list[Move]) -> None:
    log, decided = played(moves)

    again = Engine()
    assert [encode_outputs(again.step(one)) for one in log] == decided


def test_two_strategies_share_the_last_room_and_never_exceed_it() -> None:
    # Room for exactly one order: the check of the second sees what the first holds.
    view = view_of(
        event_of(1),
        *(leg(event_of(1), name, (4_000, 10_000), (4_200, 10_000)) for name in ("HOM", "AWY", "TIE")),
    )
    limits = msgspec.structs.replace(LIMITS, total_e6=20_000_000, positions_per_event=5, event_e6=20_000_000)
    engine = running(limits=limits, strategies=("no_basket", "value"))

    engine.step(data(view))

    assert 0 < engine.ledger.at_stake_e6() <= 20_000_000


def test_after_a_restart_the_equity_curve_goes_on_as_soon_as_all_bids_are_known() -> None:
    before = running()
    bought(before)
    again = Engine()

    (unknown,) = [out for out in again.step(start(ledger=before.ledger)) if isinstance(out, Equity)]
    points = [
        out
        for seq in (1, 2, 3)
        for out in again.step(data(basket(), now_ms=NOW_MS + seq, seq=seq))
        if isinstance(out, Equity)
    ]

    assert unknown.positions_e6 is None
    assert [(one.time_ms, one.positions_e6 is not None) for one in points] == [(NOW_MS + 1, True)]
