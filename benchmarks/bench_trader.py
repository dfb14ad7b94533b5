"""The trader from a message to its intent: N13 of docs/performance.md.

A streamed message makes an exclusive event of three markets tradable. Measured is the time from its receipt
until the three orders of the basket are in the journal and on their way: view, scan, strategies, risk,
journal. It runs once with the journal on tmpfs, where an fsync costs nothing, and once on the disk of this
folder, where each decision waits for it. The reference is that fsync alone: 4 kB appended to a file in the
same folder. The hop from the receiving thread is not included; waiting for a busy processor is, so on a busy
machine p10 is closer to the figure of a quiet one.
"""

import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bus.clock import SystemClock
from bus.process.settings import Settings
from bus.protocol.join import Tell
from bus.protocol.messages import TOPIC_EX, CycleEnd
from bus.protocol.state import Changed
from markets.opportunities import EventView, MarketView
from markets.records import ExchangeStatus, Record
from markets.units import HOUR_MS
from tests.support import ROOT
from tests.trader.stand import Feed, Told
from tests.trader.world import basket, quiet
from trader.figures import Latencies
from trader.manual import ManualCommands
from trader.run import on_disk
from trader.worker import Worker

EVENTS: Final = 500
TOPIC: Final = "md.KXMLSGAME."


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(__doc__)
    print("| feed to intent | p10 us | p50 us | p99 us | reference | target p50 |\n|---|---|---|---|---|---|")
    memory = Path("/dev/shm")
    if memory.is_dir():
        show("N13 without the journal's fsync", latencies_us(memory), "-", "< 250 us")
    else:
        print("(no /dev/shm: the row without fsync is left out)")
    here = ROOT / "benchmarks"
    synced = fsyncs_us(here)
    show("N13 with the journal's fsync", latencies_us(here), f"fsync {synced:.0f} us", "< 1000 us")


def show(name: str, taken: list[float], reference: str, reach: str) -> None:
    """Print a row."""
    ordered = sorted(taken)
    p10, p99 = (ordered[len(ordered) * percent // 100] for percent in (10, 99))
    print(
        f"| {name} | {p10:.0f} | {statistics.median(ordered):.0f} | {p99:.0f} | {reference} | {reach} |",
        flush=True,
    )


def latencies_us(parent: Path) -> list[float]:
    """Return the time from the receipt of each event's change to its orders, in us."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="kb-", dir=parent) as name:
        folder = Path(name)
        environ = {
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_MODE": "paper",
            "KALSHI_BUS_PAPER_CASH": "1000000000",
            "KALSHI_BUS_LIMIT_TOTAL": "1000000000",
            "KALSHI_BUS_LIMIT_ORDERS_PER_MINUTE": "100000",
            "KALSHI_BUS_LIMIT_OPEN_ORDERS": "10000",
            "KALSHI_BUS_PAPER_LATENCY_MS": "60000",  # nothing is filled during the measurement
        }
        feed, settings = Feed(clock), Settings.load(environ, folder)
        worker = Worker(settings, on_disk(settings, clock, random.Random(1), feed, ManualCommands(), Told()))
        try:
            worker.begin()
            load(feed)
            worker.turn()
            return [measured_us(worker, feed, number) for number in range(1, EVENTS + 1)]
        finally:
            worker.close()


def load(feed: Feed) -> None:
    """Publish all events in a state in which nothing is tradable."""
    now_ms = feed.now_ms()
    trades = ExchangeStatus(True, True, None, (), now_ms)
    changes: list[tuple[str, str, list[Record]]] = [(TOPIC_EX, "exchange", [trades])]
    for number in range(1, EVENTS + 1):
        view = ends_soon(quiet(number, as_of_ms=now_ms), now_ms)
        assert view.series is not None
        changes += [
            ("ref.", "series", [view.series]),
            ("ref.", "event", [view.event]),
            (TOPIC, "market", [one.market for one in view.markets]),
            (TOPIC, "quote", [one.quote for one in view.markets]),
        ]
    cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
    feed.writer.commit(changes, cycle, 0, 0)
    feed.say(Tell("live", {}))


def ends_soon(view: EventView, now_ms: int) -> EventView:
    """Return the event with markets that close in some hours, whatever the tests' own time."""

    def dated(one: MarketView) -> MarketView:
        return msgspec.structs.replace(
            one, market=msgspec.structs.replace(one.market, close_ms=now_ms + 20 * HOUR_MS)
        )

    return msgspec.structs.replace(view, markets=tuple(map(dated, view.markets)))


def measured_us(worker: Worker, feed: Feed, number: int) -> float:
    """Make an event tradable; return the worker's own latency."""
    view: EventView = basket(number, as_of_ms=feed.now_ms())
    quotes = [one.quote for one in view.markets]
    feed.writer.stream(TOPIC, "quote", quotes, 0, 0)
    latencies = worker.announcer.latencies = Latencies()
    feed.say(Changed(feed.state.seq, 0, [("quote", [quote.ticker for quote in quotes])]))
    worker.turn()
    assert len(latencies), f"event {number} was not traded: {worker.engine.refusals.counts}"
    taken_us = latencies.last_ns / 1e3
    for order in sorted(worker.engine.ledger.open):  # a real trader has few open orders, summed at each step
        worker.engine.ledger.end(order)
    return taken_us


def fsyncs_us(folder: Path) -> float:
    """Return the median time of an append of 4 kB with its fsync, in us."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - start) * 1e6)
    return statistics.median(taken)
