# ruff: noqa: T201
"""Look at the live catalogue from a script or a notebook: ``python examples/explore.py [SERIES ...]``.

It needs a running stack (make run). Nothing here calls Kalshi: it reads an exact copy of the publisher's
state.
"""

import sys

import bus
from bus.notebook import dollars


def main(topics: list[str]) -> None:
    with bus.connect(*topics) as live:
        status = live.status()
        print(f"epoch {status.epoch}, seq {status.seq}, {len(live.quotes())} markets, age {status.age_ms} ms")
        busiest = sorted(live.quotes().values(), key=lambda quote: -(quote.volume_e2 or 0))[:5]
        for quote in busiest:
            bid, ask = dollars(quote.yes_bid_e4), dollars(quote.yes_ask_e4)
            print(f"{quote.ticker:40} {bid} / {ask}  {live.market(quote.ticker).title}")
        try:
            print(live.frame()[["yes_bid_e4", "yes_ask_e4", "volume_e2"]].describe())
        except ImportError:
            print("(With pandas installed, live.frame() returns all of it as a DataFrame.)")


if __name__ == "__main__":
    main([f"md.{series}." for series in sys.argv[1:]])
