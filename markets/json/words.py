"""Facts of Kalshi's API that several of us must write down alike. Facts only: each keeps its own logic.

Source: Kalshi API reference, spec 3.34.0 (October 2026).
"""

from typing import Final

COST: Final = 10
"""Tokens of a request that has no price of its own, as every GET of market data."""
