"""Statistics over many runs: means with intervals, and choices judged out of sample. Pure."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from statistics import NormalDist, fmean, stdev
from typing import Final

import msgspec

from .outcome import Outcome, Plan, Trade

_T95: Final = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
)  # fmt: skip
"""Two-sided 95 % points of Student's t by degrees of freedom, from 1."""

DAY_MS: Final = 86_400_000


class Estimate(msgspec.Struct, frozen=True):
    """A mean over independent runs; `half` is half the width of its 95 % interval, None if below two runs.

    The mean of no runs is not a number: null in report.json.
    """

    mean: float
    half: float | None
    count: int

    @property
    def above_zero(self) -> bool:
        """Whether the interval is above zero."""
        return self.half is not None and self.mean - self.half > 0

    @property
    def below_zero(self) -> bool:
        """Whether the interval is below zero."""
        return self.half is not None and self.mean + self.half < 0


def t95(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t; above 30 degrees of freedom by its expansion."""
    if freedom < 1:
        raise ValueError(f"degrees of freedom: got {freedom}, expected 1 or more")
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values with its interval."""
    if not values:
        return Estimate(math.nan, None, 0)
    if len(values) < 2:
        return Estimate(values[0], None, 1)
    half = t95(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(fmean(values), half, len(values))


class Promise(msgspec.Struct, frozen=True):
    """What trades promised and what they got. Money in 1/1,000,000 dollar, over trades with any fills.

    Attributes:
        missed, nothing: how many missed a leg or a part of one, and how many got nothing.
        working: of how many the first orders are still working.
        settled: how many are settled; promised_e6, got_e6: over these.
        open_e6: the others' worth at their floor or bid, less cost.
    """

    trades: int
    even: int
    missed: int
    nothing: int
    working: int
    settled: int
    promised_e6: int
    got_e6: int
    open_e6: int
    fees_e6: int

    @property
    def profit_e6(self) -> int:
        """Total profit, with open trades at their floor or bid."""
        return self.got_e6 + self.open_e6

    @property
    def ratio(self) -> float | None:
        """Got per dollar promised, over settled trades."""
        return self.got_e6 / self.promised_e6 if self.promised_e6 > 0 else None


def promise(trades: Iterable[Trade]) -> Promise:
    """Add up trades."""
    trades = list(trades)
    had = [trade for trade in trades if trade.cost_e6]
    settled = [trade for trade in had if trade.got_e6 is not None]
    return Promise(
        trades=len(trades),
        even=sum(trade.first == "even" for trade in trades),
        missed=sum(trade.first == "missed" for trade in trades),
        nothing=sum(trade.first == "nothing" for trade in trades),
        working=sum(not trade.first for trade in trades),
        settled=len(settled),
        promised_e6=sum(trade.promised_e6 for trade in settled),
        got_e6=sum(trade.got_e6 or 0 for trade in settled),
        open_e6=sum(trade.worth_e6 or 0 for trade in had if trade.got_e6 is None),
        fees_e6=sum(trade.fees_e6 for trade in had),
    )


CUTS: Final[Mapping[str, Callable[[Trade], str]]] = {
    "strategy": lambda trade: trade.strategy,
    "kind": lambda trade: trade.kind,
    "series": lambda trade: trade.series,
    "source": lambda trade: trade.source or "none needed",
    "day": lambda trade: datetime.fromtimestamp(trade.at_ms / 1000, UTC).date().isoformat(),
    "settled as": lambda trade: "void or tied" if trade.odd else "usual",
}
"""How a report groups trades."""


def cut(trades: Iterable[Trade], by: Callable[[Trade], str]) -> dict[str, Promise]:
    """Return the sums of groups of trades, the largest profit first."""
    parts: dict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        parts[by(trade)].append(trade)
    sums = {word: promise(part) for word, part in parts.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].profit_e6, item[0])))


