"""Baskets whose legs got unequally much: completed or sold, whichever is better, else said to be uneven."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.fees import fee_schedule, fill_fee
from markets.opportunities import KINDS, EventView
from markets.opportunities.kinds.no_basket import NoBasketKind, guaranteed_payout_e6
from markets.orders import Fill, Intent, Proposal, Wanted
from tests.trader.stand import Stand
from tests.trader.world import (
    LIMITS,
    NOW_MS,
    SCAN,
    SERIES,
    basket,
    data,
    event_of,
    leg,
    live,
    over,
    start,
    tick,
    view_of,
)
from trader.engine import rebalance
from trader.engine.engine import Engine
from trader.engine.inputs import AnyInput, Command, Data, Orders
from trader.engine.legrisk import LegRisk
from trader.engine.outputs import Cancel, Place, Refused
from trader.engine.rebalance import (
    BEFORE_END_MS,
    PATIENT_MS,
    SELL_FROM_TRY,
    TRIES,
    excess_e2,
    follow_ups,
)
from trader.engine.replay import replay
from trader.engine.risk import check
from trader.journal.reader import Reader
from trader.ledger.ledger import Basket, Ledger, missing_e2, uneven
from trader.report import report

EVENT = event_of()
NAMES = ("HOM", "AWY", "TIE")
TICKERS = tuple(f"{EVENT.event_ticker}-{name}" for name in NAMES)


def placed(outputs: list[Any]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]


def ended(intent: Intent, count_e2: int, now_ms: int = NOW_MS) -> Orders:
    fees = fee_schedule(EVENT, SERIES)
    assert fees is not None
    fee_e6 = fill_fee(fees, intent.price_e4, count_e2, time_ms=now_ms).total_e6 if count_e2 else 0
    fills = (Fill(intent.price_e4, count_e2, fee_e6, count_e2, now_ms),) if count_e2 else ()
    reason = "complete" if count_e2 == intent.count_e2 else "nothing_left"
    return over(intent.number, *fills, reason=reason, now_ms=now_ms)


def bought(*counts: int) -> tuple[Engine, list[Intent]]:
    """An engine whose first basket has got so many contracts of each leg; what it ordered thereupon."""
    engine = Engine()
    for one in (start(), live()):
        engine.step(one)
    intents = placed(engine.step(data(basket(size_e2=5_000))))
    assert [intent.count_e2 for intent in intents] == [5_000] * 3
    follow: list[Intent] = []
    for intent, count in zip(intents, counts, strict=True):
        follow += placed(engine.step(ended(intent, count * 100)))
    return engine, follow


def later(seconds: float, seq: int = 2) -> Any:
    """The same basket, seen so much later."""
    now_ms = NOW_MS + round(seconds * 1000)
    return data(basket(size_e2=20_000, as_of_ms=now_ms), now_ms=now_ms, seq=seq)


def got(engine: Engine) -> list[int]:
    (one,) = engine.ledger.baskets.values()
    return [leg.got_e2 // 100 for leg in one.legs]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(rebalance, "PATIENT_MS", 0)


def test_a_short_leg_is_completed_under_the_same_trade_number() -> None:
    engine, follow = bought(50, 30, 50)

    assert [(one.ticker, one.side, one.count_e2, one.trade, one.attempt) for one in follow] == [
        (TICKERS[1], "no", 2_000, 1, 1)
    ]
    engine.step(ended(follow[0], 2_000))
    assert got(engine) == [50, 50, 50]
    assert not placed(engine.step(data(basket(size_e2=5_000), seq=2)))


def test_what_is_too_much_is_sold_where_the_short_leg_has_become_dear() -> None:
    engine, _ = bought(50, 0, 50)
    (trade, one), *_ = engine.ledger.baskets.items()
    dear = view_of(
        EVENT,
        leg(EVENT, "HOM", (4_000, 9_000), (4_100, 9_000)),
        leg(EVENT, "AWY", (100, 9_000), (200, 9_000)),  # its NO costs 0.99
        leg(EVENT, "TIE", (4_000, 9_000), (4_100, 9_000)),
    )

    better, worse = follow_ups(trade, one, dear, NOW_MS, SCAN, [], terms=None)

    assert [(leg.ticker, leg.side, leg.count_e2) for leg in better.legs] == [
        (TICKERS[0], "yes", 5_000),
        (TICKERS[2], "yes", 5_000),
    ]
    assert [(leg.ticker, leg.side) for leg in worse.legs] == [(TICKERS[1], "no")]
    assert better.edge_e6 > worse.edge_e6 > 0


@pytest.mark.usefixtures("impatient")
def test_selling_takes_the_position_away_and_the_books_add_up() -> None:
    engine, follow = bought(50, 0, 50)
    engine.step(ended(follow[0], 0))  # completing gets nothing, twice
    (again,) = placed(engine.step(later(1)))
    engine.step(ended(again, 0))

    sales = placed(engine.step(later(6)))

    assert [(one.ticker, one.side, one.count_e2, one.attempt) for one in sales] == [
        (TICKERS[0], "yes", 5_000, SELL_FROM_TRY),
        (TICKERS[2], "yes", 5_000, SELL_FROM_TRY),
    ]
    for one in sales:
        engine.step(ended(one, 5_000))
    assert engine.ledger.positions == {}
    assert engine.ledger.baskets == {}
    assert engine.ledger.realised_e6 == -2 * 50 * 20_000  # two cents of spread a contract
    engine.ledger.check()


@pytest.mark.usefixtures("impatient")
def test_evening_out_is_paced_by_time_and_never_given_up() -> None:
    engine, follow = bought(50, 20, 50)
    tried = [0.0]
    for tenths in range(1, 2_200):
        for intent in follow:
            engine.step(ended(intent, 0, NOW_MS + tenths * 100))
        seconds = tenths / 10
        follow = placed(engine.step(later(seconds, seq=tenths)))
        tried += [seconds] * bool(follow)

    (one,) = engine.ledger.baskets.values()
    # However often the event changes: 1, 5, 30 and then 60 seconds after the try before.
    assert tried == [0, 1, 6, 36, 96, 156, 216]
    assert (one.tries, uneven(one)) == (len(tried), True)


def test_a_session_of_old_tries_four_times_whenever_the_event_changes() -> None:
    engine = Engine()
    for step in (start(rules=1), live()):
        engine.step(step)
    follow: list[Intent] = []
    for intent, count in zip(placed(engine.step(data(basket(size_e2=5_000)))), (50, 20, 50), strict=True):
        follow += placed(engine.step(ended(intent, count * 100)))
    for seq in range(2, 12):
        for intent in follow:
            engine.step(ended(intent, 0))
        follow = placed(engine.step(data(basket(size_e2=5_000), seq=seq)))

    (one,) = engine.ledger.baskets.values()
    assert (follow, one.tries, uneven(one)) == ([], TRIES, True)


def dear(seconds: float = 0, seq: int = 2, start_ms: int | None = None) -> Data:
    """The basket without the leg that somebody has taken: what is asked for it now is five cents more."""
    now_ms = NOW_MS + round(seconds * 1000)
    view = basket(size_e2=20_000, as_of_ms=now_ms)
    taken = leg(EVENT, "AWY", (3_500, 20_000), (3_700, 20_000), as_of_ms=now_ms)
    view = msgspec.structs.replace(view, markets=(view.markets[0], taken, view.markets[2]))
    if start_ms is not None:
        view = msgspec.structs.replace(view, timing=msgspec.structs.replace(view.timing, start_ms=start_ms))
    return data(view, now_ms=now_ms, seq=seq)


def missing(start_ms: int | None = None) -> tuple[Engine, list[Intent]]:
    """An engine that has missed AWY of a basket; what it ordered thereupon."""
    engine = Engine()
    for one in (start(), live()):
        engine.step(one)
    intents = placed(engine.step(data(basket(size_e2=5_000))))
    engine.step(dear(start_ms=start_ms))
    outputs = [engine.step(ended(one, count)) for one, count in zip(intents, (5_000, 0, 5_000), strict=True)]
    return engine, placed([output for each in outputs for output in each])


def rests(intents: list[Intent]) -> list[tuple[str, str, int, bool]]:
    return [(one.ticker, one.time_in_force, one.price_e4, one.post_only) for one in intents]


def test_a_missing_leg_is_bid_for_first_at_what_lets_the_basket_earn_what_it_was_to() -> None:
    engine, first = missing()
    # Three at 0.60 were to earn 0.20 less fees: without a taker's fee AWY may cost a cent more.
    assert rests(first) == [(TICKERS[1], "gtc", 6_100, True)]
    assert first[0].expires_ms == NOW_MS + PATIENT_MS // 2

    half_s = PATIENT_MS / 2_000
    (cancel,) = [one for one in engine.step(tick(NOW_MS + PATIENT_MS // 2)) if isinstance(one, Cancel)]
    engine.step(over(cancel.number, reason="cancelled", now_ms=NOW_MS + PATIENT_MS // 2))
    second = placed(engine.step(dear(half_s + 2, seq=3)))

    # Then at what lets it lose nothing, never at what is asked for already, 0.65 with a fee.
    assert second == [] or rests(second)[0][2] > first[0].price_e4
    for one in second:
        engine.step(ended(one, 5_000, NOW_MS + PATIENT_MS // 2 + 2_000))
    assert got(engine) == [50, 50, 50]
    held = engine.ledger.lots_in(EVENT.event_ticker)
    assert sum(lot.cost_e6 + lot.fees_e6 for lot in held) <= 2 * 50 * 1_000_000
    engine.ledger.check()


def test_what_lets_it_lose_nothing_is_taken_in_the_second_half_and_not_in_the_first() -> None:
    engine, first = missing()
    now_ms = NOW_MS + PATIENT_MS // 2
    engine.step(tick(now_ms))
    engine.step(over(first[0].number, reason="cancelled", now_ms=now_ms))

    taken = placed(engine.step(dear(PATIENT_MS / 2_000 + 2, seq=3)))

    assert rests(taken) == [(TICKERS[1], "ioc", 6_500, False)]


@pytest.mark.parametrize("seconds", [0, 60])
def test_before_a_match_starts_nothing_is_waited_for(seconds: int) -> None:
    _, follow = missing(start_ms=NOW_MS + BEFORE_END_MS + seconds * 1_000)

    if seconds:
        assert [one.expires_ms for one in follow] == [NOW_MS + seconds * 500]
    else:
        assert {one.time_in_force for one in follow} == {"ioc"}


def test_what_evens_out_rests_through_a_pause_and_not_through_a_kill_or_doubt() -> None:
    for meanwhile, ends in (
        (Command(NOW_MS, 0, op="pause", reason="x"), False),
        (Command(NOW_MS, 0, op="kill", reason="x"), True),
        (msgspec.structs.replace(live(), word="gap"), True),
    ):
        engine, follow = missing()
        cancelled = [one.number for one in engine.step(meanwhile) if isinstance(one, Cancel)]

        assert cancelled == [follow[0].number] * ends


def test_a_level_that_shows_more_than_it_gives_is_waited_for_no_longer_with_orders_that_take() -> None:
    engine, follow = bought(50, 30, 50)
    kinds = [follow[0].time_in_force]
    for seconds in (1, 2, 7, 8):
        for intent in follow:
            if intent.time_in_force == "ioc":
                engine.step(ended(intent, 0, NOW_MS + seconds * 1_000))
        follow = placed(engine.step(later(seconds, seq=seconds + 1)))
        kinds += [intent.time_in_force for intent in follow]

    assert kinds == ["ioc", "ioc", "gtc"]


def test_what_rests_is_filled_by_whoever_offers_and_the_log_decides_the_same_again(stand: Stand) -> None:
    stand.commit(basket(size_e2=5_000))
    stand.turns()
    gone = leg(EVENT, "AWY", (3_500, 20_000), (3_700, 20_000))
    view = basket(size_e2=5_000)
    stand.commit(msgspec.structs.replace(view, markets=(view.markets[0], gone, view.markets[2])))
    stand.turns(4)
    ledger = stand.worker.engine.ledger
    (rests,) = ledger.open.values()
    assert (rests.ticker, rests.post_only, rests.attempt) == (TICKERS[1], True, 1)
    assert [one.trade for one in report(stand.worker, stand.clock.now_ms(), 1, 1).status.uneven] == [1]

    stand.commit(basket(size_e2=5_000))  # somebody misprices it again
    stand.turns(4)

    ledger = stand.worker.engine.ledger
    assert {leg.got_e2 for leg in ledger.baskets[1].legs} == {5_000}
    assert not ledger.open
    reader = Reader(stand.worker.around.journal_path)
    try:
        (session,) = reader.sessions()
        assert replay(reader.inputs(session)).differs_at is None
    finally:
        reader.close()


def test_no_basket_is_begun_while_too_much_is_at_stake_in_uneven_ones() -> None:
    engine, _ = missing()
    engine.leg_risk = LegRisk()  # after that miss it would be careful
    engine.limits = msgspec.structs.replace(engine.limits, total_e6=590_000_000)
    other = data(basket(2, size_e2=1_000), now_ms=NOW_MS, seq=3)

    refused = [one.reason for one in engine.step(other) if isinstance(one, Refused)]
    engine.limits = LIMITS

    assert refused == ["uneven_limit"]
    assert placed(engine.step(data(basket(2, size_e2=1_000), now_ms=NOW_MS, seq=4)))


def test_on_a_tick_too_a_basket_is_evened_out_though_nothing_changes() -> None:
    engine, follow = bought(50, 20, 50)
    engine.step(later(0.5))
    engine.step(ended(follow[0], 0))

    assert not placed(engine.step(tick(NOW_MS + 900)))
    assert [one.attempt for one in placed(engine.step(tick(NOW_MS + 1_000)))] == [2]


def started() -> Data:
    timing = msgspec.structs.replace(basket().timing, start_ms=NOW_MS, in_play=True)
    return data(msgspec.structs.replace(basket(size_e2=5_000), timing=timing), seq=2)


@pytest.mark.parametrize(
    ("meanwhile", "evens"),
    [
        (msgspec.structs.replace(live(), word="gap"), False),
        (Command(NOW_MS, 0, op="kill", reason="x"), False),
        (Command(NOW_MS, 0, op="pause", reason="x"), True),
        (started(), True),
    ],
)
def test_evening_out_takes_risk_off_so_only_a_kill_and_doubt_stop_it(
    meanwhile: AnyInput, evens: bool
) -> None:
    engine = Engine()
    for one in (start(), live()):
        engine.step(one)
    intents = placed(engine.step(data(basket(size_e2=5_000))))
    engine.step(meanwhile)

    outputs = [
        placed(engine.step(ended(one, count))) for one, count in zip(intents, (5_000, 0, 5_000), strict=True)
    ]

    assert [bool(each) for each in outputs] == [False, False, evens]
    assert uneven(engine.ledger.baskets[1])


@pytest.mark.parametrize(
    "limits",
    [
        {"daily_loss_e6": 0},
        {"order_e6": 0},
        {"market_e6": 0},
        {"event_e6": 0},
        {"total_e6": 0},
        {"open_orders": 0},
        {"orders_per_minute": 0},
    ],
)
def test_no_limit_of_new_trades_keeps_a_basket_uneven(limits: dict[str, int]) -> None:
    engine, follow = bought(50, 20, 50)
    engine.step(ended(follow[0], 0))
    engine.limits = msgspec.structs.replace(engine.limits, **limits)

    assert placed(engine.step(later(1)))


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(TICKERS[1], "no", 6_000, 2_100),  # lacks 20 contracts
        Wanted(TICKERS[0], "yes", 4_200, 5_100),  # has 50
        Wanted(TICKERS[0], "no", 6_000, 100),  # lacks nothing
        Wanted(f"{event_of(2).event_ticker}-HOM", "no", 6_000, 100),
    ],
)
def test_a_follow_up_may_only_even_out(wanted: Wanted) -> None:
    engine, _ = bought(50, 30, 50)
    ledger = engine.ledger.copy()
    ledger.open.clear()
    proposal = Proposal("no_basket", EVENT.event_ticker, (wanted,), 1, None, 1)
    facts = msgspec.structs.replace(engine._facts(), ledger=ledger)

    assert check(proposal.legs, proposal, basket(size_e2=9_000), facts, LIMITS, SCAN) == "evens_nothing"


counts = st.integers(0, 50)


@given(
    st.tuples(counts, counts, counts),
    st.lists(
        st.tuples(st.integers(300, 4_600), st.integers(0, 60), st.integers(0, 60)), min_size=12, max_size=12
    ),
    st.lists(st.floats(0, 1), min_size=24, max_size=24),
)
@settings(max_examples=150, deadline=None)
def test_in_the_end_legs_are_even_or_the_remainder_is_known_and_no_follow_up_made_it_worse(
    first: tuple[int, int, int], market: list[tuple[int, int, int]], shares: list[float]
) -> None:
    engine, follow = bought(*first)
    fates = iter(shares)
    for seq, (bid_e4, *sizes) in enumerate(market, start=2):
        bid_e4 -= bid_e4 % 100
        for one in follow:
            before = dict(engine.ledger.baskets)
            worst_e6 = guaranteed(before.get(1)) + engine.ledger.cash_e6
            engine.step(ended(one, int(one.count_e2 * next(fates, 1.0)) // 100 * 100))
            if len(follow) == 1 and one.edge_e6:
                # A single order, however much of it was filled, never leaves less than there was for sure.
                assert guaranteed(engine.ledger.baskets.get(1)) + engine.ledger.cash_e6 >= worst_e6
            engine.ledger.check()
        view = offered(bid_e4, sizes)
        follow = placed(engine.step(data(view, seq=seq)))
    left = engine.ledger.baskets.get(1)
    if left is not None and not engine.ledger.ordered(1):
        assert not uneven(left) or any(missing_e2(left)) == any(excess_e2(left))
        held = {ticker: position.count_e2 for ticker, position in engine.ledger.positions.items()}
        assert {leg.ticker: leg.got_e2 for leg in left.legs if leg.got_e2} == held
    if left is None:
        assert engine.ledger.positions == {}


def guaranteed(one: Basket | None) -> int:
    return 0 if one is None else guaranteed_payout_e6([leg.got_e2 for leg in one.legs])


def offered(bid_e4: int, sizes: list[int]) -> EventView:
    bid_size, ask_size = (size * 100 for size in sizes)
    return view_of(EVENT, *(leg(EVENT, name, (bid_e4, bid_size), (bid_e4 + 200, ask_size)) for name in NAMES))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.close()


@pytest.mark.usefixtures("impatient")
def test_from_a_short_fill_to_even_legs_through_broker_and_journal(stand: Stand) -> None:
    stand.commit(basket(size_e2=5_000))
    stand.turns()
    shrunk = (basket(size_e2=5_000), leg(EVENT, "AWY", (4_000, 2_000), (4_200, 5_000)))
    view = msgspec.structs.replace(shrunk[0], markets=(shrunk[0].markets[0], shrunk[1], shrunk[0].markets[2]))
    stand.commit(view)
    stand.turns(4)  # the orders arrive: 50, 20 and 50; nobody offers the rest of AWY, so 30 of each are sold

    (one,) = stand.worker.engine.ledger.baskets.values()
    assert [leg.got_e2 for leg in one.legs] == [2_000, 5_000, 5_000]  # by ticker: AWY, HOM, TIE
    stand.turns(4)
    ledger = stand.worker.engine.ledger
    assert {position.count_e2 for position in ledger.positions.values()} == {2_000}
    assert report(stand.worker, stand.clock.now_ms(), 1, 1).status.uneven == ()
    reader = Reader(stand.worker.around.journal_path)
    try:
        assert reader.ledger().baskets == ledger.baskets
        (session,) = reader.sessions()
        assert replay(reader.inputs(session)).differs_at is None
        assert len({row["trade"] for row in reader.orders(100, 1_000)}) == 1
    finally:
        reader.close()


@pytest.mark.usefixtures("impatient")
def test_a_remainder_is_in_the_status(stand: Stand) -> None:
    stand.commit(basket(size_e2=5_000))
    stand.turns()
    # Nobody sells TIE any more, nobody buys the others back.
    bids = {"HOM": (4_000, 5_000), "AWY": (4_000, 5_000), "TIE": None}
    stand.commit(view_of(EVENT, *(leg(EVENT, name, bid, None) for name, bid in bids.items())))
    stand.turns(4)

    (left,) = report(stand.worker, stand.clock.now_ms(), 1, 1).status.uneven

    assert (left.trade, left.event_ticker) == (1, EVENT.event_ticker)
    assert {found.ticker: found.got_fp for found in left.legs} == {
        TICKERS[0]: "50.00", TICKERS[1]: "50.00", TICKERS[2]: "0.00"
    }  # fmt: skip


def test_books_forget_a_basket_when_one_of_its_markets_is_settled() -> None:
    engine, _ = bought(50, 30, 50)
    ledger: Ledger = engine.ledger.copy()
    ledger.settle(TICKERS[0], "yes", 10_000, NOW_MS)

    assert ledger.baskets == {}


@pytest.mark.usefixtures("impatient")
def test_a_follow_up_that_is_refused_is_told_once_and_not_as_the_opportunitys_reason() -> None:
    engine, follow = bought(50, 30, 50)
    engine.step(ended(follow[0], 0))
    engine.limits = msgspec.structs.replace(engine.limits, price_collar_e4=-1)

    told = [
        [output.reason for output in engine.step(later(seconds)) if isinstance(output, Refused)]
        for seconds in (1, 2, 6, 7, 11)
    ]

    assert told == [["price_collar", "price_collar", "one_position_per_event"], [], [], [], []]
    assert engine.refusals.not_evened == {1: ("price_collar", "price_collar")}
    assert engine.refusals.told == {("no_basket", EVENT.event_ticker): "one_position_per_event"}
    engine.limits = LIMITS
    assert not placed(engine.step(later(15)))  # looked at again every five seconds
    assert placed(engine.step(later(16)))
    assert engine.refusals.not_evened == {}


def without_grid(view: EventView) -> EventView:
    """The same event with markets whose prices cannot be compared with their grid: a step of nothing."""
    markets = [
        msgspec.structs.replace(
            seen, market=msgspec.structs.replace(seen.market, price_ranges=((0, 10_000, 0),))
        )
        for seen in view.markets
    ]
    return msgspec.structs.replace(view, markets=tuple(markets))


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_judged_is_refused_named_and_costs_no_other_event() -> None:
    engine, follow = bought(50, 30, 50)
    engine.step(ended(follow[0], 0))
    engine.leg_risk = LegRisk()  # after that miss it would be careful

    views = basket(size_e2=20_000, as_of_ms=NOW_MS + 1_000), basket(2, size_e2=1_000, as_of_ms=NOW_MS + 1_000)
    outputs = engine.step(data(without_grid(views[0]), views[1], now_ms=NOW_MS + 1_000, seq=2))

    assert {intent.event_ticker for intent in placed(outputs)} == {event_of(2).event_ticker}
    assert engine.refusals.not_evened == {1: ("error", "error")}
    assert [(key, one.part) for key, (one, *_) in engine.failures.standing.items()] == [
        (EVENT.event_ticker, "risk")
    ]
    assert "ZeroDivisionError" in engine.failures.take()[0].trace
    assert placed(engine.step(later(6)))
    assert (engine.failures.standing, engine.failures.take()) == ({}, [])


class Mute(NoBasketKind):
    """Raises when it is asked what legs pay."""

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        raise ArithmeticError("mute")


def test_a_kind_that_cannot_say_what_legs_pay_leaves_them_uneven_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, follow = bought(50, 30, 50)
    engine.step(ended(follow[0], 0))
    monkeypatch.setitem(KINDS, "no_basket", Mute())

    assert not placed(engine.step(later(1)))
    assert {one.part for one in engine.failures.standing[EVENT.event_ticker]} == {"no_basket"}
