"""A report's figures: the content of report.json, from which the page and the tables are made. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

import msgspec

from .outcome import Outcome, Plan, Point, common, names
from .statistics import (
    CUTS,
    Bin,
    Chosen,
    Estimate,
    Promise,
    by_day,
    calibration,
    cut,
    estimate,
    markouts,
    paired,
    promise,
)

CURVE_POINTS = 400


class Curve(msgspec.Struct, frozen=True):
    """The equity of one run: (hours since the start, profit at floor, profit at bid, stake), in dollars."""

    seed: int
    points: list[tuple[float, float, float, float]]


class Variant(msgspec.Struct, frozen=True):
    """The runs that differ only by their seed, together.

    Attributes:
        a_day: profit per day in dollars, open positions at their floor or bid. seeds: that of each seed.
        bid_a_day: the same with everything at bid.
        drawdown: the deepest of each seed, dollars.
        days: profit of each day of each run, dollars, in order.
        fill_rate: contracts filled per contract wanted.
        order_ms: an order's life, median and 95th percentile.
    """

    name: str
    plan: Plan
    runs: int
    days_run: float
    a_day: Estimate
    bid_a_day: Estimate
    seeds: dict[int, float]
    days: dict[int, list[float]]
    drawdown: dict[int, float]
    most_at_stake: float
    promise: Promise
    cuts: dict[str, dict[str, Promise]]
    markouts: dict[int, tuple[int, float]]
    calibration: list[Bin]
    refused: dict[str, int]
    orders: int
    fills: int
    fill_rate: float
    order_ms: tuple[int, int]
    fees: float
    failures: list[str]
    differs: list[str]
    errors: list[str]
    curves: list[Curve]
    cpu_s: float


class Report(msgspec.Struct, frozen=True):
    """The figures of one sweep.

    `against_first`: extra profit per day over the first variant, paired by seed. `common`: what all runs have
    in common, beside what their variants' names say.
    """

    title: str
    command: str
    code: str
    variants: list[Variant]
    against_first: dict[str, Estimate]
    walk_forward: list[Chosen] = []
    common: dict[str, str] = {}


def report(
    outcomes: Sequence[Outcome], title: str, command: str, code: str, chosen: Sequence[Chosen] = ()
) -> Report:
    """Return the figures of runs, with variants in order of appearance."""
    parts: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        parts[outcome.plan.variant].append(outcome)
    first, plans = next(iter(parts.values()), []), [outcome.plan for outcome in outcomes]
    called = names(plans)
    return Report(
        title,
        command,
        code,
        [variant(called[name], part) for name, part in parts.items()],
        {called[name]: paired(first, part) for name, part in list(parts.items())[1:]},
        [msgspec.structs.replace(one, variant=called[one.variant]) for one in chosen],
        common(plans),
    )


def variant(name: str, outcomes: Sequence[Outcome]) -> Variant:
    """Return the figures of one variant."""
    good = [outcome for outcome in outcomes if not outcome.error]
    trades = [trade for outcome in good for trade in outcome.trades]
    refused: Counter[str] = Counter()
    for outcome in good:
        refused.update(outcome.refused)
    times = sorted(ms for outcome in good for ms in outcome.order_ms)
    wanted_e2 = sum(outcome.wanted_e2 for outcome in good)
    return Variant(
        name=name,
        plan=outcomes[0].plan,
        runs=len(good),
        days_run=sum(outcome.days for outcome in good),
        a_day=estimate([outcome.a_day_e6 / 1e6 for outcome in good]),
        bid_a_day=estimate([_bid_a_day(outcome) for outcome in good]),
        seeds={outcome.plan.seed: outcome.a_day_e6 / 1e6 for outcome in good},
        days={outcome.plan.seed: [e6 / 1e6 for e6 in by_day(outcome)] for outcome in good},
        drawdown={outcome.plan.seed: outcome.drawdown_e6 / 1e6 for outcome in good},
        most_at_stake=max((point.stake_e6 for one in good for point in one.points), default=0) / 1e6,
        promise=promise(trades),
        cuts={word: cut(trades, by) for word, by in CUTS.items()},
        markouts=markouts(good),
        calibration=calibration(trades),
        refused=dict(refused.most_common()),
        orders=sum(outcome.orders for outcome in good),
        fills=sum(outcome.fills for outcome in good),
        fill_rate=sum(outcome.got_e2 for outcome in good) / wanted_e2 if wanted_e2 else 0.0,
        order_ms=(times[len(times) // 2], times[len(times) * 95 // 100]) if times else (0, 0),
        fees=sum(outcome.fees_e6 for outcome in good) / 1e6,
        failures=[f"seed {one.plan.seed}, {line}" for one in good for line in one.failures],
        differs=[f"seed {one.plan.seed}: {line}" for one in good for line in one.differs],
        errors=[f"seed {one.plan.seed}: {one.error}" for one in outcomes if one.error],
        curves=[Curve(one.plan.seed, _curve(one)) for one in good],
        cpu_s=sum(outcome.cpu_s for outcome in good),
    )


def _bid_a_day(outcome: Outcome) -> float:
    return outcome.points[-1].bid_e6 / 1e6 / outcome.days if outcome.points and outcome.days else 0.0


def _curve(outcome: Outcome) -> list[tuple[float, float, float, float]]:
    points = outcome.points
    step = max(1, len(points) // CURVE_POINTS)
    thinned: Sequence[Point] = points[step - 1 :: step]
    if points and thinned[-1] is not points[-1]:
        thinned = [*thinned, points[-1]]
    began = outcome.began_ms
    return [
        ((p.at_ms - began) / 3_600_000, p.floor_e6 / 1e6, p.bid_e6 / 1e6, p.stake_e6 / 1e6) for p in thinned
    ]


def mean_curve(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Return the mean profit at floor over runs, at the hours that all of them include."""
    by_hour: Mapping[float, list[float]] = defaultdict(list)
    for curve in curves:
        for hours, floor, *_ in curve.points:
            by_hour[round(hours, 3)].append(floor)
    return [(hours, fmean(at)) for hours, at in sorted(by_hour.items()) if len(at) == len(curves)]
