"""Means with intervals, sums by group, and choices judged out of sample."""

import random
from statistics import fmean

import msgspec
import pytest

from laboratory.outcome import Markout
from laboratory.statistics import (
    CUTS,
    DAY_MS,
    by_day,
    calibration,
    cut,
    estimate,
    markouts,
    order_ms,
    paired,
    promise,
    t95,
    walk_forward,
)
from tests.laboratory.outcomes import outcome, trade


def test_a_day_without_points_is_a_day_that_earned_nothing() -> None:
    run = outcome(1, [1_000_000, 1_000_000, 4_000_000])
    run.points = [point for point in run.points if not DAY_MS < point.at_ms - run.began_ms <= 2 * DAY_MS]
    assert len(run.points) == 2
    assert sum(by_day(run)) == run.points[-1].floor_e6
    assert (len(by_day(run)), by_day(run)[1]) == (3, 0)


def test_markouts_are_means_over_contracts_and_say_how_many_nobody_knows() -> None:
    run = outcome(1, [])
    run.markouts = [Markout("s", 1, 100, 200.0), Markout("s", 1, 300, -200.0), Markout("s", 1, 900, None)]
    run.markouts.append(Markout("s", 10, 100, None))
    found = markouts([run])
    assert (found[1].fills, found[1].unknown, found[1].cents) == (2, 1, -1.0)
    assert (found[10].fills, found[10].unknown) == (0, 1)


def test_an_interval_covers_the_truth_about_as_often_as_stated() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(2_000):
        found = estimate([rng.gauss(3.0, 2.0) for _ in range(5)])
        assert found.half is not None
        held += abs(found.mean - 3.0) <= found.half
    assert held / 2_000 == pytest.approx(0.95, abs=0.015)


def test_one_run_gives_no_interval_and_no_run_no_mean() -> None:
    assert estimate([4.0]).half is None
    assert not estimate([4.0]).above_zero
    assert estimate([]).count == 0
    with pytest.raises(ValueError, match="degrees of freedom: got 0"):
        t95(0)


def test_the_points_of_students_t_continue_without_a_step() -> None:
    points = [t95(freedom) for freedom in range(1, 200)]
    assert points == sorted(points, reverse=True)
    assert t95(31) == pytest.approx(2.0395, abs=0.001)
    assert t95(120) == pytest.approx(1.9799, abs=0.001)


def test_promises_are_compared_with_results_for_settled_trades_only() -> None:
    found = promise(
        [
            trade(1, promised_e6=500_000, got_e6=400_000),
            trade(2, first="missed", got_e6=None, worth_e6=-200_000),
            trade(3, first="nothing", cost_e6=0, fees_e6=0, got_e6=0),
        ]
    )
    assert (found.trades, found.even, found.missed, found.nothing) == (3, 1, 1, 1)
    assert (found.settled, found.promised_e6, found.got_e6, found.open_e6) == (1, 500_000, 400_000, -200_000)
    assert found.ratio == pytest.approx(0.8)
    assert found.profit_e6 == 200_000


def test_however_trades_are_grouped_the_groups_add_up_to_the_whole() -> None:
    rng = random.Random(2)
    trades = [
        trade(
            number,
            strategy=rng.choice(["a", "b"]),
            kind=rng.choice(["x", "y", "z"]),
            series=str(rng.randrange(5)),
            got_e6=rng.choice([None, rng.randrange(-(10**6), 10**6)]),
            worth_e6=rng.randrange(-(10**6), 10**6),
            odd=rng.random() < 0.1,
        )
        for number in range(200)
    ]
    whole = promise(trades)
    for by in CUTS.values():
        parts = cut(trades, by).values()
        assert sum(part.profit_e6 for part in parts) == whole.profit_e6
        assert sum(part.trades for part in parts) == whole.trades
        assert sum(part.fees_e6 for part in parts) == whole.fees_e6


def test_the_profits_of_days_add_up_to_the_profit_of_the_run() -> None:
    run = outcome(1, [3_000_000, 2_000_000, 7_000_000])
    assert by_day(run) == [3_000_000, -1_000_000, 5_000_000]
    assert run.profit_e6 == 7_000_000


def test_the_time_of_an_order_is_that_of_all_orders_however_many_a_run_kept() -> None:
    quick, slow = outcome(1, [0]), outcome(2, [0])
    quick.orders, quick.order_ms = 9_700, [100] * 200
    slow.orders, slow.order_ms = 300, [60_000] * 300
    assert order_ms([quick, slow]) == (100, 100)
    slow.orders = 600
    assert order_ms([slow, quick]) == (100, 60_000)
    assert order_ms([slow]) == (60_000, 60_000)
    assert order_ms([]) is None


