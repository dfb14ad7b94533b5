"""A report's figures: the content of report.json, from which the page and the tables are made. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

import msgspec

from .outcome import Outcome, Plan, Point, common, names, span
from .spans import shared_ns
from .statistics import (
    CUTS,
    DAY_MS,
    After,
    Bin,
    Chosen,
    Estimate,
    Promise,
    by_day,
    calibration,
    cut,
    estimate,
    markouts,
    order_ms,
    paired,
    promise,
)

CURVE_POINTS: Final = 400

WHOLE_DAY: Final = 0.95
"""From how many days on a run counts as a day."""


class Curve(msgspec.Struct, frozen=True):
    """The equity of one run: (hours since the start, profit at floor, profit at bid, stake), in dollars."""

    case: str
    points: list[tuple[float, float, float, float]]


class Variant(msgspec.Struct, frozen=True):
    """The runs that differ only by their case, that is seed or recording, together.

    Attributes:
        a_day: profit per day in dollars, open positions at their floor or bid. cases: that of each case.
        bid_a_day: the same with everything at bid.
        drawdown: the deepest of each case, dollars.
        days: profit of each day of each run, dollars, in order.
        fill_rate: contracts filled per contract wanted; None if none were.
        order_ms: an order's life, median and 95th percentile; None if none has ended.
    """

    name: str
    plan: Plan
    runs: int
    days_run: float
    a_day: Estimate
    bid_a_day: Estimate
    cases: dict[str, float]
    days: dict[str, list[float]]
    drawdown: dict[str, float]
    most_at_stake: float
    promise: Promise
    cuts: dict[str, dict[str, Promise]]
    markouts: dict[int, After]
    calibration: list[Bin]
    refused: dict[str, int]
    orders: int
    fills: int
    fill_rate: float | None
    order_ms: tuple[int, int] | None
    fees: float
    failures: list[str]
    differs: list[str]
    errors: list[str]
    curves: list[Curve]
    cpu_s: float


class Report(msgspec.Struct, frozen=True):
    """The figures of one sweep.

    Attributes:
        code: the versions of the code that ran. notes: what to know before the figures are read.
        against_first: extra profit per day over the first variant, paired by case.
        common: what all runs have in common, beside what their variants' names say.
        recordings: case -> path, digest, and what the recording's own check says.
    """

    title: str
    command: str
    code: list[str]
    variants: list[Variant]
    against_first: dict[str, Estimate]
    walk_forward: list[Chosen] = []
    common: list[str] = []
    recordings: dict[str, tuple[str, str, str]] = {}
    notes: list[str] = []


def report(
    outcomes: Sequence[Outcome],
    title: str,
    command: str,
    chosen: Sequence[Chosen] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Return the figures of runs, with variants in order of appearance.

    A case counts once for each variant: of the same recording under two names, only the first does. Neither
    does a recording that holds the time of an earlier one.
    """
    parts: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for outcome in outcomes:
        cases, case = parts[outcome.plan.variant], outcome.plan.case
        if case not in cases or (cases[case].error and not outcome.error):
            cases[case] = outcome
    of_variant, notes = {name: list(cases.values()) for name, cases in parts.items()}, list(notes)
    for name, part in of_variant.items():
        of_variant[name] = _apart(part, notes)
    first, plans = next(iter(of_variant.values()), []), [outcome.plan for outcome in outcomes]
    called = names(plans)
    return Report(
        title=title,
        command=command,
        code=list(dict.fromkeys(plan.code for plan in plans)),
        variants=[variant(called[name], part) for name, part in of_variant.items()],
        against_first={called[name]: paired(first, part) for name, part in list(of_variant.items())[1:]},
        walk_forward=[msgspec.structs.replace(one, variant=called[one.variant]) for one in chosen],
        common=common(plans),
        recordings={
            case: (one.plan.recording, one.plan.digest, one.check)
            for cases in parts.values()
            for case, one in cases.items()
            if one.plan.recording
        },
        notes=[
            *dict.fromkeys(notes),
            *_short(one for part in of_variant.values() for one in part),
            *_lacking(one for part in of_variant.values() for one in part),
        ],
    )


