"""What answers about single markets are made of: parts of editions, told to the front and kept there. Pure.

The front keeps them as they came, packed, and reads those of a market when somebody asks for it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bus.protocol.memory import Keeping, Unpacker
from bus.protocol.messages import decode_record
from bus.protocol.state import Records
from snapshot_server.edition import Edition, excerpt
from snapshot_server.shared import changes

from .messages import Shown

SLICE: Final = 500
"""The most parts in one message: less than a millisecond for either side."""

_RECORDS: Final = ("market", "quote", "book", "suspect")
KINDS: Final = (*_RECORDS, "age", "match_time")
"""Kinds of records, by ticker; what the state says of a quote's age; an event's match time, as JSON."""

_encode: Final = msgspec.msgpack.Encoder().encode
_age: Final = msgspec.msgpack.Decoder(int)

Slice = tuple[str, dict[str, Any]]
"""Parts of one kind by key, not encoded; None for those that are gone."""


def held(edition: Edition) -> dict[str, Mapping[str, Any]]:
    """Return the parts of an edition, by kind and key."""
    state = edition.state
    found: dict[str, Mapping[str, Any]] = {kind: state.records[kind] for kind in _RECORDS}
    return {**found, "age": state.ages, "match_time": edition.match_times}


def changed(edition: Edition, previous: Edition) -> Iterator[Slice]:
    """Yield what an edition has other than `previous`."""
    before = held(previous)
    for kind, parts in held(edition).items():
        yield from _sliced(kind, changes(parts, before[kind]))


def everything(edition: Edition) -> Iterator[Slice]:
    """Yield all that an edition has."""
    for kind, parts in held(edition).items():
        yield from _sliced(kind, parts.items())


def encoded(kind: str, parts: Mapping[str, Any], keeping: Keeping) -> dict[str, bytes | None]:
    """Return parts as the front is told them."""
    if kind == "match_time":
        return dict(parts)
    encode = keeping.as_kept if kind == "market" else _encode
    return {key: None if part is None else encode(part) for key, part in parts.items()}


def _sliced(kind: str, parts: Iterable[tuple[str, Any]]) -> Iterator[Slice]:
    taken: dict[str, Any] = {}
    for key, part in parts:
        taken[key] = part
        if len(taken) == SLICE:
            yield kind, taken
            taken = {}
    if taken:
        yield kind, taken


class Shelf:
    """The parts of one kind that the front has: those of the edition shown, and of the next.

    Showing an edition that changed everything must not take long. So its changes become a layer above the
    others, and `settle` moves them down bit by bit.
    """

    def __init__(self) -> None:
        self._settled: dict[str, bytes] = {}
        self._layers: deque[dict[str, bytes | None]] = deque()
        """Later ones last."""
        self._next: dict[str, bytes | None] = {}

    def put(self, parts: dict[str, bytes | None], *, coming: bool) -> None:
        """Take parts of the edition that is coming, or of the one that is shown."""
        if coming:
            self._next.update(parts)
        else:
            self._layers.append(parts)

    def show(self) -> None:
        """Show the edition that was coming."""
        if self._next:
            self._layers.append(self._next)
            self._next = {}

    def get(self, key: str) -> bytes | None:
        """Return what the edition shown has under a key."""
        for layer in reversed(self._layers):
            if key in layer:
                return layer[key]
        return self._settled.get(key)

    def settle(self, most: int) -> int:
        """Move parts of the oldest layers down; return how many of `most` are left to move."""
        while self._layers:
            layer = self._layers[0]
            while layer:
                if not most:
                    return 0
                most -= 1
                key, part = layer.popitem()
                if part is None:
                    self._settled.pop(key, None)
                else:
                    self._settled[key] = part
            self._layers.popleft()
        return most


class Shelves:
    """All parts that the front has."""

    def __init__(self) -> None:
        self._shelves = {kind: Shelf() for kind in KINDS}
        self._unpacker = Unpacker()

    def unpack(self, dictionary: bytes) -> None:
        """Take what markets are packed with from now on."""
        self._unpacker = Unpacker(dictionary)

    def put(self, kind: str, parts: dict[str, bytes | None], *, coming: bool) -> None:
        """Take parts of the edition that is coming, or of the one that is shown."""
        self._shelves[kind].put(parts, coming=coming)

    def show(self) -> None:
        """Show the edition that was coming."""
        for shelf in self._shelves.values():
            shelf.show()

    def settle(self, most: int) -> None:
        """Do some of the work that is left of editions shown: `most` parts of it."""
        for shelf in self._shelves.values():
            most = shelf.settle(most)

    def edition(self, shown: Shown, tickers: Iterable[str]) -> Edition:
        """Return the edition shown, with no markets but those of `tickers` that it has."""
        state, match_times = Records(shown.epoch), {}
        state.seq, state.cycle = shown.seq, shown.cycle
        for ticker in tickers:
            kept = self._shelves["market"].get(ticker)
            if kept is None:
                continue
            market = state.markets[ticker] = self._unpacker.market(kept)
            for kind in _RECORDS[1:]:
                record = self._shelves[kind].get(ticker)
                if record is not None:
                    state.records[kind][ticker] = decode_record(kind, record)
            age = self._shelves["age"].get(ticker)
            if age is not None:
                state.ages[ticker] = _age.decode(age)
            match_time = self._shelves["match_time"].get(market.event_ticker)
            if match_time is not None:
                match_times[market.event_ticker] = match_time
        return excerpt(state, match_times, shown.changed_ms)
