"""A custom strategy: ``KALSHI_BUS_STRATEGIES='examples/strategy.py:NarrowValue(max_spread_e4=200)'``.

It buys contracts priced below their fair value, as the strategy `value` does, but only where bid and ask are
close together. docs/extending.md describes what a strategy is told, and what it must not do.
"""

from collections.abc import Sequence

from markets.orders import Proposal
from trader.strategies import Parameters, Quiet, Update, proposal


class NarrowValue(Quiet):
    """Takes the best candidate of kind `value` whose market has a narrow spread."""

    name = "narrow_value"

    class Params(Parameters, frozen=True, kw_only=True):
        max_spread_e4: int = 300  # $0.0300

        def __post_init__(self) -> None:
            if not 0 < self.max_spread_e4 < 10_000:
                raise ValueError(f"max_spread_e4: got {self.max_spread_e4}, expected 1 to 9999")

    params: Params

    def on_update(self, update: Update) -> Sequence[Proposal]:
        quotes = {seen.market.ticker: seen.quote for seen in update.view.markets}
        for found in update.opportunities:  # best first
            quote = quotes[found.legs[0].ticker]
            narrow = quote.yes_ask_e4 - quote.yes_bid_e4 <= self.params.max_spread_e4
            if found.kind == "value" and found.tradable and narrow:
                return [proposal(self.name, found)]
        return []
