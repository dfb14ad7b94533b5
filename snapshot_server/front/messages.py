"""The messages between the snapshot server and its front, over two socket pairs.

On the stream the snapshot server sends `News`, each preceded by its length in four bytes, and the front
acknowledges each `Shown` with one byte. On the packet socket, connections travel as descriptors, each with a
`Passed`; the front sends a `Passed` without a descriptor when it only has something to report.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from bus.process.supervised import Supervised
from bus.protocol.join import ReplicaStatus
from bus.protocol.messages import CycleEnd, Heartbeat
from markets.records import Drift, ExchangeStatus

MAX_PACKET: Final = 131_072
"""The most that a packet may hold: what the system passes on at once, and what the other end reads."""

MAX_PIECE: Final = 65_536
"""The most that a packet carries of what a client has sent, or of the requests that are reported."""

ACK: Final = b"\x06"

_LENGTH: Final = 4


class Template(msgspec.Struct, frozen=True, tag=True):
    """The answer of an edition to a request, except for the parts that depend on time.

    Attributes:
        request: the bytes of the request that this answers.
        edition: its number.
        route: as the answers are counted.
        varies: as in `HttpResponse`: "ages", "age" or "health".
        head: status line and headers, without those that vary and without the empty line.
        encoding, chunks, crc32, size: the body without its end (body.Prepared).
        end: the body's end, where it does not vary.
        as_of_ms: from when `age` counts.
    """

    request: bytes
    edition: int
    route: str
    varies: str
    head: bytes
    encoding: str
    chunks: tuple[bytes, ...]
    crc32: int
    size: int
    end: bytes
    as_of_ms: int | None

    @property
    def length(self) -> int:
        """The size of the body in bytes, without an end that varies."""
        return sum(map(len, self.chunks))


class Shown(msgspec.Struct, frozen=True, tag=True):
    """An edition is shown from now on; templates of others no longer answer.

    Attributes:
        number: counts editions. digest, markets, books, changed_ms: of the edition (edition.Edition).
        cycle, exchange, drifts: of its state.
    """

    number: int
    epoch: int
    seq: int
    digest: int
    markets: int
    books: int
    changed_ms: int
    cycle: CycleEnd | None
    exchange: ExchangeStatus | None
    drifts: dict[str, Drift]


class Pulse(msgspec.Struct, frozen=True, tag=True):
    """The state of the feed and of the processes, every PULSE_S."""

    status: ReplicaStatus
    heartbeat: Heartbeat | None
    processes: dict[str, Supervised] | None
    stale_after_ms: int


class Dictionary(msgspec.Struct, frozen=True, tag=True):
    """What markets are packed with (bus.protocol.memory): comes before the first that is packed."""

    dictionary: bytes


class Parts(msgspec.Struct, frozen=True, tag=True):
    """What answers about single markets are made of (parts.py): some that an edition has, or has changed.

    Attributes:
        edition: its number.
        kind: of which kind they are.
        parts: by key; None for one that is gone.
    """

    edition: int
    kind: str
    parts: dict[str, bytes | None]


class Complete(msgspec.Struct, frozen=True, tag=True):
    """From now on the front has all parts of the edition shown, and only changes follow."""


News = Template | Shown | Pulse | Dictionary | Parts | Complete


class Passed(msgspec.Struct, frozen=True):
    """What comes with a connection.

    Attributes:
        data: what the client has sent and nobody has answered.
        edition: number of the edition that the front shows: the client must not be answered from an older
            one.
        answered: how many answers the front has given since its last report, by route; all with status 200.
        asked: requests that templates answered since then.
        number: counts the connections whose data does not go into one packet. offset: how much of it came
            in packets before. more: the connection comes with a later packet, as does the rest of the data.
    """

    data: bytes = b""
    edition: int = 0
    answered: dict[str, int] = {}
    asked: tuple[bytes, ...] = ()
    number: int = 0
    offset: int = 0
    more: bool = False


class Pieces:
    """Reassembles data that did not fit into one packet."""

    def __init__(self) -> None:
        self._number = 0
        self._early = b""

    def add(self, passed: Passed) -> bytes | None:
        """Return all that has come for a connection so far; None if a piece of it was lost."""
        early, self._early = self._early, b""
        if not passed.offset or passed.number != self._number:
            early = b""
        if len(early) != passed.offset:
            return None
        data = early + passed.data
        if passed.more:
            self._number, self._early = passed.number, data
        return data


class Inbox:
    """Splits the stream into news."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[News]:
        """Take what has come; yield the news that are complete."""
        waiting = self._waiting
        waiting += data
        start = 0
        try:
            while len(waiting) - start >= _LENGTH:
                end = start + _LENGTH + int.from_bytes(waiting[start : start + _LENGTH], "big")
                if len(waiting) < end:
                    return
                body = bytes(waiting[start + _LENGTH : end])
                start = end
                yield _news.decode(body)
        finally:
            del waiting[:start]


def frame(news: News) -> bytes:
    """Return the bytes of a message of the stream."""
    body = _encode(news)
    return len(body).to_bytes(_LENGTH, "big") + body


def packet(passed: Passed) -> bytes:
    """Return the bytes of a packet."""
    return _encode(passed)


def read_packet(body: bytes) -> Passed:
    """Read a packet.

    Raises:
        msgspec.MsgspecError: it is not one.
    """
    return _passed.decode(body)


_encode: Final = msgspec.msgpack.Encoder().encode
_news: Final = msgspec.msgpack.Decoder(News)
_passed: Final = msgspec.msgpack.Decoder(Passed)
