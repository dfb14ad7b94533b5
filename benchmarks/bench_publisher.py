"""The publisher's own work: taking over a page, one streamed update, opening from a checkpoint.

References of the same run: the JSON library that reads the same page into dicts (orjson where installed), and
for the update the same with 1,000 markets held.
"""

import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import msgspec

from bus.clock import ManualClock
from bus.feed import FeedServer
from bus.messages import CycleEnd
from bus.state import State
from bus.writer import Writer
from publisher import checkpoint
from publisher.catalogue import Catalogue, Reading, Universe
from publisher.kalshi.session import Tick
from publisher.live import Live
from publisher.quarantine import Quarantine
from tests.publisher.exchange import event, market

MARKETS: Final = int(os.environ.get("BENCH_MARKETS", "130000"))
REPEATS: Final = 7
PAGE_MARKETS: Final = 1_000
_RULES: Final = "If the team wins the game, the market resolves to Yes. " * 20
"""Rules as long as they are at the exchange: a market is about 2 kB."""


class _NoSocket:
    """What of FeedServer publishing needs."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def send(self, _frames: object) -> None:
        pass


class _Publisher:
    """A publisher without exchange and sockets."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.writer = Writer(1)
        self.catalogue = Catalogue(self.writer.state, Universe(), Quarantine(directory))

    def take(self, page: bytes) -> None:
        """Take a page over: read, compare, decode, commit."""
        self.clock.advance(12_000)
        now_ms = self.clock.now_ms()
        reading = Reading(now_ms)
        reading.reply(now_ms)
        for raw in msgspec.json.decode(page, type=list[msgspec.Raw]):
            self.catalogue.read_event(raw, now_ms, reading)
        diff = self.catalogue.diff(reading, now_ms)
        self.writer.commit(diff.changes, diff.cycle, 1, self.clock.now_ns())


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        _pages(Path(folder))
        _updates_and_restart(Path(folder))


def _page(first: int, count: int, bid: Callable[[int], int]) -> bytes:
    """Return `count` markets, eight an event, as the list of events of a page."""
    listed = []
    for start in range(first, first + count, 8):
        name = f"KXBENCH{start % 512}-26NOV22E{start:06d}"
        nested = [
            market(
                f"{name}-{n}", name, bid=bid(start + n), rules_primary=_RULES, rules_secondary=_RULES[:600]
            )
            for n in range(8)
        ]
        listed.append(event(name, f"KXBENCH{start % 512}", *nested))
    return json.dumps(listed, separators=(",", ":")).encode()


def _every_twentieth(bid: int) -> Callable[[int], int]:
    return lambda number: bid if number % 20 == 0 else 40


def _pages(folder: Path) -> None:
    page = _page(0, PAGE_MARKETS, lambda _: 40)
    changed = [_page(0, PAGE_MARKETS, _every_twentieth(bid)) for bid in (41, 42)]
    try:
        name, loads = "orjson.loads", importlib.import_module("orjson").loads
    except ImportError:
        name, loads = "msgspec.json.decode into dicts", msgspec.json.decode
    publisher = _Publisher(folder)
    publisher.take(page)
    rounds = iter(range(1_000_000))
    found = {
        "json.loads": _time(lambda: json.loads(page)),
        name: _time(lambda: loads(page)),
        "page unchanged": _time(lambda: publisher.take(page)),
        "page with 5 % changed": _time(lambda: publisher.take(changed[next(rounds) % 2])),
    }
    print(f"a page of {PAGE_MARKETS} markets, {len(page) / 1e6:.1f} MB; reference {name}\n")
    print("| work | ms | to the reference |\n|---|---|---|")
    for what, seconds in found.items():
        print(f"| {what} | {seconds * 1e3:.1f} | {seconds / found[name]:.2f} |")


def _updates_and_restart(folder: Path) -> None:
    print("\n| markets held | one streamed quote, us | to 1,000 |\n|---|---|---|")
    reference = 0.0
    for count in (1_000, MARKETS):
        publisher = _Publisher(folder)
        for start in range(0, count, 10_000):
            publisher.take(_page(start, min(10_000, count - start), lambda _: 40))
        cost = _update(publisher)
        reference = reference or cost
        print(f"| {count:,} | {cost * 1e6:.1f} | {cost / reference:.2f} |")
    state = publisher.writer.state
    # Reading page by page leaves only the last page confirmed; a sweep confirms all.
    assert state.cycle is not None
    state.set_cycle(msgspec.structs.replace(state.cycle, complete=True, unconfirmed=()), {})
    _restart(folder, state)


def _update(publisher: _Publisher) -> float:
    clock, tickers = publisher.clock, list(publisher.writer.state.markets)
    live = Live(publisher.catalogue, lambda _job: None, lambda _tickers: None, clock)
    server = cast(FeedServer, _NoSocket(publisher.writer))
    spread = [tickers[n * 7919 % len(tickers)] for n in range(1_000)]

    def stream() -> None:
        clock.advance(1)
        for number, ticker in enumerate(spread):
            tick = Tick(ticker, 3000 + number, 4500, 100, 100, 4200, 1, 1, clock.now_ms())
            live.publish(server, [tick], clock.now_ns())

    return _time(stream) / len(spread)


def _restart(folder: Path, state: State) -> None:
    size = checkpoint.save(folder, state, "bench", 1)

    def load() -> None:
        found = checkpoint.load(folder, "bench")
        assert isinstance(found.cycle, CycleEnd)
        writer = Writer(2)
        writer.load(found.changes)
        Catalogue(writer.state, Universe(), Quarantine(folder))

    seconds = _time(load, 1)
    count = len(state.markets)
    print(f"\nopening from a checkpoint of {count:,} markets ({size / 1e6:.0f} MB): {seconds:.1f} s")


def _time(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the median processor time: other work on the machine is not ours."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken)
