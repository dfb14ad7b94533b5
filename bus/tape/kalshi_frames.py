"""Kalshi's own WebSocket frames, made into recordings of the bus: real order flow for replays and tests.

Input, also gzipped: NDJSON, one frame as received per line, or one JSON object with a list of them under
`frames`. A frame is bare, or beside the time of its receipt: ``{"recv_ms": ..., "event": frame}`` or
``{"received_ms": ..., "frame": frame}``. Order book snapshots and deltas become books, trades trades.
Kalshi's deltas are signed changes; ours are new totals (docs/protocol.md).
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from bus.protocol.answers import Answers
from bus.protocol.messages import PublisherHealth, encode_map, market_topic
from bus.protocol.writer import Writer
from markets.errors import BadRecord
from markets.json.frames import decode_delta, decode_frame, decode_snapshot, decode_trade
from markets.records import Book, BookDelta, Trade

from .file import RecordingWriter

HEARTBEAT_MS: Final = 250

_COUNTED: Final = {"book": "books", "book_delta": "deltas", "trade": "trades"}


def convert(frames: Path, path: Path) -> dict[str, int]:
    """Write the frames in `frames` as a recording into the new file `path`; return counts.

    What was written is taken away again when it ends with an error.

    Raises:
        OSError: a file cannot be read or made.
        ValueError: the input is no list of frames.
    """
    with path.open("xb") as file:
        try:
            return _convert(frames, file)
        except BaseException:
            path.unlink()
            raise


def _convert(frames: Path, file: IO[bytes]) -> dict[str, int]:
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
            sent = _take(writer, frame, counts, now_ms)
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


def _beat(writer: Writer, out: RecordingWriter, now_ms: int) -> None:
    now_ns = now_ms * 1_000_000
    for data in writer.heartbeat(PublisherHealth(sweep="complete", key="ok"), now_ns):
        out.frame(data, now_ns, writer.state.seq)


_SNAPSHOT: Final = encode_map({"op": "snapshot", "id": 0})


def _frames(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (ms, frame); what comes before the first known time has that time."""
    now_ms = 0
    early: list[dict[str, Any]] = []
    for value in _values(path):
        frame = value.get("event") or value.get("frame") or value if isinstance(value, dict) else None
        if not isinstance(frame, dict):
            raise ValueError(f"got {value!r:.50}, expected a frame: a JSON object")
        message = frame.get("msg")
        sent_ms = message.get("ts_ms") if isinstance(message, dict) else None
        time_ms = value.get("recv_ms") or value.get("received_ms") or sent_ms or 0
        now_ms = max(now_ms, int(time_ms))
        early.append(frame)
        if now_ms:
            yield from ((now_ms, earlier) for earlier in early)
            early = []


def _values(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        first = next((line for line in lines if line.strip()), "")
        try:
            value = json.loads(first)
        except json.JSONDecodeError:
            value = json.loads(first + lines.read())
        if isinstance(value, dict) and "frames" in value:
            yield from value["frames"]
            return
        yield value
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _take(writer: Writer, said: dict[str, Any], counts: dict[str, int], now_ms: int) -> list[bytes]:
    """Publish what one frame says; return the messages.

    Raises:
        BadRecord: it is none that can be read.
    """
    frame = decode_frame(json.dumps(said))
    if frame.type == "trade":
        trade = decode_trade(frame, now_ms)
        return _publish(writer, "trade", trade, counts, now_ms)
    if frame.type == "orderbook_snapshot":
        snapshot = decode_snapshot(frame)
        book = Book(snapshot.market_ticker, now_ms, *snapshot.sides(yes_price=False))
        return _publish(writer, "book", book, counts, now_ms)
    message = decode_delta(frame) if frame.type == "orderbook_delta" else None
    held = writer.state.books.get(message.market_ticker) if message is not None else None
    if message is None or held is None:
        counts["skipped"] += 1
        return []
    price_e4, change_e2 = message.change(yes_price=False)
    held_e2 = dict(held.yes if message.side == "yes" else held.no).get(price_e4, 0)
    delta = BookDelta(held.ticker, now_ms, message.side, price_e4, max(0, held_e2 + change_e2))
    return _publish(writer, "book_delta", delta, counts, now_ms)


def _publish(
    writer: Writer, kind: str, record: Book | BookDelta | Trade, counts: dict[str, int], now_ms: int
) -> list[bytes]:
    counts[_COUNTED[kind]] += 1
    topic = market_topic(record.ticker.split("-", 1)[0])
    return writer.stream(topic, kind, [record], now_ms * 1_000_000, now_ms * 1_000_000)
