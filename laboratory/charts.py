"""Charts as SVG text, drawn here so that a report is one file without scripts. Pure.

Colours are classes of the page's style sheet, so they follow its colour scheme.
"""

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Final

from .statistics import Estimate

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT: Final = 80
BOTTOM: Final = 24
TOP: Final = 10
RIGHT: Final = 12

ROW: Final = 44
NAME_LINE: Final = 15
NAME_CHARS: Final = 88
NAME_LINES: Final = 3
"""The height of a row of dots and of each further line of its name; how long those are, and how many."""

Line = tuple[str, Sequence[tuple[float, float]]]
"""Class and points of a line."""


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers, at least two, from `low` or below to `high` or above."""
    if high <= low:
        high = low + 1
    step = 10.0 ** len(str(int(max(1, (high - low) / count)))) / 10
    raw = (high - low) / count
    while step > raw:
        step /= 10
    for factor in (1, 2, 5, 10):
        if step * factor >= raw:
            step *= factor
            break
    first = int(low // step)
    ticks = [first * step]
    while ticks[-1] < high:
        ticks.append((first + len(ticks)) * step)
    return ticks


def money(dollars: float) -> str:
    """Return dollars for the labels of a chart."""
    sign = "-" if dollars < 0 else ""
    size = abs(dollars)
    return f"{sign}${size:,.0f}" if size >= 100 or size == int(size) else f"{sign}${size:,.2f}"


def lines(title: str, series: Sequence[Line], unit: str = "hours") -> str:
    """Return a chart of lines over time; values are dollars."""
    points = [point for _, of in series for point in of]
    if not points:
        return ""
    xs = [x for x, _ in points]
    ys = [y for _, y in points]
    y_ticks = nice_ticks(min(0.0, *ys), max(0.0, *ys))
    x_low, x_high = min(0.0, *xs), max(xs) or 1.0
    low, high = y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> str:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [_open(title)]
    for tick in y_ticks:
        x1, y1 = at(x_low, tick).split(",")
        x2, _ = at(x_high, tick).split(",")
        zero = " zero" if tick == 0 else ""
        parts.append(f'<line class="grid{zero}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y1}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{float(y1) + 4:.1f}">{money(tick)}</text>')
    for tick in nice_ticks(x_low, x_high, 8):
        x1, _ = at(min(max(tick, x_low), x_high), low).split(",")
        if x_low <= tick <= x_high and float(x1) < WIDTH - RIGHT - 10 * len(unit):  # leave room for the unit
            parts.append(f'<text class="x" x="{x1}" y="{HEIGHT - 6}">{tick:g}</text>')
    parts.append(f'<text class="x unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}">{escape(unit)}</text>')
    for word, of in series:
        path = " ".join(at(x, y) for x, y in of)
        parts.append(f'<polyline class="{word}" points="{path}"/>')
    return "".join([*parts, "</svg>"])


def dots(title: str, rows: Sequence[tuple[str, Sequence[float], Estimate]]) -> str:
    """Return a chart with one row per variant: a dot for each value, their mean and its interval; in dollars.

    A long name takes several lines, and its row as much more room. A row without values says so.
    """
    values = [value for _, of, _ in rows for value in of]
    values += [one.mean + sign * one.half for *_, one in rows if one.half is not None for sign in (-1, 1)]
    if not values:
        return ""
    ticks = nice_ticks(min(0.0, *values), max(0.0, *values), 7)
    low, high = ticks[0], ticks[-1]
    called = [wrap(name, NAME_CHARS, max_lines=NAME_LINES, placeholder=" ...") or [""] for name, *_ in rows]
    height = TOP + BOTTOM + sum(ROW + NAME_LINE * (len(of_name) - 1) for of_name in called)

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - 2 * LEFT)

    parts = [_open(title, height)]
    for tick in ticks:
        zero = " zero" if tick == 0 else ""
        x = f"{across(tick):.1f}"
        parts.append(f'<line class="grid{zero}" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text class="x" x="{x}" y="{height - 6}">{money(tick)}</text>')
    y = TOP
    for (name, of, one), of_name in zip(rows, called, strict=True):
        for at, line in enumerate(of_name):
            down = y + 14 + NAME_LINE * at
            parts.append(
                f'<text class="name" x="{LEFT}" y="{down}">{escape(line)}{_whole(name, line)}</text>'
            )
        y += ROW + NAME_LINE * (len(of_name) - 1)
        middle = y - 16
        if one.half is not None:
            left, right = across(one.mean - one.half), across(one.mean + one.half)
            line = f'x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"'
            parts.append(f'<line class="interval" {line}/>')
        parts += [f'<circle class="dot" cx="{across(value):.1f}" cy="{middle}" r="3"/>' for value in of]
        x = f"{across(one.mean):.1f}"
        if of:
            parts.append(f'<line class="mean" x1="{x}" x2="{x}" y1="{middle - 8}" y2="{middle + 8}"/>')
        else:
            parts.append(f'<text class="none" x="{LEFT}" y="{middle + 4}">no run succeeded</text>')
    return "".join([*parts, "</svg>"])


def _whole(name: str, line: str) -> str:
    return "" if line == name else f"<title>{escape(name)}</title>"


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """Return a chart of columns, such as one per day; in dollars."""
    if not values:
        return ""
    ticks = nice_ticks(min(0.0, *(v for _, v in values)), max(0.0, *(v for _, v in values)))
    low, high = ticks[0], ticks[-1]
    span = (WIDTH - LEFT - RIGHT) / len(values)

    def down(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_open(title)]
    for tick in ticks:
        y = f"{down(tick):.1f}"
        zero = " zero" if tick == 0 else ""
        parts.append(f'<line class="grid{zero}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{down(tick) + 4:.1f}">{money(tick)}</text>')
    every = max(1, len(values) // 14)
    for number, (name, value) in enumerate(values):
        wide = min(span * 0.76, 90)
        x, top = LEFT + span * (number + 0.5) - wide / 2, min(down(value), down(0))
        size = abs(down(value) - down(0))
        word = "up" if value >= 0 else "down"
        parts.append(
            f'<rect class="{word}" x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{size:.1f}">'
            f"<title>{escape(name)}: {money(value)}</title></rect>"
        )
        if number % every == 0:
            middle = LEFT + span * (number + 0.5)
            parts.append(f'<text class="x" x="{middle:.1f}" y="{HEIGHT - 6}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _open(title: str, height: int = HEIGHT) -> str:
    box, label = f"0 0 {WIDTH} {height}", escape(title, quote=True)
    return f'<svg class="chart" viewBox="{box}" role="img" aria-label="{label}"><title>{label}</title>'
