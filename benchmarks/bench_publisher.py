"""The publisher's own work: taking in a page, one streamed update, opening from a checkpoint.

References in the same run: `orjson.loads` of the same page, and for the update, the same with 1,000 markets.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import msgspec
import orjson
import zmq

from bus.clock import ManualClock
from bus.protocol.messages import MAX_MESSAGE_BYTES, CycleEnd, encode_record
from bus.protocol.state import State
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.sockets import MAX_QUESTION, bind, make, make_context
from markets.json.frames import TickerUpdate
from markets.json.pages import split_events
from publisher import checkpoint
from publisher.drift import DriftWatch
from publisher.held import Held
from publisher.intake import Intake
from publisher.live import Live
from publisher.quarantine import Quarantine
from publisher.reading import Reading, Universe
from tests.publisher.exchange import event, market

MARKETS: Final = int(os.environ.get("BENCH_MARKETS", "130000"))
REPEATS: Final = 31
PAGE_MARKETS: Final = 1_000
_PREVIOUS: Final[dict[str, Any]] = {
    "previous_price_dollars": "0.4100",
    "previous_yes_bid_dollars": "0.3900",
    "previous_yes_ask_dollars": "0.4600",
}
_RULES: Final = "If the team wins the game, the market resolves to Yes. " * 20
"""Rules as long as at the exchange, so that a market is about 2 kB."""


class _NoSocket:
    """What publishing needs of a FeedServer."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def send(self, _frames: object) -> None:
        pass


class _Feed:
    """A PUB socket and its subscriber."""

    def __init__(self, directory: Path) -> None:
        self._context = make_context()
        endpoint = f"ipc://{directory}/feed.sock"
        self._pub = make(self._context, zmq.XPUB, MAX_QUESTION)
        bind(self._pub, "feed", endpoint)
        self._sub = make(self._context, zmq.SUB, MAX_MESSAGE_BYTES)
        self._sub.subscribe(b"")
        self._sub.connect(endpoint)
        self._pub.recv()  # the subscription
        self._waiting = 0

    def send(self, frame: bytes) -> None:
        self._pub.send(frame)
        self._waiting += 1

    def drain(self) -> None:
        while self._waiting:
            self._sub.recv()
            self._waiting -= 1

    def close(self) -> None:
        self._pub.close()
        self._sub.close()
        self._context.term()


class Publisher:
    """A publisher without exchange and subscribers, which publishes on a real socket."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self._feed = _Feed(directory)
        self.bytes_sent = 0
        self.writer = Writer(1)
        self.held = Held(self.writer.state)
        self.drift = DriftWatch(self.clock)
        self._intake = Intake(self.held, Universe(), Quarantine(directory), self.drift)

    def take(self, page: bytes) -> None:
        """Take in a page: read, compare, decode, commit."""
        self.clock.advance(12_000)
        now_ms = self.clock.now_ms()
        reading = Reading(now_ms)
        reading.reply(now_ms)
        split = split_events(page)
        self.drift.page(page, split.events, split.milestones)
        for raw in split.events:
            self._intake.read_event(raw, now_ms, reading)
        with self.writer.state.lock:
            diff = self.held.diff(reading, now_ms)
            frames = self.writer.commit(diff.changes, diff.cycle, 1, self.clock.now_ns())
        self.bytes_sent = sum(map(len, frames[:-1]))  # without the end of the commit
        for frame in frames:
            self._feed.send(frame)

    def heard(self) -> None:
        """Let the subscriber take what was sent."""
        self._feed.drain()

    def close(self) -> None:
        """Close the sockets."""
        self._feed.close()


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        _pages(Path(folder))
        _updates_and_restart(Path(folder))


def page_of(first: int, count: int, bid: Callable[[int], int]) -> bytes:
    """Return `count` markets, eight per event, as a page's list of events."""
    listed = []
    for start in range(first, first + count, 8):
        name = f"KXBENCH{start % 512}-26NOV22E{start:06d}"
        nested = [
            market(
                f"{name}-{n}",
                name,
                bid=bid(start + n),
                rules_primary=_RULES,
                rules_secondary=_RULES[:600],
                **_PREVIOUS,
            )
            for n in range(8)
        ]
        listed.append(event(name, f"KXBENCH{start % 512}", *nested))
    return json.dumps({"events": listed, "cursor": ""}, separators=(",", ":")).encode()


def _every_twentieth(bid: int) -> Callable[[int], int]:
    return lambda number: bid if number % 20 == 0 else 40


