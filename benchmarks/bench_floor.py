"""The simulated exchange over days: 1,500 markets with crowd, rivals, and a user with a few orders a minute.

Each row is six hours of the exchange, in one process and one thread, with its books checked at every step of
15 seconds and audited every hour. Target: a day in less than 40 s of a core, with constant memory. `objects`
are those tracked by Python's garbage collector; `minutes` and `hours` are those of prices and trades kept.
"""

import time
from typing import Final

from simulator.universe import templates
from tests.simulator.life import Life, live, resident_mb

MARKETS: Final = 1_500
ROWS: Final = 4
HOURS: Final = 6


def main() -> None:
    """Measure and print."""
    print(__doc__)
    life = Life(templates.load(), MARKETS, 1)
    print("| hours | s of a core | s a day | MB | markets | minutes | hours kept | plans | objects |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in range(1, ROWS + 1):
        start = time.thread_time()
        live(life, HOURS)
        took = time.thread_time() - start
        kinds = life.kinds()
        print(
            f"| {row * HOURS} | {took:.1f} | {took * 24 / HOURS:.0f} | {resident_mb()} | {kinds['markets']} "
            f"| {kinds['minutes']} | {kinds['hours']} | {kinds['plans']} | {kinds['objects']} |",
            flush=True,
        )
