"""A small world around the sync: a writer, lossy wires, a snapshot server, replicas; no sockets, no clock.

Every delivery is an explicit call, so that a test (or Hypothesis) decides what is lost, doubled, swapped or
late.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import zstandard

from bus.protocol.answers import Answers
from bus.protocol.asks import Ask
from bus.protocol.join import FeedSync, Phase, Rebuild, Tell
from bus.protocol.memory import Keeping
from bus.protocol.messages import (
    CycleEnd,
    PublisherHealth,
    SnapshotHead,
    decode_chunk,
    decode_map,
    encode_map,
    market_topic,
)
from bus.protocol.state import Changed, State
from bus.protocol.writer import Writer
from markets.records import Book, BookDelta, Event, Market, Quote, Record, Remove, Series, Status, Suspect

START_MS = 1_790_000_000_000
DECOMPRESS = zstandard.ZstdDecompressor()


def a_market(ticker: str, series: str, title: str = "Will it?") -> Market:
    event = ticker.rsplit("-", 1)[0]
    return Market(
        ticker=ticker,
        event_ticker=event,
        series_ticker=series,
        title=title,
        yes_sub_title="Yes",
        market_type="binary",
        strike_type=None,
        floor_strike=None,
        cap_strike=None,
        price_ranges=((0, 10_000, 100),),
        created_ms=START_MS,
        open_ms=START_MS,
        close_ms=START_MS + 86_400_000,
        expected_expiration_ms=None,
        latest_expiration_ms=START_MS + 86_400_000,
        occurrence_ms=None,
        settlement_timer_s=300,
        result="",
        settlement_value_e4=None,
        exchange_index=0,
        raw=b'{"ticker":"' + ticker.encode() + b'"}',
    )


def a_quote(ticker: str, yes_bid_e4: int = 4_500, volume_e2: int = 0, as_of_ms: int = START_MS) -> Quote:
    yes_ask_e4 = yes_bid_e4 + 100
    return Quote(
        ticker=ticker,
        status=Status.ACTIVE,
        yes_bid_e4=yes_bid_e4,
        yes_ask_e4=yes_ask_e4,
        no_bid_e4=10_000 - yes_ask_e4,
        no_ask_e4=10_000 - yes_bid_e4,
        yes_bid_size_e2=1_000,
        yes_ask_size_e2=1_000,
        last_price_e4=yes_bid_e4,
        volume_e2=volume_e2,
        volume_24h_e2=0,
        open_interest_e2=0,
        previous_price_e4=None,
        previous_yes_bid_e4=None,
        previous_yes_ask_e4=None,
        as_of_ms=as_of_ms,
    )


class Publisher:
    """The writer, what it has sent, and the digest it had at every position a reader may see."""

    def __init__(self, epoch: int, rng: random.Random, tickers: tuple[str, ...], volume: int = 0) -> None:
        self.rng = rng
        self.tickers = tickers
        self.writer = Writer(epoch)
        self.now_ms = START_MS
        self.volume = volume
        self.home = {ticker: self.series_of(ticker) for ticker in tickers}
        self.writer.load(change for ticker in tickers for change in self._listed(ticker))
        self.history: dict[tuple[int, int], int] = {}
        self.lasts: dict[tuple[int, int], dict[str, int]] = {}
        self.positions: dict[tuple[int, str, int], set[tuple[int, ...]]] = {}
        self.remember()

    @staticmethod
    def series_of(ticker: str) -> str:
        return ticker.split("-", 1)[0]

    def topic(self, ticker: str) -> str:
        return market_topic(self.home[ticker])

    def _listed(self, ticker: str) -> list[tuple[str, str, list[Record]]]:
        series = self.home[ticker]
        return [
            (market_topic(series), "market", [a_market(ticker, series)]),
            (market_topic(series), "quote", [a_quote(ticker, volume_e2=self.volume)]),
            ("ref.", "series", [Series(series, series, "Sports", "daily", "quadratic", 10_000, b"{}")]),
        ]

    def remember(self) -> None:
        state = self.writer.state
        self.history[state.epoch, state.seq] = state.digest()
        self.lasts[state.epoch, state.seq] = {topic: stream.last for topic, stream in state.streams.items()}
        for topic in state.streams:
            last, *digests = state.position(topic)
            self.positions.setdefault((state.epoch, topic, last), set()).add(tuple(digests))

    def succeed(self, epoch: int) -> "Publisher":
        """Return the publisher of a new epoch, which remembers what was true before."""
        publisher = Publisher(epoch, self.rng, self.tickers, self.volume)
        for memory in ("history", "lasts", "positions"):
            setattr(publisher, memory, getattr(self, memory) | getattr(publisher, memory))
        return publisher

    def commit(self) -> list[bytes]:
        """A sweep that changes several series at once; every market it touches shows the same new volume."""
        empty = self.rng.random() < 0.2
        self.volume += 0 if empty else 100
        self.now_ms += 10
        changes: list[tuple[str, str, list[Record]]] = []
        for ticker in () if empty else tuple(self.home):
            quote = a_quote(ticker, self.rng.randrange(100, 9_800), self.volume, self.now_ms)
            changes += [(self.topic(ticker), "quote", [quote])]
        if self.rng.random() < 0.5:
            ticker = self.rng.choice(self.tickers)
            if ticker in self.home:
                changes.append((self.topic(ticker), "remove", [Remove("market", ticker)]))
                del self.home[ticker]
            if self.rng.random() < 0.5:
                self.home[ticker] = self.rng.choice([self.series_of(ticker), "A", "B", "_"])
                changes += self._listed(ticker)
        if self.home and self.rng.random() < 0.3:
            ticker = self.rng.choice(list(self.home))
            title = f"Will it? {self.volume}"
            changes.append((self.topic(ticker), "market", [a_market(ticker, self.home[ticker], title)]))
        if self.rng.random() < 0.3:
            event = Event("E", "A", f"Event {self.volume}", "", "", True, None, None, None, 0, b"{}")
            changes.append(("ref.", "event", [event]))
        cycle = CycleEnd(
            0,
            0,
            0,
            0,
            True,
            self.now_ms,
            self.now_ms,
            as_of_ms=self.now_ms,
            complete_ms=self.now_ms,
            markets=3,
            unconfirmed=tuple(ticker for ticker in self.home if self.rng.random() < 0.2),
        )
        frames = self.writer.commit(changes, cycle, self.now_ms * 1_000_000, self.now_ms * 1_000_000)
        self.remember()
        return frames

    def stream(self) -> list[bytes]:
        """One streamed message of a random kind."""
        self.now_ms += 1
        ticker = self.rng.choice(list(self.home) or [""])
        kinds = ["quote", "quote", "quote", "book", "book", "book_delta", "suspect", "remove", "market"]
        kind = self.rng.choice(kinds) if ticker else "remove"
        record: Record
        if kind == "quote":
            record = a_quote(ticker, self.rng.randrange(100, 9_800), self.volume, self.now_ms)
        elif kind == "book":
            record = Book(ticker, self.now_ms, ((100, 500), (4_500, 1_000)), ((200, 300),))
        elif kind == "book_delta":
            price, count = self.rng.choice([100, 300, 4_500]), self.rng.choice([0, 700, 900])
            record = BookDelta(ticker, self.now_ms, self.rng.choice(["yes", "no"]), price, count)
        elif kind == "suspect":
            record = Suspect(ticker, self.rng.choice([None, self.now_ms]), "gap")
        elif kind == "remove":
            record = Remove("event", "E")
            return self._streamed("ref.", kind, record)
        else:
            record = a_market(ticker, self.home[ticker], f"Renamed {self.now_ms}")
        return self._streamed(self.topic(ticker), kind, record)

    def quotes(self) -> list[bytes]:
        """One streamed message with new quotes of one series; now and then of one that was gone."""
        if not self.home:
            return self.stream()
        self.now_ms += 1
        series = self.rng.choice(sorted(set(self.home.values())))
        tickers = [ticker for ticker, home in self.home.items() if home == series]
        gone = [ticker for ticker in self.tickers if ticker not in self.home]
        if gone and self.rng.random() < 0.3:
            tickers.append(self.rng.choice(gone))
        records = [a_quote(ticker, self.rng.randrange(100, 9_800), self.volume) for ticker in tickers]
        stamp_ns = self.now_ms * 1_000_000
        self.home |= dict.fromkeys(tickers, series)
        frames = self.writer.stream(market_topic(series), "quote", records, stamp_ns, stamp_ns)
        self.remember()
        return frames

    def _streamed(self, topic: str, kind: str, record: Record) -> list[bytes]:
        frames = self.writer.stream(topic, kind, [record], self.now_ms * 1_000_000, self.now_ms * 1_000_000)
        self.remember()
        return frames

    def heartbeat(self) -> list[bytes]:
        self.now_ms += 400
        return self.writer.heartbeat(PublisherHealth(), self.now_ms * 1_000_000)


def as_old(state: State, truth: State, hears: Callable[[str], bool]) -> bool:
    """Whether a replica knows of the last commit and of its quotes' ages what the publisher knows."""
    ours, theirs = state.cycle, truth.cycle
    return (ours and (ours.cycle, ours.complete_ms)) == (
        theirs and (theirs.cycle, theirs.complete_ms)
    ) and all(
        state.quote_as_of_ms(ticker) == truth.quote_as_of_ms(ticker)
        for ticker in truth.quotes
        if hears(truth.stream_of[ticker])
    )


