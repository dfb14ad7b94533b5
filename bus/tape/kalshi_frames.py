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
from bus.protocol.state import set_level
from bus.protocol.writer import Writer
from markets.errors import BadRecord
from markets.records import Book, BookDelta, Level, Trade
from markets.units import parse_count_e2, parse_price_e4, parse_signed_count_e2

from .file import RecordingWriter

HEARTBEAT_MS: Final = 250


def convert(frames: Path, path: Path) -> dict[str, int]:
    """Write the frames in `frames` as a recording into the new file `path`; return counts.

    Raises:
        OSError: a file cannot be read or made.
        ValueError: the input is no list of frames.

    What was written is taken away again when it ends with an error.
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
        except (BadRecord, KeyError, TypeError):
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
            yield from ((now_ms, one) for one in early)
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


def _take(writer: Writer, frame: dict[str, Any], counts: dict[str, int], now_ms: int) -> list[bytes]:
    """Publish what one frame says; return the messages."""
    type_, message = frame.get("type"), frame.get("msg")
    if type_ not in ("orderbook_snapshot", "orderbook_delta", "trade") or not isinstance(message, dict):
        counts["skipped"] += 1
        return []
    ticker = message["market_ticker"]
    topic = market_topic(ticker.split("-", 1)[0])
    now_ns = now_ms * 1_000_000
    if type_ == "trade":
        trade = Trade(
            message["trade_id"],
            ticker,
            parse_price_e4(message["yes_price_dollars"], "yes_price_dollars"),
            parse_count_e2(message["count_fp"], "count_fp"),
            message["taker_side"],
            message["ts_ms"],
        )
        counts["trades"] += 1
        return writer.stream(topic, "trade", [trade], now_ns, now_ns)
    if type_ == "orderbook_snapshot":
        book = Book(ticker, now_ms, _levels(message, "yes"), _levels(message, "no"))
        counts["books"] += 1
        return writer.stream(topic, "book", [book], now_ns, now_ns)
    side: str = message["side"]
    price_e4 = parse_price_e4(message["price_dollars"], "price_dollars")
    book = writer.state.books[ticker]
    held_e2 = dict(book.yes if side == "yes" else book.no).get(price_e4, 0)
    change_e2 = parse_signed_count_e2(message["delta_fp"], "delta_fp")
    delta = BookDelta(ticker, now_ms, side, price_e4, max(0, held_e2 + change_e2))
    counts["deltas"] += 1
    return writer.stream(topic, "book_delta", [delta], now_ns, now_ns)


def _levels(message: dict[str, Any], side: str) -> tuple[Level, ...]:
    levels: tuple[Level, ...] = ()
    for price, count in message.get(f"{side}_dollars_fp") or ():
        levels, _ = set_level(levels, parse_price_e4(price, side), parse_count_e2(count, side))
    return levels
