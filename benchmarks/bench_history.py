"""The cost of the history: bytes and time per change, and thus how many hours fit into KALSHI_BUS_HISTORY_MB.

Changes are made up: one in three moves the price, most change sizes, one in ten is a trade; a few markets
move much more than the rest. Times are processor time. Hours are at the simulator's pace (`PACE`), including
trades: ten times the activity fills the same bytes in a tenth of the time.
"""

import os
import random
import time
import uuid
from typing import Final

import msgspec

from markets.records import Quote, Trade
from snapshot_server.history.store import QUOTES_WAITING, Store
from tests.snapshot_server.venue import a_catalogue

MEGABYTES: Final = 64
SIZES: Final = tuple(map(int, os.environ.get("BENCH_SIZES", "1500,130000").split(",")))
PACE: Final = {1_500: (22.0, 4.6), 130_000: (1_040.0, 390.0)}
"""Number of markets -> changes and trades per second in the history of a simulated exchange."""

CHANGES: Final = 4 * QUOTES_WAITING
BATCH: Final = 500
BEGIN_MS: Final = 1_790_000_000_000


def main() -> None:
    """Measure and print."""
    print(__doc__)
    trade_bytes = _measure_trades()
    head = f"{'markets':>9}{'changes':>10}{'bytes each':>12}{'us each':>9}"
    print(head + f"{'hours at 64 MB':>16}{'ms: an hour':>13}{'all':>8}")
    for size in SIZES:
        _measure(size, trade_bytes)


def _measure(size: int, trade_bytes: float) -> None:
    rng = random.Random(1)
    few = a_catalogue(min(size, 1_500), BEGIN_MS, books=0).quotes
    quotes = [
        msgspec.structs.replace(few[place % len(few)], ticker=f"{few[place % len(few)].ticker}-{place}")
        for place in range(size)
    ]
    store = Store(MEGABYTES << 20, lambda: None)
    store.put_quotes(quotes)
    store.quotes.heard(BEGIN_MS, BEGIN_MS)
    store.quotes.seal()
    before_bytes, before = store.size, store.quotes.count
    pace, trades = PACE.get(size, (1_000.0, 100.0))
    took_s, now_ms = 0.0, BEGIN_MS
    for _ in range(CHANGES // BATCH):
        batch = []
        for _ in range(BATCH):
            now_ms += max(1, round(rng.expovariate(pace) * 1000))
            place = int(rng.random() ** 2 * size)
            quotes[place] = _moved(quotes[place], now_ms, rng)
            batch.append(quotes[place])
        began_s = time.process_time()
        store.put_quotes(batch)
        store.quotes.heard(BEGIN_MS, now_ms)
        took_s += time.process_time() - began_s
    began_s = time.process_time()
    store.quotes.seal()
    took_s += time.process_time() - began_s
    count = store.quotes.count - before
    each = (store.size - before_bytes) / count
    hours = MEGABYTES * 1_048_576 / (each * pace + trade_bytes * trades) / 3_600
    hour_ms = _look_ms(store, quotes[0].ticker, now_ms - 3_600_000)
    all_ms = _look_ms(store, quotes[0].ticker, 0)
    print(f"{size:>9,}{count:>10,}{each:>12.1f}{took_s / CHANGES * 1e6:>9.2f}", end="")
    print(f"{hours:>16.1f}{hour_ms:>13.2f}{all_ms:>8.2f}")


def _moved(quote: Quote, now_ms: int, rng: random.Random) -> Quote:
    luck = rng.random()
    changes: dict[str, int] = {"as_of_ms": now_ms, "yes_bid_size_e2": rng.randrange(1, 3_000) * 100}
    if luck < 1 / 3:
        bid_e4 = min(9_700, max(100, quote.yes_bid_e4 + rng.choice((-100, 100))))
        changes |= {"yes_bid_e4": bid_e4, "yes_ask_e4": bid_e4 + rng.choice((100, 200))}
    elif luck < 2 / 3:
        changes["yes_ask_size_e2"] = rng.randrange(1, 3_000) * 100
    if luck < 0.1:
        changes |= {
            "volume_e2": (quote.volume_e2 or 0) + rng.randrange(1, 200) * 100,
            "last_price_e4": quote.yes_bid_e4,
        }
    return msgspec.structs.replace(quote, **changes)


def _look_ms(store: Store, ticker: str, low_ms: int) -> float:
    began_s = time.process_time()
    store.history(ticker, low_ms, 2**53)
    return (time.process_time() - began_s) * 1e3


def _measure_trades() -> float:
    rng = random.Random(2)
    store = Store(MEGABYTES << 20, lambda: None)
    store.trades.heard(BEGIN_MS, BEGIN_MS)
    count = 32_768
    trades = [
        Trade(str(uuid.UUID(int=rng.getrandbits(128))), f"KX{rng.randrange(300)}", rng.randrange(1, 99) * 100,
              rng.randrange(1, 500) * 100, rng.choice(("yes", "no")), BEGIN_MS + 20 * number)
        for number in range(count)
    ]  # fmt: skip
    began_s = time.process_time()
    for start in range(0, count, BATCH):
        store.put_trades(trades[start : start + BATCH])
    store.trades.seal()
    took_s = time.process_time() - began_s
    print(
        f"trades: {store.size / count:.1f} bytes, {took_s / count * 1e6:.2f} us each (16 bytes are their ids)"
    )
    return store.size / count
