"""Kalshi's recorded WebSocket sessions, made into recordings: they play to the books they ended with."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.state import State
from bus.tape.file import Recording
from bus.tape.kalshi_frames import convert
from bus.tape.tape import messages
from bus.testing import replay_of
from markets.units import parse_count_e2, parse_price_e4
from tests.support import ROOT, Runner

Frame = dict[str, Any]
Timed = list[tuple[int, Frame]]
Books = dict[str, dict[str, dict[int, int]]]


def load(name: str) -> Any:
    return json.loads(gzip.decompress((ROOT / "tests/data/kalshi" / name).read_bytes()))


def orderbook_stream() -> Timed:
    return [(received_ms, frame) for received_ms, frame in load("ws_orderbook_stream.json.gz")]


def gold() -> Timed:
    """The quarter of an hour of gold, as frames: its deltas are kept without what they have in common."""
    recorded = load("ws_gold15m.json.gz")
    ticker, now_ms = recorded["ticker"], recorded["recv_ms"]

    def frame(type_: str, **message: Any) -> Frame:
        return {"type": type_, "sid": 1, "msg": {"market_ticker": ticker, **message}}

    book = frame("orderbook_snapshot", yes_dollars_fp=recorded["yes"], no_dollars_fp=recorded["no"])
    frames = [(now_ms, book)]
    for later_ms, late_ms, side, price, change in recorded["deltas"]:
        now_ms += later_ms
        delta = frame(
            "orderbook_delta", side=side, price_dollars=price, delta_fp=change, ts_ms=now_ms - late_ms
        )
        frames.append((now_ms, delta))
    return frames


def books_after(frames: Iterable[Frame]) -> Books:
    """The books at the end, by Kalshi's rules alone: a delta is added to the level's size."""
    books: Books = {}
    for frame in frames:
        message = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            books[message["market_ticker"]] = {
                side: {
                    parse_price_e4(price, side): parse_count_e2(count, side)
                    for price, count in message.get(f"{side}_dollars_fp", [])
                }
                for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            levels = books[message["market_ticker"]][message["side"]]
            price_e4 = parse_price_e4(message["price_dollars"], "price")
            levels[price_e4] = levels.get(price_e4, 0) + round(float(message["delta_fp"]) * 100)
            if not levels[price_e4]:
                del levels[price_e4]
    return books


def books_of(state: State) -> Books:
    return {ticker: {"yes": dict(book.yes), "no": dict(book.no)} for ticker, book in state.books.items()}


def ndjson(path: Path, frames: Timed) -> Path:
    lines = (json.dumps({"recv_ms": now_ms, "event": frame}) for now_ms, frame in frames)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.mark.parametrize(("session", "deltas"), [(orderbook_stream, 245), (gold, 22_024)])
def test_recorded_session_plays_to_its_recorded_end(
    session: Callable[[], Timed], deltas: int, runner: Runner, short_dir: Path
) -> None:
    frames = session()
    source, path = ndjson(short_dir / "frames.ndjson.gz", frames), short_dir / "day.mcap"
    process = runner.start("bus", "import", str(source), str(path))
    assert process.wait(30) == 0
    counts = json.loads(process.output())
    sent = [now_ms for now_ms, frame in frames if frame["type"].startswith("orderbook_")]
    assert counts["deltas"] == deltas
    assert counts["books"] + counts["deltas"] == len(sent)
    assert counts["skipped"] == len(frames) - len(sent)
    assert [envelope.published_ns // 1_000_000 for _, envelope in messages(Recording(path))] == sent
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert books_of(replica.state) == books_after(frame for _, frame in frames)
        status = replayed.player.status()
        assert (status["digest_mismatches"], status["holes"], status["problem"]) == (0, 0, None)
        assert status["digests_checked"] > 0
        assert replica.now_ms() == frames[-1][0]


SNAPSHOT = {
    "type": "orderbook_snapshot",
    "sid": 1,
    "seq": 1,
    "msg": {"market_ticker": "A-1-X", "yes_dollars_fp": [["0.4700", "3.00"]], "no_dollars_fp": []},
}
DELTA = {
    "type": "orderbook_delta",
    "sid": 1,
    "seq": 2,
    "msg": {
        "market_ticker": "A-1-X",
        "price_dollars": "0.4700",
        "delta_fp": "-1.00",
        "side": "yes",
        "ts_ms": 1_786_000_000_005,
    },
}
TRADE = {
    "type": "trade",
    "sid": 2,
    "seq": 1,
    "msg": {
        "trade_id": "t",
        "market_ticker": "A-1-X",
        "yes_price_dollars": "0.4700",
        "no_price_dollars": "0.5300",
        "count_fp": "1.00",
        "taker_side": "no",
        "ts_ms": 1_786_000_000_006,
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "\n\n".join(map(json.dumps, (SNAPSHOT, DELTA, TRADE))),
        json.dumps(
            {
                "note": "",
                "frames": [{"received_ms": 1_786_000_000_005, "frame": f} for f in (SNAPSHOT, DELTA, TRADE)],
            }
        ),
        json.dumps({"frames": [SNAPSHOT, DELTA, TRADE]}, indent=1),
    ],
    ids=["bare lines, blank ones between", "a document in one line", "a document in many"],
)
def test_every_form_in_which_sessions_were_recorded_is_taken(short_dir: Path, text: str) -> None:
    source, path = short_dir / "frames.json", short_dir / "day.mcap"
    source.write_text(text)
    assert convert(source, path) == {"books": 1, "deltas": 1, "trades": 1, "skipped": 0}
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert books_of(replica.state) == {"A-1-X": {"yes": {4_700: 200}, "no": {}}}


def test_a_delta_before_its_book_is_skipped(short_dir: Path) -> None:
    source = short_dir / "frames.ndjson"
    source.write_text("\n".join(map(json.dumps, (DELTA, SNAPSHOT, DELTA))))
    assert convert(source, short_dir / "day.mcap") == {"books": 1, "deltas": 1, "trades": 0, "skipped": 1}


@pytest.mark.parametrize(
    "text", ["", "\n", "{}", "[1]", "not json", '{"frames": [1]}', '{"event": "x"}', json.dumps(SNAPSHOT)]
)
def test_what_is_no_session_leaves_no_file(short_dir: Path, text: str) -> None:
    source, path = short_dir / "frames.ndjson", short_dir / "day.mcap"
    source.write_text(text)
    with pytest.raises(ValueError):
        convert(source, path)
    assert not path.exists()
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        convert(source, path)
    assert path.read_bytes() == b"precious"
