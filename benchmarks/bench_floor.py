"""The simulated exchange's days: 1,500 markets with crowd, rivals, and a user with some orders a minute.

Each row is six hours of an exchange's life, in one process and one thread, its books checked at every step of
15 seconds and audited every hour. Reach: a day in less than 40 s of a core, memory flat. `objects` are those
that Python's collector knows; minutes, hours are remembered of markets' prices and trades.
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
