"""A custom source of fair values: ``KALSHI_BUS_FAIR_VALUES='examples/source.py:Average(window_s=300)'``.

It values a market at the average of its last mid prices. docs/extending.md describes the interface.
"""

from collections import deque

from bus.notebook import Connection
from trader.fair_values import Estimate, Estimator, Parameters


class Average(Estimator):
    """Asked once a second, in a process of its own."""

    name = "average"

    class Params(Parameters, frozen=True, kw_only=True):
        window_s: int = 60
        margin: float = 0.02

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.mids: dict[str, deque[tuple[int, float]]] = {}

    def values(self, bus: Connection) -> dict[str, Estimate]:
        now_ms, found = bus.replica.now_ms(), {}
        for ticker, quote in bus.quotes().items():
            if not 0 < quote.yes_bid_e4 < quote.yes_ask_e4 < 10_000:
                continue  # no bids, or no offers
            mids = self.mids.setdefault(ticker, deque())
            mids.append((now_ms, (quote.yes_bid_e4 + quote.yes_ask_e4) / 20_000))
            while mids[0][0] < now_ms - self.params.window_s * 1_000:
                mids.popleft()
            found[ticker] = Estimate(sum(mid for _, mid in mids) / len(mids), self.params.margin)
        return found
