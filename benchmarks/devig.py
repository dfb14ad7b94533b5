"""Which method of removing the margin from prices is closest to the truth? ``python -m benchmarks.devig``.

Simulated days of the exchange, each with its own seed, are sampled every ten minutes. For each exclusive
event whose markets are known to be exhaustive, the probabilities from the midpoints of all its markets after
`markets.opportunities.devig` are compared with those available without it: the market's own midpoint, and
what the other midpoints leave over (the consensus). Each is measured against the exchange's latent
probability (bias, root mean square error) and against the results (Brier score). An event counts once, by the
mean over its samples.

The recorded payloads kept here have no exclusive event with both prices and results, so this says nothing
about real markets.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import msgspec

from markets.opportunities.devig import METHODS
from markets.units import PRICE_ONE_E4
from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Event, Market
from simulator.universe.templates import Recorded, load

STEP_MS: Final = 12_000
LOOK_MS: Final = 600_000
START_MS: Final = 1_790_000_000_000
OWN: Final = "own middle"
OTHERS: Final = "the others' rest"
WITHIN: Final = ", within its spread"


ONE_SIDED: Final = "markets without bid or ask"

Row = tuple[float, float, Market]
"""An estimate for a market, and its latent probability at that time."""


class Score(msgspec.Struct, frozen=True):
    """One event's mean error, mean square error, Brier score if settled, and bias of long shots."""

    error: float
    square: float
    brier: float | None
    longshots: float | None


Scores = defaultdict[tuple[str, str], list[Score]]
"""Group and method -> the scores of its events."""


def bounds(market: Market) -> tuple[float, float]:
    """Return bid and ask; an empty side counts as its bound."""
    bid = market.bid_e4 / PRICE_ONE_E4 if market.bid_e2 else 0.0
    return bid, market.ask_e4 / PRICE_ONE_E4 if market.ask_e2 else 1.0


def estimates(spreads: Sequence[tuple[float, float]]) -> dict[str, list[float]]:
    """Return each method's estimates for an event with these bids and asks, leaving out methods that fail."""
    middles = [(bid + ask) / 2 for bid, ask in spreads]
    total = sum(middles)
    rest = [1 - (total - own) for own in middles]
    found = {OWN: list(middles)}
    if all(0 <= one <= 1 for one in rest):
        found[OTHERS] = rest
    for name, devig in METHODS.items():
        said = devig(middles)
        if said is not None:
            found[name] = said
            found[f"{name}{WITHIN}"] = [
                min(ask, max(bid, one)) for one, (bid, ask) in zip(said, spreads, strict=True)
            ]
    return found


def group_of(event: Event) -> str:
    """Return the group of an event: its number of markets, and whether something is planted in it."""
    count = len(event.markets)
    size = "2" if count == 2 else "3" if count == 3 else "4 and more"
    planted = any(market.fair_shift_e4 for market in event.markets)
    return f"{size}, {'planted' if planted else 'clean'}"


def is_told(event: Event) -> bool:
    """Whether exactly one of an event's markets resolves YES, and all of them trade."""
    markets = event.markets
    if len(markets) < 2 or not event.template.exclusive:
        return False
    return all(market.status == ACTIVE for market in markets) and math.isclose(
        sum(market.p for market in markets), 1.0, abs_tol=1e-6
    )


def day(recorded: Recorded, markets: int, seed: int, hours: float) -> Scores:
    """Simulate a day; return the score of each event."""
    exchange = Exchange(recorded, markets, seed, START_MS)
    said: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    looked_ms = START_MS
    for step in range(round(hours * 3_600_000 / STEP_MS)):
        now_ms = START_MS + (step + 1) * STEP_MS
        exchange.advance(now_ms)
        if now_ms - looked_ms < LOOK_MS:
            continue
        looked_ms = now_ms
        for event in {id(one.event): one.event for one in exchange.markets.values()}.values():
            if not is_told(event):
                continue
            for method, values in estimates(list(map(bounds, event.markets))).items():
                group = group_of(event)
                for value, market in zip(values, event.markets, strict=True):
                    two_sided = market.bid_e2 and market.ask_e2
                    said[group if two_sided else ONE_SIDED, method, event.ticker].append(
                        (value, market.p, market)
                    )
    scores: Scores = defaultdict(list)
    for (group, method, _), rows in said.items():
        errors = [value - truth for value, truth, _ in rows]
        results = [None if market.value_e4 is None else market.value_e4 / PRICE_ONE_E4 for *_, market in rows]
        brier = None
        if None not in results:
            pairs = zip(rows, results, strict=True)
            brier = fmean((value - (result or 0.0)) ** 2 for (value, *_), result in pairs)
        scores[group, method].append(
            Score(fmean(map(abs, errors)), fmean(error * error for error in errors), brier, _longshots(rows))
        )
    return scores


def _longshots(rows: Sequence[Row]) -> float | None:
    """Return the bias where the truth is below a tenth; None if it never is."""
    errors = [value - truth for value, truth, _ in rows if truth < 0.1]
    return fmean(errors) if errors else None


def table(scores: Scores) -> list[str]:
    """Return the scores as lines of a table, by group."""
    lines = ["| event | method | events | mean error | rmse | long shots off | settled | Brier |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
    for group in sorted({group for group, _ in scores}):
        for method in (OWN, OTHERS, *METHODS, *(f"{name}{WITHIN}" for name in METHODS)):
            found = scores.get((group, method), [])
            if not found:
                continue
            briers = [score.brier for score in found if score.brier is not None]
            shots = [score.longshots for score in found if score.longshots is not None]
            lines.append(
                f"| {group} | {method} | {len(found)} | {fmean(one.error for one in found):.4f}"
                f" | {math.sqrt(fmean(one.square for one in found)):.4f}"
                f" | {f'{fmean(shots):+.4f}' if shots else ''} | {len(briers)}"
                f" | {f'{fmean(briers):.5f}' if briers else ''} |"
            )
    return lines


def main() -> None:
    """Print the table over all days."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--markets", type=int, default=1500)
    parsed = parser.parse_args()
    recorded, scores = load(None), Scores(list)
    for seed in parsed.seeds:
        for key, found in day(recorded, parsed.markets, seed, parsed.hours).items():
            scores[key] += found
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
