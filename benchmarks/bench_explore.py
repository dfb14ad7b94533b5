"""The cost of finding markets, in processor time, so that other processes do not count.

Search: 20 rounds of words that are in few markets, in nearly all, in none, and misspelled. Lists: one order
each, over all markets or with filters. Pages: as a browser requests them, with 50 rows. Catalogue: building
it, taking 1,000 quotes, renaming an event. Movers: noting 100,000 moves, and working out the movers of an
hour. BENCH_SIZES=20000,130000 sets the numbers of markets.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from bus.clock import SystemClock
from bus.protocol.state import Records, State
from bus.scan.rescan import Batch
from bus.scan.scans import Scan
from snapshot_server.history.store import Store
from tests.snapshot_server.venue import Catalogue
from tests.ui.joined import joined, shown
from ui.catalogue import INDEX_NS, MarketCatalogue
from ui.desk import Desk
from ui.pages.explore import ListQuery, page_of

from .universe import universe

SIZES: Final = tuple(map(int, os.environ.get("BENCH_SIZES", "20000,130000").split(",")))
ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "20"))

SEARCHES: Final = (
    "bitcoin", "new yo", "will", "boston win", "kxbtc", "trump 2028", "temperature 50", "zzz", "a", "up",
    "bitcon", "trmup", "bostn", "temprature 50", "xqzvk wqrty plokm zzzzq", "yes no the and of to in at",
)  # fmt: skip

LISTS: Final = {
    "most active": ListQuery(),
    "new": ListQuery(show="new"),
    "closing soon": ListQuery(show="closing"),
    "widest spreads": ListQuery(show="spreads"),
    "highest bid of a category": ListQuery(category="Sports", sort="-bid"),
    "three filters": ListQuery(min_volume_e2=10_000, max_spread_e4=500, max_ms=10**9),
}


def main() -> None:
    """Measure and print."""
    print(__doc__)
    for size in SIZES:
        measure(size)


def measure(size: int) -> None:
    """Measure and print at one number of markets."""
    clock = SystemClock()
    now_ms = clock.now_ms()
    known = universe(size, now_ms)
    state = a_state(known)
    frozen = state.frozen()
    markets_of: dict[str, tuple[str, ...]] = {}
    for market in known.markets:
        markets_of[market.event_ticker] = (*markets_of.get(market.event_ticker, ()), market.ticker)
    catalogue = MarketCatalogue(clock, lambda: markets_of)
    print(f"\n{len(known.markets):,} markets in {len(known.events):,} events; ms of processor time")
    turn = 0

    def take(batch: Batch, records: Records = frozen) -> None:
        nonlocal turn
        turn += INDEX_NS
        catalogue.offer(Scan(records, now_ms), batch)
        catalogue.update(turn)

    _print("catalogue rebuilt", [_spent(lambda: take(Batch(whole=True)))])
    shelf = catalogue.latest
    quotes = Batch({"quote": [quote.ticker for quote in known.quotes[:: max(1, size // 1_000)]]})
    _print("1,000 quotes taken", [_spent(lambda: take(quotes)) for _ in range(ROUNDS)])
    event = known.events[0]
    other = state.frozen()
    other.events[event.event_ticker] = msgspec.structs.replace(event, title=f"{event.title} renamed")

    def rename(number: int) -> None:
        take(Batch({"event": [event.event_ticker]}), other if number % 2 else frozen)

    _print("an event renamed", [_spent(partial(rename, number)) for number in range(1, ROUNDS)])
    take(Batch({"event": [event.event_ticker]}))
    for words in SEARCHES:
        _print(f"search {words!r}", [_spent(partial(shelf.find, words, 100)) for _ in range(ROUNDS)])
    for name, wanted in LISTS.items():
        one = partial(page_of, frozen, shelf.columns, wanted, now_ms, None, None)
        _print(f"list: {name}", [_spent(one) for _ in range(ROUNDS)])
    service, replica = joined(state)
    client: Any = shown(service, replica, Desk())
    service.catalogue.update(0)

    def look(path: str) -> None:
        replica.clock.advance(2_000)  # to a new moment
        assert client.get(path).status_code == 200

    for path in ("/explore", "/explore?category=Sports&sort=-spread", "/search?q=bostn"):
        look(path)  # so that templates are loaded
        _print(f"page {path}", [_spent(partial(look, path)) for _ in range(ROUNDS)])
    _movers(known, now_ms)


def a_state(known: Catalogue) -> State:
    """Return a replica's state that holds a catalogue."""
    state = State(1)
    with state.lock:
        state.seq = 1
        state.events.update((event.event_ticker, event) for event in known.events)
        state.markets.update((market.ticker, market) for market in known.markets)
        state.quotes.update((quote.ticker, quote) for quote in known.quotes)
    return state


def _movers(known: Catalogue, now_ms: int) -> None:
    store = Store(64 * 1_048_576, lambda: None)
    store.compare({quote.ticker: quote for quote in known.quotes}, now_ms)
    moved = [
        msgspec.structs.replace(
            quote, last_price_e4=(quote.last_price_e4 or 0) % 9_000 + 500, as_of_ms=now_ms
        )
        for quote in (known.quotes[number * 7 % len(known.quotes)] for number in range(100_000))
    ]
    began = time.process_time()
    store.put_quotes(moved, now_ms)
    each_us = (time.process_time() - began) / len(moved) * 1e6
    print(f"  a change put in the history, with what it moved: {each_us:.2f} us")
    times = []
    for number in range(ROUNDS):
        store.movers(3_600, now_ms + 10_000 * number)
        times.append(_spent(partial(store.work_out_movers, now_ms + 10_000 * number)))
    _print("movers of an hour worked out", times)


def _spent(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return (time.process_time() - began) * 1e3


def _print(name: str, times: list[float]) -> None:
    print(f"  {name:<44}{statistics.median(times):>8.1f}, at most {max(times):.1f}", flush=True)
