"""Kalshi's own WebSocket frames, turned into recordings of the bus: real order flow for replays and tests.

Input, also gzipped: NDJSON, one frame as received per line, or one JSON object with a list of them under
`frames`. A frame is bare, or comes with the time of its receipt: ``{"recv_ms": ..., "event": frame}`` or
``{"received_ms": ..., "frame": frame}``. Order book snapshots and deltas become books; trades stay trades.
Kalshi's deltas are signed changes; ours are new totals (docs/protocol.md). Recordings made with
`use_yes_price`, with NO levels on the scale of YES, are recognised by their books and converted to NO's own
scale.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from bus.protocol.answers import Answers
from bus.protocol.messages import PublisherHealth, encode_map, market_topic
from bus.protocol.writer import Writer
from markets.errors import BadRecord
from markets.json.frames import (
    BookChange,
    BookSnapshot,
    decode_delta,
    decode_frame,
    decode_snapshot,
    decode_trade,
)
from markets.records import Book, BookDelta, Trade
from markets.units import PRICE_ONE_E4

from .file import RecordingWriter

HEARTBEAT_MS: Final = 250
_TIME_DIGITS: Final = 14
"""Milliseconds with more digits lie beyond this millennium."""

_COUNTED: Final = {"book": "books", "book_delta": "deltas", "trade": "trades"}


def convert(frames: Path, path: Path, yes_price: bool | None = None) -> dict[str, int]:
    """Write the frames in `frames` as a recording into the new file `path`; return counts.

    What was written is removed again if an error ends it.

    Args:
        yes_price: whether NO levels are on the scale of YES (`use_yes_price` of the subscription); None: as
            the books say.

    Raises:
        OSError: a file cannot be read or made.
        ValueError: the input is not a list of frames, or its books fit both scales.
    """
    with path.open("xb") as file:
        try:
            return _convert(frames, file, _on_yes_scale(frames) if yes_price is None else yes_price)
        except BaseException:
            path.unlink()
            raise


def _convert(frames: Path, file: IO[bytes], yes_price: bool) -> dict[str, int]:
    counts = {"books": 0, "deltas": 0, "trades": 0, "skipped": 0}
    writer = Writer(0)
    now_ms = beat_ms = 0
    out = RecordingWriter(file)
    for now_ms, frame in _frames(frames):
        now_ns = now_ms * 1_000_000
        if not beat_ms:
            writer.state.epoch = now_ms
            out.keyframe(Answers(lambda: writer.state).answer(_SNAPSHOT, now_ms), now_ns)
        sent: list[bytes] = []
        try:
            sent = _take(writer, frame, counts, now_ms, yes_price=yes_price)
        except BadRecord:
            counts["skipped"] += 1
        for data in sent:
            out.frame(data, now_ns, writer.state.seq)
        if now_ms - beat_ms >= HEARTBEAT_MS:
            beat_ms = now_ms
            _beat(writer, out, now_ms)
    if not beat_ms:
        raise ValueError("no frame in it")
    _beat(writer, out, now_ms)
    out.finish()
    return counts


class _Scales:
    """Which scale NO levels are on, judged by which of the two would make crossed books.

    No bid meets an ask: the best bids of YES and NO together are below one dollar. Read on the wrong scale
    nearly every book with two sides is crossed. Books come whole as snapshots; those built from deltas count
    only if no snapshot decides, since they are crossed for a moment now and then.
    """

    def __init__(self) -> None:
        self.by_snapshot = {True: 0, False: 0}
        self.by_delta = {True: 0, False: 0}
        self._books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        self.two_sided = False

    def snapshot(self, message: BookSnapshot) -> None:
        yes, no = (dict(side) for side in message.sides(yes_price=False))
        self._books[message.market_ticker] = yes, no
        self._count(yes, no, self.by_snapshot)

    def delta(self, message: BookChange) -> None:
        book = self._books.get(message.market_ticker)
        if book is None or self.decided:
            return
        price_e4, change_e2 = message.change(yes_price=False)
        side = book[message.side == "no"]
        side[price_e4] = side.get(price_e4, 0) + change_e2
        if side[price_e4] <= 0:
            del side[price_e4]
        self._count(*book, self.by_delta)

    def _count(self, yes: Mapping[int, int], no: Mapping[int, int], counts: dict[bool, int]) -> None:
        if yes and no:
            self.two_sided = True
            crossed = {False: max(yes) + max(no) >= PRICE_ONE_E4, True: max(yes) >= min(no)}
            if crossed[True] != crossed[False]:
                counts[crossed[False]] += 1

    @property
    def decided(self) -> bool:
        return self.by_snapshot[True] != self.by_snapshot[False]

    def yes_price(self) -> bool | None:
        for counts in (self.by_snapshot, self.by_delta):
            if counts[True] != counts[False]:
                return counts[True] > counts[False]
        return None if self.two_sided else False


def _on_yes_scale(frames: Path) -> bool:
    """Tell whether NO levels are on the scale of YES, by the commands in a recording or else by its books."""
    scales = _Scales()
    for _, said in _frames(frames):
        params = said.get("params")
        if said.get("cmd") == "subscribe" and isinstance(params, dict) and "use_yes_price" in params:
            return params["use_yes_price"] is True
        try:
            frame = decode_frame(json.dumps(said))
            if frame.type == "orderbook_snapshot":
                scales.snapshot(decode_snapshot(frame))
            elif frame.type == "orderbook_delta":
                scales.delta(decode_delta(frame))
        except BadRecord:
            continue  # skipped, and counted, when its turn comes
    found = scales.yes_price()
    if found is None:
        raise ValueError(
            "its books fit both scales of NO prices: say --use-yes-price yes or no, as it was subscribed"
        )
    return found


def _beat(writer: Writer, out: RecordingWriter, now_ms: int) -> None:
    now_ns = now_ms * 1_000_000
    for data in writer.heartbeat(PublisherHealth(sweep="complete", key="ok"), now_ns):
        out.frame(data, now_ns, writer.state.seq)


_SNAPSHOT: Final = encode_map({"op": "snapshot", "id": 0})


def _frames(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (ms, frame); frames before the first known time get that time."""
    now_ms = 0
    early: list[dict[str, Any]] = []
    for value in _values(path):
        frame = value.get("event") or value.get("frame") or value if isinstance(value, dict) else None
        if not isinstance(frame, dict):
            raise ValueError(f"got {value!r:.50}, expected a frame: a JSON object")
        message = frame.get("msg")
        sent_ms = message.get("ts_ms") if isinstance(message, dict) else None
        times_ms = (value.get("recv_ms"), value.get("received_ms"), sent_ms)
        now_ms = max(now_ms, next(filter(None, map(_time_ms, times_ms)), 0))
        early.append(frame)
        if now_ms:
            yield from ((now_ms, earlier) for earlier in early)
            early = []