def _pages(folder: Path) -> None:
    page = page_of(0, PAGE_MARKETS, lambda _: 40)
    changed = [page_of(0, PAGE_MARKETS, _every_twentieth(bid)) for bid in (41, 42)]
    name = "orjson.loads"
    publisher = Publisher(folder)
    publisher.take(page)
    publisher.heard()
    rounds = iter(range(1_000_000))
    found = {
        "json.loads": _time(lambda: json.loads(page)),
        name: _time(lambda: orjson.loads(page)),
        "page unchanged": _time(lambda: publisher.take(page), after=publisher.heard),
        "page with 5 % changed": _time(
            lambda: publisher.take(changed[next(rounds) % 2]), after=publisher.heard
        ),
    }
    changes = PAGE_MARKETS // 20
    record = len(encode_record(next(iter(publisher.writer.state.quotes.values()))))
    print(
        f"a quote changed in {changes} series each: {publisher.bytes_sent / changes:.0f} bytes a message,"
        f" {record} of them the record\n"
    )
    publisher.close()
    print(f"a page of {PAGE_MARKETS} markets, {len(page) / 1e6:.1f} MB; reference {name}\n")
    print("| work | ms | to the reference |\n|---|---|---|")
    for what, seconds in found.items():
        print(f"| {what} | {seconds * 1e3:.1f} | {seconds / found[name]:.2f} |")


def _updates_and_restart(folder: Path) -> None:
    print(
        "\n| markets held | one streamed quote, us: of 1,000 busy markets | to 1,000 held | of all in turn "
        "| to 1,000 held |\n|---|---|---|---|---|"
    )
    references: list[float] = []
    for count in (1_000, MARKETS):
        publisher = Publisher(folder)
        for start in range(0, count, 10_000):
            publisher.take(page_of(start, min(10_000, count - start), lambda _: 40))
            publisher.heard()
        costs = [_update(publisher, moving) for moving in (False, True)]
        references = references or costs
        cells = [f"{c * 1e6:.1f} | {c / r:.2f}" for c, r in zip(costs, references, strict=True)]
        print(f"| {count:,} | {' | '.join(cells)} |")
        publisher.close()
    state = publisher.writer.state
    # Reading page by page leaves only the last page confirmed; a sweep confirms everything.
    assert state.cycle is not None
    with state.lock:
        state.set_cycle(msgspec.structs.replace(state.cycle, complete=True, unconfirmed=()), {})
    _restart(folder, state)


def _update(publisher: Publisher, moving: bool) -> float:
    """Return the time per quote over 1,000 in one go: 8 in each of 125 series.

    Args:
        moving: other markets each time, so that with many of them none is in the processor's cache.
    """
    clock, state = publisher.clock, publisher.writer.state
    live = Live(publisher.held, lambda _job: None, lambda _tickers: None, lambda _tickers: None, clock)
    server = cast(FeedServer, _NoSocket(publisher.writer))
    of_series: dict[str, list[str]] = {}
    for ticker, topic in state.stream_of.items():
        of_series.setdefault(topic, []).append(ticker)
    listed = list(of_series.values())
    rounds = iter(range(1_000_000))

    def stream() -> None:
        clock.advance(1)
        number = next(rounds) if moving else 0
        ticks = [
            TickerUpdate(
                tickers[(number * 8 + n) % len(tickers)], 3000 + n, 4500, 100, 100, 4200, 1, 1, clock.now_ms()
            )
            for tickers in [listed[(number * 125 + i) % len(listed)] for i in range(125)]
            for n in range(8)
        ]
        live.publish(server, ticks, clock.now_ns())

    for _ in range(-(-len(state.markets) // 1_000) if moving else 1):
        stream()  # the first update of a market after a sweep does more work; with few markets it occurs once
    return _time(stream) / 1_000


def _restart(folder: Path, state: State) -> None:
    size = checkpoint.save(folder, state, "bench", 1)

    def load() -> None:
        found = checkpoint.load(folder, "bench")
        assert isinstance(found.cycle, CycleEnd)
        writer = Writer(2)
        writer.load(found.changes)
        Held(writer.state)

    seconds = _time(load, 1)
    count = len(state.markets)
    print(f"\nopening from a checkpoint of {count:,} markets ({size / 1e6:.0f} MB): {seconds:.1f} s")


def _time(work: Callable[[], Any], repeats: int = REPEATS, after: Callable[[], None] = lambda: None) -> float:
    """Return the median processor time, which excludes other work on the machine, and without `after`."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
        after()
    return median(taken)
