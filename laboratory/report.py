"""Writes a report: one self-contained HTML file, the same as JSON, and trades and equity as CSV."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from jinja2 import Environment, PackageLoader

from . import charts
from .figures import Report, Variant, mean_curve
from .outcome import Outcome

_TRADE = [
    "seed",
    "variant",
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
    "evened",
    "cost_e6",
    "fees_e6",
    "got_e6",
    "worth_e6",
    "odd",
]
_POINT = ["seed", "variant", "at_ms", "floor_e6", "bid_e6", "stake_e6", "cash_e6"]


def html(report: Report) -> str:
    """Return the page."""
    environment = Environment(loader=PackageLoader("laboratory"), autoescape=True, trim_blocks=True)
    environment.filters["money"] = cents
    rows = [(v.name, list(v.seeds.values()), v.a_day.mean, v.a_day.half) for v in report.variants]
    return environment.get_template("report.html").render(
        report=report,
        profit_chart=charts.dots("Profit per day", rows),
        charts=[_charts(variant) for variant in report.variants],
    )


def cents(dollars: float) -> str:
    """Return dollars and cents, with a sign if negative."""
    return f"{'-' if dollars < -0.004 else ''}${abs(dollars):,.2f}"


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
    columns = [(f"day {number + 1}", fmean(profits)) for number, profits in sorted(by_day.items())]
    return {
        "equity": charts.lines(f"Equity at floor, {variant.name}", floors),
        "stake": charts.lines(f"At stake, {variant.name}", stake),
        "days": charts.bars(f"Profit by day, {variant.name}", columns),
    }


def write(report: Report, outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write all files of a report; return the page's path.

    Raises:
        OSError: they cannot be written.
    """
    page = folder / "report.html"
    page.write_text(html(report), encoding="utf-8")
    body = msgspec.json.format(msgspec.json.encode(report), indent=1)
    (folder / "report.json").write_bytes(body)
    with (folder / "trades.csv").open("w", newline="", encoding="utf-8") as file:
        trades = csv.writer(file)
        trades.writerow(_TRADE)
        for outcome in outcomes:
            for trade in outcome.trades:
                own = (getattr(trade, name) for name in _TRADE[2:])
                trades.writerow([outcome.plan.seed, outcome.plan.variant, *own])
    with (folder / "equity.csv").open("w", newline="", encoding="utf-8") as file:
        points = csv.writer(file)
        points.writerow(_POINT)
        for outcome in outcomes:
            for point in outcome.points:
                points.writerow([outcome.plan.seed, outcome.plan.variant, *msgspec.structs.astuple(point)])
    return page
