"""The tables of simulated trading, as Markdown, over one run or several."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Final

from markets.units import HOUR_MS, MINUTE_MS
from simulator.floor.mispricing import BASKETS

from .trading_record import FOUND_MS, SWEPT_MS, Plant, Result, Trade

_T95: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13,
               2.12, 2.11, 2.10, 2.09)  # fmt: skip
"""Student's t, two-sided 95 %, for 1 to 19 degrees of freedom."""


UNPROVEN: Final = ", unproven"


def tables(results: Sequence[Result]) -> str:
    """Return all tables."""
    parts = [
        _head(results),
        "### Shown and true\n\n" + _marks(results),
        "### Promised and realised\n\n" + _promised(results),
        "### The page's list\n\n" + _rows(results),
        "### Plants found\n\n" + _recall(results),
        "### Tradable candidates\n\n" + _precision(results),
        "### Consensus\n\n" + _beliefs(results),
        "### Missed legs\n\n" + _missed(results),
        "### Tried and refused\n\n" + _tried(results),
        "### Profit of a day\n\n" + _days(results),
    ]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def _money(e6: float) -> str:
    return f"{e6 / 1e6:+,.2f}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _head(results: Sequence[Result]) -> str:
    first = results[0]
    seeds = ", ".join(str(one.seed) for one in results)
    cpu = sum(one.cpu_s for one in results) / sum(one.hours for one in results) * 24
    lines = [
        (
            f"{len(results)} run(s) of {first.hours:g} simulated hours, seeds {seeds}, "
            f"{'with' if first.rivals else 'without'} rivals; {cpu:.0f} s of a core a simulated day"
        )
    ]
    for one in results:
        lines += [f"* seed {one.seed}: {line}" for line in (*one.failures[:5], *one.dropped[:5])]
        lines += [f"* seed {one.seed}: below its floor: {line}" for line in one.breaches[:10]]
    return "\n".join(lines)


def _marks(results: Sequence[Result]) -> str:
    by_time: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for one in results:
        for mark in one.marks:
            row = (mark.shown_e6, mark.expected_e6, mark.bid_e6, mark.floor_e6, mark.mid_e6, mark.true_e6)
            by_time[mark.at_ms - one.start_ms].append((*row, mark.stake_e6))
    rows = []
    for at_ms in sorted(by_time):
        means = [statistics.fmean(column) for column in zip(*by_time[at_ms], strict=True)]
        after = f"{at_ms / HOUR_MS:g} h" if at_ms >= HOUR_MS else f"{at_ms / MINUTE_MS:g} min"
        rows.append([after, *map(_money, means[:-1]), f"{means[-1] / 1e6:,.0f}"])
    looks = sum(one.looks for one in results)
    bid, locked = sum(one.dips_bid for one in results), sum(one.dips_locked for one in results)
    deepest_bid = max(one.deepest_bid_e6 for one in results)
    deepest_locked = max(one.deepest_locked_e6 for one in results)
    head = (
        "after", "shown at bid", "shown at settlement", "bid of now", "baskets at floor", "mid", "true",
        "at stake",
    )  # fmt: skip
    return (
        _table(head, rows)
        + f"\n\nOf {looks} looks, {bid} showed at bid more than $1 less than the last good bids say"
        + f" (most {deepest_bid / 1e6:,.2f}), {locked} at settlement more than $1 less than what is"
        + f" locked (most {deepest_locked / 1e6:,.2f})."
    )


def _promised(results: Sequence[Result]) -> str:
    groups: dict[tuple[str, ...], list[Trade]] = defaultdict(list)
    for one in results:
        for trade in one.trades:
            if trade.first:
                groups[trade.strategy, trade.kind, trade.group].append(trade)
    rows = []
    for key, trades in sorted(groups.items()):
        rows.append([*key, *_sums(trades)])
    everything = [trade for trades in groups.values() for trade in trades]
    if everything:
        rows.append(["all", "", "", *_sums(everything)])
    odd = [trade for trade in everything if trade.settled and trade.odd]
    head = (
        "strategy", "kind", "group", "tried", "filled", "promised", "true at fill", "settled",
        "promised of it", "true of it", "realised", "realised/promised", "won",
        "realised, locked or uneven at its truth", "of all promised",
    )  # fmt: skip
    text = _table(head, rows)
    if odd:
        promised, got = sum(one.promised_e6 for one in odd), sum(one.realised_e6 for one in odd)
        text += (
            f"\n\nOf the settled, {len(odd)} void, scalar or a dead heat:"
            f" promised {_money(promised)}, realised {_money(got)}"
        )
    by_plant: dict[tuple[str, str], list[Trade]] = defaultdict(list)
    for trade in everything:
        if trade.kind == "value" and trade.filled:
            by_plant[trade.kind, trade.planted].append(trade)
    if by_plant:
        text += "\n\n" + _table(
            ("kind", "planted", "trades", "promised", "true at fill"),
            [
                [
                    *key,
                    len(some),
                    _money(sum(t.promised_e6 for t in some)),
                    _money(sum(t.true_e6 for t in some)),
                ]
                for key, some in sorted(by_plant.items())
            ],
        )
    return text