def by_day(outcome: Outcome) -> list[int]:
    """Return the profit at floor of each day of a run, including the last, partial one."""
    last_e6: dict[int, int] = {}
    for point in outcome.points:
        last_e6[max(0, point.at_ms - outcome.began_ms - 1) // DAY_MS] = point.floor_e6
    profits, before_e6 = [0] * (max(last_e6, default=-1) + 1), 0
    for day, floor_e6 in last_e6.items():  # a day of which nothing was recorded earned nothing
        profits[day], before_e6 = floor_e6 - before_e6, floor_e6
    return profits


class Bin(msgspec.Struct, frozen=True):
    """Beliefs of similar size: how many, their mean, and how often they came true."""

    count: int
    believed: float
    came: float


def calibration(trades: Iterable[Trade], bins: int = 10) -> list[Bin]:
    """Return how often beliefs came true, in bins of equal width, over trades that held on to the end."""
    parts: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for trade in trades:
        if trade.belief is not None and trade.outcome_e4 is not None:
            believed = trade.belief / 1e6
            parts[min(bins - 1, int(believed * bins))].append((believed, trade.outcome_e4 / 10_000))
    return [
        Bin(len(part), fmean(believed for believed, _ in part), fmean(came for _, came in part))
        for _, part in sorted(parts.items())
    ]


class After(msgspec.Struct, frozen=True):
    """Fills some minutes later: how many were measured, and how many not, as nobody quoted it, or in a gap.

    `cents`: how much more a contract was worth than was paid, on average over contracts.
    """

    fills: int
    unknown: int
    cents: float


def markouts(outcomes: Iterable[Outcome]) -> dict[int, After]:
    """Return minutes -> what fills were worth then."""
    marks: dict[int, list[tuple[int, float | None]]] = defaultdict(list)
    for outcome in outcomes:
        for mark in outcome.markouts:
            marks[mark.minutes].append((mark.count_e2, mark.more_e4))
    found = {}
    for minutes, each in sorted(marks.items()):
        known = [(count_e2, more_e4) for count_e2, more_e4 in each if more_e4 is not None]
        count_e2 = sum(count for count, _ in known)
        cents = sum(count * more for count, more in known) / count_e2 / 100 if count_e2 else math.nan
        found[minutes] = After(len(known), len(each) - len(known), cents)
    return found


def order_ms(outcomes: Iterable[Outcome]) -> tuple[int, int] | None:
    """Return the median and the 95th percentile of all orders' times; None if there are none.

    Each run keeps about as many times, so a kept one stands for more orders where there were more.
    """
    times = sorted((ms, one.orders / len(one.order_ms)) for one in outcomes for ms in one.order_ms)
    upto = list(accumulate(orders for _, orders in times))
    if not times:
        return None
    half, most = (times[bisect_right(upto, share * upto[-1])][0] for share in (0.5, 0.95))
    return half, most


class Chosen(msgspec.Struct, frozen=True):
    """A choice made on some cases, and judged on the next. Dollars per day.

    Attributes:
        there, here: what the chosen one earned where it was chosen, and where it is judged.
        lead_there, lead: how much more than the mean of all that could be chosen, case by case.
        flattered: by how much choosing flattered: the first lead less the second. What all have in common on
            some cases is in neither. Its interval is that of both leads together.
    """

    variant: str
    chosen_on: tuple[str, ...]
    judged_on: tuple[str, ...]
    there: Estimate
    here: Estimate
    lead_there: Estimate
    lead: Estimate
    flattered: Estimate


def worlds(plans: Iterable[Plan]) -> list[dict[str, list[str]]]:
    """Return the cases of each variant, for each world: what is given is not chosen, only settings are."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for plan in plans:
        found[str(plan.world)][plan.variant].append(plan.case)
    return [dict(variants) for variants in found.values()]


def parts_of(variants: Mapping[str, Sequence[str]], parts: int) -> list[tuple[str, ...]]:
    """Divide the cases that all variants have in common, in their order.

    Raises:
        ValueError: there are too few, or there is only one variant.
    """
    if parts < 2:
        raise ValueError("expected 2 or more parts, one to choose on and one to judge on")
    if len(variants) < 2:
        raise ValueError("it chooses among settings: give --set KEY=A,B")
    first, *others = variants.values()
    cases = [case for case in dict.fromkeys(first) if all(case in other for other in others)]
    if len(cases) < parts:
        raise ValueError(f"{parts} parts need as many seeds or recordings, there are {len(cases)} in common")
    count = len(cases)
    return [tuple(cases[at * count // parts : (at + 1) * count // parts]) for at in range(parts)]


def walk_forward(outcomes: Sequence[Outcome], parts: int) -> list[Chosen]:
    """Choose the settings that earned most on one part of the cases; judge them on the next part.

    Recordings go by their times, so that none is judged before what it was chosen on; seeds as they come. If
    runs differ in more than settings, each world is treated separately.

    Raises:
        ValueError: too few runs of all variants were made, or there is only one variant.
    """
    outcomes = sorted(outcomes, key=lambda outcome: outcome.began_ms)
    profits = {
        (outcome.plan.variant, outcome.plan.case): outcome.a_day_e6 / 1e6
        for outcome in outcomes
        if not outcome.error
    }
    found: list[Chosen] = []
    for variants in worlds(outcome.plan for outcome in outcomes):
        done = {name: [c for c in cases if (name, c) in profits] for name, cases in variants.items()}
        for on, judged in pairwise(parts_of(done, parts)):
            found.append(_chosen(sorted(variants), on, judged, profits))
    return found


def _chosen(
    variants: Sequence[str],
    on: tuple[str, ...],
    judged: tuple[str, ...],
    profits: Mapping[tuple[str, str], float],
) -> Chosen:
    best = max(variants, key=lambda name: fmean(profits[name, case] for case in on))

    def leads(cases: Sequence[str]) -> Estimate:
        return estimate(
            [profits[best, case] - fmean(profits[name, case] for name in variants) for case in cases]
        )

    there, here = (estimate([profits[best, case] for case in cases]) for cases in (on, judged))
    lead_there, lead = leads(on), leads(judged)
    half = None
    if lead_there.half is not None and lead.half is not None:
        half = math.hypot(lead_there.half, lead.half)
    flattered = Estimate(lead_there.mean - lead.mean, half, lead.count)
    return Chosen(best, on, judged, there, here, lead_there, lead, flattered)


def paired(one: Sequence[Outcome], other: Sequence[Outcome]) -> Estimate:
    """Return how many dollars more per day `other` earned than `one`, over their common cases."""
    first = {outcome.plan.case: outcome.a_day_e6 for outcome in one if not outcome.error}
    second = {outcome.plan.case: outcome.a_day_e6 for outcome in other if not outcome.error}
    return estimate([(second[case] - first[case]) / 1e6 for case in first if case in second])
