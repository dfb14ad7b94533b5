"""Strategies that see what they hold, and sell it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from markets.errors import StartupError
from markets.opportunities import EventView
from markets.orders import Intent, Proposal, Wanted
from markets.records import FairValue
from tests.trader.engine.makers import Maker
from tests.trader.world import LIMITS, NOW_MS, data, event_of, filled, leg, live, start, tick, view_of
from trader.engine.engine import Engine
from trader.engine.inputs import Command, Values
from trader.engine.outputs import Place
from trader.lineup import load_strategy
from trader.strategies import Quiet, Update, exit_of

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"
BOUGHT_E4 = 4_200


def at(bid_e4: int, size_e2: int = 100_000, as_of_ms: int = NOW_MS, **changes: Any) -> EventView:
    """A market with this bid of YES, an ask 2 cents above it."""
    bid, ask = (bid_e4, size_e2), (bid_e4 + 200, size_e2)
    return view_of(EVENT, leg(EVENT, "HOM", bid, ask, as_of_ms=as_of_ms), **changes)


def placed(outputs: list[Any]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]


def value(probability: float) -> Values:
    believed = FairValue(TICKER, probability, "mine", NOW_MS)
    return Values(NOW_MS, 0, set=(believed,), removed=())


def holding(strategy: str) -> tuple[Engine, Intent]:
    """An engine whose strategy `value` has bought YES at 42 cents."""
    engine = Engine(load_strategy)
    for step in (start(strategies=(strategy,)), live(), value(0.6)):
        engine.step(step)
    engine.accepted = frozenset(("mine",))
    (order,) = placed(engine.step(data(at(BOUGHT_E4 - 200))))
    engine.step(filled(order))
    return engine, order


@pytest.mark.parametrize(
    ("parameters", "bid_e4", "sells"),
    [
        ("target_e4=500", 4_600, False),
        ("target_e4=500", 4_700, True),
        ("stop_e4=500", 3_800, False),
        ("stop_e4=500", 3_700, True),
        ("turned=True", 5_900, False),
        ("turned=True", 6_100, True),
        ("", 9_000, False),
    ],
)
def test_value_sells_at_its_target_its_stop_or_once_the_value_has_turned(
    parameters: str, bid_e4: int, sells: bool
) -> None:
    engine, bought = holding(f"value({parameters})")

    sold = placed(engine.step(data(at(bid_e4), seq=2)))

    expected = [(bought.trade, "no", 10_000 - bid_e4, bought.count_e2)] if sells else []
    assert [(one.trade, one.side, one.price_e4, one.count_e2) for one in sold] == expected
    for one in sold:
        engine.step(filled(one))
        assert engine.ledger.lots == {}
        engine.ledger.check_whole()


def test_value_sells_after_its_time_and_in_parts_where_the_bid_is_thin() -> None:
    engine, bought = holding("value(hold_s=60)")
    early, late = NOW_MS + 59_000, NOW_MS + 60_000

    assert not placed(engine.step(data(at(4_100, as_of_ms=early), now_ms=early, seq=2)))
    (first,) = placed(engine.step(data(at(4_100, 1_050, as_of_ms=late), now_ms=late, seq=3)))
    assert first.count_e2 == 1_000
    engine.step(filled(first, late))
    (second,) = placed(engine.step(data(at(4_000, as_of_ms=late), now_ms=late, seq=4)))
    assert second.count_e2 == bought.count_e2 - 1_000


def test_a_sale_takes_risk_off_so_neither_a_pause_nor_a_limit_nor_the_start_keeps_it() -> None:
    engine, _ = holding("value(target_e4=500)")
    engine.limits = msgspec.structs.replace(
        LIMITS, order_e6=0, market_e6=0, open_orders=0, orders_per_minute=0
    )
    engine.step(Command(NOW_MS, 0, op="pause", reason="x"))

    # A strategy is asked for nothing while trading is halted, but as time passes it may sell.
    assert engine.halts() == ("paused",)
    (lot,) = engine.ledger.lots[TICKER].values()
    wanted = exit_of(lot, at(4_700).markets[0])
    assert wanted is not None
    assert engine.place_trade(wanted, at(4_700, start_ms=NOW_MS))


@pytest.mark.parametrize("bad", ["target_e4=0", "stop_e4=10000", "hold_s=-1"])
def test_a_parameter_out_of_range_refuses_the_start(bad: str) -> None:
    with pytest.raises(StartupError, match="expected above 0 and at most"):
        load_strategy(f"value({bad})").make()


class Seller(Quiet):
    """Returns what the test wants, and takes down what it was told."""

    name = "no_basket"

    def __init__(self) -> None:
        super().__init__()
        self.wants_now: list[Proposal] = []
        self.told: list[Update] = []

    def on_update(self, update: Update) -> Sequence[Proposal]:
        self.told.append(update)
        return self.wants_now

    def on_timer(self, now_ms: int) -> Sequence[Proposal]:
        return self.wants_now


def selling() -> tuple[Engine, Seller, Proposal]:
    """An engine that holds 10 YES of a trade of its strategy, and what would sell it."""
    seller = Seller()
    engine = Engine(lambda _text: Maker(seller))
    for step in (start(), live(), value(0.6)):
        engine.step(step)
    engine.accepted = frozenset(("mine",))
    buy = Proposal(seller.name, EVENT.event_ticker, (Wanted(TICKER, "yes", BOUGHT_E4, 1_000),), 0, 0.6)
    seller.wants_now = [buy]
    (order,) = placed(engine.step(data(at(BOUGHT_E4 - 200))))
    engine.step(filled(order))
    seller.wants_now = []
    sale = Wanted(TICKER, "no", 10_000 - 4_000, 1_000)
    return (
        engine,
        seller,
        Proposal(seller.name, EVENT.event_ticker, (sale,), 0, None, order.trade, exits=True),
    )


def test_a_strategy_is_told_of_its_own_lots_orders_cash_and_the_values() -> None:
    engine, seller, _ = selling()
    engine.step(data(at(4_000), seq=2))

    told = seller.told[-1]
    assert [(lot.ticker, lot.side, lot.count_e2) for lot in told.lots] == [(TICKER, "yes", 1_000)]
    assert (told.orders, told.cash_e6) == ((), engine.ledger.cash_e6)
    assert told.fair_values[TICKER].probability == 0.6


def test_a_strategy_may_sell_as_time_passes() -> None:
    engine, seller, sale = selling()
    seller.wants_now = [sale]

    (order,) = placed(engine.step(tick(NOW_MS + 1_000)))

    assert (order.trade, order.side) == (sale.evens, "no")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"legs": (Wanted(TICKER, "no", 6_000, 1_100),)}, "not_held"),
        ({"legs": (Wanted(TICKER, "yes", 4_200, 1_000),)}, "not_held"),
        ({"evens": 99}, "not_held"),
        ({"legs": (Wanted("KXNONE", "no", 6_000, 1_000),)}, "not_held"),
        ({"legs": (Wanted(TICKER, "no", 6_000, -1_000),)}, "bad_size"),
        ({"exits": False, "evens": None, "legs": (Wanted("KXNONE", "no", 6_000, 1_000),)}, "market_unknown"),
        ({"exits": False, "evens": None, "legs": (Wanted(TICKER, "no", 6_000, -1_000),)}, "bad_size"),
        ({"event_ticker": "KXNONE"}, "market_unknown"),
    ],
)
def test_what_it_does_not_hold_or_cannot_know_is_refused_with_one_word(
    changes: dict[str, Any], reason: str
) -> None:
    engine, seller, sale = selling()
    engine.limits = msgspec.structs.replace(LIMITS, positions_per_event=5)
    engine.refusals.counts.clear()
    seller.wants_now = [msgspec.structs.replace(sale, **changes)]

    assert not placed(engine.step(tick(NOW_MS + 1_000)))
    assert (engine.roster.dropped, set(engine.refusals.counts)) == ({}, {reason})


@pytest.mark.parametrize("nonsense", [{"exits": False}, {"evens": None}, {"exits": 1}, {"evens": True}])
def test_evening_out_is_not_a_strategys_business(nonsense: dict[str, Any]) -> None:
    engine, seller, sale = selling()
    seller.wants_now = [msgspec.structs.replace(sale, **nonsense)]
    engine.step(data(at(4_000), seq=2))

    assert list(engine.roster.dropped) == [seller.name]
