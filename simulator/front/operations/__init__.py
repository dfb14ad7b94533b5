"""Kalshi's operations over an `Exchange`, by the paths of its specification."""

from typing import Final

from simulator.front.api import Route

from . import account, markets, more, orders, portfolio

ROUTES: Final[tuple[Route, ...]] = (
    *more.routes,
    *markets.routes,
    *orders.routes,
    *portfolio.routes,
    *account.routes,
)
"""Every operation; fixed paths come before those with a ticker in the same place."""