def _apart(outcomes: Sequence[Outcome], notes: list[str]) -> list[Outcome]:
    """Return the outcomes without those over the time of an earlier one, and note which these are."""
    kept: list[Outcome] = []
    for one in outcomes:
        for other in kept:
            if ns := shared_ns(one.spans, other.spans):
                shared = f"{span(ns / 1e6 / DAY_MS)} of it are also in {other.plan.case}"
                notes.append(f"{one.plan.case.capitalize()} is left out: {shared}, so it is no other sample.")
                break
        else:
            kept.append(one)
    return kept


def _lacking(outcomes: Iterable[Outcome]) -> list[str]:
    """Return what the recordings lack, each once."""
    lines = (f"{one.plan.case.capitalize()}: {line}." for one in outcomes for line in one.lacks)
    return list(dict.fromkeys(lines))


def _short(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a warning if profits per day are extrapolated."""
    days = [one.days for one in outcomes if not one.error and one.days]
    shortest, longest = min(days, default=1.0), max(days, default=1.0)
    if shortest >= WHOLE_DAY:
        return []
    lasts = f"The shortest run lasts {span(shortest)}: profits per day are extrapolated."
    if longest > 2 * shortest:
        lasts += f" The longest lasts {span(longest)}, and each counts the same."
    return [f"{lasts} A day seldom earns as much an hour as its first minutes do, before money is at stake."]


def variant(name: str, outcomes: Sequence[Outcome]) -> Variant:
    """Return the figures of one variant."""
    good = [outcome for outcome in outcomes if not outcome.error]
    trades = [trade for outcome in good for trade in outcome.trades]
    refused: Counter[str] = Counter()
    for outcome in good:
        refused.update(outcome.refused)
    wanted_e2 = sum(outcome.wanted_e2 for outcome in good)
    return Variant(
        name=name,
        plan=outcomes[0].plan,
        runs=len(good),
        days_run=sum(outcome.days for outcome in good),
        a_day=estimate([outcome.a_day_e6 / 1e6 for outcome in good]),
        bid_a_day=estimate([_bid_a_day(outcome) for outcome in good]),
        cases={outcome.plan.case: outcome.a_day_e6 / 1e6 for outcome in good},
        days={outcome.plan.case: [e6 / 1e6 for e6 in by_day(outcome)] for outcome in good},
        drawdown={outcome.plan.case: outcome.drawdown_e6 / 1e6 for outcome in good},
        most_at_stake=max((one.most_e6 for one in good), default=0) / 1e6,
        promise=promise(trades),
        cuts={word: cut(trades, by) for word, by in CUTS.items()},
        markouts=markouts(good),
        calibration=calibration(trades),
        refused=dict(refused.most_common()),
        orders=sum(outcome.orders for outcome in good),
        fills=sum(outcome.fills for outcome in good),
        fill_rate=sum(outcome.got_e2 for outcome in good) / wanted_e2 if wanted_e2 else None,
        order_ms=order_ms(good),
        fees=sum(outcome.fees_e6 for outcome in good) / 1e6,
        failures=[f"{one.plan.case}, {line}" for one in good for line in one.failures],
        differs=[f"{one.plan.case}: {line}" for one in good for line in one.differs],
        errors=[f"{one.plan.case}: {one.error}" for one in outcomes if one.error],
        curves=[Curve(one.plan.case, _curve(one)) for one in good],
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
    """Return the mean profit at floor over runs, up to the end of the shortest.

    Recordings have their points at times of their own; between two of them, the earlier one counts.
    """
    moves = sorted(
        (hours, number, floor) for number, one in enumerate(curves) for hours, floor, *_ in one.points
    )
    ends = min((one.points[-1][0] if one.points else 0.0 for one in curves), default=0.0)
    now, mean = [0.0] * len(curves), dict[float, float]()
    for hours, number, floor in moves:
        now[number] = floor
        if hours <= ends:
            mean[hours] = fmean(now)
    return [*mean.items()]
