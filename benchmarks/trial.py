"""Do trials of fair-value sources recognise good ones? ``python -m benchmarks.trial --days 20``.

Simulated days of the exchange, each with its own seed, in which three planted sources are on trial: *good*
gives the truth with an error of sd 0.02, *bad* the midpoint of the market with an error of sd 0.05, *worse*
the truth shrunk by 30 % towards a half. Each market has its own constant error. Nothing is made easier:
prices are those on the screen, with spread and fee, sampled every 12 s.
"""

import argparse
import time
from random import Random

from markets.fees import FeeSchedule, fill_fee
from markets.units import COUNT_ONE_E2, MONEY_ONE_E6, PRICE_ONE_E4
from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.universe.templates import Recorded, load
from trader.fair_values.trial import DECIDING, Mean, Price, Trials

STEP_MS = 12_000
START_MS = 1_790_000_000_000
SOURCES = ("good", "bad", "worse")


def errors_of(ticker: str, seed: int) -> tuple[float, float]:
    """Return the errors of *good* and *bad* about a market."""
    rng = Random(f"{seed}:{ticker}")
    return rng.gauss(0, 0.02), rng.gauss(0, 0.05)


def price_of(market: Market, fees: dict[tuple[str, int, int], float]) -> Price:
    """Return a market's prices; the fee is that of one contract at the ask."""
    bid = market.bid_e4 / PRICE_ONE_E4 if market.bid_e2 else None
    ask = market.ask_e4 / PRICE_ONE_E4 if market.ask_e2 else None
    key = market.fee_type, market.fee_multiplier_e4, market.ask_e4
    if key not in fees:
        schedule = FeeSchedule(key[0], key[1])
        at_e4 = min(max(market.ask_e4, 1), PRICE_ONE_E4 - 1)
        fees[key] = fill_fee(schedule, at_e4, COUNT_ONE_E2, time_ms=START_MS).total_e6 / MONEY_ONE_E6
    return Price(market.event_ticker, bid, ask, fees[key])


def day(recorded: Recorded, markets: int, seed: int, hours: float) -> Trials:
    """Simulate a day and return the trials at its end."""
    exchange = Exchange(recorded, markets, seed, START_MS)
    trials = Trials()
    seen: dict[str, tuple[int, int, int, int, float]] = {}
    settled: set[str] = set()
    errors: dict[str, tuple[float, float]] = {}
    fees: dict[tuple[str, int, int], float] = {}
    for step in range(round(hours * 3_600_000 / STEP_MS)):
        now_ms = START_MS + (step + 1) * STEP_MS
        exchange.advance(now_ms)
        mids = {}
        for ticker, market in exchange.markets.items():
            if market.value_e4 is not None:
                if ticker not in settled:
                    settled.add(ticker)
                    trials.settle(ticker, market.value_e4 / PRICE_ONE_E4)
                continue
            if market.status != ACTIVE:
                continue
            shows = market.bid_e4, market.bid_e2, market.ask_e4, market.ask_e2, market.p
            if seen.get(ticker) == shows:
                continue
            seen[ticker] = shows
            price = price_of(market, fees)
            mid = price.mid
            if mid is None:
                continue
            mids[ticker] = mid
            if ticker not in errors:
                errors[ticker] = errors_of(ticker, seed)
            good, bad = errors[ticker]
            said = market.p + good, mid + bad, 0.5 + 0.7 * (market.p - 0.5)
            for source, probability in zip(SOURCES, said, strict=True):
                trials.say(source, ticker, min(1.0, max(0.0, probability)), price, now_ms)
        trials.look(mids, now_ms)
    return trials


def shown(mean: Mean) -> str:
    """Return a mean with its interval, as text."""
    return f"{mean.mean:+.4f} [{mean.low or 0:+.4f}, {mean.high or 0:+.4f}] of {mean.count}"


def main() -> None:
    """Print each day's verdicts, and how many days accepted each source."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--markets", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    recorded, accepted = load(None), dict.fromkeys(SOURCES, 0)
    for seed in range(parsed.seed, parsed.seed + parsed.days):
        began = time.process_time()
        trials = day(recorded, parsed.markets, seed, parsed.hours)
        for source in SOURCES:
            verdict = trials.verdict(source)
            accepted[source] += verdict.accepted
            print(
                f"seed {seed} {source:5} {'accepted' if verdict.accepted else 'not':8}"
                f" earned {shown(verdict.earned[DECIDING])} gain {shown(verdict.gain)}"
                f" profit {verdict.profit.mean:+.4f} waiting {verdict.waiting}"
                f" ({time.process_time() - began:.0f} s)",
                flush=True,
            )
    print({source: f"{count} of {parsed.days}" for source, count in accepted.items()})


if __name__ == "__main__":
    main()
