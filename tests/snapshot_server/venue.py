"""A publisher for tests and benchmarks: recorded markets, cloned to any number, on a real feed."""

import gzip
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import msgspec
import zmq

from bus.clock import Clock, SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import CycleEnd, PublisherHealth, market_topic
from bus.protocol.writer import Change, Writer
from bus.server import FeedServer
from markets.json.read import decode_event, decode_market
from markets.records import Book, Event, ExchangeStatus, Market, Milestone, Quote, Record

DATA = Path(__file__).parents[1] / "data/kalshi/events.json.gz"

HEALTH = PublisherHealth(
    started_ms=1_790_000_000_000, poll_interval_ms=12_000, sweep="ok", key="ok", exchange_reachable=True
)


class Catalogue(msgspec.Struct):
    """Records of one kind each, all that belong together."""

    markets: list[Market]
    quotes: list[Quote]
    events: list[Event]
    milestones: list[Milestone]
    books: list[Book]

    def changes(self) -> list[Change]:
        """All of it, as a writer takes it."""
        found: list[Change] = [("ref.", "event", self.events), ("ref.", "milestone", self.milestones)]
        series = {market.ticker: market.series_ticker or "_" for market in self.markets}
        for kind in ("market", "quote", "book"):
            found += grouped(kind, getattr(self, kind + "s"), series)
        return found


def grouped(kind: str, records: Iterable[Record], series: dict[str, str]) -> list[Change]:
    """Records of one kind as changes, one a stream."""
    streams: dict[str, list[Record]] = {}
    for record in records:
        streams.setdefault(series[record.ticker], []).append(record)  # type: ignore[attr-defined]
    return [(market_topic(name), kind, found) for name, found in streams.items()]


@cache
def _recorded() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(gzip.decompress(DATA.read_bytes()))["events"]
    return events


def a_catalogue(count: int, as_of_ms: int, books: int = 5) -> Catalogue:
    """Return `count` markets: the recorded ones, again and again under other names."""
    catalogue = Catalogue([], [], [], [], [])
    clone = 0
    while len(catalogue.markets) < count:
        for recorded in _recorded():
            suffix = f"-C{clone}" if clone else ""
            raw = dict(recorded, event_ticker=recorded["event_ticker"] + suffix)
            raw["markets"] = [
                dict(m, ticker=m["ticker"] + suffix, event_ticker=raw["event_ticker"])
                for m in recorded["markets"][: count - len(catalogue.markets)]
            ]
            event, members = decode_event(json.dumps(raw).encode())
            catalogue.events.append(event)
            for member in members:
                market, quote = decode_market(member, series_ticker=event.series_ticker, as_of_ms=as_of_ms)
                catalogue.markets.append(market)
                catalogue.quotes.append(quote)
        clone += 1
    first = catalogue.events[0].event_ticker
    catalogue.milestones.append(
        Milestone(
            "m1",
            "game",
            "Sports",
            "The match",
            as_of_ms,
            as_of_ms + 10_800_000,
            (first,),
            (first,),
            None,
            b"{}",
        )
    )
    catalogue.books += (
        Book(market.ticker, as_of_ms, ((4_000, 1_000), (4_100, 2_550)), ((5_700, 300),))
        for market in catalogue.markets[:books]
    )
    return catalogue


def a_writer(catalogue: Catalogue, epoch: int, complete_ms: int) -> Writer:
    """Return the writer of an epoch that opened with one complete sweep."""
    writer = Writer(epoch)
    writer.commit(
        catalogue.changes(), a_cycle(complete_ms, len(catalogue.markets)), 0, complete_ms * 1_000_000
    )
    status = ExchangeStatus(True, True, None, ((0, True, True),), complete_ms)
    writer.stream("ex.", "exchange", [status], 0, complete_ms * 1_000_000)
    return writer


def a_cycle(complete_ms: int, markets: int, unconfirmed: tuple[str, ...] = ()) -> CycleEnd:
    """Return the end of a complete sweep; its numbers are the writer's."""
    return CycleEnd(
        cycle=0,
        first=0,
        last=0,
        count=0,
        complete=True,
        started_ms=complete_ms - 1_000,
        ended_ms=complete_ms,
        as_of_ms=complete_ms,
        unconfirmed=unconfirmed,
        complete_ms=complete_ms,
        markets=markets,
    )


def requoted(quotes: Sequence[Quote], volume_e2: int, as_of_ms: int) -> list[Quote]:
    """Return the quotes with another volume, to be found again in answers."""
    return [msgspec.structs.replace(q, volume_e2=volume_e2, as_of_ms=as_of_ms) for q in quotes]


class Venue:
    """A publisher's sockets in a thread of this process. Use as a context manager."""

    def __init__(self, context: zmq.Context[Any], feed: str, state: str, clock: Clock | None = None) -> None:
        self.wished: list[str] = []
        self.clock = clock or SystemClock()
        self._stop = Stop()
        self._ready = threading.Event()
        self._arguments = (context, feed, state)
        self._thread = threading.Thread(target=self._run, name="venue")

    def _run(self) -> None:
        context, feed, state = self._arguments
        self.server = FeedServer(context, feed, state, self.clock, lambda: HEALTH, self._wish)
        self._ready.set()
        self.server.serve(self._stop)

    def _wish(self, tickers: list[str], _ttl_s: float, _now_ms: int, _what: str) -> None:
        self.wished += tickers

    def open(self, writer: Writer) -> None:
        """Open an epoch."""
        self.do(lambda server: server.open(writer))

    def do(self, job: Callable[[FeedServer], None]) -> None:
        """Run a job in the bus thread and wait for it."""
        done = threading.Event()

        def run(server: FeedServer) -> None:
            job(server)
            done.set()

        self.server.submit(run)
        assert done.wait(30)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()
