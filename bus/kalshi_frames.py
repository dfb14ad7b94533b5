"""Kalshi's own WebSocket frames, made into recordings of the bus: real order flow for replays and tests.

Input: NDJSON (also gzipped), one frame as received per line, bare or as ``{"recv_ms": ..., "event":
frame}``. Order book snapshots and deltas become books, trades trades. Kalshi's deltas are signed changes;
ours are new totals (docs/protocol.md).
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from markets.errors import BadRecord
from markets.records import Book, BookDelta, Level, Trade
from markets.units import parse_count_e2, parse_price_e4, parse_signed_count_e2

from .answers import Answers
from .messages import PublisherHealth, encode_map, market_topic
from .recording import RecordingWriter
from .state import set_level
from .writer import Writer

HEARTBEAT_MS: Final = 250


def convert(frames: Path, path: Path) -> dict[str, int]:
    """Write the frames in `frames` as a recording into the new file `path`; return counts.

    Raises:
        OSError: a file cannot be read or made.
        ValueError: the input is not NDJSON of frames.
    """
    counts = {"books": 0, "deltas": 0, "trades": 0, "skipped": 0}
    writer = Writer(0)
    beat_ms = 0
    with path.open("xb") as file:
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
                for data in writer.heartbeat(PublisherHealth(sweep="complete", key="ok"), now_ns):
                    out.frame(data, now_ns, writer.state.seq)
        if not beat_ms:
            raise ValueError("no frame in it")
        out.finish()
    return counts


_SNAPSHOT: Final = encode_map({"op": "snapshot", "id": 0})


def _frames(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    now_ms = 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"got {line[:50]!r}, expected a frame: a JSON object")
            frame = value.get("event", value)
            message = frame.get("msg") or {}
            now_ms = max(now_ms, int(value.get("recv_ms") or message.get("ts_ms") or now_ms))
            if now_ms:
                yield now_ms, frame


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
        counts["trades"] += 1
        trade = Trade(
            message["trade_id"],
            ticker,
            parse_price_e4(message["yes_price_dollars"], "yes_price_dollars"),
            parse_count_e2(message["count_fp"], "count_fp"),
            message["taker_side"],
            message["ts_ms"],
        )
        return writer.stream(topic, "trade", [trade], now_ns, now_ns)
    if type_ == "orderbook_snapshot":
        counts["books"] += 1
        book = Book(ticker, now_ms, _levels(message, "yes"), _levels(message, "no"))
        return writer.stream(topic, "book", [book], now_ns, now_ns)
    counts["deltas"] += 1
    side: str = message["side"]
    price_e4 = parse_price_e4(message["price_dollars"], "price_dollars")
    book = writer.state.books[ticker]
    held_e2 = dict(book.yes if side == "yes" else book.no).get(price_e4, 0)
    change_e2 = parse_signed_count_e2(message["delta_fp"], "delta_fp")
    delta = BookDelta(ticker, now_ms, side, price_e4, max(0, held_e2 + change_e2))
    return writer.stream(topic, "book_delta", [delta], now_ns, now_ns)


def _levels(message: dict[str, Any], side: str) -> tuple[Level, ...]:
    levels: tuple[Level, ...] = ()
    for price, count in message.get(f"{side}_dollars_fp") or ():
        levels, _ = set_level(levels, parse_price_e4(price, side), parse_count_e2(count, side))
    return levels
