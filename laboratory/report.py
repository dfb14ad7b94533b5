"""Writes a report: one self-contained HTML file, the same as JSON, and trades and equity as CSV."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from jinja2 import Environment, PackageLoader

from bus.files import write_whole
from bus.spreadsheet import guarded

from . import charts
from .figures import Curve, Report, Variant, mean_curve
from .outcome import Outcome, span

_RUN = ["seed", "recording", "variant"]
_TRADE = [
    "number",
    "strategy",
    "kind",
    "source",
    "series",
    "event",
    "at_ms",
    "promised_e6",
    "first",
    "orders",
    "joined",
    "evened",
    "cost_e6",
    "fees_e6",
    "got_e6",
    "worth_e6",
    "odd",
]
_POINT = ["at_ms", "floor_e6", "bid_e6", "stake_e6", "cash_e6"]


def html(report: Report) -> str:
    """Return the page."""
    environment = Environment(loader=PackageLoader("laboratory"), autoescape=True, trim_blocks=True)
    environment.filters |= {"money": cents, "cases": spoken, "days": span}
    rows = [(v.name, list(v.cases.values()), v.a_day) for v in report.variants]
    return environment.get_template("report.html").render(
        report=report,
        all_cases=" and ".join(
            dict.fromkeys("recordings" if v.plan.recording else "seeds" for v in report.variants)
        ),
        profit_chart=charts.dots("Profit per day", rows),
        charts=[_charts(variant) for variant in report.variants],
    )


def cents(dollars: float) -> str:
    """Return dollars and cents, with a sign if that is negative."""
    size = f"{abs(dollars):,.2f}"
    return f"{'-' if dollars < 0 and size != '0.00' else ''}${size}"


def spoken(cases: Iterable[str]) -> str:
    """Return cases as they are said in one breath: seeds 1..3, 7; recording a, recording b."""
    seeds: list[tuple[int, int]] = []
    others: list[str] = []
    for case in cases:
        kind, _, number = case.partition(" ")
        if kind != "seed":
            others.append(case)
        elif seeds and int(number) == seeds[-1][1] + 1:
            seeds[-1] = seeds[-1][0], int(number)
        else:
            seeds.append((int(number), int(number)))
    spans = [f"{first}..{last}" if last > first else str(first) for first, last in seeds]
    several = len(seeds) > 1 or any(last > first for first, last in seeds)
    words = [("seeds " if several else "seed ") + ", ".join(spans)] if spans else []
    return ", ".join(words + others)


def _charts(variant: Variant) -> dict[str, str]:
    curves = variant.curves
    floors: list[charts.Line] = [("thin", [(h, floor) for h, floor, *_ in one.points]) for one in curves]
    if len(curves) == 1:
        floors = [("bid", [(h, bid) for h, _, bid, _ in curves[0].points])]
    floors.append(("thick", mean_curve(curves)))
    stake: list[charts.Line] = [("thin stake", [(h, at) for h, *_, at in one.points]) for one in curves]
    by_day: dict[int, list[float]] = defaultdict(list)
    for days in variant.days.values():
        for number, profit in enumerate(days):
            by_day[number].append(profit)
    columns = [(_day(number, curves), fmean(profits)) for number, profits in sorted(by_day.items())]
    return {
        "equity": charts.lines(f"Equity at floor, {variant.name}", floors),
        "stake": charts.lines(f"At stake, {variant.name}", stake),
        "days": charts.bars(f"Profit by day, {variant.name}", columns),
    }


def _day(number: int, curves: Sequence[Curve]) -> str:
    """Return what a day of runs is called, with how much of it there was if it was not whole."""
    spans_s = {
        min(86_400, round(3_600 * one.points[-1][0]) - 86_400 * number) for one in curves if one.points
    }
    parts = [each for each in spans_s if each > 0]
    if parts in ([], [86_400]):
        return f"day {number + 1}"
    return f"day {number + 1}, {span(parts[0] / 86_400) if len(parts) == 1 else 'in part'}"


def _run(outcome: Outcome) -> tuple[object, ...]:
    plan = outcome.plan
    return "" if plan.recording else plan.seed, plan.digest, plan.variant


def write(report: Report, outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write all files of a report, each whole or not at all; return the page's path.

    Raises:
        OSError: one cannot be written; the error names it.
    """
    page = folder / "report.html"
    trades = [
        [*_run(outcome), *(getattr(trade, name) for name in _TRADE)]
        for outcome in outcomes
        for trade in outcome.trades
    ]
    points = [
        [*_run(outcome), *msgspec.structs.astuple(point)] for outcome in outcomes for point in outcome.points
    ]
    files = {
        page: html(report).encode(),
        folder / "report.json": msgspec.json.format(msgspec.json.encode(report), indent=1),
        folder / "trades.csv": _table([*_RUN, *_TRADE], trades),
        folder / "equity.csv": _table([*_RUN, *_POINT], points),
    }
    for path, body in files.items():
        write_whole(path, body)
    return page


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    cells = ([guarded(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text).writerows([heads, *cells])
    return text.getvalue().encode()
