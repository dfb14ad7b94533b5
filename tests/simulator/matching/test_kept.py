"""Lists of accounts stay bounded: 90 days are live, what is older is historical, up to a bound."""

from dataclasses import dataclass

import pytest

from markets.units import DAY_MS, HOUR_MS
from simulator.matching import kept
from simulator.matching.kept import Kept
from tests.simulator.matching.trades import NOW_MS, Desk, Market

FREE = Market("F", fee_multiplier_e4=0)


@dataclass(frozen=True)
class Tick:
    time_ms: int


def test_ninety_days_are_live_and_the_newest_comes_first() -> None:
    ticks: Kept[Tick] = Kept()
    for day in range(96):
        ticks.add(Tick(day * DAY_MS))
    assert [tick.time_ms // DAY_MS for tick in ticks.newest()] == list(range(95, 4, -1))
    assert [tick.time_ms // DAY_MS for tick in ticks.historical()] == [4, 3, 2, 1, 0]


def test_what_nobody_adds_to_grows_old_all_the_same() -> None:
    ticks: Kept[Tick] = Kept()
    ticks.add(Tick(0))
    ticks.age(90 * DAY_MS)
    assert len(ticks.live) == 1
    ticks.age(90 * DAY_MS + 1)
    assert (len(ticks.live), len(ticks.history)) == (0, 1)


def test_memory_is_flat_over_half_a_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LIVE_BOUND", 2_500)
    monkeypatch.setattr(kept, "HISTORY_BOUND", 200)
    ticks: Kept[Tick] = Kept()
    for hour in range(180 * 24):
        ticks.add(Tick(hour * HOUR_MS))
        assert len(ticks.live) <= 90 * 24 + 1
        assert len(ticks.history) <= 200
    assert len(ticks.live) + len(ticks.history) + ticks.forgotten == 180 * 24
    for _ in range(2_600):
        ticks.add(Tick(180 * DAY_MS))
    assert len(ticks.live) == 2_500


def test_settled_positions_and_fills_leave_the_live_lists_after_ninety_days() -> None:
    desk = Desk()
    desk.trade(FREE, "bid", 4_000, 100)
    desk.ledger.settle(FREE, 0, NOW_MS)
    shown = desk.ledger.statements
    assert len(shown.positions((1, 0), "settled")) == len(list(shown.fills(1).newest())) == 1
    desk.ledger.age(NOW_MS + 91 * DAY_MS)
    assert shown.positions((1, 0), "all") == []
    assert [position.instrument for position in shown.historical_positions((1, 0))] == [FREE]
    assert len(list(shown.fills(1).historical())) == len(list(shown.settlements(1).historical())) == 1


def test_markets_come_and_go_and_the_books_stay_small() -> None:
    desk = Desk()
    for number in range(200):
        market = Market(f"M{number}", event_ticker=f"E{number}", exclusive=True, fee_multiplier_e4=0)
        order = desk.rest(market, "ask", 6_000, 100)
        desk.trade(market, "bid", 4_000, 100)
        desk.ledger.drop(order)
        desk.ledger.settle(market, 10_000, NOW_MS + number * DAY_MS)
    holder = desk.ledger.holdings.holders[1, 0]
    assert (holder.positions, holder.orders, holder.tickers, holder.returns) == ({}, {}, {}, {})
    assert desk.ledger.holdings.by_ticker == {}
    assert desk.ledger.holdings.crowd.positions == {}
    assert len(holder.settled.live) == 91
