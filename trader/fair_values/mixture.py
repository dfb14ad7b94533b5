"""Source ``mixture``: pools several opinions and the market's own price, each with a weight.

Probabilities are pooled by the weighted mean of their log-odds, which treats each as evidence of that weight.
If you are not sure of an opinion, give the rest of the weight to the market.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from bus.clock import SystemClock
from bus.notebook import Connection
from markets.records import FairValue, Quote, Status
from trader.extensions.params import Parameters

from .source import Estimate, Estimator
from .values_file import ValuesFile

log = structlog.get_logger()

SUREST: Final = 0.001
"""No opinion counts as more certain than this: 0 and 1 would outweigh all others."""


def pooled(said: Sequence[tuple[float, float]]) -> float:
    """Return one probability for several with their weights, which must add up to more than 0."""
    total = sum(weight for _, weight in said)
    odds = sum(weight * _log_odds(probability) for probability, weight in said) / total
    return 1.0 / (1.0 + math.exp(-odds))


def _log_odds(probability: float) -> float:
    sure = min(1.0 - SUREST, max(SUREST, probability))
    return math.log(sure / (1.0 - sure))


def middle(quote: Quote | None) -> float | None:
    """Return the market's own probability, None while a side is missing."""
    if quote is None or quote.status is not Status.ACTIVE or not quote.yes_bid_size_e2:
        return None
    if not quote.yes_ask_size_e2 or quote.yes_bid_e4 >= quote.yes_ask_e4:
        return None
    return (quote.yes_bid_e4 + quote.yes_ask_e4) / 20_000


class Mixture(Estimator):
    """Pools files of fair values with one another and with the prices."""

    name = "mixture"

    class Params(Parameters, frozen=True, kw_only=True):
        """`paths`: files like KALSHI_BUS_FAIR_VALUES_FILE. `weights`: theirs. `market`: that of the price."""

        paths: tuple[str, ...]
        weights: tuple[float, ...]
        market: float = 0.0

        def __post_init__(self) -> None:
            if not self.paths or len(self.paths) != len(self.weights):
                raise ValueError(f"weights: got {len(self.weights)}, expected one for each of the paths")
            if any(not path.endswith((".csv", ".json")) for path in self.paths):
                raise ValueError(f"paths: got {list(self.paths)}, expected .csv or .json files")
            if any(not 0.0 < weight <= 1_000.0 for weight in self.weights) or not 0 <= self.market <= 1_000:
                raise ValueError("weights, market: expected above 0 and at most 1000, market at least 0")

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._files = [ValuesFile(Path(path).expanduser()) for path in params.paths]
        self._said: list[tuple[str, ...]] = [()] * len(self._files)

    def values(self, bus: Connection) -> Mapping[str, Estimate]:
        for at, file in enumerate(self._files):
            file.look(SystemClock().now_ms())
            if file.loaded.errors != self._said[at]:
                self._said[at] = file.loaded.errors
                for error in file.loaded.errors[:20]:
                    log.warning("fair_values.refused", error=error)
        return self.mix([file.loaded.values for file in self._files], bus.quotes(), bus.replica.now_ms())

    def mix(
        self, opinions: Sequence[Mapping[str, FairValue]], quotes: Mapping[str, Quote], now_ms: int
    ) -> dict[str, Estimate]:
        """Return one value for each market with an opinion, as old as the oldest opinion about it."""
        found: dict[str, Estimate] = {}
        for ticker in sorted({ticker for values in opinions for ticker in values}):
            held = [
                (values[ticker], weight)
                for values, weight in zip(opinions, self.params.weights, strict=True)
                if ticker in values
            ]
            said = [(value.probability, weight) for value, weight in held]
            price = middle(quotes.get(ticker))
            if self.params.market and price is not None:
                said.append((price, self.params.market))
            total = sum(weight for _, weight in said)
            margin = sum(value.margin * weight for value, weight in held) / total
            as_of_ms = min(now_ms, *(value.as_of_ms for value, _ in held))
            found[ticker] = Estimate(pooled(said), min(1.0, margin), max(0, as_of_ms))
        return found