class Node:
    """A replica with its inbound feed wire and its wires to and from a snapshot server."""

    def __init__(self, prefixes: tuple[str, ...], seed: int, keeping: Keeping | None = None) -> None:
        self.sync = FeedSync(prefixes, random.Random(seed), 0, keeping)
        self.prefixes = prefixes
        self.feed: deque[bytes] = deque()
        self.questions: deque[bytes] = deque()
        self.answers: deque[list[bytes]] = deque()
        self.told: list[Tell] = []
        self.changed: list[Changed] = []
        self.asked = 0
        self.wholes = 0
        self.whole_ids: set[int] = set()
        self.rebuilt = 0
        self.server = Answers(lambda: self.sync.state)

    @property
    def state(self) -> State:
        return self.sync.state

    @property
    def live(self) -> bool:
        return self.sync.phase is Phase.LIVE

    def hears(self, topic: str) -> bool:
        return topic.startswith(self.prefixes)

    def hear(self, frames: list[bytes]) -> None:
        """Put frames on the wire, as a PUB socket would: only what is subscribed."""
        for frame in frames:
            topic = frame.split(b"\x00", 1)[0].decode()
            if self.hears(topic):
                self.feed.append(frame)

    def take_feed(self, now_ms: int, count: int = 1) -> None:
        frames = [self.feed.popleft() for _ in range(min(count, len(self.feed)))]
        self._do(self.sync.hear(frames, now_ms))

    def take_answer(self, now_ms: int, keep: bool = False) -> None:
        if not self.answers:
            return
        frames = self.answers[0] if keep else self.answers.popleft()
        answer = decode_map(frames[0], dict[str, Any])
        if not answer["ok"]:
            self._do(self.sync.refused(answer["id"], answer["error"].get("retry_ms"), now_ms))
            return
        self.wholes += answer["id"] in self.whole_ids
        head = msgspec.convert(answer, SnapshotHead)
        chunks = [decode_chunk(DECOMPRESS.decompress(frame)) for frame in frames[1:]]
        self._do(self.sync.snapshot(answer["id"], head, chunks, now_ms))

    def tick(self, now_ms: int) -> None:
        self._do(self.sync.tick(now_ms))

    def _do(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Ask):
                self.asked += 1
                if action.since is None:
                    self.whole_ids.add(action.id)
                question: dict[str, Any] = {
                    "op": "snapshot",
                    "id": action.id,
                    "epoch": action.epoch,
                    "streams": list(self.prefixes),
                }
                if action.since is not None:
                    question |= {"since": action.since, "also": list(action.also)}
                self.questions.append(encode_map(question))
            elif isinstance(action, Tell):
                self.told.append(action)
            elif isinstance(action, Rebuild):
                self.rebuilt += 1
            else:
                self.changed.append(action)
