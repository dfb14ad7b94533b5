"""Exchange, sweep, what is held, writer and a replica in one thread without sockets, on a manual clock."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from bus.clock import ManualClock
from bus.protocol.messages import CycleEnd, decode, decode_map
from bus.protocol.state import State
from bus.protocol.writer import Writer
from markets.errors import BadRecord
from publisher.drift import DriftWatch
from publisher.held import Held
from publisher.intake import Intake
from publisher.kalshi.client import Client, ExchangeError, NotFound, Params, Reply
from publisher.quarantine import Quarantine
from publisher.reading import Reading, Universe
from publisher.sweep import Sweep
from tests.publisher.exchange import FakeExchange

T = TypeVar("T")


class DirectClient:
    """The client's `get` and `pages` on an exchange in the same process, without retries."""

    def __init__(self, exchange: FakeExchange, clock: ManualClock) -> None:
        self.requests = 0
        self.busy_ns = 0
        self.trouble: ExchangeError | None = None
        self.reachable = True
        self.paths: list[str] = []
        self.cache_age_ms: Callable[[str], int] = lambda _path: 0
        self._exchange = exchange
        self._clock = clock

    def get(
        self,
        path: str,
        params: Params = (),
        *,
        read: Callable[[bytes], T],
        attempts: int | None = None,
        within_s: float = 0,
    ) -> tuple[T, Reply]:
        self.requests += 1
        self.paths.append(path)
        query: dict[str, list[str]] = {}
        for name, value in params:
            query.setdefault(name, []).append(str(value))
        answer = self._exchange.fault(path) or self._exchange.answer(path, query)
        if answer.status == 404:
            raise NotFound("not_found", path)
        if answer.status != 200:
            raise ExchangeError("server_error", path, answer.body)
        try:
            content = read(answer.body)
        except BadRecord as error:
            raise ExchangeError("bad_reply", str(error)) from None
        return content, Reply(answer.body, self._clock.now_ms() - self.cache_age_ms(path))

    pages = Client.pages


class World:
    """A publisher and a replica of it, step by step."""

    def __init__(
        self, directory: Path, universe: Universe | None = None, slice_from: int | None = None
    ) -> None:
        self.slice_from = slice_from
        self.kept: frozenset[str] = frozenset()
        self.clock = ManualClock()
        self.exchange = FakeExchange()
        self.client = DirectClient(self.exchange, self.clock)
        self.writer = Writer(self.clock.now_ms())
        self.state = self.writer.state
        self.replica = State(self.writer.state.epoch)
        self.frames: list[bytes] = []
        self.restart(directory, universe)

    def restart(self, directory: Path, universe: Universe | None = None) -> None:
        """Begin with nothing known beside the state, as after a checkpoint."""
        quarantine = Quarantine(directory)
        self.drift = DriftWatch(self.clock)
        self.held = Held(self.state)
        intake = Intake(self.held, universe or Universe(), quarantine, self.drift)
        self.sweep = Sweep(
            cast(Client, self.client),
            intake,
            self.held,
            self.clock,
            slice_from=self.slice_from,
            kept=lambda: self.kept,
        )

    def close(self) -> None:
        self.exchange.close()

    def run(self, advance_ms: int = 12_000) -> tuple[Reading, ExchangeError | None]:
        """Let time pass, sweep and commit; the replica applies the frames."""
        self.clock.advance(advance_ms)
        reading = Reading(self.clock.now_ms())
        error = self.sweep.run(reading)
        if reading.as_of_ms is not None:
            with self.state.lock:
                diff = self.held.diff(reading, self.clock.now_ms())
                self.frames = self.writer.commit(diff.changes, diff.cycle, 1, self.clock.now_ns())
            self.apply(self.frames)
        return reading, error

    def rotate(self) -> list[bytes]:
        """Send what is due again; return the frames."""
        frames = [
            frame
            for topic, kind, records in self.held.rotate(self.clock.now_ms())
            for frame in self.writer.stream(topic, kind, records, 1, self.clock.now_ns())
        ]
        self.apply(frames)
        return frames

    def apply(self, frames: Iterable[bytes]) -> None:
        """Apply frames to the replica as the protocol says, numbers checked."""
        for frame in frames:
            topic, envelope = decode(frame)
            assert envelope.seq == self.replica.seq + 1
            self.replica.seq = envelope.seq
            with self.replica.lock:
                if envelope.kind == "cycle":
                    self.replica.stream(topic).last = envelope.seq
                    self.replica.end_cycle(decode_map(envelope.records[0], CycleEnd))
                else:
                    self.replica.apply(topic, envelope.seq, envelope.kind, envelope.records)

    def kinds(self) -> list[tuple[str, str, int]]:
        """(topic, kind, records) of the last commit without its exchange status and end."""
        found = []
        for frame in self.frames:
            topic, envelope = decode(frame)
            if topic not in ("cycle.", "ex."):
                found.append((topic, envelope.kind, len(envelope.records)))
        return found

    def age_ms(self, ticker: str) -> int:
        as_of_ms = self.state.quote_as_of_ms(ticker)
        assert as_of_ms is not None
        return self.clock.now_ms() - as_of_ms


def content(state: State) -> dict[str, Any]:
    """All that two equal states have in common."""
    return {
        "records": {kind: dict(sorted(records.items())) for kind, records in state.records.items()},
        "streams": {topic: state.position(topic) for topic in state.streams},
        "ages": {ticker: state.quote_as_of_ms(ticker) for ticker in state.quotes},
        "cycle": msgspec.to_builtins(state.cycle),
        "seq": state.seq,
    }


def all_markets(exchange: FakeExchange) -> Iterator[dict[str, Any]]:
    for listed in exchange.events.values():
        yield from listed["markets"]
    yield from exchange.loose.values()