def _time_ms(said: object) -> int:
    """Return the time written beside a frame, 0 if there is no plausible one."""
    if isinstance(said, str):
        said = int(said) if said.isascii() and said.isdecimal() and len(said) <= _TIME_DIGITS else 0
    return int(said) if isinstance(said, (int, float)) and 0 < said < 10**_TIME_DIGITS else 0


def _values(path: Path) -> Iterator[Any]:
    """Yield the values in a file; a byte that is not UTF-8 spoils the frame it is in, and no other."""
    try:
        with _opened(path) as lines:
            first = next((line for line in lines if line.strip()), "")
            try:
                value = json.loads(first)
            except json.JSONDecodeError:
                value = json.loads(first + lines.read())
            if isinstance(value, dict) and isinstance(value.get("frames"), list):
                yield from value["frames"]
                return
            yield value
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"damaged: {error}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape")
    return path.open(encoding="utf-8", errors="surrogateescape")


def _take(
    writer: Writer, said: dict[str, Any], counts: dict[str, int], now_ms: int, *, yes_price: bool
) -> list[bytes]:
    """Publish the content of one frame; return the messages.

    Raises:
        BadRecord: it cannot be read.
    """
    frame = decode_frame(json.dumps(said))
    if frame.type == "trade":
        trade = decode_trade(frame, now_ms)
        return _publish(writer, "trade", trade, counts, now_ms)
    if frame.type == "orderbook_snapshot":
        snapshot = decode_snapshot(frame)
        book = Book(snapshot.market_ticker, now_ms, *snapshot.sides(yes_price=yes_price))
        return _publish(writer, "book", book, counts, now_ms)
    message = decode_delta(frame) if frame.type == "orderbook_delta" else None
    held = writer.state.books.get(message.market_ticker) if message is not None else None
    if message is None or held is None:
        counts["skipped"] += 1
        return []
    price_e4, change_e2 = message.change(yes_price=yes_price)
    held_e2 = dict(held.yes if message.side == "yes" else held.no).get(price_e4, 0)
    delta = BookDelta(held.ticker, now_ms, message.side, price_e4, max(0, held_e2 + change_e2))
    return _publish(writer, "book_delta", delta, counts, now_ms)


def _publish(
    writer: Writer, kind: str, record: Book | BookDelta | Trade, counts: dict[str, int], now_ms: int
) -> list[bytes]:
    counts[_COUNTED[kind]] += 1
    topic = market_topic(record.ticker.split("-", 1)[0])
    return writer.stream(topic, kind, [record], now_ms * 1_000_000, now_ms * 1_000_000)