def _sums(trades: Sequence[Trade]) -> list[object]:
    filled = [trade for trade in trades if trade.filled]
    done = [trade for trade in filled if trade.settled]
    promised, realised = sum(t.promised_e6 for t in done), sum(t.realised_e6 for t in done)
    return [
        len(trades),
        len(filled),
        _money(sum(t.promised_e6 for t in filled)),
        _money(sum(t.true_e6 for t in filled)),
        len(done),
        _money(promised),
        _money(sum(t.true_e6 for t in done)),
        _money(realised),
        _ratio(realised, promised),
        sum(t.realised_e6 > 0 for t in done),
        _money(sum(t.sure_e6 for t in filled)),
        _ratio(sum(t.sure_e6 for t in filled), sum(t.promised_e6 for t in filled)),
    ]


def _rows(results: Sequence[Result]) -> str:
    sums: dict[str, list[float]] = {}
    for one in results:
        for key, row in one.rows.items():
            held = sums.setdefault(key, [0.0] * 4)
            for index, value in enumerate(row):
                held[index] += value
    return _table(
        ("kind", "planted in the event", "rows", "promised", "true", "true below 0"),
        [
            [*key.split("|"), round(row[0]), _money(row[1]), _money(row[2]), _share(row[3], row[0])]
            for key, row in sorted(sums.items())
        ],
    )


def _recall(results: Sequence[Result]) -> str:
    groups: dict[tuple[str, str], list[Plant]] = defaultdict(list)
    for one in results:
        for plant in one.plants:
            groups[plant.kind + UNPROVEN * (not plant.evident), plant.group].append(plant)
    rows: list[list[object]] = [[*key, *_found(plants)] for key, plants in sorted(groups.items())]
    baskets = [plant for key, plants in groups.items() if key[0] in BASKETS for plant in plants]
    if baskets:
        rows.append(["all riskless", "", *_found(baskets)])
    head = (
        "planted", "group", "n", "ever tradable", "fair", "fair, same kind", "in time", "late", "traded",
        "s to tradable, median / p90",
    )  # fmt: skip
    return (
        _table(head, rows)
        + "\n\n`fair`: those that live for a second and whose edge after fees is at least a tick;"
        + " in time: within 1 s where books are kept, else within a sweep. Implications lie in two events:"
        + f" found is when a page shows them.{UNPROVEN.replace(',', ' Those', 1)}: nothing that the exchange"
        + " says of the event proves that one of its markets must win."
    )


def _found(plants: Sequence[Plant]) -> list[object]:
    fair = [plant for plant in plants if _is_fair(plant)]
    waits = sorted((plant.found_ms - plant.from_ms) / 1000 for plant in plants if plant.found_ms is not None)
    in_time = sum(_in_time(plant) for plant in fair)
    same = sum(plant.same_ms is not None for plant in fair)
    found = sum(plant.found_ms is not None for plant in fair)
    return [
        len(plants),
        _share(len(waits), len(plants)),
        len(fair),
        _share(same, len(fair)),
        _share(in_time, len(fair)),
        found - in_time,
        sum(plant.traded for plant in plants),
        f"{statistics.median(waits):.1f} / {waits[len(waits) * 9 // 10]:.1f}" if waits else "-",
    ]


def _is_fair(plant: Plant) -> bool:
    lives_ms = FOUND_MS if plant.gone_ms is None else plant.gone_ms - plant.from_ms
    return lives_ms >= (FOUND_MS if plant.booked else SWEPT_MS) and plant.edge_e4 >= plant.tick_e4


def _in_time(plant: Plant) -> bool:
    within = FOUND_MS if plant.booked else SWEPT_MS
    return plant.same_ms is not None and plant.same_ms - plant.from_ms <= within