def test_calibration_counts_only_settled_beliefs() -> None:
    trades = [trade(number, belief=700_000, outcome_e4=10_000 * (number < 7)) for number in range(10)]
    (found,) = calibration([*trades, trade(99, belief=700_000), trade(100)])
    assert found.count == 10
    assert (found.believed, found.came) == pytest.approx((0.7, 0.7))


def test_a_choice_on_some_seeds_is_judged_on_the_next() -> None:
    # If all variants are noise around zero, the best on one fold looks good there, but not on the next.
    rng = random.Random(3)
    runs = [
        outcome(seed, [rng.randrange(-(10**6), 10**6)], min_edge=str(edge))
        for edge in range(10)
        for seed in range(1, 41)
    ]
    chosen = walk_forward(runs, 10)
    assert len(chosen) == 9
    assert all(not set(one.chosen_on) & set(one.judged_on) for one in chosen)
    assert fmean(one.there.mean for one in chosen) > 0.2
    assert abs(fmean(one.here.mean for one in chosen)) < 0.2
    flattered = fmean(one.flattered.mean for one in chosen)
    assert flattered > 0.2
    assert flattered == pytest.approx(fmean(one.lead_there.mean - one.lead.mean for one in chosen))
    assert all(one.flattered.half and one.lead.half and one.flattered.half > one.lead.half for one in chosen)


def test_a_choice_on_recordings_is_judged_on_later_ones_in_whatever_order_they_are_given() -> None:
    runs = []
    for edge in (1, 2):
        for day in (3, 1, 4, 2):
            run = outcome(day, [day * 1_000_000 * edge], min_edge=str(edge))
            run.plan = msgspec.structs.replace(run.plan, recording=f"{day}.mcap", digest=str(day) * 12)
            run.began_ms, run.ended_ms = day * DAY_MS, (day + 1) * DAY_MS
            runs.append(run)
    (chosen,) = walk_forward(runs, 2)
    assert [case[-1] for case in (*chosen.chosen_on, *chosen.judged_on)] == ["1", "2", "3", "4"]


def test_what_all_variants_have_in_common_on_some_seeds_flatters_nobody() -> None:
    # The later seeds are worse for everybody, by two dollars a day; the better variant stays as much better.
    runs = [
        outcome(seed, [(edge - 2 * (seed > 2)) * 1_000_000], min_edge=str(edge))
        for edge in (1, 3)
        for seed in (1, 2, 3, 4)
    ]
    (one,) = walk_forward(runs, 2)
    assert (one.there.mean, one.here.mean) == (3.0, 1.0)
    assert (one.lead_there.mean, one.lead.mean, one.flattered.mean) == (1.0, 1.0, 0.0)


def test_worlds_are_not_chosen_between() -> None:
    runs = [outcome(seed, [edge * 1_000_000], min_edge=str(edge)) for seed in (1, 2) for edge in (1, 2)]
    easy = [outcome(seed, [9_000_000], min_edge=str(edge)) for seed in (1, 2) for edge in (1, 2)]
    for one in easy:
        one.plan = msgspec.structs.replace(one.plan, rivals=False)
    assert [one.here.mean for one in walk_forward([*runs, *easy], 2)] == [2.0, 9.0]


def test_walk_forward_says_what_is_missing() -> None:
    runs = [outcome(seed, [1], min_edge=edge) for seed in (1, 2) for edge in ("1", "2")]
    with pytest.raises(ValueError, match="as many seeds or recordings, there are 2"):
        walk_forward(runs, 3)
    with pytest.raises(ValueError, match="it chooses among settings"):
        walk_forward(runs[::2], 2)
    with pytest.raises(ValueError, match="expected 2 or more"):
        walk_forward(runs, -1)
    for one in runs:
        one.error = "killed" if one.plan.settings["min_edge"] == "2" else ""
    with pytest.raises(ValueError, match="there are 0 in common"):
        walk_forward(runs, 2)


def test_two_variants_are_compared_seed_by_seed() -> None:
    noise = [5_000_000, -7_000_000, 2_000_000]
    one = [outcome(seed, [profit]) for seed, profit in enumerate(noise)]
    other = [outcome(seed, [profit + 100_000]) for seed, profit in enumerate(noise)]
    found = paired(one, other)
    assert found.mean == pytest.approx(0.1)
    assert found.above_zero  # although neither is significant by itself
    assert not estimate([run.a_day_e6 for run in other]).above_zero