def _precision(results: Sequence[Result]) -> str:
    groups: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 8)
    for one in results:
        for episode in one.episodes:
            row = groups[episode.kind, episode.planted]
            row[0] += 1
            row[1] += episode.true_e6 > 0
            row[2] += episode.promised_e6
            row[3] += episode.true_e6
            if episode.paid_e6 is not None:
                row[4 + 2 * episode.void] += 1
                least = episode.promised_e6
                if episode.void and episode.void_e6 is not None:
                    least = min(least, episode.void_e6)
                row[5 + 2 * episode.void] += episode.paid_e6 >= least - 1
    return _table(
        ("kind", "planted", "candidates", "true above 0", "promised", "true", "paid the floor",
         "void: paid its floor"),
        [
            [*key, round(row[0]), _share(row[1], row[0]), _money(row[2]), _money(row[3]),
             f"{row[5]:.0f} of {row[4]:.0f}", f"{row[7]:.0f} of {row[6]:.0f}"]
            for key, row in sorted(groups.items())
        ],
    )  # fmt: skip


def _beliefs(results: Sequence[Result]) -> str:
    sums: dict[str, list[float]] = {}
    for one in results:
        for key, row in one.beliefs.items():
            held = sums.setdefault(key, [0.0] * len(row))
            for index, value in enumerate(row):
                held[index] += value
    rows = []
    for key, (n, off, square, margin, inside, settled, fair, truth) in sorted(sums.items()):
        brier = f"{fair / settled:.4f} / {truth / settled:.4f}" if settled else "-"
        rows.append(
            [*key.split("|"), round(n), f"{off / n:+.4f}", f"{sqrt(square / n):.4f}", f"{margin / n:.4f}",
             _share(inside, n), brier]
        )  # fmt: skip
    head = ("group", "event", "n", "bias", "rmse", "margin", "inside it", "Brier fair / truth")
    return _table(head, rows)


def _missed(results: Sequence[Result]) -> str:
    trades = [t for one in results for t in one.trades if t.first and len(t.sides) > 1]
    missed = [t for t in trades if t.first == "missed"]
    ends: Counter[str] = Counter(map(_end, missed))
    even = [t for t in trades if t.first == "even" and t.settled]
    below = [t for t in trades if t.settled and t.realised_e6 < t.promised_e6 - 1]
    rows: list[tuple[str, object]] = [
        ("tried", len(trades)),
        ("got nothing", sum(t.first == "nothing" for t in trades)),
        ("even at once", sum(t.first == "even" for t in trades)),
        ("missed a leg", len(missed)),
        *((f"- {end}", count) for end, count in sorted(ends.items())),
        ("settled below the promise", len(below)),
        ("realised of those even at once, each", _mean(t.realised_e6 for t in even)),
        ("realised of those that missed, each", _mean(t.realised_e6 for t in missed if t.settled)),
        ("worst", _money(min((t.realised_e6 for t in missed if t.settled), default=0))),
    ]
    return _table(("sets of legs", ""), rows)


def _end(trade: Trade) -> str:
    nets = [abs(side.yes_e2 - side.no_e2) for side in trade.sides.values()]
    if not any(nets):
        return "sold"
    if min(nets) == max(nets):
        sold = any(side.yes_e2 and side.no_e2 for side in trade.sides.values())
        return "evened, some sold" if sold else "completed"
    return "left uneven"


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return _money(statistics.fmean(found)) if found else "-"


def _tried(results: Sequence[Result]) -> str:
    refused: Counter[str] = Counter()
    for one in results:
        refused.update(one.refused)
    tried = sum(bool(trade.first) for one in results for trade in one.trades)
    rows = [("trades tried", tried), ("orders", sum(one.orders for one in results))]
    return _table(("", "times"), [*rows, *((f"refused: {word}", n) for word, n in refused.most_common())])


def _days(results: Sequence[Result]) -> str:
    measures: dict[str, Callable[[Result], float]] = {
        "shown at the end": lambda one: one.marks[-1].shown_e6,
        "at the floor": lambda one: one.marks[-1].floor_e6,
        "true": lambda one: one.marks[-1].true_e6,
        "true at the fills": lambda one: sum(t.true_e6 for t in one.trades),
        "realised, locked or uneven at its truth": lambda one: sum(t.sure_e6 for t in one.trades),
        "realised by what was settled": lambda one: sum(t.realised_e6 for t in one.trades if t.settled),
    }
    rows = []
    for name, measure in measures.items():
        days = [measure(one) * 24 / one.hours for one in results]
        mean = statistics.fmean(days)
        interval = "-"
        if len(days) > 1:
            half = (
                (_T95[len(days) - 2] if len(days) <= 20 else 1.96) * statistics.stdev(days) / sqrt(len(days))
            )
            interval = f"{_money(mean - half)} to {_money(mean + half)}"
        rows.append([name, _money(mean), interval, _money(min(days)), _money(max(days))])
    return _table(("profit of a day", "mean", "95 % interval", "least", "most"), rows)
